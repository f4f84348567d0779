//! Sweeps of a model of the user's own.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Ended, Hashes, Place, Trials, send, wait_for};

const PROGRAM: &str = include_str!("own_model/program.py");
const MODEL: &str = include_str!("own_model/toy.model.yaml");

/// A directory with the model in `models`, and a sweep file.
fn place_of(sweep: &str) -> Place {
    let place = Place::new();
    fs::create_dir_all(place.path("models/data")).expect("a directory");
    place.write("models/program.py", PROGRAM);
    place.write("models/toy.model.yaml", MODEL);
    place.write("models/data/one.txt", "1");
    place.write("sweep.yaml", sweep);
    place
}

const SWEEP: &str = "
name: toy
model: models/toy.model.yaml
seeds: [3, 5]
trials: 4
record: all
conditions:
  - { name: base }
  - { name: 'gain-{input.gain}', grid: { input.gain: [2 Hz, 3 Hz, 4 Hz] } }
";

fn run(place: &Place, arguments: &[&str]) -> Ended {
    place.run(&[&["run", "sweep.yaml", "--out", "out"], arguments].concat())
}

/// Outputs of [`SWEEP`].
fn undisturbed(sweep: &str) -> Hashes {
    let place = place_of(sweep);
    run(&place, &["--workers", "2"]).succeeded();
    place.outputs("out")
}

/// A table with two columns of one name would lose one of them in an archive of numpy arrays.
#[test]
fn a_parameter_with_the_name_of_another_column_is_renamed() {
    let place = place_of(
        "
name: toy
model: models/toy.model.yaml
seeds: [3]
trials: 2
conditions: [{ name: 'of-{first.spikes}', grid: { first.spikes: [1, 2] } }]
",
    );
    let model = MODEL.replace("parameters:\n", "parameters:\n  first.spikes: { default: 1 }\n");
    assert_ne!(model, MODEL);
    place.write("models/toy.model.yaml", model);
    run(&place, &[]).succeeded();
    let rows = |table: &str| -> Vec<String> {
        let csv = place.run(&["export", "out", table, "-"]).succeeded().stdout;
        csv.lines().map(str::to_owned).collect()
    };
    let trials = rows("--trials");
    let header = "condition,first_spikes_set,seed,trial,first_spikes,second_spikes,first_hz,second_hz,rate";
    assert_eq!(trials[0], header);
    assert!(trials[4].starts_with("of-2,2,3,1,"), "{trials:?}");
    assert_eq!(
        rows("--measures")[0],
        "condition,first_spikes,seed,trials,window_from_ms,window_to_ms,first_hz,second_hz,rate"
    );
}

