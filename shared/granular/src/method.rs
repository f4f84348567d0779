//! The two ways to compute the model.

use granule_engine::Engine;

/// The method that computes trials. Results of different methods are never mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Separate streams for every cell, trial and purpose (docs/engines.md), so that any part can be computed alone.
    Pcg,
    /// Every bit equals that of the original program under Brian2 2.2.1 and numpy 1.21.
    Brian2_2_2_1,
}

/// The engines of the granular layer, the default first.
pub const ENGINES: &[&dyn Engine] = &[&Method::Pcg, &Method::Brian2_2_2_1];

impl Method {
    /// All methods, the default first.
    pub const ALL: &[Method] = &[Method::Pcg, Method::Brian2_2_2_1];

    /// Returns the engine that computes with this method.
    pub fn engine(self) -> &'static dyn Engine {
        match self {
            Method::Pcg => &Method::Pcg,
            Method::Brian2_2_2_1 => &Method::Brian2_2_2_1,
        }
    }

    /// Returns the method of this name.
    pub fn named(name: &str) -> Option<Method> {
        Method::ALL.iter().copied().find(|method| method.name() == name)
    }
}
