//! The way in which `granule status` reaches a run whose workers are the coordinator's own, such as that of `granule
//! run`. It is a file in the output directory, beside the access file of other workers, if there is one. It has the
//! run's secret, so only its owner may read it. It is valid only on the run's host. The file exists while trials are
//! computed. If a run is killed, its file stays, and the next run replaces or removes it.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use granule_system::files::{self, Directory};
use granule_system::private;
use granule_worker::access::Access;
use serde::{Deserialize, Serialize};

use crate::commands::this_machine::host;

/// Name of the file in the output directory.
pub(crate) const NAME: &str = ".run.json";

/// The beginning of each such file.
const BEGINNING: &[u8] = b"{\"granule_run\":";

/// Longest file, in bytes.
const LONGEST: u64 = 1 << 20;

/// The contents of the file.
#[derive(Deserialize, Serialize)]
struct BeaconContents {
    granule_run: u32,
    /// The only machine on which the address leads to the run.
    host: String,
    /// The text of an access file.
    access: String,
}

/// The file. Dropping this removes it.
#[derive(Debug)]
pub(crate) struct Beacon {
    out: Directory,
    bytes: Vec<u8>,
}

impl Beacon {
    /// Writes into this directory how the run there is reached.
    ///
    /// # Errors
    /// When another file has that name, when the system refuses, or when others could read the file.
    pub(crate) fn light(out: &Directory, access: &Access) -> io::Result<Beacon> {
        if !clear(out)? {
            let what = format!(
                "{} exists and granule did not write it; move it away",
                out.path().join(NAME).display()
            );
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        let contents = BeaconContents { granule_run: 1, host: host(), access: access.to_json() };
        let mut bytes = serde_json::to_vec(&contents).map_err(io::Error::other)?;
        bytes.push(b'\n');
        private::write_in(out, OsStr::new(NAME), &bytes)?;
        Ok(Beacon { out: out.clone(), bytes })
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        if read_in(&self.out).is_ok_and(|bytes| bytes == self.bytes) {
            // If this fails, the next run removes the file.
            let _ = self.out.remove(OsStr::new(NAME));
        }
    }
}

/// Removes the file that a killed run left. Returns false if something else has that name. Only a run that holds the
/// directory may do so.
pub(crate) fn clear(out: &Directory) -> io::Result<bool> {
    match read_in(out) {
        Ok(bytes) if bytes.starts_with(BEGINNING) => out.remove(OsStr::new(NAME)).map(|_| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        _ => Ok(false),
    }
}

fn read_in(out: &Directory) -> io::Result<Vec<u8>> {
    files::read_open(out.open_file(OsStr::new(NAME))?, LONGEST)
}

/// Returns the access to the run in this directory, if it runs on this machine.
pub(crate) fn find(out: &Path) -> Option<Access> {
    let bytes = private::read(&out.join(NAME), private::OTHERS, LONGEST).ok()?;
    let contents: BeaconContents = serde_json::from_slice(&bytes).ok()?;
    if contents.host != host() {
        return None;
    }
    Access::parse(contents.access.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use granule_worker::access::Secret;

    use super::*;

    fn access() -> Access {
        Access { addresses: vec!["127.0.0.1:1".to_owned()], certificate: None, secret: Secret::generate() }
    }

    #[test]
    fn it_is_the_owners_and_gone_with_its_run() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join(NAME);
        let out = Directory::open(place.path()).expect("a directory");
        let access = access();
        let beacon = Beacon::light(&out, &access).expect("written");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(find(place.path()).expect("found").secret.expose(), access.secret.expose());
        drop(beacon);
        assert!(!path.exists() && find(place.path()).is_none());

        // A run that was killed has left its file.
        std::mem::forget(Beacon::light(&out, &access).expect("written"));
        let next = Beacon::light(&out, &self::access()).expect("written");
        assert_ne!(find(place.path()).expect("found").secret.expose(), access.secret.expose());
        drop(next);
        std::mem::forget(Beacon::light(&out, &access).expect("written"));
        assert!(clear(&out).expect("removed") && !path.exists());
    }

    #[test]
    fn another_machines_leads_nowhere() {
        let place = tempfile::tempdir().expect("a directory");
        let out = Directory::open(place.path()).expect("a directory");
        let beacon = Beacon::light(&out, &access()).expect("written");
        let text = fs::read_to_string(place.path().join(NAME)).expect("text");
        let elsewhere = text.replace(&format!("\"host\":\"{}\"", host()), "\"host\":\"another one\"");
        assert_ne!(elsewhere, text);
        fs::write(place.path().join(NAME), &elsewhere).expect("written");
        assert!(find(place.path()).is_none());
        // The file now belongs to another run.
        drop(beacon);
        assert!(place.path().join(NAME).exists());
    }

    #[test]
    fn a_file_of_the_user_stays() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join(NAME);
        let out = Directory::open(place.path()).expect("a directory");
        fs::write(&path, "mine").expect("written");
        Beacon::light(&out, &access()).expect_err("the user's");
        assert_eq!(fs::read_to_string(&path).expect("text"), "mine");
        fs::remove_file(&path).expect("removed");
        fs::write(place.path().join("target"), "{\"granule_run\":1}").expect("written");
        symlink("target", &path).expect("a link");
        Beacon::light(&out, &access()).expect_err("a link");
        assert!(path.is_symlink());
    }
}