#[test]
fn a_sweep_of_an_own_model_is_run_extended_and_checked() {
    let place = place_of(SWEEP);
    let plan = place.run(&["plan", "sweep.yaml", "--out", "out"]).succeeded();
    assert!(plan.stdout.contains("planning does not run your program"), "{}", plan.stdout);
    run(&place, &["--workers", "2"]).succeeded();
    let outputs = place.outputs("out");
    let names: Vec<&str> =
        outputs.keys().map(String::as_str).filter(|name| name.contains("seed-3/base.")).collect();
    assert_eq!(
        names,
        [
            "seed-3/base.course.mean.npy",
            "seed-3/base.course.sd.npy",
            "seed-3/base.course.trials.npy",
            "seed-3/base.first.counts.npy",
            "seed-3/base.rate.trials.npy",
            "seed-3/base.second.counts.npy",
        ]
    );
    assert_eq!(outputs.len(), 4 * 2 * 6);
    let manifest = place.manifest("out");
    assert_eq!(manifest["run"]["versions"]["toy"], "1.0");
    assert_eq!(manifest["sweep"]["model"]["path"], "models/toy.model.yaml");
    assert!(manifest["sweep"]["engine"].as_str().expect("text").starts_with("toy@"));
    assert!(manifest["run"]["trials_audited"].as_u64().expect("a number") >= 1, "{manifest:#}");
    assert_eq!(
        run(&place, &[]).succeeded().stdout.lines().next().map(|line| line.contains("already complete")),
        Some(true)
    );

    place.run(&["verify", "out"]).succeeded();
    let reproduce = ["reproduce", "out", "--condition", "base", "--seed", "3", "--trial", "2"];
    place.run(&reproduce).failed_with(2, &["add --model FILE"]);
    place.run(&[&reproduce[..], &["--model", "models/toy.model.yaml"]].concat()).succeeded();
    let trials = place.run(&["export", "out", "--trials", "-"]).succeeded().stdout;
    let mut lines = trials.lines();
    assert_eq!(
        lines.next(),
        Some("condition,input_gain_Hz,seed,trial,first_spikes,second_spikes,first_hz,second_hz,rate")
    );
    // The rate is the gain times the trial, plus the seed.
    assert!(lines.clone().any(|line| line.starts_with("gain-4,4,5,3,") && line.ends_with(",17")), "{trials}");
    assert_eq!(lines.count(), 4 * 2 * 4);
    place.run(&["export", "out", "--to", "spikes.csv", "--where", "input.gain>2.5 Hz"]).succeeded();
    let spikes = fs::read_to_string(place.path("spikes.csv")).expect("a table");
    assert!(spikes.contains("gain-3,") && !spikes.contains("gain-2,"));
    place
        .run(&["export", "out", "--to", "-", "--where", "input.gian>2 Hz"])
        .failed_with(2, &["did you mean `input.gain`?"]);
    place.run(&["figures", "out"]).succeeded();
    for figure in ["psth.svg", "raster.svg", "dose-response-input-gain.svg", "seeds.svg"] {
        assert!(place.path("out/figures").join(figure).exists(), "{figure}");
    }
    place.run(&["report", "out"]).succeeded();

    // More trials, seeds and values: only the new ones are computed.
    let more = SWEEP
        .replace("trials: 4", "trials: 6")
        .replace("[3, 5]", "[3, 5, 7]")
        .replace("4 Hz]", "4 Hz, 5 Hz]");
    place.write("sweep.yaml", &more);
    run(&place, &[]).succeeded();
    let all = 5 * 3 * 6;
    assert_eq!(place.trials("out"), Trials { computed: all - 4 * 2 * 4, reused: 4 * 2 * 4 });
    assert_eq!(place.outputs("out"), undisturbed(&more));
}

#[test]
fn explain_names_what_has_changed() {
    let place = place_of(SWEEP);
    run(&place, &[]).succeeded();
    let explain = || place.run(&["explain", "sweep.yaml", "--out", "out"]).succeeded().stdout;
    place.write("models/data/one.txt", "2");
    assert!(explain().contains("data/one.txt has changed"), "{}", explain());
    place.write("models/data/one.txt", "1");
    place.write("models/data/two.txt", "2");
    assert!(explain().contains("data/two.txt is new"), "{}", explain());
    fs::remove_file(place.path("models/data/two.txt")).expect("a file");
    // A change that decides no result changes no key.
    place.write(
        "models/toy.model.yaml",
        MODEL.replace("a model for tests", "another text").replace("2 s", "3 s"),
    );
    run(&place, &[]).succeeded();
    assert_eq!(place.trials("out"), Trials { computed: 0, reused: 32 });
}

