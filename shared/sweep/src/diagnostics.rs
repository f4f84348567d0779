//! Problems of a sweep file with its tables, or of a model file: messages, positions and remedies.
//!
//! The reader of a file collects all problems that are independent of each other, with byte positions. At the end, the
//! problems are sorted, capped, and given lines and columns. [`Diagnostics`] owns all data that it shows, and outlives
//! the file. The library `annotate-snippets`, with which rustc draws, draws them.

use std::collections::HashSet;
use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use granule_engine::Space;

use crate::slips::{self, Slip};
use crate::text::{Span, is_treacherous, one_line};
use crate::vocabulary::Language;

/// Largest number of problems that are listed. Further problems are counted.
const MOST_LISTED: usize = 20;

/// Largest number of problems that are kept. With more problems, the file is broken as a whole.
const MOST_KEPT: usize = 200;

/// Columns of text that a diagnostic may fill. Longer source lines are cut around the caret.
const WIDTH: usize = 120;

/// All problems of a sweep file or a model file, in order of position; those of its tables come last. Never empty.
///
/// `Display` draws each problem with its source line as plain text. For any file, the text has no colour, and no
/// control character except the line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    listed: Vec<Diagnostic>,
    unlisted: usize,
}

impl Diagnostics {
    /// Returns the first problems of the file.
    pub fn listed(&self) -> &[Diagnostic] {
        &self.listed
    }

    /// Returns the number of further problems.
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }
}

impl std::error::Error for Diagnostics {}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    message: String,
    help: String,
    /// Name of the file.
    source: String,
    place: Option<LineSpan>,
}

impl Diagnostic {
    /// Returns the problem, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the remedy, in one line.
    pub fn help(&self) -> &str {
        &self.help
    }

    /// Returns line and column, both from 1; columns count characters. `None` for the file as a whole.
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        self.place.as_ref().map(|place| (place.line, place.column))
    }
}

/// A part of one source line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LineSpan {
    line: usize,
    column: usize,
    /// The whole line, safe to print: see [`shown`].
    text: String,
    /// Bytes of `text` to underline.
    underlined: std::ops::Range<usize>,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = Renderer::plain().term_width(WIDTH);
        for (i, diagnostic) in self.listed.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            let group = Group::with_title(Level::ERROR.primary_title(&diagnostic.message));
            let group = match &diagnostic.place {
                Some(place) => group.element(
                    Snippet::source(&place.text)
                        .line_start(place.line)
                        .path(&diagnostic.source)
                        .annotation(AnnotationKind::Primary.span(place.underlined.clone())),
                ),
                None => group.element(Origin::path(&diagnostic.source)),
            };
            let group = group.element(Level::HELP.message(&diagnostic.help));
            f.write_str(&renderer.render(&[group]))?;
        }
        match self.unlisted {
            0 => Ok(()),
            1 => f.write_str("\n\n… and 1 more error"),
            n => write!(f, "\n\n… and {n} more errors"),
        }
    }
}

/// A problem without line and column.
#[derive(Debug)]
pub(crate) struct Problem {
    span: Option<Span>,
    message: String,
    help: String,
}

/// A problem without a remedy. The type ensures that no problem is added without one.
#[derive(Debug)]
pub(crate) struct Helpless {
    span: Option<Span>,
    message: String,
}

impl Helpless {
    /// Adds the remedy.
    pub(crate) fn help(self, help: impl Into<String>) -> Problem {
        Problem { span: self.span, message: self.message, help: help.into() }
    }
}

impl Problem {
    /// Makes a problem at a position.
    pub(crate) fn at(span: Span, message: impl Into<String>) -> Helpless {
        Helpless { span: Some(span), message: message.into() }
    }

    /// Makes a problem of the file as a whole.
    pub(crate) fn of_file(message: impl Into<String>) -> Helpless {
        Helpless { span: None, message: message.into() }
    }
}

/// The problems found so far in a text.
#[derive(Debug)]
pub(crate) struct Problems<'t> {
    language: Language,
    text: &'t str,
    kept: Vec<Problem>,
    unkept: usize,
    /// Problems of tables that the text names.
    of_tables: Vec<Diagnostics>,
}

impl<'t> Problems<'t> {
    /// Starts without problems.
    pub(crate) fn of(language: impl Into<Language>, text: &'t str) -> Self {
        Problems { language: language.into(), text, kept: Vec::new(), unkept: 0, of_tables: Vec::new() }
    }

    /// Adds a problem, given as a closure. In a file with very many problems, wording them takes the most time, because
    /// it searches for similar words.
    pub(crate) fn add(&mut self, problem: impl FnOnce() -> Problem) {
        if self.kept.len() < MOST_KEPT {
            self.kept.push(problem());
        } else {
            self.unkept += 1;
        }
    }

