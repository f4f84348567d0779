//! The conditions of a sweep: presets by name, and variations of presets or earlier conditions. Each variation is one
//! point or all points of its axes.

use std::collections::HashMap;

use granule_engine::output::File;
use granule_engine::{Engine, Inconsistent, Model, Preset, Space, Value, Values};

use crate::design::{Design, Saltelli};
use crate::diagnostics::{Problem, Problems, line_number};
use crate::environment::Overrides;
use crate::examples;
use crate::grid::{PointKeys, Points};
use crate::limits::MOST_CONDITIONS;
use crate::names::Template;
use crate::naming::{check_condition_name, prefix_of};
use crate::record::{ExplicitRecord, Record, record};
use crate::suggest;
use crate::table::TableFiles;
use crate::text::{Span, quote};
use crate::value::{self, ValueEntry, entries, unknown_parameter};
use crate::vocabulary::{KEYS_OF_CONDITION, TABLE};
use crate::yaml::{self, Node};

/// A condition of a sweep, ready to simulate. Two conditions are equal if they are computed and written in the same
/// way, whether the file sets this or it is the default.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Name in the sweep file, unique in the sweep.
    pub name: String,
    /// Its parameters, checked.
    pub model: Model,
    /// The preset's name, for a preset used as such.
    pub preset: Option<&'static str>,
    /// The output files that are written.
    pub record: Record,
    /// The keys of `record` that the sweep file sets.
    pub explicit: ExplicitRecord,
}

impl Condition {
    /// Returns the start of the names of its output files: the preset's prefix for a preset used as such, and otherwise
    /// the name. It is unique in the sweep, also on file systems that ignore the case of letters.
    pub fn prefix(&self) -> &str {
        prefix_of(self.model.engine().space(), &self.name, self.preset.is_some())
    }

    /// Returns the output files that are written for it, for any seed.
    pub fn files(&self, trials: u32) -> impl Iterator<Item = File> {
        let files = self.model.engine().files(&self.model, self.prefix(), self.preset, trials);
        files.into_iter().filter(|file| self.record.has(file.kind))
    }

    /// Keeps the files that an earlier sweep recorded for this condition, unless the sweep file sets their keys. If the
    /// sweep file does not set a key, a file is written by default or if `earlier` has it.
    pub fn inherit_record(&mut self, earlier: Record) {
        let by_default = Record::by_default(self.model.engine().kinds(), self.preset.is_some());
        self.record = self.explicit.or(by_default.or(earlier));
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Condition) -> bool {
        let Condition { name, model, preset, record, explicit: _ } = self;
        (name, model, preset, record) == (&other.name, &other.model, &other.preset, &other.record)
    }
}

/// The values and settings from which all conditions start.
pub(crate) struct ConditionBase<'a> {
    pub(crate) engine: &'static dyn Engine,
    /// The values to which presets and `set` are applied.
    pub(crate) base: Values,
    /// Positions at which the file sets them.
    pub(crate) places: Vec<(&'static str, Span)>,
    /// The settings of `record` at the top of the file.
    pub(crate) record: ExplicitRecord,
    /// The environment, which overrides all other settings.
    pub(crate) overrides: &'a Overrides,
    pub(crate) tables: TableFiles<'a>,
}

/// Reads the list of conditions, in order of the file. The points of one condition follow each other. Also returns the
/// designs among them.
pub(crate) fn conditions(
    node: &Node,
    common: &ConditionBase<'_>,
    problems: &mut Problems,
) -> (Vec<Condition>, Vec<Design>) {
    let space = common.engine.space();
    let none = (Vec::new(), Vec::new());
    let items = match &node.value {
        yaml::Content::List(items) if !items.is_empty() => items.as_slice(),
        // A table alone needs no list.
        yaml::Content::Map(_) if node.get(TABLE).is_some() => std::slice::from_ref(node),
        yaml::Content::List(_) => {
            problems.add(|| {
                Problem::at(node.span, "`conditions` is empty").help(examples::smallest_sweep(space))
            });
            return none;
        }
        _ => {
            problems.add(|| {
                Problem::at(node.span, format!("`conditions` must be a list, not {}", node.shown()))
                    .help(examples::smallest_sweep(space))
            });
            return none;
        }
    };
    let mut reader = ConditionReader {
        common,
        later: items.iter().filter_map(name_of).collect(),
        earlier: HashMap::new(),
        grids: HashMap::new(),
        broken_grids: Vec::new(),
        taken: HashMap::new(),
        asked_for: items.len(),
        problems,
        conditions: Vec::new(),
        designs: Vec::new(),
    };
    for item in items {
        reader.condition(item);
    }
    (reader.conditions, reader.designs)
}

