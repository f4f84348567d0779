//! Sweep files for another model: keys, presets and file kinds are those of the engine that the file chooses.

use std::ops::Range;
use std::sync::LazyLock;

use granule_engine::key::Hash;
use granule_engine::output::{Derive, File, FileKind};
use granule_engine::space::{self, Range as Of, Space, Target, Unit, Variable};
use granule_engine::stream::Parts;
use granule_engine::{
    CohortKey, Engine, Engines, Facts, Fingerprint, Identity, Inconsistent, Memory, Model, Note, Parameter,
    Population, Recounted, Shard, StreamKey, Take, TimeAxis, Unable, Value, Values,
};
use granule_granular::Method;
use granule_sweep::{Filter, Overrides, Plan, Sweep, from_variables, model_of, notes, parse, to_yaml};

/// A model of few parameters and without presets. It is built in, or a program of the user's.
struct Chain {
    is_program: bool,
}

const KINDS: &[FileKind] = &[FileKind { key: "trace", about: "traces", is_large: false }];

/// The granular layer is first, and therefore the default.
const ENGINES: Engines = &[&Method::Pcg, &Chain { is_program: false }, &Method::Brian2_2_2_1];

const ALONE: Engines = &[&Chain { is_program: false }];

/// The engines of a sweep file with `model`.
const OWN: Engines = &[&Chain { is_program: true }];

fn of_chain() -> &'static Space {
    static SPACE: LazyLock<Space> = LazyLock::new(|| {
        let gain = space::Kind::Quantity(Unit::Nanosiemens);
        let order = space::Kind::Choice(&["forth", "back"]);
        Space::new(vec![
            Parameter::new(
                "chain.links",
                space::Kind::Count,
                Of::Between(1.0, 9.0),
                Value::Count(3),
                "links",
            ),
            Parameter::new("chain.gain", gain, Of::NonNegative, Value::Number(0.5), "gain of a link"),
            Parameter::new("order", order, Of::Finite, Value::Choice("forth"), "order of the links"),
        ])
        .with_variables(vec![
            Variable { name: "CHAIN_TRIALS", target: Target::Trials, remark: "" },
            Variable { name: "CHAIN_LINKS", target: Target::Count("chain.links"), remark: "" },
        ])
    });
    &SPACE
}

impl Engine for Chain {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn revision(&self) -> u32 {
        1
    }

    fn space(&self) -> &'static Space {
        of_chain()
    }

    fn is_program(&self) -> bool {
        self.is_program
    }

    fn populations(&self) -> &'static [Population] {
        &[Population { name: "links", cell: "link", cells: "links" }]
    }

    fn check(&self, values: &Values) -> Result<(Identity, Facts), Inconsistent> {
        if (values.get("chain.links"), values.get("order"))
            == (Some(&Value::Count(1)), Some(&Value::Choice("back")))
        {
            return Err(Inconsistent {
                message: "one link has no order".to_owned(),
                paths: vec!["chain.links", "order"],
                remedy: "use more links".to_owned(),
            });
        }
        let mut hash = Hash::new("chain condition", self);
        hash.values(values, |_| true);
        let fingerprint = Fingerprint(hash.finish());
        let cohort = CohortKey([0; 32]);
        let identity = Identity { fingerprint, fingerprint_0_1_0: fingerprint, cohort };
        let facts = Facts {
            returns: Vec::new(),
            sizes: vec![3],
            time: TimeAxis { step_ms: 1.0, steps_per_ms: 1, steps: 100 },
            items_per_trial: 7,
            cost_per_trial: 2.5,
            most_spikes: 300,
            stimuli_ms: Vec::new(),
            stimulus_steps: Vec::new(),
        };
        Ok((identity, facts))
    }

    fn is_idle(&self, _: &str, _: &Values) -> bool {
        false
    }

    fn notes(&self, model: &Model) -> Vec<Note> {
        let is_silent = model.values().get("chain.gain") == Some(&Value::Number(0.0));
        let note = Note { subject: "chain.gain", text: "nothing passes the first link".to_owned() };
        is_silent.then_some(note).into_iter().collect()
    }

    fn to_spike_less(&self, _: Option<&Model>) -> String {
        unreachable!()
    }

    fn recounted(&self, _: &Model) -> Vec<Recounted> {
        Vec::new()
    }

    fn parts(&self) -> Option<Parts> {
        None
    }

    fn stream(&self, _: &Model, seed: u32) -> StreamKey {
        StreamKey([seed as u8; 32])
    }

    fn shipped(&self, _: &Model, _: u32) -> Vec<u32> {
        Vec::new()
    }

    fn survey(&self, _: &Model, _: u32, _: Range<u32>) -> Result<Vec<u32>, Unable> {
        unreachable!()
    }

    fn compute(&self, _: &Shard<'_>, _: &mut Take<'_>) -> Result<(), Unable> {
        unreachable!()
    }

    fn kinds(&self) -> &'static [FileKind] {
        KINDS
    }

    fn files(&self, _: &Model, _: &str, _: Option<&str>, _: u32) -> Vec<File> {
        unreachable!()
    }

    fn can_name(&self, _: &str) -> bool {
        unreachable!()
    }

    fn derive(&self, _: &Model, _: u32, _: u32, _: &[&str]) -> Box<dyn Derive> {
        unreachable!()
    }

    fn memory(&self, _: &[&Model], _: u32) -> Memory {
        Memory::default()
    }

    fn shortened(&self, _: &Model, _: u64) -> Option<Model> {
        None
    }

    fn template(&self) -> String {
        "conditions: [{ name: a }]\n".to_owned()
    }
}

