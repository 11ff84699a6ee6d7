//! What the endpoints of one cluster tell of each other: how long a request usually takes there, how many fail. An endpoint is judged
//! against its fleet, so that a wrong deployment or a slow database takes nobody out. Atomics only; one object for as long as
//! the cluster lives.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::average::{Average, bits, from_bits};
use crate::young::Window;

/// What an endpoint is left out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// It could not be connected to.
    Unreachable,
    /// It failed too often in a row.
    Failing,
    /// Requests waited for too long, and too many in a row.
    Hanging,
}

impl Charge {
    /// Each of them, in their order.
    pub const ALL: [Charge; 3] = [Charge::Unreachable, Charge::Failing, Charge::Hanging];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Charge::Unreachable => "unreachable",
            Charge::Failing => "failing",
            Charge::Hanging => "hanging",
        }
    }
}

/// The shared state of a cluster's endpoints.
#[derive(Debug, Default)]
pub struct Fleet {
    /// Open requests at all endpoints, as long as a bound asks for them.
    open: AtomicU32,
    is_bounded: AtomicBool,
    counts_young: AtomicBool,
    /// Endpoints that may be picked, and those of them that are skipped for what their answers said.
    size: AtomicU32,
    convicted: AtomicU32,
    /// After how many milliseconds an open request is held; 0 before anything is known.
    held_after: AtomicU32,
    /// Picks so far: the time by which algorithms tell who waited longest.
    pub(crate) clock: AtomicU64,
    /// Latency to a response's head, as a logarithm ([`bits`]).
    latency: Average,
    /// The peak-sensitive averages of endpoints after each answer, as logarithms.
    peaks: Average,
    /// From a request's begin to its end, as a logarithm.
    duration: Average,
    /// Over which time peaks of latency fade, in milliseconds; set by the balancer. 0 is its default.
    decay: AtomicU32,
    /// Share of answers that are failures.
    failures: Average,
    /// Share of answers that were late, and the latency of those, as a logarithm.
    late: Average,
    late_latency: Average,
    /// How often an endpoint began to be left out, by [`Charge`].
    charges: [AtomicU64; Charge::ALL.len()],
}

impl Fleet {
    /// How far a single latency may lie from the average, as a logarithm: a long poll of 25 s counts as 32 × the average.
    pub(crate) const CLIP: f32 = 5.0;
    /// What is added to each latency before it is compared: differences far below it are chance, and nobody's loss.
    const GRAIN: Duration = Duration::from_millis(1);
    /// Answers by which the average latency is forgotten.
    const MEMORY: u32 = 512;
    /// An answer that takes this many times as long as the average is late.
    const LATE: f32 = 10.0;
    /// After how long an answer is late while nobody knows what is usual.
    const LATE_UNKNOWN: Duration = Duration::from_secs(5);
    /// The share of late answers from which on they are nothing unusual.
    const LATE_OFTEN: f32 = 0.005;
    /// The shortest time after which an answer is late.
    pub(crate) const LATE_MIN: Duration = Duration::from_millis(100);
    /// A request that is open for this many times the usual duration, as a logarithm, is held rather than worked on: 8 times.
    const HELD: f32 = 3.0;
    /// The shortest time after which a request is held.
    const HELD_MIN: Duration = Duration::from_millis(250);
    const WINDOW_MIN: Window = Window::of_millis(Self::HELD_MIN.as_millis() as u32);
    /// Over which time peaks of latency fade, unless said otherwise.
    const DECAY: Duration = Duration::from_secs(10);
    /// How improbable a row of bad answers has to be by mere chance before it counts against an endpoint.
    const CHANCE: f32 = 1e-4;
    /// The shortest row that is asked for, and the longest.
    pub(crate) const ROW_MIN: u32 = 3;
    const ROW_MAX: u32 = 64;

    /// What a balancer over `size` endpoints asks for: open requests of all, young ones of each.
    pub(crate) fn serve(&self, size: usize, is_bounded: bool, counts_young: bool) {
        self.size.store(u32::try_from(size).unwrap_or(u32::MAX), Relaxed);
        self.is_bounded.store(is_bounded, Relaxed);
        self.counts_young.store(counts_young, Relaxed);
    }

    /// An endpoint began to be left out for this.
    pub fn charge(&self, charge: Charge) {
        self.charges[charge as usize].fetch_add(1, Relaxed);
    }

    /// How often one began to be left out for this.
    pub fn charges(&self, charge: Charge) -> u64 {
        self.charges[charge as usize].load(Relaxed)
    }

    pub(crate) fn is_bounded(&self) -> bool {
        self.is_bounded.load(Relaxed)
    }

    pub(crate) fn counts_young(&self) -> bool {
        self.counts_young.load(Relaxed)
    }

    /// One more endpoint is skipped for what its answers said; false, and none is, where half of them are.
    pub(crate) fn convict(&self) -> bool {
        let most = self.size.load(Relaxed) / 2;
        let one_more = |convicted| (convicted < most).then_some(convicted + 1);
        self.convicted.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// Whether more than half of what it answers is failures.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.failures.get().0 > 0.5
    }

    pub(crate) fn acquit(&self) {
        self.convicted.fetch_sub(1, Relaxed);
    }

    /// Open requests at all endpoints, as long as a bound asks for them.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// Counts an answer; gives its latency as a logarithm, clipped around the average.
    pub(crate) fn answered(&self, latency: Duration) -> f32 {
        let late = latency > self.late_after();
        self.late.add(f32::from(u8::from(late)), Self::MEMORY);
        if late {
            self.late_latency.add(bits(latency), 64);
        }
        let value = bits(latency + Self::GRAIN);
        let (average, samples) = self.latency.get();
        let clipped = if samples == 0 {
            value
        } else {
            value.clamp(average - Self::CLIP, average + Self::CLIP)
        };
        self.latency.add(clipped, Self::MEMORY);
        clipped
    }

