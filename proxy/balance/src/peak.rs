//! A peak-sensitive moving average of latency: rises to a peak at once, forgets it over time.
//! Source: Finagle's Peak EWMA (Twitter, 2016), as in Linkerd.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Time;

/// The average in microseconds in the upper half, when it was that in milliseconds (modulo 2³²) in the lower. 0: nothing known.
#[derive(Debug, Default)]
pub(crate) struct Peak(AtomicU64);

impl Peak {
    /// A failure counts as this many times the fleet's usual latency.
    pub(crate) const FAILURE: f32 = 10.0;
    /// Takes a sample in microseconds, older ones fading over `decay`; gives the average.
    pub(crate) fn observe(&self, sample: f32, now: Time, decay: Duration) -> f32 {
        let mut word = self.0.load(Relaxed);
        loop {
            let next = match word {
                0 => sample,
                _ => {
                    let (average, age) = unpack(word, now);
                    let keep = fade(age, decay);
                    if sample > average {
                        sample
                    } else {
                        average * keep + sample * (1.0 - keep)
                    }
                }
            };
            match self
                .0
                .compare_exchange_weak(word, pack(next.max(1.0), now), Relaxed, Relaxed)
            {
                Ok(_) => return next,
                Err(current) => word = current,
            }
        }
    }

    /// The average in microseconds, faded by the time since its last sample; `None` before the first.
    pub(crate) fn read(&self, now: Time, decay: Duration) -> Option<f32> {
        let word = self.0.load(Relaxed);
        if word == 0 {
            return None;
        }
        let (average, age) = unpack(word, now);
        Some(average * fade(age, decay))
    }
}

fn fade(age: Duration, decay: Duration) -> f32 {
    (-age.as_secs_f32() / decay.as_secs_f32().max(1e-3)).exp()
}

fn millis(now: Time) -> u32 {
    (now.as_micros() / 1000) as u32
}

fn unpack(word: u64, now: Time) -> (f32, Duration) {
    let age = millis(now).wrapping_sub(word as u32);
    // A sample of another thread may be a little younger than now.
    let age = if age > u32::MAX / 2 { 0 } else { age };
    (f32::from_bits((word >> 32) as u32), Duration::from_millis(age.into()))
}

fn pack(average: f32, now: Time) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(millis(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn it_rises_at_once_and_falls_over_time() {
        let peak = Peak::default();
        assert_eq!(peak.read(at(5), DECAY), None);
        peak.observe(1_000.0, at(0), DECAY);
        peak.observe(50_000.0, at(10), DECAY);
        assert_eq!(peak.read(at(10), DECAY), Some(50_000.0));
        peak.observe(1_000.0, at(20), DECAY);
        assert!(
            peak.read(at(20), DECAY).unwrap() > 49_000.0,
            "one good answer says little"
        );
        let later = peak.read(at(10_020), DECAY).unwrap();
        assert!(
            (17_000.0..19_000.0).contains(&later),
            "a third is left after the decay: {later}"
        );
    }

    #[test]
    fn a_clock_that_is_behind_changes_nothing() {
        let peak = Peak::default();
        peak.observe(7_000.0, at(1_000), DECAY);
        assert_eq!(peak.read(at(900), DECAY), Some(7_000.0));
        assert_eq!(peak.observe(5_000.0, at(900), DECAY), 7_000.0);
    }

    #[test]
    fn no_decay_is_no_memory_and_a_number() {
        let peak = Peak::default();
        for now in [at(0), at(0), at(3)] {
            assert!(peak.observe(9.0, now, Duration::ZERO).is_finite());
            assert!(peak.read(now, Duration::ZERO).unwrap().is_finite());
        }
    }
}
