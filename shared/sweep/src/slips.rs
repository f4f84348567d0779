//! Slips that are hard to see: characters that look like others, missing spaces, decimal commas, tabs.
//!
//! A slip at the position of a problem is its likely cause. The help of the slip therefore replaces the help of the
//! problem.

use crate::text::{Span, quote};
use crate::vocabulary::Language;

/// Position of a slip, and a remedy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Slip {
    pub(crate) span: Span,
    pub(crate) help: String,
}

/// Returns the slip in the part of a text that has a problem.
pub(crate) fn at(language: Language, text: &str, span: Span) -> Option<Slip> {
    let found = text.get(span.start..span.end)?;
    let line = found.lines().next().unwrap_or_default();
    // A list or a mapping has another problem: its parts are checked one by one.
    if line.starts_with(['[', '{']) {
        return None;
    }
    if matches!(language, Language::Table(_)) {
        return lookalike(line, span.start);
    }
    lookalike(line, span.start)
        .or_else(|| missing_space(language, line, span.start, text))
        .or_else(|| decimal_comma(text, span))
}

/// Returns the slip that makes a text invalid YAML, near the position at which the parser stopped.
pub(crate) fn near(language: Language, text: &str, place: usize) -> Option<Slip> {
    let mut start = 0;
    let mut lines: Vec<(usize, &str)> = Vec::new();
    for line in text.split_inclusive(['\n', '\r']) {
        lines.push((start, line.trim_end_matches(['\n', '\r'])));
        start += line.len();
    }
    lines.retain(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let at = lines.partition_point(|(start, _)| *start <= place).saturating_sub(1);
    // The line itself, then the line before, which the parser may have read as a part of it, then the line after.
    let order = [Some(at), at.checked_sub(1), Some(at + 1)];
    let near: Vec<(usize, &str)> =
        order.into_iter().flatten().filter_map(|at| lines.get(at).copied()).collect();
    let tab = |&(start, line): &(usize, &str)| {
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        let tab = line[..indentation].find('\t')?;
        let span = Span { start: start + tab, end: start + tab + 1 };
        Some(Slip { span, help: "indent with spaces; this is a tab".to_owned() })
    };
    let other = |&(start, line): &(usize, &str)| {
        let inner = line.trim_start_matches(' ');
        let indentation = line.len() - inner.len();
        let item = inner.strip_prefix("- ").map_or(inner, str::trim_start);
        let from = start + indentation + inner.len() - item.len();
        let without_comment = item.split(" #").next().unwrap_or_default();
        // A description can contain any character.
        if matches!(language, Language::Model) && without_comment.contains("about:") {
            return None;
        }
        lookalike(without_comment, from).or_else(|| missing_space(language, without_comment, from, text))
    };
    near.iter().find_map(tab).or_else(|| near.iter().find_map(other))
}

/// Finds a character that looks like a character of the language, or is invisible.
fn lookalike(line: &str, start: usize) -> Option<Slip> {
    line.char_indices().find_map(|(at, c)| {
        let code = u32::from(c);
        let help = match c {
            '\u{a0}' | '\u{202f}' => format!("replace the no-break space (U+{code:04X}) with a plain one"),
            '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{205f}' | '\u{3000}' => {
                format!("replace the space U+{code:04X} with a plain one")
            }
            '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => {
                format!("remove the invisible character U+{code:04X}")
            }
            '\u{2212}' | '\u{2010}'..='\u{2015}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => {
                "write the minus sign as `-`".to_owned()
            }
            '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{ff02}' | '\u{ff07}' => {
                "write quotes as `'` or `\"`".to_owned()
            }
            '\u{ff01}'..='\u{ff5e}' => {
                let plain = char::from_u32(code - 0xfee0)?;
                format!("write `{plain}` for the wide {}", quote(&c.to_string()))
            }
            _ if c.is_numeric() && !c.is_ascii() => "write digits as `0` to `9`".to_owned(),
            _ => return None,
        };
        Some(Slip { span: Span { start: start + at, end: start + at + c.len_utf8() }, help })
    })
}

/// Finds a missing space: between a colon after a word of the language and its value, or between a dash and its item.
fn missing_space(language: Language, line: &str, start: usize, text: &str) -> Option<Slip> {
    let shown = |line: &str| quote(line.split([',', '}', ']']).next().unwrap_or_default().trim_end());
    if let Some(item) = line.strip_prefix('-').filter(|item| item.starts_with(char::is_alphabetic)) {
        let before = text[..start].rsplit(['\n', '\r']).next().unwrap_or_default();
        let span = Span { start, end: start + 1 };
        let help = format!("write a space after the dash: {}", shown(&format!("- {item}")));
        return before.trim().is_empty().then_some(Slip { span, help });
    }
    let (key, value) = line.split_once(':')?;
    if !language.is_any_key(key) || value.is_empty() || value.starts_with([' ', '\t']) {
        return None;
    }
    let span = Span { start: start + key.len(), end: start + key.len() + 1 };
    Some(Slip { span, help: format!("write a space after the colon: {}", shown(&format!("{key}: {value}"))) })
}

