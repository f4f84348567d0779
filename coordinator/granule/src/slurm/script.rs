//! Job scripts: text for `sbatch` that people can read, keep and submit by hand.
//!
//! Two programs read a script, each by rules of its own: Slurm its `#SBATCH` lines, bash all others. What the user
//! gave is in `#SBATCH` lines as an [`sbatch_word`], and elsewhere in assignments alone, as a [`shell_word`]; the
//! commands of the script have variables, in quotes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::failure::{shell_path, shell_word};

/// How long before the end of its time a job is warned, in seconds: leases are called in and stored by then.
/// Slurm may be a minute early.
const WARNING_SECONDS: u32 = 30;

/// The environment that a script makes for itself. A login session, `salloc` or another job sets variables that `srun`
/// takes for options, and that contradict those of the job.
const ENVIRONMENT: &str = r#"
# What srun is told is in its arguments: what the environment would add is not for this job.
for variable in $(compgen -e); do
  case $variable in
    SLURM_JOB_ID | SLURM_CONF | SLURM_CONF_SERVER | SLURM_JWT | SLURM_WORKING_CLUSTER) ;;
    SLURM_* | SLURMD_* | SBATCH_* | SRUN_* | SALLOC_*) unset "$variable" ;;
  esac
done
"#;

/// Name of the script of a sweep, beside its logs.
pub(crate) const SCRIPT: &str = "job.sh";

/// How a sweep, or workers for one, become a job.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Name of the sweep.
    pub(crate) name: String,
    /// The command that asked for it, for who reads the script.
    pub(crate) command: String,
    /// The granule that the nodes run. All paths are absolute.
    pub(crate) granule: PathBuf,
    pub(crate) out: PathBuf,
    /// Where the script and the logs lie.
    pub(crate) logs: PathBuf,
    pub(crate) shape: Shape,
    pub(crate) time: Option<String>,
    pub(crate) partition: Option<String>,
    /// Given for Slurm, word by word.
    pub(crate) options: Vec<String>,
    /// Shell commands that come first: what a site needs.
    pub(crate) setup: Option<String>,
}

/// Where workers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One on each of so many nodes, with all cores of it.
    Nodes(u32),
    /// So many, each with so many cores, wherever there are.
    Workers { workers: u32, cores: u32 },
}

/// What the job's coordinator is told.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) sweep: PathBuf,
    pub(crate) store: PathBuf,
    /// Further words of its command line.
    pub(crate) options: Vec<String>,
    /// Variables that change the sweep; those without a value are not to be set.
    pub(crate) variables: Vec<(&'static str, Option<String>)>,
}

