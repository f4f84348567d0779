//! Matrices with a row for each cell, computed in parallel.

use std::io::Write;

use granule_system::threads::side_by_side;
use ndarray::{Array2, ArrayView1, Axis};
use rayon::prelude::*;

use crate::errors::EncodeError;
use crate::npy::{F64MatrixWriter, MatrixShape};

/// Writes a matrix with a row for each of these cells, computed in parallel. Returns `false` if interrupted.
pub fn write_rows<W: Write>(
    writer: &mut W,
    cells: &[u32],
    bins: usize,
    row: impl Fn(u32) -> Vec<f64> + Sync,
    is_interrupted: &(dyn Fn() -> bool + Sync),
) -> Result<bool, EncodeError> {
    let mut matrix = F64MatrixWriter::new(writer, MatrixShape { rows: cells.len(), cols: bins })?;
    // A few hundred cells at a time bound the memory, for networks of any size.
    const AT_ONCE: usize = 256;
    for cells in cells.chunks(AT_ONCE) {
        if is_interrupted() {
            return Ok(false);
        }
        matrix.write_rows(rows(cells, bins, &row).view())?;
    }
    matrix.finish()?;
    Ok(true)
}

/// Returns a matrix with a row for each of these cells, computed in parallel.
pub fn rows(cells: &[u32], bins: usize, row: impl Fn(u32) -> Vec<f64> + Sync) -> Array2<f64> {
    side_by_side(|| {
        let mut rows = Array2::zeros((cells.len(), bins));
        rows.axis_iter_mut(Axis(0))
            .into_par_iter()
            .zip(cells)
            .for_each(|(mut out, &cell)| out.assign(&ArrayView1::from(&row(cell))));
        rows
    })
}
