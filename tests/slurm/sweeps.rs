//! Sweeps on a cluster of four nodes: a controller and nodes that are daemons on this machine.

use std::fs;
use std::path::Path;

use granule_system::shell::shell_word;
use nix::sys::signal::Signal;

use crate::support::slurm::{Cluster, is_possible};
use crate::support::{Ended, Hashes, Place, expected, is_connected, is_pending, root, send, skip, wait_for};

const OUT: &str = "out/ci-10trials";

/// The result of a test with a running sweep. `None` if the sweep ended before the test could act.
type Attempt = Option<()>;

/// Runs a test on a cluster of four nodes, with the sweep of ten trials in the directory. Repeats it if the sweep ended
/// too early, which can happen on a busy processor.
#[track_caller]
fn on_a_cluster(test: impl Fn(&mut Cluster, &Place) -> Attempt) {
    if let Err(why) = is_possible() {
        return skip(&why);
    }
    let _turn = crate::turn();
    let mut cluster = Cluster::start(4);
    for _ in 0..ATTEMPTS {
        let place = Place::new();
        fs::copy(root().join("sweeps/ci-10trials.yaml"), place.path("sweep.yaml")).expect("a sweep");
        let attempt = test(&mut cluster, &place);
        if attempt.is_none() {
            place.processes().into_iter().for_each(|id| send(id, Signal::SIGCONT));
            cluster.clear();
        }
        cluster.is_left_alone();
        place.is_left_alone();
        if attempt.is_some() {
            return;
        }
    }
    panic!("{ATTEMPTS} sweeps were over too soon");
}

/// The number of attempts of a test.
const ATTEMPTS: usize = 4;

/// Arguments of every `granule slurm`: coordinator and workers find each other over the loopback.
const SLURM: [&str; 6] = ["slurm", "sweep.yaml", "--interface", "lo", "--shard-trials", "1"];

fn slurm<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SLURM, more].concat()
}

/// Expects the published hashes, and no access file or key.
#[track_caller]
fn check_outputs(place: &Place) {
    let outputs: Hashes = place.hashes(&format!("{OUT}/seed-451"));
    assert_eq!(outputs, expected(include_str!("../expected/ci-10trials.sha256")));
    for name in ["access.json", "coordinator.pem"] {
        assert!(!place.path(OUT).join(name).exists(), "{name} is left");
    }
}

/// The number of the job, and the present content of its log.
fn job(place: &Place) -> Option<(String, String)> {
    let record = fs::read(place.path(OUT).join("slurm/job.json")).ok()?;
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    let log = fs::read_to_string(record["log"].as_str().expect("a path")).unwrap_or_default();
    Some((record["job"].to_string(), log))
}

fn store() -> String {
    format!("{OUT}/store.granule")
}

/// Makes this number of workers begin together, independent of the time that Slurm takes to start them.
#[track_caller]
fn gather(place: &Place, count: usize) -> Option<Vec<u32>> {
    // Waits for a result. Returns `None` if the sweep is over.
    let until = |what: &str, look: &dyn Fn() -> Option<Vec<u32>>| {
        let is_over = || place.path(OUT).join("manifest.json").exists();
        wait_for(what, || look().map(Some).or_else(|| is_over().then_some(None)))
    };
    let all = |is_one: fn(u32) -> bool| -> Vec<u32> {
        place.processes().into_iter().filter(|id| is_one(*id)).collect()
    };
    let coordinator = until("there is a coordinator that workers can find", &|| {
        let is_open = place.path(OUT).join("access.json").exists();
        Some(all(is_coordinator)).filter(|found| is_open && !found.is_empty())
    })?;
    coordinator.iter().for_each(|id| send(*id, Signal::SIGSTOP));
    let workers = until("all workers have come", &|| {
        Some(all(is_worker)).filter(|found| found.len() == count && found.iter().all(|id| is_connected(*id)))
    });
    coordinator.iter().for_each(|id| send(*id, Signal::SIGCONT));
    workers
}

/// Stops all workers when some trials, but not all, are stored. Returns the workers.
#[track_caller]
fn stop_in_the_middle(place: &Place, count: usize) -> Option<Vec<u32>> {
    let workers = gather(place, count)?;
    wait_for("they have joined and some trials are stored", || {
        let is_so = joined(&job(place)?.1) == count && place.length(&store()) > 10_000;
        (is_so || place.path(OUT).join("manifest.json").exists()).then_some(())
    });
    workers.iter().for_each(|id| send(*id, Signal::SIGSTOP));
    let is_in_time = place.length(&store()) < 60_000 && !place.path(OUT).join("manifest.json").exists();
    is_in_time.then_some(workers)
}

