//! `granule figures` and `granule report`: the files that they write, and that these agree with the sweep.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Hashes, Place, Sweep, sha256};

/// A sweep of the paper's conditions and a grid, with two seeds.
fn finished() -> (Place, Sweep<'static>) {
    let place = Place::new();
    let grid = "{ name: 'a{granule.tonic_factor}', grid: { granule.tonic_factor: [0.25, 0.5, 0.75] } }";
    let sweep =
        Sweep { seeds: vec![7, 451], conditions: vec!["Control", "GABAzine", "ACh", grid], ..Sweep::small() };
    place.sweep("sweep.yaml", &sweep);
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    (place, sweep)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("one object")
}

/// Hashes of all files below a directory, by their path.
fn hashes(directory: &Path, below: &str, found: &mut Hashes) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = format!("{below}{}", path.file_name().and_then(|name| name.to_str()).expect("text"));
        if path.is_dir() {
            hashes(&path, &format!("{name}/"), found);
        } else {
            found.insert(name, sha256(&path));
        }
    }
}

/// Rows of a table, as maps from column to value.
fn rows(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = csv.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    lines.map(|line| header.iter().cloned().zip(line).collect()).collect()
}

#[test]
fn every_figure_is_there_in_every_format_with_its_numbers() {
    let (place, _) = finished();
    let before = place.outputs("out");
    let drawn = place.run(&["figures", "out", "--json"]).succeeded();
    let report = json(&drawn.stdout);
    let figures = report["figures"].as_array().expect("figures");
    let of_sweep = [
        "differences",
        "dose-response-granule-tonic_factor",
        "seeds",
        "psth",
        "raster",
        "heat-map",
        "conductance-traces",
    ];
    let of_paper =
        ["spike-probability", "connections", "conductances", "distributions", "densities", "summary"];
    let names: Vec<(Option<u64>, &str)> = figures
        .iter()
        .map(|figure| (figure["seed"].as_u64(), figure["name"].as_str().expect("a name")))
        .collect();
    let mut expected: Vec<(Option<u64>, &str)> = of_sweep.map(|name| (None, name)).to_vec();
    expected.extend([7, 451].iter().flat_map(|&seed| of_paper.map(|name| (Some(seed), name))));
    assert_eq!(names, expected);
    let mut listed =
        ["figures.json", "measures.csv", "estimates.csv", "differences.csv"].map(str::to_owned).to_vec();
    for figure in figures {
        for file in figure["files"].as_array().expect("files") {
            let file = file.as_str().expect("a path");
            listed.push(file.to_owned());
            let bytes = fs::read(place.path("out/figures").join(file)).expect("it was written");
            match file.rsplit_once('.').expect("an ending").1 {
                "pdf" => {
                    assert!(bytes.starts_with(b"%PDF-") && bytes.windows(9).any(|at| at == b"/FontFile"))
                }
                "png" => assert!(bytes.starts_with(b"\x89PNG")),
                "svg" => assert!(bytes.starts_with(b"<svg") && bytes.ends_with(b"</svg>\n")),
                "csv" => {
                    // The network is so small that the paper's analysis may select no cell.
                    let rows = rows(&String::from_utf8(bytes).expect("text")).len();
                    assert!(rows > 1 || figure["seed"].is_u64(), "{file}");
                }
                "json" => {
                    let numbers = json(&String::from_utf8(bytes).expect("text"));
                    assert_eq!((&numbers["figure"], &numbers["seed"]), (&figure["name"], &figure["seed"]));
                    assert!(numbers["tables"][0]["columns"][0]["name"].is_string());
                }
                other => panic!("a file that ends with {other}"),
            }
        }
    }
    let mut found = Hashes::new();
    hashes(&place.path("out/figures"), "", &mut found);
    listed.sort_unstable();
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), listed);

    // Drawing elsewhere gives the same files, and figures do not affect other commands.
    place.run(&["figures", "out", "--to", "elsewhere"]).succeeded();
    let mut again = Hashes::new();
    hashes(&place.path("elsewhere"), "", &mut again);
    assert_eq!(found, again);
    place.run(&["verify", "out"]).succeeded();
    assert!(
        place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded().stdout.contains("is already complete")
    );
    assert_eq!(place.outputs("out"), before);
}

