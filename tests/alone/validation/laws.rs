//! Compares the values that an engine draws once (wiring, active fibres, weights, factors) with the law that the model
//! states.
//!
//! Every check gives a normal deviate and fails beyond [`LIMIT`]. If a check is a mean, a number or a correlation of
//! many draws, it is divided by its standard error. The Kolmogorov–Smirnov distance and sums of squares are not normal.
//! Their probability is computed and converted to the deviate of the same probability. The draws belong to fixed seeds,
//! so that an unchanged program always gives the same result.

use granule_engine::Engine as _;
use granule_engine::space::CellFactor;
use granule_granular::network::{Network, Projection, Wiring, active_fibers};
use granule_granular::parameters::{NetworkSize, Weights, preset};
use granule_granular::weights::{RandomWeights, cell_factors, mean_weights, trial_seeds, trial_weights};
use granule_granular::{Layer, Method, Parameters};

use super::{CONDITIONS, moments};

/// With new seeds, a correct engine exceeds this on either side in one check of 10,000.
const LIMIT: f64 = 3.89;

/// A check: what was drawn, how many draws, and the normal deviate.
struct Check {
    what: String,
    draws: usize,
    z: f64,
}

fn check(what: &str, draws: usize, z: f64) -> Check {
    Check { what: what.to_owned(), draws, z }
}

fn assert_all(engine: Method, checks: &[Check]) {
    for Check { what, draws, z } in checks {
        println!("| {} | {what} | {draws} | {z:+.2} |", engine.name());
    }
    for Check { what, z, .. } in checks {
        assert!(z.abs() < LIMIT, "{}: {what}: deviate {z:+.2}", engine.name());
    }
}

/// Returns the cumulative distribution of a gamma distribution of scale 1 at values, which ascend. The density in the
/// logarithm y of the value is exp(shape · y − exp(y)). It is summed by Simpson's rule and normalised.
fn gamma_cdf(shape: f64, values: &[f64]) -> Vec<f64> {
    const INTERVALS: usize = 200_000;
    let (low, high) = (-40.0 / shape.min(1.0), (shape + 40.0 + 10.0 * shape.sqrt()).ln());
    let width = (high - low) / INTERVALS as f64;
    // Relative to the highest density, at y = ln(shape).
    let density = |y: f64| (shape * (y - shape.ln()) - y.exp() + shape).exp();
    let mut sums = vec![0.0];
    for i in 0..INTERVALS {
        let y = low + i as f64 * width;
        let of_interval = (density(y) + 4.0 * density(y + width / 2.0) + density(y + width)) * width / 6.0;
        sums.push(sums[i] + of_interval);
    }
    let cdf = |value: &f64| {
        let at = ((value.ln() - low) / width).clamp(0.0, INTERVALS as f64 - 1.0);
        let (i, part) = (at as usize, at.fract());
        (sums[i] + part * (sums[i + 1] - sums[i])) / sums[INTERVALS]
    };
    values.iter().map(cdf).collect()
}

/// Returns the Kolmogorov–Smirnov distance between draws and a gamma distribution as a normal deviate. A standard
/// normal exceeds the deviate on either side with the probability of the distance.
fn gamma_distance(draws: &[f64], mean: f64, sd: f64) -> f64 {
    let shape = (mean / sd) * (mean / sd);
    let mut values: Vec<f64> = draws.iter().map(|x| x * shape / mean).collect();
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let distance = gamma_cdf(shape, &values).into_iter().enumerate();
    let distance = distance.map(|(i, cdf)| f64::max(cdf - i as f64 / n, (i + 1) as f64 / n - cdf));
    let lambda = distance.fold(0.0, f64::max) * n.sqrt();
    let p: f64 = (1..20_i32)
        .map(|k| 2.0 * f64::from(1 - 2 * ((k + 1) % 2)) * (-2.0 * f64::from(k * k) * lambda * lambda).exp())
        .sum();
    normal_quantile(p.clamp(1e-15, 1.0))
}

/// Returns the z that a standard normal exceeds on either side with probability `p`, by bisection. The tail is
/// integrated by Simpson's rule.
fn normal_quantile(p: f64) -> f64 {
    let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let tails = |z: f64| {
        let width = (9.0 - z) / 2000.0;
        let of_interval = |i: u32| {
            let x = z + f64::from(i) * width;
            (density(x) + 4.0 * density(x + width / 2.0) + density(x + width)) * width / 6.0
        };
        2.0 * (0..2000).map(of_interval).sum::<f64>()
    };
    let (mut low, mut high) = (0.0, 9.0);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if tails(middle) > p { low = middle } else { high = middle }
    }
    low
}

