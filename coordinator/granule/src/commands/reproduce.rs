//! `granule reproduce`: one trial, computed here and now, beside what is stored of it.

use granule_farm::catalogue::first_difference;
use granule_outputs::archive::{Archive, ArchiveError};
use granule_outputs::selection::{check_trial, condition_of, seed_of};
use granule_sim::isa::Isa;
use granule_sim::network::Wiring;
use granule_sim::noise::{NoiseIndex, NoiseStart, count_accepted, shipped_counts};
use granule_sim::spikes::{Digest, TrialSpikes};
use granule_sim::trial::Cohort;
use granule_store::StoreError;
use serde::Serialize;

use crate::cli::{self, exit};
use crate::failure::Failure;
use crate::stdout::{Reader, both, say, say_json};

/// Number of the schema of the report.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    condition: String,
    seed: u32,
    trial: u32,
    /// The trial's key.
    key: String,
    computed: Spikes,
    /// None where the store does not have it, or has it damaged.
    stored: Option<Spikes>,
    /// `same`, `differs`, `not_stored` or `damaged`.
    result: &'static str,
    /// The first spike that is not the same.
    difference: Option<String>,
}

#[derive(Debug, Serialize)]
struct Spikes {
    granule: u64,
    golgi: u64,
    digest: String,
}

impl Spikes {
    fn of(spikes: &TrialSpikes, encoded: &[u8]) -> Spikes {
        Spikes {
            granule: spikes.granule.len() as u64,
            golgi: spikes.golgi.len() as u64,
            digest: Digest::of(encoded).to_string(),
        }
    }
}

pub(crate) fn run(arguments: &cli::Reproduce) -> Result<(), Failure> {
    let report = reproduce(arguments)?;
    let said = if arguments.resting.json { say_json(&report) } else { say(&report.to_text()) };
    both(report.verdict(), said.map(Reader::done))
}

fn reproduce(arguments: &cli::Reproduce) -> Result<Report, Failure> {
    let cli::Resting { out, store, .. } = &arguments.resting;
    let (seed, trial) = (arguments.seed, arguments.trial);
    let archive = Archive::find(out, store.as_deref())?;
    let (sweep, plan) = archive.restore()?;
    let at = condition_of(&sweep, &arguments.condition)?;
    let seed_at = seed_of(&sweep, seed)?;
    check_trial(&sweep, trial)?;
    let model = &sweep.conditions[at].model;
    let (cohort, variant) = plan.place(at, seed_at);
    let key = plan.key(cohort, variant, trial);
    let store = archive.store()?;

    let isa = Isa::best();
    let alone = Cohort::new(isa, std::slice::from_ref(model), seed, trial + 1)
        .map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    let start = alone.network().noise_origin.map_or_else(NoiseStart::default, |origin| {
        let mut known = store.spans(plan.cohorts[cohort].stream);
        let shipped = shipped_counts(Wiring::of(model), seed);
        if shipped.len() > known.len() {
            known = shipped;
        }
        let mut index = NoiseIndex::new();
        known.into_iter().for_each(|accepted| index.push(accepted));
        locate(&mut index, u64::from(trial) * alone.normals_per_trial(), |span| {
            count_accepted(isa, origin, span, 1).into_iter().sum()
        })
    });
    let computed = alone.trials(start).simulate(trial).pop().unwrap_or_default();
    let encoded = computed.encode();

    let stored = match store.get(key) {
        Ok(stored) => Ok(stored),
        Err(StoreError::Damaged { .. }) => Err(()),
        Err(error) => return Err(ArchiveError::from(error).into()),
    };
    let decode = |bytes: &[u8]| TrialSpikes::decode(bytes, model.parameters().network, model.steps()).ok();
    let (result, stored, difference) = match stored {
        Ok(None) => ("not_stored", None, None),
        Err(()) => ("damaged", None, None),
        Ok(Some(bytes)) => match decode(&bytes) {
            None => ("damaged", None, None),
            Some(spikes) if bytes == encoded => ("same", Some(Spikes::of(&spikes, &bytes)), None),
            Some(spikes) => {
                let step_ms = model.parameters().time.step_ms;
                let difference = first_difference(step_ms, &spikes, &computed, "computed");
                ("differs", Some(Spikes::of(&spikes, &bytes)), Some(difference))
            }
        },
    };
    Ok(Report {
        schema: SCHEMA,
        kind: "reproduced",
        condition: arguments.condition.clone(),
        seed,
        trial,
        key: key.to_string(),
        computed: Spikes::of(&computed, &encoded),
        stored,
        result,
        difference,
    })
}

