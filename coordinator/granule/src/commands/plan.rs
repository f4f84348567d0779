//! `granule plan`: prints the size of a sweep and what it will cost.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use granule_engine::output::Size;
use granule_engine::spikes::size_of;
use granule_engine::{Memory, Model, Shard, Start, StreamKey, TrialSpikes};
use granule_farm::scheduler::{LEASE_TARGET, effort};
use granule_outputs::PlannedFiles;
use granule_outputs::archive::{ArchiveError, check_no_directory, store_of_run, survey};
use granule_outputs::manifest::ResolvedUntil;
use granule_outputs::space::{self, Fit, FreeSpace, Needs};
use granule_outputs::survey::{Change, DirectorySurvey, FileChanges};
use granule_store::{Store, StoreError};
use granule_sweep::{Plan, Sweep};
use granule_system::files::Directory;
use granule_text::words::brief;
use granule_text::{one_line, plural};
use indicatif::DecimalBytes;
use nix::time::{ClockId, clock_gettime};
use serde::{Serialize, Serializer};

use crate::cli;
use crate::commands::sweep_file::read_sweep;
use crate::commands::sweep_run::{cannot_create, check_size, directory_of};
use crate::commands::this_machine::cores;
use crate::engines::ENGINES;
use crate::failure::Failure;
use crate::stdout::{ReportHead, say, say_json};

/// Files of each kind that the text for people lists.
const SHOWN: usize = 8;

/// Most kinds of cohorts that are timed. Others are assumed to have the same pace.
const MOST_TRIED: usize = 3;

/// Items of streams that all timed kinds read together: less than half a second of work.
const TRIED_ITEMS: u64 = 100_000_000;

/// Bytes of an idle coordinator, and bytes that each trial adds.
const COORDINATOR_BYTES: u64 = 10 << 20;
const COORDINATOR_BYTES_PER_TRIAL: u64 = 250;

/// Bytes that each condition adds, most of them when the manifest is written.
const COORDINATOR_BYTES_PER_CONDITION: u64 = 5500;

/// Bytes of a worker without its network.
const WORKER_BYTES: u64 = 8 << 20;

/// Bytes of a trial in the store besides its spikes: its entry, and its part of a block's rest.
const STORE_BYTES_PER_TRIAL: f64 = 120.0;

/// Seconds to make a file durable and put it in place: on a fast disk, and on one that rotates or is behind a network.
const SECONDS_PER_FILE: [f64; 2] = [0.2e-3, 10e-3];

/// Seconds of one core to derive and hash a byte of an output file.
const SECONDS_PER_BYTE: f64 = 7e-9;

/// Paths of files that are to be written with some changes.
#[derive(Debug)]
struct Paths<'a> {
    changes: &'a FileChanges<'a>,
    of: &'a [Change],
}

impl Paths<'_> {
    fn iter(&self) -> impl Iterator<Item = String> {
        self.of.iter().flat_map(|change| self.changes.paths(*change))
    }

    fn len(&self) -> usize {
        self.of.iter().map(|change| self.changes.count(*change)).sum()
    }
}

impl Serialize for Paths<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[derive(Debug, Serialize)]
struct Estimate<'a> {
    #[serde(flatten)]
    head: ReportHead,
    sweep: String,
    out: String,
    store: String,
    conditions: u64,
    seeds: u64,
    /// While the rule of the sweep has not decided it, the most.
    trials_each: u32,
    /// The rule, if it has not decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<ResolvedUntil>,
    /// Conditions × seeds × trials.
    trials_asked: u64,
    /// Different trials: conditions with equal parameters are computed once.
    trials: u64,
    stored: u64,
    missing: u64,
    /// Conditions that are equal to an earlier one.
    conditions_computed_once: u64,
    /// Conditions of a seed that share noise are one cohort and are computed together.
    cohorts: u64,
    /// Leases of about two seconds each, for a worker at this machine's pace.
    shards: u64,
    /// Spans of noise streams that have to be counted first.
    spans_missing: u64,
    /// Seconds of one core of this machine, for the missing trials. None for a program of the user's, which is not run to
    /// plan.
    core_seconds: Option<f64>,
    cores_here: u32,
    store_bytes: u64,
    output_files: u64,
    output_bytes: u64,
    /// Files that are not in place as the last manifest records them.
    files_to_write: u64,
    /// Those of them that replace no file.
    files_new: Paths<'a>,
    /// Those of them that replace an existing file.
    files_replaced: Paths<'a>,
    /// Files in the directory that only the earlier sweep has.
    files_removed: Vec<String>,
    /// The same, but they are not as granule wrote them, and are kept.
    files_left: Vec<String>,
    /// The reason that `granule run` would refuse the output directory, and what to do. None if it would not.
    refused: Option<String>,
    /// Free bytes on the disk of the outputs. None if the system does not report them.
    free_bytes: Option<u64>,
    /// The problem with the room on the disk, if any.
    disk: Option<String>,
    /// Seconds to derive and write these files on this machine, on a fast disk and on a slow one.
    writing_seconds: [f64; 2],
    /// Memory of the coordinator, and of each worker process.
    coordinator_bytes: u64,
    worker_bytes: u64,
}

