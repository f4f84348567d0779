//! A made-up model for tests, with three populations and two engines.
//!
//! Spikes follow from a hash of the condition, the seed, the trial and the population. Trials of engine `toy` can
//! start at once; those of `toy-stream` read a stream whose parts have to be surveyed first.

use std::ops::Range;
use std::sync::LazyLock;

use granule_engine::key::Hash;
use granule_engine::output::{Array, Derive, File, FileKind, Size};
use granule_engine::space::{self, Preset, Unit};
use granule_engine::stream::Parts;
use granule_engine::{
    CohortKey, Engine, Facts, Fingerprint, Identity, Inconsistent, Memory, Model, NoResult, Note, Parameter,
    Population, Recounted, Shard, Space, Spike, StreamKey, Take, TimeAxis, TrialSpikes, Unable, Value,
    Values,
};

/// Both engines.
pub const ENGINES: &[&dyn Engine] = &[&Toy::Free, &Toy::Stream];

/// The populations, in the order of trains.
pub const POPULATIONS: &[Population] = &[
    Population { name: "relay", cell: "relay cell", cells: "relay cells" },
    Population { name: "excitatory", cell: "excitatory cell", cells: "excitatory cells" },
    Population { name: "inhibitory", cell: "inhibitory cell", cells: "inhibitory cells" },
];

/// Items of the stream that a trial reads.
const ITEMS_PER_TRIAL: u64 = 1000;

/// The parts of the stream.
const PARTS: Parts = Parts { items_per_finding: 1, mean: 700.0, sd: 5.0 };

const KINDS: &[FileKind] = &[
    FileKind { key: "counts", about: "spikes of each relay cell in each ms (Counts)", is_large: true },
    FileKind { key: "totals", about: "spikes of each trial (Totals)", is_large: false },
];

/// An engine of the made-up model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toy {
    /// Every trial can start at once.
    Free,
    /// Trials read a stream.
    Stream,
}

/// The parameters of the model.
pub fn space() -> &'static Space {
    static SPACE: LazyLock<Space> = LazyLock::new(|| {
        let cells = |path, default, meaning| {
            let range = space::Range::Between(1.0, 1000.0);
            Parameter::new(path, space::Kind::Count, range, Value::Count(default), meaning)
        };
        let quantity = |path, unit, default, meaning| {
            let kind = space::Kind::Quantity(unit);
            Parameter::new(path, kind, space::Range::Positive, Value::Number(default), meaning)
        };
        Space::new(vec![
            cells("network.relay", 48, "number of relay cells"),
            cells("network.excitatory", 20, "number of excitatory cells"),
            cells("network.inhibitory", 7, "number of inhibitory cells"),
            quantity("time.duration", Unit::Millisecond, 100.0, "length of a trial; a whole number of ms"),
            quantity("synapse.weight", Unit::Nanosiemens, 1.6, "weight of every synapse"),
            // As if a later version had added it.
            quantity("synapse.delay", Unit::Millisecond, 1.0, "delay of every synapse")
                .added_with(Value::Number(1.0)),
        ])
        .with_presets(vec![
            Preset { name: "Base", prefix: "base", overrides: Vec::new() },
            Preset {
                name: "Strong",
                prefix: "strong",
                overrides: vec![("synapse.weight", Value::Number(3.2))],
            },
            Preset { name: "Weak", prefix: "weak", overrides: vec![("synapse.weight", Value::Number(0.8))] },
        ])
    });
    &SPACE
}

/// The spikes of a trial.
pub fn spikes(model: &Model, seed: u32, trial: u32) -> TrialSpikes {
    let steps = model.time().steps;
    let train = |(population, &cells): (usize, &u32)| {
        let mut hash = Hash::plain("toy spikes");
        hash.text(&model.fingerprint().to_string());
        [seed, trial, population as u32].into_iter().for_each(|number| hash.number(number));
        let bytes = hash.finish();
        let spike =
            |pair: &[u8; 2]| Spike { step: u32::from(pair[0]) % steps, cell: u32::from(pair[1]) % cells };
        let mut train: Vec<Spike> = bytes.as_chunks().0.iter().map(spike).collect();
        train.sort_unstable();
        train.dedup();
        train
    };
    TrialSpikes::of(model.sizes().iter().enumerate().map(train).collect())
}

/// The finding of a part of a stream.
pub fn finding(part: u32) -> u32 {
    695 + part * 7 % 11
}

fn number(values: &Values, path: &str) -> f64 {
    match values.get(path) {
        Some(Value::Number(x)) => *x,
        Some(Value::Count(n)) => f64::from(*n),
        other => panic!("{path} is {other:?}"),
    }
}

