//! Round robin: each in turn. Source: as old as the field; the traps avoided are those of others: starting every proxy at the
//! first endpoint, starting over at each update, giving a missing endpoint's share to its neighbour, and counting per thread.
//! Trade-off: knows nothing of load, so a slow endpoint collects requests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Takes the next turn of `members` that is `usable`. A turn that falls on an unusable one is used up, so that the turns of the others
/// stay equally spaced. `None` if none is usable.
pub(crate) fn choose(members: &[u32], turn: &AtomicU64, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let n = members.len() as u64;
    for _ in 0..n {
        let ticket = turn.fetch_add(1, Relaxed);
        let index = members[(ticket % n) as usize] as usize;
        if usable(index) {
            return Some(index);
        }
    }
    // Other threads may have taken all the turns that would have been good for us.
    members.iter().map(|&i| i as usize).find(|&i| usable(i))
}