    pub(crate) fn judged(&self, failed: bool) {
        self.failures.add(f32::from(u8::from(failed)), Self::MEMORY);
    }

    pub(crate) fn ended(&self, duration: Duration) {
        let value = bits(duration);
        let (average, samples) = self.duration.get();
        // Half of the requests decide, not the longest: a step of one bit each, whatever the distance.
        let clipped = if samples == 0 {
            value
        } else {
            value.clamp(average - 1.0, average + 1.0)
        };
        self.duration.add(clipped, 64);
        let held = from_bits(self.duration.get().0 + Self::HELD).max(Self::HELD_MIN);
        self.held_after
            .store(u32::try_from(held.as_millis()).unwrap_or(u32::MAX), Relaxed);
    }

    /// The average latency to a response's head, as a logarithm; `None` before the first answer.
    pub(crate) fn latency_bits(&self) -> Option<f32> {
        let (average, samples) = self.latency.get();
        (samples > 0).then_some(average)
    }

    /// The latency of a logarithm that [`Fleet::answered`] gave.
    pub(crate) fn latency_of(bits: f32) -> Duration {
        from_bits(bits).saturating_sub(Self::GRAIN)
    }

    /// The average (geometric mean) latency to a response's head; `None` before the first answer.
    pub fn latency(&self) -> Option<Duration> {
        self.latency_bits().map(Self::latency_of)
    }

    pub(crate) fn peaked(&self, micros: f32) {
        self.peaks.add(micros.max(1.0).log2(), Self::MEMORY);
    }

    /// What the peak-sensitive average of an endpoint usually is, in microseconds: that of a newcomer.
    pub(crate) fn usual_peak(&self) -> f32 {
        self.peaks.get().0.exp2()
    }

    pub(crate) fn set_decay(&self, decay: Duration) {
        let millis = u32::try_from(decay.as_millis()).unwrap_or(u32::MAX);
        self.decay.store(millis, Relaxed);
    }

    pub(crate) fn decay(&self) -> Duration {
        match self.decay.load(Relaxed) {
            0 => Self::DECAY,
            millis => Duration::from_millis(millis.into()),
        }
    }

    /// After how long an answer is late.
    fn late_after(&self) -> Duration {
        match self.latency() {
            Some(usual) => usual.mul_f32(Self::LATE).max(Self::LATE_MIN),
            None => Self::LATE_UNKNOWN,
        }
    }

    /// After how long nobody waits for an answer any more: later than late where late answers are known not to be rare, as long polls are.
    pub fn overdue(&self) -> Duration {
        let late = self.late_after();
        if self.late.get().0 < Self::LATE_OFTEN {
            return late;
        }
        // Twice as long as they usually take.
        late.max(from_bits(self.late_latency.get().0 + 1.0))
    }

    /// After how long an open request is held: a long poll, a stream, a socket.
    pub fn held_after(&self) -> Duration {
        match self.held_after.load(Relaxed) {
            0 => Self::HELD_MIN,
            millis => Duration::from_millis(millis.into()),
        }
    }

    /// The same, for who counts them.
    pub(crate) fn window(&self) -> Window {
        match self.held_after.load(Relaxed) {
            0 => Self::WINDOW_MIN,
            millis => Window::of_millis(millis),
        }
    }

    /// How many failures in a row can't be chance any more, as failures go here.
    pub(crate) fn failures_in_a_row(&self) -> u32 {
        row(self.failures.get().0, Self::ROW_MIN)
    }

    /// How many requests in a row may wait for late answers before it can't be chance any more.
    pub(crate) fn late_in_a_row(&self) -> u32 {
        row(self.late.get().0, Self::ROW_MIN)
    }
}

/// The length of a row of events of probability `share` that comes by chance once in 10,000 times; `least` or more.
fn row(share: f32, least: u32) -> u32 {
    if share <= 0.0 {
        return least;
    }
    if share >= 0.9 {
        return Fleet::ROW_MAX;
    }
    let length = (Fleet::CHANCE.ln() / share.ln()).ceil();
    (length as u32).clamp(least, Fleet::ROW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_as_long_as_chance_needs() {
        assert_eq!(row(0.0, 3), 3);
        assert_eq!(row(0.01, 3), 3);
        assert_eq!(row(0.2, 3), 6);
        assert_eq!(row(0.5, 3), 14);
        assert_eq!(row(0.95, 3), Fleet::ROW_MAX);
    }

    #[test]
    fn a_long_poll_hardly_moves_the_average() {
        let fleet = Fleet::default();
        for n in 0..2000 {
            let long = n % 20 == 0;
            fleet.answered(Duration::from_millis(if long { 25_000 } else { 10 }));
        }
        let latency = fleet.latency().unwrap();
        assert!(latency < Duration::from_millis(14), "{latency:?}");
    }

    #[test]
    fn what_most_requests_take_decides_when_one_is_held() {
        let fleet = Fleet::default();
        for n in 0..2000 {
            fleet.ended(Duration::from_millis(if n % 5 == 0 { 25_000 } else { 40 }));
        }
        let held = fleet.held_after();
        assert!(held < Duration::from_secs(1), "{held:?}");
        for _ in 0..2000 {
            fleet.ended(Duration::from_secs(30));
        }
        assert!(
            fleet.held_after() > Duration::from_secs(60),
            "an app whose every request is long"
        );
    }
}
