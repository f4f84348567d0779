//! An axis: a parameter and its values, listed or made by a rule.

use bigdecimal::BigDecimal;
use granule_engine::decimal::decimal;
use granule_engine::elementary::pow;
use granule_engine::space::{CellFactor, Kind, Parameter, Rejected, Space, Unit, Value};
use granule_statistics::sequence::{MOST_INPUTS, Saltelli};

use crate::diagnostics::{Problem, Problems};
use crate::draws::{Distribution, independent, stratified};
use crate::examples::{example, whole_example};
use crate::limits::MOST_CONDITIONS;
use crate::suggest;
use crate::text::{Span, quote};
use crate::units::{self, UnfitQuantity};
use crate::value::{self, ValueEntry, entries};
use crate::yaml::{self, Node};

/// The rules that can make the values of an axis, other than a list.
pub(crate) const RULES: [&str; 4] = ["linspace", "logspace", "arange", "random"];

/// The distributions from which random values can be drawn.
pub(crate) const DISTRIBUTIONS: [&str; 3] = ["uniform", "loguniform", "normal"];

/// Name of the third entry of `linspace` and `logspace` in messages.
const COUNT: &str = "the number of values";

/// A parameter and its values. The parameter can take each of them.
pub(crate) struct GridAxis {
    pub(crate) parameter: &'static Parameter,
    /// Position of the parameter's name.
    pub(crate) span: Span,
    /// At least one value, each with its position.
    pub(crate) values: Vec<(Value, Span)>,
}

/// Reads an axis of `grid` or `zip`; `key` is the position of its name.
pub(crate) fn axis(
    parameter: &'static Parameter,
    key: Span,
    node: &Node,
    problems: &mut Problems,
) -> Option<GridAxis> {
    let space = problems.space();
    let values = match &node.value {
        yaml::Content::List(items) => listed(parameter, node, items, problems)?,
        yaml::Content::Map(map) => match map.as_slice() {
            [(Node { value: yaml::Content::Scalar { text, .. }, span }, argument)] => {
                made(parameter, text, *span, node, argument, problems)?
            }
            _ => {
                problems.add(|| not_an_axis(space, parameter, node));
                return None;
            }
        },
        _ => {
            problems.add(|| not_an_axis(space, parameter, node));
            return None;
        }
    };
    Some(GridAxis { parameter, span: key, values })
}

fn not_an_axis(space: &'static Space, parameter: &Parameter, node: &Node) -> Problem {
    let (path, rules) = (parameter.path, suggest::list(&RULES));
    let message = match &node.value {
        yaml::Content::Map(_) => format!("the axis `{path}` must be a list, or have exactly one of {rules}"),
        _ => format!("the axis `{path}` must be a list or one of {rules}, not {}", node.shown()),
    };
    let is_rule = |key: &Node| match &key.value {
        yaml::Content::Scalar { text, .. } => RULES.contains(&text.as_str()),
        _ => false,
    };
    Problem::at(node.span, message).help(match &node.value {
        yaml::Content::Scalar { text, .. } => instead_of(space, parameter, node, text),
        yaml::Content::Map(map) if !map.is_empty() && map.iter().all(|(key, _)| is_rule(key)) => {
            "keep one kind of axis".to_owned()
        }
        _ => format!("write it like `{}: [{}]`", parameter.path, whole_example(parameter)),
    })
}

/// Returns help for a single value that is not an axis: the text to write instead.
fn instead_of(space: &'static Space, parameter: &Parameter, node: &Node, text: &str) -> String {
    if let Some((first, last)) = text.split_once("..")
        && let Some(unit) = unit(parameter)
        && let [Some(first), Some(last)] = [first, last].map(|end| needing_unit(end.trim(), unit))
    {
        return match parameter.kind {
            Kind::Count => format!("only seeds have ranges; list the values, as in `[{first}, {last}]`"),
            _ => format!(
                "only seeds have ranges; write `{{ linspace: [{first}, {last}, 5] }}`, or list the values"
            ),
        };
    }
    let text = unit(parameter).and_then(|unit| needing_unit(text, unit)).unwrap_or_else(|| text.to_owned());
    let mut unseen = Problems::of(space, "");
    let node = Node { span: node.span, value: yaml::Content::Scalar { text: text.clone(), quoted: false } };
    match value::checked(parameter, &node, &mut unseen) {
        Some(_) => format!("write `[{text}]`, or set what does not vary in `set`"),
        None => format!("write it like `[{}]`", whole_example(parameter)),
    }
}