impl Engine for Toy {
    fn name(&self) -> &'static str {
        match self {
            Toy::Free => "toy",
            Toy::Stream => "toy-stream",
        }
    }

    fn revision(&self) -> u32 {
        1
    }

    fn space(&self) -> &'static Space {
        space()
    }

    fn populations(&self) -> &'static [Population] {
        POPULATIONS
    }

    fn check(&self, values: &Values) -> Result<(Identity, Facts), Inconsistent> {
        let duration_ms = number(values, "time.duration");
        if duration_ms.fract() != 0.0 {
            return Err(Inconsistent {
                message: format!("`time.duration` is {duration_ms} ms, but must be a whole number of ms"),
                paths: vec!["time.duration"],
                remedy: format!("write `{} ms`", duration_ms.ceil()),
            });
        }
        let mut hash = Hash::new("toy condition", self);
        hash.values(values, |_| true);
        let fingerprint = Fingerprint(hash.finish());
        let mut hash = Hash::new("toy cohort", self);
        hash.values(values, |path| path.starts_with("network.") || path.starts_with("time."));
        let sizes =
            ["relay", "excitatory", "inhibitory"].map(|of| number(values, &format!("network.{of}")) as u32);
        let cohort = CohortKey(hash.finish());
        let identity = Identity { fingerprint, fingerprint_0_1_0: fingerprint, cohort };
        let facts = Facts {
            sizes: sizes.to_vec(),
            returns: Vec::new(),
            time: TimeAxis { step_ms: 0.5, steps_per_ms: 2, steps: 2 * duration_ms as u32 },
            items_per_trial: ITEMS_PER_TRIAL,
            cost_per_trial: 1.0,
            // A model without a limit on spikes.
            most_spikes: u64::MAX,
            stimuli_ms: Vec::new(),
            stimulus_steps: Vec::new(),
        };
        Ok((identity, facts))
    }

    fn is_idle(&self, _: &str, _: &Values) -> bool {
        false
    }

    fn notes(&self, _: &Model) -> Vec<Note> {
        Vec::new()
    }

    fn to_spike_less(&self, _: Option<&Model>) -> String {
        "make trials shorter (`time.duration`)".to_owned()
    }

    fn recounted(&self, _: &Model) -> Vec<Recounted> {
        Vec::new()
    }

    fn parts(&self) -> Option<Parts> {
        (*self == Toy::Stream).then_some(PARTS)
    }

    fn stream(&self, _: &Model, seed: u32) -> StreamKey {
        let mut hash = Hash::new("toy stream", self);
        hash.number(seed);
        StreamKey(hash.finish())
    }

    fn shipped(&self, _: &Model, _: u32) -> Vec<u32> {
        Vec::new()
    }

    fn survey(&self, _: &Model, _: u32, parts: Range<u32>) -> Result<Vec<u32>, Unable> {
        Ok(parts.map(finding).collect())
    }

    fn compute(&self, shard: &Shard<'_>, take: &mut Take<'_>) -> Result<(), Unable> {
        for trial in shard.trials.clone() {
            let of = |model| {
                let of = spikes(model, shard.seed, trial);
                if of.len() <= shard.most_spikes { Ok(of) } else { Err(NoResult::TooLarge) }
            };
            if take(trial, shard.models.iter().map(of).collect()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn kinds(&self) -> &'static [FileKind] {
        KINDS
    }

    fn files(&self, model: &Model, prefix: &str, _: Option<&str>, trials: u32) -> Vec<File> {
        let file = |name: &str, kind, array, axes, bytes: f64| File {
            name: format!("{prefix}{name}.npy"),
            kind,
            array,
            rule: "",
            dtype: "<f8",
            axes,
            unit: "",
            size: Size::exactly(bytes),
            is_of_spikes: true,
        };
        let cells = f64::from(model.sizes()[0]);
        vec![
            file("Counts", 0, "Counts", &["relay cell", "ms"], 8.0 * cells * model.time().bins() as f64),
            file("Totals", 1, "Totals", &["trial"], 8.0 * f64::from(trials)),
        ]
    }

    fn can_name(&self, name: &str) -> bool {
        name.ends_with("Counts.npy") || name.ends_with("Totals.npy")
    }

    fn derive(&self, model: &Model, _: u32, _: u32, _: &[&str]) -> Box<dyn Derive> {
        Box::new(Arrays { model: model.clone(), trials: Vec::new() })
    }

    fn memory(&self, _: &[&Model], _: u32) -> Memory {
        Memory::default()
    }

    fn shortened(&self, model: &Model, _: u64) -> Option<Model> {
        Some(model.clone())
    }

    fn template(&self) -> String {
        "conditions: [Base]\n".to_owned()
    }
}

struct Arrays {
    model: Model,
    trials: Vec<TrialSpikes>,
}

impl Derive for Arrays {
    fn add(&mut self, spikes: TrialSpikes) {
        self.trials.push(spikes);
    }

    fn array(&self, name: &str) -> Array<'_> {
        if name == "Totals" {
            return Array::Vector(self.trials.iter().map(|spikes| spikes.len() as f64).collect());
        }
        let (per_ms, columns) = (self.model.time().steps_per_ms, self.model.time().bins());
        let row = move |cell| {
            let mut row = vec![0.0; columns];
            let all = self.trials.iter().flat_map(|spikes| &spikes.trains[0]);
            all.filter(|spike| spike.cell == cell)
                .for_each(|spike| row[(spike.step / per_ms) as usize] += 1.0);
            row
        };
        Array::Rows { cells: (0..self.model.sizes()[0]).collect(), columns, row: Box::new(row) }
    }
}
