//! The JSON Schema of sweep files, for editors. Editors complete keys, parameters and presets with it, and show their
//! descriptions. The schema describes the form of a file. [`parse`](crate::parse) checks all other rules, such as
//! unique names.

use granule_engine::output;
use granule_engine::space::{Kind, Parameter, Range, Sharing, Space, Unit, Value as Of};
use granule_engine::{Engine, Engines};
use serde_json::{Map, Value, json};

use crate::axis::{DISTRIBUTIONS, MOST_AXES, unit};
use crate::examples::{self, with_unit};
use crate::limits::{MOST_CONDITIONS, MOST_SEEDS, MOST_TRIALS};
use crate::randomness::{Randomness, SHARING};
use crate::record;
use crate::seeds::DEFAULT_SEED;
use crate::suggest;
use crate::units;
use crate::until::{AT_LEAST, FEWEST};
use crate::value;
use crate::vocabulary::{FORMAT, KEYS_OF_UNTIL, MODEL, TABLE, ungrouped};

pub(crate) const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
const TITLE: &str = "granule sweep file";

/// Name of the definition of sweeps of models of the user's own. No parameter has such a path, and no engine such a name.
const OWN: &str = "own_model";

/// Description of `sobol`.
const SALTELLI: &str = "points for variance-based sensitivity: `count` × (axes + 2) points of Saltelli's scheme on the Sobol' sequence";

/// Start of a reference to a definition.
const DEFINITIONS: &str = "#/$defs/";

/// Returns the schema, draft 2020-12, of the sweep files that [`parse`](crate::parse) accepts. It is made from the
/// tables that `parse` uses.
///
/// # Panics
/// If there are no engines.
pub fn schema(engines: Engines) -> Value {
    // Engines of one model have one schema.
    let mut models: Vec<Vec<&dyn Engine>> = Vec::new();
    for engine in engines {
        let is_same = |model: &&mut Vec<&dyn Engine>| {
            std::ptr::eq(model[0].space(), engine.space()) && model[0].kinds() == engine.kinds()
        };
        match models.iter_mut().find(is_same) {
            Some(model) => model.push(*engine),
            None => models.push(vec![*engine]),
        }
    }
    let mut schema = match models.as_slice() {
        [model] => of_model(model),
        models => of_models(models),
    };
    // A sweep of a model of the user's own names its model file. The schema does not know the parameters of that model.
    let mut definitions = schema["$defs"].take();
    definitions[OWN] = of_own_models();
    let built_in: Map<String, Value> = into_map(schema)
        .into_iter()
        .filter(|(key, _)| !matches!(key.as_str(), "$schema" | "title" | "$defs"))
        .collect();
    json!({
        "$schema": DRAFT,
        "title": TITLE,
        "if": { "required": [MODEL] },
        "then": reference(OWN),
        "else": built_in,
        "$defs": definitions,
    })
}

