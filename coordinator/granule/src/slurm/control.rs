//! Slurm's own commands: `sbatch`, `squeue`, `sacct` and `scancel`.
//!
//! Slurm's commands take options from the environment, too, and a login session, `salloc` or a job sets many. All
//! requests of granule are in the arguments. Of Slurm's variables, a command gets those that locate Slurm
//! ([`OF_THE_SITE`]). `sbatch` also gets the user's defaults for which no option was given ([`DEFAULTS`]).

use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use granule_text::from_outside;
use nix::unistd::getuid;
use tokio::process::Command;

use super::options::SlurmOptions;
use super::{Job, JobId, JobState, state_of};

/// How long Slurm may take to answer. A busy controller is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Beginnings of the names of Slurm's variables.
const PREFIXES: [&str; 9] =
    ["SLURM_", "SLURMD_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SALLOC_", "SRUN_", "SCONTROL_"];

/// Variables that locate Slurm and identify the user.
pub(crate) const OF_THE_SITE: [&str; 3] = ["SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"];

/// A user's defaults for `sbatch`, and the options that override them, by their names and letters.
pub(crate) const DEFAULTS: [(&str, &str, Option<char>); 10] = [
    ("SBATCH_ACCOUNT", "account", Some('A')),
    ("SLURM_ACCOUNT", "account", Some('A')),
    ("SBATCH_CLUSTERS", "clusters", Some('M')),
    ("SLURM_CLUSTERS", "clusters", Some('M')),
    ("SBATCH_CONSTRAINT", "constraint", Some('C')),
    ("SBATCH_PARTITION", "partition", Some('p')),
    ("SBATCH_QOS", "qos", Some('q')),
    ("SBATCH_RESERVATION", "reservation", None),
    ("SBATCH_TIMELIMIT", "time", Some('t')),
    ("SBATCH_WCKEY", "wckey", None),
];

/// The reason that Slurm did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlurmError {
    #[error("cannot run {command}")]
    Missing { command: &'static str, source: io::Error },
    #[error("{command} did not answer within {} s", PATIENCE.as_secs())]
    Silent { command: &'static str },
    #[error("{command} refused: {said}")]
    Refused { command: &'static str, said: String },
    #[error("unexpected output from {command}, but a job may have been submitted: {said}")]
    Strange { command: &'static str, said: String },
}

impl SlurmError {
    /// Returns the advice for people.
    pub(crate) fn help(&self) -> Option<&'static str> {
        match self {
            SlurmError::Missing { .. } => {
                Some("run this on a machine that can submit jobs; --dry-run prints the script without Slurm")
            }
            SlurmError::Refused { command: "sbatch", .. } => Some(
                "--dry-run prints the script; write options for Slurm after `--`, such as `-- --account=…`",
            ),
            SlurmError::Silent { command: "sbatch" } | SlurmError::Strange { .. } => Some(
                "look for the job with `squeue --me`; if it is listed, run the same command again to follow it",
            ),
            _ => None,
        }
    }

    /// Whether `sbatch` refused because of the number of jobs, so that fewer may be accepted.
    pub(crate) fn is_too_many(&self) -> bool {
        const WORDS: [&str; 2] = ["Invalid job array", "MaxSubmit"];
        let SlurmError::Refused { command: "sbatch", said } = self else { return false };
        WORDS.iter().any(|words| said.contains(words))
    }
}

/// The cluster to ask, by its name. None means the cluster of this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slurm {
    pub(crate) cluster: Option<String>,
}

/// A task of an array of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) job: JobId,
    /// Its number in the array.
    pub(crate) number: u32,
    pub(crate) state: JobState,
    /// Time that it has run.
    pub(crate) ran: Duration,
}