/// Finds a decimal comma that YAML reads as a separator of two entries: `{ x: 0,17 nS }`, `[0,17 nS, 1 nS]`.
fn decimal_comma(text: &str, span: Span) -> Option<Slip> {
    let digit = |c: char| c.is_ascii_digit();
    let found = &text[span.start..span.end];
    let (before, after) = (&text[..span.start], &text[span.end..]);
    let is_whole = |part: &str| part.ends_with(digit) && part.trim_start_matches('-').chars().all(digit);
    // The part before the comma, without a unit, or the part after it.
    let (whole, fraction) = match after.strip_prefix(',') {
        Some(fraction) if is_whole(found) => (found, fraction),
        _ => {
            let before = before.strip_suffix(',')?;
            let whole = before.rsplit(|c: char| !digit(c) && c != '-').next().unwrap_or_default();
            (whole, found)
        }
    };
    let digits = fraction.len() - fraction.trim_start_matches(digit).len();
    let unit: String =
        fraction[digits..].trim_start_matches(' ').chars().take_while(|c| c.is_alphabetic()).collect();
    if !is_whole(whole) || digits == 0 || unit.is_empty() {
        return None;
    }
    let value = format!("{whole}.{} {unit}", &fraction[..digits]);
    Some(Slip { span, help: format!("write the decimal point as `.`, as in {}", quote(&value)) })
}

#[cfg(test)]
mod tests {
    use granule_granular::space;

    use super::*;

    /// Returns the slip at the first occurrence of these words.
    fn help_at(text: &str, words: &str) -> Option<(String, String)> {
        let start = text.find(words).expect("it is there");
        let slip = at(space().into(), text, Span { start, end: start + words.len() })?;
        Some((text[slip.span.start..slip.span.end].to_owned(), slip.help))
    }

    #[test]
    fn characters_that_look_like_others_are_named() {
        let check = |text: &str, at: &str, help: &str| {
            assert_eq!(help_at(text, text), Some((at.to_owned(), help.to_owned())), "{text}");
        };
        check("-53\u{a0}mV", "\u{a0}", "replace the no-break space (U+00A0) with a plain one");
        check("-53\u{2009}mV", "\u{2009}", "replace the space U+2009 with a plain one");
        check("-53\u{200b} mV", "\u{200b}", "remove the invisible character U+200B");
        check("\u{2212}53 mV", "\u{2212}", "write the minus sign as `-`");
        check("1–5", "–", "write the minus sign as `-`");
        check("５", "５", "write `5` for the wide `５`");
        check("٣", "٣", "write digits as `0` to `9`");
        check("“Control”", "“", "write quotes as `'` or `\"`");
        for text in ["0.17 nS", "1 \u{b5}s", "1 \u{3bc}s", "é", ""] {
            assert_eq!(help_at(text, text), None, "{text}");
        }
    }

    #[test]
    fn spaces_that_are_missing_are_named() {
        let help = |text: &str, words: &str| help_at(text, words).map(|(_, help)| help);
        assert_eq!(
            help("  - name:a\n", "name:a").as_deref(),
            Some("write a space after the colon: `name: a`")
        );
        assert_eq!(
            help("{golgi.leak_reversal:-53 mV}", "golgi.leak_reversal:-53 mV").as_deref(),
            Some("write a space after the colon: `golgi.leak_reversal: -53 mV`")
        );
        assert_eq!(
            help("  -Control\n  - ACh", "-Control\n  - ACh").as_deref(),
            Some("write a space after the dash: `- Control`")
        );
        for (text, words) in [("name: -Control", "-Control"), ("base: x:y", "x:y"), ("name:", "name:")] {
            assert_eq!(help(text, words), None, "{text}");
        }
    }

    #[test]
    fn decimal_commas_are_named() {
        let expected = Some("write the decimal point as `.`, as in `-53.5 mV`".to_owned());
        for text in ["{a: -53,5 mV}", "[-53,5 mV, -52 mV]"] {
            for words in ["-53", "5 mV"] {
                let at = if words == "5 mV" { text.find(",5").map(|at| at + 1) } else { text.find(words) };
                let start = at.expect("it is there");
                let slip = at_span(text, start, words.len());
                assert_eq!(slip, expected, "{text} {words}");
            }
        }
        assert_eq!(help_at("[1, 2 mV]", "1"), None);
        assert_eq!(help_at("[1,2]", "1"), None);
    }

    fn at_span(text: &str, start: usize, length: usize) -> Option<String> {
        at(space().into(), text, Span { start, end: start + length }).map(|slip| slip.help)
    }

    #[test]
    fn what_keeps_a_text_from_being_yaml_is_found_nearby() {
        let check = |text: &str, place: &str, found: &str, help: &str| {
            let place = text.find(place).expect("it is there");
            let slip = near(space().into(), text, place).unwrap_or_else(|| panic!("{text}"));
            let line = text[..slip.span.start].matches('\n').count() + 1;
            assert_eq!(format!("{line}: {}", slip.help), format!("{found}: {help}"), "{text}");
        };
        check("trials: 1\n\tseeds: [1]\n", "1\n", "2", "indent with spaces; this is a tab");
        check("set:\n \tx: 1\n", "x", "2", "indent with spaces; this is a tab");
        check("trials:5\nseeds: [1]\n", ": [1]", "1", "write a space after the colon: `trials: 5`");
        check(
            "conditions:\n  - name:a\n    base: ACh\n",
            ": ACh",
            "2",
            "write a space after the colon: `name: a`",
        );
        check(
            "conditions:\n\u{a0}- ACh\n",
            "\u{a0}",
            "2",
            "replace the no-break space (U+00A0) with a plain one",
        );
        assert_eq!(near(space().into(), "a: [1\n# name:x \u{a0}\n", 5), None);
    }
}
