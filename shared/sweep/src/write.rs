//! A sweep as a sweep file, with every condition spelt out.

use std::fmt::Write as _;

use granule_sim::Parameters;
use granule_sim::parameters::{CellFactor, FIELDS, Field, Kind, Value, preset};

use crate::file::{NoiseSharing, Sweep};
use crate::record::FILES;
use crate::{Condition, ExplicitRecord, Record};

/// Writes a sweep down, so that reading it gives the same sweep.
///
/// What was a range, a grid or a random axis in the file it came from is a list of values here.
pub fn to_yaml(sweep: &Sweep) -> String {
    let Sweep { name, engine, noise, seeds, trials, conditions } = sweep;
    let common = common(conditions);
    let mut text = format!("granule: 1\nname: {}\nengine: {}\n", quoted(name), engine.name());
    let independent = *noise == NoiseSharing::Independent;
    if independent {
        text.push_str("noise: independent\n");
    }
    writeln!(text, "seeds: {seeds:?}\ntrials: {trials}").expect("a string takes anything");
    let settings = settings(&common, &Parameters::default(), independent);
    if !settings.is_empty() {
        text.push_str("set:\n");
        settings.iter().for_each(|setting| text.push_str(&format!("  {setting}\n")));
    }
    let top = common_record(conditions);
    let keys = entries_of(top, |_| None);
    if !keys.is_empty() {
        writeln!(text, "record: {{ {keys} }}").expect("a string takes anything");
    }
    text.push_str("conditions:\n");
    for Condition { name, model, preset, record, .. } in conditions {
        if preset.is_some() {
            text.push_str(&format!("  - {name}\n"));
            continue;
        }
        let mut parts = vec![format!("name: {}", quoted(name))];
        let own = self::settings(model.parameters(), &common, independent);
        if !own.is_empty() {
            parts.push(format!("set: {{ {} }}", own.join(", ")));
        }
        let without = top.or(Record::by_default(false));
        let keys = entries_of((*record).into(), |key| Some(without.has(key)));
        if !keys.is_empty() {
            parts.push(format!("record: {{ {keys} }}"));
        }
        text.push_str(&format!("  - {{ {} }}\n", parts.join(", ")));
    }
    text
}

/// What `record` has to set at the top. All presets have the same record, as they cannot have one of their
/// own; a key is set also where all conditions agree.
fn common_record(conditions: &[Condition]) -> ExplicitRecord {
    let mut top = ExplicitRecord::default();
    for key in FILES {
        let has = |condition: &Condition| condition.record.has(key);
        let is_default =
            |condition: &Condition| has(condition) == Record::by_default(condition.preset.is_some()).has(key);
        let mut presets = conditions.iter().filter(|condition| condition.preset.is_some());
        let of_presets = presets.next().map(has);
        let agreed =
            conditions.first().map(has).filter(|first| conditions.iter().all(|of| has(of) == *first));
        let is_needed = of_presets == Some(false) || (agreed.is_some() && !conditions.iter().all(is_default));
        if is_needed && let Some(place) = top.flag(key) {
            *place = of_presets.or(agreed);
        }
    }
    top
}

/// `key: value` of the keys that are set and not as `base` has them.
fn entries_of(mut record: ExplicitRecord, base: impl Fn(&str) -> Option<bool>) -> String {
    let entry = |key: &str| {
        let value = (*record.flag(key)?)?;
        (base(key) != Some(value)).then(|| format!("{key}: {value}"))
    };
    FILES.into_iter().filter_map(entry).collect::<Vec<_>>().join(", ")
}

fn common(conditions: &[Condition]) -> Parameters {
    let presets = || conditions.iter().filter_map(|condition| Some((condition, preset(condition.preset?)?)));
    if presets().next().is_none() {
        return conditions.first().map_or_else(Parameters::default, |first| first.model.parameters().clone());
    }
    let mut common = Parameters::default();
    for (condition, preset) in presets() {
        for field in FIELDS {
            if !preset.overrides.iter().any(|(path, _)| *path == field.path) {
                set(field, &mut common, field.get(condition.model.parameters()));
            }
        }
    }
    common
}

fn set(field: &Field, parameters: &mut Parameters, value: Value) {
    field.set(parameters, value).expect("it is a value of this field already");
}

/// `path: value` of all that is not as in `base`.
fn settings(parameters: &Parameters, base: &Parameters, has_own_noise: bool) -> Vec<String> {
    let differs = |field: &&Field| {
        let follows = has_own_noise && field.path == "noise.stream";
        !follows && field.get(parameters) != field.get(base)
    };
    FIELDS
        .iter()
        .filter(differs)
        .map(|field| format!("{}: {}", field.path, text(field, parameters)))
        .collect()
}

/// A value as it is written in a sweep file.
fn text(field: &Field, parameters: &Parameters) -> String {
    let unit = match field.kind {
        Kind::Quantity(unit) | Kind::Quantities(unit) => unit.symbol(),
        _ => "",
    };
    let with_unit = |x: f64| format!("{x} {unit}").trim_end().to_owned();
    match field.get(parameters) {
        Value::Number(x) => with_unit(x),
        Value::Count(n) => n.to_string(),
        Value::Flag(is_on) => is_on.to_string(),
        Value::Numbers(list) => {
            format!("[{}]", list.into_iter().map(with_unit).collect::<Vec<_>>().join(", "))
        }
        Value::Factor(CellFactor::Constant(x)) => x.to_string(),
        Value::Factor(CellFactor::Gamma { mean, sd, seed }) => {
            format!("{{ gamma: {{ mean: {mean}, sd: {sd}, seed: {seed} }} }}")
        }
        Value::Population(population) => population.name().to_owned(),
    }
}

/// A name that YAML takes for text: names of sweeps and conditions have no quotes in them.
fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Overrides, parse};

    fn read(text: &str) -> Sweep {
        parse("sweep.yaml", text.as_bytes(), "sweep", &Overrides::default())
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
        comes_back(
            "conditions: [{ name: true, set: { time.step: 0.05 ms, noise.first: granule } }, { name: 1e3 }]",
        );
    }

    #[test]
    fn the_sweeps_that_come_along_are_written_too() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sweeps");
        let files = std::fs::read_dir(directory).expect("sweeps");
        let paths: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
        for path in &paths {
            comes_back(&std::fs::read_to_string(path).expect("text"));
        }
        assert!(paths.len() >= 8);
    }
}
