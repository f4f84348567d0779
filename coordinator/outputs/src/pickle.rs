//! The pickle inside a Weights file, byte for byte as CPython 3.7 and numpy 1.21 write it.
//!
//! `numpy.save` of a dict makes an object array of shape `()` around it, writes a header
//! ([`write_object_header`](super::npy::write_object_header)), and pickles the array with protocol 3. Opcodes
//! are named here as in Python's `pickletools`. The order in which an object is written follows
//! `Modules/_pickle.c`; what an object reduces to follows `numpy/core/src/multiarray`:
//!
//! | object | opcodes, with `put` for `BINPUT id` or `LONG_BINPUT id` |
//! |---|---|
//! | the pickle | `PROTO 3` array `STOP` |
//! | the array | `_reconstruct` `ndarray` (0,) `b'b'` `TUPLE3` put `REDUCE` put, state, `BUILD` |
//! | its state | `MARK` 1 () dtype('O') False \[dict\] `TUPLE` put |
//! | \[dict\] | `EMPTY_LIST` put, dict, `APPEND` |
//! | a dtype, here of the keys | `dtype` `'i8'` False True `TUPLE3` put `REDUCE` put, state, `BUILD` |
//! | its state | `MARK` 3 `'<'` None None None -1 -1 0 `TUPLE` put |
//! | dict | `EMPTY_DICT` put, batches of items |
//! | a key | `scalar` dtype('i8'), on Windows dtype('i4'), `SHORT_BINBYTES` put `TUPLE2` put `REDUCE` put |
//! | a value | `EMPTY_LIST` put, batches of `BINFLOAT` |
//!
//! Objects are memoised (put) in the order in which they are complete, with ids from 0. Numbers, None, bools and the
//! empty tuple are not. An object that occurs again is fetched by its id (`BINGET`). This applies to the class `dtype`
//! and, from the second key on, to the function `scalar` and the dtype of the keys.
//!
//! **Batches.** A container of one item writes it alone (`APPEND`, `SETITEM`). Any other writes `MARK items APPENDS`,
//! or `MARK items SETITEMS`, in batches of up to 1000 items. The last batch may hold a single item. Lists and dicts
//! differ if the count is a multiple of 1000. A list stops at its end. A dict stops only at a batch that is not full,
//! so an empty `MARK SETITEMS` follows. An empty container writes no batch.

mod read;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use granule_engine::output::KeyType;
pub use read::{Fibers, ReadWeightsError, read_weights, read_weights_and_type};

/// `BATCHSIZE` of CPython's pickler.
const BATCH_SIZE: usize = 1000;

/// Opcodes, named as in `pickletools`.
mod op {
    pub(super) const APPEND: u8 = b'a';
    pub(super) const APPENDS: u8 = b'e';
    pub(super) const BINFLOAT: u8 = b'G';
    pub(super) const BINGET: u8 = b'h';
    pub(super) const BININT: u8 = b'J';
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BINPUT: u8 = b'q';
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const BUILD: u8 = b'b';
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const EMPTY_LIST: u8 = b']';
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const LONG_BINGET: u8 = b'j';
    pub(super) const LONG_BINPUT: u8 = b'r';
    pub(super) const MARK: u8 = b'(';
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const NEWTRUE: u8 = 0x88;
    pub(super) const NONE: u8 = b'N';
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const REDUCE: u8 = b'R';
    pub(super) const SETITEM: u8 = b's';
    pub(super) const SETITEMS: u8 = b'u';
    pub(super) const SHORT_BINBYTES: u8 = b'C';
    pub(super) const STOP: u8 = b'.';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const TUPLE1: u8 = 0x85;
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const TUPLE3: u8 = 0x87;
}

/// Why a Weights pickle could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The writer failed. The file is incomplete.
    #[error("cannot write weights: {0}")]
    Io(#[from] io::Error),
    /// Two fibers have the same index, which a dict cannot hold. Nothing was written.
    #[error("mossy fibre {0} is given twice")]
    DuplicateFiber(i64),
    /// An index does not fit in a key of 32 bits. Nothing was written.
    #[error("the number of mossy fibre {0} does not fit in 32 bits")]
    LargeFiber(i64),
    /// More objects than memo ids, which are 32 bits wide. The file is incomplete.
    #[error("too many mossy fibres for one pickle")]
    TooManyFibers,
}

