//! Wrong input and failures of the system: each command ends with a clear message and an exit code, never with a panic.
//! Files on the disk stay as they are, and output goes to the right stream.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use granule_granular::{ENGINES, space};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Ended, Hashes, Place, Sweep, Trials, sha256};

/// Less than any simulation needs, and more than any wrong input may use: half a gigabyte of address space and twenty
/// seconds of processor time.
const LITTLE: &str = "ulimit -v 500000; ulimit -t 20;";

/// The program with these arguments, started by a shell after `words`.
fn after(words: &str, place: &Place, arguments: &[&str]) -> Command {
    let granule = place.granule(arguments);
    let mut shell = place.command("/bin/sh");
    shell.arg("-c").arg(format!("{words} exec \"$0\" \"$@\""));
    shell.arg(granule.get_program()).args(granule.get_args());
    shell
}

fn end(mut command: Command) -> Ended {
    Ended::from(command.output().expect("the program starts"))
}

/// All plain files below a directory, by path.
fn files(directory: &Path) -> Hashes {
    let mut found = Hashes::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("a directory entry").path();
        let kind = fs::symlink_metadata(&path).expect("it is there").file_type();
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.insert(path.to_string_lossy().into_owned(), sha256(&path));
        }
    }
    found
}

/// Expects that the program fails with this exit code and a message with all these parts. The message is plain text and
/// on standard error only, and every file stays as it was. For wrong usage, the program must also need little time and
/// memory, and make no file.
#[track_caller]
fn check(place: &Place, arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let before = files(&place.path(""));
    let limits = if code == 2 { LITTLE } else { "" };
    let ended = end(after(limits, place, arguments)).failed_with(code, parts);
    let after = files(&place.path(""));
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", ended.stderr);
    assert!(ended.stderr.contains("error: "), "{}", ended.stderr);
    for (path, hash) in &before {
        assert_eq!(after.get(path), Some(hash), "{path}");
    }
    if code == 2 {
        assert_eq!(after.len(), before.len(), "{after:#?}");
    }
    ended.stderr
}

/// As [`check`], for a sweep file with this content. Expects one error with this help, at this line and column or at
/// the file as a whole.
#[track_caller]
fn check_sweep(content: impl AsRef<[u8]>, at: &str, message: &str, help: &str) {
    let place = Place::new();
    place.write("x.yaml", content);
    let stderr = check(&place, &["run", "x.yaml"], 2, &[]);
    let lines: Vec<&str> = stderr.lines().map(str::trim).collect();
    let at = if at.is_empty() { "--> x.yaml".to_owned() } else { format!("--> x.yaml:{at}") };
    assert_eq!(lines[..2], [&format!("error: {message}"), &at], "{stderr}");
    let said = lines.iter().find_map(|line| line.strip_prefix("= help: "));
    assert_eq!(said, Some(help), "{stderr}");
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
}

const SMALLEST: &str = "the smallest sweep is `conditions: [Control, GABAzine, ACh]`";

