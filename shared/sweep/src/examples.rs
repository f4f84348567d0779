//! Examples in messages, made from the parameters and presets of a space.

use granule_engine::space::{CellFactor, Kind, Parameter, Space, Value};

/// Returns the default of a quantity, as a user would write it.
pub(crate) fn example(parameter: &Parameter) -> String {
    let unit = parameter.unit();
    match &parameter.default {
        Value::Number(x) => with_unit(*x, unit),
        Value::Numbers(list) => with_unit(list.first().copied().unwrap_or(1.0), unit),
        default => default.to_string(),
    }
}

/// Returns the default of any parameter, as a user would write it.
pub(crate) fn whole_example(parameter: &Parameter) -> String {
    match &parameter.default {
        Value::Numbers(list) => {
            let list: Vec<String> = list.iter().map(|x| with_unit(*x, parameter.unit())).collect();
            format!("[{}]", list.join(", "))
        }
        _ => example(parameter),
    }
}

/// Formats a number with the symbol of its unit, which may be empty.
pub(crate) fn with_unit(x: f64, unit: &str) -> String {
    format!("{x} {unit}").trim_end().to_owned()
}

/// Returns help with the smallest sweep.
pub(crate) fn smallest_sweep(space: &Space) -> String {
    let presets: Vec<&str> = space.presets().iter().map(|preset| preset.name).collect();
    let conditions =
        if presets.is_empty() { format!("{{ name: {} }}", name(space)) } else { presets.join(", ") };
    format!("the smallest sweep is `conditions: [{conditions}]`")
}

/// Returns help with the form of a condition.
pub(crate) fn condition(space: &Space) -> String {
    match space.presets().first() {
        Some(first) => {
            format!("write a preset's name, or `{{ name: …, base: {}, set: {{ … }} }}`", first.name)
        }
        None => "write it like `{ name: …, set: { … } }`".to_owned(),
    }
}

/// Returns a name of a condition.
pub(crate) fn name(space: &Space) -> String {
    format!("half-{}", space.words().name)
}

/// Returns a parameter with a value.
pub(crate) fn setting(space: &Space) -> String {
    match varied(space) {
        Some((path, [_, half, _])) => format!("{path}: {half}"),
        None => first(space, |default| default),
    }
}

/// Returns a parameter with the values of an axis.
pub(crate) fn axis(space: &Space) -> String {
    match varied(space) {
        Some((path, [_, half, whole])) => format!("{path}: [{half}, {whole}]"),
        None => first(space, |default| format!("[{default}]")),
    }
}

/// Returns a parameter with a distribution of its values.
pub(crate) fn drawn(space: &Space) -> String {
    match varied(space) {
        Some((path, [fifth, _, whole])) => format!("{path}: {{ uniform: [{fifth}, {whole}] }}"),
        None => "…".to_owned(),
    }
}

/// Returns the path of a parameter that is suitable for an axis.
pub(crate) fn path(space: &Space) -> &'static str {
    varied(space).map(|(path, _)| path).or(space.parameters().first().map(|first| first.path)).unwrap_or("…")
}

/// Returns the header of a column of a table.
pub(crate) fn column(space: &Space) -> String {
    space.parameter(path(space)).map_or_else(|| "…".to_owned(), header)
}

/// Returns the header of a parameter's column in a table.
pub(crate) fn header(parameter: &Parameter) -> String {
    match parameter.unit() {
        "" => parameter.path.to_owned(),
        unit => format!("{} [{unit}]", parameter.path),
    }
}

/// Returns comparisons of a parameter with a value.
pub(crate) fn comparisons(space: &Space) -> String {
    let equal = match varied(space) {
        Some((path, [_, _, whole])) => format!("`{path}={whole}`"),
        None => "`parameter=value`".to_owned(),
    };
    match space.words().comparison {
        "" => equal,
        other => format!("{equal} or `{other}`"),
    }
}

/// Returns the first parameter with its default.
fn first(space: &Space, form: impl Fn(String) -> String) -> String {
    let first = space.parameters().first();
    first.map_or_else(|| "…".to_owned(), |first| format!("{}: {}", first.path, form(whole_example(first))))
}

/// Returns the path of a parameter that can be made smaller, with a fifth of its default, half of it and the default
/// itself. It is a factor if the space has one.
fn varied(space: &Space) -> Option<(&'static str, [String; 3])> {
    let shares = |parameter: &Parameter| {
        let (whole, value): (f64, fn(f64) -> Value) = match parameter.default {
            Value::Factor(CellFactor::Constant(x)) => (x, |x| Value::Factor(CellFactor::Constant(x))),
            Value::Number(x) => (x, Value::Number),
            _ => return None,
        };
        let shares = [whole / 5.0, whole / 2.0, whole];
        let are_taken = whole > 0.0 && shares.iter().all(|x| parameter.check(&value(*x)).is_ok());
        are_taken.then(|| (parameter.path, shares.map(|x| with_unit(x, parameter.unit()))))
    };
    let is_factor = |parameter: &&Parameter| parameter.kind == Kind::Factor;
    let factors = space.parameters().iter().filter(is_factor);
    let others = space.parameters().iter().filter(|parameter| !is_factor(parameter));
    factors.chain(others).find_map(shares)
}
