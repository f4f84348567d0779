//! What `granule --version` says, for results to be told apart by what computed them.

use std::sync::LazyLock;

use granule_engine::Engine;

use crate::engines::ENGINES;

/// The version; all engines with their revisions, the default first; what was built, and how.
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
