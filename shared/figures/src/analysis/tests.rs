use ndarray::{Array1, Array2, array};

use super::*;

/// Arrays of four granule cells, three of them driven, for the paper's criteria.
struct Arrays {
    probability: [Array2<f64>; 3],
    connections: Array2<i32>,
    weights: [RecordedWeights; 3],
    excitation: Array2<f64>,
    inhibition: Array2<f64>,
    factors: Array1<f64>,
}

impl Arrays {
    /// Cell 0 increases, cell 1 has no input, cell 2 decreases, cell 3 stays the same.
    fn new() -> Arrays {
        let mut probability = [(); 3].map(|()| Array2::zeros((4, 1100)));
        let peaks = [[0.25, 1.0, 0.5], [0.9, 0.9, 0.9], [0.5, 1.0, 0.0], [0.25, 0.5, 0.25]];
        for (cell, peaks) in peaks.into_iter().enumerate() {
            for (condition, peak) in peaks.into_iter().enumerate() {
                probability[condition][[cell, 1019]] = peak;
                probability[condition][[cell, 1029]] = peak / 2.0;
            }
        }
        let weights: RecordedWeights = [(5, vec![0.1, 0.2]), (9, vec![0.3, 0.4])].into_iter().collect();
        Arrays {
            probability,
            connections: array![[5, 0], [5, 2], [9, 2], [9, 3]],
            weights: [weights.clone(), weights.clone(), weights],
            excitation: Array2::from_shape_fn((3, 1100), |(row, ms)| (row * 1000 + ms) as f64),
            inhibition: Array2::from_elem((3, 1100), 0.5),
            factors: array![0.25, 0.5, 0.375],
        }
    }

    fn recording(&self) -> Recording<'_> {
        let responses = |condition: usize| Responses {
            probability: self.probability[condition].view(),
            connections: Some(self.connections.view()),
            weights: Some(&self.weights[condition]),
        };
        Recording {
            control: responses(0),
            gabazine: responses(1),
            ach: responses(2),
            conductances: Some(DrivenConductances {
                excitation: self.excitation.view(),
                inhibition: self.inhibition.view(),
            }),
            tonic_factors: Some(self.factors.view()),
        }
    }

    fn analysis(&self) -> Result<Analysis, AnalysisError> {
        Analysis::new(&self.recording(), &Criteria::default())
    }

    fn error(&self) -> String {
        self.analysis().expect_err("arrays that do not fit").to_string()
    }
}

#[test]
fn driven_cells_are_selected_and_measured() {
    let analysis = Arrays::new().analysis().unwrap();
    let counts = SelectionCounts {
        granule_cells: 4,
        driven: 3,
        responsive: 3,
        selected: 3,
        without_peak: 0,
        increase: 1,
        decrease: 1,
        equal: 1,
        silenced: 1,
    };
    assert_eq!(analysis.counts(), counts);
    let [up, down, same] = analysis.cells() else { panic!("{analysis:?}") };
    assert_eq!((up.index, up.active_inputs, up.relative_peak, up.change), (0, 1, 2.0, Change::Increase));
    assert_eq!((down.index, down.active_inputs, down.log_peak()), (2, 2, None));
    assert_eq!((same.index, same.tonic_factor, same.change), (3, Some(0.375), Change::Equal));
    // The mean of 1000 to 1059; values of the next row are larger by 1000.
    assert!((up.excitation.unwrap() - 1029.5).abs() < 1e-9);
    assert!((down.excitation.unwrap() - 2029.5).abs() < 1e-9);
    assert!((up.inhibition.unwrap() - 0.5).abs() < 1e-15);
    assert_eq!(analysis.values(Quantity::TonicReduction, Change::Increase), [0.75]);
    assert_eq!(analysis.relative(PaperCondition::Gabazine)[[0, 19]], 4.0);
    let course = analysis.time_course(PaperCondition::Ach, Change::Increase);
    assert_eq!(
        (course.len(), course[19].mean, course[29].mean, course[0].mean),
        (60, Some(2.0), Some(1.0), Some(0.0))
    );
    assert_eq!(course[19].sem, None);
    assert_eq!(analysis.criteria().times_ms()[..2], [-10.0, -9.0]);
}

#[test]
fn the_window_of_the_integral_is_that_of_the_original() {
    let criteria = Criteria::default();
    // The integral of 1 nS over 60 ms.
    assert!((criteria.integral(Array1::ones(60).view()) - 60.0).abs() < 1e-12);
}

