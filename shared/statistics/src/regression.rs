//! Linear regression on standardised columns.

use crate::{mean, squares};

/// Columns are taken for dependent if one is nearer than this to a combination of the others, relative to its length.
pub(crate) const TOLERANCE: f64 = 1e-10;

/// A least-squares fit of y to columns, all with mean 0 and length 1.
pub(crate) struct Fit {
    /// The coefficient of each column.
    pub(crate) coefficients: Vec<f64>,
    /// The diagonal of the inverse of XᵀX. A coefficient's variance is this times the residual variance.
    pub(crate) inverse: Vec<f64>,
    /// The squared length of the residual: 1 − R².
    pub(crate) residual: f64,
}

/// Fits `y` to the columns. Fails with the index of a column that the columns before it determine.
///
/// The modified Gram-Schmidt method orthogonalises the columns one after the other, with y as the last column. This makes
/// the fit numerically stable: Björck (1967), BIT 7, 1–21.
pub(crate) fn fit(mut columns: Vec<Vec<f64>>, mut y: Vec<f64>) -> Result<Fit, usize> {
    let k = columns.len();
    let mut triangle = vec![vec![0.0; k]; k];
    let mut projections = vec![0.0; k];
    for j in 0..k {
        let (done, rest) = columns.split_at_mut(j + 1);
        let column = &mut done[j];
        let length = dot(column, column).sqrt();
        if length < TOLERANCE {
            return Err(j);
        }
        column.iter_mut().for_each(|value| *value /= length);
        triangle[j][j] = length;
        for (offset, other) in rest.iter_mut().enumerate() {
            triangle[j][j + 1 + offset] = remove(column, other);
        }
        projections[j] = remove(column, &mut y);
    }

    // The inverse of the triangle, column by column.
    let mut inverse = vec![vec![0.0; k]; k];
    for j in 0..k {
        inverse[j][j] = 1.0 / triangle[j][j];
        for i in (0..j).rev() {
            let sum: f64 = (i + 1..=j).map(|m| triangle[i][m] * inverse[m][j]).sum();
            inverse[i][j] = -sum / triangle[i][i];
        }
    }
    Ok(Fit {
        coefficients: inverse.iter().map(|row| dot(row, &projections)).collect(),
        inverse: inverse.iter().map(|row| dot(row, row)).collect(),
        residual: dot(&y, &y),
    })
}

/// Returns values with their mean subtracted and scaled to length 1; `None` if they are all equal.
pub(crate) fn standardise(mut values: Vec<f64>) -> Option<Vec<f64>> {
    if values.iter().all(|value| *value == values[0]) {
        return None;
    }
    let mean = mean(&values);
    let length = squares(&values, mean).sqrt();
    values.iter_mut().for_each(|value| *value = (*value - mean) / length);
    Some(values)
}

/// Returns the rank of each value from 1; equal values have the mean of their ranks.
pub(crate) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|&at| ranks[at] = rank);
        before += equal.len();
    }
    ranks
}

/// Removes from `values` their part in the direction of `unit`, and returns its length.
fn remove(unit: &[f64], values: &mut [f64]) -> f64 {
    let length = dot(unit, values);
    values.iter_mut().zip(unit).for_each(|(value, unit)| *value -= length * unit);
    length
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_a_rank() {
        assert_eq!(ranks(&[3.0, -1.0, 3.0, 0.0, -0.0, 3.0]), [5.0, 1.0, 5.0, 2.5, 2.5, 5.0]);
    }

    #[test]
    fn standardised_values_have_mean_0_and_length_1() {
        assert_eq!(standardise(vec![1.0, 3.0, 1.0, 3.0]), Some(vec![-0.5, 0.5, -0.5, 0.5]));
        assert_eq!(standardise(vec![0.1; 3]), None);
    }

    #[test]
    fn a_fit_has_the_inverse_of_the_products() {
        // Columns with the product c have the inverse 1 / (1 − c²).
        let [x, y] = [vec![1.0, 0.0, 0.0], vec![0.6, 0.8, 0.0]];
        let fit = fit(vec![x, y], vec![0.0, 0.8, 0.6]).expect("independent columns");
        for (found, expected) in [
            (fit.coefficients[0], -0.6),
            (fit.coefficients[1], 1.0),
            (fit.inverse[0], 1.0 / 0.64),
            (fit.inverse[1], 1.0 / 0.64),
            (fit.residual, 0.36),
        ] {
            assert!((found - expected).abs() < 1e-15, "{found} != {expected}");
        }
    }
}
