//! How many open requests are young: opened so lately that the endpoint must be at work on them. The rest is held: long polls,
//! streams, sockets, which cost an endpoint little. Two words; a request is in one of them, or too old to be counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Time;

/// Counts of open requests by the time at which they were opened: two spans of time, the newer one still growing.
#[derive(Debug, Default)]
pub(crate) struct Young([AtomicU64; 2]);

/// For how long a request is young, in milliseconds: at most 6 days, so that ages don't wrap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window(u32);

impl Window {
    const MAX: u32 = 1 << 29;

    pub(crate) const fn of_millis(millis: u32) -> Self {
        match millis {
            0 => Window(1),
            1..=Self::MAX => Window(millis),
            _ => Window(Self::MAX),
        }
    }
}

/// Where a request was counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    slot: u8,
    began: u32,
}

/// A word taken apart: when its span began (milliseconds, modulo 2³²: 49 days) in the upper half, requests in the lower.
#[derive(Clone, Copy)]
struct Span {
    began: u32,
    count: u32,
}

impl Span {
    fn from_word(word: u64) -> Self {
        Span {
            began: (word >> 32) as u32,
            count: word as u32,
        }
    }

    fn to_word(self) -> u64 {
        u64::from(self.began) << 32 | u64::from(self.count)
    }

    /// Zero where another thread's clock was ahead of ours.
    fn age(self, now: u32) -> u32 {
        let age = now.wrapping_sub(self.began);
        if age > u32::MAX / 2 { 0 } else { age }
    }
}

impl Young {
    /// Counts a request that opens now. A span grows for as long as `window`.
    pub(crate) fn open(&self, now: Time, window: Window) -> Ticket {
        let (now, Window(window)) = (millis(now), window);
        loop {
            let words = [self.0[0].load(Relaxed), self.0[1].load(Relaxed)];
            let spans = words.map(Span::from_word);
            let newer = usize::from(spans[1].age(now) < spans[0].age(now));
            let (slot, next) = if spans[newer].age(now) < window {
                let count = spans[newer].count + 1;
                (newer, Span { count, ..spans[newer] })
            } else {
                (1 - newer, Span { began: now, count: 1 })
            };
            if self.0[slot]
                .compare_exchange_weak(words[slot], next.to_word(), Relaxed, Relaxed)
                .is_ok()
            {
                return Ticket {
                    slot: slot as u8,
                    began: next.began,
                };
            }
        }
    }

    /// The request is no longer open.
    pub(crate) fn close(&self, ticket: Ticket) {
        let word = &self.0[usize::from(ticket.slot)];
        let mut current = word.load(Relaxed);
        loop {
            let span = Span::from_word(current);
            if span.began != ticket.began || span.count == 0 {
                return;
            }
            let next = Span {
                count: span.count - 1,
                ..span
            };
            match word.compare_exchange_weak(current, next.to_word(), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(newest) => current = newest,
            }
        }
    }

    /// Open requests that are younger than `window` for sure, and none that is older than twice that.
    pub(crate) fn count(&self, now: Time, window: Window) -> u32 {
        let (now, Window(window)) = (millis(now), window);
        let spans = [0, 1].map(|slot| Span::from_word(self.0[slot].load(Relaxed)));
        spans.iter().filter(|s| s.age(now) < 2 * window).map(|s| s.count).sum()
    }
}

fn millis(now: Time) -> u32 {
    (now.as_micros() / 1000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Window = Window::of_millis(250);

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn what_stays_open_grows_old() {
        let young = Young::default();
        let first = young.open(at(0), WINDOW);
        let second = young.open(at(200), WINDOW);
        assert_eq!(young.count(at(200), WINDOW), 2);
        let third = young.open(at(300), WINDOW);
        assert_eq!(young.count(at(499), WINDOW), 3);
        assert_eq!(young.count(at(500), WINDOW), 1, "the first span is held now");
        young.close(first);
        assert_eq!(young.count(at(500), WINDOW), 1, "and its end changes nothing");
        young.close(third);
        assert_eq!(young.count(at(500), WINDOW), 0);
        let fourth = young.open(at(600), WINDOW);
        young.close(second);
        assert_eq!(
            young.count(at(600), WINDOW),
            1,
            "the second's span was taken over by the fourth's"
        );
        young.close(fourth);
        assert_eq!(young.count(at(600), WINDOW), 0);
    }

    proptest! {
        #[test]
        fn young_ones_are_all_counted_and_old_ones_never(steps in prop::collection::vec((1u64..200, 0u8..3), 1..80)) {
            let young = Young::default();
            let mut open: Vec<(u64, Ticket)> = Vec::new();
            let mut now = 1_000_000;
            for (passed, what) in steps {
                now += passed;
                if what == 0 && !open.is_empty() {
                    let (_, ticket) = open.remove(0);
                    young.close(ticket);
                } else {
                    open.push((now, young.open(at(now), WINDOW)));
                }
                let least = open.iter().filter(|(t, _)| now - t < 250).count();
                let most = open.iter().filter(|(t, _)| now - t < 500).count();
                let count = young.count(at(now), WINDOW) as usize;
                prop_assert!((least..=most).contains(&count), "{least} {count} {most}");
            }
        }
    }
}
