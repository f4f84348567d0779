use std::collections::BTreeMap;
use std::ops::ControlFlow;

use granule_engine::spikes::MOST_SPIKES;
use granule_engine::{Engine, Model, NoResult, Shard, Spike, Start, TrialSpikes, Value, space::CellFactor};
use granule_granular::derive::Structure;
use granule_granular::{Method, layer_of};
use granule_toy::{POPULATIONS, Toy};
use ndarray::Array2;

use super::*;
use crate::{ColumnData, Figure, Table};

mod program;

pub(super) use program::Program;

pub(super) const DRIVE: Drive = Drive {
    driven: "granule cells with input from active mossy fibres",
    stimulus: Some("spikes of the mossy fibres"),
};

pub(super) fn condition(name: &str, base: &str, set: &[(&str, Value)]) -> ObservedCondition {
    let small = [
        ("network.mossy_fibers", Value::Count(60)),
        ("network.granule_cells", Value::Count(96)),
        ("network.golgi_cells", Value::Count(5)),
    ];
    condition_of(Method::Pcg.engine(), name, base, &[&small, set].concat())
}

pub(super) fn condition_of(
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
pub(super) fn simulate(condition: &ObservedCondition, seed: u32) -> Vec<TrialSpikes> {
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

pub(super) fn driven(condition: &ObservedCondition, seed: u32) -> Vec<u32> {
    Structure::new(&layer_of(&condition.model), seed).driven_cells().to_vec()
}

pub(super) fn observe(condition: &ObservedCondition, seed: u32) -> Observed {
    let window = Window::of(&condition.model);
    let mut counter = Counter::new(&condition.model, &driven(condition, seed), window, Detail::Cells);
    simulate(condition, seed).iter().for_each(|trial| counter.add(trial));
    counter.finish(seed)
}

/// Joins conditions with their observations.
pub(super) fn joined<'a>(
    conditions: &'a [ObservedCondition],
    observed: &'a [Vec<Observed>],
) -> Vec<OfCondition<'a>> {
    conditions.iter().zip(observed).map(|(condition, observed)| (condition, &observed[..])).collect()
}

/// Returns the observation of a seed, with these values of measures and no other.
pub(super) fn of_seed(seed: u32, values: &[(Measure, f64)]) -> Observed {
    let mut measures = vec![None; Measure::of(&condition("c", "Control", &[]).model).len()];
    for (measure, value) in values {
        measures[place(*measure)] = Some(*value);
    }
    Observed {
        seed,
        trials: 1,
        driven: 3,
        window: Window { ms: 1000..1060 },
        measures,
        of_trials: None,
        courses: None,
    }
}

/// Returns the index of a measure of engine `pcg`.
pub(super) fn place(measure: Measure) -> usize {
    let all = Measure::of(&condition("c", "Control", &[]).model);
    all.iter().position(|of| *of == measure).expect("a measure of the engine")
}

/// Returns one observation per value of the first measure, of the seeds from 1.
pub(super) fn measured(values: &[f64]) -> Vec<Observed> {
    (1..).zip(values).map(|(seed, &value)| of_seed(seed, &[(Measure::Probability, value)])).collect()
}

pub(super) fn factor(x: f64) -> (&'static str, Value) {
    ("granule.tonic_factor", Value::Factor(CellFactor::Constant(x)))
}

pub(super) fn leak(x: f64) -> (&'static str, Value) {
    ("golgi.leak_reversal", Value::Number(x))
}

/// Returns the names of a table's columns.
pub(super) fn names(table: &Table) -> Vec<&str> {
    table.columns.iter().map(|column| column.name.as_str()).collect()
}

/// Returns the numbers of a column.
pub(super) fn numbers(table: &Table, name: &str) -> Vec<Option<f64>> {
    match column(table, name) {
        ColumnData::Number(values) => values.clone(),
        ColumnData::Whole(values) => values.iter().map(|value| Some(*value as f64)).collect(),
        ColumnData::Text(_) => panic!("{name} has texts"),
    }
}

/// Returns the texts of a column.
pub(super) fn texts<'a>(table: &'a Table, name: &str) -> &'a [String] {
    match column(table, name) {
        ColumnData::Text(values) => values,
        _ => panic!("{name} has numbers"),
    }
}

fn column<'a>(table: &'a Table, name: &str) -> &'a ColumnData {
    let found: Vec<_> = table.columns.iter().filter(|column| column.name == name).collect();
    let [column] = found[..] else { panic!("{} columns {name}: {:?}", found.len(), names(table)) };
    &column.values
}

