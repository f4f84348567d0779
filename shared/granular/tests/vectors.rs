//! The spikes of a published case of engine `brian2-2.2.1`, and the test vectors of `docs/engines.md`, which check other
//! implementations of engine `pcg`. `docs/engines.json` has the values of this implementation. To write the file:
//! `GRANULE_REGENERATE=1 cargo test --release -p granule-granular --test vectors`.

use std::fs;
use std::path::Path;

use granule_engine::space::{self, CellFactor};
use granule_engine::spikes::Digesting;
use granule_engine::{Digest, Spike, Start, TrialSpikes};
use granule_granular::derive::Structure;
use granule_granular::isa::Isa;
use granule_granular::network::{Network, Wiring};
use granule_granular::noise::keyed::KeyedNoise;
use granule_granular::parameters::{NetworkSize, field, preset};
use granule_granular::random::keyed::Streams;
use granule_granular::trial::ReadyCohort;
use granule_granular::weights::{RandomWeights, cell_factors};
use granule_granular::{GOLGI, GRANULE, Layer, Method, Parameters};
use serde_json::{Value, json};

const SEED: u32 = 451;
const SMALL: NetworkSize = NetworkSize { mossy_fibers: 40, granule_cells: 64, golgi_cells: 5 };

fn bits(x: f64) -> String {
    format!("{:016x}", x.to_bits())
}

fn models() -> Vec<Layer> {
    let model = |name| {
        let small = Parameters { network: SMALL, ..Parameters::default() };
        let parameters = small.with(preset(name).expect("a preset").overrides).expect("they fit");
        Layer::new(Method::Pcg, parameters).expect("a small network")
    };
    ["Control", "GABAzine", "ACh"].map(model).into()
}

/// A condition in which all parameters affect spikes: both populations respond, and Golgi cells inhibit.
fn responsive() -> Layer {
    let mut parameters = Parameters { network: SMALL, ..Parameters::default() };
    parameters.mossy_to_granule.scale = 2.0;
    parameters.mossy_to_golgi.scale = 1.5;
    parameters.golgi.leak_reversal_mvolt = -50.0;
    parameters.tonic.factor = CellFactor::Gamma { mean: 0.1, sd: 0.07, seed: 1 };
    Layer::new(Method::Pcg, parameters).expect("a small network")
}

