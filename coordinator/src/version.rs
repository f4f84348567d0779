//! What `granule --version` says, for results to be told apart by what computed them.

use granule_sim::Engine;

/// The version, all engines with their revisions, the default first, and what was built for what.
pub(crate) fn long() -> String {
    let engines =
        Engine::ALL.iter().map(|engine| format!("{} (revision {})", engine.name(), engine.revision()));
    format!(
        "{}\nengines: {}\nbuild: {}, profile {}, commit {}",
        env!("CARGO_PKG_VERSION"),
        engines.collect::<Vec<_>>().join(", "),
        env!("GRANULE_BUILD_TARGET"),
        env!("GRANULE_BUILD_PROFILE"),
        env!("GRANULE_BUILD_COMMIT"),
    )
}