/// Returns the schema of sweeps of models of the user's own.
fn of_own_models() -> Value {
    let scalar = json!({ "type": ["string", "number", "boolean"] });
    let path = json!({ "pattern": "^[a-z][a-z0-9_]*\\.[a-z][a-z0-9_]*$" });
    let mapping = |values: Value, what: &str| json!({ "description": what, "type": "object", "propertyNames": path, "additionalProperties": values });
    let value = json!({ "anyOf": [scalar, { "type": "array", "items": scalar }] });
    let settings = |what: &str| mapping(value.clone(), what);
    let axes = |what: &str| {
        let rule = json!({ "type": "object", "minProperties": 1, "maxProperties": 1 });
        mapping(json!({ "anyOf": [{ "type": "array", "minItems": 1 }, rule] }), what)
    };
    let record = json!({
        "description": "which files are written",
        "anyOf": [
            { "const": record::ALL },
            { "type": "object", "additionalProperties": { "type": "boolean" } },
        ],
    });
    let hypercube = json!({
        "description": "points at random, one in each of `count` equally likely parts of every axis",
        "type": "object",
        "required": ["count", "seed", "axes"],
    });
    let sobol = json!({
        "description": SALTELLI,
        "type": "object",
        "required": ["count", "axes"],
    });
    let condition = json!({
        "name": described(word(), "names the condition and its files"),
        "base": described(word(), "the earlier condition that this condition starts from"),
        "set": settings("parameters of this condition"),
        "grid": axes("axes of which all combinations are taken, the first varying slowest"),
        "zip": axes("axes of equal length that advance together"),
        "latin_hypercube": hypercube,
        "sobol": sobol,
        TABLE: table(),
        "record": record,
    });
    let properties = json!({
        FORMAT: version(),
        MODEL: model(),
        "name": described(word(), "names the sweep and its output directory; by default the file's name"),
        // The model file names the program.
        "engine": false,
        "seeds": seeds("other random numbers"),
        "trials": trials(),
        "record": record,
        "set": settings("parameters of all conditions"),
        "conditions": conditions("the conditions", named(object(into_map(condition), &[], None))),
    });
    let mut schema = object(into_map(properties), &["conditions", MODEL], None);
    schema["description"] = json!(
        "Conditions × seeds × trials of a model of your own. `granule run FILE` computes them; docs/sweeps.md describes \
         the language."
    );
    // The groups of parameters.
    schema["additionalProperties"] = json!({ "type": "object", "additionalProperties": value });
    schema
}

/// Returns the schema of a list of conditions. A table alone needs no list.
fn conditions(what: &str, condition: Value) -> Value {
    let list = json!({ "type": "array", "minItems": 1, "maxItems": MOST_CONDITIONS, "items": condition });
    let table = json!({ "allOf": [condition, { "type": "object", "required": [TABLE] }] });
    json!({ "description": what, "anyOf": [list, table] })
}

/// Adds that a condition needs a name. The rows of a table have names.
fn named(mut condition: Value) -> Value {
    condition["anyOf"] = json!([{ "required": ["name"] }, { "required": [TABLE] }]);
    condition
}

/// Returns the schema of the path of a table.
fn table() -> Value {
    json!({
        "description": "the path of a CSV file with a row for each condition, from the folder of this file",
        "type": "string",
        "minLength": 1,
    })
}

/// Returns the schema of the path of a model file.
fn model() -> Value {
    json!({
        "description": "the path of the model file of a model of your own, from the folder of this file; instead of `engine`",
        "type": "string",
        "minLength": 1,
    })
}

/// Returns a schema of sweeps of any of these models. Files that choose no engine are of the first model.
fn of_models(models: &[Vec<&dyn Engine>]) -> Value {
    let mut definitions = Map::new();
    let mut all = Vec::new();
    for (at, model) in models.iter().enumerate() {
        let name = model[0].name();
        let mut schema = of_model(model);
        if at > 0 {
            schema["required"] = json!(["conditions", "engine"]);
        }
        move_references(&mut schema, &format!("{DEFINITIONS}{name}/$defs/"));
        definitions.insert(name.to_owned(), schema);
        all.push(reference(name));
    }
    let mut schema = json!({ "$schema": DRAFT, "title": TITLE, "anyOf": all });
    schema["$defs"] = Value::Object(definitions);
    schema
}

/// Changes all references to refer to definitions at another place.
fn move_references(schema: &mut Value, to: &str) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().and_then(|text| text.strip_prefix(DEFINITIONS)) {
                    Some(name) if key == "$ref" => *value = json!(format!("{to}{name}")),
                    _ => move_references(value, to),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, to)),
        _ => {}
    }
}