    /// Adds the problems of a table that the text names.
    pub(crate) fn add_table(&mut self, problems: Diagnostics) {
        self.of_tables.push(problems);
    }

    /// Returns the parameters that the text can set.
    pub(crate) fn space(&self) -> &'static Space {
        self.language.space()
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// Returns the number of problems found.
    pub(crate) fn count(&self) -> usize {
        let of_tables = self.of_tables.iter().map(|of| of.listed.len() + of.unlisted);
        self.kept.len() + self.unkept + of_tables.sum::<usize>()
    }

    /// Sorts and caps the problems and finds their lines; returns `None` if there are no problems.
    pub(crate) fn finish(mut self, source_name: &str) -> Option<Diagnostics> {
        // Several conditions may have reported one wrong entry.
        let mut seen = HashSet::new();
        self.kept.retain(|problem| seen.insert((problem.span, problem.message.clone())));
        for problem in &mut self.kept {
            if let Some(Slip { span, help }) =
                problem.span.and_then(|span| slips::at(self.language, self.text, span))
            {
                (problem.span, problem.help) = (Some(span), help);
            }
        }
        self.kept.sort_by_key(|problem| problem.span.map_or(0, |span| span.start));
        let all = self.count();
        let source = one_line(source_name);
        let of_tables = self.of_tables.into_iter().flat_map(|of| of.listed);
        let listed: Vec<Diagnostic> = self
            .kept
            .into_iter()
            .take(MOST_LISTED)
            .map(|problem| Diagnostic {
                message: one_line(&problem.message),
                help: one_line(&problem.help),
                source: source.clone(),
                place: problem.span.map(|span| place(self.text, span)),
            })
            .chain(of_tables)
            .take(MOST_LISTED)
            .collect();
        let unlisted = all - listed.len();
        (!listed.is_empty()).then_some(Diagnostics { listed, unlisted })
    }
}

/// Returns the diagnostics of a single problem that stops all reading.
pub(crate) fn only(
    language: impl Into<Language>,
    problem: Problem,
    source_name: &str,
    text: &str,
) -> Diagnostics {
    let mut problems = Problems::of(language, text);
    problems.add(|| problem);
    problems.finish(source_name).expect("one was added")
}

/// Returns the number of the line of a position, from 1.
pub(crate) fn line_number(text: &str, position: usize) -> usize {
    place(text, Span { start: position, end: position }).line
}

/// Finds the line of a position. Lines break as in YAML: at LF, CR LF, and CR alone.
fn place(text: &str, span: Span) -> LineSpan {
    let start = floor_char_boundary(text, span.start);
    let bytes = text.as_bytes();
    let is_break = |i: usize| bytes[i] == b'\n' || (bytes[i] == b'\r' && bytes.get(i + 1) != Some(&b'\n'));
    let mut line = 1;
    let mut line_start = 0;
    for i in (0..start).filter(|&i| is_break(i)) {
        line += 1;
        line_start = i + 1;
    }
    let rest = &text[line_start..];
    let source = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];

    let mut column = 1;
    let mut shown_text = String::with_capacity(source.len());
    let mut underlined = None::<std::ops::Range<usize>>;
    for (i, c) in source.char_indices() {
        let from = shown_text.len();
        shown_text.push(shown(c));
        let position = line_start + i;
        if position < start {
            column += 1;
        } else if position == start || position < span.end {
            underlined.get_or_insert(from..from).end = shown_text.len();
        }
    }
    let end = shown_text.len();
    LineSpan { line, column, text: shown_text, underlined: underlined.unwrap_or(end..end) }
}

/// Replaces a character that could move the cursor, reorder the line or hide in it. It is replaced by one character, so
/// that columns stay right. Tabs are left to the renderer, which aligns the caret with them.
fn shown(c: char) -> char {
    if c != '\t' && is_treacherous(c) { char::REPLACEMENT_CHARACTER } else { c }
}

