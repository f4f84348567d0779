//! Records how the program was built, for `granule --version`.
//!
//! The commit is taken only from the environment. If it were read from the repository, the crate would be compiled anew
//! after each commit. A packager knows which commit is built.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=GRANULE_COMMIT");
    let commit = env::var("GRANULE_COMMIT").ok().filter(|commit| !commit.is_empty());
    println!("cargo::rustc-env=GRANULE_BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    let target = env::var("TARGET").expect("cargo sets it");
    println!("cargo::rustc-env=GRANULE_BUILD_TARGET={target}");
    // Cargo reports only which of its own profiles ours inherits. The directory has our name:
    // target/PROFILE/build/granule-HASH/out.
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let profile = Path::new(&out).ancestors().nth(3).and_then(Path::file_name);
    let profile = profile.map(|name| name.to_string_lossy()).expect("cargo's directories");
    println!("cargo::rustc-env=GRANULE_BUILD_PROFILE={profile}");
}