#[test]
fn a_sweep_file_that_cannot_be_read() {
    let place = Place::new();
    place.write("file", "");
    fs::create_dir(place.path("directory")).expect("a directory");
    symlink("loop", place.path("loop")).expect("a link");
    let long = "x".repeat(300);
    for (path, why) in [
        ("nowhere.yaml", "No such file or directory"),
        ("directory", "it is a directory, not a regular file"),
        (".", "it is a directory, not a regular file"),
        ("file/x.yaml", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        (&long, "File name too long"),
        ("/dev/zero", "it is a device, not a regular file"),
        ("/dev/null", "it is a device, not a regular file"),
    ] {
        let message = format!("error: cannot read sweep file {path}\n  because: {why}");
        check(&place, &["run", path], 2, &[&message]);
    }
    check(&place, &["run", "no\u{1b}[2Jwhere"], 2, &["cannot read sweep file no\\u{1b}[2Jwhere\n"]);
    check(&place, &["run", ""], 2, &["a value is required for '<SWEEP>'"]);
}

#[test]
fn a_file_that_is_no_sweep() {
    const TOO_LARGE: &str = "the file is larger than 1 MiB";
    const IS_IT: &str = "a sweep file lists seeds and conditions; is this the right file?";
    check_sweep("", "", "the sweep is empty", SMALLEST);
    check_sweep("# nothing\n\n# at all\n", "", "the sweep is empty", SMALLEST);
    let whole = "a sweep is a mapping of keys to values, not a single value";
    check_sweep("Control", "1:1", whole, SMALLEST);
    check_sweep("trials: 5", "1:1", "the sweep has no `conditions`", SMALLEST);

    let garbage: Vec<u8> = (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let garbage = [b"x: \xfe\x01\x1b[2J".as_slice(), &garbage].concat();
    check_sweep(garbage, "1:4", "the file is not UTF-8 text: byte 0xfe found", "save it as UTF-8");
    check_sweep(b"name: caf\xe9", "1:10", "the file is not UTF-8 text: byte 0xe9 found", "save it as UTF-8");
    let control = |code: &str| format!("the file contains the control character U+{code}");
    check_sweep("trials: 5\0\n", "1:10", &control("0000"), "remove it");
    check_sweep([0; 100], "1:1", &control("0000"), "remove it");
    check_sweep("name: \u{1b}]0;x\u{7}", "1:7", &control("001B"), "remove it");

    check_sweep(vec![b'#'; 3 << 20], "", TOO_LARGE, IS_IT);
    let place = Place::new();
    let large = File::create(place.path("large.yaml")).expect("a file");
    large.set_len(100 << 20).expect("a file of 100 MiB");
    check(&place, &["run", "large.yaml"], 2, &[TOO_LARGE]);
}

#[test]
fn yaml_that_would_take_too_much_or_is_none() {
    const DEEP: &str = "lists and mappings are nested more than 16 deep";
    const BRACKET: &str = "a sweep never needs that; look for a bracket too many";
    const ALIAS: &str = "YAML anchors and aliases are not part of the sweep language";
    const LOOK: &str = "look for a missing quote, bracket, comma or space after a colon near here";
    let base = "`base: …` lets a condition start from an earlier one";
    check_sweep(format!("conditions: {}", "[".repeat(100_000)), "1:28", DEEP, BRACKET);
    check_sweep("{a: ".repeat(100_000), "1:65", DEEP, BRACKET);
    check_sweep("- ".repeat(100_000), "1:33", DEEP, BRACKET);
    let mut bomb = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*l{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("l{level}: &l{level} [{aliases}]\n"));
    }
    check_sweep(bomb, "1:9", ALIAS, base);
    check_sweep("conditions: *a", "1:13", ALIAS, base);
    let documents = "the file has more than one YAML document";
    check_sweep(
        "conditions: [Control]\n---\nconditions: [ACh]",
        "2:1",
        documents,
        "write each sweep to a file of its own",
    );
    check_sweep("conditions: [Control", "1:13", "not valid YAML: unclosed bracket '['", LOOK);
}

/// As [`check_sweep`] for the value of a key on the first line.
#[track_caller]
fn check_value(key: &str, value: &str, message: &str, help: &str) {
    let at = format!("1:{}", key.len() + 3);
    check_sweep(format!("{key}: {value}\nconditions: [Control]"), &at, message, help);
}

#[test]
fn keys_and_values_that_are_wrong() {
    let key = |key: &str, message: &str, help: &str| {
        let at = format!("{}:1", 2 + key.matches('\n').count());
        check_sweep(format!("conditions: [Control]\n{key}: 5"), &at, message, help);
    };
    key("trails", "unknown key `trails`", "did you mean `trials`?");
    key("trials: 5\ntrials", "duplicate key `trials`", "it is already on line 2; keep one of them");
    check_value("engine", "brian3", "`engine` cannot be `brian3`", "known values: `pcg` and `brian2-2.2.1`");
    check_value(
        "granule",
        "2",
        "this version reads format 1 of sweep files, not `2`",
        "write `granule: 1`, or use another version of granule",
    );
    let trials = |value: &str, what: &str, help: &str| {
        check_value("trials", value, &format!("`trials` must be {what}"), help);
    };
    let range = "between 1 and 1000000, not";
    trials("0", &format!("{range} `0`"), "write `1` or more");
    trials("-1", &format!("{range} `-1`"), "write `1` or more");
    trials("1000001", &format!("{range} `1000001`"), "write `1000000` or less");
    let huge = "9".repeat(40);
    trials(&huge, &format!("{range} `{huge}`"), "write `1000000` or less");
    trials("2.5", "a whole number, not `2.5`", "write `2` or `3`");
    trials("1e3", "a whole number, not `1e3`", "write `1000`");
    trials(".inf", "a whole number, not `.inf`", "write it like `10`");
    trials("5 ms", "a whole number, not `5 ms`", "write it like `10`");
    trials("'5'", "a whole number, not a text", "remove the quotes around `5`");
    trials("[5]", "a whole number, not a list", "write it like `10`");

    check_value("seeds", "[]", "`seeds` is empty", "write `[451]`");
    check_value("seeds", "451", "`seeds` must be a list, not `451`", "write `[451]`");
    let seed = |value: &str, at: &str, message: &str, help: &str| {
        check_sweep(format!("seeds: {value}\nconditions: [Control]"), at, message, help);
    };
    let most = "write `4294967295` or less";
    for (out_of_range, help) in
        [("4294967296", most), ("-1", "write `0` or more"), ("99999999999999999999", most)]
    {
        let message = format!("an entry of `seeds` must be between 0 and 4294967295, not `{out_of_range}`");
        seed(&format!("[{out_of_range}]"), "1:9", &message, help);
    }
    seed("[1.5]", "1:9", "an entry of `seeds` must be a whole number, not `1.5`", "write `1` or `2`");
    let twice = "it is already on line 1; the same seed gives the same trials";
    seed("[7, 8, 7]", "1:15", "duplicate seed `7`", twice);
    check_sweep(
        "network: { golgi_cells: -7 }\nconditions: [Control]",
        "1:25",
        "`network.golgi_cells` must be between 1 and 1000000, not `-7`",
        "write `1` or more",
    );
}

#[test]
fn conditions_and_parameters_that_are_wrong() {
    let check = |list: &str, at: &str, message: &str, help: &str| {
        check_sweep(format!("conditions:\n{list}\n"), at, message, help);
    };
    check("- Controll", "2:3", "unknown condition `Controll`", "did you mean `Control`?");
    check("- Contrl\r", "2:3", "unknown condition `Contrl`", "did you mean `Control`?");
    check("- ACh\n- ACh", "3:3", "duplicate condition `ACh`", "it is already on line 2");
    check(
        "- name: half\n- name: HALF",
        "3:9",
        "conditions `half` and `HALF` would write to the same files, `HALF…`",
        "rename one of them; the other is on line 2",
    );
    check("- { name: x, base: Cotnrol }", "2:20", "unknown base `Cotnrol`", "did you mean `Control`?");
    let set = |entry: &str, column: usize, message: &str, help: &str| {
        let at = format!("2:{}", "- { name: x, set: { ".len() + column);
        check(&format!("- {{ name: x, set: {{ {entry} }} }}"), &at, message, help);
    };
    let leak = "golgi.leak_reversal";
    set(
        &format!("{leak}l: 5 mV"),
        1,
        &format!("unknown parameter `{leak}l`"),
        &format!("did you mean `{leak}`?"),
    );
    set(&format!("{leak}: -53"), 22, &format!("`{leak}` needs a unit"), "write `-53 mV`");
    set(
        &format!("{leak}: 2 ms"),
        22,
        &format!("`{leak}` is a voltage (mV), but `2 ms` is a time"),
        "write it in mV",
    );
    set(&format!("{leak}: -53 mv"), 22, "unknown unit `mv`", "did you mean `-53 mV`?");
    set(
        "mossy_to_granule.scale: 0.4 nS",
        25,
        "`mossy_to_granule.scale` is a bare number, but `0.4 nS` has a unit",
        "write `0.4`",
    );
    set(
        "time.step: 0.3 ms",
        12,
        "`time.step` is 0.3 ms, but a whole number of steps must make 1 ms",
        "use `0.25 ms` or `0.5 ms`",
    );
    set(
        "stimulus.times: [1010 ms, 2 s]",
        17,
        "`stimulus.times` has 2000 ms, but the trial ends at 2000 ms",
        "make the trial longer, or use different `stimulus.times`",
    );
    set(
        "network.granule_cells: 0",
        24,
        "`network.granule_cells` must be between 1 and 1000000, not `0`",
        "write `1` or more",
    );
}

#[test]
fn names_that_cannot_be_names_of_files() {
    let letters = "can have letters, digits, `.`, `_` and `-` only;";
    let long = "x".repeat(101);
    // YAML escapes the escape character, so the file itself is plain text.
    for (name, what, fitting) in [
        ("../x", format!("{letters} `../x` has others"), "x"),
        ("a/b", format!("{letters} `a/b` has others"), "a-b"),
        ("a\\b", format!("{letters} `a\\b` has others"), "a-b"),
        ("''", "must not be empty".to_owned(), "EXAMPLE"),
        ("..", "cannot start with a dot, as in `..`".to_owned(), "EXAMPLE"),
        ("\"\\e[2J\\r\"", format!("{letters} `\\u{{1b}}[2J\\u{{d}}` has others"), "2J-"),
        ("\"\\u202Efdp\"", format!("{letters} `\\u{{202e}}fdp` has others"), "fdp"),
    ] {
        let help = |example: &str| format!("write `{}`", fitting.replace("EXAMPLE", example));
        check_value("name", name, &format!("a sweep's name {what}"), &help("my-sweep"));
        let conditions = format!("conditions:\n- name: {name}\n");
        check_sweep(conditions, "2:9", &format!("a condition's name {what}"), &help("half-tonic"));
    }
    let most = format!("write `{}`", &long[..100]);
    check_value("name", &long, "a sweep's name can have at most 100 characters, not 101", &most);

    // Without `name`, the sweep's name is that of the file.
    let unnamed = "the sweep has no `name`, and the file's name cannot be used as one: a name can have \
                   letters, digits, `.`, `_` and `-` only;";
    let place = Place::new();
    place.write("my sweep.yaml", "conditions: [Control]");
    check(&place, &["run", "my sweep.yaml"], 2, &[unnamed, "`my sweep`", "help: add `name: my-sweep`"]);
    place.write("\u{1b}[31m.yaml", "conditions: [Control]");
    check(&place, &["run", "\u{1b}[31m.yaml"], 2, &[unnamed, "`\\u{1b}[31m`", "--> \\u{1b}[31m.yaml"]);
    let latin = OsStr::from_bytes(b"caf\xe9.yaml");
    fs::write(place.path("").join(latin), "conditions: [Control]").expect("a file");
    let ended = end({
        let mut command = place.granule(&["run"]);
        command.arg(latin);
        command
    });
    ended.failed_with(2, &[unnamed, "help: add `name: caf-`"]);
}

#[test]
fn sweeps_that_are_too_large() {
    let place = Place::new();
    let seeds: Vec<String> = (0..100_000).map(|seed| seed.to_string()).collect();
    let seeds = seeds.join(",");
    let same: String = (0..10_000).map(|i| format!("- name: c{i}\n")).collect();
    let different: String =
        (0..1000).map(|i| format!("- {{ name: c{i}, set: {{ noise.tau: {} ms }} }}\n", 20 + i)).collect();
    place.write("x.yaml", format!("trials: 101\nseeds: [{seeds}]\nconditions: [Control]"));
    let message = "error: x.yaml asks for 10100000 trials, more than the 10000000 a sweep can have";
    check(&place, &["run", "x.yaml"], 2, &[message, "help: split it into several"]);
    for (count, conditions) in [(10_000_u64, &same), (1000, &different)] {
        let pairs = count * 100_000;
        for seeds in [format!("[{seeds}]"), "0..99999".to_owned(), "{ count: 100000, seed: 1 }".to_owned()] {
            place.write("x.yaml", format!("trials: 1\nseeds: {seeds}\nconditions:\n{conditions}"));
            let message = format!(
                "error: {count} conditions × 100000 seeds are {pairs} pairs; at most 1000000 are possible"
            );
            check(
                &place,
                &["run", "x.yaml"],
                2,
                &[&message, "help: use fewer conditions or fewer seeds, or split the sweep"],
            );
        }
    }
}

#[test]
fn init_writes_a_sweep_and_never_over_a_file() {
    let place = Place::new();
    let ended = place.run(&["init"]).succeeded();
    assert_eq!(ended.stdout, "Wrote sweep.yaml. Change it, then run it:\n  granule run sweep.yaml\n");
    let written = fs::read_to_string(place.path("sweep.yaml")).expect("a file");
    assert_eq!(written, ENGINES[0].template());
    let there = "error: sweep.yaml already exists";
    check(&place, &["init"], 1, &[there, "help: name another file"]);
    check(
        &place,
        &["init", "none/x.yaml"],
        1,
        &["error: none/x.yaml cannot be written", "help: make the directory"],
    );
    place.run(&["init", "other.yaml"]).succeeded();
    // The written file can be run unchanged.
    let mut command = place.granule(&["run", "sweep.yaml"]);
    command.env("CHAT_NUM_TRIAL", "1");
    place.start_this(command).end().succeeded();
    assert!(place.path("out/sweep/manifest.json").exists());
}

#[test]
fn the_schema_is_printed() {
    let place = Place::new();
    let ended = place.run(&["schema"]).succeeded();
    let printed: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(printed, granule_sweep::schema(ENGINES));
}

#[test]
fn usage_that_is_wrong() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    let run = |arguments: &[&str], parts: &[&str]| {
        let arguments = [&["run", "x.yaml"], arguments].concat();
        check(&place, &arguments, 2, parts);
    };
    for wrong in ["0", "1025", "4294967296"] {
        run(
            &["--workers", wrong],
            &[&format!("invalid value '{wrong}' for '--workers <N>'"), "from 1 to 1024"],
        );
    }
    for wrong in ["abc", "1.5", "", "٣"] {
        run(&["--workers", wrong], &[&format!("'{wrong}' for '--workers <N>'")]);
    }
    for wrong in ["nonsense", "127.0.0.1:70000"] {
        run(&["--listen", wrong], &[&format!("invalid value '{wrong}' for '--listen <ADDR>': `")]);
    }
    for outside in ["0.0.0.0:0", "[::]:4711", "192.0.2.7:4711"] {
        let message = format!("error: `run` listens on loopback only, and {outside} is not\n  help: leave");
        run(&["--listen", outside], &[&message, "use 127.0.0.1:PORT"]);
    }
    run(&["--out", ""], &["a value is required for '--out <DIR>'"]);
    run(&["--shard-trials", "0"], &["invalid value '0' for '--shard-trials <N>'"]);
    run(&["--lease-seconds", "0"], &["invalid value '0' for '--lease-seconds <S>'"]);
    run(&["--wrokers", "2"], &["unexpected argument '--wrokers' found", "'--workers'"]);
    run(&["y.yaml"], &["unexpected argument 'y.yaml' found"]);
    check(&place, &["run"], 2, &["required arguments were not provided", "<SWEEP>"]);
    check(&place, &["simulate"], 2, &["unrecognized subcommand 'simulate'", "Usage: granule <COMMAND>"]);
    check(&place, &["--frobnicate"], 2, &["unexpected argument '--frobnicate' found"]);
    place.run(&[]).failed_with(2, &["Usage: granule <COMMAND>", "Run a sweep on this machine"]);
}

