//! Moving averages in one atomic word, and durations as logarithms.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A moving average over samples, shared by all threads: the mean of the first ones, later an exponential one.
#[derive(Debug, Default)]
pub(crate) struct Average(AtomicU64);

impl Average {
    /// The average and how many samples it is of.
    pub(crate) fn get(&self) -> (f32, u32) {
        unpack(self.0.load(Relaxed))
    }

    /// Adds a sample. Each counts as much as any other up to `memory` of them, then the oldest fade.
    pub(crate) fn add(&self, sample: f32, memory: u32) {
        let mut word = self.0.load(Relaxed);
        loop {
            let (average, samples) = unpack(word);
            let samples = samples.saturating_add(1);
            let share = 1.0 / samples.min(memory) as f32;
            let next = pack(average + (sample - average) * share, samples);
            match self.0.compare_exchange_weak(word, next, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(current) => word = current,
            }
        }
    }
}

fn unpack(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

fn pack(average: f32, samples: u32) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(samples)
}

/// A duration in microseconds. By way of 64 bits, which are enough and for which processors have an instruction.
pub(crate) fn micros(duration: Duration) -> f32 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX) as f32
}

/// A duration as the logarithm to base 2 of its microseconds: at least 0.
pub(crate) fn bits(duration: Duration) -> f32 {
    micros(duration).max(1.0).log2()
}

/// The duration of a logarithm.
pub(crate) fn from_bits(bits: f32) -> Duration {
    // Below 2^50 µs, 35 years.
    Duration::from_micros(bits.clamp(0.0, 50.0).exp2().round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_samples_are_averaged_the_later_ones_fade() {
        let average = Average::default();
        for sample in [1.0, 2.0, 3.0] {
            average.add(sample, 4);
        }
        assert!((average.get().0 - 2.0).abs() < 1e-6);
        for _ in 0..100 {
            average.add(10.0, 4);
        }
        assert!((average.get().0 - 10.0).abs() < 1e-3);
        assert_eq!(average.get().1, 103);
    }

    #[test]
    fn it_goes_on_after_more_samples_than_can_be_counted() {
        let average = Average(AtomicU64::new(pack(1.0, u32::MAX - 1)));
        for _ in 0..4 {
            average.add(3.0, 2);
        }
        assert_eq!(average.get(), (2.875, u32::MAX));
    }

    #[test]
    fn durations_and_logarithms() {
        for micros in [1, 1000, 1 << 20, 60_000_000] {
            let duration = Duration::from_micros(micros);
            let back = from_bits(bits(duration)).as_micros() as f64;
            assert!((back / micros as f64 - 1.0).abs() < 0.001, "{micros} {back}");
        }
        assert_eq!(bits(Duration::ZERO), 0.0);
    }
}