pub(crate) fn run(arguments: &cli::PlanArgs) -> Result<(), Failure> {
    let SweepPlanned { sweep, plan, out, store_path, store, survey } = load(&arguments.planned)?;
    let costs = Costs::measure(&plan);
    let mut stored = 0;
    let mut shards = 0;
    let mut core_seconds = 0.0;
    let mut store_bytes = 0.0;
    // Of each stream: how far missing trials read it, and how many of its spans are known.
    let mut reach: BTreeMap<StreamKey, (u64, u64)> = BTreeMap::new();
    for (at, cohort) in plan.cohorts.iter().enumerate() {
        let is_missing = |trial: u32, variant: usize| {
            !store.as_ref().is_some_and(|store| store.contains(plan.key(at, variant, trial)))
        };
        // A trial of a cohort is computed for the variants that lack it. Their number has few values.
        let mut by_variants: BTreeMap<usize, u64> = BTreeMap::new();
        for trial in 0..plan.trials {
            let missing = (0..cohort.variants.len()).filter(|&variant| is_missing(trial, variant)).count();
            stored += (cohort.variants.len() - missing) as u64;
            if missing > 0 {
                *by_variants.entry(missing).or_default() += 1;
                let behind = u64::from(trial + 1) * cohort.items_per_trial;
                let known = || known_parts(&plan, at, store.as_ref());
                let (far, _) = reach.entry(cohort.stream).or_insert_with(|| (0, known()));
                *far = behind.max(*far);
            }
        }
        let mut cohort_seconds = 0.0;
        for (variants, trials) in by_variants {
            let seconds = costs.seconds(cohort.cost_per_trial, variants);
            cohort_seconds += trials as f64 * seconds;
            let returned: usize =
                plan.model(at, 0).facts().returns.iter().map(|axes| 8 * size_of(axes)).sum();
            let bytes =
                costs.bytes_per_cost * cohort.cost_per_trial + STORE_BYTES_PER_TRIAL + returned as f64;
            store_bytes += (trials * variants as u64) as f64 * bytes;
        }
        core_seconds += cohort_seconds;
        shards += (cohort_seconds / LEASE_TARGET.as_secs_f64()).ceil() as u64;
    }
    let parts = plan.engine.parts();
    let missing_of = |&(far, known): &(u64, u64)| {
        parts.map_or(0, |parts| u64::from(parts.to_reach(far)).saturating_sub(known))
    };
    let spans_missing: u64 = reach.values().map(missing_of).sum();
    core_seconds += spans_missing as f64 * costs.seconds_per_part;
    let files = PlannedFiles::new(&sweep);
    let changes = survey.changes(&files, &|| false).map_err(ArchiveError::from)?;
    let replaces = arguments.planned.replace;
    let refused = survey.check(&sweep, replaces).and_then(|()| changes.check(&out, replaces)).err();
    let output_bytes = files.size().expected as u64;
    let to_write = changes.size();
    let bytes_to_write = to_write.expected;
    let files_to_write = changes.to_write().len() as u64;
    let store_needs = Size { least: 0.0, expected: store_bytes };
    let needs = Needs { outputs: to_write, given_back: changes.given_back(), store: store_needs };
    let disk = match space::fit(&out, &store_path, needs) {
        Fit::Fits => None,
        Fit::Tight { what } => Some(format!("may become full: {what}")),
        Fit::Lacks { what } => Some(format!("is too small, and `granule run` refuses: {what}")),
    };
    let writing_seconds = SECONDS_PER_FILE.map(|of_file| {
        files_to_write as f64 * of_file + bytes_to_write * SECONDS_PER_BYTE / f64::from(cores())
    });
    let asked = sweep.conditions.len() as u64 * sweep.seeds.len() as u64 * u64::from(sweep.trials);
    let variants: usize = plan.cohorts.iter().map(|cohort| cohort.variants.len()).sum();
    let memory = memory(&plan);
    let report = Estimate {
        head: ReportHead::of("plan"),
        sweep: sweep.name.clone(),
        out: out.display().to_string(),
        store: store_path.display().to_string(),
        conditions: sweep.conditions.len() as u64,
        seeds: sweep.seeds.len() as u64,
        trials_each: sweep.trials,
        until: sweep.undecided().map(ResolvedUntil::of),
        trials_asked: asked,
        trials: plan.len(),
        stored,
        missing: plan.len() - stored,
        conditions_computed_once: (sweep.conditions.len() - variants / sweep.seeds.len()) as u64,
        cohorts: plan.cohorts.len() as u64,
        shards,
        spans_missing,
        core_seconds: (!plan.engine.is_program()).then_some(core_seconds),
        cores_here: cores(),
        store_bytes: store_bytes as u64,
        output_files: files.len() as u64,
        output_bytes,
        files_to_write,
        files_new: Paths { changes: &changes, of: &[Change::Written] },
        files_replaced: Paths { changes: &changes, of: &[Change::Replaced, Change::Unlisted] },
        files_removed: changes.removed.iter().cloned().collect(),
        files_left: changes.left.iter().cloned().collect(),
        refused: refused.map(|refusal| format!("{refusal}; help: {}", refusal.help())),
        free_bytes: FreeSpace::of(&out).map(|room| room.free),
        disk,
        writing_seconds,
        coordinator_bytes: COORDINATOR_BYTES
            + COORDINATOR_BYTES_PER_TRIAL * plan.len()
            + COORDINATOR_BYTES_PER_CONDITION * sweep.conditions.len() as u64
            + memory.derive,
        worker_bytes: WORKER_BYTES + memory.compute,
    };
    if arguments.planned.json {
        say_json(&report)?.done();
    } else {
        say(&report.to_text())?.done();
    }
    Ok(())
}

