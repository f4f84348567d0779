//! Runs a whole sweep, from its file to the manifest. `run`, `serve` and `ssh` share this.

mod end;
mod precision;
mod summary;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use granule_engine::TrialKey;
use granule_engine::output::Size;
use granule_farm::catalogue::Catalogue;
use granule_farm::dialogue::failure_in_short;
use granule_outputs::archive::{self, ArchiveError, Lock};
use granule_outputs::drawn;
use granule_outputs::manifest::{
    CompletedRun, Decision, FileRecord, Journal, Manifest, ResolvedSweep, SetAside, StoreName, UnderWay,
    forget_under_way, write_stamps,
};
use granule_outputs::selection;
use granule_outputs::space::{self, Fit, Needs};
use granule_outputs::stamps::Seen;
use granule_outputs::survey::{DirectorySurvey, FileChanges};
use granule_outputs::{self as outputs, KeptFile, OutputError, OutputSource, PlannedFiles};
use granule_server::dashboard::{self, Dashboard};
use granule_server::driver::{self, ComputeError, Growth, Records, RunOptions, RunOutcome, TrialRule};
use granule_server::view::board::Views;
use granule_server::view::log::{self, line};
use granule_server::view::progress::Progress;
use granule_server::view::status::{ConditionStatus, DifferentTrials, Parcel};
use granule_server::view::terminal::Terminal;
use granule_store::{Store, StoreError};
use granule_sweep::{Plan, SizeProblem, Sweep};
use granule_system::exit;
use granule_system::files::Directory;
use granule_system::threads;
use granule_text::words::brief;
use granule_text::{one_line, plural};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub(crate) use self::end::MAY_DEPEND;
use self::end::{EarlyEnd, opening_help};
pub(crate) use self::precision::short;
use self::precision::{Course, Precision};
use self::summary::{Computed, Done, FileCounts, RunFacts, RunSummary};
use crate::cli;
use crate::commands::beacon;
use crate::commands::entrance::{Entrance, EntranceError};
use crate::commands::signals::{self, Stop, Stopped};
use crate::commands::sweep_file::{WrittenSweep, read_sweep_and_written, trials_of};
use crate::commands::this_machine::host;
use crate::commands::this_process::{command_line, cpu_seconds};
use crate::engines::ENGINES;
use crate::failure::{Failure, shell_path, shown};
use crate::stdout::{LastWords, both};
use crate::version::commit;

/// The user's request.
pub(crate) struct RunOrder<'a> {
    pub(crate) sweep: &'a Path,
    /// The directory of outputs, manifest and store, if not the default one.
    pub(crate) out: Option<&'a Path>,
    /// The path of the store, if it is not in the output directory.
    pub(crate) store: Option<&'a Path>,
    /// Whether the outputs of another sweep, and files that no record lists, may be replaced.
    pub(crate) replaces: bool,
    /// The address of the dashboard.
    pub(crate) dashboard: Option<SocketAddr>,
    /// Whether the summary is printed as JSON.
    pub(crate) json: bool,
}

impl RunOrder<'_> {
    /// Returns the request that the options of `run`, `serve` and `ssh` make.
    pub(crate) fn of(arguments: &cli::SweepArgs) -> RunOrder<'_> {
        let cli::SweepArgs { sweep, out, store, replace, dashboard, json, .. } = arguments;
        RunOrder {
            sweep,
            out: out.as_deref(),
            store: store.as_deref(),
            replaces: *replace,
            dashboard: *dashboard,
            json: *json,
        }
    }
}

/// Runs a sweep. `entrance` returns the entrance of workers, given the output directory.
pub(crate) fn run(
    order: &RunOrder<'_>,
    entrance: impl FnOnce(&Directory) -> Entrance,
    options: impl FnOnce(&Sweep) -> RunOptions,
) -> Result<(), Failure> {
    let begun = Beginning { at: Instant::now(), started: jiff::Timestamp::now(), cpu_seconds: cpu_seconds() };
    let (mut sweep, written) = read_sweep_and_written(order.sweep)?;
    check_size(order.sweep, &sweep)?;
    let path = directory_of(&sweep, order.out);
    if path.is_dir() {
        archive::survey(ENGINES, &path, &mut sweep)?;
    }
    let plan = Arc::new(Plan::new(&sweep));
    let Ground { out, held, survey, resolved, planned, store } = prepare(&path, &sweep, &plan, order)?;
    let runtime = threads::runtime().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    let _file_size_limit = {
        let _context = runtime.enter();
        // With a handler, a file that grows beyond the limit is an error, and does not kill the process.
        signal(SignalKind::from_raw(Signal::SIGXFSZ as i32))
    };
    let (entrance, mut options) = (entrance(&out), options(&sweep));
    options.packages = known_versions(&sweep, &survey);
    entrance.check().map_err(|error| Failure::caused_by(error.code(), &error, error.help().as_deref()))?;
    let store = Arc::new(open_store(&store, order.store.is_none())?);
    let store_name = archive::name_of_store(&path, store.path())?;
    let RunOrder { dashboard, json, replaces, .. } = *order;
    let decisions = survey.decided(&sweep).map(|manifest| manifest.decisions.clone()).unwrap_or_default();
    let job = PreparedRun {
        precision: Precision::new(&sweep, &plan, &store).map(Arc::new),
        decisions,
        sweep,
        written,
        resolved,
        plan,
        out,
        _held: held,
        survey,
        planned,
        replaces,
        store,
        store_name,
        entrance,
        options,
        dashboard,
        json,
        views: Views::default(),
        begun,
        is_only_begun: AtomicBool::new(false),
    };
    let farewell = format!("stopped; all computed trials are stored\n  to resume: {}", command_line());
    let stopped =
        signals::listen(farewell).map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    // Everything but signals and the store runs in this thread, so messages go through several tasks without waking
    // another thread for each. While files are read and written, there is nothing else to do.
    let (result, last_words) = runtime.block_on(job.run(stopped));
    // Nothing may delay the end. All that counts is durable.
    runtime.shutdown_background();
    // All is in place, the store is closed, and the directory is free. So nothing depends on whether this is read.
    both(result, last_words.map_or(Ok(()), LastWords::say))
}

