//! The connections of one worker, by endpoint: idle ones, and those that many requests share. Never shared with another worker, so
//! nothing here waits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tenbin_balance::Time;

use super::call::Call;
use super::connect;
use super::driver::Scratch;
use super::exclusive::{Broken, Exclusive};
use super::multiplex::{Multiplex, Opening};
use super::room;
use crate::clock::Clock;
use crate::serve::error::Failure;
use crate::state::{Endpoint, EndpointStats, count};

/// The most idle connections kept for one endpoint by one worker; the longest idle go first.
pub const MAX_IDLE: usize = 256;
/// How long a connection is kept idle: shorter than the shortest usual limit of servers (5 s in Node.js), so that we close first.
pub const MAX_IDLE_TIME: Duration = Duration::from_secs(4);
/// After how long without a request a connection keeps no memory for its next one.
const LEAN_AFTER: Duration = Duration::from_secs(1);

/// A request's way to an endpoint.
#[derive(Debug)]
pub struct Lease {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) via: Via,
    /// Whether other requests went over it before.
    pub(super) reused: bool,
}

#[derive(Debug)]
pub(super) enum Via {
    /// For itself.
    Http1(Box<Exclusive>),
    /// Beside others.
    Http2(Box<Call>),
}

impl Via {
    /// Whether some of its request is still to be sent.
    fn is_sending(&self) -> bool {
        match self {
            Via::Http1(connection) => connection.is_sending(),
            Via::Http2(call) => call.is_sending(),
        }
    }

    /// Until when its request has to move on.
    pub(super) fn due(&self) -> Option<Time> {
        match self {
            Via::Http1(connection) => connection.due(),
            Via::Http2(call) => call.due(),
        }
    }

    /// Sends what can be sent of its request. Ready when that is all that ever will be.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Via::Http1(connection) => connection.poll_send(cx),
            Via::Http2(call) => call.poll_send(cx),
        }
    }
}

/// The connections. A copy is the same pool.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    shelves: Rc<RefCell<HashMap<*const Endpoint, Shelf>>>,
    scratch: Rc<Scratch>,
}

/// The connections to one endpoint.
#[derive(Debug)]
struct Shelf {
    /// Keeps the endpoint's place in memory, and so our key for it, from being used again; says when the endpoint went.
    endpoint: Weak<Endpoint>,
    /// The longest idle first.
    idle: Vec<Idle>,
    shared: Vec<Rc<Multiplex>>,
    opening: Option<Rc<Opening>>,
    stats: Arc<EndpointStats>,
    /// How many of the idle ones are counted there: as of the last sweep, so that no request pays for it.
    counted: usize,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Exclusive>,
    since: Time,
}

impl Idle {
    fn is_fresh(&mut self, now: Time) -> bool {
        now.since(self.since) < MAX_IDLE_TIME && self.connection.is_at_rest()
    }
}

impl Shelf {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        Shelf {
            endpoint: Arc::downgrade(endpoint),
            idle: Vec::new(),
            shared: Vec::new(),
            opening: None,
            stats: Arc::clone(&endpoint.stats),
            counted: 0,
        }
    }

    /// Counts the idle ones anew.
    fn count(&mut self, idle: usize) {
        let (before, now) = (self.counted as u64, idle as u64);
        // Below zero it wraps, and so does the addition.
        self.stats.idle.fetch_add(now.wrapping_sub(before), Relaxed);
        self.counted = idle;
    }

    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.shared.is_empty() && self.opening.is_none()
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.count(0);
    }
}

impl Pool {
    /// Takes the most recently used idle connection to `endpoint` that is good, or a place on one that is shared.
    pub fn take(&self, endpoint: &Arc<Endpoint>, now: Time) -> Option<Lease> {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.get_mut(&Arc::as_ptr(endpoint))?;
        let via = match shelf.shared.iter().find_map(|shared| shared.take(endpoint)) {
            Some(ticket) => Via::Http2(Call::new(ticket)),
            None => Via::Http1(shelf.take_idle(now)?),
        };
        count(&endpoint.stats.reused);
        Some(Lease {
            endpoint: Arc::clone(endpoint),
            via,
            reused: true,
        })
    }

    /// Takes back the way of a request whose response was read to its end, `now` or when the rest of the request was sent.
    pub fn put(&self, lease: Lease, clock: Clock, now: Time) {
        if lease.via.is_sending() {
            connect::send_rest(self.clone(), lease, clock);
        } else {
            self.take_back(lease, now);
        }
    }

