//! Model files: the user's own model, and the program that computes its trials.

mod entries;
mod expressions;
mod model;
mod names;
mod parameters;
mod schema;

use std::collections::HashMap;

use crate::arithmetic::Scope;
use crate::diagnostics::{Diagnostics, Problem, Problems, only};
use crate::suggest;
use crate::text::{Span, quote};
use crate::value::{ValueEntry, count, entries, flag};
use crate::vocabulary::{FORMAT, FORMAT_OF_MODEL, KEYS, KEYS_OF_MODEL, Language};
use crate::yaml::{self, Node};

pub use expressions::Sizes;
pub use model::{ModelFile, ReturnDeclared};
pub use schema::model_schema;

/// The only version of the format.
const FORMAT_VERSION: &str = "1";

const MOST_THREADS: u32 = 1024;

const SMALLEST: &str = "the smallest model file is `{ granule-model: 1, name: my-model, program: [python, model.py], \
                        files: [model.py], returns: { rate: { unit: Hz } } }`";

/// Reads a model file. Diagnostics call it `source_name`.
///
/// Parameters contain `&'static str`. If the file is valid, this function leaks these texts: their paths, meanings and
/// choices. A caller that reads a file more than once should keep the result.
///
/// # Errors
/// All problems found, except those that another problem hides.
///
/// ```
/// use granule_engine::space::{Space, Value};
/// use granule_sweep::parse_model;
///
/// let text = "
/// granule-model: 1
/// name: ei
/// program: [python, ei.py]
/// files: [ei.py]
/// parameters:
///   network.cells: { default: 4000, range: [1, 100000] }
///   synapse.weight: { default: 1.6 nS }
/// populations: { excitatory: 0.8 * network.cells }
/// duration: 500 ms
/// ";
/// let model = parse_model("ei.model.yaml", text.as_bytes())?;
/// let space: &'static Space = Box::leak(Box::new(Space::new(model.parameters.clone())));
/// let sizes = model.sizes(&space.defaults()).expect("the defaults are right");
/// assert_eq!((sizes.populations[0], sizes.steps), (3200, 5000));
///
/// let error = parse_model("ei.model.yaml", b"granule-model: 1\nnmae: ei").unwrap_err();
/// assert!(error.to_string().contains("did you mean `name`?"));
/// # Ok::<(), granule_sweep::Diagnostics>(())
/// ```
pub fn parse_model(source_name: &str, bytes: &[u8]) -> Result<ModelFile, Diagnostics> {
    let of = Language::Model;
    let text = match yaml::decode(of, bytes) {
        Ok(text) => text,
        Err((problem, text)) => return Err(only(of, problem, source_name, &text)),
    };
    let root = yaml::load(of, text).map_err(|problem| only(of, problem, source_name, text))?;
    let mut problems = Problems::of(of, text);
    let model = model(&root, &mut problems);
    match (problems.finish(source_name), model) {
        (Some(diagnostics), _) => Err(diagnostics),
        (None, Some(model)) => Ok(model.finish()),
        // Not reached: every part that could not be read has been reported.
        (None, None) => {
            Err(only(of, Problem::of_file("the model file cannot be read").help(SMALLEST), source_name, text))
        }
    }
}

/// A valid model file whose parameters have not been leaked.
struct Unleaked {
    model: ModelFile,
    parameters: Vec<parameters::Draft>,
}

impl Unleaked {
    fn finish(self) -> ModelFile {
        let parameters = self.parameters.into_iter().map(parameters::Draft::leak).collect();
        ModelFile { parameters, ..self.model }
    }
}

