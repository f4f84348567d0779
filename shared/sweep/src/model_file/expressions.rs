//! The sizes of a model: populations, the duration of a trial, and the shapes of its results.

use bigdecimal::BigDecimal;
use granule_engine::space::Parameter;
use granule_engine::{Inconsistent, Values};

use super::entries::{about, text};
use super::model::{ModelFile, ReturnDeclared};
use super::names::{is_name, unfit_name};
use super::parameters::Declarations;

use crate::arithmetic::{self, Arithmetic, Lookup, Mistake, Scope, operand};
use crate::diagnostics::{Problem, Problems, line_number};
use crate::suggest;
use crate::text::{Span, quote};
use crate::units::Powers;
use crate::value::{ValueEntry, entries};
use crate::vocabulary::KEYS_OF_RETURN;
use crate::yaml::{self, Node};

const MOST_POPULATIONS: usize = 16;
const MOST_RETURNS: usize = 64;
const MOST_AXES: usize = 3;
const MOST_UNIT: usize = 40;

/// The sizes of a model for values of its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Cells of each population, at least one.
    pub populations: Vec<u32>,
    /// Length of a trial, ms; 0 if the model has no duration.
    pub duration_ms: f64,
    /// Steps of a trial, of which `steps_per_ms` make a millisecond; 0 if the model has no duration.
    pub steps: u32,
    /// Length of each axis of each result, at least one.
    pub shapes: Vec<Vec<u32>>,
}

impl ModelFile {
    /// Computes the sizes that follow from values of the parameters.
    ///
    /// # Errors
    /// The first population, duration or length of an array that is not possible.
    pub fn sizes(&self, values: &Values) -> Result<Sizes, Inconsistent> {
        let parameter = |path: &str| -> Option<&'static Parameter> { values.space().parameter(path) };
        let lookup = |path: &str| {
            let parameter = parameter(path)?;
            operand(parameter, values.of(parameter))
        };
        let inconsistent = |of: &Arithmetic, message: String| Inconsistent {
            message,
            paths: of.paths().filter_map(|path| Some(parameter(path)?.path)).collect(),
            remedy: "change one of these parameters, or the arithmetic in the model file".to_owned(),
        };
        let cells = |(name, of): &(String, Arithmetic)| {
            let cells = of.whole_with(1, &lookup);
            cells.map_err(|fault| inconsistent(of, format!("{}: {fault}", of_population(name))))
        };
        let length = |name: &str, of: &Arithmetic| {
            let length = of.whole_with(1, &lookup);
            length.map_err(|fault| inconsistent(of, format!("{}: {fault}", of_length(name))))
        };
        let shape = |of: &ReturnDeclared| of.shape.iter().map(|axis| length(&of.name, axis)).collect();
        let (duration_ms, steps) = match &self.duration {
            Some(of) => steps(of, self.steps_per_ms, &lookup)
                .map_err(|fault| inconsistent(of, format!("{OF_DURATION}: {fault}")))?,
            None => (0.0, 0),
        };
        Ok(Sizes {
            populations: self.populations.iter().map(cells).collect::<Result<_, _>>()?,
            duration_ms,
            steps,
            shapes: self.returns.iter().map(shape).collect::<Result<_, _>>()?,
        })
    }
}

const OF_DURATION: &str = "`duration`";

fn of_population(name: &str) -> String {
    format!("the size of population `{name}`")
}

fn of_length(name: &str) -> String {
    format!("a length in the shape of `{name}`")
}

/// Computes the length of a trial in milliseconds, and its number of steps.
fn steps(of: &Arithmetic, steps_per_ms: u32, lookup: &Lookup<'_>) -> Result<(f64, u32), String> {
    let ms = of.evaluate_with(lookup)?;
    if ms <= 0 {
        return Err(of.unfit(&ms, "which is not above 0", lookup));
    }
    let steps = (&ms * BigDecimal::from(steps_per_ms)).normalized();
    if !steps.is_integer() {
        let step = 1.0 / f64::from(steps_per_ms);
        let fault = format!("which is not a whole number of steps of {step} ms");
        return Err(of.unfit(&ms, &fault, lookup));
    }
    if steps > u32::MAX {
        return Err(of.unfit(&ms, &format!("which is more than {} steps", u32::MAX), lookup));
    }
    let whole = steps.with_scale(0).to_plain_string().parse();
    let ms = ms.to_scientific_notation().parse();
    Ok((ms.unwrap_or_default(), whole.unwrap_or_default()))
}

/// Returns the names of populations, whether valid or not.
pub(super) fn names(node: &Node) -> Vec<&str> {
    named(node).into_iter().map(|(name, _)| name).collect()
}

/// Returns the names of populations with their positions, whether valid or not.
pub(super) fn named(node: &Node) -> Vec<(&str, Span)> {
    let yaml::Content::Map(map) = &node.value else { return Vec::new() };
    let mut names = Vec::new();
    for (key, _) in map {
        if let yaml::Content::Scalar { text, .. } = &key.value {
            names.push((text.as_str(), key.span));
        }
    }
    names
}

