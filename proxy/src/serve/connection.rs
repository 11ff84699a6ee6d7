//! One client connection: finds out what is spoken on it (`opening`), drives HTTP/1 on it, holds its time limits, closes it, and turns it
//! into a tunnel when it was upgraded. HTTP/2 and plain TCP have their own drivers. What a request means is not its business. A client that closes its sending side while a request is open is taken to have left, as most
//! proxies take it: who has given up must not keep an endpoint working.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tenbin_balance::Time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until, timeout};
use tracing::debug;

use super::expect::Said;
use super::forwarding::Peer;
use super::incoming::Incoming;
use super::informer::Informer;
use super::interim::Interim;
use super::io::{Counted, CountedIo, IoCounts};
use super::opening::{self, Opened, Speaks};
use super::tunnel::Tunnel;
use super::worker::WorkerContext;
use super::{expect, headers, http2, interim, request, tcp};
use crate::lifecycle::Slot;
use crate::record::TlsSeen;
use crate::state::{Listener, PortStats};

/// How long a connection that we closed is still read from, so that what the client is sending does not wipe out our last response.
const LINGER: Duration = Duration::from_secs(1);
/// The least time between two looks at the time limits of a connection.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);

const REQUEST_TIMEOUT: &str = "tenbin: 408 DPE: the request's headers took too long\n";

/// A client connection, as its requests and its driver see it.
pub(super) struct Connection {
    /// Whose it is.
    pub(super) worker: Rc<WorkerContext>,
    /// The listener that accepted it, by number.
    pub(super) listener: usize,
    /// Who is at the other end.
    pub(super) client: SocketAddr,
    /// What was agreed on with it, where it speaks TLS.
    pub(super) tls: Option<Arc<TlsSeen>>,
    /// What endpoints are told of that.
    pub(super) peer: Peer,
    /// What says whether the body of the open request may be sent, while nobody has.
    pub(super) held_body: RefCell<Option<Arc<Said>>>,
    speaks: Speaks,
    /// Whether a response asked the client to go, where that takes more than a header.
    told_to_go: Cell<bool>,
    counts: Arc<IoCounts>,
    phase: Cell<Phase>,
    /// What keeps it busy: a request, its body.
    busy: Cell<u32>,
    tunnel: RefCell<Option<Tunnel>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.client)
    }
}

/// Keeps a connection busy.
pub(super) struct Busy(Rc<Connection>);

impl std::fmt::Debug for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Busy")
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let connection = &self.0;
        connection.busy.set(connection.busy.get() - 1);
        if connection.busy.get() == 0 {
            connection
                .phase
                .set(Phase::Idle(connection.worker.clock.now(), connection.counts.read()));
        }
    }
}

/// What a connection is doing, and since when.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing came yet since it was accepted.
    New(Time),
    /// Between two requests; so many bytes had been read when the last one ended.
    Idle(Time, u64),
    /// Some of a request's headers came.
    Head(Time),
    /// A request is open, or its body still on its way.
    Busy,
}

/// Why the driver stopped.
enum End {
    Http(Result<(), hyper::Error>),
    HeaderTimeout,
}

impl Connection {
    /// Something keeps it busy, for as long as the guard lives.
    pub(super) fn busy(self: &Rc<Self>) -> Busy {
        self.busy.set(self.busy.get() + 1);
        self.phase.set(Phase::Busy);
        Busy(Rc::clone(self))
    }