/// Returns the memory that the largest cohort takes.
fn memory(plan: &Plan) -> Memory {
    let of = (0..plan.cohorts.len()).map(|at| {
        let variants = 0..plan.cohorts[at].variants.len();
        let models: Vec<&Model> = variants.map(|variant| plan.model(at, variant)).collect();
        plan.engine.memory(&models, plan.trials)
    });
    of.fold(Memory::default(), |most, of| Memory {
        compute: most.compute.max(of.compute),
        derive: most.derive.max(of.derive),
    })
}

/// Returns how many parts of a cohort's stream the store or the program has.
fn known_parts(plan: &Plan, at: usize, store: Option<&Store>) -> u64 {
    let cohort = &plan.cohorts[at];
    let stored = store.map_or(0, |store| store.spans(cohort.stream).len());
    stored.max(plan.engine.shipped(plan.model(at, 0), cohort.seed).len()) as u64
}

/// A sweep file, and the state of its directory and its store.
pub(crate) struct SweepPlanned {
    pub(crate) sweep: Sweep,
    pub(crate) plan: Plan,
    pub(crate) out: PathBuf,
    pub(crate) store_path: PathBuf,
    /// None if it does not exist yet.
    pub(crate) store: Option<Store>,
    /// The state of the output directory.
    pub(crate) survey: DirectorySurvey,
}

