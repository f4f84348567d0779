//! The analysis and the figures of Fore, Taylor, Brunel and Hull (2020), J. Neurosci.,
//! doi:10.1523/JNEUROSCI.2148-19.2020.
//!
//! The input is arrays, the output numbers and pictures. This crate reads and writes no files, and equal
//! arrays give equal bytes.
//!
//! ```text
//! Recording (arrays of one seed) → Analysis (cells, classes, means, densities)
//!                                → paper::… → Figure → SVG → PDF, PNG
//!                                                    → Tables
//! ```
//!
//! [`drawing`] does not depend on the paper: it has panels, axes and marks for any figure. docs/figures.md
//! has the definitions.

pub mod analysis;
mod condition;
pub mod drawing;
mod figure;
pub mod paper;
pub mod sweep;

pub use analysis::{
    Analysis, AnalysisError, Criteria, DrivenConductances, RecordedWeights, Recording, Responses,
};
pub use condition::{Change, PaperCondition};
pub use figure::{Column, ColumnData, Figure, RenderError, Table};
