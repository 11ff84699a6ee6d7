//! A new connection to an endpoint: opened within its time, TLS and HTTP/2's settings included, judged when that fails. Where requests share
//! it, it is driven by a task of its own until it closes; so is the end of a request that outlives its response.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use socket2::{SockRef, TcpKeepalive};
use tenbin_model::UpstreamProtocol;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::driver::{Scratch, Unanswered, drive, establish};
use super::multiplex::Multiplex;
use super::pool::{Lease, Pool, Via};
use super::socket::{Slot, Socket, Stream};
use crate::clock::Clock;
use crate::serve::error::Failure;
use crate::state::{self, Endpoint, EndpointTls};

/// Why there is no connection.
enum Refusal {
    /// It could not be opened.
    Io(io::Error),
    /// It was, but TLS failed.
    Tls(String),
    /// It was, but the endpoint does not speak HTTP/2.
    Http2(tenbin_http2::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Io(error)
    }
}

impl From<Unanswered> for Refusal {
    fn from(error: Unanswered) -> Self {
        match error {
            Unanswered::Io(error) => Refusal::Io(error),
            Unanswered::Rules(error) => Refusal::Http2(error),
        }
    }
}

/// Opens a connection to `endpoint` within `limit`, TLS included, and remembers at the endpoint how that went. Nothing is sent over it.
///
/// # Errors
/// [`Failure::Connect`], [`Failure::ConnectTimeout`], [`Failure::Tls`]: the endpoint's, which is skipped for a while.
/// [`Failure::Local`]: ours.
pub(super) async fn dial(
    endpoint: &Arc<Endpoint>,
    slot: Slot,
    limit: Duration,
    clock: Clock,
) -> Result<Socket, Failure> {
    let opened = async { Ok(Socket::new(open(endpoint).await?, slot)) };
    within(endpoint, limit, clock, opened).await
}

/// Judges whether a connection to `endpoint` is `opened` within `limit`.
async fn within<T>(
    endpoint: &Endpoint,
    limit: Duration,
    clock: Clock,
    opened: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Failure> {
    let failure = match timeout(limit, opened).await {
        Ok(Ok(connection)) => {
            endpoint.stats.load.skip().connected();
            state::count(&endpoint.stats.connections);
            return Ok(connection);
        }
        Ok(Err(Refusal::Io(error))) if is_ours(&error) => {
            tracing::warn!(%error, "cannot open a connection");
            return Err(Failure::Local);
        }
        Ok(Err(Refusal::Io(error))) => {
            debug!(endpoint = %endpoint.id, address = %endpoint.address, %error, "cannot connect");
            Failure::Connect
        }
        Ok(Err(Refusal::Tls(why))) => {
            debug!(endpoint = %endpoint.id, address = %endpoint.address, %why, "TLS failed");
            Failure::Tls
        }
        Ok(Err(Refusal::Http2(error))) => {
            debug!(endpoint = %endpoint.id, address = %endpoint.address, %error, "the endpoint does not speak HTTP/2");
            Failure::Connect
        }
        Err(_) => Failure::ConnectTimeout,
    };
    endpoint.stats.unreachable(clock.now());
    Err(failure)
}

async fn open(endpoint: &Arc<Endpoint>) -> Result<Stream, Refusal> {
    let (config, name) = match &endpoint.transport.tls {
        EndpointTls::Off => return Ok(Stream::Plain(socket(endpoint).await?)),
        EndpointTls::On { config, name } => (config, name),
        EndpointTls::Unusable(why) => return Err(Refusal::Tls(why.clone())),
    };
    let connector = TlsConnector::from(Arc::clone(config));
    let shaken = connector.connect(name.clone(), socket(endpoint).await?).await;
    let stream = shaken.map_err(|error| Refusal::Tls(error.to_string()))?;
    let agreed = stream.get_ref().1.alpn_protocol();
    if endpoint.transport.protocol == UpstreamProtocol::Http2 && agreed != Some(b"h2") {
        return Err(Refusal::Tls("the endpoint does not speak HTTP/2 (ALPN h2)".to_owned()));
    }
    Ok(Stream::Tls(Box::new(stream)))
}

async fn socket(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(endpoint.address).await?;
    stream.set_nodelay(true)?;
    // So that a tunnel to an endpoint that vanished without a word ends.
    SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
    Ok(stream)
}

/// Sends the rest of a request whose response has ended, for as long as it moves; the connection is free after that.
#[expect(
    clippy::disallowed_methods,
    reason = "nobody waits for a request any more whose response has ended"
)]
pub(super) fn send_rest(pool: Pool, mut lease: Lease, clock: Clock) {
    tokio::task::spawn_local(async move {
        if is_sent(&mut lease.via, clock).await {
            pool.take_back(lease, clock.now());
        }
    });
}

/// Waits until all of a request was sent; false if it broke off or stood still for too long, by the client's doing or the endpoint's.
async fn is_sent(via: &mut Via, clock: Clock) -> bool {
    let Some(due) = via.due() else { return false };
    let mut timer = pin!(sleep_until(clock.at(due)));
    poll_fn(|cx| {
        if let Poll::Ready(sent) = via.poll_send(cx) {
            return Poll::Ready(sent.is_ok());
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            match via.due() {
                Some(due) if clock.now() < due => timer.as_mut().reset(clock.at(due)),
                _ => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// Opens a connection to `endpoint` within `limit` over which many requests may go at a time, and remembers at the endpoint how that went.
/// It is open when the endpoint has said what it takes.
///
/// # Errors
/// Those of [`dial`]; an endpoint that does not speak HTTP/2 cannot be connected to.
#[expect(clippy::disallowed_methods, reason = "a connection needs somebody to drive it")]
pub(super) async fn multiplexed(
    endpoint: &Arc<Endpoint>,
    slot: Slot,
    limit: Duration,
    clock: Clock,
    scratch: &Rc<Scratch>,
) -> Result<Rc<Multiplex>, Failure> {
    let opened = async {
        let socket = Socket::new(open(endpoint).await?, slot);
        Ok(establish(socket, scratch).await?)
    };
    let link = within(endpoint, limit, clock, opened).await?;
    let multiplex = Multiplex::new(Rc::clone(link.shared()), clock.now());
    let weak = Rc::downgrade(&multiplex);
    tokio::task::spawn_local(drive(link, weak, Rc::clone(scratch), clock));
    Ok(multiplex)
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
