//! The tables of numbers in a report.

use std::collections::BTreeSet;
use std::ops::Range;

use granule_figures::drawing::fixed;
use granule_figures::sweep::{Index, Measure, Sensitivity, Varied};
use granule_figures::{Column, ColumnData, Table};
use maud::{Markup, html};

/// Most rows of a table that are shown.
const MOST_ROWS: usize = 100;

/// Most parameters in a table of measures.
const MOST_PARAMETERS: usize = 8;

/// Width of a printed A4 page between its margins, in points, and of the columns of a table at the print's size of text.
const PAGE_PT: usize = 530;
const CONDITION_PT: usize = 80;
const PARAMETER_PT: usize = 44;
const MEASURE_PT: usize = 76;

/// Most measures beside each other in the table of sensitivity indices, whose first columns have words.
const MOST_INFLUENCED: usize = 4;

/// Returns the indices of the main measures: a row for each parameter and index, a column for each measure.
pub(super) fn influences(of: &Sensitivity) -> Markup {
    let shown = of.shown();
    let measures: Vec<Measure> = of.measures().into_iter().filter(|measure| measure.is_main()).collect();
    html! {
        @for part in parts(measures.len(), MOST_INFLUENCED) { (influences_on(of, &measures[part], shown)) }
    }
}

/// Returns the same table for some measures.
fn influences_on(of: &Sensitivity, measures: &[Measure], shown: [Index; 2]) -> Markup {
    let r_squared = |measure| of.of(measure, 0, Index::Src).and_then(|of| of.r_squared);
    html! {
        div class="wide" { table {
            thead { tr {
                th scope="col" { "Parameter" }
                th scope="col" { "Index" }
                @for measure in measures { th scope="col" class="number" { (measure.label()) } }
            } }
            tbody {
                @for (place, parameter) in of.parameters.iter().enumerate() {
                    @for index in shown { tr {
                        @if index == shown[0] { th scope="row" rowspan="2" { (parameter.words()) } }
                        td { (index.label()) }
                        @for measure in measures {
                            @let effect = of.of(*measure, place, index).and_then(|of| of.effect);
                            @let is_clear = effect.is_some_and(|effect| effect.low > 0.0 || effect.high < 0.0);
                            td class=(if is_clear { "number clear" } else { "number" }) {
                                (with_interval(effect.map(|effect| effect.value), effect.map(|effect| (effect.low, effect.high))))
                            }
                        }
                    } }
                }
                @if measures.iter().any(|measure| r_squared(*measure).is_some()) { tr {
                    th scope="row" colspan="2" { "R" sup { "2" } " of the linear model" }
                    @for measure in measures { td class="number" { (with_interval(r_squared(*measure), None)) } }
                } }
            }
        } }
    }
}

/// How a table compares conditions.
#[derive(Default)]
pub(super) struct Comparison<'a> {
    /// Whether the values are differences to a reference.
    pub(super) is_difference: bool,
    /// Conditions whose response window is not that of the reference.
    pub(super) in_other_window: BTreeSet<&'a str>,
    /// The parameters that differ between conditions.
    pub(super) varied: &'a [Varied],
}

impl Comparison<'_> {
    /// Returns the heading of a parameter's column with this name.
    fn heading(&self, column: &str) -> Markup {
        match self.varied.iter().find(|varied| varied.name == column) {
            Some(varied) => html! {
                (path_heading(varied.parameter.path, varied.parameter.unit()))
                @if varied.words().ends_with(", sd") { ", sd" }
            },
            None => path_heading(column, ""),
        }
    }
}

/// The mark of conditions with another window.
const OTHER_WINDOW: &str = "†";

/// A long table, with a row for each condition and measure. All rows of a condition follow each other, with the measures in
/// one order.
struct Long<'a> {
    conditions: &'a [String],
    measures: &'a [String],
    units: &'a [String],
    values: &'a [Option<f64>],
    lows: &'a [Option<f64>],
    highs: &'a [Option<f64>],
    /// Empty in a table of estimates.
    effects: &'a [Option<f64>],
    /// Number of seeds of each value.
    seeds: &'a [u64],
    /// Columns of the parameters that differ.
    parameters: Vec<&'a Column>,
    is_difference: bool,
}