    /// The request was upgraded: the connection goes on as this tunnel once the response is written.
    pub(super) fn open_tunnel(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(tunnel));
    }

    /// The tunnel that the last request became, if it did.
    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take()
    }

    /// Asks the client, with the response that has these headers, to go elsewhere with its next requests.
    pub(super) fn say_close(&self, headers: &mut HeaderMap) {
        match self.speaks {
            Speaks::Http2 => self.told_to_go.set(true),
            Speaks::Http1 | Speaks::Tcp => headers::say_close(headers),
        }
    }

    /// Whether a response asked the client to go.
    pub(super) fn is_told_to_go(&self) -> bool {
        self.told_to_go.get()
    }

    /// What is to be written before the next response.
    pub(super) fn interim(&self) -> &Interim {
        &self.counts.interim
    }

    /// A random number, for what need not be secret.
    pub(super) fn random(&self) -> u64 {
        self.worker.rng.borrow_mut().next_u64()
    }

    /// Since when there is no stream, once the `preface` of so many bytes came.
    pub(super) fn idle_since(&self, preface: u64) -> Option<Time> {
        match self.phase.get() {
            Phase::New(since) if self.counts.read() >= preface => {
                self.phase.set(Phase::Idle(since, 0));
                Some(since)
            }
            Phase::Idle(since, _) => Some(since),
            Phase::New(_) | Phase::Head(_) | Phase::Busy => None,
        }
    }

    /// Notices the first bytes of a request of which hyper does not have all headers yet; true if they are new.
    fn notice_head(&self) -> bool {
        let began = match self.phase.get() {
            Phase::New(_) => self.counts.read() > 0,
            Phase::Idle(_, before) => self.counts.read() > before,
            Phase::Head(_) | Phase::Busy => false,
        };
        if began {
            self.phase.set(Phase::Head(self.worker.clock.now()));
        }
        began
    }

    /// When its time is over, if nothing happens before; never while it is busy.
    pub(super) fn deadline(&self, listener: &Listener) -> Option<Time> {
        match self.phase.get() {
            Phase::New(since) | Phase::Head(since) => Some(since.plus(listener.header_timeout)),
            Phase::Idle(since, _) => Some(since.plus(listener.idle_timeout)),
            Phase::Busy => None,
        }
    }

    /// When its time limits have to be looked at next: no later than the earliest end of an idle time that may begin unseen.
    pub(super) fn next_look(&self, listener: &Listener) -> Time {
        let idle = self.worker.clock.now().plus(listener.idle_timeout.max(SHORTEST_LOOK));
        self.deadline(listener).map_or(idle, |deadline| deadline.min(idle))
    }

    /// The settings of its listener as they are now.
    pub(super) fn settings(&self) -> Arc<Listener> {
        Arc::clone(self.worker.state.load().listener_at(self.listener))
    }
}

/// Serves a connection until it ends. `slot` is its place among the connections that we may have.
pub(super) async fn run(worker: Rc<WorkerContext>, listener: usize, stream: TcpStream, client: SocketAddr, slot: Slot) {
    let settings = Arc::clone(worker.state.load().listener_at(listener));
    let accepted = worker.clock.now();
    let stats = Arc::clone(&settings.stats);
    let _open = OpenConnection::count(&stats);
    if let Some(opened) = opening::open(&worker, &settings, stream).await {
        let Opened {
            io,
            counts,
            speaks,
            tls,
        } = opened;
        let connection = Rc::new(Connection {
            listener,
            client,
            tls,
            peer: Peer::new(client, settings.tls.is_on()),
            held_body: RefCell::new(None),
            speaks,
            told_to_go: Cell::new(false),
            counts,
            phase: Cell::new(Phase::New(accepted)),
            busy: Cell::new(0),
            tunnel: RefCell::new(None),
            worker,
        });
        drop(settings);
        match speaks {
            Speaks::Http1 => serve_http1(&connection, io).await,
            // Boxed, so that connections with HTTP/1 are not as large as these.
            Speaks::Http2 => Box::pin(http2::serve(&connection, io)).await,
            Speaks::Tcp => Box::pin(tcp::serve(&connection, io.into_inner())).await,
        }
    }
    drop(slot);
}

