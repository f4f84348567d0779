//! Estimates over seeds, and differences to a reference condition.
//!
//! A seed is the unit of replication: its wiring, weights and noise are drawn anew. Trials of a seed are not independent
//! of each other, and only make the value of their seed more precise. So intervals are over the values of seeds, with
//! Student's t distribution. All conditions of a seed share wiring, weights and noise. So a difference between conditions
//! is computed for each seed, and its interval is over these differences.

use std::collections::BTreeSet;

use granule_statistics::estimate::{Estimate, Paired};

use super::observed::OfCondition;
use super::observed::{Observed, over_seeds};
use super::show::measures_of;
use super::varied::{Varied, VariedValue, free, varied};
use super::{Measure, ObservedCondition};
use crate::{Column, Table};

/// The difference of a measure between a condition and the reference.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    /// Index of the condition.
    pub condition: usize,
    /// The quantity that differs.
    pub contrast: Contrast,
    /// The seeds that have both values, with the difference.
    pub of_seeds: Vec<(u32, f64)>,
    /// The estimate over these seeds.
    pub paired: Paired,
}

/// A quantity that compares two conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contrast {
    /// The value of a measure minus that of the reference.
    Of(Measure),
    /// The discriminability d′ of two conditions by the spikes of a trial (Green & Swets 1966). It is the difference of the
    /// means over trials, divided by the root of the mean of the variances over trials.
    Discriminability,
}

impl Contrast {
    /// Returns the name in tables.
    pub(super) fn name(self) -> String {
        match self {
            Contrast::Of(measure) => measure.name(),
            Contrast::Discriminability => "d_prime".to_owned(),
        }
    }

    /// Returns the unit; empty for none.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Contrast::Of(measure) => measure.unit(),
            Contrast::Discriminability => "",
        }
    }

    /// Returns the label of an axis with differences.
    pub(super) fn label(self) -> String {
        match self {
            Contrast::Of(measure) => measure.label(),
            Contrast::Discriminability => "d′ of spikes in a trial".to_owned(),
        }
    }
}

