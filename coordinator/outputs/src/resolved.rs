//! A sweep with every default filled in, as manifests record it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use granule_engine::space::{CellFactor, Kind};
use granule_engine::{
    Engine, Engines, Fingerprint, Inconsistent, Model, Parameter, Source, Space, Value, engine_of,
};
use granule_program::Program;
use granule_sweep::{
    Condition, Design, Diagnostics, Distribution, NameProblem, Randomness, Record, SizeProblem, Sweep, Until,
    check_condition_name, check_files, check_size, check_sweep_name, prefix_of,
};
use granule_text::one_line;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as JsonValue};

/// The sweep with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "RecordedSweep")]
pub struct ResolvedSweep {
    pub name: String,
    pub engine: String,
    pub engine_revision: u32,
    /// `common` or `independent`; in the latter case, conditions differ in `noise.stream`.
    #[serde(default = "common_noise")]
    pub noise: String,
    /// The model, if the user's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ResolvedModel>,
    pub seeds: Vec<u32>,
    /// Trials of each condition and seed: while `until` has not decided, the most.
    pub trials: u32,
    /// The rule that decides the number of trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<ResolvedUntil>,
    /// Values of parameters, which a condition has unless its own `parameters` say otherwise. Empty in a sweep of few
    /// conditions: there, each condition lists all its parameters.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    common: Parameters,
    pub conditions: Vec<ResolvedCondition>,
    /// The designs for variance-based sensitivity among the conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub designs: Vec<ResolvedDesign>,
}

/// The same, as it is recorded.
#[derive(Deserialize)]
struct RecordedSweep {
    name: String,
    engine: String,
    engine_revision: u32,
    #[serde(default = "common_noise")]
    noise: String,
    #[serde(default)]
    model: Option<ResolvedModel>,
    seeds: Vec<u32>,
    trials: u32,
    #[serde(default)]
    until: Option<ResolvedUntil>,
    #[serde(default)]
    common: Parameters,
    conditions: Vec<ResolvedCondition>,
    #[serde(default)]
    designs: Vec<ResolvedDesign>,
}

impl From<RecordedSweep> for ResolvedSweep {
    fn from(recorded: RecordedSweep) -> ResolvedSweep {
        let RecordedSweep { name, engine, engine_revision, noise, model, seeds, trials, until, .. } =
            recorded;
        let RecordedSweep { common, mut conditions, designs, .. } = recorded;
        if !common.is_empty() {
            let common = Arc::new(common.clone());
            for condition in &mut conditions {
                condition.parameters.make_own(&common);
            }
        }
        ResolvedSweep {
            name,
            engine,
            engine_revision,
            noise,
            model,
            seeds,
            trials,
            until,
            common,
            conditions,
            designs,
        }
    }
}

/// Most conditions of a sweep in which each lists all its parameters.
const FEW_CONDITIONS: usize = 10_000;

/// The rule that decides the number of trials: see [`Until`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResolvedUntil {
    pub measure: String,
    /// In the unit of the measure.
    pub half_width: f64,
    pub at_least: u32,
    pub at_most: u32,
}

impl ResolvedUntil {
    pub fn of(until: &Until) -> ResolvedUntil {
        let Until { measure, half_width, at_least, at_most, .. } = until.clone();
        ResolvedUntil { measure, half_width, at_least, at_most }
    }

    /// Returns the rule of a sweep with this number of trials; `None` if sweep files cannot have it.
    fn restore(&self, trials: u32) -> Option<Until> {
        let ResolvedUntil { measure, half_width, at_least, at_most } = self.clone();
        let is_possible = half_width > 0.0 && half_width.is_finite() && (2..=at_most).contains(&at_least);
        // An unfinished sweep has the most trials.
        let is_decided = trials < at_most;
        let until = Until { measure, half_width, at_least, at_most, is_decided };
        (is_possible && trials <= at_most).then_some(until)
    }
}

/// A design for variance-based sensitivity: Saltelli's scheme, with `base_points` × (axes + 2) conditions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResolvedDesign {
    /// `sobol`.
    pub kind: String,
    /// The name of its conditions, with placeholders.
    pub name: String,
    /// Index of its first condition, from 0.
    pub first: usize,
    pub base_points: u32,
    pub axes: Vec<ResolvedAxis>,
}

