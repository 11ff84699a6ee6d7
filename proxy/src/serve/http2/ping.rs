//! Notices peers that are gone without a word: who sends nothing for a while is pinged, and has to answer.

use std::task::Context;
use std::time::Duration;

use h2::PingPong;
use tenbin_balance::Time;

/// After how long a silence a peer is asked whether it is still there.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
/// How long it may take to answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// Asks, and remembers when.
#[derive(Debug)]
pub(super) struct Pinger {
    pings: PingPong,
    asked: Option<Time>,
}

impl Pinger {
    /// Asks by these.
    pub(super) fn new(pings: PingPong) -> Self {
        Pinger { pings, asked: None }
    }

    /// When to look after the peer again, that was last heard of at `heard`.
    pub(super) fn next_look(&self, heard: Time) -> Time {
        match self.asked {
            Some(asked) => asked.plus(TIMEOUT),
            None => heard.plus(INTERVAL),
        }
    }

    /// Looks after the peer; true if it is gone.
    pub(super) fn is_gone(&mut self, now: Time, heard: Time, cx: &mut Context<'_>) -> bool {
        if self.asked.is_some() && self.pings.poll_pong(cx).is_ready() {
            self.asked = None;
        }
        match self.asked {
            Some(asked) => now >= asked.plus(TIMEOUT),
            None if now >= heard.plus(INTERVAL) => {
                self.asked = Some(now);
                self.pings.send_ping(h2::Ping::opaque()).is_err()
            }
            None => false,
        }
    }
}
