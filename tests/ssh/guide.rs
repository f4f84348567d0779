//! Runs the commands of the guides to one machine and to several. Every host of a guide has a network namespace with
//! its own address, a directory, and an sshd.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::hosts::{Host, hosts_or_skip};
use crate::support::ssh::{Logins, is_possible};
use crate::support::{Place, Running, expected, root, send, skip};

/// A line of a guide.
struct Line {
    host: String,
    command: String,
    /// Whether Ctrl-C interrupts the command.
    is_interrupted: bool,
}

/// Blocks of `host$ command` lines of a page. `^C` belongs to the line above.
fn blocks(page: &str) -> Vec<Vec<Line>> {
    let page = fs::read_to_string(root().join(page)).expect("the page");
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let lines = |block: &str| {
        let mut lines: Vec<Line> = Vec::new();
        for line in block.lines() {
            if line == "^C" {
                lines.last_mut().expect("a line to interrupt").is_interrupted = true;
                continue;
            }
            let (host, command) = line.split_once("$ ").unwrap_or_else(|| panic!("no prompt: {line}"));
            lines.push(Line { host: host.into(), command: command.into(), is_interrupted: false });
        }
        lines
    };
    blocks.map(lines).collect()
}

/// Runs a line in a shell on a host; `granule` is this program.
fn shell(host: &Host, directory: &Path, logins: Option<&Logins>, line: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let programs = Path::new(env!("CARGO_BIN_EXE_granule")).parent().expect("a directory");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    command.args(["-c", &format!("exec {line}")]).current_dir(directory).env("PATH", path);
    if let Some(logins) = logins {
        logins.at_home(&mut command);
    }
    host.runs(&command)
}

/// Runs the commands of a page. Its hosts have the order of their namespaces. All but the first accept logins.
fn play(page: &str, names: &[&str]) {
    if let Err(why) = is_possible() {
        return skip(&why);
    }
    let Some(hosts) = hosts_or_skip(names.len() as u8) else { return };
    let blocks = blocks(page);
    assert!(blocks.len() >= 2, "{page}");
    for block in blocks {
        let place = Place::new();
        for host in names {
            fs::create_dir(place.path(host)).expect("a directory");
            std::os::unix::fs::symlink(root().join("sweeps"), place.path(host).join("sweeps"))
                .expect("a link");
        }
        let machines: Vec<(&str, &Host)> = (1..names.len()).map(|at| (names[at], hosts.host(at))).collect();
        let logins = (!machines.is_empty()).then(|| Logins::start(&place, &machines));
        let mut background: BTreeMap<usize, Vec<Running>> = BTreeMap::new();
        // A reader types more slowly than the sweep is computed, so workers in the background begin together.
        let mut held: Vec<u32> = Vec::new();
        let go_on = |held: &mut Vec<u32>| held.drain(..).for_each(|id| send(id, Signal::SIGCONT));
        for Line { host, command: line, is_interrupted } in block {
            let at = names.iter().position(|name| *name == host).unwrap_or_else(|| panic!("who is {host}?"));
            let directory = place.path(&host);
            let start =
                |line: &str| place.start_this(shell(hosts.host(at), &directory, logins.as_ref(), line));
            if !line.ends_with(" &") && !line.starts_with("scp ") {
                go_on(&mut held);
            }
            if line == "wait" {
                for running in background.remove(&at).unwrap_or_default() {
                    running.end().succeeded();
                }
            } else if let Some(arguments) = line.strip_prefix("scp coordinator:") {
                let (from, to) = arguments.split_once(' ').expect("two places");
                let from = place.path("coordinator").join(from);
                let to = directory.join(to).join(from.file_name().expect("a file"));
                fs::copy(&from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
            } else if let Some(line) = line.strip_suffix(" &") {
                let mut running = start(line);
                if line.contains(" serve ") {
                    running.until("workers can come", |running| {
                        running.stderr().contains("to add workers: ").then_some(())
                    });
                } else if line.contains(" worker ") {
                    running.signal(Signal::SIGSTOP);
                    held.push(running.id());
                }
                background.entry(at).or_default().push(running);
            } else if is_interrupted {
                let store = format!("{host}/out/ci-10trials/store.granule");
                let mut running = start(&line);
                // The store's head and the shipped noise counts are smaller.
                running.until("a trial is stored", |_| (place.length(&store) > 10_000).then_some(()));
                running.signal(Signal::SIGINT);
                running.end().failed_with(130, &["interrupted: ", " of 30 trials are stored\n  to resume: "]);
            } else {
                let ended = start(&line).end().succeeded();
                assert!(!ended.stderr.contains("panicked"), "{line}: {}", ended.stderr);
            }
        }
        go_on(&mut held);
        // Workers end with their coordinator.
        background.into_values().flatten().for_each(|running| drop(running.end().succeeded()));
        let outs = place.path(names[0]).join("out");
        for out in fs::read_dir(&outs).expect("outputs") {
            let out = out.expect("a directory entry").path();
            assert!(out.join("manifest.json").exists(), "{}", out.display());
            if out.ends_with("ci-10trials") {
                let outputs = place.hashes(&format!("{}/out/ci-10trials/seed-451", names[0]));
                assert_eq!(outputs, expected(include_str!("../expected/ci-10trials.sha256")));
            }
            for secret in ["access.json", "coordinator.pem"] {
                assert!(!out.join(secret).exists(), "{secret} is left");
            }
        }
    }
}

#[test]
fn every_command_of_the_guide_to_one_machine_does_what_it_says() {
    play("docs/machine.md", &["laptop"]);
}

#[test]
fn every_command_of_the_guide_to_several_machines_does_what_it_says() {
    play("docs/machines.md", &["coordinator", "node1", "node2"]);
}
