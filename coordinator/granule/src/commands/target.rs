//! Checks a file that a command is going to write: which existing files it may replace.
//!
//! A file is replaced only if it is recognisably one that granule wrote, of the same kind. With `--force`, any regular
//! file is replaced. Links, directories, pipes and devices never are.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use granule_outputs::research_object::{COMMENT, METADATA};
use granule_outputs::table::Format;
use granule_system::files::{self, kind_of};
use granule_system::hex;
use sha2::{Digest as _, Sha256};

use crate::cli::exit;
use crate::failure::Failure;

/// The kind of file to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind<'a> {
    /// A table of `granule export` with these columns.
    Table(Format, &'a [String]),
    /// A research object of `granule export`.
    ResearchObject,
    /// A page of `granule report`.
    Report,
    /// A page of the manual.
    Manual,
    /// A script for Slurm.
    Script,
}

/// First lines of the tables of `granule export` whose columns are those of any sweep.
const CSV_HEADS: [&str; 2] = [
    "condition,seed,trial,population,cell,time_ms\n",
    "condition,seed,population,time_ms,bin_ms,spikes,rate_hz\n",
];

/// Files that tables of both kinds have, as listed in the directory at the end of an archive.
const NPZ_FILES: [&str; 4] = ["condition.npy", "seed.npy", "population.npy", "time_ms.npy"];

impl TargetKind<'_> {
    fn name(self) -> &'static str {
        match self {
            TargetKind::Table(Format::Csv, _) => "a CSV table",
            TargetKind::Table(Format::Parquet, _) => "a Parquet table",
            TargetKind::Table(Format::Npz, _) => "an NPZ table",
            TargetKind::Table(Format::Json, _) => "a JSON table",
            TargetKind::ResearchObject => "a research object",
            TargetKind::Report => "a report",
            TargetKind::Manual => "a manual page",
            TargetKind::Script => "a job script",
        }
    }

    /// Whether a file of this kind, written by any version of granule, begins and ends like this.
    fn is_it(self, head: &[u8], tail: &[u8]) -> bool {
        let has =
            |bytes: &[u8], part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
        match self {
            TargetKind::Table(Format::Csv, columns) => {
                let line = format!("{}\n", columns.join(","));
                CSV_HEADS.iter().chain([&line.as_str()]).any(|line| head.starts_with(line.as_bytes()))
            }
            TargetKind::Table(Format::Json, columns) => {
                // A table without rows has no names.
                if head == b"[\n]\n" {
                    return true;
                }
                let first = head.split(|byte| *byte == b'\n').nth(1).unwrap_or_default();
                head.starts_with(b"[\n{\"condition\":")
                    && tail.ends_with(b"}\n]\n")
                    && columns.iter().all(|name| has(first, &format!("\"{name}\":")))
            }
            // The tail has the schema's columns and the name of the writer.
            TargetKind::Table(Format::Parquet, columns) => {
                head.starts_with(b"PAR1")
                    && tail.ends_with(b"PAR1")
                    && has(tail, "granule ")
                    && (has(tail, "population") || columns.iter().all(|name| has(tail, name)))
            }
            TargetKind::Table(Format::Npz, columns) => {
                head.starts_with(b"PK\x03\x04")
                    && (NPZ_FILES.iter().all(|name| has(tail, name))
                        || columns.iter().all(|name| has(tail, &format!("{name}.npy"))))
            }
            // The description is the first file.
            TargetKind::ResearchObject => {
                head.starts_with(b"PK\x03\x04")
                    && head.get(30..).is_some_and(|name| name.starts_with(METADATA.as_bytes()))
                    && comment_of_zip(tail).is_some_and(|comment| comment.starts_with(COMMENT.as_bytes()))
            }
            TargetKind::Report => {
                head.starts_with(b"<!DOCTYPE html>")
                    && has(head, "<meta name=\"generator\" content=\"granule ")
            }
            TargetKind::Manual => has(head, ".TH granule ") || has(head, ".TH granule-"),
            TargetKind::Script => is_script(head),
        }
    }
}

/// Returns the comment of an archive, which follows the last record.
fn comment_of_zip(tail: &[u8]) -> Option<&[u8]> {
    let at = tail.windows(4).rposition(|window| window == b"PK\x05\x06")?;
    tail.get(at + 22..)
}

/// The beginning of the line that shows whether a script was changed later. The SHA-256 of all other lines is behind it. It
/// is the first line, or the second one of a script that names its interpreter.
const SCRIPT_HASH: &str = "# sha256 of the other lines: ";

/// The same of earlier versions, where it is the second line, with the SHA-256 of the lines below.
const OLD_SCRIPT_HASH: &str = "# sha256 of what follows: ";

/// Returns the script with a line that shows whether it was changed later.
pub(crate) fn with_hash(script: &str) -> String {
    let at = if script.starts_with("#!") { script.find('\n').map_or(script.len(), |end| end + 1) } else { 0 };
    let (above, below) = script.split_at(at);
    format!("{above}{SCRIPT_HASH}{}\n{below}", hex(&Sha256::digest(script)))
}

