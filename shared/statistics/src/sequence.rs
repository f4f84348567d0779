//! Points that fill the unit cube evenly, for sensitivity analyses.

mod directions;

use ndarray::Array2;

use directions::{BITS, MOST_DIMENSIONS};

/// The Sobol' sequence in base 2, without scrambling: an endless row of points in [0, 1)ᵈ, of which each 2ᵐ fill the cube
/// evenly. It begins with the origin, which belongs to it: Owen (2020), arXiv:2008.08051. Use a power of two of points.
///
/// Points have 30 bits and the order of the Gray code, as in `scipy.stats.qmc.Sobol(d, scramble=False)`; after 2³⁰ points
/// the iterator ends. Source: Joe and Kuo (2008), SIAM Journal on Scientific Computing 30, 2635–2654.
#[derive(Clone, Debug)]
pub struct Sobol {
    directions: Vec<[u32; BITS]>,
    point: Vec<u32>,
    index: u32,
}

/// Largest number of inputs of [`Saltelli::points`].
pub const MOST_INPUTS: usize = MOST_DIMENSIONS / 2;

/// Why a design has no points.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SequenceError {
    /// There are no direction numbers for so many dimensions.
    #[error("the Sobol' sequence of {0} dimensions is not available; at most {MOST_DIMENSIONS} are")]
    TooManyDimensions(usize),
    /// The sequence has fewer points.
    #[error("{0} base points; the Sobol' sequence has at most 2^{BITS}")]
    TooManyPoints(usize),
}

impl Sobol {
    /// Creates the sequence of a dimension.
    ///
    /// # Errors
    /// If the dimension is above 100.
    pub fn new(dimensions: usize) -> Result<Sobol, SequenceError> {
        if dimensions > MOST_DIMENSIONS {
            return Err(SequenceError::TooManyDimensions(dimensions));
        }
        let directions = directions::of(dimensions);
        Ok(Sobol { directions, point: vec![0; dimensions], index: 0 })
    }
}

impl Iterator for Sobol {
    type Item = Vec<f64>;

    fn next(&mut self) -> Option<Vec<f64>> {
        if self.index == 1 << BITS {
            return None;
        }
        let scale = f64::from(1_u32 << BITS);
        let point = self.point.iter().map(|&value| f64::from(value) / scale).collect();
        // The next index in Gray code differs in the bit of the lowest zero of this index.
        let bit = self.index.trailing_ones() as usize;
        if bit < BITS {
            self.point
                .iter_mut()
                .zip(&self.directions)
                .for_each(|(value, direction)| *value ^= direction[bit]);
        }
        self.index += 1;
        Some(point)
    }
}

/// Saltelli's design for Sobol' indices of first and total order: Saltelli et al. (2010), Computer Physics Communications
/// 181, 259–270.
///
/// Each base point gives two independent points A and B of k inputs. They are the first and second half of a point of the
/// Sobol' sequence in 2k dimensions. A base point has k + 2 rows: A; for each input, A with this input from B; B.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saltelli {
    /// Number of base points N, preferably a power of two.
    pub base_points: usize,
    /// Number of inputs k, at most [`MOST_INPUTS`] for `points`.
    pub inputs: usize,
}

impl Saltelli {
    /// Returns the number of rows, N (k + 2); `None` if a `usize` cannot hold it.
    pub fn rows(self) -> Option<usize> {
        self.inputs.checked_add(2)?.checked_mul(self.base_points)
    }

    /// Returns the points in [0, 1)ᵏ, of shape (N (k + 2), k). The order is that of `SALib.sample.sobol.sample` with
    /// `calc_second_order=False` and `scramble=False`.
    ///
    /// # Errors
    /// If there are more than [`MOST_INPUTS`] inputs or 2³⁰ base points.
    pub fn points(self) -> Result<Array2<f64>, SequenceError> {
        let Saltelli { base_points, inputs } = self;
        let sequence = Sobol::new(inputs.saturating_mul(2))?;
        let rows = self.rows().filter(|_| base_points <= 1 << BITS);
        let rows = rows.ok_or(SequenceError::TooManyPoints(base_points))?;
        let mut points = Array2::zeros((rows, inputs));
        for (base, both) in sequence.take(base_points).enumerate() {
            for row in 0..inputs + 2 {
                for input in 0..inputs {
                    let is_of_b = row == input + 1 || row == inputs + 1;
                    let of = if is_of_b { inputs + input } else { input };
                    points[[base * (inputs + 2) + row, input]] = both[of];
                }
            }
        }
        Ok(points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_begins_as_published() {
        let points: Vec<Vec<f64>> = Sobol::new(3).expect("few dimensions").take(5).collect();
        let expected = [[0.0; 3], [0.5; 3], [0.75, 0.25, 0.25], [0.25, 0.75, 0.75], [0.375, 0.375, 0.625]];
        assert_eq!(points, expected);
    }

    #[test]
    fn each_dimension_has_a_value_in_each_interval() {
        let sequence = Sobol::new(MOST_DIMENSIONS).expect("all dimensions");
        let points: Vec<Vec<f64>> = sequence.take(256).collect();
        for dimension in 0..MOST_DIMENSIONS {
            let mut intervals: Vec<usize> =
                points.iter().map(|point| (point[dimension] * 256.0) as usize).collect();
            intervals.sort_unstable();
            assert!(intervals.into_iter().eq(0..256), "{dimension}");
        }
    }

    #[test]
    fn the_sequence_ends_after_all_its_points() {
        let mut sequence = Sobol::new(2).expect("few dimensions");
        sequence.index = (1 << BITS) - 1;
        assert!(sequence.next().is_some());
        assert_eq!(sequence.next(), None);
    }

    #[test]
    fn a_design_crosses_both_halves_of_a_point() {
        let points = Saltelli { base_points: 3, inputs: 2 }.points().expect("a small design");
        let halves: Vec<Vec<f64>> = Sobol::new(4).expect("few dimensions").take(3).collect();
        let [a, b, c, d] = halves[2][..] else { panic!("{halves:?}") };
        assert_eq!(points.dim(), (12, 2));
        assert_eq!(points.slice(ndarray::s![8.., ..]), ndarray::array![[a, b], [c, b], [a, d], [c, d]]);
    }

    #[test]
    fn designs_that_are_too_large_are_refused() {
        let most = Saltelli { base_points: 1, inputs: MOST_INPUTS };
        assert_eq!(most.points().map(|points| points.dim()), Ok((52, 50)));
        for (inputs, dimensions) in [(51, 102), (usize::MAX, usize::MAX)] {
            let error = Saltelli { inputs, ..most }.points();
            assert_eq!(error, Err(SequenceError::TooManyDimensions(dimensions)));
        }
        let base_points = (1 << BITS) + 1;
        let error = Saltelli { base_points, inputs: 1 }.points();
        assert_eq!(error, Err(SequenceError::TooManyPoints(base_points)));
    }
}