/// Returns the contrasts of these conditions, in the order in which figures show them.
pub(super) fn contrasts(conditions: &[OfCondition<'_>]) -> Vec<Contrast> {
    let has_trials = conditions.iter().flat_map(|(_, of)| *of).any(|of| of.of_trials.is_some());
    let of_measures = measures_of(conditions).into_iter().map(Contrast::Of);
    of_measures.chain(has_trials.then_some(Contrast::Discriminability)).collect()
}

/// Returns the differences of all other conditions to the reference, by condition, then in the order of [`contrasts`].
pub(super) fn differences(conditions: &[OfCondition<'_>], reference: usize) -> Vec<Difference> {
    let contrasts = contrasts(conditions);
    let Some((_, of_reference)) = conditions.get(reference) else { return Vec::new() };
    let mut all = Vec::new();
    for (at, (_, observed)) in conditions.iter().enumerate().filter(|(at, _)| *at != reference) {
        for (place, &contrast) in contrasts.iter().enumerate() {
            let pairs = observed.iter().filter_map(|of| {
                let reference = of_reference.iter().find(|reference| reference.seed == of.seed)?;
                let (value, reference) = match contrast {
                    Contrast::Of(_) => (of.measures[place]?, reference.measures[place]?),
                    Contrast::Discriminability => (of.discriminability(reference)?, 0.0),
                };
                Some((of.seed, value, reference))
            });
            let pairs: Vec<(u32, f64, f64)> = pairs.collect();
            let values: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
            let references: Vec<f64> = pairs.iter().map(|pair| pair.2).collect();
            let of_seeds = pairs.iter().map(|(seed, value, reference)| (*seed, value - reference)).collect();
            let paired = Paired::of(&values, &references).expect("a reference for each value");
            all.push(Difference { condition: at, contrast, of_seeds, paired });
        }
    }
    all
}

/// Whether responses of a condition are counted in another window than those of the reference.
pub(super) fn is_in_other_window(of: OfCondition<'_>, reference: OfCondition<'_>) -> bool {
    let window = |(_, observed): OfCondition<'_>| observed.first().map(|of| of.window.clone());
    window(of).zip(window(reference)).is_some_and(|(own, other)| own != other)
}

/// Returns the columns that name conditions and their parameters, with a row for each of these conditions, and then the
/// other columns. Of a parameter whose column would have the name of another, the name is changed.
pub(super) fn named<'a>(
    conditions: &[OfCondition<'_>],
    rows: impl Iterator<Item = &'a usize> + Clone,
    others: Vec<Column>,
) -> Vec<Column> {
    let rows: Vec<&ObservedCondition> = rows.map(|row| conditions[*row].0).collect();
    let mut taken: BTreeSet<String> = others.iter().map(|column| column.name.clone()).collect();
    taken.insert("condition".to_owned());
    let mut columns = vec![Column::text("condition", rows.iter().map(|of| of.name.clone()))];
    let of = |column: Varied| {
        let name = free(column.name.clone(), &taken);
        taken.insert(name.clone());
        if column.is_number() {
            return Column::optional(name, rows.iter().map(|of| column.number(&of.model)));
        }
        Column::text(
            name,
            rows.iter().map(|of| match column.value(&of.model) {
                VariedValue::Text(text) => text,
                VariedValue::Number(number) => number.to_string(),
            }),
        )
    };
    columns.extend(varied(conditions.iter().map(|(condition, _)| &condition.model)).into_iter().map(of));
    columns.extend(others);
    columns
}

/// Returns the table with a row for each condition and seed: its parameters, and all measures.
pub fn measures(conditions: &[OfCondition<'_>]) -> Table {
    let rows: Vec<(usize, &Observed)> =
        conditions.iter().enumerate().flat_map(|(at, (_, of))| of.iter().map(move |of| (at, of))).collect();
    let mut columns = vec![
        Column::whole("seed", rows.iter().map(|(_, of)| of.seed as usize)),
        Column::whole("trials", rows.iter().map(|(_, of)| of.trials as usize)),
        Column::whole("window_from_ms", rows.iter().map(|(_, of)| of.window.ms.start)),
        Column::whole("window_to_ms", rows.iter().map(|(_, of)| of.window.ms.end)),
    ];
    for (i, measure) in measures_of(conditions).into_iter().enumerate() {
        columns.push(Column::optional(measure.name(), rows.iter().map(|(_, of)| of.measures[i])));
    }
    Table::new("measures", named(conditions, rows.iter().map(|(at, _)| at), columns))
}

/// Returns the table with a row for each condition and measure: the estimate over seeds.
pub fn estimates(conditions: &[OfCondition<'_>]) -> Table {
    let of_measures = measures_of(conditions);
    let rows: Vec<(usize, usize)> = (0..conditions.len())
        .flat_map(|at| (0..of_measures.len()).map(move |measure| (at, measure)))
        .collect();
    let of: Vec<Estimate> = rows.iter().map(|&(at, measure)| over_seeds(conditions[at].1, measure)).collect();
    let mut columns = vec![
        Column::text("measure", rows.iter().map(|row| of_measures[row.1].name())),
        Column::text("unit", rows.iter().map(|row| of_measures[row.1].unit())),
    ];
    columns.extend(numbers("mean", &of));
    Table::new("estimates", named(conditions, rows.iter().map(|(at, _)| at), columns))
}

/// Returns the table with a row for each condition and contrast: the difference to the reference, paired by seed.
pub fn comparison(conditions: &[OfCondition<'_>], reference: usize) -> Table {
    let all = differences(conditions, reference);
    let name = conditions.get(reference).map_or("", |(condition, _)| condition.name.as_str());
    let mut columns = vec![
        Column::text("reference", all.iter().map(|_| name)),
        Column::text("measure", all.iter().map(|of| of.contrast.name())),
        Column::text("unit", all.iter().map(|of| of.contrast.unit())),
    ];
    let of: Vec<Estimate> = all.iter().map(|of| of.paired.difference).collect();
    columns.extend(numbers("difference", &of));
    columns.push(Column::optional("effect_size_dz", all.iter().map(|of| of.paired.d_z)));
    columns.push(Column::optional("p", all.iter().map(|of| of.paired.p)));
    Table::new("differences", named(conditions, all.iter().map(|of| &of.condition), columns))
}

fn numbers(name: &str, of: &[Estimate]) -> Vec<Column> {
    vec![
        Column::whole("seeds", of.iter().map(|of| of.n)),
        Column::optional(name, of.iter().map(|of| of.mean)),
        Column::optional("sd", of.iter().map(|of| of.sd)),
        Column::optional("sem", of.iter().map(|of| of.sem)),
        Column::optional("low_95", of.iter().map(|of| of.low)),
        Column::optional("high_95", of.iter().map(|of| of.high)),
    ]
}

#[cfg(test)]
mod tests;
