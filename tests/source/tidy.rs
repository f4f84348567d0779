//! Rules of the repository that the compiler does not check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use granule_engine::Source;
use granule_granular::ENGINES;
use granule_program::Program;
use granule_sweep::{Overrides, Plan, model_of, parse, parse_model};

use crate::support::{Place, root, sha256};

/// Every crate by directory, with the crates of the workspace on which it may depend. No dependency points back.
const ARROWS: [(&str, &[&str]); 16] = [
    ("shared/engine", &[]),
    ("shared/granular", &["granule-engine"]),
    ("shared/sweep", &["granule-engine", "granule-statistics"]),
    ("shared/program", &["granule-engine", "granule-sweep"]),
    ("shared/figures", &["granule-engine", "granule-statistics"]),
    ("shared/statistics", &[]),
    ("shared/text", &[]),
    ("shared/system", &["granule-text"]),
    ("proto", &["granule-engine"]),
    (
        "worker",
        &[
            "granule-engine",
            "granule-farm",
            "granule-program",
            "granule-proto",
            "granule-sweep",
            "granule-system",
            "granule-text",
        ],
    ),
    ("coordinator/farm", &["granule-engine", "granule-proto", "granule-sweep", "granule-text"]),
    ("coordinator/store", &["granule-engine", "granule-system"]),
    (
        "coordinator/outputs",
        &[
            "granule-engine",
            "granule-program",
            "granule-store",
            "granule-sweep",
            "granule-system",
            "granule-text",
        ],
    ),
    (
        "coordinator/server",
        &[
            "granule-engine",
            "granule-farm",
            "granule-outputs",
            "granule-proto",
            "granule-store",
            "granule-sweep",
            "granule-system",
            "granule-text",
            "granule-worker",
        ],
    ),
    (
        "coordinator/granule",
        &[
            "granule-engine",
            "granule-farm",
            "granule-figures",
            "granule-granular",
            "granule-outputs",
            "granule-program",
            "granule-proto",
            "granule-server",
            "granule-statistics",
            "granule-store",
            "granule-sweep",
            "granule-system",
            "granule-text",
            "granule-worker",
        ],
    ),
    ("tests/toy", &["granule-engine"]),
];

/// Crates that are a model. The program uses the granular layer; other crates use models only in their tests.
const MODELS: [&str; 2] = ["granule-granular", "granule-toy"];

/// Crates that only compute, and the names that they must not use.
const PURE: [&str; 8] = [
    "shared/engine",
    "shared/granular",
    "shared/sweep",
    "shared/program",
    "shared/figures",
    "shared/statistics",
    "shared/text",
    "coordinator/farm",
];
const IMPURE: [&str; 11] = [
    "std::fs",
    "std::net",
    "std::time",
    "std::env",
    "std::io",
    "std::process",
    "std::thread",
    "std::{",
    "tokio",
    "print!(",
    "println!(",
];

/// A module for tests only, which reads the number of its histories from the environment.
const PLAYED: &str = "coordinator/farm/src/fault_simulation.rs";

/// The only files in which threads may wait for standard output or standard error, or that end the process.
const OUTPUT: [&str; 3] = [
    "coordinator/server/src/view/log.rs",
    "coordinator/server/src/view/stderr.rs",
    "coordinator/granule/src/stdout.rs",
];

/// The only files with `unsafe` code.
const UNCHECKED: [&str; 3] =
    ["shared/granular/src/isa.rs", "shared/granular/src/isa/neon.rs", "shared/granular/src/isa/x86.rs"];

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files that are in the repository or would be added to it, as paths from its root.
fn files() -> Vec<String> {
    let git = Command::new("git")
        // In a container, the files may belong to another user.
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let mut files: Vec<String> = match git {
        Ok(output) if output.status.success() => {
            let list = String::from_utf8(output.stdout).expect("names of files are text");
            list.split_terminator('\0').map(str::to_owned).collect()
        }
        // The tree may be an unpacked archive.
        _ => walk(root()),
    };
    files.retain(|file| root().join(file).is_file());
    assert!(files.iter().any(|file| file == "Cargo.toml"), "{files:?}");
    files
}

