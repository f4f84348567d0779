//! Which cells the paper looks at, and what it measures of them.
//!
//! The definitions are those of the original program's figures, as numbers; docs/figures.md has them as
//! formulas, and lists where the original did something else than it meant to.

mod cells;
mod check;
mod density;
mod histogram;
mod recording;
mod summary;

use ndarray::{Array2, ArrayView2};

pub use cells::{Cell, Counts, Criteria, Quantity};
pub use check::AnalysisError;
pub use density::Density;
pub use histogram::Histogram;
pub use recording::{Conductances, Recording, Responses, Weights};
pub use summary::Summary;

use crate::{Change, Condition};

/// What was measured of one seed.
#[derive(Clone, Debug)]
pub struct Analysis {
    criteria: Criteria,
    counts: Counts,
    cells: Vec<Cell>,
    /// Spike probability relative to each cell's Control peak, per condition: (cells, ms of the window).
    relative: [Array2<f64>; 3],
}

impl Analysis {
    /// Selects and measures cells.
    ///
    /// # Errors
    /// If arrays do not fit together or hold what cannot be. That no cell is selected is no error.
    pub fn new(recording: &Recording<'_>, criteria: &Criteria) -> Result<Analysis, AnalysisError> {
        check::criteria(criteria)?;
        let driven = check::recording(recording, criteria)?;
        let (counts, cells) = cells::select(recording, criteria, &driven);
        let relative = Condition::ALL.map(|condition| {
            let probability = recording.responses(condition).probability;
            Array2::from_shape_fn((cells.len(), criteria.window_ms.len()), |(row, ms)| {
                let cell = &cells[row];
                probability[[cell.index as usize, criteria.window_ms.start + ms]]
                    / cell.peak(Condition::Control)
            })
        });
        Ok(Analysis { criteria: criteria.clone(), counts, cells, relative })
    }

    /// How cells were selected.
    pub fn criteria(&self) -> &Criteria {
        &self.criteria
    }

    /// How many cells are left after each step of the selection.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The selected cells, ascending.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Selected cells of a class.
    pub fn of_class(&self, change: Change) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.change == change)
    }

    /// Spike probability of the selected cells in the window, each relative to the cell's Control peak:
    /// (cells, ms).
    pub fn relative(&self, condition: Condition) -> ArrayView2<'_, f64> {
        self.relative[condition as usize].view()
    }

    /// Mean over the cells of a class of the relative spike probability, for every ms of the window.
    pub fn time_course(&self, condition: Condition, change: Change) -> Vec<Summary> {
        let relative = self.relative(condition);
        let rows: Vec<usize> =
            (0..self.cells.len()).filter(|&row| self.cells[row].change == change).collect();
        let at = |ms: usize| rows.iter().map(|&row| relative[[row, ms]]).collect::<Vec<f64>>();
        self.criteria.window_ms.clone().enumerate().map(|(ms, _)| Summary::of(&at(ms))).collect()
    }

    /// A quantity of the cells of a class for which it was recorded.
    pub fn values(&self, quantity: Quantity, change: Change) -> Vec<f64> {
        self.of_class(change).filter_map(|cell| quantity.of(cell)).collect()
    }

    /// Mean and standard error of a quantity over the cells of a class.
    pub fn summary(&self, quantity: Quantity, change: Change) -> Summary {
        Summary::of(&self.values(quantity, change))
    }

    /// Density of a quantity over the cells of a class; none without a cell.
    pub fn density(&self, quantity: Quantity, change: Change) -> Option<Density> {
        Density::new(self.values(quantity, change), quantity.bandwidth())
    }

    /// Histogram of a quantity over the cells of a class; none without a cell.
    pub fn histogram(&self, quantity: Quantity, change: Change) -> Option<Histogram> {
        Histogram::new(&self.values(quantity, change), quantity.bin_width())
    }
}

#[cfg(test)]
mod tests;
