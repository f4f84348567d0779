//! The parameters of a model file. Kind and unit of a parameter follow from its default.

use granule_engine::Parameter;
use granule_engine::space::{Kind, Range, Unit, Value};

use super::entries::about;
use super::names::{MOST_NAME, fitting_name, is_name};
use crate::arithmetic::{Declared, Operand};
use crate::diagnostics::{Problem, Problems};
use crate::examples::with_unit;
use crate::suggest;
use crate::text::{Span, quote};
use crate::units::{self, unit_of};
use crate::value::{self, MOST_QUANTITIES, ValueEntry, entries};
use crate::vocabulary::{KEYS, KEYS_OF_PARAMETER};
use crate::yaml::{self, Node};

const MOST_PARAMETERS: usize = 200;
const MOST_CHOICES: usize = 64;
const MOST_CHOICE: usize = 40;

const EXAMPLE: &str = "synapse.weight: { default: 1.6 nS }";

/// The words for `kind`.
pub(super) const KINDS: [&str; 5] = ["number", "count", "flag", "choice", "list"];

/// A parameter whose texts have not been leaked.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    path: String,
    default: Meant,
    range: Option<(f64, f64)>,
    about: String,
}

/// A default, with the kind that follows from it.
#[derive(Clone, Debug)]
enum Meant {
    Number(Unit, f64),
    Count(u32),
    Flag(bool),
    /// The choices, and the index of the default.
    Choice(Vec<String>, usize),
    List(Unit, Vec<f64>),
}

impl Draft {
    /// Makes the parameter. Its texts stay in memory until the program ends.
    pub(super) fn leak(self) -> Parameter {
        let leaked = |text: String| -> &'static str { if text.is_empty() { "" } else { text.leak() } };
        let between = self.range.map(|(low, high)| Range::Between(low, high));
        let (kind, default) = match self.default {
            Meant::Number(unit, x) => (Kind::Quantity(unit), Value::Number(x)),
            Meant::Count(n) => (Kind::Count, Value::Count(n)),
            Meant::Flag(flag) => (Kind::Flag, Value::Flag(flag)),
            Meant::Choice(choices, chosen) => {
                let choices: Vec<&'static str> = choices.into_iter().map(leaked).collect();
                let chosen = choices[chosen];
                (Kind::Choice(choices.leak()), Value::Choice(chosen))
            }
            Meant::List(unit, list) => (Kind::Quantities(unit), Value::Numbers(list)),
        };
        let range = between.unwrap_or(if kind == Kind::Count { Range::NonNegative } else { Range::Finite });
        Parameter::new(leaked(self.path), kind, range, default, leaked(self.about))
    }
}

/// The parameters that a file declares.
#[derive(Default)]
pub(super) struct Declarations {
    /// Each path, with its parameter if it is valid.
    all: Vec<(String, Option<Draft>)>,
    /// Whether some paths could not be read.
    is_broken: bool,
}

impl Declarations {
    /// Returns the names that arithmetic can contain.
    pub(super) fn scope(&self) -> Vec<(&str, Declared)> {
        let declared = |draft: &Option<Draft>| match draft.as_ref().map(|draft| &draft.default) {
            None => Declared::Wrong,
            Some(Meant::Number(unit, _)) => Declared::Number(unit.symbol()),
            Some(Meant::Count(_)) => Declared::Number(""),
            Some(Meant::Flag(_)) => Declared::Other("a flag"),
            Some(Meant::Choice(..)) => Declared::Other("a choice"),
            Some(Meant::List(..)) => Declared::Other("a list"),
        };
        self.all.iter().map(|(path, draft)| (path.as_str(), declared(draft))).collect()
    }

