//! Figure of conductances over time.

use std::ops::Range;

use ndarray::ArrayView2;

use super::ObservedCondition;
use super::show::{Drive, WIDTH_MM, add_stimulus, counted, layout, ranged, short, stimulus};
use crate::drawing::{Axis, Canvas, Color, Dash, Legend, Mark, Panel, Scale, Stroke, Swatch, grid};
use crate::{Column, Figure, Table};

const EXCITATION: Stroke = Stroke { color: Color::rgb(64, 160, 180), width: 1.0, dash: Dash::Solid };
const INHIBITION: Stroke = Stroke { color: Color::rgb(230, 159, 0), width: 1.0, dash: Dash::Dashed };

/// Mean and standard deviation in each ms; `None` without cells.
type Moments = Vec<Option<(f64, f64)>>;

/// Conductances of a condition, accumulated over the driven cells of all seeds.
#[derive(Clone, Debug)]
pub struct Traces {
    ms: Range<usize>,
    cells: usize,
    /// Sum and sum of squares in each ms, of excitation and of inhibition.
    sums: [Vec<(f64, f64)>; 2],
}

impl Traces {
    /// Creates empty traces for this range, in ms of a trial.
    pub fn new(ms: Range<usize>) -> Traces {
        let none = vec![(0.0, 0.0); ms.len()];
        Traces { ms, cells: 0, sums: [none.clone(), none] }
    }

    /// Adds the cells of a seed. Both arrays have conductances in nS and one shape: (driven cells, ms of the
    /// trial). Milliseconds beyond the trial are left out.
    pub fn add(&mut self, excitation: ArrayView2<'_, f64>, inhibition: ArrayView2<'_, f64>) {
        self.cells += excitation.nrows();
        for (sums, conductance) in self.sums.iter_mut().zip([excitation, inhibition]) {
            for (sum, ms) in sums.iter_mut().zip(self.ms.clone()).filter(|(_, ms)| *ms < conductance.ncols())
            {
                for value in conductance.column(ms) {
                    sum.0 += value;
                    sum.1 += value * value;
                }
            }
        }
    }

    fn moments(&self, which: usize) -> Moments {
        let n = self.cells as f64;
        let of = |&(sum, squares): &(f64, f64)| {
            let mean = sum / n;
            let variance = if self.cells > 1 { (squares - n * mean * mean) / (n - 1.0) } else { 0.0 };
            (self.cells > 0).then(|| (mean, variance.max(0.0).sqrt()))
        };
        self.sums[which].iter().map(of).collect()
    }
}

/// Draws the summed synaptic conductances of driven cells over time: mean and standard deviation over cells.
/// Each condition has a panel.
pub fn conductances(conditions: &[(&ObservedCondition, &Traces)], drive: Drive) -> Figure {
    let of: Vec<[Moments; 2]> =
        conditions.iter().map(|(_, traces)| [0, 1].map(|which| traces.moments(which))).collect();
    let tops = of.iter().flatten().flatten().flatten().map(|(mean, sd)| mean + sd);
    let y = Scale::from_zero(tops, 0.05);
    let panels: Vec<Panel> = conditions
        .iter()
        .zip(&of)
        .map(|((condition, traces), moments)| {
            let x = Scale::linear(traces.ms.start as f64, traces.ms.end as f64);
            let mut panel = Panel::new(Axis::new(x, "Time (ms)"), Axis::new(y, "Conductance (nS)"))
                .title(short(&condition.name, 34));
            add_stimulus(&mut panel, &condition.model);
            for (moments, stroke) in moments.iter().zip([EXCITATION, INHIBITION]) {
                let points = || {
                    traces.ms.clone().zip(moments).filter_map(|(ms, of)| of.map(|of| (ms as f64 + 0.5, of)))
                };
                let band = points().map(|(x, (mean, sd))| (x, (mean - sd).max(0.0), mean + sd));
                panel.add(Mark::Band { points: band.collect(), color: stroke.color, opacity: 0.2 });
                panel.add(Mark::Line { points: points().map(|(x, (mean, _))| (x, mean)).collect(), stroke });
            }
            if traces.cells == 0 {
                panel.note("no driven cells");
            }
            panel
        })
        .collect();
    let (columns, height) = layout(panels.len(), 3, 46.0);
    let mut canvas = Canvas::new(WIDTH_MM, height + 8.0);
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let entries = vec![
        (Swatch::Line(EXCITATION), "excitatory".to_owned()),
        (Swatch::Line(INHIBITION), "inhibitory".to_owned()),
        (
            Swatch::Area(Color::rgb(200, 200, 200)),
            format!(
                "± standard deviation over {}",
                ranged(conditions.iter().map(|(_, of)| of.cells), "cell")
            ),
        ),
        (Swatch::Line(stimulus()), "stimulus".to_owned()),
    ];
    let rest = Legend::new(entries).draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);
    let description = format!(
        "Excitatory and inhibitory conductance of {}, summed over synapses, mean over trials; mean and standard \
         deviation over cells of all seeds, in {}.",
        drive.driven,
        counted(conditions.len(), "condition")
    );
    let table = table(conditions, &of);
    Figure::new("conductance-traces", "Conductances over time", description, canvas, vec![table])
}

fn table(conditions: &[(&ObservedCondition, &Traces)], of: &[[Moments; 2]]) -> Table {
    let rows = || {
        conditions.iter().zip(of).flat_map(|((condition, traces), moments)| {
            traces
                .ms
                .clone()
                .enumerate()
                .map(move |(i, ms)| (&condition.name, ms, moments.each_ref().map(|of| of[i])))
        })
    };
    let column = |name: &str, which: usize, part: fn((f64, f64)) -> f64| {
        Column::optional(name, rows().map(|(_, _, of)| of[which].map(part)))
    };
    Table::new(
        "conductances",
        vec![
            Column::text("condition", rows().map(|(name, ..)| name.clone())),
            Column::whole("time_ms", rows().map(|(_, ms, _)| ms)),
            column("excitation_ns_mean", 0, |of| of.0),
            column("excitation_ns_sd", 0, |of| of.1),
            column("inhibition_ns_mean", 1, |of| of.0),
            column("inhibition_ns_sd", 1, |of| of.1),
        ],
    )
}