/// Parameters by path, with their values.
type Set = Vec<(&'static str, f64)>;

/// Trials of 100 ms with times that are no whole number of steps: name, parameters and trial.
fn odd_trials() -> [(&'static str, Set, u32); 3] {
    let with = |own: &[(&'static str, f64)]| {
        let common = [
            ("time.duration", 100.0),
            ("mossy_to_granule.scale", 12.0),
            ("mossy_to_golgi.scale", 3.0),
            ("golgi.leak_reversal", -42.0),
            ("granule.tonic_conductance", 0.1),
        ];
        own.iter().copied().chain(common).collect()
    };
    let half_steps = with(&[
        ("time.step", 0.1),
        ("stimulus.times", 10.0999),
        ("golgi_to_granule.delay", 0.35),
        ("granule.refractory", 1.25),
        ("golgi.refractory", 3.0999),
        ("stimulus.active_fraction", 0.1125),
    ]);
    let short_steps = with(&[
        ("time.step", 0.008),
        ("stimulus.times", 9.999_992),
        ("golgi_to_granule.delay", 0.012),
        ("granule.refractory", 2.007_99),
        ("golgi.refractory", 4.004),
        ("stimulus.active_fraction", 0.2625),
    ]);
    let thirds = with(&[
        ("time.step", 0.333_333_333_3),
        ("stimulus.times", 10.5),
        ("golgi_to_granule.delay", 0.5),
        ("granule.refractory", 1.0),
        ("golgi.refractory", 2.9),
        ("stimulus.active_fraction", 0.2),
    ]);
    [("half steps", half_steps, 47), ("steps of 0.008 ms", short_steps, 46), ("steps of a third", thirds, 47)]
}

fn odd(set: &[(&str, f64)]) -> Layer {
    let mut parameters = Parameters { network: SMALL, ..Parameters::default() };
    for &(path, x) in set {
        let field = field(path).expect("a parameter");
        let value = match field.get(&parameters) {
            space::Value::Numbers(_) => space::Value::Numbers(vec![x]),
            _ => space::Value::Number(x),
        };
        field.set(&mut parameters, &value).expect("it fits");
    }
    Layer::new(Method::Pcg, parameters).expect("consistent")
}

/// Decimals and the whole numbers that the engine derives from them.
fn times_and_counts() -> Value {
    let with = |set: &[(&str, f64)]| odd(&[&[("stimulus.times", 0.0)], set].concat());
    let of_step = |step: f64, times: &[f64], number: &dyn Fn(f64) -> u32| -> Vec<Value> {
        times.iter().map(|&time| json!({ "time.step": step, "time": time, "steps": number(time) })).collect()
    };
    let grids = [
        (0.1, [0.0, 0.04, 0.05, 0.15, 0.25, 0.35, 0.45, 0.0999, 2.0998, 2.0999, 7.249_999]),
        (0.008, [0.0, 0.004, 0.012, 0.02, 0.028, 0.036, 0.3, 0.007_99, 0.007_992, 7.0, 7.004]),
        (0.025, [0.0, 0.0125, 0.0375, 0.1125, 0.2, 0.412_5, 0.024_975, 0.024_974, 3.3, 3.312_5, 9.9]),
        (
            0.333_333_333_3,
            [0.0, 0.1, 0.166_666_666_6, 0.166_666_666_7, 0.5, 0.833_333, 1.0, 2.0, 3.0, 49.0, 97.0],
        ),
    ];
    let mut delays = Vec::new();
    let mut refractory = Vec::new();
    let mut stimuli = Vec::new();
    for (step, times) in &grids {
        let model = |path, time| with(&[("time.step", *step), (path, time)]);
        delays
            .extend(of_step(*step, times, &|time| model("golgi_to_granule.delay", time).golgi_delay_steps()));
        refractory.extend(of_step(*step, times, &|time| {
            model("granule.refractory", time).granule_refractory_steps()
        }));
        stimuli.extend(of_step(*step, times, &|time| model("stimulus.times", time).stimulus_steps()[0]));
    }
    let active = |fibers: u32, fraction: f64| {
        let network = NetworkSize { mossy_fibers: fibers, ..SMALL };
        let mut parameters = Parameters { network, ..Parameters::default() };
        parameters.stimulus.active_fraction = fraction;
        let model = Layer::new(Method::Pcg, parameters).expect("consistent");
        json!({ "fibers": fibers, "fraction": fraction, "active": model.active_fibers() })
    };
    let counts: Vec<Value> =
        [(315, 0.1), (45, 0.1), (50, 0.11), (50, 0.13), (10, 0.65), (20, 0.925), (7, 1.0), (3, 0.0)]
            .into_iter()
            .map(|(fibers, fraction)| active(fibers, fraction))
            .collect();
    let bins: Vec<Value> = [(0.1, 0), (0.1, 9), (0.1, 10), (0.008, 124), (0.008, 875), (0.333_333_333_3, 290), (0.333_333_333_3, 291)]
        .into_iter()
        .map(|(step, at)| json!({ "time.step": step, "step": at, "ms": with(&[("time.step", step)]).clock().bin(at) }))
        .collect();
    json!({ "delay": delays, "refractory": refractory, "stimulus": stimuli, "active_fibers": counts, "bin": bins })
}

fn spikes(spikes: &[Spike]) -> Vec<[u32; 2]> {
    spikes.iter().map(|spike| [spike.step, spike.cell]).collect()
}

fn vectors() -> Value {
    let [control, ..] = &models()[..] else { unreachable!("there are three") };
    let streams = Streams::new("noise of granule cells", &[SEED, 0, 7]);
    let of_stream = || streams.scalars(3);
    let draw = |mut draw: Box<dyn FnMut() -> f64>| (0..4).map(|_| bits(draw())).collect::<Vec<_>>();
    let [mut a, mut b, mut c, mut d, mut e, mut f] = [(); 6].map(|()| of_stream());

    let words: Vec<String> = (0..4).map(|_| format!("{:016x}", e.word())).collect();

    // The first and the last of 64 cells: their first normals, and a hash of many.
    let mut normals = vec![0.0; 64 * 20_000];
    KeyedNoise::new(Isa::best(), &streams, 64, 64).fill(&mut normals);
    let single = |x: &f64| format!("{:08x}", (*x as f32).to_bits());
    let of_cell =
        |cell: usize| -> Vec<String> { normals.iter().skip(cell).step_by(64).take(6).map(single).collect() };
    let hash_of_cell = |cell: usize| {
        let of_cell = normals.iter().skip(cell).step_by(64);
        let bytes: Vec<u8> = of_cell.flat_map(|&x| (x as f32).to_le_bytes()).collect();
        blake3::hash(&bytes).to_string()
    };

    let network = Network::new(Method::Pcg, Wiring::of(control), SEED);
    let structure = Structure::new(control, SEED);
    let active = structure.active_fibers();
    let weights = RandomWeights::new(Method::Pcg, control.parameters(), SEED, active, 2).expect("random");
    let of_trials: Vec<Vec<String>> =
        [0, 1].map(|trial| weights.of_trial(trial).into_iter().map(bits).collect()).into();
    let factor = CellFactor::Gamma { mean: 0.4, sd: 0.07, seed: 1 };
    let factors: Vec<String> = cell_factors(Method::Pcg, &factor, SEED, 4).into_iter().map(bits).collect();

    let mut conditions = models();
    conditions.push(responsive());
    let cohort = ReadyCohort::new(Isa::best(), &conditions, SEED, 48).expect("one network");
    let mut trials = cohort.trials(Start::default());
    let responding = trials.simulate(47).remove(3);
    let trial = trials.simulate(0);
    let of_condition = |(name, trial, of): (&str, u32, &TrialSpikes)| {
        let [granule, golgi] = [GRANULE, GOLGI].map(|population| &of.trains[population]);
        json!({
            "condition": name,
            "trial": trial,
            "granule_spikes": granule.len(),
            "first_granule_spikes": spikes(&granule[..granule.len().min(5)]),
            "golgi_spikes": spikes(golgi),
            "blake3_of_spikes": Digest::of(&of.encode()).to_string(),
        })
    };
    let odd_trials: Vec<Value> = odd_trials()
        .into_iter()
        .map(|(name, set, trial)| {
            let model = odd(&set);
            let cohort = ReadyCohort::new(Isa::best(), std::slice::from_ref(&model), SEED, trial + 1);
            let of = cohort.expect("one network").trials(Start::default()).simulate(trial).remove(0);
            let ms = |spike: &Spike| json!([model.clock().bin(spike.step), spike.cell]);
            let mut described = of_condition((name, trial, &of));
            described["set"] = set.into_iter().map(|(path, x)| (path.to_owned(), json!(x))).collect();
            described["ms_and_cell_of_the_first_granule_spikes"] =
                of.trains[GRANULE].iter().take(5).map(ms).collect();
            let counts = [GRANULE, GOLGI].map(|population| of.trains[population].len());
            assert!(counts[0] > 20 && counts[1] > 20, "{name} shows nothing: {counts:?}");
            described
        })
        .collect();
    let of_conditions: Vec<Value> = ["Control", "GABAzine", "ACh"]
        .into_iter()
        .zip(&trial)
        .map(|(name, of)| of_condition((name, 0, of)))
        .collect();
    json!({
        "stream": {
            "purpose": "noise of granule cells",
            "numbers": [SEED, 0, 7, 3],
            "words": words,
            "uniforms": draw(Box::new(move || a.uniform())),
            "exponentials": draw(Box::new(move || b.exponential())),
            "normals": draw(Box::new(move || c.normal())),
            "gammas_of_mean_2_and_sd_3": draw(Box::new(move || d.gamma(2.0, 3.0))),
            "gammas_of_mean_0.4_and_sd_0.07": draw(Box::new(move || f.gamma(0.4, 0.07))),
        },
        "noise": {
            "purpose": "noise of granule cells",
            "numbers": [SEED, 0, 7],
            "cell_0": of_cell(0),
            "cell_63": of_cell(63),
            "blake3_of_20000_of_cells_0_and_63": [hash_of_cell(0), hash_of_cell(63)],
        },
        "network": {
            "seed": SEED,
            "mossy_fibers": 40, "granule_cells": 64, "golgi_cells": 5,
            "active_fibers": active,
            "granule_cells_of_fiber_0": network.mossy_to_granule.targets_of(0),
            "golgi_cells_of_active_fibers":
                active.iter().map(|&fiber| network.mossy_to_golgi.targets_of(fiber)).collect::<Vec<_>>(),
            "granule_cells_of_golgi_cell_4": network.golgi_to_granule.targets_of(4),
            "synapses": [network.mossy_to_granule.len(), network.mossy_to_golgi.len(), network.golgi_to_granule.len()],
        },
        "weights_of_the_active_fibers_in_trials_0_and_1": of_trials,
        "tonic_factors_of_the_first_cells_under_ach": factors,
        "trial_0": of_conditions,
        "trial_47": of_condition(("responsive", 47, &responding)),
        "times_and_counts": times_and_counts(),
        "odd_trials": odd_trials,
    })
}

#[test]
fn the_vectors_of_the_documentation_are_ours() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/engines.json");
    let found = vectors();
    if std::env::var_os("GRANULE_REGENERATE").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&found).expect("JSON") + "\n").expect("written");
    }
    let documented = fs::read_to_string(&path).expect("docs/engines.json");
    let documented: Value = serde_json::from_str(&documented).expect("JSON");
    assert_eq!(found, documented, "a change of the definition is another revision of the engine");
}