fn floor_char_boundary(text: &str, position: usize) -> usize {
    let position = position.min(text.len());
    (0..=position).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use granule_granular::space;

    use super::*;
    use crate::text::quote;

    /// Draws one problem at the bytes of `needle` in `text`.
    fn check(text: &str, needle: &str, drawn: &str) {
        let start = text.find(needle).unwrap();
        let problem = Problem::at(Span { start, end: start + needle.len() }, "wrong").help("right it");
        let drawn = format!("{drawn}\n  |\n  = help: right it");
        assert_eq!(only(space(), problem, "x.yaml", text).to_string(), drawn);
    }

    #[test]
    fn the_caret_stands_below_what_is_meant() {
        check("a: 1\nbb: 2\n", "bb", "error: wrong\n --> x.yaml:2:1\n  |\n2 | bb: 2\n  | ^^");
        // At the end of the last line, with and without its line feed.
        check("a: 1", "", "error: wrong\n --> x.yaml:1:1\n  |\n1 | a: 1\n  | ^");
        // Line breaks of other systems, also mixed.
        check("a: 1\r\n\rb: 2\r\n", "b", "error: wrong\n --> x.yaml:3:1\n  |\n3 | b: 2\n  | ^");
        // A tab is one column in the position and four below the line.
        check("a:\tb", "b", "error: wrong\n --> x.yaml:1:4\n  |\n1 | a:    b\n  |       ^");
        // One column for each character; a wide one takes two below the line.
        check("é: b", "b", "error: wrong\n --> x.yaml:1:4\n  |\n1 | é: b\n  |    ^");
        check("脳: b", "b", "error: wrong\n --> x.yaml:1:4\n  |\n1 | 脳: b\n  |     ^");
        check("a: 脳胞", "脳胞", "error: wrong\n --> x.yaml:1:4\n  |\n1 | a: 脳胞\n  |    ^^^^");
        // An entry that continues on the next line is underlined to the end of its first line.
        check("a: b\n  c", "b\n  c", "error: wrong\n --> x.yaml:1:4\n  |\n1 | a: b\n  |    ^");
    }

    #[test]
    fn positions_past_the_end_are_the_end() {
        for span in [Span { start: 4, end: 4 }, Span { start: 99, end: 120 }] {
            let drawn =
                only(space(), Problem::at(span, "wrong").help("right it"), "x.yaml", "a: 1").to_string();
            let expected = "error: wrong\n --> x.yaml:1:5\n  |\n1 | a: 1\n  |     ^\n  |\n  = help: right it";
            assert_eq!(drawn, expected);
        }
    }

    #[test]
    fn nothing_of_the_file_reaches_the_terminal_as_control() {
        let text = "a: \u{1b}[31m\u{9b}2J\u{202e}x\u{7f}";
        let problem = Problem::at(Span { start: 0, end: 1 }, format!("bad {}", quote(text)))
            .help("say \u{1b}[0m\nsomething else");
        let drawn = only(space(), problem, "\u{1b}]0;x.yaml\r", text).to_string();
        assert_eq!(
            drawn,
            "error: bad `a: \\u{1b}[31m\\u{9b}2J\\u{202e}x\\u{7f}`\n \
             --> \\u{1b}]0;x.yaml\\u{d}:1:1\n  |\n1 | a: �[31m�2J�x�\n  | ^\n  |\n  \
             = help: say \\u{1b}[0m\\u{a}something else"
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let text = format!("{}needle{}", "x".repeat(300_000), "y".repeat(300_000));
        let start = 300_000;
        let problem = Problem::at(Span { start, end: start + 6 }, "wrong").help("right it");
        let drawn = only(space(), problem, "x.yaml", &text).to_string();
        assert!(drawn.starts_with("error: wrong\n --> x.yaml:1:300001\n"), "{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() <= WIDTH + 20), "{drawn}");
        let lines: Vec<&str> = drawn.lines().collect();
        let caret = lines[4].find("^^^^^^").unwrap();
        assert_eq!(lines[3].chars().skip(caret).take(6).collect::<String>(), "needle", "{drawn}");
    }

    #[test]
    fn many_are_sorted_told_once_and_capped() {
        let text = "a\n".repeat(3000);
        let drawn = |count: usize| {
            let mut problems = Problems::of(space(), &text);
            for i in (0..count).rev() {
                let span = Span { start: 2 * i, end: 2 * i + 1 };
                problems.add(|| Problem::at(span, "wrong").help("right it"));
                problems.add(|| Problem::at(span, "wrong").help("right it"));
            }
            problems.finish("x.yaml").unwrap()
        };
        let three = drawn(3);
        let places: Vec<_> = three.listed().iter().filter_map(Diagnostic::line_and_column).collect();
        assert_eq!(places, [(1, 1), (2, 1), (3, 1)]);
        assert_eq!(three.unlisted(), 0);
        assert_eq!(drawn(20).to_string().lines().last(), Some("   = help: right it"));
        assert_eq!(drawn(21).to_string().lines().last(), Some("… and 1 more error"));
        assert_eq!(drawn(30).to_string().lines().last(), Some("… and 10 more errors"));
        assert_eq!(drawn(3000).listed().len(), MOST_LISTED);
    }
}
