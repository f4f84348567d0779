//! An identity that is made before its coordinator runs, and outlives it. It is for environments that provide the
//! secrets to coordinator and workers, and do not let them write.

use std::fs::TryLockError;
use std::path::Path;

use granule_system::files::Directory;
use granule_system::private;
use granule_worker::access::{Access, Secret};

use super::{AdvertiseError, Identity, IdentityError, LONGEST, advertised, make, read_pair};

impl Identity {
    /// Makes the key and the access file of a coordinator that workers will reach at this address. The files must not
    /// exist.
    pub fn prepare(key_path: &Path, access_path: &Path, address: &str) -> Result<(), IdentityError> {
        let wrong = |source| IdentityError::Write { path: key_path.to_owned(), source };
        let directory = key_path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = Directory::create(directory.unwrap_or(Path::new("."))).map_err(wrong)?;
        // Two commands at once would leave the key of one and the access file of the other.
        if matches!(directory.handle().try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(IdentityError::Busy { path: directory.path().to_owned() });
        }
        for path in [key_path, access_path] {
            if path.symlink_metadata().is_ok() {
                return Err(IdentityError::Exists { path: path.to_owned() });
            }
        }
        let (chain, _, pem) = make()?;
        let access = Access {
            addresses: vec![address.to_owned()],
            certificate: chain.first().cloned(),
            secret: Secret::generate(),
        };
        private::write(key_path, pem.as_bytes())
            .map_err(|source| IdentityError::Write { path: key_path.to_owned(), source })?;
        Ok(access.write(access_path)?)
    }

    /// Returns an identity that was made before, and its access file. It writes and removes nothing.
    pub fn prepared(key_path: &Path, access_path: &Path) -> Result<(Identity, Access), IdentityError> {
        let pem = private::read(key_path, private::OTHERS, LONGEST)?;
        let (chain, key) = read_pair(key_path, &pem, key_path, &pem)?;
        let access = Access::read(access_path)?;
        if chain.first() != access.certificate.as_ref() {
            return Err(IdentityError::Apart { access: access_path.to_owned(), key: key_path.to_owned() });
        }
        Ok((Identity::new(chain, key, access.secret.clone(), access_path, None)?, access))
    }
}

/// Returns the address for workers. It must have a port, because no socket is bound yet that could provide one.
pub fn address(given: &str) -> Result<String, AdvertiseError> {
    let bare = given.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(given);
    if !given.contains(':') || bare.parse::<std::net::IpAddr>().is_ok() {
        return Err(AdvertiseError::NoPort { given: given.to_owned() });
    }
    advertised(given, 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_prepared_is_used_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let (key, access) = (at("inner/coordinator.pem"), at("inner/access.json"));
        Identity::prepare(&key, &access, "granule:7000").expect("made");
        let before = [&key, &access].map(|path| fs::read(path).expect("a file"));
        for path in [&key, &access] {
            assert_eq!(fs::metadata(path).expect("a file").permissions().mode() & 0o777, 0o600);
            fs::set_permissions(path, fs::Permissions::from_mode(0o400)).expect("changed");
        }
        let (identity, read) = Identity::prepared(&key, &access).expect("an identity");
        assert_eq!(read.addresses, ["granule:7000"]);
        assert_eq!(Some(identity.certificate()), read.certificate.as_ref());
        assert_eq!([&key, &access].map(|path| fs::read(path).expect("a file")), before);

        let error = Identity::prepare(&key, &at("other.json"), "granule:7000").expect_err("it is there");
        assert!(matches!(error, IdentityError::Exists { .. }), "{error}");
        assert!(!at("other.json").exists() && fs::read(&key).expect("a file") == before[0]);
    }

    #[test]
    fn the_two_files_belong_together() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        Identity::prepare(&at("a.pem"), &at("a.json"), "a:1").expect("made");
        Identity::prepare(&at("b.pem"), &at("b.json"), "b:1").expect("made");
        let error = Identity::prepared(&at("a.pem"), &at("b.json")).expect_err("of two coordinators");
        assert!(matches!(error, IdentityError::Apart { .. }), "{error}");
        let error = Identity::prepared(&at("a.pem"), &at("none.json")).expect_err("half of it");
        assert!(matches!(error, IdentityError::Access(_)), "{error}");
        fs::set_permissions(at("a.pem"), fs::Permissions::from_mode(0o644)).expect("changed");
        let error = Identity::prepared(&at("a.pem"), &at("a.json")).expect_err("others can read it");
        assert!(matches!(error, IdentityError::File(_)), "{error}");
    }

    #[test]
    fn an_address_has_a_port() {
        assert_eq!(address("granule:7000").expect("fine"), "granule:7000");
        assert_eq!(address("[fd00::1]:7000").expect("fine"), "[fd00::1]:7000");
        for (wrong, why) in [
            ("granule", "has no port"),
            ("fd00::1", "has no port"),
            ("[fd00::1]", "has no port"),
            ("granule:0", "its port is not a number from 1 to 65535"),
            ("granule:", "its port is not a number from 1 to 65535"),
            (":7000", "it has no host name"),
            ("0.0.0.0:7000", "it is not a single address"),
            ("a b:1", "characters that are not allowed in names"),
            ("https://granule:7000", "it is a URL"),
        ] {
            let error = address(wrong).expect_err(wrong).to_string();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
