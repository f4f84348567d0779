//! Output files of a model: their names, their content, and their derivation from the spikes.

use std::borrow::Cow;
use std::iter::Sum;
use std::ops::Add;

use crate::spikes::TrialSpikes;

/// A kind of output file, which sweep files switch on and off under `record`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKind {
    /// The key under `record`.
    pub key: &'static str,
    /// Content of the files, in one line.
    pub about: &'static str,
    /// Whether the files are large. Large files are written for presets only, unless the sweep file requests them.
    pub is_large: bool,
}

/// An output file of a condition and a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Name in the directory of its seed.
    pub name: String,
    /// Index of its [`FileKind`] in [`Engine::kinds`](crate::Engine::kinds).
    pub kind: usize,
    /// Name of the array that it holds, for [`Derive::array`]. Part of the file's identity.
    pub array: &'static str,
    /// Name of the derivation rule if it differs from that of version 0.1.0; otherwise empty. Part of the file's
    /// identity.
    pub rule: &'static str,
    /// Element type, in numpy's notation.
    pub dtype: &'static str,
    /// For each axis, the things that it counts.
    pub axes: &'static [&'static str],
    /// Unit of the elements; empty for bare numbers.
    pub unit: &'static str,
    /// Expected size of the content, without the header.
    pub size: Size,
    /// Whether it depends on the spikes only, and can be written when trials are missing.
    pub is_of_spikes: bool,
}

/// An estimate of a size, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// A lower bound.
    pub least: f64,
    /// The mean.
    pub expected: f64,
}

impl Size {
    /// Returns a size that is known exactly.
    pub fn exactly(bytes: f64) -> Size {
        Size { least: bytes, expected: bytes }
    }

    /// Multiplies the size by a factor.
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

/// Derives the output arrays of a condition and a seed.
pub trait Derive: Send + Sync {
    /// Adds the next trial. The caller adds trials in order, from the first.
    fn add(&mut self, spikes: TrialSpikes);

    /// Returns the array of this name, after all trials have been added.
    ///
    /// # Panics
    /// If no [`File`] of the condition has this array.
    fn array(&self, name: &str) -> Array<'_>;
}

/// Computes the row of a matrix for one of its cells.
pub type Row<'a> = Box<dyn Fn(u32) -> Vec<f64> + Sync + 'a>;

/// Content of an output file.
pub enum Array<'a> {
    /// A matrix with a row for each of these cells. Rows can be computed in any order and in parallel.
    Rows {
        /// The cells, in the order of the rows.
        cells: Vec<u32>,
        /// Number of columns of each row.
        columns: usize,
        /// Computes a row.
        row: Row<'a>,
    },
    /// Pairs of 32-bit integers, stored column by column.
    Pairs(Vec<[i32; 2]>),
    /// A vector.
    Vector(Vec<f64>),
    /// An array of any number of axes, in C order.
    Shaped {
        /// Lengths of the axes.
        shape: Vec<usize>,
        /// The elements.
        elements: Cow<'a, [f64]>,
    },
    /// A pickled dictionary of vectors by number.
    Dictionary(KeyType, Vec<(i64, Vec<f64>)>),
}

/// Type of the keys of a pickled dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// numpy's default integer on Linux and macOS.
    Int64,
    /// numpy's default integer on Windows, before numpy 2.
    Int32,
}
