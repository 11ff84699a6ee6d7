//! A new connection to an endpoint: opened within its time, judged when that fails, driven by a task of its own until it closes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use nix::errno::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tracing::debug;

use super::Lease;
use crate::clock::Clock;
use crate::limits;
use crate::serve::error::Failure;
use crate::serve::{Counted, RequestBody};
use crate::state::{self, Endpoint};

/// Connects to `endpoint` within `limit`, and remembers at the endpoint how that went.
///
/// # Errors
/// [`Failure::Connect`], [`Failure::ConnectTimeout`]: the endpoint's, which is skipped for a while. [`Failure::Local`]: ours.
pub async fn connect(endpoint: &Arc<Endpoint>, limit: Duration, clock: Clock) -> Result<Lease, Failure> {
    judged(endpoint, timeout(limit, open(endpoint)).await, clock)
}

/// The same without HTTP: the socket alone.
///
/// # Errors
/// As [`connect`].
pub async fn dial(endpoint: &Arc<Endpoint>, limit: Duration, clock: Clock) -> Result<TcpStream, Failure> {
    judged(endpoint, timeout(limit, socket(endpoint)).await, clock)
}

/// Remembers at the endpoint how connecting to it went.
fn judged<T>(endpoint: &Endpoint, outcome: Result<io::Result<T>, Elapsed>, clock: Clock) -> Result<T, Failure> {
    match outcome {
        Ok(Ok(opened)) => {
            endpoint.stats.load.skip().connected();
            state::count(&endpoint.stats.connections);
            Ok(opened)
        }
        Ok(Err(error)) if is_ours(&error) => {
            tracing::warn!(%error, "cannot open a connection");
            Err(Failure::Local)
        }
        outcome => {
            endpoint.stats.unreachable(clock.now());
            let failure = match outcome {
                Ok(Err(error)) => {
                    debug!(endpoint = %endpoint.id, address = %endpoint.address, %error, "cannot connect");
                    Failure::Connect
                }
                _ => Failure::ConnectTimeout,
            };
            Err(failure)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a connection needs somebody to drive it")]
async fn open(endpoint: &Arc<Endpoint>) -> io::Result<Lease> {
    let (io, counts) = Counted::wrap(socket(endpoint).await?);
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(limits::MAX_BUFFER)
        .handshake::<_, RequestBody>(io)
        .await
        .map_err(io::Error::other)?;
    let open = endpoint.stats.opened();
    tokio::task::spawn_local(async move {
        let _open = open;
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "a connection to an endpoint ended");
        }
    });
    Ok(Lease::new(Arc::clone(endpoint), sender, counts))
}

async fn socket(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(endpoint.address).await?;
    stream.set_nodelay(true)?;
    // So that a tunnel to an endpoint that vanished without a word ends.
    SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
    Ok(stream)
}

/// Keepalive of all connections, both ways: a peer that vanished is noticed within two minutes.
pub(crate) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
}

/// Whether a failure to connect says nothing about the endpoint: this process or host is out of something.
fn is_ours(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EADDRNOTAVAIL)
    )
}
