use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};

use super::*;
use crate::access::Secret;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fn certified() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["granule".to_owned()]).expect("a certificate")
}

fn access(addresses: &[&str], certificate: Option<CertificateDer<'static>>) -> Access {
    let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
    Access { addresses, certificate, secret: Secret::generate() }
}

fn acceptor(
    shown: CertificateDer<'static>,
    key: &KeyPair,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(ring::default_provider());
    // A resolver, because rustls otherwise refuses a key that does not match its certificate.
    let signing = provider.key_provider.load_private_key(key).expect("a key");
    let certified = tokio_rustls::rustls::sign::CertifiedKey::new(vec![shown], signing);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(tokio_rustls::rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}

/// Starts a server that handles each connection with `serve`.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn speak_http2(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut preface = [0; PREFACE.len()];
    if stream.read_exact(&mut preface).await.is_ok() && preface == PREFACE {
        let _ = stream.write_all(SETTINGS).await;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    }
}

async fn tls_server(acceptor: TlsAcceptor) -> String {
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                speak_http2(stream).await;
            }
        }
    })
    .await
}

async fn fails(access: &Access) -> ConnectError {
    connect(access).await.map(|(_, address)| address).expect_err("no coordinator")
}

#[tokio::test]
async fn the_right_certificate_is_accepted_in_both_versions() {
    let own = certified();
    for version in [&TLS13, &TLS12] {
        let address = tls_server(acceptor(own.cert.der().clone(), &own.signing_key, &[version])).await;
        let access = access(&[&address], Some(own.cert.der().clone()));
        let used = reconnect(&access, None).await.expect("connected");
        assert_eq!((&used.address, used.place.to_string()), (&address, address.clone()));
    }
}

#[tokio::test]
async fn another_certificate_is_refused() {
    let (own, other) = (certified(), certified());
    let address = tls_server(acceptor(other.cert.der().clone(), &other.signing_key, &[&TLS13])).await;
    let error = fails(&access(&[&address], Some(own.cert.der().clone()))).await;
    assert!(matches!(error, ConnectError::WrongCertificate { .. }), "{error}");
    assert!(!error.is_worth_retrying());
    assert!(error.to_string().contains(&address), "{error}");
}

/// Certificates are public: a server that shows one must prove that it has its key.
#[tokio::test]
async fn the_right_certificate_with_another_key_is_refused() {
    let (own, other) = (certified(), certified());
    for version in [&TLS13, &TLS12] {
        let address = tls_server(acceptor(own.cert.der().clone(), &other.signing_key, &[version])).await;
        let error = fails(&access(&[&address], Some(own.cert.der().clone()))).await;
        assert!(matches!(error, ConnectError::WrongCertificate { .. }), "{error}");
    }
}

#[tokio::test]
async fn plain_text_is_for_this_machine() {
    let address = server(speak_http2).await;
    connect(&access(&[&address], None)).await.expect("connected");
    // A worker also checks an access that was never in a file.
    let error = fails(&access(&["nonsense"], None)).await;
    assert!(matches!(error, ConnectError::Address { .. }), "{error}");
    let error = fails(&access(&[], None)).await;
    assert!(matches!(error, ConnectError::Address { .. }) && !error.is_worth_retrying(), "{error}");
}

#[tokio::test]
async fn each_side_may_lack_tls() {
    let own = certified();
    let tls = tls_server(acceptor(own.cert.der().clone(), &own.signing_key, &[&TLS13, &TLS12])).await;
    let error = fails(&access(&[&tls], None)).await;
    assert!(matches!(error, ConnectError::NeedsTls { .. }) && !error.is_worth_retrying(), "{error}");

    for answer in [SETTINGS, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH\r\n"] {
        let plain = server(move |mut stream| async move {
            let _ = stream.write_all(answer).await;
            let _ = stream.read(&mut [0; 4096]).await;
        })
        .await;
        let error = fails(&access(&[&plain], Some(own.cert.der().clone()))).await;
        assert!(matches!(error, ConnectError::NotTls { .. }) && !error.is_worth_retrying(), "{error}");
    }
}

#[tokio::test]
async fn who_is_not_there_may_come_back() {
    let (listener, address) = listener().await;
    drop(listener);
    let own = certified();
    let certificate = Some(own.cert.der().clone());
    for certificate in [None, certificate.clone()] {
        let error = fails(&access(&[&address], certificate)).await;
        assert!(matches!(error, ConnectError::Unreachable { .. }) && error.is_worth_retrying(), "{error}");
    }
    let closing = server(|stream| async move { drop(stream) }).await;
    for certificate in [None, certificate] {
        let error = fails(&access(&[&closing], certificate)).await;
        assert!(matches!(error, ConnectError::Unreachable { .. }) && error.is_worth_retrying(), "{error}");
    }
}

/// One address accepts the connection but never answers; another one is found soon.
#[tokio::test]
async fn a_silent_address_delays_the_next_and_is_not_tried_first_again() {
    let own = certified();
    let certificate = Some(own.cert.der().clone());
    let (_silent, silent) = listener().await;
    let here = tls_server(acceptor(own.cert.der().clone(), &own.signing_key, &[&TLS13])).await;
    let all = access(&[&silent, &silent.replace("127.0.0.1", "localhost"), &here], certificate);
    let begun = Instant::now();
    let found = reconnect(&all, None).await.expect("the last");
    let took = begun.elapsed();
    assert_eq!(found.address, here);
    assert!(took >= race::ANSWER && took < PATIENCE, "{took:?}");

    let begun = Instant::now();
    assert_eq!(reconnect(&all, Some(found.place)).await.expect("the last").address, here);
    assert!(begun.elapsed() < race::ANSWER, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_coordinator_is_found_at_any_of_its_addresses() {
    let (own, other) = (certified(), certified());
    let (closed, nowhere) = listener().await;
    drop(closed);
    let elsewhere = tls_server(acceptor(other.cert.der().clone(), &other.signing_key, &[&TLS13])).await;
    let here = tls_server(acceptor(own.cert.der().clone(), &own.signing_key, &[&TLS13])).await;
    let certificate = Some(own.cert.der().clone());
    let all = access(&[&nowhere, &elsewhere, &here], certificate.clone());
    assert_eq!(connect(&all).await.expect("the third").1, here);

    let error = fails(&access(&[&elsewhere, &nowhere], certificate.clone())).await;
    assert!(error.is_worth_retrying(), "{error}");
    assert!(error.to_string().contains(&elsewhere) && error.to_string().contains(&nowhere), "{error}");
    let error = fails(&access(&[&elsewhere, &elsewhere], certificate)).await;
    assert!(!error.is_worth_retrying(), "{error}");
}
