//! Job scripts: text for `sbatch` that people can read, keep and submit by hand.
//!
//! Two programs read a script, each by its own rules: Slurm reads its `#SBATCH` lines, bash reads all others. Text of
//! the user is in `#SBATCH` lines as an [`sbatch_word`], and elsewhere only in assignments, as a [`shell_word`]. The
//! commands of the script have quoted variables.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::failure::{shell_path, shell_word};

/// Slurm warns a job this many seconds before the end of its time. Until then, leases are ended and results are stored.
/// Slurm may be a minute early.
const WARNING_SECONDS: u32 = 30;

/// Cleans the environment of a script. A login session, `salloc` or another job sets variables that `srun` reads as
/// options, and that contradict those of the job.
const ENVIRONMENT: &str = r#"
# srun gets its options from its arguments only: the environment may hold options of another job.
for variable in $(compgen -e); do
  case $variable in
    SLURM_JOB_ID | SLURM_CONF | SLURM_CONF_SERVER | SLURM_JWT | SLURM_WORKING_CLUSTER) ;;
    SLURM_* | SLURMD_* | SBATCH_* | SRUN_* | SALLOC_*) unset "$variable" ;;
  esac
done
"#;

/// Name of the script of a sweep, beside its logs.
pub(crate) const SCRIPT: &str = "job.sh";

/// How a sweep, or workers for one, are run as a job.
#[derive(Clone, Debug)]
pub(crate) struct JobPlan {
    /// Name of the sweep.
    pub(crate) name: String,
    /// The user's command, for readers of the script.
    pub(crate) command: String,
    /// The granule that the nodes run. All paths are absolute.
    pub(crate) granule: PathBuf,
    pub(crate) out: PathBuf,
    /// Directory of the script and the logs.
    pub(crate) logs: PathBuf,
    pub(crate) shape: WorkerLayout,
    pub(crate) time: Option<String>,
    pub(crate) partition: Option<String>,
    /// Options for Slurm, word by word.
    pub(crate) options: Vec<String>,
    /// Shell commands that run first, if a site needs any.
    pub(crate) setup: Option<String>,
    /// The model file on the nodes, for a model of the user's own.
    pub(crate) model: Option<PathBuf>,
}

/// Number and places of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerLayout {
    /// One worker on each of so many nodes, with all cores of the node.
    Nodes(u32),
    /// So many workers with so many cores each, on any nodes.
    Workers { workers: u32, cores: u32 },
}

/// Arguments and variables of the job's coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) sweep: PathBuf,
    pub(crate) store: PathBuf,
    /// Further words of its command line.
    pub(crate) options: Vec<String>,
    /// Variables that change the sweep. Those without a value are unset.
    pub(crate) variables: Vec<(&'static str, Option<String>)>,
}

