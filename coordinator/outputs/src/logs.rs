//! `logs`: how the user's program failed, a file for each trial at which it did.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};

use granule_system::files::Directory;

use crate::errors::{OutputError, failed};
use crate::hashed::HashedFile;

/// Name of the directory, in the output directory.
pub const NAME: &str = "logs";

/// Most files that a run writes.
pub const MOST: usize = 100;

/// The first line of each file. A file without it is not granule's, and is kept.
const HEAD: &str = "granule: how a trial failed\n";

/// Writes how a trial failed, under this name. A file of another program is kept. Returns whether there was no such file.
///
/// # Errors
/// If the file cannot be written.
pub fn write(out: &Directory, name: &str, how: &str) -> Result<bool, OutputError> {
    let path = out.path().join(NAME);
    let logs = out.create_below(OsStr::new(NAME)).map_err(failed("create", &path))?;
    let is_new = match of(&logs, name) {
        Whose::Granules => false,
        Whose::Nobodys => true,
        Whose::Others => return Ok(false),
    };
    let mut file = HashedFile::create_in(&logs, name)?;
    let put = file.write_all(HEAD.as_bytes()).and_then(|()| file.write_all(how.as_bytes()));
    put.and_then(|()| file.write_all(b"\n")).map_err(failed("write", &path.join(name)))?;
    file.commit()?;
    Ok(is_new)
}

/// Removes the files that granule has written, and the directory if nothing else is in it.
pub fn clear(out: &Directory) {
    let Ok(logs) = out.below(OsStr::new(NAME)) else { return };
    for name in logs.names().unwrap_or_default() {
        if name.to_str().is_some_and(|name| matches!(of(&logs, name), Whose::Granules)) {
            // A file that remains is of an earlier run, which its date shows.
            let _ = logs.remove(&name);
        }
    }
    out.remove_if_empty(OsStr::new(NAME));
}

/// The program that has written a file.
enum Whose {
    Granules,
    Others,
    /// There is no file.
    Nobodys,
}

fn of(logs: &Directory, name: &str) -> Whose {
    match logs.open_file(OsStr::new(name)) {
        Ok(mut file) => {
            let mut head = vec![0; HEAD.len()];
            match file.read_exact(&mut head) {
                Ok(()) if head == HEAD.as_bytes() => Whose::Granules,
                _ => Whose::Others,
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Whose::Nobodys,
        Err(_) => Whose::Others,
    }
}