/// The keys of a condition that is spelled out.
#[derive(Default)]
struct Keys<'a> {
    name: Option<ValueEntry<'a>>,
    base: Option<ValueEntry<'a>>,
    set: Option<ValueEntry<'a>>,
    points: PointKeys<'a>,
    record: Option<ValueEntry<'a>>,
}

/// A prefix that a condition has.
struct Taken {
    /// Position of the condition.
    span: Span,
    /// Its index among all conditions, if they are right.
    at: usize,
    /// Its name, if it is not the lower-case prefix.
    name: Option<Box<str>>,
}

struct ConditionReader<'a, 'p, 't> {
    common: &'a ConditionBase<'a>,
    /// Names of all spelled-out conditions in the list, to explain a `base` that is defined too late.
    later: Vec<&'a str>,
    /// Values of the spelled-out conditions without axes that were read so far. `None` marks a wrong condition, so that
    /// conditions based on it are not reported for the same reason.
    earlier: HashMap<&'a str, Option<Values>>,
    /// Names of conditions with axes as they are in the file, each with the name of its first point.
    grids: HashMap<&'a str, String>,
    /// Start of the names of points whose condition is wrong.
    broken_grids: Vec<&'a str>,
    /// Prefixes so far in lower case.
    taken: HashMap<Box<str>, Taken>,
    /// Number of conditions that the list stands for, as far as it has been read.
    asked_for: usize,
    problems: &'p mut Problems<'t>,
    /// The valid conditions. Many of them share their facts with the one before.
    conditions: Vec<Condition>,
    designs: Vec<Design>,
}

