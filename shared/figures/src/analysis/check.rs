//! Whether arrays are what an analysis takes them for.

use ndarray::{ArrayView1, ArrayView2, s};

use super::cells::driven;
use super::{Criteria, Recording};
use crate::Condition;

/// Why nothing could be measured.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AnalysisError {
    /// Which cells are driven is not known.
    #[error("there are no connections of Control: which granule cells the stimulus drives is not known")]
    NoConnections,
    /// Connections or weights are not those of Control, so that the networks are not the same.
    #[error("the {what} of {} are not those of Control", condition.name())]
    Differ {
        /// `connections` or `weights`.
        what: &'static str,
        /// Whose they are.
        condition: Condition,
    },
    /// An array has not the shape that others ask for.
    #[error("{what}: {found:?} values, where the other arrays ask for {expected:?}")]
    Shape {
        /// The array.
        what: String,
        /// Its shape.
        found: Vec<usize>,
        /// What it should be.
        expected: Vec<usize>,
    },
    /// The recording ends before the window does.
    #[error("{what}: {found} ms were recorded, but {needed} ms are looked at")]
    TooShort {
        /// The array.
        what: String,
        /// Its length in ms.
        found: usize,
        /// What is needed at least.
        needed: usize,
    },
    /// A synapse onto a granule cell that there is not.
    #[error("a connection leads to granule cell {cell}, of {cells}")]
    NoSuchCell {
        /// The cell.
        cell: i32,
        /// How many there are.
        cells: usize,
    },
    /// A number that cannot be what it should be.
    #[error("{what}, cell {cell}, {ms} ms: {value} is no {kind}")]
    Value {
        /// The array.
        what: String,
        /// Its row.
        cell: usize,
        /// Its column.
        ms: usize,
        /// What is there, as text.
        value: String,
        /// What should be there.
        kind: &'static str,
    },
    /// Criteria that select nothing of the window, or point beyond it.
    #[error("the responses to the stimuli must lie in the window, which must have at least two samples")]
    Criteria,
}

/// Checks criteria alone.
pub(super) fn criteria(criteria: &Criteria) -> Result<(), AnalysisError> {
    let inside = |range: &std::ops::Range<usize>| !range.is_empty() && range.end <= criteria.window_ms.len();
    let fits = criteria.window_ms.len() >= 2 && inside(&criteria.second) && inside(&criteria.third);
    if fits && !criteria.most.is_nan() { Ok(()) } else { Err(AnalysisError::Criteria) }
}

/// Checks all that is used of a recording. Gives its driven cells, ascending, with how many active synapses
/// each has.
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

    for condition in Condition::ALL {
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
