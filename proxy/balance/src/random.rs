//! Random: any, by its weight. Trade-off: needs no state at all, and some endpoint always has a run of bad luck.

use crate::Rng;
use crate::candidates::{Candidate, Candidates};

/// How often an endpoint that is unusable, or not yet eased in, is drawn again.
const REDRAWS: usize = 64;

/// A random usable endpoint. `None` if none is usable.
pub(crate) fn choose<'a>(of: &Candidates<'a>, rng: &mut Rng) -> Option<&'a Candidate> {
    for _ in 0..REDRAWS {
        let candidate = of.tier.draw(rng);
        if of.usable(candidate) && rng.unit() < of.share(candidate) {
            return Some(candidate);
        }
    }
    of_usable(of, rng)
}

#[cold]
fn of_usable<'a>(of: &Candidates<'a>, rng: &mut Rng) -> Option<&'a Candidate> {
    let usable = of.iter().count();
    of.iter().nth(rng.below(usable))
}