impl Report {
    fn verdict(&self) -> Result<(), Failure> {
        let Report { condition, seed, trial, .. } = self;
        let trial = format!("trial {trial} of condition {condition}, seed {seed}");
        match self.result {
            "same" => Ok(()),
            "differs" => Err(Failure::new(
                exit::DISAGREED,
                format!(
                    "error: {trial} came out differently here than it is stored, which must never happen\n  help: \
                     reproduce it on another machine, too, to see which of the two is right"
                ),
            )),
            _ => Err(Failure::new(
                exit::INCOMPLETE,
                format!(
                    "error: the store does not have {trial} whole, so there is nothing to compare with\n  help: run \
                     the sweep again"
                ),
            )),
        }
    }

    fn to_text(&self) -> String {
        let Report { condition, seed, trial, computed, .. } = self;
        let mut text = format!("trial {trial} of condition {condition}, seed {seed}\n");
        for (what, spikes) in [("computed", Some(computed)), ("stored", self.stored.as_ref())] {
            let told = spikes.map_or("not there, or damaged".to_owned(), |spikes| {
                let Spikes { granule, golgi, digest } = spikes;
                format!("{granule} granule spikes, {golgi} Golgi spikes, BLAKE3 {digest}")
            });
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

/// Where this normal lies, counting the spans that are not known yet.
fn locate(index: &mut NoiseIndex, normal: u64, mut count: impl FnMut(u32) -> u32) -> NoiseStart {
    loop {
        match index.locate(normal) {
            Some(start) => return start,
            None => index.push(count(index.spans())),
        }
    }
}

#[cfg(test)]
mod tests {
    use granule_outputs::manifest::{STORE, StoreName, UnderWay};
    use granule_sim::spikes::Spike;
    use granule_store::{Entry, Store};
    use granule_sweep::{Overrides, Plan, parse};
    use granule_system::files::Directory;

    use super::*;

    #[test]
    fn a_trial_that_is_stored_otherwise_is_found_out() {
        let text = "network: { mossy_fibers: 60, granule_cells: 48, golgi_cells: 7 }\ntrials: 3\nconditions: [Control]";
        let sweep = parse("x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap();
        let plan = Plan::new(&sweep);
        let directory = tempfile::tempdir().unwrap();
        let out = Directory::open(directory.path()).unwrap();
        UnderWay::new(&sweep, StoreName::default(), String::new()).write(&out).unwrap();
        let spikes = TrialSpikes { granule: vec![Spike { step: 3, cell: 47 }], golgi: Vec::new() }.encode();
        let reproduce = |trial| {
            let resting = cli::Resting { out: directory.path().to_owned(), store: None, json: true };
            reproduce(&cli::Reproduce { resting, condition: "Control".to_owned(), seed: 451, trial })
        };
        {
            let store = Store::open(&directory.path().join(STORE)).unwrap();
            let key = plan.key(0, 0, 2);
            store.put(&[Entry { key, digest: Digest::of(&spikes), spikes: &spikes }]).unwrap();
            let in_use = reproduce(2).unwrap_err();
            assert!(in_use.message.contains("in use"), "{}", in_use.message);
        }
        let report = reproduce(2).unwrap();
        let first =
            "the first spike of a granule cell that differs is number 0: cell 47 at 0.300 ms stored, ";
        assert!(report.difference.as_ref().unwrap().starts_with(first), "{report:?}");
        let differs = report.verdict().unwrap_err();
        assert_eq!(differs.code, exit::DISAGREED);
        assert!(differs.message.contains("trial 2 of condition Control, seed 451"), "{}", differs.message);
        assert_eq!(reproduce(1).unwrap().verdict().unwrap_err().code, exit::INCOMPLETE);
        assert_eq!(reproduce(3).unwrap_err().code, exit::USAGE);
    }
}
