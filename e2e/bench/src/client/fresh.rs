//! A connection for each request. The proxy is asked to close it and must.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::future::try_join_all;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{SMALL, ask, limited, said, whole};
use crate::cpu::{HOST, Said};

/// Connections at the same time.
const AT_ONCE: usize = 32;

/// Connects, asks, is answered, sees the close, and again.
pub(super) async fn run(address: SocketAddr, time: Duration, certificate: Option<&Path>) -> anyhow::Result<Said> {
    let tls = certificate.map(|file| connector(file, &[])).transpose()?;
    let began = Instant::now();
    let each = (0..AT_ONCE).map(|_| async {
        let mut times = Vec::new();
        while began.elapsed() < time {
            let asked = Instant::now();
            limited(exchange(address, tls.as_ref())).await?;
            times.push(asked.elapsed().as_secs_f64() * 1000.0);
        }
        anyhow::Ok(times)
    });
    let times = try_join_all(each).await?;
    Ok(said(times.into_iter().flatten(), began.elapsed()))
}

async fn exchange(address: SocketAddr, tls: Option<&TlsConnector>) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return closed(stream).await;
    };
    let name = ServerName::try_from(HOST)?;
    closed(tls.connect(name, stream).await.context("TLS handshake")?).await
}

async fn closed(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<()> {
    ask(&mut stream, "connection: close\r\n").await?;
    let mut text = Vec::with_capacity(2 * SMALL);
    match stream.read_to_end(&mut text).await {
        Ok(_) => {}
        // Closed without TLS's own goodbye, which nobody needs after a whole answer.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        Err(error) => bail!("read an answer: {error}"),
    }
    ensure!(whole(&text)?, "closed after {} bytes", text.len());
    Ok(())
}

/// TLS 1.3 with the one cipher of all clients, and a full handshake each time; `protocols` are offered by ALPN.
pub(super) fn connector(certificate: &Path, protocols: &[&[u8]]) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).context("read the certificate")?)?;
    let provider = CryptoProvider {
        cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..ring::default_provider()
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let mut config = builder
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}