/// Returns a number as written, with the unit that it needs; `None` if the text is not a number.
fn needing_unit(text: &str, unit: Unit) -> Option<String> {
    match units::quantity(text, unit) {
        Ok(_) => Some(text.to_owned()),
        Err(UnfitQuantity::NoUnit { number }) => Some(format!("{number} {}", unit.symbol())),
        Err(_) => None,
    }
}

fn listed(
    parameter: &'static Parameter,
    node: &Node,
    items: &[Node],
    problems: &mut Problems,
) -> Option<Vec<(Value, Span)>> {
    if items.is_empty() {
        problems.add(|| {
            Problem::at(node.span, format!("the axis `{}` has no values", parameter.path))
                .help(format!("write it like `[{}]`, or leave it out", whole_example(parameter)))
        });
        return None;
    }
    if items.len() > MOST_CONDITIONS {
        problems.add(|| too_many(parameter, node.span, items.len() as f64));
        return None;
    }
    let is_flat = matches!(parameter.kind, Kind::Quantities(_))
        && items.iter().all(|item| matches!(item.value, yaml::Content::Scalar { .. }));
    if is_flat {
        problems.add(|| {
            Problem::at(node.span, format!("each value of the axis `{}` must be a list", parameter.path))
                .help(format!("write it like `[[{}], {}]`", example(parameter), whole_example(parameter)))
        });
        return None;
    }
    // Read all items, to report each wrong one.
    let read: Vec<Option<(Value, Span)>> = items
        .iter()
        .map(|item| value::checked(parameter, item, problems).map(|value| (value, item.span)))
        .collect();
    read.into_iter().collect()
}

fn too_many(parameter: &Parameter, span: Span, count: f64) -> Problem {
    let count = if count < 1e15 { count.to_string() } else { format!("{count:e}") };
    let message = format!(
        "the axis `{}` has {count} values; at most {MOST_CONDITIONS} conditions are possible",
        parameter.path
    );
    Problem::at(span, message).help("use fewer values")
}

/// Computes the values of an axis from a rule.
fn made(
    parameter: &'static Parameter,
    rule: &str,
    rule_span: Span,
    node: &Node,
    argument: &Node,
    problems: &mut Problems,
) -> Option<Vec<(Value, Span)>> {
    if !RULES.contains(&rule) {
        problems.add(|| match (rule, parameter.kind) {
            ("gamma", Kind::Factor) => Problem::at(
                node.span,
                "an axis needs a list of distributions; this is one distribution",
            )
            .help("write a list of them, `[{ gamma: … }, { gamma: … }]`, or set what does not vary in `set`"),
            _ if DISTRIBUTIONS.contains(&rule) => {
                Problem::at(rule_span, format!("the distribution `{rule}` alone is not an axis"))
                    .help(random_form(parameter))
            }
            _ => Problem::at(rule_span, format!("unknown kind of axis {}", quote(rule))).help(suggest::help(
                rule,
                "an axis is a list or one of",
                &RULES,
            )),
        });
        return None;
    }
    let Some(unit) = unit(parameter) else {
        problems.add(|| {
            let example = whole_example(parameter);
            Problem::at(
                rule_span,
                format!("`{}` is not a number, so `{rule}` cannot make its values", parameter.path),
            )
            .help(format!("list them, as in `[{example}]`"))
        });
        return None;
    };
    let numbers = match rule {
        "linspace" => linspace(parameter, unit, argument, problems)?,
        "logspace" => logspace(parameter, unit, argument, problems)?,
        "arange" => arange(parameter, unit, argument, problems)?,
        _ => random(parameter, unit, argument, problems)?,
    };
    // These rules cannot give whole numbers: not at even distances of the logarithm, and not by drawing.
    let rounds = matches!(rule, "logspace" | "random");
    taken(parameter, &numbers, rounds, argument.span, rule, problems)
}

