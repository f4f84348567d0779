//! Checks of the arrays and criteria of an analysis.

use ndarray::{ArrayView1, ArrayView2, s};

use super::cells::driven;
use super::{Criteria, Recording};
use crate::PaperCondition;

/// Why an analysis is impossible.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AnalysisError {
    /// There are no connections of Control, so the driven cells are unknown.
    #[error("the connections of Control are missing, so the driven granule cells are unknown")]
    NoConnections,
    /// A condition has other connections or weights than Control, so the networks differ.
    #[error("the {what} of {} are not those of Control", condition.name())]
    Differ {
        /// `connections` or `weights`.
        what: &'static str,
        /// The condition that differs from Control.
        condition: PaperCondition,
    },
    /// The shape of an array does not fit the other arrays.
    #[error("{what}: {found:?} values; expected {expected:?}, as in the other arrays")]
    Shape {
        /// Name of the array.
        what: String,
        /// Shape of the array.
        found: Vec<usize>,
        /// Shape that the other arrays require.
        expected: Vec<usize>,
    },
    /// The recording ends before the window does.
    #[error("{what}: {found} ms were recorded, but {needed} ms are needed")]
    TooShort {
        /// Name of the array.
        what: String,
        /// Length of the recording, in ms.
        found: usize,
        /// Smallest length that contains the window, in ms.
        needed: usize,
    },
    /// A connection leads to a granule cell that does not exist.
    #[error("a connection leads to granule cell {cell}, but the recording has only {cells} cells")]
    NoSuchCell {
        /// The granule cell of the connection.
        cell: i32,
        /// Number of granule cells.
        cells: usize,
    },
    /// A value is outside the range of its kind.
    #[error("{what}, cell {cell}, {ms} ms: {value} is not a {kind}")]
    Value {
        /// Name of the array.
        what: String,
        /// Row of the value in the array.
        cell: usize,
        /// Time of the value, in ms of the recording.
        ms: usize,
        /// The value, as text.
        value: String,
        /// Kind of the value: `probability`, `conductance` or `factor`.
        kind: &'static str,
    },
    /// A response's range is empty or extends beyond the window, the window has fewer than two samples, or
    /// the probability is NaN.
    #[error("the responses to the stimuli must lie in the window, which must have at least two samples")]
    Criteria,
}

/// Checks the criteria, without a recording.
pub(super) fn criteria(criteria: &Criteria) -> Result<(), AnalysisError> {
    let inside = |range: &std::ops::Range<usize>| !range.is_empty() && range.end <= criteria.window_ms.len();
    let fits = criteria.window_ms.len() >= 2 && inside(&criteria.second) && inside(&criteria.third);
    if fits && !criteria.most.is_nan() { Ok(()) } else { Err(AnalysisError::Criteria) }
}

/// Checks all parts of a recording that the analysis uses. Returns the driven cells in ascending order, each
/// with the number of its active synapses.
pub(super) fn recording(
    recording: &Recording<'_>,
    criteria: &Criteria,
) -> Result<Vec<(u32, usize)>, AnalysisError> {
    let control = &recording.control;
    let connections = control.connections.ok_or(AnalysisError::NoConnections)?;
    shape("connections", connections.shape(), &[connections.nrows(), 2])?;
    let (cells, ms) = control.probability.dim();
    let reaches_nothing = |cell: &&i32| usize::try_from(**cell).map_or(true, |cell| cell >= cells);
    if let Some(&cell) = connections.column(1).iter().find(reaches_nothing) {
        return Err(AnalysisError::NoSuchCell { cell, cells });
    }
    let driven = driven(connections);

    for condition in PaperCondition::ALL {
        let responses = recording.responses(condition);
        if responses.connections.is_some_and(|of_condition| of_condition != connections) {
            return Err(AnalysisError::Differ { what: "connections", condition });
        }
        if let (Some(weights), Some(of_control)) = (responses.weights, control.weights)
            && weights != of_control
        {
            return Err(AnalysisError::Differ { what: "weights", condition });
        }
        let what = format!("spike probability of {}", condition.name());
        shape(&what, responses.probability.shape(), &[cells, ms])?;
        long_enough(&what, ms, criteria)?;
        for &(cell, _) in &driven {
            let row = responses.probability.row(cell as usize);
            let is = |value: f64| (0.0..=1.0).contains(&value);
            values(&what, cell as usize, 0, row, "probability", is)?;
        }
    }
    if let Some(conductances) = &recording.conductances {
        for (kind, array) in
            [("excitatory", conductances.excitation), ("inhibitory", conductances.inhibition)]
        {
            conductance(&format!("{kind} conductances"), array, driven.len(), ms, criteria)?;
        }
    }
    if let Some(factors) = recording.tonic_factors {
        shape("tonic factors", factors.shape(), &[driven.len()])?;
        for (row, factor) in factors.iter().enumerate() {
            values("tonic factors", row, 0, ArrayView1::from(&[*factor]), "factor", f64::is_finite)?;
        }
    }
    Ok(driven)
}

fn conductance(
    what: &str,
    array: ArrayView2<'_, f64>,
    driven: usize,
    ms: usize,
    criteria: &Criteria,
) -> Result<(), AnalysisError> {
    shape(what, array.shape(), &[driven, ms])?;
    for (cell, row) in array.rows().into_iter().enumerate() {
        let window = row.slice(s![criteria.window_ms.clone()]);
        values(what, cell, criteria.window_ms.start, window, "conductance", f64::is_finite)?;
    }
    Ok(())
}

fn shape(what: &str, found: &[usize], expected: &[usize]) -> Result<(), AnalysisError> {
    if found == expected {
        return Ok(());
    }
    Err(AnalysisError::Shape { what: what.to_owned(), found: found.to_vec(), expected: expected.to_vec() })
}

fn long_enough(what: &str, found: usize, criteria: &Criteria) -> Result<(), AnalysisError> {
    let needed = criteria.window_ms.end;
    if found >= needed {
        Ok(())
    } else {
        Err(AnalysisError::TooShort { what: what.to_owned(), found, needed })
    }
}

fn values(
    what: &str,
    cell: usize,
    first_ms: usize,
    row: ArrayView1<'_, f64>,
    kind: &'static str,
    is: impl Fn(f64) -> bool,
) -> Result<(), AnalysisError> {
    match row.iter().position(|&value| !is(value)) {
        None => Ok(()),
        Some(at) => Err(AnalysisError::Value {
            what: what.to_owned(),
            cell,
            ms: first_ms + at,
            value: row[at].to_string(),
            kind,
        }),
    }
}
