//! Writes a sweep as a sweep file, with every condition spelled out.

use std::fmt::Write as _;

use granule_engine::output::FileKind;
use granule_engine::space::{CellFactor, Parameter, Space, Value, Values};

use crate::condition::Condition;
use crate::design::Design;
use crate::draws::Distribution;
use crate::examples::with_unit;
use crate::file::Sweep;
use crate::randomness::Randomness;
use crate::record::{ExplicitRecord, Record};
use crate::until::Until;

/// Writes a sweep as a sweep file that is read as the same sweep.
///
/// Ranges, grids, tables and random axes of the original file become lists of values; designs are kept. The engine is named by `engine`, and a
/// program of the user's by `model`, with the path of [`Sweep::model`]. If the path is unknown, neither is written.
pub fn to_yaml(sweep: &Sweep) -> String {
    let Sweep { name, model, engine, randomness, seeds, trials, until, conditions, designs } = sweep;
    let space = engine.space();
    let common = common(space, conditions);
    let mut text = format!("granule: 1\nname: {}\n", quoted(name));
    match (engine.is_program(), model) {
        // A text of JSON is a text of YAML.
        (true, Some(path)) => text.push_str(&format!("model: {}\n", serde_json::Value::from(path.as_str()))),
        (true, None) => {}
        (false, _) => text.push_str(&format!("engine: {}\n", engine.name())),
    }
    let independent = space.sharing().filter(|_| *randomness == Randomness::Independent);
    if let Some(sharing) = independent {
        writeln!(text, "{}: {}", sharing.group, randomness.name()).expect("a string takes anything");
    }
    let follows = independent.map(|sharing| sharing.stream);
    let trials = match until {
        None => trials.to_string(),
        Some(Until { measure, half_width, at_least, at_most, .. }) => {
            let until = format!(
                "{{ measure: {}, half_width: {half_width} }}",
                serde_json::Value::from(measure.as_str())
            );
            format!("{{ until: {until}, at_least: {at_least}, at_most: {at_most} }}")
        }
    };
    writeln!(text, "seeds: {seeds:?}\ntrials: {trials}").expect("a string takes anything");
    let of_all = settings(&common, &space.defaults(), |path| Some(path) == follows);
    if !of_all.is_empty() {
        text.push_str("set:\n");
        of_all.iter().for_each(|setting| text.push_str(&format!("  {setting}\n")));
    }
    let top = common_record(engine.kinds(), conditions);
    let keys = entries_of(top, |_| None);
    if !keys.is_empty() {
        writeln!(text, "record: {{ {keys} }}").expect("a string takes anything");
    }
    text.push_str("conditions:\n");
    let mut at = 0;
    while let Some(Condition { name, model, preset, record, .. }) = conditions.get(at) {
        let design = designs.iter().find(|design| design.first == at);
        at = design.map_or(at + 1, |design| design.conditions().end);
        if preset.is_some() {
            text.push_str(&format!("  - {name}\n"));
            continue;
        }
        let mut parts = vec![format!("name: {}", quoted(design.map_or(name, |design| &design.name)))];
        let is_axis = |path: &str| design.is_some_and(|design| design.axes.iter().any(|(of, _)| *of == path));
        let own = settings(model.values(), &common, |path| Some(path) == follows || is_axis(path));
        if !own.is_empty() {
            parts.push(format!("set: {{ {} }}", own.join(", ")));
        }
        let without = top.or(Record::by_default(engine.kinds(), false));
        let keys = entries_of((*record).into(), |key| Some(without.has_key(key)));
        if !keys.is_empty() {
            parts.push(format!("record: {{ {keys} }}"));
        }
        parts.extend(design.map(|design| sobol(space, design)));
        text.push_str(&format!("  - {{ {} }}\n", parts.join(", ")));
    }
    text
}

/// Returns the keys of `record` to set at the top. All presets have the same record, because they cannot have their
/// own. A key is also set if all conditions agree.
fn common_record(kinds: &'static [FileKind], conditions: &[Condition]) -> ExplicitRecord {
    let mut top = ExplicitRecord::none(kinds);
    for place in 0..kinds.len() {
        let has = |condition: &Condition| condition.record.has(place);
        let by_default = |condition: &Condition| Record::by_default(kinds, condition.preset.is_some());
        let is_default = |condition: &Condition| has(condition) == by_default(condition).has(place);
        let mut presets = conditions.iter().filter(|condition| condition.preset.is_some());
        let of_presets = presets.next().map(has);
        let agreed =
            conditions.first().map(has).filter(|first| conditions.iter().all(|of| has(of) == *first));
        let is_needed = of_presets == Some(false) || (agreed.is_some() && !conditions.iter().all(is_default));
        if is_needed && let Some(is_on) = of_presets.or(agreed) {
            top.set(place, is_on);
        }
    }
    top
}

/// Returns `key: value` of the keys that are set and differ from `base`.
fn entries_of(record: ExplicitRecord, base: impl Fn(&str) -> Option<bool>) -> String {
    let entry = |&FileKind { key, .. }: &FileKind| {
        let value = record.get(key)?;
        (base(key) != Some(value)).then(|| format!("{key}: {value}"))
    };
    record.kinds().iter().filter_map(entry).collect::<Vec<_>>().join(", ")
}

/// Returns the values that `set` at the top must produce.
fn common(space: &'static Space, conditions: &[Condition]) -> Values {
    let preset = |condition: &Condition| space.preset(condition.preset?);
    let presets = || conditions.iter().filter_map(|condition| Some((condition, preset(condition)?)));
    if presets().next().is_none() {
        return conditions.first().map_or_else(|| space.defaults(), |first| first.model.values().clone());
    }
    let mut common = space.defaults();
    for (condition, preset) in presets() {
        for (parameter, value) in condition.model.values().iter() {
            if !preset.overrides.iter().any(|(path, _)| *path == parameter.path) {
                common.set(parameter, value.clone()).expect("it is a value of this parameter already");
            }
        }
    }
    common
}

