use granule_sim::Engine;
use granule_sim::Model;
use granule_sim::derive::Structure;
use granule_sim::isa::Isa;
use granule_sim::noise::NoiseStart;
use granule_sim::parameters::{CellFactor, NetworkSize, Parameters, Value, field, preset};
use granule_sim::spikes::{Spike, TrialSpikes};
use granule_sim::trial::Cohort;
use ndarray::Array2;

use super::*;
use crate::Figure;
use crate::drawing::check_layout;

fn condition(name: &str, base: &str, set: &[(&str, Value)]) -> Condition {
    let overrides = preset(base).expect("a preset").overrides;
    let mut parameters = Parameters::default().with(overrides).expect("it fits");
    parameters.network = NetworkSize { mossy_fibers: 60, granule_cells: 96, golgi_cells: 5 };
    for (path, value) in set {
        field(path).expect("a field").set(&mut parameters, value.clone()).expect("in range");
    }
    Condition { name: name.to_owned(), model: Model::new(parameters).expect("consistent") }
}

/// Three trials of a condition.
fn simulate(condition: &Condition, seed: u32) -> Vec<TrialSpikes> {
    let models = [condition.model.clone()];
    let cohort = Cohort::new(Engine::Pcg, Isa::best(), &models, seed, 3).expect("one network");
    let mut running = cohort.trials(NoiseStart::default());
    (0..3).map(|trial| running.simulate(trial).remove(0)).collect()
}

fn driven(condition: &Condition, seed: u32) -> Vec<u32> {
    Structure::new(Engine::Pcg, &condition.model, seed).driven_cells().to_vec()
}

fn observe(condition: &Condition, seed: u32) -> Observed {
    let window = Window::of(&condition.model);
    let mut counter = Counter::new(&condition.model, &driven(condition, seed), window, true);
    simulate(condition, seed).iter().for_each(|trial| counter.add(trial));
    counter.finish(seed)
}

/// Conditions over two parameters, and what two seeds of them did.
fn sweep() -> (Vec<Condition>, Vec<Vec<Observed>>) {
    let mut conditions = vec![condition("Control", "Control", &[]), condition("GABAzine", "GABAzine", &[])];
    for factor in [0.25, 0.5, 1.0] {
        for leak in [-53.0, -50.5] {
            let set = [
                ("granule.tonic_factor", Value::Factor(CellFactor::Constant(factor))),
                ("golgi.leak_reversal", Value::Number(leak)),
            ];
            let name = format!("a-condition-with-a-long-name-tonic-{factor}-leak-{leak}");
            conditions.push(condition(&name, "Control", &set));
        }
    }
    let observed = conditions.iter().map(|of| [7, 451].map(|seed| observe(of, seed)).into()).collect();
    (conditions, observed)
}

/// All figures of some conditions.
fn all(conditions: &[Condition], observed: &[Vec<Observed>]) -> Vec<Figure> {
    let of: Vec<(&Condition, &[Observed])> =
        conditions.iter().zip(observed).map(|(condition, observed)| (condition, &observed[..])).collect();
    let first: Vec<(&Condition, &Observed)> =
        of.iter().filter_map(|(condition, observed)| Some((*condition, observed.first()?))).collect();
    let drawn: Vec<(Vec<u32>, Vec<TrialSpikes>)> =
        conditions.iter().map(|condition| (driven(condition, 7), simulate(condition, 7))).collect();
    let trials: Vec<Trial<'_>> = conditions
        .iter()
        .zip(&drawn)
        .map(|(Condition { name, model }, (driven, spikes))| Trial {
            condition: name,
            model,
            driven,
            spikes: &spikes[0],
        })
        .collect();
    let traces: Vec<Traces> = conditions
        .iter()
        .map(|_| {
            let mut traces = Traces::new(980..1080);
            let rise = Array2::from_shape_fn((9, 1050), |(cell, ms)| (cell * ms) as f64 * 1e-4);
            traces.add(rise.view(), rise.mapv(|x| 0.5 * x).view());
            traces
        })
        .collect();
    let traced: Vec<(&Condition, &Traces)> = conditions.iter().zip(&traces).collect();
    let mut figures = vec![
        psth(&of),
        raster(&trials, 7, 0, &(985..1075)),
        heat_map(&first),
        conductances(&traced),
        seeds(&of),
    ];
    figures.extend(axes(conditions).iter().map(|axis| responses(&of, axis)));
    figures
}