#[test]
fn help_and_version() {
    let place = Place::new();
    let says = |arguments: &[&str], parts: &[&str]| {
        let Ended { stdout, stderr, .. } = place.run(arguments).succeeded();
        assert_eq!(stderr, "");
        parts.iter().for_each(|part| assert!(stdout.contains(part), "no `{part}` in:\n{stdout}"));
    };
    let short = concat!("granule ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(place.run(&["-V"]).succeeded().stdout, short);
    // The long version also has the engines with their revisions, and the build.
    let Ended { stdout: long, .. } = place.run(&["--version"]).succeeded();
    let lines: Vec<&str> = long.lines().collect();
    let [version, engines, build] = lines[..] else { panic!("{long}") };
    assert_eq!(version, short.trim_end());
    assert_eq!(engines, "engines: pcg (revision 1), brian2-2.2.1 (revision 1)");
    assert!(build.starts_with(&format!("build: {}-", std::env::consts::ARCH)), "{build}");
    assert!(build.contains(", profile ") && build.contains(", commit "), "{build}");
    // The manual does not contain the long version.
    assert!(!place.run(&["man"]).succeeded().stdout.contains("engines: pcg"));
    for arguments in [&["--help"][..], &["-h"], &["help"]] {
        says(arguments, &["Usage: granule <COMMAND>", "run ", "Exit codes: 0 done; 1 failed; 2 wrong usage"]);
    }
    let options = ["<SWEEP>", "--out <DIR>", "--workers <N>", "--listen <ADDR>"];
    says(&["run", "-h"], &options);
    says(&["run", "--help"], &options);
    says(&["help", "run"], &options);
    says(&["run", "--help"], &["--shard-trials <N>", "--lease-seconds <S>", "--worker-program <FILE>"]);
}

#[test]
fn an_output_directory_that_cannot_be_used() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    place.write("file", "precious");
    for (out, why) in [
        ("file", "File exists"),
        ("file/below", "Not a directory"),
        ("/dev/null", "File exists"),
        ("/proc/x", "No such file or directory"),
    ] {
        let message = format!("error: cannot create output directory {out}\n  because: {why} (os error ");
        check(&place, &["run", "x.yaml", "--out", out], 1, &[&message, "help: choose another with --out"]);
    }
    place.write("out", "precious");
    check(&place, &["run", "x.yaml"], 1, &["cannot create output directory out/test\n"]);

    // A file in the place of an output is detected before anything is computed.
    let in_the_way = |name: &str, why: &str| {
        let place = Place::new();
        place.sweep("x.yaml", &Sweep::small());
        fs::create_dir_all(place.path("out").join(name)).expect("a directory");
        place.write(&format!("out/{name}/file"), "precious");
        check(&place, &["run", "x.yaml", "--out", "out"], 1, &[why, "help: move it away"]);
        fs::rename(place.path("out").join(name), place.path("elsewhere")).expect("it can be moved");
        place.run(&["run", "x.yaml", "--out", "out"]).succeeded();
        assert_eq!(place.outputs("out"), Sweep::small().undisturbed());
    };
    in_the_way("seed-451/gabaCondE.npy", "error: out/seed-451/gabaCondE.npy is a directory");
    in_the_way("manifest.json", "error: out/manifest.json is not a record of granule: it is a directory");
}

