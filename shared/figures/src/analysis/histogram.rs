//! Histograms as densities.

/// Largest number of bins. If there were more, the bins are made wider.
const MOST_BINS: f64 = 2000.0;

/// Numbers of values in bins [k·w, (k + 1)·w). All bins have one width w and begin at integer multiples of
/// it.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Width of all bins.
    pub width: f64,
    /// k of the first bin.
    pub first: i64,
    /// Number of values in each bin, from the first to the last bin that has any.
    pub counts: Vec<usize>,
}

impl Histogram {
    /// Creates the histogram of a sample. Returns `None` if the sample is empty or not finite, or if the
    /// width is not positive. The width is doubled until there are at most 2000 bins.
    pub fn new(values: &[f64], width: f64) -> Option<Histogram> {
        let fits = !values.is_empty() && values.iter().all(|value| value.is_finite());
        if !(fits && width.is_finite() && width > 0.0) {
            return None;
        }
        let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut width = width;
        while largest / width - smallest / width > MOST_BINS
            || largest.abs().max(smallest.abs()) / width > 1e15
        {
            width *= 2.0;
        }
        let first = bin(smallest, width);
        let last = bin(largest, width);
        let mut counts = vec![0; (last - first + 1) as usize];
        for value in values {
            counts[(bin(*value, width) - first) as usize] += 1;
        }
        Some(Histogram { width, first, counts })
    }

    /// Returns the lower edge of the bin at this index of `counts`.
    pub fn edge(&self, at: usize) -> f64 {
        (self.first + at as i64) as f64 * self.width
    }

    /// Returns the fraction of the sample in each bin, divided by the bin's width. The area of all bins is 1.
    pub fn densities(&self) -> Vec<f64> {
        let n: usize = self.counts.iter().sum();
        self.counts.iter().map(|&count| count as f64 / (n as f64 * self.width)).collect()
    }
}

/// Returns the k with k·width ≤ value < (k + 1)·width, in the arithmetic of [`Histogram::edge`].
fn bin(value: f64, width: f64) -> i64 {
    // The quotient is rounded, so `near` may be off by one.
    let near = (value / width).floor() as i64;
    [near + 1, near, near - 1].into_iter().find(|&k| k as f64 * width <= value).unwrap_or(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_at_edges_begin_their_bin() {
        // 3 · 0.1 is 0.30000000000000004, so 0.3 lies below that edge.
        let histogram = Histogram::new(&[0.0, 0.1, 0.2, 0.3, 0.1 * 3.0, -0.05], 0.1).expect("values");
        assert_eq!((histogram.first, histogram.counts.as_slice()), (-1, &[1, 1, 1, 2, 1][..]));
        assert_eq!(histogram.edge(0), -0.1);
        let area: f64 = histogram.densities().iter().sum::<f64>() * 0.1;
        assert!((area - 1.0).abs() < 1e-15);
    }

    #[test]
    fn no_value_is_left_out() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i) * 0.1).collect();
        let histogram = Histogram::new(&values, 0.1).expect("values");
        assert_eq!(histogram.counts, vec![1; 1000]);
    }

    #[test]
    fn degenerate_samples() {
        assert_eq!(Histogram::new(&[], 0.1), None);
        assert_eq!(Histogram::new(&[f64::INFINITY], 0.1), None);
        assert_eq!(Histogram::new(&[0.0], -1.0), None);
        assert_eq!(Histogram::new(&[0.0], 0.1).expect("a value").counts, [1]);
        assert!(Histogram::new(&[0.0, 1e300], 0.1).expect("values").counts.len() <= 2001);
        assert!(Histogram::new(&[1e300], 0.1).expect("values").counts.len() == 1);
    }
}