/// Reads all of these, and changes nothing. A store that a run is writing is read as it is at the moment.
pub(crate) fn load(arguments: &cli::PlannedArgs) -> Result<SweepPlanned, Failure> {
    let mut sweep = read_sweep(&arguments.sweep)?;
    check_size(&arguments.sweep, &sweep)?;
    let out = directory_of(&sweep, arguments.out.as_deref());
    Directory::check_links(&out).map_err(|error| cannot_create(&out, &error))?;
    let survey = survey(ENGINES, &out, &mut sweep)?;
    arguments.store.as_deref().map_or(Ok(()), check_no_directory)?;
    // The path that `granule run` would use.
    let store_path = store_of_run(&out, arguments.store.as_deref(), &survey, &sweep)?;
    let store = match Store::glance(&store_path) {
        Ok(store) => Some(store),
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(ArchiveError::from(error).into()),
    };
    let plan = Plan::new(&sweep);
    Ok(SweepPlanned { sweep, plan, out, store_path, store, survey })
}

/// The costs of computing on this machine, as measured.
struct Costs {
    /// For each kind of cohort that was timed: the cost of a trial, and seconds for a unit of effort.
    tried: Vec<(f64, f64)>,
    seconds_per_part: f64,
    /// Bytes of the spikes of a trial of one variant, per unit of cost.
    bytes_per_cost: f64,
}

impl Costs {
    /// Times the kinds of cohorts with the most work, each with a trial or the beginning of one.
    fn measure(plan: &Plan) -> Costs {
        let mut kinds: BTreeMap<u64, (f64, usize)> = BTreeMap::new();
        for (at, cohort) in plan.cohorts.iter().enumerate() {
            let effort = cohort.cost_per_trial * cohort.variants.len() as f64;
            kinds.entry(cohort.cost_per_trial.to_bits()).or_insert((0.0, at)).0 += effort;
        }
        let mut kinds: Vec<(f64, usize)> = kinds.into_values().collect();
        kinds.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        kinds.truncate(MOST_TRIED);
        let items = TRIED_ITEMS / kinds.len().max(1) as u64;
        let mut costs = Costs { tried: Vec::new(), seconds_per_part: 0.0, bytes_per_cost: 0.0 };
        let mut bytes = 0.0;
        for &(_, at) in &kinds {
            let Some(model) = plan.engine.shortened(plan.model(at, 0), items) else { continue };
            let seed = plan.cohorts[at].seed;
            if plan.engine.parts().is_some() && costs.seconds_per_part == 0.0 {
                costs.seconds_per_part = seconds_of(|| plan.engine.survey(&model, seed, 0..1)).0;
            }
            let (seconds, spikes) = seconds_of(|| compute_one(&model, seed, 0, Start::default()));
            let spikes = spikes.expect("an engine of granule computes every trial");
            let cost = model.facts().cost_per_trial;
            costs.tried.push((plan.cohorts[at].cost_per_trial, seconds / effort(cost, 1)));
            bytes += spikes.encode().len() as f64 / cost;
        }
        costs.bytes_per_cost = bytes / costs.tried.len().max(1) as f64;
        costs
    }

    /// Returns the seconds of a trial with this cost and so many variants. A kind that was not timed has the pace of
    /// the nearest.
    fn seconds(&self, cost: f64, variants: usize) -> f64 {
        let distance = |(of, _): &&(f64, f64)| (of - cost).abs();
        let nearest = self.tried.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let per_effort = nearest.map_or(0.0, |(_, seconds)| *seconds);
        effort(cost, variants as u32) * per_effort
    }
}

/// Computes one trial of a condition, without a limit on its spikes.
///
/// # Errors
/// If the user's program failed.
pub(crate) fn compute_one(model: &Model, seed: u32, trial: u32, start: Start) -> Result<TrialSpikes, String> {
    let models = std::slice::from_ref(model);
    let shard = Shard { models, seed, trials: trial..trial + 1, start, most_spikes: u64::MAX };
    let mut found = None;
    let computed = model.engine().compute(&shard, &mut |_, mut results| {
        found = results.pop();
        ControlFlow::Continue(())
    });
    computed.map_err(|error| error.to_string())?;
    found.expect("one trial was computed").map_err(|why| why.to_string())
}

/// Returns the CPU seconds of some work, and its result.
fn seconds_of<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begun = cpu_seconds();
    let done = work();
    (cpu_seconds() - begun, done)
}