/// Writes the pickle of `numpy.array({index: [weight, …], …}, dtype=object)` and flushes the writer.
///
/// Each fiber is its index, a numpy integer to Python, and its weights in nS, one per trial. The dict has the
/// order of the slice.
pub(crate) fn write_weights<W: Write>(
    w: W,
    keys: KeyType,
    fibers: &[(i64, &[f64])],
) -> Result<(), WeightsError> {
    let mut seen = BTreeSet::new();
    if let Some((index, _)) = fibers.iter().find(|(index, _)| !seen.insert(*index)) {
        return Err(WeightsError::DuplicateFiber(*index));
    }
    if let (KeyType::Int32, Some((index, _))) =
        (keys, fibers.iter().find(|(index, _)| i32::try_from(*index).is_err()))
    {
        return Err(WeightsError::LargeFiber(*index));
    }
    let mut pickler = Pickler { w: BufWriter::new(w), keys, next_id: 0 };
    pickler.bytes(&[op::PROTO, 3])?;
    pickler.object_array(fibers)?;
    pickler.bytes(&[op::STOP])?;
    Ok(pickler.w.flush()?)
}

/// The id by which an object can be fetched from the memo.
#[derive(Clone, Copy)]
struct MemoId(u32);

/// The memo ids that the numpy scalars of one dtype share.
#[derive(Clone, Copy)]
struct ScalarMemo {
    function: MemoId,
    dtype: MemoId,
}

struct Pickler<W: Write> {
    w: BufWriter<W>,
    keys: KeyType,
    next_id: u32,
}

impl<W: Write> Pickler<W> {
    fn object_array(&mut self, fibers: &[(i64, &[f64])]) -> Result<(), WeightsError> {
        self.global("numpy.core.multiarray", "_reconstruct")?;
        self.put()?;
        self.global("numpy", "ndarray")?;
        self.put()?;
        self.bytes(&[op::BININT1, 0, op::TUPLE1])?;
        self.put()?;
        self.short_binbytes(b"b")?;
        self.put()?;
        self.bytes(&[op::TUPLE3])?;
        self.put()?;
        self.bytes(&[op::REDUCE])?;
        self.put()?;

        self.bytes(&[op::MARK, op::BININT1, 1, op::EMPTY_TUPLE])?;
        self.global("numpy", "dtype")?;
        let dtype_class = self.put()?;
        // The flags of a dtype of object references.
        self.dtype("O8", "|", 63)?;
        self.bytes(&[op::NEWFALSE, op::EMPTY_LIST])?;
        self.put()?;
        self.dict(fibers, dtype_class)?;
        self.bytes(&[op::APPEND, op::TUPLE])?;
        self.put()?;
        self.bytes(&[op::BUILD])
    }

    /// Writes a dtype whose class is already on the stack. Returns its id.
    fn dtype(&mut self, name: &str, byte_order: &str, flags: u8) -> Result<MemoId, WeightsError> {
        self.binunicode(name)?;
        self.put()?;
        self.bytes(&[op::NEWFALSE, op::NEWTRUE, op::TUPLE3])?;
        self.put()?;
        self.bytes(&[op::REDUCE])?;
        let dtype = self.put()?;

        self.bytes(&[op::MARK, op::BININT1, 3])?;
        self.binunicode(byte_order)?;
        self.put()?;
        self.bytes(&[op::NONE; 3])?;
        for _item_size_and_alignment in 0..2 {
            self.bytes(&[op::BININT])?;
            self.bytes(&(-1_i32).to_le_bytes())?;
        }
        self.bytes(&[op::BININT1, flags, op::TUPLE])?;
        self.put()?;
        self.bytes(&[op::BUILD])?;
        Ok(dtype)
    }

    fn dict(&mut self, fibers: &[(i64, &[f64])], dtype_class: MemoId) -> Result<(), WeightsError> {
        self.bytes(&[op::EMPTY_DICT])?;
        self.put()?;
        let mut keys_memo = None;
        match fibers {
            [] => {}
            [fiber] => {
                self.dict_item(fiber, dtype_class, &mut keys_memo)?;
                self.bytes(&[op::SETITEM])?;
            }
            _ => {
                for batch in fibers.chunks(BATCH_SIZE) {
                    self.bytes(&[op::MARK])?;
                    for fiber in batch {
                        self.dict_item(fiber, dtype_class, &mut keys_memo)?;
                    }
                    self.bytes(&[op::SETITEMS])?;
                }
                if fibers.len().is_multiple_of(BATCH_SIZE) {
                    self.bytes(&[op::MARK, op::SETITEMS])?;
                }
            }
        }
        Ok(())
    }

