//! The sweeps for common questions run, with fewer trials, and write the expected files. `record` can be changed
//! without computing anything.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use granule_granular::{ENGINES, layer_of};
use granule_sweep::{Overrides, Sweep, parse};
use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use serde_json::Value;

use crate::support::{Place, Trials, root};

const COOKBOOK: [&str; 5] = ["dose-response", "seeds-study", "network-size", "weights", "stimulus-timing"];

fn read(name: &str, text: &str) -> Sweep {
    let sweep = parse(ENGINES, name, text.as_bytes(), name, &Overrides::default());
    sweep.unwrap_or_else(|error| panic!("{error}"))
}

/// The files of a sweep without conductances. By default, only presets have spike probabilities.
fn expected(sweep: &Sweep) -> BTreeSet<String> {
    let mut expected = BTreeSet::new();
    for seed in &sweep.seeds {
        for condition in sweep.conditions.iter() {
            let prefix = condition.prefix();
            let mut file = |name: String| expected.insert(format!("seed-{seed}/{name}"));
            let random = layer_of(&condition.model).parameters().weights.random;
            if condition.preset.is_some() {
                let start = if random { "randomized_" } else { "" };
                file(format!("{start}{prefix}SpikeProb.npy"));
            }
            if !random {
                continue;
            }
            file(format!("{prefix}Connections.npy"));
            file(format!("{prefix}Weights.npy"));
            if condition.preset == Some("ACh") {
                file("tonicReduction.npy".to_owned());
            }
        }
    }
    expected
}