/// Reads expressions over the declared parameters, and checks their results at the defaults.
pub(super) struct Reader<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) declared: &'a Declarations,
}

impl Reader<'_> {
    /// Reads an expression; `what` names it in messages, `example` is a valid one.
    fn expression(
        &self,
        what: &str,
        wanted: Powers,
        example: &str,
        node: &Node,
        problems: &mut Problems,
    ) -> Option<Arithmetic> {
        let yaml::Content::Scalar { text, .. } = &node.value else {
            problems.add(|| {
                let kind = if wanted == Powers::TIME { "a time" } else { "a number" };
                let message =
                    format!("{what} must be {kind} or arithmetic of parameters, not {}", node.kind());
                Problem::at(node.span, message).help(format!("write it like `{example}`"))
            });
            return None;
        };
        match arithmetic::read(text, what, wanted, &self.scope) {
            Ok(arithmetic) => Some(arithmetic),
            Err(None) => None,
            Err(Some(Mistake { range, message, help })) => {
                // Quotes and folded lines move the characters.
                let is_as_in_file = problems.text().get(node.span.start..node.span.end) == Some(text);
                let span = match is_as_in_file && !range.is_empty() {
                    true => Span { start: node.span.start + range.start, end: node.span.start + range.end },
                    false => node.span,
                };
                problems.add(|| Problem::at(span, message).help(help));
                None
            }
        }
    }

    /// Reads an expression that is a whole number from 1.
    fn whole(&self, what: &str, example: &str, node: &Node, problems: &mut Problems) -> Option<Arithmetic> {
        let arithmetic = self.expression(what, Powers::NUMBER, example, node, problems)?;
        let whole = arithmetic.whole_with(1, &|path| self.declared.default_of(path));
        self.at_defaults(what, "write a whole number from 1 to 4294967295", arithmetic, whole, node, problems)
    }

    /// Reports that an expression has no valid result at the defaults. `instead` is the help if it has no parameters.
    fn at_defaults<T>(
        &self,
        what: &str,
        instead: &str,
        arithmetic: Arithmetic,
        result: Result<T, String>,
        node: &Node,
        problems: &mut Problems,
    ) -> Option<Arithmetic> {
        let Err(fault) = result else { return Some(arithmetic) };
        problems.add(|| {
            let is_constant = arithmetic.paths().next().is_none();
            Problem::at(node.span, format!("{what}: {fault}")).help(match is_constant {
                true => instead,
                false => "change the arithmetic or the defaults of its parameters",
            })
        });
        None
    }

    /// Reads the length of a trial.
    pub(super) fn duration(
        &self,
        node: &Node,
        steps_per_ms: Option<u32>,
        problems: &mut Problems,
    ) -> Option<Arithmetic> {
        let arithmetic = self.expression(OF_DURATION, Powers::TIME, "duration: 500 ms", node, problems)?;
        let result = steps(&arithmetic, steps_per_ms?, &|path| self.declared.default_of(path));
        let instead = "write a time such as `500 ms`, a whole number of steps of `resolution`";
        self.at_defaults(OF_DURATION, instead, arithmetic, result, node, problems)
    }

    /// Reads the populations.
    pub(super) fn populations(
        &self,
        node: &Node,
        problems: &mut Problems,
    ) -> Option<Vec<(String, Arithmetic)>> {
        const EXAMPLE: &str = "populations: { excitatory: 800, inhibitory: 200 }";
        let map = mapping("populations", EXAMPLE, MOST_POPULATIONS, node, problems)?;
        let mut read = Vec::new();
        for ValueEntry { key, key_span, value } in entries(map, problems) {
            let what = of_population(key);
            let size = self.whole(&what, &format!("{key}: 800"), value, problems);
            if !is_name(key) {
                problems.add(|| unfit_name("a population", key, key_span));
                continue;
            }
            read.push(size.map(|size| (key.to_owned(), size)));
        }
        let has_all = read.len() == map.len();
        read.into_iter().collect::<Option<Vec<_>>>().filter(|_| has_all)
    }

    /// Reads the results other than spikes. `taken` are the names of populations.
    pub(super) fn returns(
        &self,
        node: &Node,
        taken: &[(&str, Span)],
        problems: &mut Problems,
    ) -> Option<Vec<ReturnDeclared>> {
        const EXAMPLE: &str = "returns: { rate: { unit: Hz } }";
        let map = mapping("returns", EXAMPLE, MOST_RETURNS, node, problems)?;
        let mut read = Vec::new();
        for ValueEntry { key, key_span, value } in entries(map, problems) {
            let declared = self.declared_return(key, value, problems);
            if !is_name(key) {
                problems.add(|| unfit_name("a result", key, key_span));
                continue;
            }
            if let Some((_, span)) = taken.iter().find(|(name, _)| *name == key) {
                let line = line_number(problems.text(), span.start);
                problems.add(|| {
                    Problem::at(key_span, format!("`{key}` is already the name of a population"))
                        .help(format!("rename one of them; the population is on line {line}"))
                });
            }
            if is_column(key, taken) {
                problems.add(|| {
                    Problem::at(key_span, format!("tables of results already have a column `{key}`"))
                        .help("rename the result")
                });
            }
            read.push(declared);
        }
        let has_all = read.len() == map.len();
        read.into_iter().collect::<Option<Vec<_>>>().filter(|_| has_all)
    }

    fn declared_return(&self, name: &str, node: &Node, problems: &mut Problems) -> Option<ReturnDeclared> {
        let mut declared = ReturnDeclared {
            name: name.to_owned(),
            unit: String::new(),
            shape: Vec::new(),
            about: String::new(),
        };
        let map = match &node.value {
            yaml::Content::Map(map) => map,
            yaml::Content::Null => return Some(declared),
            _ => {
                problems.add(|| {
                    let message = format!("the result `{name}` must be a mapping, not {}", node.shown());
                    Problem::at(node.span, message).help(match &node.value {
                        yaml::Content::Scalar { text, quoted: false }
                            if text.chars().all(char::is_alphabetic) =>
                        {
                            format!("write `{{ unit: {text} }}`")
                        }
                        _ => format!("write it like `{name}: {{ unit: Hz, shape: [500] }}`"),
                    })
                });
                return None;
            }
        };
        let before = problems.count();
        for ValueEntry { key, key_span, value } in entries(map, problems) {
            let path = format!("`returns.{name}.{key}`");
            match key {
                "unit" => {
                    let unit = text(&path, MOST_UNIT, "unit: Hz", value, key_span, problems);
                    declared.unit = unit.unwrap_or_default().to_owned();
                }
                "about" => {
                    let about = about(&format!("returns.{name}.about"), key_span, value, problems);
                    declared.about = about.unwrap_or_default();
                }
                "shape" => declared.shape = self.shape(name, value, problems).unwrap_or_default(),
                _ => problems.add(|| {
                    Problem::at(key_span, format!("unknown key {} in a result", quote(key))).help(match key {
                        "description" | "meaning" | "doc" => "write `about`".to_owned(),
                        "dims" | "size" | "length" | "dimensions" => "write `shape`".to_owned(),
                        _ => suggest::help(key, "the keys are", &KEYS_OF_RETURN),
                    })
                }),
            }
        }
        (problems.count() == before).then_some(declared)
    }

    fn shape(&self, name: &str, node: &Node, problems: &mut Problems) -> Option<Vec<Arithmetic>> {
        let what = format!("the shape of `{name}`");
        let items = match &node.value {
            yaml::Content::List(items) if (1..=MOST_AXES).contains(&items.len()) => items,
            other => {
                problems.add(|| match other {
                    yaml::Content::List(items) if items.is_empty() => {
                        Problem::at(node.span, format!("{what} is empty"))
                            .help("leave `shape` out; the result is then a number")
                    }
                    yaml::Content::List(items) => {
                        let message =
                            format!("{what} has {} axes; at most {MOST_AXES} are possible", items.len());
                        Problem::at(node.span, message).help("combine axes into one")
                    }
                    yaml::Content::Scalar { text, quoted: false } if !text.contains([',', ':', '#']) => {
                        Problem::at(node.span, format!("{what} must be a list, not {}", node.shown()))
                            .help(format!("write `[{text}]`"))
                    }
                    _ => Problem::at(
                        node.span,
                        format!("{what} must be a list of lengths, not {}", node.shown()),
                    )
                    .help("write it like `shape: [500]`"),
                });
                return None;
            }
        };
        let read: Vec<Option<Arithmetic>> =
            items.iter().map(|item| self.whole(&of_length(name), "500", item, problems)).collect();
        read.into_iter().collect()
    }
}