#[test]
fn a_killed_sweep_gives_the_same_files() {
    let slow = SWEEP.replace("record: all", "record: all\nset: { input.pause: 20 ms }");
    let expected = undisturbed(&slow);
    let is_program = |id: &u32| {
        let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let mut words = arguments.split(|byte| *byte == 0);
        words.clone().any(|word| word == b"program.py") && !words.any(|word| word == b"guard")
    };
    for victim in ["coordinator", "worker", "program"] {
        let place = place_of(&slow);
        let mut running = place.start(&["run", "sweep.yaml", "--out", "out", "--workers", "2"]);
        running.until("trials are stored", |_| (place.length("out/store.granule") > 3 * 4096).then_some(()));
        match victim {
            "coordinator" => {
                running.signal(Signal::SIGKILL);
                drop(running);
                // Neither workers nor programs outlive it.
                place.is_left_alone();
                wait_for("no program is left", || programs_of(&place).is_empty().then_some(()));
                run(&place, &["--workers", "2"]).succeeded();
            }
            "worker" => {
                let worker = running.workers()[0];
                send(worker, Signal::SIGKILL);
                running.end().succeeded();
            }
            _ => {
                let program = wait_for("a program runs", || programs_of(&place).into_iter().find(is_program));
                send(program, Signal::SIGKILL);
                running.end().succeeded();
            }
        }
        assert_eq!(place.outputs("out"), expected, "{victim}");
        wait_for("no program is left", || programs_of(&place).is_empty().then_some(()));
    }
}

/// Live processes in the directory of the model.
fn programs_of(place: &Place) -> Vec<u32> {
    let directory = place.path("models").canonicalize().expect("a directory");
    let entries = fs::read_dir("/proc").expect("/proc");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|path| path == directory)).collect()
}

/// Misbehaviours of a program, and the message about each.
const MISBEHAVIOURS: [(&str, &str); 37] = [
    ("error", "ValueError: no fibres"),
    ("exit", "the program exited with code 7"),
    ("quiet-exit", "the program exited before it answered"),
    ("signal", "the program was killed by signal 11 (SIGSEGV)"),
    ("hang", "the program gave no answer within 2 s (`limits: { time: … }` in the model file)"),
    ("memory", "the program used more memory than `limits: { memory: … }`"),
    ("garbage", "the program broke the protocol: the answer is not one of the protocol"),
    ("half-a-line", "the program exited before it answered"),
    ("half-a-block", "the program exited before it answered"),
    ("another-id", "the answer has `id`"),
    ("no-id", "the answer has no `id`, but the request had"),
    ("closed", "the program closed descriptor 4 and did not exit"),
    ("unknown-key", "unknown field `spiks`"),
    ("no-population", "`spikes` lacks population `second`"),
    (
        "another-population",
        "`spikes` has `third`, which is not a population of the model file; it has first, second",
    ),
    ("no-value", "`values` lacks value `rate`"),
    ("another-value", "`values` has `latency`, which is not a value of the model file; it has rate, course"),
    ("cell-outside", "spike 0 is of cell 10, which does not exist; it has 10 cells, numbered from 0"),
    ("negative-cell", "spike 0 is of cell -1, which does not exist"),
    ("half-a-cell", "spike 0 is of cell 1.5, which does not exist"),
    ("late-spike", "is at 100 ms, but the trial ends at 100 ms (its last step begins at 99.9 ms)"),
    ("negative-time", "spike 0 is at -0.5 ms; times start at 0 ms"),
    ("unsorted", "sort spikes by time"),
    ("nan-time", "spike 0 is at NaN ms; times start at 0 ms"),
    ("twice", "cell 3 spikes twice in the step at 0.5 ms; choose a smaller `resolution` in the model file"),
    ("lengths", "cells, but"),
    (
        "text-for-a-number",
        "invalid type: string \"fast\", expected a number, a list of numbers, or a raw array",
    ),
    ("list-for-a-number", "value `rate` must be a number, not a list"),
    ("number-for-an-array", "value `course` must be an array of 2 × 3"),
    ("wrong-shape", "value `course` has an axis of 2 elements; 3 are needed"),
    ("infinite", "value `rate` is infinite; a value must be finite, or NaN if there is none"),
    ("block-too-short", "1 elements of 8 bytes from byte 8 on exceed the block of 8 bytes"),
    ("unknown-type", "unknown type `>f8` of a raw array"),
    ("huge-block", "the answer has a block of 1152921504606846976 bytes"),
    ("child", "the program exited with code 3"),
    ("long-text", "the answer is not one of the protocol: invalid type: string"),
    ("too-many-spikes", "101000 spikes, but its cells and steps allow 30000"),
];