fn walk(directory: &Path) -> Vec<String> {
    const NOT_OURS: [&str; 9] =
        ["target", "out", ".git", ".venv", "__pycache__", "artifacts", "coverage", "found", "node_modules"];
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("a directory entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names of files are text");
        if NOT_OURS.contains(&name) {
            continue;
        }
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            let path = path.strip_prefix(root()).expect("it is below").to_str().expect("text");
            found.push(path.to_owned());
        }
    }
    found
}

fn sources() -> Vec<(String, String)> {
    let rust = files().into_iter().filter(|file| file.ends_with(".rs"));
    let sources: Vec<_> = rust.map(|file| (read(&file), file)).map(|(text, file)| (file, text)).collect();
    assert!(sources.len() > 20);
    sources
}

/// Lines of code, numbered from 1, without comments and items for tests.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut code = Vec::new();
    // The indent of an item for tests: rustfmt puts its end at the same indent.
    let mut skipped: Option<usize> = None;
    for (i, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(of_item) = skipped {
            if indent == of_item && (trimmed.starts_with('}') || line.ends_with(';')) {
                skipped = None;
            }
        } else if trimmed == "#[cfg(test)]" || trimmed.starts_with("#[cfg(all(test, ") {
            skipped = Some(indent);
        } else if !trimmed.starts_with("//") {
            code.push((i + 1, line));
        }
    }
    code
}

#[test]
fn code_is_told_from_comments_and_tests() {
    let text = "//! doc\nuse a;\n// why\n#[cfg(test)]\nmod tests {\n    fn f() {}\n}\nfn g() {\n    #[cfg(test)]\n    \
                h();\n    i(); // so\n}\n#[cfg(test)]\nmod more;\nj!();\n\
                #[cfg(all(test, x))]\nmod y {\n}\n";
    let lines: Vec<(usize, &str)> = code(text);
    let expected = [(2, "use a;"), (8, "fn g() {"), (11, "    i(); // so"), (12, "}"), (15, "j!();")];
    assert_eq!(lines, expected);
}

/// The tables of a TOML file, as far as Cargo files need them: names of tables, and their lines.
fn tables(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(header) => name = header.trim_matches(['[', ']']).to_owned(),
            None => tables.entry(name.clone()).or_default().push(line.to_owned()),
        }
    }
    tables
}

/// The parts of a text in quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

#[test]
fn dependencies_point_one_way() {
    let manifest = tables(&read("Cargo.toml"));
    let members = manifest["workspace"].iter().find(|line| line.starts_with("members"));
    let members: BTreeSet<&str> = members.map(|line| quoted(line)).expect("members").into_iter().collect();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(directory, _)| *directory).collect();
    assert_eq!(members, known, "a new crate needs its arrows here");

    for (directory, allowed) in ARROWS {
        let tables = tables(&read(format!("{directory}/Cargo.toml")));
        let of_table = |name: &str| -> Vec<&str> {
            let lines = tables.get(name).map(Vec::as_slice).unwrap_or_default();
            let names = lines.iter().filter_map(|line| line.split(['.', '=', ' ']).next());
            names.filter(|name| name.starts_with("granule")).collect()
        };
        let dependencies = of_table("dependencies");
        for name in &dependencies {
            assert!(allowed.contains(name), "{directory} depends on {name}");
        }
        // An unused dependency must be removed from the list.
        assert_eq!(dependencies.len(), allowed.len(), "{directory}: {dependencies:?}");
        for name in of_table("dev-dependencies") {
            assert!(MODELS.contains(&name), "tests of {directory} depend on {name}");
        }
        assert!(of_table("build-dependencies").is_empty(), "{directory}");
        // A dependency in its own table would not be found.
        assert!(!tables.keys().any(|table| table.contains("dependencies.")), "{directory}");
    }
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    for (directory, _) in ARROWS {
        let tables = tables(&read(format!("{directory}/Cargo.toml")));
        assert_eq!(tables.get("lints"), Some(&vec!["workspace = true".to_owned()]), "{directory}");
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            let line = format!("{key}.workspace = true");
            assert!(tables["package"].contains(&line), "{directory}: no `{line}`");
        }
    }
}

