//! A request's way to its endpoint: a connection that is there, or a new one, as many as the cluster's limits allow.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tenbin_model::UpstreamProtocol;
use tokio::time::timeout;

use super::call::Call;
use super::connect::{dial, multiplexed};
use super::exclusive::Exclusive;
use super::pool::{Lease, Pool, Via};
use super::socket::{Slot, Socket};
use crate::clock::Clock;
use crate::serve::error::Failure;
use crate::state::{Cluster, Endpoint, below};

/// How often who waits for a connection looks whether one could be opened, even if nobody told it.
const LOOK: Duration = Duration::from_millis(100);

/// Where a connection is wanted.
#[derive(Clone, Copy, Debug)]
pub struct To<'a> {
    /// The worker's connections.
    pub pool: &'a Pool,
    /// The endpoint's cluster.
    pub cluster: &'a Cluster,
    /// The endpoint.
    pub endpoint: &'a Arc<Endpoint>,
    /// The clock of the process.
    pub clock: Clock,
}

impl To<'_> {
    /// A connection that was not there before, or where requests share them, a place on any.
    ///
    /// # Errors
    /// None could be opened, or none in time: nothing was sent.
    pub async fn open(self) -> Result<Lease, Failure> {
        match self.endpoint.transport.protocol {
            UpstreamProtocol::Http1 => self.exclusive().await,
            UpstreamProtocol::Http2 => self.shared().await,
        }
    }

    /// A new connection without HTTP.
    ///
    /// # Errors
    /// None could be opened, or none in time: nothing was sent.
    pub async fn bare(self) -> Result<Socket, Failure> {
        let slot = match self.slot() {
            Some(slot) => slot,
            None => self.wait(|| self.slot()).await?,
        };
        self.dial(slot).await
    }

    async fn exclusive(self) -> Result<Lease, Failure> {
        let socket = self.bare().await?;
        Ok(self.lease(Via::Http1(Exclusive::new(socket)), false))
    }

    /// Of many requests that need a connection at once, one opens it, the others wait for that.
    async fn shared(self) -> Result<Lease, Failure> {
        loop {
            if let Some(lease) = self.pool.take(self.endpoint, self.clock.now()) {
                return Ok(lease);
            }
            if let Some(opening) = self.pool.opening(self.endpoint) {
                if let Some(failure) = opening.wait().await {
                    return Err(failure);
                }
                continue;
            }
            let mut opener = Opener { to: self, failed: None };
            let Some(slot) = self.slot() else {
                drop(opener);
                let either = || match self.pool.take(self.endpoint, self.clock.now()) {
                    Some(lease) => Some(Either::Lease(lease)),
                    None => self.slot().map(Either::Slot),
                };
                match self.wait(either).await? {
                    Either::Lease(lease) => return Ok(lease),
                    // Taken again right away, if nobody is faster.
                    Either::Slot(slot) => drop(slot),
                }
                continue;
            };
            let opened = self.multiplexed(slot).await;
            opener.failed = opened.as_ref().err().copied();
            drop(opener);
            return opened;
        }
    }

    /// A place on a new connection, which others share from now on.
    async fn multiplexed(self, slot: Slot) -> Result<Lease, Failure> {
        let limit = self.cluster.connect_timeout;
        let connection = multiplexed(self.endpoint, slot, limit, self.clock, self.pool.scratch()).await?;
        // One that takes no request at all is of no use.
        let ticket = connection.take(self.endpoint).ok_or(Failure::Refused)?;
        self.pool.share(self.endpoint, connection);
        Ok(self.lease(Via::Http2(Call::new(ticket)), false))
    }

    fn lease(self, via: Via, reused: bool) -> Lease {
        Lease {
            endpoint: Arc::clone(self.endpoint),
            via,
            reused,
        }
    }

    async fn dial(self, slot: Slot) -> Result<Socket, Failure> {
        dial(self.endpoint, slot, self.cluster.connect_timeout, self.clock).await
    }

    /// The right to open a connection; an idle one of this worker is closed for it where it must be.
    fn slot(self) -> Option<Slot> {
        let slot = self.try_slot();
        if slot.is_some() {
            return slot;
        }
        let limits = self.cluster.limits;
        let is_own = |endpoint: &Endpoint| std::ptr::eq(endpoint, Arc::as_ptr(self.endpoint));
        let is_full = |limit: u32| self.endpoint.stats.open_connections.load(Relaxed) >= limit;
        let gives = if limits.endpoint_connections.is_some_and(is_full) {
            self.pool.close_one(is_own)
        } else {
            let same = |endpoint: &Endpoint| self.cluster.has(endpoint);
            self.pool.close_one(same)
        };
        // One that was shared is closed by a task of its own: the caller looks again soon.
        if gives { self.try_slot() } else { None }
    }

    fn try_slot(self) -> Option<Slot> {
        let limits = self.cluster.limits;
        let admission = match limits.connections {
            Some(limit) => Some(self.cluster.gate.connect(limit)?),
            None => None,
        };
        let stats = &self.endpoint.stats;
        let limit = limits.endpoint_connections.unwrap_or(u32::MAX);
        below(&stats.open_connections, limit).then(|| Slot::new(stats, admission))
    }

    /// Waits in the endpoint's line until `look` gives something.
    async fn wait<T>(self, look: impl Fn() -> Option<T>) -> Result<T, Failure> {
        let gate = &self.cluster.gate;
        let place = gate.join(&self.endpoint.stats.line, self.cluster.limits.queue);
        let place = place.ok_or(Failure::Overflow)?;
        let found = timeout(self.cluster.limits.queue_timeout, async {
            let _turn = place.first().await;
            loop {
                if let Some(found) = look() {
                    return found;
                }
                let _ = timeout(LOOK, place.freed()).await;
            }
        });
        found.await.map_err(|_| {
            gate.timed_out();
            Failure::QueueTimeout
        })
    }
}

/// What a request that shares connections may get.
enum Either {
    Lease(Lease),
    Slot(Slot),
}

/// Tells the others when the connection is open, or is not, or who opened it left.
struct Opener<'a> {
    to: To<'a>,
    failed: Option<Failure>,
}

impl Drop for Opener<'_> {
    fn drop(&mut self) {
        self.to.pool.opened(self.to.endpoint, self.failed);
    }
}
