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
    (-age.as_secs_f32() / decay.as_secs_f32()).exp()
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
