//! The cells that figures show.

use granule_engine::Model;
use granule_granular::derive::Structure;
use granule_granular::layer_of;

/// Returns the cells of the first population that figures show. In the granular layer, these are the driven cells. Of a
/// model of the user's own, figures show all.
pub(crate) fn shown_cells(model: &Model, seed: u32) -> Vec<u32> {
    if model.engine().is_program() {
        return (0..model.sizes().first().copied().unwrap_or(0)).collect();
    }
    structure(model, seed).driven_cells().to_vec()
}

/// Returns the network of a condition of the granular layer and a seed.
pub(super) fn structure(model: &Model, seed: u32) -> Structure {
    Structure::new(&layer_of(model), seed)
}
