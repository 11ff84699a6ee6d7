//! The end of the process's life: when it may go without cutting anything off. It only watches counters and moves `lifecycle` along.
//!
//! A drain refuses nothing and closes nothing at first: responses ask for their connection to be closed, and new connections are served,
//! since whoever sends them has not heard yet. The process ends when nobody comes any more.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tenbin_balance::Time;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::state::State;

/// How long no connection and no request must have come before a process without connections ends.
const QUIET: Duration = Duration::from_secs(1);
/// The same for one whose connections are all idle: their clients get this long to use one more time what they hold and be told to close
/// it, so that closing it does not meet a request on its way.
const QUIET_IDLE: Duration = Duration::from_secs(5);
/// How long connections get to close at the very end.
const CLOSE: Duration = Duration::from_secs(1);
/// How often counters are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Ends the process's life: returns when the workers may stop, at the latest after `limit`.
pub async fn drain(state: &State, lifecycle: &Arc<Lifecycle>, clock: Clock, limit: Duration) {
    lifecycle.drain();
    let start = clock.now();
    let mut watch = Watch::new(Counts::read(state, lifecycle), start);
    info!(
        seconds = limit.as_secs(),
        connections = lifecycle.connections(),
        "draining"
    );
    let open = loop {
        let now = clock.now();
        let counts = Counts::read(state, lifecycle);
        watch.look(counts, now);
        if watch.is_quiet(now) {
            break 0;
        }
        if now.since(start) >= limit {
            break counts.open;
        }
        sleep(LOOK).await;
    };
    if open > 0 {
        warn!(requests = open, "the time to drain is over, open requests are cut off");
    }
    lifecycle.close();
    let closing = clock.now();
    while lifecycle.connections() > 0 && clock.now().since(closing) < CLOSE {
        sleep(LOOK).await;
    }
    info!(seconds = clock.now().since(start).as_secs_f64(), "drained");
}

/// What there is to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    /// Connections and requests that ever came.
    came: u64,
    /// Open requests.
    open: u64,
    /// Open connections.
    connections: usize,
}

impl Counts {
    fn read(state: &State, lifecycle: &Lifecycle) -> Self {
        let snapshot = state.load();
        let (mut came, mut open) = (0, 0);
        for listener in snapshot.listeners() {
            let stats = &listener.stats;
            let finished: u64 = stats.requests.iter().map(|n| n.load(Relaxed)).sum();
            let in_flight = stats.in_flight.load(Relaxed);
            came += stats.accepted.load(Relaxed) + finished + in_flight;
            open += in_flight;
        }
        Counts {
            came,
            open,
            connections: lifecycle.connections(),
        }
    }
}

/// Knows since when nobody came. Pure.
#[derive(Debug)]
struct Watch {
    counts: Counts,
    since: Time,
}

impl Watch {
    fn new(counts: Counts, now: Time) -> Self {
        Watch { counts, since: now }
    }

    fn look(&mut self, counts: Counts, now: Time) {
        // An open request is somebody who is here.
        if counts.came != self.counts.came || counts.open > 0 {
            self.since = now;
        }
        self.counts = counts;
    }

    fn is_quiet(&self, now: Time) -> bool {
        let quiet = now.since(self.since);
        let enough = if self.counts.connections == 0 {
            QUIET
        } else {
            QUIET_IDLE
        };
        self.counts.open == 0 && quiet >= enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn counts(came: u64, open: u64, connections: usize) -> Counts {
        Counts {
            came,
            open,
            connections,
        }
    }

    #[test]
    fn without_connections_a_second_of_quiet_is_enough() {
        let mut watch = Watch::new(counts(7, 0, 0), at(0));
        assert!(!watch.is_quiet(at(999)));
        assert!(watch.is_quiet(at(1000)));
        watch.look(counts(8, 0, 0), at(1000));
        assert!(!watch.is_quiet(at(1999)), "somebody came");
        assert!(watch.is_quiet(at(2000)));
    }

    #[test]
    fn idle_connections_get_longer() {
        let mut watch = Watch::new(counts(7, 0, 3), at(0));
        watch.look(counts(7, 0, 3), at(2000));
        assert!(!watch.is_quiet(at(4999)));
        assert!(watch.is_quiet(at(5000)));
        watch.look(counts(7, 0, 0), at(2000));
        assert!(watch.is_quiet(at(2000)), "they went by themselves");
    }

    #[test]
    fn open_requests_are_waited_for() {
        let mut watch = Watch::new(counts(7, 1, 1), at(0));
        watch.look(counts(7, 1, 1), at(60_000));
        assert!(!watch.is_quiet(at(60_000)));
        watch.look(counts(7, 0, 0), at(60_050));
        assert!(!watch.is_quiet(at(60_100)), "quiet begins when the last one ends");
        assert!(watch.is_quiet(at(61_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_whatever_is_open() {
        let lifecycle = Lifecycle::new(4);
        let _open = lifecycle.admit();
        let state = State::new(
            crate::state::Bootstrap {
                own: None,
                instance: String::new(),
                ports: Vec::new(),
            },
            1,
        );
        let clock = Clock::start();
        drain(&state, &lifecycle, clock, Duration::from_secs(3)).await;
        let took = clock.now().since(Time::default());
        assert!(
            (Duration::from_secs(4)..Duration::from_millis(4200)).contains(&took),
            "{took:?}"
        );
        assert!(lifecycle.is_draining() && lifecycle.is_closing());
    }
}