#[test]
fn responses_that_are_too_strong_or_grow_are_left_out() {
    let selected = |second: f64, third: f64| {
        let mut arrays = Arrays::new();
        arrays.probability[0][[0, 1019]] = second;
        arrays.probability[0][[0, 1029]] = third;
        arrays.analysis().unwrap().counts().selected
    };
    assert_eq!(selected(0.6, 0.6), 3);
    assert_eq!(selected(0.61, 0.1), 2);
    assert_eq!(selected(0.3, 0.31), 2);
    // Only samples 18 to 21 and 28 to 31 of the window matter.
    for (ms, left) in [(1017, 2), (1018, 3), (1021, 3), (1022, 2)] {
        let mut arrays = Arrays::new();
        arrays.probability[0][[0, 1019]] = 0.0;
        arrays.probability[0][[0, ms]] = 0.25;
        assert_eq!(arrays.analysis().unwrap().counts().selected, left, "{ms}");
    }
    for (ms, left) in [(1027, 3), (1028, 2), (1031, 2), (1032, 3)] {
        let mut arrays = Arrays::new();
        arrays.probability[0][[0, ms]] = 0.3;
        assert_eq!(arrays.analysis().unwrap().counts().selected, left, "{ms}");
    }
}

#[test]
fn cells_without_a_peak_cannot_be_compared() {
    let mut arrays = Arrays::new();
    arrays.probability[0].row_mut(0).fill(0.0);
    let counts = arrays.analysis().unwrap().counts();
    assert_eq!((counts.responsive, counts.selected, counts.without_peak), (2, 2, 0), "a silent cell");
    // The cell spikes, but outside the window.
    arrays.probability[0][[0, 3]] = 0.1;
    let counts = arrays.analysis().unwrap().counts();
    assert_eq!((counts.responsive, counts.selected, counts.without_peak), (3, 2, 1));
}

#[test]
fn nothing_to_measure_is_no_error() {
    let mut arrays = Arrays::new();
    arrays.probability.iter_mut().for_each(|of_condition| of_condition.fill(0.0));
    let analysis = arrays.analysis().unwrap();
    assert_eq!((analysis.counts().driven, analysis.counts().selected), (3, 0));
    assert!(analysis.density(Quantity::Net, Change::Increase).is_none());
    assert!(analysis.histogram(Quantity::Net, Change::Increase).is_none());
    assert_eq!(analysis.summary(Quantity::Net, Change::Increase), Summary::of(&[]));
    assert_eq!(analysis.time_course(PaperCondition::Control, Change::Increase)[5], Summary::of(&[]));

    arrays.connections = Array2::zeros((0, 2));
    arrays.excitation = Array2::zeros((0, 1100));
    arrays.inhibition = Array2::zeros((0, 1100));
    arrays.factors = Array1::zeros(0);
    assert_eq!(arrays.analysis().unwrap().counts().driven, 0);
}

#[test]
fn what_was_not_recorded_is_not_there() {
    let arrays = Arrays::new();
    let mut recording = arrays.recording();
    recording.conductances = None;
    recording.tonic_factors = None;
    recording.gabazine.weights = None;
    recording.ach.connections = None;
    let analysis = Analysis::new(&recording, &Criteria::default()).unwrap();
    assert_eq!(analysis.counts().selected, 3);
    assert!(analysis.values(Quantity::Net, Change::Increase).is_empty());
    recording.control.connections = None;
    let error = Analysis::new(&recording, &Criteria::default()).unwrap_err();
    assert_eq!(error, AnalysisError::NoConnections);
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    let mut arrays = Arrays::new();
    arrays.connections[[1, 1]] = 4;
    assert_eq!(arrays.error(), "a connection leads to granule cell 4, but the recording has only 4 cells");
    arrays.connections[[1, 1]] = -1;
    assert_eq!(arrays.error(), "a connection leads to granule cell -1, but the recording has only 4 cells");

    let mut arrays = Arrays::new();
    arrays.connections = array![[1, 2, 3]];
    assert_eq!(arrays.error(), "connections: [1, 3] values; expected [1, 2], as in the other arrays");

    let mut arrays = Arrays::new();
    arrays.probability[2] = Array2::zeros((4, 1099));
    assert_eq!(
        arrays.error(),
        "spike probability of ACh: [4, 1099] values; expected [4, 1100], as in the other arrays"
    );
    arrays.probability = [(); 3].map(|()| Array2::zeros((4, 1059)));
    assert_eq!(arrays.error(), "spike probability of Control: 1059 ms were recorded, but 1060 ms are needed");

    let mut arrays = Arrays::new();
    arrays.factors = array![0.1, 0.2];
    assert_eq!(arrays.error(), "tonic factors: [2] values; expected [3], as in the other arrays");
    let mut arrays = Arrays::new();
    arrays.inhibition = Array2::zeros((4, 1100));
    assert_eq!(
        arrays.error(),
        "inhibitory conductances: [4, 1100] values; expected [3, 1100], as in the other arrays"
    );
}