/// Reads the model. Returns `None` only if a problem was found. A returned model may have problems, too.
fn model(root: &Node, problems: &mut Problems) -> Option<Unleaked> {
    let map = match &root.value {
        yaml::Content::Map(map) => map,
        yaml::Content::Null => {
            problems.add(|| Problem::of_file("the model file is empty").help(SMALLEST));
            return None;
        }
        _ => {
            problems.add(|| {
                let message = format!("a model file is a mapping of keys to values, not {}", root.kind());
                Problem::at(root.span, message).help(SMALLEST)
            });
            return None;
        }
    };
    let has = |word: &str| {
        map.iter().find(|(key, _)| matches!(&key.value, yaml::Content::Scalar { text, .. } if text == word))
    };
    if let (Some((key, _)), None) = (has("conditions"), has(FORMAT_OF_MODEL)) {
        problems.add(|| {
            Problem::at(key.span, "this is a sweep file, not a model file").help(format!(
                "give the file that begins with `{FORMAT_OF_MODEL}: {FORMAT_VERSION}`; a sweep file names it as `model: …`"
            ))
        });
        return None;
    }
    let mut found: HashMap<&str, &Node> = HashMap::new();
    let mut unknown = Vec::new();
    for ValueEntry { key, key_span, value } in entries(map, problems) {
        if KEYS_OF_MODEL.contains(&key) {
            found.insert(key, value);
        } else {
            unknown.push(key);
            problems.add(|| unknown_key(key, key_span));
        }
    }
    // Not all of the file: its first line is not the cause.
    let start = Span { end: root.span.start, ..root.span };
    // A key that seems to be missing may be there, mistyped.
    let missing = |key: &str, example: &str, problems: &mut Problems| {
        let is_mistyped = |word: &&str| {
            suggest::nearest(word, KEYS_OF_MODEL) == Some(key) || (*word == FORMAT && key == FORMAT_OF_MODEL)
        };
        if unknown.iter().any(is_mistyped) {
            return;
        }
        problems.add(|| {
            Problem::at(start, format!("the model file has no `{key}`")).help(format!("add `{example}`"))
        });
    };
    match found.get(FORMAT_OF_MODEL) {
        Some(node) => format_version(node, problems),
        None => missing(FORMAT_OF_MODEL, "granule-model: 1", problems),
    }
    let name = match found.get("name") {
        Some(node) => entries::name(node, problems),
        None => {
            missing("name", "name: my-model", problems);
            None
        }
    };
    let about = has("about").and_then(|(key, node)| entries::about("about", key.span, node, problems));
    let program = match found.get("program") {
        Some(node) => entries::program(node, problems),
        None => {
            missing("program", "program: [python, model.py]", problems);
            None
        }
    };
    let files = match found.get("files") {
        Some(node) => entries::files(node, problems),
        None => {
            missing("files", "files: [model.py]", problems);
            None
        }
    };
    let declared = match found.get("parameters") {
        Some(node) => parameters::parameters(node, problems),
        None => parameters::Declarations::default(),
    };
    let populations = found.get("populations").copied();
    let scope = Scope {
        parameters: declared.scope(),
        populations: populations.map_or_else(Vec::new, expressions::names),
        is_incomplete: declared.is_broken(),
    };
    let reader = expressions::Reader { scope, declared: &declared };
    let steps_per_ms = match found.get("resolution") {
        Some(node) => entries::resolution(node, problems),
        None => Some(10),
    };
    let sizes = populations.map(|node| reader.populations(node, problems));
    let duration = match found.get("duration") {
        Some(node) => reader.duration(node, steps_per_ms, problems).map(Some),
        None => {
            if sizes.as_ref().is_some_and(|sizes| !sizes.as_ref().is_some_and(Vec::is_empty)) {
                missing("duration", "duration: 500 ms", problems);
            }
            Some(None)
        }
    };
    let taken = populations.map_or_else(Vec::new, expressions::named);
    let returns = found.get("returns").map(|node| reader.returns(node, &taken, problems));
    let has_none = |list: Option<bool>| list.unwrap_or(true);
    let no_populations = has_none(sizes.as_ref().map(|list| list.as_ref().is_some_and(Vec::is_empty)));
    let no_returns = has_none(returns.as_ref().map(|list| list.as_ref().is_some_and(Vec::is_empty)));
    let may_be_mistyped = unknown
        .iter()
        .any(|word| matches!(suggest::nearest(word, KEYS_OF_MODEL), Some("populations" | "returns")));
    if no_populations && no_returns && !may_be_mistyped {
        problems.add(|| {
            Problem::at(start, "the model has neither `populations` nor `returns`")
                .help("add `populations: { cells: 100 }` for spikes, or `returns: { rate: { unit: Hz } }` for numbers")
        });
    }
    let threads = match found.get("threads") {
        Some(node) => count("threads", 1, MOST_THREADS, node, problems),
        None => Some(1),
    };
    let (time_limit, memory_limit) =
        found.get("limits").map_or((None, None), |node| entries::limits(node, problems));
    let versions_may_differ = match found.get("versions_may_differ") {
        Some(node) => flag("versions_may_differ", node, problems),
        None => Some(false),
    };
    let model = ModelFile {
        name: name?,
        about,
        program: program?,
        files: files?,
        parameters: Vec::new(),
        populations: sizes.unwrap_or_else(|| Some(Vec::new()))?,
        duration: duration?,
        steps_per_ms: steps_per_ms?,
        returns: returns.unwrap_or_else(|| Some(Vec::new()))?,
        threads: threads?,
        time_limit,
        memory_limit,
        versions_may_differ: versions_may_differ?,
    };
    Some(Unleaked { model, parameters: declared.into_drafts()? })
}

