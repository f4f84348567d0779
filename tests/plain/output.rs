//! Output of commands: it arrives, or the command reports that it does not. Blocked output delays nothing else.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};

use crate::support::{Ended, Place, Sweep, wait_for};

/// Whether a command prints to standard output.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Prints {
    Something,
    Nothing,
}

/// Every command, and whether it prints once the sweep in `out` is complete.
const COMMANDS: &[(&str, &[&str], Prints)] = &[
    ("run", &["sweep.yaml", "--out", "out"], Prints::Something),
    ("run", &["sweep.yaml", "--out", "out", "--json"], Prints::Something),
    ("run", &["sweep.yaml", "--out", "new"], Prints::Something),
    ("serve", &["sweep.yaml", "--out", "out", "--listen", "127.0.0.1:0"], Prints::Something),
    ("serve", &["sweep.yaml", "--out", "out", "--listen", "127.0.0.1:0", "--json"], Prints::Something),
    ("worker", &["--access", "nowhere"], Prints::Nothing),
    ("ssh", &["nowhere", "sweep.yaml", "--out", "out"], Prints::Something),
    ("slurm", &["sweep.yaml", "--out", "out"], Prints::Something),
    ("slurm", &["sweep.yaml", "--out", "out", "--dry-run"], Prints::Something),
    ("slurm", &["sweep.yaml", "--out", "out", "--dry-run", "--attach"], Prints::Something),
    (
        "batch",
        &["sweep.yaml", "--out", "out", "--system", "local", "--jobs", "1", "--listen", "127.0.0.1:0"],
        Prints::Something,
    ),
    ("identity", &["identity", "--advertise", "localhost:7000"], Prints::Something),
    ("status", &["out"], Prints::Something),
    ("status", &["out", "--json"], Prints::Something),
    ("init", &["another.yaml"], Prints::Something),
    ("schema", &[], Prints::Something),
    ("try", &["model.yaml"], Prints::Something),
    ("plan", &["sweep.yaml", "--out", "out"], Prints::Something),
    ("plan", &["sweep.yaml", "--out", "out", "--json"], Prints::Something),
    ("explain", &["sweep.yaml", "--out", "out"], Prints::Something),
    ("explain", &["sweep.yaml", "--out", "out", "--json"], Prints::Something),
    ("verify", &["out"], Prints::Something),
    ("verify", &["out", "--json"], Prints::Something),
    ("identify", &["out", "--of", "out"], Prints::Something),
    ("identify", &["out", "--of", "out", "--json"], Prints::Something),
    ("reproduce", &["out", "--condition", "ACh", "--seed", "451", "--trial", "0"], Prints::Something),
    (
        "reproduce",
        &["out", "--condition", "ACh", "--seed", "451", "--trial", "0", "--json"],
        Prints::Something,
    ),
    ("export", &["out", "--to", "spikes.csv"], Prints::Something),
    ("export", &["out", "--to", "spikes.csv", "--json"], Prints::Something),
    ("export", &["out", "--to", "-"], Prints::Something),
    ("export", &["out", "--psth", "-", "--json"], Prints::Something),
    ("export", &["out", "--crate", "sweep.zip"], Prints::Something),
    ("export", &["out", "--crate", "sweep.zip", "--json"], Prints::Something),
    ("figures", &["out", "--format", "svg"], Prints::Something),
    ("figures", &["out", "--format", "svg", "--json"], Prints::Something),
    ("report", &["out"], Prints::Something),
    ("report", &["out", "--json"], Prints::Something),
    ("store merge", &["merged.granule", "out/store.granule"], Prints::Something),
    ("store merge", &["merged.granule", "out/store.granule", "--json"], Prints::Something),
    ("store verify", &["out/store.granule"], Prints::Something),
    ("store verify", &["out/store.granule", "--json"], Prints::Something),
    ("store prune", &["merged.granule", "--keep", "sweep.yaml"], Prints::Something),
    ("store prune", &["merged.granule", "--keep", "sweep.yaml", "--json"], Prints::Something),
    ("completions", &["bash"], Prints::Something),
    ("man", &[], Prints::Something),
    ("man", &["pages"], Prints::Nothing),
    ("help", &[], Prints::Something),
    ("help", &["store", "merge"], Prints::Something),
    ("--help", &[], Prints::Something),
    ("-h", &[], Prints::Something),
    ("--version", &[], Prints::Something),
    ("-V", &[], Prints::Something),
];

/// The commands that `granule help` lists, and those below them.
fn commands(place: &Place, above: &str) -> BTreeSet<String> {
    let words: Vec<&str> = ["help"].into_iter().chain(above.split_whitespace()).collect();
    let help = place.run(&words).succeeded().stdout;
    let Some((_, listed)) = help.split_once("\nCommands:\n") else {
        return BTreeSet::from([above.to_owned()]);
    };
    let names = listed.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then(|| format!("{above} {name}").trim().to_owned())
    });
    names.flat_map(|name| commands(place, &name)).collect()
}

/// A complete sweep in `out`.
fn complete() -> Place {
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::small());
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    let model = "granule-model: 1\nname: x\nprogram: [sh, x.sh]\nfiles: [x.sh]\nreturns: { x: {} }\n";
    let program = r#"read -r greeting <&3; echo '{"granule":1}' >&4; id=1
        while read -r request <&3; do echo '{"id":'$id',"values":{"x":2}}' >&4; id=$((id + 1)); done
