//! Names in an output directory that a store cannot have.

use crate::{logs, manifest, stamps};

/// Whether granule gives this name in an output directory to anything but a store.
pub fn is_reserved(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        manifest::NAME,
        manifest::UNDER_WAY,
        manifest::PENDING,
        stamps::NAME,
        "access.json",
        ".run.json",
        "coordinator.pem",
        "figures",
        "report.html",
        "slurm",
        "batch",
        logs::NAME,
    ];
    NAMES.contains(&name) || name.starts_with("seed-")
}
