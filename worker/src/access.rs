//! The access file: everything that a worker needs to find a coordinator, to verify it, and to be admitted.
//!
//! It has one JSON object, in which `granule_access` is the version of the format:
//!
//! ```json
//! {"granule_access": 1, "addresses": ["10.0.0.5:7000"], "certificate": "-----BEGIN …", "secret": "…"}
//! ```
//!
//! A process that has the file can compute for the coordinator and send it results. Hence only its owner may
//! read it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use granule_system::files;
use granule_system::os;
use granule_system::private::{self, PrivateError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::server::ParsedCertificate;

/// Addresses, certificate and secret of a coordinator.
#[derive(Clone, Debug)]
pub struct Access {
    /// Addresses of the coordinator as `host:port`, in the order in which a worker tries them.
    pub addresses: Vec<String>,
    /// Certificate that the coordinator must show, byte for byte. Without one, connections are plain text and
    /// must not leave this machine.
    pub certificate: Option<CertificateDer<'static>>,
    /// Secret that a worker shows to be admitted.
    pub secret: Secret,
}

/// Why an access file cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file cannot be read, or must not be trusted.
    #[error(transparent)]
    File(#[from] PrivateError),
    /// The file cannot be written.
    #[error("cannot write the access file {}", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The content of a file is invalid. Adds the file to the error.
    #[error("{} cannot be used", name(path))]
    In {
        /// Path of the file, or `-` for standard input.
        path: PathBuf,
        /// Error in the content.
        source: Box<AccessError>,
    },
    /// The content is longer than an access file may be.
    #[error("this is not an access file: it has more than {LONGEST} bytes")]
    TooLong,
    /// The content is not JSON, or lacks fields of an access file, or has others.
    #[error(
        "this is not an access file: line {line}, column {column}: {problem}; \
         get a new copy of the access file from the coordinator"
    )]
    Format {
        /// Line of the error, from 1.
        line: usize,
        /// Column of the error, from 1.
        column: usize,
        /// Description of the error.
        problem: &'static str,
    },
    /// The file has another version of the format.
    #[error(
        "the access file has version {found}, but this granule reads version {VERSION}; \
         run the same granule as the coordinator"
    )]
    Version {
        /// Version of the file.
        found: u64,
    },
    /// The file has no addresses, or too many.
    #[error(
        "the access file has {found} addresses; expected 1 to {MOST_ADDRESSES}; \
         get a new copy of the access file from the coordinator"
    )]
    Addresses {
        /// Number of addresses.
        found: usize,
    },
    /// An address is invalid.
    #[error("`{address}` is not an address of a coordinator: {problem}; write host:port")]
    Address {
        /// The address, escaped for a terminal and cut.
        address: String,
        /// Description of the error.
        problem: &'static str,
    },
    /// The certificate is invalid.
    #[error(
        "the certificate in the access file cannot be used: {problem}; \
         get a new copy of the access file from the coordinator"
    )]
    Certificate {
        /// Description of the error.
        problem: &'static str,
    },
    /// An address is not on this machine, and there is no certificate by which to verify the coordinator.
    #[error(
        "{address} is not on this machine, and the access file has no certificate; get a new copy of the access file from the coordinator"
    )]
    Unprotected {
        /// The address.
        address: String,
    },
    /// The secret is invalid.
    #[error("the coordinator's secret {problem}; get a new copy of the access file from the coordinator")]
    Secret {
        /// Description of the error.
        problem: &'static str,
    },
}

/// Version of the format.
const VERSION: u64 = 1;

/// Longest file, in bytes.
const LONGEST: u64 = 1 << 20;

/// Most addresses of an access file. A coordinator with many interfaces has several.
const MOST_ADDRESSES: usize = 64;

/// Content of the file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AccessContents {
    granule_access: u64,
    addresses: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    secret: String,
}

/// The one field of files of any version.
#[derive(Deserialize)]
struct Versioned {
    granule_access: u64,
}

