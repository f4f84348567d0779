//! Selects the cells that the paper analyses, and measures them.
//!
//! The definitions are those of the original program's figures. docs/figures.md has them as formulas, and
//! lists where the original deviates from its own intent.

mod cells;
mod check;
mod density;
mod histogram;
mod recording;
mod summary;

use ndarray::{Array2, ArrayView2};

pub use cells::{Criteria, Quantity, SelectedCell, SelectionCounts};
pub use check::AnalysisError;
pub use density::Density;
pub use histogram::Histogram;
pub use recording::{DrivenConductances, RecordedWeights, Recording, Responses};
pub use summary::Summary;

use crate::{Change, PaperCondition};

/// Selected cells of one seed, with their measured quantities.
#[derive(Clone, Debug)]
pub struct Analysis {
    criteria: Criteria,
    counts: SelectionCounts,
    cells: Vec<SelectedCell>,
    /// Spike probability relative to each cell's Control peak, per condition: (cells, ms of the window).
    relative: [Array2<f64>; 3],
}

impl Analysis {
    /// Checks a recording, then selects and measures its cells.
    ///
    /// # Errors
    /// If arrays do not fit together or have invalid values, or if the criteria do not fit the window. A
    /// selection without cells is no error.
    pub fn new(recording: &Recording<'_>, criteria: &Criteria) -> Result<Analysis, AnalysisError> {
        check::criteria(criteria)?;
        let driven = check::recording(recording, criteria)?;
        let (counts, cells) = cells::select(recording, criteria, &driven);
        let relative = PaperCondition::ALL.map(|condition| {
            let probability = recording.responses(condition).probability;
            Array2::from_shape_fn((cells.len(), criteria.window_ms.len()), |(row, ms)| {
                let cell = &cells[row];
                probability[[cell.index as usize, criteria.window_ms.start + ms]]
                    / cell.peak(PaperCondition::Control)
            })
        });
        Ok(Analysis { criteria: criteria.clone(), counts, cells, relative })
    }

    /// The criteria that selected the cells.
    pub fn criteria(&self) -> &Criteria {
        &self.criteria
    }

    /// Number of cells after each step of the selection, and in each class.
    pub fn counts(&self) -> SelectionCounts {
        self.counts
    }

    /// The selected cells, in ascending order.
    pub fn cells(&self) -> &[SelectedCell] {
        &self.cells
    }

    /// The selected cells of a class.
    pub fn of_class(&self, change: Change) -> impl Iterator<Item = &SelectedCell> {
        self.cells.iter().filter(move |cell| cell.change == change)
    }

    /// Returns the spike probability of the selected cells in the window, relative to each cell's Control
    /// peak: (cells, ms).
    pub fn relative(&self, condition: PaperCondition) -> ArrayView2<'_, f64> {
        self.relative[condition as usize].view()
    }

    /// Returns mean and standard error of the relative spike probability over the cells of a class, for each
    /// ms of the window.
    pub fn time_course(&self, condition: PaperCondition, change: Change) -> Vec<Summary> {
        let relative = self.relative(condition);
        let rows: Vec<usize> =
            (0..self.cells.len()).filter(|&row| self.cells[row].change == change).collect();
        let at = |ms: usize| rows.iter().map(|&row| relative[[row, ms]]).collect::<Vec<f64>>();
        self.criteria.window_ms.clone().enumerate().map(|(ms, _)| Summary::of(&at(ms))).collect()
    }

    /// Returns the values of a quantity for those cells of a class for which it was recorded.
    pub fn values(&self, quantity: Quantity, change: Change) -> Vec<f64> {
        self.of_class(change).filter_map(|cell| quantity.of(cell)).collect()
    }

    /// Returns mean and standard error of a quantity over the cells of a class.
    pub fn summary(&self, quantity: Quantity, change: Change) -> Summary {
        Summary::of(&self.values(quantity, change))
    }

    /// Returns the kernel density of a quantity over the cells of a class; `None` without cells.
    pub fn density(&self, quantity: Quantity, change: Change) -> Option<Density> {
        Density::new(self.values(quantity, change), quantity.bandwidth())
    }

    /// Returns the histogram of a quantity over the cells of a class; `None` without cells.
    pub fn histogram(&self, quantity: Quantity, change: Change) -> Option<Histogram> {
        Histogram::new(&self.values(quantity, change), quantity.bin_width())
    }
}

#[cfg(test)]
mod tests;
