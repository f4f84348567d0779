//! Batch systems: how a job is submitted, watched and cancelled, as a file of each system says.
//!
//! Such a file has commands as lists of words, and a template of the job script. Both have placeholders in braces. The
//! commands run without a shell.

use std::collections::BTreeMap;
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use granule_system::shell::shell_word;
use granule_text::from_outside;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

/// Version of the format of system files.
const FORMAT: u32 = 1;

/// How long a command of a system may take. A busy server is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The systems that granule knows, with their files.
pub(crate) const SYSTEMS: [(&str, &str); 6] = [
    ("htcondor", include_str!("systems/htcondor.yaml")),
    ("local", include_str!("systems/local.yaml")),
    ("lsf", include_str!("systems/lsf.yaml")),
    ("pbs", include_str!("systems/pbs.yaml")),
    ("sge", include_str!("systems/sge.yaml")),
    ("slurm", include_str!("systems/slurm.yaml")),
];

/// The placeholders of `script`.
const OF_SCRIPTS: [&str; 9] =
    ["name", "command", "job_script", "log", "out", "threads", "time", "minutes", "seconds"];

/// The placeholders of `submit`, besides [`OPTIONS`].
const OF_SUBMIT: [&str; 9] =
    ["script", "name", "job_script", "log", "out", "threads", "time", "minutes", "seconds"];

/// The placeholders of `status` and `cancel`.
const OF_JOBS: [&str; 2] = ["job", "out"];

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
    /// Texts that `status` prints about a job that has ended.
    #[serde(default)]
    ended: Vec<String>,
    /// Texts that `status` prints about a job that stays in the queue until the user releases it.
    #[serde(default)]
    held: Vec<String>,
    /// Texts that `status` prints when it fails because the system does not know the job.
    #[serde(default)]
    unknown: Vec<String>,
    /// The command that cancels a job.
    cancel: Vec<String>,
    /// The template of the job script.
    script: String,
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchJobState {
    /// It waits or runs.
    Alive,
    /// It stays in the queue until the user releases it.
    Held,
    /// It has ended, or the system does not know it.
    Ended,
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
    #[error("this system takes no options after `--`")]
    Options,
    #[error("cannot run `{command}`")]
    Start { command: String, source: io::Error },
    #[error("`{command}` did not answer within {} s", PATIENCE.as_secs())]
    Silent { command: String },
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
            BatchError::Placeholder { place, .. } => {
                let names: &[&str] = match *place {
                    "script" => &OF_SCRIPTS,
                    "submit" => &OF_SUBMIT,
                    _ => &OF_JOBS,
                };
                let listed: Vec<String> = names.iter().map(|name| format!("{{{name}}}")).collect();
                let options = if *place == "submit" { ", and the word {options}" } else { "" };
                format!("the placeholders are {}{options}; write {{{{ for a brace", listed.join(", "))
            }
            BatchError::Lacks { .. } => {
                "compare it with the file that `granule init --batch pbs` writes".to_owned()
            }
            BatchError::Options => {
                "leave them out, or use a file whose `submit` has the word \"{options}\"".to_owned()
            }
            BatchError::Start { .. } => {
                "run this where the batch system's commands are in the PATH".to_owned()
            }
            BatchError::Silent { .. } => "run this again when the batch system answers".to_owned(),
            BatchError::Failed { .. } | BatchError::NoJob { .. } => {
                "try the command; `granule init --batch SYSTEM` writes the file of a system, which you can change \
                    and use with --system FILE"
                    .to_owned()
            }
        }
    }
}

/// Values of placeholders. A line of a template, or a word of a command, with a placeholder without a value is left
/// out.
pub(crate) type Placeholders = BTreeMap<&'static str, Option<String>>;

impl BatchSystem {
    /// Parses the file of a system.
    pub(crate) fn parse(text: &str) -> Result<BatchSystem, BatchError> {
        let options = serde_saphyr::options! { with_snippet: false };
        let system: BatchSystem = serde_saphyr::from_str_with_options(text, options)
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
        needs("job", &system.job, JOB)?;
        if !system.script.contains("{command}") {
            needs("script", &system.script, "{job_script}")?;
        }
        let some = |names: &[&'static str]| -> Placeholders {
            names.iter().map(|name| (*name, Some(String::new()))).collect()
        };
        fill(&system.script, &some(&OF_SCRIPTS), "script")?;
        for (place, words, what, known) in [
            ("submit", &system.submit, "{script}", some(&OF_SUBMIT)),
            ("status", &system.status, JOB, some(&OF_JOBS)),
            ("cancel", &system.cancel, JOB, some(&OF_JOBS)),
        ] {
            needs(place, &words.join(" "), what)?;
            for word in words.iter().filter(|word| place != "submit" || *word != OPTIONS) {
                fill(word, &known, place)?;
            }
        }
        Ok(system)
    }