impl Access {
    /// Parses the content of an access file.
    ///
    /// # Errors
    /// If it is invalid, or if a worker would send its secret through a network in plain text.
    pub fn parse(bytes: &[u8]) -> Result<Access, AccessError> {
        if bytes.len() as u64 > LONGEST {
            return Err(AccessError::TooLong);
        }
        // Some editors begin a file with a byte order mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(AccessError::Format { line: 1, column: 1, problem: "UTF-16 text; expected UTF-8" });
        }
        let Versioned { granule_access: found } = serde_json::from_slice(bytes).map_err(format_error)?;
        if found != VERSION {
            return Err(AccessError::Version { found });
        }
        let contents: AccessContents = serde_json::from_slice(bytes).map_err(format_error)?;
        let certificate = contents.certificate.as_deref().map(parse_certificate).transpose()?;
        let secret = Secret::parse(&contents.secret)?;
        let access = Access { addresses: contents.addresses, certificate, secret };
        access.check()?;
        Ok(access)
    }

    /// Whether these bytes are an access file or the beginning of one, so that a new one may replace it.
    #[must_use]
    pub fn is_replaceable(bytes: &[u8]) -> bool {
        const BEGINNING: &[u8] = b"{\"granule_access\":";
        bytes.starts_with(BEGINNING) || BEGINNING.starts_with(bytes) || Access::parse(bytes).is_ok()
    }

    /// Reads an access file; `-` is standard input.
    ///
    /// # Errors
    /// If it does not exist or is invalid, or if other users can access it.
    pub fn read(path: &Path) -> Result<Access, AccessError> {
        let wrong = |source| AccessError::In { path: path.to_owned(), source: Box::new(source) };
        if Access::is_read_once(path) {
            let failed = |source| PrivateError::Read { path: path.to_owned(), source };
            return Access::parse(&read_once(path).map_err(failed)?).map_err(wrong);
        }
        let bytes = match private::read(path, private::OTHERS, LONGEST) {
            // Other users may read a file that is no access file: it has no secret. So the format is the
            // error to report.
            Err(PrivateError::Open { path, mode }) => {
                if let Ok(bytes) = files::read(&path, LONGEST)
                    && let Err(error @ AccessError::Format { .. }) = Access::parse(&bytes)
                {
                    return Err(wrong(error));
                }
                return Err(PrivateError::Open { path, mode }.into());
            }
            read => read?,
        };
        Access::parse(&bytes).map_err(wrong)
    }

    /// Whether this is standard input, or a file or pipe that a shell has opened for this process, as for
    /// `<(…)`. It can be read only once, and the shell decides who else may read it.
    #[must_use]
    pub fn is_read_once(path: &Path) -> bool {
        path == Path::new("-") || os::is_name_of_open(path)
    }

    /// Writes the access file for its owner alone, and replaces an existing one.
    ///
    /// # Errors
    /// If [`Access::parse`] would refuse the file, or if the system refuses.
    pub fn write(&self, path: &Path) -> Result<(), AccessError> {
        self.check()?;
        let mut line = self.to_json();
        line.push('\n');
        private::write(path, line.as_bytes())
            .map_err(|source| AccessError::Write { path: path.to_owned(), source })
    }

    /// Returns the content of the access file on a single line, without a line feed. It has the secret.
    #[must_use]
    pub fn to_json(&self) -> String {
        let contents = AccessContents {
            granule_access: VERSION,
            addresses: self.addresses.clone(),
            certificate: self.certificate.as_ref().map(|certificate| pem("CERTIFICATE", certificate)),
            secret: self.secret.0.clone(),
        };
        serde_json::to_string(&contents).expect("texts and numbers are always JSON")
    }

    /// Checks the number of addresses, each address, and that each is on this machine or there is a
    /// certificate.
    fn check(&self) -> Result<(), AccessError> {
        if self.addresses.is_empty() || self.addresses.len() > MOST_ADDRESSES {
            return Err(AccessError::Addresses { found: self.addresses.len() });
        }
        for address in &self.addresses {
            let is_here = address.parse::<Address>()?.is_loopback();
            if !is_here && self.certificate.is_none() {
                return Err(AccessError::Unprotected { address: address.clone() });
            }
        }
        Ok(())
    }
}