    /// Returns whether arithmetic may contain paths that could not be read.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Returns the default of the parameter of this path, if it is a number.
    pub(super) fn default_of(&self, path: &str) -> Option<Operand> {
        let (_, draft) = self.all.iter().find(|(of, _)| of == path)?;
        match &draft.as_ref()?.default {
            Meant::Number(unit, x) => Operand::number(*x, unit.symbol()),
            Meant::Count(n) => Some(Operand::count(*n)),
            _ => None,
        }
    }

    /// Returns all parameters; `None` if one is wrong.
    pub(super) fn into_drafts(self) -> Option<Vec<Draft>> {
        self.all.into_iter().map(|(_, draft)| draft).collect::<Option<_>>().filter(|_| !self.is_broken)
    }
}

/// Reads the parameters.
pub(super) fn parameters(node: &Node, problems: &mut Problems) -> Declarations {
    let mut declared = Declarations::default();
    let yaml::Content::Map(map) = &node.value else {
        problems.add(|| {
            Problem::at(node.span, format!("`parameters` must be a mapping of paths, not {}", node.shown()))
                .help(format!("write it like `parameters: {{ {EXAMPLE} }}`"))
        });
        declared.is_broken = true;
        return declared;
    };
    if map.len() > MOST_PARAMETERS {
        problems.add(|| {
            let message =
                format!("{} parameters are declared; at most {MOST_PARAMETERS} are possible", map.len());
            Problem::at(node.span, message).help("use fewer; a list is one parameter")
        });
        declared.is_broken = true;
        return declared;
    }
    for entry in entries(map, problems) {
        let is_path = check_path(&entry, problems);
        let draft = if is_path { parameter(&entry, problems) } else { None };
        // A group with several parameters in it is a path of none of them.
        declared.is_broken |= !is_path;
        declared.all.push((entry.key.to_owned(), draft));
    }
    declared.is_broken |= declared.all.len() < map.len();
    declared
}

/// Checks that a key is a group and a name.
fn check_path(entry: &ValueEntry<'_>, problems: &mut Problems) -> bool {
    const FORM: &str = "a path is a group and a name, as in `synapse.weight`";
    let &ValueEntry { key, key_span, value } = entry;
    let parts: Vec<&str> = key.split('.').collect();
    let fitting: Vec<String> = parts.iter().map(|part| fitting_name(part)).collect();
    let problem = |message: String, help: String| Problem::at(key_span, message).help(help);
    let is_right = match parts.as_slice() {
        [group, name] if is_name(group) && is_name(name) => {
            if !KEYS.contains(group) {
                return true;
            }
            problems.add(|| {
                let message =
                    format!("the group of `{key}` cannot be `{group}`, which is a key of sweep files");
                problem(message, format!("rename the group, as in `my_{group}.{name}`"))
            });
            return false;
        }
        [_, _] => fitting.iter().all(|part| is_name(part)) && fitting.join(".") != key,
        _ => false,
    };
    problems.add(|| match (parts.as_slice(), &value.value) {
        ([_, _], _) if parts.iter().any(|part| part.len() > MOST_NAME) => problem(
            format!("each part of {} can have at most {MOST_NAME} characters", quote(key)),
            "use shorter names".to_owned(),
        ),
        _ if is_right => problem(
            format!("{} is not a path of a parameter", quote(key)),
            format!("write `{}`", fitting.join(".")),
        ),
        ([group], yaml::Content::Map(map)) if !map.iter().any(|(key, _)| is_key_of_parameter(key)) => {
            let first = map.iter().find_map(|(key, _)| match &key.value {
                yaml::Content::Scalar { text, .. } => Some(text.as_str()),
                _ => None,
            });
            let path = format!("{group}.{}", first.unwrap_or("weight"));
            problem(
                format!("{} is a group, not a parameter", quote(key)),
                format!("write dotted paths, such as `{path}: …`"),
            )
        }
        ([name], _) => {
            let name = if is_name(name) { name } else { "weight" };
            problem(
                format!("the parameter {} has no group", quote(key)),
                format!("write it like `synapse.{name}`"),
            )
        }
        ([_, _], _) => problem(
            format!("{} is not a path of a parameter", quote(key)),
            format!(
                "{FORM}; each has letters from a to z, digits and `_`, at most {}, a letter first",
                MOST_NAME
            ),
        ),
        _ => problem(format!("{} has {} parts", quote(key), parts.len()), FORM.to_owned()),
    });
    false
}

