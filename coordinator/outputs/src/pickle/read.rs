//! Reads Weights files: those that [`write_weights`] writes, and no others.
//!
//! A pickle is a program, and running an untrusted one to read numbers is not safe. So this module only walks over the
//! opcodes, and takes keys and floats from them. Then it writes the file again from these. If this gives the same
//! bytes, the file is valid.

use super::super::npy::write_object_header;
use super::{op, write_weights};
use granule_engine::output::KeyType;

/// Why a Weights file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadWeightsError {
    /// The file is not an object array, as numpy writes it.
    #[error("this is not a .npy file of one Python object")]
    NotAnObject,
    /// It is an object array, but of another object, by another program, or damaged.
    #[error("at byte {at}: this is not a dictionary of mossy fibres and their weights as granule writes it")]
    NotWeights {
        /// Offset at which the file differs from the expected bytes.
        at: usize,
    },
}

/// Mossy fibres, each with its weights in nS.
pub type Fibers = Vec<(i64, Vec<f64>)>;

/// Reads the bytes of a Weights file. Returns active mossy fibres in the file's order, each with its weights in nS.
///
/// # Errors
/// If the bytes are not exactly those that granule writes for some weights.
pub fn read_weights(file: &[u8]) -> Result<Fibers, ReadWeightsError> {
    Ok(read_weights_and_type(file)?.1)
}

/// Reads the same, and the type of the keys.
///
/// # Errors
/// If the bytes are not exactly those that granule writes for some weights.
pub fn read_weights_and_type(file: &[u8]) -> Result<(KeyType, Fibers), ReadWeightsError> {
    let mut written = Vec::new();
    write_object_header(&mut written).map_err(|_| ReadWeightsError::NotAnObject)?;
    let pickle = file.strip_prefix(written.as_slice()).ok_or(ReadWeightsError::NotAnObject)?;
    let header = written.len();
    let (keys, fibers) = walk(pickle).map_err(|at| ReadWeightsError::NotWeights { at: header + at })?;

    let slices: Vec<(i64, &[f64])> =
        fibers.iter().map(|(index, weights)| (*index, weights.as_slice())).collect();
    write_weights(&mut written, keys, &slices).map_err(|_| ReadWeightsError::NotWeights { at: header })?;
    if written == file {
        return Ok((keys, fibers));
    }
    let same = written.iter().zip(file).take_while(|(written, found)| written == found).count();
    Err(ReadWeightsError::NotWeights { at: same })
}

