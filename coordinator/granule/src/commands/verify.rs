//! `granule verify`: checks that the files of a finished sweep are as they were, and that the stored trials give the
//! same files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use granule_engine::{Model, TrialKey, TrialSpikes};
use granule_outputs::archive::{Archive, ArchiveError, keep_still};
use granule_outputs::drawn;
use granule_outputs::manifest::{FileRecord, Manifest, SetAside, forget_stamps};
use granule_outputs::survey::sha256;
use granule_outputs::{self as outputs, OutputError, OutputSource, PlannedFile, PlannedFiles, failed};
use granule_store::{Store, StoreError};
use granule_sweep::{Plan, Sweep};
use granule_system::files::{self, Directory};
use granule_text::{one_line, plural};
use serde::Serialize;

use crate::cli::{self, exit};
use crate::engines::ENGINES;
use crate::failure::{Failure, shell_path};
use crate::stdout::{ReportHead, StdoutReader, both, say, say_json};

/// The number of intact files and trials, and the problems.
#[derive(Debug, Serialize)]
struct Verification {
    #[serde(flatten)]
    head: ReportHead,
    sweep: String,
    /// Files whose hash is that of the manifest.
    files: u64,
    /// Files that were derived again from the store, with that hash.
    files_derived: u64,
    /// Stored trials that are whole. None if the store was left out.
    trials: Option<u64>,
    problems: Vec<Finding>,
}

/// A problem that was found.
#[derive(Debug, Serialize)]
struct Finding {
    /// `missing`, `changed`, `unreadable`, `foreign`, `unplanned`, `outdated`, `differs`, `stale`, `no_store`,
    /// `trial_missing`, `trial_damaged`.
    problem: &'static str,
    /// The file, relative to the output directory; or the trial, in words.
    what: String,
    /// For people.
    text: String,
}

