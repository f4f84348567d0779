//! The reasons for which a run refuses an output directory.

use std::path::PathBuf;

use granule_system::exit;

/// Why a run does not write to an output directory.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A name that granule needs is taken.
    #[error("{} {what}", path.display())]
    Taken { path: PathBuf, what: String },
    /// A record was written by a later version.
    #[error("{} was written by a later version of granule", path.display())]
    Later { path: PathBuf },
    /// A record is damaged, and no other shows which sweep the directory belongs to.
    #[error("{} is damaged, and no other record shows which sweep the directory belongs to", path.display())]
    Damaged { path: PathBuf },
    /// The directory belongs to another sweep.
    #[error("{} holds another sweep, {held}: {why}", out.display())]
    AnotherSweep { out: PathBuf, held: String, why: &'static str },
    /// At the paths of outputs there are files that no record lists.
    #[error(
        "{} has {} that this sweep would write, such as {first}, and granule's record does not list {}",
        out.display(),
        if *count == 1 { "a file at a path".to_owned() } else { format!("{count} files at paths") },
        if *count == 1 { "it" } else { "them" }
    )]
    Unlisted { out: PathBuf, count: usize, first: String },
}

impl Refusal {
    /// Returns the exit code of the refused command. It depends on whether the directory is wrong, or an object in it.
    pub fn code(&self) -> u8 {
        match self {
            Refusal::AnotherSweep { .. } | Refusal::Unlisted { .. } => exit::USAGE,
            Refusal::Taken { .. } | Refusal::Later { .. } | Refusal::Damaged { .. } => exit::FAILED,
        }
    }

    /// Returns the remedy.
    pub fn help(&self) -> &'static str {
        match self {
            Refusal::Taken { .. } => "move it away, or choose another directory with --out DIR",
            Refusal::Damaged { .. } => {
                "if the directory belongs to this sweep, pass --replace; otherwise choose another with --out DIR"
            }
            Refusal::Later { .. } => "use that version, or choose another directory with --out DIR",
            Refusal::AnotherSweep { .. } => {
                "choose another directory with --out DIR. Or pass --replace: it removes the other sweep's files \
                    and keeps its stored trials (`granule plan --replace` lists the files)"
            }
            Refusal::Unlisted { .. } => {
                "choose another directory with --out DIR, or move the files away. Or pass --replace: it \
                    overwrites them (`granule plan --replace` lists them)"
            }
        }
    }
}