/// Checks that a sweep has a size that can be run, before anything is made for each of its trials.
pub(crate) fn check_size(path: &Path, sweep: &Sweep) -> Result<(), Failure> {
    let refused = |help: &'static str| {
        move |problem: SizeProblem| {
            Failure::new(exit::USAGE, format!("error: {} {problem}\n  help: {help}", path.display()))
        }
    };
    let (conditions, seeds) = (sweep.conditions.len(), sweep.seeds.len());
    granule_sweep::check_size(conditions, seeds, sweep.trials).map_err(refused("split it into several"))?;
    granule_sweep::check_files(sweep).map_err(refused(
        "switch off files with `record`, or split the sweep; `granule export` writes tables without files",
    ))
}

/// The start of a run.
struct Beginning {
    at: Instant,
    started: jiff::Timestamp,
    /// CPU time of the process until then: `cargo run` becomes the program that it has built.
    cpu_seconds: f64,
}

impl Beginning {
    /// Returns the time of the start, RFC 3339 in UTC.
    fn to_text(&self) -> String {
        self.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// A run with all that it needs.
struct PreparedRun {
    sweep: Sweep,
    /// The files and variables that it was read from.
    written: WrittenSweep,
    /// The sweep as it is recorded.
    resolved: ResolvedSweep,
    /// While the number of trials is undecided, it has the most trials.
    plan: Arc<Plan>,
    /// The rule that has not decided the number of trials yet.
    precision: Option<Arc<Precision>>,
    /// How the rule has decided.
    decisions: Vec<Decision>,
    out: Directory,
    /// Keeps the directory for this run.
    _held: Option<Lock>,
    /// The state of the directory before this run.
    survey: DirectorySurvey,
    planned: PlannedFiles,
    replaces: bool,
    store: Arc<Store>,
    /// The name of the store as it is recorded.
    store_name: StoreName,
    entrance: Entrance,
    options: RunOptions,
    dashboard: Option<SocketAddr>,
    json: bool,
    views: Views,
    begun: Beginning,
    /// Whether `sweep.json` is all that this run has written, beside the manifest of a finished sweep.
    is_only_begun: AtomicBool,
}

/// The stored and the missing trials.
struct Inventory {
    /// By condition.
    parts: Vec<ConditionStatus>,
    /// Stored trials by condition and seed, with the seeds of a condition adjacent.
    pairs: Vec<u32>,
    /// Different trials.
    total: u64,
    /// Those of them that are not stored.
    missing: u64,
}

impl PreparedRun {
    /// Runs the sweep and shows its final state to watchers. Returns the result and the summary to print.
    async fn run(mut self, stopped: Stopped) -> (Result<(), Failure>, Option<LastWords>) {
        let mut dashboard = None;
        let mut done = Done::default();
        let result = self.work(&stopped, &mut dashboard, &mut done).await;
        if result.is_err() && self.is_only_begun.load(Ordering::Relaxed) && done.computed.trials == 0 {
            // Nothing was computed, and the finished sweep in the directory is as it was.
            let _ = forget_under_way(&self.out);
        }
        let result = result.map_err(|end| end.into_failure(&command_line()));
        let last_words = if self.json {
            let code = result.as_ref().map_or_else(|failure| failure.code, |()| 0);
            Some(LastWords::json(&self.summary(code, &done)))
        } else {
            done.summary.take().map(LastWords::summary)
        };
        if let Some(dashboard) = dashboard {
            let text = match &result {
                Ok(()) => format!("The files are in {}.", self.out.current_path().display()),
                Err(failure) => failure.message.clone(),
            };
            dashboard.end(dashboard::RunEnd { is_complete: result.is_ok(), text });
        }
        (result, last_words)
    }

    async fn work(
        &mut self,
        stopped: &Stopped,
        dashboard: &mut Option<Dashboard>,
        done: &mut Done,
    ) -> Result<(), EarlyEnd> {
        let survey = std::mem::take(&mut self.survey);
        let is_interrupted = || stopped.borrow().is_some();
        // Files are not everything: later runs, figures and tables are made from the store.
        if !survey.trusts_store(&self.resolved, self.store.stamp()) {
            let damaged = self.damaged(&is_interrupted).map_err(|error| self.ended(error, stopped))?;
            self.remove_damaged(&damaged)?;
        }
        if let Some(text) = self.decide(0)? {
            line(&text);
        }
        let changes = survey.changes(&self.planned, &is_interrupted);
        let changes = changes.map_err(|error| self.ended(error, stopped))?;
        let has_manifest = survey.manifest.as_ref().is_some_and(|manifest| {
            manifest.files.len() == self.planned.len()
                && manifest.set_aside.is_empty()
                && manifest.sweep == self.resolved
        });
        if changes.are_none() && has_manifest && self.inventory(self.needed()).missing == 0 {
            return self.leave_as_it_is(done, &survey, &changes);
        }
        changes.check(self.out.path(), self.replaces).map_err(|refusal| EarlyEnd::Output(refusal.into()))?;
        if survey.has_first_format() {
            self.tell_of_left(&changes);
        }
        *dashboard = self.open_dashboard()?;
        let started = self.begun.to_text();
        let mut under_way = UnderWay::new(&self.sweep, self.store_name.clone(), started);
        under_way.versions = self.options.packages.clone().unwrap_or_default();
        under_way.write(&self.out).map_err(EarlyEnd::Output)?;
        let records = self.sweep.engine.is_program().then(|| {
            outputs::logs::clear(&self.out);
            Arc::new(ProgramRecords {
                out: self.out.clone(),
                under_way: self.options.packages.is_none().then_some(under_way),
                conditions: self.sweep.conditions.iter().map(|condition| condition.name.clone()).collect(),
                seeds: self.sweep.seeds.clone(),
                logs: AtomicUsize::new(0),
            })
        });
        self.options.records = records.clone().map(|records| records as Arc<dyn Records>);
        self.is_only_begun.store(survey.manifest.is_some() && survey.under_way.is_none(), Ordering::Relaxed);
        self.tell_of_store(&survey);
        let terminal = Terminal::follow(self.views.board());
        let computed = self.compute_enough(stopped, &mut done.computed).await;
        if records.is_some_and(|records| records.logs.load(Ordering::Relaxed) > 0) {
            let logs = self.out.path().join(outputs::logs::NAME);
            line(&format!("note: {} has how the program failed, and its output", shown(logs)));
        }
        computed?;
        let planned = self.planned.without(self.unstored());
        let kept = loop {
            let attempt = self.write_anew(&planned, done, &is_interrupted);
            match attempt {
                Ok(kept) => break kept,
                Err(error) if self.drop_damaged(&error, &is_interrupted)? > 0 => {
                    self.compute(stopped, &mut done.computed).await?;
                }
                Err(error) => return Err(self.ended(error, stopped)),
            }
        };
        drop(terminal);
        self.finish(done, kept).map_err(EarlyEnd::Output)?;
        self.entrance.close().map_err(EarlyEnd::Entrance)?;
        let RunOutcome { set_aside, without_result, tally, .. } = &done.computed.outcome;
        if !set_aside.is_empty() {
            let catalogue = Catalogue::new(&self.plan);
            let is_program = self.sweep.engine.is_program();
            let last: HashSet<_> = without_result.iter().collect();
            let said = |(id, why): &(_, String)| {
                let why = if is_program { failure_in_short(why) } else { why };
                format!("{}: {why}", catalogue.describe(*id))
            };
            let without_result = set_aside.iter().filter(|(id, _)| last.contains(id)).map(said).collect();
            return Err(EarlyEnd::Incomplete { set_aside: set_aside.len(), without_result, is_program });
        }
        if tally.disagreements > 0 {
            return Err(EarlyEnd::Disagreed {
                count: tally.disagreements,
                weakly_settled: tally.weakly_settled,
            });
        }
        Ok(())
    }

    /// Writes the files that the directory lacks by now; returns the records of all files.
    fn write_anew(
        &self,
        planned: &PlannedFiles,
        done: &mut Done,
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<KeptFile>, OutputError> {
        let survey = DirectorySurvey::of(ENGINES, &self.out)?;
        survey.check(&self.sweep, self.replaces)?;
        let changes = survey.changes(planned, is_interrupted)?;
        changes.check(self.out.path(), self.replaces)?;
        done.files.reused = changes.in_place.len() as u64;
        self.is_only_begun.store(false, Ordering::Relaxed);
        let (journal, removed) = survey.retire(&self.resolved, &changes)?;
        done.files.removed += removed as u64;
        self.tell_of_left(&changes);
        self.write_outputs(planned, &changes, journal, &mut done.files, is_interrupted)
    }

    /// Prints a note for each file that the sweep does not have any more and that is not removed.
    fn tell_of_left(&self, changes: &FileChanges<'_>) {
        for left in &changes.left {
            let left = one_line(left);
            line(&format!("note: kept {left}: it was changed, or its path has a symbolic link"));
        }
    }

    /// Computes until the number of trials is decided, and all trials are stored or set aside.
    async fn compute_enough(&mut self, stopped: &Stopped, computed: &mut Computed) -> Result<(), EarlyEnd> {
        loop {
            self.compute(stopped, computed).await?;
            let Some(precision) = &self.precision else { return Ok(()) };
            // The decisions are made again with the final results: audits may have replaced some.
            let trials = precision.needed();
            self.decide(trials)?;
            if self.precision.is_none() {
                let trials = self.plan.trials;
                computed.outcome.set_aside.retain(|(id, _)| id.trial < trials);
                computed.outcome.without_result.retain(|id| id.trial < trials);
                return Ok(());
            }
        }
    }

    /// Decides the number of trials from the stored ones, if it is undecided and they suffice. This many trials of each
    /// condition and seed are stored or set aside; others may be stored, too. Returns the decision for people.
    fn decide(&mut self, computed: u32) -> Result<Option<String>, EarlyEnd> {
        let Some(precision) = Precision::new(&self.sweep, &self.plan, &self.store) else { return Ok(None) };
        let course = precision.follow(computed).map_err(|error| EarlyEnd::Output(error.into()))?;
        let Course::Decided(decisions) = course else {
            self.precision = Some(Arc::new(precision));
            return Ok(None);
        };
        let last = decisions.last().expect("a rule decides at least once");
        let text = precision.describe(last);
        self.sweep.decide(last.trials);
        self.plan = Arc::new(Plan::new(&self.sweep));
        self.planned = PlannedFiles::new(&self.sweep);
        self.resolved = ResolvedSweep::of(&self.sweep);
        (self.precision, self.decisions) = (None, decisions);
        Ok(Some(text))
    }

    /// Trials of each condition and seed that are certain to be needed.
    fn needed(&self) -> u32 {
        self.precision.as_ref().map_or(self.plan.trials, |precision| precision.needed())
    }

    /// Returns the summary of a run that ends with this exit code.
    fn summary(&self, code: u8, done: &Done) -> RunSummary {
        let Inventory { total, missing, .. } = self.inventory(self.needed());
        let facts = RunFacts {
            sweep: &self.sweep.name,
            total,
            stored: total - missing,
            seconds: self.begun.at.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds() - self.begun.cpu_seconds,
            out: &self.out.current_path(),
            store: self.store.path(),
        };
        RunSummary::new(code, done, &facts)
    }

    /// Returns the reason that files could not be read or written.
    fn ended(&self, error: OutputError, stopped: &Stopped) -> EarlyEnd {
        match error {
            OutputError::Interrupted => self.interrupted(stopped),
            error => EarlyEnd::Output(error),
        }
    }

    /// Ends the run of a sweep that is complete: nothing is computed or written.
    fn leave_as_it_is(
        &self,
        done: &mut Done,
        survey: &DirectorySurvey,
        changes: &FileChanges<'_>,
    ) -> Result<(), EarlyEnd> {
        done.summary = Some(format!(
            "Sweep {} is already complete: {}\n",
            self.sweep.name,
            describe_files(changes.in_place.iter().map(|(record, _)| record), self.out.path())
        ));
        survey.manifest.iter().for_each(|manifest| self.tell_of_drawings(manifest, false));
        done.files.reused = changes.in_place.len() as u64;
        done.has_manifest = true;
        forget_under_way(&self.out).map_err(EarlyEnd::Output)?;
        let (files, store) = (Seen::of(changes.in_place.iter()), self.store.stamp());
        match &survey.manifest {
            // The store was moved, or is another one with the same trials. Later commands look for it at this place.
            Some(manifest) if !archive::leads_to(&manifest.run.store, self.out.path(), self.store.path()) => {
                let run = CompletedRun { store: self.store_name.clone(), ..manifest.run.clone() };
                let moved = Manifest { run, ..manifest.clone() };
                moved.write(&self.out, files, store).map_err(EarlyEnd::Output)?;
            }
            _ => {
                if let Some(stamps) = survey.renewed(files, store) {
                    // The stamps are a cache. Without them, files are hashed again.
                    let _ = write_stamps(&self.out, &stamps);
                }
            }
        }
        self.entrance.close().map_err(EarlyEnd::Entrance)
    }

    /// Prints a note for figures and reports that show an earlier state.
    fn tell_of_drawings(&self, manifest: &Manifest, is_new: bool) {
        let out = self.out.current_path();
        for path in drawn::stale(&out, drawn::SweepState::Complete { manifest, is_new }) {
            line(&format!("note: {} shows an earlier state of the sweep; draw it again", shown(path)));
        }
    }

    /// Prints notes about the store, before anything is computed.
    fn tell_of_store(&self, survey: &DirectorySurvey) {
        let found = self.store.found();
        if found.unfinished_bytes > 0 {
            line(&format!(
                "note: dropped the store's last write, which is incomplete ({} bytes)",
                found.unfinished_bytes
            ));
        }
        if found.damaged_bytes > 0 {
            line(&format!(
                "note: skipped {} damaged bytes in the store; their trials are computed again",
                found.damaged_bytes
            ));
        }
        let lost = survey.computed_before(&self.plan, |key| !self.store.contains(key));
        if lost > 0 {
            line(&format!(
                "note: {} listed in the manifest {} not in the store {}: {} computed again",
                plural(lost, "trial"),
                if lost == 1 { "is" } else { "are" },
                self.store.path().display(),
                if lost == 1 { "it is" } else { "they are" }
            ));
        }
    }

    /// Returns the stored trials of the sweep that are damaged.
    fn damaged(&self, is_interrupted: &(dyn Fn() -> bool + Sync)) -> Result<Vec<TrialKey>, OutputError> {
        selection::damaged(&self.sweep, &self.plan, &self.store, is_interrupted)
    }

    /// Serves the dashboard, if requested, and prints its address.
    fn open_dashboard(&mut self) -> Result<Option<Dashboard>, EarlyEnd> {
        let Some(address) = self.dashboard else { return Ok(None) };
        let dashboard = Dashboard::open(address, &self.sweep, &self.plan, &self.store, &mut self.views)
            .map_err(|source| EarlyEnd::Entrance(EntranceError::Dashboard { address, source }))?;
        line(&format!("dashboard: {}", dashboard.urls.join(" or ")));
        Ok(Some(dashboard))
    }

    /// Returns the pairs of a condition and a seed that lack a trial in the store.
    fn unstored(&self) -> BTreeSet<(usize, usize)> {
        let is_unstored = |&(condition, seed): &(usize, usize)| {
            let (cohort, variant) = self.plan.place(condition, seed);
            (0..self.plan.trials).any(|trial| !self.store.contains(self.plan.key(cohort, variant, trial)))
        };
        let conditions = 0..self.sweep.conditions.len();
        let seeds = 0..self.sweep.seeds.len();
        let pairs = conditions.flat_map(|condition| seeds.clone().map(move |seed| (condition, seed)));
        pairs.filter(is_unstored).collect()
    }

    /// Computes the trials that the store lacks.
    async fn compute(&mut self, stopped: &Stopped, computed: &mut Computed) -> Result<(), EarlyEnd> {
        let Inventory { parts, pairs, total, missing } = self.inventory(self.needed());
        let stored = total - missing;
        let asked: u64 = parts.iter().map(|part| part.total).sum();
        line(&format!(
            "{}: {} × {} × {}, {stored} of {total}{} stored; {}",
            self.sweep.name,
            plural(self.sweep.conditions.len() as u64, "condition"),
            plural(self.sweep.seeds.len() as u64, "seed"),
            trials_of(&self.sweep),
            // Otherwise, the factors would not give the product.
            if asked > total { " distinct trials" } else { "" },
            self.entrance.describe(self.options.workers)
        ));
        self.views.alter(|now| {
            now.trials = DifferentTrials { total, stored, reused: stored };
            now.sweep.clone_from(&self.sweep.name);
            now.conditions.clone_from(&parts);
            now.pairs.clone_from(&pairs);
            now.state = "computing".to_owned();
        });
        if missing == 0 {
            return Ok(());
        }
        driver::prepare(&self.plan, &self.store).map_err(EarlyEnd::Compute)?;
        let door = self.entrance.open().map_err(EarlyEnd::Entrance)?;
        let _beacon = self.entrance.light(&door);
        self.options.growth = self.precision.as_ref().map(|precision| Growth {
            trials: precision.needed(),
            rule: Arc::clone(precision) as Arc<dyn TrialRule>,
        });
        let missing = self.inventory(self.plan.trials).missing;
        let mut progress = Progress::new(parts, pairs, total, stored);
        let (interrupt, interrupted) = watch::channel(false);
        let mut signals = stopped.clone();
        let forward = tokio::spawn(async move {
            if signals.wait_for(Option::is_some).await.is_ok() {
                let _ = interrupt.send(true);
            } else {
                interrupt.closed().await;
            }
        });
        let result = driver::compute(
            door,
            &self.plan,
            &self.store,
            &self.options,
            &mut progress,
            &self.views,
            interrupted,
        )
        .await;
        self.entrance.rest();
        forward.abort();
        computed.trials += missing.saturating_sub(self.inventory(self.plan.trials).missing);
        match result {
            Ok(outcome) => {
                computed.outcome.add(outcome);
                Ok(())
            }
            Err(ComputeError::Interrupted) => Err(self.interrupted(stopped)),
            Err(error) => Err(EarlyEnd::Compute(error)),
        }
    }

    /// Counts the first trials of each condition and seed, up to this number.
    fn inventory(&self, trials: u32) -> Inventory {
        let part = |condition: &granule_sweep::Condition| ConditionStatus {
            name: condition.name.clone(),
            total: self.sweep.seeds.len() as u64 * u64::from(trials),
            stored: 0,
        };
        let mut parts: Vec<ConditionStatus> = self.sweep.conditions.iter().map(part).collect();
        let seeds = self.sweep.seeds.len();
        let mut pairs = vec![0; parts.len() * seeds];
        let (mut total, mut missing) = (0, 0);
        for (at, cohort) in self.plan.cohorts.iter().enumerate() {
            for variant in cohort.variants.iter() {
                let is_stored =
                    |trial: &u32| self.store.contains(variant.fingerprint.trial(cohort.seed, *trial));
                let stored = (0..trials).filter(is_stored).count() as u64;
                total += u64::from(trials);
                missing += u64::from(trials) - stored;
                for &condition in &variant.conditions {
                    parts[condition].stored += stored;
                    pairs[condition * seeds + self.plan.seed_of(at)] += stored as u32;
                }
            }
        }
        Inventory { parts, pairs, total, missing }
    }

    /// Writes the files that are not in place. Returns the records of all files.
    fn write_outputs(
        &self,
        planned: &PlannedFiles,
        changes: &FileChanges<'_>,
        mut journal: Journal,
        files: &mut FileCounts,
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<KeptFile>, OutputError> {
        let wanted = changes.to_write().len() as u64;
        if wanted > 0 && !log::has_bars() {
            let out = self.out.current_path();
            line(&format!("writing {} to {}", plural(wanted, "file"), shown(out)));
        }
        self.views.alter(|now| {
            now.state = "writing".to_owned();
            now.seconds_left = None;
            now.elapsed_seconds = self.begun.at.elapsed().as_secs_f64();
            now.files = Parcel { total: wanted, done: 0 };
        });
        let written = AtomicU64::new(0);
        let on_file = || {
            written.fetch_add(1, Ordering::Relaxed);
            self.views.alter(|now| {
                now.files.done += 1;
                now.elapsed_seconds = self.begun.at.elapsed().as_secs_f64();
            });
        };
        let source = OutputSource {
            sweep: &self.sweep,
            plan: &self.plan,
            store: &self.store,
            is_interrupted,
            on_file: &on_file,
        };
        let result = outputs::write(&self.out, planned, changes, &source, &mut journal);
        files.written = written.into_inner();
        let mut kept = result?;
        kept.extend(changes.in_place.iter().cloned());
        Ok(kept)
    }

    /// If damaged trials caused the error, removes all damaged trials from the store. Returns their number.
    fn drop_damaged(
        &self,
        error: &OutputError,
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<usize, EarlyEnd> {
        let (OutputError::Store(StoreError::Damaged { .. }) | OutputError::Missing { .. }) = error else {
            return Ok(0);
        };
        let damaged = self.damaged(is_interrupted).map_err(EarlyEnd::Output)?;
        self.remove_damaged(&damaged)?;
        Ok(damaged.len())
    }

    fn remove_damaged(&self, damaged: &[TrialKey]) -> Result<(), EarlyEnd> {
        if !damaged.is_empty() {
            line(&format!(
                "note: {} damaged in the store, to be computed again",
                plural(damaged.len() as u64, "trial")
            ));
            self.store.remove(damaged).map_err(|error| EarlyEnd::Output(error.into()))?;
        }
        Ok(())
    }

    fn finish(&self, done: &mut Done, mut kept: Vec<KeptFile>) -> Result<(), OutputError> {
        let wall = self.begun.at.elapsed();
        let cpu_seconds = cpu_seconds() - self.begun.cpu_seconds;
        let Computed { trials: computed, outcome } = &done.computed;
        let reused = self.plan.len().saturating_sub(computed + outcome.set_aside.len() as u64);
        let run = CompletedRun {
            commit: commit().map(str::to_owned),
            host: host(),
            operating_system: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            workers: outcome.workers.max(self.options.workers.into()) as u32,
            store: self.store_name.clone(),
            started: self.begun.to_text(),
            wall_seconds: wall.as_secs_f64(),
            cpu_seconds,
            trials_computed: *computed,
            trials_reused: reused,
            files_reused: done.files.reused,
            trials_audited: outcome.tally.audited,
            versions: match outcome.packages.is_empty() {
                true => self.options.packages.clone().unwrap_or_default(),
                false => outcome.packages.clone(),
            },
            sweep_file: Some(self.written.text.clone()),
            overrides: self.written.overrides.clone(),
            tables: self.written.tables.clone(),
            workers_shut_out: outcome.quarantined.clone(),
            disagreements: outcome.disagreements.clone(),
        };
        let set_aside = self.set_aside(outcome);
        let out = self.out.current_path();
        let files = describe_files(kept.iter().map(|(record, _)| record), &out);
        outputs::check_in_place(&self.out, &mut kept)?;
        let stamps = Seen::of(kept.iter());
        let records = kept.into_iter().map(|(record, _)| record).collect();
        let store = set_aside.is_empty().then(|| self.store.stamp()).flatten();
        let manifest = Manifest::new(self.resolved.clone(), self.decisions.clone(), run, set_aside, records);
        manifest.write(&self.out, stamps, store)?;
        let is_moved_along = self.store.path().starts_with(self.out.path()) && out != self.out.path();
        if !is_moved_along && !self.store.is_in_place() {
            line(&format!(
                "note: the store {} was moved while this run used it; name its new place with --store FILE \
                    in the next command",
                self.store.path().display()
            ));
        }
        done.has_manifest = true;
        let mut text = format!(
            "Sweep {} is {}: {} computed, {reused} reused, in {} ({} of CPU time{})\n  {files}",
            self.sweep.name,
            if outcome.set_aside.is_empty() { "complete" } else { "NOT complete" },
            plural(*computed, "trial"),
            brief(wall),
            brief(Duration::from_secs_f64(cpu_seconds)),
            self.entrance.whose_time()
        );
        if outcome.tally.audited + outcome.tally.unaudited > 0 {
            let audited = plural(outcome.tally.audited, "trial");
            let unaudited = outcome.tally.unaudited;
            text.push_str(&match (self.sweep.engine.is_program(), unaudited) {
                (true, 0) => format!("\n  {audited} computed twice, with the same result"),
                (true, _) => format!("\n  {audited} computed twice, with the same result; {unaudited} not audited"),
                (false, _) => format!(
                    "\n  {audited} audited by another worker, each in all conditions of its cohort; {unaudited} not \
                     audited for lack of another worker"
                ),
            });
        }
        if done.files.removed > 0 {
            text.push_str(&format!("\n  {} of an earlier sweep removed", plural(done.files.removed, "file")));
        }
        text.push_str(&format!("\n  parameters and hashes: {}\n", shown(out.join("manifest.json"))));
        let shell = shell_path(&out);
        text.push_str(&format!("  to see it: granule figures {shell}, or granule report {shell}\n"));
        done.summary = Some(text);
        self.tell_of_drawings(&manifest, true);
        Ok(())
    }

    /// Returns the trials that were set aside, for the manifest.
    fn set_aside(&self, outcome: &RunOutcome) -> Vec<SetAside> {
        let catalogue = Catalogue::new(&self.plan);
        let mut set_aside = Vec::new();
        for (id, reason) in &outcome.set_aside {
            set_aside.extend(catalogue.conditions(*id).iter().map(|condition| SetAside {
                condition: self.sweep.conditions[*condition].name.clone(),
                seed: self.plan.cohorts[id.cohort as usize].seed,
                trial: id.trial,
                reason: reason.clone(),
            }));
        }
        set_aside
    }

    fn interrupted(&self, stopped: &Stopped) -> EarlyEnd {
        let Inventory { total, missing, .. } = self.inventory(self.needed());
        let stop = stopped.borrow().unwrap_or(Stop::Interrupt);
        EarlyEnd::Interrupted { stop, stored: total - missing, total }
    }
}

/// Returns the versions that the user's program reported in an earlier run of this sweep in this directory.
fn known_versions(sweep: &Sweep, survey: &DirectorySurvey) -> Option<BTreeMap<String, String>> {
    let is_same = |of: &ResolvedSweep| sweep.engine.is_program() && of.engine == sweep.engine.name();
    // The versions of an interrupted run are the later ones.
    let begun = survey.under_way.as_ref().map(|of| (&of.sweep, &of.versions));
    let finished = survey.manifest.as_ref().map(|of| (&of.sweep, &of.run.versions));
    let known = begun.into_iter().chain(finished).find(|(of, versions)| is_same(of) && !versions.is_empty());
    known.map(|(_, versions)| versions.clone())
}

/// Records in the output directory what the user's program reports.
#[derive(Debug)]
struct ProgramRecords {
    out: Directory,
    /// The record of the run, if the versions are not in it yet.
    under_way: Option<UnderWay>,
    /// Names of the conditions, and the seeds.
    conditions: Vec<String>,
    seeds: Vec<u32>,
    /// Number of logs that were written.
    logs: AtomicUsize,
}

impl Records for ProgramRecords {
    fn versions(&self, versions: &BTreeMap<String, String>) {
        if let Some(under_way) = &self.under_way {
            // A record that cannot be written now is written with the manifest.
            let _ = UnderWay { versions: versions.clone(), ..under_way.clone() }.write(&self.out);
        }
    }

    fn failure(&self, condition: usize, seed: usize, trial: u32, how: &str) {
        if self.logs.load(Ordering::Relaxed) >= outputs::logs::MOST {
            return;
        }
        let name = format!("{}.seed-{}.trial-{trial}.txt", self.conditions[condition], self.seeds[seed]);
        // The log is for people. The run continues without it.
        if outputs::logs::write(&self.out, &name, how).is_ok_and(|is_new| is_new) {
            self.logs.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Returns the failure to create an output directory.
pub(crate) fn cannot_create(out: &Path, error: &io::Error) -> Failure {
    let message = format!("error: cannot create output directory {}\n  because: {error}", out.display());
    Failure::new(exit::FAILED, format!("{message}\n  help: choose another with --out"))
}

/// Returns the directory of outputs, manifest and store of a sweep.
pub(crate) fn directory_of(sweep: &Sweep, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| Path::new("out").join(&sweep.name), Path::to_owned)
}

/// An output directory that this run holds, and the sweep that will be in it.
struct Ground {
    out: Directory,
    held: Option<Lock>,
    survey: DirectorySurvey,
    resolved: ResolvedSweep,
    planned: PlannedFiles,
    /// The path of the store, which may not exist.
    store: PathBuf,
}

/// Finds or makes the output directory, and holds it for this run. If the directory belongs to another sweep, or the
/// outputs have no room on the disk, changes nothing.
fn prepare(path: &Path, sweep: &Sweep, plan: &Plan, order: &RunOrder<'_>) -> Result<Ground, Failure> {
    let resolved = ResolvedSweep::of(sweep);
    let planned = PlannedFiles::new(sweep);
    let look = |survey: DirectorySurvey| -> Result<(DirectorySurvey, PathBuf), Failure> {
        survey.check(sweep, order.replaces).map_err(ArchiveError::from)?;
        let changes = survey.assumed_changes(&planned).map_err(ArchiveError::from)?;
        changes.check(path, order.replaces).map_err(ArchiveError::from)?;
        let store = archive::store_of_run(path, order.store, &survey, sweep)?;
        check_store_name(path, &store)?;
        let room = check_room(path, &store, plan, &changes)?;
        // If the directory is to be made, this runs twice.
        if let Some(tight) = room.filter(|_| path.exists()) {
            line(&format!("note: the disk may become full: {tight}"));
        }
        Ok((survey, store))
    };
    if !path.exists() {
        let (_, store) = look(DirectorySurvey::default())?;
        // A file that is not a store is refused before the directory is made.
        if store.exists() {
            order.store.map_or(Ok(()), archive::check_no_directory)?;
            Store::probe(&store).map_err(|error| cannot_open(&error, order.store.is_none()))?;
        }
    }
    // Acknowledged results will be in it, so its name has to survive a loss of power, too.
    let out = Directory::create(path).map_err(|error| cannot_create(path, &error))?;
    let held = archive::hold(&out)?;
    if !out.is_at(path) {
        let message = format!(
            "error: {} was moved while the run started\n  help: run the command again",
            path.display()
        );
        return Err(Failure::new(exit::FAILED, message));
    }
    out.remove_leftovers()
        .map_err(|error| ArchiveError::from(outputs::failed("remove unfinished files in", path)(error)))?;
    // A file that a killed run left is stale.
    let _ = beacon::clear(&out);
    let (survey, store) = look(DirectorySurvey::of(ENGINES, &out).map_err(ArchiveError::from)?)?;
    Ok(Ground { out, held, survey, resolved, planned, store })
}

/// Compares the space that the run needs with the free space. Returns a text if it is tight.
fn check_room(
    out: &Path,
    store: &Path,
    plan: &Plan,
    changes: &FileChanges<'_>,
) -> Result<Option<String>, Failure> {
    let needs = Needs { outputs: changes.size(), given_back: changes.given_back(), store: Size::default() };
    let stored = std::fs::metadata(store).map_or(0, |metadata| metadata.len());
    // Trials that are already stored are not known yet.
    let needs = if stored == 0 { Needs { store: space::least_of_store(plan), ..needs } } else { needs };
    match space::fit(out, store, needs) {
        Fit::Fits => Ok(None),
        Fit::Tight { what } => Ok(Some(what)),
        Fit::Lacks { what } => {
            let message = format!(
                "error: the disk is too small: {what}\n  help: free some space, choose another disk with --out \
                    and --store, or write fewer files with `record` in the sweep file. `granule plan` prints \
                    the space needed"
            );
            Err(Failure::new(exit::FAILED, message))
        }
    }
}

fn open_store(path: &Path, is_own: bool) -> Result<Store, Failure> {
    if !is_own {
        archive::check_no_directory(path)?;
    }
    Store::open(path).map_err(|error| cannot_open(&error, is_own))
}

fn cannot_open(error: &StoreError, is_own: bool) -> Failure {
    Failure::caused_by(exit::FAILED, error, opening_help(error, is_own).as_deref())
}

/// Checks that the store has no name in the output directory that granule uses for other files.
fn check_store_name(out: &Path, store: &Path) -> Result<(), Failure> {
    let whole = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        parent.canonicalize().ok().map(|parent| parent.join(path.file_name().unwrap_or_default()))
    };
    let out = out.canonicalize().or_else(|_| std::path::absolute(out));
    let below =
        out.ok().zip(whole(store)).and_then(|(out, store)| store.strip_prefix(out).ok().map(Path::to_owned));
    let first = below.as_ref().and_then(|below| below.iter().next()).unwrap_or_default().to_string_lossy();
    if !outputs::is_reserved(&first) {
        return Ok(());
    }
    let message = format!(
        "error: cannot use {} as the store: granule reserves this name in the output directory\n  \
            help: choose another name with --store",
        store.display()
    );
    Err(Failure::new(exit::USAGE, message))
}

fn describe_files<'a>(records: impl Iterator<Item = &'a FileRecord> + Clone, out: &Path) -> String {
    let bytes: u64 = records.clone().map(|record| record.bytes).sum();
    format!(
        "{}, {}, in {}",
        plural(records.count() as u64, "file"),
        indicatif::DecimalBytes(bytes),
        shown(out)
    )
}
