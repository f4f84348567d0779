//! Writes `.npy` files with the same bytes as `numpy.save` of numpy 1.21.
//!
//! A file is a header and then the elements. The header is a magic number, the format version 1.0, its length, and a
//! Python dict literal. It is padded with spaces and ended by a newline, so that the elements start at a multiple of 64
//! bytes. The format is described in numpy's `numpy/lib/format.py`.
//!
//! ndarray-npy encodes the elements. It does not write the header, because it ends the dict with `)}` and numpy with
//! `), }`. Two more properties of `numpy.save` are kept:
//!
//! - An array that is contiguous in both orders counts as C order. So a Fortran-ordered (n, 2) array is marked
//!   `fortran_order: True` only from n = 2 on.
//! - The dtype names its byte order. All outputs are little-endian, on any host.

use std::io::{self, Write};

use ndarray::ArrayView2;
use ndarray_npy::{WritableElement, WriteDataError};

/// Why an `.npy` file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// The writer failed. The file is incomplete.
    #[error("cannot write .npy data: {0}")]
    Io(#[from] io::Error),
    /// The shape has more elements than memory can ever hold, so the file could not be loaded.
    #[error("a matrix of {} × {} elements is too large", .0.rows, .0.cols)]
    TooLarge(MatrixShape),
    /// The rows do not have the number of columns that the header announced. None of them was written.
    #[error("rows of {found} values given for a matrix with {cols} columns")]
    WrongColumns {
        /// Columns of the rows given.
        found: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// More rows were given than the header announced. None of them was written.
    #[error("{given} rows given, but only {missing} are missing")]
    TooManyRows {
        /// Rows given.
        given: usize,
        /// Rows still to come.
        missing: usize,
    },
    /// The writer was finished early. The file is incomplete.
    #[error("the matrix was finished with {missing} rows missing")]
    MissingRows {
        /// Rows still to come.
        missing: usize,
    },
}

impl From<WriteDataError> for NpyError {
    fn from(error: WriteDataError) -> Self {
        match error {
            WriteDataError::Io(error) => Self::Io(error),
            // For element types that may refuse a value; numbers never do.
            WriteDataError::FormatData(error) => Self::Io(io::Error::other(error)),
        }
    }
}

/// Shape of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixShape {
    pub rows: usize,
    pub cols: usize,
}

/// Writes a float64 array of shape (n,) and flushes the writer.
pub(crate) fn write_f64_vector<W: Write>(mut w: W, values: &[f64]) -> Result<(), NpyError> {
    write_header(&mut w, f64::DESCR, AxisOrder::C, &[values.len()])?;
    write_elements(&mut w, values.iter().copied())?;
    Ok(w.flush()?)
}

/// Writes a float64 array of this shape, in C order, and flushes the writer.
pub(crate) fn write_f64_array<W: Write>(mut w: W, shape: &[usize], elements: &[f64]) -> Result<(), NpyError> {
    write_header(&mut w, f64::DESCR, AxisOrder::C, shape)?;
    write_elements(&mut w, elements.iter().copied())?;
    Ok(w.flush()?)
}

/// Writes pairs as an int32 array of shape (n, 2) made in Fortran order, and flushes the writer.
///
/// The file holds all first members, then all second members. With fewer than two pairs this is also C order, and the
/// header states C order, as numpy's does.
pub(crate) fn write_i32_pairs_fortran<W: Write>(mut w: W, pairs: &[[i32; 2]]) -> Result<(), NpyError> {
    let order = if pairs.len() < 2 { AxisOrder::C } else { AxisOrder::Fortran };
    write_header(&mut w, i32::DESCR, order, &[pairs.len(), 2])?;
    let first = pairs.iter().map(|&[first, _]| first);
    let second = pairs.iter().map(|&[_, second]| second);
    write_elements(&mut w, first.chain(second))?;
    Ok(w.flush()?)
}

/// Writes the header of an object array of shape (), dtype `|O`. The pickle of the array must follow.
pub(crate) fn write_object_header<W: Write>(mut w: W) -> Result<(), NpyError> {
    write_header(&mut w, "|O", AxisOrder::C, &[])
}

