//! From a TCP listener to TLS connections, none of which holds up another: handshakes run beside the accept loop, bounded in
//! number and time, and one peer can't take all the places. Nothing of gRPC here.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::metrics::StreamMetrics;

/// The most connections at a time.
pub const MAX_CONNECTIONS: usize = 4096;
/// The most connections of one peer address at a time: room for every pod of a node that shares the node's address.
pub const MAX_PER_PEER: usize = 128;
/// The most handshakes at a time; further connections wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 512;
/// The pause after a failed accept, as where file descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// TLS with the certificate that `resolver` has at the time of each handshake; HTTP/2 only.
///
/// # Errors
/// The provider supports no protocol version of ours.
pub fn tls_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Accepts for ever, or until nobody takes the connections any more. A handshake may take as long as `limit`.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limit: Duration,
    ready: mpsc::Sender<Connection>,
    metrics: Arc<StreamMetrics>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Places {
        peers: Mutex::default(),
        metrics,
    });
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            () = ready.closed() => return,
            Some(_) = handshakes.join_next() => {}
            accepted = listener.accept(), if handshakes.len() < MAX_HANDSHAKES => match accepted {
                Ok((socket, peer)) => {
                    // A peer with no place left finds its connection closed.
                    if let Some(place) = Places::take(&places, peer.ip()) {
                        let ready = ready.clone();
                        let handshake = tokio::time::timeout(limit, handshake(acceptor.clone(), socket));
                        handshakes.spawn(async move {
                            match handshake.await {
                                // Fails only once the server has stopped.
                                Ok(Some(stream)) => drop(ready.send(Connection { stream, _place: place }).await),
                                Ok(None) | Err(_) => place.places.metrics.count_refused("handshake"),
                            }
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
}

async fn handshake(acceptor: TlsAcceptor, socket: TcpStream) -> Option<TlsStream<TcpStream>> {
    // Without it the last segment of a response could wait for the peer's delayed acknowledgement; nothing is lost but time.
    let _ = socket.set_nodelay(true);
    let peer = socket.peer_addr();
    let accepted = acceptor.accept(socket).await;
    accepted
        .inspect_err(|error| tracing::debug!(%error, ?peer, "TLS handshake failed"))
        .ok()
}

/// Who holds how many connections.
#[derive(Debug)]
struct Places {
    peers: Mutex<HashMap<IpAddr, usize>>,
    metrics: Arc<StreamMetrics>,
}

/// The right to one connection, given back when dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Places {
    fn take(places: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let mut peers = places.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = peers.values().sum();
        let of_peer = peers.get(&peer).copied().unwrap_or(0);
        if all >= MAX_CONNECTIONS || of_peer >= MAX_PER_PEER {
            places.metrics.count_refused("too_many_connections");
            return None;
        }
        peers.insert(peer, of_peer + 1);
        places.metrics.connections.inc();
        Some(Place {
            places: Arc::clone(places),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.places.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.peer);
            }
        }
        self.places.metrics.connections.dec();
    }
}

/// A connection after its handshake, with its place.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    _place: Place,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.get_ref().0.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_cannot_take_every_place_and_a_dropped_one_is_free_again() {
        let places = Arc::new(Places {
            peers: Mutex::default(),
            metrics: Arc::default(),
        });
        let (greedy, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut held: Vec<Place> = (0..MAX_PER_PEER)
            .map(|_| Places::take(&places, greedy).unwrap())
            .collect();
        assert!(Places::take(&places, greedy).is_none());
        assert!(Places::take(&places, other).is_some());
        held.pop();
        assert!(Places::take(&places, greedy).is_some());
        drop(held);
        assert_eq!(places.metrics.connections.get(), 0);
        assert!(places.peers.lock().unwrap().is_empty());
    }
}
