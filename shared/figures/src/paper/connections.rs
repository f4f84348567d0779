//! Figure of possible causes of the change: inputs, net conductance and tonic inhibition.

use super::common::{
    CountedPoints, RELATIVE_PEAK, TWO_COLUMNS_MM, class_entry, note_if_empty, of_relative_peaks,
    table_of_cells, with_zero,
};
use crate::analysis::{Quantity, SelectedCell};
use crate::drawing::{
    Axis, Canvas, Color, Dash, Legend, Mark, Panel, Scale, Shape, Stroke, Swatch, Tick, grid,
};
use crate::{Analysis, Change, Figure};

/// Draws each cell's relative peak under ACh against its active inputs (A), its mean net conductance (B) and
/// its reduction of tonic inhibition (C).
pub fn connections(analysis: &Analysis) -> Figure {
    let compared = || analysis.cells().iter().filter(|cell| cell.change != Change::Equal);
    let y = || Axis::new(of_relative_peaks(compared()), RELATIVE_PEAK);
    let unlabelled = || Axis::new(of_relative_peaks(compared()), "");

    let most = compared().map(|cell| cell.active_inputs).max().unwrap_or(1);
    let mut inputs = Axis::new(Scale::linear(0.4, most as f64 + 0.6), "Active mossy fibre inputs");
    if most <= 12 {
        let tick = |count: usize| Tick { value: count as f64, label: count.to_string() };
        inputs = inputs.with_ticks((1..=most).map(tick).collect());
    }
    let counted = CountedPoints::new(
        compared().map(|cell| (cell.active_inputs as f64, cell.relative_peak, cell.change)),
    );
    let by_inputs = panel('A', inputs, y(), counted.marks(true), analysis, compared().next().is_none());

    let against = |letter: char, quantity: Quantity, scale: &dyn Fn(&[f64]) -> Scale| {
        let place = |cell: &SelectedCell| Some((quantity.of(cell)?, cell.relative_peak, cell.change));
        let places: Vec<(f64, f64, Change)> = compared().filter_map(place).collect();
        let values: Vec<f64> = places.iter().map(|place| place.0).collect();
        let marks = CountedPoints::new(places.into_iter()).sized_like(&counted).marks(true);
        panel(
            letter,
            Axis::new(scale(&values), quantity.label()),
            unlabelled(),
            marks,
            analysis,
            values.is_empty(),
        )
    };
    let by_net = against('B', Quantity::Net, &|values| with_zero(values.iter().copied()));
    let by_tonic = against('C', Quantity::TonicReduction, &|values| {
        let all_parts = values.iter().all(|part| (0.0..=1.0).contains(part));
        if all_parts { Scale::linear(0.0, 1.0) } else { with_zero(values.iter().copied()) }
    });

    let mut entries: Vec<_> = Change::COMPARED
        .map(|change| class_entry(analysis, change, Swatch::Point(Shape::Disc, 4.0, change.color())))
        .into();
    let silenced = Swatch::Point(Shape::Ring, 4.0, Change::Decrease.color());
    entries.push((silenced, format!("of these, no spike under ACh (n = {})", analysis.counts().silenced)));
    entries.extend(counted.legend());

    let mut canvas = Canvas::new(TWO_COLUMNS_MM, 62.0);
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let rest = Legend::new(entries).draw(&mut canvas, area);
    grid(&mut canvas, rest, 3, &[by_inputs, by_net, by_tonic]);
    let description = "Peak spike probability under ACh relative to Control, on a logarithmic axis, of cells whose \
                       peak changes: against the number of their active mossy fibre inputs (A), against the mean \
                       of excitatory minus inhibitory conductance in Control (B), and against the part of \
                       tonic inhibition that ACh takes away (C). Cells without a spike under ACh are open \
                       circles at 0, below a break of the axis. The area of a point shows its number of cells.";
    let tables = vec![table_of_cells(analysis, &[Quantity::Net, Quantity::TonicReduction])];
    Figure::new("connections", "Change of the response under ACh and inputs", description, canvas, tables)
}

fn panel(letter: char, x: Axis, y: Axis, marks: [Mark; 2], analysis: &Analysis, is_empty: bool) -> Panel {
    let mut panel = Panel::new(x, y).letter(letter);
    let stroke = Stroke { color: Color::rgb(130, 130, 130), width: 0.6, dash: Dash::Dotted };
    panel.add(Mark::Across { at: 1.0, stroke });
    marks.into_iter().for_each(|mark| panel.add(mark));
    note_if_empty(&mut panel, analysis, is_empty);
    panel
}
