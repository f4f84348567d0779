//! Figure of the sensitivity indices.

use granule_statistics::sensitivity::Effect;

use super::Measure;
use super::sensitivity::{Index, Influence, Sensitivity};
use super::show::{WIDTH_MM, counted, layout, wrapped};
use crate::Figure;
use crate::drawing::{
    Axis, Canvas, Color, Dash, Legend, Mark, Panel, Point, Scale, Shape, Stroke, Swatch, Tick, grid,
};

/// Most columns of panels.
const COLUMNS: usize = 3;

/// Height of a panel without rows, of a row, and most of a page, in mm.
const PANEL_MM: f64 = 19.0;
const ROW_MM: f64 = 7.5;
const MOST_MM: f64 = 225.0;

/// Most letters of a line beside a row.
const LINE: usize = 24;

const DIAMETER: f64 = 4.0;
const ZERO: Stroke = Stroke { color: Color::GREY, width: 0.6, dash: Dash::Dashed };

impl Index {
    /// Returns the colour and shape in figures. No other mark has the colour.
    fn style(self) -> (Color, Shape) {
        match self {
            Index::First => (Color::rgb(51, 34, 136), Shape::Disc),
            Index::Total => (Color::rgb(204, 187, 68), Shape::EdgedSquare),
            Index::Src => (Color::rgb(136, 34, 85), Shape::Disc),
            Index::Prcc => (Color::rgb(68, 170, 153), Shape::EdgedSquare),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Index::First => "first order: variance by the parameter alone",
            Index::Total => "total order: also by its interactions",
            Index::Src => "standardised regression coefficient (SRC)",
            Index::Prcc => "partial rank correlation coefficient (PRCC)",
        }
    }
}

/// Draws the two indices of every parameter with their 95 % intervals, in a panel for each measure. Returns several figures
/// if there are many measures.
pub fn influences(sensitivity: &Sensitivity) -> Vec<Figure> {
    let measures = sensitivity.measures();
    let panel_mm = PANEL_MM + ROW_MM * sensitivity.parameters.len() as f64;
    let most = COLUMNS * ((MOST_MM / panel_mm) as usize).max(1);
    let pages = measures.len().div_ceil(most);
    let page = |(number, measures): (usize, &[Measure])| {
        let name = if pages > 1 { format!("sensitivity-{}", number + 1) } else { "sensitivity".to_owned() };
        figure(sensitivity, measures, panel_mm, name)
    };
    measures.chunks(most).enumerate().map(page).collect()
}

fn figure(sensitivity: &Sensitivity, measures: &[Measure], panel_mm: f64, name: String) -> Figure {
    let shown = sensitivity.shown();
    let of_figure = |of: &Influence| measures.contains(&of.measure) && shown.contains(&of.index);
    let x = scale(sensitivity, of_figure);
    let panels: Vec<Panel> = ('A'..)
        .zip(measures)
        .map(|(letter, measure)| panel(sensitivity, *measure, x).letter(letter))
        .collect();
    let swatch = |index: Index| {
        let (color, shape) = index.style();
        (Swatch::Point(shape, DIAMETER, color), index.words().to_owned())
    };
    let mut entries: Vec<(Swatch, String)> = shown.into_iter().map(swatch).collect();
    let base_points = sensitivity.base_points.filter(|_| shown[0] == Index::First);
    let intervals = match base_points {
        Some(points) => format!("95 % interval: bootstrap of {}", counted(points, "base point")),
        None => "95 % interval".to_owned(),
    };
    entries.push((Swatch::Line(Stroke::solid(Color::GREY, 1.0)), intervals));
    let legend = Legend::new(entries);
    let (columns, height) = layout(panels.len(), COLUMNS, panel_mm);
    let mut canvas = Canvas::new(WIDTH_MM, height + legend.height_mm(WIDTH_MM));
    // The words beside the rows begin at the edge. A viewer's font may be wider than the measured one.
    let area = canvas.area().inset(10.0, 1.0, 1.0, 2.0);
    let rest = legend.draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);
    let what = match base_points {
        Some(_) => {
            "Sobol' indices of each parameter for each measure: the fraction of the variance over the sweep's conditions that \
             the parameter explains alone (first order), and together with its interactions (total order)"
        }
        None => {
            "Standardised regression coefficients (SRC) and partial rank correlation coefficients (PRCC) of each parameter for \
             each measure. If R² is far below 1, the relation is not linear and SRC misleads"
        }
    };
    let description = format!(
        "{what}. Lines are 95 % intervals; the frame cuts those that are much wider than the range of the indices. n is the \
         number of conditions. All panels have the same scale."
    );
    let title = "Sensitivity of the measures to the parameters";
    Figure::new(name, title, description, canvas, vec![sensitivity.table_of("indices", of_figure)])
}

/// Returns the scale of all panels. It has all indices, and of the intervals what is not far beyond them.
fn scale(sensitivity: &Sensitivity, has: impl Fn(&Influence) -> bool) -> Scale {
    const BEYOND: f64 = 0.25;
    let effects = || sensitivity.influences.iter().filter(|of| has(of)).filter_map(|of| of.effect);
    let values = || effects().map(|effect| effect.value).chain([0.0]);
    let least = values().fold(f64::INFINITY, f64::min) - BEYOND;
    let most = values().fold(f64::NEG_INFINITY, f64::max) + BEYOND;
    let ends = effects().flat_map(|effect| [effect.low, effect.high]).map(|end| end.clamp(least, most));
    Scale::around(values().chain(ends), 0.04)
}

fn panel(sensitivity: &Sensitivity, measure: Measure, x: Scale) -> Panel {
    let rows = sensitivity.parameters.len();
    // The first parameter is on top.
    let at = |row: usize| (rows - 1 - row) as f64;
    let label = |row: usize| wrapped(&sensitivity.parameters[row].words(), LINE);
    let ticks = (0..rows).rev().map(|row| Tick { value: at(row), label: label(row) }).collect();
    let y = Scale::linear(-0.6, rows as f64 - 0.4);
    let of_measure = || sensitivity.influences.iter().filter(move |of| of.measure == measure);
    let shown = sensitivity.shown();
    let first = of_measure().find(|of| of.index == shown[0]);
    let n = first.map_or(0, |of| of.points);
    let label = match first.and_then(|of| of.r_squared) {
        Some(r_squared) => format!("Index (n = {n}, R² = {r_squared:.2})"),
        None => format!("Index (n = {n})"),
    };
    let mut panel =
        Panel::new(Axis::new(x, &label), Axis::new(y, "").with_ticks(ticks)).title(measure.label());
    panel.add(Mark::Down { at: 0.0, stroke: ZERO });
    for (index, shift) in shown.into_iter().zip([0.16, -0.16]) {
        let (color, shape) = index.style();
        let effects = of_measure().filter(|of| of.index == index);
        let effects: Vec<(f64, Effect)> =
            effects.filter_map(|of| Some((at(of.parameter) + shift, of.effect?))).collect();
        for (y, effect) in &effects {
            let points = vec![(effect.low, *y), (effect.high, *y)];
            panel.add(Mark::Line { points, stroke: Stroke::solid(color, 1.0) });
        }
        let point = |(y, effect): (f64, Effect)| Point { x: effect.value, y, diameter: DIAMETER, color };
        panel.add(Mark::Points { points: effects.into_iter().map(point).collect(), shape });
    }
    panel
}
