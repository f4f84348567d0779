//! The analysis and the figures of Fore, Taylor, Brunel and Hull (2020), J. Neurosci.,
//! doi:10.1523/JNEUROSCI.2148-19.2020.
//!
//! Arrays in, numbers and pictures out: nothing here reads or writes a file, and the same arrays give the
//! same bytes.
//!
//! ```text
//! Recording (arrays of one seed) → Analysis (cells, classes, means, densities)
//!                                → paper::… → Figure → SVG → PDF, PNG
//!                                                    → Tables
//! ```
//!
//! [`drawing`] knows nothing of the paper: panels, axes and marks, for any other figure. docs/figures.md has
//! the definitions.

pub mod analysis;
mod condition;
pub mod drawing;
mod figure;
pub mod paper;
pub mod sweep;

pub use analysis::{Analysis, AnalysisError, Conductances, Criteria, Recording, Responses, Weights};
pub use condition::{Change, Condition};
pub use figure::{Column, Figure, RenderError, Table, Values};
