//! `granule ssh` with a real sshd on every machine: accounts, failures, mistakes, and cleanup.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::Signal;

use crate::support::hosts::{Hosts, hosts_or_skip};
use crate::support::ssh::{ACCOUNTS, Logins, are_left_alone, is_possible, processes, workers};
use crate::support::{Hashes, Place, Running, Sweep, Trials, expected, happened, root, send, skip};

/// The coordinator's machine and two others. The last prints a welcome at login.
const NAMES: [&str; 3] = ["login", "node1", "node2"];

/// Machines, and a directory on the first of them.
struct Lab {
    place: Place,
    hosts: Hosts,
    logins: Logins,
}

impl Lab {
    fn new() -> Option<Lab> {
        if let Err(why) = is_possible() {
            skip(&why);
            return None;
        }
        let hosts = hosts_or_skip(NAMES.len() as u8)?;
        let place = Place::new();
        place.sweep("sweep.yaml", &Sweep::slow());
        let machines: Vec<_> = (1..NAMES.len()).map(|at| (NAMES[at], hosts.host(at))).collect();
        let logins = Logins::start(&place, &machines);
        Some(Lab { place, hosts, logins })
    }

    /// Runs the program on the coordinator's machine.
    fn granule(&self, arguments: &[&str]) -> Running {
        let mut command: Command = self.place.granule(arguments);
        self.logins.at_home(&mut command);
        self.place.start_this(self.hosts.host(0).runs(&command))
    }

    fn ssh(&self, hosts: &str, arguments: &[&str]) -> Running {
        let always = ["ssh", hosts, "sweep.yaml", "--out", "out", "--shard-trials", "2"];
        self.granule(&[&always, arguments].concat())
    }

    /// Waits until the store has grown by this number of bytes.
    fn wait_for_trials(&self, running: &mut Running, more: u64) {
        let before = self.place.length("out/store.granule");
        running.until("trials are stored", |_| {
            (self.place.length("out/store.granule") > before + more).then_some(())
        });
    }

    /// The only worker of a machine.
    fn worker(&self, running: &mut Running, at: usize) -> u32 {
        running.until("there is a worker", |_| workers(self.hosts.host(at)).first().copied())
    }

    #[track_caller]
    fn is_left_alone(&self) {
        are_left_alone(&self.hosts, &[1, 2]);
        self.place.is_left_alone();
    }
}

/// Outputs of the slow sweep.
fn undisturbed() -> &'static Hashes {
    static HASHES: OnceLock<Hashes> = OnceLock::new();
    HASHES.get_or_init(|| Sweep::slow().undisturbed())
}

/// Trials of the slow sweep.
const TRIALS: u64 = 180;

/// The size of some of its trials in the store, in bytes.
const SOME: u64 = 10_000;

