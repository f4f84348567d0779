//! Engine `pcg` is the same model as `brian2-2.2.1`: over many seeds, what the paper measures has the same
//! distribution with both.
//!
//! Each seed is a network of its own with weights and factors of its own, also with the exact engine,
//! where these have their own seeds. `GRANULE_VALIDATION=paper` takes the paper's network and trials
//! (a quarter of an hour); without it a quarter of the network. It prints the table of
//! docs/validation.md, and writes all values to `validation.csv` in Cargo's directory for such files.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what was found")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use granule_sim::derive::{Conductances, Structure};
use granule_sim::isa::Isa;
use granule_sim::noise::NoiseStart;
use granule_sim::parameters::{CellFactor, NetworkSize, preset};
use granule_sim::spikes::{Spike, TrialSpikes};
use granule_sim::trial::Cohort;
use granule_sim::{Engine, Model, Parameters};

const CONDITIONS: [&str; 3] = ["Control", "GABAzine", "ACh"];

/// When what the stimulus evokes is looked at, in ms.
const EVOKED: std::ops::Range<u32> = 1000..1060;

struct Size {
    network: NetworkSize,
    trials: u32,
    seeds: u32,
}

impl Size {
    fn chosen() -> Size {
        match std::env::var("GRANULE_VALIDATION") {
            Ok(of) if of == "paper" => {
                Size { network: Parameters::default().network, trials: 100, seeds: 20 }
            }
            Ok(other) => panic!("GRANULE_VALIDATION is `paper` or not set, not `{other}`"),
            Err(_) => {
                let network = NetworkSize { mossy_fibers: 78, granule_cells: 1024, golgi_cells: 7 };
                Size { network, trials: 10, seeds: 40 }
            }
        }
    }
}

fn model(engine: Engine, name: &str, size: &Size, seed: u32) -> Model {
    let mut parameters =
        Parameters::default().with(preset(name).expect("a preset").overrides).expect("it fits");
    parameters.network = size.network;
    parameters.weights.seed = seed;
    parameters.weights.trial_seed = seed;
    if let CellFactor::Gamma { seed: own, .. } = &mut parameters.tonic.factor {
        *own = seed;
    }
    Model::new(engine, parameters).expect("consistent")
}

/// What is measured of a seed, by name.
type Measures = Vec<(String, f64)>;

/// Measures a seed.
fn measure(engine: Engine, size: &Size, seed: u32) -> Measures {
    let models = CONDITIONS.map(|name| model(engine, name, size, seed));
    let cohort = Cohort::new(Isa::best(), &models, seed, size.trials).expect("one network");
    let mut running = cohort.trials(NoiseStart::default());
    let mut spikes: [Vec<TrialSpikes>; 3] = Default::default();
    for trial in 0..size.trials {
        for (of_condition, of_trial) in spikes.iter_mut().zip(running.simulate(trial)) {
            of_condition.push(of_trial);
        }
    }
    let millisecond = |spike: &Spike| spike.step / models[0].steps_per_ms();
    let structures = models.each_ref().map(|model| Structure::new(model, seed));
    let driven = structures[0].driven_cells();
    let trials = f64::from(size.trials);
    let mut measures = Vec::new();
    let mut evoked: Vec<Vec<u32>> = Vec::new();
    for ((name, spikes), structure) in CONDITIONS.into_iter().zip(&spikes).zip(&structures) {
        // Of driven cells: spikes in each millisecond, and of each cell.
        let mut over_time = vec![0.0; EVOKED.len()];
        let mut of_cells = vec![0_u32; size.network.granule_cells as usize];
        for spike in spikes.iter().flat_map(|trial| &trial.granule) {
            let at = millisecond(spike);
            if EVOKED.contains(&at) && driven.binary_search(&spike.cell).is_ok() {
                over_time[(at - EVOKED.start) as usize] += 1.0;
                of_cells[spike.cell as usize] += 1;
            }
        }
        let peak = over_time.iter().copied().fold(0.0, f64::max) / trials / driven.len() as f64;
        measures.push((format!("{name}: peak of the mean spike probability"), peak));
        evoked.push(driven.iter().map(|&cell| of_cells[cell as usize]).collect());

        let golgi: usize = spikes.iter().map(|trial| trial.golgi.len()).sum();
        let golgi_rate = golgi as f64 / trials / f64::from(size.network.golgi_cells) / 2.0;
        measures.push((format!("{name}: rate of Golgi cells (Hz)"), golgi_rate));
        if name == "GABAzine" {
            let before =
                spikes.iter().flat_map(|trial| &trial.granule).filter(|spike| millisecond(spike) < 1000);
            let rate = before.count() as f64 / trials / f64::from(size.network.granule_cells);
            measures.push((format!("{name}: background rate of granule cells (Hz)"), rate));
        }
        let golgi: Vec<Vec<Spike>> = spikes.iter().map(|trial| trial.golgi.clone()).collect();
        let conductances = Conductances::new(Isa::best(), structure, &golgi).expect("weights are random");
        // One driven cell in eight.
        let some: Vec<u32> = driven.iter().copied().step_by(8).collect();
        let mean = |of: &dyn Fn(u32) -> Vec<f64>| {
            let window = EVOKED.start as usize..EVOKED.end as usize;
            let sum: f64 = some.iter().map(|&cell| of(cell)[window.clone()].iter().sum::<f64>()).sum();
            sum / some.len() as f64 / window.len() as f64
        };
        measures.push((
            format!("{name}: excitatory conductance (nS)"),
            mean(&|cell| conductances.excitation(cell)),
        ));
        measures.push((
            format!("{name}: inhibitory conductance (nS)"),
            mean(&|cell| conductances.inhibition(cell)),
        ));
    }
    // Muscarine, of the cells that the stimulus reaches without it.
    let [control, _, ach] = &evoked[..] else { unreachable!("there are three") };
    let reached: Vec<(u32, u32)> =
        control.iter().copied().zip(ach.iter().copied()).filter(|(control, _)| *control > 0).collect();
    let part =
        |is: &dyn Fn(&&(u32, u32)) -> bool| reached.iter().filter(is).count() as f64 / driven.len() as f64;
    measures
        .push(("part of driven cells that increase under ACh".to_owned(), part(&|(of, under)| under > of)));
    measures
        .push(("part of driven cells that decrease under ACh".to_owned(), part(&|(of, under)| under < of)));
    measures
}

