//! Round robin, smooth and weighted: each in turn. The order is computed once (`sequence`), so that a turn is one shared counter. The traps
//! avoided are those of others: starting every proxy at the first endpoint, starting over at each update, giving a missing endpoint's
//! share to its neighbour, counting per thread, letting a light endpoint wait for a whole period.
//! Trade-off: knows nothing of load, so a slow endpoint collects requests.

use std::sync::atomic::Ordering::Relaxed;

use crate::candidates::Candidates;

/// One turn of an endpoint, in the parts in which it is saved up.
const WHOLE: u32 = 1 << 16;
/// How many turns of endpoints that are being eased in may pass unused, for each endpoint.
const PASSED: usize = 8;

/// Takes the next turn of a usable endpoint. A turn that falls on an unusable one is used up, so that the turns of the others stay equally
/// spaced; one that is eased in uses the part of its turns that is its share, unless there is no other. `None` if none is usable.
pub(crate) fn choose(of: &Candidates<'_>) -> Option<usize> {
    let order = &of.tier.order;
    let turns = order.len() * if of.slow_start.is_some() { PASSED } else { 1 };
    let mut ticket = 0;
    for _ in 0..turns {
        ticket = of.tier.turn.fetch_add(1, Relaxed);
        let place = order[(ticket % order.len() as u64) as usize];
        let index = of.tier.members[place as usize] as usize;
        if of.usable(index) && has_turn(of, index) {
            return Some(index);
        }
    }
    // Nobody saved up a turn yet, or other threads took all that would have been good for us: not always the same endpoint.
    let calls = ticket as usize / turns.max(1);
    of.iter().nth(calls % of.iter().count().max(1))
}

/// Whether an endpoint that is being eased in has saved up a whole turn.
fn has_turn(of: &Candidates<'_>, index: usize) -> bool {
    let share = of.share(index);
    if share >= 1.0 {
        return true;
    }
    let part = (share * WHOLE as f32) as u32;
    let saved = of.load(index).credit.fetch_add(part, Relaxed);
    // One thread alone sees the sum pass a whole turn.
    saved / WHOLE != saved.wrapping_add(part) / WHOLE
}
