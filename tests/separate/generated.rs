//! The committed Rust code is what the committed .proto file generates.

use std::fs;
use std::path::Path;

/// To write the code again: `GRANULE_REGENERATE=1 .ci/run separate`.
#[test]
fn generated_code_is_up_to_date() {
    let root = Path::new(crate::ROOT).join("proto");
    let descriptors =
        protox::compile(["granule.proto"], [root.join("proto")]).expect("the .proto file compiles");
    let fresh = tempfile::tempdir().expect("a temporary directory");
    tonic_prost_build::configure()
        .client_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .out_dir(fresh.path())
        .compile_fds(descriptors)
        .expect("code can be generated");
    let committed = root.join("src/generated/granule.v1.rs");
    let fresh = fs::read_to_string(fresh.path().join("granule.v1.rs")).expect("generated code");
    if std::env::var_os("GRANULE_REGENERATE").is_some() {
        fs::write(&committed, &fresh).expect("the source tree is writable");
    }
    let committed = fs::read_to_string(&committed).unwrap_or_default();
    assert!(
        committed == fresh,
        "proto/src/generated/granule.v1.rs does not match proto/proto/granule.proto; regenerate it"
    );
}
