//! The proxy's one clock: time since the process started, as the pure rooms want it. Everything that needs the time asks here;
//! what outlives the process is dated by the time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tenbin_balance::Time;
use tokio::time::Instant;

/// The time of day, since 1970; zero by a clock that is before that.
#[expect(clippy::disallowed_methods, reason = "the time of day of what is kept and shown")]
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Gives the time; the same for all copies of one clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    #[expect(clippy::disallowed_methods, reason = "the one place where time is read")]
    pub fn start() -> Self {
        Clock(Instant::now())
    }

    /// The time since the start.
    pub fn now(self) -> Time {
        Time::default().plus(self.0.elapsed())
    }

    /// A point of this clock as the runtime's timers want it.
    pub fn at(self, time: Time) -> Instant {
        self.0 + time.since(Time::default())
    }
}
