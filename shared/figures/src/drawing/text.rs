//! Width of text, and its markup: `g_{E}` lowers the E, `10^{5}` raises the 5.

use std::ops::Range;

use skrifa::GlyphId;

use super::canvas::{Anchor, TextStyle, rounded};
use super::font::Face;

/// Names of fonts in pictures. The first is part of the program.
pub(super) const FAMILIES: &str = "Noto Sans, Helvetica, Arial, sans-serif";

/// Size of lowered and raised text, relative to the text around it.
pub(super) const SMALLER: f64 = 0.72;

/// Level of a part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextLevel {
    Base,
    Lower,
    Upper,
}

/// Splits a text with markup into its parts, in order.
pub(super) fn runs(text: &str) -> Vec<(TextLevel, &str)> {
    let mut runs = Vec::new();
    let mut rest = text;
    loop {
        let mark = [("_{", TextLevel::Lower), ("^{", TextLevel::Upper)];
        let found = mark
            .into_iter()
            .filter_map(|(mark, level)| Some((rest.find(mark)?, level)))
            .min_by_key(|found| found.0);
        // A mark without an end is plain text.
        let ended = found.and_then(|(begin, level)| Some((begin, level, begin + rest[begin..].find('}')?)));
        let Some((begin, level, end)) = ended else {
            runs.push((TextLevel::Base, rest));
            break;
        };
        runs.push((TextLevel::Base, &rest[..begin]));
        runs.push((level, &rest[begin + 2..end]));
        rest = &rest[end + 1..];
    }
    runs.retain(|(_, run)| !run.is_empty());
    runs
}

/// A part of a text with its size and level.
pub(super) struct TextRun<'a> {
    pub(super) text: &'a str,
    /// Font size.
    pub(super) size: f64,
    /// Distance of the baseline below that of the previous part, in points.
    pub(super) down: f64,
    /// Whether the part is on the baseline of the whole text.
    pub(super) is_base: bool,
}

/// Returns the parts of a text at this font size.
pub(super) fn set(text: &str, size: f64) -> impl Iterator<Item = TextRun<'_>> {
    runs(text).into_iter().scan(0.0, move |risen, (level, text)| {
        let rise = size
            * match level {
                TextLevel::Base => 0.0,
                TextLevel::Lower => -0.2,
                TextLevel::Upper => 0.35,
            };
        let down = *risen - rise;
        *risen = rise;
        let is_base = level == TextLevel::Base;
        Some(TextRun { text, size: if is_base { size } else { size * SMALLER }, down, is_base })
    })
}

/// Glyphs of a part of a text, with their places.
pub(super) struct Letters {
    /// Characters of the part.
    pub(super) text: String,
    /// Start of the part's baseline, relative to the position of the text.
    pub(super) at: (f64, f64),
    /// Font size.
    pub(super) size: f64,
    /// Per glyph: its number, the distance to the next glyph in font sizes, and its range in `text`.
    pub(super) glyphs: Vec<(GlyphId, f64, Range<usize>)>,
}

/// Places the letters of a text as viewers of the SVG do: pairs are kerned, and repeated spaces are one
/// space.
pub(super) fn place(text: &str, style: &TextStyle) -> Vec<Letters> {
    let face = Face::of(style.bold);
    let mut placed: Vec<Letters> = Vec::new();
    let (mut x, mut y) = (0.0, 0.0);
    let mut before = ' ';
    let last = text.trim_end_matches(|c| printable(c) == ' ').len();
    let text = &text[..last];
    for run in set(text, style.size) {
        y += rounded(run.down);
        let size = rounded(run.size);
        let mut letters = Letters { text: String::new(), at: (x, y), size, glyphs: Vec::new() };
        for letter in run.text.chars().map(printable) {
            if letter == ' ' && before == ' ' {
                continue;
            }
            before = letter;
            let glyph = face.glyph(letter);
            if let Some((last, advance, _)) = letters.glyphs.last_mut() {
                *advance += face.kerning(*last, glyph);
            }
            let begin = letters.text.len();
            letters.text.push(letter);
            letters.glyphs.push((glyph, face.advance(glyph), begin..letters.text.len()));
        }
        x += letters.glyphs.iter().map(|(_, advance, _)| advance).sum::<f64>() * size;
        placed.push(letters);
    }
    let left = match style.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => x / 2.0,
        Anchor::End => x,
    };
    placed.iter_mut().for_each(|letters| letters.at.0 -= left);
    placed
}

/// Returns a character as it is displayed. Characters that XML does not allow are replaced.
pub(super) fn printable(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c => c,
    }
}

/// Returns the width of a text of one line, in points, without kerning.
pub fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    let face = Face::of(bold);
    let of_run = |(level, run): (TextLevel, &str)| {
        let scale = if level == TextLevel::Base { 1.0 } else { SMALLER };
        run.chars().map(|c| face.advance(face.glyph(c))).sum::<f64>() * scale
    };
    runs(text).into_iter().map(of_run).sum::<f64>() * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_as_wide_as_its_letters() {
        assert_eq!(text_width("", 7.0, false), 0.0);
        let one = text_width("0", 10.0, false);
        // Digits are 1171 of 2048 units wide.
        assert_eq!(one, 11710.0 / 2048.0);
        assert!((text_width("00", 10.0, false) - 2.0 * one).abs() < 1e-12);
        assert!((text_width("0^{0}", 10.0, false) - (1.0 + SMALLER) * one).abs() < 1e-12);
        assert!(text_width("m", 10.0, true) > text_width("m", 10.0, false));
    }

    #[test]
    fn markup_is_taken_apart() {
        use TextLevel::{Base, Lower, Upper};
        assert_eq!(runs("g_{E} (nS)"), [(Base, "g"), (Lower, "E"), (Base, " (nS)")]);
        assert_eq!(runs("10^{−5}"), [(Base, "10"), (Upper, "−5")]);
        assert_eq!(runs("a_{b"), [(Base, "a_{b")]);
        assert_eq!(runs("a^{b}_{c}"), [(Base, "a"), (Upper, "b"), (Lower, "c")]);
        assert_eq!(runs(""), []);
    }

    #[test]
    fn letters_are_placed_as_in_the_svg() {
        let style = TextStyle::new(10.0, Anchor::Middle);
        let placed = place(" 10^{−5}\n  To ", &style);
        let texts: Vec<&str> = placed.iter().map(|letters| letters.text.as_str()).collect();
        assert_eq!(texts, ["10", "−5", " To"]);
        let at: Vec<(f64, f64)> = placed.iter().map(|letters| letters.at).collect();
        assert_eq!((at[0].1, at[1].1, at[2].1), (0.0, -3.5, 0.0));
        // Kerning moves T and o closer by 70 of 2048 units.
        let width = text_width("10^{−5} To", 10.0, false) - 700.0 / 2048.0;
        assert!((at[0].0 + width / 2.0).abs() < 1e-9, "{at:?}, {width}");
        assert!((at[1].0 - at[0].0 - text_width("10", 10.0, false)).abs() < 1e-9);
    }
}