/// Serves HTTP/1.
async fn serve_http1(connection: &Rc<Connection>, io: CountedIo) {
    let stats = Arc::clone(&connection.settings().stats);
    let service = service_fn({
        let connection = Rc::clone(connection);
        move |request| {
            let connection = Rc::clone(&connection);
            async move {
                let informer = Informer::Connection(Rc::clone(&connection));
                let serve = |request: Request<hyper::body::Incoming>| {
                    let request = request.map(Incoming::Http1);
                    request::serve(Rc::clone(&connection), informer.clone(), request)
                };
                let mut response = interim::relayed(&connection.counts, request, serve).await;
                expect::answered(&informer, &mut response);
                Ok::<_, Infallible>(response)
            }
        }
    });
    let mut http = connection.worker.http.serve_connection(io, service).with_upgrades();
    let end = drive(connection, &mut http).await;
    match end {
        End::Http(result) => {
            let broken = result.as_ref().is_err_and(|error| !error.is_parse());
            if let Err(error) = result {
                debug!(client = %connection.client, %error, "a client connection failed");
                if error.is_parse() {
                    crate::state::count(&stats.malformed);
                }
            }
            if let Some(tunnel) = connection.take_tunnel() {
                tunnel.run().await;
            } else if let (false, false, Some(parts)) = (broken, connection.counts.ended(), http.into_parts()) {
                linger(parts.io.into_inner()).await;
            }
        }
        End::HeaderTimeout => {
            crate::state::count(&stats.header_timeouts);
            if let Some(parts) = http.into_parts() {
                let mut io = parts.io.into_inner();
                let told = timeout(LINGER, async {
                    io.write_all(request_timeout().as_bytes()).await?;
                    io.shutdown().await
                });
                if let Ok(Ok(())) = told.await {
                    linger(io).await;
                }
            }
        }
    }
}

/// Drives HTTP/1 on the connection, within the time limits of its listener and until the worker closes.
async fn drive<S>(connection: &Connection, http: &mut http1::UpgradeableConnection<CountedIo, S>) -> End
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = super::body::ResponseBody, Error = Infallible>,
{
    let clock = connection.worker.clock;
    let first = connection.next_look(&connection.settings());
    let mut timer = pin!(sleep_until(clock.at(first)));
    let mut closing = pin!(connection.worker.closing.notified());
    // Both are polled once to be woken by them; after that a look costs less than a poll.
    let mut woken_by_both = false;
    let mut told_to_close = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = Pin::new(&mut *http).poll(cx) {
                return Poll::Ready(End::Http(result));
            }
            if !woken_by_both {
                woken_by_both = true;
                let _ = closing.as_mut().poll(cx);
                let _ = timer.as_mut().poll(cx);
            }
            if connection.worker.lifecycle.is_closing() && !told_to_close {
                told_to_close = true;
                Pin::new(&mut *http).graceful_shutdown();
                continue;
            }
            if connection.notice_head() {
                let look = connection.next_look(&connection.settings());
                rearm(timer.as_mut(), clock.at(look), cx);
            }
            if !timer.is_elapsed() {
                return Poll::Pending;
            }
            let settings = connection.settings();
            if connection
                .deadline(&settings)
                .is_none_or(|deadline| clock.now() < deadline)
            {
                rearm(timer.as_mut(), clock.at(connection.next_look(&settings)), cx);
            } else if matches!(connection.phase.get(), Phase::Head(_)) {
                return Poll::Ready(End::HeaderTimeout);
            } else if told_to_close {
                return Poll::Ready(End::Http(Ok(())));
            } else {
                told_to_close = true;
                Pin::new(&mut *http).graceful_shutdown();
            }
        }
    })
    .await
}

/// The response to a request whose headers never came. Written by hand, since HTTP has given up on the connection by then.
fn request_timeout() -> String {
    let length = REQUEST_TIMEOUT.len();
    format!(
        "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {length}\r\n\r\n{REQUEST_TIMEOUT}"
    )
}

/// Sets a timer and has the task woken by it.
pub(super) fn rearm(mut timer: Pin<&mut Sleep>, deadline: tokio::time::Instant, cx: &mut Context<'_>) {
    timer.as_mut().reset(deadline);
    let _ = timer.poll(cx);
}

/// Reads what a client still sends on a connection that we closed, for a while.
async fn linger(mut io: Counted) {
    let mut unread = [0; 4096];
    let drained = timeout(LINGER, async {
        while matches!(io.read(&mut unread).await, Ok(n) if n > 0) {}
    });
    if drained.await.is_err() {
        debug!("a client kept sending after the end");
    }
}

/// Counts a connection as open while it lives.
struct OpenConnection<'a>(&'a PortStats);

impl<'a> OpenConnection<'a> {
    fn count(stats: &'a PortStats) -> Self {
        crate::state::count(&stats.accepted);
        crate::state::count(&stats.connections);
        OpenConnection(stats)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}