/// Returns the schema of sweeps of one model, for these of its engines.
fn of_model(engines: &[&dyn Engine]) -> Value {
    let engine = engines[0];
    let space = engine.space();
    let mut definitions = Map::new();
    for parameter in space.parameters() {
        definitions.insert(parameter.path.to_owned(), value_of(parameter));
        definitions.insert(axis_name(parameter), axis(parameter));
        if let Some(unit) = unit(parameter) {
            definitions.insert(drawn_name(parameter), object(distributions(unit), &[], Some((1, 1))));
        }
    }
    definitions.insert("settings".to_owned(), settings(space));
    definitions
        .insert("axes".to_owned(), described(all_axes(space), "parameters, and the values each takes"));
    definitions.insert("hypercube".to_owned(), hypercube(space));
    definitions.insert("sobol".to_owned(), sobol(space));
    definitions.insert("record".to_owned(), record_of(engine.kinds()));
    definitions.insert("condition".to_owned(), condition(space));
    let mut properties = head(engines);
    for group in space.groups() {
        properties.insert(group.to_owned(), top_group(space, group));
    }
    for parameter in ungrouped(space) {
        properties.insert(parameter.path.to_owned(), reference(parameter.path));
    }
    let mut schema = object(properties, &["conditions"], None);
    let head = json!({
        "$schema": DRAFT,
        "title": TITLE,
        "description": format!(
            "Conditions × seeds × trials of {}. `granule run FILE` computes them; docs/sweeps.md describes the language.",
            space.words().model
        ),
    });
    for (key, value) in into_map(head) {
        schema[key] = value;
    }
    schema["$defs"] = Value::Object(definitions);
    schema
}

/// Returns the keys at the top that are not groups of parameters.
fn head(engines: &[&dyn Engine]) -> Map<String, Value> {
    let engine = engines[0];
    let space = engine.space();
    let engines: Vec<&str> = engines.iter().map(|engine| engine.name()).collect();
    let properties = json!({
        "name": described(word(), "names the sweep and its output directory; by default the file's name"),
        "engine": {
            "description": format!("how trials are computed; by default {}", engine.name()),
            "enum": engines,
        },
        "seeds": seeds(space.words().seed),
        "trials": trials(),
        "record": described(
            reference("record"),
            &format!("which files are written, for all conditions; by default {}", by_default(engine.kinds())),
        ),
        "set": described(reference("settings"), "parameters of all conditions; presets override them"),
        "conditions": conditions("presets by name, and conditions of your own", reference("condition")),
    });
    let mut properties = into_map(properties);
    properties.insert(FORMAT.to_owned(), version());
    // So that editors complete it; a file that has it is of another schema.
    properties.insert(MODEL.to_owned(), model());
    properties
}

/// Returns the schema of seeds; each stands for `of_seed`.
fn seeds(of_seed: &str) -> Value {
    let seed = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
    let range = json!({ "type": "string", "pattern": "^[0-9]+ *\\.\\. *[0-9]+$" });
    let count = json!({ "type": "integer", "minimum": 1, "maximum": MOST_SEEDS });
    json!({
        "description": format!(
            "each seed gives {}; by default [{DEFAULT_SEED}]. A list, a range with both ends included, \
             or a number of random seeds",
            of_seed
        ),
        "examples": [[451, 452], "1..20", { "count": 20, "seed": 7 }],
        "anyOf": [
            {
                "type": "array",
                "items": { "anyOf": [seed.clone(), range.clone()] },
                "minItems": 1,
                "maxItems": MOST_SEEDS,
            },
            range,
            {
                "type": "object",
                "properties": { "count": count, "seed": seed },
                "required": ["count", "seed"],
                "additionalProperties": false,
            },
        ],
    })
}

fn trials() -> Value {
    let number = |least: u32, what: &str| json!({ "description": what, "type": "integer", "minimum": least, "maximum": MOST_TRIALS });
    let half_width = json!({
        "description": "half the width of the 95 % interval of the mean that is precise enough, in the unit of the measure",
        "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, { "type": "string" }],
    });
    let measure = described(word(), "a measure that each trial has: a column of `granule export --trials`");
    let until = into_map(json!({ "measure": measure, "half_width": half_width }));
    let rule = json!({
        "until": described(object(until, &KEYS_OF_UNTIL, None), "the measure, and its precision in every condition"),
        "at_least": number(FEWEST, &format!("trials after which precision is judged first; by default {AT_LEAST}")),
        "at_most": number(FEWEST, "trials at which the sweep ends, precise or not"),
    });
    json!({
        "description": "trials of each condition and seed: a number, or a precision until which trials are computed",
        "default": 100,
        "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": MOST_TRIALS },
            object(into_map(rule), &["until", "at_most"], None),
        ],
    })
}

