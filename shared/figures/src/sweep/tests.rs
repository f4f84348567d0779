use std::ops::ControlFlow;

use granule_engine::spikes::MOST_SPIKES;
use granule_engine::{Engine, Model, NoResult, Shard, Spike, Start, TrialSpikes, Value, space::CellFactor};
use granule_granular::derive::Structure;
use granule_granular::{Method, layer_of};
use granule_toy::{POPULATIONS, Toy};
use ndarray::Array2;

use super::*;
use crate::{Figure, Table};

const DRIVE: Drive = Drive {
    driven: "granule cells with input from active mossy fibres",
    stimulus: Some("spikes of the mossy fibres"),
};

fn condition(name: &str, base: &str, set: &[(&str, Value)]) -> ObservedCondition {
    let small = [
        ("network.mossy_fibers", Value::Count(60)),
        ("network.granule_cells", Value::Count(96)),
        ("network.golgi_cells", Value::Count(5)),
    ];
    condition_of(Method::Pcg.engine(), name, base, &[&small, set].concat())
}

fn condition_of(
    engine: &'static dyn Engine,
    name: &str,
    base: &str,
    set: &[(&str, Value)],
) -> ObservedCondition {
    let space = engine.space();
    let mut values = space.defaults().with(space.preset(base).expect("a preset"));
    for (path, value) in set {
        values.set(space.parameter(path).expect("a parameter"), value.clone()).expect("in range");
    }
    ObservedCondition { name: name.to_owned(), model: Model::new(engine, values).expect("consistent") }
}

/// Simulates three trials of a condition.
fn simulate(condition: &ObservedCondition, seed: u32) -> Vec<TrialSpikes> {
    let models = [condition.model.clone()];
    let shard =
        Shard { models: &models, seed, trials: 0..3, start: Start::default(), most_spikes: MOST_SPIKES };
    let mut trials = Vec::new();
    let mut take = |_, spikes: Vec<Result<TrialSpikes, NoResult>>| {
        trials.extend(spikes.into_iter().flatten());
        ControlFlow::Continue(())
    };
    condition.model.engine().compute(&shard, &mut take).expect("one condition");
    trials
}

fn driven(condition: &ObservedCondition, seed: u32) -> Vec<u32> {
    Structure::new(&layer_of(&condition.model), seed).driven_cells().to_vec()
}

fn observe(condition: &ObservedCondition, seed: u32) -> Observed {
    let window = Window::of(&condition.model);
    let mut counter = Counter::new(&condition.model, &driven(condition, seed), window, Detail::Cells);
    simulate(condition, seed).iter().for_each(|trial| counter.add(trial));
    counter.finish(seed)
}

