//! How much of its core this process takes: no more than a share, measured by its own CPU time, in pieces as short as timers are fine.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// What it did not take so long ago it does not take any more: the runtime's timers are as fine.
const SAVED: Duration = Duration::from_millis(1);

/// The share, and what was taken of it. Who waits does so one after the other: waking all would take all there is.
#[derive(Debug)]
pub(super) struct Pace {
    share: f64,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    /// Of this much CPU time it is known until when it lasts.
    used: Duration,
    until: Instant,
}

impl Pace {
    /// So much of a core, in percent.
    pub(super) fn new(share: u32) -> Self {
        Pace {
            share: f64::from(share) / 100.0,
            taken: Mutex::new(Taken {
                used: used(),
                until: Instant::now(),
            }),
        }
    }

    /// Lets others have their turn, and waits where too much was taken.
    pub(super) async fn pass(&self) {
        tokio::task::yield_now().await;
        let mut taken = self.taken.lock().await;
        loop {
            let (now, used) = (Instant::now(), used());
            let spent = used.saturating_sub(std::mem::replace(&mut taken.used, used));
            taken.until = (taken.until + spent.div_f64(self.share)).max(now - SAVED);
            if taken.until <= now {
                return;
            }
            sleep_until(taken.until).await;
        }
    }
}

/// CPU time of this process so far.
pub(super) fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}
