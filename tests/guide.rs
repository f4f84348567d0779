//! The guide to several machines, played line by line: every host of it has a network namespace with
//! an address of its own, and a directory.
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::hosts::{Host, hosts_or_skip};
use support::{Place, Running, expected, root};

const PAGE: &str = "docs/machines.md";

/// The hosts of the page, in the order of their namespaces.
const HOSTS: [&str; 3] = ["coordinator", "node1", "node2"];

/// Blocks of `host$ command` lines.
fn blocks() -> Vec<Vec<(String, String)>> {
    let page = fs::read_to_string(root().join(PAGE)).expect("the page");
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let line = |line: &str| {
        let (host, command) = line.split_once("$ ").unwrap_or_else(|| panic!("no prompt: {line}"));
        (host.to_owned(), command.to_owned())
    };
    blocks.map(|block| block.lines().map(line).collect()).collect()
}

/// A line of the shell on a host; `granule` is this program.
fn shell(host: &Host, directory: &Path, line: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let programs = Path::new(env!("CARGO_BIN_EXE_granule")).parent().expect("a directory");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    command.args(["-c", &format!("exec {line}")]).current_dir(directory).env("PATH", path);
    host.runs(&command)
}

#[test]
fn every_command_of_the_guide_does_what_it_says() {
    let Some(hosts) = hosts_or_skip(HOSTS.len() as u8) else { return };
    let blocks = blocks();
    assert!(blocks.len() >= 2, "{blocks:?}");
    for block in blocks {
        let place = Place::new();
        for host in HOSTS {
            fs::create_dir(place.path(host)).expect("a directory");
            std::os::unix::fs::symlink(root().join("sweeps"), place.path(host).join("sweeps"))
                .expect("a link");
        }
        let mut background: BTreeMap<usize, Vec<Running>> = BTreeMap::new();
        for (name, line) in block {
            let at = HOSTS.iter().position(|host| *host == name).unwrap_or_else(|| panic!("who is {name}?"));
            let directory = place.path(&name);
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
                let mut running = place.start_this(shell(hosts.host(at), &directory, line));
                if line.contains(" serve ") {
                    running.until("workers can come", |running| {
                        running.stderr().contains("to add workers: ").then_some(())
                    });
                }
                background.entry(at).or_default().push(running);
            } else {
                let ended = place.start_this(shell(hosts.host(at), &directory, &line)).end().succeeded();
                assert!(!ended.stderr.contains("panicked"), "{line}: {}", ended.stderr);
            }
        }
        // Workers end with their coordinator.
        background.into_values().flatten().for_each(|running| drop(running.end().succeeded()));
        for out in fs::read_dir(place.path("coordinator/out")).expect("outputs") {
            let out = out.expect("a directory entry").path();
            assert!(out.join("manifest.json").exists(), "{}", out.display());
            if out.ends_with("ci-10trials") {
                let outputs = place.hashes("coordinator/out/ci-10trials/seed-451");
                assert_eq!(outputs, expected(include_str!("expected/ci-10trials.sha256")));
            }
            for secret in ["access.json", "coordinator.pem"] {
                assert!(!out.join(secret).exists(), "{secret} is left");
            }
        }
    }
}
