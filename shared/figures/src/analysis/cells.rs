//! Selection of the cells that the paper analyses.

use std::collections::BTreeMap;
use std::ops::Range;

use ndarray::{ArrayView1, ArrayView2, s};

use super::Recording;
use crate::{Change, PaperCondition};

/// Criteria that select cells, and the window in which responses are measured. The default values are the
/// paper's.
#[derive(Clone, Debug, PartialEq)]
pub struct Criteria {
    /// The window, in ms of the recording: 1000 to 1059.
    pub window_ms: Range<usize>,
    /// Times of the fibres' spikes: 1010, 1020 and 1030 ms. The first is time 0 in pictures.
    pub stimuli_ms: Vec<usize>,
    /// Response to the second spike, in ms of the window: 18 to 21.
    pub second: Range<usize>,
    /// Response to the third spike, in ms of the window: 28 to 31.
    pub third: Range<usize>,
    /// Largest probability of the response to the second spike in Control: 0.6. Cells above it are not
    /// selected.
    pub most: f64,
}

impl Default for Criteria {
    fn default() -> Criteria {
        Criteria {
            window_ms: 1000..1060,
            stimuli_ms: vec![1010, 1020, 1030],
            second: 18..22,
            third: 28..32,
            most: 0.6,
        }
    }
}

impl Criteria {
    /// Returns the time of each ms of the window, relative to the first stimulus.
    pub fn times_ms(&self) -> Vec<f64> {
        let zero = self.stimuli_ms.first().copied().unwrap_or(self.window_ms.start);
        self.window_ms.clone().map(|ms| ms as f64 - zero as f64).collect()
    }

    /// Returns the integral of a trace over the window by the trapezoid rule, in the trace's unit times ms.
    /// As in the original, the n samples are spread evenly over n ms, both ends included.
    pub fn integral(&self, trace: ArrayView1<'_, f64>) -> f64 {
        let spacing = trace.len() as f64 / (trace.len() as f64 - 1.0);
        let pairs = trace.iter().zip(trace.iter().skip(1));
        pairs.map(|(left, right)| spacing * (left + right) / 2.0).sum()
    }

    /// Returns the mean of a trace over the window: the integral divided by the window's length.
    pub fn mean(&self, trace: ArrayView1<'_, f64>) -> f64 {
        self.integral(trace) / self.window_ms.len() as f64
    }
}

/// Number of cells after each step of the selection, and in each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SelectionCounts {
    /// All granule cells.
    pub granule_cells: usize,
    /// Granule cells with input from an active mossy fibre.
    pub driven: usize,
    /// Driven cells with a spike in Control at any time.
    pub responsive: usize,
    /// Responsive cells that were selected.
    pub selected: usize,
    /// Responsive cells that meet the criteria, but have no Control spike in the window. Without a peak to
    /// compare with, they are not selected.
    pub without_peak: usize,
    /// Selected cells whose peak is larger under ACh.
    pub increase: usize,
    /// Selected cells whose peak is smaller under ACh.
    pub decrease: usize,
    /// Selected cells whose peak is the same under ACh.
    pub equal: usize,
    /// Cells of class decrease without a spike in the window under ACh.
    pub silenced: usize,
}

/// A selected cell.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectedCell {
    /// Row of the cell in arrays of all granule cells.
    pub index: u32,
    /// Number of synapses from active mossy fibres.
    pub active_inputs: usize,
    /// Largest spike probability in the window, per condition.
    peaks: [f64; 3],
    /// Largest spike probability under ACh relative to the Control peak.
    pub relative_peak: f64,
    /// Class of `relative_peak`.
    pub change: Change,
    /// Mean excitatory conductance in the window in Control, nS; `None` if not recorded.
    pub excitation: Option<f64>,
    /// Mean inhibitory conductance in the window in Control, nS; `None` if not recorded.
    pub inhibition: Option<f64>,
    /// Factor on tonic inhibition under ACh; `None` if not recorded.
    pub tonic_factor: Option<f64>,
}

impl SelectedCell {
    /// Returns the largest spike probability in the window, in this condition.
    pub fn peak(&self, condition: PaperCondition) -> f64 {
        self.peaks[condition as usize]
    }

    /// Returns the natural logarithm of the relative peak; `None` if the cell is silent under ACh.
    pub fn log_peak(&self) -> Option<f64> {
        (self.relative_peak > 0.0).then(|| self.relative_peak.ln())
    }

    /// Whether the cell has no spike in the window under ACh.
    pub fn is_silenced(&self) -> bool {
        self.relative_peak == 0.0
    }

    /// Returns a quantity of the cell; `None` if not recorded.
    pub fn quantity(&self, quantity: Quantity) -> Option<f64> {
        quantity.of(self)
    }
}

