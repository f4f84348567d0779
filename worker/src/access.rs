//! The access file: all that a worker needs to find a coordinator, to know that it is the right one,
//! and to be let in.
//!
//! One JSON object, `granule_access` counting its versions:
//!
//! ```json
//! {"granule_access": 1, "addresses": ["10.0.0.5:7000"], "certificate": "-----BEGIN …", "secret": "…"}
//! ```
//!
//! Who has it can compute for the coordinator, and send it results; hence it is for its owner alone.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use granule_system::files;
use granule_system::private::{self, PrivateError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::server::ParsedCertificate;

/// How to reach a coordinator.
#[derive(Clone, Debug)]
pub struct Access {
    /// `host:port` of the coordinator, in the order in which to try them.
    pub addresses: Vec<String>,
    /// The very certificate that it shows; with none, all goes in plain text and never leaves this
    /// machine.
    pub certificate: Option<CertificateDer<'static>>,
    /// What it lets workers in for.
    pub secret: Secret,
}

/// Why there is no access.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file cannot be read, or must not be trusted.
    #[error(transparent)]
    File(#[from] PrivateError),
    /// The file cannot be written.
    #[error("cannot write the access file {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What a file has makes no sense; says which file.
    #[error("{} cannot be used", name(path))]
    In {
        /// The file.
        path: PathBuf,
        /// What is wrong with what it has.
        source: Box<AccessError>,
    },
    /// Too much of it.
    #[error("an access file has at most {LONGEST} bytes; this is something else")]
    TooLong,
    /// No JSON, or of another shape.
    #[error(
        "this is not an access file: line {line}, column {column} {problem}; \
         get a fresh copy of the access file from the coordinator"
    )]
    Format {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// Made by another version.
    #[error(
        "the access file is of version {found}, this granule knows version {VERSION}; \
         run the same granule as the coordinator"
    )]
    Version {
        /// What it says.
        found: u64,
    },
    /// No address, or too many.
    #[error("the access file has {found} addresses, it needs 1 to {MOST_ADDRESSES}")]
    Addresses {
        /// How many.
        found: usize,
    },
    /// An address is none.
    #[error("`{address}` is no address of a coordinator: {problem}; write host:port")]
    Address {
        /// What it says, as it can be shown.
        address: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The certificate is none.
    #[error(
        "the certificate in the access file cannot be used: {problem}; \
         get a fresh copy of the access file from the coordinator"
    )]
    Certificate {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An address elsewhere, and nothing to know the coordinator by.
    #[error(
        "{address} is not on this machine, and the access file has no certificate to know the coordinator by; \
         get a fresh copy of the access file from the coordinator"
    )]
    Unprotected {
        /// Where it would lead.
        address: String,
    },
    /// The secret is none.
    #[error("the coordinator's secret {problem}; get a fresh copy of the access file from the coordinator")]
    Secret {
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Version of the file.
const VERSION: u64 = 1;

/// Longest file, in bytes.
const LONGEST: u64 = 1 << 20;

/// A coordinator with many interfaces has some.
const MOST_ADDRESSES: usize = 64;

/// What is in the file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    granule_access: u64,
    addresses: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    secret: String,
}

/// What is in a file of any version.
#[derive(Deserialize)]
struct Versioned {
    granule_access: u64,
}

