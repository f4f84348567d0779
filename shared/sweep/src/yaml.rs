//! Parses YAML into a tree in which every node has its position and its spelling.
//!
//! `serde-saphyr` parses the text. This file sets its limits, and takes only structure and positions from it. The
//! spelling of a scalar is read from the source itself. A number that was converted to a float could not be converted
//! between units exactly.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{DefaultMessageFormatter, DuplicateKeyPolicy, Error, MessageFormatter, Spanned};

use crate::diagnostics::Problem;
use crate::slips::{self, Slip};
use crate::text::{Span, quote};
use crate::vocabulary::Language;

/// Largest size of a file, in bytes.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// Largest size of a table, in bytes.
pub(crate) const MOST_BYTES_OF_TABLE: usize = 128 << 20;

/// Deepest nesting; a sweep needs six levels. The limit is small because reading a tree uses the stack.
const MOST_DEPTH: usize = 16;

/// Largest number of values and keys in a file. It limits memory, because they take far more memory than their text.
const MOST_NODES: usize = 400_000;

/// A value with its position.
#[derive(Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Content,
}

/// The value of a node.
#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    /// An empty value, `null` or `~`.
    Null,
    /// A word, number or text as spelled, without its quotes.
    Scalar { text: String, quoted: bool },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in order of the file; keys may repeat.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Returns whether the node is this word.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(&self.value, Content::Scalar { text, .. } if text == word)
    }

    /// Returns the first value of this key, if the node is a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Content::Map(map) => map.iter().find(|(of, _)| of.is(key)).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Returns a description of the node, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Content::Null => "an empty value",
            Content::Scalar { .. } => "a single value",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }

    /// Returns a description of the node, with its text if it is a scalar.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Content::Scalar { text, .. } if text.is_empty() => "an empty text".to_owned(),
            Content::Scalar { text, .. } => quote(text),
            _ => self.kind().to_owned(),
        }
    }
}

/// Decodes a file, if it is text and not too large.
///
/// # Errors
/// The problem, and the text in which to show it.
pub(crate) fn decode(language: Language, bytes: &[u8]) -> Result<&str, (Problem, String)> {
    let (most, help) = match language {
        Language::Sweep(_) => {
            (MOST_BYTES, "a sweep file lists seeds and conditions; is this the right file?")
        }
        Language::Table(_) => (MOST_BYTES_OF_TABLE, "split the table and the sweep"),
        Language::Model => (MOST_BYTES, "a model file lists parameters and results; is this the right file?"),
    };
    if bytes.len() > most {
        let problem = Problem::of_file(format!("the file is larger than {} MiB", most >> 20)).help(help);
        return Err((problem, String::new()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let start = error.valid_up_to();
        let found = bytes[start];
        let span = Span { start, end: start + 1 };
        let problem = Problem::at(span, format!("the file is not UTF-8 text: byte 0x{found:02x} found"))
            .help("save it as UTF-8");
        (problem, String::from_utf8_lossy(bytes).into_owned())
    })?;
    // Some editors start a file with a byte order mark, which is not part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let forbidden = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    match text.char_indices().find(|&(_, c)| forbidden(c)) {
        None => Ok(text),
        Some((start, c)) => {
            let span = Span { start, end: start + c.len_utf8() };
            let message = format!("the file contains the control character U+{:04X}", u32::from(c));
            let problem = Problem::at(span, message).help("remove it");
            Err((problem, text.to_owned()))
        }
    }
}

/// Parses the only document of a text.
pub(crate) fn load(language: Language, text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MOST_DEPTH,
            // Larger than the scanner's look-ahead, so that the depth limit always applies first.
            flow_nesting_limit: 4096,
            max_documents: 1,
            max_anchors: 0,
            max_aliases: 0,
            max_nodes: MOST_NODES,
            max_events: 2 * MOST_NODES,
        },
        // This crate reports repeated keys, with both positions and together with other problems.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(node(raw, text)),
        Err(error) => Err(problem(language, &error, text)),
    }
}