#[test]
fn several_accounts_compute_the_published_bytes_and_learn_nothing_by_their_arguments() {
    let Some(lab) = Lab::new() else { return };
    let sweep = root().join("sweeps/ci-10trials.yaml");
    let arguments = ["ssh", "1/node1,2/bob@node2", sweep.to_str().expect("text"), "--out", "out"];
    let mut running = lab.granule(&[&arguments[..], &["--shard-trials", "1"]].concat());
    // Both workers are suspended and inspected before anything is computed.
    let mut held = Vec::new();
    for (at, threads) in [(1, "1"), (2, "2")] {
        let words = running.until("there is a worker", |_| {
            let all = processes(lab.hosts.host(at));
            all.into_iter().find(|(_, words)| words.get(1).is_some_and(|word| word == "worker"))
        });
        send(words.0, Signal::SIGSTOP);
        assert_eq!(words.1, ["granule", "worker", "--piped", "--threads", threads]);
        let environment = fs::read(format!("/proc/{}/environ", words.0)).expect("it is there");
        assert!(!environment.is_empty());
        assert!(!String::from_utf8_lossy(&environment).to_lowercase().contains("secret"));
        let status = fs::read_to_string(format!("/proc/{}/status", words.0)).expect("it is there");
        assert!(status.contains(&format!("Uid:\t{}\t", ACCOUNTS[at - 1].1)), "{status}");
        held.push(words.0);
    }
    held.into_iter().for_each(|id| send(id, Signal::SIGCONT));
    let ended = running.end().succeeded();
    let said: Vec<&str> = happened(&ended.stderr).collect();
    for (name, threads) in [("node1", "1 thread"), ("bob@node2", "2 threads")] {
        let host = name.trim_start_matches("bob@");
        let end = format!(" joined from ssh {name}, {threads}");
        assert!(
            said.iter().any(|line| line.starts_with(&format!("worker {host}/")) && line.ends_with(&end)),
            "{}",
            ended.stderr
        );
    }
    assert_eq!(lab.place.hashes("out/seed-451"), expected(include_str!("../expected/ci-10trials.sha256")));
    // Workers over ssh need no access file, so there is none.
    let left: Vec<_> = fs::read_dir(lab.place.path("out"))
        .expect("outputs")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| {
            !["seed-451", "manifest.json", "store.granule", ".outputs.stamps.json"].contains(&name.as_str())
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    for (home, _) in ACCOUNTS {
        assert_eq!(
            fs::read_dir(lab.place.path(home)).expect("a home").count(),
            0,
            "nothing is written there"
        );
    }
    lab.is_left_alone();
}

#[test]
fn a_machine_that_is_lost_is_used_again() {
    let Some(lab) = Lab::new() else { return };
    let long = Sweep { trials: 360, ..Sweep::slow() };
    lab.place.sweep("sweep.yaml", &long);
    let mut running = lab.ssh("1/node1,1/bob@node2", &["--lease-seconds", "3"]);
    // The worker is killed.
    lab.wait_for_trials(&mut running, SOME);
    let first = lab.worker(&mut running, 1);
    send(first, Signal::SIGKILL);
    running.until("it is said", |running| {
        running.stderr().contains(" node1 has lost its connection").then_some(())
    });
    let second =
        running.until("it is back", |_| workers(lab.hosts.host(1)).into_iter().find(|id| *id != first));
    // The connection is cut at the worker's machine.
    lab.wait_for_trials(&mut running, SOME);
    let is_session = |words: &[String]| words[0].starts_with("sshd") && !words[0].contains("listener");
    let sessions: Vec<u32> = processes(lab.hosts.host(1))
        .into_iter()
        .filter_map(|(id, words)| is_session(&words).then_some(id))
        .collect();
    assert!(!sessions.is_empty());
    sessions.into_iter().for_each(|id| send(id, Signal::SIGKILL));
    running
        .until("it is back once more", |_| workers(lab.hosts.host(1)).into_iter().find(|id| *id != second));
    // The cable is pulled and plugged in again.
    lab.wait_for_trials(&mut running, SOME);
    lab.hosts.link(2, false);
    running.until("it is missed", |running| running.stderr().contains(" bob@node2 ").then_some(()));
    lab.hosts.link(2, true);
    running.until("it is used again", |running| {
        (running.stderr().matches(" joined from ssh bob@node2, ").count() == 2).then_some(())
    });
    let ended = running.end().succeeded();
    assert_eq!(lab.place.outputs("out"), long.undisturbed());
    assert_eq!(lab.place.trials("out"), Trials { computed: 1080, reused: 0 });
    assert!(!ended.stderr.contains("set aside"), "{}", ended.stderr);
    lab.is_left_alone();
}

#[test]
fn a_worker_that_is_told_to_leave_is_not_started_again() {
    let Some(lab) = Lab::new() else { return };
    let mut running = lab.ssh("1/node1,1/bob@node2", &[]);
    lab.wait_for_trials(&mut running, SOME);
    let worker = lab.worker(&mut running, 1);
    send(worker, Signal::SIGTERM);
    running.until("it is said", |running| {
        running
            .stderr()
            .contains(" node1 ended without an error; granule no longer uses this host\n")
            .then_some(())
    });
    lab.wait_for_trials(&mut running, SOME);
    assert!(workers(lab.hosts.host(1)).is_empty());
    let ended = running.end().succeeded();
    assert_eq!(ended.stderr.matches(" joined from ssh node1, ").count(), 1, "{}", ended.stderr);
    assert_eq!(lab.place.outputs("out"), *undisturbed());
    lab.is_left_alone();
}

#[test]
fn however_it_ends_no_worker_is_left_and_the_same_command_goes_on() {
    let Some(lab) = Lab::new() else { return };
    let hosts = "1/node1,1/bob@node2";
    let mut running = lab.ssh(hosts, &[]);
    lab.wait_for_trials(&mut running, SOME);
    running.signal(Signal::SIGINT);
    running.end().failed_with(
        130,
        &[" of 180 trials are stored\n  to resume: ", " ssh 1/node1,1/bob@node2 sweep.yaml"],
    );
    lab.is_left_alone();

    let mut running = lab.ssh(hosts, &[]);
    lab.wait_for_trials(&mut running, SOME);
    let suspended = lab.worker(&mut running, 2);
    send(suspended, Signal::SIGSTOP);
    running.signal(Signal::SIGKILL);
    drop(running);
    are_left_alone(&lab.hosts, &[1]);
    // A suspended worker cannot see that its coordinator is gone. It ends once it runs again.
    send(suspended, Signal::SIGCONT);
    lab.is_left_alone();

    lab.ssh(hosts, &[]).end().succeeded();
    assert_eq!(lab.place.outputs("out"), *undisturbed());
    let Trials { computed, reused } = lab.place.trials("out");
    assert!(reused > 0 && computed + reused == TRIALS, "{computed} computed, {reused} reused");
    lab.is_left_alone();
}

#[test]
fn what_is_wrong_with_a_machine_is_said() {
    let Some(lab) = Lab::new() else { return };
    let other = lab.place.script("programs/other", "echo 'granule worker 99.1.0'; cat");
    let mute = lab.place.script("programs/mute", "while echo 'good morning'; do :; done");
    let strict = lab.place.script("programs/locked", "true");
    fs::set_permissions(&strict, fs::Permissions::from_mode(0o600)).expect("a mode");
    let is = |hosts: &str, options: &[&str], parts: &[&str]| {
        let common = ["error: no host can be used\n", "without prompting"];
        lab.ssh(hosts, options).end().failed_with(3, &[&common[..], parts].concat());
    };
    is(
        "node9",
        &[],
        &[
            "\n  node9 cannot be reached: ssh: Could not resolve hostname node9",
            ": ssh node9 granule --version\n",
        ],
    );
    is("eve@node1", &[], &["\n  eve@node1 cannot be reached: eve@", "Permission denied (publickey)"]);
    is(
        "node1,node9",
        &["--granule", "no where/granule"],
        &[
            "\n  node1 cannot run granule: its shell exited with code 127; its last output: ",
            "no where/granule",
            "\n  node9 cannot be reached: ",
        ],
    );
    is(
        "node1",
        &["--granule", "locked"],
        &["cannot run granule: its shell exited with code 126; its last output: "],
    );
    is(
        "node1",
        &["--granule", other.to_str().unwrap()],
        &["\n  node1 has granule 99.1.0, this machine has "],
    );
    is(
        "node1",
        &["--granule", mute.to_str().unwrap()],
        &["\n  node1 printed 64 KiB before the greeting of granule"],
    );
    is("node1", &["--granule", "false"], &["\n  node1 exited with code 1\n"]);
    is("node2", &["--granule", "true"], &["\n  node2 ended without an error\n"]);
    // Options after `--` are for ssh. The other program reads first: on a closed pipe, ssh could end without a word.
    is(
        "node1",
        &["--", "-o", "ProxyCommand=head -c 1"],
        &["\n  node1 cannot be reached: ", ": ssh -o 'ProxyCommand=head -c 1' node1 granule"],
    );

    // The other hosts compute without it.
    let ended = lab.ssh("node9,1/node1", &[]).end().succeeded();
    assert_eq!(ended.stderr.matches("node9 cannot be reached: ").count(), 1, "{}", ended.stderr);
    assert_eq!(lab.place.outputs("out"), *undisturbed());
    lab.is_left_alone();
}

#[test]
fn workers_here_go_on_when_no_machine_can_be_used() {
    let Some(lab) = Lab::new() else { return };
    let list = lab.place.write("machines", "# those of the lab\n2/node9 # is not there\nnode8\n");
    let list = format!("@{}", list.display());
    let ended = lab.ssh(&list, &["--workers", "2"]).end().succeeded();
    for name in ["node8", "node9"] {
        assert!(ended.stderr.contains(&format!(" {name} cannot be reached: ")), "{}", ended.stderr);
    }
    assert!(ended.stderr.contains("; 2 workers here, the others on 2 hosts\n"), "{}", ended.stderr);
    assert_eq!(lab.place.outputs("out"), *undisturbed());
    lab.is_left_alone();
}

#[test]
fn a_coordinator_without_workers_gives_up_in_time() {
    let Some(lab) = Lab::new() else { return };
    let mut running = lab.ssh("1/node1", &["--give-up-after", "8s"]);
    lab.wait_for_trials(&mut running, SOME);
    // The program is moved away, so that no further worker can start.
    fs::rename(lab.place.path("programs/granule"), lab.place.path("programs/moved")).expect("moved");
    send(lab.worker(&mut running, 1), Signal::SIGKILL);
    running.end().failed_with(3, &["cannot run granule", "no worker was connected for 8.0 s", "to resume: "]);
    lab.is_left_alone();
}

#[test]
fn without_ssh_it_says_so() {
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::small());
    fs::create_dir(place.path("programs")).expect("a directory");
    let run = || {
        let mut command = place.granule(&["ssh", "node1", "sweep.yaml", "--out", "out"]);
        command.env("PATH", place.path("programs"));
        place.start_this(command).end()
    };
    run().failed_with(1, &["error: cannot run `ssh`\n", "openssh-client"]);
    // If `ssh` exists but cannot be started, the failure may be temporary.
    let ssh = place.script("programs/ssh", "true");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o600)).expect("a mode");
    let failure = "node1 cannot be reached, because `ssh` cannot be started: Permission denied";
    run().failed_with(3, &["error: no host can be used\n  ", failure]);
    place.is_left_alone();
}
