//! Random streams. Each is defined by its published algorithm, and tested against published or independently produced
//! vectors.
//!
//! * [`mt19937`]: the Mersenne Twister, seeded as C, numpy and CPython do.
//! * [`jump`]: jump-ahead to any position of its output, without computing the output before it.
//! * [`numpy`]: the draws of `numpy.random.RandomState`, frozen by numpy as "legacy".
//! * [`cpython`]: the draws of Python's `random` module.
//! * [`keyed`]: streams by identity, of the PCG family.

pub mod cpython;
pub mod jump;
pub mod keyed;
pub mod mt19937;
pub mod numpy;

pub use mt19937::Mt19937;
