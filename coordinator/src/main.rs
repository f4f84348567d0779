//! .
mod scheduler;
fn main() {}