"#;
    std::fs::write(place.path("model.yaml"), model).expect("written");
    std::fs::write(place.path("x.sh"), program).expect("written");
    place
}

/// Runs a command with this as its standard output.
fn run(place: &Place, name: &str, arguments: &[&str], stdout: impl Into<Stdio>) -> Ended {
    let words: Vec<&str> = name.split(' ').chain(arguments.iter().copied()).collect();
    let mut command = place.granule(&words);
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    // Files that the command makes would stop the next command.
    for made in ["another.yaml", "identity/coordinator.pem", "identity/access.json"] {
        let _ = std::fs::remove_file(place.path(made));
    }
    let child = command.spawn().expect("the program starts");
    // Open ends of a pipe in this process would count as further readers or writers.
    drop(command);
    Ended::from(child.wait_with_output().expect("it ends"))
}

#[test]
fn the_table_has_every_command() {
    let known: BTreeSet<String> = COMMANDS
        .iter()
        .map(|(name, ..)| (*name).to_owned())
        .filter(|name| !name.starts_with('-') && name != "help")
        .collect();
    assert_eq!(known, commands(&Place::new(), ""), "each command belongs into COMMANDS");
}

#[test]
fn what_cannot_be_printed_is_a_failure() {
    let place = complete();
    for (name, arguments, prints) in COMMANDS {
        let full = File::options().write(true).open("/dev/full").expect("a device that is full");
        let ended = run(&place, name, arguments, full);
        let what = format!("{name} {arguments:?}: {ended:#?}");
        match prints {
            Prints::Something => {
                assert_eq!(ended.code, Some(1), "{what}");
                assert!(ended.stderr.contains("error: "), "{what}");
                assert!(ended.stderr.contains("No space left on device"), "{what}");
            }
            Prints::Nothing => assert!(!ended.stderr.contains("No space left on device"), "{what}"),
        }
        assert!(!ended.stderr.contains("panicked"), "{what}");
    }
    // All commands did their work.
    place.run(&["verify", "new"]).succeeded();
    place.run(&["store", "verify", "merged.granule"]).succeeded();
}

#[test]
fn what_nobody_reads_is_no_failure() {
    let place = complete();
    for (name, arguments, _) in COMMANDS.iter().filter(|(.., prints)| *prints == Prints::Something) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = run(&place, name, arguments, writer);
        let what = format!("{name} {arguments:?}: {ended:#?}");
        assert_eq!(ended.code, Some(0), "{what}");
        assert!(!ended.stderr.contains("error") && !ended.stderr.contains("panicked"), "{what}");
    }
}

/// A problem that was found decides the exit code, even if it cannot be printed.
#[test]
fn what_was_found_is_the_exit_code_wherever_it_is_printed() {
    let place = complete();
    place.write("out/seed-451/foreign.npy", "x");
    let full = || File::options().write(true).open("/dev/full").expect("a device that is full");
    let ended = run(&place, "verify", &["out"], full());
    ended.failed_with(3, &["error: cannot write to standard output", "error: 1 problem with out"]);
}

/// A pipe that is full.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let size = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a size");
    writer.write_all(&vec![b'\n'; usize::try_from(size).expect("a size")]).expect("there is room");
    (reader, writer)
}

#[test]
fn a_log_that_nobody_reads_does_not_hold_up_a_coordinator() {
    let sweep = Sweep::slow();
    let undisturbed = sweep.undisturbed();
    for format in ["text", "json"] {
        let place = Place::new();
        place.sweep("sweep.yaml", &sweep);
        let (mut reader, writer) = full_pipe();
        let mut serve = place.granule(&["serve", "sweep.yaml", "--out", "out", "--listen", "127.0.0.1:0"]);
        serve.args(["--log-format", format]).stdin(Stdio::null());
        serve.stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let mut coordinator = serve.spawn().expect("the program starts");
        drop(serve);
        // The worker's log is a full pipe, too.
        wait_for("there is an access file", || place.path("out/access.json").exists().then_some(()));
        let (_unread, log) = full_pipe();
        let mut worker = place.granule(&["worker", "--access", "out/access.json", "--threads", "2"]);
        worker.args(["--log-format", format]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut worker = worker.spawn().expect("the program starts");
        for (what, process) in [("the worker", &mut worker), ("the coordinator", &mut coordinator)] {
            let status = wait_for(what, || process.try_wait().expect("a child"));
            assert_eq!(status.code(), Some(0), "{what}, {format}");
        }
        assert_eq!(place.outputs("out"), undisturbed, "{format}");
        assert!(!place.path("out/access.json").exists(), "{format}");
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("text");
        assert!(rest.bytes().all(|byte| byte == b'\n'), "the pipe took more: {rest}");
    }
}

#[test]
fn a_reader_that_stopped_does_not_keep_a_run() {
    let place = complete();
    let run = |arguments: &[&str]| {
        let (reader, writer) = full_pipe();
        let mut command: Command =
            place.granule(&[&["run", "sweep.yaml", "--out", "out"], arguments].concat());
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let child = command.spawn().expect("the program starts");
        drop(command);
        let ended = Ended::from(child.wait_with_output().expect("it ends"));
        drop(reader);
        ended
    };
    // The files are the requested result.
    let ended = run(&[]).succeeded();
    assert!(ended.stderr.contains("note: the summary was not printed: "), "{ended:#?}");
    // The requested output is missing.
    run(&["--json"]).failed_with(1, &["error: cannot write to standard output", "nothing was read from it"]);
    place.run(&["verify", "out"]).succeeded();
}