/// Returns the entries of a mapping of names, at most so many.
fn mapping<'n>(
    key: &str,
    example: &str,
    most: usize,
    node: &'n Node,
    problems: &mut Problems,
) -> Option<&'n [(Node, Node)]> {
    let (message, help) = match &node.value {
        yaml::Content::Map(map) if map.len() <= most => return Some(map),
        yaml::Content::Map(map) => {
            let message = format!("`{key}` has {} entries; at most {most} are possible", map.len());
            (message, "combine some of them".to_owned())
        }
        _ => {
            let message = format!("`{key}` must be a mapping of names, not {}", node.shown());
            (message, format!("write it like `{example}`"))
        }
    };
    problems.add(|| Problem::at(node.span, message).help(help));
    None
}

/// Whether tables have a column of this name beside the results. There are columns for condition, seed, trial and window,
/// and for spikes and rate of each population.
fn is_column(name: &str, populations: &[(&str, Span)]) -> bool {
    let is_of_population = |ending: &str| {
        let population = name.strip_suffix(ending);
        population.is_some_and(|name| populations.iter().any(|(of, _)| *of == name))
    };
    ["condition", "seed", "trial", "trials", "window_from_ms", "window_to_ms"].contains(&name)
        || is_of_population("_hz")
        || is_of_population("_spikes")
}