#[test]
fn the_numbers_are_those_of_the_spikes() {
    let (place, sweep) = finished();
    place.run(&["figures", "out", "--format", "svg", "--window", "1000..1060"]).succeeded();
    place.run(&["export", "out", "--to", "spikes.csv"]).succeeded();
    let read = |file: &str| fs::read_to_string(place.path(file)).expect("a table");
    let spikes = rows(&read("spikes.csv"));
    let measures = rows(&read("out/figures/measures.csv"));
    assert_eq!(measures.len(), 12);
    for row in &measures {
        let of_row = spikes.iter().filter(|spike| {
            spike["condition"] == row["condition"]
                && spike["seed"] == row["seed"]
                && spike["population"] == "golgi"
        });
        let times: Vec<f64> = of_row.map(|spike| spike["time_ms"].parse().expect("a time")).collect();
        let cells = f64::from(sweep.network[2]) * f64::from(sweep.trials);
        let rate = |from: f64, to: f64| {
            let count = times.iter().filter(|time| (from..to).contains(*time)).count();
            count as f64 / (cells * (to - from) * 1e-3)
        };
        for (name, expected) in
            [("golgi_before_hz", rate(0.0, 1000.0)), ("golgi_during_hz", rate(1000.0, 1060.0))]
        {
            let found: f64 = row[name].parse().expect("a number");
            assert!((found - expected).abs() <= 1e-9 * expected, "{name} of {row:?}: {expected}");
        }
    }
    // The mean over seeds agrees, too.
    let mean = |condition: &str, name: &str| {
        let of: Vec<f64> = measures
            .iter()
            .filter(|row| row["condition"] == condition)
            .map(|row| row[name].parse().expect("a number"))
            .collect();
        of.iter().sum::<f64>() / of.len() as f64
    };
    let of_gabazine = |table: &str, value: &str| -> f64 {
        let all = rows(&read(&format!("out/figures/{table}.csv")));
        let is_row = |row: &&BTreeMap<String, String>| {
            row["condition"] == "GABAzine" && row["measure"] == "spikes_per_driven_cell"
        };
        all.iter().find(is_row).expect("a row")[value].parse().expect("a number")
    };
    let expected = mean("GABAzine", "spikes_per_driven_cell");
    let found = of_gabazine("estimates", "mean");
    assert!(found > 0.1 && (found - expected).abs() < 1e-12);
    let difference = expected - mean("Control", "spikes_per_driven_cell");
    assert!((of_gabazine("differences", "difference") - difference).abs() < 1e-12);
}

#[test]
fn what_is_chosen_is_drawn() {
    let (place, _) = finished();
    let arguments =
        ["figures", "out", "--conditions", "a0.5,Control", "--seeds", "7", "--format", "svg", "--json"];
    let report = json(&place.run(&arguments).succeeded().stdout);
    let names: Vec<&str> = report["figures"]
        .as_array()
        .expect("figures")
        .iter()
        .map(|of| of["name"].as_str().expect("text"))
        .collect();
    // Without the paper's conditions, several seeds or a dose series, only these figures are drawn.
    assert_eq!(names, ["differences", "psth", "raster", "heat-map", "conductance-traces"]);
    let svg = fs::read_to_string(place.path("out/figures/psth.svg")).expect("it was written");
    assert!(svg.contains(">Control<") && svg.contains(">a0.5<") && !svg.contains(">a0.25<"));
    for (arguments, why) in [
        (&["--conditions", "b"][..], "has no condition `b`"),
        (&["--seeds", "8"], "has no seed 8"),
        (&["--window", "1000"], "expected FROM..TO in whole ms"),
        (&["--window", "1000..1001"], "expected at least 2 ms"),
        (&["--window", "1990..2010"], "goes beyond the 2000 ms of a trial of condition Control"),
        (&["--reference", "a1"], "--reference a1: no such condition is drawn"),
        (&["--trial", "3"], "trial 3 of condition Control, seed 7, is not stored"),
        (&["--dpi", "5000"], "`5000` is not a whole number from 30 to 1200"),
    ] {
        place.run(&[&["figures", "out"][..], arguments].concat()).failed_with(2, &[why]);
    }
    place.write("file", "precious");
    place
        .run(&["figures", "out", "--to", "file"])
        .failed_with(1, &["cannot create file", "help: choose another"]);
    place.run(&["figures", "nowhere"]).failed_with(2, &["nowhere is not an output directory of granule"]);
}

