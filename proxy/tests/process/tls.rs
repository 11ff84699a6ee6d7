//! TLS with clients: who is shown which certificate, what is spoken, what changes while connections are open, what fails.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::{Request, Version};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tenbin_model::{Certificate, Listener, ListenerTls, Resource, Target, TlsVersion};
use tenbin_proxy::serve::Refused;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::backend::Backend;
use crate::harness::{PATIENCE, eventually};
use crate::inside::{Inside, name, plain};

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS12, &version::TLS13];

pub(crate) fn certificate(called: &str, hosts: &[&str]) -> Certificate {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(hosts).unwrap();
    Certificate {
        name: name(called),
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    }
}

fn tls(names: &[&str], minimum: TlsVersion) -> impl FnOnce(&mut Listener) {
    let certificates = names.iter().map(|text| name(text)).collect();
    move |listener| listener.tls = Some(ListenerTls { certificates, minimum })
}

/// Listeners and certificates, in the order in which they are sent.
fn with(certificates: &[Certificate], rest: Vec<Resource>) -> Vec<Resource> {
    certificates
        .iter()
        .cloned()
        .map(Resource::Certificate)
        .chain(rest)
        .collect()
}

fn config(trusted: &[Certificate], versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots
            .add(CertificateDer::from_pem_slice(certificate.chain.as_bytes()).unwrap())
            .unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

async fn connect(proxy: &Inside, config: &Arc<ClientConfig>, host: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(proxy.address).await?;
    let host = ServerName::try_from(host.to_owned()).unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::clone(config)).connect(host, stream))
        .await
        .unwrap()
}

/// Asks once over HTTP/1.1; gives what came.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream
        .write_all(b"GET /headers HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
    }
    String::from_utf8(answer).unwrap()
}

fn failures(proxy: &Inside, why: Refused) -> u64 {
    proxy.stats().handshake_failures[why as usize].load(Relaxed)
}

#[tokio::test]
async fn names_choose_certificates_and_unknown_ones_get_the_first() {
    let app = Backend::app().await;
    let (first, second) = (
        certificate("c1", &["a.example"]),
        certificate("c2", &["b.example", "*.c.example"]),
    );
    let all = [first.clone(), second.clone()];
    let proxy = Inside::start(with(&all, plain(&[app.address], tls(&["c1", "c2"], TlsVersion::Tls12))));
    for (host, shown) in [("a.example", &first), ("b.example", &second), ("x.c.example", &second)] {
        let only = config(std::slice::from_ref(shown), BOTH, &[]);
        let answer = ask(&mut connect(&proxy, &only, host).await.unwrap()).await;
        assert!(answer.contains("\"x-forwarded-proto\": \"https\""), "{answer}");
    }
    let trusts_all = config(&all, BOTH, &[]);
    let error = connect(&proxy, &trusts_all, "d.example").await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    eventually("it is counted", async || {
        (failures(&proxy, Refused::Alert) == 1).then_some(())
    })
    .await;
    assert_eq!(proxy.stats().handshakes.load(Relaxed), 3);
}