/// An axis of a design.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResolvedAxis {
    pub parameter: String,
    /// `uniform`, `loguniform` or `normal`.
    pub distribution: String,
    /// The two quantities of the distribution, as text with units.
    pub between: [String; 2],
}

/// The only kind of designs.
const SOBOL: &str = "sobol";

impl ResolvedDesign {
    fn of(design: &Design, space: &Space) -> ResolvedDesign {
        let axis = |&(path, distribution): &(&str, Distribution)| {
            let unit = space.parameter(path).map_or("", |parameter| parameter.unit());
            let (name, numbers) = distribution.parts();
            ResolvedAxis {
                parameter: path.to_owned(),
                distribution: name.to_owned(),
                between: numbers.map(|x| format!("{x} {unit}").trim_end().to_owned()),
            }
        };
        ResolvedDesign {
            kind: SOBOL.to_owned(),
            name: design.name.clone(),
            first: design.first,
            base_points: design.base_points,
            axes: design.axes.iter().map(axis).collect(),
        }
    }

    /// Returns the design; `None` if it is not one of this version.
    fn restore(&self, space: &'static Space) -> Option<Design> {
        let axis = |ResolvedAxis { parameter, distribution, between }: &ResolvedAxis| {
            let parameter = space.parameter(parameter)?;
            let number = |text: &str| text.strip_suffix(parameter.unit())?.trim().parse::<f64>().ok();
            let numbers = [number(&between[0])?, number(&between[1])?];
            Some((parameter.path, Distribution::new(distribution, numbers)?))
        };
        let axes = self.axes.iter().map(axis).collect::<Option<_>>()?;
        let design =
            Design { name: self.name.clone(), first: self.first, base_points: self.base_points, axes };
        (self.kind == SOBOL).then_some(design)
    }
}

/// A model of the user's own: all that determines its results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResolvedModel {
    /// Path of the model file, as the sweep file names it.
    pub path: String,
    /// Text of the model file.
    pub text: String,
    /// Content hash (BLAKE3) of each file that the model file lists, by path.
    pub files: BTreeMap<String, String>,
}

impl ResolvedModel {
    fn of(sweep: &Sweep) -> Option<ResolvedModel> {
        let Source { text, files } = sweep.engine.source()?;
        let path = sweep.model.clone().unwrap_or_default();
        Some(ResolvedModel { path, text: text.clone(), files: files.iter().cloned().collect() })
    }

    /// Describes the changes of all that decides results, from this model to another.
    pub fn changes(&self, new: &ResolvedModel) -> Vec<String> {
        let mut changes: Vec<String> = Vec::new();
        for path in self.files.keys().chain(new.files.keys()).collect::<BTreeSet<_>>() {
            match (self.files.get(path), new.files.get(path)) {
                (Some(old), Some(new)) if old == new => {}
                (Some(_), Some(_)) => changes.push(format!("{path} has changed")),
                (None, _) => changes.push(format!("{path} is new")),
                (_, None) => changes.push(format!("{path} is not listed any more")),
            }
        }
        if changes.is_empty() && self.text != new.text {
            changes.push(format!("{} has changed", new.path));
        }
        changes
    }

    fn source(&self) -> Source {
        Source { text: self.text.clone(), files: self.files.clone().into_iter().collect() }
    }
}

impl ResolvedSweep {
    /// Returns a hash of all of it.
    pub fn fingerprint(&self) -> String {
        let content = serde_json::to_vec(self).expect("text and numbers can be written");
        blake3::hash(&content).to_hex().to_string()
    }

    /// Whether another sweep equals this one, apart from a number of trials that their rule decides.
    pub fn is_same_but_for_the_decision(&self, other: &ResolvedSweep) -> bool {
        self.until.is_some() && *self == ResolvedSweep { trials: self.trials, ..other.clone() }
    }
}

/// A condition with all its parameters, as text with units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResolvedCondition {
    pub name: String,
    pub prefix: String,
    pub fingerprint: String,
    /// Keys of `record` that are switched off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_recorded: Vec<String>,
    pub parameters: ResolvedParameters,
}

/// Values of parameters by path.
type Parameters = Map<String, JsonValue>;

/// The parameters of a condition by path. The conditions of a sweep share those that are equal, because a sweep can have a
/// million conditions.
#[derive(Clone, Debug, Default)]
pub struct ResolvedParameters {
    shared: Arc<Parameters>,
    /// Those that differ from the shared ones: few.
    own: Box<[(String, JsonValue)]>,
    /// Whether only these are recorded with the condition.
    is_own_recorded: bool,
}