fn is_key_of_parameter(key: &Node) -> bool {
    matches!(&key.value, yaml::Content::Scalar { text, .. } if KEYS_OF_PARAMETER.contains(&text.as_str()))
}

/// The entries of a parameter.
#[derive(Default)]
struct Given<'a> {
    default: Option<&'a Node>,
    range: Option<&'a Node>,
    kind: Option<&'a Node>,
    choices: Option<&'a Node>,
    about: Option<(Span, &'a Node)>,
}

fn parameter(entry: &ValueEntry<'_>, problems: &mut Problems) -> Option<Draft> {
    let &ValueEntry { key: path, key_span, value: node } = entry;
    let yaml::Content::Map(map) = &node.value else {
        problems.add(|| {
            let message =
                format!("the parameter `{path}` must be a mapping with `default`, not {}", node.shown());
            Problem::at(node.span, message).help(match &node.value {
                yaml::Content::Scalar { text, .. } => format!("write `{{ default: {text} }}`"),
                _ => format!("write it like `{EXAMPLE}`"),
            })
        });
        return None;
    };
    let before = problems.count();
    let mut given = Given::default();
    for ValueEntry { key, key_span, value } in entries(map, problems) {
        match key {
            "default" => given.default = Some(value),
            "range" => given.range = Some(value),
            "kind" => given.kind = Some(value),
            "choices" => given.choices = Some(value),
            "about" => given.about = Some((key_span, value)),
            _ => problems.add(|| unknown_key(key, key_span)),
        }
    }
    let about = given.about.map(|(key, node)| about(&format!("{path}.about"), key, node, problems));
    let Some(default) = given.default else {
        // An unknown key may be this one, mistyped.
        if problems.count() == before {
            problems.add(|| {
                Problem::at(key_span, format!("the parameter `{path}` has no `default`"))
                    .help("add one, such as `default: 1.6 nS`, `4000`, `0.5`, `true` or `[100 ms, 200 ms]`")
            });
        }
        return None;
    };
    let kind = match given.kind {
        Some(node) => Some(KINDS[value::choice(&format!("{path}.kind"), &KINDS, node, problems)?]),
        None => None,
    };
    let read = read(path, kind, default, &given, problems)?;
    let range = match given.range {
        Some(node) => Some(range(path, kind, &read, node, problems)?),
        None => None,
    };
    check_range(path, &read, range, default, problems);
    (problems.count() == before).then(|| Draft {
        path: path.to_owned(),
        default: read,
        range,
        about: about.flatten().unwrap_or_default(),
    })
}

fn unknown_key(key: &str, span: Span) -> Problem {
    let help = match key {
        "unit" | "units" => "write the unit after the number, as in `default: 1.6 nS`".to_owned(),
        "min" | "max" | "minimum" | "maximum" | "low" | "high" => {
            "write both ends, as in `range: [0 nS, 20 nS]`".to_owned()
        }
        "value" => "write `default`".to_owned(),
        "type" => "write `kind`, or leave it out; the default shows the kind".to_owned(),
        "description" | "meaning" | "doc" | "help" => "write `about`".to_owned(),
        "options" | "values" | "enum" => "write `choices`".to_owned(),
        _ => suggest::help(key, "the keys are", &KEYS_OF_PARAMETER),
    };
    Problem::at(span, format!("unknown key {} in a parameter", quote(key))).help(help)
}