/// An axis of `latin_hypercube` or `sobol`: a parameter and the distribution of its values.
pub(crate) struct DrawnAxis {
    pub(crate) parameter: &'static Parameter,
    pub(crate) distribution: Distribution,
    /// Position of the parameter's name.
    span: Span,
    /// Position of the distribution.
    of_distribution: Span,
}

impl DrawnAxis {
    /// Makes an axis at a position.
    pub(crate) fn new(parameter: &'static Parameter, distribution: Distribution, span: Span) -> DrawnAxis {
        DrawnAxis { parameter, distribution, span, of_distribution: span }
    }

    /// Makes the values at these fractions of the distribution.
    pub(crate) fn at(
        &self,
        fractions: impl Iterator<Item = f64>,
        problems: &mut Problems,
    ) -> Option<GridAxis> {
        let numbers: Vec<f64> = fractions.map(|u| drawn(self.parameter, self.distribution, u)).collect();
        let (name, _) = self.distribution.parts();
        let values = taken(self.parameter, &numbers, true, self.of_distribution, name, problems)?;
        Some(GridAxis { parameter: self.parameter, span: self.span, values })
    }
}

/// Makes the values of an axis of `latin_hypercube` with so many points.
pub(crate) fn latin(axis: &DrawnAxis, count: usize, seed: u32, problems: &mut Problems) -> Option<GridAxis> {
    axis.at(stratified(axis.parameter.path, seed, count).into_iter(), problems)
}

/// Largest number of axes of `sobol`.
pub(crate) const MOST_AXES: usize = MOST_INPUTS;

/// Makes the values of the axes of `sobol` with so many base points, in the order of [`Saltelli::points`]. There are at
/// most [`MOST_AXES`] axes and [`MOST_CONDITIONS`] base points.
///
/// The fractions are those of SALib, `sobol.sample(…, calc_second_order=False, scramble=False)`, except that a normal
/// distribution has no value at 0, the first fraction. Its fractions are therefore the centres of parts.
pub(crate) fn saltelli(
    axes: &[DrawnAxis],
    base_points: u32,
    problems: &mut Problems,
) -> Option<Vec<GridAxis>> {
    let design = Saltelli { base_points: base_points as usize, inputs: axes.len() };
    let points = design.points().expect("the limits were checked");
    let column = |(at, axis): (usize, &DrawnAxis)| {
        let centre = match axis.distribution {
            Distribution::Normal { .. } => 0.5 / f64::from(base_points),
            _ => 0.0,
        };
        axis.at(points.column(at).iter().map(|fraction| fraction + centre), problems)
    };
    axes.iter().enumerate().map(column).collect()
}

/// Reads an axis of `latin_hypercube` or `sobol`.
pub(crate) fn distributed(
    parameter: &'static Parameter,
    key: Span,
    node: &Node,
    problems: &mut Problems,
) -> Option<DrawnAxis> {
    let Some(unit) = unit(parameter) else {
        problems.add(|| {
            let message =
                format!("`{}` is not a number, so granule cannot draw random values for it", parameter.path);
            Problem::at(key, message).help("put it into `grid`, as a list")
        });
        return None;
    };
    let map: &[(Node, Node)] = match &node.value {
        yaml::Content::Map(map) => map,
        _ => &[],
    };
    let [(Node { value: yaml::Content::Scalar { text, .. }, span }, argument)] = map else {
        problems.add(|| {
            let message =
                format!("the axis `{}` must be a distribution, not {}", parameter.path, node.shown());
            Problem::at(node.span, message).help(format!("write it like `{}`", uniform_example(parameter)))
        });
        return None;
    };
    let entry = ValueEntry { key: text, key_span: *span, value: argument };
    let distribution = distribution(parameter, unit, &entry, problems)?;
    Some(DrawnAxis { parameter, distribution, span: key, of_distribution: argument.span })
}

/// Returns the unit of the numbers that rules make; `None` if the parameter is not a number.
pub(crate) fn unit(parameter: &Parameter) -> Option<Unit> {
    match parameter.kind {
        Kind::Quantity(unit) => Some(unit),
        Kind::Count | Kind::Factor => Some(Unit::One),
        Kind::Flag | Kind::Quantities(_) | Kind::Choice(_) => None,
    }
}