impl ResolvedParameters {
    /// Returns the value of a path.
    pub fn get(&self, path: &str) -> Option<&JsonValue> {
        let own = self.own.iter().find(|(own, _)| own == path).map(|(_, value)| value);
        own.or_else(|| self.shared.get(path))
    }

    /// Makes the recorded parameters the condition's own, beside common ones.
    fn make_own(&mut self, common: &Arc<Parameters>) {
        let recorded = std::mem::replace(&mut self.shared, Arc::clone(common));
        self.own = Arc::unwrap_or_clone(recorded).into_iter().collect();
        self.is_own_recorded = true;
    }

    /// Iterates over the paths, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.shared.keys()
    }

    /// Iterates over paths and values, in alphabetical order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &JsonValue)> {
        self.shared.iter().map(|(path, value)| (path, self.get(path).unwrap_or(value)))
    }
}

impl PartialEq for ResolvedParameters {
    fn eq(&self, other: &ResolvedParameters) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Serialize for ResolvedParameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.is_own_recorded {
            true => serializer.collect_map(self.own.iter().map(|(path, value)| (path, value))),
            false => serializer.collect_map(self.iter()),
        }
    }
}

impl<'de> Deserialize<'de> for ResolvedParameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ResolvedParameters, D::Error> {
        let shared = Arc::new(Parameters::deserialize(deserializer)?);
        Ok(ResolvedParameters { shared, ..ResolvedParameters::default() })
    }
}

fn common_noise() -> String {
    Randomness::Common.name().to_owned()
}

impl ResolvedSweep {
    /// Lists each parameter of each condition, except for parameters that were added to the model later and that no
    /// condition sets. So adding a parameter changes no manifest either.
    pub fn of(sweep: &Sweep) -> ResolvedSweep {
        let values = sweep.conditions.iter().flat_map(|condition| condition.model.values().iter());
        let set: HashSet<&str> = values
            .filter(|(parameter, value)| !parameter.is_as_before(value))
            .map(|(parameter, _)| parameter.path)
            .collect();
        let is_listed = |parameter: &Parameter| parameter.before.is_none() || set.contains(parameter.path);
        let shown = |(parameter, value): (&Parameter, &Value)| -> (String, JsonValue) {
            let text = format!("{value} {}", parameter.unit());
            (parameter.path.to_owned(), text.trim_end().into())
        };
        // If a few conditions stand before or after many points of a grid, this is one of the points.
        let typical =
            sweep.conditions.get(sweep.conditions.len() / 2).map(|condition| condition.model.values());
        let listed =
            typical.iter().flat_map(|typical| typical.iter()).filter(|(parameter, _)| is_listed(parameter));
        let shared: Arc<Parameters> = Arc::new(listed.map(shown).collect());
        let are_many = sweep.conditions.len() > FEW_CONDITIONS;
        let conditions = sweep
            .conditions
            .iter()
            .map(|condition| {
                let values = condition.model.values();
                let differing = values.iter().filter(|(parameter, value)| {
                    is_listed(parameter)
                        && typical.is_none_or(|typical| !typical.of(parameter).is_identical(value))
                });
                let own: BTreeMap<String, JsonValue> = differing.map(shown).collect();
                let own = own.into_iter().collect();
                ResolvedCondition {
                    name: condition.name.clone(),
                    prefix: condition.prefix().to_owned(),
                    fingerprint: condition.model.fingerprint().to_string(),
                    not_recorded: condition.record.left_out().into_iter().map(str::to_owned).collect(),
                    parameters: ResolvedParameters {
                        shared: Arc::clone(&shared),
                        own,
                        is_own_recorded: are_many,
                    },
                }
            })
            .collect();
        ResolvedSweep {
            name: sweep.name.clone(),
            engine: sweep.engine.name().to_owned(),
            engine_revision: sweep.engine.revision(),
            noise: sweep.randomness.name().to_owned(),
            model: ResolvedModel::of(sweep),
            seeds: sweep.seeds.clone(),
            trials: sweep.trials,
            until: sweep.until.as_ref().map(ResolvedUntil::of),
            common: if are_many { Arc::unwrap_or_clone(shared) } else { Parameters::new() },
            conditions,
            designs: sweep.designs.iter().map(|of| ResolvedDesign::of(of, sweep.engine.space())).collect(),
        }
    }
}

