//! One client connection: finds out what is spoken on it (`opening`), holds the time limits of one with HTTP/1, and closes it. What is said
//! on it is for `http1`, `http2` and `tcp`; what a request means is not its business. A client that closes its sending side while a request
//! is open is taken to have left, as most proxies take it: who has given up must not keep an endpoint working.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use tenbin_balance::Time;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

use super::alarm;
use super::forwarding::Peer;
use super::http1::{self, End, Wire};
use super::io::{Count, Counted};
use super::opening::{self, Opened, Speaks};
use super::tunnel::Tunnel;
use super::worker::WorkerContext;
use super::{http2, tcp};
use crate::lifecycle::Slot;
use crate::record::TlsSeen;
use crate::state::{Listener, PortStats};

/// How long a connection that we closed is still read from, so that what the client is sending does not wipe out our last response.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// The least time between two looks at the time limits of a connection.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);

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
    /// Whether a response asked the client to go.
    told_to_go: Cell<bool>,
    /// Whether some of a head came, and nobody looked at its time limit since.
    head_begun: Cell<bool>,
    /// How much was read, where it speaks HTTP/2.
    read: Count,
    phase: Cell<Phase>,
    /// What keeps it busy: a request, its body.
    busy: Cell<u32>,
    tunnel: RefCell<Option<Box<Tunnel>>>,
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
            connection.phase.set(Phase::Idle(connection.worker.clock.now()));
        }
    }
}

/// What a connection is doing, and since when.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing came yet since it was accepted.
    New(Time),
    /// Between two requests.
    Idle(Time),
    /// Some of a request's headers came.
    Head(Time),
    /// A request is open, or its body still on its way.
    Busy,
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
        self.tunnel.replace(Some(Box::new(tunnel)));
    }

    /// The tunnel that the last request became, if it did.
    pub(super) fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.take()
    }

    /// Asks the client, with the response that is about to be written, to go elsewhere with its next requests.
    pub(super) fn say_close(&self) {
        self.told_to_go.set(true);
    }

    /// Whether a response asked the client to go.
    pub(super) fn is_told_to_go(&self) -> bool {
        self.told_to_go.get()
    }

    /// A random number, for what need not be secret.
    pub(super) fn random(&self) -> u64 {
        self.worker.rng.borrow_mut().next_u64()
    }

    /// Since when there is no stream, once the `preface` of so many bytes came.
    pub(super) fn idle_since(&self, preface: u64) -> Option<Time> {
        match self.phase.get() {
            Phase::New(since) if self.read.load(Relaxed) >= preface => {
                self.phase.set(Phase::Idle(since));
                Some(since)
            }
            Phase::Idle(since) => Some(since),
            Phase::New(_) | Phase::Head(_) | Phase::Busy => None,
        }
    }

    /// Some of a request's head came, and the rest did not.
    pub(super) fn head_begins(&self) {
        if matches!(self.phase.get(), Phase::New(_) | Phase::Idle(_)) {
            self.phase.set(Phase::Head(self.worker.clock.now()));
            self.head_begun.set(true);
        }
    }

    /// When its time is over, if nothing happens before; never while it is busy.
    pub(super) fn deadline(&self, listener: &Listener) -> Option<Time> {
        match self.phase.get() {
            Phase::New(since) | Phase::Head(since) => Some(since.plus(listener.header_timeout)),
            Phase::Idle(since) => Some(since.plus(listener.idle_timeout)),
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
        let Opened { io, speaks, tls } = opened;
        let connection = Rc::new(Connection {
            listener,
            client,
            tls,
            peer: Peer::new(client, settings.tls.is_on()),
            told_to_go: Cell::new(false),
            head_begun: Cell::new(false),
            read: Arc::clone(&io.read),
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
            Speaks::Tcp => Box::pin(tcp::serve(&connection, io)).await,
        }
    }
    drop(slot);
}

/// Serves HTTP/1.
async fn serve_http1(connection: &Rc<Connection>, io: Counted) {
    let wire = Rc::new(Wire::new(io.transport, io.ahead));
    let end = drive(connection, &wire).await;
    let end = match end {
        Some(end) => end,
        None => {
            crate::state::count(&connection.settings().stats.header_timeouts);
            http1::time_out(&wire).await
        }
    };
    http1::end(&wire, end).await;
}

/// Serves the requests of a connection within the time limits of its listener and until the worker closes; `None` if the head of one
/// took too long.
async fn drive(connection: &Rc<Connection>, wire: &Rc<Wire>) -> Option<End> {
    let clock = connection.worker.clock;
    let first = connection.next_look(&connection.settings());
    let mut requests = pin!(http1::requests(connection, wire));
    let mut timer = pin!(sleep_until(clock.at(first)));
    let mut closing = pin!(connection.worker.closing.notified());
    // Both are polled once to be woken by them; after that a look costs less than a poll.
    let mut woken_by_both = false;
    poll_fn(|cx| {
        if let Poll::Ready(end) = requests.as_mut().poll(cx) {
            return Poll::Ready(Some(end));
        }
        if !woken_by_both {
            woken_by_both = true;
            let _ = closing.as_mut().poll(cx);
            let _ = alarm::poll(timer.as_mut(), cx);
        }
        if connection.head_begun.take() {
            let look = connection.next_look(&connection.settings());
            rearm(timer.as_mut(), clock.at(look), cx);
        }
        while timer.is_elapsed() {
            let settings = connection.settings();
            if connection
                .deadline(&settings)
                .is_some_and(|deadline| clock.now() >= deadline)
            {
                let in_head = matches!(connection.phase.get(), Phase::Head(_));
                return Poll::Ready((!in_head).then_some(End::Told));
            }
            rearm(timer.as_mut(), clock.at(connection.next_look(&settings)), cx);
        }
        Poll::Pending
    })
    .await
}

/// Sets a timer and has the task woken by it.
pub(super) fn rearm(mut timer: Pin<&mut Sleep>, deadline: tokio::time::Instant, cx: &mut Context<'_>) {
    timer.as_mut().reset(deadline);
    let _ = alarm::poll(timer, cx);
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