/// Converts a sum of squares with a χ² distribution to the normal deviate of the same two-sided probability. The
/// distribution is the regularised incomplete gamma function of half the degrees of freedom and half the sum.
fn chi_square_deviation(sum: f64, freedom: f64) -> f64 {
    let below = gamma_cdf(freedom / 2.0, &[sum / 2.0])[0];
    let z = normal_quantile((2.0 * below.min(1.0 - below)).clamp(1e-15, 1.0));
    if below < 0.5 { -z } else { z }
}

/// In tables of χ² with 7 degrees of freedom, 24.322 is exceeded with probability 0.001, and 0.598 with 0.999.
#[test]
fn chi_square_has_the_probabilities_of_tables() {
    let _turn = crate::turn(module_path!());
    assert!((chi_square_deviation(24.322, 7.0) - 3.0902).abs() < 1e-3);
    assert!((chi_square_deviation(0.5985, 7.0) + 3.0902).abs() < 1e-3);
}

fn mean_of(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// The deviation of the draws' mean from the law's mean, in standard errors of the law.
fn mean_deviation(draws: &[f64], mean: f64, sd: f64) -> f64 {
    (mean_of(draws) - mean) / sd * (draws.len() as f64).sqrt()
}

/// Draws of a gamma distribution: mean, and the whole distribution.
fn gamma_checks(what: &str, draws: &[f64], mean: f64, sd: f64) -> [Check; 2] {
    [
        check(&format!("{what}: mean"), draws.len(), mean_deviation(draws, mean, sd)),
        check(&format!("{what}: distribution"), draws.len(), gamma_distance(draws, mean, sd)),
    ]
}

/// Correlation of pairs with these means and deviations, in standard errors.
fn correlation(pairs: impl Iterator<Item = (f64, f64)>, mean: f64, sd: f64) -> f64 {
    let products: Vec<f64> = pairs.map(|(a, b)| (a - mean) * (b - mean) / (sd * sd)).collect();
    mean_of(&products) * (products.len() as f64).sqrt()
}

const WEIGHT_SEEDS: u32 = 2000;
const WEIGHT_TRIALS: u32 = 100;

/// The trial factors of engine `pcg`: weights of a fibre whose mean weight is (to 10⁻⁵) 1 nS.
fn keyed_trial_factors(seed: u32) -> Vec<f64> {
    let mut parameters = Parameters::default();
    (parameters.weights.mean_nsiemens, parameters.weights.sd_nsiemens) = (1.0, 2e-6);
    let weights = RandomWeights::new(Method::Pcg, &parameters, seed, &[0], WEIGHT_TRIALS).expect("random");
    (0..WEIGHT_TRIALS).map(|trial| weights.of_trial(trial)[0]).collect()
}

/// Factors of trials are exponential. So are mean weights, which are the weight of a trial divided by its factor.
#[test]
fn weights_of_pcg_follow_their_law() {
    let _turn = crate::turn(module_path!());
    let mut factors = Vec::new();
    let mut means = Vec::new();
    let mut first_factors = Vec::new();
    let fibers: Vec<u32> = (0..96).collect();
    for seed in 1..=WEIGHT_SEEDS {
        let of_seed = keyed_trial_factors(seed);
        let weights = RandomWeights::new(Method::Pcg, &Parameters::default(), seed, &fibers, WEIGHT_TRIALS);
        let of_trial = weights.expect("random").of_trial(7);
        means.extend(of_trial.iter().map(|weight| weight / of_seed[7]));
        first_factors.push(of_seed[0]);
        factors.extend(of_seed);
    }
    let mut checks = Vec::from(gamma_checks("factors of trials", &factors, 1.0, 1.0));
    let trials = factors.windows(2).map(|pair| (pair[0], pair[1]));
    checks.push(check(
        "factors of trials: correlation of successive trials",
        factors.len(),
        correlation(trials, 1.0, 1.0),
    ));
    let seeds = first_factors.windows(2).map(|pair| (pair[0], pair[1]));
    checks.push(check(
        "factors of trials: correlation of successive seeds",
        first_factors.len(),
        correlation(seeds, 1.0, 1.0),
    ));
    checks.extend(gamma_checks("mean weights", &means, 0.1, 0.1));
    let neighbours = means.windows(2).map(|pair| (pair[0], pair[1]));
    checks.push(check(
        "mean weights: correlation of neighbours",
        means.len(),
        correlation(neighbours, 0.1, 0.1),
    ));
    assert_all(Method::Pcg, &checks);
    // The checks can fail: weights 2 % too large are found.
    let larger: Vec<f64> = factors.iter().map(|x| 1.02 * x).collect();
    assert!(gamma_checks("", &larger, 1.0, 1.0).iter().all(|check| check.z > LIMIT));
    let larger: Vec<f64> = means.iter().map(|x| 1.02 * x).collect();
    assert!(gamma_checks("", &larger, 0.1, 0.1).iter().all(|check| check.z > LIMIT));
}

/// The mean weights of `brian2-2.2.1` are exponential. Its factors of trials are compatible with a sample of the
/// exponential distribution, but there are only 999 of them.
#[test]
fn weights_of_brian2_are_those_of_the_original() {
    let _turn = crate::turn(module_path!());
    let defaults = Parameters::default().weights;
    let of_seed = |seed: u32| mean_weights(&Weights { seed, ..defaults }, 96);
    let means: Vec<f64> = (1..=WEIGHT_SEEDS).flat_map(of_seed).collect();
    assert_all(Method::Brian2_2_2_1, &gamma_checks("mean weights", &means, 0.1, 0.1));

    // A mean weight of 0.25 nS takes the first exponential of the generator, as 25 mean weights of 26 do.
    let factor = |seed: u32| trial_weights(&[0.25], seed)[0] / 0.25;
    let all: Vec<f64> = (1..1000).map(factor).collect();
    assert!((mean_of(&all) - 0.961_829_326_8).abs() < 1e-9, "{}", mean_of(&all));
    let seeds = trial_seeds(&defaults, 100);
    assert!(seeds.iter().all(|seed| (1..1000).contains(seed)));
    let of_trials: Vec<f64> = seeds.iter().map(|&seed| factor(seed)).collect();
    assert!((mean_of(&of_trials) - 0.936_241_104_5).abs() < 1e-9, "{}", mean_of(&of_trials));
    for (trials, expected) in [(10, 1.290), (20, 1.026), (40, 0.857), (50, 0.802), (100, 0.936), (200, 0.920)]
    {
        let first: Vec<f64> = trial_seeds(&defaults, trials).into_iter().map(factor).collect();
        assert!((mean_of(&first) - expected).abs() < 5.01e-4, "{trials}: {}", mean_of(&first));
    }
    // The mean of a sweep with another `trial_seed` and 100 trials.
    let of_trial_seed = |trial_seed: u32| {
        let seeds = trial_seeds(&Weights { trial_seed, ..defaults }, 100);
        mean_of(&seeds.iter().map(|&seed| all[seed as usize - 1]).collect::<Vec<_>>())
    };
    let (_, sd) = moments(&(1..=3000).map(of_trial_seed).collect::<Vec<_>>());
    println!("means of 100 factors: standard deviation {sd:.4}");
    assert!((sd - 0.097).abs() < 2e-3, "{sd}");
    let distance = gamma_distance(&all, 1.0, 1.0);
    println!("999 factors: deviate {distance:.3}");
    // p = 0.33.
    assert!((distance - normal_quantile(0.33)).abs() < 0.02, "{distance}");
    let mut distinct = seeds;
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 94);

    // Rounding puts the shape of the other mean weights above 1: they draw by another method from the same seed.
    let list = trial_weights(&means, 837);
    let own: Vec<usize> =
        (0..means.len()).filter(|&i| (list[i] / means[i] - factor(837)).abs() > 1e-9).collect();
    let part = own.len() as f64 / means.len() as f64;
    let of_own = means[own[0]];
    let factors: Vec<f64> = (1..1000).map(|seed| trial_weights(&[of_own], seed)[0] / of_own).collect();
    let [(mean, sd), (own_mean, own_sd)] = [moments(&all), moments(&factors)];
    let products: Vec<f64> = all.iter().zip(&factors).map(|(a, b)| (a - mean) * (b - own_mean)).collect();
    let correlation = mean_of(&products) / (sd * own_sd);
    assert!((correlation + 0.05).abs() < 0.005, "{correlation}");
    let of_defaults = mean_weights(&defaults, 32);
    let list = trial_weights(&of_defaults, 837);
    let among = (0..32).filter(|&i| (list[i] / of_defaults[i] - factor(837)).abs() > 1e-9).count();
    let seeds = trial_seeds(&defaults, 100);
    let of_sweep: Vec<f64> = seeds.iter().map(|&seed| mean_of(&trial_weights(&of_defaults, seed))).collect();
    assert!((mean_of(&of_defaults) - 0.103_612_594_0).abs() < 1e-9, "{}", mean_of(&of_defaults));
    assert!((mean_of(&of_sweep) - 0.097_006_369_4).abs() < 1e-9, "{}", mean_of(&of_sweep));
    assert_eq!(among, 0);
    assert!((part - 0.039).abs() < 0.002, "{part}");
    assert!((mean_of(&factors) - 0.973_737_542_7).abs() < 1e-9, "{}", mean_of(&factors));
}

