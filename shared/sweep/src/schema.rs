//! The shape of sweep files as a JSON Schema, for editors: they complete keys, parameters and presets,
//! and show what each is. What is more than shape, such as names that must differ, is left to
//! [`parse`](crate::parse).

use granule_sim::Engine;
use granule_sim::parameters::{
    FIELDS, Field, Kind, PRESETS, Parameters, Population, Range, Unit, Value as Of,
};
use serde_json::{Map, Value, json};

use crate::axis::{DISTRIBUTIONS, unit};
use crate::file::NoiseSharing;
use crate::limits::{MOST_CONDITIONS, MOST_SEEDS, MOST_TRIALS};
use crate::record;
use crate::units;
use crate::value;
use crate::vocabulary::groups;

/// The schema, draft 2020-12, of what [`parse`](crate::parse) accepts, made from the tables it reads by.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    for field in FIELDS {
        definitions.insert(field.path.to_owned(), parameter(field));
        definitions.insert(axis_name(field), axis(field));
        if let Some(unit) = unit(field) {
            definitions.insert(drawn_name(field), object(distributions(unit), &[], Some((1, 1))));
        }
    }
    definitions.insert("settings".to_owned(), settings());
    definitions.insert("axes".to_owned(), described(all_axes(), "parameters, and the values each takes"));
    definitions.insert("hypercube".to_owned(), hypercube());
    definitions.insert("record".to_owned(), record_of());
    definitions.insert("condition".to_owned(), condition());
    let mut properties = head();
    for group in groups() {
        properties.insert(group.to_owned(), top_group(group));
    }
    let mut schema = object(properties, &["conditions"], None);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "granule sweep file",
        "description": "Conditions × seeds × trials of the granular-layer model. \
                        `granule run FILE` computes them; docs/sweeps.md describes the language.",
    });
    for (key, value) in into_map(head) {
        schema[key] = value;
    }
    schema["$defs"] = Value::Object(definitions);
    schema
}

/// The keys at the top that are no group of parameters.
fn head() -> Map<String, Value> {
    let engines: Vec<&str> = Engine::ALL.iter().map(|engine| engine.name()).collect();
    let seed = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
    let range = json!({ "type": "string", "pattern": "^[0-9]+ *\\.\\. *[0-9]+$" });
    let count = json!({ "type": "integer", "minimum": 1, "maximum": MOST_SEEDS });
    let properties = json!({
        "name": described(word(), "names the sweep and its output directory; by default the file's name"),
        "engine": {
            "description": format!("how trials are computed; by default {}", engines.first().unwrap_or(&"")),
            "enum": engines,
        },
        "seeds": {
            "description": "one network and its noise each; by default [451]. \
                            A list, a range with both its ends, or random ones",
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
        },
        "trials": {
            "description": "trials of each condition and seed",
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_TRIALS,
            "default": 100,
        },
        "record": described(
            reference("record"),
            "which files are written, for all conditions; by default all of presets, and of other conditions \
             all but probabilities and conductances",
        ),
        "set": described(reference("settings"), "parameters of all conditions; presets win over it"),
        "conditions": {
            "description": "presets by name, and conditions of your own",
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_CONDITIONS,
            "items": reference("condition"),
        },
    });
    into_map(properties)
}

/// A group of parameters at the top.
fn top_group(group: &str) -> Value {
    let mut properties = Map::new();
    for field in FIELDS {
        if let Some((_, key)) = field.path.split_once('.').filter(|(of, _)| *of == group) {
            properties.insert(key.to_owned(), reference(field.path));
        }
    }
    let description = format!("parameters `{group}.…` of all conditions; presets win over it");
    match group {
        "granule" => {
            let version = json!({ "const": 1, "description": "the version of the format" });
            json!({
                "description": format!("{description}. As a number, the version of the format"),
                "anyOf": [version, object(properties, &[], None)],
            })
        }
        "noise" => {
            let names = NoiseSharing::ALL.map(NoiseSharing::name);
            let sharing = json!({
                "description": "whether the conditions of a seed are under the same noise",
                "enum": names,
                "default": NoiseSharing::default().name(),
            });
            properties.insert("sharing".to_owned(), sharing.clone());
            json!({
                "description": format!("{description}. As a word, whether conditions share the noise"),
                "anyOf": [sharing, object(properties, &[], None)],
            })
        }
        _ => described(object(properties, &[], None), &description),
    }
}