#[test]
fn a_file_where_an_output_directory_is_wanted() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    let parts = ["error: x.yaml is a file, not an output directory\n  help: name the output directory"];
    for arguments in [
        &["status", "x.yaml"][..],
        &["status", "x.yaml", "--follow"],
        &["verify", "x.yaml"],
        &["reproduce", "x.yaml", "--condition", "Control", "--seed", "451", "--trial", "0"],
        &["export", "x.yaml", "--to", "x.csv"],
        &["figures", "x.yaml"],
        &["report", "x.yaml"],
        &["plan", "x.yaml", "--out", "x.yaml"],
        &["explain", "x.yaml", "--out", "x.yaml"],
    ] {
        check(&place, arguments, 2, &parts);
    }
}

#[test]
fn a_file_where_a_seeds_directory_should_be() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    fs::create_dir(place.path("out")).expect("a directory");
    place.write("out/seed-451", "precious");
    check(
        &place,
        &["run", "x.yaml", "--out", "out"],
        1,
        &["error: out/seed-451 is a file, but granule writes outputs at this path"],
    );
}

/// The store of a finished run, and the run's outputs.
fn finished() -> (Vec<u8>, Hashes) {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    place.run(&["run", "x.yaml", "--out", "out"]).succeeded();
    (fs::read(place.path("out/store.granule")).expect("the store"), place.outputs("out"))
}

fn with_store(store: &[u8]) -> Place {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    fs::create_dir(place.path("out")).expect("a directory");
    place.write("out/store.granule", store);
    place
}

#[test]
fn a_store_that_is_none() {
    let refused = |store: &[u8], what: &str| {
        let parts = [
            "error: out/store.granule is not a readable store: ",
            what,
            "help: move it away and run the sweep again",
        ];
        check(&with_store(store), &["run", "x.yaml", "--out", "out"], 1, &parts);
    };
    let (real, _) = finished();
    refused(b"x", "it is text, perhaps a sweep file\n");
    refused(&vec![0xaa; 10_000], "it does not start like a store");
    refused(&vec![0; 10_000], "it does not start like a store");
    refused(b"SQLite format 3\0 and so on", "it is an SQLite database");
    refused(&real[..60], "it is truncated");
    for at in [17, 30, 60] {
        let mut store = real.clone();
        store[at] ^= 1;
        refused(&store, "its first block is damaged");
    }

    let mut newer = real.clone();
    newer[16..20].copy_from_slice(&2_u32.to_le_bytes());
    let hash = blake3::hash(&newer[..52]);
    newer[52..84].copy_from_slice(hash.as_bytes());
    let message = "error: the store out/store.granule has format 2, but this granule reads format 1: use the \
        version of granule that wrote it\n  help: move it away and run the sweep again";
    check(&with_store(&newer), &["run", "x.yaml", "--out", "out"], 1, &[message]);

    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    fs::create_dir_all(place.path("out/store.granule")).expect("a directory");
    let message = "error: cannot open the store out/store.granule: Is a directory (os error 21)\n  help: ";
    check(&place, &["run", "x.yaml", "--out", "out"], 1, &[message]);
    fs::remove_dir(place.path("out/store.granule")).expect("it is empty");
    symlink("/dev/full", place.path("out/store.granule")).expect("a link");
    check(&place, &["run", "x.yaml", "--out", "out"], 1, &["it is not a regular file"]);
}

#[test]
fn a_store_in_use() {
    let (real, outputs) = finished();
    let place = with_store(&real);
    let store = File::open(place.path("out/store.granule")).expect("the store");
    store.lock().expect("nobody else has it");
    let message = "error: the store out/store.granule is in use by another granule process: wait until it ends, \
                   or stop it";
    check(&place, &["run", "x.yaml", "--out", "out"], 1, &[message]);
    drop(store);
    place.run(&["run", "x.yaml", "--out", "out"]).succeeded();
    assert_eq!(place.outputs("out"), outputs);
}