pub(crate) fn run(arguments: &cli::Verify) -> Result<(), Failure> {
    let cli::Resting { out, store, json } = &arguments.resting;
    Archive::find(ENGINES, out, store.as_deref())?.finished()?;
    let _still = keep_still(out)?;
    // Read again, now that no run is in progress.
    let archive = Archive::find(ENGINES, out, store.as_deref())?;
    let manifest = archive.finished()?;
    let mut report = Verification {
        head: ReportHead::of("verified"),
        sweep: manifest.sweep.name.clone(),
        files: 0,
        files_derived: 0,
        trials: None,
        problems: Vec::new(),
    };
    report.check_files(out, manifest);
    report.check_strangers(out, manifest).map_err(ArchiveError::from)?;
    report.check_drawings(out, manifest);
    if !arguments.files_only {
        let (sweep, plan) = archive.restore()?;
        let planned = PlannedFiles::new(&sweep);
        report.check_records(manifest, &planned, &sweep);
        match archive.store() {
            Ok(store) => report.check_store(manifest, &sweep, &plan, &planned, &store, arguments.all)?,
            Err(ArchiveError::NoStore { path }) => {
                let text = "the store is missing; name it with --store FILE, or pass --files-only".to_owned();
                report.tell("no_store", path.display().to_string(), text);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let said = if *json { say_json(&report) } else { say(&report.to_text()) };
    both(report.verdict(out), said.map(StdoutReader::done))
}

/// State of a trial in a store.
enum StoredState {
    Whole,
    Missing,
    Damaged(String),
}

fn look_up(store: &Store, key: TrialKey, model: &Model) -> Result<StoredState, StoreError> {
    let spikes = match store.get(key) {
        Ok(Some(spikes)) => spikes,
        Ok(None) => return Ok(StoredState::Missing),
        Err(StoreError::Damaged { .. }) => {
            return Ok(StoredState::Damaged("its spikes are damaged in the store".to_owned()));
        }
        Err(error) => return Err(error),
    };
    let decoded = TrialSpikes::decode(&spikes, &model.shape());
    Ok(decoded.map_or_else(|error| StoredState::Damaged(error.to_string()), |_| StoredState::Whole))
}

impl Verification {
    fn verdict(&self, out: &Path) -> Result<(), Failure> {
        if self.problems.is_empty() {
            return Ok(());
        }
        // Earlier hashes of unchanged files are not trusted any more: the next run hashes all files.
        if let Ok(out) = Directory::open(out) {
            let _ = forget_stamps(&out);
        }
        let message = format!(
            "error: {} with {}{}",
            plural(self.problems.len() as u64, "problem"),
            out.display(),
            self.help(out)
        );
        Err(Failure::new(exit::INCOMPLETE, message))
    }

    fn tell(&mut self, problem: &'static str, what: String, text: String) {
        self.problems.push(Finding { problem, what, text });
    }

    /// Checks the files that the manifest lists.
    fn check_files(&mut self, out: &Path, manifest: &Manifest) {
        for FileRecord { path, bytes, sha256: recorded, .. } in &manifest.files {
            let place = out.join(path);
            let hashed =
                files::open(&place).and_then(|file| Ok((file.metadata()?.len(), sha256(&file, *bytes)?)));
            match hashed {
                Ok((_, Some(hash))) if hash == *recorded => self.files += 1,
                Ok((_, Some(hash))) => {
                    self.tell("changed", path.clone(), format!("SHA-256 is {hash} instead of {recorded}"));
                }
                Ok((length, None)) => {
                    self.tell("changed", path.clone(), format!("{length} bytes long instead of {bytes}"));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.tell("missing", path.clone(), "does not exist".to_owned());
                }
                Err(error) => self.tell("unreadable", path.clone(), error.to_string()),
            }
        }
    }

    /// Reports arrays in the directories of seeds that are not of this sweep.
    fn check_strangers(&mut self, out: &Path, manifest: &Manifest) -> Result<(), OutputError> {
        let ours: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
        let names = |directory: &Path| -> Result<Vec<String>, OutputError> {
            let entries = fs::read_dir(directory).map_err(failed("read", directory))?;
            let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<io::Result<Vec<String>>>().map_err(failed("read", directory))?;
            names.sort();
            Ok(names)
        };
        for seed in names(out)? {
            let directory = out.join(&seed);
            if !seed.starts_with("seed-") || !directory.is_dir() {
                continue;
            }
            for name in names(&directory)? {
                let path = format!("{seed}/{name}");
                let is_array = name.ends_with(".npy") || name.ends_with(".npy.unfinished");
                if is_array && !ours.contains(path.as_str()) {
                    self.tell("foreign", path, "not of this sweep: the manifest does not list it".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Reports figures and reports that show an earlier state.
    fn check_drawings(&mut self, out: &Path, manifest: &Manifest) {
        for path in drawn::stale(out, drawn::SweepState::Complete { manifest, is_new: false }) {
            let name = path.strip_prefix(out).unwrap_or(&path).display().to_string();
            self.tell("stale", name, "drawn from an earlier state of the sweep".to_owned());
        }
    }

    /// Returns what to do about each kind of problem that was found.
    fn help(&self, out: &Path) -> String {
        let out = shell_path(out);
        let remedies: [(&[&str], String); 6] = [
            (
                &["foreign"],
                "move away the files that granule did not write; it does not change them".to_owned(),
            ),
            (&["unreadable"], "move the unreadable files away, then run the sweep again".to_owned()),
            (
                &["differs"],
                "delete the files that differ, then run the sweep again: it derives them from the store"
                    .to_owned(),
            ),
            (&["no_store"], "name the store with --store FILE, or run the sweep again".to_owned()),
            (
                &["missing", "changed", "unplanned", "outdated", "trial_missing", "trial_damaged"],
                format!(
                    "run the sweep again with --out {out}: it writes missing and changed files again, and \
                        computes missing trials"
                ),
            ),
            (&["stale"], format!("draw again: granule figures {out}; granule report {out}")),
        ];
        let found: BTreeSet<&str> = self.problems.iter().map(|problem| problem.problem).collect();
        let wanted = remedies.iter().filter(|(kinds, _)| kinds.iter().any(|kind| found.contains(kind)));
        wanted.map(|(_, help)| format!("\n  help: {help}")).collect()
    }

    /// Checks that the manifest lists the files of its sweep.
    fn check_records(&mut self, manifest: &Manifest, planned: &PlannedFiles, sweep: &Sweep) {
        let planned_at: BTreeMap<String, PlannedFile> =
            planned.iter().map(|file| (file.path.clone(), file)).collect();
        for record in &manifest.files {
            let file = planned_at.get(&record.path);
            if file.is_some_and(|file| file.is_outdated(record)) {
                let text = "made by version 0.1.0, with different steps, bins or counts".to_owned();
                self.tell("outdated", record.path.clone(), text);
            } else if file.is_none_or(|file| file.identity != record.identity) {
                let text = "the manifest lists it, but its sweep does not have this file".to_owned();
                self.tell("unplanned", record.path.clone(), text);
            }
        }
        let listed: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
        for file in planned_at.values() {
            let (condition, seed) = file.pair();
            let is_withheld = manifest.set_aside.iter().any(|aside| {
                aside.condition == sweep.conditions[condition].name && aside.seed == sweep.seeds[seed]
            });
            if !is_withheld && !listed.contains(file.path.as_str()) {
                self.tell("unplanned", file.path.clone(), "the manifest does not list it".to_owned());
            }
        }
    }

    /// Checks that the stored trials are whole and give the files.
    fn check_store(
        &mut self,
        manifest: &Manifest,
        sweep: &Sweep,
        plan: &Plan,
        planned: &PlannedFiles,
        store: &Store,
        all: bool,
    ) -> Result<(), Failure> {
        self.trials = Some(0);
        // Cohorts and variants with missing or damaged trials.
        let mut broken: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (at, cohort) in plan.cohorts.iter().enumerate() {
            for variant in 0..cohort.variants.len() {
                if !self.check_trials(manifest, sweep, plan, (at, variant), store)? {
                    broken.insert((at, variant));
                }
            }
        }
        let wanted: Vec<PlannedFile> = planned
            .iter()
            .filter(|file| (all || file.is_of_spikes()) && !broken.contains(&file.place(plan)))
            .collect();
        let indices: Vec<u32> = wanted.iter().map(|file| file.index).collect();
        let source = OutputSource { sweep, plan, store, is_interrupted: &|| false, on_file: &|| {} };
        let derived = outputs::rederive(planned, &indices, &source).map_err(ArchiveError::from)?;
        let records: BTreeMap<&str, &FileRecord> =
            manifest.files.iter().map(|file| (file.path.as_str(), file)).collect();
        for (file, (_, hash)) in wanted.iter().zip(derived) {
            match records.get(file.path.as_str()) {
                Some(record) if record.sha256 == hash => self.files_derived += 1,
                // Already reported as outdated.
                Some(record) if file.is_outdated(record) => {}
                Some(record) => {
                    let recorded = &record.sha256;
                    let text = format!("the stored spikes give SHA-256 {hash}, the manifest says {recorded}");
                    self.tell("differs", file.path.clone(), text);
                }
                // Already reported as unplanned, or withheld.
                None => {}
            }
        }
        Ok(())
    }

    /// Checks the stored trials of a variant of a cohort. Returns whether all are whole.
    fn check_trials(
        &mut self,
        manifest: &Manifest,
        sweep: &Sweep,
        plan: &Plan,
        (at, variant): (usize, usize),
        store: &Store,
    ) -> Result<bool, Failure> {
        let cohort = &plan.cohorts[at];
        let of = &cohort.variants[variant];
        let condition = &sweep.conditions[of.conditions[0]];
        // Version 0.1.0 stored its trials under another key. That is one problem, not one for each trial.
        let is_outdated =
            manifest.sweep.conditions[of.conditions[0]].fingerprint != of.fingerprint.to_string();
        if is_outdated {
            let what = format!("condition {}, seed {}", condition.name, cohort.seed);
            let text = "computed by version 0.1.0, with different steps or counts".to_owned();
            self.tell("outdated", what, text);
        }
        let is_set_aside = |trial| {
            let is_it = |aside: &SetAside| (aside.seed, aside.trial) == (cohort.seed, trial);
            manifest.set_aside.iter().any(|aside| is_it(aside) && aside.condition == condition.name)
        };
        let mut is_whole = true;
        for trial in 0..plan.trials {
            let stored = look_up(store, plan.key(at, variant, trial), &condition.model);
            let problem = match stored.map_err(ArchiveError::from)? {
                StoredState::Whole => {
                    self.trials = self.trials.map(|whole| whole + 1);
                    continue;
                }
                StoredState::Missing if is_outdated || is_set_aside(trial) => None,
                StoredState::Missing => Some(("trial_missing", "not in the store".to_owned())),
                StoredState::Damaged(why) => Some(("trial_damaged", why)),
            };
            is_whole = false;
            if let Some((problem, text)) = problem {
                let what = format!("trial {trial} of condition {}, seed {}", condition.name, cohort.seed);
                self.tell(problem, what, text);
            }
        }
        Ok(is_whole)
    }

    /// Returns the report for people.
    fn to_text(&self) -> String {
        let verb = |count: u64, one: &'static str, more: &'static str| if count == 1 { one } else { more };
        let of_store = self.trials.map_or(String::new(), |trials| {
            format!(
                "; {} {} derived again from the store, with the same bytes; {} {} intact",
                plural(self.files_derived, "file"),
                verb(self.files_derived, "was", "were"),
                plural(trials, "stored trial"),
                verb(trials, "is", "are")
            )
        });
        let mut text = format!(
            "{}: {} {} the manifest{of_store}\n",
            self.sweep,
            plural(self.files, "file"),
            verb(self.files, "matches", "match")
        );
        for Finding { problem, what, text: told } in &self.problems {
            let (what, told) = (one_line(what), one_line(told));
            text.push_str(&format!("  {}: {what}: {told}\n", problem.replace('_', " ")));
        }
        text
    }
}
