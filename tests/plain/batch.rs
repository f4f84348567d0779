//! `granule batch`: workers that are jobs. The stand-ins for the commands of batch systems take arguments and print text as
//! the manuals of these systems say. Grid Engine 8.1.9 itself was tried by hand (docs/batch.md).

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::{Place, Sweep, expected, root, wait_for};

/// Starts a job script in the background, and prints its number as this system does.
const SUBMIT: &str = "nohup sh \"$script\" >> log.txt 2>&1 & job=$!; echo \"$0 $*\" >> submitted.txt";

fn stand_ins(place: &Place) {
    fs::create_dir(place.path("programs")).expect("a directory");
    let program = |name: &str, body: &str| place.script(&format!("programs/{name}"), body);
    let last = "for script; do :; done";
    let of_number = "job=${1%%.*}; echo \"$0 $*\" >> cancelled.txt; kill \"$job\"";
    // PBS prints `NUMBER.SERVER`; Grid Engine with -terse a number.
    program(
        "qsub",
        &format!("{last}; {SUBMIT}; case $1 in -terse) echo \"$job\";; *) echo \"$job.server\";; esac"),
    );
    // While the file `down` exists, the server of PBS does not answer.
    let down = "if [ -e down ]; then echo 'Connection refused' >&2; echo 'qstat: cannot connect to server' >&2; exit 1; fi";
    let unknown = "case $1 in -j) echo 'Following jobs do not exist: ' >&2;; \
                   *) echo \"qstat: Unknown Job Id $2\" >&2;; esac; exit 1";
    program(
        "qstat",
        &format!("{down}; if kill -0 \"${{2%%.*}}\" 2>&-; then echo 'job_state = R'; else {unknown}; fi"),
    );
    program("qdel", &format!("{down}; {of_number}"));
    program(
        "bsub",
        &format!(
            "cat > $$.job; script=$$.job; {SUBMIT}; echo \"Job <$job> is submitted to queue <normal>.\""
        ),
    );
    program("bjobs", "for job; do :; done; if kill -0 \"$job\" 2>&-; then echo RUN; else echo DONE; fi");
    program("bkill", of_number);
    program(
        "condor_submit",
        &format!(
            "{last}; script=$(sed -n 's/^executable = //p' \"$script\"); {SUBMIT}; \
             echo 'Submitting job(s).'; echo \"1 job(s) submitted to cluster $job.\""
        ),
    );
    program("condor_q", "if kill -0 \"$1\" 2>&-; then echo 2; fi");
    program("condor_rm", of_number);
    program("sbatch", &format!("{last}; {SUBMIT}; echo \"$job\""));
    program("squeue", "for job; do :; done; if kill -0 \"$job\" 2>&-; then echo RUNNING None; fi");
    program("scancel", of_number);
}

fn batch(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place
        .granule(&[&["batch", "sweep.yaml", "--out", "out", "--listen", "127.0.0.1:0"], arguments].concat());
    let path = std::env::var("PATH").expect("a path");
    command.env("PATH", format!("{}:{path}", place.path("programs").display()));
    command
}

#[test]
fn every_system_runs_a_sweep() {
    for (system, submit, limit) in [
        ("pbs", "qsub", "\n#PBS -l walltime=00:10:00\n"),
        ("sge", "qsub", "\n#$ -l h_rt=00:10:00\n"),
        ("lsf", "bsub", "\n#BSUB -W 10\n"),
        ("htcondor", "condor_submit", "EnteredCurrentStatus > 600\n"),
        ("slurm", "sbatch", "\n#SBATCH --time=00:10:00\n"),
        ("local", "", " --time-limit 540s\n"),
    ] {
        let place = Place::new();
        stand_ins(&place);
        fs::copy(root().join("sweeps/ci-10trials.yaml"), place.path("sweep.yaml")).expect("a sweep");
        let options: &[&str] = if system == "local" { &[] } else { &["--", "-q", "long queue"] };
        let order = [&["--system", system, "--jobs", "2", "--time", "10m"], options].concat();
        let ended = place.start_this(batch(&place, &order)).end().succeeded();
        assert!(ended.stderr.contains("submitted: 2 jobs"), "{system}: {}", ended.stderr);
        assert_eq!(
            place.hashes("out/seed-451"),
            expected(include_str!("../expected/ci-10trials.sha256")),
            "{system}"
        );
        place.is_left_alone();
        assert!(!place.path("out/batch/jobs.txt").exists() && !place.path("out/access.json").exists());
        if !submit.is_empty() {
            let submitted = fs::read_to_string(place.path("submitted.txt")).expect("commands");
            assert_eq!(submitted.lines().count(), 2, "{system}: {submitted}");
            assert!(
                submitted.lines().all(|line| line.contains(submit) && line.contains(" -q long queue")),
                "{submitted}"
            );
        }
        let script = fs::read_to_string(place.path("out/batch/job-2.job")).expect("a script");
        assert!(script.contains("worker --access") || script.contains("job-2.sh"), "{system}: {script}");
        assert!(script.contains(limit), "{system}: {script}");
    }
}