#[test]
fn what_only_computes_has_no_input_no_output_and_no_clock() {
    let sources = sources();
    for directory in PURE {
        let own = format!("{directory}/src/");
        let of_crate: Vec<_> = sources.iter().filter(|(file, _)| file.starts_with(&own)).collect();
        let least = match directory {
            "shared/text" => 2,
            "shared/program" => 5,
            _ => 6,
        };
        assert!(of_crate.len() >= least, "{directory}");
        for (file, text) in of_crate.into_iter().filter(|(file, _)| file != PLAYED) {
            for (number, line) in code(text) {
                // A duration needs no clock.
                let line = line.replace("std::time::Duration", "");
                let found = IMPURE.iter().find(|word| line.contains(*word));
                assert_eq!(found, None, "{file}:{number}: {line}");
            }
        }
    }
}

#[test]
fn code_that_the_compiler_cannot_check_is_in_one_place() {
    let word = concat!("un", "safe");
    for (file, text) in sources() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let uses = |line: &str| line.split(|c| !is_word(c)).any(|found| found == word);
        let found = code(&text).into_iter().find(|(_, line)| uses(line));
        assert_eq!(found.is_some(), UNCHECKED.contains(&file.as_str()), "{file}: {found:?}");
    }
}

/// One module knows what differs between systems; a page lists the files that call functions which Windows lacks.
#[test]
fn one_module_knows_how_systems_differ() {
    const MODULE: &str = "shared/system/src/os.rs";
    let of_systems = ["/proc/", "/sys/", "target_os", "target_vendor", "target_family"];
    // Paths such as `tokio::signal::unix::Signal` have the third.
    let of_unix = ["std::os::", "tokio::net::Unix", "nix::", "rustix::", "libc::"];
    let is_condition = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric());
        line.contains("cfg") && words.any(|word| word == "unix" || word == "windows")
    };
    let mut unix = BTreeSet::new();
    for (file, text) in sources() {
        if !file.contains("/src/") || file.ends_with("/tests.rs") {
            continue;
        }
        let lines = code(&text);
        let has = |words: &[&str]| {
            lines.iter().find(|(_, line)| words.iter().any(|word| line.contains(word))).map(|(_, line)| *line)
        };
        // The engine asks where the processor or the C library multiplies and adds in one step.
        if file != MODULE && file != "shared/engine/src/elementary.rs" {
            assert_eq!(has(&of_systems), None, "{file}");
            assert_eq!(lines.iter().find(|(_, line)| is_condition(line)), None, "{file}");
        }
        if has(&of_unix).is_some() {
            unix.insert(file);
        }
    }
    let page = read("docs/platforms.md");
    let (_, list) = page.split_once("## Windows").expect("a list of files");
    let listed: Vec<String> =
        list.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs")).map(str::to_owned).collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), unix);
    assert_eq!(listed.len(), unix.len(), "a file is listed twice");
}

