//! Statistics of a thousand million normals of engine `pcg`: their moments, their histogram, and their correlations.
//! Correlations are computed within a stream, across the streams of neighbouring cells, and across trials.
//!
//! Each statistic is converted to a deviate that is standard normal if the noise is correct. There are 36,
//! and the seeds are fixed. None may exceed 4.5, which happens with a probability of one in 150,000.
#![allow(clippy::print_stderr, reason = "what was found")]

use std::thread;

use granule_granular::isa::Isa;
use granule_granular::noise::keyed::KeyedNoise;
use granule_granular::random::keyed::Streams;

const CELLS: usize = 2048;
/// Steps per block.
const ROWS: usize = 64;
const BLOCKS: usize = 320;
const TRIALS: usize = 24;
const DRAWS: usize = CELLS * ROWS * BLOCKS * TRIALS;

/// Lags in steps, and distances in cells, at which draws are correlated.
const LAGS: [usize; 8] = [1, 2, 3, 4, 5, 8, 16, 32];
const NEIGHBOURS: [usize; 6] = [1, 2, 8, 16, 512, 1024];

/// The width of a histogram bin, and the reach of the histogram on both sides of 0.
const BIN: f64 = 1.0 / 16.0;
const REACH: f64 = 8.0;
const BINS: usize = 256;

const MOST: f64 = 4.5;

#[derive(Clone)]
struct Sums {
    /// Sums of x to x⁴.
    powers: [f64; 4],
    lags: [f64; LAGS.len()],
    /// Sums of (x² − 1)(y² − 1), with y the normal a lag later. The two normals of a Box–Muller pair share a radius.
    squares: [f64; LAGS.len()],
    neighbours: [f64; NEIGHBOURS.len()],
    /// Sum of the products with the same cell and step of the previous trial.
    trials: f64,
    histogram: Vec<u64>,
}

impl Sums {
    fn new() -> Sums {
        Sums {
            powers: [0.0; 4],
            lags: [0.0; LAGS.len()],
            squares: [0.0; LAGS.len()],
            neighbours: [0.0; NEIGHBOURS.len()],
            trials: 0.0,
            histogram: vec![0; BINS],
        }
    }

    /// Adds a block, and its products with the same block of the previous trial.
    fn take(&mut self, block: &[f64], before: &[f64]) {
        // Each block has its own sums: adding each value to the total would lose digits.
        let mut sums = Sums { histogram: std::mem::take(&mut self.histogram), ..Sums::new() };
        for x in block {
            let square = x * x;
            sums.powers[0] += x;
            sums.powers[1] += square;
            sums.powers[2] += square * x;
            sums.powers[3] += square * square;
            sums.histogram[((x + REACH) / BIN) as usize] += 1;
        }
        // The block is a circle, so that each draw has a partner.
        let product = |f: &dyn Fn(f64, f64) -> f64, by: usize| -> f64 {
            let later = block[by..].iter().chain(&block[..by]);
            block.iter().zip(later).map(|(x, y)| f(*x, *y)).sum()
        };
        for (i, lag) in LAGS.into_iter().enumerate() {
            sums.lags[i] = product(&|x, y| x * y, lag * CELLS);
            sums.squares[i] = product(&|x, y| (x * x - 1.0) * (y * y - 1.0), lag * CELLS);
        }
        for (i, cells) in NEIGHBOURS.into_iter().enumerate() {
            sums.neighbours[i] = product(&|x, y| x * y, cells);
        }
        sums.trials = block.iter().zip(before).map(|(x, y)| x * y).sum();
        self.add(sums);
    }

    fn add(&mut self, other: Sums) {
        let add = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        add(&mut self.powers, &other.powers);
        add(&mut self.lags, &other.lags);
        add(&mut self.squares, &other.squares);
        add(&mut self.neighbours, &other.neighbours);
        self.trials += other.trials;
        if self.histogram.is_empty() {
            self.histogram = other.histogram;
        } else {
            self.histogram.iter_mut().zip(other.histogram).for_each(|(to, from)| *to += from);
        }
    }
}

