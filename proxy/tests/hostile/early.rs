//! TLS: no early data (RFC 8446 §8: what comes with it can be sent again by whoever recorded it), and nothing in cleartext on a port
//! that has TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::task::spawn_blocking;

use crate::world::{PATIENCE, World, exchange};

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn sessions_are_resumed_without_early_data() {
    let world = World::start("", "").await;
    let got = exchange(world.secure, ASK, PATIENCE).await;
    assert!(
        got.closed && !got.bytes.starts_with(b"HTTP"),
        "cleartext is not answered: {got:?}"
    );
    assert_eq!(world.endpoint.requests(), 0);

    let mut roots = RootCertStore::empty();
    roots.add(world.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_early_data = true;
    let config = Arc::new(config);
    let address = world.secure;
    let kinds = spawn_blocking(move || [ask(&config, address), ask(&config, address)]);
    assert_eq!(kinds.await.unwrap(), [HandshakeKind::Full, HandshakeKind::Resumed]);
    assert_eq!(world.endpoint.requests(), 2);
}

/// One request over a connection of its own; how the handshake went.
fn ask(config: &Arc<ClientConfig>, address: std::net::SocketAddr) -> HandshakeKind {
    let name = ServerName::try_from("app.test").unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    assert!(connection.early_data().is_none(), "no ticket allows early data");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tls = rustls::Stream::new(&mut connection, &mut stream);
    tls.write_all(ASK).unwrap();
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer);
    assert!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    connection.handshake_kind().unwrap()
}