impl Long<'_> {
    fn of(table: &Table, is_difference: bool) -> Long<'_> {
        let (texts, numbers) = (|name| texts(table, name), |name| numbers(table, name));
        Long {
            conditions: texts("condition"),
            measures: texts("measure"),
            units: texts("unit"),
            values: numbers(if is_difference { "difference" } else { "mean" }),
            lows: numbers("low_95"),
            highs: numbers("high_95"),
            effects: numbers("effect_size_dz"),
            seeds: seeds(table),
            parameters: parameters(table),
            is_difference,
        }
    }

    /// Number of measures.
    fn count(&self) -> usize {
        self.conditions.iter().take_while(|name| self.conditions.first() == Some(*name)).count().max(1)
    }

    /// Returns the cell of a row of the long table.
    fn cell(&self, row: usize) -> Markup {
        let interval = self.lows[row].zip(self.highs[row]);
        let is_clear = self.is_difference && interval.is_some_and(|(low, high)| low > 0.0 || high < 0.0);
        let most = self.seeds.iter().max().copied().unwrap_or(0);
        html! {
            td class=(if is_clear { "number clear" } else { "number" }) {
                (with_interval(self.values[row], interval))
                @if let Some(Some(effect)) = self.effects.get(row) {
                    span class="interval" { i { "d" } sub { "z" } " " (fixed(*effect, 1)) }
                }
                @if self.values[row].is_some() && self.seeds[row] != most {
                    span class="interval" { i { "n" } " = " (self.seeds[row]) }
                }
            }
        }
    }
}

/// Returns the number of measures that a table has beside so many parameters, so that it fits the page in print.
fn measures_beside(parameters: usize) -> usize {
    (PAGE_PT.saturating_sub(CONDITION_PT + parameters * PARAMETER_PT) / MEASURE_PT).max(1)
}

/// Divides columns into parts of about equal size that have at most so many.
pub(super) fn parts(columns: usize, most: usize) -> Vec<Range<usize>> {
    let count = columns.div_ceil(most.max(1)).max(1);
    (0..count).map(|part| part * columns / count..(part + 1) * columns / count).collect()
}

/// Returns the columns of parameters in a table: those between the condition and the columns of the results.
fn parameters(table: &Table) -> Vec<&Column> {
    let is_result = |column: &&Column| ["reference", "measure"].contains(&column.name.as_str());
    table.columns.iter().skip(1).take_while(|column| !is_result(column)).collect()
}

/// Returns the cell of a parameter.
fn value_of(column: &Column, row: usize) -> Markup {
    html! {
        @match &column.values {
            ColumnData::Text(texts) => td { (texts[row]) },
            ColumnData::Number(numbers) => td class="number" { (numbers[row].map_or(String::new(), brief)) },
            ColumnData::Whole(numbers) => td class="number" { (numbers[row]) },
        }
    }
}

/// Returns the class of the cells of a column.
fn class_of(column: &Column) -> &'static str {
    if matches!(column.values, ColumnData::Text(_)) { "text" } else { "number" }
}

/// Formats a number with at most six significant digits.
fn brief(number: f64) -> String {
    let rounded: f64 = format!("{number:.5e}").parse().unwrap_or(number);
    let size = rounded.abs();
    signed(if size == 0.0 || (1e-4..1e6).contains(&size) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    })
}

/// Returns the heading of a parameter's column: its path, and the unit in brackets. Lines can break within the path.
pub(super) fn path_heading(path: &str, unit: &str) -> Markup {
    html! {
        @for part in path.split_inclusive(['.', '_']) { (part) wbr; }
        @if !unit.is_empty() { " (" (unit) ")" }
    }
}

/// Returns the most seeds that a value of a long table is computed from.
pub(super) fn most_seeds(table: &Table) -> u64 {
    seeds(table).iter().max().copied().unwrap_or(0)
}

/// Whether a value of a long table is computed from fewer seeds than another.
pub(super) fn has_fewer_seeds(table: &Table) -> bool {
    let most = most_seeds(table);
    seeds(table).iter().any(|&seeds| seeds > 0 && seeds < most)
}

fn seeds(table: &Table) -> &[u64] {
    match values(table, "seeds") {
        Some(ColumnData::Whole(seeds)) => seeds,
        _ => &[],
    }
}

fn texts<'a>(table: &'a Table, name: &str) -> &'a [String] {
    match values(table, name) {
        Some(ColumnData::Text(texts)) => texts,
        _ => &[],
    }
}