#[test]
fn conductances_are_drawn_with_the_same_numbers_whether_they_are_recorded_or_not() {
    let place = Place::new();
    // More driven cells than the program derives at a time, and two seeds.
    let own = "{ name: half, base: ACh, set: { granule.tonic_factor: 0.5 } }";
    let sweep = Sweep {
        network: [78, 1024, 7],
        seeds: vec![7, 451],
        conditions: vec!["Control", "GABAzine", own],
        ..Sweep::small()
    };
    let drawn = |record: &str, out: &str| {
        place.sweep("sweep.yaml", &Sweep { record, ..sweep.clone() });
        place.run(&["run", "sweep.yaml", "--out", out]).succeeded();
        let ended = place.run(&["figures", out, "--format", "svg"]).succeeded();
        assert!(!ended.stderr.contains("conductances"), "{}", ended.stderr);
        ["svg", "json"].map(|ending| {
            let file = format!("{out}/figures/conductance-traces.{ending}");
            let text =
                fs::read_to_string(place.path(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            // The source fingerprints differ.
            let fingerprint =
                place.index_of_figures(out)["manifest"].as_str().expect("a fingerprint").to_owned();
            text.replace(&fingerprint, "")
        })
    };
    let from_files = drawn("all", "all");
    let names = ["control", "gaba", "half"].map(|prefix| format!("seed-7/{prefix}CondE.npy"));
    assert!(names.iter().all(|name| place.path("all").join(name).is_file()));
    let cells = fs::metadata(place.path("all/seed-7/halfCondE.npy")).expect("it was written");
    assert!(cells.len() > 256 * 2000 * 8, "{} bytes", cells.len());
    // Then with some conductances recorded, as by default, and with none.
    assert_eq!(drawn("{}", "default"), from_files);
    assert!(names[..2].iter().all(|name| place.path("default").join(name).is_file()));
    assert!(!place.path("default").join(&names[2]).exists());
    assert_eq!(drawn("{ conductances: false }", "none"), from_files);
    assert!(!place.path("none").join(&names[0]).exists());
}

#[test]
fn what_is_not_recorded_is_not_drawn_and_said() {
    let place = Place::new();
    let record = "{ conductances: false, probabilities: false }";
    place.sweep("sweep.yaml", &Sweep { record, ..Sweep::small() });
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    let ended = place.run(&["figures", "out", "--format", "svg"]).succeeded();
    assert!(ended.stderr.contains("no figures of the paper"), "{}", ended.stderr);
    // With fixed weights, there are no files of connections or conductances.
    let fixed = Sweep { weights: "{ random: false }", ..Sweep::small() };
    place.sweep("fixed.yaml", &fixed);
    place.run(&["run", "fixed.yaml", "--out", "fixed"]).succeeded();
    let report = json(&place.run(&["figures", "fixed", "--format", "svg", "--json"]).succeeded().stdout);
    assert_eq!(report["figures"].as_array().map(Vec::len), Some(10), "{report}");
    let notes = report["notes"].to_string();
    assert!(notes.contains("no conductance figure for 3 conditions: the weights are fixed"), "{notes}");
    // A window that is too short for the paper's criteria leaves its figures out.
    let short = ["figures", "fixed", "--format", "svg", "--window", "1005..1020"];
    let ended = place.run(&short).succeeded();
    assert!(
        ended.stderr.contains("no figures of the paper: the responses to the stimuli must lie"),
        "{}",
        ended.stderr
    );
    // A missing file is reported.
    fs::remove_file(place.path("fixed/seed-451/controlSpikeProb.npy")).expect("it is there");
    place.run(&["figures", "fixed"]).failed_with(1, &["controlSpikeProb.npy", "`granule verify` lists"]);
}

/// Copies files into a new directory, under other names.
fn copy(place: &Place, from: &str, to: &str, renamed: impl Fn(&str) -> String) {
    fs::create_dir(place.path(to)).expect("a new directory");
    for entry in fs::read_dir(place.path(from)).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = renamed(path.file_name().and_then(|name| name.to_str()).expect("text"));
        fs::copy(&path, place.path(to).join(name)).expect("a copy");
    }
}

/// Expects that pictures and numbers below a directory are those of another.
#[track_caller]
fn expect_same_numbers(expected: &Path, found: &Path) {
    let mut compared = 0;
    for entry in fs::read_dir(expected).expect("a directory") {
        let path = entry.expect("an entry").path();
        let other = found.join(path.file_name().expect("a name"));
        let [expected, found] = [&path, &other].map(|path| fs::read_to_string(path).expect("text"));
        if path.extension().is_some_and(|ending| ending == "json") {
            // The sweep's identity may differ.
            assert_eq!(json(&expected)["tables"], json(&found)["tables"], "{}", other.display());
        } else {
            assert_eq!(expected, found, "{}", other.display());
        }
        compared += 1;
    }
    assert!(compared >= 18, "{compared}");
}

#[test]
fn output_files_alone_are_enough_for_the_papers_figures() {
    let (place, _) = finished();
    let figures = |directory: &str, to: &str, more: &[&str]| {
        let arguments = ["figures", directory, "--format", "svg", "--to", to, "--json"];
        let report = json(&place.run(&[&arguments[..], more].concat()).succeeded().stdout);
        let count = report["figures"].as_array().map_or(0, Vec::len);
        (count, report["notes"].to_string())
    };
    assert_eq!(figures("out", "whole", &[]).0, 19);
    assert_eq!(figures("out", "moved", &["--window", "995..1075"]).0, 19);
    let (whole, moved) = (place.path("whole/seed-7"), place.path("moved/seed-7"));

    // A folder of one seed without the sweep's records, with file names of random weights and of fixed weights.
    copy(&place, "out/seed-7", "copy", str::to_owned);
    copy(&place, "out/seed-7", "original", |name| name.replace("randomized_", ""));
    for (directory, to) in [("copy", "of-copy"), ("original", "of-original")] {
        assert_eq!(figures(directory, to, &[]), (6, "[]".to_owned()));
        expect_same_numbers(&whole, &place.path(to));
    }
    assert_eq!(figures("copy", "of-moved", &["--window", "995..1075"]).0, 6);
    expect_same_numbers(&moved, &place.path("of-moved"));
    place.run(&["figures", "copy", "--format", "svg"]).succeeded();
    assert!(place.path("copy/figures/summary.svg").is_file());
    for (arguments, why) in [
        (&["--conditions", "ACh"][..], "--conditions needs a sweep, but copy is not an output directory"),
        (&["--seeds", "7"], "--seeds needs a sweep"),
        (&["--trial", "0"], "--trial needs a sweep"),
        (&["--store", "file"], "--store needs a sweep"),
        (&["--window", "1990..2010"], "goes beyond the 2000 ms of randomized_controlSpikeProb.npy"),
        (&["--window", "1005..1020"], "the responses to the stimuli must lie in the window"),
    ] {
        place.run(&[&["figures", "copy"][..], arguments].concat()).failed_with(2, &[why]);
    }
    // Missing and damaged files are named.
    fs::remove_file(place.path("original/gabaSpikeProb.npy")).expect("it is there");
    fs::remove_file(place.path("original/controlConnections.npy")).expect("it is there");
    let missing = "the paper's figures need: gabaSpikeProb.npy, controlConnections.npy\n";
    place.run(&["figures", "original"]).failed_with(2, &["original is not an output directory", missing]);
    // If another program wrote the weights, only the weights are not compared.
    place.write("copy/controlWeights.npy", "another program's");
    let (count, notes) = figures("copy", "of-others", &[]);
    assert_eq!(count, 6);
    assert!(notes.contains("weights are not compared: copy/controlWeights.npy: "), "{notes}");
    expect_same_numbers(&whole, &place.path("of-others"));
    // A file that is no array, an array larger than any memory, and a pipe.
    let array = place.path("copy/randomized_achSpikeProb.npy");
    let shape = "{'descr': '<f8', 'fortran_order': False, 'shape': (1073741824, 536870912), }";
    let header = format!("{shape:117}\n");
    let huge = [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
    for bytes in [&b"no array"[..], &huge] {
        fs::write(&array, bytes).expect("written");
        place.run(&["figures", "copy"]).failed_with(1, &["copy/randomized_achSpikeProb.npy: "]);
    }
    fs::remove_file(&array).expect("it is there");
    assert!(std::process::Command::new("mkfifo").arg(&array).status().expect("it starts").success());
    place
        .run(&["figures", "copy"])
        .failed_with(1, &["copy/randomized_achSpikeProb.npy: it is a pipe, not a regular file"]);

    // A sweep without its store.
    fs::remove_file(place.path("out/store.granule")).expect("it is there");
    let (count, notes) = figures("out", "archived", &[]);
    assert_eq!(count, 12);
    assert!(notes.contains("the store out/store.granule does not exist"), "{notes}");
    expect_same_numbers(&whole, &place.path("archived/seed-7"));
    expect_same_numbers(&place.path("whole/seed-451"), &place.path("archived/seed-451"));
    assert_eq!(figures("out", "archived", &["--seeds", "7"]).0, 6);
    for (arguments, store) in
        [(&["--conditions", "Control"][..], "out/store.granule"), (&["--store", "elsewhere"], "elsewhere")]
    {
        let lost = format!("the store {store} does not exist");
        place.run(&[&["figures", "out"][..], arguments].concat()).failed_with(1, &[&lost]);
    }
    let ended = place.run(&["report", "out"]).succeeded();
    assert!(ended.stdout.starts_with("test: 12 figures in "), "{}", ended.stdout);
    let page = fs::read_to_string(place.path("out/report.html")).expect("it was written");
    assert!(page.contains("id=\"paper\"") && !page.contains("id=\"results\""));
    assert!(page.contains("the store out/store.granule does not exist"), "the page notes it");
}

#[test]
fn drawing_again_takes_away_what_was_drawn_before_and_nothing_else() {
    let (place, _) = finished();
    let draw = |more: &[&str]| {
        let arguments = [&["figures", "out", "--format", "svg", "--json"][..], more].concat();
        let mut report = json(&place.run(&arguments).succeeded().stdout);
        let index = fs::read_to_string(place.path("out/figures/figures.json")).expect("an index");
        report.as_object_mut().expect("an object").remove("directory");
        assert_eq!(report, json(&index));
        let mut found = Hashes::new();
        hashes(&place.path("out/figures"), "", &mut found);
        found.into_keys().collect::<Vec<String>>()
    };
    let all = draw(&[]);
    let is_there = |files: &[String], file: &str| files.iter().any(|of| of == file);
    for file in ["seeds.svg", "dose-response-granule-tonic_factor.svg", "seed-451/summary.svg"] {
        assert!(is_there(&all, file), "{all:?}");
    }
    place.write("out/figures/mine.svg", "mine");
    place.write("out/figures/seed-7/mine.svg", "mine");
    let fewer = draw(&["--conditions", "Control,a0.5", "--seeds", "7"]);
    let pictures: Vec<&String> = fewer.iter().filter(|file| file.ends_with(".svg")).collect();
    assert_eq!(
        pictures,
        [
            "conductance-traces.svg",
            "differences.svg",
            "heat-map.svg",
            "mine.svg",
            "psth.svg",
            "raster.svg",
            "seed-7/mine.svg"
        ]
    );
    assert_eq!(fewer.iter().filter(|file| file.starts_with("seed-")).count(), 1);
    assert!(!place.path("out/figures/seed-451").exists());

    // An index that lists files which granule did not draw.
    fs::create_dir_all(place.path("elsewhere")).expect("a directory");
    place.write("elsewhere/precious", "precious");
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path("out/figures/link")).expect("a link");
    let absolute = place.path("elsewhere/precious");
    let listed = [
        "../../elsewhere/precious",
        "../precious",
        "link/precious",
        "link",
        "seed-7",
        "a/../mine.svg",
        "",
        absolute.to_str().expect("text"),
    ];
    place.write("out/precious", "precious");
    let index = |sweep: &str, files: &[&str]| {
        let figures = [serde_json::json!({ "files": files })];
        let tables = ["..", "seed-7/", "notes.tex", "src/main.csv"];
        serde_json::json!({ "schema": 1, "type": "figures", "sweep": sweep, "figures": figures, "tables": tables })
    };
    fs::create_dir(place.path("out/figures/src")).expect("a directory");
    for file in ["notes.tex", "src/main.csv", "old.svg"] {
        place.write(&format!("out/figures/{file}"), "mine");
    }
    let kept = [
        "elsewhere/precious",
        "out/precious",
        "out/figures/mine.svg",
        "out/figures/seed-7/mine.svg",
        "out/figures/notes.tex",
        "out/figures/src/main.csv",
    ];
    // Without the hash of the drawn file, nothing is removed, even if an index lists it.
    for (sweep, files, old) in
        [("another", &["old.svg"][..], true), ("test", &listed, true), ("test", &["old.svg"], true)]
    {
        place.write("out/figures/figures.json", index(sweep, files).to_string());
        let arguments =
            ["figures", "out", "--format", "svg", "--seeds", "7", "--conditions", "Control", "--force"];
        place.run(&arguments).succeeded();
        for file in kept {
            assert!(place.path(file).is_file(), "{file}");
        }
        assert_eq!(place.path("out/figures/old.svg").exists(), old, "{sweep}");
    }
    assert!(place.path("out/figures/link").is_symlink());
}

#[test]
fn a_report_is_one_page_that_needs_nothing_and_says_how_to_run_it_again() {
    let (place, _) = finished();
    let ended = place.run(&["report", "out"]).succeeded();
    assert!(ended.stdout.starts_with("test: 19 figures in out/report.html, "), "{}", ended.stdout);
    let page = fs::read_to_string(place.path("out/report.html")).expect("it was written");
    // The only addresses are names of formats, so the page loads nothing.
    for (at, _) in page.match_indices("http") {
        let rest = &page[at..(at + 40).min(page.len())];
        assert!(rest.starts_with("http://www.w3.org/2000/svg") || rest.starts_with("http-equiv"), "{rest}");
    }
    assert!(!page.contains("<script") && !page.contains("<link"));
    // The font of the figures is in the page, once for each weight, with its licence.
    assert_eq!((page.matches("url(").count(), page.matches("url(data:font/woff;base64,").count()), (2, 2));
    assert!(page.contains("SIL Open Font License 1.1") && page.contains("font-src data:"));
    let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).expect("a style");
    assert!(style.len() < 70_000, "{}", style.len());
    assert_eq!(page.matches("role=\"img\"").count(), 19);
    assert!(page.contains("<title>test: report</title>") && page.contains("spikes per driven cell"));
    // The tests' build has no commit, unless the environment names one.
    let version = place.run(&["--version"]).succeeded().stdout;
    let commit = version.rsplit("commit ").next().expect("a commit").trim().to_owned();
    let program = format!("granule {}, commit {commit}<", env!("CARGO_PKG_VERSION"));
    assert!(page.contains(&program));
    assert_eq!(place.manifest("out")["run"].get("commit").is_some(), commit != "unknown");
    // When printed, all parts are shown.
    assert!(page.contains("details::details-content { content-visibility: visible;"));
    let manifest = place.manifest("out");
    for file in manifest["files"].as_array().expect("files") {
        assert!(page.contains(file["sha256"].as_str().expect("a hash")));
    }
    // The sweep file in the page gives the same files.
    let yaml =
        page.split("<pre><code>").nth(1).and_then(|rest| rest.split("</code>").next()).expect("a sweep");
    place.write("again.yaml", yaml.replace("&quot;", "\"").replace("&amp;", "&"));
    place.run(&["run", "again.yaml", "--out", "again"]).succeeded();
    assert_eq!(place.outputs("again"), place.outputs("out"));

    place
        .run(&["report", "out", "--to", "out/manifest.json"])
        .failed_with(2, &["name a file that ends in .html"]);
    let json = json(&place.run(&["report", "out", "--to", "page.html", "--json"]).succeeded().stdout);
    assert_eq!((&json["type"], &json["figures"]), (&Value::from("report"), &Value::from(19)));
    assert_eq!(fs::read_to_string(place.path("page.html")).expect("it was written"), page);
}