fn read(engines: Engines, text: &str) -> Sweep {
    parse(engines, "x.yaml", text.as_bytes(), "x", &Overrides::default())
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

const SWEEP: &str = "
granule: 1
engine: chain
chain: { gain: 100 pS }
seeds: [7]
record: all
conditions:
  - name: a
  - { name: silent, base: a, set: { chain.gain: 0 nS }, record: { trace: false } }
  - { name: links, grid: { chain.links: { linspace: [1, 3, 3] }, order: [forth] } }
";

#[test]
fn a_file_speaks_of_the_parameters_of_its_engine() {
    let sweep = read(ENGINES, SWEEP);
    assert_eq!(sweep.engine.name(), "chain");
    let names: Vec<&str> = sweep.conditions.iter().map(|condition| condition.name.as_str()).collect();
    assert_eq!(names, ["a", "silent", "links-1-forth", "links-2-forth", "links-3-forth"]);
    let gain = |at: usize| sweep.conditions[at].model.values().get("chain.gain").cloned();
    let gains = [0, 1, 2].map(gain);
    // Without presets, a condition that has no base starts from the values at the top.
    assert_eq!(gains, [0.1, 0.0, 0.1].map(|x| Some(Value::Number(x))));
    assert_eq!(sweep.conditions[1].record.left_out(), ["trace"]);
    assert!(sweep.conditions[0].record.has(0) && !sweep.conditions[0].record.has_key("weights"));
    assert_eq!(notes(&sweep), ["condition silent: nothing passes the first link"]);
    let written = to_yaml(&sweep);
    assert_eq!(read(ENGINES, &written), sweep, "{written}");
    assert_eq!(sweep, read(ALONE, &SWEEP.replace("engine: chain\n", "")));

    let plan = Plan::new(&sweep);
    let [cohort] = plan.cohorts.as_slice() else { panic!("{plan:?}") };
    assert_eq!((cohort.items_per_trial, cohort.cost_per_trial, cohort.stream.0), (7, 2.5, [7; 32]));
    // The last condition has the values of the first.
    assert_eq!(cohort.variants.len(), 4);
    assert_eq!(plan.model(0, 3).values().get("chain.links"), Some(&Value::Count(2)));
}

#[test]
fn messages_take_their_examples_from_the_engine() {
    let check = |text: &str, expected: &[&str]| {
        let text = format!("engine: chain\n{text}");
        let errors = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).expect_err(&text);
        let found: Vec<String> =
            errors.listed().iter().map(|of| format!("{} | {}", of.message(), of.help())).collect();
        assert_eq!(found, expected, "{text}");
    };
    let smallest = "the smallest sweep is `conditions: [{ name: half-effect }]`";
    check("conditions: []", &[&format!("`conditions` is empty | {smallest}")]);
    check(
        "conditions: [Control, [1], { name: b, base: [c] }, { name: d, base: e }]",
        &[
            "unknown condition `Control` | write it like `{ name: …, set: { … } }`",
            "a condition cannot be a list | write it like `{ name: …, set: { … } }`",
            "`base` must be a condition's name, not a list | write it like `base: …`",
            "unknown base `e` | a base is an earlier condition",
        ],
    );
    check(
        "conditions: [{ name: a, set: 5, grid: 5 }, { name: b, latin_hypercube: 5 }, { name: [] }]",
        &[
            "`set` must be a mapping, not `5` | write it like `set: { chain.gain: 0.25 nS }`",
            "`grid` must be a mapping of parameters to values, not `5` \
             | write it like `grid: { chain.gain: [0.25 nS, 0.5 nS] }`",
            "`latin_hypercube` must be a mapping with `count`, `seed` and `axes`, not `5` \
             | write it like `{ count: 50, seed: 1, axes: { chain.gain: { uniform: [0.1 nS, 0.5 nS] } } }`",
            "`name` must be a word, not a list | write it like `name: half-effect`",
        ],
    );
    check(
        "granule: { x: 1 }\nnoise: independent\nrecord: none\nconditions: [{ name: a, set: { order: bak, x.y: 1 } }]",
        &[
            "this version reads format 1 of sweep files, not a mapping \
             | write `granule: 1`, or use another version of granule",
            "unknown key `noise` | the keys are `granule`, `name`, `engine`, `model`, `seeds`, `trials`, `record`, `set`, \
             `conditions` and `order`, and the groups of parameters `chain`",
            "`record` must be `all` or a mapping, not `none` | write `{ trace: false }`",
            "`order` cannot be `bak` | did you mean `back`?",
            "unknown parameter `x.y` | parameters are in the groups `chain`",
        ],
    );
    check(
        "record: 5\nconditions: [{ name: a, set: { order: back, chain.links: 1 } }]",
        &[
            "`record` must be `all` or a mapping, not `5` \
             | write `all`, or name files as in `record: { trace: true }`",
            "one link has no order | use more links",
        ],
    );
    assert_eq!(
        Filter::parse(of_chain(), "gain").unwrap_err(),
        "`gain` has no operator and value; write it like `chain.gain=0.5 nS`"
    );
    let filter = Filter::parse(of_chain(), "chain.gain>=400 pS").unwrap();
    assert!(filter.holds(&of_chain().defaults()));
    assert_eq!(filter.value_of(&of_chain().defaults()), "0.5 nS");
}

