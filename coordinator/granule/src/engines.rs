//! The engines of this program.

use granule_engine::Engines;

/// All engines, the default first.
pub(crate) const ENGINES: Engines = granule_granular::ENGINES;