#[tokio::test]
async fn what_is_spoken_is_agreed_on() {
    let app = Backend::app().await;
    let shown = certificate("c", &["a.example"]);
    let certificates = [shown.clone()];
    let proxy = Inside::start(with(
        &certificates,
        plain(&[app.address], tls(&["c"], TlsVersion::Tls12)),
    ));
    let stream = connect(&proxy, &config(&certificates, BOTH, &["h2", "http/1.1"]), "a.example")
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .uri("https://a.example/who")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (Version::HTTP_2, 200));

    let mut old = connect(&proxy, &config(&certificates, BOTH, &["http/1.1"]), "a.example")
        .await
        .unwrap();
    assert_eq!(old.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    ask(&mut old).await;
    assert!(
        connect(&proxy, &config(&certificates, BOTH, &["spdy/3"]), "a.example")
            .await
            .is_err()
    );
    eventually("it is counted", async || {
        (failures(&proxy, Refused::Alpn) == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn versions_have_a_minimum() {
    let app = Backend::app().await;
    let shown = [certificate("c", &["a.example"])];
    let old = config(&shown, &[&version::TLS12], &[]);
    let any = Inside::start(with(&shown, plain(&[app.address], tls(&["c"], TlsVersion::Tls12))));
    let stream = connect(&any, &old, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    let new = Inside::start(with(&shown, plain(&[app.address], tls(&["c"], TlsVersion::Tls13))));
    assert!(connect(&new, &old, "a.example").await.is_err());
    eventually("it is counted", async || {
        (failures(&new, Refused::Incompatible) == 1).then_some(())
    })
    .await;
    let stream = connect(&new, &config(&shown, BOTH, &[]), "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_a_bad_one_to_nobody() {
    let app = Backend::app().await;
    let (old, new) = (certificate("c", &["a.example"]), certificate("c", &["a.example"]));
    let proxy = Inside::start(with(
        std::slice::from_ref(&old),
        plain(&[app.address], tls(&["c"], TlsVersion::Tls12)),
    ));
    let trusting = |one| config(std::slice::from_ref(one), BOTH, &[]);
    let (trusts_old, trusts_new) = (trusting(&old), trusting(&new));
    let mut open = connect(&proxy, &trusts_old, "a.example").await.unwrap();
    ask(&mut open).await;
    assert_eq!(open.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));

    proxy.apply(vec![Resource::Certificate(new.clone())]);
    ask(&mut open).await;
    let mut second = connect(&proxy, &trusts_new, "a.example").await.unwrap();
    ask(&mut second).await;
    let third = connect(&proxy, &trusts_old, "a.example").await.unwrap();
    assert_eq!(
        third.get_ref().1.handshake_kind(),
        Some(HandshakeKind::Resumed),
        "tickets stay good"
    );

    let broken = Certificate { key: old.key, ..new };
    proxy.apply(vec![Resource::Certificate(broken)]);
    ask(&mut connect(&proxy, &trusts_new, "a.example").await.unwrap()).await;
}

#[tokio::test]
async fn both_versions_resume_sessions() {
    let app = Backend::app().await;
    let shown = [certificate("c", &["a.example"])];
    let proxy = Inside::start(with(&shown, plain(&[app.address], tls(&["c"], TlsVersion::Tls12))));
    for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
        let client = config(&shown, versions, &[]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = connect(&proxy, &client, "a.example").await.unwrap();
            ask(&mut stream).await;
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind), "{versions:?}");
        }
    }
}

#[tokio::test]
async fn garbage_and_silence_end_in_a_count() {
    let app = Backend::app().await;
    let shown = [certificate("c", &["a.example"])];
    let proxy = Inside::start(with(
        &shown,
        plain(&[app.address], |listener| {
            tls(&["c"], TlsVersion::Tls12)(listener);
            listener.header_timeout = Duration::from_secs(2);
        }),
    ));
    let mut clear = proxy.client().await;
    clear.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    clear.rest().await;
    let mut silent = proxy.client().await;
    assert!(silent.rest().await.is_empty());
    drop(TcpStream::connect(proxy.address).await.unwrap());
    eventually("all are counted", async || {
        let count = |why| failures(&proxy, why);
        (count(Refused::Malformed) == 1 && count(Refused::Closed) == 1 && count(Refused::Timeout) >= 1).then_some(())
    })
    .await;
    proxy.await_no_connection().await;
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn without_a_certificate_nobody_is_served_in_cleartext() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], tls(&["c"], TlsVersion::Tls12));
    let mut client = proxy.client().await;
    client.send("GET /who HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.rest().await.is_empty());
    assert_eq!((app.requests(), failures(&proxy, Refused::NoCertificate)), (0, 1));
    let shown = [certificate("c", &["a.example"])];
    proxy.apply(with(&shown, Vec::new()));
    ask(&mut connect(&proxy, &config(&shown, BOTH, &[]), "a.example").await.unwrap()).await;
}

#[tokio::test]
async fn plain_tcp_under_tls() {
    let app = Backend::script(async |mut stream, _| {
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        stream.write_all(&said).await.unwrap();
    })
    .await;
    let shown = [certificate("c", &["a.example"])];
    let proxy = Inside::start(with(
        &shown,
        plain(&[app.address], |listener| {
            tls(&["c"], TlsVersion::Tls12)(listener);
            listener.target = Target::Tcp(name("app"));
        }),
    ));
    let mut stream = connect(&proxy, &config(&shown, BOTH, &[]), "a.example").await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).await.unwrap();
    assert_eq!(back, "hello");
}
