//! How much each parameter contributes to the variation of the measures.
//!
//! A point is a condition, and its output is the mean of a measure over seeds. The parameters are those that differ between
//! the points. Which points these are follows from their values alone: see [`sensitivity`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use granule_statistics::Resampling;
use granule_statistics::sensitivity::{Effect, SensitivityError, linear_model, partial_ranks, sobol};
use granule_statistics::sequence::Saltelli;
use ndarray::{Array2, ArrayView2, Axis};

use super::Measure;
use super::dose::is_label;
use super::observed::OfCondition;
use super::observed::over_seeds;
use super::show::{counted, measures_of};
use super::varied::{Varied, VariedValue, varied};
use crate::{Column, Table};

/// Fewest different points of a regression. With k parameters, it also needs 2 (k + 1).
const LEAST_POINTS: usize = 8;

/// Fewest base points of a design.
const LEAST_BASE_POINTS: usize = 4;

/// How the intervals of Sobol' indices are drawn. The same for every measure, so that no result depends on another.
const RESAMPLING: Resampling = Resampling { resamples: 1000, seed: 451 };

/// An index of sensitivity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// Standardised regression coefficient.
    Src,
    /// Partial rank correlation coefficient.
    Prcc,
    /// Sobol' index of first order.
    First,
    /// Sobol' index of total order.
    Total,
}

impl Index {
    /// Returns the name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Index::Src => "src",
            Index::Prcc => "prcc",
            Index::First => "sobol_first",
            Index::Total => "sobol_total",
        }
    }

    /// Returns the name for people.
    pub fn label(self) -> &'static str {
        match self {
            Index::Src => "SRC",
            Index::Prcc => "PRCC",
            Index::First => "first\u{a0}order",
            Index::Total => "total\u{a0}order",
        }
    }
}

/// An index of a parameter for a measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Influence {
    /// The measure.
    pub measure: Measure,
    /// The parameter, by its place among [`Sensitivity::parameters`].
    pub parameter: usize,
    /// The kind of index.
    pub index: Index,
    /// The index with its 95 % interval. `None` if the other parameters alone determine the ranks of the measure.
    pub effect: Option<Effect>,
    /// Number of points from which it was computed.
    pub points: usize,
    /// The fraction of the variance that the linear model explains; of [`Index::Src`] only.
    pub r_squared: Option<f64>,
}

/// The influence of the parameters of a sweep on its measures.
#[derive(Clone, Debug)]
pub struct Sensitivity {
    /// The parameters that differ between the points.
    pub parameters: Vec<Varied>,
    /// By measure, parameter and index.
    pub(super) influences: Vec<Influence>,
    /// Number of base points, if the points are a Saltelli design.
    pub base_points: Option<usize>,
    /// Conditions and measures that were left out, and the reasons.
    pub notes: Vec<String>,
}

