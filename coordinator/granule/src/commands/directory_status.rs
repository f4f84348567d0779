//! `granule status` of an output directory without a coordinator that can be asked.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use granule_outputs::PlannedFiles;
use granule_outputs::archive::{Archive, ArchiveError, keep_still, no_store};
use granule_outputs::drawn;
use granule_outputs::manifest::{CompletedRun, Decision, ResolvedSweep, SetAside};
use granule_outputs::survey::FileChanges;
use granule_server::view::status::now;
use granule_store::{Store, StoreError};
use granule_sweep::Sweep;
use granule_text::words::{Names, grouped, seeds};
use granule_text::{one_line, plural};
use indicatif::DecimalBytes;
use serde::Serialize;

use crate::engines::ENGINES;
use crate::failure::Failure;
use crate::slurm::control::SlurmError;
use crate::slurm::{Job, JobState};
use crate::stdout::{ReportHead, say, say_json};

/// Most lines about conditions, and about trials set aside, in the text for people.
const MOST_LINES: usize = 16;

/// The state of a sweep at rest.
#[derive(Debug, Serialize)]
pub(crate) struct Rest {
    #[serde(flatten)]
    head: ReportHead,
    /// RFC 3339, UTC.
    time: String,
    sweep: String,
    /// `complete`, `incomplete` (files are missing, or trials were set aside), `interrupted` (without a manifest yet)
    /// or `busy` (in use by another granule process).
    state: &'static str,
    engine: String,
    engine_revision: u32,
    trials: TrialTotals,
    pairs: Vec<PairStatus>,
    /// Trials that the last complete run could not compute.
    set_aside: Vec<SetAside>,
    /// How the number of trials was decided, if the sweep file leaves it to a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<Decision>,
    /// Whether the rule has still to decide: then `trials` and `pairs` have the most trials.
    #[serde(skip)]
    is_open: bool,
    store: StoreStatus,
    /// When the last run began.
    started: String,
    /// The run that wrote the manifest. None without a manifest of this sweep.
    last_run: Option<CompletedRun>,
    /// The job that was submitted last for it, if any.
    slurm_job: Option<SlurmJob>,
    /// Figures and reports in the directory that show an earlier state of the sweep.
    stale: Vec<String>,
}

/// The state of a Slurm job.
#[derive(Debug, Serialize)]
pub(crate) struct SlurmJob {
    #[serde(flatten)]
    head: ReportHead,
    #[serde(flatten)]
    job: Job,
    /// `waiting`, `running`, `suspended`, `ended` or `unknown`.
    state: &'static str,
    /// For people: why it waits, where it runs, how it ended.
    text: String,
    log: String,
}

impl SlurmJob {
    pub(crate) fn new(job: &Job, state: &Result<JobState, SlurmError>, log: &Path) -> SlurmJob {
        let (word, text) = match state {
            Ok(JobState::Unknown) => ("unknown", "is no longer known to Slurm".to_owned()),
            Ok(state @ JobState::Waiting { .. }) => ("waiting", state.describe()),
            Ok(state @ (JobState::Running { .. } | JobState::Ending)) => ("running", state.describe()),
            Ok(state @ JobState::Suspended { .. }) => ("suspended", state.describe()),
            Ok(state @ JobState::Ended(_)) => ("ended", state.describe()),
            Err(error) => ("unknown", format!("is in an unknown state: {error}")),
        };
        let (job, log) = (job.clone(), log.display().to_string());
        SlurmJob { head: ReportHead::of("slurm_job"), job, state: word, text, log }
    }

