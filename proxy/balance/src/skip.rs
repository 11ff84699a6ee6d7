//! Whether an endpoint is left out after it could not be connected to, or its answers spoke against it, and for how long. One word, no
//! lock. What counts as a failure is the caller's business.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Time;

/// The skip state of one endpoint, shared by everybody who picks it.
///
/// A failure skips it for [`Skip::FIRST`]; each failure after that twice as long as the one before, up to [`Skip::MAX`]. When the
/// time is over, one request may try it while the others still leave it out; its success ends the skipping, its failure prolongs it.
/// A trial that never reports counts as a failure: who hangs is tried more and more seldom.
#[derive(Debug, Default)]
pub struct Skip(AtomicU64);

/// What may be done with an endpoint now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing is known against it.
    Usable,
    /// It was skipped long enough: one request may try it.
    Due,
    /// It is left out.
    Skipped,
}

/// [`Skip`]'s word taken apart: failures in a row in bits 0–7, an open trial in bit 8, whether its answers (or their lack) spoke against it in
/// bit 9, the end in microseconds above. 0: usable.
#[derive(Clone, Copy)]
struct Word {
    failures: u8,
    trial: bool,
    convicted: bool,
    until: u64,
}

const UNTIL_SHIFT: u32 = 10;

impl Word {
    fn from_bits(bits: u64) -> Self {
        Word {
            failures: (bits & 0xff) as u8,
            trial: bits & 0x100 != 0,
            convicted: bits & 0x200 != 0,
            until: bits >> UNTIL_SHIFT,
        }
    }

    fn to_bits(self) -> u64 {
        let until = self.until.min(u64::MAX >> UNTIL_SHIFT);
        u64::from(self.failures) | u64::from(self.trial) << 8 | u64::from(self.convicted) << 9 | until << UNTIL_SHIFT
    }
}

impl Skip {
    /// How long the first failure skips an endpoint.
    pub const FIRST: Duration = Duration::from_millis(500);
    /// The longest that failures skip an endpoint.
    pub const MAX: Duration = Duration::from_secs(30);