impl Access {
    /// Understands what is in an access file.
    ///
    /// # Errors
    /// When it is none, or would send the secret through a network in plain text.
    pub fn parse(bytes: &[u8]) -> Result<Access, AccessError> {
        if bytes.len() as u64 > LONGEST {
            return Err(AccessError::TooLong);
        }
        // Some editors start a file with a byte order mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(AccessError::Format {
                line: 1,
                column: 1,
                problem: "is UTF-16 text, and UTF-8 is wanted",
            });
        }
        let Versioned { granule_access: found } = serde_json::from_slice(bytes).map_err(format_error)?;
        if found != VERSION {
            return Err(AccessError::Version { found });
        }
        let contents: Contents = serde_json::from_slice(bytes).map_err(format_error)?;
        let certificate = contents.certificate.as_deref().map(parse_certificate).transpose()?;
        let secret = Secret::parse(&contents.secret)?;
        let access = Access { addresses: contents.addresses, certificate, secret };
        access.check()?;
        Ok(access)
    }

    /// Whether these bytes are those of an access file, or what is left of one: then a new one may take its place.
    #[must_use]
    pub fn is_replaceable(bytes: &[u8]) -> bool {
        const BEGINNING: &[u8] = b"{\"granule_access\":";
        bytes.starts_with(BEGINNING) || BEGINNING.starts_with(bytes) || Access::parse(bytes).is_ok()
    }

    /// Reads an access file; `-` is standard input.
    ///
    /// # Errors
    /// When there is none, it makes no sense, or others can get at it.
    pub fn read(path: &Path) -> Result<Access, AccessError> {
        let wrong = |source| AccessError::In { path: path.to_owned(), source: Box::new(source) };
        if Access::is_read_once(path) {
            let failed = |source| PrivateError::Read { path: path.to_owned(), source };
            return Access::parse(&read_once(path).map_err(failed)?).map_err(wrong);
        }
        let bytes = match private::read(path, private::OTHERS, LONGEST) {
            // A file that is no access file has no secret to be kept from others.
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

    /// Whether this is standard input, or a file or pipe that a shell has opened for us, as for `<(…)`: it can be read
    /// once, and to say who may read it is the shell's.
    #[must_use]
    pub fn is_read_once(path: &Path) -> bool {
        let opened = ["/dev/stdin", "/dev/fd", "/proc/self/fd"];
        path == Path::new("-") || opened.iter().any(|of| path.starts_with(of))
    }

    /// Writes the access file, for its owner alone, in place of what is there.
    ///
    /// # Errors
    /// When this is no access that could be read again, or the system refuses.
    pub fn write(&self, path: &Path) -> Result<(), AccessError> {
        self.check()?;
        let mut line = self.to_json();
        line.push('\n');
        private::write(path, line.as_bytes())
            .map_err(|source| AccessError::Write { path: path.to_owned(), source })
    }

    /// What is in the access file: a single line, without its end. It has the secret.
    #[must_use]
    pub fn to_json(&self) -> String {
        let contents = Contents {
            granule_access: VERSION,
            addresses: self.addresses.clone(),
            certificate: self.certificate.as_ref().map(|certificate| pem("CERTIFICATE", certificate)),
            secret: self.secret.0.clone(),
        };
        serde_json::to_string(&contents).expect("texts and numbers are always JSON")
    }

    /// Whether one could use this.
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

/// What people call the place that an access file is read from.
fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// What is in a file that can be read once, as far as an access file can go and a byte more.
fn read_once(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Says where, but not what is there: that could be the secret.
fn format_error(error: serde_json::Error) -> AccessError {
    use serde_json::error::Category;
    let problem = match error.classify() {
        Category::Eof if error.line() <= 1 && error.column() == 0 => "is its end: it is empty",
        Category::Eof => "is where it ends too early",
        Category::Data => {
            "lacks one of `granule_access`, `addresses` and `secret`, or has something else than these and \
             `certificate`"
        }
        Category::Io | Category::Syntax => "is no JSON",
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

/// PEM of this kind.
fn pem(kind: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut pem = format!("-----BEGIN {kind}-----\n");
    // A line of 64 digits is 48 bytes.
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

/// `host:port`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address, without the brackets of IPv6.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl Address {
    /// Whether it surely stays on this machine.
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
            return Err(wrong("it is a URL; only its host and port are wanted"));
        }
        let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong("it has no port"))?;
        let port = match port.parse() {
            // A sign would be taken, too.
            Ok(port) if port != 0 && !address.contains('+') => port,
            _ => return Err(wrong("its port is no number from 1 to 65535")),
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
            return Err(wrong("it has no name of a host"));
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if !host.chars().all(is_allowed) {
            return Err(wrong("its host has characters that no name has"));
        }
        Ok(Address { host: host.to_owned(), port })
    }
}

/// The beginning of a text that may be anything, fit for a terminal.
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

/// What a coordinator lets workers in for. Nothing prints it by accident.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// 256 bits that nobody else knows.
    #[must_use]
    pub fn generate() -> Secret {
        let mut bytes = [0_u8; 32];
        rand::fill(&mut bytes);
        Secret(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Takes one that was given to us.
    ///
    /// # Errors
    /// When it is too easily guessed, or cannot be sent in a header.
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

    /// The secret itself, to be sent or compared and never to be shown.
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

    /// The error and its causes.
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
        assert!(told("a\u{1b}[31m\n\u{202e}:1").starts_with("`a\\u{1b}[31m\\n\\u{202e}:1` is no address"));
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
            ("lacks", |file| _ = file.remove("granule_access")),
            ("lacks", |file| _ = file.remove("secret")),
            ("lacks", |file| _ = file.remove("addresses")),
            ("something else", |file| {
                let secret = file["secret"].clone();
                file.insert("addresses".into(), secret);
            }),
            ("something else", |file| {
                let secret = file["secret"].as_str().expect("text").to_owned();
                file.insert(secret, 1.into());
            }),
            ("something else", |file| _ = file.insert("secret".into(), 1.into())),
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
            ("no certificate to know", |file| _ = file.remove("certificate")),
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

        /// Files that were fine until something was changed, cut out or doubled.
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