/// The mean of all weights that networks have, with each engine.
#[test]
fn mean_weights_of_networks_are_those_of_the_page() {
    let _turn = crate::turn(module_path!());
    for (engine, expected) in [(Method::Pcg, 0.1), (Method::Brian2_2_2_1, 0.1 * 0.962)] {
        let of_seed = |seed: u32| {
            let mut parameters = Parameters::default();
            (parameters.weights.seed, parameters.weights.trial_seed) = (seed, seed);
            let fibers: Vec<u32> = (0..32).collect();
            let weights = RandomWeights::new(engine, &parameters, seed, &fibers, 100).expect("random");
            mean_of(&(0..100).map(|trial| mean_of(&weights.of_trial(trial))).collect::<Vec<_>>())
        };
        let means: Vec<f64> = (1..=3000).map(of_seed).collect();
        let mean = mean_of(&means);
        let error = moments(&means).1 / 3000_f64.sqrt();
        println!("{}: mean weight {mean:.5} ± {error:.5} nS", engine.name());
        assert!((mean - expected).abs() < LIMIT * error, "{mean} ± {error}");
        assert!(error < 5e-4, "{error}");
    }
}

#[test]
fn tonic_factors_follow_their_law() {
    let _turn = crate::turn(module_path!());
    for engine in Method::ALL.iter().copied() {
        // The draws of `pcg` belong to the seed, those of `brian2-2.2.1` to the seed of the distribution.
        let of_seed = |seed: u32| {
            let own = if engine == Method::Pcg { 1 } else { seed };
            cell_factors(engine, &CellFactor::Gamma { mean: 0.4, sd: 0.07, seed: own }, seed, 4096)
        };
        let factors: Vec<f64> = (1..=50).flat_map(of_seed).collect();
        assert_all(engine, &gamma_checks("tonic factors", &factors, 0.4, 0.07));
        let larger: Vec<f64> = factors.iter().map(|x| 1.005 * x).collect();
        assert!(gamma_checks("", &larger, 0.4, 0.07).iter().all(|check| check.z > LIMIT));
    }
}