/// The measures of all seeds with both engines.
fn all(size: &Size) -> [Vec<Measures>; 2] {
    let jobs: Vec<(usize, u32)> =
        (0..2).flat_map(|engine| (1..=size.seeds).map(move |seed| (engine, seed))).collect();
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(usize, Measures)> = thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(&(engine, seed)) = jobs.get(at) else { return done };
                done.push((at, measure(Engine::ALL[engine], size, seed)));
            }
        };
        let working: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        working.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    let mut measures = done.into_iter().map(|(_, measures)| measures);
    [(); 2].map(|()| measures.by_ref().take(size.seeds as usize).collect())
}

/// Writes the measures of all seeds for whoever draws them.
fn write_values(engines: [(&str, &Vec<Measures>); 2]) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("validation.csv");
    let mut text = "measure,engine,seed,value\n".to_owned();
    for (engine, seeds) in engines {
        for (seed, measures) in (1..).zip(seeds) {
            for (name, value) in measures {
                writeln!(text, "{name},{engine},{seed},{value}").expect("a string takes anything");
            }
        }
    }
    fs::write(&path, text).expect("Cargo made the directory");
    println!("{}", path.display());
}

/// Mean and standard deviation.
fn moments(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let squares: f64 = x.iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

/// The largest distance of the two cumulative distributions (Kolmogorov and Smirnov).
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let below = |x: &[f64], at: f64| x.iter().filter(|x| **x <= at).count() as f64 / x.len() as f64;
    a.iter().chain(b).map(|&at| (below(a, at) - below(b, at)).abs()).fold(0.0, f64::max)
}

/// Of the fifteen or so measures, none may have means that are 4 standard errors apart (by chance one
/// in 3,500 has), nor distributions further apart than happens to one in 10,000. With 40 seeds each, a
/// difference of 1.2 standard deviations between seeds is found with a power of 0.9, with 20 seeds one
/// of 1.7.
#[test]
fn both_engines_are_one_model() {
    let size = Size::chosen();
    let [pcg, exact] = all(&size);
    write_values([("pcg", &pcg), ("brian2-2.2.1", &exact)]);
    let n = f64::from(size.seeds);
    let most_apart = (-f64::ln(1e-4 / 2.0) / n).sqrt();
    println!(
        "| measure | `pcg` | `brian2-2.2.1` | difference, standard errors | distance of distributions |"
    );
    println!("|---|---|---|---|---|");
    let mut wrong = Vec::new();
    for (i, (name, _)) in pcg[0].iter().enumerate() {
        let column = |of: &[Measures]| of.iter().map(|seed| seed[i].1).collect::<Vec<f64>>();
        let (a, b) = (column(&pcg), column(&exact));
        let ((mean_a, sd_a), (mean_b, sd_b)) = (moments(&a), moments(&b));
        let error = ((sd_a * sd_a + sd_b * sd_b) / n).sqrt();
        let t = if mean_a == mean_b { 0.0 } else { (mean_a - mean_b) / error };
        let d = distance(&a, &b);
        println!("| {name} | {mean_a:.4} ± {sd_a:.4} | {mean_b:.4} ± {sd_b:.4} | {t:+.2} | {d:.2} |");
        if !(t.abs() < 4.0 && d < most_apart) {
            wrong
                .push(format!("{name}: {t:+.2} standard errors, distance {d:.2} of at most {most_apart:.2}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What is compared is not nothing.
    assert!(pcg[0].len() >= 15 && pcg.iter().flatten().filter(|(_, x)| *x > 0.0).count() > 12 * pcg.len());
}
