//! `granule reproduce`: computes one trial here and now, and compares it with the stored one.

use std::collections::BTreeMap;
use std::sync::Arc;

use granule_engine::stream::Index;
use granule_engine::{Digest, Engine, Model, Start, TrialSpikes};
use granule_farm::catalogue::first_difference;
use granule_outputs::archive::{Archive, ArchiveError};
use granule_outputs::selection::{check_trial, condition_of, seed_of};
use granule_program::Runner;
use granule_store::StoreError;
use granule_system::os;
use granule_worker::program::Processes;
use serde::Serialize;

use crate::cli::{self, exit};
use crate::commands::plan::compute_one;
use crate::commands::sweep_file::read_model;
use crate::commands::sweep_run::MAY_DEPEND;
use crate::engines::ENGINES;
use crate::failure::Failure;
use crate::stdout::{ReportHead, StdoutReader, both, say, say_json};

#[derive(Debug, Serialize)]
struct Reproduction {
    #[serde(flatten)]
    head: ReportHead,
    condition: String,
    seed: u32,
    trial: u32,
    key: String,
    computed: SpikeTotals,
    /// None if the store does not have the trial, or has it damaged.
    stored: Option<SpikeTotals>,
    /// `same`, `differs`, `not_stored` or `damaged`.
    result: &'static str,
    /// The first spike that differs.
    difference: Option<String>,
    /// Whether a program of the user's computes the trials.
    #[serde(skip)]
    is_program: bool,
}

#[derive(Debug, Serialize)]
struct SpikeTotals {
    /// By population.
    #[serde(flatten)]
    counts: BTreeMap<&'static str, u64>,
    digest: String,
    /// For people.
    #[serde(skip)]
    text: String,
}

impl SpikeTotals {
    fn of(model: &Model, spikes: &TrialSpikes, encoded: &[u8]) -> SpikeTotals {
        let populations = || model.engine().populations().iter().zip(&spikes.trains);
        let digest = Digest::of(encoded).to_string();
        let told: Vec<String> = populations()
            .map(|(of, train)| format!("{} {} spikes", train.len(), of.cell.trim_end_matches(" cell")))
            .collect();
        let counts = populations().map(|(of, train)| (of.name, train.len() as u64)).collect();
        SpikeTotals { counts, text: format!("{}, BLAKE3 {digest}", told.join(", ")), digest }
    }
}

pub(crate) fn run(arguments: &cli::Reproduce) -> Result<(), Failure> {
    let report = reproduce(arguments)?;
    let said = if arguments.resting.json { say_json(&report) } else { say(&report.to_text()) };
    both(report.verdict(), said.map(StdoutReader::done))
}

fn reproduce(arguments: &cli::Reproduce) -> Result<Reproduction, Failure> {
    let cli::Resting { out, store, .. } = &arguments.resting;
    let (seed, trial) = (arguments.seed, arguments.trial);
    let archive = Archive::find(ENGINES, out, store.as_deref())?;
    let (sweep, plan) = archive.restore()?;
    let at = condition_of(&sweep, &arguments.condition)?;
    let seed_at = seed_of(&sweep, seed)?;
    check_trial(&sweep, trial)?;
    let model = &sweep.conditions[at].model;
    let (cohort, variant) = plan.place(at, seed_at);
    let key = plan.key(cohort, variant, trial);
    let store = archive.store()?;

    attach(model.engine(), arguments)?;
    let start = start_of(model, seed, trial, store.spans(plan.cohorts[cohort].stream));
    let computed = compute_one(model, seed, trial, start).map_err(|why| {
        Failure::new(exit::FAILED, format!("error: the trial cannot be computed\n  because: {why}"))
    })?;
    let encoded = computed.encode();

    let stored = match store.get(key) {
        Ok(stored) => Ok(stored),
        Err(StoreError::Damaged { .. }) => Err(()),
        Err(error) => return Err(ArchiveError::from(error).into()),
    };
    let counted = |spikes: &TrialSpikes, bytes: &[u8]| SpikeTotals::of(model, spikes, bytes);
    let decode = |bytes: &[u8]| TrialSpikes::decode(bytes, &model.shape()).ok();
    let (result, stored, difference) = match stored {
        Ok(None) => ("not_stored", None, None),
        Err(()) => ("damaged", None, None),
        Ok(Some(bytes)) => match decode(&bytes) {
            None => ("damaged", None, None),
            Some(spikes) if bytes == encoded => ("same", Some(counted(&spikes, &bytes)), None),
            Some(spikes) => {
                let difference = first_difference(model, &spikes, &computed, "computed");
                ("differs", Some(counted(&spikes, &bytes)), Some(difference))
            }
        },
    };
    Ok(Reproduction {
        head: ReportHead::of("reproduced"),
        condition: arguments.condition.clone(),
        seed,
        trial,
        key: key.to_string(),
        computed: counted(&computed, &encoded),
        stored,
        result,
        difference,
        is_program: model.engine().is_program(),
    })
}

