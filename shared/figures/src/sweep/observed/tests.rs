use std::collections::BTreeMap;

use granule_engine::Value;

use super::*;
use crate::sweep::tests::{Program, assert_close, condition, condition_of, place};

/// Pseudo-random numbers (Vigna's SplitMix64).
struct Draws(u64);

impl Draws {
    /// Returns a number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// Steps in a ms of engine `pcg`.
const PER_MS: usize = 10;

/// Returns a trial whose spikes are mostly in and around the window. Each cell has none to three spikes.
fn trial(draws: &mut Draws, window: &Range<usize>) -> TrialSpikes {
    let (start, end) = (window.start * PER_MS, window.end * PER_MS);
    let borders = [start.saturating_sub(1), start, start + PER_MS - 1, start + PER_MS, end - 1, end];
    let mut train = |cells: u32| {
        let mut spikes = Vec::new();
        for cell in 0..cells {
            for _ in 0..draws.below(4) {
                let step = match draws.below(4) {
                    0 => borders[draws.below(borders.len())],
                    1 => draws.below(20_000),
                    _ => start + draws.below(end - start),
                };
                spikes.push(Spike { step: step.min(19_999) as u32, cell });
            }
        }
        spikes.sort_unstable();
        spikes.dedup();
        spikes
    };
    TrialSpikes::of(vec![train(96), train(5)])
}

/// Returns the steps of a cell's spikes within a range of ms, by trial.
fn steps_in(trials: &[TrialSpikes], population: usize, cell: u32, ms: &Range<usize>) -> Vec<Vec<f64>> {
    let is_in = |spike: &&Spike| {
        spike.cell == cell && ((ms.start * PER_MS) as u32..(ms.end * PER_MS) as u32).contains(&spike.step)
    };
    let of_trial = |trial: &TrialSpikes| -> Vec<f64> {
        trial.trains[population].iter().filter(is_in).map(|spike| f64::from(spike.step)).collect()
    };
    trials.iter().map(of_trial).collect()
}

fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Returns the sample variance of at least two values.
fn variance(values: &[f64]) -> f64 {
    let mean = average(values).expect("values");
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

/// Computes all measures from the spikes as their definitions say, cell by cell.
fn naive(
    trials: &[TrialSpikes],
    driven: &[u32],
    window: &Range<usize>,
    stimulus_ms: f64,
) -> Vec<Option<f64>> {
    let n = trials.len() as f64;
    let (mut responded, mut spikes, mut latency, mut variances) = (vec![], vec![], vec![], vec![]);
    // Squared differences of first spikes in pairs of trials.
    let mut differences = vec![];
    for &cell in driven {
        let steps = steps_in(trials, 0, cell, window);
        let counts: Vec<f64> = steps.iter().map(|steps| steps.len() as f64).collect();
        let first = |steps: &Vec<f64>| steps.iter().copied().reduce(f64::min);
        let firsts: Vec<f64> =
            steps.iter().filter_map(first).map(|step| step / PER_MS as f64 - stimulus_ms).collect();
        responded.push(firsts.len() as f64 / n);
        let of_cell = average(&counts).expect("trials");
        spikes.push(of_cell);
        for (at, one) in firsts.iter().enumerate() {
            differences.extend(firsts[..at].iter().map(|other| (one - other).powi(2)));
        }
        latency.extend(firsts);
        variances.extend((trials.len() > 1).then(|| variance(&counts)));
    }
    let count = |population: usize, cell: u32, ms: &Range<usize>| {
        steps_in(trials, population, cell, ms).iter().map(Vec::len).sum::<usize>() as f64
    };
    let in_ms = |ms: usize| {
        let of: Vec<f64> = driven.iter().map(|&cell| count(0, cell, &(ms..ms + 1)) / n).collect();
        average(&of).expect("cells")
    };
    let rate = |population: usize, cells: u32, ms: Range<usize>| {
        let seconds = ms.len() as f64 / 1000.0;
        let spikes: f64 = (0..cells).map(|cell| count(population, cell, &ms)).sum();
        (seconds > 0.0).then(|| spikes / f64::from(cells) / n / seconds)
    };
    let reliable: Vec<f64> = responded.iter().map(|of| f64::from(u8::from(*of >= 0.5))).collect();
    vec![
        average(&responded),
        average(&spikes),
        window.clone().map(in_ms).reduce(f64::max),
        average(&reliable),
        average(&latency),
        average(&differences).map(|of| (of / 2.0).sqrt()),
        average(&variances).zip(average(&spikes)).filter(|(_, mean)| *mean > 0.0).map(|(of, mean)| of / mean),
        rate(0, 96, 0..window.start),
        rate(1, 5, 0..window.start),
        rate(1, 5, window.clone()),
    ]
}

fn observe(driven: &[u32], window: &Range<usize>, trials: &[TrialSpikes]) -> Observed {
    let model = condition("c", "Control", &[]).model;
    let mut counter = Counter::new(&model, driven, Window { ms: window.clone() }, Detail::Measures);
    trials.iter().for_each(|trial| counter.add(trial));
    counter.finish(7)
}

/// Draws trials for different windows and numbers of trials.
fn samples() -> Vec<(Range<usize>, Vec<u32>, Vec<TrialSpikes>)> {
    let mut draws = Draws(7);
    let mut samples = Vec::new();
    for window in [1000..1060, 1000..1001, 0..40, 1950..2000, 0..2000] {
        for count in [1, 2, 3, 5] {
            let driven = (0..96).filter(|_| draws.below(4) == 0).collect();
            let trials = (0..count).map(|_| trial(&mut draws, &window)).collect();
            samples.push((window.clone(), driven, trials));
        }
    }
    samples
}

#[test]
fn measures_are_those_of_their_definitions() {
    let mut seen = BTreeMap::new();
    for (window, driven, trials) in samples() {
        let expected = naive(&trials, &driven, &window, 1010.0);
        assert_close(&observe(&driven, &window, &trials).measures, &expected);
        for (at, value) in expected.into_iter().enumerate() {
            let different: &mut Vec<f64> = seen.entry(at).or_default();
            different.extend(value.filter(|value| !different.contains(value)));
        }
    }
    // The samples distinguish all measures.
    assert!(seen.len() == 10 && seen.values().all(|values| values.len() > 5), "{seen:?}");
}

#[test]
fn the_order_of_trials_does_not_matter() {
    for (window, driven, mut trials) in samples() {
        let first = observe(&driven, &window, &trials);
        for _ in 0..trials.len() {
            trials.rotate_left(1);
            let again = observe(&driven, &window, &trials);
            assert_eq!((&again.measures, again.of_trials), (&first.measures, first.of_trials));
        }
        trials.reverse();
        let again = observe(&driven, &window, &trials);
        assert_eq!((again.measures, again.of_trials), (first.measures, first.of_trials));
    }
}

#[test]
fn the_order_of_trials_does_not_matter_for_returned_numbers() {
    let model = condition_of(&Program, "c", "Base", &[]).model;
    let observe = |numbers: &[f64]| {
        let mut counter = Counter::new(&model, &[], Window::of(&model), Detail::Measures);
        for &number in numbers {
            let values = vec![vec![number], vec![0.0, 0.0], vec![0.0]];
            counter.add(&TrialSpikes { values, ..TrialSpikes::of(vec![vec![]; 3]) });
        }
        counter.finish(1).measures[3]
    };
    // A sum from left to right depends on the order: 0.1 + 0.2 + 0.3 differs from 0.3 + 0.2 + 0.1.
    assert_eq!(observe(&[0.1, 0.2, 0.3]), observe(&[0.3, 0.2, 0.1]));
    assert_eq!(observe(&[1e16, 1.0, 1.0, -1e16]), observe(&[1.0, -1e16, 1.0, 1e16]));
}

#[test]
fn more_of_the_same_trials_change_no_mean() {
    for (window, driven, trials) in samples() {
        let n = trials.len() as f64;
        let once = observe(&driven, &window, &trials).measures;
        let twice = observe(&driven, &window, &[&trials[..], &trials[..]].concat()).measures;
        let is_spread = |at: &usize| [place(Measure::Jitter), place(Measure::Fano)].contains(at);
        let means = |of: &[Option<f64>]| -> Vec<Option<f64>> {
            (0..of.len()).filter(|at| !is_spread(at)).map(|at| of[at]).collect()
        };
        assert_close(&means(&twice), &means(&once));
        // Of twice as many trials with the same mean square deviation, the sample variance is smaller.
        if trials.len() > 1 {
            let fano = once[place(Measure::Fano)].map(|fano| fano * 2.0 * (n - 1.0) / (2.0 * n - 1.0));
            assert_close(&[twice[place(Measure::Fano)]], &[fano]);
        }
    }
}

/// Cells that rarely spike do so in a few of many trials, and in none of a few. They spike later, and more in bursts.
#[test]
fn few_trials_and_many_have_the_same_expected_value() {
    const CELLS: u32 = 96;
    let driven: Vec<u32> = (0..CELLS).collect();
    let mut draws = Draws(3);
    let mut one = || {
        let mut spikes = Vec::new();
        for cell in 0..CELLS {
            // Probability from 0.5 down to 0.02.
            if draws.below(100) < 2 + (CELLS - 1 - cell) as usize / 2 {
                let first = 10_000 + 4 * cell + draws.below(1 + cell as usize) as u32;
                spikes.extend((0..=cell / 24).map(|more| Spike { step: first + more, cell }));
            }
        }
        spikes.sort_unstable();
        TrialSpikes::of(vec![spikes, vec![]])
    };
    let trials: Vec<TrialSpikes> = (0..1000).map(|_| one()).collect();
    let all = observe(&driven, &(1000..1060), &trials).measures;
    for measure in [Measure::Probability, Measure::Response, Measure::Latency, Measure::Jitter, Measure::Fano]
    {
        let values: Vec<f64> = (trials.chunks(5))
            .filter_map(|few| observe(&driven, &(1000..1060), few).measures[place(measure)])
            .collect();
        let (of_few, of_all) = (average(&values).expect("values"), all[place(measure)].expect("a value"));
        // The root of an unbiased variance is slightly too small.
        assert!((of_few - of_all).abs() < 0.03 * of_all.abs(), "{measure:?}: {of_few}, {of_all}");
    }
}

#[test]
fn spikes_are_counted_where_and_when_they_are() {
    let condition = condition("c", "Control", &[]);
    let window = Window::of(&condition.model);
    assert_eq!((window.ms.clone(), window.shown(2000)), (1000..1060, 985..1075));
    assert_eq!(window.shown(1062), 985..1062);
    let of = |times: Vec<f64>| {
        let set = [("stimulus.times", Value::Numbers(times))];
        Window::of(&crate::sweep::tests::condition("c", "Control", &set).model).ms
    };
    assert_eq!(
        (of(vec![510.0]), of(vec![570.0, 510.0]), of(vec![3.0, 1995.0])),
        (500..560, 500..600, 0..2000)
    );
    let spike = |ms: f64, cell: u32| Spike { step: (ms * 10.0).round() as u32, cell };
    let mut counter = Counter::new(&condition.model, &[3, 8], window, Detail::Cells);
    // The window has two spikes of cell 3 and one of cell 8. Cell 5 is not driven.
    let granule =
        vec![spike(990.05, 3), spike(999.9, 5), spike(1000.0, 3), spike(1000.9, 8), spike(1059.9, 3)];
    let golgi = vec![spike(0.0, 0), spike(500.0, 4), spike(1030.0, 1)];
    counter.add(&TrialSpikes::of(vec![granule, golgi]));
    counter.add(&TrialSpikes::of(vec![vec![spike(1060.0, 8)], vec![]]));
    let Observed { seed, trials, driven, window, measures, of_trials, courses } = counter.finish(9);
    assert_eq!((seed, trials, driven, window.ms), (9, 2, 2, 1000..1060));
    let expected = [
        Some(2.0 / 4.0),                 // each cell in one of two trials
        Some(3.0 / 4.0),                 // spikes in the window, two cells and two trials
        Some(2.0 / 4.0),                 // two in ms 1000
        Some(1.0),                       // both cells, in exactly half of the trials
        Some((-10.0 - 9.1) / 2.0),       // before the first stimulus, at 1010 ms
        None,                            // no cell has a spike in two trials
        Some((2.0 + 0.5) / (1.0 + 0.5)), // variances and means of counts 2 and 0, and of counts 1 and 0
        Some(2.0 / (96.0 * 2.0 * 1.0)),  // two before, of all cells, in 1 s
        Some(2.0 / (5.0 * 2.0 * 1.0)),
        Some(1.0 / (5.0 * 2.0 * 0.060)),
    ];
    assert_close(&measures, &expected);
    // Three spikes, and then none.
    assert_eq!(of_trials, Some((1.5, 4.5)));
    let courses = courses.expect("wanted");
    assert_eq!(courses.ms, 985..1075);
    let (numbers, cells) = courses.cells.as_ref().expect("they were requested");
    assert_eq!((&numbers[..], cells.dim()), (&[3, 8][..], (2, 90)));
    assert_eq!((cells[[0, 15]], cells[[1, 15]], cells[[1, 75]]), (0.5, 0.5, 0.5));
    assert_eq!(cells.sum(), 2.5);
    assert!((courses.rates_hz[0][15] - 2.0 / (2.0 * 2.0 * 1e-3)).abs() < 1e-9);
    assert!((courses.rates_hz[1][45] - 1.0 / (5.0 * 2.0 * 1e-3)).abs() < 1e-9);
}

#[test]
fn what_cannot_be_measured_is_missing() {
    let set = [("stimulus.times", Value::Numbers(vec![]))];
    let quiet = condition("quiet", "Control", &set);
    assert_eq!(Window::of(&quiet.model).ms, 0..2000);
    let counter = || Counter::new(&quiet.model, &[1], Window::of(&quiet.model), Detail::Measures);
    // No trial was counted, and no time precedes the window.
    let nothing = counter().finish(1);
    assert_eq!((&nothing.measures[..], nothing.of_trials), (&[None; 10][..], None));
    let mut silent = counter();
    silent.add(&TrialSpikes::default());
    let observed = silent.finish(1);
    let zero = Some(0.0);
    assert_eq!(observed.measures, [zero, zero, zero, zero, None, None, None, None, None, zero]);
    assert!(observed.courses.is_none() && observed.of_trials.is_none());
    // Without a stimulus, the latency is from the window's beginning.
    let mut counter = counter();
    counter.add(&TrialSpikes::of(vec![vec![Spike { step: 25, cell: 1 }], vec![]]));
    assert_close(&counter.finish(1).measures[4..5], &[Some(2.5)]);
    // Without driven cells, only rates can be measured.
    let none = observe(&[], &(1000..1060), &[TrialSpikes::default(), TrialSpikes::default()]);
    assert_eq!(none.measures, [[None; 7].as_slice(), &[zero; 3]].concat());
    assert_eq!(none.of_trials, None);
}

#[test]
fn spikes_of_a_trial_discriminate() {
    // Trials with these numbers of spikes, which both driven cells have in turn.
    let observed = |counts: &[u32]| {
        let of_trial = |&count: &u32| {
            let train = (0..count).map(|i| Spike { step: 10_000 + i, cell: i % 2 }).collect();
            TrialSpikes::of(vec![train, vec![]])
        };
        let trials: Vec<TrialSpikes> = counts.iter().map(of_trial).collect();
        observe(&[0, 1], &(1000..1060), &trials)
    };
    let (more, fewer) = (observed(&[4, 6]), observed(&[0, 4]));
    assert_eq!((more.of_trials, fewer.of_trials), (Some((5.0, 2.0)), Some((2.0, 8.0))));
    // The root of the mean variance is √5.
    let d = 3.0 / 5.0_f64.sqrt();
    assert_close(&[more.discriminability(&fewer), fewer.discriminability(&more)], &[Some(d), Some(-d)]);
    assert_eq!(more.discriminability(&more), Some(0.0));
    assert_eq!(more.discriminability(&observed(&[4])), None);
    assert_eq!(observed(&[4, 4]).discriminability(&observed(&[1, 1])), None);
    assert_close(&[observed(&[4, 4]).discriminability(&fewer)], &[Some(2.0 / 4.0_f64.sqrt())]);
}

#[test]
fn programs_have_rates_and_returned_numbers() {
    let model = condition_of(&Program, "c", "Base", &[]).model;
    let mut counter = Counter::new(&model, &[1], Window { ms: 20..70 }, Detail::Measures);
    // Two steps make a ms.
    let train = |steps: &[u32]| steps.iter().map(|&step| Spike { step, cell: 2 }).collect();
    let trial = |trains: [&[u32]; 3], gain: f64, size: f64| TrialSpikes {
        trains: trains.map(train).into(),
        values: vec![vec![gain], vec![7.0, 7.0], vec![size]],
    };
    counter.add(&trial([&[39, 40, 139, 140], &[], &[50]], 3.0, f64::NAN));
    counter.add(&trial([&[60], &[], &[51, 52]], 5.0, f64::NAN));
    let observed = counter.finish(1);
    let names: Vec<String> = Measure::of(&model).into_iter().map(Measure::name).collect();
    assert_eq!(names, ["relay_hz", "excitatory_hz", "inhibitory_hz", "gain", "final_size"]);
    let seconds = 2.0 * 0.050;
    let rates = [Some(3.0 / 48.0 / seconds), Some(0.0), Some(3.0 / 7.0 / seconds)];
    assert_close(&observed.measures, &[&rates[..], &[Some(4.0), None]].concat());
    let labels: Vec<String> = Measure::of(&model).into_iter().map(Measure::label).collect();
    assert_eq!(labels[2..], ["Inhibitory cells (Hz)", "Gain (mV)", "Final size"]);
}
