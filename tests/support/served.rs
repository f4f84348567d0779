//! A sweep that is served to workers elsewhere: access files, connections and the coordinator's pages.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use granule_worker::access::Access;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError,
    SignatureScheme, StreamOwned,
};

use super::hosts::Host;
use super::{PATIENCE, Place, Running};

/// A coordinator that waits for workers.
pub struct Served {
    /// The coordinator's process.
    pub running: Running,
    /// The content of its access file.
    pub access: Value,
}

impl Served {
    /// Starts a coordinator on a host, or with TLS on this machine's loopback, and waits for its access file. The
    /// outputs are in `out`. The first argument is the sweep file.
    pub fn start(place: &Place, host: Option<&Host>, arguments: &[&str]) -> Served {
        let listen = host.map_or("127.0.0.1:0".to_owned(), |host| format!("{}:0", host.address()));
        let mut always = vec!["--out", "out", "--listen", &listen];
        if host.is_none() {
            // With --advertise, connections are encrypted on loopback, too.
            always.extend(["--advertise", "127.0.0.1"]);
        }
        let command = place.granule(&[&["serve"], arguments, &always].concat());
        let command = match host {
            Some(host) => host.runs(&command),
            None => command,
        };
        let mut running = place.start_this(command);
        let access = running.until("there is an access file", |_| {
            serde_json::from_slice(&fs::read(place.path("out/access.json")).ok()?).ok()
        });
        Served { running, access }
    }

    /// The address at which it listens.
    pub fn address(&self) -> SocketAddr {
        let address = self.access["addresses"][0].as_str().expect("an address");
        address.parse().expect("an address with a port")
    }

    /// The secret in its access file.
    pub fn secret(&self) -> &str {
        self.access["secret"].as_str().expect("a secret")
    }

    /// Copies its access file, for workers that reach it at another address if one is given.
    pub fn copy(&self, place: &Place, name: &str, by: Option<SocketAddr>) -> PathBuf {
        let mut access = self.access.clone();
        if let Some(address) = by {
            access["addresses"] = Value::from(vec![address.to_string()]);
        }
        let path = place.path(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = file.expect("a file can be made");
        file.write_all(access.to_string().as_bytes()).expect("a file can be written");
        path
    }
}

/// Connects, with timeouts.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens TLS on a connection, to a coordinator with the certificate of this access file.
pub fn tls(
    access: &Access,
    mut stream: TcpStream,
    protocols: &[&[u8]],
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut client = tls_client(access, protocols);
    while client.is_handshaking() {
        client.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(client, stream))
}

/// The first bytes of a client's TLS handshake.
pub fn first_flight(access: &Access) -> Vec<u8> {
    let mut bytes = Vec::new();
    tls_client(access, &[b"h2"]).write_tls(&mut bytes).expect("there is room");
    bytes
}

fn tls_client(access: &Access, protocols: &[&[u8]]) -> ClientConnection {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let certificate = access.certificate.clone().expect("it speaks TLS");
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { certificate, algorithms }))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("coordinator").expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a client")
}

/// Gets a page over HTTP/1.1. Returns its status and text.
pub fn get(mut stream: impl Read + Write, path: &str, secret: Option<&str>) -> (u16, String) {
    let shown = secret.map_or(String::new(), |secret| format!("Authorization: Bearer {secret}\r\n"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{shown}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request can be sent");
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        // TLS ends without close_notify. HTTP states the length of the page.
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
    }
    let answer = String::from_utf8(answer).expect("text");
    let (head, page) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {head}")), page.to_owned())
}

/// The sum of a metric over all its labels.
pub fn metric(page: &str, name: &str) -> f64 {
    let values = page.lines().filter_map(|line| {
        let (what, value) = line.rsplit_once(' ')?;
        (what.split('{').next() == Some(name)).then(|| value.parse::<f64>().expect("a number"))
    });
    let values: Vec<f64> = values.collect();
    assert!(!values.is_empty(), "no {name} in:\n{page}");
    values.iter().sum()
}

/// Waits for the end of workers. Each ends with code 0 after the sweep.
#[track_caller]
pub fn all_end_well(workers: Vec<Running>) {
    workers.into_iter().for_each(|worker| drop(worker.end().succeeded()));
}

/// Identifies a coordinator by its certificate.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if *shown == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