impl<'a> ConditionReader<'a, '_, '_> {
    fn space(&self) -> &'static Space {
        self.common.engine.space()
    }

    /// Returns the files that are written for a condition if the sweep file sets nothing.
    fn default_record(&self, is_preset: bool) -> Record {
        Record::by_default(self.common.engine.kinds(), is_preset)
    }

    fn condition(&mut self, item: &'a Node) {
        match &item.value {
            yaml::Content::Scalar { text, .. } => {
                let preset = self.preset(text, item.span);
                self.conditions.extend(preset);
            }
            yaml::Content::Map(map) => self.spelled_out(item, map),
            _ => {
                let space = self.space();
                self.problems.add(|| {
                    Problem::at(item.span, format!("a condition cannot be {}", item.kind()))
                        .help(examples::condition(space))
                });
            }
        }
    }

    fn preset(&mut self, name: &'a str, span: Span) -> Option<Condition> {
        let space = self.space();
        let Some(preset) = space.preset(name) else {
            self.problems.add(|| {
                let names: Vec<&str> = space.presets().iter().map(|preset| preset.name).collect();
                let help = match names.is_empty() {
                    true => examples::condition(space),
                    false => suggest::help(name, "the presets are", &names),
                };
                Problem::at(span, format!("unknown condition {}", quote(name))).help(help)
            });
            return None;
        };
        let prefix = prefix_of(space, preset.name, true);
        let free = self.claim_prefix(prefix, name, span, self.conditions.len());
        let values = self.with_preset(preset);
        let model = self.model(values, span, &[], None)?;
        free.then(|| Condition {
            name: name.to_owned(),
            model,
            preset: Some(preset.name),
            record: self.common.record.or(self.default_record(true)),
            explicit: self.common.record,
        })
    }

    fn spelled_out(&mut self, item: &'a Node, map: &'a [(Node, Node)]) {
        let before = self.problems.count();
        let keys = self.keys(item, map);
        let of_table = keys.points.table.map(|entry| entry.value.span);
        let span = keys.name.map(|entry| entry.value.span).or(of_table).unwrap_or(item.span);
        let points = Points::read(keys.points, self.common.tables, self.problems);
        let template = match keys.name {
            Some(name) => self.template(name.value),
            // Another condition without a name has been reported.
            None => points.as_ref().filter(|_| of_table.is_some()).map(|points| match points.has_names() {
                true => "{name}",
                false => "point-{index}",
            }),
        };
        let names = template.zip(points.as_ref()).and_then(|(template, points)| {
            let axes_span = keys.points.iter().next().map_or(span, |entry| entry.key_span);
            self.has_room(points, axes_span).then(|| self.names(template, span, points))?
        });

        let start = match keys.base {
            Some(entry) => self.based_on(entry.value, name_of(item)),
            // A condition without `base` starts from the first preset.
            None => Some(match self.space().presets().first() {
                Some(preset) => self.with_preset(preset),
                None => self.common.base.clone(),
            }),
        };
        let has_base = start.is_some();
        // Report wrong entries of `set` also if the base is wrong.
        let mut values = start.unwrap_or_else(|| self.common.base.clone());
        let places =
            keys.set.map_or_else(Vec::new, |entry| settings(entry.value, &mut values, self.problems));
        if let Some(points) = &points {
            self.report_set_twice(points, &places);
        }
        let explicit = match keys.record {
            Some(entry) => record(entry.value, self.common.record, self.problems),
            None => self.common.record,
        };
        let unharmed = has_base && self.problems.count() == before;
        let first = self.conditions.len();
        if unharmed && let (Some(points), Some(names)) = (&points, names) {
            self.points(points, names, &values, &places, span, explicit);
        }
        let has_axes = keys.points.iter().next().is_some();
        if let Some(name) = name_of(item).or(of_table.map(|_| "")) {
            self.remember(name, has_axes, first);
        }
        if first < self.conditions.len()
            && let (Some(name), Some(Saltelli { base_points, axes })) =
                (template, points.and_then(|points| points.design))
            // With an axis that the environment overrides, the conditions are not those of the design.
            && !axes.iter().any(|(path, _)| self.common.overrides.sets(path))
        {
            self.designs.push(Design { name: name.to_owned(), first, base_points, axes });
        }
    }

    fn keys(&mut self, item: &Node, map: &'a [(Node, Node)]) -> Keys<'a> {
        let before = self.problems.count();
        let mut keys = Keys::default();
        for entry in entries(map, self.problems) {
            let place = match entry.key {
                "name" => &mut keys.name,
                "base" => &mut keys.base,
                "set" => &mut keys.set,
                "grid" => &mut keys.points.grid,
                "zip" => &mut keys.points.zip,
                "latin_hypercube" => &mut keys.points.latin_hypercube,
                "sobol" => &mut keys.points.sobol,
                TABLE => &mut keys.points.table,
                "record" => &mut keys.record,
                key => {
                    self.unknown_key(key, entry.key_span);
                    continue;
                }
            };
            *place = Some(entry);
        }
        // An unknown key may be the name, mistyped.
        let needs_name = keys.points.table.is_none();
        if keys.name.is_none() && needs_name && self.problems.count() == before {
            self.problems.add(|| Problem::at(item.span, "the condition has no `name`").help("add `name: …`"));
        }
        keys
    }

    /// Stores the values from which later conditions can start. `first` is the index of the condition's first point; there
    /// is none if the condition is wrong.
    fn remember(&mut self, name: &'a str, has_axes: bool, first: usize) {
        let made = self.conditions.get(first);
        if !has_axes {
            self.earlier.entry(name).or_insert_with(|| made.map(|made| made.model.values().clone()));
            return;
        }
        match made {
            Some(first) => {
                self.grids.insert(name, first.name.clone());
            }
            None => self.broken_grids.push(name.split('{').next().unwrap_or(name)),
        }
    }

    /// Checks that the points of a condition do not make too many conditions.
    fn has_room(&mut self, points: &Points, span: Span) -> bool {
        let total = points.len().and_then(|len| (self.asked_for - 1).checked_add(len));
        if let Some(total) = total.filter(|total| *total <= MOST_CONDITIONS) {
            self.asked_for = total;
            return true;
        }
        self.problems.add(|| {
            let message = format!(
                "the {} points here bring the number of conditions in the sweep to {}; at most \
                 {MOST_CONDITIONS} are possible",
                points.shape(),
                match points.len() {
                    Some(len) => (self.asked_for - 1).saturating_add(len).to_string(),
                    None => "more than can be counted".to_owned(),
                }
            );
            Problem::at(span, message).help(
                "use fewer values or fewer axes; `latin_hypercube` covers many axes with few points"
                    .to_owned(),
            )
        });
        false
    }

    /// Adds the conditions of all points. If a point is wrong, reports it and adds none.
    fn points(
        &mut self,
        points: &Points,
        names: Vec<String>,
        values: &Values,
        places: &[(&'static str, Span)],
        span: Span,
        explicit: ExplicitRecord,
    ) {
        let record = explicit.or(self.default_record(false));
        let first = self.conditions.len();
        self.conditions.reserve_exact(names.len());
        for (point, name) in names.into_iter().enumerate() {
            let mut values = values.clone();
            let mut places = places.to_vec();
            for (axis, (value, place)) in points.axes.iter().zip(points.at(point)) {
                let taken = values.set(axis.parameter, value.clone());
                debug_assert_eq!(taken, Ok(()), "each value has been checked before");
                places.push((axis.parameter.path, *place));
            }
            // The environment overrides the file, including a condition's own settings.
            let values = self.common.overrides.apply(values);
            let model = self.model(values, span, &places, (!points.is_one()).then_some(&name));
            // The other points are probably wrong for the same reason.
            let Some(model) = model else { return self.conditions.truncate(first) };
            self.conditions.push(Condition { name, model, preset: None, record, explicit });
        }
    }

    fn report_set_twice(&mut self, points: &Points, set: &[(&'static str, Span)]) {
        for axis in &points.axes {
            if let Some((path, span)) = set.iter().find(|(path, _)| *path == axis.parameter.path) {
                self.problems.add(|| {
                    Problem::at(
                        *span,
                        format!("`{path}` is set here, but it is an axis of this condition, too"),
                    )
                    .help("an axis sets it at every point; remove one of the two")
                });
            }
        }
    }

    fn unknown_key(&mut self, key: &str, span: Span) {
        let space = self.space();
        self.problems.add(|| {
            let help = match (space.preset(key), space.parameter(key)) {
                (Some(_), _) => examples::condition(space),
                (_, Some(_)) => format!("parameters go into `set: {{ {key}: … }}`"),
                _ => suggest::help(key, "the keys are", &KEYS_OF_CONDITION),
            };
            Problem::at(span, format!("unknown key {} in a condition", quote(key))).help(help)
        });
    }

    /// Reads the name of a condition, with its placeholders.
    fn template(&mut self, node: &'a Node) -> Option<&'a str> {
        let space = self.space();
        if let yaml::Content::Scalar { text, .. } = &node.value {
            return Some(text);
        }
        self.problems.add(|| {
            let problem = Problem::at(node.span, format!("`name` must be a word, not {}", node.kind()));
            problem.help(match node.value {
                yaml::Content::Map(_) => yaml::QUOTED_NAME.to_owned(),
                _ => format!("write it like `name: {}`", examples::name(space)),
            })
        });
        None
    }

    /// Makes the names of all points. Each name is valid in file names, and all differ. `span` is the position of the
    /// name in the file.
    fn names(&mut self, name: &str, span: Span, points: &Points) -> Option<Vec<String>> {
        let space = self.space();
        let template = Template::read(name, span, &points.axes, points.has_names(), self.problems)?;
        let count = points.len()?;
        let mut names: Vec<String> = Vec::with_capacity(count);
        let first = self.conditions.len();
        let mut is_free = true;
        for point in 0..count {
            let values: Vec<&Value> = points.at(point).into_iter().map(|(value, _)| value).collect();
            let name = template.name(point, &values, points.name_of_row(point));
            if let Err(problem) = check_condition_name(space, &name) {
                self.problems.add(|| {
                    let help = if points.is_one() {
                        problem.help().to_owned()
                    } else {
                        problem.help_at(space, point)
                    };
                    Problem::at(span, problem.to_string()).help(help)
                });
                return None;
            }
            let taken = self.taken.get(name.to_ascii_lowercase().as_str());
            if let Some(Taken { at, .. }) = taken.filter(|taken| taken.span == span) {
                let other = at - first;
                self.problems.add(|| same_name(&name, [other, point], &template, points, span));
                return None;
            }
            // Report only one of several points.
            is_free = is_free && self.claim_prefix(&name, &name, span, first + point);
            names.push(name);
        }
        Some(names)
    }

    /// Checks that no earlier condition writes files of the same names.
    fn claim_prefix(&mut self, prefix: &str, name: &str, span: Span, at: usize) -> bool {
        let lower = prefix.to_ascii_lowercase().into_boxed_str();
        let Some(taken) = self.taken.get(&lower) else {
            let name = (*lower != *name).then(|| name.into());
            self.taken.insert(lower, Taken { span, at, name });
            return true;
        };
        let text = self.problems.text();
        self.problems.add(|| {
            let line = line_number(text, taken.span.start);
            let other = taken.name.as_deref().unwrap_or(&lower);
            if other == name {
                return Problem::at(span, format!("duplicate condition {}", quote(name)))
                    .help(format!("it is already on line {line}"));
            }
            let message = format!(
                "conditions {} and {} would write to the same files, `{}…`",
                quote(other),
                quote(name),
                prefix
            );
            Problem::at(span, message).help(format!("rename one of them; the other is on line {line}"))
        });
        false
    }

    fn with_preset(&self, preset: &Preset) -> Values {
        self.common.base.clone().with(preset)
    }

    /// Returns the values of a base; `None` also if the base is known but wrong.
    fn based_on(&mut self, node: &'a Node, own_name: Option<&str>) -> Option<Values> {
        let space = self.space();
        let yaml::Content::Scalar { text: base, .. } = &node.value else {
            self.problems.add(|| {
                let example = space.presets().first().map_or("…", |preset| preset.name);
                Problem::at(node.span, format!("`base` must be a condition's name, not {}", node.kind()))
                    .help(format!("write it like `base: {example}`"))
            });
            return None;
        };
        if let Some(preset) = space.preset(base) {
            return Some(self.with_preset(preset));
        }
        if let Some(values) = self.earlier.get(base.as_str()) {
            return values.clone();
        }
        let point = self.taken.get(base.to_ascii_lowercase().as_str());
        if let Some(condition) = point.and_then(|taken| self.conditions.get(taken.at))
            && condition.name == *base
        {
            return Some(condition.model.values().clone());
        }
        if self.broken_grids.iter().any(|start| base.starts_with(start)) {
            // The base may be one of those points, whose condition has been reported.
            return None;
        }
        self.problems.add(|| {
            let problem = Problem::at(node.span, format!("unknown base {}", quote(base)));
            if let Some(first) = self.grids.get(base.as_str()) {
                return problem
                    .help(format!("`{base}` has several points; name one of them, such as `{first}`"));
            }
            if own_name == Some(base) {
                return problem.help("a condition cannot start from itself");
            }
            if self.later.contains(&base.as_str()) {
                return problem.help("a base comes before the conditions that start from it; move it up");
            }
            let points = self.conditions.iter().map(|condition| condition.name.as_str());
            let mut names: Vec<&str> = self.earlier.keys().copied().chain(points).collect();
            names.sort_unstable();
            let presets = space.presets().iter().map(|preset| preset.name);
            problem.help(match suggest::nearest(base, presets.clone().chain(names)) {
                Some(name) => format!("did you mean `{name}`?"),
                None => {
                    let presets: Vec<&str> = presets.collect();
                    match presets.is_empty() {
                        true => "a base is an earlier condition".to_owned(),
                        false => format!(
                            "a base is an earlier condition or one of the presets {}",
                            suggest::list(&presets)
                        ),
                    }
                }
            })
        });
        None
    }

    /// Checks values as a whole. Reports a contradiction at the setting involved, if there is one. `point` is the name
    /// of a point, if the condition has several.
    fn model(
        &mut self,
        values: Values,
        span: Span,
        set: &[(&'static str, Span)],
        point: Option<&str>,
    ) -> Option<Model> {
        let model = match self.conditions.last() {
            Some(last) => last.model.with_values(values),
            None => Model::new(self.common.engine, values),
        };
        match model {
            Ok(model) => Some(model),
            Err(Inconsistent { message, paths, remedy }) => {
                self.problems.add(|| {
                    let mut places = set.iter().rev().chain(&self.common.places);
                    let place = places.find(|(path, _)| paths.contains(path));
                    let span = place.map_or(span, |&(_, span)| span);
                    let mut help = Vec::new();
                    if let Some(name) = point {
                        help.push(format!("this happens at point {}, perhaps at others too", quote(name)));
                    }
                    help.push(remedy);
                    let variables = self.common.overrides.parameter_variables();
                    if !variables.is_empty() {
                        let variables = variables.join(", ");
                        help.push(format!("these environment variables override parameters: {variables}"));
                    }
                    Problem::at(span, message).help(help.join("; "))
                });
                None
            }
        }
    }
}

/// Applies `set` and returns the parameters that it sets, with positions.
pub(crate) fn settings(
    node: &Node,
    values: &mut Values,
    problems: &mut Problems,
) -> Vec<(&'static str, Span)> {
    let space = values.space();
    let yaml::Content::Map(map) = &node.value else {
        problems.add(|| {
            Problem::at(node.span, format!("`set` must be a mapping, not {}", node.shown()))
                .help(format!("write it like `set: {{ {} }}`", examples::setting(space)))
        });
        return Vec::new();
    };
    let mut places = Vec::new();
    for ValueEntry { key, key_span, value: node } in entries(map, problems) {
        match space.parameter(key) {
            Some(parameter) => {
                if value::set(parameter, node, values, problems) {
                    places.push((parameter.path, node.span));
                }
            }
            None => problems.add(|| unknown_parameter(space, key, key_span)),
        }
    }
    places
}

/// Returns the problem that two points of one condition have the same name.
fn same_name(name: &str, two: [usize; 2], template: &Template<'_>, points: &Points, span: Span) -> Problem {
    let [first, second] = two.map(|point| points.at(point));
    let differs = |axis: &usize| first[*axis].0 != second[*axis].0;
    let axes = 0..points.axes.len();
    let message = match axes.clone().find(differs) {
        Some(axis) => format!(
            "the points {} and {} are both named {}, but their values of `{}` are {} and {}",
            two[0],
            two[1],
            quote(name),
            points.axes[axis].parameter.path,
            first[axis].0,
            second[axis].0
        ),
        None => {
            format!("the points {} and {} are both named {}, and are the same", two[0], two[1], quote(name))
        }
    };
    Problem::at(span, message).help(match axes.clone().find(|axis| differs(axis) && !template.shows(*axis)) {
        Some(axis) => format!("add `{{{}}}` or `{{index}}` to the name", points.axes[axis].parameter.path),
        None => "add `{index}` to the name, or keep only one of them".to_owned(),
    })
}

/// Returns the name of a spelled-out condition, whether valid or not.
fn name_of(item: &Node) -> Option<&str> {
    match &item.get("name")?.value {
        yaml::Content::Scalar { text, .. } => Some(text),
        _ => None,
    }
}
