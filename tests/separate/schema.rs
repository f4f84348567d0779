//! The schema of sweep files accepts the same files as the parser, and the template is a sweep.

use std::fs;
use std::path::{Path, PathBuf};

use granule_engine::Engines;
use granule_granular::{ENGINES, space};
use granule_sweep::{Overrides, Record, model_schema, parse, parse_model, schema};
use jsonschema::Validator;
use serde_json::Value;

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema(ENGINES)).expect("the schema is one")
}

/// The errors in a sweep file, by the schema.
fn errors(validator: &Validator, yaml: &str) -> Vec<String> {
    let value: Value = serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}\n{error}"));
    validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The files in a directory of the repository whose names have this start and end, with their text.
fn files(directory: &str, starts: &str, ends: &str) -> Vec<(PathBuf, String)> {
    let directory = Path::new(crate::ROOT).join(directory);
    let paths = fs::read_dir(&directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = paths
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).expect("text");
            name.starts_with(starts) && name.ends_with(ends)
        })
        .map(|path| (path.clone(), fs::read_to_string(&path).expect("text")))
        .collect();
    files.sort();
    files
}

#[test]
fn the_schema_takes_every_sweep_there_is() {
    let validator = validator();
    let mut all = files("sweeps", "", ".yaml");
    all.extend(files("fuzz/corpus/sweep", "valid-", ""));
    all.push((PathBuf::from("template"), template()));
    all.push((PathBuf::from("template with all examples"), with_examples()));
    for (path, page) in files("docs", "sweeps", ".md").into_iter().chain(files("", "README", ".md")) {
        let blocks = page.split("\n```").filter_map(|block| block.strip_prefix("yaml\n"));
        all.extend(blocks.map(|block| (path.clone(), block.to_owned())));
    }
    let platform = "engine: brian2-2.2.1\nplatform: osx-64\nconditions: [Control]\n";
    all.push((PathBuf::from("a parameter without a group"), platform.to_owned()));
    assert!(all.len() > 20, "{}", all.len());
    for (path, text) in all {
        assert!(
            parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).is_ok(),
            "{}",
            path.display()
        );
        assert_eq!(errors(&validator, &text), Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn the_schema_refuses_other_shapes() {
    let validator = validator();
    let refused = [
        "trials: 5",
        "conditions: []",
        "conditions: [Contrl]",
        "conditions: [Control]\ntrails: 5",
        "conditions: [Control]\nengine: brian3",
        "conditions: [Control]\ntrials: 0",
        "conditions: [Control]\nseeds: 1-20",
        "conditions: [Control]\nseeds: { count: 5 }",
        "conditions: [Control]\ngranule: 2",
        "conditions: [Control]\ngranule: { tonic_facto: 1 }",
        "conditions: [Control]\nnoise: own",
        "conditions: [Control]\nplatform: linux",
        "conditions: [Control]\nrecord: { conductances: some }",
        "conditions: [Control]\nrecord: none",
        "conditions: [Control]\nrecord: [weights]",
        "conditions: [{ name: a, record: { all: true } }]",
        "conditions: [Control]\nset: { golgi.reset: -55 }",
        "conditions: [{ base: ACh }]",
        "conditions: [{ name: a, set: { golgi.reset: -55 mS } }]",
        "conditions: [{ name: a, set: { stimulus.active_fraction: 1.5 } }]",
        "conditions: [{ name: a, set: { noise.first: mossy } }]",
        "conditions: [{ name: a, grid: {} }]",
        "conditions: [{ name: a, grid: { golgi.reset: -55 mV } }]",
        "conditions: [{ name: a, grid: { golgi.reset: { linspace: [-55 mV, -50 mV] } } }]",
        "conditions: [{ name: a, grid: { noise.first: { linspace: [1, 2, 3] } } }]",
        "conditions: [{ name: a, grid: { weights.seed: { random: { uniform: [1, 9], count: 3 } } } }]",
        "conditions: [{ name: a, latin_hypercube: { count: 3, seed: 1, axes: { noise.first: { uniform: [0, 1] } } } }]",
    ];
    for text in refused {
        assert!(!errors(&validator, text).is_empty(), "{text}");
        assert!(parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).is_err(), "{text}");
    }
}

#[test]
fn the_schema_tells_editors_of_every_parameter_and_preset() {
    let schema = schema(ENGINES);
    let definitions = &schema["$defs"];
    for parameter in space().parameters() {
        let description = definitions[parameter.path]["description"].as_str().expect("a description");
        assert!(description.starts_with(parameter.meaning), "{description}");
        assert!(definitions["settings"]["properties"][parameter.path].is_object(), "{}", parameter.path);
        assert!(definitions["axes"]["properties"][parameter.path].is_object(), "{}", parameter.path);
        let Some((group, key)) = parameter.path.split_once('.') else {
            let reference = serde_json::json!({ "$ref": format!("#/$defs/{}", parameter.path) });
            assert_eq!(schema["else"]["properties"][parameter.path], reference);
            continue;
        };
        let at_top = &schema["else"]["properties"][group];
        let at_top = if at_top["anyOf"].is_array() { &at_top["anyOf"][1] } else { at_top };
        assert!(at_top["properties"][key].is_object(), "{}", parameter.path);
    }
    let presets: Vec<&str> = space().presets().iter().map(|preset| preset.name).collect();
    assert_eq!(definitions["condition"]["anyOf"][0]["enum"], serde_json::json!(presets));
}

fn template() -> String {
    ENGINES[0].template()
}

/// The template with its examples in use.
fn with_examples() -> String {
    let line = |line: &str| {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        match text.strip_prefix('#').filter(|rest| !rest.is_empty()) {
            // A `#` and one space begin a comment; two spaces are the indent of an example.
            Some(rest) if !rest.starts_with(' ') || rest.starts_with("  ") => format!("{indent}{rest}\n"),
            _ => format!("{line}\n"),
        }
    };
    template().lines().map(line).collect()
}

#[test]
fn the_template_is_a_sweep_with_and_without_its_examples() {
    let read = |text: &str| {
        parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default())
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let sweep = read(&template());
    assert_eq!((sweep.name.as_str(), sweep.conditions.len()), ("x", 2));
    let [preset, own] = [0, 1].map(|at| sweep.conditions[at].record);
    let kinds = sweep.engine.kinds();
    let short = Record::without(kinds, ["probabilities", "conductances"]).expect("known keys");
    assert_eq!((preset, own), (Record::all(kinds), short));
    let sweep = read(&with_examples());
    assert_eq!((sweep.name.as_str(), sweep.conditions.len()), ("my-sweep", 2 + 10 + 3 + 20));
    assert!(sweep.conditions.iter().all(|condition| condition.record == Record::all(kinds)));
}

#[test]
fn the_schema_takes_the_files_of_every_engine() {
    const SWEEP: &str = "engine: toy\nsynapse: { weight: 100 pS }\nrecord: all\nconditions:\n  - Base\n  \
                         - { name: b, base: Base, set: { network.relay: 5 }, record: { totals: false } }\n  \
                         - { name: c, grid: { network.relay: { linspace: [1, 3, 3] } } }\n";
    let takes = |engines: Engines, text: &str| {
        let value: Value = serde_saphyr::from_str(text).unwrap();
        let takes =
            jsonschema::draft202012::new(&schema(engines)).expect("the schema is one").is_valid(&value);
        assert_eq!(
            parse(engines, "x.yaml", text.as_bytes(), "x", &Overrides::default()).is_ok(),
            takes,
            "{text}"
        );
        takes
    };
    let without = SWEEP.replace("engine: toy\n", "");
    assert!(takes(granule_toy::ENGINES, SWEEP) && takes(granule_toy::ENGINES, &without));
    assert!(!takes(granule_toy::ENGINES, "conditions: [Control]"));
    // A sweep file without `engine` is read with the first engine.
    let all: Engines = [ENGINES, granule_toy::ENGINES].concat().leak();
    assert!(takes(all, SWEEP) && !takes(all, &without));
    for engine in ["", "engine: pcg\n", "engine: brian2-2.2.1\n"] {
        let text = format!("{engine}noise: {{ tau: 5 ms }}\nconditions: [Control]");
        assert!(takes(all, &text), "{engine}");
    }
    assert!(!takes(all, "engine: toy\nconditions: [Control]"));
    assert!(!takes(all, "engine: toys\nconditions: [Base]"));
}

#[test]
fn the_schema_takes_sweeps_of_models_of_the_users_own() {
    let validator = validator();
    let valid = [
        "model: ei.model.yaml\nconditions: [{ name: a }]",
        "granule: 1\nmodel: ei.model.yaml\nname: x\nseeds: 1..20\ntrials: 5\nrecord: { rate: false }\n\
         synapse: { weight: 1.6 nS }\nset: { network.cells: 400, neuron.kind: lif, stimulus.times: [1 ms, 2 ms] }\n\
         conditions:\n- { name: a, set: { synapse.weight: 2 nS } }\n\
         - { name: b, base: a, grid: { synapse.weight: { linspace: [1 nS, 2 nS, 5] }, network.plastic: [true] } }\n\
         - { name: c, latin_hypercube: { count: 5, seed: 1, axes: { synapse.weight: { uniform: [1 nS, 2 nS] } } } }",
    ];
    for text in valid {
        assert_eq!(errors(&validator, text), Vec::<String>::new(), "{text}");
    }
    let wrong = [
        "model: ei.model.yaml",
        "model: [ei.model.yaml]\nconditions: [{ name: a }]",
        "model: ei.model.yaml\nengine: pcg\nconditions: [{ name: a }]",
        "model: ei.model.yaml\nconditions: [Control]",
        "model: ei.model.yaml\ntrials: 0\nconditions: [{ name: a }]",
        "model: ei.model.yaml\nsynapse: 5\nconditions: [{ name: a }]",
        "model: ei.model.yaml\nconditions: [{ name: a, set: { weight: 5 } }]",
        "model: ei.model.yaml\nconditions: [{ name: a, sets: { synapse.weight: 5 } }]",
    ];
    for text in wrong {
        assert!(!errors(&validator, text).is_empty(), "{text}");
    }
}

#[test]
fn the_schema_of_model_files_takes_what_the_parser_takes() {
    let validator = jsonschema::draft202012::new(&model_schema()).expect("the schema is one");
    const HEAD: &str = "granule-model: 1\nname: ei\nprogram: [python, ei.py]\nfiles: [ei.py]\n";
    let check = |text: &str, is_valid: bool| {
        let text = format!("{HEAD}{text}");
        assert_eq!(errors(&validator, &text).is_empty(), is_valid, "{text}");
        assert_eq!(parse_model("x.yaml", text.as_bytes()).is_ok(), is_valid, "{text}");
    };
    check("returns: { rate: { unit: Hz, about: mean rate }, psth: { shape: [500] } }", true);
    check("returns:\n  rate:\n", true);
    check(
        "about: a network\nparameters:\n  network.cells: { default: 4000, range: [1, 100000] }\n  \
         synapse.weight: { default: 1.6 nS, about: weight }\n  network.plastic: { default: false }\n  \
         neuron.kind: { default: lif, choices: [lif, adex], kind: choice }\n  \
         stimulus.times: { default: [100 ms, 200 ms] }\n\
         populations: { excitatory: 0.8 * network.cells, inhibitory: 800 }\nduration: 500 ms\nresolution: 0.1 ms\n\
         threads: 2\nlimits: { time: 600 s, memory: 4 GiB }\nversions_may_differ: true\n",
        true,
    );
    let wrong = [
        "",
        "populations: { excitatory: 800 }",
        "returns: { Rate: {} }",
        "returns: { rate: Hz }",
        "returns: { rate: { shape: 500 } }",
        "returns: { rate: {} }\nthreads: 0",
        "returns: { rate: {} }\nthread: 2",
        "returns: { rate: {} }\nlimits: { cpu: 2 }",
        "returns: { rate: {} }\nparameters: { weight: { default: 1 } }",
        "returns: { rate: {} }\nparameters: { a.b: 1 }",
        "returns: { rate: {} }\nparameters: { a.b: { default: 1, kind: integer } }",
    ];
    for text in wrong {
        check(text, false);
    }
}