/// Describes the files that are written by default.
fn by_default(kinds: &[output::FileKind]) -> String {
    let large: Vec<&str> = kinds.iter().filter(|kind| kind.is_large).map(|kind| kind.key).collect();
    match large.is_empty() {
        true => "all".to_owned(),
        false => format!(
            "all files of presets, and of other conditions all files except {}",
            suggest::list(&large).replace('`', "")
        ),
    }
}

fn version() -> Value {
    json!({ "const": 1, "description": "the version of the format" })
}

/// Returns the schema of a group of parameters at the top.
fn top_group(space: &Space, group: &str) -> Value {
    let mut properties = Map::new();
    for parameter in space.parameters() {
        if let Some((_, key)) = parameter.path.split_once('.').filter(|(of, _)| *of == group) {
            properties.insert(key.to_owned(), reference(parameter.path));
        }
    }
    let description = format!("parameters `{group}.…` of all conditions; presets override them");
    match space.sharing() {
        _ if group == FORMAT => json!({
            "description": format!("{description}. A number instead of a mapping is the version of the format"),
            "anyOf": [version(), object(properties, &[], None)],
        }),
        Some(sharing) if group == sharing.group => {
            let sharing = sharing_of(sharing);
            properties.insert(SHARING.to_owned(), sharing.clone());
            json!({
                "description": format!(
                    "{description}. A word instead of a mapping sets whether conditions share the {group}"
                ),
                "anyOf": [sharing, object(properties, &[], None)],
            })
        }
        _ => described(object(properties, &[], None), &description),
    }
}

fn sharing_of(Sharing { group, .. }: Sharing) -> Value {
    json!({
        "description": format!("whether the conditions of a seed share the {group}"),
        "enum": Randomness::ALL.map(Randomness::name),
        "default": Randomness::default().name(),
    })
}

fn condition(space: &Space) -> Value {
    let presets: Vec<&str> = space.presets().iter().map(|preset| preset.name).collect();
    let base = json!({
        "description": match presets.first() {
            Some(first) => {
                format!("the preset or earlier condition that this condition starts from; by default {first}")
            }
            None => "the earlier condition that this condition starts from".to_owned(),
        },
        "examples": presets,
        "type": ["string", "number"],
    });
    let properties = json!({
        "name": described(
            word(),
            &format!(
                "names the condition and its files. `{{{}}}` stands for the value of that axis, `{{index}}` for the \
                 number of the point",
                examples::path(space)
            ),
        ),
        "base": base,
        "set": described(reference("settings"), "parameters of this condition"),
        "grid": described(reference("axes"), "axes of which all combinations are taken, the first varying slowest"),
        "zip": described(reference("axes"), "axes of equal length that advance together"),
        "latin_hypercube": reference("hypercube"),
        "sobol": reference("sobol"),
        TABLE: table(),
        "record": described(reference("record"), "which files are written for this condition; overrides `record` at the top, key by key"),
    });
    let own = named(object(into_map(properties), &[], None));
    match presets.is_empty() {
        true => own,
        false => json!({ "anyOf": [{ "description": space.words().preset, "enum": presets }, own] }),
    }
}

fn settings(space: &Space) -> Value {
    let property = |parameter: &Parameter| (parameter.path.to_owned(), reference(parameter.path));
    object(space.parameters().iter().map(property).collect(), &[], None)
}

fn all_axes(space: &Space) -> Value {
    let property = |parameter: &Parameter| (parameter.path.to_owned(), reference(&axis_name(parameter)));
    let properties = space.parameters().iter().map(property).collect();
    object(properties, &[], Some((1, space.parameters().len())))
}