/// Asserts that numbers are equal to 10⁻⁹, relative to the larger of the expected value and 1.
#[track_caller]
pub(super) fn assert_close(found: &[Option<f64>], expected: &[Option<f64>]) {
    assert_eq!(found.len(), expected.len(), "{found:?} for {expected:?}");
    for pair in found.iter().zip(expected) {
        let is_close = match pair {
            (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
            (found, expected) => found == expected,
        };
        assert!(is_close, "{found:?} for {expected:?}");
    }
}

/// Returns the entries of a figure's legend: the colour of the line before the text, if there is one, and the text.
pub(super) fn legend(figure: &Figure) -> Vec<(Option<String>, String)> {
    let svg = figure.svg();
    let document = roxmltree::Document::parse(&svg).expect("XML");
    let mut entries = Vec::new();
    let mut color = None;
    // Panels are in groups.
    for node in document.root_element().children() {
        if node.has_tag_name("path") {
            color = node.attribute("stroke").map(str::to_owned);
        } else if node.has_tag_name("text") {
            entries.push((color.take(), node.text().unwrap_or_default().to_owned()));
        }
    }
    entries
}

/// Whether the drawing has this text.
pub(super) fn has_text(figure: &Figure, text: &str) -> bool {
    figure.texts().iter().any(|found| found == text)
}

/// Returns conditions over two parameters, with the observations of two seeds.
pub(super) fn sweep() -> (Vec<ObservedCondition>, Vec<Vec<Observed>>) {
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
    let of = joined(conditions, observed);
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
    figures.extend(forest(&of, 0));
    figures.extend(matrices(&of));
    figures.extend(axes(conditions).iter().flat_map(|axis| responses(&of, axis)));
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
fn rates_are_means_over_seeds() {
    let condition = condition("c", "Control", &[]);
    let seed = |granule_hz: [f64; 2], golgi_hz: [f64; 2]| Observed {
        courses: Some(Courses {
            ms: 1000..1002,
            rates_hz: vec![granule_hz.to_vec(), golgi_hz.to_vec()],
            cells: None,
        }),
        ..measured(&[0.0]).remove(0)
    };
    let observed = [seed([10.0, 20.0], [0.0, 5.0]), seed([14.0, 20.0], [2.0, 9.0])];
    let figure = psth(&[(&condition, &observed)], DRIVE);
    let table = &figure.tables[0];
    let parts = ["mean", "low_95", "high_95"];
    let expected: Vec<String> =
        ["granule", "golgi"].iter().flat_map(|of| parts.map(|part| format!("{of}_hz_{part}"))).collect();
    assert_eq!(names(table)[..2], ["condition", "time_ms"]);
    assert_eq!(names(table)[2..], expected);
    assert_close(&numbers(table, "time_ms"), &[Some(1000.0), Some(1001.0)]);
    // With one degree of freedom, the 0.975 quantile of Student's t is tan(0.475 π).
    let t = (0.475 * std::f64::consts::PI).tan();
    let both = |first: f64, second: f64| [Some(first), Some(second)];
    assert_close(&numbers(table, "granule_hz_mean"), &both(12.0, 20.0));
    assert_close(&numbers(table, "granule_hz_low_95"), &both(12.0 - 2.0 * t, 20.0));
    assert_close(&numbers(table, "granule_hz_high_95"), &both(12.0 + 2.0 * t, 20.0));
    assert_close(&numbers(table, "golgi_hz_mean"), &both(1.0, 7.0));
    assert_close(&numbers(table, "golgi_hz_low_95"), &both(1.0 - t, 7.0 - 2.0 * t));
    assert_close(&numbers(table, "golgi_hz_high_95"), &both(1.0 + t, 7.0 + 2.0 * t));
    let one = psth(&[(&condition, &observed[..1])], DRIVE);
    assert_close(&numbers(&one.tables[0], "golgi_hz_low_95"), &[None, None]);
    let entries = |figure: &Figure| legend(figure).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    let cells = ["driven granule cells (n = 3)", "Golgi cells (n = 5)", "stimulus"];
    let interval = "95 % interval over 2 seeds with 1 trial each";
    assert_eq!(entries(&figure), [&cells[..], &[interval]].concat());
    assert_eq!(entries(&one), [&cells[..], &["1 seed with 1 trial: no interval over seeds"]].concat());
    assert!(figure.description.contains("the bands are 95 % intervals over seeds"));
    assert!(one.description.contains("one seed gives no interval over seeds"), "{}", one.description);
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
    let rest = TrialSpikes::of(vec![vec![Spike { step: 10_000, cell: driven[0] }], vec![]]);
    for (spikes, is_silent) in [(TrialSpikes::default(), true), (rest, false)] {
        let mut counter =
            Counter::new(&condition.model, &driven, Window::of(&condition.model), Detail::Cells);
        counter.add(&spikes);
        let map = heat_map(&[(&condition, &counter.finish(7))], DRIVE);
        assert!(has_text(&map, "seed 7, mean over 1 trial"), "{:?}", map.texts());
        assert_eq!(has_text(&map, "no spikes"), is_silent, "{:?}", map.texts());
        let trial = RasterTrial { condition: "c", model: &condition.model, driven: &driven, spikes: &spikes };
        let raster = raster(&[trial], (7, 3), &(985..1075), DRIVE);
        assert!(has_text(&raster, "trial 3 of seed 7"), "{:?}", raster.texts());
        assert_eq!(has_text(&raster, "no spikes"), is_silent, "{:?}", raster.texts());
    }
}

#[test]
fn heat_maps_have_the_same_cells_in_a_row_of_all_panels() {
    let (conditions, observed) = sweep();
    let of: Vec<(&ObservedCondition, &Observed)> =
        conditions[..3].iter().zip(&observed).map(|(condition, of)| (condition, &of[0])).collect();
    let figure = heat_map(&of, DRIVE);
    let table = &figure.tables[0];
    assert_eq!(names(table), ["condition", "row", "cells", "time_ms", "spikes_per_cell_and_trial"]);

    // The spikes of each cell in all ms, by panel.
    let spikes = |at: usize| -> BTreeMap<u32, f64> {
        let (cells, of_cells) =
            of[at].1.courses.as_ref().and_then(|of| of.cells.as_ref()).expect("requested");
        cells.iter().copied().zip(of_cells.rows().into_iter().map(|row| row.sum())).collect()
    };
    let by_panel = [0, 1, 2].map(spikes);
    let rows = numbers(table, "row");
    let cells = texts(table, "cells");
    let mut members = BTreeMap::<usize, &str>::new();
    for (row, cells) in rows.iter().zip(cells) {
        let of_row = members.entry(row.expect("a row") as usize).or_insert(cells);
        assert_eq!(of_row, cells);
    }
    let shown: Vec<u32> = (members.values())
        .flat_map(|cells| cells.split(' '))
        .map(|cell| cell.parse().expect("a number"))
        .collect();
    // The last row is on top. Cells with equal spikes are in the order of their numbers.
    let mut expected: Vec<u32> =
        (by_panel[0].keys().copied()).filter(|cell| by_panel.iter().any(|of| of[cell] > 0.0)).collect();
    let silent = by_panel[0].len() - expected.len();
    expected.sort_by(|a, b| by_panel[0][a].total_cmp(&by_panel[0][b]));
    assert_eq!(shown, expected);
    assert!(shown.len() > 10 && figure.description.contains(&format!("the {} that spike", shown.len())));
    assert!(figure.description.contains(&format!("The other {silent} are left out")));
    let all: f64 = numbers(table, "spikes_per_cell_and_trial").into_iter().flatten().sum();
    let expected: f64 = by_panel.iter().flat_map(BTreeMap::values).sum();
    // Every row has one cell.
    assert!(members.len() == shown.len() && (all - expected).abs() < 1e-9, "{all} for {expected}");
}

#[test]
fn heat_maps_of_different_cells_have_an_order_each() {
    let condition = condition("c", "Control", &[]);
    let observe = |driven: &[u32], cells: &[u32]| {
        let mut counter = Counter::new(&condition.model, driven, Window::of(&condition.model), Detail::Cells);
        let train = (10_000..).zip(cells).map(|(step, &cell)| Spike { step, cell }).collect();
        counter.add(&TrialSpikes::of(vec![train, vec![]]));
        counter.finish(1)
    };
    let (first, second) = (observe(&[1, 2, 3], &[2, 1, 2, 3, 2, 1]), observe(&[1, 2], &[1]));
    let figure = heat_map(&[(&condition, &first), (&condition, &second)], DRIVE);
    // Nothing is left out: the panels have no cells in common that could be silent.
    let expected = "condition,row,cells,time_ms,spikes_per_cell_and_trial\n\
                    c,0,3,1000,1\nc,1,1,1000,2\nc,2,2,1000,3\nc,1,1,1000,1\n";
    assert_eq!(figure.tables[0].csv(), expected);
    assert!(figure.description.contains("In each panel, cells are in the order of their response"));
}

#[test]
fn rows_of_a_heat_map_are_means_of_neighbours_if_there_are_many_cells() {
    let condition = condition("c", "Control", &[]);
    let driven: Vec<u32> = (0..90).collect();
    let mut counter = Counter::new(&condition.model, &driven, Window::of(&condition.model), Detail::Cells);
    // Cell n has n + 1 spikes in one ms.
    let train = (0..90).flat_map(|cell| (0..=cell).map(move |_| Spike { step: 10_000, cell }));
    counter.add(&TrialSpikes::of(vec![train.collect(), vec![]]));
    let figure = heat_map(&[(&condition, &counter.finish(1))], DRIVE);
    let table = &figure.tables[0];
    assert_eq!(table.rows(), 60);
    let of_row = |cells: &String| -> f64 {
        let spikes: Vec<f64> =
            cells.split(' ').map(|cell| cell.parse::<f64>().expect("a number") + 1.0).collect();
        spikes.iter().sum::<f64>() / spikes.len() as f64
    };
    let cells = texts(table, "cells");
    let expected: Vec<Option<f64>> = cells.iter().map(of_row).map(Some).collect();
    assert_close(&numbers(table, "spikes_per_cell_and_trial"), &expected);
    assert_eq!(cells.join(" "), driven.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
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
    let of = joined(&conditions, &observed);
    let first = conditions.iter().zip(&observed).map(|(condition, of)| (condition, &of[0]));
    let spikes: Vec<TrialSpikes> =
        conditions.iter().map(|ObservedCondition { model, .. }| granule_toy::spikes(model, 7, 1)).collect();
    let trials = conditions.iter().zip(&spikes).map(|(ObservedCondition { name, model }, spikes)| {
        RasterTrial { condition: name, model, driven: &driven, spikes }
    });
    let found = axes(&conditions);
    let parameter = granule_toy::space().parameter("synapse.weight").expect("a parameter");
    assert_eq!(found, [DoseAxis { parameter, values: vec![0.8, 1.6, 3.2], space: granule_toy::space() }]);
    assert_eq!(found[0].label(), "Weight of every synapse (nS)");
    let [psth, raster, heat_map, seeds, responses, forest] = [
        psth(&of, drive),
        raster(&trials.collect::<Vec<_>>(), (7, 1), &(0..100), drive),
        heat_map(&first.collect::<Vec<_>>(), drive),
        seeds(&of),
        responses(&of, &found[0]).remove(0),
        forest(&of, 0).remove(0),
    ];
    for figure in [&psth, &raster, &heat_map, &seeds, &responses, &forest] {
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
        [(&seeds, "12 measures of 3"), (&responses, "12 measures against Weight of every synapse (nS), of 3")]
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
    let expected = [
        "condition",
        "synapse_weight_nS",
        "seed",
        "trials",
        "window_from_ms",
        "window_to_ms",
        "response_probability",
        "spikes_per_driven_cell",
        "peak_spikes_per_ms",
        "reliable_fraction",
        "first_spike_latency_ms",
        "first_spike_jitter_ms",
        "fano_factor",
        "relay_before_hz",
        "excitatory_before_hz",
        "excitatory_during_hz",
        "inhibitory_before_hz",
        "inhibitory_during_hz",
    ];
    assert_eq!(names(&measures), expected);
    // Recomputes the rate of the third population: spikes per cell, trial and second in the window.
    let in_window =
        (0..3).flat_map(|trial| granule_toy::spikes(&conditions[1].model, 7, trial).trains.remove(2));
    let count = in_window.filter(|spike| (80..200).contains(&spike.step)).count() as f64;
    let rate = observed[1][0].measures[11].expect("measured");
    assert!(count > 0.0 && (rate - count / (7.0 * 3.0 * 0.060)).abs() < 1e-9, "{rate} of {count}");
    let rows: Vec<&str> = POPULATIONS.iter().map(|population| population.name).collect();
    let csv = raster.tables[0].csv();
    assert!(rows.iter().all(|name| csv.contains(&format!(",{name},"))), "{csv}");
}
