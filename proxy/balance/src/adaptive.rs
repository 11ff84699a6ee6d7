//! The default: least active requests by weight, where a request at an endpoint that is slower than its fleet counts as many times as it is
//! slower, and more. Only requests that are young count as active: who holds long polls and sockets is not avoided for it. What lasts, an
//! upgrade or where a session lives, goes where the fewest requests are open, whatever the latency of this second says. An endpoint that is
//! slow is left alone, and looked at again after 250 ms, twice as long each time, up to 8 s; an answer as fast as the others' is believed by
//! a third. Endpoints that fail or hang are skipped, as under every algorithm. Source: our own, found by simulation against least request
//! and peak EWMA (`tenbin-simulation`). Trade-off: a few more atomics a request than the others, and an endpoint less than twice as slow as
//! the rest is told by its open requests alone.

use std::time::Duration;

use crate::candidates::{Candidate, Candidates};
use crate::least::{Cost, FLOOR};
use crate::young::Window;

/// Active requests by weight, dearer where answers are slow.
pub(crate) struct Adaptive<'a> {
    pub(crate) of: &'a Candidates<'a>,
    /// The fleet's usual latency, as a logarithm.
    pub(crate) usual: Option<f32>,
    /// How long a request is young.
    pub(crate) window: Window,
}

impl Cost for Adaptive<'_> {
    #[inline]
    fn cost(&self, candidate: &Candidate) -> f32 {
        let load = &candidate.load;
        if self.of.ask.lasts {
            return load.open() as f32 / self.of.weight(candidate);
        }
        let active = load.young_within(self.of.ask.now, self.window) as f32;
        ((active + 1.0) * load.penalty(self.usual) - 1.0) / self.of.weight(candidate)
    }

    fn patience(&self, candidate: &Candidate) -> Duration {
        let load = &candidate.load;
        if !self.of.ask.lasts && load.penalty(self.usual) > 1.0 {
            load.rest()
        } else {
            FLOOR
        }
    }
}