/// Returns the keys, their type, and the floats of a pickle. The error is the offset of the first opcode that does not
/// belong there.
fn walk(pickle: &[u8]) -> Result<(KeyType, Fibers), usize> {
    let mut keys = KeyType::Int64;
    let mut fibers = Fibers::new();
    let mut rest = pickle;
    while !rest.is_empty() {
        let at = pickle.len() - rest.len();
        let mut take = |count: usize| -> Result<&[u8], usize> {
            let (taken, after) = rest.split_at_checked(count).ok_or(at)?;
            rest = after;
            Ok(taken)
        };
        match take(1)?[0] {
            op::BINFLOAT => {
                let value = f64::from_be_bytes(take(8)?.try_into().map_err(|_| at)?);
                fibers.last_mut().ok_or(at)?.1.push(value);
            }
            op::SHORT_BINBYTES => {
                let count = usize::from(take(1)?[0]);
                let bytes = take(count)?;
                // The other byte string is the type code of the array.
                if let Ok(key) = bytes.try_into() {
                    fibers.push((i64::from_le_bytes(key), Vec::new()));
                } else if let Ok(key) = bytes.try_into() {
                    keys = KeyType::Int32;
                    fibers.push((i32::from_le_bytes(key).into(), Vec::new()));
                }
            }
            op::BINUNICODE => {
                let count = u32::from_le_bytes(take(4)?.try_into().map_err(|_| at)?);
                take(count as usize)?;
            }
            op::GLOBAL => {
                for _module_and_name in 0..2 {
                    let length = rest.iter().position(|byte| *byte == b'\n').ok_or(at)?;
                    rest = &rest[length + 1..];
                }
            }
            op::PROTO | op::BINPUT | op::BINGET | op::BININT1 => drop(take(1)?),
            op::LONG_BINPUT | op::LONG_BINGET | op::BININT => drop(take(4)?),
            op::APPEND
            | op::APPENDS
            | op::BUILD
            | op::EMPTY_DICT
            | op::EMPTY_LIST
            | op::EMPTY_TUPLE
            | op::MARK
            | op::NEWFALSE
            | op::NEWTRUE
            | op::NONE
            | op::REDUCE
            | op::SETITEM
            | op::SETITEMS
            | op::STOP
            | op::TUPLE
            | op::TUPLE1
            | op::TUPLE2
            | op::TUPLE3 => {}
            _ => return Err(at),
        }
    }
    Ok((keys, fibers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(fibers: &[(i64, Vec<f64>)]) -> Vec<u8> {
        let slices: Vec<(i64, &[f64])> =
            fibers.iter().map(|(index, weights)| (*index, weights.as_slice())).collect();
        let mut bytes = Vec::new();
        write_object_header(&mut bytes).unwrap();
        write_weights(&mut bytes, KeyType::Int64, &slices).unwrap();
        bytes
    }

    fn bits(fibers: &[(i64, Vec<f64>)]) -> Vec<(i64, Vec<u64>)> {
        fibers
            .iter()
            .map(|(index, weights)| (*index, weights.iter().map(|w| w.to_bits()).collect()))
            .collect()
    }

    #[test]
    fn what_was_written_is_read() {
        // These include memo ids that look like opcodes, and more items than fit into a batch.
        for (fibers, trials) in
            [(0, 0), (1, 0), (1, 1), (2, 3), (31, 100), (300, 2), (2, 2001), (1000, 1), (2001, 1)]
        {
            let weights = |fiber: i64| (0..trials).map(|trial| (fiber * 7 + trial) as f64 / 3.0).collect();
            let fibers: Vec<(i64, Vec<f64>)> =
                (0..fibers).map(|fiber| (fiber * 13 - 5, weights(fiber))).collect();
            assert_eq!(read_weights(&file(&fibers)).unwrap(), fibers);
        }
    }

    #[test]
    fn keys_of_32_bits_are_read() {
        let write = |fibers: &[(i64, &[f64])]| {
            let mut bytes = Vec::new();
            write_object_header(&mut bytes).unwrap();
            write_weights(&mut bytes, KeyType::Int32, fibers).map(|()| bytes)
        };
        let most = i64::from(i32::MAX);
        let fibers = [(-1, vec![0.25, 0.5]), (most, vec![1.0])];
        let bytes = write(&[(-1, &[0.25, 0.5]), (most, &[1.0])]).unwrap();
        assert_eq!(read_weights_and_type(&bytes), Ok((KeyType::Int32, fibers.to_vec())));
        let message = write(&[(most + 1, &[])]).unwrap_err().to_string();
        assert_eq!(message, "the number of mossy fibre 2147483648 does not fit in 32 bits");
    }

    #[test]
    fn a_file_of_the_original_is_read() {
        let fibers = read_weights(include_bytes!("../testdata/controlWeights.npy")).unwrap();
        assert_eq!(fibers.iter().map(|(_, weights)| weights.len()).collect::<Vec<_>>(), [10; 8]);
        assert!(fibers.iter().flat_map(|(_, weights)| weights).all(|weight| *weight > 0.0));
    }

    #[test]
    fn anything_else_is_refused() {
        let good = file(&[(3, vec![0.25, 0.5]), (9, vec![0.125, 1.0])]);
        assert_eq!(read_weights(b""), Err(ReadWeightsError::NotAnObject));
        assert_eq!(read_weights(&good[1..]), Err(ReadWeightsError::NotAnObject));
        for at in 0..good.len() {
            assert!(read_weights(&good[..at]).is_err(), "cut at {at}");
        }
        // An additional byte after the end.
        let longer = [good.as_slice(), b"N"].concat();
        assert_eq!(read_weights(&longer), Err(ReadWeightsError::NotWeights { at: good.len() }));
        // Another kind of program: a call of a function.
        let header = good.len() - good.iter().rev().position(|byte| *byte == op::PROTO).unwrap() - 1;
        let call = [&good[..header], b"\x80\x03cos\nsystem\nX\x02\0\0\0ls\x85R."].concat();
        assert!(matches!(read_weights(&call), Err(ReadWeightsError::NotWeights { .. })));
        let message = read_weights(&call).unwrap_err().to_string();
        assert!(message.contains("not a dictionary of mossy fibres"), "{message}");
    }

    proptest! {
        #[test]
        fn any_weights_come_back(
            fibers in prop::collection::btree_map(any::<i64>(), prop::collection::vec(any::<f64>(), 0..5), 0..40)
        ) {
            let fibers: Vec<(i64, Vec<f64>)> = fibers.into_iter().collect();
            prop_assert_eq!(bits(&read_weights(&file(&fibers)).unwrap()), bits(&fibers));
        }

        /// If a changed file can be read, writing the weights gives the same bytes.
        #[test]
        fn changed_bytes_are_refused_or_other_weights(at in 0..500_usize, byte in any::<u8>()) {
            let mut bytes = file(&[(3, vec![0.25, 0.5]), (9, vec![0.125, 1.0])]);
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(fibers) = read_weights(&bytes) {
                prop_assert_eq!(file(&fibers), bytes);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let good = file(&[(3, vec![0.25])]);
            let header = good.len() - good.iter().rev().position(|byte| *byte == op::PROTO).unwrap() - 1;
            let _ = read_weights(&[&good[..header], &bytes].concat());
        }
    }
}
