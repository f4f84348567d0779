//! The text of `granule --version`. It identifies the program that computed a result.

use std::sync::LazyLock;

use granule_engine::Engine;

use crate::engines::ENGINES;

/// Commit of the build. None if the build was not given one.
pub(crate) fn commit() -> Option<&'static str> {
    Some(env!("GRANULE_BUILD_COMMIT")).filter(|commit| *commit != "unknown")
}

/// The version; all engines with their revisions, the default first; target, profile and commit of the build.
pub(crate) static LONG: LazyLock<String> = LazyLock::new(|| {
    let engine = |engine: &&dyn Engine| format!("{} (revision {})", engine.name(), engine.revision());
    format!(
        "{}\nengines: {}\nbuild: {}, profile {}, commit {}",
        env!("CARGO_PKG_VERSION"),
        ENGINES.iter().map(engine).collect::<Vec<_>>().join(", "),
        env!("GRANULE_BUILD_TARGET"),
        env!("GRANULE_BUILD_PROFILE"),
        env!("GRANULE_BUILD_COMMIT"),
    )
});