/// Whether a script is as granule wrote it. Those of version 0.1.0 have no hash.
fn is_script(bytes: &[u8]) -> bool {
    let line_end =
        |from: usize| bytes[from..].iter().position(|byte| *byte == b'\n').map(|end| from + end + 1);
    let Some(second) = line_end(0) else { return false };
    for (at, mark, hashes_first) in
        [(0, SCRIPT_HASH, true), (second, SCRIPT_HASH, true), (second, OLD_SCRIPT_HASH, false)]
    {
        let Some(hashed) = bytes[at..].strip_prefix(mark.as_bytes()) else { continue };
        let below = line_end(at).unwrap_or(bytes.len());
        let above = if hashes_first { &bytes[..at] } else { &[] };
        let hash = hex(&Sha256::new().chain_update(above).chain_update(&bytes[below..]).finalize());
        return hashed.starts_with(hash.as_bytes()) && below == at + mark.len() + hash.len() + 1;
    }
    let mark: &[u8] = b"\n# Written by granule ";
    bytes.starts_with(b"#!/bin/bash\n") && bytes[second..].windows(mark.len()).any(|window| window == mark)
}

/// Bytes of a file that are checked, at its beginning and at its end.
const LOOKED_AT: u64 = 1 << 16;

/// Whether anything has this name, a dangling link included.
pub(crate) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Checks that a file of this kind may be written here.
///
/// # Errors
/// When another file is there.
pub(crate) fn check(path: &Path, kind: TargetKind<'_>, forces: bool) -> Result<(), Failure> {
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

fn looks_like(path: &Path, kind: TargetKind<'_>) -> bool {
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
        let columns = ["condition", "seed", "trial", "rate"].map(str::to_owned);
        let table = |format| TargetKind::Table(format, &columns);
        let research_object = [
            b"PK\x03\x04".as_slice(),
            &[0; 26],
            b"ro-crate-metadata.json .. PK\x05\x06",
            &[0; 18],
            b"granule 0.2.0",
        ];
        let research_object = research_object.concat();
        let own: [(TargetKind<'_>, &[u8]); 5] = [
            (table(Format::Csv), b"condition,seed,trial,population,cell,time_ms\n"),
            (table(Format::Parquet), b"PAR1 .. population .. granule 0.1.0 .. PAR1"),
            (table(Format::Npz), b"PK\x03\x04 condition.npy seed.npy population.npy time_ms.npy"),
            (TargetKind::ResearchObject, &research_object),
            (TargetKind::Report, b"<!DOCTYPE html><html><meta name=\"generator\" content=\"granule 0.1.0\">"),
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

    #[test]
    fn a_table_with_the_same_columns_is_replaced() {
        let columns = ["condition", "seed", "trial", "rate"].map(str::to_owned);
        let own: [(Format, &[u8]); 4] = [
            (Format::Csv, b"condition,seed,trial,rate\n"),
            (Format::Parquet, b"PAR1 .. condition seed trial rate granule 0.1.0 .. PAR1"),
            (Format::Npz, b"PK\x03\x04 condition.npy seed.npy trial.npy rate.npy"),
            (Format::Json, b"[\n{\"condition\":\"a\",\"seed\":1,\"trial\":0,\"rate\":2.5}\n]\n"),
        ];
        for (format, bytes) in own {
            assert!(TargetKind::Table(format, &columns).is_it(bytes, bytes));
            let others = ["condition", "seed", "trial", "weight"].map(str::to_owned);
            assert!(!TargetKind::Table(format, &others).is_it(bytes, bytes));
        }
    }

    #[test]
    fn a_script_that_was_changed_is_the_users() {
        let is_own = |script: &str| TargetKind::Script.is_it(script.as_bytes(), b"");
        for script in ["#!/bin/bash\n# for: x\nexec true\n", "exec true\n", "batch_name = x\nqueue\n"] {
            let script = with_hash(script);
            assert!(is_own(&script), "{script}");
            for (from, to) in
                [("exec true", "module load openmpi\nexec true"), ("#!/bin", "#!/usr/bin"), ("batch", "")]
            {
                let changed = script.replacen(from, to, 1);
                assert_eq!(is_own(&changed), changed == script, "{changed}");
            }
            assert!(!is_own(&format!("{script}# more\n")));
            assert!(!is_own(&format!("# more\n{script}")));
        }
        let rest = "exec true\n";
        assert!(is_own(&format!("#!/bin/sh\n{OLD_SCRIPT_HASH}{}\n{rest}", hex(&Sha256::digest(rest)))));
        assert!(is_own("#!/bin/bash\n# A sweep\n# Written by granule 0.1.0 for: x\n"));
        assert!(!is_own("#!/bin/bash\nrm -r x\n"));
        assert!(!is_own(""));
    }
}
