//! How much each input of a model contributes to the variation of its output.
//!
//! Regression coefficients and partial rank correlations need any sample of inputs. [`sobol`] needs the design
//! [`Saltelli`], and makes no assumption about the model. Source of all, with advice which to choose: Saltelli et al.
//! (2008), Global sensitivity analysis: the primer.

use ndarray::ArrayView2;

use crate::estimate::Estimate;
use crate::regression::{Fit, TOLERANCE, fit, ranks, standardise};
use crate::sequence::Saltelli;
use crate::{NORMAL_975, Resampling, StudentT, mean, squares};

/// The effect of an input, without unit, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// The estimated effect.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Why a sensitivity analysis is impossible. Rows and inputs count from 0.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SensitivityError {
    /// The number of outputs differs from that of the rows of inputs.
    #[error("{outputs} outputs; expected {rows}, one for each row of inputs")]
    Shape {
        /// Number of outputs.
        outputs: usize,
        /// Number of rows of the inputs or of the design.
        rows: usize,
    },
    /// The analysis needs more rows.
    #[error("{rows} rows of inputs; this number of inputs needs at least {needed}")]
    TooFewRows {
        /// Number of rows.
        rows: usize,
        /// The smallest number of rows that suffices.
        needed: usize,
    },
    /// The analysis needs at least two resamples.
    #[error("{0} resamples; an interval needs at least 2")]
    TooFewResamples(usize),
    /// An input is infinite or NaN.
    #[error("row {row}: input {input} is not finite")]
    InputNotFinite {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        input: usize,
    },
    /// An output is infinite or NaN.
    #[error("row {0}: the output is not finite")]
    OutputNotFinite(usize),
    /// An input has the same value in all rows, so its effect is unknown.
    #[error("input {0} has the same value in all rows")]
    ConstantInput(usize),
    /// The output has the same value in all rows, so it has no variance to explain. For [`sobol`], only rows of the base
    /// points count, whose variance it divides by.
    #[error("the output has the same value in all rows")]
    ConstantOutput,
    /// An input is a linear combination of inputs before it, so that their effects cannot be distinguished.
    #[error("input {0} is a linear combination of the inputs before it")]
    Dependent(usize),
}

/// A linear model of standardised inputs and outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearModel {
    /// The fraction of the output's variance that the linear model explains. If it is far below 1, coefficients are
    /// misleading.
    pub r_squared: f64,
    /// The standardised regression coefficient (SRC) of each input. If the input changes by one of its standard
    /// deviations, the output changes by so many of its own.
    pub coefficients: Vec<Effect>,
}

/// Computes standardised regression coefficients: Saltelli et al. (2008), section 1.2.5. `inputs` has the shape (n, k).
///
/// The intervals are those of least squares, with Student's t distribution of n − k − 1 degrees of freedom. The standard
/// deviations of inputs and output count as known.
///
/// # Errors
/// If shapes do not fit, n is below k + 2, values are not finite, a column is constant or depends on others.
pub fn linear_model(inputs: ArrayView2<'_, f64>, output: &[f64]) -> Result<LinearModel, SensitivityError> {
    let degrees = check(inputs, output, 1)?;
    let fit = standardised_fit(inputs, output, <[f64]>::to_vec)?;
    let half = StudentT::new(degrees).map_or(f64::NAN, |student| student.quantile(0.975));
    let effect = |(value, inverse): (&f64, &f64)| {
        let error = (fit.residual / degrees as f64 * inverse).sqrt();
        Effect { value: *value, low: value - half * error, high: value + half * error }
    };
    let coefficients = fit.coefficients.iter().zip(&fit.inverse).map(effect).collect();
    Ok(LinearModel { r_squared: 1.0 - fit.residual, coefficients })
}

/// Computes the partial rank correlation coefficient (PRCC) of each input with the output. It is the correlation of their
/// ranks after the linear effects of the ranks of all other inputs are removed. Equal values have the mean of their ranks. It measures
/// monotone effects. `inputs` has the shape (n, k). A coefficient is `None` if the other inputs alone determine the
/// ranks of the output.
///
/// The intervals use Fisher's z transformation with the standard error 1 / √(n − k − 2), the usual approximation for
/// ranks. Sources: Fisher (1924), Metron 3, 329–332. Marino et al. (2008), Journal of Theoretical Biology 254, 178–196.
///
/// # Errors
/// If shapes do not fit, n is below k + 3, values are not finite, a column is constant or its ranks depend on others.
pub fn partial_ranks(
    inputs: ArrayView2<'_, f64>,
    output: &[f64],
) -> Result<Vec<Option<Effect>>, SensitivityError> {
    let degrees = check(inputs, output, 2)?;
    let fit = standardised_fit(inputs, output, ranks)?;
    let half = NORMAL_975 / ((degrees - 1) as f64).sqrt();
    let effect = |(coefficient, inverse): (&f64, &f64)| {
        // The part of the output's ranks that the input explains after all others.
        let explained = coefficient * coefficient / inverse;
        let unexplained_by_others = explained + fit.residual;
        if unexplained_by_others.sqrt() < TOLERANCE {
            return None;
        }
        let value = (explained / unexplained_by_others).sqrt().copysign(*coefficient);
        let z = libm::atanh(value);
        Some(Effect { value, low: libm::tanh(z - half), high: libm::tanh(z + half) })
    };
    Ok(fit.coefficients.iter().zip(&fit.inverse).map(effect).collect())
}

