//! Disk space: what outputs take, and what is free.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use granule_engine::output::Size;
use granule_sweep::Plan;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC, statfs};
use nix::sys::statvfs::statvfs;

/// The file system that a path is on, or will be, and the bytes that are free there for this user.
#[derive(Clone, Debug)]
pub struct Room {
    /// The path, or the nearest directory above it that is there.
    pub at: PathBuf,
    device: u64,
    pub free: u64,
    /// Whether files can take less than their length there.
    compresses: bool,
}

impl Room {
    /// None where the system does not say.
    pub fn of(path: &Path) -> Option<Room> {
        let absolute = std::path::absolute(path).ok()?;
        let at = absolute.ancestors().find(|path| path.exists())?.to_owned();
        let device = std::fs::metadata(&at).ok()?.dev();
        let said = statvfs(&at).ok().filter(|said| said.blocks() > 0)?;
        let free = said.blocks_available().saturating_mul(said.fragment_size());
        // OpenZFS and bcachefs have no name in the system's headers that all versions know.
        const COMPRESSING: [i64; 5] =
            [BTRFS_SUPER_MAGIC.0, F2FS_SUPER_MAGIC.0, 0x2fc1_2fc1, 0xca45_1a4e, 0x5346_544e];
        let compresses = statfs(&at).is_ok_and(|said| COMPRESSING.contains(&said.filesystem_type().0));
        Some(Room { at, device, free, compresses })
    }

    fn is_same(&self, other: &Room) -> bool {
        self.device == other.device
    }
}

/// The least that the trials of a plan take in a store: their entries, without a single spike.
pub fn least_of_store(plan: &Plan) -> Size {
    const ENTRY: f64 = 73.0;
    Size::exactly(ENTRY * plan.len() as f64)
}

/// What a run is going to need.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Of files that are written where nothing is, or in place of others.
    pub outputs: Size,
    /// Of files that are replaced and removed.
    pub given_back: u64,
    /// Of trials that are stored.
    pub store: Size,
}

/// Whether it fits.
#[derive(Clone, Debug, PartialEq)]
pub enum Fit {
    /// As far as the system says.
    Fits,
    /// It may or may not.
    Tight { what: String },
    /// It does not.
    Lacks { what: String },
}

/// Whether there is room for the outputs and the store at these places.
pub fn fit(out: &Path, store: &Path, needs: Needs) -> Fit {
    let (of_out, of_store) = (Room::of(out), Room::of(store));
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
            let what = format!(
                "{what} need at least {}, and {free} are free at {}",
                bytes(least),
                room.at.display()
            );
            return Fit::Lacks { what: plural_of_store(what) };
        }
        if expected * 1.05 > room.free as f64 {
            let what = format!(
                "{what} need about {}, and {free} are free at {}",
                bytes(expected),
                room.at.display()
            );
            found = Fit::Tight { what: plural_of_store(what) };
        }
    }
    found
}

/// Mends the verb: the store is one, the outputs are several.
fn plural_of_store(what: String) -> String {
    match what.strip_prefix("the store need ") {
        Some(rest) => format!("the store needs {rest}"),
        None => what,
    }
}