/// Returns the CPU time of this thread so far. Wall time would include other threads on the same core.
fn cpu_seconds() -> f64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(0.0, |time| time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9)
}

impl Estimate<'_> {
    fn to_text(&self) -> String {
        let time = |seconds: f64| brief(Duration::from_secs_f64(seconds.clamp(0.0, 1e12)));
        let program = if self.core_seconds.is_none() { ", without your program" } else { "" };
        let (computing, shards, besides) = match self.core_seconds {
            Some(seconds) => (
                format!(
                    "about {} on one core of this machine, {} on all {}",
                    time(seconds),
                    time(seconds / f64::from(self.cores_here)),
                    self.cores_here
                ),
                format!(" and about {}", plural(self.shards, "shard")),
                "",
            ),
            None => (
                "not known, because planning does not run your program; `granule try MODEL` prints the time of a trial"
                    .to_owned(),
                String::new(),
                " and the spikes",
            ),
        };
        let [fast, slow] = self.writing_seconds;
        let writing = match self.files_to_write {
            0 => "nothing; all files are up to date".to_owned(),
            count => format!(
                "{} ({} new), each flushed to disk: about {} on a fast disk, {} on a slow one",
                plural(count, "file"),
                self.files_new.len(),
                time(fast),
                time(slow)
            ),
        };
        let list = |what: &str, paths: &mut dyn Iterator<Item = String>, count: usize| {
            let shown: String = paths.take(SHOWN).map(|path| format!("\n  {}", one_line(&path))).collect();
            let rest = match count.saturating_sub(SHOWN) {
                0 => String::new(),
                rest => format!("\n  and {rest} more; --json lists all"),
            };
            match count as u64 {
                0 => String::new(),
                count => format!("{what} {}:{shown}{rest}\n", plural(count, "file")),
            }
        };
        let Estimate { files_replaced: replaced, files_removed: removed, files_left: left, .. } = self;
        let changes = [
            list("to replace:", &mut replaced.iter(), replaced.len()),
            list(
                "to remove, because this sweep does not have them:",
                &mut removed.iter().cloned(),
                removed.len(),
            ),
            list("changed since granule wrote them; kept:", &mut left.iter().cloned(), left.len()),
        ]
        .concat();
        let free = self.free_bytes.map_or(String::new(), |free| format!("; {} are free", DecimalBytes(free)));
        let disk = self.disk.as_ref().map_or(String::new(), |what| format!("warning: the disk {what}\n"));
        let refused = self.refused.as_ref().map_or(String::new(), |why| {
            format!("refused: `granule run` would stop: {}\n", why.replace("; help: ", "\n  help: "))
        });
        let equal = match self.conditions_computed_once {
            0 => String::new(),
            count => format!(
                ", {} of them distinct ({} equal to another; equal trials are computed once)",
                self.trials,
                plural(count, "condition")
            ),
        };
        let trials = plural(self.trials_each.into(), "trial");
        let (trials, most, until) = match &self.until {
            None => (trials, "", String::new()),
            Some(ResolvedUntil { measure, half_width, at_least, .. }) => (
                format!("{at_least} to {trials}"),
                "at most ",
                format!(
                    "trials: until {measure} is known to ± {half_width} in every condition; all costs are for {trials}\n"
                ),
            ),
        };
        format!(
            "{}: {} × {} × {trials} = {most}{}{equal}\n{until}\
             to compute: {} ({} stored), in {}{shards}\n\
             time: {computing}\n\
             writing: {}\n\
             disk: about {}{besides} more in {}, about {} of outputs in {} ({}){free}\n\
             {disk}{changes}\
             memory: about {} for the coordinator and {} for each worker process{program}\n\
             {refused}",
            self.sweep,
            plural(self.conditions, "condition"),
            plural(self.seeds, "seed"),
            plural(self.trials_asked, "trial"),
            plural(self.missing, "trial"),
            self.stored,
            plural(self.cohorts, "cohort"),
            writing,
            DecimalBytes(self.store_bytes),
            self.store,
            DecimalBytes(self.output_bytes),
            self.out,
            plural(self.output_files, "file"),
            DecimalBytes(self.coordinator_bytes),
            DecimalBytes(self.worker_bytes)
        )
    }
}