impl Plan {
    /// What is asked of Slurm, in the words of its options.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = match self.shape {
            Shape::Nodes(nodes) => vec![format!("--nodes={nodes}")],
            Shape::Workers { workers, cores } => {
                vec![format!("--ntasks={workers}"), format!("--cpus-per-task={cores}")]
            }
        };
        asked.extend(self.time.iter().map(|time| format!("--time={time}")));
        asked.extend(self.partition.iter().map(|partition| format!("--partition={partition}")));
        asked.extend(self.options.iter().cloned());
        asked
    }

    /// The comments and the `#SBATCH` lines.
    fn head(&self, what: &str, log: &str, own: &[String]) -> Result<String, Unfit> {
        let mut text =
            format!("#!/bin/bash\n# {what}\n# Written by granule {} for: ", env!("CARGO_PKG_VERSION"));
        // A comment ends with its line.
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
        // What was given comes last, as the later of two equal options holds. A word that is no option
        // belongs to the one before.
        let mut given = self.options.iter().peekable();
        while let Some(option) = given.next() {
            let _ = write!(text, "#SBATCH {}", sbatch_word(option)?);
            while let Some(value) = given.next_if(|word| !word.starts_with('-')) {
                let _ = write!(text, " {}", sbatch_word(value)?);
            }
            text.push('\n');
        }
        if let Some(setup) = &self.setup {
            let _ =
                write!(text, "\n# Given with --setup.\n{}\n# The end of it.\nset +eu\n", setup.trim_end());
        }
        text.push_str(ENVIRONMENT);
        Ok(text)
    }

    /// A job that is a whole sweep: a coordinator on its first node, and workers on all.
    ///
    /// # Errors
    /// If Slurm cannot read a word.
    pub(crate) fn sweep_job(&self, serving: &Serving) -> Result<String, Unfit> {
        let (shape, step, threads) = match self.shape {
            Shape::Nodes(nodes) => (
                vec![format!("--nodes={nodes}"), "--ntasks-per-node=1".to_owned(), "--exclusive".to_owned()],
                // Without a number of cores a step has all of its nodes.
                format!("--nodes={nodes} --ntasks={nodes} --ntasks-per-node=1"),
                String::new(),
            ),
            Shape::Workers { workers, cores } => (
                vec![format!("--ntasks={workers}"), format!("--cpus-per-task={cores}")],
                format!("--ntasks={workers} --cpus-per-task={cores}"),
                format!(" --threads {cores}"),
            ),
        };
        let mut own = shape;
        own.extend([
            format!("--signal=B:USR1@{WARNING_SECONDS}"),
            "--requeue".to_owned(),
            // A node that fails takes its worker with it, not the job.
            "--no-kill".to_owned(),
        ]);
        let what = format!("The sweep {}: a coordinator on the first node, workers on all.", self.name);
        let mut text = self.head(&what, "%j.log", &own)?;
        let options: Vec<String> = serving.options.iter().map(shell_word).collect();
        text.push_str("\n# The sweep is the one that was asked for, whatever the environment is where this is submitted.\n");
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
store={store}
options=({options})
script={script}

say() {{ printf '%s job %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$SLURM_JOB_ID" "$*" >&2; }}
stored() {{ stat -c %s "$store" 2>/dev/null || echo 0; }}
before=$(stored)

# The coordinator stores every trial as it comes: whatever happens to this job, the next one goes on from there.
# It gives up when all of its workers are gone.
"$granule" serve "$sweep" --out "$out" --store "$store" --listen '[::]:0' --give-up-after 5m "${{options[@]}}" &
coordinator=$!

# Slurm warns before the time is over (USR1), or ends the job (TERM): leases are called in, and stored.
why= interrupted=
leave() {{ why=$1 interrupted=1; kill -TERM "$coordinator" 2>/dev/null; }}
trap 'leave time' USR1
trap 'leave told' TERM

# A new store is not empty: what is in it before workers can come does not count as done.
while [ "$before" -eq 0 ] && kill -0 "$coordinator" 2>/dev/null; do
  sleep 0.1
  [ ! -e "$out/access.json" ] || before=$(stored)
done

# The workers find the coordinator by its access file. One that dies does not take the others with it.
is_computing() {{ "$granule" status --access "$out/access.json" --json 2>/dev/null | grep -q '"state":"computing"'; }}
work() {{
  trap 'kill -TERM "$step" 2>/dev/null' TERM
  trap '' USR1
  srun {step} --cpu-bind=none --no-kill --kill-on-bad-exit=0 --label --input=none --export=ALL \
    "$granule" worker --access "$out/access.json" --wait{threads} &
  step=$!
  wait "$step"; ended=$?
  kill -0 "$step" 2>/dev/null && wait "$step"
  # Nobody computes any more: the job does not wait for what cannot come.
  if kill -0 "$coordinator" 2>/dev/null && sleep 1 && is_computing; then
    say "srun has ended before the sweep, with code $ended; what it said is above"
    kill -TERM "$coordinator" 2>/dev/null
  fi
}}
work &
workers=$!

# Signals interrupt the waiting; the shell remembers how the coordinator has ended.
wait "$coordinator"; code=$?
while [ -n "$interrupted" ]; do interrupted=; wait "$coordinator"; code=$?; done
kill -TERM "$workers" 2>/dev/null

if [ "$why" = time ] && [ "$code" -ne 0 ]; then
  if [ "$(stored)" -le "$before" ]; then
    say "the time is over, and nothing was stored in it: give it longer"
  elif refusal=$(scontrol requeue "$SLURM_JOB_ID" 2>&1); then
    say "the time is over: it goes back into the queue, and on from there"
    exec sleep 600
  else
    say "the time is over, and Slurm does not take it back into the queue: $refusal"
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

    /// A job that is one worker, of which there will be an array.
    ///
    /// # Errors
    /// If Slurm cannot read a word.
    pub(crate) fn worker_job(&self, idle_timeout: &str) -> Result<String, Unfit> {
        let (shape, threads) = match self.shape {
            Shape::Nodes(_) => (vec!["--nodes=1".to_owned(), "--exclusive".to_owned()], String::new()),
            Shape::Workers { cores, .. } => (
                vec!["--ntasks=1".to_owned(), format!("--cpus-per-task={cores}")],
                format!(" --threads {cores}"),
            ),
        };
        let mut own = shape;
        // The worker is what the batch shell becomes: it leaves in good order before its time is over.
        own.push(format!("--signal=B:TERM@{WARNING_SECONDS}"));
        let what = format!("A worker for the coordinator of the sweep {}.", self.name);
        let mut text = self.head(&what, "worker-%A_%a.log", &own)?;
        let _ = write!(
            text,
            r#"
granule={granule}
access={access}
idle_timeout={idle_timeout}

exec "$granule" worker --access "$access" --idle-timeout "$idle_timeout"{threads}
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
#[error("`{}` cannot stand in a job script: {problem}", .word.escape_debug())]
pub(crate) struct Unfit {
    word: String,
    problem: &'static str,
    /// What to do, for people.
    pub(crate) help: &'static str,
}

/// The word as Slurm reads it in an `#SBATCH` line (`get_argument` in its `src/sbatch/opt.c`).
///
/// A word ends at white space outside quotes. A backslash takes the next character as it is, in quotes of either kind
/// as well; a `#` outside them begins a comment, and a `:` may not begin a word. `hetjob` and `packjob` separate jobs
/// wherever they are in the line, unless a backslash is in them.
fn sbatch_word(word: &str) -> Result<String, Unfit> {
    const SEPARATORS: [&str; 2] = ["hetjob", "packjob"];
    let unfit = |problem| Unfit { word: word.to_owned(), problem, help: "leave it out" };
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

/// The directory in the name of a log, where a per cent sign begins what Slurm fills in.
///
/// Slurm takes a backslash in such a name for the wish to have nothing filled in, and drops it.
fn pattern(directory: &Path) -> Result<String, Unfit> {
    let help = "choose another directory with --out";
    let unfit = |problem| Unfit { word: directory.display().to_string(), problem, help };
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

    fn plan() -> Plan {
        Plan {
            name: "paper".into(),
            command: "granule slurm paper.yaml".into(),
            granule: "/project/bin/granule".into(),
            out: "/scratch/it's here/out".into(),
            logs: "/scratch/100%/slurm".into(),
            shape: Shape::Nodes(3),
            time: Some("1:00:00".into()),
            partition: None,
            options: ["--account", "lab", "--mem=4G", "--comment=a b"].map(str::to_owned).to_vec(),
            setup: Some("module load gcc\n\n".into()),
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
        assert!(script.contains("\n# Given with --setup.\nmodule load gcc\n# The end of it.\n"), "{script}");
    }

    #[test]
    fn scripts_are_such_that_a_shell_understands_them() {
        let workers = Plan { shape: Shape::Workers { workers: 7, cores: 4 }, ..plan() };
        for script in [plan().sweep_job(&serving()), workers.sweep_job(&serving()), workers.worker_job("2m")]
        {
            let script = script.expect("a script");
            let mut bash = std::process::Command::new("bash");
            let checked = bash.args(["-n", "-c", &script]).output().expect("a shell");
            assert!(checked.status.success(), "{}\n{script}", String::from_utf8_lossy(&checked.stderr));
        }
    }

    /// Words as Slurm finds them in a line, by the rules of its `get_argument`.
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
            // As a word of its own it is given to separate jobs.
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
            let plan = Plan { options, logs, ..plan() };
            let error = plan.sweep_job(&serving()).expect_err("a word that Slurm cannot read");
            assert_eq!(plan.worker_job("2m"), Err(error.clone()));
            error.to_string()
        };
        for (options, logs, problem) in [
            (
                &["--comment", ""][..],
                &b"/logs"[..],
                "`` cannot stand in a job script: Slurm skips an empty word",
            ),
            (
                &["--comment=a\nrm"],
                b"/logs",
                "`--comment=a\\nrm` cannot stand in a job script: it has a control character",
            ),
            (&[], b"/a\nb", "`/a\\nb` cannot stand in a job script: it has a control character"),
            (
                &[],
                b"/a\\b",
                "`/a\\\\b` cannot stand in a job script: Slurm drops a backslash from the names of logs",
            ),
            (&[], b"/a\xff", "`/a\u{fffd}` cannot stand in a job script: it is not UTF-8"),
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
        // The coordinator ends when a worker was started, as otherwise that might not come to it.
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
        let plan = Plan {
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
        // With something in the store the workers do not wait for the coordinator to begin.
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