fn unknown_key(key: &str, span: Span) -> Problem {
    let help = match suggest::nearest(key, KEYS_OF_MODEL) {
        Some(near) => format!("did you mean `{near}`?"),
        None if key == FORMAT => format!("a model file begins with `{FORMAT_OF_MODEL}: {FORMAT_VERSION}`"),
        None if KEYS.contains(&key) => {
            format!("`{key}` belongs in a sweep file, which names this file as `model: …`")
        }
        None if key.split('.').count() == 2 => format!("write it as `parameters: {{ {key}: … }}`"),
        None => format!("the keys are {}", suggest::list(&KEYS_OF_MODEL)),
    };
    Problem::at(span, format!("unknown key {}", quote(key))).help(help)
}

fn format_version(node: &Node, problems: &mut Problems) {
    match &node.value {
        yaml::Content::Scalar { text, .. } if text == FORMAT_VERSION => {}
        _ => problems.add(|| {
            let message =
                format!("this version reads format {FORMAT_VERSION} of model files, not {}", node.shown());
            Problem::at(node.span, message).help(format!(
                "write `{FORMAT_OF_MODEL}: {FORMAT_VERSION}`, or use another version of granule"
            ))
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use granule_engine::space::{Kind, Range, Space, Unit, Value};

    use super::*;

    const HEAD: &str =
        "granule-model: 1\nname: ei\nprogram: [python, -u, ei.py]\nfiles: [ei.py, ./data/*.npy]\n";

    fn read(text: &str) -> ModelFile {
        parse_model("ei.model.yaml", format!("{HEAD}{text}").as_bytes())
            .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
    }

    fn space(model: &ModelFile) -> &'static Space {
        Box::leak(Box::new(Space::new(model.parameters.clone())))
    }

    #[test]
    fn every_key_is_read() {
        let model = read(
            "about: recurrent excitatory–inhibitory network
populations: { excitatory: 0.8 * network.cells, inhibitory: 0.2 * network.cells }
parameters: { network.cells: { default: 4000 } }
duration: 0.5 s
resolution: 50 us
returns:
  rate: { unit: Hz, about: mean rate }
  count:
  psth: { unit: spikes/s, shape: [500, network.cells / 2] }
threads: 4
limits: { time: 0.5 ks, memory: 1.5 GiB }
versions_may_differ: true
",
        );
        assert_eq!(model.name, "ei");
        assert_eq!(model.about.as_deref(), Some("recurrent excitatory–inhibitory network"));
        assert_eq!(model.program, ["python", "-u", "ei.py"]);
        assert_eq!(model.files, ["ei.py", "data/*.npy"]);
        assert_eq!((model.steps_per_ms, model.threads, model.versions_may_differ), (20, 4, true));
        assert_eq!(model.time_limit, Some(Duration::from_secs(500)));
        assert_eq!(model.memory_limit, Some(3 << 29));
        let units: Vec<&str> = model.returns.iter().map(|of| of.unit.as_str()).collect();
        assert_eq!(units, ["Hz", "", "spikes/s"]);
        let sizes = model.sizes(&space(&model).defaults()).expect("the defaults are right");
        let expected = Sizes {
            populations: vec![3200, 800],
            duration_ms: 500.0,
            steps: 10_000,
            shapes: vec![vec![], vec![], vec![500, 2000]],
        };
        assert_eq!(sizes, expected);
    }

    #[test]
    fn keys_that_are_left_out_have_defaults() {
        let model = read("returns: { rate: {} }\n");
        assert_eq!((model.steps_per_ms, model.threads, model.versions_may_differ), (10, 1, false));
        assert_eq!((model.time_limit, model.memory_limit, model.duration), (None, None, None));
        assert_eq!((model.about, model.parameters, model.populations), (None, vec![], vec![]));
    }

    #[test]
    fn kind_and_unit_follow_from_the_default() {
        let check = |entry: &str, kind: Kind, range: Range, default: Value| {
            let model =
                read(&format!("parameters: {{ a.b: {{ default: {entry} }} }}\nreturns: {{ rate: {{}} }}\n"));
            let parameter = &model.parameters[0];
            assert_eq!((parameter.path, parameter.kind, parameter.range), ("a.b", kind, range), "{entry}");
            assert_eq!(parameter.default, default, "{entry}");
            assert_eq!(parameter.check(&default), Ok(()));
        };
        let number = |unit| Kind::Quantity(unit);
        let nanosiemens = number(Unit::Nanosiemens);
        check("1.6 nS", nanosiemens, Range::Finite, Value::Number(1.6));
        check("1.6 nS, range: [0 pS, 0.02 uS]", nanosiemens, Range::Between(0.0, 20.0), Value::Number(1.6));
        check("0.3 s", number(Unit::Other("s")), Range::Finite, Value::Number(0.3));
        check("0.1 \u{b5}A", number(Unit::Other("uA")), Range::Finite, Value::Number(0.1));
        check("4000", Kind::Count, Range::NonNegative, Value::Count(4000));
        check("4, range: [1, 8]", Kind::Count, Range::Between(1.0, 8.0), Value::Count(4));
        check("4, kind: number", number(Unit::One), Range::Finite, Value::Number(4.0));
        check(
            "4, kind: number, range: [-0.5, 8]",
            number(Unit::One),
            Range::Between(-0.5, 8.0),
            Value::Number(4.0),
        );
        check("-4", number(Unit::One), Range::Finite, Value::Number(-4.0));
        check("4.0", number(Unit::One), Range::Finite, Value::Number(4.0));
        check("4e3", number(Unit::One), Range::Finite, Value::Number(4000.0));
        check("false", Kind::Flag, Range::Finite, Value::Flag(false));
        check(
            "lif, choices: [lif, adex]",
            Kind::Choice(&["lif", "adex"]),
            Range::Finite,
            Value::Choice("lif"),
        );
        check("4, choices: [4, 8]", Kind::Choice(&["4", "8"]), Range::Finite, Value::Choice("4"));
        let list = Kind::Quantities(Unit::Millisecond);
        check("[100 ms, 0.2 s]", list, Range::Finite, Value::Numbers(vec![100.0, 200.0]));
        check("[], range: [0 ms, 1 s]", list, Range::Between(0.0, 1000.0), Value::Numbers(vec![]));
        check("[]", Kind::Quantities(Unit::One), Range::Finite, Value::Numbers(vec![]));
    }

    #[test]
    fn sizes_that_are_not_possible_name_their_parameters() {
        let model = read(
            "parameters: { network.cells: { default: 4000 }, time.window: { default: 500 ms } }
populations: { excitatory: 0.8 * network.cells }
duration: time.window
returns: { psth: { shape: [time.window / 100 ms] } }
",
        );
        let space = space(&model);
        let check = |path: &str, value: Value, message: &str| {
            let mut values = space.defaults();
            values.set(space.parameter(path).expect("a path"), value).expect("in range");
            let fault = model.sizes(&values).expect_err("it is not possible");
            assert_eq!((fault.message.as_str(), fault.paths.as_slice()), (message, [path].as_slice()));
        };
        check(
            "network.cells",
            Value::Count(4001),
            "the size of population `excitatory`: `0.8 * network.cells` is 3200.8, which is not a whole number \
             (`network.cells` is 4001)",
        );
        check(
            "time.window",
            Value::Number(500.05),
            "`duration`: `time.window` is 500.05 ms, which is not a whole number of steps of 0.1 ms \
             (`time.window` is 500.05 ms)",
        );
        check(
            "time.window",
            Value::Number(50.0),
            "a length in the shape of `psth`: `time.window / 100 ms` is 0.5, which is not a whole number \
             (`time.window` is 50 ms)",
        );
    }
}
