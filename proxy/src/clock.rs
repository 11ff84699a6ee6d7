//! The proxy's one clock: time since the process started, as the pure rooms want it. Everything that needs the time asks here.

use tenbin_balance::Time;
use tokio::time::Instant;

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