    /// Takes back the way of a request that was sent to its end, as its response came to its own.
    pub(super) fn take_back(&self, lease: Lease, now: Time) {
        match lease.via {
            Via::Http1(connection) => self.shelve(&lease.endpoint, connection, now),
            Via::Http2(call) => call.ended(now),
        }
    }

    /// Where connections that are shared are read to.
    pub(super) fn scratch(&self) -> &Rc<Scratch> {
        &self.scratch
    }

    /// Keeps a connection for later requests, if it may be.
    fn shelve(&self, endpoint: &Arc<Endpoint>, mut connection: Box<Exclusive>, now: Time) {
        // Requests that wait for a connection are on any worker: they have to open their own.
        if !connection.come_to_rest() || !endpoint.stats.line.is_empty() {
            return;
        }
        self.on_shelf(endpoint, |shelf| {
            if shelf.idle.len() >= MAX_IDLE {
                shelf.idle.remove(0);
            }
            shelf.idle.push(Idle { connection, since: now });
        });
    }

    /// Shares a connection from now on.
    pub(super) fn share(&self, endpoint: &Arc<Endpoint>, connection: Rc<Multiplex>) {
        self.on_shelf(endpoint, |shelf| shelf.shared.push(connection));
    }

    /// The connection to `endpoint` that is being opened; `None` if none was: then the caller opens one, and tells by [`Self::opened`].
    pub(super) fn opening(&self, endpoint: &Arc<Endpoint>) -> Option<Rc<Opening>> {
        self.on_shelf(endpoint, |shelf| match &shelf.opening {
            Some(opening) => Some(Rc::clone(opening)),
            None => {
                shelf.opening = Some(Rc::default());
                None
            }
        })
    }

    /// The connection that the caller opened is open, or `failed`, or was given up.
    pub(super) fn opened(&self, endpoint: &Arc<Endpoint>, failed: Option<Failure>) {
        let opening = self.on_shelf(endpoint, |shelf| shelf.opening.take());
        if let Some(opening) = opening {
            opening.end(failed);
        }
    }

    fn on_shelf<T>(&self, endpoint: &Arc<Endpoint>, act: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.entry(Arc::as_ptr(endpoint));
        act(shelf.or_insert_with(|| Shelf::new(endpoint)))
    }

    /// Closes the longest idle connection of this worker to any of the endpoints that `may_close`; false if there is none.
    pub(super) fn close_one(&self, may_close: impl Fn(&Endpoint) -> bool) -> bool {
        let mut shelves = self.shelves.borrow_mut();
        let of = |shelf: &&mut Shelf| shelf.endpoint.upgrade().is_some_and(|endpoint| may_close(&endpoint));
        for shelf in shelves.values_mut().filter(of) {
            let shared = shelf.shared.iter().position(|shared| shared.is_idle());
            if !shelf.idle.is_empty() {
                shelf.idle.remove(0);
                return true;
            } else if let Some(at) = shared {
                shelf.shared.remove(at);
                return true;
            }
        }
        false
    }

    /// Closes what was idle for too long or has others waiting for it, what the other side closed, and what led to endpoints that went.
    pub fn sweep(&self, now: Time) {
        room::sweep();
        self.shelves.borrow_mut().retain(|_, shelf| {
            let wanted = shelf
                .endpoint
                .upgrade()
                .is_some_and(|endpoint| !endpoint.stats.line.is_empty());
            shelf.idle.retain_mut(|idle| {
                if now.since(idle.since) >= LEAN_AFTER {
                    idle.connection.shrink();
                }
                !wanted && idle.is_fresh(now)
            });
            shelf.shared.retain(|shared| shared.is_good() && !shared.is_stale(now));
            let unused = shelf.shared.iter().filter(|shared| shared.is_idle()).count();
            shelf.count(shelf.idle.len() + unused);
            shelf.endpoint.strong_count() > 0 && !shelf.is_empty()
        });
    }

    /// Idle connections.
    pub fn len(&self) -> usize {
        self.shelves.borrow().values().map(|shelf| shelf.idle.len()).sum()
    }

    /// Whether there is no idle connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shelf {
    fn take_idle(&mut self, now: Time) -> Option<Box<Exclusive>> {
        while let Some(mut idle) = self.idle.pop() {
            if idle.is_fresh(now) {
                idle.connection.wake();
                return Some(idle.connection);
            }
        }
        None
    }
}
