//! What the figures share: sizes, legends of classes, points whose size counts cells, tables of cells.

use std::collections::BTreeMap;

use crate::analysis::{Cell, Quantity};
use crate::drawing::{Color, Mark, Panel, Point, Scale, Shape, Stroke, Swatch};
use crate::{Analysis, Change, Column, Condition, Table};

/// Width of two columns of a journal, and of one, in mm.
pub(super) const TWO_COLUMNS_MM: f64 = 174.0;
pub(super) const ONE_COLUMN_MM: f64 = 85.0;

/// Lines of data, in points.
pub(super) const LINE: f64 = 1.0;

/// The response under ACh relative to Control, as it stands at axes.
pub(super) const RELATIVE_PEAK: &str = "ACh peak / Control peak";

/// The line of a class.
pub(super) fn stroke(change: Change) -> Stroke {
    Stroke { color: change.color(), width: LINE, dash: change.dash() }
}

/// The class in a legend, with how many cells it has.
pub(super) fn class_entry(analysis: &Analysis, change: Change, swatch: Swatch) -> (Swatch, String) {
    (swatch, format!("{} (n = {})", change.name(), analysis.of_class(change).count()))
}

/// Why a panel is empty, where it is.
pub(super) fn note_if_empty(panel: &mut Panel, analysis: &Analysis, is_empty: bool) {
    if is_empty {
        let no_cells = Change::COMPARED.iter().all(|&change| analysis.of_class(change).next().is_none());
        panel.note(if no_cells { "no cells" } else { "not recorded" });
    }
}

/// A scale for all of these and zero, with some room.
pub(super) fn with_zero(values: impl IntoIterator<Item = f64> + Clone) -> Scale {
    match values.clone().into_iter().any(|value| value < 0.0) {
        true => Scale::around(values.into_iter().chain([0.0]), 0.05),
        false => Scale::from_zero(values, 0.06),
    }
}

/// A scale for relative peaks: logarithmic, from half to double or further, with a place for cells that fall
/// silent.
pub(super) fn of_relative_peaks<'a>(cells: impl Iterator<Item = &'a Cell>) -> Scale {
    let peaks = cells.map(|cell| cell.relative_peak).filter(|&peak| peak > 0.0);
    let (low, high) = peaks.fold((0.5_f64, 2.0_f64), |(low, high), peak| (low.min(peak), high.max(peak)));
    Scale::log_with_zero(low / 1.25, high * 1.25)
}

/// Points whose area counts how many cells lie there.
pub(super) struct Counted {
    /// Diameter of a single cell's point, in points of print.
    one: f64,
    most: usize,
    places: Vec<(f64, f64, Change, usize)>,
}

impl Counted {
    /// Counts cells by place.
    pub(super) fn new(cells: impl Iterator<Item = (f64, f64, Change)>) -> Counted {
        const ONE: f64 = 3.0;
        const LARGEST: f64 = 15.0;
        let mut counts: BTreeMap<[u64; 2], (f64, f64, Change, usize)> = BTreeMap::new();
        for (x, y, change) in cells {
            counts.entry([x, y].map(f64::to_bits)).or_insert((x, y, change, 0)).3 += 1;
        }
        let mut places: Vec<_> = counts.into_values().collect();
        // Large ones below, so that none is covered.
        places.sort_by_key(|place| std::cmp::Reverse(place.3));
        let most = places.first().map_or(1, |place| place.3);
        Counted { one: ONE.min(LARGEST / (most as f64).sqrt()), most, places }
    }

    /// The same with points as large as of others.
    pub(super) fn sized_like(self, other: &Counted) -> Counted {
        Counted { one: other.one, ..self }
    }

    fn diameter(&self, count: usize) -> f64 {
        self.one * (count as f64).sqrt()
    }

    /// The points in the colours of their classes, open where the y is 0 and open ones are asked for.
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

    /// What sizes mean.
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

/// What was measured of the cells, equal ones included.
pub(super) fn table_of_cells(analysis: &Analysis, quantities: &[Quantity]) -> Table {
    let cells = analysis.cells();
    let peak = |condition: Condition| {
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
    columns.extend(Condition::ALL.map(peak));
    columns.push(Column::numbers("relative_peak", cells.iter().map(|cell| cell.relative_peak)));
    columns.push(Column::optional("log_relative_peak", cells.iter().map(Cell::log_peak)));
    let of_quantity =
        |quantity: &Quantity| Column::optional(quantity.name(), cells.iter().map(|cell| quantity.of(cell)));
    columns.extend(quantities.iter().map(of_quantity));
    Table::new("cells", columns)
}