/// Returns the schema of parameters with distributions.
fn drawn_axes(space: &Space, most: usize) -> Value {
    let drawn = space.parameters().iter().filter(|parameter| unit(parameter).is_some());
    let axes = drawn.map(|parameter| (parameter.path.to_owned(), reference(&drawn_name(parameter))));
    object(axes.collect(), &[], Some((1, most.min(space.parameters().len()))))
}

fn sobol(space: &Space) -> Value {
    let count = json!({
        "description": "base points, a power of two",
        "enum": (0..).map(|power| 1 << power).take_while(|count| *count <= MOST_CONDITIONS).collect::<Vec<_>>(),
    });
    let properties = json!({ "count": count, "axes": drawn_axes(space, MOST_AXES) });
    described(object(into_map(properties), &["count", "axes"], None), SALTELLI)
}

fn hypercube(space: &Space) -> Value {
    let properties = json!({
        "count": { "description": "points", "type": "integer", "minimum": 1, "maximum": MOST_CONDITIONS },
        "seed": { "description": "seed of the draws", "type": "integer", "minimum": 0, "maximum": u32::MAX },
        "axes": drawn_axes(space, usize::MAX),
    });
    described(
        object(into_map(properties), &["count", "seed", "axes"], None),
        "points at random, one in each of `count` equally likely parts of every axis",
    )
}

fn record_of(kinds: &[output::FileKind]) -> Value {
    let property = |&output::FileKind { key, about, is_large }: &output::FileKind| {
        let what = format!("{about}{}", if is_large { "; by default for presets only" } else { "" });
        (key.to_owned(), json!({ "description": what, "type": "boolean" }))
    };
    let mut properties: Map<String, Value> = kinds.iter().map(property).collect();
    // The spikes are always kept.
    let spikes = json!({ "description": record::ABOUT_SPIKES, "const": true });
    properties.insert(record::SPIKES.to_owned(), spikes);
    let all = json!({ "const": record::ALL, "description": "all files" });
    let keys = object(properties, &[], None);
    json!({ "anyOf": [all, described(keys, "files by their kind")] })
}