/// Returns the kind that follows from a default; reports a default from which none follows.
fn kind_of(path: &str, default: &Node, has_choices: bool, problems: &mut Problems) -> Option<&'static str> {
    let text = match &default.value {
        _ if has_choices => return Some("choice"),
        yaml::Content::List(_) => return Some("list"),
        yaml::Content::Scalar { text, .. } => text.as_str(),
        _ => {
            problems.add(|| {
                Problem::at(default.span, format!("the default of `{path}` cannot be {}", default.kind()))
                    .help("write a number, a quantity, `true`, `false`, a word or a list")
            });
            return None;
        }
    };
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "true" | "false" | "yes" | "no" | "on" | "off") {
        return Some("flag");
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Some("count");
    }
    if units::split(text).is_some() {
        return Some("number");
    }
    problems.add(|| {
        let shown = default.shown();
        let bare = lower.trim_start_matches(['+', '-', '.']);
        let is_word = text.starts_with(|c: char| c.is_alphabetic());
        let (message, help) = if text.is_empty() {
            (
                format!("the default of `{path}` is empty"),
                "write a number, a quantity, `true` or `false`, or a word",
            )
        } else if matches!(bare, "nan" | "inf" | "infinity") {
            (format!("the default of `{path}` must be a finite number, not {shown}"), "write a number")
        } else if is_word {
            let message =
                format!("the default of `{path}` is the word {shown}, but the parameter has no `choices`");
            (message, "add all of its values, as in `choices: [lif, adex]`")
        } else if text.contains(',') {
            let message = format!("the default of `{path}` is not a number: {shown}");
            (message, "write the decimal point as `.`, and nothing between thousands")
        } else {
            let message = format!("the default of `{path}` is not a number: {shown}");
            (message, "write a number with at most one unit, as in `0.5` or `1.6 nS`")
        };
        Problem::at(default.span, message).help(help)
    });
    None
}

/// Reads a default of a kind, or of the kind that follows from it.
fn read(
    path: &str,
    kind: Option<&str>,
    default: &Node,
    given: &Given<'_>,
    problems: &mut Problems,
) -> Option<Meant> {
    let kind = match kind {
        Some(kind) => kind,
        None => kind_of(path, default, given.choices.is_some(), problems)?,
    };
    if let Some(choices) = given.choices.filter(|_| kind != "choice") {
        problems.add(|| {
            Problem::at(choices.span, format!("`{path}` is of kind `{kind}`, which has no `choices`"))
                .help("remove `choices`, or write `kind: choice`")
        });
        return None;
    }
    match kind {
        "count" => value::count(path, 0, u32::MAX, default, problems).map(Meant::Count),
        "flag" => value::flag(path, default, problems).map(Meant::Flag),
        "list" => list(path, default, given.range, problems),
        "choice" => choice(path, default, given.choices, problems),
        _ => {
            let unit = unit(default, problems)?;
            let example = with_unit(1.6, unit.symbol());
            value::number(path, unit, &example, default, problems).map(|x| Meant::Number(unit, x))
        }
    }
}

/// Returns the unit of a number; reports an unknown unit. A text that is not a number has none.
fn unit(node: &Node, problems: &mut Problems) -> Option<Unit> {
    let yaml::Content::Scalar { text, .. } = &node.value else { return Some(Unit::One) };
    let Some((number, symbol)) = units::split(text) else { return Some(Unit::One) };
    let unit = unit_of(symbol);
    if unit.is_none() {
        problems.add(|| {
            Problem::at(node.span, format!("unknown unit {}", quote(symbol)))
                .help(units::help_for_unknown(number, symbol))
        });
    }
    unit
}