#[test]
fn only_the_view_writes_to_standard_streams_and_ends_the_process() {
    let is_program =
        |file: &str| file.starts_with("coordinator/granule/src/") || file.starts_with("worker/src/");
    for (file, text) in
        sources().into_iter().filter(|(file, _)| is_program(file) && !file.ends_with("/tests.rs"))
    {
        let writes = |line: &str| {
            // The connection of a worker over ssh.
            let line = line.replace("Output::of(io::stdout())", "");
            ["io::stdout()", "io::stderr()", "process::exit("].iter().any(|word| line.contains(word))
        };
        let found = code(&text).into_iter().find(|(_, line)| writes(line));
        assert_eq!(found.is_some(), OUTPUT.contains(&file.as_str()), "{file}: {found:?}");
    }
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("XX", "X"),
        concat!("#[ig", "nore"),
    ];
    for (file, text) in sources() {
        for (i, line) in text.lines().enumerate() {
            let found = marks.iter().find(|mark| line.contains(*mark));
            assert_eq!(found, None, "{file}:{}: {line}", i + 1);
        }
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for (file, text) in sources() {
        // Tests of a module are described by that module.
        let is_part = file.contains("/generated/") || file.ends_with("/tests.rs");
        assert!(is_part || text.starts_with("//!"), "{file}");
    }
}

/// Cargo runs a file of tests or benchmarks only if it is a program, or a module of one.
#[test]
fn every_file_of_tests_is_declared() {
    let manifests = ["coordinator/granule/Cargo.toml", "shared/granular/Cargo.toml"].map(read).concat();
    let declared: BTreeSet<String> = manifests
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"../"))
        .map(|path| path.trim_start_matches("../").trim_end_matches('"').to_owned())
        // This is a separate package.
        .chain(["tests/separate/main.rs".to_owned()])
        .collect();
    let files = files();
    let of_tests = |file: &&String| file.starts_with("tests/") || file.starts_with("benches/");
    let mut programs = BTreeSet::new();
    for file in files.iter().filter(of_tests).filter(|file| file.ends_with(".rs")) {
        let parts: Vec<&str> = file.split('/').collect();
        let [_, program, .., name] = parts[..] else {
            programs.insert(file.clone());
            continue;
        };
        if !files.contains(&format!("{}/{program}/main.rs", parts[0])) {
            // Support code of tests, and a crate for tests.
            continue;
        }
        let directory = file.strip_suffix(&format!("/{name}")).expect("its name");
        let main = format!("{directory}/main.rs");
        if *file == main {
            programs.insert(main);
            continue;
        }
        let parent = if files.contains(&main) { main } else { format!("{directory}.rs") };
        let line = format!("mod {};", name.strip_suffix(".rs").expect("its ending"));
        assert!(read(&parent).lines().any(|of_parent| of_parent == line), "{parent} has no `{line}`");
    }
    assert_eq!(declared, programs);
}

/// Tests that measure must not run beside other tests.
#[test]
fn tests_that_measure_take_turns() {
    let turn = "let _turn = crate::turn(module_path!());";
    let mut count = 0;
    for (file, text) in sources().into_iter().filter(|(file, _)| file.starts_with("tests/alone/")) {
        let mut lines = text.lines().map(str::trim);
        while lines.by_ref().any(|line| line.starts_with("#[") && line.ends_with("test]")) {
            let function = lines.find(|line| line.starts_with("fn ")).expect("a test");
            assert_eq!(lines.next(), Some(turn), "{file}: {function}");
            count += 1;
        }
    }
    assert!(count > 0);
}