/// Sobol' indices of each input.
#[derive(Clone, Debug, PartialEq)]
pub struct SobolIndices {
    /// First-order indices: the fraction of the output's variance that an input explains alone.
    pub first: Vec<Effect>,
    /// Total-order indices: the fraction that remains if all other inputs are known, including interactions.
    pub total: Vec<Effect>,
}

/// Estimates Sobol' indices from the outputs for the rows of a design, in its order. First order: Saltelli et al. (2010),
/// Computer Physics Communications 181, 259–270, table 2 (b). Total order: Jansen (1999), Computer Physics
/// Communications 117, 35–43.
///
/// Indices are those of `SALib.analyze.sobol.analyze` with `calc_second_order=False`. Its intervals have the same
/// distribution: index ± 1.96 standard deviations of the index in resamples of the base points. An estimate can be
/// below 0 or above 1.
///
/// # Errors
/// If the number of outputs is not that of the design's rows, or outputs are not finite or constant. Also with fewer than
/// two resamples.
pub fn sobol(
    output: &[f64],
    design: Saltelli,
    resampling: Resampling,
) -> Result<SobolIndices, SensitivityError> {
    if design.rows() != Some(output.len()) {
        return Err(SensitivityError::Shape {
            outputs: output.len(),
            rows: design.rows().unwrap_or(usize::MAX),
        });
    }
    finite_output(output)?;
    if resampling.resamples < 2 {
        return Err(SensitivityError::TooFewResamples(resampling.resamples));
    }
    if output.iter().all(|value| *value == output[0]) {
        return Err(SensitivityError::ConstantOutput);
    }
    let centre = mean(output);
    let sd = (squares(output, centre) / output.len() as f64).sqrt();
    let normalised: Vec<f64> = output.iter().map(|value| (value - centre) / sd).collect();
    let blocks: Vec<&[f64]> = normalised.chunks_exact(design.inputs + 2).collect();
    let indices = sobol_of(&blocks).ok_or(SensitivityError::ConstantOutput)?;

    let mut draws = resampling.draws();
    let resampled: Vec<Vec<[f64; 2]>> = (0..resampling.resamples)
        .map(|_| {
            let drawn: Vec<&[f64]> = blocks.iter().map(|_| blocks[draws.below(blocks.len())]).collect();
            // As in SALib, a resample without variance has indices of 0.
            sobol_of(&drawn).unwrap_or_else(|| vec![[0.0; 2]; design.inputs])
        })
        .collect();
    let effects = |order: usize| {
        let effect = |(input, index): (usize, &[f64; 2])| {
            let of_resamples: Vec<f64> = resampled.iter().map(|indices| indices[input][order]).collect();
            let half = NORMAL_975 * Estimate::of(&of_resamples).sd.unwrap_or(f64::NAN);
            Effect { value: index[order], low: index[order] - half, high: index[order] + half }
        };
        indices.iter().enumerate().map(effect).collect()
    };
    Ok(SobolIndices { first: effects(0), total: effects(1) })
}

/// Returns the first and total index of each input from the outputs of base points: A, AB of each input, B. `None` if A
/// and B have no variance.
fn sobol_of(blocks: &[&[f64]]) -> Option<Vec<[f64; 2]>> {
    let (first, last) = (0, blocks.first()?.len() - 1);
    let base: Vec<f64> =
        [first, last].iter().flat_map(|&at| blocks.iter().map(move |block| block[at])).collect();
    if base.iter().all(|value| *value == base[0]) {
        return None;
    }
    let variance = squares(&base, mean(&base)) / base.len() as f64;
    let over = |term: &dyn Fn(&[f64]) -> f64| {
        blocks.iter().map(|block| term(block)).sum::<f64>() / blocks.len() as f64 / variance
    };
    let of_input = |input: usize| {
        let alone = over(&|block| block[last] * (block[input] - block[first]));
        let total = over(&|block| (block[first] - block[input]) * (block[first] - block[input]));
        [alone, 0.5 * total]
    };
    Some((1..last).map(of_input).collect())
}

/// Checks inputs and output, and returns the degrees of freedom of a linear model, at least `least`.
fn check(inputs: ArrayView2<'_, f64>, output: &[f64], least: usize) -> Result<usize, SensitivityError> {
    let (rows, columns) = inputs.dim();
    if output.len() != rows {
        return Err(SensitivityError::Shape { outputs: output.len(), rows });
    }
    let needed = columns + 1 + least;
    if rows < needed {
        return Err(SensitivityError::TooFewRows { rows, needed });
    }
    if let Some(((row, input), _)) = inputs.indexed_iter().find(|(_, value)| !value.is_finite()) {
        return Err(SensitivityError::InputNotFinite { row, input });
    }
    finite_output(output)?;
    Ok(rows - columns - 1)
}

fn finite_output(output: &[f64]) -> Result<(), SensitivityError> {
    let row = output.iter().position(|value| !value.is_finite());
    row.map_or(Ok(()), |row| Err(SensitivityError::OutputNotFinite(row)))
}

/// Fits the output to the inputs, after `transform` of each column and standardisation.
fn standardised_fit(
    inputs: ArrayView2<'_, f64>,
    output: &[f64],
    transform: impl Fn(&[f64]) -> Vec<f64>,
) -> Result<Fit, SensitivityError> {
    let column = |input: usize| {
        let values = inputs.column(input).to_vec();
        standardise(transform(&values)).ok_or(SensitivityError::ConstantInput(input))
    };
    let columns = (0..inputs.ncols()).map(column).collect::<Result<Vec<_>, _>>()?;
    let output = standardise(transform(output)).ok_or(SensitivityError::ConstantOutput)?;
    fit(columns, output).map_err(SensitivityError::Dependent)
}

#[cfg(test)]
mod tests;