fn noise(trial: usize) -> KeyedNoise {
    let streams = Streams::new("noise of granule cells", &[451, 0, trial as u32]);
    KeyedNoise::new(Isa::best(), &streams, CELLS as u32, CELLS)
}

fn of_trial(trial: usize) -> Sums {
    let mut sums = Sums::new();
    let (mut noise, mut noise_before) = (noise(trial + 1), noise(trial));
    let (mut block, mut before) = (vec![0.0; CELLS * ROWS], vec![0.0; CELLS * ROWS]);
    for _ in 0..BLOCKS {
        noise.fill(&mut block);
        noise_before.fill(&mut before);
        sums.take(&block, &before);
    }
    sums
}

/// The probability that a standard normal is below x.
fn below(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

#[test]
fn a_thousand_million_normals_are_normal_and_independent() {
    const { assert!(DRAWS >= 1_000_000_000) };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(TRIALS);
    let mut of_trials: Vec<(usize, Sums)> = thread::scope(|scope| {
        let work = |first: usize| {
            move || (first..TRIALS).step_by(threads).map(|trial| (trial, of_trial(trial))).collect::<Vec<_>>()
        };
        let working: Vec<_> = (0..threads).map(|first| scope.spawn(work(first))).collect();
        working.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
    });
    of_trials.sort_by_key(|(trial, _)| *trial);
    let mut sums = Sums::new();
    of_trials.into_iter().for_each(|(_, of_trial)| sums.add(of_trial));

    let n = DRAWS as f64;
    let mut found: Vec<(String, f64)> = Vec::new();
    // Mean and variance of the powers x to x⁴: 0 and 1, 1 and 2, 0 and 15, 3 and 96.
    for (i, (mean, variance)) in
        [(0.0, 1.0), (1.0, 2.0), (0.0, 15.0), (3.0, 96.0_f64)].into_iter().enumerate()
    {
        found.push((format!("moment {}", i + 1), (sums.powers[i] / n - mean) / (variance / n).sqrt()));
    }
    for (i, lag) in LAGS.into_iter().enumerate() {
        found.push((format!("{lag} steps later"), sums.lags[i] / n.sqrt()));
        found.push((format!("squares {lag} steps later"), sums.squares[i] / (4.0 * n).sqrt()));
    }
    for (i, cells) in NEIGHBOURS.into_iter().enumerate() {
        found.push((format!("{cells} cells on"), sums.neighbours[i] / n.sqrt()));
    }
    found.push(("the trial before".to_owned(), sums.trials / n.sqrt()));

    // Each tail separately, and all bins by χ². Neighbouring bins with few draws are merged.
    for tail in [3, 4, 5, 6] {
        let beyond = ((REACH - f64::from(tail)) / BIN) as usize;
        let expected = n * below(-f64::from(tail));
        for (side, bins) in
            [("below −", &sums.histogram[..beyond]), ("above ", &sums.histogram[BINS - beyond..])]
        {
            let count = bins.iter().sum::<u64>() as f64;
            found.push((format!("{side}{tail}"), (count - expected) / expected.sqrt()));
        }
    }
    let (mut chi_squared, mut bins) = (0.0, -1.0);
    let (mut count, mut expected) = (0.0, 0.0);
    for (i, &of_bin) in sums.histogram.iter().enumerate() {
        let from = i as f64 * BIN - REACH;
        // Computed from the nearer end: differences of numbers near 1 would lose the tails.
        let part =
            if from < 0.0 { below(from + BIN) - below(from) } else { below(-from) - below(-from - BIN) };
        count += of_bin as f64;
        expected += n * part;
        if expected >= 100.0 {
            chi_squared += (count - expected) * (count - expected) / expected;
            bins += 1.0;
            (count, expected) = (0.0, 0.0);
        }
    }
    found.push((format!("χ² of {bins} degrees of freedom"), (chi_squared - bins) / f64::sqrt(2.0 * bins)));

    for (what, z) in &found {
        eprintln!("{what}: {z:.2}");
    }
    let largest = found.iter().map(|(_, z)| z.abs()).fold(0.0, f64::max);
    assert!(found.len() >= 30 && largest < MOST, "{found:?}");
    assert_eq!(sums.histogram.iter().sum::<u64>(), DRAWS as u64);
}