/// Makes the program of the user's run here, if the sweep is of one.
fn attach(engine: &'static dyn Engine, arguments: &cli::Reproduce) -> Result<(), Failure> {
    let wrong = |message: &str, help: &str| {
        Err(Failure::new(exit::USAGE, format!("error: {message}\n  help: {help}")))
    };
    let Some(path) = arguments.model.as_ref().filter(|_| engine.is_program()) else {
        return match (engine.is_program(), &arguments.model) {
            (true, _) => {
                wrong("this sweep is of a model of your own, and no model is named", "add --model FILE")
            }
            (false, Some(_)) => wrong("this sweep is not of a model of your own", "leave --model out"),
            (false, None) => Ok(()),
        };
    };
    let (model, program) = read_model(path)?;
    if program.engine() != engine {
        let message = format!(
            "{} is not the model of this sweep: the model file or a file that it lists has changed",
            path.display()
        );
        return wrong(&message, "use the files with which the sweep was run; manifest.json has their hashes");
    }
    let granule = os::this_program().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    let runner: Arc<dyn Runner> = Arc::new(Processes::new(model, program, granule, 1));
    program.attach(&runner);
    Ok(())
}

impl Reproduction {
    fn verdict(&self) -> Result<(), Failure> {
        let Reproduction { condition, seed, trial, .. } = self;
        let trial = format!("trial {trial} of condition {condition}, seed {seed}");
        match self.result {
            "same" => Ok(()),
            "differs" => Err(Failure::new(
                exit::DISAGREED,
                format!(
                    "error: {trial} has different results here and in the store{}",
                    match self.is_program {
                        true => format!("\n  help: {MAY_DEPEND}"),
                        false =>
                            "; this must never happen\n  help: reproduce it on another machine, to see which \
                                  result is right"
                                .to_owned(),
                    }
                ),
            )),
            _ => Err(Failure::new(
                exit::INCOMPLETE,
                format!(
                    "error: {trial} is missing or damaged in the store: nothing to compare with\n  help: run \
                     the sweep again"
                ),
            )),
        }
    }

    fn to_text(&self) -> String {
        let Reproduction { condition, seed, trial, computed, .. } = self;
        let mut text = format!("trial {trial} of condition {condition}, seed {seed}\n");
        for (what, spikes) in [("computed", Some(computed)), ("stored", self.stored.as_ref())] {
            let told = spikes.map_or("missing or damaged", |spikes| &spikes.text);
            text.push_str(&format!("  {what:9} {told}\n"));
        }
        match (self.result, &self.difference) {
            ("same", _) => text.push_str("  the same, bit by bit\n"),
            (_, Some(difference)) => text.push_str(&format!("  {difference}\n")),
            _ => {}
        }
        text
    }
}

/// Returns where a trial starts in its stream. Parts that neither the store nor the program has are surveyed.
fn start_of(model: &Model, seed: u32, trial: u32, stored: Vec<u32>) -> Start {
    let engine = model.engine();
    let shipped = engine.shipped(model, seed);
    let mut index = Index::new(engine.parts());
    let known = if shipped.len() > stored.len() { shipped } else { stored };
    known.into_iter().for_each(|finding| index.push(finding));
    let item = u64::from(trial) * model.facts().items_per_trial;
    loop {
        match index.locate(item) {
            Some(start) => return start,
            None => {
                let next = index.parts();
                let found = engine.survey(model, seed, next..next + 1).expect("its stream is cut into parts");
                found.into_iter().for_each(|finding| index.push(finding));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use granule_engine::Spike;
    use granule_outputs::manifest::{STORE, StoreName, UnderWay};
    use granule_store::{Store, StoreEntry};
    use granule_sweep::{Overrides, Plan, parse};
    use granule_system::files::Directory;

    use super::*;

    #[test]
    fn a_trial_that_is_stored_otherwise_is_found_out() {
        let text = "network: { mossy_fibers: 60, granule_cells: 48, golgi_cells: 7 }\ntrials: 3\nconditions: \
            [Control]";
        let sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap();
        let plan = Plan::new(&sweep);
        let directory = tempfile::tempdir().unwrap();
        let out = Directory::open(directory.path()).unwrap();
        UnderWay::new(&sweep, StoreName::default(), String::new()).write(&out).unwrap();
        let spikes = TrialSpikes::of(vec![vec![Spike { step: 3, cell: 47 }], Vec::new()]).encode();
        let reproduce = |trial| {
            let resting = cli::Resting { out: directory.path().to_owned(), store: None, json: true };
            reproduce(&cli::Reproduce {
                resting,
                condition: "Control".to_owned(),
                seed: 451,
                trial,
                model: None,
            })
        };
        {
            let store = Store::open(&directory.path().join(STORE)).unwrap();
            let key = plan.key(0, 0, 2);
            store.put(&[StoreEntry { key, digest: Digest::of(&spikes), spikes: &spikes }]).unwrap();
            let in_use = reproduce(2).unwrap_err();
            assert!(in_use.message.contains("in use"), "{}", in_use.message);
        }
        let report = reproduce(2).unwrap();
        let first =
            "granule cells: spike 0 (counted from 0) is the first that differs: cell 47 at 0.300 ms stored, ";
        assert!(report.difference.as_ref().unwrap().starts_with(first), "{report:?}");
        let differs = report.verdict().unwrap_err();
        assert_eq!(differs.code, exit::DISAGREED);
        assert!(differs.message.contains("trial 2 of condition Control, seed 451"), "{}", differs.message);
        assert_eq!(reproduce(1).unwrap().verdict().unwrap_err().code, exit::INCOMPLETE);
        assert_eq!(reproduce(3).unwrap_err().code, exit::USAGE);
    }
}