fn list(path: &str, node: &Node, range: Option<&Node>, problems: &mut Problems) -> Option<Meant> {
    let yaml::Content::List(items) = &node.value else {
        problems.add(|| {
            Problem::at(node.span, format!("`{path}` must be a list, not {}", node.shown())).help(match &node
                .value
            {
                yaml::Content::Scalar { text, .. } => format!("write `[{text}]`"),
                _ => "write it like `[100 ms, 200 ms]`".to_owned(),
            })
        });
        return None;
    };
    if items.len() > MOST_QUANTITIES {
        problems.add(|| {
            let message =
                format!("`{path}` has {} entries; at most {MOST_QUANTITIES} are possible", items.len());
            Problem::at(node.span, message).help("use fewer")
        });
        return None;
    }
    // An empty list has the unit of its range.
    let of_range = match range.map(|range| &range.value) {
        Some(yaml::Content::List(ends)) => ends.first(),
        _ => None,
    };
    let unit = items.first().or(of_range).map_or(Some(Unit::One), |first| unit(first, problems))?;
    let example = with_unit(100.0, unit.symbol());
    let read: Vec<Option<f64>> =
        items.iter().map(|item| value::number(path, unit, &example, item, problems)).collect();
    Some(Meant::List(unit, read.into_iter().collect::<Option<_>>()?))
}

fn choice(path: &str, default: &Node, choices: Option<&Node>, problems: &mut Problems) -> Option<Meant> {
    let Some(node) = choices else {
        problems.add(|| {
            Problem::at(default.span, format!("`{path}` is of kind `choice`, but has no `choices`"))
                .help("add all of its values, as in `choices: [lif, adex]`")
        });
        return None;
    };
    let items = match &node.value {
        yaml::Content::List(items) if (1..=MOST_CHOICES).contains(&items.len()) => items,
        yaml::Content::List(items) => {
            problems.add(|| {
                let message = match items.len() {
                    0 => format!("`choices` of `{path}` is empty"),
                    len => format!(
                        "`choices` of `{path}` has {len} entries; at most {MOST_CHOICES} are possible"
                    ),
                };
                Problem::at(node.span, message).help("write its values, as in `choices: [lif, adex]`")
            });
            return None;
        }
        _ => {
            problems.add(|| {
                Problem::at(node.span, format!("`choices` of `{path}` must be a list, not {}", node.shown()))
                    .help("write it like `choices: [lif, adex]`")
            });
            return None;
        }
    };
    let mut words: Vec<String> = Vec::new();
    let before = problems.count();
    for item in items {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match &item.value {
            yaml::Content::Scalar { text, .. } if words.contains(text) => problems.add(|| {
                Problem::at(item.span, format!("`choices` of `{path}` has {} twice", quote(text)))
                    .help("remove one of them")
            }),
            yaml::Content::Scalar { text, .. }
                if !text.is_empty() && text.len() <= MOST_CHOICE && text.chars().all(fits) =>
            {
                words.push(text.clone());
            }
            _ => problems.add(|| {
                Problem::at(item.span, format!("a choice of `{path}` cannot be {}", item.shown()))
                    .help(format!("a choice has letters, digits, `.`, `_` and `-`, at most {MOST_CHOICE}"))
            }),
        }
    }
    if problems.count() > before {
        return None;
    }
    let known: Vec<&str> = words.iter().map(String::as_str).collect();
    let chosen = value::choice(&format!("{path}.default"), &known, default, problems)?;
    Some(Meant::Choice(words, chosen))
}

