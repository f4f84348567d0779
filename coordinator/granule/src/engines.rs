//! The engines that this program has.

use granule_engine::Engines;

/// The engines that this program has, the default first.
pub(crate) const ENGINES: Engines = granule_granular::ENGINES;