/// Writes the header of an array of shape (`length`,) and this dtype; its elements must follow.
pub(crate) fn write_vector_header<W: Write>(mut w: W, descr: &str, length: usize) -> Result<(), NpyError> {
    write_header(&mut w, descr, AxisOrder::C, &[length])
}

/// Writes a float64 matrix in C order row by row, without holding it.
///
/// A writer dropped before [`finish`](Self::finish) leaves an incomplete file.
#[derive(Debug)]
pub(crate) struct F64MatrixWriter<W: Write> {
    w: W,
    cols: usize,
    missing_rows: usize,
}

impl<W: Write> F64MatrixWriter<W> {
    /// Writes the header of a matrix of the given shape.
    pub(crate) fn new(mut w: W, shape: MatrixShape) -> Result<Self, NpyError> {
        let bytes = shape.rows.checked_mul(shape.cols).and_then(|n| n.checked_mul(size_of::<f64>()));
        if bytes.is_none_or(|n| n > isize::MAX as usize) {
            return Err(NpyError::TooLarge(shape));
        }
        write_header(&mut w, f64::DESCR, AxisOrder::C, &[shape.rows, shape.cols])?;
        Ok(Self { w, cols: shape.cols, missing_rows: shape.rows })
    }

    /// Writes the next rows, any number of them. The view may have any memory order.
    pub(crate) fn write_rows(&mut self, rows: ArrayView2<'_, f64>) -> Result<(), NpyError> {
        let (given, found) = rows.dim();
        if found != self.cols {
            return Err(NpyError::WrongColumns { found, cols: self.cols });
        }
        let Some(missing_rows) = self.missing_rows.checked_sub(given) else {
            return Err(NpyError::TooManyRows { given, missing: self.missing_rows });
        };
        write_elements(&mut self.w, rows.iter().copied())?;
        self.missing_rows = missing_rows;
        Ok(())
    }

    /// Checks that all rows were written, flushes and returns the writer.
    pub(crate) fn finish(mut self) -> Result<W, NpyError> {
        if self.missing_rows > 0 {
            return Err(NpyError::MissingRows { missing: self.missing_rows });
        }
        self.w.flush()?;
        Ok(self.w)
    }
}

/// An element type of the outputs.
trait NpyElement: WritableElement + Copy {
    /// The dtype in the header.
    const DESCR: &'static str;
    /// The value whose bytes in host order are the little-endian bytes of `self`.
    fn to_le(self) -> Self;
}

impl NpyElement for f64 {
    const DESCR: &'static str = "<f8";
    fn to_le(self) -> Self {
        Self::from_ne_bytes(self.to_le_bytes())
    }
}

impl NpyElement for i32 {
    const DESCR: &'static str = "<i4";
    fn to_le(self) -> Self {
        Self::from_ne_bytes(self.to_le_bytes())
    }
}

enum AxisOrder {
    C,
    Fortran,
}

/// Writes a header of 128 bytes.
///
/// `numpy.save` pads to the next multiple of 64 bytes. All dicts here, from `|O` with shape () up to the largest
/// matrix, have 54 to 97 characters. With the 10 bytes before and the newline after them, this makes 128.
fn write_header<W: Write>(w: &mut W, descr: &str, order: AxisOrder, shape: &[usize]) -> Result<(), NpyError> {
    let fortran_order = match order {
        AxisOrder::C => "False",
        AxisOrder::Fortran => "True",
    };
    let shape = match shape {
        [len] => format!("({len},)"),
        lens => format!("({})", lens.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    };
    let dict = format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}");
    w.write_all(b"\x93NUMPY\x01\x00")?;
    w.write_all(&118_u16.to_le_bytes())?;
    Ok(w.write_all(format!("{dict:<117}\n").as_bytes())?)
}

