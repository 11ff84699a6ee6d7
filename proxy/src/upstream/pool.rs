//! The idle connections of one worker, by endpoint. Never shared with another worker, so nothing here waits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tenbin_balance::Time;

use crate::serve::{IoCounts, RequestBody};
use crate::state::{Endpoint, EndpointStats, count};

/// The most idle connections kept for one endpoint by one worker; the longest idle go first.
pub const MAX_IDLE: usize = 256;
/// How long a connection is kept idle: shorter than the shortest usual limit of servers (5 s in Node.js), so that we close first.
pub const MAX_IDLE_TIME: Duration = Duration::from_secs(4);

/// A connection to an endpoint that one request has for itself.
#[derive(Debug)]
pub struct Lease {
    endpoint: Arc<Endpoint>,
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) counts: Arc<IoCounts>,
    /// Whether another request had it before.
    pub(super) reused: bool,
}

impl Lease {
    pub(super) fn new(endpoint: Arc<Endpoint>, sender: SendRequest<RequestBody>, counts: Arc<IoCounts>) -> Self {
        Lease {
            endpoint,
            sender,
            counts,
            reused: false,
        }
    }
}

/// The idle connections.
#[derive(Debug, Default)]
pub struct Pool(RefCell<HashMap<*const Endpoint, Shelf>>);

/// The idle connections to one endpoint, the longest idle first.
#[derive(Debug)]
struct Shelf {
    /// Keeps the endpoint's place in memory, and so our key for it, from being used again; says when the endpoint went.
    endpoint: Weak<Endpoint>,
    idle: Vec<Idle>,
    stats: Arc<EndpointStats>,
    /// How many of them are counted there: as of the last sweep, so that no request pays for it.
    counted: usize,
}

impl Shelf {
    fn count(&mut self, idle: usize) {
        let (before, now) = (self.counted as u64, idle as u64);
        // Below zero it wraps, and so does the addition.
        self.stats.idle.fetch_add(now.wrapping_sub(before), Relaxed);
        self.counted = idle;
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.count(0);
    }
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    counts: Arc<IoCounts>,
    since: Time,
}

impl Idle {
    fn is_fresh(&self, now: Time) -> bool {
        !self.sender.is_closed() && now.since(self.since) < MAX_IDLE_TIME
    }
}

impl Pool {
    /// Takes the most recently used idle connection to `endpoint` that is good.
    pub fn take(&self, endpoint: &Arc<Endpoint>, now: Time) -> Option<Lease> {
        let mut shelves = self.0.borrow_mut();
        let idle = &mut shelves.get_mut(&Arc::as_ptr(endpoint))?.idle;
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            if !idle[at].is_fresh(now) {
                idle.remove(at);
            } else if idle[at].sender.is_ready() {
                let Idle { sender, counts, .. } = idle.remove(at);
                count(&endpoint.stats.reused);
                return Some(Lease {
                    endpoint: Arc::clone(endpoint),
                    sender,
                    counts,
                    reused: true,
                });
            }
            // Otherwise it is still busy with the end of its last exchange, and good for a later request.
        }
        None
    }

    /// Puts a connection back whose response was read to its end.
    pub fn put(&self, lease: Lease, now: Time) {
        if lease.sender.is_closed() {
            return;
        }
        let mut shelves = self.0.borrow_mut();
        let shelf = shelves.entry(Arc::as_ptr(&lease.endpoint)).or_insert_with(|| Shelf {
            endpoint: Arc::downgrade(&lease.endpoint),
            idle: Vec::new(),
            stats: Arc::clone(&lease.endpoint.stats),
            counted: 0,
        });
        if shelf.idle.len() >= MAX_IDLE {
            shelf.idle.remove(0);
        }
        shelf.idle.push(Idle {
            sender: lease.sender,
            counts: lease.counts,
            since: now,
        });
    }

    /// Closes what was idle for too long, what the other side closed, and what led to endpoints that went.
    pub fn sweep(&self, now: Time) {
        self.0.borrow_mut().retain(|_, shelf| {
            shelf.idle.retain(|idle| idle.is_fresh(now));
            shelf.count(shelf.idle.len());
            shelf.endpoint.strong_count() > 0 && !shelf.idle.is_empty()
        });
    }

    /// Idle connections.
    pub fn len(&self) -> usize {
        self.0.borrow().values().map(|shelf| shelf.idle.len()).sum()
    }

    /// Whether there is no idle connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
