//! The paper's analysis of output files gives the numbers of numpy, pandas and scikit-learn
//! (`shared/figures/tests/reference/make.py`).

use std::path::Path;

use granule::bench::read_weights;
use granule_figures::analysis::{Density, Quantity, Summary};
use granule_figures::{
    Analysis, Change, Criteria, DrivenConductances, PaperCondition, RecordedWeights, Recording, Responses,
    paper,
};
use ndarray::{Array1, Array2};
use ndarray_npy::{ReadableElement, read_npy};
use serde_json::Value;

use crate::support::{Place, root};

/// The relative difference that another order of additions can cause.
const TOLERANCE: f64 = 1e-12;

fn read<T: ReadableElement>(folder: &Path, name: &str) -> Array2<T> {
    read_npy(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Analyses the folder of a seed.
fn analyse(folder: &Path) -> Analysis {
    let probability = PaperCondition::ALL
        .map(|of| read::<f64>(folder, &format!("randomized_{}SpikeProb.npy", of.prefix())));
    let connections =
        PaperCondition::ALL.map(|of| read::<i32>(folder, &format!("{}Connections.npy", of.prefix())));
    let weights = PaperCondition::ALL.map(|of| -> RecordedWeights {
        let file = std::fs::read(folder.join(format!("{}Weights.npy", of.prefix()))).expect("a file");
        read_weights(&file).expect("weights").into_iter().collect()
    });
    let excitation = read(folder, "controlCondE.npy");
    let inhibition = read(folder, "controlCondI.npy");
    let factors: Array1<f64> = read_npy(folder.join("tonicReduction.npy")).expect("tonic factors");
    let responses = |of: PaperCondition| Responses {
        probability: probability[of as usize].view(),
        connections: Some(connections[of as usize].view()),
        weights: Some(&weights[of as usize]),
    };
    let recording = Recording {
        control: responses(PaperCondition::Control),
        gabazine: responses(PaperCondition::Gabazine),
        ach: responses(PaperCondition::Ach),
        conductances: Some(DrivenConductances {
            excitation: excitation.view(),
            inhibition: inhibition.view(),
        }),
        tonic_factors: Some(factors.view()),
    };
    Analysis::new(&recording, &Criteria::default()).expect("arrays of one network")
}

/// Expects numbers of a reference, in their order.
#[track_caller]
fn check(what: &str, found: impl IntoIterator<Item = f64>, expected: &Value) {
    let found: Vec<f64> = found.into_iter().collect();
    let expected: Vec<f64> = match expected {
        Value::Array(values) => values.iter().map(|value| value.as_f64().expect("a number")).collect(),
        value => vec![value.as_f64().unwrap_or_else(|| panic!("{what}: {value}"))],
    };
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let difference = (found - expected).abs();
        let allowed = TOLERANCE * expected.abs();
        assert!(difference <= allowed, "{what} {i}: {found} for {expected}");
    }
}

/// Expects that granule's analysis of a folder is the reference's.
fn compare(folder: &Path, reference: &str) -> Analysis {
    let analysis = analyse(folder);
    let path = root().join("shared/figures/tests/reference").join(reference);
    let reference: Value = serde_json::from_slice(&std::fs::read(path).expect("a reference")).expect("JSON");
    assert_eq!(serde_json::to_value(analysis.counts()).expect("JSON"), reference["counts"]);

    let cells = analysis.cells();
    let of_cells = &reference["cells"];
    check("cell", cells.iter().map(|cell| f64::from(cell.index)), &of_cells["cell"]);
    check("active inputs", cells.iter().map(|cell| cell.active_inputs as f64), &of_cells["active_inputs"]);
    let classes: Vec<&str> = cells.iter().map(|cell| cell.change.name()).collect();
    assert_eq!(serde_json::to_value(classes).expect("JSON"), of_cells["change"]);
    for condition in PaperCondition::ALL {
        let name = format!("{}_peak", condition.prefix());
        check(&name, cells.iter().map(|cell| cell.peak(condition)), &of_cells[&name]);
    }
    check("relative peak", cells.iter().map(|cell| cell.relative_peak), &of_cells["relative_peak"]);

    for change in Change::COMPARED {
        for condition in PaperCondition::ALL {
            let course = analysis.time_course(condition, change);
            let means = course.iter().map(|of_ms| of_ms.mean.expect("cells"));
            check("time course", means, &reference["time_course"][change.name()][condition.prefix()]);
        }
    }
    for quantity in Quantity::ALL {
        let name = quantity.name();
        check(name, cells.iter().map(|cell| quantity.of(cell).expect("it is recorded")), &of_cells[name]);
        for change in Change::COMPARED {
            let part = |section: &str| reference[section][name][change.name()].clone();
            let Summary { n, mean, sem } = analysis.summary(quantity, change);
            assert_eq!(part("summary")["n"], n);
            check("mean", mean, &part("summary")["mean"]);
            check("standard error", sem, &part("summary")["sem"]);

            let density: Density = analysis.density(quantity, change).expect("cells");
            let grid = part("density")["x"].as_array().expect("a grid").clone();
            let grid = grid.iter().map(|x| x.as_f64().expect("a number"));
            check("density", grid.map(|x| density.at(x)), &part("density")["density"]);

            let histogram = analysis.histogram(quantity, change).expect("cells");
            check("counts", histogram.counts.iter().map(|count| *count as f64), &part("histogram")["counts"]);
            check("densities", histogram.densities(), &part("histogram")["densities"]);
            check("first edge", [histogram.edge(0)], &part("histogram")["first_edge"]);
        }
    }
    analysis
}

fn run(place: &Place, sweep: &str) {
    let sweep = root().join("sweeps").join(sweep);
    place.run(&["run", sweep.to_str().expect("text"), "--out", "out"]).succeeded();
}

#[test]
fn ten_trials_have_the_numbers_of_the_reference() {
    let place = Place::new();
    run(&place, "ci-10trials.yaml");
    compare(&place.path("out/seed-451"), "ci-10trials.json");
}

#[test]
fn the_papers_run_has_the_numbers_of_the_reference() {
    let place = Place::new();
    run(&place, "paper.yaml");
    let analysis = compare(&place.path("out/seed-451"), "paper.json");
    let counts = analysis.counts();
    assert_eq!((counts.selected, counts.increase, counts.decrease, counts.equal), (319, 85, 65, 169));
    for figure in paper::all(&analysis) {
        assert!(figure.pdf().expect("a PDF").len() > 5000, "{}", figure.name);
    }
}