/// Jobs that end are submitted again; those of a killed coordinator are found again; and none stays behind.
#[test]
fn jobs_come_and_go_with_the_run() {
    let place = Place::new();
    stand_ins(&place);
    place.sweep("sweep.yaml", &Sweep { trials: 2000, ..Sweep::slow() });
    let order = ["--system", "pbs", "--jobs", "2"];
    let jobs = || fs::read_to_string(place.path("out/batch/jobs.txt")).unwrap_or_default();
    let numbers =
        || jobs().lines().filter_map(|job| job.strip_suffix(".server")?.parse().ok()).collect::<Vec<u32>>();
    let mut first = place.start_this(batch(&place, &order));
    first.until("both workers have joined", |running| {
        (running.stderr().matches(" joined from ").count() == 2).then_some(())
    });
    let before = numbers();
    assert_eq!(before.len(), 2);
    first.signal(Signal::SIGKILL);
    first.end();
    let mut second = place.start_this(batch(&place, &order));
    second.until("the same workers have joined", |running| {
        (running.stderr().matches(" joined from ").count() == 2).then_some(())
    });
    assert!(
        second.stderr().contains("found: 2 jobs of an earlier run; submitted: 0 jobs"),
        "{}",
        second.stderr()
    );
    assert_eq!(numbers(), before, "no further job was submitted");
    // A server that does not answer says nothing about the jobs.
    place.write("down", "");
    second.until("it reports that the server does not answer", |running| {
        let note = "is not known: `qstat -f ";
        let because = "failed: Connection refused; qstat: cannot connect to server; trying again";
        (running.stderr().contains(note) && running.stderr().contains(because)).then_some(())
    });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(before[0] as i32), Signal::SIGKILL).expect("a job");
    fs::remove_file(place.path("down")).expect("a file");
    second.until("another job was submitted", |running| {
        (running.stderr().contains("has ended; its log: ") && numbers().len() == 2 && numbers() != before)
            .then_some(())
    });
    second.signal(Signal::SIGINT);
    second.end().failed_with(130, &["interrupted: ", "to resume: "]);
    place.is_left_alone();
    assert_eq!(jobs(), "");
    let cancelled = fs::read_to_string(place.path("cancelled.txt")).expect("commands");
    assert!(cancelled.contains("qdel ") && cancelled.contains(".server"), "{cancelled}");
}

#[test]
fn files_and_systems_that_are_wrong() {
    let place = Place::new();
    stand_ins(&place);
    place.sweep("sweep.yaml", &Sweep::slow());
    let check = |system: &str, code: i32, parts: &[&str]| {
        place.start_this(batch(&place, &["--system", system, "--jobs", "1"])).end().failed_with(code, parts);
        place.is_left_alone();
    };
    check(
        "nix",
        2,
        &["error: no batch system `nix`", "help: the systems are htcondor, local, lsf, pbs, sge, slurm"],
    );
    check("my.yaml", 2, &["error: cannot read my.yaml"]);
    place.run(&["init", "--batch", "pbs", "my.yaml"]).succeeded();
    place.run(&["init", "--batch", "pbs", "my.yaml"]).failed_with(1, &["my.yaml"]);
    let text = fs::read_to_string(place.path("my.yaml")).expect("a file");
    let change = |from: &str, to: &str| place.write("my.yaml", text.replace(from, to));
    change("{threads}", "{cores}");
    check(
        "./my.yaml",
        2,
        &["`script` has an unknown placeholder {cores}", "help: the placeholders are {name}"],
    );
    change("qsub, ", "no-qsub, ");
    check("my.yaml", 1, &["error: cannot run `no-qsub ", "help: run this where the batch system's commands"]);
    change("qsub, ", "sh, -c, 'echo no such queue >&2; exit 1', ");
    check("my.yaml", 1, &["failed: no such queue", "help: try the command; `granule init --batch SYSTEM`"]);
    change("exec {command}", "exit 7 # {command}");
    let ended =
        place.start_this(batch(&place, &["--system", "local", "--jobs", "1", "--", "-q", "long"])).end();
    ended.failed_with(2, &["cannot use local", "because: this system takes no options after `--`"]);
    for time in ["30", "0s"] {
        let order = ["--system", "local", "--jobs", "1", "--time", time];
        place
            .start_this(batch(&place, &order))
            .end()
            .failed_with(2, &["write it like 90s, 45m, 2h30m or 12:00:00"]);
    }
    check("my.yaml", 1, &["error: 3 jobs ended soon after their submission", "help: their logs may say why"]);
    // Jobs of another system are not this run's.
    place.write("out/batch/jobs.txt", "system: sge\n1234567\n");
    check("pbs", 2, &["another batch system (`sge`)", "help: name the same system with --system"]);
    assert_eq!(fs::read_to_string(place.path("out/batch/jobs.txt")).expect("jobs"), "system: sge\n1234567\n");
    fs::remove_file(place.path("out/batch/jobs.txt")).expect("a file");
    // A script that the user has changed stays.
    place.write("out/batch/job-1.job", "#!/bin/sh\n# mine\n");
    check("pbs", 2, &["job-1.job exists and is not a script that granule wrote", "help: move it away"]);
    assert_eq!(fs::read_to_string(place.path("out/batch/job-1.job")).expect("a file"), "#!/bin/sh\n# mine\n");
    fs::remove_dir_all(place.path("out/batch")).expect("a directory");
    fs::create_dir(place.path("elsewhere")).expect("a directory");
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path("out/batch")).expect("a link");
    check("pbs", 1, &["error: cannot write ", "/out/batch"]);
    wait_for("nothing is written there", || {
        fs::read_dir(place.path("elsewhere")).ok()?.next().is_none().then_some(())
    });
}
