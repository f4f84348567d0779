//! Designs for variance-based sensitivity, which an analysis must recognise in the conditions of a sweep.

use std::ops::Range;

use crate::draws::Distribution;

/// The conditions that a condition with `sobol` stands for: Saltelli's scheme. For each base point, they are A, then A
/// with the value of each axis in turn from B, then B.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// The name of the conditions, with placeholders.
    pub name: String,
    /// Index of the first condition in the sweep.
    pub first: usize,
    /// Number of base points, a power of two.
    pub base_points: u32,
    /// Path and distribution of each axis, at least one. The paths differ.
    pub axes: Vec<(&'static str, Distribution)>,
}

/// A design without its place in a sweep.
pub(crate) struct Saltelli {
    pub(crate) base_points: u32,
    pub(crate) axes: Vec<(&'static str, Distribution)>,
}

impl Design {
    /// Returns the indices of the conditions.
    #[must_use]
    pub fn conditions(&self) -> Range<usize> {
        self.first..self.first.saturating_add((self.base_points as usize).saturating_mul(self.axes.len() + 2))
    }
}
