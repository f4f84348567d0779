//! Tells the program what it was built as, for `granule --version`.
//!
//! The commit is taken from the environment alone: a look into the repository would have the crate
//! compiled anew after each commit, and whoever builds for others knows what they build.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=GRANULE_COMMIT");
    let commit = env::var("GRANULE_COMMIT").ok().filter(|commit| !commit.is_empty());
    println!("cargo::rustc-env=GRANULE_BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    let target = env::var("TARGET").expect("cargo sets it");
    println!("cargo::rustc-env=GRANULE_BUILD_TARGET={target}");
    // Cargo tells only which of its own profiles ours inherits; the directory has our name:
    // target/PROFILE/build/granule-HASH/out.
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let profile = Path::new(&out).ancestors().nth(3).and_then(Path::file_name);
    let profile = profile.map(|name| name.to_string_lossy()).expect("cargo's directories");
    println!("cargo::rustc-env=GRANULE_BUILD_PROFILE={profile}");
}
