//! Why a run does not write to an output directory.

use std::path::PathBuf;

use granule_system::exit;

/// Why a run does not write to an output directory.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A name that granule needs is taken.
    #[error("{} {what}", path.display())]
    Taken { path: PathBuf, what: String },
    /// One of its records was written by a later version.
    #[error("{} was written by a later version of granule", path.display())]
    Later { path: PathBuf },
    /// One of its records is damaged, and no other says whose the directory is.
    #[error("{} is damaged, and nothing else says of which sweep the directory is", path.display())]
    Damaged { path: PathBuf },
    /// Another sweep's.
    #[error("{} holds another sweep, {held}: {why}", out.display())]
    AnotherSweep { out: PathBuf, held: String, why: &'static str },
    /// There are files at the places of its outputs that it did not write.
    #[error(
        "{} has {} where this sweep writes outputs, and no record says that granule wrote {}, such as {first}",
        out.display(),
        if *count == 1 { "a file".to_owned() } else { format!("{count} files") },
        if *count == 1 { "it" } else { "them" }
    )]
    Unlisted { out: PathBuf, count: usize, first: String },
}

impl Refusal {
    /// Exit code of a command that is refused: the directory is the wrong one, or something in it is.
    pub fn code(&self) -> u8 {
        match self {
            Refusal::AnotherSweep { .. } | Refusal::Unlisted { .. } => exit::USAGE,
            Refusal::Taken { .. } | Refusal::Later { .. } | Refusal::Damaged { .. } => exit::FAILED,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Refusal::Taken { .. } => "move it away, or choose another directory with --out DIR",
            Refusal::Damaged { .. } => {
                "if it is this sweep's, pass --replace; else choose another directory with --out DIR"
            }
            Refusal::Later { .. } => "use that version, or choose another directory with --out DIR",
            Refusal::AnotherSweep { .. } => {
                "choose another directory with --out DIR; --replace removes the files of the sweep that is there and \
                 writes this sweep's (stored trials stay stored; `granule plan --replace` lists the files)"
            }
            Refusal::Unlisted { .. } => {
                "choose another directory with --out DIR, or move them away; --replace overwrites them (`granule plan \
                 --replace` lists them)"
            }
        }
    }
}