/// Returns the name of the file for messages.
fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Reads a file that can be read only once: at most one byte more than an access file may have.
fn read_once(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Reports the place of the error, but no content of the file, which could be the secret.
fn format_error(error: serde_json::Error) -> AccessError {
    use serde_json::error::Category;
    let problem = match error.classify() {
        Category::Eof if error.line() <= 1 && error.column() == 0 => "the file is empty",
        Category::Eof => "the file ends too early",
        Category::Data => {
            "the file must have `granule_access`, `addresses` and `secret`, may have `certificate`, and nothing \
             else"
        }
        Category::Io | Category::Syntax => "not JSON",
    };
    AccessError::Format { line: error.line(), column: error.column(), problem }
}

fn parse_certificate(pem: &str) -> Result<CertificateDer<'static>, AccessError> {
    let wrong = |problem| AccessError::Certificate { problem };
    let mut all = CertificateDer::pem_slice_iter(pem.as_bytes());
    let certificate =
        all.next().and_then(Result::ok).ok_or_else(|| wrong("there is no PEM certificate in it"))?;
    if all.next().is_some() {
        return Err(wrong("there is more than one"));
    }
    ParsedCertificate::try_from(&certificate).map_err(|_| wrong("it is damaged"))?;
    Ok(certificate)
}

/// Encodes bytes as PEM of this kind.
fn pem(kind: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut pem = format!("-----BEGIN {kind}-----\n");
    // A line of 64 digits encodes 48 bytes.
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for i in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
                pem.push(if i <= group.len() { digit.into() } else { '=' });
            }
        }
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {kind}-----\n"));
    pem
}

/// Host and port of an address `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, without the brackets of IPv6.
    pub host: String,
    /// Port number; never 0.
    pub port: u16,
}

impl Address {
    /// Whether the address is certain to be on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl FromStr for Address {
    type Err = AccessError;

    fn from_str(address: &str) -> Result<Address, AccessError> {
        let wrong = |problem| AccessError::Address { address: shown(address), problem };
        if address.contains("://") {
            return Err(wrong("it is a URL; expected host:port"));
        }
        let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong("it has no port"))?;
        let port = match port.parse() {
            // `parse` would also accept a sign.
            Ok(port) if port != 0 && !address.contains('+') => port,
            _ => return Err(wrong("its port is not a number from 1 to 65535")),
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(ip) if ip.parse::<std::net::Ipv6Addr>().is_ok() => ip,
            Some(_) => return Err(wrong("there is no IPv6 address in its brackets")),
            None if host.contains(':') => {
                return Err(wrong("an IPv6 address needs brackets, as in [::1]:7000"));
            }
            None => host,
        };
        if host.is_empty() || host.len() > 253 {
            return Err(wrong("it has no host name"));
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if !host.chars().all(is_allowed) {
            return Err(wrong("its host has characters that are not allowed in names"));
        }
        Ok(Address { host: host.to_owned(), port })
    }
}

