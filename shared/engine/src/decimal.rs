//! Conversion of doubles to decimals.
//!
//! A parameter is a double. It stands for the shortest decimal that reads back as that double. Up to 15 digits, this is
//! the decimal that the user wrote. Whole numbers that follow from parameters are computed from these decimals,
//! exactly.

use bigdecimal::BigDecimal;

/// Returns the decimal that a double stands for.
///
/// # Panics
/// If the double is not finite.
pub fn decimal(x: f64) -> BigDecimal {
    format!("{x:e}").parse().expect("a finite number is a decimal")
}