    fn dict_item(
        &mut self,
        &(index, weights): &(i64, &[f64]),
        dtype_class: MemoId,
        keys_memo: &mut Option<ScalarMemo>,
    ) -> Result<(), WeightsError> {
        match *keys_memo {
            Some(ScalarMemo { function, dtype }) => {
                self.get(function)?;
                self.get(dtype)?;
            }
            None => {
                self.global("numpy.core.multiarray", "scalar")?;
                let function = self.put()?;
                self.get(dtype_class)?;
                let name = match self.keys {
                    KeyType::Int64 => "i8",
                    KeyType::Int32 => "i4",
                };
                let dtype = self.dtype(name, "<", 0)?;
                *keys_memo = Some(ScalarMemo { function, dtype });
            }
        }
        let size = match self.keys {
            KeyType::Int64 => 8,
            KeyType::Int32 => 4,
        };
        self.short_binbytes(&index.to_le_bytes()[..size])?;
        self.put()?;
        self.bytes(&[op::TUPLE2])?;
        self.put()?;
        self.bytes(&[op::REDUCE])?;
        self.put()?;
        self.list(weights)
    }

    fn list(&mut self, values: &[f64]) -> Result<(), WeightsError> {
        self.bytes(&[op::EMPTY_LIST])?;
        self.put()?;
        match values {
            [] => {}
            [value] => {
                self.binfloat(*value)?;
                self.bytes(&[op::APPEND])?;
            }
            _ => {
                for batch in values.chunks(BATCH_SIZE) {
                    self.bytes(&[op::MARK])?;
                    for value in batch {
                        self.binfloat(*value)?;
                    }
                    self.bytes(&[op::APPENDS])?;
                }
            }
        }
        Ok(())
    }

    /// Memoises the object on top of the stack.
    fn put(&mut self) -> Result<MemoId, WeightsError> {
        let id = self.next_id;
        self.next_id = id.checked_add(1).ok_or(WeightsError::TooManyFibers)?;
        match u8::try_from(id) {
            Ok(id) => self.bytes(&[op::BINPUT, id])?,
            Err(_) => {
                self.bytes(&[op::LONG_BINPUT])?;
                self.bytes(&id.to_le_bytes())?;
            }
        }
        Ok(MemoId(id))
    }

