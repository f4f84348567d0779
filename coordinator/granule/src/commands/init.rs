//! `granule init`: writes a sweep file to start from.

use std::fs::{self, File};
use std::io::{self, Write as _};

use crate::cli::{self, exit};
use crate::engines::ENGINES;
use crate::failure::{Failure, shell_path, shown};
use crate::stdout::say;

pub(crate) fn run(arguments: &cli::Init) -> Result<(), Failure> {
    let path = &arguments.file;
    let failed = |error: io::Error| {
        let (what, help) = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                ("already exists", Some("name another file: `granule init FILE`; this one was not changed"))
            }
            io::ErrorKind::NotFound => {
                ("cannot be written: its directory does not exist", Some("make the directory first"))
            }
            _ => ("cannot be written", None),
        };
        let mut message = format!("error: {} {what}", path.display());
        if help.is_none() {
            message.push_str(&format!("\n  because: {error}"));
        }
        if let Some(help) = help {
            message.push_str(&format!("\n  help: {help}"));
        }
        Failure::new(exit::FAILED, message)
    };
    // Never replace an existing file.
    let mut file = File::create_new(path).map_err(failed)?;
    let written = file.write_all(ENGINES[0].template().as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a file would be in the way of the next attempt.
        let _ = fs::remove_file(path);
        return Err(failed(error));
    }
    say(&format!("Wrote {}. Change it, then run it:\n  granule run {}\n", shown(path), shell_path(path)))?
        .done();
    Ok(())
}