impl Slurm {
    /// Returns a command with the variables that it may have.
    fn command(&self, command: &'static str, arguments: &[&str], options: &SlurmOptions) -> Command {
        let mut asking = Command::new(command);
        for (name, _) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| PREFIXES.iter().any(|of| name.starts_with(of)))
            else {
                continue;
            };
            let is_default = command == "sbatch"
                && DEFAULTS.iter().any(|(of, long, short)| *of == name && !options.has(long, *short));
            if !is_default && !OF_THE_SITE.contains(&name) {
                asking.env_remove(name);
            }
        }
        let cluster = self.cluster.iter().map(|cluster| format!("--clusters={cluster}"));
        asking.args(cluster).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        asking
    }

    /// Runs a command of Slurm to its end.
    async fn ask(&self, command: &'static str, arguments: &[&str]) -> Result<Output, SlurmError> {
        output(command, self.command(command, arguments, &SlurmOptions::default())).await
    }

    /// Returns the lines of `squeue` about jobs, or none if it knows none of them.
    async fn queue(&self, arguments: &[&str]) -> Result<Option<Vec<String>>, SlurmError> {
        let output = self.ask("squeue", &[&["--noheader", "--states=all"], arguments].concat()).await?;
        if output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            // Some versions print the name of the cluster first, even without a header.
            let is_job = |line: &&str| !line.is_empty() && !line.starts_with("CLUSTER: ");
            return Ok(Some(said.lines().map(str::trim).filter(is_job).map(str::to_owned).collect()));
        }
        match last_words(&output) {
            said if said.contains("Invalid job id") => Ok(None),
            said => Err(SlurmError::Refused { command: "squeue", said }),
        }
    }

    /// Returns the lines of the accounting about jobs. Not every cluster has an accounting.
    async fn accounts(&self, more: &[&str]) -> Vec<String> {
        let asked = [&["--noheader", "--parsable2", "--allocations"], more].concat();
        match self.ask("sacct", &asked).await {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the state of a job.
    pub(crate) async fn look(&self, job: JobId) -> Result<JobState, SlurmError> {
        let number = job.to_string();
        let said = self.queue(&["--format=%T|%r|%N", "--jobs", &number]).await?;
        if let Some(line) = said.iter().flatten().next() {
            let mut fields = line.splitn(3, '|');
            let mut field = || fields.next().unwrap_or_default();
            return Ok(state_of(field(), field(), field()));
        }
        // Only the accounting has jobs that ended a while ago.
        let said = self.accounts(&["--format=State", "--jobs", &number]).await;
        Ok(state_of(said.last().map_or("", |word| word), "", ""))
    }

    /// Returns a job of this user that runs this script and is not over.
    pub(crate) async fn find(&self, script: &Path) -> Result<Option<JobId>, SlurmError> {
        let user = format!("--user={}", getuid());
        let said = self.queue(&[&user, "--format=%A|%T|%o"]).await?;
        let is_it = |line: &String| {
            let mut fields = line.splitn(3, '|');
            let job = fields.next()?.parse().ok().map(JobId)?;
            let state = state_of(fields.next()?, "", "");
            let command = fields.next()?;
            (!state.is_over() && Path::new(command) == script).then_some(job)
        };
        Ok(said.iter().flatten().find_map(is_it))
    }

    /// Returns the tasks of these arrays that Slurm knows, also those that have ended.
    pub(crate) async fn tasks(&self, arrays: &[JobId]) -> Result<Vec<Task>, SlurmError> {
        if arrays.is_empty() {
            return Ok(Vec::new());
        }
        let numbers = arrays.iter().map(JobId::to_string).collect::<Vec<_>>().join(",");
        let mut tasks = Vec::new();
        let said = self.queue(&["--array", "--format=%F|%K|%T|%M|%r", "--jobs", &numbers]).await?;
        for line in said.iter().flatten() {
            let fields: Vec<&str> = line.splitn(5, '|').collect();
            if let [job, number, state, ran, reason] = fields[..] {
                tasks.extend(task(job, number, state_of(state, reason, ""), ran));
            }
        }
        if arrays.iter().all(|job| tasks.iter().any(|task| task.job == *job)) {
            return Ok(tasks);
        }
        for line in self.accounts(&["--format=JobID,State,Elapsed", "--jobs", &numbers]).await {
            let fields: Vec<&str> = line.splitn(3, '|').collect();
            let [id, state, ran] = fields[..] else { continue };
            let Some((job, number)) = id.split_once('_') else { continue };
            let known = |of: &Task| tasks.iter().any(|task| (task.job, task.number) == (of.job, of.number));
            let found = task(job, number, state_of(state, "", ""), ran).filter(|of| !known(of));
            tasks.extend(found);
        }
        Ok(tasks)
    }

    /// Cancels tasks of arrays. It passes no state, because `scancel` finds no waiting task by its state.
    pub(crate) async fn cancel_tasks(&self, tasks: &[(JobId, u32)]) -> Result<(), SlurmError> {
        self.cancel_named(tasks.iter().map(|(job, number)| format!("{job}_{number}")).collect(), false).await
    }

    /// Cancels jobs: only those that wait, or all.
    pub(crate) async fn cancel(&self, jobs: &[JobId], waiting_only: bool) -> Result<(), SlurmError> {
        self.cancel_named(jobs.iter().map(JobId::to_string).collect(), waiting_only).await
    }

    async fn cancel_named(&self, numbers: Vec<String>, waiting_only: bool) -> Result<(), SlurmError> {
        if numbers.is_empty() {
            return Ok(());
        }
        let state = waiting_only.then_some("--state=PENDING");
        let arguments: Vec<&str> =
            ["--quiet"].into_iter().chain(state).chain(numbers.iter().map(|n| &**n)).collect();
        let output = self.ask("scancel", &arguments).await?;
        if output.status.success() {
            return Ok(());
        }
        Err(SlurmError::Refused { command: "scancel", said: last_words(&output) })
    }
}

fn task(job: &str, number: &str, state: JobState, ran: &str) -> Option<Task> {
    Some(Task { job: JobId(job.parse().ok()?), number: number.parse().ok()?, state, ran: time(ran) })
}

/// Parses a time as Slurm writes it: `1-02:03:04`, `02:03:04` or `3:04`. An empty text is zero.
fn time(text: &str) -> Duration {
    let (days, rest) = text.trim().split_once('-').unwrap_or(("0", text.trim()));
    let fields = rest.split(':').map(|field| field.parse::<u64>().unwrap_or(0));
    let seconds = fields.fold(0, |sum, field| sum * 60 + field);
    Duration::from_secs(days.parse::<u64>().unwrap_or(0) * 86_400 + seconds)
}

async fn output(command: &'static str, mut asking: Command) -> Result<Output, SlurmError> {
    match tokio::time::timeout(PATIENCE, asking.output()).await {
        Ok(output) => output.map_err(|source| SlurmError::Missing { command, source }),
        Err(_) => Err(SlurmError::Silent { command }),
    }
}

fn last_words(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if said.is_empty() { format!("{}", output.status) } else { from_outside(&said.join("; ")) }
}

/// Submits a script with these options, or an array of so many of it, with numbers from 0.
pub(crate) async fn submit(
    script: &Path,
    array: Option<u32>,
    options: &SlurmOptions,
) -> Result<Job, SlurmError> {
    let script = script.display().to_string();
    let array = array.map(|count| format!("--array=0-{}", count - 1));
    let arguments: Vec<&str> = ["--parsable"].into_iter().chain(array.as_deref()).chain([&*script]).collect();
    let output = output("sbatch", Slurm::default().command("sbatch", &arguments, options)).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    // A site's own `sbatch` may print more, before or after the number.
    match said.lines().rev().find_map(number) {
        Some(job) => Ok(job),
        None if !output.status.success() => {
            Err(SlurmError::Refused { command: "sbatch", said: last_words(&output) })
        }
        None => Err(SlurmError::Strange { command: "sbatch", said: from_outside(said.trim()) }),
    }
}

/// Parses a line of `sbatch --parsable`: `JOB`, or with several clusters `JOB;CLUSTER`.
fn number(line: &str) -> Option<Job> {
    let (number, cluster) = match line.trim().split_once(';') {
        Some((number, cluster)) => (number, Some(cluster)),
        None => (line.trim(), None),
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_number || !cluster.is_none_or(is_name) {
        return None;
    }
    Some(Job { job: JobId(number.parse().ok()?), cluster: cluster.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_job_is_found_among_other_lines() {
        let job =
            |job, cluster: Option<&str>| Some(Job { job: JobId(job), cluster: cluster.map(str::to_owned) });
        assert_eq!(number("17"), job(17, None));
        assert_eq!(number(" 17;two "), job(17, Some("two")));
        for line in ["", "17 jobs", "Submitted batch job 17", "17;", ";two", "-1", "17;a b"] {
            assert_eq!(number(line), None, "{line}");
        }
    }

    #[test]
    fn times_are_read_as_slurm_writes_them() {
        let seconds =
            [("0:00", 0), ("1:02", 62), ("01:00:01", 3601), ("2-00:00:03", 172_803), ("INVALID", 0), ("", 0)];
        for (text, expected) in seconds {
            assert_eq!(time(text), Duration::from_secs(expected), "{text}");
        }
    }

    #[test]
    fn a_limit_on_the_number_of_jobs_is_told_from_others() {
        let refused = |said: &str| SlurmError::Refused { command: "sbatch", said: said.to_owned() };
        for said in [
            "sbatch: error: Batch job submission failed: Invalid job array specification",
            "sbatch: error: AssocMaxSubmitJobLimit; Batch job submission failed: Job violates accounting/QOS policy \
             (job submit limit, user's size and/or time limits)",
        ] {
            assert!(refused(said).is_too_many(), "{said}");
        }
        for said in [
            "sbatch: error: invalid partition specified: x",
            "sbatch: error: QOSMaxNodePerJobLimit; Batch job submission failed: Job violates accounting/QOS \
                policy (job \
             submit limit, user's size and/or time limits)",
        ] {
            assert!(!refused(said).is_too_many(), "{said}");
        }
    }
}