    /// Whether nothing is known against the endpoint.
    #[inline]
    pub(crate) fn is_clear(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    /// What may be done with the endpoint at `now`.
    pub fn status(&self, now: Time) -> Status {
        match self.0.load(Relaxed) {
            0 => Status::Usable,
            bits if Word::from_bits(bits).until > now.as_micros() => Status::Skipped,
            _ => Status::Due,
        }
    }

    /// Whether a request may go there now. Where the endpoint is due, exactly one caller gets `true`: its request is the trial.
    pub fn admit(&self, now: Time) -> bool {
        let bits = self.0.load(Relaxed);
        if bits == 0 {
            return true;
        }
        let word = Word::from_bits(bits);
        if word.until > now.as_micros() {
            return false;
        }
        let failures = word.failures.saturating_add(1);
        let trial = Word {
            failures,
            trial: true,
            convicted: word.convicted,
            until: now.plus(delay(failures)).as_micros(),
        };
        self.0.compare_exchange(bits, trial.to_bits(), Relaxed, Relaxed).is_ok()
    }

    /// The endpoint could not be connected to. Failures of attempts that were under way together count as one.
    pub fn failed(&self, now: Time) {
        let mut bits = self.0.load(Relaxed);
        loop {
            let word = Word::from_bits(bits);
            if bits != 0 && !word.trial && word.until > now.as_micros() {
                return;
            }
            // A trial was counted as a failure when it began.
            let failures = if word.trial {
                word.failures
            } else {
                word.failures.saturating_add(1)
            };
            let next = Word {
                failures,
                trial: false,
                convicted: word.convicted,
                until: now.plus(delay(failures)).as_micros(),
            };
            match self.0.compare_exchange_weak(bits, next.to_bits(), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(current) => bits = current,
            }
        }
    }

    /// Whether its answers, or their lack, spoke against it.
    pub(crate) fn is_convicted(&self) -> bool {
        Word::from_bits(self.0.load(Relaxed)).convicted
    }

    /// What its answers, or their lack, say leaves no doubt that it doesn't work. It begins with the second time: who could be
    /// connected to and failed yet is not back in half a second. False if another thread was first.
    pub(crate) fn convicted(&self, now: Time) -> bool {
        let convict = |bits| {
            let before = Word::from_bits(bits);
            let failures = before.failures.saturating_add(1).max(2);
            let word = Word {
                failures,
                trial: false,
                convicted: true,
                until: now.plus(delay(failures)).as_micros(),
            };
            (!before.convicted).then_some(word.to_bits())
        };
        self.0.fetch_update(Relaxed, Relaxed, convict).is_ok()
    }

    /// Somebody who should know says that it works again: one request may try it now.
    pub fn due(&self, now: Time) {
        let due = |bits| {
            let word = Word {
                trial: false,
                until: now.as_micros(),
                ..Word::from_bits(bits)
            };
            (bits != 0).then_some(word.to_bits())
        };
        let _ = self.0.fetch_update(Relaxed, Relaxed, due);
    }

    /// The endpoint was connected to: if that was what it failed at, nothing is held against it any more.
    pub fn connected(&self) {
        let bits = self.0.load(Relaxed);
        if bits != 0 && !Word::from_bits(bits).convicted {
            let _ = self.0.compare_exchange(bits, 0, Relaxed, Relaxed);
        }
    }

    /// The endpoint did its work: nothing is held against it any more. True if it had been convicted.
    pub(crate) fn succeeded(&self) -> bool {
        self.0.load(Relaxed) != 0 && Word::from_bits(self.0.swap(0, Relaxed)).convicted
    }

    /// For people: failures in a row, and how long it is still left out. `None` where nothing is held against it.
    pub fn explain(&self, now: Time) -> Option<(u8, Duration)> {
        match self.0.load(Relaxed) {
            0 => None,
            bits => {
                let word = Word::from_bits(bits);
                Some((word.failures, Time::from_micros(word.until).since(now)))
            }
        }
    }
}

/// How long the `failures`-th failure in a row skips.
fn delay(failures: u8) -> Duration {
    let doublings = u32::from(failures.saturating_sub(1)).min(16);
    (Skip::FIRST * 2u32.pow(doublings)).min(Skip::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn skips_grow_to_the_limit() {
        let skip = Skip::default();
        let mut now = at(0);
        let mut delays = Vec::new();
        for _ in 0..9 {
            assert!(skip.admit(now), "due at {now:?}");
            skip.failed(now);
            assert_eq!(skip.status(now), Status::Skipped);
            let (_, left) = skip.explain(now).unwrap();
            delays.push(left.as_millis());
            now = now.plus(left);
            assert_eq!(skip.status(now), Status::Due);
        }
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn success_forgets() {
        let skip = Skip::default();
        skip.failed(at(0));
        skip.succeeded();
        assert_eq!(skip.status(at(0)), Status::Usable);
        skip.failed(at(1));
        assert_eq!(skip.explain(at(1)).unwrap(), (1, Skip::FIRST));
    }

    #[test]
    fn a_connection_does_not_acquit_whose_answers_spoke_against_it() {
        let skip = Skip::default();
        skip.failed(at(0));
        skip.connected();
        assert_eq!(skip.status(at(0)), Status::Usable);
        skip.convicted(at(0));
        skip.connected();
        assert_eq!(skip.status(at(999)), Status::Skipped);
        assert!(skip.admit(at(1000)));
        skip.connected();
        skip.failed(at(1001));
        assert_eq!(
            skip.explain(at(1001)).unwrap(),
            (3, Duration::from_secs(2)),
            "its trial failed"
        );
        skip.succeeded();
        assert_eq!(skip.status(at(1001)), Status::Usable);
    }

    #[test]
    fn one_trial_at_a_time() {
        let skip = Skip::default();
        skip.failed(at(0));
        assert!(!skip.admit(at(499)));
        assert!(skip.admit(at(500)), "the first gets the trial");
        assert!(!skip.admit(at(500)), "the second does not");
        skip.failed(at(600));
        assert_eq!(skip.explain(at(600)).unwrap(), (2, Duration::from_secs(1)));
    }

    #[test]
    fn a_trial_that_never_reports_is_given_up() {
        let skip = Skip::default();
        skip.failed(at(0));
        assert!(skip.admit(at(500)));
        assert_eq!(skip.status(at(1499)), Status::Skipped, "now for twice as long");
        assert!(skip.admit(at(1500)));
        assert_eq!(skip.status(at(3499)), Status::Skipped);
        assert!(skip.admit(at(3500)));
    }

    #[test]
    fn who_is_ready_again_is_tried_at_once() {
        let skip = Skip::default();
        skip.due(at(1));
        assert_eq!(skip.status(at(1)), Status::Usable, "nothing was held against it");
        skip.failed(at(1));
        skip.due(at(2));
        assert!(skip.admit(at(2)));
        assert!(!skip.admit(at(2)), "by one request");
        skip.failed(at(3));
        assert_eq!(skip.explain(at(3)).unwrap().0, 2, "and what was known is not forgotten");
    }

    #[test]
    fn failures_under_way_together_count_once() {
        let skip = Skip::default();
        for _ in 0..100 {
            skip.failed(at(10));
        }
        assert_eq!(skip.explain(at(10)).unwrap(), (1, Skip::FIRST));
    }
}
