//! The live state of one endpoint: what every picker of every thread knows about it. Atomics only, kept by the endpoint's identity
//! for as long as it lives, whatever happens to the set around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::Skip;

/// Open requests, picks and skip state of one endpoint.
#[derive(Debug, Default)]
pub struct Load {
    open: AtomicU32,
    picks: AtomicU64,
    /// When it was picked last, counted in picks of its set: who waited longest wins a tie.
    pub(crate) turn: AtomicU64,
    skip: Skip,
}

impl Load {
    /// Requests that are open there now.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Requests that were ever sent there.
    pub fn picks(&self) -> u64 {
        self.picks.load(Relaxed)
    }

    /// Whether it is left out.
    pub fn skip(&self) -> &Skip {
        &self.skip
    }

    /// Counts a request there until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Relaxed);
        self.picks.fetch_add(1, Relaxed);
        Open(Arc::clone(self))
    }
}

/// One open request at an endpoint, counted for as long as this lives.
#[derive(Debug)]
#[must_use = "the request counts as open only while this lives"]
pub struct Open(Arc<Load>);

impl Open {
    /// The endpoint's state.
    pub fn load(&self) -> &Arc<Load> {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
