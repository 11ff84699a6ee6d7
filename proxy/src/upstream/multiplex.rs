//! A connection over which many requests go at a time (HTTP/2): how many it takes, and who uses it. Never shared with another worker.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use hyper::client::conn::http2::SendRequest;
use tenbin_balance::Time;
use tokio::sync::Notify;

use crate::serve::RequestBody;
use crate::serve::error::Failure;
use crate::state::Endpoint;

/// The most requests at a time over one connection, whatever its endpoint allows.
pub const MAX_STREAMS: usize = 100;
/// How long a connection is kept without a request. An endpoint that closes it first says so (GOAWAY), and nothing is lost.
pub const MAX_UNUSED_TIME: Duration = Duration::from_secs(60);

/// The connection.
pub(super) struct Multiplex {
    sender: RefCell<SendRequest<RequestBody>>,
    streams: Cell<usize>,
    most: Cell<usize>,
    /// Whether its endpoint takes no more requests over it.
    retired: Cell<bool>,
    /// When its last request ended.
    unused: Cell<Time>,
    /// Wakes who drives it.
    driver: RefCell<Option<Waker>>,
    heard: Cell<bool>,
}

impl fmt::Debug for Multiplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multiplex")
            .field("streams", &self.streams)
            .field("most", &self.most)
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
    pub(super) fn new(sender: SendRequest<RequestBody>, now: Time) -> Rc<Self> {
        Rc::new(Multiplex {
            sender: RefCell::new(sender),
            streams: Cell::new(0),
            most: Cell::new(MAX_STREAMS),
            retired: Cell::new(false),
            unused: Cell::new(now),
            driver: RefCell::new(None),
            heard: Cell::new(false),
        })
    }

    /// Who drives it is woken once, by its first response: what its endpoint allows is known by then.
    pub(super) fn driven_by(&self, waker: &Waker) {
        if !self.heard.get() {
            self.driver.replace(Some(waker.clone()));
        }
    }

    /// A response came.
    pub(super) fn heard(&self) {
        if !self.heard.replace(true)
            && let Some(waker) = self.driver.take()
        {
            waker.wake();
        }
    }

    /// Its endpoint allows so many requests at a time.
    pub(super) fn allows(&self, most: usize) {
        self.most.set(most.min(MAX_STREAMS));
    }

    /// No further requests go over it.
    pub(super) fn retire(&self) {
        self.retired.set(true);
    }

    /// A place on it, if it has one.
    pub(super) fn take(self: &Rc<Self>, endpoint: &Arc<Endpoint>) -> Option<Ticket> {
        if !self.is_good() || self.streams.get() >= self.most.get() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        Some(Ticket {
            connection: Rc::clone(self),
            endpoint: Arc::clone(endpoint),
        })
    }

    /// Whether it takes requests, now or when some ended.
    pub(super) fn is_good(&self) -> bool {
        !self.retired.get() && !self.sender.borrow().is_closed() && self.most.get() > 0
    }

    /// Whether nobody used it for too long.
    pub(super) fn is_stale(&self, now: Time) -> bool {
        self.streams.get() == 0 && now.since(self.unused.get()) >= MAX_UNUSED_TIME
    }

    /// Whether no request goes over it.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }
}

impl Ticket {
    pub(super) fn connection(&self) -> &Rc<Multiplex> {
        &self.connection
    }

    /// What sends over it.
    pub(super) fn sender(&self) -> SendRequest<RequestBody> {
        self.connection.sender.borrow().clone()
    }

    /// The request ended as it should.
    pub(super) fn ended(self, now: Time) {
        self.connection.unused.set(now);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get() - 1);
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