fn condition() -> Value {
    let presets: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    let base = json!({
        "description": "what it starts from: a preset or an earlier condition; by default Control",
        "examples": presets,
        "type": ["string", "number"],
    });
    let properties = json!({
        "name": described(
            word(),
            "names the condition and its files. `{granule.tonic_factor}` stands for the value of that axis, \
             `{index}` for the number of the point",
        ),
        "base": base,
        "set": described(reference("settings"), "parameters of this condition"),
        "grid": described(reference("axes"), "axes of which all combinations are taken, the first varying slowest"),
        "zip": described(reference("axes"), "axes of equal length that advance together"),
        "latin_hypercube": reference("hypercube"),
        "record": described(reference("record"), "which files are written for this condition; wins over the top, key by key"),
    });
    let own = object(into_map(properties), &["name"], None);
    json!({ "anyOf": [{ "description": "a condition of the paper", "enum": presets }, own] })
}

fn settings() -> Value {
    let properties = FIELDS.iter().map(|field| (field.path.to_owned(), reference(field.path))).collect();
    object(properties, &[], None)
}

fn all_axes() -> Value {
    let properties =
        FIELDS.iter().map(|field| (field.path.to_owned(), reference(&axis_name(field)))).collect();
    object(properties, &[], Some((1, FIELDS.len())))
}

fn hypercube() -> Value {
    let axes: Map<String, Value> = FIELDS
        .iter()
        .filter(|field| unit(field).is_some())
        .map(|field| (field.path.to_owned(), reference(&drawn_name(field))))
        .collect();
    let properties = json!({
        "count": { "description": "points", "type": "integer", "minimum": 1, "maximum": MOST_CONDITIONS },
        "seed": { "description": "seed of the draws", "type": "integer", "minimum": 0, "maximum": u32::MAX },
        "axes": object(axes, &[], Some((1, FIELDS.len()))),
    });
    described(
        object(into_map(properties), &["count", "seed", "axes"], None),
        "points at random, one in each of `count` equally likely parts of every axis",
    )
}

fn record_of() -> Value {
    let property = |(key, what): &(&str, &str)| {
        let value = match *key {
            // The spikes are always kept.
            "spikes" => json!({ "description": what, "const": true }),
            _ => json!({ "description": what, "type": "boolean" }),
        };
        ((*key).to_owned(), value)
    };
    let all = json!({ "const": record::ALL, "description": "all files" });
    let keys = object(record::KEYS.iter().map(property).collect(), &[], None);
    json!({ "anyOf": [all, described(keys, "files by their kind")] })
}

/// A parameter's value.
fn parameter(field: &Field) -> Value {
    let symbol = match field.kind {
        Kind::Quantity(unit) | Kind::Quantities(unit) => unit.symbol(),
        _ => "",
    };
    let range = match field.kind {
        Kind::Flag | Kind::Population => String::new(),
        _ => format!("; {}", field.range.in_words(symbol)),
    };
    let default = format!("{} {symbol}", field.get(&Parameters::default()));
    let description = format!("{}{range}; by default {}", field.meaning, default.trim_end());
    let shape = match field.kind {
        Kind::Quantity(unit) => number(unit, Some(field.range)),
        Kind::Quantities(unit) => json!({ "type": "array", "items": number(unit, Some(field.range)) }),
        Kind::Count => {
            let (least, most) = value::count_range(field.range);
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Population => {
            json!({ "enum": [Population::Golgi.name(), Population::Granule.name()] })
        }
        Kind::Factor => json!({ "anyOf": [number(Unit::One, Some(field.range)), gamma()] }),
    };
    let mut shape = described(shape, &description);
    if !matches!(field.kind, Kind::Quantities(_) | Kind::Factor) {
        shape["examples"] = json!([example(field)]);
    }
    shape
}

/// The default, as it is written in a sweep file.
fn example(field: &Field) -> Value {
    match (field.kind, field.get(&Parameters::default())) {
        (Kind::Quantity(unit), Of::Number(x)) if unit != Unit::One => json!(format!("{x} {}", unit.symbol())),
        (_, Of::Number(x)) => json!(x),
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

fn axis_name(field: &Field) -> String {
    format!("axis.{}", field.path)
}

fn drawn_name(field: &Field) -> String {
    format!("drawn.{}", field.path)
}

/// An axis of `grid` or `zip`.
fn axis(field: &Field) -> Value {
    let list = json!({
        "description": "the values",
        "type": "array",
        "items": reference(field.path),
        "minItems": 1,
        "maxItems": MOST_CONDITIONS,
    });
    let Some(unit) = unit(field) else { return described(list, field.meaning) };
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
        "description": field.meaning,
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

/// A number in this unit.
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
    // In quotes it is a number, too.
    json!({ "anyOf": [number, { "type": "string", "pattern": units::pattern(unit) }] })
}

/// A name: what YAML takes for a number is one, too.
fn word() -> Value {
    json!({ "type": ["string", "number"] })
}

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{definition}") })
}

fn object(properties: Map<String, Value>, required: &[&str], sizes: Option<(usize, usize)>) -> Value {
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

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = json!(description);
    schema
}

fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
