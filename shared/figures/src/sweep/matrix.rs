//! Heat map of the measures over two parameters.

use std::collections::{BTreeMap, BTreeSet};

use granule_engine::space::{Parameter, Value};
use ndarray::{Array2, Axis as Dimension, Zip};

use super::Measure;
use super::compare::named;
use super::dose::{DoseAxis, all_axes, number};
use super::observed::OfCondition;
use super::observed::over_seeds;
use super::show::{
    MOST_MM, WIDTH_MM, brief, briefs, counted, layout, measures_of, not_in_figure, pages, sample, short,
    words_inside,
};
use crate::drawing::{
    Anchor, Axis, Canvas, Color, Legend, Mark, Panel, Ramp, Scale, Swatch, fixed, grid, size, text_width,
};
use crate::{Column, Figure, Table};

/// Most values of a parameter on an axis, and fewest fields of a map.
const MOST_VALUES: usize = 40;
const LEAST_FIELDS: usize = 4;

/// Most maps of a figure's row: combinations of the other parameters. Without these, measures are side by side.
const MOST_FACETS: usize = 4;
const COLUMNS: usize = 3;

/// Height of a map with its labels, in mm.
const PANEL_MM: f64 = 45.0;

/// Most characters of a legend entry.
const MOST_LETTERS: usize = 90;

/// Most columns and rows of a map with printed means.
const MOST_PRINTED: (usize, usize) = (6, 8);

/// Width around a map, in points: labels and numbers of the y axis, and the gap to the next map.
const AROUND: f64 = 62.0;

