//! The ports of the demo app: HTTP/1.1 and HTTP/2 in cleartext or over TLS, plain TCP, and HTTP by hand. What is answered is elsewhere.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::answers::{self, App};
use crate::{raw, tcp};

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What is spoken on a port.
#[derive(Clone)]
pub(crate) enum Speaks {
    /// HTTP/1.1, and HTTP/2 by prior knowledge.
    Http,
    /// The same over TLS, HTTP/2 by ALPN.
    Tls(TlsAcceptor),
    Tcp,
    /// HTTP by hand.
    Raw,
}

impl fmt::Display for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Speaks::Http => "HTTP",
            Speaks::Tls(_) => "HTTPS",
            Speaks::Tcp => "TCP",
            Speaks::Raw => "HTTP by hand",
        })
    }
}

/// What a TLS port needs, from PEM texts.
pub(crate) fn tls(certificate: &str, key: &str) -> anyhow::Result<TlsAcceptor> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<_, _>>()
        .context("tls-certificate is not PEM")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("tls-key is not PEM")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("tls-certificate and tls-key do not go together")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A port that is listened on.
pub(crate) struct Port {
    listener: TcpListener,
    speaks: Speaks,
}

impl Port {
    /// Listens at all addresses.
    pub(crate) async fn open(number: u16, speaks: Speaks) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("0.0.0.0", number)).await;
        let listener = listener.with_context(|| format!("listen on port {number}"))?;
        Ok(Port { listener, speaks })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        self.listener.local_addr().context("read the own address")
    }

    /// What it speaks.
    pub(crate) fn speaks(&self) -> &Speaks {
        &self.speaks
    }

    /// Accepts connections for ever.
    pub(crate) async fn serve(&self, app: &Arc<App>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(connection(stream, self.speaks.clone(), Arc::clone(app)));
                }
                // Out of file descriptors, most likely: the listener is as good as before once some are free again.
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, speaks: Speaks, app: Arc<App>) {
    // Without it small answers would wait for acknowledgements; a socket that refuses it still works.
    let _ = stream.set_nodelay(true);
    match speaks {
        Speaks::Http => http(stream, app).await,
        Speaks::Tls(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, app).await,
            Ok(Err(error)) => eprintln!("TLS handshake: {error}"),
            Err(_) => eprintln!("TLS handshake: not done within {HANDSHAKE:?}"),
        },
        Speaks::Tcp => tcp::echo(stream, app.instance(), app.stopping()).await,
        Speaks::Raw => raw::serve(stream, app.instance()).await,
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, app: Arc<App>) {
    let mut stopping = app.stopping();
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { answers::answer(&app, request).await }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // No time limit for the next request: a proxy may keep connections for as long as it likes.
    builder.http1().header_read_timeout(None);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // An error is the client's going away, which is its right.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