/// Converts numbers to values that the parameter can take.
fn taken(
    parameter: &'static Parameter,
    numbers: &[f64],
    rounds: bool,
    span: Span,
    rule: &str,
    problems: &mut Problems,
) -> Option<Vec<(Value, Span)>> {
    let mut values = Vec::with_capacity(numbers.len());
    for &x in numbers {
        let value = match parameter.kind {
            Kind::Count => {
                let whole = if rounds { x.round() } else { x };
                if whole.fract() != 0.0 {
                    problems.add(|| {
                        Problem::at(
                            span,
                            format!("`{}` must be a whole number, but `{rule}` gives {x}", parameter.path),
                        )
                        .help("use another number of values or another step, or list them")
                    });
                    return None;
                }
                let (least, most) = value::count_range(parameter.range);
                if !(f64::from(least)..=f64::from(most)).contains(&whole) {
                    problems.add(|| {
                        let message = format!(
                            "`{}` must be between {least} and {most}, but `{rule}` gives {whole}",
                            parameter.path
                        );
                        Problem::at(span, message)
                            .help(format!("keep all of its values between {least} and {most}"))
                    });
                    return None;
                }
                Value::Count(whole as u32)
            }
            Kind::Factor => Value::Factor(CellFactor::Constant(x)),
            _ => Value::Number(x),
        };
        match parameter.check(&value) {
            Ok(()) => values.push((value, span)),
            Err(rejected) => {
                problems.add(|| out_of_range(parameter, rule, &rejected, span));
                return None;
            }
        }
    }
    Some(values)
}

fn out_of_range(parameter: &Parameter, rule: &str, rejected: &Rejected, span: Span) -> Problem {
    let help = match rule {
        "normal" | "random" => {
            "use a smaller standard deviation, or `uniform` or `loguniform`, which have limits".to_owned()
        }
        _ => {
            let symbol = unit(parameter).map_or("", Unit::symbol);
            format!("all of its values must be {}", parameter.range.in_words(symbol))
        }
    };
    Problem::at(span, format!("`{rule}` makes values outside the parameter's range: {rejected}")).help(help)
}

/// Returns the entries of `[a, b, c]` after a rule.
fn three<'a>(
    rule: &str,
    what: &str,
    example: &str,
    node: &'a Node,
    problems: &mut Problems,
) -> Option<&'a [Node; 3]> {
    let found = match &node.value {
        yaml::Content::List(items) => match items.first_chunk::<3>() {
            Some(three) if items.len() == 3 => return Some(three),
            _ => format!("{} entries", items.len()),
        },
        _ => node.shown(),
    };
    problems.add(|| {
        Problem::at(node.span, format!("`{rule}` takes {what}, not {found}"))
            .help(format!("write it like `{{ {rule}: {example} }}`"))
    });
    None
}

/// Reads the third entry of `linspace` and `logspace`.
fn number_of_values(
    rule: &str,
    parameter: &Parameter,
    unit: Unit,
    node: &Node,
    problems: &mut Problems,
) -> Option<u32> {
    const MOST: u32 = MOST_CONDITIONS as u32;
    let help = match &node.value {
        yaml::Content::Scalar { text, quoted: false } if text == "1" => {
            Some(format!("write `2` or more; one value is a list, `[{}]`", example(parameter)))
        }
        // An entry that is no whole number, or has a unit, is meant as a distance.
        yaml::Content::Scalar { text, quoted: false }
            if units::quantity(text, unit).is_ok_and(|x| x.fract() != 0.0 || unit != Unit::One) =>
        {
            Some(format!("`{rule}` takes a number of values, such as `5`; a step goes into `arange`"))
        }
        _ => None,
    };
    match help {
        Some(help) => {
            problems.add(|| {
                Problem::at(
                    node.span,
                    format!("{COUNT} must be a whole number between 2 and {MOST}, not {}", node.shown()),
                )
                .help(help)
            });
            None
        }
        None => value::count_of(COUNT, 2, MOST, node, problems),
    }
}