/// Results do not depend on other computations or on their order.
#[test]
fn trials_and_conditions_are_the_same_by_themselves() {
    let models = models();
    let together = ReadyCohort::new(Isa::best(), &models, SEED, 5).expect("one network");
    let mut trials = together.trials(Start::default());
    let backwards = [4, 1, 3].map(|trial| (trial, trials.simulate(trial)));
    for isa in Isa::available() {
        for (at, model) in models.iter().enumerate() {
            let alone = ReadyCohort::new(isa, std::slice::from_ref(model), SEED, 5).expect("one network");
            for (trial, expected) in &backwards {
                let found = alone.trials(Start::default()).simulate(*trial);
                assert_eq!(found, expected[at..=at], "{}, trial {trial}", isa.name());
            }
        }
    }
}

/// All conditions of a seed have the same noise unless they set another stream.
#[test]
fn noise_of_another_number_is_another() {
    let mut parameters = models()[0].parameters().clone();
    parameters.noise.stream = 1;
    let other = Layer::new(Method::Pcg, parameters).expect("a small network");
    assert!(ReadyCohort::new(Isa::best(), &[models()[0].clone(), other.clone()], SEED, 1).is_err());
    let run = |model: &Layer| {
        let cohort = ReadyCohort::new(Isa::best(), std::slice::from_ref(model), SEED, 1);
        cohort.expect("one network").trials(Start::default()).simulate(0)
    };
    assert_ne!(run(&other), run(&models()[0]));
}

/// The spikes of the case of which the authors of the original publish the files' hashes (`sweeps/ci-10trials.yaml`).
/// The number was computed on x86-64.
#[test]
fn spikes_of_the_published_case_have_the_bits_of_x86_64() {
    let size = NetworkSize { mossy_fibers: 78, granule_cells: 1024, golgi_cells: 7 };
    let model = |name| {
        let parameters = Parameters { network: size, ..Parameters::default() };
        let parameters = parameters.with(preset(name).expect("a preset").overrides).expect("they fit");
        Layer::new(Method::Brian2_2_2_1, parameters).expect("a network")
    };
    let models = ["Control", "GABAzine", "ACh"].map(model);
    let cohort = ReadyCohort::new(Isa::best(), &models, SEED, 10).expect("one network");
    let mut trials = cohort.trials(Start::default());
    let mut digest = Digesting::default();
    for trial in 0..10 {
        trials.simulate(trial).iter().for_each(|of| digest.update(&of.encode()));
    }
    assert_eq!(
        digest.finish().to_string(),
        "87de120d2b9dcffd6e408938e5239da2dc19af746ba4504283febbb103682c51"
    );
}
