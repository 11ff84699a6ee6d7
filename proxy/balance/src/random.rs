//! Random: any, by its weight. Trade-off: needs no state at all, and some endpoint always has a run of bad luck.

use crate::Rng;
use crate::candidates::Candidates;

/// How often an endpoint that is unusable, or not yet eased in, is drawn again.
const REDRAWS: usize = 64;

/// A random usable endpoint. `None` if none is usable.
pub(crate) fn choose(of: &Candidates<'_>, rng: &mut Rng) -> Option<usize> {
    for _ in 0..REDRAWS {
        let index = of.tier.draw(rng);
        if of.usable(index) && rng.unit() < of.share(index) {
            return Some(index);
        }
    }
    let usable = of.iter().count();
    of.iter().nth(rng.below(usable))
}
