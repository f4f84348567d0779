//! Sweeps on a real Slurm as sites have it: with accounts, limits and ordinary users, and with more than one cluster.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::support::slurm::{COLLEAGUE, Cluster, OWNER, STRANGER, Site, is_accounting_possible};
use crate::support::{Ended, expected, root, skip, told, wait_for};

const OUT: &str = "out/ci-10trials";

/// Runs a test at such a site.
#[track_caller]
fn at(site: Site, test: impl FnOnce(&mut Cluster)) {
    if let Err(why) = is_accounting_possible() {
        return skip(&why);
    }
    let _turn = crate::turn();
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
        assert_eq!(outputs, expected(include_str!("../expected/ci-10trials.sha256")));
        // Slurm records the end of a job with a short delay.
        wait_for("the accounts know that it is complete", || {
            let asked = ["--noheader", "--parsable2", "--allocations", "--format=User,Account,State,NNodes"];
            let mut sacct = cluster.command_as(OWNER, &place, "sacct");
            let said = Ended::from(sacct.args(asked).output().expect("sacct")).succeeded().stdout;
            (said == "games|lab|COMPLETED|2\n").then_some(())
        });
        // Members of the group can read it; a stranger cannot.
        let status = cluster.granule_as(COLLEAGUE, &place, &["status", OUT]).end().succeeded();
        assert!(status.stdout.contains("ci-10trials: complete, 30 of 30"), "{status:#?}");
        let status = cluster.granule_as(STRANGER, &place, &["status", OUT]).end();
        assert!(status.code != Some(0) && status.stderr.contains("Permission denied"), "{status:#?}");
        place.is_left_alone();
    });
}

#[test]
fn a_sweep_runs_on_another_cluster_and_is_followed_there() {
    at(Site { nodes: 1, max_array: None, is_double: true }, |cluster| {
        let place = cluster.place_of(OWNER);
        fs::copy(root().join("sweeps/ci-10trials.yaml"), place.path("sweep.yaml")).expect("a sweep");
        let slurm = |more: &[&'static str]| {
            let arguments = ["slurm", "sweep.yaml", "--interface", "lo"];
            cluster.granule_as(OWNER, &place, &[&arguments, more].concat())
        };
        let held = slurm(&["--detach", "--", "--clusters=two", "--hold"]).end().succeeded();
        let record = fs::read(place.path(OUT).join("slurm/job.json")).expect("a record");
        let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
        let job = record["job"].to_string();
        assert_eq!(record["cluster"], "two");
        assert!(held.stdout.contains(&format!("Slurm job {job} on cluster two; ")), "{held:#?}");
        let status = cluster.granule_as(OWNER, &place, &["status", OUT]).end().succeeded();
        assert!(
            status.stdout.contains(&format!("job {job} on cluster two waits: JobHeldUser")),
            "{status:#?}"
        );
        // The command follows the existing job, although it does not name the cluster.
        let mut following = slurm(&[]);
        following.until("it is known", |following| {
            following.stderr().contains("on cluster two is already submitted").then_some(())
        });
        // If the controller does not answer, the command asks again.
        cluster.stop_controller_of("two");
        following
            .until("it is missed", |following| following.stderr().contains("; trying again").then_some(()));
        cluster.start_controller_of("two");
        let release = ["--clusters=two", "release", &job];
        wait_for("it is let go", || {
            let mut scontrol = cluster.command_as(OWNER, &place, "scontrol");
            (Ended::from(scontrol.args(release).output().expect("scontrol")).code == Some(0)).then_some(())
        });
        following.end().succeeded();
        let outputs = place.hashes(&format!("{OUT}/seed-451"));
        assert_eq!(outputs, expected(include_str!("../expected/ci-10trials.sha256")));
        let mut sacct = cluster.command_as(OWNER, &place, "sacct");
        let said = Ended::from(sacct.arg("--noheader").output().expect("sacct")).succeeded();
        assert_eq!(said.stdout, "", "there was a job on this cluster");
        place.is_left_alone();
    });
}

#[test]
fn where_slurm_takes_few_workers_few_are_submitted() {
    at(Site { nodes: 1, max_array: Some(2), is_double: false }, |cluster| {
        let place = cluster.place_of(OWNER);
        fs::copy(root().join("sweeps/ci-10trials.yaml"), place.path("sweep.yaml")).expect("a sweep");
        let serve = ["serve", "sweep.yaml", "--listen", "0.0.0.0:0", "--interface", "lo"];
        let mut serving = cluster.granule_as(OWNER, &place, &serve);
        serving
            .until("there is an access file", |_| place.path(OUT).join("access.json").exists().then_some(()));
        let sleeping = place.script("sleeping", "exec sleep 1000");
        fs::set_permissions(&sleeping, fs::Permissions::from_mode(0o755)).expect("a mode");
        let attach = [
            "slurm",
            "sweep.yaml",
            "--attach",
            "--workers",
            "3",
            "--granule",
            sleeping.to_str().expect("text"),
        ];
        let limit = |most: &str| {
            let set = format!("MaxSubmitJobs={most}");
            cluster.sacctmgr(&["modify", "user", OWNER.name, "where", "cluster=one", "set", &set]);
        };
        for (most, said) in [
            (
                "2",
                "cannot have more workers than 2 at present: sbatch refused: sbatch: error: AssocMaxSubmitJobLimit",
            ),
            ("-1", "workers: 1 running, 2 waiting, at most 3"),
        ] {
            limit(most);
            let mut attached = cluster.granule_as(OWNER, &place, &attach);
            attached.until("they are there", |attached| attached.stderr().contains(said).then_some(()));
            attached.signal(Signal::SIGINT);
            attached.end().failed_with(130, &["interrupted: cancelled the workers"]);
            assert!(cluster.jobs().is_empty());
        }
        serving.signal(Signal::SIGTERM);
        assert_eq!(serving.end().code, Some(143));
        place.is_left_alone();
    });
}
