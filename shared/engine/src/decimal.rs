//! Decimals that doubles stand for.
//!
//! A parameter is a double. It stands for the shortest decimal that reads back as that double. Up to 15 digits, that
//! is what the user wrote. Whole numbers that follow from parameters are made of these decimals, exactly.

use bigdecimal::BigDecimal;

/// The decimal that a double stands for.
///
/// # Panics
/// If the double is not finite.
pub fn decimal(x: f64) -> BigDecimal {
    format!("{x:e}").parse().expect("a finite number is a decimal")
}