#[test]
fn a_misbehaving_program_costs_only_its_trials() {
    let all: Vec<&str> = MISBEHAVIOURS.iter().map(|(how, _)| *how).collect();
    let conditions: String =
        all.iter().map(|how| format!("  - {{ name: {}, set: {{ behaviour.how: {how} }} }}\n", how)).collect();
    let place = place_of(&format!(
        "name: toy\nmodel: models/toy.model.yaml\nseeds: [3]\ntrials: 3\nconditions:\n  - {{ name: good }}\n  \
         - {{ name: prints, set: {{ behaviour.how: prints }} }}\n  \
         - {{ name: two-answers, set: {{ behaviour.how: two-answers }} }}\n{conditions}"
    ));
    let ended = run(&place, &["--workers", "2"]);
    let count = all.len();
    ended.failed_with(3, &[&format!("{count} trials were set aside"), "and 34 more"]);
    let manifest = place.manifest("out");
    let set_aside = manifest["set_aside"].as_array().expect("a list");
    assert_eq!(set_aside.len(), count);
    for (how, message) in MISBEHAVIOURS {
        let of = set_aside.iter().find(|of| of["condition"] == how).expect(how);
        assert_eq!((&of["seed"], &of["trial"]), (&3.into(), &1.into()), "{how}: {of}");
        let reason = of["reason"].as_str().expect("text");
        assert!(reason.contains(message), "{how}: {reason}");
        let command = format!(
            "granule try {}",
            place.path("models/toy.model.yaml").canonicalize().expect("a file").display()
        );
        assert!(reason.contains(&command) && reason.contains("--seed 3 --trial 1"), "{how}: {reason}");
        assert!(reason.contains("--set"), "{how}: {reason}");
    }
    let said = |how: &str| {
        let of = set_aside.iter().find(|of| of["condition"] == how).expect("a trial");
        of["reason"].as_str().expect("text").to_owned()
    };
    assert!(said("exit").contains("it printed:\n  about to leave"), "{}", said("exit"));
    assert!(said("error").contains("Traceback:\n  line 7\nValueError: no fibres"), "{}", said("error"));
    // The other trials are stored, and the files of the other conditions are written.
    // A program that answers twice is out of step. Another process computes the next trial.
    assert_eq!(place.trials("out").computed, 3 * 3 + 2 * count as u64);
    let names = place.outputs("out");
    assert!(
        names.contains_key("seed-3/good.rate.trials.npy")
            && names.contains_key("seed-3/prints.rate.trials.npy")
    );
    assert!(!names.contains_key("seed-3/error.rate.trials.npy"));
    // The output of a failed trial is kept, also of a trial that a program out of step could not compute.
    let logs = fs::read_dir(place.path("out/logs")).expect("logs").count();
    assert!((count..=count + 2).contains(&logs), "{logs}");
    wait_for("no program is left", || programs_of(&place).is_empty().then_some(()));
}

#[test]
fn a_program_that_always_fails_ends_the_run() {
    let place = place_of(SWEEP);
    place.write(
        "models/program.py",
        PROGRAM.replace(
            "if how == \"unseeded\":",
            "if True:\n            raise ValueError('no fibres')\n        elif how == \"unseeded\":",
        ),
    );
    run(&place, &["--workers", "2"]).failed_with(3, &["no trial could be stored", "ValueError: no fibres"]);
}

#[test]
fn a_program_that_is_not_deterministic_is_found_at_once() {
    for workers in ["2", "1"] {
        let place = place_of(&SWEEP.replace("trials: 4", "trials: 500\nset: { behaviour.how: unseeded }"));
        let ended = run(&place, &["--workers", workers]);
        ended.failed_with(
            4,
            &[
                "the program gave different results for trial",
                "toy 1.0",
                "`rate` differs:",
                "Seed all random numbers of the program from `seed` and `trial`",
            ],
        );
    }
    let place = place_of(SWEEP);
    let tried =
        |how: &str| place.run(&["try", "models/toy.model.yaml", "--set", &format!("behaviour.how={how}")]);
    for how in ["unseeded", "carries-over"] {
        tried(how).failed_with(4, &["a second process, which computed the trial twice, gave another result"]);
    }
}

