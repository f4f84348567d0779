//! Sweeps on a real Slurm as sites have it: with accounts, limits and ordinary users, and with more than one cluster.

#![cfg(target_os = "linux")]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use support::slurm::{COLLEAGUE, Cluster, OWNER, STRANGER, Site, is_accounting_possible};
use support::{Ended, expected, root, skip, told, wait_for};

const OUT: &str = "out/ci-10trials";

/// One site at a time: what they compute with is two processors.
static SITE: Mutex<()> = Mutex::new(());

/// Does this at such a site.
#[track_caller]
fn at(site: Site, test: impl FnOnce(&mut Cluster)) {
    if let Err(why) = is_accounting_possible() {
        return skip(&why);
    }
    let _alone = SITE.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = Instant::now();
    let mut cluster = Cluster::accounted(site);
    told(&format!("Slurm is there after {:.1} s", begun.elapsed().as_secs_f64()));
    test(&mut cluster);
    cluster.is_left_alone();
}

#[test]
fn an_ordinary_user_computes_a_sweep_and_the_accounts_know_it() {
    at(Site { nodes: 2, max_array: None, is_double: false }, |cluster| {
        let place = cluster.place_of(OWNER);
        fs::copy(root().join("sweeps/ci-10trials.yaml"), place.path("sweep.yaml")).expect("a sweep");
        let sweep = ["slurm", "sweep.yaml", "--interface", "lo", "--nodes", "2"];
        cluster.granule_as(OWNER, &place, &sweep).end().succeeded();
        cluster.is_left_alone();
        let outputs = place.hashes(&format!("{OUT}/seed-451"));
        assert_eq!(outputs, expected(include_str!("expected/ci-10trials.sha256")));
        // What is over comes into the accounts a moment later.
        wait_for("the accounts know that it is complete", || {
            let asked = ["--noheader", "--parsable2", "--allocations", "--format=User,Account,State,NNodes"];
            let mut sacct = cluster.command_as(OWNER, &place, "sacct");
            let said = Ended::from(sacct.args(asked).output().expect("sacct")).succeeded().stdout;
            (said == "games|lab|COMPLETED|2\n").then_some(())
        });
        // The group can read it, and nobody else.
        let status = cluster.granule_as(COLLEAGUE, &place, &["status", OUT]).end().succeeded();
        assert!(status.stdout.contains("ci-10trials: complete, 30 of 30"), "{status:#?}");
        let status = cluster.granule_as(STRANGER, &place, &["status", OUT]).end();
        assert!(status.code != Some(0) && status.stderr.contains("Permission denied"), "{status:#?}");
        place.is_left_alone();
    });
}

#[test]
fn a_job_for_another_cluster_is_known_there() {
    at(Site { nodes: 1, max_array: Some(8), is_double: true }, |cluster| {
        let place = cluster.place_of(OWNER);
        let run = |program: &str, arguments: &[&str]| {
            let mut command = cluster.command_as(OWNER, &place, program);
            Ended::from(command.args(arguments).output().expect(program))
        };
        let submit =
            |more: &[&str]| run("sbatch", &[&["--clusters=two", "--parsable", "--wrap=true"], more].concat());
        let said = submit(&["--hold"]).succeeded().stdout;
        let (job, name) = said.trim().split_once(';').expect("a job and its cluster");
        assert_eq!(name, "two");
        let state = ["--clusters=two", "--noheader", "--format=%i|%T|%r", "--jobs", job];
        assert_eq!(run("squeue", &state).succeeded().stdout, format!("{job}|PENDING|JobHeldUser\n"));
        assert_eq!(run("squeue", &["--noheader"]).succeeded().stdout, "");
        run("scontrol", &["--clusters=two", "release", job]).succeeded();
        cluster.is_left_alone();
        wait_for("the accounts know that it is complete", || {
            let asked = [
                "--clusters=two",
                "--noheader",
                "--parsable2",
                "--allocations",
                "--format=JobID,State,Cluster",
            ];
            (run("sacct", &asked).succeeded().stdout == format!("{job}|COMPLETED|two\n")).then_some(())
        });
        assert_eq!(run("sacct", &["--noheader"]).succeeded().stdout, "");

        // Limits hold.
        submit(&["--array=1-7"]).succeeded();
        submit(&["--array=1-8"]).failed_with(1, &["Invalid job array specification"]);
        cluster.clear();
        cluster.sacctmgr(&["modify", "user", OWNER.name, "where", "cluster=two", "set", "MaxSubmitJobs=2"]);
        submit(&["--array=1-2", "--hold"]).succeeded();
        submit(&[]).failed_with(1, &["AssocMaxSubmitJobLimit", "Job violates accounting/QOS policy"]);
        cluster.clear();
        let mut strange = cluster.command_as(STRANGER, &place, "sbatch");
        Ended::from(strange.args(["--parsable", "--wrap=true"]).output().expect("sbatch"))
            .failed_with(1, &["Invalid account or account/partition combination"]);
    });
}

#[test]
fn without_its_controller_or_the_accounts_a_cluster_is_out_of_reach_for_a_while() {
    at(Site { nodes: 1, max_array: None, is_double: true }, |cluster| {
        let place = cluster.place_of(OWNER);
        let run = |cluster: &Cluster, arguments: &[&str]| {
            let mut command = cluster.command_as(OWNER, &place, "squeue");
            Ended::from(command.arg("--noheader").args(arguments).output().expect("squeue"))
        };
        let two: &[&str] = &["--clusters=two"];
        cluster.stop_controller_of("two");
        run(cluster, two).failed_with(1, &["'two' can't be reached now"]);
        run(cluster, &[]).succeeded();
        cluster.start_controller_of("two");
        let comes_back = |cluster: &Cluster| {
            wait_for("it can be reached again", || (run(cluster, two).code == Some(0)).then_some(()));
        };
        // It has to tell the accounts where it is.
        comes_back(cluster);
        cluster.stop_accounting();
        run(cluster, two)
            .failed_with(1, &["There is a problem talking to the database: Connection refused."]);
        run(cluster, &[]).succeeded();
        cluster.start_accounting();
        comes_back(cluster);
    });
}
