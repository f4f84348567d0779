//! Figure of the differences between conditions and a reference.

use super::compare::{Contrast, Difference, comparison, contrasts, differences, is_in_other_window};
use super::observed::OfCondition;
use super::show::{WIDTH_MM, counted, layout, range, short};
use crate::Figure;
use crate::drawing::{
    Along, Axis, Canvas, Color, Dash, Legend, Mark, Panel, Point, Scale, Shape, Stroke, Swatch, Tick, grid,
};

/// Most conditions of a figure; more continue in another.
const MOST_ROWS: usize = 24;

/// Most figures. If there are still more conditions, the figures have some of them, at equal distances.
const MOST_PAGES: usize = 4;

/// Most contrasts of a figure. The table has all of them.
const MOST_PANELS: usize = 6;

/// Longest names, in characters, that are beside the panels; longer ones have numbers.
const MOST_NAME: usize = 30;

/// Most conditions with another window that the description names.
const MOST_NAMED: usize = 6;

/// Most panels side by side.
const COLUMNS: usize = 3;

const DIAMETER: f64 = 3.5;
const SEED: Color = Color::rgb(150, 150, 150);
const ZERO: Stroke = Stroke { color: Color::GREY, width: 0.6, dash: Dash::Dashed };

/// Draws the differences of all other conditions to the reference, paired by seed: the mean with its 95 % interval, and
/// each seed. Returns several figures if there are many conditions, and none if there is nothing to compare.
pub fn forest(conditions: &[OfCondition<'_>], reference: usize) -> Vec<Figure> {
    if reference >= conditions.len() {
        return Vec::new();
    }
    let all = differences(conditions, reference);
    let mut others: Vec<usize> = (0..conditions.len()).filter(|at| *at != reference).collect();
    if others.len() > MOST_PAGES * MOST_ROWS {
        let count = others.len();
        others =
            (0..MOST_PAGES * MOST_ROWS).map(|at| others[at * count / (MOST_PAGES * MOST_ROWS)]).collect();
    }
    let contrasts = shown(&contrasts(conditions));
    let pages = others.len().div_ceil(MOST_ROWS);
    let page = |(number, rows): (usize, &[usize])| {
        let name = if pages > 1 { format!("differences-{}", number + 1) } else { "differences".to_owned() };
        figure(conditions, reference, &all, rows, &contrasts, name)
    };
    others.chunks(MOST_ROWS).enumerate().map(page).collect()
}

/// Returns the contrasts that the figure has.
fn shown(all: &[Contrast]) -> Vec<Contrast> {
    let is_first = |contrast: &&Contrast| match contrast {
        Contrast::Of(measure) => measure.is_main(),
        Contrast::Discriminability => true,
    };
    all.iter().filter(is_first).copied().take(MOST_PANELS).collect()
}

fn figure(
    conditions: &[OfCondition<'_>],
    reference: usize,
    all: &[Difference],
    rows: &[usize],
    contrasts: &[Contrast],
    name: String,
) -> Figure {
    let name_of = |at: usize| conditions[at].0.name.as_str();
    let names: Vec<String> = rows.iter().map(|row| name_of(*row).to_owned()).collect();
    let has_names = names.iter().all(|name| name.chars().count() <= MOST_NAME);
    let numbers: Vec<String> = (1..=rows.len()).map(|number| number.to_string()).collect();
    let blank = vec![String::new(); rows.len()];
    let panels: Vec<Panel> = ('A'..)
        .zip(contrasts)
        .map(|(letter, contrast)| {
            let of = all.iter().filter(|of| of.contrast == *contrast);
            let of: Vec<&Difference> =
                rows.iter().filter_map(|row| of.clone().find(|of| of.condition == *row)).collect();
            (letter, of, *contrast)
        })
        .enumerate()
        .map(|(place, (letter, of, contrast))| {
            // The rows of panels side by side are the same; the first has their names.
            let names = if !has_names {
                &numbers
            } else if place % COLUMNS == 0 {
                &names
            } else {
                &blank
            };
            panel(&of, contrast, names, !has_names).letter(letter)
        })
        .collect();
    let seeds = all.iter().map(|of| of.paired.difference.n).max().unwrap_or(0);
    let difference = format!("minus {}", short(name_of(reference), 40));
    let mean = Swatch::Point(Shape::Disc, DIAMETER, Color::BLACK);
    let mut entries = if seeds > 1 {
        let seed = Swatch::Point(Shape::Ring, 2.2, SEED);
        let n = "n: seeds with both values; no interval if there is one".to_owned();
        vec![
            (mean, format!("{difference}: mean, 95 % interval over seeds, paired")),
            (seed, "a seed".to_owned()),
            (Swatch::None, n),
        ]
    } else {
        vec![(mean, difference), (Swatch::None, "one seed: no interval over seeds".to_owned())]
    };
    if !has_names {
        let numbered =
            numbers.iter().zip(&names).map(|(number, name)| format!("{number}: {}", short(name, 60)));
        entries.extend(numbered.map(|text| (Swatch::None, text)));
    }
    let legend = Legend::new(entries);
    let (columns, height) = layout(panels.len(), COLUMNS, 24.0 + 3.4 * rows.len() as f64);
    let mut canvas = Canvas::new(WIDTH_MM, height + legend.height_mm(WIDTH_MM));
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let rest = legend.draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);
    let of_seeds = if seeds > 1 {
        "seeds: mean with 95 % interval over the seeds that have both values, and each seed. n is the number of these \
         seeds, for the rows of a panel"
            .to_owned()
    } else {
        "seed, without an interval".to_owned()
    };
    let left_out = match conditions.len() - 1 {
        others if others > MOST_PAGES * MOST_ROWS => format!(
            " All figures together show {} of {others} conditions, at equal distances in the sweep; the table has all.",
            MOST_PAGES * MOST_ROWS
        ),
        _ => String::new(),
    };
    let description = format!(
        "Differences between {} and {}, for the same {of_seeds}. The table also has the other measures and effect \
         sizes.{left_out}{}",
        counted(rows.len(), "condition"),
        name_of(reference),
        of_windows(conditions, reference, rows)
    );
    let title = format!("Differences to {}", name_of(reference));
    Figure::new(name, title, description, canvas, vec![comparison(conditions, reference)])
}

/// Returns the sentence about rows whose response window is not that of the reference, with a space before it.
fn of_windows(conditions: &[OfCondition<'_>], reference: usize, rows: &[usize]) -> String {
    let differs = |row: &&usize| is_in_other_window(conditions[**row], conditions[reference]);
    let names: Vec<&str> = rows.iter().filter(differs).map(|row| conditions[*row].0.name.as_str()).collect();
    let named = match names.len() {
        0 => return String::new(),
        1..=MOST_NAMED => names.join(", "),
        count => counted(count, "condition"),
    };
    format!(
        " Responses of {named} are counted in another window than those of {}, so these differences also compare \
         different times.",
        conditions[reference].0.name
    )
}

fn panel(of: &[&Difference], contrast: Contrast, names: &[String], are_numbers: bool) -> Panel {
    // The first condition is on top.
    let at = |row: usize| (of.len() - 1 - row) as f64;
    let of_seeds = || of.iter().flat_map(|of| of.of_seeds.iter().map(|(_, difference)| *difference));
    let ends = of.iter().flat_map(|of| [of.paired.difference.low, of.paired.difference.high]).flatten();
    let x = Scale::around(of_seeds().chain(ends).chain([0.0]), 0.06);
    let ticks = (0..of.len()).map(|row| Tick { value: at(row), label: names[row].clone() }).rev().collect();
    let y = Scale::linear(-0.6, of.len().max(1) as f64 - 0.4);
    let label = match contrast {
        Contrast::Of(measure) => format!("Δ {}", measure.label()),
        Contrast::Discriminability => contrast.label(),
    };
    let of_rows = if are_numbers { "Condition" } else { "" };
    let mut panel = Panel::new(Axis::new(x, &label), Axis::new(y, of_rows).with_ticks(ticks));
    let n = range(of.iter().map(|of| of.paired.difference.n));
    panel = panel.title(format!("n = {n}"));
    panel.add(Mark::Down { at: 0.0, stroke: ZERO });
    for (row, of) in of.iter().enumerate() {
        let y = at(row);
        let estimate = of.paired.difference;
        let point = |x: f64, y: f64, diameter: f64, color: Color| Point { x, y, diameter, color };
        if of.of_seeds.len() > 1 {
            let seeds = of.of_seeds.iter().map(|(_, x)| point(*x, y - 0.25, 2.2, SEED)).collect();
            panel.add(Mark::Points { points: seeds, shape: Shape::Ring });
        }
        if let (Some(low), Some(high)) = (estimate.low, estimate.high) {
            panel.add(Mark::Line {
                points: vec![(low, y), (high, y)],
                stroke: Stroke::solid(Color::BLACK, 1.0),
            });
        }
        let mean = estimate.mean.map(|x| point(x, y, DIAMETER, Color::BLACK));
        panel.add(Mark::Points { points: mean.into_iter().collect(), shape: Shape::Disc });
    }
    if of_seeds().next().is_none() {
        panel.without_values("cannot be measured", Along::X);
    }
    panel
}

#[cfg(test)]
mod tests;
