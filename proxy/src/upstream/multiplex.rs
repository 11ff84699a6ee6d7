//! A connection over which many requests go at a time (HTTP/2): how many it takes, who uses it, and what its endpoint's frames may cost.
//! Never shared with another worker. What drives it is in `driver`, a request over it in `call`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tenbin_balance::Time;
use tenbin_http2::{Reason, Refused};
use tokio::sync::Notify;

use crate::http2::{Receiver, Sender, Shared, Tally};
use crate::serve::error::Failure;
use crate::state::Endpoint;

/// The most requests at a time over one connection, whatever its endpoint allows.
pub const MAX_STREAMS: usize = 100;
/// How long a connection is kept without a request. An endpoint that closes it first says so (GOAWAY), and nothing is lost.
pub const MAX_UNUSED_TIME: Duration = Duration::from_secs(60);

/// The connection. Dropped, it is closed.
pub(super) struct Multiplex {
    http: Rc<Shared>,
    streams: Cell<usize>,
    /// When its last request ended.
    unused: Cell<Time>,
    tally: RefCell<Tally>,
    /// Whether it ended since its endpoint broke the rules.
    foul: Cell<bool>,
}

impl fmt::Debug for Multiplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multiplex")
            .field("streams", &self.streams)
            .field("foul", &self.foul)
            .finish_non_exhaustive()
    }
}

/// A request's place on a connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    connection: Rc<Multiplex>,
    endpoint: Arc<Endpoint>,
}

impl Multiplex {
    /// A connection whose endpoint has said what it takes.
    pub(super) fn new(http: Rc<Shared>, now: Time) -> Rc<Self> {
        Rc::new(Multiplex {
            http,
            streams: Cell::new(0),
            unused: Cell::new(now),
            tally: RefCell::new(Tally::new(now)),
            foul: Cell::new(false),
        })
    }

    /// Its endpoint broke the rules: that is what keeps its requests from being answered.
    pub(super) fn defile(&self) {
        self.foul.set(true);
    }

    /// Whether it ended like that.
    pub(super) fn is_foul(&self) -> bool {
        self.foul.get()
    }

    /// How many requests it takes at a time.
    fn most(&self) -> usize {
        usize::try_from(self.http.peer_max_streams()).map_or(MAX_STREAMS, |most| most.min(MAX_STREAMS))
    }

    /// A place on it, if it has one.
    pub(super) fn take(self: &Rc<Self>, endpoint: &Arc<Endpoint>) -> Option<Ticket> {
        if self.is_over() || self.streams.get() >= self.most() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        Some(Ticket {
            connection: Rc::clone(self),
            endpoint: Arc::clone(endpoint),
        })
    }

    /// Whether it takes no more requests.
    pub(super) fn is_over(&self) -> bool {
        self.http.is_closed()
    }

    /// Whether it takes requests, now or when some ended.
    pub(super) fn is_good(&self) -> bool {
        !self.is_over() && self.most() > 0
    }

    /// Whether nobody used it for too long.
    pub(super) fn is_stale(&self, now: Time) -> bool {
        self.is_idle() && now.since(self.unused.get()) >= MAX_UNUSED_TIME
    }

    /// Whether no request goes over it.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Its endpoint's frames cost so much, and earned so much; whether it only makes work.
    pub(super) fn spend(&self, cost: u32, earned: u32, now: impl FnOnce() -> Time) -> bool {
        let mut tally = self.tally.borrow_mut();
        tally.spend(cost);
        tally.earn(earned);
        tally.is_short() && tally.is_overdrawn(now())
    }
}

impl Drop for Multiplex {
    fn drop(&mut self) {
        self.http.go_away(Reason::NO_ERROR);
        self.http.wake();
    }
}

impl Ticket {
    pub(super) fn connection(&self) -> &Multiplex {
        &self.connection
    }

    /// Sends the head of a request, which is all of it with `end`.
    ///
    /// # Errors
    /// The endpoint takes none, any more or for now: nothing is sent.
    pub(super) fn request(&self, head: &Request<()>, ready: &[u8], end: bool) -> Result<(Sender, Receiver), Refused> {
        self.connection.http.request(head, ready, end)
    }

    /// So many bytes of a request were sent.
    pub(super) fn sent(&self, bytes: usize) {
        self.connection.tally.borrow_mut().sent(bytes, true);
    }

    /// The request ended as it should.
    pub(super) fn ended(&self, now: Time) {
        self.connection.unused.set(now);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        if connection.is_idle() && connection.is_over() {
            connection.http.wake();
        }
        self.endpoint.stats.line.freed();
    }
}

/// A connection that is being opened, for which others wait rather than open one each.
#[derive(Debug, Default)]
pub(super) struct Opening {
    done: Notify,
    failed: Cell<Option<Failure>>,
}

impl Opening {
    /// Waits until it is open, or is not.
    pub(super) async fn wait(&self) -> Option<Failure> {
        self.done.notified().await;
        self.failed.get()
    }

    /// It is open, or `failed`. Nothing of both if who opened it left: then the next one does.
    pub(super) fn end(&self, failed: Option<Failure>) {
        self.failed.set(failed);
        self.done.notify_waiters();
    }
}
