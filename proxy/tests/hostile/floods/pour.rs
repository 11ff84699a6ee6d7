//! Writing without end, and seeing that it comes to one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long what stands still or drips may go on: longer than each of the proxy's times.
pub(super) const STANDS: Duration = Duration::from_secs(12);

/// How long a flood may take from its first frame to the end of the connection, and how long from its last frame on. Nothing but the flood
/// is a reason to close until then.
const FLOODS: Duration = Duration::from_secs(30);
const CLOSES: Duration = Duration::from_secs(3);

/// Bytes of a receive buffer that is soon full.
const SMALL_BUFFER: u32 = 4 << 10;

/// What a client does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    All,
    Nothing,
}

/// A connection whose client hardly reads ahead.
pub(super) async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SMALL_BUFFER).unwrap();
    socket.connect(address).await.unwrap()
}

/// HTTP/2 over TLS on a connection, by ALPN.
pub(super) async fn secured(stream: TcpStream, certificate: CertificateDer<'static>) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("app.test").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

/// Writes `first`, then each piece, and expects that the proxy closes. The error says how much it took without that.
pub(super) async fn pour(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    first: Vec<u8>,
    pieces: impl Iterator<Item = Vec<u8>>,
    reads: Reads,
) -> Result<(), String> {
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let mut poured = 0;
    let writing = async {
        let mut writes = write.write_all(&first).await;
        for piece in pieces {
            if writes.is_err() {
                return;
            }
            writes = write.write_all(&piece).await;
            poured += piece.len();
        }
        if writes.is_ok() {
            sleep(CLOSES).await;
        }
    };
    let reading = async {
        let mut buffer = vec![0; 64 << 10];
        if reads == Reads::Nothing {
            return std::future::pending().await;
        }
        while let Ok(1..) = read.read(&mut buffer).await {}
    };
    let is_closed = timeout(FLOODS, async {
        tokio::select! {
            () = writing => false,
            () = reading => true,
        }
    });
    if is_closed.await == Ok(true) || is_over(&mut stream).await {
        return Ok(());
    }
    Err(format!("it is not closed after {poured} bytes"))
}

/// Writes `input` and nothing more, until the proxy closes; what it said.
pub(super) async fn stand(mut stream: TcpStream, input: Vec<u8>) -> Result<Vec<u8>, String> {
    stream.write_all(&input).await.map_err(|error| error.to_string())?;
    let mut said = Vec::new();
    match timeout(STANDS, stream.read_to_end(&mut said)).await {
        Ok(_) => Ok(said),
        Err(_) => Err(format!(
            "it is not closed, and told {:?}",
            String::from_utf8_lossy(&said)
        )),
    }
}

/// Whether a connection from which nothing was read has an end all the same.
pub(super) async fn is_over(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut buffer = vec![0; 64 << 10];
    let drained = timeout(Duration::from_secs(1), async {
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    });
    drained.await.is_ok()
}

/// One byte after the other, slowly, until the proxy closes; what it said.
pub(super) async fn drip(mut stream: TcpStream, first: &[u8], byte: u8) -> Result<Vec<u8>, String> {
    let (mut read, mut write) = stream.split();
    let mut said = Vec::new();
    write.write_all(first).await.map_err(|error| error.to_string())?;
    let dripping = async {
        while write.write_all(&[byte]).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let ended = timeout(STANDS, async {
        tokio::select! {
            _ = read.read_to_end(&mut said) => {}
            () = dripping => {}
        }
    });
    match ended.await {
        Ok(()) => Ok(said),
        Err(_) => Err("it is not closed".to_owned()),
    }
}
