//! Tests with tools of their own: the schema of sweep files, the code of the protocol, and the arrows between modules.

mod arrows;
mod generated;
mod schema;

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