#[test]
fn damage_to_a_store_costs_what_it_hit_and_no_more() {
    let (real, outputs) = finished();
    let recovers = |store: &[u8], what: &str| {
        let place = with_store(store);
        let ended = place.run(&["run", "x.yaml", "--out", "out", "--workers", "1"]).succeeded();
        assert!(!ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
        assert_eq!(place.outputs("out"), outputs, "{what}");
        place.trials("out").computed
    };
    assert_eq!(recovers(&real, "nothing"), 0);

    // A store that is cut off at any place after its beginning, as by a power failure.
    let mut missing = 0;
    for at in [0, 84, 4095, 4096, 4097, real.len() / 2, real.len() - 5000] {
        missing = missing.max(recovers(&real[..at], &format!("cut off at byte {at}")));
    }
    assert_eq!(missing, 9);

    // A flipped bit in each frame. In the head or directory it costs the frame, and in a value only that value. In the
    // last frame, it looks like an unfinished write.
    const HEAD: usize = 88;
    const ENTRY: usize = 73;
    let is_frame = |at: &usize| real[*at..].starts_with(b"\xf5granule");
    let frames: Vec<usize> = (4096..real.len()).step_by(4096).filter(is_frame).collect();
    let mut in_frames = 0;
    for &frame in &frames {
        let entries = u64::from_le_bytes(real[frame + 8..frame + 16].try_into().expect("8 bytes"));
        let directory = frame + HEAD;
        let values = directory + entries as usize * ENTRY;
        let is_trial = |entry: &[u8]| u64::from(entry[0] == 1);
        let trials: u64 = real[directory..values].chunks(ENTRY).map(is_trial).sum();
        in_frames += trials;
        let is_last = frames.last() == Some(&frame);
        let of_value = if is_last { trials } else { is_trial(&real[directory..values]) };
        for (at, cost) in [(frame + 2, trials), (directory + 30, trials), (values, of_value)] {
            let mut store = real.clone();
            store[at] ^= 0x10;
            let what = format!("a bit flipped at byte {at}");
            assert_eq!(recovers(&store, &what), cost, "{what}");
        }
    }
    assert_eq!(in_frames, 9);
}

#[test]
fn a_full_disk() {
    // For a program, a limit on file size is like a disk that is full for large files: without the signal, writing
    // fails. The shell decides whether a block has 512 or 1024 bytes.
    let outputs = Sweep::small().undisturbed();
    let run = ["run", "x.yaml", "--out", "out", "--workers", "2"];
    for (blocks, message, help) in [
        (0, "error: cannot make the store out/store.granule: ", "help: all stored trials are kept"),
        (8, "error: cannot write out/sweep.json", "help: all computed trials are stored"),
        (20, "error: cannot write to the store out/store.granule: ", "help: all stored trials are kept"),
        (200, "error: cannot write out/seed-451/", "help: all computed trials are stored"),
    ] {
        let place = Place::new();
        place.sweep("x.yaml", &Sweep::small());
        let words = format!("trap '' XFSZ; ulimit -f {blocks};");
        let ended = end(after(&words, &place, &run)).failed_with(1, &[message, "File too large", help]);
        assert!(ended.stderr.contains("; after you fix this: "), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        assert_eq!(place.outputs("out"), Hashes::new(), "{blocks} blocks");
        let is_rest = |path: &String| path.ends_with(".unfinished") || path.ends_with("/manifest.json");
        assert_eq!(files(&place.path("out")).into_keys().find(is_rest), None, "{blocks} blocks");

        place.run(&run).succeeded();
        assert_eq!(place.outputs("out"), outputs, "{blocks} blocks");
        let trials = place.trials("out");
        assert_eq!(trials.computed + trials.reused, 9);
        assert_eq!(trials.computed == 0, blocks == 200, "{blocks} blocks: {trials:?}");
    }

    // With the signal SIGXFSZ, whose default action ends a program.
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    end(after("ulimit -f 20;", &place, &run)).failed_with(1, &["File too large"]);
    place.run(&run).succeeded();
    assert_eq!(place.outputs("out"), outputs);
}

#[test]
fn an_address_in_use() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = ["run", "x.yaml", "--out", "out", "--listen", &address];
    let message = format!("error: cannot listen on {address}\n  because: Address already in use");
    check(&place, &run, 1, &[&message, "help: use port 0 for a free one"]);
    place.run(&run[..4]).succeeded();
    assert_eq!(place.outputs("out"), Sweep::small().undisturbed());
}

#[test]
fn workers_that_cannot_work() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    // Each run has its own directory, because a directory in use records when its run began.
    let run = |out: &str, program: &str, code: i32, parts: &[&str]| {
        let run = ["run", "x.yaml", "--out", out, "--workers", "2", "--worker-program", program];
        check(&place, &run, code, parts);
    };
    let help = "help: --worker-program must name an executable file that runs granule";
    let missing = "error: cannot start worker process /nowhere\n  because: No such file";
    run("a", "/nowhere", 1, &[missing, help]);
    let no_program = "error: cannot start worker process ./x.yaml\n  because: Permission denied";
    run("b", "./x.yaml", 1, &[no_program, help]);
    let fails = place.script("fails.sh", "echo no such library >&2; exit 5");
    let words = "died in a row, and no trial was stored in between; the last one exited with code 5; its \
                 last output: no such library\n  help: all computed trials are stored; to resume: ";
    run("c", fails.to_str().expect("text"), 3, &["error: ", words, "run x.yaml --out c --workers 2"]);
    run("d", "/bin/true", 3, &["the last one exited with code 0\n"]);

    check(&place, &["worker"], 2, &["error: missing --access FILE", "help: pass the access file"]);
    place.run(&["run", "x.yaml"]).succeeded();
    assert_eq!(place.outputs("out/test"), Sweep::small().undisturbed());
}

#[test]
fn what_is_said_where() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    let plain = |stderr: &str| stderr.chars().all(|c| c == '\n' || !c.is_control());
    let Ended { stdout, stderr, .. } = place.run(&["run", "x.yaml", "--workers", "2"]).succeeded();
    assert!(stdout.starts_with("Sweep test is complete: 9 trials computed, 0 reused, in "), "{stdout}");
    assert!(stdout.contains("\n  16 files, "), "{stdout}");
    assert!(stdout.contains("\n  parameters and hashes: out/test/manifest.json\n  to see it: "), "{stdout}");
    assert!(plain(&stdout) && plain(&stderr), "{stdout:?} {stderr:?}");
    for part in ["3 conditions × 1 seed × 3 trials", "2 workers", "writing 16 files to out/test"] {
        assert!(stderr.contains(part) && !stdout.contains(part), "{part}\n{stderr}\n{stdout}");
    }
    let Ended { stdout, stderr, .. } = place.run(&["run", "x.yaml"]).succeeded();
    assert!(stdout.starts_with("Sweep test is already complete: 16 files, "), "{stdout}");
    assert_eq!((stdout.lines().count(), stderr.as_str()), (1, ""));
}