/// A trial changes what the program keeps, until the condition or the seed changes. All processes begin in the same way,
/// so the result of the first trials is the same in each.
#[test]
fn a_result_that_depends_on_earlier_trials_is_found_by_one_worker() {
    for (trials, audit) in [("4", "1"), ("20", "1"), ("20", "100")] {
        let place = place_of(
            &SWEEP.replace("trials: 4", &format!("trials: {trials}\nset: {{ behaviour.how: carries-over }}")),
        );
        let ended = run(&place, &["--workers", "1", "--audit", audit]);
        ended
            .failed_with(4, &["the program gave different results for trial", "let no earlier trial change"]);
    }
    let place = place_of(&SWEEP.replace("trials: 4", "trials: 4\nset: { behaviour.how: carries-over }"));
    run(&place, &["--workers", "1", "--audit", "0"]).succeeded();
    let reproduce = ["reproduce", "out", "--condition", "base", "--seed", "3", "--trial", "2"];
    place
        .run(&[&reproduce[..], &["--model", "models/toy.model.yaml"]].concat())
        .failed_with(4, &["different results here and in the store", "let no earlier trial change"]);
}

#[test]
fn a_program_that_cannot_work_ends_the_run_at_once() {
    let place = place_of(SWEEP);
    for (program, parts) in [
        (
            "import numpee",
            &["a worker process cannot compute", "\n  it printed:\n", "No module named 'numpee'"][..],
        ),
        ("print('hello')", &["exited before it answered the greeting", "`granule.model.serve` does this"]),
    ] {
        place.write("models/program.py", program);
        let ended = run(&place, &["--workers", "2"]).failed_with(3, parts);
        assert!(!ended.stderr.contains("died") && !ended.stderr.contains(r"\u{a}"), "{}", ended.stderr);
    }
    place.write("models/program.py", PROGRAM);
    place.write("models/other.py", "");
    place.write("models/toy.model.yaml", MODEL.replace("files: [program.py", "files: [other.py"));
    run(&place, &[])
        .failed_with(2, &["`program` names program.py, and `files` does not list it", "add it to `files`"]);
}

#[test]
fn an_exported_table_of_trials_replaces_itself() {
    let place = place_of(SWEEP);
    run(&place, &[]).succeeded();
    for name in ["trials.csv", "trials.parquet", "trials.npz"] {
        place.run(&["export", "out", "--trials", name]).succeeded();
        place.run(&["export", "out", "--trials", name]).succeeded();
    }
    place.write("trials.csv", "condition,seed,trial,mine\n");
    place
        .run(&["export", "out", "--trials", "trials.csv"])
        .failed_with(2, &["not a CSV table that granule wrote"]);
}

#[test]
fn a_research_object_describes_the_files_of_the_model() {
    let place = place_of(SWEEP);
    run(&place, &[]).succeeded();
    place.run(&["export", "out", "--crate", "sweep.zip"]).succeeded();
    // The archive is not compressed.
    let bytes = std::fs::read(place.path("sweep.zip")).expect("the archive");
    let text = String::from_utf8_lossy(&bytes);
    let hash =
        place.manifest("out")["sweep"]["model"]["files"]["program.py"].as_str().expect("a hash").to_owned();
    for part in
        ["\"@id\": \"#model/program.py\"", "\"@id\": \"#package-toy\"", &format!("\"value\": \"{hash}\"")]
    {
        assert!(text.contains(part), "no {part}");
    }
    assert!(!text.contains("import "), "the archive has no program");
}

