//! Batch systems: how a job is submitted, watched and cancelled, as a file of each system says.
//!
//! Such a file has commands as lists of words, and a template of the job script. Both have placeholders in braces. The
//! commands run without a shell.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use granule_text::from_outside;
use serde::Deserialize;

/// Version of the format of system files.
const FORMAT: u32 = 1;

/// The systems that granule knows, with their files.
pub(crate) const SYSTEMS: [(&str, &str); 6] = [
    ("htcondor", include_str!("systems/htcondor.yaml")),
    ("local", include_str!("systems/local.yaml")),
    ("lsf", include_str!("systems/lsf.yaml")),
    ("pbs", include_str!("systems/pbs.yaml")),
    ("sge", include_str!("systems/sge.yaml")),
    ("slurm", include_str!("systems/slurm.yaml")),
];

/// The placeholders of job scripts and of `submit`.
const OF_SCRIPTS: [&str; 8] =
    ["name", "command", "job_script", "log", "threads", "time", "minutes", "seconds"];

/// The placeholder for the user's own options, which `submit` has as a word.
const OPTIONS: &str = "{options}";

/// The placeholder for the number of a job.
const JOB: &str = "{job}";

/// A batch system, as its file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchSystem {
    #[serde(rename = "granule-batch")]
    format: u32,
    /// The command that submits a job script.
    submit: Vec<String>,
    /// The text around the number of the job in the output of `submit`.
    job: String,
    /// The command that prints something while the job waits or runs.
    status: Vec<String>,
    /// Words that `status` prints about a job that has ended.
    #[serde(default)]
    ended: Vec<String>,
    /// The command that cancels a job.
    cancel: Vec<String>,
    /// The template of the job script.
    script: String,
}