#[test]
fn what_a_run_did_is_told_as_json() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    let run = |arguments: &[&str], code: i32| -> (Value, String) {
        let ended = place.run(&[&["run", "x.yaml", "--out", "out", "--json"], arguments].concat());
        let ended = ended.failed_with(code, &[]);
        assert_eq!(ended.stdout.lines().count(), 1, "{ended:#?}");
        (serde_json::from_str(&ended.stdout).expect("JSON"), ended.stderr)
    };
    let check = |told: &Value, state: &str, trials: Value, files: Value| {
        assert_eq!(
            (&told["schema"], &told["type"], &told["sweep"]),
            (&1.into(), &"run".into(), &"test".into())
        );
        assert_eq!((&told["state"], &told["trials"], &told["files"]), (&state.into(), &trials, &files));
        assert_eq!((&told["out"], &told["store"]), (&"out".into(), &"out/store.granule".into()));
        assert!(told["seconds"].as_f64() > Some(0.0) && told["cpu_seconds"].as_f64() > Some(0.0), "{told}");
        let has_manifest = place.path("out/manifest.json").exists();
        assert_eq!(told["manifest"].as_str(), has_manifest.then_some("out/manifest.json"));
    };
    // If a program kills every worker that gets a lease, the run ends before a manifest is written.
    let program = place.script("broken", "exit 7");
    let (told, stderr) = run(&["--workers", "1", "--worker-program", program.to_str().expect("text")], 3);
    assert!(stderr.contains("error: "), "{stderr}");
    let none = json!({ "written": 0, "reused": 0, "removed": 0 });
    check(
        &told,
        "incomplete",
        json!({ "total": 9, "computed": 0, "reused": 0, "set_aside": 0 }),
        none.clone(),
    );
    let (told, stderr) = run(&["--worker-program", "/nowhere/to-be-found"], 1);
    assert!(stderr.contains("error: "), "{stderr}");
    check(&told, "failed", json!({ "total": 9, "computed": 0, "reused": 0, "set_aside": 0 }), none);

    let (told, _) = run(&[], 0);
    let trials = json!({ "total": 9, "computed": 9, "reused": 0, "set_aside": 0 });
    check(&told, "complete", trials, json!({ "written": 16, "reused": 0, "removed": 0 }));
    let reused = json!({ "total": 9, "computed": 0, "reused": 9, "set_aside": 0 });
    let (told, stderr) = run(&[], 0);
    assert_eq!(stderr, "");
    check(&told, "complete", reused.clone(), json!({ "written": 0, "reused": 16, "removed": 0 }));
    fs::remove_file(place.path("out/seed-451/controlCondI.npy")).expect("it is there");
    let (told, _) = run(&[], 0);
    check(&told, "complete", reused, json!({ "written": 1, "reused": 15, "removed": 0 }));
    place.sweep("x.yaml", &Sweep { conditions: vec!["Control"], ..Sweep::small() });
    let (told, _) = run(&[], 0);
    let trials = json!({ "total": 3, "computed": 0, "reused": 3, "set_aside": 0 });
    check(&told, "complete", trials, json!({ "written": 0, "reused": 5, "removed": 11 }));
    // For a wrong sweep file, nothing is reported on standard output.
    place.write("x.yaml", "seeds: [x]");
    let ended = place.run(&["run", "x.yaml", "--json"]).failed_with(2, &["error: "]);
    assert_eq!(ended.stdout, "");
}

#[test]
fn streams_that_are_closed() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    let outputs = Sweep::small().undisturbed();
    for redirection in [">&-", "2>&-", "<&-", ">&- 2>&- <&-", ">/dev/full", "2>/dev/full"] {
        // If the requested output cannot be printed, the command fails.
        let printed = if redirection == ">/dev/full" { 1 } else { 0 };
        let ended = end(after(&format!("exec {redirection};"), &place, &["run", "x.yaml", "--out", "out"]));
        ended.failed_with(printed, &[]);
        assert_eq!(place.outputs("out"), outputs, "{redirection}");
        fs::remove_dir_all(place.path("out")).expect("it was made");
        for (arguments, code) in
            [(&["--help"][..], printed), (&["--version"], printed), (&["run", "y.yaml"], 2), (&[], 2)]
        {
            let ended = end(after(&format!("exec {redirection};"), &place, arguments));
            assert_eq!(ended.code, Some(code), "{redirection} {ended:#?}");
        }
    }
    // A reader that is closed.
    for arguments in [&["run", "x.yaml", "--out", "out"][..], &["--help"]] {
        let mut child = place
            .granule(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        drop(child.stderr.take());
        assert_eq!(child.wait().expect("a child").code(), Some(0));
    }
    assert_eq!(place.outputs("out"), outputs);
}

/// Runs a small sweep with these variables of the environment.
fn with_variables(place: &Place, variables: &[(&str, &str)]) -> Ended {
    place.sweep("x.yaml", &Sweep { trials: 1, ..Sweep::small() });
    let mut command = place.granule(&["run", "x.yaml", "--out", "out", "--workers", "1"]);
    command.envs(variables.iter().copied());
    end(command)
}

#[test]
fn variables_override_the_file() {
    let check = |variable: &str, value: &str, notice: &str, pointer: &str, expected: Value| {
        let place = Place::new();
        let ended = with_variables(&place, &[(variable, value)]).succeeded();
        let notice = format!("note: {variable}={value} {notice}\n");
        assert!(ended.stderr.starts_with(&notice), "no `{notice}` in:\n{}", ended.stderr);
        assert_eq!(ended.stderr.matches("note: ").count(), 1, "{}", ended.stderr);
        assert_eq!(place.manifest("out").pointer(pointer), Some(&expected), "{variable}");
        place
    };
    let parameter = |variable: &str, path: &str, value: &str| {
        for condition in 0..3 {
            let pointer = format!("/sweep/conditions/{condition}/parameters/{path}");
            check(variable, value, &format!("overrides {path}"), &pointer, value.into());
        }
    };
    parameter("CHAT_NUM_MF", "network.mossy_fibers", "50");
    parameter("CHAT_NUM_GRC", "network.granule_cells", "40");
    parameter("CHAT_NUM_GOC", "network.golgi_cells", "6");
    parameter("CHAT_SEED_WEIGHT_MEANS", "weights.seed", "36");
    check("CHAT_NUM_TRIAL", "2", "overrides trials", "/sweep/trials", 2.into());
    let place = check("CHAT_SEED_TRIAL", "452", "overrides seeds", "/sweep/seeds", vec![452].into());
    assert_eq!(place.outputs("out").keys().filter(|name| name.starts_with("seed-452/")).count(), 16);

    let random = "/sweep/conditions/2/parameters/weights.random";
    let name = "CHAT_RANDOM_WEIGHTS";
    let place = check(
        name,
        "False",
        "sets weights.random to true; the original program takes any non-empty value as true; \
                                      use an empty value to turn random weights off",
        random,
        "true".into(),
    );
    assert_eq!(place.outputs("out").len(), 16);
    let place = check(name, "", "sets weights.random to false", random, "false".into());
    let names: Vec<String> = place.outputs("out").into_keys().collect();
    let fixed = ["ach", "control", "gaba"].map(|prefix| format!("seed-451/{prefix}SpikeProb.npy"));
    assert_eq!(names, fixed);
}

