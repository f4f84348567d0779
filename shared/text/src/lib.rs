//! Makes text from outside safe to display. The result has no control sequences for a terminal, and it cannot
//! look like a separate line of a log or a report.
//!
//! Text from another process is escaped where it becomes a domain type ([`from_outside`]). The writers of
//! terminals, logs and reports escape again, because file names and messages of the system reach them
//! directly. Escaping does not change escaped text.
//!
//! [`words`] formats times, paces and numbers. This crate computes text from text. It uses no other crate of
//! the workspace, and must not know the source or destination of a text.

#![allow(missing_docs, reason = "read by this workspace alone")]

pub mod words;

pub use words::plural;

/// Whether a terminal obeys the character or displays nothing for it. These are control characters, and line
/// and paragraph separators. Others are those that Unicode 16 lists as format characters (category Cf), as
/// ignorable by default, or as fillers.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
            | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the text on one line, with hidden characters escaped, line feeds included.
#[must_use]
pub fn one_line(text: &str) -> String {
    escaped(text, usize::MAX, |_| false)
}

/// Like [`one_line`], for messages of granule. A line feed stays if the next line begins with a space or a
/// quote. Continuation lines of messages begin with a space. A shell word with line feeds at its end has a
/// line that begins with a quote.
#[must_use]
pub fn message(text: &str) -> String {
    let is_ours = |rest: &str| rest.trim_start_matches('\n').starts_with([' ', '\'']);
    escaped(text, usize::MAX, |rest| rest.starts_with('\n') && is_ours(rest))
}

/// Like [`one_line`], for text whose lines were escaped one by one. Every line feed stays.
#[must_use]
pub fn lines(text: &str) -> String {
    escaped(text, usize::MAX, |rest| rest.starts_with('\n'))
}

/// Most bytes that are kept of a text from another process.
const LONGEST: usize = 1000;

/// Returns a text from another process on one line, cut if it is long.
#[must_use]
pub fn from_outside(text: &str) -> String {
    escaped(text, LONGEST, |_| false)
}

/// Escapes each hidden character, unless `stays` is true for the text from there on. Cuts a result of more
/// than `most` bytes.
fn escaped(text: &str, most: usize, stays: impl Fn(&str) -> bool) -> String {
    const CUT: char = '…';
    let mut safe = String::with_capacity(text.len().min(most));
    for (at, c) in text.char_indices() {
        let before = safe.len();
        if is_hidden(c) && !stays(&text[at..]) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
        if safe.len() > most {
            safe.truncate(before);
            while safe.len() + CUT.len_utf8() > most {
                safe.pop();
            }
            safe.push(CUT);
            break;
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_line_from_outside_can_pass_for_a_line_of_ours() {
        for (text, expected) in [
            ("node1", "node1"),
            ("größe-ノード-узел", "größe-ノード-узел"),
            ("e\u{301}", "e\u{301}"),
            ("a\n2026-11-29T06:00:00Z b", r"a\u{a}2026-11-29T06:00:00Z b"),
            ("a\r\tb\u{1b}[2J\u{7f}\u{9b}", r"a\u{d}\u{9}b\u{1b}[2J\u{7f}\u{9b}"),
            ("a\u{2028}b\u{2029}c\u{85}d", r"a\u{2028}b\u{2029}c\u{85}d"),
            (
                "\u{202e}cba\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
                r"\u{202e}cba\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
            ),
            ("no\u{200b}de\u{200d}\u{2060}\u{feff}\u{ad}", r"no\u{200b}de\u{200d}\u{2060}\u{feff}\u{ad}"),
            ("\u{3164}\u{e0041}", r"\u{3164}\u{e0041}"),
        ] {
            assert_eq!(one_line(text), expected);
            assert_eq!(from_outside(text), expected);
            assert_eq!(one_line(expected), expected, "what is escaped is not escaped again");
        }
    }

    #[test]
    fn our_own_messages_keep_their_lines() {
        let text = "error: x\n  because: y\nforged\u{202e}\n  to resume: granule 'a'\n\n'";
        let expected = "error: x\n  because: y\\u{a}forged\\u{202e}\n  to resume: granule 'a'\n\n'";
        assert_eq!(message(text), expected);
        assert_eq!(message("x\n"), r"x\u{a}");
        assert_eq!(lines("a\nb\r\n"), "a\nb\\u{d}\n");
    }

    #[test]
    fn what_is_long_is_cut() {
        for text in ["x".repeat(5000), "ä".repeat(5000), "\u{202e}".repeat(5000), "𝄞".repeat(5000)] {
            let cut = from_outside(&text);
            assert!((980..=LONGEST).contains(&cut.len()) && cut.ends_with('…'), "{} {cut}", cut.len());
        }
        assert_eq!(from_outside(&"x".repeat(LONGEST)), "x".repeat(LONGEST));
    }
}