/// Why a batch system cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("this is not the file of a batch system: {0}")]
    Format(String),
    #[error("`{place}` has an unknown placeholder {{{name}}}")]
    Placeholder { place: &'static str, name: String },
    #[error("`{place}` must have {what}")]
    Lacks { place: &'static str, what: String },
    #[error("cannot run `{command}`")]
    Start { command: String, source: std::io::Error },
    #[error("`{command}` failed: {said}")]
    Failed { command: String, said: String },
    #[error("`{command}` printed no number of a job: {said}")]
    NoJob { command: String, said: String },
}

impl BatchError {
    pub(crate) fn help(&self) -> String {
        match self {
            BatchError::Format(_) => {
                "`granule init --batch pbs` writes the file of a system, to start from".to_owned()
            }
            BatchError::Placeholder { .. } => {
                format!("the placeholders are {}; write {{{{ for a brace", listed(&OF_SCRIPTS))
            }
            BatchError::Lacks { .. } => "compare it with the file that `granule init --batch pbs` writes".to_owned(),
            BatchError::Start { .. } => "run this where the batch system's commands are in the PATH".to_owned(),
            BatchError::Failed { .. } | BatchError::NoJob { .. } => {
                "change the file of the system: `granule init --batch SYSTEM` writes it, --system FILE uses it"
                    .to_owned()
            }
        }
    }
}

/// Values of placeholders. A line of a template with a placeholder without a value is left out.
pub(crate) type Placeholders = BTreeMap<&'static str, Option<String>>;

impl BatchSystem {
    /// Parses the file of a system.
    pub(crate) fn parse(text: &str) -> Result<BatchSystem, BatchError> {
        let system: BatchSystem = serde_saphyr::from_str(text)
            .map_err(|error| BatchError::Format(from_outside(&error.to_string())))?;
        if system.format != FORMAT {
            return Err(BatchError::Format(format!(
                "its format is {}; this version reads {FORMAT}",
                system.format
            )));
        }
        let needs = |place: &'static str, text: &str, what: &str| match text.contains(what) {
            true => Ok(()),
            false => Err(BatchError::Lacks { place, what: what.to_owned() }),
        };
        let (submit, status, cancel) =
            (system.submit.join(" "), system.status.join(" "), system.cancel.join(" "));
        needs("submit", &submit, "{script}")?;
        needs("job", &system.job, JOB)?;
        needs("status", &status, JOB)?;
        needs("cancel", &cancel, JOB)?;
        if !system.script.contains("{command}") {
            needs("script", &system.script, "{job_script}")?;
        }
        let known = OF_SCRIPTS.iter().map(|name| (*name, Some(String::new()))).collect();
        fill(&system.script, &known, "script")?;
        Ok(system)
    }

    /// Returns the job script.
    pub(crate) fn script(&self, values: &Placeholders) -> Result<String, BatchError> {
        let lines = self.script.lines().map(|line| fill(line, values, "script"));
        let lines: Vec<Option<String>> = lines.collect::<Result<_, _>>()?;
        Ok(lines.into_iter().flatten().map(|line| line + "\n").collect())
    }

    /// Submits a job script, and returns the number of the job.
    pub(crate) fn submit(&self, script: &str, log: &str, options: &[String]) -> Result<String, BatchError> {
        let mut words = Vec::new();
        for word in &self.submit {
            match word.as_str() {
                OPTIONS => words.extend(options.iter().cloned()),
                word => words.push(word.replace("{script}", script).replace("{log}", log)),
            }
        }
        let (command, said) = run(&words)?;
        let (before, after) = self.job.split_once(JOB).unwrap_or((&self.job, ""));
        let job = said.find(before).map(|at| &said[at + before.len()..]).and_then(|rest| {
            let rest = if after.is_empty() { Some(rest) } else { rest.split_once(after).map(|(job, _)| job) };
            rest?.split_whitespace().next()
        });
        match job {
            Some(job) if job.chars().all(|c| c.is_ascii_graphic()) && !job.starts_with('-') => {
                Ok(job.to_owned())
            }
            _ => Err(BatchError::NoJob { command, said: from_outside(said.trim()) }),
        }
    }

    /// Whether a job waits or runs.
    pub(crate) fn is_alive(&self, job: &str) -> Result<bool, BatchError> {
        match run(&with_job(&self.status, job)) {
            Ok((_, said)) => {
                let is_over = |word: &&str| self.ended.iter().any(|ended| word.starts_with(ended.as_str()));
                Ok(!said.trim().is_empty() && !said.split_whitespace().any(|word| is_over(&word)))
            }
            // The systems do not know jobs that have ended.
            Err(BatchError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Cancels a job.
    pub(crate) fn cancel(&self, job: &str) -> Result<(), BatchError> {
        run(&with_job(&self.cancel, job)).map(drop)
    }
}

fn with_job(words: &[String], job: &str) -> Vec<String> {
    words.iter().map(|word| word.replace(JOB, job)).collect()
}

/// Runs a command to its end. Returns the command and its output.
fn run(words: &[String]) -> Result<(String, String), BatchError> {
    let command = words.join(" ");
    let Some((program, arguments)) = words.split_first() else {
        return Err(BatchError::Lacks { place: "submit", what: "a command".to_owned() });
    };
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|source| BatchError::Start { command: command.clone(), source })?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].concat();
        return Err(BatchError::Failed {
            command,
            said: from_outside(String::from_utf8_lossy(&said).trim()),
        });
    }
    Ok((command, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Replaces the placeholders of a text. Returns `None` if one of them has no value. `${…}` belongs to the shell, and `{{`
/// is a brace.
fn fill(text: &str, values: &Placeholders, place: &'static str) -> Result<Option<String>, BatchError> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            filled.push('{');
            rest = after;
            continue;
        }
        let end = from.find('}').filter(|_| !before.ends_with('$'));
        let Some((name, after)) = end.map(|end| (&from[1..end], &from[end + 1..])) else {
            filled.push('{');
            rest = &from[1..];
            continue;
        };
        match values.get(name) {
            Some(Some(value)) => filled.push_str(value),
            Some(None) => return Ok(None),
            None => return Err(BatchError::Placeholder { place, name: from_outside(name) }),
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(Some(filled))
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Placeholders {
        let text = |text: &str| Some(text.to_owned());
        BTreeMap::from([
            ("name", text("quick-1")),
            ("command", text("granule worker")),
            ("job_script", text("/x/job.sh")),
            ("log", text("/x/1.log")),
            ("threads", text("4")),
            ("time", None),
            ("minutes", None),
            ("seconds", None),
        ])
    }

    #[test]
    fn every_system_makes_a_script() {
        for (name, text) in SYSTEMS {
            let system = BatchSystem::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            let script = system.script(&values()).expect(name);
            assert!(script.contains("granule worker") || script.contains("/x/job.sh"), "{name}: {script}");
            assert!(!script.contains('{'), "{name}: {script}");
        }
    }

    #[test]
    fn a_line_without_a_value_is_left_out() {
        let system = BatchSystem::parse(SYSTEMS[3].1).unwrap();
        let mut values = values();
        assert!(!system.script(&values).unwrap().contains("walltime"));
        values.insert("time", Some("01:30:00".to_owned()));
        assert!(system.script(&values).unwrap().contains("\n#PBS -l walltime=01:30:00\n"));
    }

    #[test]
    fn braces_of_shells_stay() {
        let filled = |text: &str| fill(text, &values(), "script").map(Option::unwrap_or_default);
        assert_eq!(filled("echo ${HOME} {{ {threads} }").unwrap(), "echo ${HOME} { 4 }");
        assert_eq!(filled("a { b").unwrap(), "a { b");
        let error = filled("{thread}").unwrap_err();
        assert_eq!(error.to_string(), "`script` has an unknown placeholder {thread}");
        assert!(error.help().starts_with("the placeholders are {name}, {command}"), "{}", error.help());
    }

    #[test]
    fn a_wrong_file_is_refused() {
        let check = |from: &str, to: &str, expected: &str| {
            let text = SYSTEMS[3].1.replace(from, to);
            let error = BatchSystem::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("granule-batch: 1", "granule-batch: 2", "its format is 2; this version reads 1");
        check("cancel:", "cancle:", "this is not the file of a batch system");
        check("[qdel, \"{job}\"]", "[qdel]", "`cancel` must have {job}");
        check("exec {command}", "exec granule", "`script` must have {job_script}");
        check("{threads}", "{cores}", "unknown placeholder {cores}");
    }

    /// The outputs are those in the manuals of the systems.
    #[test]
    fn the_number_of_a_job_is_read() {
        let check = |pattern: &str, output: &str, expected: &str| {
            let text = format!(
                "granule-batch: 1\nsubmit: [printf, '%s', '{output}', '{{script}}']\njob: '{pattern}'\nstatus: [echo, '{{job}}']\n\
                 cancel: [echo, '{{job}}']\nscript: '{{command}}'\n"
            );
            let system = BatchSystem::parse(&text).unwrap();
            assert_eq!(system.submit("", "", &[]).unwrap(), expected);
        };
        check("{job}", "1234.server", "1234.server");
        check("Job <{job}>", "Job <930> is submitted to default queue <normal>.", "930");
        check("submitted to cluster {job}.", "Submitting job(s).\n1 job(s) submitted to cluster 10.", "10");
    }
}
