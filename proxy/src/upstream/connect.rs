//! A new connection to an endpoint: opened within its time, TLS included, judged when that fails. Where requests share it, it is driven by
//! tasks of its own until it closes; so is the end of a request that outlives its response.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::errno::Errno;
use socket2::{SockRef, TcpKeepalive};
use tenbin_model::UpstreamProtocol;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::exclusive::Exclusive;
use super::multiplex::Multiplex;
use super::pool::Pool;
use super::socket::{Slot, Socket, Stream};
use crate::clock::Clock;
use crate::limits;
use crate::serve::RequestBody;
use crate::serve::error::Failure;
use crate::state::{self, Endpoint, EndpointTls};

/// What one stream, and all streams of a connection together, may send before we read it.
const WINDOWS: (u32, u32) = (256 << 10, 1 << 20);
/// A multiplexed connection with open streams over which nothing came for so long is asked for a sign of life, and given up without one.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// Why there is no connection.
enum Refusal {
    /// It could not be opened.
    Io(io::Error),
    /// It was, but TLS failed.
    Tls(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Io(error)
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
    let failure = match timeout(limit, open(endpoint)).await {
        Ok(Ok(stream)) => {
            endpoint.stats.load.skip().connected();
            state::count(&endpoint.stats.connections);
            return Ok(Socket::new(stream, slot));
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
pub(super) fn send_rest(pool: Pool, endpoint: Arc<Endpoint>, mut connection: Box<Exclusive>, clock: Clock) {
    tokio::task::spawn_local(async move {
        if is_sent(&mut connection, clock).await {
            pool.shelve(&endpoint, connection, clock.now());
        }
    });
}

/// Waits until all of a request was sent; false if it broke off or stood still for too long, by the client's doing or the endpoint's.
async fn is_sent(connection: &mut Exclusive, clock: Clock) -> bool {
    let Some(due) = connection.due() else { return false };
    let mut timer = pin!(sleep_until(clock.at(due)));
    poll_fn(|cx| {
        if let Poll::Ready(sent) = connection.poll_send(cx) {
            return Poll::Ready(sent.is_ok());
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            match connection.due() {
                Some(due) if clock.now() < due => timer.as_mut().reset(clock.at(due)),
                _ => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// HTTP/2 over a connection: many requests at a time.
#[expect(clippy::disallowed_methods, reason = "a connection needs somebody to drive it")]
pub(super) async fn multiplexed(socket: Socket, clock: Clock) -> Result<Rc<Multiplex>, Failure> {
    let (sender, mut connection) = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .max_header_list_size(limits::MAX_HEAD as u32)
        .max_send_buf_size(limits::MAX_BUFFER)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .handshake::<_, RequestBody>(TokioIo::new(socket))
        .await
        .map_err(|_| Failure::Connect)?;
    let multiplex = Multiplex::new(sender, clock.now());
    let weak = Rc::downgrade(&multiplex);
    tokio::task::spawn_local(poll_fn(move |cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        if let Some(multiplex) = weak.upgrade() {
            multiplex.driven_by(cx.waker());
            multiplex.allows(connection.current_max_send_streams());
        }
        match polled {
            Poll::Ready(Err(error)) => {
                debug!(%error, "a connection to an endpoint ended");
                Poll::Ready(())
            }
            polled => polled.map(|_| ()),
        }
    }));
    Ok(multiplex)
}

/// Runs what a multiplexed connection is made of on this worker.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    #[expect(
        clippy::disallowed_methods,
        reason = "a connection needs somebody to drive its streams"
    )]
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
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