/// Returns a figure for each pair of parameters whose combinations are conditions of the sweep: for each measure, the mean
/// over seeds of every combination. Combinations of the other parameters are side by side. Maps that do not fit on a page
/// continue in further figures.
pub fn matrices(conditions: &[OfCondition<'_>]) -> Vec<Figure> {
    let axes = all_axes(conditions.iter().map(|(condition, _)| *condition));
    let fits = |axis: &&DoseAxis| axis.values.len() <= MOST_VALUES;
    let mut figures = Vec::new();
    for (i, x) in axes.iter().enumerate().filter(|(_, axis)| fits(axis)) {
        for y in axes[i + 1..].iter().filter(fits) {
            figures.extend(matrix(conditions, x, y));
        }
    }
    figures
}

/// The conditions of a combination of the other parameters.
struct Facet {
    name: String,
    fields: Fields,
}

/// Indices of conditions: (rows, columns).
type Fields = Array2<Option<usize>>;

/// The means of a measure in the shown maps.
struct Means {
    label: String,
    /// By facet.
    maps: Vec<Array2<f64>>,
    /// Least and largest mean. The first is larger if there are no means.
    range: (f64, f64),
    /// Whether the means fit into their fields as numbers.
    are_printed: bool,
}

impl Means {
    fn of(conditions: &[OfCondition<'_>], facets: &[Facet], (which, measure): (usize, Measure)) -> Means {
        let maps: Vec<Array2<f64>> = facets.iter().map(|facet| means(conditions, facet, which)).collect();
        let all = || maps.iter().flatten().copied().filter(|value| value.is_finite());
        let range = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        let columns = if facets.len() > 1 { facets.len() } else { COLUMNS };
        let are_printed = maps.iter().all(|values| can_print(values, range, columns));
        Means { label: measure.label(), maps, range, are_printed }
    }

    fn exist(&self) -> bool {
        self.range.0 <= self.range.1
    }

    /// Returns the range in words, if the means are not printed. Colours alone do not show how large they are.
    fn range_in_words(&self) -> Option<String> {
        let (low, high) = self.range;
        let [least, most] = [low, high].map(|end| aligned(end, low, high));
        (self.exist() && !self.are_printed).then(|| format!("{}: {least} to {most}", self.label))
    }

    /// Whether a condition of these facets has no value, but others have one.
    fn lacks_some(&self, facets: &[Facet]) -> bool {
        let fields = facets.iter().zip(&self.maps).flat_map(|(facet, map)| facet.fields.iter().zip(map));
        self.exist() && fields.into_iter().any(|(of, value)| of.is_some() && !value.is_finite())
    }
}

/// Draws the maps of two parameters, on as many pages as needed. Returns no figure if most combinations are no conditions.
fn matrix(conditions: &[OfCondition<'_>], x: &DoseAxis, y: &DoseAxis) -> Vec<Figure> {
    let (facets, x, y) = facets(conditions, x, y);
    if facets.is_empty() {
        return Vec::new();
    }
    let shown = &facets[..facets.len().min(MOST_FACETS)];
    let measures = measures_of(conditions).into_iter().enumerate();
    let all: Vec<Means> = measures.map(|of| Means::of(conditions, shown, of)).collect();
    let rows = |legend: &Legend| ((MOST_MM - legend.height_mm(WIDTH_MM)) / PANEL_MM) as usize;
    let most = rows(&legend(conditions, shown, &all.iter().collect::<Vec<_>>()));
    let of_pages = pages(&all, if shown.len() > 1 { most } else { most * COLUMNS });
    let table = table(conditions, &facets);
    let (across, down) = (x.words_inside(), y.words_inside());
    let page = |(number, of): (usize, &&[Means])| {
        let of: Vec<&Means> = of.iter().collect();
        let number = if of_pages.len() > 1 { format!("-{}", number + 1) } else { String::new() };
        let name = format!("matrix-{}-{}{number}", x.name(), y.name());
        let canvas = draw(conditions, shown, &of, (&x, &y));
        let description = describe(conditions, &facets, &of, (&across, &down));
        Figure::new(
            name,
            format!("Measures against {across} and {down}"),
            description,
            canvas,
            vec![table.clone()],
        )
    };
    of_pages.iter().enumerate().map(page).collect()
}

fn legend(conditions: &[OfCondition<'_>], shown: &[Facet], of: &[&Means]) -> Legend {
    let colors = format!(
        "mean over {}; each measure has its own colours, from its least to its largest mean",
        sample(conditions)
    );
    let mut entries = vec![(Swatch::None, colors)];
    if of.iter().any(|means| means.lacks_some(shown)) {
        entries.push((Swatch::Area(Ramp::MISSING.at(0.0)), "cannot be measured".to_owned()));
    }
    if has_gaps(shown) {
        entries.push((Swatch::None, "blank: no such condition in the sweep".to_owned()));
    }
    if shown.len() > 1 {
        let numbered = (1..).zip(shown).map(|(number, facet)| format!("{number}: {}", facet.name));
        entries.extend(numbered.map(|text| (Swatch::None, short(&text, MOST_LETTERS))));
    }
    entries.extend(of.iter().filter_map(|means| means.range_in_words()).map(|text| (Swatch::None, text)));
    Legend::new(entries)
}

/// Whether fields of these maps are no conditions.
fn has_gaps(facets: &[Facet]) -> bool {
    facets.iter().flat_map(|facet| &facet.fields).any(Option::is_none)
}

/// Draws a page with the maps of these measures. With several facets, each measure has a row.
fn draw(
    conditions: &[OfCondition<'_>],
    shown: &[Facet],
    of: &[&Means],
    (x, y): (&DoseAxis, &DoseAxis),
) -> Canvas {
    let mut panels = Vec::new();
    for means in of {
        for (number, (facet, values)) in (1..).zip(shown.iter().zip(&means.maps)) {
            let number = if shown.len() > 1 { format!("{number}: ") } else { String::new() };
            let panel = panel(facet, values, means, (x, y));
            panels.push(panel.title(format!("{number}{}", means.label)));
        }
    }
    let columns = if shown.len() > 1 { shown.len() } else { COLUMNS };
    let (columns, height) = layout(panels.len(), columns, PANEL_MM);
    let legend = legend(conditions, shown, of);
    let mut canvas = Canvas::new(WIDTH_MM, height + legend.height_mm(WIDTH_MM));
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let rest = legend.draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);
    canvas
}

fn describe(
    conditions: &[OfCondition<'_>],
    facets: &[Facet],
    of: &[&Means],
    (across, down): (&str, &str),
) -> String {
    let shown = &facets[..facets.len().min(MOST_FACETS)];
    let has_numbers = of.iter().any(|means| means.exist() && means.are_printed);
    let numbers = if has_numbers { "Numbers are the means; darker is larger." } else { "Darker is larger." };
    let mut text = format!(
        "Mean over {} of each measure, for combinations of {across} (across) and {down} (upwards). {numbers}",
        sample(conditions)
    );
    if of.iter().any(|means| means.lacks_some(shown)) {
        text.push_str(" In grey fields, the measure cannot be measured.");
    }
    if has_gaps(shown) {
        text.push_str(" Blank fields are no conditions of the sweep.");
    }
    if facets.len() > shown.len() {
        let more = facets.len() - shown.len();
        let what = counted(more, "more combination");
        text.push_str(&format!(" The table has {what} of the other parameters."));
    }
    let of_maps: BTreeSet<usize> =
        facets.iter().flat_map(|facet| facet.fields.iter().flatten()).copied().collect();
    let beside = (0..conditions.len()).filter(|at| !of_maps.contains(at));
    text + &not_in_figure(conditions, &beside.collect::<Vec<_>>())
}

/// Returns the combinations of the other parameters for which most fields of the map are conditions, and the axes with
/// the values of these conditions.
fn facets(conditions: &[OfCondition<'_>], x: &DoseAxis, y: &DoseAxis) -> (Vec<Facet>, DoseAxis, DoseAxis) {
    let place = |axis: &DoseAxis, of: usize| {
        let value = number(axis.parameter, conditions[of].0)?;
        axis.values.iter().position(|other| *other == value)
    };
    let mut by_others: BTreeMap<String, Fields> = BTreeMap::new();
    for (at, (condition, _)) in conditions.iter().enumerate() {
        let (Some(column), Some(row)) = (place(x, at), place(y, at)) else { continue };
        let is_other =
            |parameter: &Parameter| ![x.parameter.path, y.parameter.path].contains(&parameter.path);
        let values = condition.model.values().iter().filter(|(parameter, _)| is_other(parameter));
        let key: String = values.map(|(_, value)| format!("{value}\n")).collect();
        let empty = || Array2::from_elem((y.values.len(), x.values.len()), None);
        by_others.entry(key).or_insert_with(empty)[[row, column]] = Some(at);
    }
    let mut facets: Vec<Fields> = by_others.into_values().collect();
    // Other conditions of the sweep may have other values on the axes.
    let used = |fields: &Fields, dimension: usize| -> BTreeSet<usize> {
        let lanes = fields.axis_iter(Dimension(dimension)).enumerate();
        lanes.filter(|(_, lane)| lane.iter().any(Option::is_some)).map(|(place, _)| place).collect()
    };
    facets.retain(|fields| fields.iter().flatten().count() >= LEAST_FIELDS);
    leave_out_lone_lanes(&mut facets);
    facets.retain(|fields| {
        let [rows, columns] = [0, 1].map(|dimension| used(fields, dimension).len());
        let count = fields.iter().flatten().count();
        rows > 1 && columns > 1 && count >= LEAST_FIELDS && 2 * count > rows * columns
    });
    let [rows, columns] = [0, 1].map(|dimension| -> Vec<usize> {
        let all: BTreeSet<usize> = facets.iter().flat_map(|fields| used(fields, dimension)).collect();
        all.into_iter().collect()
    });
    // A design for sensitivity has small squares at various places, which are no grid together.
    facets.retain(|fields| 2 * fields.iter().flatten().count() > rows.len() * columns.len());
    // In the order of the sweep.
    let first = |fields: &Fields| fields.iter().flatten().copied().min().unwrap_or(0);
    facets.sort_by_key(first);
    let firsts: Vec<usize> = facets.iter().map(first).collect();
    let facet = |fields: Fields| Facet {
        name: name(conditions, &firsts, first(&fields), [x, y]),
        fields: fields.select(Dimension(0), &rows).select(Dimension(1), &columns),
    };
    let facets = facets.into_iter().map(facet).collect();
    let axis = |of: &DoseAxis, places: &[usize]| {
        let values = places.iter().map(|place| of.values[*place]).collect();
        DoseAxis { values, ..*of }
    };
    (facets, axis(x, &columns), axis(y, &rows))
}

/// Empties rows and columns that have a condition in at most a third of the fields, if others have more. They are of single
/// conditions beside a grid, such as Control, and would be blank otherwise.
fn leave_out_lone_lanes(facets: &mut [Fields]) {
    for dimension in [0, 1].map(Dimension) {
        let lanes = facets.first().map_or(0, |fields| fields.len_of(dimension));
        let of_lane =
            |fields: &Fields, lane: usize| fields.index_axis(dimension, lane).iter().flatten().count();
        let count = |lane: usize| facets.iter().map(|fields| of_lane(fields, lane)).sum::<usize>();
        let counts: Vec<usize> = (0..lanes).map(count).collect();
        let most = counts.iter().copied().max().unwrap_or(0);
        for lane in (0..lanes).filter(|lane| 3 * counts[*lane] <= most) {
            facets.iter_mut().for_each(|fields| fields.index_axis_mut(dimension, lane).fill(None));
        }
    }
}

/// Returns the values of a condition that distinguish it from these others, apart from the axes.
fn name(conditions: &[OfCondition<'_>], all: &[usize], of: usize, axes: [&DoseAxis; 2]) -> String {
    let values = |at: usize| conditions[at].0.model.values();
    let is_axis = |parameter: &Parameter| axes.iter().any(|axis| axis.parameter.path == parameter.path);
    let differs =
        |parameter: &Parameter, value: &Value| all.iter().any(|at| values(*at).of(parameter) != value);
    let parts =
        values(of).iter().filter(|(parameter, value)| !is_axis(parameter) && differs(parameter, value));
    let text = |(parameter, value): (&'static Parameter, &Value)| {
        let value = value.to_string().replace('-', "\u{2212}");
        format!("{} {value} {}", words_inside(values(of).space(), parameter), parameter.unit())
    };
    parts.map(text).map(|text| text.trim_end().to_owned()).collect::<Vec<_>>().join(", ")
}

/// Returns the mean over seeds of a measure in each field; NaN where there is none.
fn means(conditions: &[OfCondition<'_>], facet: &Facet, measure: usize) -> Array2<f64> {
    facet.fields.map(|of| of.and_then(|of| over_seeds(conditions[of].1, measure).mean).unwrap_or(f64::NAN))
}

/// Whether the means of a map fit into its fields, if so many maps are side by side.
fn can_print(values: &Array2<f64>, (low, high): (f64, f64), maps: usize) -> bool {
    let page = Canvas::new(WIDTH_MM, 1.0).area().width;
    let room = (page / maps as f64 - AROUND) / values.ncols() as f64;
    let fits = |value: &f64| text_width(&aligned(*value, low, high), size::SMALL, false) + 2.0 <= room;
    values.ncols() <= MOST_PRINTED.0
        && values.nrows() <= MOST_PRINTED.1
        && values.iter().filter(|value| value.is_finite()).all(fits)
}

fn panel(facet: &Facet, values: &Array2<f64>, means: &Means, (x, y): (&DoseAxis, &DoseAxis)) -> Panel {
    let (low, high) = means.range;
    let (across, down) = (thinned(briefs(&x.values), 8), thinned(briefs(&y.values), 10));
    let (across, down): (Vec<&str>, Vec<&str>) =
        (across.iter().map(String::as_str).collect(), down.iter().map(String::as_str).collect());
    let mut panel = Panel::new(Axis::names(&across, &x.label()), Axis::names(&down, &y.label()));
    if !values.iter().any(|value| value.is_finite()) {
        panel.note("cannot be measured");
        return panel;
    }
    let is_missing = |of: Option<usize>, value: f64| of.is_some() && !value.is_finite();
    let missing = Zip::from(&facet.fields)
        .and(values)
        .map_collect(|&of, &value| if is_missing(of, value) { 0.0 } else { f64::NAN });
    panel.add(Mark::Cells { x: (-0.5, 1.0), y: (-0.5, 1.0), values: missing, ramp: Ramp::MISSING });
    let scale = Scale::linear(low, high);
    // The palest colour is still visible on white.
    let fraction = |value: f64| match value {
        value if value.is_nan() => value,
        value if high > low => 0.08 + 0.92 * scale.fraction(value),
        _ => 0.3,
    };
    panel.add(Mark::Cells {
        x: (-0.5, 1.0),
        y: (-0.5, 1.0),
        values: values.mapv(fraction),
        ramp: Ramp::SEQUENTIAL,
    });
    if means.are_printed {
        for ((row, column), &value) in values.indexed_iter().filter(|(_, value)| value.is_finite()) {
            let is_dark = Ramp::SEQUENTIAL.at(fraction(value)).brightness() < 128.0;
            let color = if is_dark { Color::WHITE } else { Color::BLACK };
            let at = (column as f64, row as f64);
            panel.add(Mark::Label { at, text: aligned(value, low, high), anchor: Anchor::Middle, color });
        }
    }
    panel
}

/// Returns a number with as many decimals as give the larger one of these, without signs, three significant digits.
fn aligned(value: f64, low: f64, high: f64) -> String {
    match low.abs().max(high.abs()).log10().floor() {
        power @ -2.0..=4.0 => fixed(value, (2.0 - power).max(0.0) as usize),
        _ => brief(value),
    }
}

/// Leaves out names so that at most so many remain, evenly spaced.
fn thinned(mut names: Vec<String>, most: usize) -> Vec<String> {
    let every = names.len().div_ceil(most).max(1);
    names.iter_mut().enumerate().filter(|(at, _)| at % every > 0).for_each(|(_, name)| name.clear());
    names
}

/// Returns the table with a row for each field: its parameters, as in the table of measures, and the means.
fn table(conditions: &[OfCondition<'_>], facets: &[Facet]) -> Table {
    let rows: Vec<usize> = facets.iter().flat_map(|facet| facet.fields.iter().flatten()).copied().collect();
    let of_measures = measures_of(conditions).into_iter().enumerate();
    let columns = of_measures.map(|(i, measure)| {
        let of = rows.iter().map(|at| over_seeds(conditions[*at].1, i).mean);
        Column::optional(format!("{}_mean", measure.name()), of)
    });
    let columns = columns.collect();
    Table::new("means", named(conditions, rows.iter(), columns))
}

#[cfg(test)]
mod tests;