/// The files below an output directory's seeds. Expects that the manifest lists the same files.
fn outputs(place: &Place, out: &str) -> BTreeSet<String> {
    let manifest = fs::read(place.path(out).join("manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let files = manifest["files"].as_array().expect("files");
    let listed = files.iter().map(|file| file["path"].as_str().expect("a path").to_owned()).collect();
    let mut found = BTreeSet::new();
    for directory in fs::read_dir(place.path(out)).expect("outputs").map(|entry| entry.expect("an entry")) {
        if directory.path().is_dir() {
            for file in fs::read_dir(directory.path()).expect("a directory") {
                let file = file.expect("an entry");
                let names = [directory.file_name(), file.file_name()];
                found.insert(names.map(|name| name.into_string().expect("text")).join("/"));
            }
        }
    }
    assert_eq!(found, listed);
    found
}

#[test]
fn every_sweep_of_the_cookbook_leaves_what_it_says() {
    for name in COOKBOOK {
        let text = fs::read_to_string(root().join(format!("sweeps/{name}.yaml"))).expect("a sweep");
        assert!(!text.contains("engine"), "{name} is for the default engine");
        let sweep = read(name, &text);
        let place = Place::new();
        place.write("sweep.yaml", &text);
        let mut command = place.granule(&["run", "sweep.yaml"]);
        command.env("CHAT_NUM_TRIAL", "1");
        place.start_this(command).end().succeeded();
        assert_eq!(outputs(&place, &format!("out/{name}")), expected(&sweep), "{name}");
    }
}

/// A sweep that grows: trials from 10 to 20, a condition, a seed, values of a grid. Each run computes exactly the new
/// trials, and writes the files of a run from nothing.
#[test]
fn a_sweep_that_grows_computes_what_is_new_and_equals_a_new_run() {
    #[derive(Clone, Copy)]
    struct Grown {
        engine: &'static str,
        trials: u32,
        seeds: &'static str,
        others: &'static str,
        doses: &'static str,
    }
    for engine in ["pcg", "brian2-2.2.1"] {
        let place = Place::new();
        let mut before = 0;
        let mut step = |grown: &Grown, conditions: u64, seeds: u64| {
            let Grown { engine, trials, seeds: list, others, doses } = grown;
            place.write(
                "sweep.yaml",
                format!(
                    "engine: {engine}\nnetwork: {{ mossy_fibers: 60, granule_cells: 48, golgi_cells: 7 }}\n\
                     seeds: {list}\ntrials: {trials}\nconditions:\n{others}\
                     \x20 - name: tonic-{{granule.tonic_factor}}{{golgi.leak_reversal}}\n\
                     \x20   grid: {{ granule.tonic_factor: {doses}, golgi.leak_reversal: [-53 mV, -51 mV] }}\n"
                ),
            );
            let grown = place.run(&["run", "sweep.yaml", "--out", "grown"]).succeeded();
            let fresh = format!("fresh-{conditions}-{seeds}-{trials}");
            place.run(&["run", "sweep.yaml", "--out", &fresh]).succeeded();
            let all = conditions * seeds * u64::from(*trials);
            let expected = Trials { computed: all - before, reused: before };
            assert_eq!(place.trials("grown"), expected, "{engine} {fresh}");
            let summary = format!("{} trials computed, {before} reused", all - before);
            assert!(grown.stdout.contains(&summary), "{}", grown.stdout);
            assert_eq!(place.trials(&fresh), Trials { computed: all, reused: 0 });
            assert_eq!(place.outputs("grown"), place.outputs(&fresh), "{engine} {fresh}");
            before = all;
        };
        let first = Grown { engine, trials: 10, seeds: "[451]", others: "", doses: "[0.3, 1]" };
        step(&first, 4, 1);
        let longer = Grown { trials: 20, ..first };
        step(&longer, 4, 1);
        let more = Grown { others: "  - ACh\n", ..longer };
        step(&more, 5, 1);
        let seeds = Grown { seeds: "[7, 451]", ..more };
        step(&seeds, 5, 2);
        step(&Grown { doses: "[0.3, 0.65, 1]", ..seeds }, 7, 2);
    }
}

#[test]
fn what_is_recorded_changes_without_computing() {
    let place = Place::new();
    let network = "name: x\nnetwork: { mossy_fibers: 60, granule_cells: 48, golgi_cells: 7 }\ntrials: 2\n";
    let run = |record: &str| {
        place.write("sweep.yaml", format!("{network}{record}\n"));
        let ended = place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
        (outputs(&place, "out"), ended.stdout)
    };
    let all = ["Connections", "Weights", "CondE", "CondI"].map(|what| format!("seed-451/aC{what}.npy"));
    let probabilities = "seed-451/randomized_aCSpikeProb.npy";
    let few = "record: { conductances: false }\nconditions: [Control, \
               { name: aC, record: { probabilities: true, connections: false, weights: false } }]";
    let (less, _) = run(few);
    assert!(less.contains("seed-451/controlWeights.npy") && !less.contains("seed-451/controlCondE.npy"));
    assert!(less.contains(probabilities) && all.iter().all(|file| !less.contains(file)));
    let (more, said) = run("record: all\nconditions: [Control, { name: aC }]");
    assert!(said.contains(": 0 trials computed, 2 reused"), "{said}");
    assert!(more.contains(probabilities) && all.iter().all(|file| more.contains(file)));
    // And back: unwanted files are removed, and the remaining ones are unchanged.
    let kept = place.hashes("out/seed-451");
    let (again, _) = run(few);
    assert_eq!(again, less);
    for (file, hash) in place.hashes("out/seed-451") {
        assert_eq!(kept[&file], hash, "{file}");
    }
    // All files may be switched off; the spikes are in the store.
    let none = "record: { probabilities: false, connections: false, weights: false, conductances: false }";
    let (nothing, _) = run(&format!("{none}\nconditions: [Control]"));
    assert_eq!(nothing, BTreeSet::new());
}

/// Writes a Parquet file with a column of texts and two of numbers.
fn write_parquet(path: &Path, names: &[&str], potentials: &[f64], factors: &[f64]) {
    let column = |name: &str, kind: PhysicalType| {
        let builder = Type::primitive_type_builder(name, kind).with_repetition(Repetition::REQUIRED);
        let is_text = kind == PhysicalType::BYTE_ARRAY;
        Arc::new(builder.with_logical_type(is_text.then_some(LogicalType::String)).build().expect("a type"))
    };
    let columns = vec![
        column("name", PhysicalType::BYTE_ARRAY),
        column("golgi.leak_reversal [mV]", PhysicalType::DOUBLE),
        column("granule.tonic_factor", PhysicalType::DOUBLE),
    ];
    let schema = Type::group_type_builder("table").with_fields(columns).build().expect("a schema");
    let file = File::create(path).expect("a file");
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::default()).expect("a writer");
    let mut rows = writer.next_row_group().expect("a row group");
    let texts: Vec<ByteArray> = names.iter().map(|name| ByteArray::from(*name)).collect();
    let mut next = rows.next_column().expect("a column").expect("a column");
    next.typed::<ByteArrayType>().write_batch(&texts, None, None).expect("texts");
    next.close().expect("a column");
    for numbers in [potentials, factors] {
        let mut next = rows.next_column().expect("a column").expect("a column");
        next.typed::<DoubleType>().write_batch(numbers, None, None).expect("numbers");
        next.close().expect("a column");
    }
    rows.close().expect("a row group");
    writer.close().expect("a file");
}

#[test]
fn a_table_of_conditions_may_be_parquet() {
    let place = Place::new();
    let (potentials, factors) = ([-54.5, -53.0], [0.1, 1.0 / 3.0]);
    write_parquet(&place.path("points.parquet"), &["a", "b"], &potentials, &factors);
    place.write(
        "points.csv",
        "name,golgi.leak_reversal [mV],granule.tonic_factor\na,-54.5,0.1\nb,-53,0.3333333333333333\n",
    );
    let plan = |table: &str| {
        place.write("x.yaml", format!("conditions: {{ table: {table} }}\n"));
        let ended = place.run(&["explain", "x.yaml", "--json"]).succeeded();
        ended.stdout
    };
    assert_eq!(plan("points.parquet"), plan("points.csv"));
    // Mistakes are shown as in CSV.
    write_parquet(&place.path("points.parquet"), &["a", "b"], &[-54.5, 1e9], &factors);
    place.write("x.yaml", "conditions: { table: points.parquet }\n");
    place.run(&["explain", "x.yaml"]).failed_with(2, &["points.parquet:3:"]);
    place.write("points.parquet", "name\na\n");
    let reason = "cannot read the table `points.parquet`: it is not a readable Parquet file";
    place.run(&["explain", "x.yaml"]).failed_with(2, &[reason]);
}
