//! One TLS connection to the operator: trusts the CA of one file and nothing else, expects the certificate of the host that
//! was dialled. The CA is read anew each time, so that a rotated one is found.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// How long connecting may take, name lookup and TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// A peer that does not answer a ping for this long is dead.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5));
/// The largest CA or token file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Connects to `address` (`host:port`).
pub(super) async fn connect(address: &str, ca: &Path) -> Result<Channel, String> {
    let (host, _) = address
        .rsplit_once(':')
        .ok_or_else(|| format!("address {address:?} is not accepted, expected host:port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("host {host:?} is not accepted, expected a DNS name or an IP address"))?;
    let tls = TlsConnector::from(Arc::new(tls_config(&read(ca).await?, ca)?));
    let endpoint = Endpoint::from_shared(format!("https://{address}"))
        .map_err(|error| format!("address {address:?}: {error}"))?
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true);
    let dial = address.to_owned();
    let connector = service_fn(move |_: Uri| {
        let (dial, name, tls) = (dial.clone(), name.clone(), tls.clone());
        async move {
            let stream = tokio::time::timeout(CONNECT, open(&dial, name, &tls)).await;
            let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {CONNECT:?}"));
            stream.unwrap_or_else(|_| Err(late())).map(TokioIo::new)
        }
    });
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| format!("connecting to {address}: {}", chain(&error)))
}

async fn open(address: &str, name: ServerName<'static>, tls: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    tls.connect(name, socket).await
}

fn tls_config(pem: &[u8], path: &Path) -> Result<ClientConfig, String> {
    let refused = |error: String| format!("CA file {}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("holds no certificate, expected at least one in PEM".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The content of a small file.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("reading {}: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut content = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut content).await.map_err(failed)?;
    Ok(content)
}

/// An error with its causes, since tonic tells only "transport error" itself.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
