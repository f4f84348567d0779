//! Figure of excitation and inhibition of each cell, coloured by the change under ACh.

use super::common::{ONE_COLUMN_MM, RELATIVE_PEAK, note_if_empty, table_of_cells, with_zero};
use crate::analysis::{Quantity, SelectedCell};
use crate::drawing::{
    Axis, Canvas, Color, ColorBar, Legend, Mark, Panel, Point, Ramp, Scale, Shape, Swatch, grid,
};
use crate::{Analysis, Change, Figure};

/// Diameter of points, in points of print.
const DIAMETER: f64 = 4.2;

/// Shapes that distinguish the classes without colour.
const SHAPES: [(Shape, Change); 2] =
    [(Shape::Edged, Change::Increase), (Shape::EdgedSquare, Change::Decrease)];

/// A cell in the plot.
struct Quadrant {
    x: f64,
    y: f64,
    relative_peak: f64,
    change: Change,
}

impl Quadrant {
    fn point(&self, color: Color) -> Point {
        Point { x: self.x, y: self.y, diameter: DIAMETER, color }
    }
}

/// Draws the mean inhibitory against the mean excitatory conductance of cells whose peak changes under ACh.
/// The colour is the logarithm of the relative peak, with no change in the middle.
pub fn conductances(analysis: &Analysis) -> Figure {
    let place = |cell: &SelectedCell| {
        let (relative_peak, change) = (cell.relative_peak, cell.change);
        Some(Quadrant { x: cell.excitation?, y: cell.inhibition?, relative_peak, change })
    };
    let compared = analysis.cells().iter().filter(|cell| cell.change != Change::Equal);
    let places: Vec<Quadrant> = compared.filter_map(place).collect();

    // Equal distances from no change have equally strong colours on both sides.
    let (silenced, spiking): (Vec<&Quadrant>, Vec<&Quadrant>) =
        places.iter().partition(|place| place.relative_peak == 0.0);
    let ratio = |place: &&Quadrant| place.relative_peak.max(1.0 / place.relative_peak);
    let furthest = spiking.iter().map(ratio).fold(1.0, f64::max);
    let bar = ColorBar {
        ramp: Ramp::DIVERGING,
        scale: Scale::log(1.0 / furthest, furthest),
        label: RELATIVE_PEAK.to_owned(),
    };
    let axis = |of: fn(&Quadrant) -> f64, label: &str| {
        let values: Vec<f64> = places.iter().map(of).collect();
        // Leave room for points at 0.
        let scale = match with_zero(values.iter().copied()) {
            Scale::Linear { low: 0.0, high } => Scale::linear(-0.03 * high, high),
            scale => scale,
        };
        Axis::new(scale, label)
    };
    let x = axis(|place| place.x, "Mean excitatory conductance (nS)");
    let y = axis(|place| place.y, "Mean inhibitory conductance (nS)");
    let mut panel = Panel::new(x, y);
    for (shape, change) in SHAPES {
        let of_class = spiking.iter().filter(|place| place.change == change);
        let colour = |place: &Quadrant| bar.ramp.at(bar.scale.fraction(place.relative_peak));
        let points = of_class.map(|place| place.point(colour(place))).collect();
        panel.add(Mark::Points { points, shape });
    }
    let crosses = silenced.iter().map(|place| place.point(Color::BLACK)).collect();
    panel.add(Mark::Points { points: crosses, shape: Shape::Cross });
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
                       logarithmic scale: squares in green for less, grey for no change, discs in purple for \
                       more. Crosses are cells without a spike under ACh.";
    let tables = vec![table_of_cells(analysis, &[Quantity::Excitation, Quantity::Inhibition])];
    Figure::new(
        "conductances",
        "Excitation, inhibition and the response under ACh",
        description,
        canvas,
        tables,
    )
}