/// Returns the influence of the parameters on every measure. `None` if there are not at least two parameters with numbers,
/// or too few points.
///
/// `designs` are the conditions of the sweep's designs for variance-based sensitivity. The points are:
///
/// - those of the first design, if there is one
/// - otherwise the conditions with the most frequent value of each parameter that is no number. The same holds for numbers
///   if nine tenths of the conditions have one value. So GABAzine beside a Latin hypercube is no point.
///
/// If the points are blocks of Saltelli's scheme, there are Sobol' indices, from all points. The regressions then use the
/// points A and B only: the others repeat their values, and are not independent. Equal points count once. Any other sample
/// of points, also a grid, has the regressions only.
///
/// A point without a value of a measure is left out of the regressions of this measure. A measure without a value at any
/// point of a design has no Sobol' indices, because a design cannot have gaps.
pub fn sensitivity(conditions: &[OfCondition<'_>], designs: &[Range<usize>]) -> Option<Sensitivity> {
    let mut notes = Vec::new();
    let of_points: Vec<usize> = match designs.first() {
        Some(design) => design.clone().collect(),
        None => similar(conditions),
    };
    let is_left_out = |at: &usize| of_points.binary_search(at).is_err();
    let left_out: Vec<usize> = (0..conditions.len()).filter(is_left_out).collect();
    if let [first, others @ ..] = &left_out[..] {
        let others = if others.is_empty() {
            String::new()
        } else {
            format!(" and {}", counted(others.len(), "other"))
        };
        notes.push(format!(
            "sensitivity indices are of {} conditions; they leave out {}{others}, outside the sample",
            of_points.len(),
            conditions[*first].0.name
        ));
    }
    let models = || of_points.iter().map(|at| &conditions[*at].0.model);
    let space = models().next()?.values().space();
    let differs = |column: &Varied| {
        let mut numbers = models().map(|model| column.number(model));
        let first = numbers.next();
        numbers.any(|number| Some(number) != first)
    };
    let is_input =
        |column: &Varied| column.is_number() && !is_label(space, column.parameter) && differs(column);
    let parameters: Vec<Varied> = varied(models()).into_iter().filter(is_input).collect();
    if parameters.len() < 2 {
        return None;
    }
    let points = Array2::from_shape_fn((of_points.len(), parameters.len()), |(row, column)| {
        parameters[column].number(&conditions[of_points[row]].0.model).unwrap_or(f64::NAN)
    });
    let design = design_of(points.view(), !designs.is_empty());
    let sample = different(points.view(), |row| match &design {
        Some((design, _)) => [0, design.inputs + 1].contains(&(row % (design.inputs + 2))),
        None => true,
    });
    let least = LEAST_POINTS.max(2 * (parameters.len() + 1));
    if design.is_none() && sample.len() < least {
        return None;
    }

    let names: Vec<&str> = parameters.iter().map(|of| of.name.as_str()).collect();
    let mut influences = Vec::new();
    let mut missing: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    for (place, measure) in measures_of(conditions).into_iter().enumerate() {
        let outputs: Vec<Option<f64>> =
            of_points.iter().map(|at| over_seeds(conditions[*at].1, place).mean).collect();
        let regressions = regressions(measure, points.view(), &sample, &outputs, least);
        let indices = design.as_ref().map(|(design, order)| indices(measure, *design, order, &outputs));
        let mut of_measure: Vec<Influence> = Vec::new();
        for (what, found) in [("SRC and PRCC", Some(regressions)), ("Sobol' indices", indices)] {
            match found {
                Some(Ok(found)) => of_measure.extend(found),
                Some(Err(gap)) => missing.entry((what, gap.reason(&names))).or_default().push(measure.name()),
                None => {}
            }
        }
        of_measure.sort_by_key(|of| (of.parameter, of.index));
        influences.extend(of_measure);
    }
    notes.extend(missing.iter().map(|((what, why), of)| format!("no {what} of {}: {why}", of.join(", "))));
    let base_points = design.map(|(design, _)| design.base_points);
    Some(Sensitivity { parameters, influences, base_points, notes })
}

impl Sensitivity {
    /// Returns the indices that figures and reports show: Sobol' indices if there are any, otherwise those of regressions.
    pub fn shown(&self) -> [Index; 2] {
        let has_indices = self.influences.iter().any(|of| of.index == Index::First);
        if has_indices { [Index::First, Index::Total] } else { [Index::Src, Index::Prcc] }
    }

    /// Returns the measures that have the shown indices.
    pub fn measures(&self) -> Vec<Measure> {
        let shown = self.shown();
        let mut measures: Vec<Measure> = Vec::new();
        for of in self.influences.iter().filter(|of| shown.contains(&of.index)) {
            if measures.last() != Some(&of.measure) {
                measures.push(of.measure);
            }
        }
        measures
    }

    /// Returns the index of a parameter for a measure, if there is one.
    pub fn of(&self, measure: Measure, parameter: usize, index: Index) -> Option<&Influence> {
        self.influences.iter().find(|of| (of.measure, of.parameter, of.index) == (measure, parameter, index))
    }

    /// Returns the table with a row for each measure, parameter and index.
    pub fn table(&self) -> Table {
        self.table_of("sensitivity", |_| true)
    }

    /// Returns the table of the influences that `has` selects.
    pub(super) fn table_of(&self, name: &'static str, has: impl Fn(&Influence) -> bool) -> Table {
        let rows: Vec<&Influence> = self.influences.iter().filter(|of| has(of)).collect();
        let number = |value: fn(Effect) -> f64| rows.iter().map(move |of| of.effect.map(value));
        Table::new(
            name,
            vec![
                Column::text("measure", rows.iter().map(|of| of.measure.name())),
                Column::text("unit", rows.iter().map(|of| of.measure.unit())),
                Column::text("parameter", rows.iter().map(|of| self.parameters[of.parameter].name.as_str())),
                Column::text("index", rows.iter().map(|of| of.index.name())),
                Column::optional("value", number(|effect| effect.value)),
                Column::optional("low_95", number(|effect| effect.low)),
                Column::optional("high_95", number(|effect| effect.high)),
                Column::whole("points", rows.iter().map(|of| of.points)),
                Column::optional("r_squared", rows.iter().map(|of| of.r_squared)),
            ],
        )
    }
}

/// Returns the conditions that a regression can compare: see [`sensitivity`].
fn similar(conditions: &[OfCondition<'_>]) -> Vec<usize> {
    let mut similar: Vec<usize> = (0..conditions.len()).collect();
    for column in varied(conditions.iter().map(|(condition, _)| &condition.model)) {
        let value = |at: usize| match column.value(&conditions[at].0.model) {
            VariedValue::Number(number) => number.to_string(),
            VariedValue::Text(text) => text,
        };
        if is_label(conditions[0].0.model.values().space(), column.parameter) {
            continue;
        }
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for &at in &similar {
            counts.entry(value(at)).or_insert((0, at)).0 += 1;
        }
        // The first of several that are equally frequent.
        let most = counts.values().max_by_key(|(count, first)| (*count, std::cmp::Reverse(*first)));
        let Some(&(count, first)) = most else { continue };
        if !column.is_number() || 10 * count >= 9 * similar.len() {
            let frequent = value(first);
            similar.retain(|at| value(*at) == frequent);
        }
    }
    similar
}

/// Returns the rows that `has` selects, each different point once.
fn different(points: ArrayView2<'_, f64>, has: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut seen: BTreeSet<Vec<u64>> = BTreeSet::new();
    // Adding 0 makes 0 of −0.
    let is_new = |row: &usize| seen.insert(points.row(*row).iter().map(|x| (x + 0.0).to_bits()).collect());
    (0..points.nrows()).filter(|row| has(*row)).filter(is_new).collect()
}

/// Recognises a Saltelli design by its points: blocks of k + 2 rows. The first row is A, the last is B, and each of the
/// others is A with the value of one parameter from B. Returns the design, and the parameter of each row between A and B.
/// `None` also if the design is too small.
///
/// A grid of two parameters has such blocks, too, if one of them has two values. So unless it is recorded in the sweep, a
/// design has at least three values of each parameter.
fn design_of(points: ArrayView2<'_, f64>, is_recorded: bool) -> Option<(Saltelli, Vec<usize>)> {
    let (rows, inputs) = points.dim();
    let (width, last) = (inputs + 2, inputs + 1);
    if rows % width != 0 || rows / width < LEAST_BASE_POINTS {
        return None;
    }
    let blocks = || (0..rows).step_by(width);
    let mut order = Vec::new();
    for row in 1..last {
        let differs = |input: &usize| blocks().any(|a| points[[a + row, *input]] != points[[a, *input]]);
        let mut all = (0..inputs).filter(differs);
        let (Some(input), None) = (all.next(), all.next()) else { return None };
        let is_of_b = |a: usize| points[[a + row, input]] == points[[a + last, input]];
        if order.contains(&input) || !blocks().all(is_of_b) {
            return None;
        }
        order.push(input);
    }
    let has_values = |input: usize| {
        let base = blocks().flat_map(|a| [a, a + last]).map(|row| points[[row, input]].to_bits());
        base.collect::<BTreeSet<u64>>().len() > 2
    };
    let is_design = is_recorded || (0..inputs).all(has_values);
    is_design.then_some((Saltelli { base_points: rows / width, inputs }, order))
}

/// Why a measure has no indices of a kind.
#[derive(Clone, Copy, Debug)]
enum Gap {
    /// So many points of a sample have a value; more are needed.
    Few { points: usize, of: usize, least: usize },
    /// So many points of a design have no value.
    Missing { points: usize, of: usize },
    /// The points or the values do not permit the analysis.
    Refused(SensitivityError),
}

impl Gap {
    /// Returns the reason, for people. `names` are those of the parameters.
    fn reason(self, names: &[&str]) -> String {
        match self {
            Gap::Few { points, of, least } => {
                format!("{points} of {of} points have a value; at least {least} are needed")
            }
            Gap::Missing { points, of } => format!("no value in {points} of {of} conditions"),
            Gap::Refused(SensitivityError::ConstantInput(input)) => {
                format!("{} is the same in all points that have a value", names[input])
            }
            Gap::Refused(SensitivityError::Dependent(input)) => {
                format!("{}, or its ranks, follow linearly from {}", names[input], names[..input].join(", "))
            }
            Gap::Refused(SensitivityError::ConstantOutput) => "the measure does not vary".to_owned(),
            Gap::Refused(error) => error.to_string(),
        }
    }
}

/// Returns SRC and PRCC of the points of a sample that have a value.
fn regressions(
    measure: Measure,
    points: ArrayView2<'_, f64>,
    sample: &[usize],
    outputs: &[Option<f64>],
    least: usize,
) -> Result<Vec<Influence>, Gap> {
    let (rows, output): (Vec<usize>, Vec<f64>) =
        sample.iter().filter_map(|row| Some((*row, outputs[*row]?))).unzip();
    if rows.len() < least {
        return Err(Gap::Few { points: rows.len(), of: sample.len(), least });
    }
    let inputs = points.select(Axis(0), &rows);
    let model = linear_model(inputs.view(), &output).map_err(Gap::Refused)?;
    let ranks = partial_ranks(inputs.view(), &output).map_err(Gap::Refused)?;
    let points = rows.len();
    let of = |index, r_squared| {
        move |(parameter, effect)| Influence { measure, parameter, index, effect, points, r_squared }
    };
    let coefficients = model.coefficients.into_iter().map(Some).enumerate();
    let coefficients = coefficients.map(of(Index::Src, Some(model.r_squared)));
    Ok(coefficients.chain(ranks.into_iter().enumerate().map(of(Index::Prcc, None))).collect())
}

/// Returns the Sobol' indices of a design. `order` has the parameter of each row between A and B.
fn indices(
    measure: Measure,
    design: Saltelli,
    order: &[usize],
    outputs: &[Option<f64>],
) -> Result<Vec<Influence>, Gap> {
    let output: Vec<f64> = outputs.iter().flatten().copied().collect();
    let points = outputs.len();
    if output.len() < points {
        return Err(Gap::Missing { points: points - output.len(), of: points });
    }
    let indices = sobol(&output, design, RESAMPLING).map_err(Gap::Refused)?;
    let of = |index| {
        move |(&parameter, effect): (&usize, Effect)| Influence {
            measure,
            parameter,
            index,
            effect: Some(effect),
            points,
            r_squared: None,
        }
    };
    let first = order.iter().zip(indices.first).map(of(Index::First));
    Ok(first.chain(order.iter().zip(indices.total).map(of(Index::Total))).collect())
}