#[test]
fn variables_that_cannot_be_used() {
    let range = "must be a whole number between";
    for (variable, value, parts) in [
        ("CHAT_NUM_TRIAL", "ten", format!("{range} 1 and 1000000, not `ten`")),
        ("CHAT_NUM_TRIAL", "0", format!("{range} 1 and 1000000, not `0`")),
        ("CHAT_NUM_TRIAL", "", "is empty; unset it, or set it to a whole number".to_owned()),
        ("CHAT_NUM_MF", "-3", format!("{range} 1 and 1000000, not `-3`")),
        ("CHAT_NUM_GRC", "2.5", format!("{range} 1 and 1000000, not `2.5`")),
        ("CHAT_NUM_GOC", "99999999999", format!("{range} 1 and 1000000, not `99999999999`")),
        ("CHAT_SEED_TRIAL", "4294967296", format!("{range} 0 and 4294967295, not `4294967296`")),
        ("CHAT_SEED_WEIGHT_MEANS", "\u{1b}[2J", format!("{range} 0 and 4294967295, not `\\u{{1b}}[2J`")),
    ] {
        let place = Place::new();
        let ended = with_variables(&place, &[(variable, value)]);
        let ended = ended.failed_with(2, &[&format!("error: {variable} {parts}")]);
        assert_eq!(ended.stdout, "");
        assert!(ended.stderr.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", ended.stderr);
        assert!(!place.path("out").exists());
    }
    // If a variable causes a conflict, the message names the variable.
    let place = Place::new();
    place.write("x.yaml", "conditions: [{ name: c, set: { time.step: 1 us, time.duration: 1000 s } }]");
    let mut command = place.granule(&["run", "x.yaml"]);
    command.env("CHAT_NUM_GRC", "1000000");
    end(command)
        .failed_with(2, &["more than one trial can have", "variables override parameters: CHAT_NUM_GRC"]);
}

#[test]
fn the_manifest_says_what_was_run() {
    let place = Place::new();
    let half =
        "{ name: half-tonic, base: ACh, set: { granule.tonic_factor: 0.5, golgi.leak_reversal: -53 mV } }";
    let sweep = Sweep { seeds: vec![7, 451], conditions: vec!["Control", half], ..Sweep::small() };
    place.sweep("x.yaml", &sweep);
    let started = jiff::Timestamp::now();
    let clock = Instant::now();
    place.run(&["run", "x.yaml", "--out", "out", "--workers", "2"]).succeeded();
    let (elapsed, ended) = (clock.elapsed().as_secs_f64(), jiff::Timestamp::now());
    let manifest = place.manifest("out");

    let top: Vec<&String> = manifest.as_object().expect("an object").keys().collect();
    assert_eq!(top, ["files", "granule", "manifest", "run", "sweep"]);
    assert_eq!(manifest["manifest"], 1);
    assert_eq!(manifest["granule"], env!("CARGO_PKG_VERSION"));

    let resolved = &manifest["sweep"];
    assert_eq!((&resolved["name"], &resolved["engine"]), (&"test".into(), &"brian2-2.2.1".into()));
    assert!(resolved["engine_revision"].as_u64() >= Some(1));
    assert_eq!((&resolved["seeds"], &resolved["trials"]), (&vec![7, 451].into(), &3.into()));
    let conditions = resolved["conditions"].as_array().expect("a list");
    assert_eq!(conditions.len(), 2);
    for (condition, name, prefix, expected) in [
        (&conditions[0], "Control", "control", ["1", "-51 mV", "1"]),
        (&conditions[1], "half-tonic", "half-tonic", ["0.5", "-53 mV", "0.4521"]),
    ] {
        assert_eq!((&condition["name"], &condition["prefix"]), (&name.into(), &prefix.into()));
        assert_eq!(condition["fingerprint"].as_str().map(str::len), Some(64));
        let parameters = condition["parameters"].as_object().expect("an object");
        // A parameter that was added later is recorded if a condition sets it.
        let recorded = || space().parameters().iter().filter(|parameter| parameter.before.is_none());
        assert_eq!(parameters.len(), recorded().count());
        for parameter in recorded() {
            let path = parameter.path;
            let text = parameters[path].as_str().unwrap_or_else(|| panic!("no {path}"));
            assert!(text.ends_with(parameter.unit()), "{path}: {text}");
        }
        let paths = ["granule.tonic_factor", "golgi.leak_reversal", "mossy_to_granule.scale"];
        assert_eq!(paths.map(|path| parameters[path].as_str().expect("text")), expected);
        assert_eq!(parameters["network.granule_cells"], "48");
        assert_eq!(parameters["stimulus.times"], "[1010, 1020, 1030] ms");
    }
    assert_ne!(conditions[0]["fingerprint"], conditions[1]["fingerprint"]);

    let run = &manifest["run"];
    let host = nix::unistd::gethostname().expect("a name").to_string_lossy().into_owned();
    assert_eq!(run["host"], host);
    assert_eq!(run["operating_system"], std::env::consts::OS);
    assert_eq!(run["architecture"], std::env::consts::ARCH);
    assert_eq!(run["workers"], 2);
    let begun: jiff::Timestamp = run["started"].as_str().expect("text").parse().expect("a time");
    // The manifest's time is cut to whole seconds.
    assert!(begun.as_second() >= started.as_second() && begun <= ended, "{begun}");
    let seconds = |name: &str| run[name].as_f64().unwrap_or_else(|| panic!("no {name}"));
    assert!(seconds("wall_seconds") > 0.0 && seconds("wall_seconds") <= elapsed, "{run}");
    // Two workers and the coordinator's threads.
    let cores = std::thread::available_parallelism().map_or(1, usize::from).max(8) as f64;
    assert!(seconds("cpu_seconds") > 0.0 && seconds("cpu_seconds") <= elapsed * cores, "{run}");
    assert_eq!(place.trials("out"), Trials { computed: 12, reused: 0 });
    assert_eq!(run["files_reused"], 0);

    check_files(&place, &manifest, 2 * (5 + 5));
    // More trials, and a missing file.
    fs::remove_file(place.path("out/seed-7/controlCondI.npy")).expect("it is there");
    place.run(&["run", "x.yaml", "--out", "out"]).succeeded();
    assert_eq!(place.trials("out"), Trials { computed: 0, reused: 12 });
    assert_eq!(place.manifest("out")["run"]["files_reused"], 19);
    check_files(&place, &place.manifest("out"), 20);
    place.sweep("x.yaml", &Sweep { trials: 5, ..sweep });
    place.run(&["run", "x.yaml", "--out", "out"]).succeeded();
    assert_eq!(place.trials("out"), Trials { computed: 8, reused: 12 });
    check_files(&place, &place.manifest("out"), 20);
}

/// Expects that the manifest lists exactly the existing files with their content.
#[track_caller]
fn check_files(place: &Place, manifest: &Value, count: usize) {
    let mut listed = Hashes::new();
    for file in manifest["files"].as_array().expect("a list") {
        let text = |name: &str| file[name].as_str().unwrap_or_else(|| panic!("no {name}: {file}")).to_owned();
        assert_eq!(file["bytes"], place.length(&format!("out/{}", text("path"))), "{file}");
        assert_eq!(text("identity").len(), 64);
        assert!(listed.insert(text("path"), text("sha256")).is_none(), "twice: {file}");
    }
    assert_eq!(listed.len(), count);
    assert_eq!(place.outputs("out"), listed);
}

/// Runs advised commands in a shell with a stub `granule` that records its arguments. Returns the arguments.
#[track_caller]
fn advised(place: &Place, advice: &str, subcommand: &str) -> Vec<OsString> {
    let path = format!("{}:/usr/bin:/bin", place.path("stubs").display());
    let mut shell = place.command("/bin/sh");
    let ended = end_of_shell(shell.arg("-c").arg(advice).env("PATH", path));
    assert_eq!(ended.code, Some(0), "{advice}: {ended:#?}");
    let record = place.path(&format!("stubs/{subcommand}.told"));
    let told = fs::read(&record).unwrap_or_else(|error| panic!("{advice}: {error}"));
    fs::remove_file(record).expect("it is there");
    assert!(!place.path("X").exists(), "a name was run: {advice}");
    let words = told.strip_suffix(b"\0").unwrap_or_default().split(|byte| *byte == 0);
    words.map(|word| OsStr::from_bytes(word).to_owned()).collect()
}

fn end_of_shell(shell: &mut Command) -> Ended {
    Ended::from(shell.output().expect("a shell"))
}

#[test]
fn advice_is_a_command_that_a_shell_reads_as_it_was_meant() {
    let names: [&[u8]; 12] = [
        b"a$(touch X)",
        b"`touch X`",
        b"it's; touch X",
        b"-x",
        b" two  spaces *",
        b"=ls",
        b"~",
        b"a\ntouch X\n",
        b"\n",
        b"back\\slash\\",
        b"\xff$(touch X)\xfe",
        b"\x1b[31m\xc2\x85",
    ];
    for name in names.map(OsStr::from_bytes) {
        let place = Place::new();
        place.sweep("sweep.yaml", &Sweep::slow());
        fs::create_dir(place.path("stubs")).expect("a directory");
        place.script("stubs/granule", "printf '%s\\0' \"$@\" >\"${0%/*}/$1.told\"");
        // A name that begins with `-` is written so that no program takes it for an option.
        let mut argument = OsString::from(if name.as_bytes().starts_with(b"-") { "./" } else { "" });
        argument.push(name);
        let below = |file: &str| {
            let mut path = argument.clone();
            path.push("/");
            path.push(file);
            path
        };
        let os = |word: &str| OsString::from(word);

        let mut command = place.granule(&["init", "--"]);
        command.arg(name);
        let said = end(command).succeeded().stdout;
        let (_, advice) = said.rsplit_once("then run it:\n").expect("advice");
        assert_eq!(advised(&place, advice, "run"), [os("run"), argument.clone()]);
        fs::remove_file(place.path("").join(name)).expect("a file");

        let mut command = place.granule(&["identity", "--advertise", "node1:7000", "--"]);
        command.arg(name);
        let said = end(command).succeeded().stdout;
        let (_, advice) = said.rsplit_once("for the coordinator and its workers.\n").expect("advice");
        let serve = ["serve", "SWEEP", "--listen", "ADDR", "--identity"].map(OsString::from);
        assert_eq!(advised(&place, advice, "serve"), [&serve[..], &[argument.clone()]].concat());
        let worker = [os("worker"), os("--access"), below("access.json")];
        assert_eq!(advised(&place, advice, "worker"), worker);

        // If others can read the access file, the command in the error fixes its mode.
        let access = place.path("").join(name).join("access.json");
        fs::set_permissions(&access, fs::Permissions::from_mode(0o644)).expect("a mode");
        let mut command = place.granule(&["worker"]);
        command.arg("--access").arg(below("access.json"));
        let ended = end(command);
        let (_, advice) = ended.stderr.split_once("; run `").unwrap_or_else(|| panic!("{ended:#?}"));
        let (advice, _) = advice.split_once("`, and make a new one").expect("advice");
        assert_eq!(end_of_shell(place.command("/bin/sh").arg("-c").arg(advice)).code, Some(0), "{advice}");
        assert_eq!(fs::metadata(&access).expect("a file").permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(place.path("").join(name)).expect("a directory");

        let mut option = os("--out=");
        option.push(name);
        let mut command = place.granule(&["serve", "sweep.yaml", "--listen", "127.0.0.1:0"]);
        command.arg(&option).arg0("granule");
        let mut serving = place.start_this(command);
        let advice = serving.until("it takes workers", |serving| {
            let said = serving.stderr();
            let advice = said.split_once("to add workers: ")?.1.split_once("/access.json")?;
            let ends = advice.1.split_once('\n')?.0;
            Some(format!("{}/access.json{ends}", advice.0))
        });
        assert_eq!(advised(&place, &advice, "worker"), worker);
        serving.signal(Signal::SIGINT);
        let ended = serving.end();
        let (_, advice) = ended.stderr.split_once("to resume: ").unwrap_or_else(|| panic!("{ended:#?}"));
        let words = ["serve", "sweep.yaml", "--listen", "127.0.0.1:0"].map(OsString::from);
        assert_eq!(advised(&place, advice, "serve"), [&words[..], &[option]].concat());
    }
}
