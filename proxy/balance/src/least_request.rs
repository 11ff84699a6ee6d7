//! Least request: the endpoint with the fewest open requests by its weight. Sources: as for `least`, which does the choosing.
//! Trade-off: an endpoint that fails fast looks idle, latency is not seen, and who holds more sockets gets fewer requests.

use crate::candidates::{Candidate, Candidates};
use crate::least::Cost;

/// Open requests by weight.
pub(crate) struct LeastRequest<'a>(pub(crate) &'a Candidates<'a>);

impl Cost for LeastRequest<'_> {
    #[inline]
    fn cost(&self, candidate: &Candidate) -> f32 {
        candidate.load.open() as f32 / self.0.weight(candidate)
    }
}