/// Returns the schema of a parameter's value.
fn value_of(parameter: &Parameter) -> Value {
    let symbol = parameter.unit();
    let range = match parameter.kind {
        Kind::Flag | Kind::Choice(_) => String::new(),
        _ => format!("; {}", parameter.range.in_words(symbol)),
    };
    let default = format!("{} {symbol}", parameter.default);
    let description = format!("{}{range}; by default {}", parameter.meaning, default.trim_end());
    let shape = match parameter.kind {
        Kind::Quantity(unit) => number(unit, Some(parameter.range)),
        Kind::Quantities(unit) => json!({ "type": "array", "items": number(unit, Some(parameter.range)) }),
        Kind::Count => {
            let (least, most) = value::count_range(parameter.range);
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Choice(names) => {
            // The default is first.
            let mut names = names.to_vec();
            names.sort_by_key(|name| parameter.default != Of::Choice(name));
            json!({ "enum": names })
        }
        Kind::Factor => json!({ "anyOf": [number(Unit::One, Some(parameter.range)), gamma()] }),
    };
    let mut shape = described(shape, &description);
    if !matches!(parameter.kind, Kind::Quantities(_) | Kind::Factor) {
        shape["examples"] = json!([example(parameter)]);
    }
    shape
}

/// Returns the default, as it is written in a sweep file.
fn example(parameter: &Parameter) -> Value {
    match (parameter.unit(), &parameter.default) {
        ("", Of::Number(x)) => json!(x),
        (unit, Of::Number(x)) => json!(with_unit(*x, unit)),
        (_, Of::Count(n)) => json!(n),
        (_, Of::Flag(flag)) => json!(flag),
        (_, other) => json!(other.to_string()),
    }
}

fn gamma() -> Value {
    let positive = json!({ "type": "number", "exclusiveMinimum": 0 });
    let properties = json!({
        "mean": positive,
        "sd": positive,
        "seed": { "type": "integer", "minimum": 0, "maximum": u32::MAX },
    });
    let gamma = object(into_map(properties), &["mean", "sd", "seed"], None);
    let gamma = described(gamma, "a gamma distribution, drawn from once per cell");
    object(Map::from_iter([("gamma".to_owned(), gamma)]), &["gamma"], None)
}

fn axis_name(parameter: &Parameter) -> String {
    format!("axis.{}", parameter.path)
}

fn drawn_name(parameter: &Parameter) -> String {
    format!("drawn.{}", parameter.path)
}

/// Returns the schema of an axis of `grid` or `zip`.
fn axis(parameter: &Parameter) -> Value {
    let list = json!({
        "description": "the values",
        "type": "array",
        "items": reference(parameter.path),
        "minItems": 1,
        "maxItems": MOST_CONDITIONS,
    });
    let Some(unit) = unit(parameter) else { return described(list, parameter.meaning) };
    let count = json!({ "type": "integer", "minimum": 2, "maximum": MOST_CONDITIONS });
    let scalar = number(unit, None);
    let rule = |name: &str, what: &str, third: &Value| {
        let entries = json!({
            "description": what,
            "type": "array",
            "prefixItems": [scalar, scalar, third],
            "minItems": 3,
            "maxItems": 3,
        });
        object(Map::from_iter([(name.to_owned(), entries)]), &[name], None)
    };
    let mut random = distributions(unit);
    random.insert("count".to_owned(), json!({ "type": "integer", "minimum": 1, "maximum": MOST_CONDITIONS }));
    random.insert("seed".to_owned(), json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }));
    let random = object(random, &["count", "seed"], Some((3, 3)));
    let random = described(random, "values drawn at random");
    json!({
        "description": parameter.meaning,
        "anyOf": [
            list,
            rule("linspace", "first value, last value, number of values: even distances", &count),
            rule("logspace", "first value, last value, number of values: even distances of the logarithm", &count),
            rule("arange", "first value, an end that is not reached, step", &scalar),
            object(Map::from_iter([("random".to_owned(), random)]), &["random"], None),
        ],
    })
}

fn distributions(unit: Unit) -> Map<String, Value> {
    let two = |what: &str| {
        let scalar = number(unit, None);
        json!({
            "description": what,
            "type": "array",
            "prefixItems": [scalar, scalar],
            "minItems": 2,
            "maxItems": 2,
        })
    };
    let what = |name: &str| match name {
        "uniform" => "least and greatest value",
        "loguniform" => "least and greatest value, above 0; even in the logarithm",
        _ => "mean and standard deviation",
    };
    DISTRIBUTIONS.iter().map(|name| ((*name).to_owned(), two(what(name)))).collect()
}

/// Returns the schema of a number in this unit.
fn number(unit: Unit, range: Option<Range>) -> Value {
    if unit != Unit::One {
        return json!({ "type": "string", "pattern": units::pattern(unit) });
    }
    let mut number = json!({ "type": "number" });
    match range {
        Some(Range::Positive) => number["exclusiveMinimum"] = json!(0),
        Some(Range::NonNegative) => number["minimum"] = json!(0),
        Some(Range::Between(low, high)) => {
            number["minimum"] = json!(low);
            number["maximum"] = json!(high);
        }
        Some(Range::Finite) | None => {}
    }
    // A number in quotes is also valid.
    json!({ "anyOf": [number, { "type": "string", "pattern": units::pattern(unit) }] })
}

/// Returns the schema of a name. A scalar that YAML reads as a number is also a name.
fn word() -> Value {
    json!({ "type": ["string", "number"] })
}

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("{DEFINITIONS}{definition}") })
}

pub(crate) fn object(
    properties: Map<String, Value>,
    required: &[&str],
    sizes: Option<(usize, usize)>,
) -> Value {
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    if let Some((least, most)) = sizes {
        object["minProperties"] = json!(least);
        object["maxProperties"] = json!(most);
    }
    object
}

pub(crate) fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = json!(description);
    schema
}

pub(crate) fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