    /// Checks that `submit` takes options of the user, if there are any.
    pub(crate) fn check_options(&self, options: &[String]) -> Result<(), BatchError> {
        let takes_options = options.is_empty() || self.submit.iter().any(|word| word == OPTIONS);
        if takes_options { Ok(()) } else { Err(BatchError::Options) }
    }

    /// Returns the job script.
    pub(crate) fn script(&self, values: &Placeholders) -> Result<String, BatchError> {
        let lines = self.script.lines().map(|line| fill(line, values, "script"));
        let lines: Vec<Option<String>> = lines.collect::<Result<_, _>>()?;
        Ok(lines.into_iter().flatten().map(|line| line + "\n").collect())
    }

    /// Submits a job script, and returns the number of the job. The values are those of the script, with its path.
    pub(crate) fn submit(&self, values: &Placeholders, options: &[String]) -> Result<String, BatchError> {
        let mut words = Vec::new();
        for word in &self.submit {
            match word.as_str() {
                OPTIONS => words.extend(options.iter().cloned()),
                word => words.extend(fill(word, values, "submit")?),
            }
        }
        let (command, output) = run(&words)?;
        let said = text(&output.stdout);
        if !output.status.success() {
            return Err(failed(command, &output));
        }
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

    /// Returns the state of a job of this output directory.
    ///
    /// # Errors
    /// If the system cannot say it, for example because its server does not answer.
    pub(crate) fn state(&self, job: &str, out: &str) -> Result<BatchJobState, BatchError> {
        let (command, output) = run(&of_job(&self.status, job, out)?)?;
        let said = text(&output.stdout);
        let has = |said: &str, texts: &[String]| texts.iter().any(|text| said.contains(text.as_str()));
        if !output.status.success() {
            return match has(&(said + &text(&output.stderr)), &self.unknown) {
                true => Ok(BatchJobState::Ended),
                false => Err(failed(command, &output)),
            };
        }
        Ok(if said.trim().is_empty() || has(&said, &self.ended) {
            BatchJobState::Ended
        } else if has(&said, &self.held) {
            BatchJobState::Held
        } else {
            BatchJobState::Alive
        })
    }

    /// Cancels a job of this output directory.
    pub(crate) fn cancel(&self, job: &str, out: &str) -> Result<(), BatchError> {
        let (command, output) = run(&of_job(&self.cancel, job, out)?)?;
        if output.status.success() { Ok(()) } else { Err(failed(command, &output)) }
    }

    /// Returns the command that cancels a job, for people.
    pub(crate) fn cancel_command(&self, job: &str, out: &str) -> String {
        of_job(&self.cancel, job, out)
            .unwrap_or_default()
            .iter()
            .map(shell_word)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn of_job(words: &[String], job: &str, out: &str) -> Result<Vec<String>, BatchError> {
    let values = BTreeMap::from([("job", Some(job.to_owned())), ("out", Some(out.to_owned()))]);
    words.iter().filter_map(|word| fill(word, &values, "status").transpose()).collect()
}

/// Runs a command to its end, within [`PATIENCE`]. Returns the command and its output.
fn run(words: &[String]) -> Result<(String, Output), BatchError> {
    let command = words.join(" ");
    let Some((program, arguments)) = words.split_first() else {
        return Err(BatchError::Lacks { place: "submit", what: "a command".to_owned() });
    };
    let mut asking = Command::new(program);
    asking.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let answer = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { timeout(PATIENCE, asking.output()).await.ok().transpose() })
    };
    // In a thread of its own, because callers may be within another runtime.
    let output = std::thread::scope(|scope| scope.spawn(answer).join()).expect("no panic");
    match output {
        Ok(Some(output)) => Ok((command, output)),
        Ok(None) => Err(BatchError::Silent { command }),
        Err(source) => Err(BatchError::Start { command, source }),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn failed(command: String, output: &Output) -> BatchError {
    let said = text(&[output.stderr.as_slice(), &output.stdout].concat());
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = if lines.is_empty() { output.status.to_string() } else { from_outside(&lines.join("; ")) };
    BatchError::Failed { command, said }
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
            ("out", text("/x")),
            ("script", text("/x/job.job")),
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
        check("{threads}", "{cores}", "`script` has an unknown placeholder {cores}");
        check("\"{options}\"", "\"-x {options}\"", "`submit` has an unknown placeholder {options}");
        check("\"{log}\"", "\"{queue}\"", "`submit` has an unknown placeholder {queue}");
        check("[qdel, \"{job}\"]", "[qdel, \"{job}.{id}\"]", "`cancel` has an unknown placeholder {id}");
    }

    /// The outputs are those in the manuals of the systems.
    #[test]
    fn the_number_of_a_job_is_read() {
        let check = |pattern: &str, output: &str, expected: &str| {
            let text = format!(
                "granule-batch: 1\nsubmit: [sh, -c, 'printf %s \"$0\"', '{output}', '{{script}}']\njob: '{pattern}'\nstatus: [echo, '{{job}}']\n\
                 cancel: [echo, '{{job}}']\nscript: '{{command}}'\n"
            );
            let system = BatchSystem::parse(&text).unwrap();
            assert_eq!(system.submit(&values(), &[]).unwrap(), expected);
        };
        check("{job}", "1234.server", "1234.server");
        check("Job <{job}>", "Job <930> is submitted to default queue <normal>.", "930");
        check("submitted to cluster {job}.", "Submitting job(s).\n1 job(s) submitted to cluster 10.", "10");
    }

    /// The texts are those in the manuals and sources of the systems.
    #[test]
    fn a_query_that_fails_says_nothing_about_the_job_unless_it_is_unknown() {
        use BatchJobState::{Alive, Ended, Held};
        let state = |name: &str, said: &str, code: u8| {
            let (_, text) = SYSTEMS.iter().find(|(known, _)| *known == name).unwrap();
            let mut system = BatchSystem::parse(text).unwrap();
            let script = format!("printf '%s' \"$1\" >&{}; exit {code}", 1 + u8::from(code > 0));
            system.status = ["sh", "-c", &script, "sh", said, JOB].map(str::to_owned).to_vec();
            system.state("7", "/x").ok()
        };
        for (name, said, code, expected) in [
            ("pbs", "Job Id: 7.server\n    job_state = Q\n", 0, Some(Alive)),
            ("pbs", "Job Id: 7.server\n    job_state = H\n", 0, Some(Held)),
            ("pbs", "Job Id: 7.server\n    job_state = C\n", 0, Some(Ended)),
            ("pbs", "qstat: Unknown Job Id 7.server", 153, Some(Ended)),
            (
                "pbs",
                "qstat: 7.server Job has finished, use -x or -H to obtain historical job information",
                35,
                Some(Ended),
            ),
            ("pbs", "Connection refused\nqstat: cannot connect to server s (errno=111)", 1, None),
            ("sge", "job_number: 7\n", 0, Some(Alive)),
            (
                "sge",
                "job_number: 7\nerror reason          1:          can't get password entry",
                0,
                Some(Held),
            ),
            ("sge", "Following jobs do not exist: \n7", 1, Some(Ended)),
            ("sge", "error: unable to send message to qmaster using port 6444", 1, None),
            ("lsf", "PEND\n", 0, Some(Alive)),
            ("lsf", "PSUSP\n", 0, Some(Held)),
            ("lsf", "DONE\n", 0, Some(Ended)),
            ("lsf", "Job <7> is not found", 255, Some(Ended)),
            ("lsf", "LSF is down. Please wait ...", 255, None),
            ("htcondor", "2\n", 0, Some(Alive)),
            ("htcondor", "5\n", 0, Some(Held)),
            ("htcondor", "4\n", 0, Some(Ended)),
            ("htcondor", "", 0, Some(Ended)),
            ("htcondor", "-- Failed to fetch ads from: <10.0.0.3:9618> : node34", 1, None),
            ("slurm", "PENDING Resources\n", 0, Some(Alive)),
            ("slurm", "PENDING JobHeldUser\n", 0, Some(Held)),
            ("slurm", "COMPLETED None\n", 0, Some(Ended)),
            ("slurm", "", 0, Some(Ended)),
            ("slurm", "slurm_load_jobs error: Invalid job id specified", 1, Some(Ended)),
            ("slurm", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)", 1, None),
            ("local", "", 0, Some(Ended)),
            ("local", "", 1, None),
            ("local", "sh: 1: ps: not found", 1, None),
        ] {
            assert_eq!(state(name, said, code), expected, "{name}: {said}");
        }
    }

    /// The number of a process may soon be that of another one.
    #[test]
    fn a_process_is_a_job_only_of_its_own_directory() {
        let (_, text) = SYSTEMS[1];
        let system = BatchSystem::parse(text).unwrap();
        let mut process = std::process::Command::new("sh")
            .args(["-c", "read line", "worker", "--access", "/x/one/access.json"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let job = process.id().to_string();
        assert_eq!(system.state(&job, "/x/one").unwrap(), BatchJobState::Alive);
        assert_eq!(system.state(&job, "/x/on").unwrap(), BatchJobState::Ended);
        system.cancel(&job, "/x/on").unwrap_err();
        assert!(process.try_wait().unwrap().is_none(), "the other directory's process runs on");
        system.cancel(&job, "/x/one").unwrap();
        assert!(!process.wait().unwrap().success());
        assert_eq!(system.state(&job, "/x/one").unwrap(), BatchJobState::Ended);
    }

    #[test]
    fn options_are_not_lost() {
        let options = ["-q".to_owned()];
        for (name, text) in SYSTEMS {
            let system = BatchSystem::parse(text).unwrap();
            assert_eq!(system.check_options(&options).is_ok(), name != "local", "{name}");
            system.check_options(&[]).unwrap();
        }
    }
}