fn linspace(parameter: &Parameter, unit: Unit, node: &Node, problems: &mut Problems) -> Option<Vec<f64>> {
    let example = examples(parameter, ["1", "2"], "5");
    let [first, last, count] = three(
        "linspace",
        "the first value, the last value and the number of values",
        &example,
        node,
        problems,
    )?;
    let first = number(parameter, unit, first, problems);
    let last = number(parameter, unit, last, problems);
    let count = number_of_values("linspace", parameter, unit, count, problems);
    let (first, last, count) = (first?, last?, count?);
    let step = (last - first) / f64::from(count - 1);
    if !step.is_finite() {
        problems.add(|| {
            Problem::at(node.span, "the values of `linspace` lie too far apart")
                .help("use ends that are closer together")
        });
        return None;
    }
    let inner = (1..count - 1).map(|i| first + f64::from(i) * step);
    let scale = first.abs().max(last.abs());
    let inner = inner.map(|x| fifteen_digits(x, scale));
    Some(std::iter::once(first).chain(inner).chain([last]).collect())
}

fn logspace(parameter: &Parameter, unit: Unit, node: &Node, problems: &mut Problems) -> Option<Vec<f64>> {
    let example = examples(parameter, ["1", "100"], "5");
    let [first, last, count] = three(
        "logspace",
        "the first value, the last value and the number of values",
        &example,
        node,
        problems,
    )?;
    let first = above_zero("logspace", parameter, unit, first, problems);
    let last = above_zero("logspace", parameter, unit, last, problems);
    let count = number_of_values("logspace", parameter, unit, count, problems);
    let (first, last, count) = (first?, last?, count?);
    let ratio = ratio("logspace", first, last, node.span, problems)?;
    let of_all = f64::from(count - 1);
    let inner =
        (1..count - 1).map(|i| first * pow(ratio, f64::from(i) / of_all)).map(|x| fifteen_digits(x, x));
    Some(std::iter::once(first).chain(inner).chain([last]).collect())
}

fn arange(parameter: &Parameter, unit: Unit, node: &Node, problems: &mut Problems) -> Option<Vec<f64>> {
    let example = examples(parameter, ["1", "2"], &format!("0.2 {}", unit.symbol()));
    let [start, stop, step_node] =
        three("arange", "the first value, an end that is not reached and a step", &example, node, problems)?;
    let start = number(parameter, unit, start, problems);
    let stop = number(parameter, unit, stop, problems);
    let step = number(parameter, unit, step_node, problems);
    let (start, stop, step) = (start?, stop?, step?);
    if step == 0.0 {
        problems.add(|| {
            let step = format!("1 {}", unit.symbol());
            Problem::at(step_node.span, "the step of `arange` must not be 0").help(format!(
                "write the distance between two values, such as `{}`; `linspace` takes the number of values",
                step.trim_end()
            ))
        });
        return None;
    }
    let [first, end, distance] = [start, stop, step].map(decimal);
    // Counted up in decimals, so that rounding does not reach the end. The number of values is capped.
    let is_before_end = |x: &BigDecimal| if step > 0.0 { *x < end } else { *x > end };
    let values = std::iter::successors(Some(first), |x| Some(x + &distance));
    let values: Vec<BigDecimal> = values.take_while(is_before_end).take(MOST_CONDITIONS + 1).collect();
    if values.is_empty() {
        problems.add(|| {
            let (sign, side) = if step > 0.0 { ("positive", "above") } else { ("negative", "below") };
            let message = format!(
                "`arange` makes no values: its step is {sign}, but its end is not {side} its first value"
            );
            Problem::at(node.span, message)
                .help("`arange` does not include its end; `linspace` includes both ends")
        });
        return None;
    }
    if values.len() > MOST_CONDITIONS {
        let count = ((stop - start) / step).ceil();
        if count.is_finite() {
            problems.add(|| too_many(parameter, node.span, count));
        } else {
            problems.add(|| {
                Problem::at(node.span, "the values of `arange` lie too close together")
                    .help("use a larger step")
            });
        }
        return None;
    }
    Some(values.iter().map(nearest).collect())
}

