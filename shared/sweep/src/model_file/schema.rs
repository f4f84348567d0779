//! The JSON Schema of model files, for editors. It describes the form of a file. [`parse_model`](crate::parse_model)
//! checks all other rules, such as units.

use serde_json::{Map, Value, json};

use super::MOST_THREADS;
use crate::schema::{DRAFT, described, into_map, object};
use crate::vocabulary::FORMAT_OF_MODEL;

/// Returns the schema, draft 2020-12, of the model files that [`parse_model`](crate::parse_model) accepts.
pub fn model_schema() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let about = described(text.clone(), "a description, in one line");
    // Numbers are arithmetic, too.
    let arithmetic = json!({ "type": ["string", "number"] });
    let list =
        json!({ "type": "array", "items": { "type": ["string", "number", "boolean"] }, "minItems": 1 });
    let name = "^[a-z][a-z0-9_]*$";
    let properties = json!({
        FORMAT_OF_MODEL: { "const": 1, "description": "the version of the format" },
        "name": {
            "description": "names the model: letters, digits, `.`, `_` and `-`, at most 60",
            "type": ["string", "number"],
        },
        "about": about,
        "program": described(
            list.clone(),
            "the command that computes trials. It is started in the folder of the model file, once for each worker thread",
        ),
        "files": described(
            list,
            "the files of the model, as patterns with `*`, `?` and `**`, relative to the folder of the model file",
        ),
        "parameters": {
            "description": "parameters that sweeps can set, each as `group.name`",
            "type": "object",
            "propertyNames": { "pattern": "^[a-z][a-z0-9_]*\\.[a-z][a-z0-9_]*$" },
            "additionalProperties": parameter(&about),
            "maxProperties": 200,
        },
        "populations": {
            "description": "populations of cells that spike, each with its size: a whole number or arithmetic of parameters",
            "type": "object",
            "propertyNames": { "pattern": name },
            "additionalProperties": arithmetic,
            "maxProperties": 16,
        },
        "duration": {
            "description": "length of a trial: a time, such as `500 ms`, or arithmetic of parameters",
            "type": "string",
        },
        "resolution": {
            "description": "spike times are rounded to it: 1 ms divided by a whole number up to 1000; by default 0.1 ms",
            "type": "string",
        },
        "returns": {
            "description": "other results of a trial: numbers and arrays",
            "type": "object",
            "propertyNames": { "pattern": name },
            "additionalProperties": returned(&arithmetic, &about),
            "maxProperties": 64,
        },
        "threads": {
            "description": "threads that a process of the program uses",
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_THREADS,
            "default": 1,
        },
        "limits": limits(),
        "versions_may_differ": {
            "description": "whether workers may compute trials if their programs report other versions",
            "type": "boolean",
            "default": false,
        },
    });
    let mut schema = object(into_map(properties), &[FORMAT_OF_MODEL, "name", "program", "files"], None);
    schema["$schema"] = json!(DRAFT);
    schema["title"] = json!("granule model file");
    schema["description"] = json!(
        "A model of your own, and the program that computes its trials. A sweep file names it as `model: FILE`."
    );
    schema["anyOf"] = json!([{ "required": ["populations", "duration"] }, { "required": ["returns"] }]);
    schema["dependentRequired"] = json!({ "populations": ["duration"] });
    schema
}

fn parameter(about: &Value) -> Value {
    let scalar = json!({ "type": ["string", "number"] });
    let properties = json!({
        "default": {
            "description": "the value if a sweep does not set it. Its form decides the kind: `4000` is a count, `0.5` a \
                            number, `1.6 nS` a quantity in nS, `true` a flag, a word a choice, `[1 ms, 2 ms]` a list",
            "anyOf": [
                { "type": ["string", "number", "boolean"] },
                { "type": "array", "items": scalar },
            ],
        },
        "range": {
            "description": "the least and the greatest value",
            "type": "array",
            "items": scalar,
            "minItems": 2,
            "maxItems": 2,
        },
        "kind": {
            "description": "the kind, if the default does not show it",
            "enum": super::parameters::KINDS,
        },
        "choices": {
            "description": "all values of a choice",
            "type": "array",
            "items": { "type": ["string", "number", "boolean"] },
            "minItems": 1,
        },
        "about": about,
    });
    object(into_map(properties), &["default"], None)
}

fn returned(arithmetic: &Value, about: &Value) -> Value {
    let properties = json!({
        "unit": described(json!({ "type": "string", "minLength": 1 }), "its unit, such as `Hz`"),
        "shape": {
            "description": "length of each axis of an array: whole numbers or arithmetic of parameters",
            "type": "array",
            "items": arithmetic,
            "minItems": 1,
            "maxItems": 3,
        },
        "about": about,
    });
    json!({ "anyOf": [object(into_map(properties), &[], None), { "type": "null" }] })
}

fn limits() -> Value {
    let properties: Map<String, Value> = into_map(json!({
        "time": { "description": "longest time of a trial, such as `600 s`", "type": "string" },
        "memory": {
            "description": "largest memory of a process, in MB, GB, MiB or GiB",
            "type": "string",
        },
    }));
    described(object(properties, &[], None), "limits; a trial or process that exceeds one fails")
}