fn write_elements<W: Write, A: NpyElement>(
    w: &mut W,
    values: impl Iterator<Item = A>,
) -> Result<(), NpyError> {
    const BUFFER_LEN: usize = 8 * 1024;
    let mut buffer = Vec::with_capacity(BUFFER_LEN);
    for value in values {
        buffer.push(value.to_le());
        if buffer.len() == BUFFER_LEN {
            A::write_slice(&buffer, &mut *w)?;
            buffer.clear();
        }
    }
    Ok(A::write_slice(&buffer, w)?)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Axis, Slice, array};
    use ndarray_npy::ReadNpyExt;

    use super::*;

    fn write_f64_matrix<W: Write>(w: W, matrix: ArrayView2<'_, f64>) -> Result<(), NpyError> {
        let (rows, cols) = matrix.dim();
        let mut writer = F64MatrixWriter::new(w, MatrixShape { rows, cols })?;
        writer.write_rows(matrix)?;
        writer.finish().map(drop)
    }

    fn file(write: impl FnOnce(&mut Vec<u8>) -> Result<(), NpyError>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes).unwrap();
        bytes
    }

    /// Compares with a header of numpy 1.21.6, given without its padding, and the elements in hexadecimal.
    #[track_caller]
    fn check(bytes: &[u8], numpy_header: &[u8], elements: &str) {
        let mut header = numpy_header.to_vec();
        header.resize(127, b' ');
        header.push(b'\n');
        assert_eq!(bytes[..128].escape_ascii().to_string(), header.escape_ascii().to_string());
        let hex: String = bytes[128..].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, elements.replace(' ', ""));
    }

    #[test]
    fn the_object_header_equals_numpys() {
        check(
            &file(|w| write_object_header(w)),
            b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (), }",
            "",
        );
    }

    #[test]
    fn matrices_equal_numpys() {
        check(
            &file(|w| write_f64_matrix(w, array![[1.0, 2.0], [3.0, -0.5]].view())),
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }",
            "000000000000f03f 0000000000000040 0000000000000840 000000000000e0bf",
        );
        check(
            &file(|w| write_f64_matrix(w, Array2::zeros((0, 2000)).view())),
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (0, 2000), }",
            "",
        );
        check(
            &file(|w| write_f64_matrix(w, array![[1.0, 2.0]].view())),
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }",
            "000000000000f03f 0000000000000040",
        );
    }

    #[test]
    fn a_matrix_is_in_c_order_whatever_the_order_of_the_view() {
        let matrix = Array2::from_shape_fn((6, 4), |(row, col)| (row * 4 + col) as f64);
        let numpy_order = file(|w| write_f64_matrix(w, matrix.view()));
        let columns_first = matrix.t().as_standard_layout().into_owned();
        assert_eq!(file(|w| write_f64_matrix(w, columns_first.t())), numpy_order);
        let rows = matrix.slice_axis(Axis(0), Slice::new(0, None, 2));
        assert_eq!(
            file(|w| write_f64_matrix(w, rows)),
            file(|w| write_f64_matrix(w, rows.as_standard_layout().view())),
        );
    }

    #[test]
    fn vectors_equal_numpys() {
        check(
            &file(|w| write_f64_vector(w, &[])),
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }",
            "",
        );
        check(
            &file(|w| write_f64_vector(w, &[0.25])),
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }",
            "000000000000d03f",
        );
    }

    #[test]
    fn pairs_equal_numpys() {
        check(
            &file(|w| write_i32_pairs_fortran(w, &[])),
            b"\x93NUMPY\x01\x00v\x00{'descr': '<i4', 'fortran_order': False, 'shape': (0, 2), }",
            "",
        );
        check(
            &file(|w| write_i32_pairs_fortran(w, &[[1, 2]])),
            b"\x93NUMPY\x01\x00v\x00{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2), }",
            "01000000 02000000",
        );
        check(
            &file(|w| write_i32_pairs_fortran(w, &[[1, 2], [3, -4]])),
            b"\x93NUMPY\x01\x00v\x00{'descr': '<i4', 'fortran_order': True, 'shape': (2, 2), }",
            "01000000 03000000 02000000 fcffffff",
        );
        let many = vec![[5, 6]; 1670];
        assert!(file(|w| write_i32_pairs_fortran(w, &many)).starts_with(
            b"\x93NUMPY\x01\x00v\x00{'descr': '<i4', 'fortran_order': True, 'shape': (1670, 2), } "
        ));
    }

    /// Reads with ndarray-npy, an independent reader. The files are longer than the buffer.
    #[test]
    fn ndarray_npy_reads_what_was_written() {
        let matrix = Array2::from_shape_fn((5000, 3), |(row, col)| row as f64 / 3.0 - col as f64);
        let bytes = file(|w| write_f64_matrix(w, matrix.view()));
        assert_eq!(Array2::<f64>::read_npy(&bytes[..]).unwrap(), matrix);
        assert!(Array2::<f64>::read_npy(&bytes[..]).unwrap().is_standard_layout());

        let pairs: Vec<[i32; 2]> = (0..5000).map(|i| [i / 4, -i * 99_991]).collect();
        let bytes = file(|w| write_i32_pairs_fortran(w, &pairs));
        assert_eq!(Array2::<i32>::read_npy(&bytes[..]).unwrap(), Array2::from(pairs));

        let bytes = file(|w| write_f64_vector(w, &[0.1, 1e300]));
        assert_eq!(Array1::<f64>::read_npy(&bytes[..]).unwrap(), array![0.1, 1e300]);
    }

    #[test]
    fn the_longest_header_has_room() {
        let shape = [usize::MAX; 2];
        let bytes = file(|w| write_header(w, f64::DESCR, AxisOrder::C, &shape));
        assert_eq!((bytes.len(), bytes.last()), (128, Some(&b'\n')));
    }

    #[test]
    fn a_streamed_matrix_equals_a_whole_one() {
        for (rows, cols, rows_at_once) in
            [(0, 2000, 1), (1, 2000, 1), (7, 2000, 3), (9, 1, 4), (3, 0, 1), (0, 0, 1)]
        {
            let matrix = Array2::from_shape_fn((rows, cols), |(row, col)| (row * cols + col) as f64 / 7.0);
            let mut writer = F64MatrixWriter::new(Vec::new(), MatrixShape { rows, cols }).unwrap();
            for chunk in matrix.axis_chunks_iter(Axis(0), rows_at_once) {
                writer.write_rows(chunk).unwrap();
            }
            assert!(writer.finish().unwrap() == file(|w| write_f64_matrix(w, matrix.view())));
        }
    }

    #[test]
    fn a_streamed_matrix_must_be_complete() {
        let writer = || F64MatrixWriter::new(Vec::new(), MatrixShape { rows: 2, cols: 3 }).unwrap();
        let rows = |rows, cols| Array2::zeros((rows, cols));

        assert!(matches!(writer().finish(), Err(NpyError::MissingRows { missing: 2 })));
        let mut writer = writer();
        let error = writer.write_rows(rows(1, 4).view());
        assert!(matches!(error, Err(NpyError::WrongColumns { found: 4, cols: 3 })));
        let error = writer.write_rows(rows(3, 3).view());
        assert!(matches!(error, Err(NpyError::TooManyRows { given: 3, missing: 2 })));
        writer.write_rows(rows(2, 3).view()).unwrap();
        let error = writer.write_rows(rows(1, 3).view());
        assert!(matches!(error, Err(NpyError::TooManyRows { given: 1, missing: 0 })));
        assert_eq!(writer.finish().unwrap().len(), 128 + 48);
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let shape = MatrixShape { rows: usize::MAX / 2, cols: 3 };
        assert!(matches!(F64MatrixWriter::new(Vec::new(), shape), Err(NpyError::TooLarge(_))));
    }

    #[test]
    fn a_full_disk_is_reported() {
        let mut disk = [0; 150];
        assert!(matches!(write_f64_vector(&mut disk[..], &[0.0; 10]), Err(NpyError::Io(_))));
        let mut disk = [0; 100];
        assert!(matches!(write_object_header(&mut disk[..]), Err(NpyError::Io(_))));
    }
}