fn words_of(id: u32) -> Vec<String> {
    let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Whether a process is this program with this subcommand.
fn does(id: u32, what: &str) -> bool {
    let words = words_of(id);
    words[0].ends_with("granule") && words.get(1).is_some_and(|word| word == what)
}

fn is_worker(id: u32) -> bool {
    does(id, "worker")
}

fn is_coordinator(id: u32) -> bool {
    does(id, "serve")
}

/// The number of workers that joined, from the job's log.
fn joined(log: &str) -> usize {
    log.lines().filter(|line| line.contains(" joined from ")).count()
}

#[test]
fn a_sweep_runs_on_three_nodes() {
    on_a_cluster(|cluster, place| {
        let following = cluster.granule(place, &slurm(&["--nodes", "3", "--", "--comment=with space"]));
        gather(place, 3)?;
        let ended = following.end().succeeded();
        assert!(ended.stdout.contains("\nci-10trials: complete, 30 of 30 trials stored"), "{ended:#?}");
        check_outputs(place);
        let (id, log) = job(place).expect("a job");
        assert_eq!(joined(&log), 3, "{log}");
        for line in [format!("job {id} is submitted"), format!("job {id} has ended")] {
            assert!(ended.stderr.contains(&line), "no `{line}` in\n{}", ended.stderr);
        }
        assert_eq!(told(cluster, &id, "NodeList"), "n[1-3]");
        let script = fs::read_to_string(place.path(OUT).join("slurm/job.sh")).expect("a script");
        assert!(
            script.contains("#SBATCH --nodes=3\n") && script.contains("\n#SBATCH \"--comment=with space\"\n"),
            "{script}"
        );
        // The sweep is complete, so there is no job.
        let again = cluster.granule(place, &slurm(&["--nodes", "3"])).end().succeeded();
        assert!(again.stdout.contains("complete") && !again.stderr.contains("submitted"), "{again:#?}");
        Some(())
    });
}

#[test]
fn a_directory_may_have_any_name_that_slurm_can_read() {
    on_a_cluster(|cluster, place| {
        let out = "a$(touch X) `touch X` \"it's\" #:100%j hetjob; touch X";
        let following = cluster.granule(place, &slurm(&["--out", out, "--", &format!("--comment={out}")]));
        following.end().succeeded();
        let record = fs::read(place.path(out).join("slurm/job.json")).expect("a record");
        let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
        assert!(
            Path::new(record["log"].as_str().expect("a path")).is_file(),
            "the log is elsewhere: {record}"
        );
        let said = cluster.asked("scontrol", &["show", "job", &record["job"].to_string()]);
        assert!(said.lines().any(|line| line.trim() == format!("Comment={out}")), "{said}");
        let outputs = place.hashes(&format!("{out}/seed-451"));
        assert_eq!(outputs, expected(include_str!("../expected/ci-10trials.sha256")));
        assert!(!place.path("X").exists(), "the name was run");
        Some(())
    });
}

#[test]
fn a_node_that_goes_down_takes_its_worker_only() {
    on_a_cluster(|cluster, place| {
        let following = cluster.granule(place, &slurm(&["--nodes", "3"]));
        let workers = stop_in_the_middle(place, 3)?;
        cluster.does("scontrol", &["update", "nodename=n3", "state=down", "reason=test"]);
        wait_for("its worker is ended", || {
            (place.processes().iter().filter(|id| workers.contains(id)).count() < 3).then_some(())
        });
        workers.iter().for_each(|id| send(*id, Signal::SIGCONT));
        following.end().succeeded();
        check_outputs(place);
        let (id, log) = job(place).expect("a job");
        // Slurm ends the worker. If it can still run, it leaves properly; otherwise its connection is lost.
        assert!(
            [" lost its connection", " disconnected and holds no leases"]
                .iter()
                .any(|said| log.contains(said)),
            "{log}"
        );
        assert_eq!(told(cluster, &id, "Restarts"), "0", "the job went on");
        Some(())
    });
}

/// The value of this name in Slurm's record of a job.
fn told(cluster: &Cluster, id: &str, name: &str) -> String {
    let said = cluster.asked("scontrol", &["--oneliner", "show", "job", id]);
    let value = said.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {said}")).to_owned()
}

#[test]
fn without_its_first_node_the_job_fails_and_the_next_goes_on() {
    on_a_cluster(|cluster, place| {
        let following = cluster.granule(place, &slurm(&["--nodes", "3"]));
        stop_in_the_middle(place, 3)?;
        let (id, _) = job(place).expect("a job");
        cluster.does("scontrol", &["update", "nodename=n1", "state=down", "reason=test"]);
        let failed = format!("error: job {id} has failed (node n1), and the sweep is not complete");
        following.end().failed_with(3, &[&failed, "srun: error: Node failure on n1", "to resume: "]);
        place.is_left_alone();
        let again = cluster.granule(place, &slurm(&["--nodes", "3"])).end().succeeded();
        let (second, _) = job(place).expect("a job");
        assert_eq!(told(cluster, &second, "NodeList"), "n[2-4]", "{again:#?}");
        check_outputs(place);
        assert!(place.trials(OUT).reused > 0);
        Some(())
    });
}

#[test]
fn a_job_whose_time_is_too_short_is_queued_again_until_all_is_done() {
    on_a_cluster(|cluster, place| {
        // Slurm's shortest limit is a minute, and the warning comes within it. The last of two equal options applies.
        let following =
            cluster.granule(place, &slurm(&["--workers", "3", "--time", "1", "--", "--signal=B:USR1@1"]));
        stop_in_the_middle(place, 3)?;
        let (id, _) = job(place).expect("a job");
        let says = "time limit reached: requeued, and will resume";
        wait_for("it is warned", || job(place)?.1.contains(says).then_some(()));
        cluster.begin_soon(&id);
        let ended = following.end().succeeded();
        check_outputs(place);
        assert_eq!(told(cluster, &id, "Restarts"), "1", "{}", ended.stderr);
        assert!(place.trials(OUT).reused > 0, "it went on from where it was");
        Some(())
    });
}

#[test]
fn a_job_that_is_preempted_goes_back_into_the_queue_and_on() {
    on_a_cluster(|cluster, place| {
        let following = cluster.granule(place, &slurm(&["--nodes", "3"]));
        let workers = stop_in_the_middle(place, 3)?;
        let (id, _) = job(place).expect("a job");
        let urgent = [
            "--parsable",
            "--partition=urgent",
            "--nodes=4",
            "--exclusive",
            "--output=/dev/null",
            "--wrap=true",
        ];
        cluster.does("sbatch", &urgent);
        wait_for("its workers are gone", || {
            (!place.processes().iter().any(|id| workers.contains(id))).then_some(())
        });
        cluster.begin_soon(&id);
        let ended = following.end().succeeded();
        check_outputs(place);
        assert_eq!(told(cluster, &id, "Restarts"), "1", "{}", ended.stderr);
        assert!(!ended.stderr.contains("has failed"), "{}", ended.stderr);
        assert!(place.trials(OUT).reused > 0, "it went on from where it was");
        Some(())
    });
}

#[test]
fn a_job_that_slurm_has_forgotten_is_submitted_again() {
    on_a_cluster(|cluster, place| {
        let following = cluster.granule(place, &slurm(&["--nodes", "3"]));
        stop_in_the_middle(place, 3)?;
        let (first, _) = job(place).expect("a job");
        cluster.does("scancel", &[&first]);
        following.end().failed_with(143, &[]);
        cluster.is_left_alone();
        // The record of a job that Slurm no longer knows.
        let record = place.path(OUT).join("slurm/job.json");
        let before = fs::read_to_string(&record).expect("a record");
        let forgotten = before.replace(&format!("\"job\":{first},"), "\"job\":987654,");
        assert_ne!(before, forgotten);
        let year = |text: &str| text.find("\"submitted\":\"").expect("a time") + "\"submitted\":\"".len();
        let at = year(&forgotten);
        fs::write(&record, format!("{}2020{}", &forgotten[..at], &forgotten[at + 4..])).expect("written");
        let mut asking = place.granule(&["status", OUT]);
        let said =
            Ended::from(cluster.at_home(&mut asking).output().expect("the program starts")).succeeded();
        assert!(said.stdout.contains("job 987654 is no longer known to Slurm"), "{said:#?}");
        cluster.granule(place, &slurm(&["--nodes", "3"])).end().succeeded();
        check_outputs(place);
        assert_ne!(job(place).expect("a job").0, "987654");
        assert!(place.trials(OUT).reused > 0);
        Some(())
    });
}

#[test]
fn a_job_goes_on_without_slurms_controller() {
    on_a_cluster(|cluster, place| {
        let mut following = cluster.granule(place, &slurm(&["--nodes", "3"]));
        let workers = stop_in_the_middle(place, 3)?;
        cluster.stop_controller();
        following
            .until("it is missed", |following| following.stderr().contains("; trying again\n").then_some(()));
        // One worker continues.
        let stored = place.length(&store());
        send(workers[0], Signal::SIGCONT);
        wait_for("more is stored", || (place.length(&store()) > stored).then_some(()));
        cluster.start_controller();
        workers.iter().for_each(|id| send(*id, Signal::SIGCONT));
        let ended = following.end().succeeded();
        assert_eq!(ended.stderr.matches("; trying again\n").count(), 1, "{}", ended.stderr);
        check_outputs(place);
        assert_eq!(place.trials(OUT).reused, 0);
        Some(())
    });
}

#[test]
fn a_job_that_was_cancelled_is_submitted_again_and_goes_on() {
    on_a_cluster(|cluster, place| {
        let following = cluster.granule(place, &slurm(&["--nodes", "3"]));
        let workers = stop_in_the_middle(place, 3)?;
        let (first, _) = job(place).expect("a job");
        send(workers[0], Signal::SIGCONT);
        cluster.does("scancel", &[&first]);
        let ended = following.end();
        if place.path(OUT).join("manifest.json").exists() {
            return None;
        }
        // Slurm signals the shell and all its processes. These signals count as one.
        let (_, log) = job(place).expect("a job");
        assert!(log.contains("terminated: ") && !log.contains("stopped; all computed"), "{log}");
        let parts =
            [&*format!("error: job {first} was cancelled, and the sweep is not complete"), "to resume: "];
        ended.failed_with(143, &parts);
        // With --detach, the message names the job.
        let held = slurm(&["--nodes", "3", "--detach", "--", "--hold"]);
        let detached = cluster.granule(place, &held).end().succeeded();
        let (second, _) = job(place).expect("a job");
        assert_ne!(first, second);
        assert!(detached.stdout.contains(&format!("Slurm job {second}; ")), "{detached:#?}");
        let mut asking = place.granule(&["status", OUT, "--json"]);
        let said =
            Ended::from(cluster.at_home(&mut asking).output().expect("the program starts")).succeeded();
        assert!(said.stdout.contains(&format!("\"job\":{second},\"state\":\"")), "{said:#?}");
        cluster.does("scontrol", &["release", &second]);
        cluster.is_left_alone();
        let status = place.run(&["status", OUT]).succeeded();
        assert!(status.stdout.contains("\nci-10trials: complete, 30 of 30"), "{status:#?}");
        check_outputs(place);
        assert!(place.trials(OUT).reused > 0);
        Some(())
    });
}

#[test]
fn workers_come_up_to_the_limit_and_all_of_them_go() {
    on_a_cluster(|cluster, place| {
        let serve =
            ["serve", "sweep.yaml", "--listen", "0.0.0.0:0", "--interface", "lo", "--shard-trials", "1"];
        let serving = place.start(&serve);
        wait_for("there is an access file", || place.path(OUT).join("access.json").exists().then_some(()));
        // The workers start only when all three jobs run.
        let program = shell_word(env!("CARGO_BIN_EXE_granule"));
        let waiting = place
            .script("waiting", &format!("while [ ! -e go ]; do sleep 0.05; done; exec {program} \"$@\""));
        let attach =
            ["slurm", "sweep.yaml", "--attach", "--workers", "3", "--granule", waiting.to_str().unwrap()];
        let mut attached = cluster.granule(place, &attach);
        attached.until("three run", |attached| {
            attached.stderr().contains("workers: 3 running, 0 waiting, at most 3").then_some(())
        });
        assert_eq!(cluster.jobs(), ["RUNNING"; 3]);
        place.write("go", "");
        serving.end().succeeded();
        let ended = attached.end().succeeded();
        assert!(ended.stdout.starts_with("The coordinator has ended; no job is left."), "{ended:#?}");
        assert!(cluster.jobs().is_empty());
        check_outputs(place);
        Some(())
    });
}

#[test]
fn workers_are_taken_back_when_nobody_looks_after_them() {
    on_a_cluster(|cluster, place| {
        let serving = place.start(&["serve", "sweep.yaml", "--listen", "0.0.0.0:0", "--interface", "lo"]);
        wait_for("there is an access file", || place.path(OUT).join("access.json").exists().then_some(()));
        // More jobs than nodes, so that some wait. No worker ever computes.
        let sleeping = place.script("sleeping", "exec sleep 1000");
        let attach =
            ["slurm", "sweep.yaml", "--attach", "--workers", "6", "--granule", sleeping.to_str().unwrap()];
        let attached = cluster.granule(place, &attach);
        wait_for("some run and some wait", || {
            let jobs = cluster.jobs();
            let are_known = place.path(OUT).join("slurm/workers.json").exists();
            let running = jobs.iter().filter(|state| *state == "RUNNING").count();
            (are_known && jobs.len() == 6 && running == 4).then_some(())
        });
        // A killed command leaves its jobs. The next command counts them, too.
        attached.signal(Signal::SIGKILL);
        drop(attached);
        let mut attached = cluster.granule(place, &attach);
        attached.until("all are known", |attached| {
            attached.stderr().contains("workers: 4 running, 2 waiting, at most 6").then_some(())
        });
        assert_eq!(cluster.jobs().len(), 6);
        attached.signal(Signal::SIGKILL);
        drop(attached);
        // A command with a lower limit cancels waiting jobs.
        let fewer =
            ["slurm", "sweep.yaml", "--attach", "--workers", "5", "--granule", sleeping.to_str().unwrap()];
        let mut attached = cluster.granule(place, &fewer);
        attached.until("one is taken back", |attached| {
            attached.stderr().contains("workers: 4 running, 1 waiting, at most 5").then_some(())
        });
        wait_for("it is gone", || (cluster.jobs().len() == 5).then_some(()));
        attached.signal(Signal::SIGINT);
        attached.end().failed_with(130, &["interrupted: cancelled the workers"]);
        assert!(cluster.jobs().is_empty());
        serving.signal(Signal::SIGTERM);
        assert_eq!(serving.end().code, Some(143));
        Some(())
    });
}

/// A program for the nodes: granule, except that workers run this shell command instead.
fn with_workers_that(place: &Place, what: &str) -> String {
    let program = shell_word(env!("CARGO_BIN_EXE_granule"));
    let script = format!("if [ \"$1\" = worker ]; then {what}; fi\nexec {program} \"$@\"");
    place.script("nodes", &script).into_os_string().into_string().expect("text")
}

#[test]
fn a_job_whose_workers_cannot_start_ends_at_once_and_says_why() {
    on_a_cluster(|cluster, place| {
        let nodes = with_workers_that(place, "echo no such library >&2; exit 127");
        let ended = cluster.granule(place, &slurm(&["--nodes", "3", "--granule", &nodes])).end();
        let (id, log) = job(place).expect("a job");
        let parts = [
            &*format!("error: job {id} has failed, and the sweep is not complete"),
            "no such library",
            "srun ended before the sweep, with code 127",
        ];
        ended.failed_with(3, &parts);
        assert!(!log.contains("no worker was connected for"), "it waited for workers: {log}");
        Some(())
    });
}

#[test]
fn workers_that_are_warned_leave_and_their_job_ends() {
    on_a_cluster(|cluster, place| {
        let following = cluster.granule(place, &slurm(&["--nodes", "3"]));
        let workers = stop_in_the_middle(place, 3)?;
        let (id, _) = job(place).expect("a job");
        cluster.does("scancel", &["--signal=USR1", &id]);
        // Slurm delivers the signal later.
        wait_for("all workers have the signal", || {
            workers.iter().all(|id| is_pending(*id, Signal::SIGUSR1)).then_some(())
        });
        workers.iter().for_each(|id| send(*id, Signal::SIGCONT));
        following.end().failed_with(3, &["srun ended before the sweep"]);
        cluster.granule(place, &slurm(&["--nodes", "3"])).end().succeeded();
        check_outputs(place);
        assert!(place.trials(OUT).reused > 0);
        Some(())
    });
}

#[test]
fn a_sweep_that_was_changed_while_its_job_ran_is_completed_as_it_is_now() {
    on_a_cluster(|cluster, place| {
        let first = cluster.granule(place, &slurm(&["--nodes", "3", "--time", "30"]));
        let workers = stop_in_the_middle(place, 3)?;
        let (id, _) = job(place).expect("a job");
        let text = fs::read_to_string(place.path("sweep.yaml")).expect("a sweep");
        let changed = text.replace("trials: 10", "trials: 12");
        assert_ne!(text, changed);
        place.write("sweep.yaml", &changed);
        let differs = "note: the job was submitted with 3 conditions × 1 seed × 10 trials (now 3 conditions \
            × 1 seed × 12 trials)";
        // With --detach, the command fails if the job differs.
        let detached = cluster.granule(place, &slurm(&["--nodes", "3", "--time", "30", "--detach"])).end();
        detached
            .failed_with(3, &[differs, &format!("job {id} computes the earlier version of the sweep file")]);
        let second = cluster.granule(place, &slurm(&["--nodes", "3", "--time", "20"]));
        let options = ", and with --time=30 (now --time=20); granule submits the remaining trials when that job \
            has ended";
        wait_for("the second follows", || second.stderr().contains(options).then_some(()));
        // The first command sees the end of the job only when the next one uses the directory.
        send(first.id(), Signal::SIGSTOP);
        workers.iter().for_each(|id| send(*id, Signal::SIGCONT));
        let next = wait_for("the next job's coordinator", || {
            let is_open = job(place)?.0 != id && place.path(OUT).join("access.json").exists();
            place.processes().into_iter().find(|process| is_open && is_coordinator(*process))
        });
        send(next, Signal::SIGSTOP);
        send(first.id(), Signal::SIGCONT);
        wait_for("the first follows the next job", || {
            first.stderr().contains("is already submitted").then_some(())
        });
        send(next, Signal::SIGCONT);
        for following in [first, second] {
            let ended = following.end().succeeded();
            assert!(ended.stdout.contains("complete, 36 of 36 trials stored"), "{ended:#?}");
        }
        assert_ne!(job(place).expect("a job").0, id);
        assert_eq!(place.trials(OUT).reused, 30);
        Some(())
    });
}

#[test]
fn what_the_environment_would_ask_of_slurm_is_not_asked() {
    on_a_cluster(|cluster, place| {
        let mut command = place.granule(&slurm(&["--nodes", "2", "--time", "30"]));
        for (variable, value) in [
            ("SLURM_MEM_PER_CPU", "10"),
            ("SLURM_MEM_PER_NODE", "10"),
            ("SLURM_NTASKS", "7"),
            ("SLURM_NNODES", "1"),
            ("SLURM_JOB_ID", "987654"),
            ("SLURM_EXPORT_ENV", "NONE"),
            ("SRUN_CPUS_PER_TASK", "9"),
            ("SBATCH_TIMELIMIT", "3"),
            ("SBATCH_JOB_NAME", "other"),
            ("SBATCH_PARTITION", "urgent"),
            ("SBATCH_EXPORT", "NONE"),
            ("SBATCH_ARRAY_INX", "1-3"),
            ("SQUEUE_STATES", "COMPLETED"),
            ("SQUEUE_FORMAT", "%i"),
            ("SQUEUE_PARTITION", "nowhere"),
            ("SACCT_FORMAT", "jobid"),
            ("SCANCEL_NAME", "nothing"),
        ] {
            command.env(variable, value);
        }
        cluster.at_home(&mut command);
        let following = place.start_this(command);
        gather(place, 2)?;
        following.end().succeeded();
        check_outputs(place);
        let (id, _) = job(place).expect("a job");
        assert_eq!(told(cluster, &id, "TimeLimit"), "00:30:00");
        assert_eq!(told(cluster, &id, "JobName"), "ci-10trials-granule");
        // For an option that granule does not set, the user's default applies.
        assert_eq!(told(cluster, &id, "Partition"), "urgent");
        Some(())
    });
}

#[test]
fn a_script_that_was_submitted_by_hand_is_followed_and_left_as_it_is() {
    on_a_cluster(|cluster, place| {
        cluster.granule(place, &slurm(&["--nodes", "3", "--detach", "--", "--hold"])).end().succeeded();
        let (first, _) = job(place).expect("a job");
        cluster.does("scancel", &[&first]);
        let script = place.path(OUT).join("slurm/job.sh");
        let edited = fs::read_to_string(&script).expect("a script") + "# edited\n";
        fs::write(&script, &edited).expect("written");
        cluster.does("sbatch", &[script.to_str().expect("text")]);
        let mut following = cluster.granule(place, &slurm(&["--nodes", "3"]));
        following.until("it is known", |following| {
            following.stderr().contains(" is already submitted").then_some(())
        });
        let (second, _) = job(place).expect("a job");
        assert_ne!(first, second);
        cluster.does("scontrol", &["release", &second]);
        following.end().succeeded();
        check_outputs(place);
        assert_eq!(fs::read_to_string(&script).expect("a script"), edited);
        Some(())
    });
}

#[test]
fn an_sbatch_that_says_more_than_the_number_is_understood() {
    on_a_cluster(|cluster, place| {
        fs::create_dir(place.path("programs")).expect("a directory");
        place.script(
            "programs/sbatch",
            "echo Welcome to the cluster\n/usr/bin/sbatch \"$@\" && echo See the news: 17 new",
        );
        // Shell options of a site's setup file do not change the job.
        place.write("site.sh", "set -eu\n");
        let mut command = place.granule(&slurm(&["--nodes", "1", "--setup", "site.sh"]));
        let path = format!("{}:{}", place.path("programs").display(), std::env::var("PATH").expect("a path"));
        command.env("PATH", path);
        cluster.at_home(&mut command);
        place.start_this(command).end().succeeded();
        check_outputs(place);
        // If the output of `sbatch` has no number, a job may still have been submitted.
        place.script("programs/sbatch", "echo submitted");
        fs::remove_dir_all(place.path("out")).expect("removed");
        let mut command = place.granule(&slurm(&["--nodes", "1"]));
        command.env("PATH", place.path("programs"));
        cluster.at_home(&mut command);
        let parts = ["a job may have been submitted: submitted", "look for the job with `squeue --me`"];
        place.start_this(command).end().failed_with(1, &parts);
        Some(())
    });
}

#[test]
fn why_a_job_waits_or_does_not_go_on_is_told() {
    on_a_cluster(|cluster, place| {
        cluster.does("scontrol", &["update", "partitionname=main", "state=down"]);
        let mut following = cluster.granule(place, &slurm(&["--nodes", "3"]));
        following.until("it waits for the partition", |following| {
            following.stderr().contains("waits: PartitionDown: the partition is down").then_some(())
        });
        let mut asking = place.granule(&["status", OUT, "--follow"]);
        cluster.at_home(&mut asking);
        let mut watching = place.start_this(asking);
        watching
            .until("it says the same", |watching| watching.stderr().contains("PartitionDown").then_some(()));
        cluster.does("scontrol", &["update", "partitionname=main", "state=up"]);
        let workers = stop_in_the_middle(place, 3)?;
        let (id, _) = job(place).expect("a job");
        cluster.does("scontrol", &["suspend", &id]);
        following.until("it is suspended", |following| {
            following.stderr().contains(" is suspended until").then_some(())
        });
        cluster.does("scontrol", &["resume", &id]);
        workers.iter().for_each(|id| send(*id, Signal::SIGCONT));
        following.end().succeeded();
        watching.end().succeeded();
        check_outputs(place);
        Some(())
    });
}

#[test]
fn workers_that_end_at_once_are_no_storm() {
    on_a_cluster(|cluster, place| {
        let serving = place.start(&["serve", "sweep.yaml", "--listen", "0.0.0.0:0", "--interface", "lo"]);
        wait_for("there is an access file", || place.path(OUT).join("access.json").exists().then_some(()));
        let nodes = with_workers_that(place, "echo no such library >&2; exit 127");
        let attach = ["slurm", "sweep.yaml", "--attach", "--workers", "2", "--granule", &nodes];
        let mut command = place.granule(&attach);
        command.env("SQUEUE_STATES", "RUNNING");
        cluster.at_home(&mut command);
        let ended = place.start_this(command).end();
        let parts = [
            "workers ended within a minute after they started; submitting no more for 10 s",
            "error: 6 workers ended within a minute after the start, and no other worker is running",
            "no such library",
        ];
        let ended = ended.failed_with(3, &parts);
        // Each worker that ran has left a log: three times two.
        let logs = fs::read_dir(place.path(OUT).join("slurm")).expect("a directory");
        let names = logs.map(|entry| entry.expect("a name").file_name().into_string().expect("text"));
        let logs: Vec<String> = names.filter(|name| name.starts_with("worker-")).collect();
        assert_eq!(logs.len(), 6, "{logs:?} {ended:#?}");
        serving.signal(Signal::SIGTERM);
        assert_eq!(serving.end().code, Some(143));
        Some(())
    });
}

#[test]
fn options_that_contradict_granules_own_are_refused() {
    let place = Place::new();
    fs::copy(root().join("sweeps/ci-10trials.yaml"), place.path("sweep.yaml")).expect("a sweep");
    for (option, help) in [
        ("--array=1-3", "use granule's --nodes, or --workers and --cores"),
        ("--ntasks=1", "use granule's --nodes, or --workers and --cores"),
        ("-c4", "use granule's --workers and --cores"),
        ("--output=x", "granule reads the log beside the outputs"),
        ("--test-only", "write the script with --dry-run"),
        ("--wrap=true", "the job runs granule's script"),
        ("--signal=INT@5", "granule handles only `--signal=B:USR1@SECONDS`"),
    ] {
        let ended = place.run(&["slurm", "sweep.yaml", "--dry-run", "--", option]);
        ended.failed_with(
            2,
            &[&format!("error: `{option}` contradicts granule's own options for sbatch"), help],
        );
    }
    place.write("site.sh", "module load granule\nexport OMP_PROC_BIND=false\n");
    let script = place.run(&["slurm", "sweep.yaml", "--dry-run", "--setup", "site.sh"]).succeeded().stdout;
    assert!(script.contains("\nmodule load granule\nexport OMP_PROC_BIND=false\n"), "{script}");
    place.write("site.sh", "if true; then\n");
    let ended = place.run(&["slurm", "sweep.yaml", "--dry-run", "--setup", "site.sh"]);
    ended.failed_with(2, &["bash cannot parse it: site.sh: line 2: syntax error"]);
    place.write("site.sh", "#SBATCH --time=3\n");
    let ended = place.run(&["slurm", "sweep.yaml", "--dry-run", "--setup", "site.sh"]);
    ended.failed_with(2, &["it has an `#SBATCH` line; write options for sbatch after `--`"]);
}

/// The commands of the guide, block by block.
fn guide() -> Vec<String> {
    let guide = fs::read_to_string(root().join("docs/cluster.md")).expect("the guide");
    let blocks =
        guide.split("```console\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
    let lines = |block: &str| {
        block.lines().map(|line| line.strip_prefix("login$ ").expect(line).to_owned()).collect::<Vec<_>>()
    };
    blocks.map(|block| lines(block).join("\n")).collect()
}

#[test]
fn every_command_of_the_guide_does_what_it_says() {
    on_a_cluster(|cluster, place| {
        fs::create_dir(place.path("sweeps")).expect("a directory");
        for name in ["ci-10trials.yaml", "quick.yaml"] {
            fs::copy(root().join("sweeps").join(name), place.path("sweeps").join(name)).expect("a sweep");
        }
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_granule")).parent().expect("a directory");
        let path = format!("{}:{}", program.display(), std::env::var("PATH").expect("a path"));
        let blocks = guide();
        assert_eq!(blocks.len(), 3);
        for block in &blocks {
            let mut shell = place.command("/bin/bash");
            shell.args(["-e", "-c", block]).env("PATH", &path);
            let mut running = place.start_this({
                cluster.at_home(&mut shell);
                shell
            });
            wait_for("the commands end", || running.has_ended().then_some(()));
            let ended = running.end().succeeded();
            assert!(!ended.stderr.contains("error"), "{block}\n{ended:#?}");
        }
        cluster.is_left_alone();
        for out in [OUT, "out/elastic"] {
            let outputs = place.hashes(&format!("{out}/seed-451"));
            assert_eq!(outputs, expected(include_str!("../expected/ci-10trials.sha256")), "{out}");
        }
        assert!(place.path("out/quick/manifest.json").exists());
        Some(())
    });
}

#[test]
fn a_job_goes_back_into_the_queue_only_if_it_has_stored_something() {
    let place = Place::new();
    fs::copy(root().join("sweeps/ci-10trials.yaml"), place.path("sweep.yaml")).expect("a sweep");
    let script = place.run(&slurm(&["--nodes", "1", "--dry-run"])).succeeded().stdout;
    place.write("job.sh", &script);
    fs::create_dir(place.path("programs")).expect("a directory");
    // The command after the options of `srun` is a worker. Only the second job runs it.
    place.script(
        "programs/srun",
        "[ -e go ] || exec sleep 1000\nwhile [ \"${1#-}\" != \"$1\" ]; do shift; done\nexec \"$@\"",
    );
    // The first call is refused.
    place.script(
        "programs/scontrol",
        "echo \"$@\" >> calls; [ $(wc -l < calls) -gt 1 ] || { echo held >&2; exit 1; }",
    );
    let path = format!("{}:{}", place.path("programs").display(), std::env::var("PATH").expect("a path"));
    let start = || {
        let mut bash = place.command("/bin/bash");
        bash.arg("job.sh").env("PATH", &path).env("SLURM_JOB_ID", "7");
        place.start_this(bash)
    };
    let is_step = |id| words_of(id).get(1).is_some_and(|word| word == "1000");
    let nothing = start();
    wait_for("its step is started", || place.processes().into_iter().any(is_step).then_some(()));
    nothing.signal(Signal::SIGUSR1);
    let ended =
        nothing.end().failed_with(143, &["time limit reached without storing a trial: use a longer --time"]);
    assert!(ended.stderr.contains("0 of 30 trials are stored"), "{ended:#?}");
    assert!(!place.path("calls").exists());
    place.write("go", "");
    let mut something = start();
    something.until("a trial is stored", |_| (place.length(&store()) > 8_000).then_some(()));
    something.signal(Signal::SIGUSR1);
    something.end().failed_with(143, &["time limit reached, and Slurm refuses to requeue the job: held"]);
    let mut more = start();
    let before = place.length(&store());
    more.until("another trial is stored", |_| (place.length(&store()) > before).then_some(()));
    more.signal(Signal::SIGUSR1);
    let says = "time limit reached: requeued, and will resume";
    more.until("it is put back", |more| more.stderr().contains(says).then_some(()));
    // Slurm ends the job, which only sleeps.
    let is_over = |id| words_of(id).get(1).is_some_and(|word| word == "600");
    wait_for("it waits for its end", || place.processes().into_iter().any(is_over).then_some(()));
    more.signal(Signal::SIGTERM);
    more.end();
    assert_eq!(fs::read_to_string(place.path("calls")).expect("calls"), "requeue 7\n".repeat(2));
    place.is_left_alone();
}

#[test]
fn without_slurm_the_script_can_be_seen_and_nothing_else() {
    let place = Place::new();
    fs::copy(root().join("sweeps/ci-10trials.yaml"), place.path("sweep.yaml")).expect("a sweep");
    let dry =
        place.run(&["slurm", "sweep.yaml", "--nodes", "2", "--time", "2:00:00", "--dry-run"]).succeeded();
    assert!(
        dry.stdout.starts_with("#!/bin/bash\n") && dry.stdout.contains("#SBATCH --time=2:00:00\n"),
        "{dry:#?}"
    );
    assert!(!place.path("out").exists());
    // The job script has the environment's overrides, or unsets them.
    let mut command = place.granule(&["slurm", "sweep.yaml", "--dry-run"]);
    command.env("CHAT_NUM_TRIAL", "2").env("CHAT_RANDOM_WEIGHTS", "");
    let script = Ended::from(command.output().expect("the program starts")).succeeded().stdout;
    for line in ["export CHAT_NUM_TRIAL=2", "unset CHAT_SEED_TRIAL", "export CHAT_RANDOM_WEIGHTS=''"] {
        assert!(script.lines().any(|of| of == line), "{line} in {script}");
    }
    let torn = ["slurm", "sweep.yaml", "--dry-run", "--", "--comment=a\nrm -rf /"];
    place.run(&torn).failed_with(2, &["error: `--comment=a\\nrm -rf /` cannot be written into a job script"]);
    let torn = ["slurm", "sweep.yaml", "--dry-run", "--interface", "ib0\nrm"];
    let script = place.run(&torn).succeeded().stdout;
    assert!(!script.lines().any(|line| line == "rm"), "{script}");
    let run = |arguments: &[&str]| {
        let mut command = place.granule(arguments);
        command.env("PATH", place.path("nowhere"));
        Ended::from(command.output().expect("the program starts"))
    };
    let parts = ["error: cannot run sbatch", "help: run this on a machine that can submit jobs"];
    run(&["slurm", "sweep.yaml"]).failed_with(1, &parts);
    run(&["slurm", "sweep.yaml", "--attach"])
        .failed_with(1, &["error: no coordinator of ci-10trials can be reached"]);
    run(&["slurm", "nowhere.yaml"]).failed_with(2, &["cannot read sweep file nowhere.yaml"]);
}
