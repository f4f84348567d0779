//! How wide text is, and its small markup: `g_{E}` sets the E lower, `10^{5}` the 5 higher.

use std::sync::LazyLock;

use skrifa::instance::{LocationRef, Size};
use skrifa::{FontRef, MetadataProvider};

/// Names of fonts, the first of which comes along.
pub(super) const FAMILIES: &str = "Noto Sans, Helvetica, Arial, sans-serif";

/// The fonts that come along: Noto Sans, regular and bold.
pub(super) const FONTS: [&[u8]; 2] = [notosans::REGULAR_TTF, notosans::BOLD_TTF];

/// Size of lowered and raised text, relative to that around it.
pub(super) const SMALLER: f64 = 0.72;

static FACES: LazyLock<[Option<Face>; 2]> = LazyLock::new(|| FONTS.map(Face::read));

/// What text is measured with.
struct Face {
    glyphs: skrifa::charmap::Charmap<'static>,
    widths: skrifa::metrics::GlyphMetrics<'static>,
    units_per_em: u16,
}

impl Face {
    /// A face of a font's bytes, if they are one.
    fn read(font: &'static [u8]) -> Option<Face> {
        let font = FontRef::new(font).ok()?;
        let units_per_em = font.metrics(Size::unscaled(), LocationRef::default()).units_per_em;
        let widths = font.glyph_metrics(Size::unscaled(), LocationRef::default());
        Some(Face { glyphs: font.charmap(), widths, units_per_em })
    }

    /// How far the next letter is from this one, in font sizes.
    fn advance(&self, c: char) -> f64 {
        let glyph = self.glyphs.map(c).unwrap_or_default();
        let units = self.widths.advance_width(glyph).map_or(f64::from(self.units_per_em), f64::from);
        units / f64::from(self.units_per_em)
    }
}

/// Where a part of a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Base,
    Lower,
    Upper,
}

/// Parts of a text with markup, in their order.
pub(super) fn runs(text: &str) -> Vec<(Level, &str)> {
    let mut runs = Vec::new();
    let mut rest = text;
    loop {
        let mark = [("_{", Level::Lower), ("^{", Level::Upper)];
        let found = mark
            .into_iter()
            .filter_map(|(mark, level)| Some((rest.find(mark)?, level)))
            .min_by_key(|found| found.0);
        // A mark that does not end is text.
        let ended = found.and_then(|(begin, level)| Some((begin, level, begin + rest[begin..].find('}')?)));
        let Some((begin, level, end)) = ended else {
            runs.push((Level::Base, rest));
            break;
        };
        runs.push((Level::Base, &rest[..begin]));
        runs.push((level, &rest[begin + 2..end]));
        rest = &rest[end + 1..];
    }
    runs.retain(|(_, run)| !run.is_empty());
    runs
}

/// Width of a text of one line, in points.
pub fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    // Fonts are tested to be readable.
    let advance = |c| FACES[usize::from(bold)].as_ref().map_or(1.0, |face| face.advance(c));
    let of_run = |(level, run): (Level, &str)| {
        let scale = if level == Level::Base { 1.0 } else { SMALLER };
        run.chars().map(advance).sum::<f64>() * scale
    };
    runs(text).into_iter().map(of_run).sum::<f64>() * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fonts_can_be_read_and_have_what_is_needed() {
        for face in FACES.iter() {
            let face = face.as_ref().expect("a font");
            for c in "−±×·²≤≥–µΔ/()%0123456789 abcXYZ".chars() {
                assert!(face.glyphs.map(c).is_some(), "{c}");
            }
        }
    }

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
        use Level::{Base, Lower, Upper};
        assert_eq!(runs("g_{E} (nS)"), [(Base, "g"), (Lower, "E"), (Base, " (nS)")]);
        assert_eq!(runs("10^{−5}"), [(Base, "10"), (Upper, "−5")]);
        assert_eq!(runs("a_{b"), [(Base, "a_{b")]);
        assert_eq!(runs("a^{b}_{c}"), [(Base, "a"), (Upper, "b"), (Lower, "c")]);
        assert_eq!(runs(""), []);
    }
}
