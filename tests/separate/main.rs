//! Tests that need further crates: the schema of sweep files, the code of the protocol, and the dependencies between
//! modules.

mod arrows;
mod generated;
mod schema;

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