#[test]
fn variables_are_those_of_the_space() {
    let set = [("CHAIN_LINKS", "2"), ("CHAIN_TRIALS", "5"), ("CHAT_NUM_TRIAL", "9")];
    let (overrides, notices) = from_variables(of_chain(), |name| {
        set.iter().find(|(of, _)| *of == name).map(|(_, value)| value.into())
    })
    .unwrap();
    assert_eq!(notices, ["CHAIN_TRIALS=5 overrides trials", "CHAIN_LINKS=2 overrides chain.links"]);
    let expected = [("CHAIN_TRIALS", Some("5".to_owned())), ("CHAIN_LINKS", Some("2".to_owned()))];
    assert_eq!(overrides.variables(of_chain()), expected);
    let read = |text: &str| parse(ENGINES, "x.yaml", text.as_bytes(), "x", &overrides).unwrap();
    let sweep = read("engine: chain\nconditions: [{ name: a, set: { chain.links: 4 } }]");
    assert_eq!(sweep.trials, 5);
    assert_eq!(sweep.conditions[0].model.values().get("chain.links"), Some(&Value::Count(2)));
    // The parameter belongs to the chosen model only.
    assert_eq!(read("conditions: [Control]").trials, 5);
}

#[test]
fn a_file_with_a_model_is_read_with_the_program_of_that_model() {
    let text = SWEEP.replace("engine: chain", "model: \"../my \\\"chain\\\".yaml\"");
    let path = "../my \"chain\".yaml";
    assert_eq!(model_of(text.as_bytes()).as_deref(), Some(path));
    let sweep = read(OWN, &text);
    assert_eq!(sweep.model.as_deref(), Some(path));
    assert!(sweep.engine.is_program());
    assert_eq!(sweep.conditions.len(), 5);
    let written = to_yaml(&sweep);
    assert!(!written.contains("engine:"), "{written}");
    assert_eq!(read(OWN, &written), sweep, "{written}");
    // A sweep that was restored has no path.
    let restored = Sweep { model: None, ..sweep };
    let written = to_yaml(&restored);
    assert!(!written.contains("engine:") && !written.contains("model:"), "{written}");
    assert_eq!(read(OWN, &written), restored, "{written}");
}