/// From the usual to the odd.
fn everything() -> Vec<Figure> {
    let (conditions, observed) = sweep();
    let mut figures = all(&conditions, &observed);
    figures.extend(all(&conditions[..1], &observed[..1]));
    // Without active fibres nothing is driven, and without trials nothing is observed.
    let silent = condition("silent", "Control", &[("stimulus.active_fraction", Value::Number(0.0))]);
    let nothing = Counter::new(&silent.model, &[], Window::of(&silent.model), true).finish(1);
    figures.extend(all(&[silent], &[vec![nothing]]));
    figures
}

#[test]
fn spikes_are_counted_where_and_when_they_are() {
    let condition = condition("c", "Control", &[]);
    let window = Window::of(&condition.model);
    assert_eq!((window.ms.clone(), window.shown(2000)), (1000..1060, 985..1075));
    assert_eq!(window.shown(1062), 985..1062);
    let of = |times: Vec<f64>| {
        Window::of(&self::condition("c", "Control", &[("stimulus.times", Value::Numbers(times))]).model).ms
    };
    assert_eq!(
        (of(vec![510.0]), of(vec![570.0, 510.0]), of(vec![3.0, 1995.0])),
        (500..560, 500..600, 0..2000)
    );
    let spike = |ms: f64, cell: u32| Spike { step: (ms * 10.0).round() as u32, cell };
    let mut counter = Counter::new(&condition.model, &[3, 8], window, true);
    counter.add(&TrialSpikes {
        // In the window: two of cell 3 and one of cell 8. Cell 5 is not driven.
        granule: vec![
            spike(990.05, 3),
            spike(999.9, 5),
            spike(1000.0, 3),
            spike(1000.9, 8),
            spike(1059.9, 3),
        ],
        golgi: vec![spike(0.0, 0), spike(500.0, 4), spike(1030.0, 1)],
    });
    counter.add(&TrialSpikes { granule: vec![spike(1060.0, 8)], golgi: vec![] });
    let Observed { seed, trials, measures, courses } = counter.finish(9);
    assert_eq!((seed, trials), (9, 2));
    let expected = [
        3.0 / 4.0,                // spikes in the window, two cells and two trials
        2.0 / 4.0,                // two in ms 1000
        1.0,                      // both cells
        2.0 / (96.0 * 2.0 * 1.0), // two before, of all cells, in 1 s
        2.0 / (5.0 * 2.0 * 1.0),
        1.0 / (5.0 * 2.0 * 0.060),
    ];
    for ((found, expected), measure) in measures.iter().zip(expected).zip(Measure::ALL) {
        let found = found.expect("measured");
        assert!((found - expected).abs() < 1e-12, "{measure:?}: {found} for {expected}");
    }
    let courses = courses.expect("wanted");
    assert_eq!(courses.ms, 985..1075);
    assert_eq!(courses.cells.dim(), (2, 90));
    assert_eq!((courses.cells[[0, 15]], courses.cells[[1, 15]], courses.cells[[1, 75]]), (0.5, 0.5, 0.5));
    assert_eq!(courses.cells.sum(), 2.5);
    assert!((courses.granule_hz[15] - 2.0 / (2.0 * 2.0 * 1e-3)).abs() < 1e-9);
    assert!((courses.golgi_hz[45] - 1.0 / (5.0 * 2.0 * 1e-3)).abs() < 1e-9);
}

#[test]
fn what_cannot_be_measured_is_missing() {
    let set = [("stimulus.times", Value::Numbers(vec![]))];
    let quiet = condition("quiet", "Control", &set);
    assert_eq!(Window::of(&quiet.model).ms, 0..2000);
    let measures = Counter::new(&quiet.model, &[1], Window::of(&quiet.model), false).finish(1).measures;
    // No trial; and nothing is before the window.
    assert_eq!(measures, [None; 6]);
    let mut counter = Counter::new(&quiet.model, &[1], Window::of(&quiet.model), false);
    counter.add(&TrialSpikes::default());
    let observed = counter.finish(1);
    assert_eq!(observed.measures, [Some(0.0), Some(0.0), Some(0.0), None, None, Some(0.0)]);
    assert!(observed.courses.is_none());
}

