//! Output files of a model: what they are called, what they hold, and how they are derived from the spikes.

use std::iter::Sum;
use std::ops::Add;

use crate::spikes::TrialSpikes;

/// A kind of output file, which sweep files switch on and off under `record`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The key under `record`.
    pub key: &'static str,
    /// What the files hold, in a line.
    pub about: &'static str,
    /// Whether the files are large: they are then written for presets only, unless the sweep file says otherwise.
    pub is_large: bool,
}

/// An output file of a condition and a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Its name in the directory of its seed.
    pub name: String,
    /// The [`Kind`] that it belongs to, by its place in the engine's list.
    pub kind: usize,
    /// The array that it holds, as [`Derive::array`] calls it. Part of the file's identity.
    pub array: &'static str,
    /// A rule for deriving it that differs from that of version 0.1.0, or nothing. Part of the file's identity.
    pub rule: &'static str,
    /// Element type, as numpy calls it.
    pub dtype: &'static str,
    /// What each axis counts.
    pub axes: &'static [&'static str],
    /// Unit of the elements; empty for bare numbers.
    pub unit: &'static str,
    /// Expected size of the content, without the header.
    pub size: Size,
    /// Whether it follows from the spikes alone, and can be written when trials are missing.
    pub is_of_spikes: bool,
}

/// A size in bytes that is not known exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// A lower bound.
    pub least: f64,
    /// The mean.
    pub expected: f64,
}

impl Size {
    /// A size that is known.
    pub fn exactly(bytes: f64) -> Size {
        Size { least: bytes, expected: bytes }
    }

    /// So many of these.
    #[must_use]
    pub fn times(self, factor: f64) -> Size {
        Size { least: self.least * factor, expected: self.expected * factor }
    }
}

impl Add for Size {
    type Output = Size;

    fn add(self, other: Size) -> Size {
        Size { least: self.least + other.least, expected: self.expected + other.expected }
    }
}

impl Sum for Size {
    fn sum<I: Iterator<Item = Size>>(sizes: I) -> Size {
        sizes.fold(Size::default(), Add::add)
    }
}

/// The output arrays of a condition and a seed in the making.
pub trait Derive: Send + Sync {
    /// Adds the next trial; trials come in order, from the first on.
    fn add(&mut self, spikes: TrialSpikes);

    /// The array of this name, after all trials have been added.
    ///
    /// # Panics
    /// If no [`File`] of the condition has this array.
    fn array(&self, name: &str) -> Array<'_>;
}

/// The row of a matrix for one of its cells.
pub type Row<'a> = Box<dyn Fn(u32) -> Vec<f64> + Sync + 'a>;

/// What an output file holds.
pub enum Array<'a> {
    /// A matrix with a row for each of these cells. Rows can be made in any order and side by side.
    Rows {
        /// The cells, in the order of the rows.
        cells: Vec<u32>,
        /// Columns of each row.
        columns: usize,
        /// Makes a row.
        row: Row<'a>,
    },
    /// Pairs of 32-bit integers, stored column by column.
    Pairs(Vec<[i32; 2]>),
    /// A vector.
    Vector(Vec<f64>),
    /// A pickled dictionary of vectors by number.
    Dictionary(Vec<(i64, Vec<f64>)>),
}
