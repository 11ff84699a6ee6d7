//! Least request: the endpoint with the fewest open ones. A full scan where they are few is the optimum for equal endpoints; where
//! they are many, the better of two random ones is nearly as good at a fixed price (Mitzenmacher, "The power of two choices", 2001).
//! The two are distinct: drawn with replacement, a slow endpoint meets itself and wins (measured: 2.6 × instead of 1.7 × the ideal p99).
//! Trade-off: an endpoint that fails fast looks idle; latency and failures are not seen here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::balancer::Member;
use crate::{Load, Rng};

/// Up to this many endpoints all are looked at.
pub const FULL_SCAN: usize = 32;

/// How often a random candidate is drawn again because it is unusable, before all are looked at.
const DRAWS: usize = 8;

/// The least loaded of `candidates` that are `usable` (of two, where they are many); among equals the one that waited longest, so that
/// ties rotate. `None` if none is usable.
pub(crate) fn choose(
    members: &[Member],
    candidates: &[u32],
    clock: &AtomicU64,
    rng: &mut Rng,
    usable: impl Fn(usize) -> bool,
) -> Option<usize> {
    let chosen = if candidates.len() <= FULL_SCAN {
        None
    } else {
        of_two(members, candidates, rng, &usable)
    };
    let chosen = match chosen {
        Some(index) => index,
        None => candidates
            .iter()
            .map(|&i| i as usize)
            .filter(|&i| usable(i))
            .min_by_key(|&i| key(&members[i].load))?,
    };
    let turn = clock.fetch_add(1, Relaxed) + 1;
    members[chosen].load.turn.store(turn, Relaxed);
    Some(chosen)
}

/// The better of two distinct random usable ones; `None` if the draws do not find two.
fn of_two(members: &[Member], candidates: &[u32], rng: &mut Rng, usable: impl Fn(usize) -> bool) -> Option<usize> {
    for _ in 0..DRAWS {
        let (a, b) = rng.two_below(candidates.len());
        let (a, b) = (candidates[a] as usize, candidates[b] as usize);
        if usable(a) && usable(b) {
            let better = key(&members[b].load) < key(&members[a].load);
            return Some(if better { b } else { a });
        }
    }
    None
}

fn key(load: &Load) -> (u32, u64) {
    (load.open(), load.turn.load(Relaxed))
}