    pub(crate) fn to_text(&self) -> String {
        format!("Slurm job {} {}; its log: {}\n", self.job, self.text, self.log)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct TrialTotals {
    /// Different trials, each of one condition and seed.
    total: u64,
    stored: u64,
}

/// A condition and a seed.
#[derive(Debug, Serialize)]
struct PairStatus {
    condition: String,
    seed: u32,
    total: u64,
    stored: u64,
    set_aside: u64,
    files: u64,
    /// Files that are as the manifest records them.
    files_in_place: u64,
}

#[derive(Debug, Serialize)]
struct StoreStatus {
    path: String,
    /// Whether the file exists.
    found: bool,
    bytes: u64,
    /// Bytes of blocks that cannot be read. Damaged spikes are found only when they are read.
    damaged_bytes: u64,
}

/// Conditions, some of their seeds, and a text about these.
type Remark = (Vec<String>, (Vec<u32>, String));

/// Prints the state of the directory, and of its last Slurm job, if there was one.
pub(crate) fn run(out: &Path, json: bool, job: Option<SlurmJob>) -> Result<(), Failure> {
    let report = match (look(out), job) {
        (Ok(report), job) => Rest { slurm_job: job, ..report },
        // A job that waits has written nothing yet.
        (Err(ArchiveError::NoSweep { .. }), Some(job)) => {
            if json {
                say_json(&job)?.done();
            } else {
                say(&job.to_text())?.done();
            }
            return Ok(());
        }
        (Err(error), _) => return Err(error.into()),
    };
    if json {
        say_json(&report)?.done();
    } else {
        say(&report.to_text())?.done();
    }
    Ok(())
}

/// Whether nothing remains to be done for exactly this sweep.
pub(crate) fn is_complete(out: &Path, sweep: &Sweep) -> bool {
    let is_of_it = |archive: &Archive| {
        *archive.resolved() == ResolvedSweep::of(sweep) || archive.survey.decided(sweep).is_some()
    };
    Archive::find(ENGINES, out, None).is_ok_and(|archive| is_of_it(&archive))
        && look(out).is_ok_and(|rest| rest.is_complete())
}

/// Returns the state of the sweep in this directory.
pub(crate) fn look(out: &Path) -> Result<Rest, ArchiveError> {
    let archive = Archive::find(ENGINES, out, None)?;
    let (sweep, plan) = archive.restore()?;
    let is_held = match keep_still(out) {
        Ok(_) => false,
        Err(ArchiveError::InUse { .. }) => true,
        Err(error) => return Err(error),
    };
    let store = match Store::glance(&archive.store_path) {
        Ok(store) => Some(store),
        Err(error @ StoreError::Io { .. }) => match no_store(error, &archive.store_path) {
            ArchiveError::NoStore { .. } => None,
            error => return Err(error),
        },
        Err(error) => return Err(error.into()),
    };
    let stored_of = |cohort: usize, variant: usize| {
        let is_stored = |trial: &u32| {
            store.as_ref().is_some_and(|store| store.contains(plan.key(cohort, variant, *trial)))
        };
        (0..plan.trials).filter(is_stored).count() as u64
    };
    let stored: Vec<Vec<u64>> = (plan.cohorts.iter().enumerate())
        .map(|(at, cohort)| (0..cohort.variants.len()).map(|variant| stored_of(at, variant)).collect())
        .collect();

    let manifest = archive.finished().ok();
    let set_aside = manifest.map(|manifest| manifest.set_aside.clone()).unwrap_or_default();
    let planned = PlannedFiles::new(&sweep);
    // While a run writes files, none counts as in place.
    let changes = match manifest {
        Some(_) if !is_held => archive.survey.changes(&planned, &|| false)?,
        _ => FileChanges::none(&planned),
    };
    let in_place: BTreeSet<&str> = changes.in_place.iter().map(|(record, _)| record.path.as_str()).collect();
    let mut pairs = Vec::with_capacity(sweep.seeds.len() * sweep.conditions.len());
    for (seed_at, &seed) in sweep.seeds.iter().enumerate() {
        for (at, condition) in sweep.conditions.iter().enumerate() {
            let (cohort, variant) = plan.place(at, seed_at);
            let files = planned.of_pair(at, seed_at);
            let is_here = |aside: &&SetAside| (&aside.condition, aside.seed) == (&condition.name, seed);
            pairs.push(PairStatus {
                condition: condition.name.clone(),
                seed,
                total: plan.trials.into(),
                stored: stored[cohort][variant],
                set_aside: set_aside.iter().filter(is_here).count() as u64,
                files: files.len() as u64,
                files_in_place: files.iter().filter(|file| in_place.contains(file.path.as_str())).count()
                    as u64,
            });
        }
    }
    let is_complete = manifest.is_some()
        && set_aside.is_empty()
        && pairs.iter().all(|pair| pair.files == pair.files_in_place);
    let started = archive.begun().to_owned();
    let trials = TrialTotals { total: plan.len(), stored: stored.iter().flatten().sum() };
    let state = match manifest {
        Some(manifest) => drawn::SweepState::Complete { manifest, is_new: false },
        None => drawn::SweepState::Under { stored: trials.stored, total: trials.total },
    };
    Ok(Rest {
        head: ReportHead::of("rest"),
        time: now(),
        sweep: sweep.name.clone(),
        state: match (is_held, is_complete, manifest) {
            (true, ..) => "busy",
            (false, true, _) => "complete",
            (false, false, Some(_)) => "incomplete",
            (false, false, None) => "interrupted",
        },
        engine: archive.resolved().engine.clone(),
        engine_revision: archive.resolved().engine_revision,
        trials,
        pairs,
        set_aside,
        decisions: manifest.map(|manifest| manifest.decisions.clone()).unwrap_or_default(),
        is_open: manifest.is_none() && sweep.undecided().is_some(),
        store: StoreStatus {
            path: archive.store_path.display().to_string(),
            found: store.is_some(),
            bytes: fs::metadata(&archive.store_path).map_or(0, |metadata| metadata.len()),
            damaged_bytes: store.map_or(0, |store| store.found().damaged_bytes),
        },
        started,
        last_run: manifest.map(|manifest| manifest.run.clone()),
        slurm_job: None,
        stale: drawn::stale(out, state).iter().map(|path| path.display().to_string()).collect(),
    })
}

impl Rest {
    /// Whether nothing remains to be done.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == "complete"
    }

    /// Returns the state in one line.
    pub(crate) fn headline(&self) -> String {
        let TrialTotals { total, stored } = self.trials;
        format!(
            "{}: {}, {stored} of {}{total} trials stored ({} %)",
            self.sweep,
            match self.state {
                "busy" => "in use by another granule process",
                "interrupted" => "interrupted; run the same command to resume",
                "incomplete" => "NOT complete",
                state => state,
            },
            if self.is_open { "at most " } else { "" },
            100 * stored / total.max(1)
        )
    }

    /// Groups conditions and seeds by the text about them.
    fn lines(&self) -> Vec<Remark> {
        let mut by_condition: BTreeMap<&str, Vec<&PairStatus>> = BTreeMap::new();
        let mut names: Vec<&str> = Vec::new();
        for pair in &self.pairs {
            let pairs = by_condition.entry(&pair.condition).or_default();
            if pairs.is_empty() {
                names.push(&pair.condition);
            }
            pairs.push(pair);
        }
        let mut lines: Vec<(String, (Vec<u32>, String))> = Vec::new();
        for name in names {
            let first = lines.len();
            for pair in &by_condition[name] {
                let PairStatus { seed, total, stored, set_aside, files, files_in_place, .. } = pair;
                let mut told = format!("{stored}/{total} stored  {files_in_place}/{files} files");
                if *set_aside > 0 {
                    let _ = write!(told, "  {set_aside} set aside");
                }
                match lines[first..].iter_mut().find(|(_, (_, line))| *line == told) {
                    Some((_, (seeds, _))) => seeds.push(*seed),
                    None => lines.push((name.to_owned(), (vec![*seed], told))),
                }
            }
        }
        grouped(lines)
    }

    /// Returns the state for people, in the width of a terminal. The most important lines are last, where they stay
    /// visible.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let lines = self.lines();
        let mut conditions: Vec<&str> = self.pairs.iter().map(|pair| pair.condition.as_str()).collect();
        let mut seen = HashSet::new();
        conditions.retain(|name| seen.insert(*name));
        let names = Names::new(conditions);
        let shown: Vec<(String, String, String)> = (lines.iter().take(MOST_LINES))
            .map(|(of, (numbers, told))| {
                let each = if of.len() * numbers.len() > 1 { ", each" } else { "" };
                (names.describe(of), seeds(numbers), format!("{told}{each}"))
            })
            .collect();
        let width = |of: fn(&(String, String, String)) -> &String, most: usize| {
            shown
                .iter()
                .map(|line| of(line).chars().count())
                .filter(|width| *width <= most)
                .max()
                .unwrap_or(0)
        };
        let [first, second] = [width(|line| &line.0, 32), width(|line| &line.1, 20)];
        for (names, seeds, told) in &shown {
            let _ = writeln!(text, "  {names:first$}  {seeds:second$}  {told}");
        }
        if lines.len() > MOST_LINES {
            let _ = writeln!(text, "  lines left out: {}; --json has all", lines.len() - MOST_LINES);
        }
        if self.pairs.iter().map(|pair| pair.total).sum::<u64>() > self.trials.total {
            text.push_str(
                "  (conditions with equal parameters share trials; the total below counts each trial once)\n",
            );
        }
        for SetAside { condition, seed, trial, reason } in self.set_aside.iter().take(MOST_LINES) {
            let _ = writeln!(text, "  set aside: trial {trial} of {condition}, seed {seed}: {reason}");
        }
        if self.set_aside.len() > MOST_LINES {
            let _ =
                writeln!(text, "  and {} more set aside; --json has all", self.set_aside.len() - MOST_LINES);
        }
        for path in &self.stale {
            let _ = writeln!(text, "  {path} shows an earlier state of the sweep; draw it again");
        }
        let StoreStatus { path, found, bytes, damaged_bytes } = &self.store;
        let size = if *found { DecimalBytes(*bytes).to_string() } else { "missing".to_owned() };
        let _ = write!(text, "store: {path}, {size}");
        let _ = match damaged_bytes {
            0 => writeln!(text),
            damaged => writeln!(text, ", {damaged} bytes damaged"),
        };
        text.extend(self.slurm_job.iter().map(SlurmJob::to_text));
        match &self.last_run {
            Some(run) => {
                let _ = writeln!(
                    text,
                    "last run: {} on {}, {:.1} s, {} computed, {} reused",
                    run.started,
                    one_line(&run.host),
                    run.wall_seconds,
                    plural(run.trials_computed, "trial"),
                    run.trials_reused
                );
            }
            None => {
                let _ = writeln!(text, "last run: {}, not finished", self.started);
            }
        }
        let _ = writeln!(text, "{}", self.headline());
        text
    }
}
