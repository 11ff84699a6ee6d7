//! Round robin, smooth and weighted: each in turn. The order is computed once (`sequence`), so that a turn is one shared counter. The traps
//! avoided are those of others: starting every proxy at the first endpoint, starting over at each update, giving a missing endpoint's
//! share to its neighbour, counting per thread, letting a light endpoint wait for a whole period.
//! Trade-off: knows nothing of load, so a slow endpoint collects requests.

use std::sync::atomic::Ordering::Relaxed;

use crate::candidates::{Candidate, Candidates};

/// One turn of an endpoint, in the parts in which it is saved up.
const WHOLE: u32 = 1 << 16;
/// How many turns of endpoints that are being eased in may pass unused, for each endpoint.
const PASSED: usize = 8;

/// Takes the next turn of a usable endpoint. A turn that falls on an unusable one is used up, so that the turns of the others stay equally
/// spaced; one that is eased in uses the part of its turns that is its share, unless there is no other. `None` if none is usable.
pub(crate) fn choose<'a>(of: &Candidates<'a>) -> Option<&'a Candidate> {
    let order = &of.tier.order;
    let turns = order.len() * if of.slow_start.is_some() { PASSED } else { 1 };
    let mut ticket = 0;
    for _ in 0..turns {
        ticket = of.tier.turn.fetch_add(1, Relaxed);
        let place = order[(ticket % order.len() as u64) as usize];
        let candidate = &of.tier.members[place as usize];
        if of.usable(candidate) && has_turn(of, candidate) {
            return Some(candidate);
        }
    }
    // Nobody saved up a turn yet, or other threads took all that would have been good for us: not always the same endpoint.
    of_usable(of, ticket as usize / turns.max(1))
}

#[cold]
fn of_usable<'a>(of: &Candidates<'a>, calls: usize) -> Option<&'a Candidate> {
    of.iter().nth(calls % of.iter().count().max(1))
}

/// Whether an endpoint that is being eased in has saved up a whole turn.
fn has_turn(of: &Candidates<'_>, candidate: &Candidate) -> bool {
    let share = of.share(candidate);
    if share >= 1.0 {
        return true;
    }
    let part = (share * WHOLE as f32) as u32;
    let saved = candidate.load.credit.fetch_add(part, Relaxed);
    // One thread alone sees the sum pass a whole turn.
    saved / WHOLE != saved.wrapping_add(part) / WHOLE
}
