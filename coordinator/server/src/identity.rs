//! The identity of a coordinator: its certificate, the key of the certificate, and its secret.
//!
//! They are made at the first start, and kept beside the outputs until the sweep is complete. To workers with a copy of
//! its access file, a coordinator that is started there again is the same. `granule_worker::connect` states how workers
//! check a certificate.

pub mod prepared;

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use granule_system::files;
use granule_system::private::{self, PrivateError};
use granule_worker::access::{Access, AccessError, Address, Secret};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};

/// The identity of a coordinator.
#[derive(Debug)]
pub struct Identity {
    /// The certificate by which workers recognize it.
    certificate: CertificateDer<'static>,
    server_config: Arc<ServerConfig>,
    secret: Secret,
    access_path: PathBuf,
    /// The file with key and certificate, if granule made it.
    made: Option<PathBuf>,
}

/// The origin of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The previous coordinator here had it, so its workers reconnect.
    Kept,
    /// `granule identity` made it before.
    Prepared,
    /// There was none before.
    New,
    /// The previous one cannot be used. Copies of its access file are invalid.
    Renewed { because: String },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Kept => f.write_str("still valid from the last start"),
            Origin::Prepared => f.write_str("made by `granule identity`"),
            Origin::New => f.write_str("new"),
            Origin::Renewed { because } => {
                write!(f, "new, because {because}; copy it to the workers' machines")
            }
        }
    }
}

