//! Requests that wait for the first answer after the last one: how many, and for how long. One word, so that nobody sees the one without
//! the other. What it means for the endpoint must never come here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Time;

/// When the first of them was sent (milliseconds, modulo 2³²) in the upper half, how many there are in the lower.
#[derive(Debug, Default)]
pub(crate) struct Waiting(AtomicU64);

impl Waiting {
    /// One more; gives the row that it is in.
    pub(crate) fn sent(&self, now: Time) -> u32 {
        let mut word = self.0.load(Relaxed);
        loop {
            let (since, count) = match unpack(word) {
                (_, 0) => (millis(now), 1),
                (since, count) => (since, count.saturating_add(1)),
            };
            match self.0.compare_exchange_weak(word, pack(since, count), Relaxed, Relaxed) {
                Ok(_) => return since,
                Err(current) => word = current,
            }
        }
    }

    /// An answer came: whoever waits still says nothing any more.
    pub(crate) fn answered(&self) {
        self.0.store(0, Relaxed);
    }

    /// One of this row is gone without an answer.
    pub(crate) fn left(&self, row: u32) {
        let one_less = |word| match unpack(word) {
            (since, count) if since == row && count > 0 => Some(pack(since, count - 1)),
            _ => None,
        };
        let _ = self.0.fetch_update(Relaxed, Relaxed, one_less);
    }

    /// How many wait, and for how long the first of them has.
    pub(crate) fn get(&self, now: Time) -> (u32, Duration) {
        let (since, count) = unpack(self.0.load(Relaxed));
        let age = millis(now).wrapping_sub(since);
        // The clock of another thread may be a little ahead.
        let age = if age > u32::MAX / 2 { 0 } else { age };
        (count, Duration::from_millis(age.into()))
    }
}

fn millis(now: Time) -> u32 {
    (now.as_micros() / 1000) as u32
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

fn pack(since: u32, count: u32) -> u64 {
    u64::from(since) << 32 | u64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn a_row_begins_with_its_first_and_ends_with_an_answer() {
        let waiting = Waiting::default();
        waiting.sent(at(100));
        waiting.sent(at(150));
        assert_eq!(waiting.get(at(200)), (2, Duration::from_millis(100)));
        assert_eq!(waiting.get(at(90)), (2, Duration::ZERO), "a clock that is behind");
        waiting.answered();
        waiting.sent(at(300));
        assert_eq!(waiting.get(at(310)), (1, Duration::from_millis(10)));
    }

    #[test]
    fn who_leaves_is_of_its_own_row_alone() {
        let waiting = Waiting::default();
        let first = waiting.sent(at(100));
        waiting.left(first);
        waiting.left(first);
        assert_eq!(waiting.get(at(100)).0, 0);
        let second = waiting.sent(at(400));
        waiting.left(first);
        assert_eq!(waiting.get(at(450)), (1, Duration::from_millis(50)));
        waiting.left(second);
        assert_eq!(waiting.get(at(450)).0, 0);
    }
}