/// Returns conditions over two parameters, with the observations of two seeds.
fn sweep() -> (Vec<ObservedCondition>, Vec<Vec<Observed>>) {
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

/// Draws all figures of these conditions.
fn all(conditions: &[ObservedCondition], observed: &[Vec<Observed>]) -> Vec<Figure> {
    let of: Vec<(&ObservedCondition, &[Observed])> =
        conditions.iter().zip(observed).map(|(condition, observed)| (condition, &observed[..])).collect();
    let first: Vec<(&ObservedCondition, &Observed)> =
        of.iter().filter_map(|(condition, observed)| Some((*condition, observed.first()?))).collect();
    let drawn: Vec<(Vec<u32>, Vec<TrialSpikes>)> =
        conditions.iter().map(|condition| (driven(condition, 7), simulate(condition, 7))).collect();
    let trials: Vec<RasterTrial<'_>> = conditions
        .iter()
        .zip(&drawn)
        .map(|(ObservedCondition { name, model }, (driven, spikes))| RasterTrial {
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
    let traced: Vec<(&ObservedCondition, &Traces)> = conditions.iter().zip(&traces).collect();
    let mut figures = vec![
        psth(&of, DRIVE),
        raster(&trials, (7, 0), &(985..1075), DRIVE),
        heat_map(&first, DRIVE),
        conductances(&traced, DRIVE),
        seeds(&of),
    ];
    figures.extend(axes(conditions).iter().filter_map(|axis| responses(&of, axis)));
    figures
}

/// Draws figures of usual and unusual sweeps.
fn everything() -> Vec<Figure> {
    let (conditions, observed) = sweep();
    let mut figures = all(&conditions, &observed);
    figures.extend(all(&conditions[..1], &observed[..1]));
    // Without active fibres no cell is driven, and without trials nothing is observed.
    let silent = condition("silent", "Control", &[("stimulus.active_fraction", Value::Number(0.0))]);
    let nothing = Counter::new(&silent.model, &[], Window::of(&silent.model), Detail::Cells).finish(1);
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
    let mut counter = Counter::new(&condition.model, &[3, 8], window, Detail::Cells);
    // The window has two spikes of cell 3 and one of cell 8. Cell 5 is not driven.
    let granule =
        vec![spike(990.05, 3), spike(999.9, 5), spike(1000.0, 3), spike(1000.9, 8), spike(1059.9, 3)];
    let golgi = vec![spike(0.0, 0), spike(500.0, 4), spike(1030.0, 1)];
    counter.add(&TrialSpikes::of(vec![granule, golgi]));
    counter.add(&TrialSpikes::of(vec![vec![spike(1060.0, 8)], vec![]]));
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
    assert_eq!(measures.len(), expected.len());
    let of = Measure::of(&condition.model);
    for ((found, expected), measure) in measures.iter().zip(expected).zip(of) {
        let found = found.expect("measured");
        assert!((found - expected).abs() < 1e-12, "{measure:?}: {found} for {expected}");
    }
    let courses = courses.expect("wanted");
    assert_eq!(courses.ms, 985..1075);
    let cells = courses.cells.as_ref().expect("they were requested");
    assert_eq!(cells.dim(), (2, 90));
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
    let measures =
        Counter::new(&quiet.model, &[1], Window::of(&quiet.model), Detail::Measures).finish(1).measures;
    // No trial was counted, and no time precedes the window.
    assert_eq!(measures, [None; 6]);
    let mut counter = Counter::new(&quiet.model, &[1], Window::of(&quiet.model), Detail::Measures);
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
    // The factor 0 is that of GABAzine.
    assert_eq!((found[0].path, &found[0].values[..]), ("granule.tonic_factor", &[0.0, 0.25, 0.5, 1.0][..]));
    let of: Vec<(&ObservedCondition, &[Observed])> =
        conditions.iter().zip(&observed).map(|(condition, observed)| (condition, &observed[..])).collect();
    let figure = responses(&of, &found[0]).expect("lines");
    assert_eq!(figure.name, "dose-response-granule-tonic_factor");
    let csv = figure.tables[0].csv();
    assert_eq!(csv.lines().count(), 1 + conditions.len());
    // Each leak reversal has a line with three factors, and is in its name.
    let lines = |leak: &str| csv.lines().filter(|line| line.contains(leak)).count();
    assert_eq!(
        (lines("golgi.leak_reversal = \u{2212}53 mV"), lines("golgi.leak_reversal = \u{2212}50.5 mV")),
        (3, 3)
    );
    // Control and GABAzine are on no line, so parameters in which only they differ are in no line's name.
    assert_eq!(
        legend(&figure),
        ["golgi.leak_reversal = \u{2212}53 mV", "golgi.leak_reversal = \u{2212}50.5 mV"]
    );
    assert!(csv.contains("golgi_to_granule.weight = 0 nS"), "{csv}");
    let mean = (observed[2][0].measures[0].expect("one") + observed[2][1].measures[0].expect("one")) / 2.0;
    assert!(csv.contains(&format!(",2,{mean},")), "{mean} in {csv}");
    // Conditions that differ only in numbers of streams have no axis.
    let seeds: Vec<ObservedCondition> =
        (0..4).map(|seed| condition("x", "Control", &[("weights.seed", Value::Count(seed))])).collect();
    assert_eq!(axes(&seeds), []);
}

/// Returns the texts of a figure that distinguish the lines of a dose-response.
fn legend(figure: &Figure) -> Vec<String> {
    figure.texts().into_iter().filter(|text| text.contains(" = ") || text.ends_with('…')).collect()
}

/// Returns one observation per value, with the value as its first measure and no other measures.
fn measured(values: &[f64]) -> Vec<Observed> {
    let of = |(seed, &value): (u32, &f64)| {
        let mut measures = vec![None; 6];
        measures[0] = Some(value);
        Observed { seed, trials: 1, measures, courses: None }
    };
    (1..).zip(values).map(of).collect()
}

/// Draws the figure against the tonic factor, of every combination of three factors and these settings.
fn against_factors(settings: &[Vec<(&str, Value)>]) -> Figure {
    let factors = [0.25, 0.5, 1.0].map(|x| ("granule.tonic_factor", Value::Factor(CellFactor::Constant(x))));
    let conditions: Vec<ObservedCondition> = factors
        .iter()
        .flat_map(|factor| settings.iter().map(move |of| [std::slice::from_ref(factor), &of[..]].concat()))
        .map(|set| condition("c", "Control", &set))
        .collect();
    let observed = measured(&[1.0]);
    let of: Vec<(&ObservedCondition, &[Observed])> =
        conditions.iter().map(|condition| (condition, &observed[..])).collect();
    let axis = axes(&conditions).into_iter().find(|axis| axis.path == "granule.tonic_factor");
    responses(&of, &axis.expect("three values")).expect("lines")
}

#[test]
fn lines_are_told_apart_as_sweep_files_write_values() {
    let times = |times: &[f64]| ("stimulus.times", Value::Numbers(times.to_vec()));
    let random = |is: bool| ("weights.random", Value::Flag(is));
    let figure = against_factors(&[
        vec![times(&[510.0]), random(true)],
        vec![times(&[510.0, 515.0, 520.0]), random(false)],
        vec![times(&[]), random(false)],
    ]);
    let [one, three, none] = &legend(&figure)[..] else { panic!("{:?}", legend(&figure)) };
    for (line, parts) in [
        (one, ["stimulus.times = 510 ms", "weights.random = true"]),
        (three, ["stimulus.times = 510, 515, 520 ms", "weights.random = false"]),
        (none, ["stimulus.times = []", "weights.random = false"]),
    ] {
        assert!(parts.iter().all(|part| line.contains(part)) && line.matches('=').count() == 2, "{line}");
    }
    assert!(!figure.tables[0].csv().contains('('), "{}", figure.tables[0].csv());

    // Names have four digits, and more if they would be equal otherwise.
    let leak = |x: f64| vec![("golgi.leak_reversal", Value::Number(x))];
    let rounded = legend(&against_factors(&[leak(-53.123_456), leak(-51.0)]));
    assert_eq!(rounded, ["golgi.leak_reversal = \u{2212}53.12 mV", "golgi.leak_reversal = \u{2212}51 mV"]);
    let close = legend(&against_factors(&[leak(-51.000_001), leak(-51.0)]));
    assert_eq!(close, ["golgi.leak_reversal = \u{2212}51.000001 mV", "golgi.leak_reversal = \u{2212}51 mV"]);
}

#[test]
fn lines_whose_names_are_cut_have_numbers() {
    let times = |last: f64| {
        let times: Vec<f64> = (0..20).map(|i| 500.0 + f64::from(i)).chain([last]).collect();
        vec![("stimulus.times", Value::Numbers(times))]
    };
    let figure = against_factors(&[times(700.0), times(800.0), times(900.0)]);
    figure.check_layout("numbered");
    let entries = legend(&figure);
    assert_eq!(entries.len(), 3);
    for (number, entry) in (1..).zip(&entries) {
        assert!(entry.starts_with(&format!("{number}: stimulus.times = 500, ")), "{entry}");
    }
    let csv = figure.tables[0].csv();
    assert!(csv.starts_with("line,condition,others,"), "{csv}");
    assert_eq!(
        csv.lines().filter(|line| line.starts_with("2,c,") && line.contains("519, 800 ms")).count(),
        3
    );
}

#[test]
fn conditions_that_share_nothing_are_points_if_there_are_many() {
    let conditions: Vec<ObservedCondition> = (0..8)
        .map(|i| {
            let x = f64::from(i) / 10.0;
            let set = [
                ("granule.tonic_factor", Value::Factor(CellFactor::Constant(x))),
                ("golgi.leak_reversal", Value::Number(-50.0 - x)),
            ];
            condition("x", "Control", &set)
        })
        .collect();
    let observed: Vec<Vec<Observed>> = conditions.iter().map(|_| measured(&[1.0])).collect();
    let doses = |count: usize| -> Vec<Figure> {
        let of: Vec<(&ObservedCondition, &[Observed])> =
            conditions[..count].iter().zip(&observed).map(|(of, observed)| (of, &observed[..])).collect();
        axes(&conditions[..count]).iter().filter_map(|axis| responses(&of, axis)).collect()
    };
    assert_eq!((axes(&conditions[..7]).len(), doses(7).len(), doses(8).len()), (2, 0, 2));
    for figure in doses(8) {
        assert!(figure.description.contains("so each condition is a point"));
        assert!(figure.svg().contains("a condition; other parameters differ, too"));
        figure.check_layout("points");
    }
}

#[test]
fn means_and_errors_are_those_of_the_seeds() {
    let factor = |x: f64| {
        condition("c", "Control", &[("granule.tonic_factor", Value::Factor(CellFactor::Constant(x)))])
    };
    let conditions = [0.25, 0.5, 1.0].map(factor);
    let observed = [measured(&[1.0, 3.0]), measured(&[2.0, 6.0]), measured(&[5.0])];
    let of: Vec<(&ObservedCondition, &[Observed])> =
        conditions.iter().zip(&observed).map(|(condition, observed)| (condition, &observed[..])).collect();
    let csv = responses(&of, &axes(&conditions)[0]).expect("a line").tables[0].csv();
    // Of 1 and 3, s² is 2 and the standard error √(2/2). Of 2 and 6, s² is 8 and the standard error √(8/2).
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    let expected = ["c,,0.25,2,2,1,", "c,,0.5,2,4,2,", "c,,1,1,5,,"];
    assert!(rows.iter().zip(expected).all(|(row, expected)| row.starts_with(expected)), "{csv}");
    assert_eq!(rows.len(), 3);
}

#[test]
fn rates_are_means_over_seeds() {
    let condition = condition("c", "Control", &[]);
    let seed = |granule_hz: [f64; 2], golgi_hz: [f64; 2]| Observed {
        courses: Some(Courses {
            ms: 1000..1002,
            rates_hz: vec![granule_hz.to_vec(), golgi_hz.to_vec()],
            cells: Some(Array2::zeros((0, 2))),
        }),
        ..measured(&[0.0]).remove(0)
    };
    let observed = [seed([10.0, 20.0], [0.0, 5.0]), seed([14.0, 20.0], [2.0, 9.0])];
    let expected = "condition,time_ms,granule_hz_mean,granule_hz_sem,golgi_hz_mean,golgi_hz_sem\n\
                    c,1000,12,2,1,1\nc,1001,20,0,7,2\n";
    assert_eq!(psth(&[(&condition, &observed)], DRIVE).tables[0].csv(), expected);
}

#[test]
fn conductances_are_means_over_cells_of_all_seeds() {
    let condition = condition("c", "Control", &[]);
    let mut traces = Traces::new(1..3);
    // Two cells of a seed and one of another. The first column is outside the range.
    traces.add(
        ndarray::array![[9.0, 1.0, 2.0], [9.0, 3.0, 6.0]].view(),
        ndarray::array![[9.0, 0.0, 1.0], [9.0, 2.0, 1.0]].view(),
    );
    traces.add(ndarray::array![[9.0, 5.0, 4.0]].view(), ndarray::array![[9.0, 1.0, 1.0]].view());
    // Excitation is 1, 3, 5 and then 2, 6, 4. Inhibition is 0, 2, 1 and then 1, 1, 1.
    let expected = "condition,time_ms,excitation_ns_mean,excitation_ns_sd,inhibition_ns_mean,inhibition_ns_sd\n\
                    c,1,3,2,1,1\nc,2,4,2,1,0\n";
    assert_eq!(conductances(&[(&condition, &traces)], DRIVE).tables[0].csv(), expected);
}

#[test]
fn pictures_of_one_seed_name_it_and_say_where_there_are_no_spikes() {
    let condition = condition("c", "Control", &[]);
    let driven = driven(&condition, 7);
    let texts = |figure: Figure| figure.texts();
    let has = |texts: &[String], what: &str| texts.iter().any(|text| text == what);
    let rest = TrialSpikes::of(vec![vec![Spike { step: 10_000, cell: driven[0] }], vec![]]);
    for (spikes, is_silent) in [(TrialSpikes::default(), true), (rest, false)] {
        let mut counter =
            Counter::new(&condition.model, &driven, Window::of(&condition.model), Detail::Cells);
        counter.add(&spikes);
        let map = texts(heat_map(&[(&condition, &counter.finish(7))], DRIVE));
        assert!(has(&map, "seed 7") && has(&map, "no spikes") == is_silent, "{map:?}");
        let trial = RasterTrial { condition: "c", model: &condition.model, driven: &driven, spikes: &spikes };
        let raster = texts(raster(&[trial], (7, 3), &(985..1075), DRIVE));
        assert!(has(&raster, "trial 3 of seed 7") && has(&raster, "no spikes") == is_silent, "{raster:?}");
    }
}

#[test]
fn seeds_have_one_colour_and_conditions_numbers() {
    let (conditions, observed) = sweep();
    let of: Vec<(&ObservedCondition, &[Observed])> =
        conditions.iter().zip(&observed).map(|(condition, observed)| (condition, &observed[..])).collect();
    let svg = seeds(&of).svg();
    let document = roxmltree::Document::parse(&svg).expect("XML");
    let discs = document.descendants().filter(|node| node.has_tag_name("circle"));
    let colors: std::collections::BTreeSet<_> = discs.filter_map(|disc| disc.attribute("fill")).collect();
    assert_eq!(colors.len(), 1, "{colors:?}");
    assert!(svg.contains(">1: Control<") && svg.contains(">2: GABAzine<"));
}

#[test]
fn heat_maps_have_the_strongest_cells_on_top() {
    let (conditions, observed) = sweep();
    // GABAzine has more spikes than cells.
    let figure = heat_map(&[(&conditions[1], &observed[1][0])], DRIVE);
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
        figure.check_layout(&figure.name);
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

#[test]
fn populations_and_parameters_are_those_of_the_engine() {
    let weight = |x: f64| {
        let set = [("synapse.weight", Value::Number(x))];
        condition_of(&Toy::Free, &format!("weight-{x}"), "Base", &set)
    };
    let conditions = [0.8, 1.6, 3.2].map(weight);
    let driven: Vec<u32> = (0..48).step_by(2).collect();
    let drive = Drive { driven: "relay cells of even number", stimulus: Some("flashes") };
    let observed: Vec<Vec<Observed>> = conditions
        .iter()
        .map(|ObservedCondition { model, .. }| {
            let mut counter = Counter::new(model, &driven, Window { ms: 40..100 }, Detail::Cells);
            (0..3).for_each(|trial| counter.add(&granule_toy::spikes(model, 7, trial)));
            vec![counter.finish(7)]
        })
        .collect();
    let of: Vec<(&ObservedCondition, &[Observed])> =
        conditions.iter().zip(&observed).map(|(condition, observed)| (condition, &observed[..])).collect();
    let first = conditions.iter().zip(&observed).map(|(condition, of)| (condition, &of[0]));
    let spikes: Vec<TrialSpikes> =
        conditions.iter().map(|ObservedCondition { model, .. }| granule_toy::spikes(model, 7, 1)).collect();
    let trials = conditions.iter().zip(&spikes).map(|(ObservedCondition { name, model }, spikes)| {
        RasterTrial { condition: name, model, driven: &driven, spikes }
    });
    let found = axes(&conditions);
    assert_eq!(found, [DoseAxis { path: "synapse.weight", unit: "nS", values: vec![0.8, 1.6, 3.2] }]);
    let [psth, raster, heat_map, seeds, responses] = [
        psth(&of, drive),
        raster(&trials.collect::<Vec<_>>(), (7, 1), &(0..100), drive),
        heat_map(&first.collect::<Vec<_>>(), drive),
        seeds(&of),
        responses(&of, &found[0]).expect("a line"),
    ];
    for figure in [&psth, &raster, &heat_map, &seeds, &responses] {
        let svg = figure.svg();
        figure.check_layout(&figure.name);
        let csv: String = figure.tables.iter().map(Table::csv).collect();
        let all = format!("{svg}{csv}").to_lowercase();
        let foreign = ["granule", "golgi", "mossy", "fibre"].iter().find(|word| all.contains(**word));
        assert_eq!(foreign, None, "{}", figure.name);
    }
    assert_eq!(heat_map.title, "Spikes of driven relay cells");
    let words = "relay cells of even number, of excitatory cells and of inhibitory cells";
    assert!(psth.description.contains(words) && raster.description.contains(words));
    assert!(psth.description.ends_with("Dotted lines are flashes."));
    for (figure, measures) in
        [(&seeds, "Eight measures of 3"), (&responses, "Eight measures against synapse.")]
    {
        assert!(figure.description.starts_with(measures), "{}", figure.description);
    }
    let texts = raster.texts();
    for text in
        ["driven relay cells", "excitatory cells, above", "inhibitory cells, on top", "Driven relay cell"]
    {
        assert!(texts.iter().any(|found| found == text), "no {text} in {texts:?}");
    }

    let measures = measures(&of);
    let names: Vec<&str> = measures.columns[3..].iter().map(|column| column.name.as_str()).collect();
    let expected = [
        "spikes_per_driven_cell",
        "peak_spikes_per_ms",
        "responding_fraction",
        "relay_before_hz",
        "excitatory_before_hz",
        "excitatory_during_hz",
        "inhibitory_before_hz",
        "inhibitory_during_hz",
    ];
    assert_eq!(names, expected);
    // Recomputes the rate of the third population: spikes per cell, trial and second in the window.
    let in_window =
        (0..3).flat_map(|trial| granule_toy::spikes(&conditions[1].model, 7, trial).trains.remove(2));
    let count = in_window.filter(|spike| (80..200).contains(&spike.step)).count() as f64;
    let rate = observed[1][0].measures[7].expect("measured");
    assert!(count > 0.0 && (rate - count / (7.0 * 3.0 * 0.060)).abs() < 1e-9, "{rate} of {count}");
    let rows: Vec<&str> = POPULATIONS.iter().map(|population| population.name).collect();
    let csv = raster.tables[0].csv();
    assert!(rows.iter().all(|name| csv.contains(&format!(",{name},"))), "{csv}");
}
