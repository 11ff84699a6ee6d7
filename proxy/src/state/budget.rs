//! How many requests of a cluster may be sent again: a share of all requests of the last ten seconds, and a few. Shared by the workers,
//! looked at only when something is sent again. The time and the requests so far are passed in.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tenbin_balance::Time;

/// The retries that a cluster has left. What it earns with requests fades over [`Budget::WINDOW`], so that no quiet hour pays for a storm.
#[derive(Debug)]
pub struct Budget {
    /// Milliseconds of the clock in the upper half, millionths of a retry in the lower.
    word: AtomicU64,
    /// Requests when it was looked at last.
    requests: AtomicU64,
    denied: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            word: AtomicU64::new(Self::ALWAYS * Self::WINDOW.as_secs() * Self::ONE),
            requests: AtomicU64::new(0),
            denied: AtomicU64::new(0),
        }
    }
}

impl Budget {
    /// What it earns fades over this time.
    pub const WINDOW: Duration = Duration::from_secs(10);
    /// Retries a second that are always allowed.
    pub const ALWAYS: u64 = 3;
    /// A retry, in millionths.
    const ONE: u64 = 1_000_000;

    /// Takes one retry, if there is one left at `percent` of the `requests` that there were up to `now`.
    pub(crate) fn take(&self, percent: u8, requests: u64, now: Time) -> bool {
        let before = self.requests.swap(requests, Relaxed);
        let earned = requests.saturating_sub(before) * u64::from(percent) * (Self::ONE / 100);
        let millis = (now.as_micros() / 1000) & u64::from(u32::MAX);
        let mut taken = false;
        let next = |word: u64| {
            let (then, left) = (word >> 32, word & u64::from(u32::MAX));
            let passed = millis.saturating_sub(then);
            let left = faded(left, earned + Self::ALWAYS * passed * (Self::ONE / 1000), passed);
            taken = left >= Self::ONE;
            let left = if taken { left - Self::ONE } else { left };
            Some((millis.max(then) << 32) | left.min(u64::from(u32::MAX)))
        };
        let _ = self.word.fetch_update(Relaxed, Relaxed, next);
        if !taken {
            self.denied.fetch_add(1, Relaxed);
        }
        taken
    }

    /// Retries that there was nothing left for.
    pub fn denied(&self) -> u64 {
        self.denied.load(Relaxed)
    }
}

/// What is left of `left` and of what was earned evenly over the `passed` milliseconds.
fn faded(left: u64, earned: u64, passed: u64) -> u64 {
    if passed == 0 {
        return left + earned;
    }
    let windows = passed as f64 / Budget::WINDOW.as_millis() as f64;
    let stays = (-windows).exp();
    (left as f64 * stays + earned as f64 * (1.0 - stays) / windows) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    /// Retries that are allowed in `seconds` at so many requests a second, all of which want one.
    fn allowed(budget: &Budget, percent: u8, rate: u64, seconds: std::ops::Range<u64>) -> u64 {
        let mut allowed = 0;
        for n in seconds.start * rate..seconds.end * rate {
            allowed += u64::from(budget.take(percent, n, at(n * 1000 / rate)));
        }
        allowed
    }

    #[test]
    fn a_share_of_the_requests_and_a_few() {
        let budget = Budget::default();
        allowed(&budget, 20, 1000, 0..60);
        let retries = allowed(&budget, 20, 1000, 60..120);
        assert!((11_000..13_000).contains(&retries), "{retries} of 60,000 at 20 %");
        let none = Budget::default();
        allowed(&none, 0, 1000, 0..60);
        let retries = allowed(&none, 0, 1000, 60..120);
        assert!((150..=181).contains(&retries), "{retries} at 3 a second");
        assert!(none.denied() > 100_000);
    }

    #[test]
    fn no_quiet_hour_pays_for_a_storm() {
        let budget = Budget::default();
        // An hour of 100 requests a second that all went well, then everything fails at once.
        let requests = 360_000;
        let now = at(3_600_000);
        let burst = (0..10_000).filter(|_| budget.take(20, requests, now)).count();
        assert!((200..=240).contains(&burst), "{burst}: at most ten seconds' worth");
    }

    #[test]
    fn the_first_failures_may_be_retried() {
        let budget = Budget::default();
        let burst = (0..100).filter(|_| budget.take(20, 0, at(0))).count();
        assert_eq!(burst, 30);
    }
}