/// Synapses are independent and have one probability. Checks, over all networks, their number, its variation between
/// cells, and how often each cell is a target.
fn synapses(what: &str, of_networks: &[&Projection], presynaptic: u32, cells: u32, p: f64) -> [Check; 3] {
    let networks = of_networks.len();
    let (from, onto, of) = (f64::from(presynaptic), f64::from(cells), networks as f64);
    let q = 1.0 - p;
    let pairs = from * onto * of;
    let total: usize = of_networks.iter().map(|projection| projection.len()).sum();
    let number = (total as f64 - pairs * p) / (pairs * p * q).sqrt();
    // The sum of squared deviations, over the binomial variance, of `count` counts of `n` pairs each. The sum has
    // the mean `count` and the variance `count` · `per_count`. A multiple of χ² has the same mean and variance.
    let spread = |counts: &mut dyn Iterator<Item = u32>, n: f64, count: f64| {
        let sum: f64 = counts.map(|k| (f64::from(k) - n * p).powi(2) / (n * p * q)).sum();
        let per_count = 2.0 + (1.0 - 6.0 * p * q) / (n * p * q);
        chi_square_deviation(sum * 2.0 / per_count, count * 2.0 / per_count)
    };
    let onto_cells: Vec<Vec<u32>> =
        of_networks.iter().map(|projection| projection.synapses_per_target(cells)).collect();
    let between_cells = spread(&mut onto_cells.iter().flatten().copied(), from, onto * of);
    let place = |cell: usize| onto_cells.iter().map(|counts| counts[cell]).sum::<u32>();
    let places = spread(&mut (0..cells as usize).map(place), from * of, onto);
    [
        check(&format!("{what}: number"), total, number),
        check(&format!("{what}: variance between cells"), total, between_cells),
        check(&format!("{what}: variance between places"), total, places),
    ]
}