/// Why this program cannot use the sweep of a manifest. A manifest may come from anywhere. So its text is escaped in
/// messages, and a sweep that breaks a rule of sweep files is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Foreign {
    /// It was computed by an engine, or a revision, that this program does not have.
    #[error(
        "it was computed by engine {}, revision {revision}, which this granule does not have",
        engine.escape_debug()
    )]
    Engine { engine: String, revision: u32 },
    /// Its model file has problems for this version.
    #[error("this version refuses its model file: {}", one_line(&.0.to_string()))]
    Model(#[from] Diagnostics),
    /// It has too many conditions, seeds or trials, or none.
    #[error("it {0}")]
    Size(#[from] SizeProblem),
    /// The sweep or a condition has a name that sweep files cannot give.
    #[error(transparent)]
    Name(#[from] NameProblem),
    /// The output files of a condition have another prefix than this program gives them.
    #[error("the output files of condition {condition} start with {found:?}; expected {expected:?}")]
    Prefix { condition: String, found: String, expected: String },
    /// Two conditions would write to the same files.
    #[error("the output files of two conditions start with {0:?}, ignoring case")]
    SamePrefix(String),
    /// A seed occurs twice.
    #[error("seed {0} occurs twice")]
    SameSeed(u32),
    /// The rule for the number of trials is impossible.
    #[error("its rule for the number of trials is none that a sweep file can have")]
    Until,
    /// The conditions of a design are not those that the design makes.
    #[error("the conditions from number {0} do not match their recorded design")]
    Design(usize),
    /// The parameters of a condition do not match its fingerprint.
    #[error("cannot use the recorded parameters of condition {condition}: {what}")]
    Condition { condition: String, what: String },
    /// A condition breaks a rule that did not exist when it was computed.
    #[error("this version refuses the parameters of condition {condition}: {what}")]
    Refused { condition: String, what: String },
}

/// Limit on the characters of unchecked text in a message.
const MOST_SHOWN: usize = 60;

impl ResolvedSweep {
    /// Restores the sweep that was resolved to this. Its fingerprints, or those of version 0.1.0, show that the
    /// parameters are the same.
    ///
    /// # Errors
    /// If it is of another engine, was changed since, or breaks a rule of sweep files.
    pub fn restore(&self, engines: Engines) -> Result<Sweep, Foreign> {
        let known = match &self.model {
            Some(model) => Some(Program::of(&model.path, model.source())?.engine()),
            None => engine_of(engines, &self.engine),
        };
        let is_same = |of: &&dyn Engine| (of.name(), of.revision()) == (&self.engine, self.engine_revision);
        let Some(engine) = known.filter(|engine| is_same(engine)) else {
            let engine = self.engine.chars().take(MOST_SHOWN).collect();
            return Err(Foreign::Engine { engine, revision: self.engine_revision });
        };
        check_size(self.conditions.len(), self.seeds.len(), self.trials)?;
        check_sweep_name(&self.name)?;
        let until = self.until.as_ref().map(|until| until.restore(self.trials).ok_or(Foreign::Until));
        let until = until.transpose()?;
        let mut seeds = HashSet::new();
        if let Some(twice) = self.seeds.iter().find(|seed| !seeds.insert(**seed)) {
            return Err(Foreign::SameSeed(*twice));
        }
        let mut conditions: Vec<Condition> = Vec::with_capacity(self.conditions.len());
        let mut prefixes = HashSet::new();
        for recorded in &self.conditions {
            let condition = recorded.restore(engine, conditions.last())?;
            if !prefixes.insert(condition.prefix().to_ascii_lowercase()) {
                return Err(Foreign::SamePrefix(condition.prefix().to_owned()));
            }
            conditions.push(condition);
        }
        let is_named = |sharing: &Randomness| sharing.name() == self.noise;
        let mut sweep = Sweep {
            name: self.name.clone(),
            engine,
            model: self.model.as_ref().map(|model| model.path.clone()),
            randomness: Randomness::ALL.into_iter().find(is_named).unwrap_or_default(),
            seeds: self.seeds.clone(),
            trials: self.trials,
            until,
            conditions: Arc::new(conditions),
            designs: Vec::new(),
        };
        for recorded in &self.designs {
            let end = sweep.designs.last().map_or(0, |before| before.conditions().end);
            let design = recorded.restore(engine.space());
            let design = design.filter(|design| design.first >= end && sweep.has_design(design));
            sweep.designs.push(design.ok_or(Foreign::Design(recorded.first))?);
        }
        check_files(&sweep)?;
        Ok(sweep)
    }
}

impl ResolvedCondition {
    /// Restores the condition. It shares the facts of the one before, if they are the same.
    fn restore(&self, engine: &'static dyn Engine, before: Option<&Condition>) -> Result<Condition, Foreign> {
        let space = engine.space();
        let preset = space.preset(&self.name).map(|preset| preset.name);
        if preset.is_none() {
            check_condition_name(space, &self.name)?;
        }
        let expected = prefix_of(space, &self.name, preset.is_some());
        if self.prefix != expected {
            let condition = self.name.clone();
            let found = self.prefix.chars().take(MOST_SHOWN).collect();
            return Err(Foreign::Prefix { condition, found, expected: expected.to_owned() });
        }
        let wrong = |what: String| Foreign::Condition { condition: self.name.clone(), what };
        let mut values = space.defaults();
        for parameter in space.parameters() {
            let value = match (self.parameters.get(parameter.path), &parameter.before) {
                (Some(text), _) => {
                    let value = text.as_str().and_then(|text| value_of(parameter.kind, text));
                    value.ok_or_else(|| wrong(format!("cannot read `{}`", parameter.path)))?
                }
                // The manifest was written before this parameter existed.
                (None, Some(before)) => before.clone(),
                // If the default is not what was computed, the fingerprints differ.
                (None, None) => continue,
            };
            values.set(parameter, value).map_err(|error| wrong(error.to_string()))?;
        }
        let refused = |error: Inconsistent| Foreign::Refused {
            condition: self.name.clone(),
            what: format!("{error}; change the sweep file and run it again ({})", error.remedy),
        };
        let model = match before {
            Some(before) => before.model.with_values(values),
            None => Model::new(engine, values),
        };
        let model = model.map_err(refused)?;
        let is_known = |fingerprint: Fingerprint| fingerprint.to_string() == self.fingerprint;
        if !is_known(model.fingerprint()) && !is_known(model.fingerprint_0_1_0()) {
            return Err(wrong("they do not match the recorded fingerprint".to_owned()));
        }
        let record = Record::without(engine.kinds(), self.not_recorded.iter().map(String::as_str))
            .ok_or_else(|| wrong("`not_recorded` has an unknown key".to_owned()))?;
        Ok(Condition { name: self.name.clone(), model, preset, record, explicit: record.into() })
    }
}

/// Parses a value as [`ResolvedSweep::of`] writes it.
fn value_of(kind: Kind, text: &str) -> Option<Value> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    match kind {
        Kind::Quantity(unit) => number(text.strip_suffix(unit.symbol())?).map(Value::Number),
        Kind::Count => text.parse().ok().map(Value::Count),
        Kind::Flag => text.parse().ok().map(Value::Flag),
        Kind::Quantities(unit) => {
            let list = text.strip_suffix(unit.symbol())?.trim();
            let list = list.strip_prefix('[')?.strip_suffix(']')?;
            let items = list.split(',').filter(|item| !item.trim().is_empty());
            items.map(number).collect::<Option<_>>().map(Value::Numbers)
        }
        Kind::Factor => {
            let Some(gamma) = text.strip_prefix("gamma(mean: ") else {
                return number(text).map(|factor| Value::Factor(CellFactor::Constant(factor)));
            };
            let (mean, rest) = gamma.split_once(", sd: ")?;
            let (sd, seed) = rest.strip_suffix(')')?.split_once(", seed: ")?;
            let (mean, sd, seed) = (number(mean)?, number(sd)?, seed.parse().ok()?);
            Some(Value::Factor(CellFactor::Gamma { mean, sd, seed }))
        }
        Kind::Choice(names) => names.iter().find(|name| **name == text).map(|name| Value::Choice(name)),
    }
}

#[cfg(test)]
mod tests {
    use granule_granular::ENGINES;
    use granule_sweep::{Overrides, parse};

    use super::*;

    #[test]
    fn a_sweep_is_restored_from_its_manifest() {
        let text = "
seeds: [5, 451]
trials: 7
weights: { random: false }
noise: independent
record: { connections: false }
conditions:
  - Control
  - ACh
  - GABAzine
  - name: odd
    base: ACh
    set: { stimulus.times: [3 ms, 10.1 ms], granule.tonic_factor: { gamma: { mean: 0.3, sd: 0.1, seed: 9 } },
           golgi.leak_reversal: -53.123456789 mV, noise.first: granule, network.golgi_cells: 3 }
  - { name: none, set: { stimulus.times: [], granule.tonic_factor: 0.1 } }
";
        let sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap();
        let mut resolved = ResolvedSweep::of(&sweep);
        assert_eq!(resolved.restore(ENGINES).unwrap(), sweep);
        // Sharing parameters changes no text.
        for (condition, resolved) in sweep.conditions.iter().zip(&resolved.conditions) {
            let written = serde_json::to_value(resolved).unwrap();
            let listed = condition.model.values().iter().filter(|(of, value)| !of.is_as_before(value));
            for (parameter, value) in listed {
                let text = format!("{value} {}", parameter.unit());
                assert_eq!(written["parameters"][parameter.path], text.trim_end(), "{}", parameter.path);
            }
        }
        let golgi = serde_json::Value::from("-53 mV");
        let own = &mut resolved.conditions[3].parameters.own;
        *own = own.iter().filter(|(path, _)| path != "golgi.leak_reversal").cloned().collect();
        *own = own.iter().cloned().chain([("golgi.leak_reversal".to_owned(), golgi)]).collect();
        assert!(resolved.restore(ENGINES).unwrap_err().to_string().contains("condition odd"));
        resolved.engine_revision += 1;
        assert!(resolved.restore(ENGINES).unwrap_err().to_string().contains("pcg, revision 2"));
    }

    #[test]
    fn a_rule_for_the_number_of_trials_is_recorded_with_the_decided_number() {
        let text = "
trials: { until: { measure: response_probability, half_width: 0.1 }, at_least: 5, at_most: 30 }
conditions: [Control]
";
        let mut sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap();
        let open = ResolvedSweep::of(&sweep);
        assert_eq!(open.restore(ENGINES).unwrap(), sweep);
        sweep.decide(13);
        let resolved = ResolvedSweep::of(&sweep);
        let written = serde_json::to_string(&resolved).unwrap();
        assert!(
            written.contains(r#""trials":13,"until":{"measure":"response_probability","half_width":0.1,"#)
        );
        assert_eq!(serde_json::from_str::<ResolvedSweep>(&written).unwrap().restore(ENGINES).unwrap(), sweep);
        assert!(resolved != open && resolved.is_same_but_for_the_decision(&open));
        let rule = |change: &dyn Fn(&mut ResolvedUntil)| {
            let mut changed = resolved.clone();
            changed.until.iter_mut().for_each(change);
            changed
        };
        assert!(!rule(&|until| until.half_width = 0.2).is_same_but_for_the_decision(&open));
        let impossible: [&dyn Fn(&mut ResolvedUntil); 4] = [
            &|until| until.at_most = 12,
            &|until| until.at_least = 1,
            &|until| until.at_least = 31,
            &|until| until.half_width = f64::NAN,
        ];
        for change in impossible {
            let error = rule(change).restore(ENGINES).unwrap_err().to_string();
            assert!(error.starts_with("its rule for the number of trials"), "{error}");
        }
        sweep.until = None;
        let without = ResolvedSweep::of(&sweep);
        assert!(!serde_json::to_string(&without).unwrap().contains("until"), "its manifest is as before");
        assert!(!without.is_same_but_for_the_decision(&without));
    }

    #[test]
    fn a_design_is_restored_from_its_manifest() {
        let text = "
noise: independent
conditions:
  - GABAzine
  - name: s{index}
    base: ACh
    sobol:
      count: 4
      axes: { golgi.leak_reversal: { uniform: [-55 mV, -50 mV] }, network.golgi_cells: { uniform: [3, 9] },
              granule.tonic_factor: { normal: [1, 0.01] }, golgi_to_granule.weight: { loguniform: [0.1 nS, 1 nS] } }
";
        let sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap();
        assert_eq!(sweep.designs[0].conditions(), 1..25);
        let resolved = ResolvedSweep::of(&sweep);
        let written = serde_json::to_string(&resolved).unwrap();
        assert_eq!(serde_json::from_str::<ResolvedSweep>(&written).unwrap().restore(ENGINES).unwrap(), sweep);
        let check = |change: &dyn Fn(&mut ResolvedDesign)| {
            let mut changed = resolved.clone();
            change(&mut changed.designs[0]);
            let error = changed.restore(ENGINES).unwrap_err().to_string();
            assert!(error.ends_with("do not match their recorded design"), "{error}");
        };
        check(&|design| design.kind = "morris".to_owned());
        check(&|design| design.name = "t{index}".to_owned());
        check(&|design| design.first = usize::MAX);
        check(&|design| design.first = 0);
        check(&|design| design.base_points = 2_147_483_648);
        check(&|design| design.base_points = 2);
        check(&|design| design.axes.clear());
        check(&|design| design.axes.swap(0, 1));
        check(&|design| design.axes[0].between = ["-50 mV".to_owned(), "-55 mV".to_owned()]);
        check(&|design| design.axes[0].between[0] = "-54 mV".to_owned());
        check(&|design| design.axes[0].parameter = "golgi.reset".to_owned());
        let without = parse(ENGINES, "x.yaml", b"conditions: [Control]", "x", &Overrides::default()).unwrap();
        assert!(!serde_json::to_string(&ResolvedSweep::of(&without)).unwrap().contains("designs"));
    }

    #[test]
    fn many_conditions_list_only_what_is_their_own() {
        let read = |seeds: u32| {
            let text = format!(
                "conditions:\n  - ACh\n  - name: '{{index}}'\n    grid: {{ granule.tonic_factor: {{ linspace: [0, 1, 100] }}, \
                 weights.seed: {{ arange: [0, {seeds}, 1] }} }}\n"
            );
            let sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap();
            let resolved = ResolvedSweep::of(&sweep);
            let written = serde_json::to_string(&resolved).unwrap();
            let again: ResolvedSweep = serde_json::from_str(&written).unwrap();
            assert!(again == resolved);
            assert!(serde_json::to_string(&again).unwrap() == written);
            assert!(again.restore(ENGINES).unwrap() == sweep);
            let all = again.conditions[1].parameters.iter().count();
            assert_eq!(all, resolved.conditions[0].parameters.iter().count());
            (written, all)
        };
        let (few, parameters) = read(99);
        assert!(!few.contains("\"common\":{"));
        assert_eq!(few.matches("\"golgi.leak_reversal\"").count(), 9901);
        let (many, _) = read(100);
        // ACh has another value.
        assert_eq!(many.matches("\"golgi.leak_reversal\"").count(), 2);
        assert!(many.len() * parameters < few.len() * 10, "{} and {} bytes", many.len(), few.len());
    }

    #[test]
    fn a_parameter_that_was_added_later_is_recorded_only_if_a_condition_sets_it() {
        let resolved = |conditions: &str| {
            let text = format!("conditions: [{conditions}]");
            let sweep =
                parse(granule_toy::ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap();
            let resolved = ResolvedSweep::of(&sweep);
            assert_eq!(resolved.restore(granule_toy::ENGINES).unwrap(), sweep);
            resolved
        };
        let delays = |conditions: &str| {
            let delay = |of: ResolvedCondition| of.parameters.get("synapse.delay").cloned();
            resolved(conditions).conditions.into_iter().map(delay).collect::<Vec<_>>()
        };
        assert_eq!(delays("Base, { name: same, set: { synapse.delay: 1 ms } }"), [None, None]);
        let both = ["1 ms", "2 ms"].map(|delay| Some(delay.into()));
        assert_eq!(delays("Base, { name: slow, set: { synapse.delay: 2 ms } }"), both);
    }

    #[test]
    fn a_manifest_that_breaks_a_rule_is_refused() {
        let text = "seeds: [5, 451]\nconditions: [Control, GABAzine, { name: mine }, { name: '-53.5' }]";
        let sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap();
        let resolved = ResolvedSweep::of(&sweep);
        assert_eq!(resolved.restore(ENGINES).unwrap(), sweep);
        let check = |change: &dyn Fn(&mut ResolvedSweep), expected: &str| {
            let mut changed = resolved.clone();
            change(&mut changed);
            let message = changed.restore(ENGINES).expect_err(expected).to_string();
            assert_eq!(message, expected);
            assert!(message.chars().all(|c| !c.is_control()), "{message:?}");
        };
        let named = |name: &str, expected: &str| {
            let rename = |sweep: &mut ResolvedSweep| {
                sweep.conditions[2].name = name.to_owned();
                sweep.conditions[2].prefix = name.to_owned();
            };
            check(&rename, expected);
        };
        let letters = "a condition's name can have letters, digits, `.`, `_` and `-` only;";
        named(
            "=HYPERLINK(\"http://x\",\"y\")",
            &format!("{letters} `=HYPERLINK(\"http://x\",\"y\")` has others"),
        );
        named("../../x", &format!("{letters} `../../x` has others"));
        named("<script>", &format!("{letters} `<script>` has others"));
        named("\u{1b}[31m", &format!("{letters} `\\u{{1b}}[31m` has others"));
        named("NA", "a condition's name cannot be `NA`: pandas reads it as a missing value");
        named("", "a condition's name must not be empty");
        named("Randomized_x", "a condition's name cannot start with `randomized_`");
        named("gaba", "the output files of two conditions start with \"gaba\", ignoring case");
        named("CONTROL", "the output files of two conditions start with \"CONTROL\", ignoring case");
        let with_prefix = |at: usize, prefix: &str, expected: &str| {
            check(&|sweep| sweep.conditions[at].prefix = prefix.to_owned(), expected);
        };
        let start = "the output files of condition";
        with_prefix(2, "../../x", &format!("{start} mine start with \"../../x\"; expected \"mine\""));
        with_prefix(2, "", &format!("{start} mine start with \"\"; expected \"mine\""));
        with_prefix(2, "a\n/", &format!("{start} mine start with \"a\\n/\"; expected \"mine\""));
        with_prefix(1, "GABAzine", &format!("{start} GABAzine start with \"GABAzine\"; expected \"gaba\""));
        with_prefix(
            0,
            &"x".repeat(100_000),
            &format!("{start} Control start with \"{}\"; expected \"control\"", "x".repeat(MOST_SHOWN)),
        );
        let renamed = |name: &str, expected: &str| check(&|sweep| sweep.name = name.to_owned(), expected);
        let letters = "a sweep's name can have letters, digits, `.`, `_` and `-` only;";
        renamed("../x", &format!("{letters} `../x` has others"));
        renamed("<b>", &format!("{letters} `<b>` has others"));
        renamed("..", "a sweep's name cannot start with a dot, as in `..`");
        let seeded =
            |seeds: Vec<u32>, expected: &str| check(&|sweep| sweep.seeds.clone_from(&seeds), expected);
        seeded(vec![5, 451, 5], "seed 5 occurs twice");
        seeded(Vec::new(), "it has no seeds");
        seeded((0..100_001).collect(), "it asks for 100001 seeds, more than the 100000 a sweep can have");
        let of_trials = |trials: u32, expected: &str| check(&|sweep| sweep.trials = trials, expected);
        of_trials(0, "it has no trials of each condition and seed");
        let most = "trials of each condition and seed, more than the 1000000 a sweep can have";
        of_trials(4_000_000_000, &format!("it asks for 4000000000 {most}"));
        check(
            &|sweep| {
                sweep.trials = 1_000_000;
                sweep.seeds = (0..3).collect();
            },
            "it asks for 12000000 trials, more than the 10000000 a sweep can have",
        );
        let twice = |sweep: &mut ResolvedSweep| sweep.conditions.push(sweep.conditions[2].clone());
        check(&twice, "the output files of two conditions start with \"mine\", ignoring case");
        check(&|sweep| sweep.conditions.clear(), "it has no conditions");
        let all = vec![resolved.conditions[2].clone(); 1_000_001];
        check(
            &|sweep| sweep.conditions.clone_from(&all),
            "it asks for 1000001 conditions, more than the 1000000 a sweep can have",
        );
        check(
            &|sweep| sweep.engine = "\u{1b}]0;x".to_owned(),
            "it was computed by engine \\u{1b}]0;x, revision 1, which this granule does not have",
        );
        let unknown = |sweep: &mut ResolvedSweep| sweep.conditions[2].not_recorded = vec!["../x".to_owned()];
        let computed = "cannot use the recorded parameters of condition mine";
        check(&unknown, &format!("{computed}: `not_recorded` has an unknown key"));
    }
}