fn random(
    parameter: &'static Parameter,
    unit: Unit,
    node: &Node,
    problems: &mut Problems,
) -> Option<Vec<f64>> {
    let form = || random_form(parameter);
    let yaml::Content::Map(map) = &node.value else {
        problems.add(|| {
            Problem::at(
                node.span,
                format!("`random` takes a distribution, `count` and `seed`, not {}", node.shown()),
            )
            .help(form())
        });
        return None;
    };
    let before = problems.count();
    let (mut from, mut count, mut seed) = (Vec::new(), None, None);
    for entry in entries(map, problems) {
        match entry.key {
            "count" => count = value::count("random.count", 1, MOST_CONDITIONS as u32, entry.value, problems),
            "seed" => seed = value::count("random.seed", 0, u32::MAX, entry.value, problems),
            _ => from.push(entry),
        }
    }
    if let [_, second, ..] = from.as_slice()
        && from.iter().all(|entry| DISTRIBUTIONS.contains(&entry.key))
    {
        problems.add(|| {
            Problem::at(second.key_span, "`random` draws from one distribution").help("keep one of them")
        });
        return None;
    }
    let from: Vec<Option<Distribution>> =
        from.iter().map(|entry| distribution(parameter, unit, entry, problems)).collect();
    match (from.as_slice(), count, seed) {
        ([Some(distribution)], Some(count), Some(seed)) => {
            let fractions = independent(parameter.path, seed, count as usize);
            Some(fractions.into_iter().map(|u| drawn(parameter, *distribution, u)).collect())
        }
        _ => {
            // A key with a wrong value has been reported.
            if problems.count() == before {
                problems.add(|| {
                    Problem::at(node.span, "`random` needs a distribution, `count` and `seed`").help(form())
                });
            }
            None
        }
    }
}

fn random_form(parameter: &Parameter) -> String {
    let uniform = uniform_example(parameter);
    let uniform = uniform.trim_start_matches("{ ").trim_end_matches(" }");
    format!("write it like `{{ random: {{ {uniform}, count: 10, seed: 1 }} }}`")
}

/// Returns the value at fraction `u` of a distribution. For whole numbers, both ends are as likely as the numbers
/// between.
fn drawn(parameter: &Parameter, distribution: Distribution, u: f64) -> f64 {
    match (parameter.kind, distribution) {
        (Kind::Count, Distribution::Uniform { low, high }) => {
            let around = Distribution::Uniform { low: low - 0.5, high: high + 0.5 };
            around.quantile(u).round().clamp(low, high)
        }
        _ => {
            let x = distribution.quantile(u);
            fifteen_digits(x, x)
        }
    }
}

fn distribution(
    parameter: &Parameter,
    unit: Unit,
    entry: &ValueEntry<'_>,
    problems: &mut Problems,
) -> Option<Distribution> {
    let &ValueEntry { key, key_span, value: node } = entry;
    if !DISTRIBUTIONS.contains(&key) {
        problems.add(|| {
            Problem::at(key_span, format!("unknown distribution {}", quote(key))).help(suggest::help(
                key,
                "the distributions are",
                &DISTRIBUTIONS,
            ))
        });
        return None;
    }
    let what =
        if key == "normal" { "mean and standard deviation" } else { "the least and the greatest value" };
    let [first_node, second_node] = match &node.value {
        yaml::Content::List(items) => items.first_chunk::<2>().filter(|_| items.len() == 2),
        _ => None,
    }
    .or_else(|| {
        problems.add(|| {
            let found = match &node.value {
                yaml::Content::List(items) => format!("{} entries", items.len()),
                _ => node.shown(),
            };
            let [first, second] = ["1", "2"].map(|x| format!("{x} {}", unit.symbol()));
            Problem::at(node.span, format!("`{key}` takes {what}, not {found}")).help(format!(
                "write it like `{key}: [{}, {}]`",
                first.trim_end(),
                second.trim_end()
            ))
        });
        None
    })?;
    let read = |node, problems: &mut Problems| match key {
        "loguniform" => above_zero(key, parameter, unit, node, problems),
        _ => number(parameter, unit, node, problems),
    };
    let (first, second) = (read(first_node, problems), read(second_node, problems));
    let (a, b) = (first?, second?);
    let problem = match key {
        "normal" if b <= 0.0 => Some((
            "the standard deviation of `normal` must be above 0".to_owned(),
            "the second entry is the standard deviation; use a larger one".to_owned(),
        )),
        "normal" => None,
        _ if a > b => Some((
            format!("the first value of `{key}` must not be above the second, but {a} is greater than {b}"),
            format!("write `[{}, {}]`", unquoted(second_node), unquoted(first_node)),
        )),
        _ if !(b - a).is_finite() || key == "loguniform" && !(b / a).is_finite() => Some((
            format!("the ends of `{key}` lie too far apart"),
            "use ends that are closer together".to_owned(),
        )),
        _ => None,
    };
    if let Some((message, help)) = problem {
        problems.add(|| Problem::at(node.span, message).help(help));
        return None;
    }
    Distribution::new(key, [a, b])
}

