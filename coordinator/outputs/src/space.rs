//! The disk space that outputs take, and the free space.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use granule_engine::output::Size;
use granule_sweep::Plan;
use granule_system::os;

/// The file system of a path, which need not exist, and the bytes that are free there for this user.
#[derive(Clone, Debug)]
pub struct FreeSpace {
    /// The path, or its nearest directory that exists.
    pub at: PathBuf,
    device: u64,
    pub free: u64,
    /// Whether files can take less space than their length.
    compresses: bool,
}

impl FreeSpace {
    /// Returns `None` if the system does not report it.
    pub fn of(path: &Path) -> Option<FreeSpace> {
        let absolute = std::path::absolute(path).ok()?;
        let at = absolute.ancestors().find(|path| path.exists())?.to_owned();
        let device = std::fs::metadata(&at).ok()?.dev();
        let free = os::free_space(&at)?;
        let compresses = os::compresses(&at);
        Some(FreeSpace { at, device, free, compresses })
    }

    fn is_same(&self, other: &FreeSpace) -> bool {
        self.device == other.device
    }
}

/// Returns the least that the trials of a plan take in a store: their entries, without any spikes.
pub fn least_of_store(plan: &Plan) -> Size {
    const ENTRY: f64 = 73.0;
    Size::exactly(ENTRY * plan.len() as f64)
}

/// The space that a run will need.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Needed by files that are written anew, or in place of others.
    pub outputs: Size,
    /// Bytes freed by files that are replaced or removed.
    pub given_back: u64,
    /// Needed by trials that are stored.
    pub store: Size,
}

/// Whether the needs fit into the free space.
#[derive(Clone, Debug, PartialEq)]
pub enum Fit {
    /// They fit, as far as the system reports it.
    Fits,
    /// They may or may not fit.
    Tight { what: String },
    /// They do not fit.
    Lacks { what: String },
}

/// Checks whether the outputs and the store fit into the free space at these places.
pub fn fit(out: &Path, store: &Path, needs: Needs) -> Fit {
    let (of_out, of_store) = (FreeSpace::of(out), FreeSpace::of(store));
    let outputs = Size {
        least: (needs.outputs.least - needs.given_back as f64).max(0.0),
        expected: (needs.outputs.expected - needs.given_back as f64).max(0.0),
    };
    let wants = match (&of_out, &of_store) {
        (Some(one), Some(other)) if one.is_same(other) => {
            vec![(one, "the outputs and the store", outputs + needs.store)]
        }
        _ => (of_out.iter().map(|room| (room, "the outputs", outputs)))
            .chain(of_store.iter().map(|room| (room, "the store", needs.store)))
            .collect(),
    };
    let mut found = Fit::Fits;
    for (room, what, Size { least, expected }) in wants {
        let bytes = |bytes: f64| indicatif::DecimalBytes(bytes as u64).to_string();
        let free = bytes(room.free as f64);
        if least > room.free as f64 && !room.compresses {
            let what =
                format!("{what} need at least {}; {free} are free at {}", bytes(least), room.at.display());
            return Fit::Lacks { what: plural_of_store(what) };
        }
        if expected * 1.05 > room.free as f64 {
            let what =
                format!("{what} need about {}; {free} are free at {}", bytes(expected), room.at.display());
            found = Fit::Tight { what: plural_of_store(what) };
        }
    }
    found
}

/// Corrects the verb: the store is singular, the outputs are plural.
fn plural_of_store(what: String) -> String {
    match what.strip_prefix("the store need ") {
        Some(rest) => format!("the store needs {rest}"),
        None => what,
    }
}