#[test]
fn networks_that_differ_are_refused() {
    let arrays = Arrays::new();
    let other = array![[5, 0], [5, 2], [9, 2], [9, 0]];
    let mut recording = arrays.recording();
    recording.gabazine.connections = Some(other.view());
    let error = Analysis::new(&recording, &Criteria::default()).unwrap_err();
    assert_eq!(error.to_string(), "the connections of GABAzine are not those of Control");
    let mut arrays = Arrays::new();
    arrays.weights[2].insert(9, vec![0.3, 0.5]);
    assert_eq!(arrays.error(), "the weights of ACh are not those of Control");
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    for (value, text) in [(f64::NAN, "NaN"), (-0.5, "-0.5"), (1.5, "1.5"), (f64::INFINITY, "inf")] {
        let mut arrays = Arrays::new();
        arrays.probability[1][[2, 77]] = value;
        let message = format!("spike probability of GABAzine, cell 2, 77 ms: {text} is not a probability");
        assert_eq!(arrays.error(), message);
    }
    let mut arrays = Arrays::new();
    arrays.excitation[[1, 1003]] = f64::NAN;
    assert_eq!(arrays.error(), "excitatory conductances, cell 1, 1003 ms: NaN is not a conductance");
    let mut arrays = Arrays::new();
    arrays.factors[2] = f64::NEG_INFINITY;
    assert_eq!(arrays.error(), "tonic factors, cell 2, 0 ms: -inf is not a factor");
    // Values of cells that are not driven are not checked.
    let mut arrays = Arrays::new();
    arrays.probability[0][[1, 5]] = f64::NAN;
    assert!(arrays.analysis().is_ok());
}

#[test]
fn criteria_must_fit_their_window() {
    let arrays = Arrays::new();
    let paper = Criteria::default();
    for criteria in [
        Criteria { window_ms: 1000..1001, ..paper.clone() },
        Criteria { third: 28..61, ..paper.clone() },
        Criteria { second: 5..5, ..paper.clone() },
        Criteria { most: f64::NAN, ..paper.clone() },
    ] {
        let error = Analysis::new(&arrays.recording(), &criteria).unwrap_err();
        assert_eq!(error, AnalysisError::Criteria, "{criteria:?}");
    }
}

mod any_arrays {
    use proptest::prelude::*;

    use super::*;

    /// Mostly valid probabilities, rarely an arbitrary number.
    fn probability() -> impl Strategy<Value = f64> {
        prop_oneof![1000 => Just(0.0), 1000 => (0..=10_u8).prop_map(|n| f64::from(n) / 10.0), 1 => any::<f64>()]
    }

    fn matrix(rows: usize, value: impl Strategy<Value = f64>) -> impl Strategy<Value = Array2<f64>> {
        prop::collection::vec(value, rows * 12)
            .prop_map(move |values| Array2::from_shape_vec((rows, 12), values).expect("so many values"))
    }

    proptest! {
        /// An analysis returns an error, or cells with finite numbers, each in one class.
        #[test]
        fn give_numbers_or_an_error(
            control in matrix(6, probability()),
            gabazine in matrix(6, probability()),
            ach in matrix(6, probability()),
            synapses in prop::collection::vec((0..3_i32, prop_oneof![100 => 0..6_i32, 1 => -1..7_i32]), 0..12),
            conductances in matrix(6, -10.0..1e3_f64),
        ) {
            let criteria = Criteria { window_ms: 2..12, stimuli_ms: vec![4], second: 2..5, third: 6..9, most: 0.6 };
            let connections = Array2::from_shape_fn((synapses.len(), 2), |(row, column)| match column {
                0 => synapses[row].0,
                _ => synapses[row].1,
            });
            let responses = |probability: &'static str| {
                let array = match probability { "control" => &control, "gaba" => &gabazine, _ => &ach };
                Responses { probability: array.view(), connections: Some(connections.view()), weights: None }
            };
            let driven = synapses.iter().map(|synapse| synapse.1).collect::<std::collections::BTreeSet<_>>().len();
            let of_driven = conductances.slice(ndarray::s![..driven.min(6), ..]);
            let recording = Recording {
                control: responses("control"),
                gabazine: responses("gaba"),
                ach: responses("ach"),
                conductances: Some(DrivenConductances { excitation: of_driven, inhibition: of_driven }),
                tonic_factors: None,
            };
            match Analysis::new(&recording, &criteria) {
                Err(error) => prop_assert!(!error.to_string().is_empty()),
                Ok(analysis) => {
                    let counts = analysis.counts();
                    prop_assert_eq!(counts.increase + counts.decrease + counts.equal, counts.selected);
                    prop_assert!(counts.selected + counts.without_peak <= counts.responsive);
                    prop_assert_eq!(counts.selected, analysis.cells().len());
                    for (row, cell) in analysis.cells().iter().enumerate() {
                        prop_assert!(cell.relative_peak.is_finite() && cell.peak(PaperCondition::Control) > 0.0);
                        let relative = analysis.relative(PaperCondition::Control);
                        let largest = relative.row(row).iter().copied().fold(0.0, f64::max);
                        prop_assert_eq!(largest, 1.0);
                        prop_assert_eq!(Quantity::Net.of(cell), Some(0.0));
                    }
                    for figure in crate::paper::all(&analysis) {
                        prop_assert!(!figure.svg().contains("NaN"));
                    }
                }
            }
        }
    }
}