/// Returns the text of a scalar.
fn unquoted(node: &Node) -> &str {
    match &node.value {
        yaml::Content::Scalar { text, .. } => text,
        _ => "…",
    }
}

fn number(parameter: &Parameter, unit: Unit, node: &Node, problems: &mut Problems) -> Option<f64> {
    let example = match parameter.kind {
        Kind::Quantity(_) => example(parameter),
        _ => "1".to_owned(),
    };
    value::number(parameter.path, unit, &example, node, problems)
}

fn above_zero(
    rule: &str,
    parameter: &Parameter,
    unit: Unit,
    node: &Node,
    problems: &mut Problems,
) -> Option<f64> {
    let x = number(parameter, unit, node, problems)?;
    if x > 0.0 {
        return Some(x);
    }
    problems.add(|| {
        let instead = if rule == "logspace" { "linspace" } else { "uniform" };
        Problem::at(node.span, format!("both ends of `{rule}` must be above 0, and {x} is not"))
            .help(format!("use `{instead}`, which allows 0 and negative values"))
    });
    None
}

fn ratio(rule: &str, first: f64, last: f64, span: Span, problems: &mut Problems) -> Option<f64> {
    let ratio = last / first;
    if ratio.is_finite() && ratio > 0.0 {
        return Some(ratio);
    }
    problems.add(|| {
        Problem::at(span, format!("the ends of `{rule}` lie too far apart"))
            .help("use ends that are closer together")
    });
    None
}

/// Returns the double nearest to a decimal.
fn nearest(x: &BigDecimal) -> f64 {
    x.to_scientific_notation().parse().expect("a decimal is a number")
}

/// Returns the double nearest to `x` written with fifteen digits, of which the first has the place of the first digit
/// of `scale`. Thus 0.1 + 2 × 0.1 becomes 0.3, and a value that should be 0 becomes 0.
fn fifteen_digits(x: f64, scale: f64) -> f64 {
    const DIGITS: i32 = 15;
    let exponent = format!("{scale:e}");
    let exponent: i32 = exponent.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let places = (DIGITS - 1 - exponent).max(0) as usize;
    // −0 + 0 is 0.
    format!("{x:.places$}").parse::<f64>().unwrap_or(x) + 0.0
}

/// Formats two numbers in the parameter's unit and a third entry.
fn examples(parameter: &Parameter, [a, b]: [&str; 2], third: &str) -> String {
    let symbol = unit(parameter).map_or("", Unit::symbol);
    let with_unit = |x: &str| format!("{x} {symbol}").trim_end().to_owned();
    format!("[{}, {}, {}]", with_unit(a), with_unit(b), third.trim_end())
}

fn uniform_example(parameter: &Parameter) -> String {
    let symbol = unit(parameter).map_or("", Unit::symbol);
    format!("{{ uniform: [{}, {}] }}", format!("1 {symbol}").trim_end(), format!("2 {symbol}").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_what_people_would_write() {
        assert_eq!(fifteen_digits(0.1 + 2.0 * 0.1, 1.0), 0.3);
        assert_eq!(fifteen_digits(-0.3 + 3.0 * 0.1, 0.3).to_bits(), 0.0_f64.to_bits());
        assert_eq!(fifteen_digits(1e300, 1e300), 1e300);
        assert_eq!(fifteen_digits(1.5e-300, 1.5e-300), 1.5e-300);
        assert_eq!(fifteen_digits(-51.1, 60.0), -51.1);
    }
}