#[test]
fn wiring_follows_its_law() {
    let _turn = crate::turn(module_path!());
    let paper = Parameters::default();
    // With 7 Golgi cells, their synapses are drawn pair by pair, as their probability is at least 0.25. All other
    // synapses are drawn by jumps.
    let mut small = paper.clone();
    small.network = NetworkSize { mossy_fibers: 78, granule_cells: 1024, golgi_cells: 7 };
    for engine in Method::ALL.iter().copied() {
        for parameters in [&paper, &small] {
            let NetworkSize { mossy_fibers, granule_cells, golgi_cells } = parameters.network;
            let networks: Vec<Network> =
                (1..=100).map(|seed| Network::new(engine, Wiring::of_parameters(parameters), seed)).collect();
            let mut checks = Vec::new();
            for (what, projection, from, onto, convergence) in [
                (
                    "mossy to granule",
                    (|network: &Network| &network.mossy_to_granule) as fn(&Network) -> &Projection,
                    mossy_fibers,
                    granule_cells,
                    4.0,
                ),
                ("mossy to Golgi", |network| &network.mossy_to_golgi, mossy_fibers, golgi_cells, 10.0),
                ("Golgi to granule", |network| &network.golgi_to_granule, golgi_cells, granule_cells, 4.0),
            ] {
                let projections: Vec<&Projection> = networks.iter().map(projection).collect();
                let what = format!("{what}, {golgi_cells} Golgi cells");
                checks.extend(synapses(&what, &projections, from, onto, convergence / f64::from(from)));
            }
            assert_all(engine, &checks);
        }
    }
}

#[test]
fn active_fibers_are_any() {
    let _turn = crate::turn(module_path!());
    const SEEDS: u32 = 5000;
    for engine in Method::ALL.iter().copied() {
        let layer = Layer::new(engine, Parameters::default()).expect("consistent");
        let fibers = f64::from(layer.parameters().network.mossy_fibers);
        let active = f64::from(layer.active_fibers());
        let mut counts = vec![0_u32; fibers as usize];
        let mut neighbours = Vec::new();
        for seed in 1..=SEEDS {
            let of_seed = active_fibers(&layer, seed);
            of_seed.iter().for_each(|&fiber| counts[fiber as usize] += 1);
            neighbours.push(of_seed.windows(2).filter(|pair| pair[1] == pair[0] + 1).count() as f64);
        }
        // Without replacement, (N − 1)/N of the sum is χ² with N − 1 degrees of freedom.
        let (n, p, freedom) = (f64::from(SEEDS), active / fibers, fibers - 1.0);
        let sum: f64 = counts.iter().map(|&k| (f64::from(k) - n * p).powi(2) / (n * p * (1.0 - p))).sum();
        let of_each = chi_square_deviation(sum * freedom / fibers, freedom);
        // Of N − 1 pairs of neighbours, each is active with probability k/N · (k − 1)/(N − 1).
        let expected = active / fibers * (active - 1.0);
        let squares: f64 = neighbours.iter().map(|x| (x - expected).powi(2)).sum();
        let of_pairs = (mean_of(&neighbours) - expected) / (squares / n / n).sqrt();
        let checks = [
            check("active fibres: how often each", (n * active) as usize, of_each),
            check("active fibres: pairs of neighbours", (n * active) as usize, of_pairs),
        ];
        assert_all(engine, &checks);
    }
}

/// Values that are not drawn are the same in both engines.
#[test]
fn both_engines_have_the_same_constants() {
    let _turn = crate::turn(module_path!());
    for name in CONDITIONS {
        let of = |engine| {
            let parameters =
                Parameters::default().with(preset(name).expect("a preset").overrides).expect("it fits");
            let layer = Layer::new(engine, parameters).expect("consistent");
            let steps = [
                layer.steps(),
                layer.steps_per_ms(),
                layer.active_fibers(),
                layer.granule_refractory_steps(),
                layer.golgi_refractory_steps(),
                layer.golgi_delay_steps(),
            ];
            (
                layer.parameters().clone(),
                steps,
                layer.stimulus_steps().to_vec(),
                layer.excitatory_decay(),
                layer.inhibitory_decay(),
            )
        };
        assert_eq!(of(Method::Pcg), of(Method::Brian2_2_2_1), "{name}");
    }
}
