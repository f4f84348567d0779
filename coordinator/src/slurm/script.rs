//! Job scripts: text for `sbatch` that people can read, keep and submit by hand.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::failure::shell_word;

/// How long before the end of its time a job is warned, in seconds: leases are called in and stored by then.
/// Slurm may be a minute early.
const WARNING_SECONDS: u32 = 30;

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
    /// What `#SBATCH` lines say, in front of these.
    fn head(&self, what: &str, log: &str, own: &[String]) -> String {
        let mut text = format!(
            "#!/bin/bash\n# {what}\n# Written by granule {} for: {}\n",
            env!("CARGO_PKG_VERSION"),
            self.command
        );
        // A per cent sign begins what Slurm fills in.
        let logs = self.logs.display().to_string().replace('%', "%%");
        let mut lines = vec![
            format!("--job-name=granule-{}", self.name),
            format!("--output={logs}/{log}"),
            "--open-mode=append".to_owned(),
        ];
        lines.extend_from_slice(own);
        lines.extend(self.time.iter().map(|time| format!("--time={time}")));
        lines.extend(self.partition.iter().map(|partition| format!("--partition={partition}")));
        for line in lines {
            let _ = writeln!(text, "#SBATCH {}", shell_word(&line));
        }
        // What was given comes last, as the later of two equal options holds. A word that is no option
        // belongs to the one before.
        let mut given = self.options.iter().peekable();
        while let Some(option) = given.next() {
            let _ = write!(text, "#SBATCH {}", shell_word(option));
            while let Some(value) = given.next_if(|word| !word.starts_with('-')) {
                let _ = write!(text, " {}", shell_word(value));
            }
            text.push('\n');
        }
        text
    }

    /// A job that is a whole sweep: a coordinator on its first node, and workers on all.
    pub(crate) fn sweep_job(&self, serving: &Serving) -> String {
        let (shape, step, threads) = match self.shape {
            Shape::Nodes(nodes) => (
                vec![format!("--nodes={nodes}"), "--ntasks-per-node=1".to_owned(), "--exclusive".to_owned()],
                // Without a number of cores a step has all of its nodes.
                "--ntasks-per-node=1".to_owned(),
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
        let mut text = self.head(&what, "%j.log", &own);
        let word = |path: &PathBuf| shell_word(&path.display().to_string());
        let options: String =
            serving.options.iter().map(|option| format!(" {}", shell_word(option))).collect();
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

say() {{ printf '%s job %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$SLURM_JOB_ID" "$*" >&2; }}
stored() {{ stat -c %s "$store" 2>/dev/null || echo 0; }}
before=$(stored)

# The coordinator stores every trial as it comes: whatever happens to this job, the next one goes on from there.
# It gives up when all of its workers are gone.
"$granule" serve "$sweep" --out "$out" --store "$store" --listen 0.0.0.0:0 --give-up-after 5m{options} &
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
srun {step} --cpu-bind=none --no-kill --kill-on-bad-exit=0 --label --input=none \
  "$granule" worker --access "$out/access.json" --wait{threads} &
workers=$!

# Signals interrupt the waiting; the shell remembers how the coordinator has ended.
wait "$coordinator"; code=$?
while [ -n "$interrupted" ]; do interrupted=; wait "$coordinator"; code=$?; done
kill -TERM "$workers" 2>/dev/null

if [ "$why" = time ] && [ "$code" -ne 0 ]; then
  if [ "$(stored)" -gt "$before" ]; then
    say "the time is over: it goes back into the queue, and on from there"
    scontrol requeue "$SLURM_JOB_ID" && exec sleep 600
  else
    say "the time is over, and nothing was stored in it: give it longer"
  fi
fi
[ "$code" -eq 0 ] || say "ended with $code; to go on: sbatch {script}"
exit "$code"
"#,
            granule = word(&self.granule),
            sweep = word(&serving.sweep),
            out = word(&self.out),
            store = word(&serving.store),
            script = word(&self.logs.join(SCRIPT)),
        );
        text
    }

    /// A job that is one worker, of which there will be an array.
    pub(crate) fn worker_job(&self, idle_timeout: &str) -> String {
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
        let mut text = self.head(&what, "worker-%A_%a.log", &own);
        let _ = write!(
            text,
            "\nexec {} worker --access {} --idle-timeout {idle_timeout}{threads}\n",
            shell_word(&self.granule.display().to_string()),
            shell_word(&self.out.join("access.json").display().to_string())
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let script = plan().sweep_job(&serving());
        let options: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("#SBATCH ")).collect();
        assert_eq!(
            options,
            [
                "--job-name=granule-paper",
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
                "'--comment=a b'",
            ]
        );
        assert!(script.contains("\nout='/scratch/it'\\''s here/out'\n"), "{script}");
        assert!(script.contains("\nexport CHAT_NUM_TRIAL=7\nunset CHAT_RANDOM_WEIGHTS\n"), "{script}");
        assert!(script.contains("--listen 0.0.0.0:0 --give-up-after 5m --audit 5 &\n"), "{script}");
    }

    #[test]
    fn scripts_are_such_that_a_shell_understands_them() {
        let workers = Plan { shape: Shape::Workers { workers: 7, cores: 4 }, ..plan() };
        for script in [plan().sweep_job(&serving()), workers.sweep_job(&serving()), workers.worker_job("2m")]
        {
            let mut bash = std::process::Command::new("bash");
            let checked = bash.args(["-n", "-c", &script]).output().expect("a shell");
            assert!(checked.status.success(), "{}\n{script}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}
