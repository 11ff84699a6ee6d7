//! Least request: the endpoint with the fewest open requests by its weight. Sources: as for `least`, which does the choosing.
//! Trade-off: an endpoint that fails fast looks idle, latency is not seen, and who holds more sockets gets fewer requests.

use std::time::Duration;

use crate::Time;
use crate::candidates::Candidates;
use crate::least::Cost;

/// Open requests by weight.
pub(crate) struct LeastRequest<'a>(pub(crate) Candidates<'a>);

impl Cost for LeastRequest<'_> {
    fn cost(&self, index: usize) -> f32 {
        self.0.load(index).open() as f32 / self.0.weight(index)
    }
}

/// Peak EWMA: least latency times open requests, by weight. The latency rises to a peak at once and is forgotten over time, and a failure
/// counts as ten times the usual latency. Source: Finagle's Peak EWMA, as in Linkerd; a newcomer is taken to be as fast as its fleet.
/// Trade-off: feels a slow endpoint at once, but also takes each long poll for slowness.
pub(crate) struct PeakEwma<'a> {
    pub(crate) of: Candidates<'a>,
    pub(crate) decay: Duration,
    /// The fleet's usual latency in microseconds.
    pub(crate) usual: f32,
}

impl Cost for PeakEwma<'_> {
    fn cost(&self, index: usize) -> f32 {
        let load = self.of.load(index);
        let latency = load.peak.read(self.of.now, self.decay).unwrap_or(self.usual);
        latency * (load.open() + 1) as f32 / self.of.weight(index)
    }
}

/// The default: least active requests by weight, where a request at an endpoint that is slower than its fleet counts as many times as it
/// is slower, and more. Only requests that are young count as active: who holds long polls and sockets is not avoided for it (a request
/// that is known to be one goes where the fewest are open). An endpoint that is slow is left alone, and looked at again after 250 ms, twice as
/// long each time, up to 8 s; an answer as fast as the others' is believed by half. Endpoints that fail or hang are skipped, as under every
/// algorithm. Source: our own; found by simulation against least request and peak EWMA. Trade-off: more atomics a request than the others.
pub(crate) struct Adaptive<'a> {
    pub(crate) of: Candidates<'a>,
    /// The fleet's usual latency, as a logarithm.
    pub(crate) usual: Option<f32>,
    /// How long a request is young.
    pub(crate) window: Duration,
}

impl Adaptive<'_> {
    fn active(&self, index: usize, now: Time) -> u32 {
        let load = self.of.load(index);
        if self.of.held {
            load.open()
        } else {
            load.young_within(now, self.window)
        }
    }
}

impl Cost for Adaptive<'_> {
    fn cost(&self, index: usize) -> f32 {
        let active = self.active(index, self.of.now) as f32;
        let penalty = self.of.load(index).penalty(self.usual);
        ((active + 1.0) * penalty - 1.0) / self.of.weight(index)
    }

    fn patience(&self, index: usize) -> Duration {
        let load = self.of.load(index);
        if load.penalty(self.usual) > 1.0 {
            load.rest()
        } else {
            Duration::from_secs(8)
        }
    }
}
