//! How much of its core this process takes: no more than a share, measured by its own CPU time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::procfs;

/// The least time between two looks at the CPU time, and how long it rests when that is too much.
const LOOK: Duration = Duration::from_millis(2);
/// What it may save up while it waits for the proxy, in CPU seconds.
const SAVED: f64 = 0.005;

/// The share, and what is left of it.
#[derive(Debug)]
pub(super) struct Pace {
    share: f64,
    left: Cell<f64>,
    looked: Cell<Instant>,
    used: Cell<f64>,
}

impl Pace {
    /// So much of a core, in percent.
    pub(super) fn new(share: u32) -> Self {
        Pace {
            share: f64::from(share) / 100.0,
            left: Cell::new(0.0),
            looked: Cell::new(Instant::now()),
            used: Cell::new(used()),
        }
    }

    /// Waits until there is some of it left, and lets others have their turn.
    pub(super) async fn pass(&self) {
        loop {
            let passed = self.looked.get().elapsed();
            if passed >= LOOK {
                self.looked.set(Instant::now());
                let used = used();
                let spent = used - self.used.replace(used);
                let left = self.left.get() + self.share * passed.as_secs_f64() - spent;
                self.left.set(left.min(SAVED));
            }
            if self.left.get() >= 0.0 {
                return tokio::task::yield_now().await;
            }
            sleep(LOOK).await;
        }
    }
}

/// CPU seconds of this process so far.
pub(super) fn used() -> f64 {
    procfs::exact(std::process::id()).unwrap_or_default()
}