/// The report of a directory, without its markup.
fn words_of_report(place: &Place, out: &str) -> (String, String) {
    place.run(&["report", out, "--to", "report.html", "--force"]).succeeded();
    let page = fs::read_to_string(place.path("report.html")).expect("it was written");
    let mut words = String::new();
    for part in page.split('<') {
        words.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    (page, words)
}

#[test]
fn a_report_names_what_its_sweep_file_needs() {
    let place = Place::new();
    let same = "it gives the same files, byte for byte";
    place.sweep("sweep.yaml", &Sweep { conditions: vec!["Control"], ..Sweep::small() });
    let run = ["run", "sweep.yaml", "--out", "out", "--workers", "1"];
    let mut command = place.granule(&run);
    command.env("CHAT_NUM_TRIAL", "2");
    place.start_this(command).end().succeeded();
    let (_, words) = words_of_report(&place, "out");
    assert!(words.contains("1 environment variable overrode this file: CHAT_NUM_TRIAL=2"), "{words}");
    assert!(words.contains(": CHAT_NUM_TRIAL=2 granule run test.yaml."), "{words}");
    assert!(words.contains("without variables and tables: test-explicit.yaml"), "{words}");
    // A manifest of an earlier version does not record the variable.
    let mut manifest = place.manifest("out");
    manifest["run"].as_object_mut().expect("an object").remove("overrides");
    place.write("out/manifest.json", manifest.to_string());
    let (_, words) = words_of_report(&place, "out");
    assert!(words.contains("This file alone does not give the results of this report"), "{words}");
    assert!(!words.contains(same), "{words}");

    let table = "name,granule.tonic_factor\nhalf,0.5\nnone,0\n";
    place.write("points.csv", table);
    place.sweep("table.yaml", &Sweep { conditions: vec!["{ table: points.csv }"], ..Sweep::small() });
    place.run(&["run", "table.yaml", "--out", "table"]).succeeded();
    let (page, words) = words_of_report(&place, "table");
    assert!(words.contains("with the tables below beside it, it gives the same files"), "{words}");
    assert!(words.contains(&sha256(&place.path("points.csv"))), "{words}");
    assert!(page.contains("<a download=\"points.csv\""));
    assert_eq!(place.manifest("table")["run"]["tables"][0]["text"], table);
}

#[test]
fn different_windows_are_listed_and_marked() {
    let place = Place::new();
    let late = "{ name: late, set: { stimulus.times: [1010 ms, 1300 ms] } }";
    place.sweep("sweep.yaml", &Sweep { conditions: vec!["Control", "ACh", late], ..Sweep::small() });
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    let note = "conditions have different response windows: 1000 to 1060 ms in Control, ACh; 1000 to 1330 ms in late.";
    let (_, words) = words_of_report(&place, "out");
    assert!(words.contains(note), "{words}");
    assert!(
        words.contains("Responses of late are counted in another window than those of Control"),
        "{words}"
    );
    assert!(words.contains("late †") && !words.contains("ACh †"), "{words}");
    let table = place.run(&["export", "out", "--measures", "-"]).succeeded().stdout;
    let head = table.lines().next().expect("a header");
    assert!(head.contains(",seed,trials,window_from_ms,window_to_ms,response_probability,"), "{head}");
    let late = table.lines().find(|line| line.starts_with("late,")).expect("a row");
    assert!(late.contains(",1000,1330,"), "{late}");
    let all = ["report", "out", "--to", "one.html", "--window", "1000..1060"];
    place.run(&all).succeeded();
    let page = fs::read_to_string(place.path("one.html")).expect("it was written");
    assert!(page.contains("responses are counted from 1000 to 1060 ms") && !page.contains('†'));
}
