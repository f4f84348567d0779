//! Files that a command is told to write: what may be replaced.
//!
//! A file is replaced only if it is recognisably one that granule wrote, of the same kind; with `--force`, any regular
//! file is. Links, directories, pipes and devices never are.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use granule_worker::files::{self, kind_of};
use std::os::unix::fs::MetadataExt as _;

use crate::cli::{Format, exit};
use crate::failure::Failure;

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A table of `granule export`.
    Table(Format),
    /// A page of `granule report`.
    Report,
    /// A page of the manual.
    Manual,
    /// A script for Slurm.
    Script,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Table(Format::Csv) => "a CSV table",
            Kind::Table(Format::Parquet) => "a Parquet table",
            Kind::Table(Format::Npz) => "an NPZ table",
            Kind::Report => "a report",
            Kind::Manual => "a manual page",
            Kind::Script => "a job script",
        }
    }

    /// Whether a file of this kind, written by any version of granule, begins and ends so.
    fn is_it(self, head: &[u8], tail: &[u8]) -> bool {
        let has =
            |bytes: &[u8], part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
        match self {
            // The columns that every table begins with.
            Kind::Table(Format::Csv) => head.starts_with(b"condition,seed,"),
            // The name of the schema, and who made it.
            Kind::Table(Format::Parquet) => {
                head.starts_with(b"PAR1") && tail.ends_with(b"PAR1") && has(tail, "granule ")
            }
            // Its first file is the first column.
            Kind::Table(Format::Npz) => {
                head.starts_with(b"PK\x03\x04") && has(&head[..head.len().min(64)], "condition.npy")
            }
            Kind::Report => {
                head.starts_with(b"<!DOCTYPE html>")
                    && has(head, "<meta name=\"generator\" content=\"granule ")
            }
            Kind::Manual => has(head, ".TH granule"),
            Kind::Script => head.starts_with(b"#!/bin/bash\n") && has(head, "\n# Written by granule "),
        }
    }
}

/// Bytes of a file that are looked at, at its beginning and at its end.
const LOOKED_AT: u64 = 1 << 16;

/// Whether anything has this name, a dangling link included.
pub(crate) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Expects that a file of this kind may be written here.
///
/// # Errors
/// When something else is there.
pub(crate) fn check(path: &Path, kind: Kind, forces: bool) -> Result<(), Failure> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    let refuse = |what: &str, help: &str| {
        let message = format!("error: {} exists and is {what}\n  help: {help}", path.display());
        Err(Failure::new(exit::USAGE, message))
    };
    let is = kind_of(found.mode());
    if is != "a file" {
        return refuse(&format!("{is}, not a file"), "choose another name");
    }
    if forces || found.len() == 0 || looks_like(path, kind) {
        return Ok(());
    }
    refuse(
        &format!("not {} that granule wrote", kind.name()),
        "choose another name, or replace it with --force",
    )
}

fn looks_like(path: &Path, kind: Kind) -> bool {
    let read = || {
        let mut file = files::open(path)?;
        let head = some(&mut file, 0)?;
        let length = file.metadata()?.len();
        let tail = some(&mut file, length.saturating_sub(LOOKED_AT))?;
        Ok::<_, std::io::Error>(kind.is_it(&head, &tail))
    };
    read().unwrap_or(false)
}

fn some(file: &mut File, at: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(LOOKED_AT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_granules_own_files_of_that_kind_are_replaced() {
        let place = tempfile::tempdir().expect("a directory");
        let at = |name: &str| place.path().join(name);
        let own: [(Kind, &[u8]); 4] = [
            (Kind::Table(Format::Csv), b"condition,seed,trial,population,cell,time_ms\n"),
            (Kind::Table(Format::Parquet), b"PAR1 .. granule 0.1.0 .. PAR1"),
            (Kind::Table(Format::Npz), b"PK\x03\x04--------------------------condition.npy"),
            (Kind::Report, b"<!DOCTYPE html><html><meta name=\"generator\" content=\"granule 0.1.0\">"),
        ];
        let others: [&[u8]; 5] = [
            b"PAR1 pandas PAR1",
            b"name: sweep\n",
            b"cell,condition\n",
            b"<!DOCTYPE html><html>",
            b"PK\x03\x04x.txt",
        ];
        for (kind, bytes) in own {
            fs::write(at("file"), bytes).expect("written");
            check(&at("file"), kind, false).expect("granule's own");
            for (other, bytes) in own {
                fs::write(at("file"), bytes).expect("written");
                assert_eq!(check(&at("file"), kind, false).is_ok(), kind == other);
            }
            for bytes in others {
                fs::write(at("file"), bytes).expect("written");
                let refused = check(&at("file"), kind, false).expect_err("not granule's");
                assert!(refused.message.contains("--force"), "{}", refused.message);
                check(&at("file"), kind, true).expect("forced");
            }
            std::os::unix::fs::symlink(at("file"), at("link")).expect("a link");
            check(&at("link"), kind, true).expect_err("a link");
            fs::remove_file(at("link")).expect("removed");
            check(place.path(), kind, true).expect_err("a directory");
            check(&at("nothing"), kind, false).expect("free");
        }
    }
}