/// A node as the parser returns it.
enum Raw {
    Null,
    /// A scalar that the parser read as a number or a flag.
    Plain,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML node")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = access.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let span = span(raw.referenced, text);
    let source = text.get(span.start..span.end).unwrap_or_default();
    let value = match raw.value {
        Raw::Null => Content::Null,
        Raw::Plain => Content::Scalar { text: source.to_owned(), quoted: false },
        Raw::Text(unquoted) => {
            let quoted = source.starts_with(['"', '\'']);
            // The parser joins folded lines; all other texts stay as spelled.
            let text = if quoted || source.contains(['\n', '\r']) { unquoted } else { source.to_owned() };
            Content::Scalar { text, quoted }
        }
        Raw::List(list) => Content::List(list.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(map) => {
            Content::Map(map.into_iter().map(|(key, value)| (node(key, text), node(value, text))).collect())
        }
    };
    Node { span, value }
}

/// Returns the byte positions of a location. Locations of parse errors have positions in characters only.
fn span(location: serde_saphyr::Location, text: &str) -> Span {
    let span = location.span();
    let limit = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(text.len());
    match (span.byte_offset(), span.byte_len()) {
        (Some(start), Some(len)) => Span { start: limit(start), end: limit(start.saturating_add(len)) },
        _ => {
            let offset = usize::try_from(span.offset()).unwrap_or(usize::MAX);
            let start = text.char_indices().nth(offset).map_or(text.len(), |(i, _)| i);
            Span { start, end: start }
        }
    }
}

fn problem(language: Language, error: &Error, text: &str) -> Problem {
    let error = error.without_snippet();
    let span = error.location().map_or(Span { start: 0, end: 0 }, |location| span(location, text));
    let is_sweep = matches!(language, Language::Sweep(_));
    let of = if is_sweep { "the sweep language" } else { "the language of model files" };
    let (message, help) = match error {
        Error::UnknownAnchor { .. }
        | Error::Budget { breach: BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. }, .. } => (
            format!("YAML anchors and aliases are not part of {of}"),
            match is_sweep {
                true => "`base: …` lets a condition start from an earlier one",
                false => "put a text that starts with `*` or `&` in quotes, as in `'*.py'`",
            },
        ),
        Error::UnsupportedTag { tag, .. } => {
            (format!("YAML tags are not part of {of}; found the tag {}", quote(tag)), "remove it")
        }
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => (
            "the file has more than one YAML document".to_owned(),
            match is_sweep {
                true => "write each sweep to a file of its own",
                false => "write each model to a file of its own",
            },
        ),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => (
            format!("lists and mappings are nested more than {MOST_DEPTH} deep"),
            match is_sweep {
                true => "a sweep never needs that; look for a bracket too many",
                false => "a model file never needs that; look for a bracket too many",
            },
        ),
        Error::Budget { .. } => (
            format!("the file has more than {MOST_NODES} values"),
            match is_sweep {
                true => "split the sweep into several files",
                false => "use fewer values; large data belongs in a file that `files` names",
            },
        ),
        other if let Some(Slip { span, help }) = slips::near(language, text, span.start) => {
            let message = format!("not valid YAML: {}", DefaultMessageFormatter.format_message(other));
            return Problem::at(span, message).help(help);
        }
        other => (
            format!("not valid YAML: {}", DefaultMessageFormatter.format_message(other)),
            match is_sweep && has_placeholder(text, span.start) {
                true => QUOTED_NAME,
                false => "look for a missing quote, bracket, comma or space after a colon near here",
            },
        ),
    };
    Problem::at(span, message).help(help)
}

/// Help if YAML reads a placeholder as a mapping.
pub(crate) const QUOTED_NAME: &str = "put a name with placeholders in quotes, as in `name: '{index}'`";

/// Returns whether a placeholder of a name begins here.
fn has_placeholder(text: &str, at: usize) -> bool {
    let (before, after) = text.split_at_checked(at).unwrap_or_default();
    let line = before.rsplit(['\n', '\r']).next().unwrap_or_default();
    after.starts_with('{') && line.rsplit_once("name:").is_some_and(|(_, name)| !name.contains([',', '}']))
}

#[cfg(test)]
mod tests {
    use granule_granular::space;

    use super::*;

    /// Draws the tree in brackets; checks the source text of each scalar's span.
    fn drawn(node: &Node, text: &str) -> String {
        match &node.value {
            Content::Null => "null".to_owned(),
            Content::Scalar { text: scalar, quoted } => {
                let source = &text[node.span.start..node.span.end];
                assert!(*quoted || source.contains('\n') || source == scalar);
                if *quoted { format!("{scalar:?}") } else { scalar.clone() }
            }
            Content::List(list) => {
                format!("[{}]", list.iter().map(|item| drawn(item, text)).collect::<Vec<_>>().join(", "))
            }
            Content::Map(map) => {
                let entries = map.iter().map(|(k, v)| format!("{}: {}", drawn(k, text), drawn(v, text)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }

    #[test]
    fn scalars_keep_their_spelling() {
        let check =
            |text: &str, tree: &str| assert_eq!(drawn(&load(space().into(), text).unwrap(), text), tree);
        check("a: 0.170\nb: 1e999\nc: 007\n", "{a: 0.170, b: 1e999, c: 007}");
        check("a: 'x'\nb: \"5\"\nc: \"\\u00b5\"", "{a: \"x\", b: \"5\", c: \"µ\"}");
        check("a: yes\nb: .nan\nc: 0x1f\nd: 1_000", "{a: yes, b: .nan, c: 0x1f, d: 1_000}");
        check("a: ~\nb:\nc: null", "{a: null, b: null, c: null}");
        check("µ: é\r\nb: -55 mV\r\n", "{µ: é, b: -55 mV}");
        check("a: one\n  two", "{a: one two}");
        check("a: [1 ms, {b: 2}]\na: 3", "{a: [1 ms, {b: 2}], a: 3}");
        check("<<: {a: 1}", "{<<: {a: 1}}");
        check(&format!("a: {}", "9".repeat(50)), &format!("{{a: {}}}", "9".repeat(50)));
    }

    #[test]
    fn positions_are_bytes_of_the_text() {
        let text = "µ: é\nb: [x, 'yé']\n";
        let Content::Map(map) = load(space().into(), text).unwrap().value else { panic!() };
        let Content::List(list) = &map[1].1.value else { panic!() };
        assert_eq!(&text[list[0].span.start..list[0].span.end], "x");
        assert_eq!(&text[list[1].span.start..list[1].span.end], "'yé'");
    }
}
