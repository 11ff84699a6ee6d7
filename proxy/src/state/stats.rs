//! What is counted where requests pass: atomics, found at snapshot time, so that counting a request looks nothing up.
//! How they are shown is the business of `metrics` and `admin`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tenbin_balance::{Charge, Fleet, Load, Reason, Status, Time};

use super::Line;
use crate::affinity::Outcome;
use crate::serve::Refused;
use crate::serve::error::Failure;

/// Counters of one listener; they live as long as the process.
#[derive(Debug, Default)]
pub struct PortStats {
    /// Finished requests by class of status: 1xx to 5xx at 1 to 5; at 0 those that ended without a response.
    pub requests: [AtomicU64; 6],
    /// Requests that failed, by [`Failure`].
    pub failures: [AtomicU64; Failure::ALL.len()],
    /// Requests that are open now, upgraded connections among them.
    pub in_flight: AtomicU64,
    /// Tries beyond the first.
    pub retries: AtomicU64,
    /// Requests by what became of their affinity, by [`Outcome`]; those for which there is none are left out.
    pub affinity: [AtomicU64; Outcome::ALL.len()],
    /// Picks by their reason, in the order of [`Reason::ALL`].
    pub picks: [AtomicU64; Reason::ALL.len()],
    /// Upgraded connections that are open now.
    pub tunnels: AtomicU64,
    /// Time from a request's headers to the end of its response; upgraded connections are left out.
    pub duration: Histogram,
    /// Time from when a request was sent to an endpoint (the last it was tried on) to the head of its response.
    pub first_byte: Histogram,
    /// Bytes of bodies, upgraded and plain TCP connections that came from clients, and that went to them.
    pub received: AtomicU64,
    /// See [`Self::received`].
    pub sent: AtomicU64,
    /// Client connections that are open now.
    pub connections: AtomicU64,
    /// Client connections ever accepted.
    pub accepted: AtomicU64,
    /// Client connections turned away because there were too many.
    pub refused: AtomicU64,
    /// Client connections closed because what came was not HTTP that is accepted.
    pub malformed: AtomicU64,
    /// Client connections closed because the headers of a request took too long.
    pub header_timeouts: AtomicU64,
    /// TLS handshakes with clients that were carried out.
    pub handshakes: AtomicU64,
    /// TLS handshakes that were not, by [`Refused`].
    pub handshake_failures: [AtomicU64; Refused::ALL.len()],
}

/// Counters of one endpoint; kept by its identity as long as it lives or has open requests.
#[derive(Debug)]
pub struct EndpointStats {
    /// What the balancer knows: open requests, picks, evidence, skip state.
    pub load: Arc<Load>,
    /// Connections opened.
    pub connections: AtomicU64,
    /// Connections that are open now.
    pub open_connections: AtomicU32,
    /// Of those, the ones that nobody uses, as of the last sweep of each worker's pool.
    pub idle: AtomicU64,
    /// Requests sent over a connection that another had used before.
    pub reused: AtomicU64,
    /// Connections that could not be opened.
    pub connect_failures: AtomicU64,
    /// Requests that wait for this endpoint alone.
    pub(crate) line: Line,
}

impl EndpointStats {
    /// The counters of an endpoint of `fleet`.
    pub fn new(fleet: &Arc<Fleet>) -> Self {
        EndpointStats {
            load: Arc::new(Load::new(fleet)),
            connections: AtomicU64::new(0),
            open_connections: AtomicU32::new(0),
            idle: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            line: Line::default(),
        }
    }

    /// A connection could not be opened, for a reason that is the endpoint's: it is left out for a while.
    pub fn unreachable(&self, now: Time) {
        let skip = self.load.skip();
        if skip.status(now) != Status::Skipped {
            self.load.fleet().charge(Charge::Unreachable);
        }
        skip.failed(now);
        count(&self.connect_failures);
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// A histogram of durations without a lock.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; Histogram::BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Upper bounds of all buckets but the last, in microseconds: 0.5 ms to 60 s.
    pub const BOUNDS: [u64; 16] = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
        10_000_000, 30_000_000, 60_000_000,
    ];

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = Self::BOUNDS.partition_point(|&bound| bound < micros);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(micros, Relaxed);
    }

    /// Upper bounds in seconds with their own (not cumulated) counts, and the sum in seconds.
    pub fn read(&self) -> (Vec<(f64, u64)>, f64) {
        let bounds = Self::BOUNDS.iter().map(|&b| b as f64 / 1e6).chain([f64::INFINITY]);
        let buckets = bounds.zip(self.buckets.iter().map(|b| b.load(Relaxed))).collect();
        (buckets, self.sum_micros.load(Relaxed) as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_while_it_is_left_out_begin_nothing() {
        let stats = EndpointStats::new(&Arc::default());
        for _ in 0..3 {
            stats.unreachable(Time::default());
        }
        assert_eq!(stats.connect_failures.load(Relaxed), 3);
        assert_eq!(stats.load.fleet().charges(Charge::Unreachable), 1);
    }

    #[test]
    fn a_duration_falls_into_the_bucket_that_bounds_it() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 60_000_000, 60_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (buckets, sum) = histogram.read();
        let filled: Vec<_> = buckets.into_iter().filter(|&(_, n)| n > 0).collect();
        assert_eq!(filled, [(0.0005, 2), (0.001, 1), (60.0, 1), (f64::INFINITY, 1)]);
        assert!((sum - 120.001_002).abs() < 1e-9);
    }
}
