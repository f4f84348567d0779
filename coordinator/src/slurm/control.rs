//! Slurm's own commands: `sbatch`, `squeue`, `sacct` and `scancel`.

use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use granule_worker::text::from_outside;
use tokio::process::Command;

use super::{JobId, State, state_of};

/// How long Slurm may take to answer; a controller that is busy takes long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why Slurm did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlurmError {
    #[error("cannot run {command}")]
    Missing { command: &'static str, source: io::Error },
    #[error("{command} did not answer within {} s", PATIENCE.as_secs())]
    Silent { command: &'static str },
    #[error("{command} refused: {said}")]
    Refused { command: &'static str, said: String },
    #[error("{command} said what is not understood: {said}")]
    Strange { command: &'static str, said: String },
}

impl SlurmError {
    /// For people.
    pub(crate) fn help(&self) -> Option<&'static str> {
        match self {
            SlurmError::Missing { .. } => Some(
                "this must be a machine from which jobs can be submitted; --dry-run shows the script without Slurm",
            ),
            SlurmError::Refused { command: "sbatch", .. } => Some(
                "--dry-run shows the script; options for Slurm stand behind `--`, such as `-- --account=…`",
            ),
            _ => None,
        }
    }
}

/// Runs a command of Slurm's to its end.
async fn ask(command: &'static str, arguments: &[&str]) -> Result<Output, SlurmError> {
    let mut asking = Command::new(command);
    asking.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, asking.output()).await {
        Ok(output) => output.map_err(|source| SlurmError::Missing { command, source }),
        Err(_) => Err(SlurmError::Silent { command }),
    }
}

/// Runs a command of Slurm's that must succeed, and gives what it says.
async fn told(command: &'static str, arguments: &[&str]) -> Result<String, SlurmError> {
    let output = ask(command, arguments).await?;
    if !output.status.success() {
        return Err(SlurmError::Refused { command, said: last_words(&output) });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn last_words(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if said.is_empty() { format!("{}", output.status) } else { from_outside(&said.join("; ")) }
}

/// Submits a script, or an array of so many of it.
pub(crate) async fn submit(script: &Path, array: Option<u32>) -> Result<JobId, SlurmError> {
    let script = script.display().to_string();
    let array = array.map(|count| format!("--array=1-{count}"));
    let arguments: Vec<&str> = ["--parsable"].into_iter().chain(array.as_deref()).chain([&*script]).collect();
    let said = told("sbatch", &arguments).await?;
    // With several clusters, `JOB;CLUSTER`.
    let number = said.lines().last().and_then(|line| line.split(';').next()?.trim().parse().ok());
    number.map(JobId).ok_or_else(|| SlurmError::Strange { command: "sbatch", said: from_outside(&said) })
}

/// What a job is at.
pub(crate) async fn look(job: JobId) -> Result<State, SlurmError> {
    let number = job.to_string();
    let output =
        ask("squeue", &["--noheader", "--states=all", "--format=%T|%r|%N", "--jobs", &number]).await?;
    if output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        if let Some(line) = said.lines().next() {
            let mut fields = line.trim().splitn(3, '|');
            let mut field = || fields.next().unwrap_or_default();
            return Ok(state_of(field(), field(), field()));
        }
    } else if !last_words(&output).contains("Invalid job id") {
        return Err(SlurmError::Refused { command: "squeue", said: last_words(&output) });
    }
    // What ended a while ago only the accounting knows, which not every cluster has.
    let asked = ["--noheader", "--parsable2", "--allocations", "--format=State", "--jobs", &number];
    let word = told("sacct", &asked).await.unwrap_or_default();
    Ok(state_of(word.lines().last().unwrap_or_default(), "", ""))
}

/// How many jobs of these arrays wait, and how many run.
pub(crate) async fn count(arrays: &[JobId]) -> Result<(u32, u32), SlurmError> {
    if arrays.is_empty() {
        return Ok((0, 0));
    }
    let numbers = arrays.iter().map(JobId::to_string).collect::<Vec<_>>().join(",");
    let output = ask("squeue", &["--noheader", "--array", "--format=%T", "--jobs", &numbers]).await?;
    if !output.status.success() {
        return match last_words(&output) {
            // None of them is there any more.
            said if said.contains("Invalid job id") => Ok((0, 0)),
            said => Err(SlurmError::Refused { command: "squeue", said }),
        };
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let states = said.lines().map(|word| state_of(word.trim(), "", ""));
    Ok(states.fold((0, 0), |(waiting, running), state| match state {
        State::Waiting { .. } => (waiting + 1, running),
        State::Running { .. } => (waiting, running + 1),
        State::Ended(_) | State::Unknown => (waiting, running),
    }))
}

/// Takes jobs back: those that wait only, or all.
pub(crate) async fn cancel(jobs: &[JobId], waiting_only: bool) -> Result<(), SlurmError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let numbers: Vec<String> = jobs.iter().map(JobId::to_string).collect();
    let state = waiting_only.then_some("--state=PENDING");
    let arguments: Vec<&str> =
        ["--quiet"].into_iter().chain(state).chain(numbers.iter().map(|n| &**n)).collect();
    told("scancel", &arguments).await.map(|_| ())
}
