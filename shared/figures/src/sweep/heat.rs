//! Heat map of the spikes of driven cells over time.

use ndarray::{Array2, Axis as Dimension};

use super::ObservedCondition;
use super::observed::{Courses, Observed};
use super::show::{Drive, WIDTH_MM, add_stimulus, counted, layout, populations_of, short};
use crate::drawing::{Axis, Canvas, ColorBar, Legend, Mark, Panel, Ramp, Scale, Swatch, grid};
use crate::{Column, Figure, Table};

/// Most rows of a panel. With more cells, several share a row.
const MOST_ROWS: usize = 60;

/// Draws the spikes per trial of each driven cell in each ms, for one seed. Each condition has a panel; its
/// cells are in the order of their response.
pub fn heat_map(conditions: &[(&ObservedCondition, &Observed)], drive: Drive) -> Figure {
    let of: Vec<Option<Sorted>> =
        conditions.iter().map(|(_, observed)| observed.courses.as_ref().and_then(Sorted::new)).collect();
    let all = of.iter().flatten().flat_map(|sorted| sorted.rows.iter().copied());
    let most = all.fold(0.0, f64::max);
    let scale = Scale::from_zero([most], 0.0);
    let panels: Vec<Panel> = conditions
        .iter()
        .zip(&of)
        .map(|((condition, _), sorted)| panel(condition, sorted.as_ref(), scale, drive))
        .collect();
    let (columns, height) = layout(panels.len(), 3, 52.0);
    let mut canvas = Canvas::new(WIDTH_MM, height + 5.0);
    let seed = conditions.first().map_or(0, |(_, observed)| observed.seed);
    let legend = Legend::new(vec![(Swatch::None, format!("seed {seed}"))]);
    let page = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let area = legend.draw(&mut canvas, page);
    let bar = ColorBar { ramp: Ramp::SEQUENTIAL, scale, label: "Spikes per cell, trial and ms".to_owned() };
    let bar_height = (area.height - 40.0).min(120.0);
    let rest = area.inset(0.0, 0.0, bar.width(bar_height) + 8.0, 0.0);
    grid(&mut canvas, rest, columns, &panels);
    bar.draw(&mut canvas, (rest.right() + 8.0, area.y + 15.0), bar_height);
    let description = format!(
        "Mean spike count of the {} in each ms, seed {seed}, in {}. \
         In each panel cells are in the order of their response, the strongest on top; where there are \
         more than {MOST_ROWS}, neighbours in this order share a row.",
        drive.driven,
        counted(conditions.len(), "condition")
    );
    let table = table(conditions, &of);
    let populations = populations_of(conditions.iter().map(|(condition, _)| &condition.model));
    let title = format!("Spikes of {}", drive.cells(populations));
    Figure::new("heat-map", title, description, canvas, vec![table])
}

/// Cells in the order of their response, the weakest first, with neighbours averaged into rows.
struct Sorted {
    /// Number of cells.
    cells: usize,
    first_ms: usize,
    rows: Array2<f64>,
}

impl Sorted {
    /// Returns `None` if the spikes of each cell are not counted.
    fn new(courses: &Courses) -> Option<Sorted> {
        let of_cells = courses.cells.as_ref()?;
        let cells = of_cells.nrows();
        let totals: Vec<f64> = of_cells.sum_axis(Dimension(1)).to_vec();
        let mut order: Vec<usize> = (0..cells).collect();
        // The sort is stable: cells with equal responses stay in the order of their indices.
        order.sort_by(|a, b| totals[*a].total_cmp(&totals[*b]));
        let count = cells.min(MOST_ROWS);
        let mut rows = Array2::zeros((count, of_cells.ncols()));
        for row in 0..count {
            let of_row = row * cells / count..(row + 1) * cells / count;
            for &cell in &order[of_row.clone()] {
                rows.row_mut(row).scaled_add(1.0 / of_row.len() as f64, &of_cells.row(cell));
            }
        }
        Some(Sorted { cells, first_ms: courses.ms.start, rows })
    }
}

fn panel(condition: &ObservedCondition, sorted: Option<&Sorted>, scale: Scale, drive: Drive) -> Panel {
    let ms = sorted.map_or(1, |sorted| sorted.rows.ncols());
    let first = sorted.map_or(0, |sorted| sorted.first_ms) as f64;
    let cells = sorted.map_or(0, |sorted| sorted.cells) as f64;
    let x = Scale::linear(first, first + ms as f64);
    let y = Scale::linear(0.0, cells.max(1.0));
    let mut panel =
        Panel::new(Axis::new(x, "Time (ms)"), Axis::new(y, drive.axis())).title(short(&condition.name, 34));
    match sorted {
        Some(sorted) if sorted.rows.nrows() > 0 => {
            if sorted.rows.sum() == 0.0 {
                panel.note("no spikes");
            }
            // Cells of the map without spikes stay empty.
            let values = sorted.rows.mapv(|x| if x > 0.0 { scale.fraction(x) } else { f64::NAN });
            let height = cells / sorted.rows.nrows() as f64;
            panel.add(Mark::Cells { x: (first, 1.0), y: (0.0, height), values, ramp: Ramp::SEQUENTIAL });
        }
        _ => panel.note(drive.none()),
    }
    add_stimulus(&mut panel, &condition.model);
    panel
}

fn table(conditions: &[(&ObservedCondition, &Observed)], of: &[Option<Sorted>]) -> Table {
    let mut columns: [Vec<f64>; 3] = Default::default();
    let mut names = Vec::new();
    for ((condition, _), sorted) in conditions.iter().zip(of) {
        let Some(sorted) = sorted else { continue };
        for ((row, ms), &value) in sorted.rows.indexed_iter().filter(|(_, value)| **value > 0.0) {
            names.push(condition.name.clone());
            columns[0].push(row as f64);
            columns[1].push((sorted.first_ms + ms) as f64);
            columns[2].push(value);
        }
    }
    let [rows, times, values] = columns;
    Table::new(
        "rows",
        vec![
            Column::text("condition", names),
            Column::numbers("row", rows),
            Column::numbers("time_ms", times),
            Column::numbers("spikes_per_cell_and_trial", values),
        ],
    )
}
