//! Excitation and inhibition of each cell, coloured by what ACh does to it.

use super::common::{ONE_COLUMN_MM, RELATIVE_PEAK, note_if_empty, table_of_cells, with_zero};
use crate::analysis::{Cell, Quantity};
use crate::drawing::{
    Axis, Canvas, Color, ColorBar, Legend, Mark, Panel, Point, Ramp, Scale, Shape, Swatch, grid,
};
use crate::{Analysis, Change, Figure};

/// Diameter of points, in points of print.
const DIAMETER: f64 = 4.2;

/// What tells more from less where colours cannot: shapes, and the logarithms of relative peaks they are for.
const SHAPES: [(Shape, fn(f64) -> bool); 2] =
    [(Shape::Edged, |log| log > 0.0), (Shape::EdgedSquare, |log| log <= 0.0)];

/// Mean inhibitory against mean excitatory conductance of cells whose peak changes under ACh. Colours are the
/// logarithm of the relative peak, with no change in the middle.
pub fn conductances(analysis: &Analysis) -> Figure {
    let place = |cell: &Cell| Some((cell.excitation?, cell.inhibition?, cell.log_peak()));
    let compared = analysis.cells().iter().filter(|cell| cell.change != Change::Equal);
    let places: Vec<(f64, f64, Option<f64>)> = compared.filter_map(place).collect();

    // The same distance from no change is the same strength of colour on both sides.
    let furthest = places.iter().filter_map(|place| place.2).map(f64::abs).fold(0.0, f64::max);
    let furthest = if furthest > 0.0 { furthest } else { f64::ln(2.0) };
    let bar = ColorBar {
        ramp: Ramp::DIVERGING,
        scale: Scale::log((-furthest).exp(), furthest.exp()),
        label: RELATIVE_PEAK.to_owned(),
    };
    let axis = |of: fn(&(f64, f64, Option<f64>)) -> f64, label: &str| {
        let values: Vec<f64> = places.iter().map(of).collect();
        // Room for points at 0.
        let scale = match with_zero(values.iter().copied()) {
            Scale::Linear { low: 0.0, high } => Scale::linear(-0.03 * high, high),
            scale => scale,
        };
        Axis::new(scale, label)
    };
    let x = axis(|place| place.0, "Mean excitatory conductance (nS)");
    let y = axis(|place| place.1, "Mean inhibitory conductance (nS)");
    let mut panel = Panel::new(x, y);
    let silent = places.iter().filter(|place| place.2.is_none());
    let cross = |place: &(f64, f64, Option<f64>)| Point {
        x: place.0,
        y: place.1,
        diameter: DIAMETER,
        color: Color::BLACK,
    };
    for (shape, is_shown) in SHAPES {
        let coloured = places.iter().filter_map(|&(x, y, log)| {
            let log = log.filter(|&log| is_shown(log))?;
            let color = bar.ramp.at(0.5 + 0.5 * log / furthest);
            Some(Point { x, y, diameter: DIAMETER, color })
        });
        panel.add(Mark::Points { points: coloured.collect(), shape });
    }
    panel.add(Mark::Points { points: silent.map(cross).collect(), shape: Shape::Cross });
    note_if_empty(&mut panel, analysis, places.is_empty());

    let mut canvas = Canvas::new(ONE_COLUMN_MM, 72.0);
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let entries = vec![
        (Swatch::Point(Shape::Edged, DIAMETER, bar.ramp.at(0.85)), Change::Increase.name().to_owned()),
        (Swatch::Point(Shape::EdgedSquare, DIAMETER, bar.ramp.at(0.2)), Change::Decrease.name().to_owned()),
        (Swatch::Point(Shape::Cross, DIAMETER, Color::BLACK), "no spike under ACh".to_owned()),
    ];
    let rest = Legend::new(entries).draw(&mut canvas, area);
    let frames = grid(&mut canvas, rest.inset(0.0, 0.0, bar.width(rest.height) + 8.0, 0.0), 1, &[panel]);
    if let [frame] = frames[..] {
        bar.draw(&mut canvas, (frame.right() + 9.0, frame.y), frame.height);
    }
    let description = "Mean inhibitory against mean excitatory conductance in Control of each cell whose peak spike \
                       probability changes under ACh. Colours are the peak under ACh relative to Control on a \
                       logarithmic scale: squares in green for less, grey for no change, discs in purple for more. Crosses are cells \
                       without a spike under ACh.";
    let tables = vec![table_of_cells(analysis, &[Quantity::Excitation, Quantity::Inhibition])];
    Figure::new(
        "conductances",
        "Excitation, inhibition and the response under ACh",
        description,
        canvas,
        tables,
    )
}