#[test]
fn parameters_that_differ_are_axes() {
    let (conditions, observed) = sweep();
    let found = axes(&conditions);
    assert_eq!(found.len(), 2);
    assert_eq!((found[1].path, &found[1].values[..]), ("golgi.leak_reversal", &[-53.0, -51.0, -50.5][..]));
    assert_eq!((found[1].unit, found[0].unit), ("mV", ""));
    // GABAzine has none.
    assert_eq!((found[0].path, &found[0].values[..]), ("granule.tonic_factor", &[0.0, 0.25, 0.5, 1.0][..]));
    let of: Vec<(&Condition, &[Observed])> =
        conditions.iter().zip(&observed).map(|(condition, observed)| (condition, &observed[..])).collect();
    let figure = responses(&of, &found[0]);
    assert_eq!(figure.name, "dose-response-granule-tonic_factor");
    let csv = figure.tables[0].csv();
    assert_eq!(csv.lines().count(), 1 + conditions.len());
    // A line for each leak reversal, of three factors, told apart by it.
    let lines = |leak: &str| csv.lines().filter(|line| line.contains(leak)).count();
    assert_eq!(
        (lines("golgi.leak_reversal = \u{2212}53 mV"), lines("golgi.leak_reversal = \u{2212}50.5 mV")),
        (3, 3)
    );
    let mean = (observed[2][0].measures[0].expect("one") + observed[2][1].measures[0].expect("one")) / 2.0;
    assert!(csv.contains(&format!(",2,{mean},")), "{mean} in {csv}");
    // Where nothing but numbers of streams differs there is nothing to draw.
    let seeds: Vec<Condition> =
        (0..4).map(|seed| condition("x", "Control", &[("weights.seed", Value::Count(seed))])).collect();
    assert_eq!(axes(&seeds), []);
}

#[test]
fn conditions_that_share_nothing_are_points() {
    let conditions: Vec<Condition> = [0.2, 0.4, 0.7]
        .iter()
        .map(|&x| {
            let set = [
                ("granule.tonic_factor", Value::Factor(CellFactor::Constant(x))),
                ("golgi.leak_reversal", Value::Number(-50.0 - x)),
            ];
            condition("x", "Control", &set)
        })
        .collect();
    let observed: Vec<Vec<Observed>> = conditions.iter().map(|of| vec![observe(of, 7)]).collect();
    let figures = all(&conditions, &observed);
    let doses: Vec<&Figure> = figures.iter().filter(|figure| figure.name.starts_with("dose")).collect();
    assert_eq!(doses.len(), 2);
    assert!(doses.iter().all(|figure| figure.description.contains("so each is a point")));
}

#[test]
fn heat_maps_have_the_strongest_cells_on_top() {
    let (conditions, observed) = sweep();
    // GABAzine has more spikes than cells.
    let figure = heat_map(&[(&conditions[1], &observed[1][0])]);
    let table = figure.tables[0].csv();
    let mut sums = std::collections::BTreeMap::<u32, f64>::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        *sums.entry(fields[1].parse().expect("a row")).or_default() +=
            fields[3].parse::<f64>().expect("a number");
    }
    let sums: Vec<f64> = sums.into_values().collect();
    assert!(sums.len() > 10 && sums.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9), "{sums:?}");
}

#[test]
fn figures_are_well_formed_and_no_text_meets_another() {
    for figure in everything() {
        let svg = figure.svg();
        let document = roxmltree::Document::parse(&svg).expect("XML");
        let has = |tag: &str| document.root_element().children().any(|node| node.has_tag_name(tag));
        assert!(has("title") && has("desc") && !figure.title.is_empty() && figure.description.len() > 40);
        check_layout(&svg, &figure.name);
        assert!(figure.pdf().expect("a PDF").starts_with(b"%PDF"));
        assert!(figure.png(72.0).expect("a PNG").starts_with(b"\x89PNG"));
    }
}

#[test]
fn figures_are_the_same_each_time() {
    let (conditions, observed) = sweep();
    let [first, again] = [(); 2].map(|()| all(&conditions, &observed));
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(first.svg(), again.svg());
        assert_eq!(first.tables, again.tables);
    }
}