#[test]
fn try_shows_a_trial() {
    let place = place_of(SWEEP);
    let tried = |more: &[&str]| place.run(&[&["try", "models/toy.model.yaml"], more].concat());
    let told = tried(&["--set", "input.gain=3 Hz", "--seed", "7", "--trial", "2"]).succeeded().stdout;
    for part in [
        "model toy (models/toy.model.yaml): `python3 program.py`",
        "versions: toy 1.0",
        "trial 2 of seed 7:",
        "first: ",
        "rate: 13 Hz",
        "course: 6 values, from 1 to 13",
        "a second process gave the same result, bit by bit",
    ] {
        assert!(told.contains(part), "no {part} in:\n{told}");
    }
    let printed = tried(&["--set", "behaviour.how=prints", "--trial", "1"]).succeeded().stdout;
    assert!(
        printed.contains("the program printed:") && printed.contains("and on standard error"),
        "{printed}"
    );
    tried(&["--set", "behaviour.how=error", "--trial", "1"])
        .failed_with(1, &["the trial has no result", "ValueError: no fibres"]);
    tried(&["--set", "input.gain=3 mV"]).failed_with(2, &["input.gain"]);
    tried(&["--set", "input.gian=3 Hz"]).failed_with(2, &["did you mean `input.gain`?"]);
    tried(&["--set", "input.gain"])
        .failed_with(2, &["--set input.gain has no `=`", "--set network.cells='10'"]);
    place.run(&["try", "none.model.yaml"]).failed_with(2, &["cannot read model file none.model.yaml"]);
    place.write("models/toy.model.yaml", MODEL.replace("python3", "no-such-program"));
    tried(&[]).failed_with(1, &["cannot be run", "no-such-program"]);
    place.write("models/toy.model.yaml", MODEL.replace("data/*.txt", "data/*.csv"));
    tried(&[]).failed_with(2, &["`data/*.csv` under `files` fits no file in"]);
}

#[test]
fn templates_are_tried_and_run() {
    let place = Place::new();
    let told = place.run(&["init", "--model", "c", "lif.model.yaml"]).succeeded().stdout;
    let compile = "cc -std=c99 -O2 -ffp-contract=off -o lif lif.c";
    assert!(told.contains(compile) && told.contains("granule try lif.model.yaml"), "{told}");
    let mut compiler = place.command("/bin/sh");
    assert!(compiler.args(["-c", compile]).status().expect("a shell").success());
    place.run(&["try", "lif.model.yaml"]).succeeded();
    place.run(&["run", "lif.yaml", "--out", "out"]).succeeded();
    // No file is overwritten, and none is left behind.
    let before = fs::read(place.path("lif.c")).expect("a program");
    place.run(&["init", "--model", "python", "lif.model.yaml"]).failed_with(1, &["already exists"]);
    assert!(!place.path("lif.py").exists());
    assert_eq!(fs::read(place.path("lif.c")).expect("a program"), before);
    place.run(&["init", "--model", "python", "net.model.yaml"]).succeeded();
    assert!(place.path("net.py").exists() && place.path("net.yaml").exists());
    place
        .run(&["init", "--model", "python", "a b.model.yaml"])
        .failed_with(2, &["a model cannot be called `a b`"]);
    let schema = place.run(&["schema", "--model"]).succeeded().stdout;
    assert!(
        serde_json::from_str::<serde_json::Value>(&schema).expect("JSON")["properties"]["populations"]
            .is_object()
    );
}

/// Starts a coordinator of the sweep, and returns it once its access file exists.
fn served(place: &Place, arguments: &[&str]) -> crate::support::Running {
    let coordinator = place.serve(arguments);
    wait_for("there is an access file", || place.path("out/access.json").exists().then_some(()));
    coordinator
}

