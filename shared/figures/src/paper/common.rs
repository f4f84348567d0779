//! Parts that the paper's figures share: sizes, legends of classes, points that count cells, tables of cells.

use std::collections::BTreeMap;

use crate::analysis::{Quantity, SelectedCell};
use crate::drawing::{Color, Mark, Panel, Point, Scale, Shape, Stroke, Swatch};
use crate::{Analysis, Change, Column, PaperCondition, Table};

/// Width of a figure over two columns of a journal, and over one, in mm.
pub(super) const TWO_COLUMNS_MM: f64 = 174.0;
pub(super) const ONE_COLUMN_MM: f64 = 85.0;

/// Width of lines of data, in points.
pub(super) const LINE: f64 = 1.0;

/// Label of axes for the response under ACh relative to Control.
pub(super) const RELATIVE_PEAK: &str = "ACh peak / Control peak";

/// Returns the line style of a class.
pub(super) fn stroke(change: Change) -> Stroke {
    Stroke { color: change.color(), width: LINE, dash: change.dash() }
}

/// Returns the legend entry of a class, with its number of cells.
pub(super) fn class_entry(analysis: &Analysis, change: Change, swatch: Swatch) -> (Swatch, String) {
    (swatch, format!("{} (n = {})", change.name(), analysis.of_class(change).count()))
}

/// Writes into an empty panel why it is empty.
pub(super) fn note_if_empty(panel: &mut Panel, analysis: &Analysis, is_empty: bool) {
    if is_empty {
        let no_cells = Change::COMPARED.iter().all(|&change| analysis.of_class(change).next().is_none());
        panel.note(if no_cells { "no cells" } else { "not recorded" });
    }
}

/// Returns a scale that includes all values and zero, with some room.
pub(super) fn with_zero(values: impl IntoIterator<Item = f64> + Clone) -> Scale {
    match values.clone().into_iter().any(|value| value < 0.0) {
        true => Scale::around(values.into_iter().chain([0.0]), 0.05),
        false => Scale::from_zero(values, 0.06),
    }
}

/// Returns a logarithmic scale for relative peaks. It includes half and double, and has a place for silenced
/// cells at zero.
pub(super) fn of_relative_peaks<'a>(cells: impl Iterator<Item = &'a SelectedCell>) -> Scale {
    let peaks = cells.map(|cell| cell.relative_peak).filter(|&peak| peak > 0.0);
    let (low, high) = peaks.fold((0.5_f64, 2.0_f64), |(low, high), peak| (low.min(peak), high.max(peak)));
    Scale::log_with_zero(low / 1.25, high * 1.25)
}

/// Points whose area is proportional to the number of cells at their place.
pub(super) struct CountedPoints {
    /// Diameter of the point of a single cell, in points of print.
    one: f64,
    most: usize,
    places: Vec<(f64, f64, Change, usize)>,
}

impl CountedPoints {
    /// Counts cells by their place.
    pub(super) fn new(cells: impl Iterator<Item = (f64, f64, Change)>) -> CountedPoints {
        const ONE: f64 = 3.0;
        const LARGEST: f64 = 15.0;
        let mut counts: BTreeMap<[u64; 2], (f64, f64, Change, usize)> = BTreeMap::new();
        for (x, y, change) in cells {
            counts.entry([x, y].map(f64::to_bits)).or_insert((x, y, change, 0)).3 += 1;
        }
        let mut places: Vec<_> = counts.into_values().collect();
        // Large points are drawn first, so that they cover no smaller ones.
        places.sort_by_key(|place| std::cmp::Reverse(place.3));
        let most = places.first().map_or(1, |place| place.3);
        CountedPoints { one: ONE.min(LARGEST / (most as f64).sqrt()), most, places }
    }

    /// Returns the same points, sized like those of `other`.
    pub(super) fn sized_like(self, other: &CountedPoints) -> CountedPoints {
        CountedPoints { one: other.one, ..self }
    }

    fn diameter(&self, count: usize) -> f64 {
        self.one * (count as f64).sqrt()
    }

    /// Returns the points in the colours of their classes. If `open_at_zero`, points with y = 0 are open.
    pub(super) fn marks(&self, open_at_zero: bool) -> [Mark; 2] {
        let point = |&(x, y, change, count): &(f64, f64, Change, usize)| Point {
            x,
            y,
            diameter: self.diameter(count),
            color: change.color(),
        };
        let is_open = |place: &&(f64, f64, Change, usize)| open_at_zero && place.1 == 0.0;
        let (open, filled): (Vec<_>, Vec<_>) = self.places.iter().partition(is_open);
        let points = |places: Vec<&(f64, f64, Change, usize)>| places.into_iter().map(point).collect();
        [
            Mark::Points { points: points(filled), shape: Shape::Disc },
            Mark::Points { points: points(open), shape: Shape::Ring },
        ]
    }

    /// Returns legend entries that explain the sizes.
    pub(super) fn legend(&self) -> Vec<(Swatch, String)> {
        let mut counts = vec![1];
        counts.extend([5, 20, 100, 500, 2500].into_iter().rfind(|&count| count <= self.most));
        let entry = |count: usize| {
            let text = if count == 1 { "1 cell".to_owned() } else { format!("{count} cells") };
            (Swatch::Point(Shape::Disc, self.diameter(count), Color::GREY), text)
        };
        counts.into_iter().map(entry).collect()
    }
}

/// Returns the table of all selected cells, including those of class equal.
pub(super) fn table_of_cells(analysis: &Analysis, quantities: &[Quantity]) -> Table {
    let cells = analysis.cells();
    let peak = |condition: PaperCondition| {
        Column::numbers(
            format!("{}_peak", condition.prefix()),
            cells.iter().map(move |cell| cell.peak(condition)),
        )
    };
    let mut columns = vec![
        Column::whole("granule_cell", cells.iter().map(|cell| cell.index as usize)),
        Column::text("change", cells.iter().map(|cell| cell.change.name())),
        Column::whole("active_inputs", cells.iter().map(|cell| cell.active_inputs)),
    ];
    columns.extend(PaperCondition::ALL.map(peak));
    columns.push(Column::numbers("relative_peak", cells.iter().map(|cell| cell.relative_peak)));
    columns.push(Column::optional("log_relative_peak", cells.iter().map(SelectedCell::log_peak)));
    let of_quantity =
        |quantity: &Quantity| Column::optional(quantity.name(), cells.iter().map(|cell| quantity.of(cell)));
    columns.extend(quantities.iter().map(of_quantity));
    Table::new("cells", columns)
}