/// Reads a range. Returns `None` if it is wrong.
fn range(
    path: &str,
    kind: Option<&str>,
    default: &Meant,
    node: &Node,
    problems: &mut Problems,
) -> Option<(f64, f64)> {
    let (unit, is_count) = match default {
        Meant::Number(unit, _) | Meant::List(unit, _) => (*unit, false),
        Meant::Count(_) => (Unit::One, true),
        Meant::Flag(_) => {
            problems.add(|| {
                Problem::at(node.span, format!("`{path}` is a flag, which has no range"))
                    .help("remove `range`")
            });
            return None;
        }
        Meant::Choice(..) => {
            problems.add(|| {
                Problem::at(node.span, format!("`{path}` is a choice, which has no range"))
                    .help("remove `range`; `choices` lists all values")
            });
            return None;
        }
    };
    let example = |x: f64| with_unit(x, unit.symbol());
    let ends = match &node.value {
        yaml::Content::List(items) => items.first_chunk::<2>().filter(|_| items.len() == 2),
        _ => None,
    };
    let Some([first, last]) = ends else {
        problems.add(|| {
            let found = match &node.value {
                yaml::Content::List(items) if items.len() == 1 => "1 entry".to_owned(),
                yaml::Content::List(items) => format!("{} entries", items.len()),
                _ => node.shown(),
            };
            let message =
                format!("the range of `{path}` must be the least and the greatest value, not {found}");
            Problem::at(node.span, message).help(format!(
                "write it like `range: [{}, {}]`",
                example(0.0),
                example(100.0)
            ))
        });
        return None;
    };
    // The default of these ends probably lacks its unit.
    let has_unit = |node: &&Node| match &node.value {
        yaml::Content::Scalar { text, .. } => {
            units::split(text).is_some_and(|(_, of)| unit_of(of).is_some_and(|of| of != Unit::One))
        }
        _ => false,
    };
    if unit == Unit::One
        && let Some(end) = [first, last].into_iter().find(has_unit)
    {
        problems.add(|| {
            let message =
                format!("the range of `{path}` has the unit of {}, but its default has none", end.shown());
            Problem::at(end.span, message)
                .help("write the unit after the default, too, as in `default: 1.6 nS`")
        });
        return None;
    }
    let mut end = |node: &Node| {
        let what = format!("{path}.range");
        if !is_count {
            return value::number(&what, unit, &example(100.0), node, problems);
        }
        // A whole default can also be meant as a number.
        let is_fraction = match &node.value {
            yaml::Content::Scalar { text, quoted: false } => {
                units::quantity(text, Unit::One).is_ok_and(|x| x < 0.0 || x.fract() != 0.0)
            }
            _ => false,
        };
        if kind.is_none() && is_fraction {
            problems.add(|| {
                let message = format!("`{path}` is a count, but its range has {}", node.shown());
                Problem::at(node.span, message).help(
                    "a whole default makes a count, from 0 up; add `kind: number`, or write whole numbers",
                )
            });
            return None;
        }
        value::count(&what, 0, u32::MAX, node, problems).map(f64::from)
    };
    let (low, high) = (end(first), end(last));
    let (low, high) = (low?, high?);
    if low > high {
        problems.add(|| {
            Problem::at(node.span, format!("the range of `{path}` ends below its start")).help(format!(
                "write `[{}, {}]`",
                example(high),
                example(low)
            ))
        });
        return None;
    }
    Some((low, high))
}

/// Reports a default that is out of its range.
fn check_range(path: &str, default: &Meant, range: Option<(f64, f64)>, node: &Node, problems: &mut Problems) {
    let Some((low, high)) = range else { return };
    let count;
    let (unit, numbers): (Unit, &[f64]) = match default {
        Meant::Number(unit, x) => (*unit, std::slice::from_ref(x)),
        Meant::List(unit, list) => (*unit, list),
        Meant::Count(n) => {
            count = [f64::from(*n)];
            (Unit::One, &count)
        }
        Meant::Flag(_) | Meant::Choice(..) => return,
    };
    let Some(at) = numbers.iter().position(|x| !(low..=high).contains(x)) else { return };
    let culprit = match &node.value {
        yaml::Content::List(items) => items.get(at).unwrap_or(node),
        _ => node,
    };
    problems.add(|| {
        let symbol = unit.symbol();
        let words = Range::Between(low, high).in_words(symbol);
        let message =
            format!("the default of `{path}` must be {words}, not {}", with_unit(numbers[at], symbol));
        Problem::at(culprit.span, message).help("change the default, or make its `range` wider")
    });
}
