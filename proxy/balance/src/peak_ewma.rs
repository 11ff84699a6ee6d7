//! Peak EWMA: the better of two random endpoints by latency times open requests, by weight. The latency rises to a peak at once and is
//! forgotten over time; a failure counts as ten times the usual latency, and a newcomer is taken to be what its fleet usually is.
//! Source: Finagle's Peak EWMA, as in Linkerd. Trade-off: feels a slow endpoint at once, but takes each long poll for slowness too, and what is a
//! little faster draws more than its share: never the best of all, but of two.

use std::time::Duration;

use crate::candidates::{Candidate, Candidates};
use crate::least::Cost;

/// How many are compared unless said otherwise.
pub(crate) const CHOICES: u32 = 2;

/// Latency times open requests, by weight.
pub(crate) struct PeakEwma<'a> {
    pub(crate) of: &'a Candidates<'a>,
    pub(crate) decay: Duration,
    /// What the average of an endpoint usually is, in microseconds.
    pub(crate) usual: f32,
}

impl Cost for PeakEwma<'_> {
    #[inline]
    fn cost(&self, candidate: &Candidate) -> f32 {
        let load = &candidate.load;
        let latency = load.peak.read(self.of.ask.now, self.decay).unwrap_or(self.usual);
        latency * (load.open() + 1) as f32 / self.of.weight(candidate)
    }
}
