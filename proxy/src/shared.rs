//! What the control thread's parts share: the state, the life of the process, its clock and a few facts. Handles only.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

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
    /// When what is in use was received.
    pub updated: Arc<UpdatedAt>,
    /// The limit of descriptors.
    pub fd_limit: u64,
}

/// When what is in use was received, in microseconds since the start; less than zero if before.
#[derive(Debug, Default)]
pub struct UpdatedAt(AtomicI64);

impl UpdatedAt {
    /// It was now.
    pub fn set(&self, now: Time) {
        self.0.store(now.as_micros().try_into().unwrap_or(i64::MAX), Relaxed);
    }

    /// It was so long before the start: a snapshot was restored.
    pub fn set_before_start(&self, age: Duration) {
        let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        self.0.store(-micros, Relaxed);
    }

    /// How long ago, in seconds; since the start if there was none.
    pub fn age(&self, now: Time) -> f64 {
        let at = self.0.load(Relaxed);
        let before = Duration::from_micros(at.min(0).unsigned_abs());
        let since = now.since(Time::from_micros(at.max(0).unsigned_abs()));
        before.saturating_add(since).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_count_from_before_the_start_where_a_snapshot_was_restored() {
        let updated = UpdatedAt::default();
        assert_eq!(updated.age(Time::from_micros(2_000_000)), 2.0);
        updated.set_before_start(Duration::from_secs(60));
        assert_eq!(updated.age(Time::from_micros(2_000_000)), 62.0);
        updated.set(Time::from_micros(5_000_000));
        assert_eq!(updated.age(Time::from_micros(6_500_000)), 1.5);
        assert_eq!(updated.age(Time::from_micros(1_000_000)), 0.0);
        updated.set_before_start(Duration::MAX);
        assert!(updated.age(Time::from_micros(1)) > 1e12);
    }
}
