//! Disk space: what outputs take, and what is free.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use granule_sim::parameters::Parameters;
use granule_sweep::{Condition, Plan, Sweep};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC, statfs};
use nix::sys::statvfs::statvfs;

use super::Planned;

/// A size in bytes that is not known exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// A lower bound.
    pub least: f64,
    pub expected: f64,
}

impl Size {
    fn exactly(bytes: f64) -> Size {
        Size { least: bytes, expected: bytes }
    }
}

impl std::ops::Add for Size {
    type Output = Size;

    fn add(self, other: Size) -> Size {
        Size { least: self.least + other.least, expected: self.expected + other.expected }
    }
}

impl std::iter::Sum for Size {
    fn sum<I: Iterator<Item = Size>>(sizes: I) -> Size {
        sizes.fold(Size::default(), std::ops::Add::add)
    }
}

/// Header of an array.
const HEADER: f64 = 128.0;

/// Granule cells with an active mossy fibre, over all networks: their mean, and less than there are in all but one of
/// a thousand million networks.
fn driven(parameters: &Parameters, active: u32) -> Size {
    let fibers = f64::from(parameters.network.mossy_fibers);
    let probability = (parameters.mossy_to_granule.convergence / fibers).clamp(0.0, 1.0);
    let share = 1.0 - (1.0 - probability).powi(active as i32);
    let cells = f64::from(parameters.network.granule_cells);
    let expected = cells * share;
    let deviation = (expected * (1.0 - share)).sqrt();
    Size { least: (expected - 6.0 * deviation).max(0.0), expected }
}

impl Planned {
    /// The bytes that it will have.
    pub fn size(&self, sweep: &Sweep) -> Size {
        let condition: &Condition = &sweep.conditions[self.condition];
        let model = &condition.model;
        let parameters = model.parameters();
        let active = model.active_fibers();
        let bins = model.bins() as f64;
        let cells = f64::from(parameters.network.granule_cells);
        let of_driven = |bytes: f64| {
            let Size { least, expected } = driven(parameters, active);
            Size { least: least * bytes, expected: expected * bytes }
        };
        let content = match self.content {
            super::Content::SpikeProbability => Size::exactly(8.0 * cells * bins),
            super::Content::Excitation | super::Content::Inhibition => of_driven(8.0 * bins),
            super::Content::Connections => {
                let fibers = f64::from(parameters.network.mossy_fibers);
                let synapses = f64::from(active) * cells * parameters.mossy_to_granule.convergence / fibers;
                Size { least: 0.0, expected: 8.0 * synapses }
            }
            super::Content::Weights => {
                let values = f64::from(active) * f64::from(sweep.trials);
                Size { least: 0.0, expected: 9.0 * values }
            }
            super::Content::TonicFactors => of_driven(8.0),
        };
        Size::exactly(HEADER) + content
    }
}

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