#[test]
fn only_a_text_is_the_path_of_a_model() {
    let check =
        |text: &str, path: Option<&str>| assert_eq!(model_of(text.as_bytes()).as_deref(), path, "{text}");
    check("model: ei.yaml", Some("ei.yaml"));
    check("conditions: [{ name: a }]\nmodel: 'a b.yaml'", Some("a b.yaml"));
    check("model: 5", Some("5"));
    // A file whose other keys are wrong still names its model.
    check("model: ei.yaml\ntrials: x\nmodels: y", Some("ei.yaml"));
    for text in [
        "",
        "model:",
        "model: ''",
        "model: [ei.yaml]",
        "model: { a: b }",
        "a: { model: ei.yaml }",
        "[",
        "model",
    ] {
        check(text, None);
    }
    assert_eq!(model_of(b"model: \xff"), None);
}

#[test]
fn a_wrong_model_is_reported() {
    let check = |engines: Engines, text: &str, expected: &[&str]| {
        let errors = parse(engines, "x.yaml", text.as_bytes(), "x", &Overrides::default()).expect_err(text);
        let found: Vec<String> = errors
            .listed()
            .iter()
            .map(|of| {
                let (line, column) = of.line_and_column().expect("a place");
                format!("{line}:{column} {} | {}", of.message(), of.help())
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    let conditions = "conditions: [{ name: a }]\n";
    check(
        OWN,
        &format!("model: ei.yaml\nengine: chain\n{conditions}"),
        &["2:9 a sweep has either `model` or `engine` | remove `engine`; the model file names the program"],
    );
    check(
        OWN,
        &format!("engine: chain\n{conditions}"),
        &[
            "1:9 a sweep of a model of your own has no `engine` | remove `engine`, or write `model: …` with the path of \
           the model file",
        ],
    );
    // The engines are then those that are built in: other keys cannot be checked.
    let no_text = "must be the path of a model file, not";
    let like = "write it like `model: my-model.yaml`";
    for (value, shown) in [("[ei.yaml]", "a list"), ("''", "an empty text"), ("~", "an empty value")] {
        check(
            ENGINES,
            &format!("model: {value}\nneuron: {{ tau: 5 ms }}\n{conditions}"),
            &[&format!("1:8 `model` {no_text} {shown} | {like}")],
        );
    }
    check(
        OWN,
        &format!("model: {{ a: b }}\n{conditions}"),
        &[&format!("1:8 `model` {no_text} a mapping | {like}")],
    );
    check(
        ENGINES,
        &format!("model: ei.yaml\nneuron: {{ tau: 5 ms }}\n{conditions}"),
        &["1:8 the model file `ei.yaml` was not read | write the path of a model file"],
    );
    check(
        ENGINES,
        "granule-model: 1\nname: ei\nprogram: [python, ei.py]\n",
        &["1:1 this is a model file, not a sweep file | write a sweep file that names it, as in \
           `model: my-model.yaml`"],
    );
    check(OWN, &format!("modl: ei.yaml\n{conditions}"), &["1:1 unknown key `modl` | did you mean `model`?"]);
    check(
        OWN,
        &format!("model:ei.yaml\n{conditions}"),
        &[
            "1:6 not valid YAML: mapping values are not allowed in this context | write a space after the colon: `model: ei.yaml`",
        ],
    );
}
