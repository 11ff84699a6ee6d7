//! Requests that wait for the first answer after the last one: how many, and for how long. What it means for the endpoint must never come
//! here. Requests are told apart by their numbers, which the endpoint counts anyway, so that sending one writes nothing but the first time.
//! The words are not changed together: a thread may see a row a request too short or as just begun, never one that was answered.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Time;

/// The row of requests since the last answer.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// The number of the last request before the last answer.
    answered: AtomicU64,
    /// How many after it are gone without one.
    gone: AtomicU32,
    /// When the first after it was sent: milliseconds modulo 2³², the last bit set; 0 while there is none.
    since: AtomicU32,
}

impl Waiting {
    /// One more.
    pub(crate) fn sent(&self, now: Time) {
        if self.since.load(Relaxed) == 0 {
            self.since.store(millis(now) | 1, Relaxed);
        }
    }

    /// An answer came, after `last` requests in all: whoever waits still says nothing any more.
    pub(crate) fn answered(&self, last: u64) {
        self.answered.store(last, Relaxed);
        self.gone.store(0, Relaxed);
        self.since.store(0, Relaxed);
    }

    /// The request of this number is gone without an answer, the last of all having that number.
    pub(crate) fn left(&self, number: u64, last: u64) {
        let answered = self.answered.load(Relaxed);
        if number > answered && self.gone.fetch_add(1, Relaxed) + 1 >= count(last, answered) {
            self.answered(last);
        }
    }

    /// Whether the first of them waits for longer than `time`, if there is one.
    #[inline]
    pub(crate) fn is_longer(&self, time: Duration, now: Time) -> bool {
        let since = self.since.load(Relaxed);
        let age = millis(now).wrapping_sub(since);
        since != 0 && age < u32::MAX / 2 && u128::from(age) > time.as_millis()
    }

    /// How many wait, of all up to `last`, and for how long the first of them has.
    pub(crate) fn get(&self, last: u64, now: Time) -> (u32, Duration) {
        let waiting = count(last, self.answered.load(Relaxed)).saturating_sub(self.gone.load(Relaxed));
        let age = match self.since.load(Relaxed) {
            0 => 0,
            since => millis(now).wrapping_sub(since),
        };
        // The clock of another thread may be a little ahead.
        let age = if age > u32::MAX / 2 { 0 } else { age };
        (waiting, Duration::from_millis(age.into()))
    }
}

fn count(last: u64, answered: u64) -> u32 {
    u32::try_from(last.saturating_sub(answered)).unwrap_or(u32::MAX)
}

fn millis(now: Time) -> u32 {
    (now.as_micros() / 1000) as u32
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
        waiting.sent(at(101));
        waiting.sent(at(150));
        assert_eq!(waiting.get(2, at(201)), (2, Duration::from_millis(100)));
        assert_eq!(waiting.get(2, at(90)), (2, Duration::ZERO), "a clock that is behind");
        waiting.answered(2);
        assert_eq!(waiting.get(2, at(300)), (0, Duration::ZERO));
        waiting.sent(at(301));
        assert_eq!(waiting.get(3, at(311)), (1, Duration::from_millis(10)));
    }

    #[test]
    fn who_leaves_is_of_its_own_row_alone() {
        let waiting = Waiting::default();
        waiting.sent(at(100));
        waiting.left(1, 1);
        assert_eq!(waiting.get(1, at(100)), (0, Duration::ZERO));
        waiting.sent(at(401));
        assert_eq!(
            waiting.get(2, at(451)),
            (1, Duration::from_millis(50)),
            "the row of who left is over"
        );
        waiting.answered(2);
        waiting.sent(at(501));
        waiting.left(2, 3);
        assert_eq!(
            waiting.get(3, at(551)),
            (1, Duration::from_millis(50)),
            "not of this row"
        );
        waiting.sent(at(551));
        waiting.left(3, 4);
        assert_eq!(waiting.get(4, at(601)), (1, Duration::from_millis(100)));
    }
}
