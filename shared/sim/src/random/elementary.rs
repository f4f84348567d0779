//! stub
pub fn ln(x: f64) -> f64 { x.ln() }
pub fn pow(x: f64, y: f64) -> f64 { x.powf(y) }