/// Every fuzz target is declared, tested and has a corpus.
#[test]
fn every_target_of_fuzzing_is_declared_tested_and_has_a_corpus() {
    let names: BTreeSet<&str> = granule::fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    let files = files();
    let below = |directory: &str| -> BTreeSet<String> {
        let files = files.iter().filter_map(|file| file.strip_prefix(directory));
        files.filter_map(|file| file.split(['/', '.']).next()).map(str::to_owned).collect()
    };
    let names: BTreeSet<String> = names.into_iter().map(str::to_owned).collect();
    assert_eq!(below("fuzz/fuzz_targets/"), names);
    assert_eq!(below("fuzz/corpus/"), names);
    assert!(below("fuzz/regressions/").is_subset(&names));
    let manifest = read("fuzz/Cargo.toml");
    let tests = read("tests/plain/fuzz_corpus.rs");
    let page = read("fuzz/README.md");
    for name in &names {
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
        assert!(tests.contains(&format!("    run(\"{name}\");\n")), "{name}");
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
        let target = read(format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(target.contains(&format!("granule::fuzz::{name}(bytes)")), "{name}");
    }
    // The package is outside the workspace: it has its own versions and lints, and uses the program's code.
    let tables = tables(&manifest);
    let of_ours = tables["dependencies"].iter().filter(|line| line.starts_with("granule"));
    assert_eq!(of_ours.collect::<Vec<_>>(), ["granule = { path = \"../coordinator/granule\" }"]);
}

#[test]
fn every_sweep_can_be_run() {
    let sweeps: Vec<String> =
        files().into_iter().filter(|file| file.starts_with("sweeps/") && file.ends_with(".yaml")).collect();
    assert!(sweeps.len() >= 3, "{sweeps:?}");
    for file in sweeps {
        let text = read(&file);
        if file.ends_with(".model.yaml") {
            parse_model(&file, text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
            continue;
        }
        let stem = Path::new(&file).file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let engines = match model_of(text.as_bytes()) {
            None => ENGINES,
            Some(model) => {
                let model = Path::new(&file).with_file_name(model);
                let source = Source { text: read(&model), files: Vec::new() };
                let program = Program::of(&file, source).unwrap_or_else(|error| panic!("{error}"));
                vec![program.engine()].leak()
            }
        };
        let sweep = parse(engines, &file, read(&file).as_bytes(), stem, &Overrides::default())
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(sweep.name, stem, "{file}: outputs would lie where nobody looks for them");
        assert!(!Plan::new(&sweep).is_empty(), "{file}");
    }
}

/// The recorded run on aarch64 had the engine revisions, published hashes and test vectors of today.
#[test]
fn the_log_of_aarch64_is_of_these_engines() {
    let log = read("docs/aarch64.log");
    let has = |part: &str| assert!(log.contains(part), "no `{part}`: run `.ci/aarch64 --log`");
    for engine in ENGINES {
        has(&format!("{} (revision {})", engine.name(), engine.revision()));
    }
    has("\nbuild: aarch64-unknown-linux-gnu, profile release, commit ");
    for program in ["granule_engine", "granule_granular", "vectors", "granule_store", "granule_proto"] {
        let results = log.lines().filter_map(|line| line.strip_prefix(program)?.strip_prefix(": ok. "));
        let passed: Vec<u32> = results.filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        assert!(passed.len() == 1 && passed[0] > 0, "{program}: {passed:?}");
    }
    for (platform, of_list) in [("linux-64", ""), ("osx-64", ".osx-64"), ("win-64", ".win-64")] {
        let list = read(format!("tests/expected/ci-10trials{of_list}.sha256"));
        has(&format!("\n{platform}: 16 of 16 files\n{list}"));
    }
    has(&format!("sha256 {}  docs/engines.json", sha256(&root().join("docs/engines.json"))));
    assert!(log.trim_end().ends_with("no file differs"), "run `.ci/aarch64 --log`");
}

#[test]
fn no_file_names_a_place_on_someones_machine() {
    let places = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("C:\\", "Users"),
        concat!("/wo", "rk/"),
    ];
    for file in files() {
        let bytes = fs::read(root().join(&file)).expect("a file");
        let text = String::from_utf8_lossy(&bytes);
        for (i, line) in text.lines().enumerate() {
            let found = places.iter().find(|place| line.contains(*place));
            assert_eq!(found, None, "{file}:{}", i + 1);
        }
    }
}

#[test]
fn the_citation_has_the_version_and_the_licence_of_the_workspace() {
    let package = &tables(&read("Cargo.toml"))["workspace.package"];
    let citation = read("CITATION.cff");
    for key in ["version", "license"] {
        let of = package.iter().find(|line| line.starts_with(key)).expect("a line");
        let line = format!("\n{key}: {}\n", quoted(of)[0]);
        assert!(citation.contains(&line), "no `{}` in CITATION.cff", line.trim());
    }
}

/// Command lines in the README's code blocks that begin with this word. A backslash at the end of a line continues it.
fn commands(program: &str) -> Vec<Vec<String>> {
    let readme = read("README.md");
    let blocks: String = readme.split("```").skip(1).step_by(2).collect();
    let blocks = blocks.replace("\\\n", " ");
    let lines = blocks.lines().map(|line| line.trim().trim_start_matches("$ "));
    lines
        .filter(|line| line.split(' ').next() == Some(program))
        .map(|line| line.split(" #").next().unwrap_or(line))
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// Expects that the program has the subcommand and all options of a command line.
fn check_granule(words: &[String]) {
    let [subcommand, arguments @ ..] = words else { panic!("no subcommand") };
    let help = Place::new().run(&["help", subcommand]).succeeded().stdout;
    for option in
        arguments.iter().map(|word| word.trim_matches(['[', ']'])).filter(|word| word.starts_with('-'))
    {
        let known = help.split(|c: char| !c.is_alphanumeric() && c != '-').any(|word| word == option);
        assert!(known, "`granule {subcommand}` has no option {option}");
    }
}

#[test]
fn the_commands_of_the_readme_exist() {
    let top: BTreeSet<String> =
        files().iter().filter_map(|file| file.split_once('/')).map(|(top, _)| top.to_owned()).collect();
    let tests = read("coordinator/granule/Cargo.toml") + &read("shared/granular/Cargo.toml");
    let of_cargo = commands("cargo");
    let of_granule = commands("granule");
    assert!(of_cargo.len() >= 2, "the README's commands: {of_cargo:?}");
    for words in of_cargo.iter().chain(&of_granule).chain(&commands("python")).chain(&commands("python3")) {
        for word in words {
            // Only files of the repository: files that a run makes do not exist yet.
            if word.split_once('/').is_some_and(|(directory, _)| top.contains(directory)) {
                assert!(PathBuf::from(root()).join(word).exists(), "no {word}: {words:?}");
            }
        }
    }
    for words in &of_cargo {
        const KNOWN: [&str; 8] = ["build", "run", "test", "bench", "install", "clippy", "fmt", "doc"];
        assert!(KNOWN.contains(&words[1].as_str()), "{words:?}");
        let value_of = |option: &str| words.windows(2).find(|pair| pair[0] == option).map(|pair| &pair[1]);
        if let Some(test) = value_of("--test").or(value_of("--bench")) {
            assert!(tests.contains(&format!("name = \"{test}\"")), "no test {test}: {words:?}");
        }
        if let Some(package) = value_of("-p").or(value_of("--package")) {
            let manifest = |directory: &str| read(format!("{directory}/Cargo.toml"));
            let is_it = |directory: &str| manifest(directory).contains(&format!("name = \"{package}\""));
            assert!(ARROWS.iter().any(|(directory, _)| is_it(directory)), "no crate {package}: {words:?}");
        }
        if words[1] == "run" {
            let at = words.iter().position(|word| word == "--").expect("arguments of granule");
            check_granule(&words[at + 1..]);
        }
    }
    for words in &of_granule {
        check_granule(&words[1..]);
    }
}

/// Links to files, on all pages.
#[test]
fn links_lead_somewhere() {
    let mut followed = 0;
    for page in files().iter().filter(|file| file.ends_with(".md")) {
        let text = read(page);
        let directory = Path::new(page).parent().expect("a directory");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let file = target.split('#').next().unwrap_or(target);
            assert!(root().join(directory).join(file).exists(), "{page}: no {target}");
            followed += 1;
        }
    }
    assert!(followed > 0);
}