/// An access file cannot make a worker run a program. The worker's own user names the model, and its content must be the
/// coordinator's.
#[test]
fn a_worker_runs_only_the_model_that_its_user_named() {
    let place = place_of(SWEEP);
    let coordinator = served(&place, &["--give-up-after", "60s"]);
    let access = fs::read_to_string(place.path("out/access.json")).expect("an access file");
    assert!(
        !access.contains("python") && !access.contains("program") && !access.contains("model"),
        "{access}"
    );
    place.worker(&[]).end().failed_with(
        1,
        &["this sweep is of model toy, and the worker was started without a model; start it with `granule worker --model FILE`"],
    );
    let elsewhere = place_of(SWEEP);
    elsewhere.write("models/program.py", format!("{PROGRAM}\n# another\n"));
    let other = elsewhere.path("models/toy.model.yaml");
    let other = other.to_str().expect("text");
    place.worker(&["--model", other]).end().failed_with(1, &["the worker has another version of model toy"]);
    elsewhere.write("models/toy.model.yaml", MODEL.replace("name: toy", "name: stranger"));
    place
        .worker(&["--model", other])
        .end()
        .failed_with(1, &["this sweep is of model toy, and the worker was started with model stranger"]);
    // An equal copy elsewhere is the same model.
    elsewhere.write("models/program.py", PROGRAM);
    elsewhere.write("models/toy.model.yaml", MODEL);
    let worker = place.worker(&["--model", other, "--threads", "2"]);
    coordinator.end().succeeded();
    worker.end().succeeded();
    assert_eq!(place.outputs("out"), undisturbed(SWEEP));
}

#[test]
fn workers_whose_programs_report_other_versions_are_refused() {
    let place = place_of(&SWEEP.replace("trials: 4", "trials: 40\nset: { input.pause: 20 ms }"));
    let coordinator = served(&place, &[]);
    let model = ["--model", "models/toy.model.yaml", "--threads", "1"];
    let mut first = place.worker(&model);
    first.until("it is connected", |of| of.stderr().contains("connected to").then_some(()));
    let with = |version: &str| {
        let mut command = place.granule(&[&["worker", "--access", "out/access.json"], &model[..]].concat());
        command.env("TOY_VERSION", version);
        place.start_this(command)
    };
    with("2.0").end().failed_with(
        1,
        &[
            "other versions than those with which this sweep was begun: toy 2.0 instead of 1.0",
            "versions_may_differ: true",
        ],
    );
    let second = with("1.0");
    coordinator.end().succeeded();
    first.end().succeeded();
    second.end().succeeded();
}

#[test]
fn a_worker_stops_when_a_file_of_the_model_changes() {
    let place = place_of(&SWEEP.replace("trials: 4", "trials: 200\nset: { input.pause: 10 ms }"));
    let mut coordinator = served(&place, &["--give-up-after", "1s"]);
    let mut worker = place.worker(&["--model", "models/toy.model.yaml", "--threads", "1"]);
    coordinator.until("trials are stored", |_| (place.length("out/store.granule") > 3 * 4096).then_some(()));
    place.write("models/data/one.txt", "changed");
    let told =
        worker.until("it has stopped", |of| of.stderr().contains("has changed since").then(|| of.stderr()));
    assert!(told.contains("one.txt has changed since this worker read model"), "{told}");
    coordinator.end().failed_with(3, &[]);
}

#[test]
fn a_drained_worker_leaves_no_program() {
    let place = place_of(&SWEEP.replace("trials: 4", "trials: 500\nset: { input.pause: 20 ms }"));
    let mut coordinator = served(&place, &[]);
    let mut worker = place.worker(&["--model", "models/toy.model.yaml", "--threads", "2"]);
    coordinator.until("trials are stored", |_| (place.length("out/store.granule") > 3 * 4096).then_some(()));
    worker.until("programs run", |_| (!programs_of(&place).is_empty()).then_some(()));
    worker.signal(Signal::SIGTERM);
    worker.end().succeeded();
    wait_for("no program is left", || programs_of(&place).is_empty().then_some(()));
    std::thread::sleep(Duration::from_millis(1));
    coordinator.signal(Signal::SIGINT);
    coordinator.end().failed_with(130, &[]);
}
