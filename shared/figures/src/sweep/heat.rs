//! Heat map of the spikes of driven cells over time.

use ndarray::{Array2, Axis as Dimension};

use super::ObservedCondition;
use super::observed::{Courses, Observed};
use super::show::{Drive, WIDTH_MM, add_stimulus, counted, layout, populations_of, short};
use crate::drawing::{Axis, Canvas, ColorBar, Legend, Mark, Panel, Ramp, Scale, Swatch, grid};
use crate::{Column, Figure, Table};

/// Most rows of a panel. With more cells, several share a row.
const MOST_ROWS: usize = 60;

/// Draws the spikes per trial of each driven cell in each ms, for one seed. Each condition has a panel. If all panels have
/// the same cells, a row is the same cells in all of them.
pub fn heat_map(conditions: &[(&ObservedCondition, &Observed)], drive: Drive) -> Figure {
    let of: Vec<Option<Sorted>> = sorted(conditions);
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
    let (seed, trials) =
        conditions.first().map_or((0, 0), |(_, observed)| (observed.seed, observed.trials as usize));
    let legend =
        Legend::new(vec![(Swatch::None, format!("seed {seed}, mean over {}", counted(trials, "trial")))]);
    let page = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let area = legend.draw(&mut canvas, page);
    let bar = ColorBar { ramp: Ramp::SEQUENTIAL, scale, label: "Spikes per cell, trial and ms".to_owned() };
    let bar_height = (area.height - 40.0).min(120.0);
    let rest = area.inset(0.0, 0.0, bar.width(bar_height) + 8.0, 0.0);
    grid(&mut canvas, rest, columns, &panels);
    bar.draw(&mut canvas, (rest.right() + 8.0, area.y + 15.0), bar_height);
    let order = match of.iter().flatten().next() {
        Some(Sorted { is_common: true, cells, silent, .. }) => format!(
            " Rows are the same cells in all panels: the {cells} that spike in any of them, by their response in the first, \
             the strongest on top. The other {silent} are left out."
        ),
        _ => " In each panel, cells are in the order of their response, the strongest on top.".to_owned(),
    };
    let description = format!(
        "Mean spike count of the {} in each ms, seed {seed}, in {}.{order} With more than {MOST_ROWS} cells, neighbours in \
         this order share a row; the table lists the cells of each row.",
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
    /// Number of shown cells, and of others that do not spike in any panel.
    cells: usize,
    silent: usize,
    /// Whether all panels have these cells in these rows.
    is_common: bool,
    first_ms: usize,
    /// Numbers of the cells of each row.
    members: Vec<Vec<u32>>,
    rows: Array2<f64>,
}

/// Returns the rows of each panel; `None` if the spikes of each cell are not counted.
fn sorted(conditions: &[(&ObservedCondition, &Observed)]) -> Vec<Option<Sorted>> {
    let courses = |observed: &Observed| observed.courses.clone().filter(|of| of.cells.is_some());
    let all: Vec<Option<Courses>> = conditions.iter().map(|(_, observed)| courses(observed)).collect();
    let cells_of = |of: &Courses| of.cells.clone().unwrap_or_default();
    let totals: Vec<(Vec<u32>, Vec<f64>)> = (all.iter().flatten())
        .map(cells_of)
        .map(|(numbers, spikes)| (numbers, spikes.sum_axis(Dimension(1)).to_vec()))
        .collect();
    let is_common = totals.windows(2).all(|pair| pair[0].0 == pair[1].0);
    let spikes_at_all = |cell: usize| totals.iter().any(|(_, of)| of[cell] > 0.0);
    // The sort is stable: cells with equal responses stay in the order of their numbers.
    let order = |totals: &[f64]| {
        let mut order: Vec<usize> =
            (0..totals.len()).filter(|&cell| !is_common || spikes_at_all(cell)).collect();
        order.sort_by(|a, b| totals[*a].total_cmp(&totals[*b]));
        order
    };
    let common = totals.first().filter(|_| is_common).map(|(_, of)| order(of));
    let mut own = totals.iter();
    let mut rows_of = |of: Courses| {
        let (numbers, totals) = own.next()?;
        let order = common.clone().unwrap_or_else(|| order(totals));
        Some(Sorted::new(&of, numbers, &order, is_common))
    };
    all.into_iter().map(|of| of.and_then(&mut rows_of)).collect()
}

impl Sorted {
    fn new(courses: &Courses, numbers: &[u32], order: &[usize], is_common: bool) -> Sorted {
        let (_, of_cells) = courses.cells.as_ref().expect("their spikes are counted");
        let cells = order.len();
        let count = cells.min(MOST_ROWS);
        let mut rows = Array2::zeros((count, of_cells.ncols()));
        let mut members = Vec::with_capacity(count);
        for row in 0..count {
            let of_row = &order[row * cells / count..(row + 1) * cells / count];
            for &cell in of_row {
                rows.row_mut(row).scaled_add(1.0 / of_row.len() as f64, &of_cells.row(cell));
            }
            members.push(of_row.iter().map(|&cell| numbers[cell]).collect());
        }
        let silent = numbers.len() - cells;
        Sorted { cells, silent, is_common, first_ms: courses.ms.start, members, rows }
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
        Some(sorted) if sorted.silent > 0 => panel.note("no spikes"),
        _ => panel.note(drive.none()),
    }
    add_stimulus(&mut panel, &condition.model);
    panel
}

fn table(conditions: &[(&ObservedCondition, &Observed)], of: &[Option<Sorted>]) -> Table {
    let mut columns: [Vec<f64>; 3] = Default::default();
    let (mut names, mut members) = (Vec::new(), Vec::new());
    for ((condition, _), sorted) in conditions.iter().zip(of) {
        let Some(sorted) = sorted else { continue };
        for ((row, ms), &value) in sorted.rows.indexed_iter().filter(|(_, value)| **value > 0.0) {
            names.push(condition.name.clone());
            members.push(sorted.members[row].iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
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
            Column::text("cells", members),
            Column::numbers("time_ms", times),
            Column::numbers("spikes_per_cell_and_trial", values),
        ],
    )
}