    fn get(&mut self, MemoId(id): MemoId) -> Result<(), WeightsError> {
        match u8::try_from(id) {
            Ok(id) => self.bytes(&[op::BINGET, id]),
            Err(_) => {
                self.bytes(&[op::LONG_BINGET])?;
                self.bytes(&id.to_le_bytes())
            }
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), WeightsError> {
        self.bytes(&[op::GLOBAL])?;
        self.bytes(module.as_bytes())?;
        self.bytes(b"\n")?;
        self.bytes(name.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes a string; its length takes four bytes.
    fn binunicode(&mut self, text: &str) -> Result<(), WeightsError> {
        self.bytes(&[op::BINUNICODE])?;
        self.bytes(&(text.len() as u32).to_le_bytes())?;
        self.bytes(text.as_bytes())
    }

    /// Writes a byte string of at most 255 bytes.
    fn short_binbytes(&mut self, bytes: &[u8]) -> Result<(), WeightsError> {
        self.bytes(&[op::SHORT_BINBYTES, bytes.len() as u8])?;
        self.bytes(bytes)
    }

    /// Writes `BINFLOAT`: the one big-endian number of the format.
    fn binfloat(&mut self, value: f64) -> Result<(), WeightsError> {
        self.bytes(&[op::BINFLOAT])?;
        self.bytes(&value.to_be_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), WeightsError> {
        Ok(self.w.write_all(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::npy::write_object_header;
    use super::*;

    /// Test values that Python computes in the same way: `… % 1000003 / 7.0 - 5000.0`.
    fn weight(fiber: u64, trial: u64) -> f64 {
        ((fiber * 2_654_435_761 + trial * 40_503 + 1) % 1_000_003) as f64 / 7.0 - 5000.0
    }

    fn pickle(fibers: &[(i64, &[f64])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_weights(&mut bytes, KeyType::Int64, fibers).unwrap();
        bytes
    }

    fn fnv1a(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// Compares length and hash with those of a pickle made by numpy.
    #[track_caller]
    fn check(fibers: u64, trials: u64, len: usize, hash: u64) {
        let weights: Vec<Vec<f64>> =
            (0..fibers).map(|fiber| (0..trials).map(|trial| weight(fiber, trial)).collect()).collect();
        let fibers: Vec<(i64, &[f64])> =
            (0..).zip(&weights).map(|(i, weights): (i64, _)| (i * 7919 - 3, weights.as_slice())).collect();
        let bytes = pickle(&fibers);
        assert_eq!((bytes.len(), fnv1a(&bytes)), (len, hash));
    }

    /// Lengths and hashes of the pickles of the same dicts by Python 3.7.16 with numpy 1.21.6, and by 3.11.7 with
    /// 1.23.5. They cover empty and lone items, the first `LONG_BINPUT` (60 keys), and both sides of batches.
    #[test]
    fn pickles_equal_those_of_numpy() {
        check(0, 0, 152, 0x2c6bf911b88e02db);
        check(1, 0, 255, 0xa0c17110c9db2a67);
        check(1, 1, 265, 0xc796af2221352af2);
        check(2, 0, 281, 0x38b191b281c511de);
        check(2, 1, 301, 0x627619399d5dd7ed);
        check(2, 2, 321, 0x1ce9036249652133);
        check(32, 10, 3975, 0xeb19c29167cf44ea);
        check(58, 1, 2261, 0x71b96a72af39195a);
        check(59, 1, 2299, 0x23cc220f8648f89a);
        check(60, 1, 2346, 0x2b287284370b640d);
        check(61, 1, 2393, 0xeee734fa4e862feb);
        check(300, 7, 30126, 0x8e7d3f8b26e9e1b9);
        check(999, 1, 46479, 0xc5dd70863ea14ca0);
        check(1000, 1, 46528, 0x8cd1c7c60bbe2b82);
        check(1001, 2, 56585, 0x761aa7173d388598);
        check(2000, 0, 73530, 0x1eb5dc3093b6b3ad);
        check(2001, 1, 93577, 0xc0aa6b05c87cd3a2);
        check(1, 999, 9248, 0x9b4059cf14c9196b);
        check(2, 1000, 18285, 0xb0df239761ddd3b9);
        check(2, 1001, 18307, 0x91ec66c9d30fc8eb);
        check(1, 2000, 18259, 0xea2e011388ac3c89);
        check(2, 2001, 36311, 0xc5cfccfc516ac41d);
    }

    #[test]
    fn extreme_numbers_equal_those_of_numpy() {
        let special = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324, f64::MAX];
        let bytes = pickle(&[(i64::MIN, &special), (i64::MAX, &[0.1])]);
        assert_eq!((bytes.len(), fnv1a(&bytes)), (356, 0xe16cad8bbcd3c9b));
    }

    /// A whole file of the original model: the control run of 10 trials.
    #[test]
    fn a_whole_weights_file_is_reproduced() {
        let reference = include_bytes!("testdata/controlWeights.npy");
        let fibers = read_fibers(reference);
        assert_eq!(fibers.iter().map(|(_, weights)| weights.len()).collect::<Vec<_>>(), [10; 8]);
        let fibers: Vec<_> = fibers.iter().map(|(index, weights)| (*index, weights.as_slice())).collect();

        let mut bytes = Vec::new();
        write_object_header(&mut bytes).unwrap();
        write_weights(&mut bytes, KeyType::Int64, &fibers).unwrap();
        assert!(bytes == reference);
    }

    /// Finds keys and floats by their opcodes; enough for the one file of this test.
    fn read_fibers(file: &[u8]) -> Vec<(i64, Vec<f64>)> {
        let mut fibers: Vec<(i64, Vec<f64>)> = Vec::new();
        let mut rest = file;
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            if first == op::SHORT_BINBYTES && after[0] == 8 {
                fibers.push((i64::from_le_bytes(after[1..9].try_into().unwrap()), Vec::new()));
                rest = &after[9..];
            } else if first == op::BINFLOAT && !fibers.is_empty() {
                let value = f64::from_be_bytes(after[..8].try_into().unwrap());
                fibers.last_mut().unwrap().1.push(value);
                rest = &after[8..];
            }
        }
        fibers
    }

    #[test]
    fn a_fiber_given_twice_is_refused() {
        let mut bytes = Vec::new();
        let error =
            write_weights(&mut bytes, KeyType::Int64, &[(4, &[0.5]), (7, &[]), (4, &[])]).unwrap_err();
        assert_eq!(error.to_string(), "mossy fibre 4 is given twice");
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_full_disk_is_reported() {
        let mut disk = [0; 300];
        let error = write_weights(&mut disk[..], KeyType::Int64, &[(1, &[0.5; 100])]).unwrap_err();
        assert!(matches!(error, WeightsError::Io(_)));
    }
}
