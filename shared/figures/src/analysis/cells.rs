//! The cells that the paper looks at.

use std::collections::BTreeMap;
use std::ops::Range;

use ndarray::{ArrayView1, ArrayView2, s};

use super::Recording;
use crate::{Change, Condition};

/// Which cells are selected, and what of their traces is looked at. The default is the paper's.
#[derive(Clone, Debug, PartialEq)]
pub struct Criteria {
    /// What is looked at, in ms of the recording: 1000 to 1059.
    pub window_ms: Range<usize>,
    /// When fibres spike: 1010, 1020 and 1030 ms. The first is time 0 of pictures.
    pub stimuli_ms: Vec<usize>,
    /// Response to the second spike, in ms of the window: 18 to 21.
    pub second: Range<usize>,
    /// Response to the third spike, in ms of the window: 28 to 31.
    pub third: Range<usize>,
    /// Cells whose Control response to the second spike is above this probability are left out: 0.6.
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
    /// Time of each ms of the window, from the first stimulus on.
    pub fn times_ms(&self) -> Vec<f64> {
        let zero = self.stimuli_ms.first().copied().unwrap_or(self.window_ms.start);
        self.window_ms.clone().map(|ms| ms as f64 - zero as f64).collect()
    }

    /// Integral of a trace over the window, in its unit times ms, by the trapezoid rule. As in the original,
    /// its n samples are spread evenly over n ms, both ends included.
    pub fn integral(&self, trace: ArrayView1<'_, f64>) -> f64 {
        let spacing = trace.len() as f64 / (trace.len() as f64 - 1.0);
        let pairs = trace.iter().zip(trace.iter().skip(1));
        pairs.map(|(left, right)| spacing * (left + right) / 2.0).sum()
    }

    /// Mean of a trace over the window: the integral over its length.
    pub fn mean(&self, trace: ArrayView1<'_, f64>) -> f64 {
        self.integral(trace) / self.window_ms.len() as f64
    }
}

/// How many cells are left after each step of the selection, and of which class they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Granule cells.
    pub granule_cells: usize,
    /// With input from an active mossy fibre.
    pub driven: usize,
    /// Of these, with a spike in Control at any time.
    pub responsive: usize,
    /// Of these, selected.
    pub selected: usize,
    /// Responsive cells that fulfil the criteria but have no Control spike in the window, so that there is no
    /// peak to compare with. They are not selected.
    pub without_peak: usize,
    /// Selected cells whose peak grows under ACh.
    pub increase: usize,
    /// Selected cells whose peak shrinks under ACh.
    pub decrease: usize,
    /// Selected cells whose peak stays the same.
    pub equal: usize,
    /// Of those that decrease, cells without a spike in the window under ACh.
    pub silenced: usize,
}

/// A selected cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Its row among the granule cells.
    pub index: u32,
    /// Synapses from active mossy fibres.
    pub active_inputs: usize,
    /// Largest spike probability in the window, per condition.
    peaks: [f64; 3],
    /// Largest spike probability under ACh relative to the Control peak.
    pub relative_peak: f64,
    /// What that means.
    pub change: Change,
    /// Mean excitatory conductance in the window in Control, nS; none where it was not recorded.
    pub excitation: Option<f64>,
    /// Mean inhibitory conductance in the window in Control, nS; none where it was not recorded.
    pub inhibition: Option<f64>,
    /// Factor on tonic inhibition under ACh; none where it was not recorded.
    pub tonic_factor: Option<f64>,
}

impl Cell {
    /// Largest spike probability in the window.
    pub fn peak(&self, condition: Condition) -> f64 {
        self.peaks[condition as usize]
    }

    /// Natural logarithm of the relative peak; none if the cell is silent under ACh.
    pub fn log_peak(&self) -> Option<f64> {
        (self.relative_peak > 0.0).then(|| self.relative_peak.ln())
    }

    /// Whether the cell does not spike in the window under ACh.
    pub fn is_silenced(&self) -> bool {
        self.relative_peak == 0.0
    }

    /// A quantity; none where it was not recorded.
    pub fn quantity(&self, quantity: Quantity) -> Option<f64> {
        quantity.of(self)
    }
}

/// What may decide how a cell responds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Mean excitatory conductance in Control, nS.
    Excitation,
    /// Mean inhibitory conductance in Control, nS.
    Inhibition,
    /// Excitatory less inhibitory conductance, nS.
    Net,
    /// The part of tonic inhibition that ACh takes away.
    TonicReduction,
}

impl Quantity {
    /// All of them.
    pub const ALL: [Quantity; 4] =
        [Quantity::Excitation, Quantity::Inhibition, Quantity::Net, Quantity::TonicReduction];

    /// Its value for a cell; none where it was not recorded.
    pub fn of(self, cell: &Cell) -> Option<f64> {
        match self {
            Quantity::Excitation => cell.excitation,
            Quantity::Inhibition => cell.inhibition,
            Quantity::Net => Some(cell.excitation? - cell.inhibition?),
            Quantity::TonicReduction => cell.tonic_factor.map(|factor| 1.0 - factor),
        }
    }

    /// The name in tables, with the unit.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Excitation => "excitation_ns",
            Quantity::Inhibition => "inhibition_ns",
            Quantity::Net => "net_ns",
            Quantity::TonicReduction => "tonic_reduction",
        }
    }

    /// What stands at an axis.
    pub fn label(self) -> &'static str {
        match self {
            Quantity::Excitation => "Excitatory conductance (nS)",
            Quantity::Inhibition => "Inhibitory conductance (nS)",
            Quantity::Net => "Net conductance (nS)",
            Quantity::TonicReduction => "Reduction of tonic inhibition",
        }
    }

    /// Standard deviation of the kernels of its density.
    pub fn bandwidth(self) -> f64 {
        match self {
            Quantity::Excitation | Quantity::Inhibition | Quantity::Net => 0.1,
            Quantity::TonicReduction => 0.01,
        }
    }

    /// Width of the bins of its histogram.
    pub fn bin_width(self) -> f64 {
        self.bandwidth()
    }
}

/// Driven cells, ascending, with how many active synapses each has.
pub(super) fn driven(connections: ArrayView2<'_, i32>) -> Vec<(u32, usize)> {
    let mut inputs: BTreeMap<u32, usize> = BTreeMap::new();
    for synapse in connections.rows() {
        // Negative ones are refused before.
        *inputs.entry(synapse[1].unsigned_abs()).or_default() += 1;
    }
    inputs.into_iter().collect()
}

/// Selects cells of a recording that was checked.
pub(super) fn select(
    recording: &Recording<'_>,
    criteria: &Criteria,
    driven: &[(u32, usize)],
) -> (Counts, Vec<Cell>) {
    let control = recording.control.probability;
    let mut counts = Counts { granule_cells: control.nrows(), driven: driven.len(), ..Counts::default() };
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
        let peaks = Condition::ALL.map(|condition| {
            largest(window(&recording.responses(condition).probability, index as usize).view())
        });
        let [peak, _, ach] = peaks;
        if peak == 0.0 {
            counts.without_peak += 1;
            continue;
        }
        let relative_peak = ach / peak;
        let mean = |of: &ArrayView2<'_, f64>| criteria.mean(window(of, row).view());
        cells.push(Cell {
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