impl JobPlan {
    /// Returns what is requested of Slurm, as its options.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = match self.shape {
            WorkerLayout::Nodes(nodes) => vec![format!("--nodes={nodes}")],
            WorkerLayout::Workers { workers, cores } => {
                vec![format!("--ntasks={workers}"), format!("--cpus-per-task={cores}")]
            }
        };
        asked.extend(self.time.iter().map(|time| format!("--time={time}")));
        asked.extend(self.partition.iter().map(|partition| format!("--partition={partition}")));
        asked.extend(self.options.iter().cloned());
        asked
    }

    /// Returns the comments and the `#SBATCH` lines, and the commands that come before all others.
    fn head(&self, what: &str, log: &str, own: &[String]) -> Result<String, UnreadableWord> {
        let mut text =
            format!("#!/bin/bash\n# {what}\n# Written by granule {} for: ", env!("CARGO_PKG_VERSION"));
        // A line feed would end the comment.
        text.push_str(&self.command.replace(char::is_control, " "));
        text.push('\n');
        let logs = pattern(&self.logs)?;
        let mut lines = vec![
            format!("--job-name={}-granule", self.name),
            format!("--output={logs}/{log}"),
            "--open-mode=append".to_owned(),
        ];
        lines.extend_from_slice(own);
        lines.extend(self.time.iter().map(|time| format!("--time={time}")));
        lines.extend(self.partition.iter().map(|partition| format!("--partition={partition}")));
        for line in lines {
            let _ = writeln!(text, "#SBATCH {}", sbatch_word(&line)?);
        }
        // The user's options are last, because the later of two equal options holds. A word that is not an option
        // belongs to the option before it.
        let mut given = self.options.iter().peekable();
        while let Some(option) = given.next() {
            let _ = write!(text, "#SBATCH {}", sbatch_word(option)?);
            while let Some(value) = given.next_if(|word| !word.starts_with('-')) {
                let _ = write!(text, " {}", sbatch_word(value)?);
            }
            text.push('\n');
        }
        if let Some(setup) = &self.setup {
            let _ = write!(
                text,
                "\n# Start of the commands of --setup.\n{}\n# End of the commands of --setup.\nset +eu\n",
                setup.trim_end()
            );
        }
        text.push_str(ENVIRONMENT);
        Ok(text)
    }

    /// Returns the assignment of the model file, and the words that pass it to a worker; both empty without a model.
    fn of_model(&self) -> (String, &'static str) {
        match &self.model {
            Some(model) => (format!("model={}\n", shell_path(model)), " --model \"$model\""),
            None => (String::new(), ""),
        }
    }

    /// Returns the script of a job that is a whole sweep: a coordinator on its first node, and workers on all.
    ///
    /// # Errors
    /// If Slurm cannot read a word.
    pub(crate) fn sweep_job(&self, serving: &Serving) -> Result<String, UnreadableWord> {
        let (shape, step, threads) = match self.shape {
            WorkerLayout::Nodes(nodes) => (
                vec![format!("--nodes={nodes}"), "--ntasks-per-node=1".to_owned(), "--exclusive".to_owned()],
                // Without a number of cores, a step has all cores of its nodes.
                format!("--nodes={nodes} --ntasks={nodes} --ntasks-per-node=1"),
                String::new(),
            ),
            WorkerLayout::Workers { workers, cores } => (
                vec![format!("--ntasks={workers}"), format!("--cpus-per-task={cores}")],
                format!("--ntasks={workers} --cpus-per-task={cores}"),
                format!(" --threads {cores}"),
            ),
        };
        let mut own = shape;
        own.extend([
            format!("--signal=B:USR1@{WARNING_SECONDS}"),
            "--requeue".to_owned(),
            // If a node fails, the job continues without its worker.
            "--no-kill".to_owned(),
        ]);
        let what = format!("The sweep {}: a coordinator on the first node, workers on all.", self.name);
        let mut text = self.head(&what, "%j.log", &own)?;
        let options: Vec<String> = serving.options.iter().map(shell_word).collect();
        let (model, with_model) = self.of_model();
        text.push_str(
            "\n# These variables override the sweep file: as they were when granule wrote this script.\n",
        );
        for (name, value) in &serving.variables {
            let _ = match value {
                Some(value) => writeln!(text, "export {name}={}", shell_word(value)),
                None => writeln!(text, "unset {name}"),
            };
        }
        let _ = write!(
            text,
            r#"
granule={granule}
sweep={sweep}
out={out}
{model}store={store}
options=({options})
script={script}

say() {{ printf '%s job %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$SLURM_JOB_ID" "$*" >&2; }}
stored() {{ stat -c %s "$store" 2>/dev/null || echo 0; }}
before=$(stored)

# The coordinator stores every trial as it arrives, so the next job can resume after any failure. It stops if no
# worker is left.
"$granule" serve "$sweep" --out "$out" --store "$store" --listen '[::]:0' --give-up-after 5m "${{options[@]}}" &
coordinator=$!

# Slurm warns before the time limit (USR1) or ends the job (TERM): workers finish their leases, and the results are stored.
why= interrupted=
leave() {{ why=$1 interrupted=1; kill -TERM "$coordinator" 2>/dev/null; }}
trap 'leave time' USR1
trap 'leave told' TERM

# A new store is not empty: its size before the first worker connects does not count as progress.
while [ "$before" -eq 0 ] && kill -0 "$coordinator" 2>/dev/null; do
  sleep 0.1
  [ ! -e "$out/access.json" ] || before=$(stored)
done

# The workers find the coordinator by its access file. If one worker dies, the others continue.
is_computing() {{ "$granule" status --access "$out/access.json" --json 2>/dev/null | grep -q '"state":"computing"'; }}
work() {{
  trap 'kill -TERM "$step" 2>/dev/null' TERM
  trap '' USR1
  srun {step} --cpu-bind=none --no-kill --kill-on-bad-exit=0 --label --input=none --export=ALL \
    "$granule" worker --access "$out/access.json" --wait{threads}{with_model} &
  step=$!
  wait "$step"; ended=$?
  kill -0 "$step" 2>/dev/null && wait "$step"
  # No worker is left, so the job ends instead of waiting.
  if kill -0 "$coordinator" 2>/dev/null && sleep 1 && is_computing; then
    say "srun ended before the sweep, with code $ended; its output is above"
    kill -TERM "$coordinator" 2>/dev/null
  fi
}}
work &
workers=$!

# Signals interrupt `wait`; the shell keeps the coordinator's exit code.
wait "$coordinator"; code=$?
while [ -n "$interrupted" ]; do interrupted=; wait "$coordinator"; code=$?; done
kill -TERM "$workers" 2>/dev/null

if [ "$why" = time ] && [ "$code" -ne 0 ]; then
  if [ "$(stored)" -le "$before" ]; then
    say "time limit reached without storing a trial: use a longer --time"
  elif refusal=$(scontrol requeue "$SLURM_JOB_ID" 2>&1); then
    say "time limit reached: requeued, and will resume"
    exec sleep 600
  else
    say "time limit reached, and Slurm refuses to requeue the job: $refusal"
  fi
fi
[ "$code" -eq 0 ] || say "exited with code $code; to resume: sbatch $(printf %q "$script")"
exit "$code"
"#,
            granule = shell_path(&self.granule),
            sweep = shell_path(&serving.sweep),
            out = shell_path(&self.out),
            store = shell_path(&serving.store),
            options = options.join(" "),
            script = shell_path(self.logs.join(SCRIPT)),
        );
        Ok(text)
    }

    /// Returns the script of a job that is one worker. It is submitted as an array.
    ///
    /// # Errors
    /// If Slurm cannot read a word.
    pub(crate) fn worker_job(&self, idle_timeout: &str) -> Result<String, UnreadableWord> {
        let (shape, threads) = match self.shape {
            WorkerLayout::Nodes(_) => (vec!["--nodes=1".to_owned(), "--exclusive".to_owned()], String::new()),
            WorkerLayout::Workers { cores, .. } => (
                vec!["--ntasks=1".to_owned(), format!("--cpus-per-task={cores}")],
                format!(" --threads {cores}"),
            ),
        };
        let mut own = shape;
        // The worker replaces the batch shell. It drains before its time is over.
        own.push(format!("--signal=B:TERM@{WARNING_SECONDS}"));
        let what = format!("A worker for the coordinator of the sweep {}.", self.name);
        let mut text = self.head(&what, "worker-%A_%a.log", &own)?;
        let (model, with_model) = self.of_model();
        let _ = write!(
            text,
            r#"
granule={granule}
access={access}
idle_timeout={idle_timeout}
{model}
exec "$granule" worker --access "$access" --idle-timeout "$idle_timeout"{threads}{with_model}
"#,
            granule = shell_path(&self.granule),
            access = shell_path(self.out.join("access.json")),
            idle_timeout = shell_word(idle_timeout),
        );
        Ok(text)
    }
}

/// A word that Slurm cannot read in a job script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be written into a job script: {problem}", .word.escape_debug())]
pub(crate) struct UnreadableWord {
    word: String,
    problem: &'static str,
    /// The advice for people.
    pub(crate) help: &'static str,
}

/// Writes a word as Slurm reads it in an `#SBATCH` line (`get_argument` in its `src/sbatch/opt.c`).
///
/// A word ends at white space outside quotes. A backslash keeps the next character as it is, also in quotes of either
/// kind. A `#` outside quotes begins a comment, and a `:` may not begin a word. `hetjob` and `packjob` separate jobs
/// wherever they are in the line, unless a backslash is in them.
fn sbatch_word(word: &str) -> Result<String, UnreadableWord> {
    const SEPARATORS: [&str; 2] = ["hetjob", "packjob"];
    let unfit = |problem| UnreadableWord { word: word.to_owned(), problem, help: "leave it out" };
    if word.is_empty() {
        return Err(unfit("Slurm skips an empty word"));
    }
    if word.chars().any(char::is_control) {
        return Err(unfit("it has a control character"));
    }
    if SEPARATORS.contains(&word) {
        return Ok(word.to_owned());
    }
    let lower = word.to_ascii_lowercase();
    let begins_separator = |at: usize| {
        lower.get(at..).is_some_and(|rest| SEPARATORS.iter().any(|separator| rest.starts_with(separator)))
    };
    let is_plain = |(at, c): (usize, char)| {
        (c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c)) && !begins_separator(at)
    };
    if word.char_indices().all(is_plain) && !word.starts_with(':') {
        return Ok(word.to_owned());
    }
    let mut quoted = String::from("\"");
    for (at, c) in word.char_indices() {
        if matches!(c, '"' | '\\') || at.checked_sub(1).is_some_and(begins_separator) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    Ok(quoted)
}

/// Returns the directory for the name of a log. In that name, a per cent sign begins a field that Slurm fills in.
///
/// If such a name has a backslash, Slurm fills in nothing, and drops the backslash.
fn pattern(directory: &Path) -> Result<String, UnreadableWord> {
    let help = "choose another directory with --out";
    let unfit = |problem| UnreadableWord { word: directory.display().to_string(), problem, help };
    match directory.to_str() {
        None => Err(unfit("it is not UTF-8")),
        Some(text) if text.chars().any(char::is_control) => Err(unfit("it has a control character")),
        Some(text) if text.contains('\\') => Err(unfit("Slurm drops a backslash from the names of logs")),
        Some(text) => Ok(text.replace('%', "%%")),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;

    use proptest::prelude::*;

    use super::*;
    use crate::stubs::Stubs;

    fn plan() -> JobPlan {
        JobPlan {
            name: "paper".into(),
            command: "granule slurm paper.yaml".into(),
            granule: "/project/bin/granule".into(),
            out: "/scratch/it's here/out".into(),
            logs: "/scratch/100%/slurm".into(),
            shape: WorkerLayout::Nodes(3),
            time: Some("1:00:00".into()),
            partition: None,
            options: ["--account", "lab", "--mem=4G", "--comment=a b"].map(str::to_owned).to_vec(),
            setup: Some("module load gcc\n\n".into()),
            model: None,
        }
    }

    fn serving() -> Serving {
        let options = vec!["--audit".to_owned(), "5".to_owned()];
        let variables = vec![("CHAT_NUM_TRIAL", Some("7".to_owned())), ("CHAT_RANDOM_WEIGHTS", None)];
        Serving {
            sweep: "/project/paper.yaml".into(),
            store: "/scratch/s.granule".into(),
            options,
            variables,
        }
    }

    #[test]
    fn what_is_asked_of_slurm_is_at_the_top_with_what_was_given_last() {
        let script = plan().sweep_job(&serving()).expect("a script");
        let options: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("#SBATCH ")).collect();
        assert_eq!(
            options,
            [
                "--job-name=paper-granule",
                "--output=/scratch/100%%/slurm/%j.log",
                "--open-mode=append",
                "--nodes=3",
                "--ntasks-per-node=1",
                "--exclusive",
                "--signal=B:USR1@30",
                "--requeue",
                "--no-kill",
                "--time=1:00:00",
                "--account lab",
                "--mem=4G",
                "\"--comment=a b\"",
            ]
        );
        assert!(script.contains("\nout='/scratch/it'\\''s here/out'\n"), "{script}");
        assert!(script.contains("\nexport CHAT_NUM_TRIAL=7\nunset CHAT_RANDOM_WEIGHTS\n"), "{script}");
        assert!(script.contains("\noptions=(--audit 5)\n"), "{script}");
        assert!(
            script.contains(
                "\n# Start of the commands of --setup.\nmodule load gcc\n# End of the commands of --setup.\n"
            ),
            "{script}"
        );
    }

    #[test]
    fn scripts_are_such_that_a_shell_understands_them() {
        let workers = JobPlan { shape: WorkerLayout::Workers { workers: 7, cores: 4 }, ..plan() };
        for script in [plan().sweep_job(&serving()), workers.sweep_job(&serving()), workers.worker_job("2m")]
        {
            let script = script.expect("a script");
            let mut bash = std::process::Command::new("bash");
            let checked = bash.args(["-n", "-c", &script]).output().expect("a shell");
            assert!(checked.status.success(), "{}\n{script}", String::from_utf8_lossy(&checked.stderr));
        }
    }

    /// Splits a line into words by the rules of Slurm's `get_argument`.
    fn words_of_slurm(line: &str) -> Vec<String> {
        let lower = line.to_ascii_lowercase();
        let mut chars: Vec<char> = line.chars().collect();
        for separator in ["hetjob", "packjob"] {
            if let Some(at) = lower.find(separator) {
                let at = lower[..at].chars().count();
                chars[at..at + separator.len()].fill(' ');
            }
        }
        let mut words = Vec::new();
        let mut rest = chars.into_iter().peekable();
        loop {
            while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
            assert_ne!(rest.peek(), Some(&':'), "Slurm refuses a `:` here: {line}");
            let mut word = String::new();
            let (mut quote, mut is_escaped) = (None, false);
            while let Some(c) = rest.next_if(|c| quote.is_some() || !c.is_ascii_whitespace()) {
                match c {
                    c if std::mem::take(&mut is_escaped) => word.push(c),
                    '\\' => is_escaped = true,
                    c if quote == Some(c) => quote = None,
                    c @ ('"' | '\'') if quote.is_none() => quote = Some(c),
                    '#' if quote.is_none() => return words,
                    c => word.push(c),
                }
            }
            assert_eq!(quote, None, "a quote is not closed in {line}");
            if word.is_empty() {
                return words;
            }
            words.push(word);
        }
    }

    proptest! {
        #[test]
        fn slurm_reads_the_words_that_were_meant(
            words in prop::collection::vec("[ -~é]{1,8}|[a-z]{0,3}(?i:hetjob|packjob) ?", 1..4)
        ) {
            // As a word of its own, it separates jobs on purpose.
            prop_assume!(!words.iter().any(|word| ["hetjob", "packjob"].contains(&&**word)));
            let line: Vec<String> = words.iter().map(|word| sbatch_word(word).expect("a word")).collect();
            prop_assert_eq!(words_of_slurm(&line.join(" ")), words);
        }
    }

    #[test]
    fn what_slurm_cannot_read_is_refused() {
        let text = |options: &[&str], logs: &[u8]| {
            let options = options.iter().map(|word| (*word).to_owned()).collect();
            let logs = Path::new(OsStr::from_bytes(logs)).to_owned();
            let plan = JobPlan { options, logs, ..plan() };
            let error = plan.sweep_job(&serving()).expect_err("a word that Slurm cannot read");
            assert_eq!(plan.worker_job("2m"), Err(error.clone()));
            error.to_string()
        };
        for (options, logs, problem) in [
            (
                &["--comment", ""][..],
                &b"/logs"[..],
                "`` cannot be written into a job script: Slurm skips an empty word",
            ),
            (
                &["--comment=a\nrm"],
                b"/logs",
                "`--comment=a\\nrm` cannot be written into a job script: it has a control character",
            ),
            (&[], b"/a\nb", "`/a\\nb` cannot be written into a job script: it has a control character"),
            (
                &[],
                b"/a\\b",
                "`/a\\\\b` cannot be written into a job script: Slurm drops a backslash from the names of logs",
            ),
            (&[], b"/a\xff", "`/a\u{fffd}` cannot be written into a job script: it is not UTF-8"),
        ] {
            assert_eq!(text(options, logs), problem);
        }
    }

    /// Runs a job's script for directories of this name, with stub programs that record their arguments.
    fn run_jobs(of_logs: &str, of_others: &OsStr) {
        let place = Stubs::new();
        let home = place.directory.path();
        let others = home.join(of_others);
        fs::create_dir_all(&others).expect("a directory");
        // The coordinator waits until a worker was started. Otherwise, it might end before that.
        place.add(
            &others.join("granule"),
            "[ \"$1\" != serve ] || while [ ! -e \"$RECORDS/worker\" ]; do sleep 0.01; done; exit 3",
        );
        place.add(
            &place.programs().join("srun"),
            "while [ \"${1#-}\" != \"$1\" ]; do shift; done; \"$@\"; exec sleep 1000",
        );
        place.add(&place.programs().join("sbatch"), "");
        let out = home.join(of_logs);
        let plan = JobPlan {
            command: format!("granule slurm {of_logs}\ntouch X"),
            granule: others.join("granule"),
            out: out.clone(),
            logs: out.join("slurm"),
            ..plan()
        };
        let serving = Serving {
            sweep: others.join("-sweep.yaml"),
            store: others.join("store"),
            options: vec!["--interface".to_owned(), format!("{of_logs}\n")],
            variables: vec![("CHAT_NUM_TRIAL", Some(of_logs.to_owned()))],
        };
        // If the store is not empty, the workers do not wait for the coordinator to begin.
        fs::write(&serving.store, "something").expect("written");
        let script = plan.sweep_job(&serving).expect("a script");
        let ended = place.run("bash", &script);
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
        let os = |word: &str| OsString::from(word);
        let told = place.told("serve");
        assert_eq!(
            told[..6],
            [
                &os("serve"),
                serving.sweep.as_os_str(),
                &os("--out"),
                out.as_os_str(),
                &os("--store"),
                serving.store.as_os_str()
            ]
            .map(OsStr::to_owned)
        );
        assert_eq!(told[told.len() - 2..], serving.options.iter().map(|word| os(word)).collect::<Vec<_>>());
        let access = out.join("access.json").into_os_string();
        assert_eq!(place.told("worker")[..3], [os("worker"), os("--access"), access.clone()]);
        let said = String::from_utf8_lossy(&ended.stderr);
        let (_, advice) = said.split_once("exited with code 3; to resume: ").expect("advice");
        assert!(place.run("bash", advice).status.success());
        assert_eq!(place.told("sbatch"), [out.join("slurm/job.sh").into_os_string()]);
        fs::remove_file(place.records().join("worker")).expect("a record");
        let ended = place.run("bash", &plan.worker_job("2m").expect("a script"));
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
        assert_eq!(
            place.told("worker"),
            [os("worker"), os("--access"), access, os("--idle-timeout"), os("2m")]
        );
        assert!(!home.join("X").exists(), "the name was run: {of_logs}");
    }

    #[test]
    fn names_of_directories_are_never_run() {
        for name in [
            "a$(touch X)",
            "`touch X`",
            "'; touch X; '",
            "\"; touch X; \"",
            "it's",
            "-x",
            " two  spaces ",
            "*",
            "?[a]",
            "$HOME",
            "~",
            "!!",
            "=ls",
            "a#b",
            ":",
            "a&b|c>d",
            "{a,b}",
            "100%j%%",
            "größe",
            "hetjob",
            "(",
            "${options[@]}",
        ] {
            run_jobs(name, OsStr::new(name));
        }
        for name in [&b"a\ntouch X\n"[..], b"\n", b"\xff$(touch X)\xfe", b"a\\b\\'", b"\x1b[31m`touch X`"] {
            run_jobs("plain", OsStr::from_bytes(name));
        }
    }
}