fn numbers<'a>(table: &'a Table, name: &str) -> &'a [Option<f64>] {
    match values(table, name) {
        Some(ColumnData::Number(numbers)) => numbers,
        _ => &[],
    }
}

fn values<'a>(table: &'a Table, name: &str) -> Option<&'a ColumnData> {
    table.columns.iter().find(|column| column.name == name).map(|column| &column.values)
}

/// Returns a number with the sign of mathematics.
fn signed(number: String) -> String {
    number.replace('-', "\u{2212}")
}

/// Returns a long table as one with a condition in each row, and in each column the mean of a measure with its interval.
pub(super) fn across(of: &Table, comparison: &Comparison<'_>) -> Markup {
    let is_marked = |name: &str| comparison.in_other_window.contains(name);
    let long = Long::of(of, comparison.is_difference);
    let (conditions, count) = (long.conditions, long.count());
    let shown = &long.parameters[..long.parameters.len().min(MOST_PARAMETERS)];
    let parts = parts(count, measures_beside(shown.len()));
    html! {
        @for part in &parts {
            div class="wide" { table {
                thead { tr {
                    th scope="col" { "Condition" }
                    @for column in shown {
                        th scope="col" class=(class_of(column)) { (comparison.heading(&column.name)) }
                    }
                    @for (measure, unit) in long.measures.iter().zip(long.units).take(part.end).skip(part.start) {
                        th scope="col" class="number" { (heading(measure, unit)) }
                    }
                } }
                tbody { @for first in (0..conditions.len()).step_by(count).take(MOST_ROWS) {
                    tr {
                        th scope="row" {
                            (conditions[first])
                            @if is_marked(&conditions[first]) { " " (OTHER_WINDOW) }
                        }
                        @for column in shown { (value_of(column, first)) }
                        @for row in (first + part.start)..(first + part.end).min(long.values.len()) { (long.cell(row)) }
                    }
                } }
            } }
        }
        @if shown.len() < long.parameters.len() {
            p { "These tables have " (shown.len()) " of " (long.parameters.len()) " parameters; the files below have all." }
        }
        @if conditions.iter().any(|name| is_marked(name)) {
            p {
                (OTHER_WINDOW) " Responses of this condition are counted in another window than those of the reference, so its \
                 differences also compare different times."
            }
        }
        @if conditions.len() / count > MOST_ROWS {
            p { "The first " (MOST_ROWS) " of " (conditions.len() / count) " conditions; all are in the files below." }
        }
    }
}

/// Returns the heading of a measure's column: its name in words, with the unit in brackets.
fn heading(measure: &str, unit: &str) -> String {
    let name = match unit {
        "Hz" => measure.strip_suffix("_hz"),
        "ms" => measure.strip_suffix("_ms"),
        // The name says it.
        "1/ms" => return measure.replace('_', " "),
        _ => None,
    };
    let words = name.unwrap_or(measure).replace('_', " ");
    if unit.is_empty() { words } else { format!("{words} ({unit})") }
}

/// Formats a mean with its interval. All three have the decimals that the interval's half width has in two digits. Very
/// small and very large numbers have a power of ten.
fn with_interval(mean: Option<f64>, interval: Option<(f64, f64)>) -> Markup {
    let Some(mean) = mean else { return html! { "–" } };
    let half = interval.map_or(0.0, |(low, high)| (high - low) / 2.0);
    let largest = interval.map_or(mean.abs(), |(low, high)| mean.abs().max(low.abs()).max(high.abs()));
    let exponent =
        if largest > 0.0 && !(1e-3..1e5).contains(&largest) { largest.log10().floor() as i32 } else { 0 };
    let unit = 10.0_f64.powi(exponent);
    let precision = if half > 0.0 { half / unit } else { (largest / unit).max(1e-9) * 0.05 };
    let decimals =
        if largest > 0.0 { (1 - precision.log10().floor() as i32).clamp(0, 6) as usize } else { 0 };
    let number = |x: f64| fixed(x / unit, decimals);
    let power = html! { @if exponent != 0 { " × 10" sup { (signed(exponent.to_string())) } } };
    html! {
        (number(mean)) (power)
        @if let Some((low, high)) = interval {
            " " span class="interval" { "[" (number(low)) ", " (number(high)) "]" (power) }
        }
    }
}

#[cfg(test)]
mod tests;