/// Returns the beginning of any text, escaped for a terminal.
fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() { shown + "…" } else { shown }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Secret that a worker shows to be admitted. `Debug` does not print it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Generates a secret of 256 random bits.
    #[must_use]
    pub fn generate() -> Secret {
        let mut bytes = [0_u8; 32];
        rand::fill(&mut bytes);
        Secret(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Checks a given secret.
    ///
    /// # Errors
    /// If it is too short to be safe, too long, or cannot be sent in a header.
    pub fn parse(text: &str) -> Result<Secret, AccessError> {
        let wrong = |problem| Err(AccessError::Secret { problem });
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong("has characters other than visible ASCII");
        }
        match text.len() {
            0..32 => wrong("has fewer than 32 characters"),
            32..=512 => Ok(Secret(text.to_owned())),
            _ => wrong("has more than 512 characters"),
        }
    }

    /// Returns the secret itself, to be sent or compared. It must not be displayed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    fn certificate() -> CertificateDer<'static> {
        rcgen::generate_simple_self_signed(["granule".to_owned()]).expect("a certificate").cert.into()
    }

    fn access() -> Access {
        Access {
            addresses: vec!["10.1.2.3:7000".into(), "[fd00::1]:7000".into(), "host-1.example:80".into()],
            certificate: Some(certificate()),
            secret: Secret::generate(),
        }
    }

    fn same(a: &Access, b: &Access) -> bool {
        a.addresses == b.addresses && a.certificate == b.certificate && a.secret.0 == b.secret.0
    }

    /// Returns the texts of an error and its sources.
    fn told(error: &dyn Error) -> String {
        let mut told = format!("{error} / {error:?}");
        let mut cause = error.source();
        while let Some(error) = cause {
            told.push_str(&format!(" / {error} / {error:?}"));
            cause = error.source();
        }
        told
    }

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("access.json");
        let access = access();
        access.write(&path).expect("written");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, 0o600);
        assert!(same(&access, &Access::read(&path).expect("read")));
        assert!(!access.to_json().contains('\n'));

        let local = Access { addresses: vec!["localhost:80".into()], certificate: None, ..access };
        local.write(&path).expect("written");
        assert!(same(&local, &Access::read(&path).expect("read")));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("access.json");
        access().write(&path).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        let error = Access::read(&path).expect_err("others can read it").to_string();
        assert!(error.contains("chmod 600") && error.contains("access.json"), "{error}");
    }

    #[test]
    fn pem_is_what_others_write() {
        let made = rcgen::generate_simple_self_signed(["granule".to_owned()]).expect("a certificate");
        let theirs = made.cert.pem().replace('\r', "");
        assert_eq!(pem("CERTIFICATE", made.cert.der()), theirs);
        for length in 0..100_u8 {
            let der: Vec<u8> = (0..length).map(|i| i.wrapping_mul(151)).collect();
            let read = CertificateDer::from_pem_slice(pem("CERTIFICATE", &der).as_bytes()).expect("PEM");
            assert_eq!(read.as_ref(), der);
        }
    }

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["a:1", "localhost:7000", "127.0.0.1:65535", "[::1]:7000", "x_y.example-2.org:9"] {
            assert_eq!(good.parse::<Address>().expect(good).to_string(), good);
        }
        let bad = [
            "",
            ":",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "a:-1",
            "a:1 ",
            "a b:1",
            "::1:80",
            "[::1]",
            "[::1]80",
            "[a]:1",
            "[]:1",
            "http://a:1",
            "a/b:1",
            "u@a:1",
            "a\n:1",
            "ä:1",
            "a:1:2",
            "[fe80::1%2]:1",
        ];
        for bad in bad {
            let error = bad.parse::<Address>().expect_err(bad);
            assert!(matches!(error, AccessError::Address { .. }), "{bad}: {error}");
        }
    }

    #[test]
    fn what_is_no_address_is_shown_without_harm() {
        let told = |address: &str| address.parse::<Address>().expect_err(address).to_string();
        assert!(
            told("a\u{1b}[31m\n\u{202e}:1").starts_with("`a\\u{1b}[31m\\n\\u{202e}:1` is not an address")
        );
        assert!(told(&"ä".repeat(1000)).starts_with(&format!("`{}…` is", "ä".repeat(80))));
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for here in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "LocalHost:1"] {
            assert!(here.parse::<Address>().expect(here).is_loopback(), "{here}");
        }
        for there in ["10.0.0.1:1", "0.0.0.0:1", "[::]:1", "[::ffff:10.0.0.1]:1", "127.0.0.1.example:1"] {
            assert!(!there.parse::<Address>().expect(there).is_loopback(), "{there}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_the_secret_is_not() {
        let access = access();
        let secret = access.secret.expose().to_owned();
        let good: serde_json::Value = serde_json::from_str(&access.to_json()).expect("JSON");
        type Change = fn(&mut serde_json::Map<String, serde_json::Value>);
        let changes: [(&str, Change); 16] = [
            ("version 2", |file| _ = file.insert("granule_access".into(), 2.into())),
            ("not an access file", |file| _ = file.insert("granule_access".into(), "1".into())),
            ("must have", |file| _ = file.remove("granule_access")),
            ("must have", |file| _ = file.remove("secret")),
            ("must have", |file| _ = file.remove("addresses")),
            ("and nothing else", |file| {
                let secret = file["secret"].clone();
                file.insert("addresses".into(), secret);
            }),
            ("and nothing else", |file| {
                let secret = file["secret"].as_str().expect("text").to_owned();
                file.insert(secret, 1.into());
            }),
            ("and nothing else", |file| _ = file.insert("secret".into(), 1.into())),
            ("fewer than 32", |file| {
                let cut = file["secret"].as_str().expect("text")[..31].to_owned();
                file.insert("secret".into(), cut.into());
            }),
            ("more than 512", |file| _ = file.insert("secret".into(), "a".repeat(513).into())),
            ("visible ASCII", |file| {
                let spaced = format!("{} ", file["secret"].as_str().expect("text"));
                file.insert("secret".into(), spaced.into());
            }),
            ("0 addresses", |file| _ = file.insert("addresses".into(), serde_json::json!([]))),
            ("65 addresses", |file| _ = file.insert("addresses".into(), vec!["a:1"; 65].into())),
            ("no port", |file| _ = file.insert("addresses".into(), serde_json::json!(["host"]))),
            ("the access file has no certificate", |file| _ = file.remove("certificate")),
            ("no PEM certificate", |file| _ = file.insert("certificate".into(), "none".into())),
        ];
        for (expected, change) in changes {
            let mut file = good.clone();
            change(file.as_object_mut().expect("an object"));
            let told = told(&Access::parse(file.to_string().as_bytes()).expect_err(expected));
            assert!(told.contains(expected), "{expected}: {told}");
            assert!(!told.contains(&secret[..16]), "{told}");
        }
        let mut twice = access.to_json();
        twice.insert_str(1, &format!("\"secret\": \"{secret}\","));
        let text = told(&Access::parse(twice.as_bytes()).expect_err("two secrets"));
        assert!(!text.contains(&secret[..16]), "{text}");
        let long = vec![b' '; LONGEST as usize + 1];
        assert!(matches!(Access::parse(&long), Err(AccessError::TooLong)));
    }

    #[test]
    fn a_certificate_is_one_and_whole() {
        let der = certificate();
        let one = pem("CERTIFICATE", &der);
        assert!(parse_certificate(&format!("{one}{one}")).is_err(), "two");
        assert!(parse_certificate(&pem("CERTIFICATE", &der[..der.len() / 2])).is_err(), "half");
        assert!(parse_certificate(&pem("CERTIFICATE", &[])).is_err(), "empty");
        assert!(parse_certificate(&pem("PRIVATE KEY", &der)).is_err(), "another thing");
        assert_eq!(parse_certificate(&one).expect("one"), der);
    }

    #[test]
    fn secrets_are_not_shown() {
        let access = access();
        let secret = access.secret.expose();
        assert_eq!(secret.len(), 64);
        assert!(!format!("{access:?} {:#?}", access.secret).contains(&secret[..8]));
        assert_ne!(secret, Secret::generate().expose());
        assert_eq!(Secret::parse(secret).expect("a secret").expose(), secret);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = Access::parse(&bytes);
        }

        /// Valid files with bytes that are changed, cut out or doubled.
        #[test]
        fn no_damage_panics_or_tells_the_secret(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8)
        ) {
            let access = access();
            let mut bytes = access.to_json().into_bytes();
            for (at, byte, how) in changes {
                let at = at.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes[at] ^= 1 << (byte & 7),
                    2 => _ = bytes.drain(at..(at + usize::from(byte)).min(bytes.len() - 1).max(at)),
                    _ => {
                        let piece = bytes[at..(at + usize::from(byte)).min(bytes.len())].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
            }
            match Access::parse(&bytes) {
                Ok(changed) => prop_assert!(same(&changed, &Access::parse(changed.to_json().as_bytes()).expect("again"))),
                Err(error) => prop_assert!(!told(&error).contains(&access.secret.expose()[..16])),
            }
        }
    }
}
