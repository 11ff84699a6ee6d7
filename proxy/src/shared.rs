//! What the control thread's parts share: the state, the life of the process, its clock and a few facts. Handles only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tenbin_balance::Time;

use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::state::State;

/// Handles to what is there once for the process.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Listeners, clusters, endpoints.
    pub state: Arc<State>,
    /// Connections and draining.
    pub lifecycle: Arc<Lifecycle>,
    /// The clock of the process.
    pub clock: Clock,
    /// When the last update was put in use.
    pub updated: Arc<UpdatedAt>,
    /// The limit of descriptors.
    pub fd_limit: u64,
}

/// When the last update was put in use.
#[derive(Debug, Default)]
pub struct UpdatedAt(AtomicU64);

impl UpdatedAt {
    /// It was now.
    pub fn set(&self, now: Time) {
        self.0.store(now.as_micros(), Relaxed);
    }

    /// How long ago, in seconds; since the start if there was none.
    pub fn age(&self, now: Time) -> f64 {
        now.since(Time::from_micros(self.0.load(Relaxed))).as_secs_f64()
    }
}