/// The reason that a coordinator has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read, or must not be trusted.
    #[error(transparent)]
    File(#[from] PrivateError),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot remove {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("there is no certificate in {}; expected PEM, with the coordinator's own certificate first", path.display())]
    NoCertificate { path: PathBuf },
    #[error("the certificate in {} cannot be used; expected X.509 version 3", path.display())]
    Certificate { path: PathBuf, source: rustls::Error },
    #[error("there is no private key in {}; expected PEM", path.display())]
    NoKey { path: PathBuf },
    #[error("the private key in {path} is encrypted; remove the passphrase, for example with `openssl pkey -in \
        {path}`", path = path.display())]
    EncryptedKey { path: PathBuf },
    #[error("the private key in {} cannot be used; expected ECDSA (P-256 or P-384), Ed25519 or RSA", path.display())]
    Key { path: PathBuf, source: rustls::Error },
    #[error("the private key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Mismatch { key: PathBuf, certificate: PathBuf },
    #[error("{} already exists; name another directory, or move it away", path.display())]
    Exists { path: PathBuf },
    #[error(
        "another granule process is using {}; wait until it ends, or name another directory",
        path.display()
    )]
    Busy { path: PathBuf },
    #[error("the access file {} is not for the certificate in {}; make both with `granule identity`", access.display(), key.display())]
    Apart { access: PathBuf, key: PathBuf },
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
    #[error("cannot make a certificate")]
    Tls(#[source] rustls::Error),
}

/// The name in certificates that granule makes. Workers do not check it, but [`is_made`] looks for it.
const NAME: &str = "granule coordinator";

/// Name of the file with the key and certificate that granule makes.
pub const FILE: &str = "coordinator.pem";

/// Longest file of keys or certificates, in bytes.
pub const LONGEST: u64 = 1 << 20;

/// Permissions that the user's own key must not have. A group may read it, as is usual for a key that several services
/// share.
const OTHERS_THAN_GROUP: u32 = 0o027;

impl Identity {
    /// Returns the identity in this directory and this access file, or makes a new one.
    ///
    /// The key is on the disk when this returns. The caller writes the access file once it knows the addresses.
    pub fn load_or_make(directory: &Path, access_path: &Path) -> Result<(Identity, Origin), IdentityError> {
        let path = directory.join(FILE);
        let kept = match private::read(&path, private::OTHERS, LONGEST) {
            Err(error) if error.is_not_found() => None,
            result => Some(usable(&path, result)?),
        };
        let known = known(access_path)?;
        let because = match (kept, known) {
            (None, None) => None,
            (Some(Ok(pem)), Some(Ok(access))) => match read_pair(&path, &pem, &path, &pem) {
                Ok((chain, key)) if chain.first() == access.certificate.as_ref() => {
                    let identity = Identity::new(chain, key, access.secret, access_path, Some(path))?;
                    return Ok((identity, Origin::Kept));
                }
                Ok(_) => Some(format!(
                    "{} is not the access file of the coordinator in {}",
                    access_path.display(),
                    directory.display()
                )),
                Err(error) => Some(format!("{} cannot be used: {error}", path.display())),
            },
            (Some(Err(problem)), _) | (_, Some(Err(problem))) => Some(problem),
            (None, Some(Ok(_))) => Some(format!("{} is missing", path.display())),
            (Some(Ok(_)), None) => Some(format!("{} is missing", access_path.display())),
        };
        check_place(&path)?;
        let (chain, key, pem) = make()?;
        private::write(&path, pem.as_bytes())
            .map_err(|source| IdentityError::Write { path: path.clone(), source })?;
        let identity = Identity::new(chain, key, Secret::generate(), access_path, Some(path))?;
        Ok((identity, because.map_or(Origin::New, |because| Origin::Renewed { because })))
    }

    /// Returns the identity of the user's own certificate and key. The secret is that of the access file if the file is
    /// for the same certificate.
    ///
    /// In a chain, the coordinator's own certificate is the first. Workers compare the certificate itself, so a renewed
    /// one needs new copies of the access file.
    pub fn from_files(
        certificate_path: &Path,
        key_path: &Path,
        access_path: &Path,
    ) -> Result<(Identity, Origin), IdentityError> {
        let certificates = private::read(certificate_path, 0, LONGEST)?;
        let key = private::read(key_path, OTHERS_THAN_GROUP, LONGEST)?;
        let (chain, key) = read_pair(certificate_path, &certificates, key_path, &key)?;
        let (secret, origin) = match known(access_path)? {
            None => (Secret::generate(), Origin::New),
            Some(Ok(access)) if access.certificate.as_ref() == chain.first() => (access.secret, Origin::Kept),
            Some(Ok(_)) => {
                let because = format!("the earlier access file is not for {}", certificate_path.display());
                (Secret::generate(), Origin::Renewed { because })
            }
            Some(Err(because)) => (Secret::generate(), Origin::Renewed { because }),
        };
        Ok((Identity::new(chain, key, secret, access_path, None)?, origin))
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        secret: Secret,
        access_path: &Path,
        made: Option<PathBuf>,
    ) -> Result<Identity, IdentityError> {
        let certificate = chain.first().cloned();
        let certificate = certificate.ok_or(IdentityError::Tls(rustls::Error::NoCertificatesPresented))?;
        let server_config = Arc::new(server_config(chain, key).map_err(IdentityError::Tls)?);
        Ok(Identity { certificate, server_config, secret, access_path: access_path.to_owned(), made })
    }

    /// Returns the certificate by which workers recognize the coordinator.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Returns the TLS configuration of this coordinator.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server_config)
    }

    /// Returns the access to this coordinator at these addresses.
    pub fn access(&self, addresses: Vec<String>) -> Access {
        Access { addresses, certificate: Some(self.certificate.clone()), secret: self.secret.clone() }
    }

    /// Removes the access file, unless it has become that of another coordinator, and the key, unless it is the user's
    /// own.
    pub fn remove(&self) -> Result<(), IdentityError> {
        let is_anothers = |access: Access| access.certificate.as_ref() != Some(&self.certificate);
        let access = (!Access::read(&self.access_path).is_ok_and(is_anothers)).then_some(&self.access_path);
        // A key file that has become that of another coordinator stays, too.
        let is_ours = |path: &&PathBuf| {
            let pem = files::read(path, LONGEST).unwrap_or_default();
            let certificate = CertificateDer::pem_slice_iter(&pem).next().and_then(Result::ok);
            certificate.is_none_or(|certificate| certificate == self.certificate)
        };
        for path in access.into_iter().chain(self.made.iter().filter(is_ours)) {
            match fs::remove_file(path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(IdentityError::Remove { path: path.clone(), source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns what was read, or the problem with it. Returns an error if others could have accessed the file, because then
/// the user must act.
fn usable<T>(path: &Path, result: Result<T, PrivateError>) -> Result<Result<T, String>, PrivateError> {
    match result {
        Ok(read) => Ok(Ok(read)),
        Err(error @ PrivateError::Open { .. }) => Err(error),
        Err(PrivateError::Read { source, .. }) => {
            Ok(Err(format!("{} cannot be read ({source})", path.display())))
        }
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Returns the existing access file, if any, or the problem with it.
fn known(path: &Path) -> Result<Option<Result<Access, String>>, PrivateError> {
    match Access::read(path) {
        Ok(access) => Ok(Some(Ok(access))),
        Err(AccessError::File(error)) if error.is_not_found() => Ok(None),
        Err(AccessError::File(error)) => usable(path, Err(error)).map(Some),
        Err(_) => Ok(Some(Err(format!("{} is damaged", path.display())))),
    }
}

/// Whether this is the text of a key and a certificate that `make` made.
pub fn is_made(pem: &[u8]) -> bool {
    let certificate = CertificateDer::pem_slice_iter(pem).next().and_then(Result::ok);
    let is_named = |certificate: CertificateDer<'_>| {
        certificate.windows(NAME.len()).any(|window| window == NAME.as_bytes())
    };
    PrivateKeyDer::from_pem_slice(pem).is_ok() && certificate.is_some_and(is_named)
}

/// Checks that a key may be made in this place. A damaged key is made again; any other file is the user's.
pub fn check_place(path: &Path) -> Result<(), IdentityError> {
    match files::read(path, LONGEST) {
        Ok(bytes) if !is_replaceable(&bytes) => Err(IdentityError::Exists { path: path.to_owned() }),
        _ => Ok(()),
    }
}

/// Whether these bytes are those of a file that [`make`] made, or a part of one.
fn is_replaceable(pem: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"-----BEGIN PRIVATE KEY-----";
    const KEY_ENDS: &str = "-----END PRIVATE KEY-----";
    const SECOND: &str = "-----BEGIN CERTIFICATE-----";
    let is_cut = if PrivateKeyDer::from_pem_slice(pem).is_err() {
        pem.starts_with(BEGINNING) || BEGINNING.starts_with(pem)
    } else {
        // A certificate begins after the key, and is incomplete.
        let text = String::from_utf8_lossy(pem);
        let rest = text.split_once(KEY_ENDS).map_or("", |(_, rest)| rest.trim_start());
        let begins = !rest.is_empty() && (rest.starts_with(SECOND) || SECOND.starts_with(rest.trim_end()));
        begins && !CertificateDer::pem_slice_iter(pem).any(|certificate| certificate.is_ok())
    };
    is_cut || is_made(pem)
}

/// Makes a key and its certificate, and returns both as text, too.
fn make() -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, String), IdentityError> {
    let make = || {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = CertificateParams::new([NAME.to_owned()])?;
        parameters.distinguished_name.push(DnType::CommonName, NAME);
        let certificate = parameters.self_signed(&key)?;
        Ok((certificate, key))
    };
    let (certificate, key) = make().map_err(IdentityError::Make)?;
    let pem = format!("{}{}", key.serialize_pem(), certificate.pem());
    let der = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|problem| IdentityError::Tls(rustls::Error::General(problem.to_owned())))?;
    Ok((vec![certificate.into()], der, pem))
}

/// A certificate with its chain, and the key of the certificate.
type CertificateAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_pair(
    certificate_path: &Path,
    certificates: &[u8],
    key_path: &Path,
    key: &[u8],
) -> Result<CertificateAndKey, IdentityError> {
    let path = || certificate_path.to_owned();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|_| IdentityError::NoCertificate { path: path() })?;
    let first = chain.first().ok_or_else(|| IdentityError::NoCertificate { path: path() })?;
    ParsedCertificate::try_from(first)
        .map_err(|source| IdentityError::Certificate { path: path(), source })?;

    let path = || key_path.to_owned();
    let is_encrypted = |text: &[u8]| String::from_utf8_lossy(text).contains("ENCRYPTED");
    let parsed = match PrivateKeyDer::from_pem_slice(key) {
        Ok(parsed) => parsed,
        Err(_) if is_encrypted(key) => return Err(IdentityError::EncryptedKey { path: path() }),
        Err(_) => return Err(IdentityError::NoKey { path: path() }),
    };
    let signing = match provider().key_provider.load_private_key(parsed.clone_key()) {
        Ok(signing) => signing,
        // In the old format, a header marks the key as encrypted, and the rest looks like a key.
        Err(_) if is_encrypted(key) => return Err(IdentityError::EncryptedKey { path: path() }),
        Err(source) => return Err(IdentityError::Key { path: path(), source }),
    };
    match CertifiedKey::new(chain.clone(), signing).keys_match() {
        Ok(()) => Ok((chain, parsed)),
        Err(_) => Err(IdentityError::Mismatch { key: path(), certificate: certificate_path.to_owned() }),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // Clients with HTTP/1 must be able to read the refusal, too.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Workers connect once and stay, so sessions are never resumed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Errors in finding the addresses for workers.
#[derive(Debug, thiserror::Error)]
pub enum AdvertiseError {
    #[error("workers cannot reach `{given}`: {problem}; write host or host:port")]
    Given { given: String, problem: &'static str },
    #[error("`{given}` has no port, and workers need one; write host:port")]
    NoPort { given: String },
    #[error("cannot read the addresses of this machine; name one with --advertise HOST")]
    Interfaces(#[source] io::Error),
    #[error(
        "this machine has no address that others could reach; name one with --advertise HOST, or listen on a \
            specific address"
    )]
    None,
    #[error("the interface `{given}` has no address that others could reach; {known}")]
    Interface { given: String, known: String },
}

/// An address of this machine, and its interface.
struct Spot {
    interface: String,
    flags: InterfaceFlags,
    ip: IpAddr,
}

/// Returns the addresses at which workers reach a socket that is bound to this one. This is the advertised address if
/// given, otherwise all suitable ones, or those of `interface` only.
pub fn addresses(
    bound: SocketAddr,
    advertise: Option<&str>,
    interface: Option<&str>,
) -> Result<Vec<String>, AdvertiseError> {
    if let Some(given) = advertise {
        return advertised(given, bound.port()).map(|address| vec![address]);
    }
    if !bound.ip().is_unspecified() && interface.is_none() {
        return Ok(vec![named(bound.ip(), bound.port())]);
    }
    let interfaces = getifaddrs().map_err(|error| AdvertiseError::Interfaces(error.into()))?;
    let places = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let ip: IpAddr = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => v4.ip().into(),
            (_, Some(v6)) => v6.ip().into(),
            _ => return None,
        };
        Some(Spot { interface: interface.interface_name, flags: interface.flags, ip })
    });
    reachable(bound, interface, places)
}

fn reachable(
    bound: SocketAddr,
    wanted: Option<&str>,
    places: impl Iterator<Item = Spot>,
) -> Result<Vec<String>, AdvertiseError> {
    let mut found: Vec<String> = Vec::new();
    let mut known: Vec<String> = Vec::new();
    for Spot { interface, flags, ip } in places {
        let is_wanted = wanted.is_none_or(|wanted| wanted == interface);
        // Loopback is included only if the user names its interface.
        let is_local = flags.contains(InterfaceFlags::IFF_LOOPBACK) || ip.is_loopback();
        let is_up = flags.contains(InterfaceFlags::IFF_UP) && (!is_local || wanted.is_some());
        let is_link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        // A socket that listens on all IPv6 addresses also accepts IPv4.
        let is_heard = ip.is_ipv4() || bound.is_ipv6();
        let is_meant = !ip.is_unspecified() && !ip.is_multicast();
        let address = named(ip, bound.port());
        if !(is_up && is_heard && is_meant && !is_link_local) {
            continue;
        }
        if is_wanted && !found.contains(&address) {
            found.push(address);
        }
        if !known.contains(&interface) {
            known.push(interface);
        }
    }
    match wanted {
        _ if !found.is_empty() => Ok(found),
        None => Err(AdvertiseError::None),
        Some(given) => {
            let known = match known.is_empty() {
                true => "no other interface has one".to_owned(),
                false => format!("interfaces that have one: {}", known.join(", ")),
            };
            Err(AdvertiseError::Interface { given: given.to_owned(), known })
        }
    }
}

/// Formats an address without the scope of IPv6, which has no meaning elsewhere.
fn named(ip: IpAddr, port: u16) -> String {
    SocketAddr::new(ip, port).to_string()
}

/// Returns the given address, with the bound port if it has none.
fn advertised(given: &str, port: u16) -> Result<String, AdvertiseError> {
    let bare = given.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(given);
    let full = match bare.parse::<IpAddr>() {
        Ok(ip) => named(ip, port),
        Err(_) if given.contains(':') => given.to_owned(),
        Err(_) => format!("{given}:{port}"),
    };
    let wrong = |problem| AdvertiseError::Given { given: given.to_owned(), problem };
    let address: Address = full.parse().map_err(|error| match error {
        AccessError::Address { problem, .. } => wrong(problem),
        _ => wrong("it is malformed"),
    })?;
    if address.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(wrong("it is not a single address"));
    }
    Ok(address.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    struct Place {
        directory: TempDir,
    }

    impl Place {
        fn new() -> Place {
            Place { directory: tempfile::tempdir().expect("a directory") }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.path(name);
            private::write(&path, text.as_bytes()).expect("written");
            path
        }

        fn start(&self) -> Result<(Identity, Origin), IdentityError> {
            let (identity, origin) =
                Identity::load_or_make(self.directory.path(), &self.path("access.json"))?;
            identity.access(vec!["10.0.0.1:7000".into()]).write(&identity.access_path).expect("written");
            Ok((identity, origin))
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a file").permissions().mode() & 0o7777
    }

    fn is_same(a: &Identity, b: &Identity) -> bool {
        a.certificate == b.certificate && a.secret.expose() == b.secret.expose()
    }

    fn renewed(origin: &Origin) -> &str {
        let Origin::Renewed { because } = origin else { panic!("{origin:?}") };
        because
    }

    #[test]
    fn it_is_made_once_and_kept() {
        let place = Place::new();
        let (first, origin) = place.start().expect("an identity");
        assert_eq!(origin, Origin::New);
        for file in [FILE, "access.json"] {
            assert_eq!(mode(&place.path(file)), 0o600, "{file}");
        }
        let (second, origin) = place.start().expect("an identity");
        assert_eq!(origin, Origin::Kept);
        assert!(is_same(&first, &second));

        second.remove().expect("removed");
        assert!(!place.path(FILE).exists() && !place.path("access.json").exists());
        second.remove().expect("nothing to remove is fine");
        let (third, origin) = place.start().expect("an identity");
        assert_eq!(origin, Origin::New);
        assert!(!is_same(&first, &third));
    }

    #[test]
    fn what_is_lost_or_damaged_is_made_anew() {
        let place = Place::new();
        let (mut last, _) = place.start().expect("an identity");
        for file in [FILE, "access.json"] {
            for damage in ["removed", "emptied", "cut"] {
                let path = place.path(file);
                let text = fs::read_to_string(&path).expect("text");
                match damage {
                    "removed" => fs::remove_file(&path).expect("removed"),
                    "emptied" => _ = place.write(file, ""),
                    _ => _ = place.write(file, &text[..text.len() / 3]),
                }
                let (next, origin) = place.start().unwrap_or_else(|error| panic!("{file} {damage}: {error}"));
                assert!(renewed(&origin).contains(file), "{file} {damage}: {origin}");
                assert!(!is_same(&last, &next), "{file} {damage}");
                last = next;
                let (again, origin) = place.start().expect("an identity");
                assert_eq!(origin, Origin::Kept, "{file} {damage}");
                assert!(is_same(&last, &again));
            }
        }
    }

    #[test]
    fn the_access_file_of_another_coordinator_is_not_taken_for_ours() {
        let (place, other) = (Place::new(), Place::new());
        let (ours, _) = place.start().expect("an identity");
        let (theirs, _) = other.start().expect("an identity");
        fs::copy(other.path("access.json"), place.path("access.json")).expect("copied");
        ours.remove().expect("removed");
        assert!(place.path("access.json").exists(), "it is not ours to remove");
        fs::copy(other.path(FILE), place.path(FILE)).expect("copied");
        let (same, origin) = place.start().expect("an identity");
        assert!(is_same(&theirs, &same) && origin == Origin::Kept);

        let (mixed, _) = Place::new().start().expect("an identity");
        mixed.access(vec!["10.0.0.1:7000".into()]).write(&place.path("access.json")).expect("written");
        let (_, origin) = place.start().expect("an identity");
        assert!(renewed(&origin).contains("is not the access file of the coordinator in"), "{origin}");
    }

    #[test]
    fn files_that_others_can_read_are_an_error() {
        for file in [FILE, "access.json"] {
            let place = Place::new();
            place.start().expect("an identity");
            let before = fs::read(place.path(file)).expect("a file");
            fs::set_permissions(place.path(file), Permissions::from_mode(0o644)).expect("changed");
            let error = place.start().expect_err("others can read it");
            assert!(matches!(error, IdentityError::File(PrivateError::Open { .. })), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
            assert_eq!(fs::read(place.path(file)).expect("a file"), before, "nothing is replaced");
        }
    }

    #[test]
    fn the_users_own_files_are_taken() {
        let place = Place::new();
        let (_, _, pem) = make().expect("a pair");
        let at = pem.find("-----BEGIN CERTIFICATE").expect("a certificate");
        let (key, certificate) = (place.write("key.pem", &pem[..at]), place.write("cert.pem", &pem[at..]));
        fs::set_permissions(&certificate, Permissions::from_mode(0o644)).expect("changed");
        fs::set_permissions(&key, Permissions::from_mode(0o640)).expect("changed");
        let access = place.path("access.json");
        let (first, origin) = Identity::from_files(&certificate, &key, &access).expect("an identity");
        assert_eq!(origin, Origin::New);
        first.access(vec!["10.0.0.1:7000".into()]).write(&access).expect("written");
        let (second, origin) = Identity::from_files(&certificate, &key, &access).expect("an identity");
        assert!(origin == Origin::Kept && is_same(&first, &second));
        second.remove().expect("removed");
        assert!(!access.exists() && key.exists() && certificate.exists(), "the user's files stay");

        let (_, _, other) = make().expect("a pair");
        let other_certificate =
            place.write("other.pem", &other[other.find("-----BEGIN CERT").expect("one")..]);
        first.access(vec!["10.0.0.1:7000".into()]).write(&access).expect("written");
        let mixed = place.write("mixed.pem", &other);
        let (_, origin) = Identity::from_files(&mixed, &mixed, &access).expect("both in one file");
        assert!(renewed(&origin).contains("mixed.pem"), "{origin}");

        type Is = fn(&IdentityError) -> bool;
        let none = place.path("none.pem");
        let text = place.write("text.pem", "nothing of use\n");
        let cut = place.write("cut.pem", &pem[at..at + 200]);
        let encrypted = place.write(
            "encrypted.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        let strange =
            place.write("strange.pem", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
        let odd = place.write("odd.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
        let cases: [(&Path, &Path, &str, Is); 9] = [
            (&none, &key, "none.pem", |e| matches!(e, IdentityError::File(_))),
            (&certificate, &none, "none.pem", |e| matches!(e, IdentityError::File(_))),
            (&text, &key, "text.pem", |e| matches!(e, IdentityError::NoCertificate { .. })),
            (&cut, &key, "cut.pem", |e| matches!(e, IdentityError::NoCertificate { .. })),
            (&odd, &key, "odd.pem", |e| matches!(e, IdentityError::Certificate { .. })),
            (&certificate, &text, "text.pem", |e| matches!(e, IdentityError::NoKey { .. })),
            (&certificate, &encrypted, "encrypted.pem", |e| matches!(e, IdentityError::EncryptedKey { .. })),
            (&certificate, &strange, "strange.pem", |e| matches!(e, IdentityError::Key { .. })),
            (&other_certificate, &key, "other.pem", |e| matches!(e, IdentityError::Mismatch { .. })),
        ];
        for (certificate, key, named, is_it) in cases {
            let error = Identity::from_files(certificate, key, &access).expect_err(named);
            assert!(is_it(&error), "{named}: {error:?}");
            assert!(error.to_string().contains(named), "{named}: {error}");
        }
        for open in [0o604, 0o620, 0o644] {
            fs::set_permissions(&key, Permissions::from_mode(open)).expect("changed");
            let error = Identity::from_files(&certificate, &key, &access).expect_err("others can read it");
            assert!(error.to_string().contains("key.pem"), "{error}");
        }
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let place = Place::new();
        let (identity, _) = place.start().expect("an identity");
        let shown = format!("{identity:?}");
        assert!(!shown.contains(&identity.secret.expose()[..8]), "{shown}");
    }

    #[test]
    fn one_address_is_advertised_or_all_that_are_meant() {
        let bound: SocketAddr = "10.0.0.1:7000".parse().expect("an address");
        let one = |advertise| addresses(bound, advertise, None);
        assert_eq!(one(None).expect("bound"), ["10.0.0.1:7000"]);
        for (given, expected) in [
            ("head", "head:7000"),
            ("head.example:80", "head.example:80"),
            ("10.0.0.2", "10.0.0.2:7000"),
            ("10.0.0.2:80", "10.0.0.2:80"),
            ("fd00::2", "[fd00::2]:7000"),
            ("[fd00::2]", "[fd00::2]:7000"),
            ("[fd00::2]:80", "[fd00::2]:80"),
        ] {
            assert_eq!(one(Some(given)).expect(given), [expected]);
        }
        for given in ["", "a b", "head:", "head:0", "head:99999", "http://head", "0.0.0.0", "::", "a:b:c"] {
            let error = one(Some(given)).expect_err(given);
            assert!(matches!(error, AdvertiseError::Given { .. }), "{given}: {error}");
        }
    }

    #[test]
    fn all_addresses_are_those_that_others_can_reach() {
        let up = InterfaceFlags::IFF_UP;
        let lo = up | InterfaceFlags::IFF_LOOPBACK;
        let interfaces = [
            ("lo", lo, "127.0.0.1"),
            ("lo", lo, "10.9.9.9"),
            ("eth0", up, "192.168.1.5"),
            ("eth0", up, "169.254.7.7"),
            ("eth1", InterfaceFlags::empty(), "192.168.2.5"),
            ("eth0", up, "fe80::1"),
            ("eth0", up, "fd00::5"),
            ("eth0", up, "192.168.1.5"),
            ("ib0", up, "172.17.0.1"),
            ("ib1", up, "fd00:1::7"),
        ];
        let places = |count: usize| {
            let place = |(name, flags, ip): (&str, InterfaceFlags, &str)| Spot {
                interface: name.to_owned(),
                flags,
                ip: ip.parse().expect("an address"),
            };
            interfaces.into_iter().take(count).map(place)
        };
        let look = |bound: &str, wanted: Option<&str>, count: usize| {
            reachable(bound.parse().expect("an address"), wanted, places(count))
        };
        let found = |bound: &str, wanted: Option<&str>| look(bound, wanted, 99).expect("some");
        assert_eq!(found("0.0.0.0:7000", None), ["192.168.1.5:7000", "172.17.0.1:7000"]);
        assert_eq!(
            found("[::]:7000", None),
            ["192.168.1.5:7000", "[fd00::5]:7000", "172.17.0.1:7000", "[fd00:1::7]:7000"]
        );
        assert_eq!(found("0.0.0.0:7000", Some("ib0")), ["172.17.0.1:7000"]);
        assert_eq!(found("0.0.0.0:7000", Some("lo")), ["127.0.0.1:7000", "10.9.9.9:7000"]);
        // An interface with IPv6 addresses only.
        assert_eq!(found("[::]:7000", Some("ib1")), ["[fd00:1::7]:7000"]);
        let error = look("0.0.0.0:1", Some("eth1"), 0).expect_err("there is no interface");
        assert!(error.to_string().ends_with("no other interface has one"), "{error}");
        assert!(matches!(look("0.0.0.0:1", None, 2), Err(AdvertiseError::None)));
        let error = look("0.0.0.0:1", Some("eth1"), 99).expect_err("it is down");
        assert!(error.to_string().ends_with("interfaces that have one: lo, eth0, ib0"), "{error}");
        // All addresses of this machine can be parsed again.
        for address in addresses("0.0.0.0:7000".parse().expect("an address"), None, None).unwrap_or_default()
        {
            assert!(!address.parse::<Address>().expect("an address").is_loopback());
        }
    }
}