/// Formats a design as in a sweep file.
fn sobol(space: &Space, Design { base_points, axes, .. }: &Design) -> String {
    let axis = |&(path, distribution): &(&str, Distribution)| {
        let unit = space.parameter(path).map_or("", Parameter::unit);
        let (name, numbers) = distribution.parts();
        let [first, second] = numbers.map(|x| with_unit(x, unit));
        format!("{path}: {{ {name}: [{first}, {second}] }}")
    };
    let axes: Vec<String> = axes.iter().map(axis).collect();
    format!("sobol: {{ count: {base_points}, axes: {{ {} }} }}", axes.join(", "))
}

/// Returns `path: value` of all parameters that differ from `base`, except the paths to skip.
fn settings(values: &Values, base: &Values, skips: impl Fn(&str) -> bool) -> Vec<String> {
    let differs =
        |(parameter, value): &(&Parameter, &Value)| !skips(parameter.path) && *value != base.of(parameter);
    let setting =
        |(parameter, value): (&Parameter, &Value)| format!("{}: {}", parameter.path, text(parameter, value));
    values.iter().filter(differs).map(setting).collect()
}

/// Formats a value as in a sweep file.
fn text(parameter: &Parameter, value: &Value) -> String {
    match value {
        Value::Number(x) => with_unit(*x, parameter.unit()),
        Value::Numbers(list) => {
            let list: Vec<String> = list.iter().map(|x| with_unit(*x, parameter.unit())).collect();
            format!("[{}]", list.join(", "))
        }
        Value::Factor(CellFactor::Gamma { mean, sd, seed }) => {
            format!("{{ gamma: {{ mean: {mean}, sd: {sd}, seed: {seed} }} }}")
        }
        Value::Count(_) | Value::Flag(_) | Value::Factor(CellFactor::Constant(_)) | Value::Choice(_) => {
            value.to_string()
        }
    }
}

/// Quotes a name so that YAML reads it as text. Names of sweeps and conditions contain no quotes.
fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

#[cfg(test)]
mod tests {
    use granule_granular::ENGINES;

    use super::*;
    use crate::{Overrides, parse};

    fn read(text: &str) -> Sweep {
        parse(ENGINES, "sweep.yaml", text.as_bytes(), "sweep", &Overrides::default())
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn comes_back(text: &str) -> String {
        let sweep = read(text);
        let written = to_yaml(&sweep);
        assert_eq!(read(&written), sweep, "{written}");
        written
    }

    #[test]
    fn what_is_written_is_read_as_the_same_sweep() {
        let paper = comes_back("conditions: [Control, GABAzine, ACh]");
        assert!(paper.ends_with("conditions:\n  - Control\n  - GABAzine\n  - ACh\n"), "{paper}");
        assert!(!paper.contains("set"), "{paper}");
        comes_back(
            "engine: brian2-2.2.1\nnetwork: { mossy_fibers: 78, granule_cells: 64 }\nstimulus: { times: [] }\n\
             conditions: [ACh, { name: a, base: ACh, set: { golgi.reset: -54.5 mV, stimulus.times: [3 ms, 1 s] } }]",
        );
        comes_back(
            "noise: independent\nseeds: 1..5\nrecord: { conductances: false, weights: false }\nweights: { random: false }\n\
             conditions: [GABAzine, { name: '1', record: { conductances: true, connections: false } }, \
             { name: 'a{index}', base: Control, grid: { granule.tonic_factor: { logspace: [0.001, 3, 7] } } }]",
        );
        comes_back(
            "noise: { tau: 21.5 ms }\ntrials: 7\nconditions:\n  - name: 'x-{index}'\n    base: ACh\n    \
             latin_hypercube:\n      count: 5\n      seed: 3\n      axes: { golgi.leak_reversal: { uniform: [-55 mV, -50 mV] } }",
        );
        let designed = comes_back(
            "noise: independent\nconditions:\n  - GABAzine\n  - { name: 's{index}', base: ACh, set: { golgi.reset: -56.5 mV }, \
             record: { weights: false }, sobol: { count: 4, axes: { golgi.leak_reversal: { uniform: [-55 mV, -50 mV] }, \
             network.golgi_cells: { uniform: [3, 9] }, granule.tonic_factor: { normal: [1, 0.01] } } } }\n  - { name: last }",
        );
        assert!(designed.lines().count() < 30, "{designed}");
        let until =
            "trials: { until: { measure: rate, half_width: 1e-3 }, at_most: 50 }\nconditions: [Control]";
        assert!(
            comes_back(until)
                .contains("\ntrials: { until: { measure: \"rate\", half_width: 0.001 }, at_least: 20, ")
        );
        comes_back(
            "conditions: [{ name: true, set: { time.step: 0.05 ms, noise.first: granule } }, { name: 1e3 }]",
        );
    }

    #[test]
    fn the_sweeps_that_come_along_are_written_too() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sweeps");
        let files = std::fs::read_dir(directory).expect("sweeps");
        let paths = files.map(|file| file.expect("an entry").path());
        // Sweeps of a model of the user's own lie in a directory of their own.
        let paths: Vec<_> = paths.filter(|path| path.is_file()).collect();
        for path in &paths {
            comes_back(&std::fs::read_to_string(path).expect("text"));
        }
        assert!(paths.len() >= 8);
    }
}