/// A quantity that may determine how a cell responds to ACh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Mean excitatory conductance in Control, nS.
    Excitation,
    /// Mean inhibitory conductance in Control, nS.
    Inhibition,
    /// Excitatory minus inhibitory conductance, nS.
    Net,
    /// Fraction of tonic inhibition that ACh removes.
    TonicReduction,
}

impl Quantity {
    /// All quantities, in the order of the figures' panels.
    pub const ALL: [Quantity; 4] =
        [Quantity::Excitation, Quantity::Inhibition, Quantity::Net, Quantity::TonicReduction];

    /// Returns the value of this quantity for a cell; `None` if not recorded.
    pub fn of(self, cell: &SelectedCell) -> Option<f64> {
        match self {
            Quantity::Excitation => cell.excitation,
            Quantity::Inhibition => cell.inhibition,
            Quantity::Net => Some(cell.excitation? - cell.inhibition?),
            Quantity::TonicReduction => cell.tonic_factor.map(|factor| 1.0 - factor),
        }
    }

    /// Returns the name in tables, with the unit.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Excitation => "excitation_ns",
            Quantity::Inhibition => "inhibition_ns",
            Quantity::Net => "net_ns",
            Quantity::TonicReduction => "tonic_reduction",
        }
    }

    /// Returns the label of an axis.
    pub fn label(self) -> &'static str {
        match self {
            Quantity::Excitation => "Excitatory conductance (nS)",
            Quantity::Inhibition => "Inhibitory conductance (nS)",
            Quantity::Net => "Net conductance (nS)",
            Quantity::TonicReduction => "Reduction of tonic inhibition",
        }
    }

    /// Returns the bandwidth of the kernel density: the standard deviation of its kernels, in the quantity's
    /// unit.
    pub fn bandwidth(self) -> f64 {
        match self {
            Quantity::Excitation | Quantity::Inhibition | Quantity::Net => 0.1,
            Quantity::TonicReduction => 0.01,
        }
    }

    /// Returns the width of the histogram's bins, in the quantity's unit.
    pub fn bin_width(self) -> f64 {
        self.bandwidth()
    }
}

/// Returns the driven cells in ascending order, each with the number of its active synapses.
pub(super) fn driven(connections: ArrayView2<'_, i32>) -> Vec<(u32, usize)> {
    let mut inputs: BTreeMap<u32, usize> = BTreeMap::new();
    for synapse in connections.rows() {
        // `check::recording` has refused negative cells.
        *inputs.entry(synapse[1].unsigned_abs()).or_default() += 1;
    }
    inputs.into_iter().collect()
}

/// Selects and measures the cells of a recording that has been checked.
pub(super) fn select(
    recording: &Recording<'_>,
    criteria: &Criteria,
    driven: &[(u32, usize)],
) -> (SelectionCounts, Vec<SelectedCell>) {
    let control = recording.control.probability;
    let mut counts = SelectionCounts {
        granule_cells: control.nrows(),
        driven: driven.len(),
        ..SelectionCounts::default()
    };
    let mut cells = Vec::new();
    for (row, &(index, active_inputs)) in driven.iter().enumerate() {
        if control.row(index as usize).iter().all(|&probability| probability == 0.0) {
            continue;
        }
        counts.responsive += 1;
        let window =
            |of: &ArrayView2<'_, f64>, row: usize| of.slice(s![row, criteria.window_ms.clone()]).to_owned();
        let in_window = window(&control, index as usize);
        let second = largest(in_window.slice(s![criteria.second.clone()]));
        let third = largest(in_window.slice(s![criteria.third.clone()]));
        if !(second <= criteria.most && third <= second) {
            continue;
        }
        let peaks = PaperCondition::ALL.map(|condition| {
            largest(window(&recording.responses(condition).probability, index as usize).view())
        });
        let [peak, _, ach] = peaks;
        if peak == 0.0 {
            counts.without_peak += 1;
            continue;
        }
        let relative_peak = ach / peak;
        let mean = |of: &ArrayView2<'_, f64>| criteria.mean(window(of, row).view());
        cells.push(SelectedCell {
            index,
            active_inputs,
            peaks,
            relative_peak,
            change: Change::of(relative_peak),
            excitation: recording.conductances.as_ref().map(|of| mean(&of.excitation)),
            inhibition: recording.conductances.as_ref().map(|of| mean(&of.inhibition)),
            tonic_factor: recording.tonic_factors.map(|factors| factors[row]),
        });
    }
    let of_class = |change| cells.iter().filter(|cell| cell.change == change).count();
    counts.selected = cells.len();
    counts.increase = of_class(Change::Increase);
    counts.decrease = of_class(Change::Decrease);
    counts.equal = of_class(Change::Equal);
    counts.silenced = cells.iter().filter(|cell| cell.is_silenced()).count();
    (counts, cells)
}

fn largest(values: ArrayView1<'_, f64>) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}
