//! The cheapest of all candidates, or of some: what least request, peak EWMA and the default have in common. A full scan where
//! endpoints are few is the optimum for equal ones; where they are many, the better of two random ones is nearly as good at a fixed
//! price (Mitzenmacher, "The power of two choices", 2001). They are distinct: drawn with replacement, a slow endpoint meets itself
//! and wins (measured: 2.6 × instead of 1.7 × the ideal p99). Among equals the one whose turn is due first: ties rotate, by weight.

use std::hint::select_unpredictable;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::Rng;
use crate::candidates::{Candidate, Candidates};
use crate::settings::Policy;

/// Up to this many endpoints all are looked at.
pub const FULL_SCAN: usize = 32;

/// Nobody goes without a request for longer than this while others get theirs.
pub(crate) const FLOOR: Duration = Duration::from_secs(8);
/// Nor before so many times its share of picks went to others: where requests are few, most of them are not to be looks at a slow endpoint.
const FLOOR_ROUNDS: f32 = 16.0;
/// How often a candidate that is unusable or was drawn already is drawn again.
const REDRAWS: u32 = 16;

/// Where not all are looked at, every so manyth pick looks whether somebody starves.
const LOOKS: u64 = 8;

/// Parts of a pick in which turns are counted.
pub(crate) const TICKS: u64 = 1024;

/// How an algorithm sees a candidate.
pub(crate) trait Cost {
    /// What a request there costs.
    fn cost(&self, candidate: &Candidate) -> f32;
    /// For how long it may go unpicked.
    fn patience(&self, _candidate: &Candidate) -> Duration {
        FLOOR
    }
}

/// What was chosen.
pub(crate) struct Chosen<'a> {
    pub(crate) candidate: &'a Candidate,
    /// Because it went without for too long.
    pub(crate) floor: bool,
}

/// The cheapest candidate of `choices` (of all, or two where they are many, unless given). `None` if none is usable.
#[inline]
pub(crate) fn choose<'a>(
    of: &Candidates<'a>,
    choices: Option<u32>,
    rng: &mut Rng,
    cost: &impl Cost,
) -> Option<Chosen<'a>> {
    let few = of.tier.len() <= FULL_SCAN;
    let wanted = choices.unwrap_or(2).clamp(2, Policy::CHOICES_MAX) as usize;
    let sampled = if wanted >= of.tier.len() || (few && choices.is_none()) {
        None
    } else {
        if of.clock.is_multiple_of(LOOKS)
            && let Some(starving) = look(of, cost)
        {
            return claim(of, starving);
        }
        match wanted {
            2 => better_of_two(of, rng, cost).or_else(|| sample(of, &mut [0; 2], rng, cost)),
            _ => sample(of, &mut [0; Policy::CHOICES_MAX as usize][..wanted], rng, cost),
        }
    };
    let candidate = match sampled {
        Some(candidate) => {
            take_turn(of, candidate, 0);
            candidate
        }
        None => match scan(of, cost)? {
            Scanned::Starving(candidate) => return claim(of, candidate),
            Scanned::Cheapest(candidate) => {
                take_turn(of, candidate, 1);
                candidate
            }
        },
    };
    Some(Chosen {
        candidate,
        floor: false,
    })
}

/// A starving endpoint, where it is its turn to be looked at: one after the other.
#[inline(never)]
fn look<'a>(of: &Candidates<'a>, cost: &impl Cost) -> Option<&'a Candidate> {
    let place = (of.clock / LOOKS) % of.tier.len() as u64;
    let candidate = &of.tier.members[place as usize];
    (of.usable(candidate) && starves(of, candidate, cost)).then_some(candidate)
}

enum Scanned<'a> {
    Cheapest(&'a Candidate),
    Starving(&'a Candidate),
}

#[inline(never)]
fn scan<'a>(of: &Candidates<'a>, cost: &impl Cost) -> Option<Scanned<'a>> {
    let mut best: Option<(&'a Candidate, f32, u64)> = None;
    for candidate in of.iter() {
        let turn = candidate.load.turn.load(Relaxed);
        if is_behind(of, turn) && starves(of, candidate, cost) {
            return Some(Scanned::Starving(candidate));
        }
        let cost = cost.cost(candidate);
        let better = best.is_none_or(|(_, least, due)| cost < least || (cost == least && turn < due));
        if better {
            best = Some((candidate, cost, turn));
        }
    }
    best.map(|(candidate, ..)| Scanned::Cheapest(candidate))
}

/// The cheaper of two distinct random ones; `None` if they are not to be had at once.
#[inline]
fn better_of_two<'a>(of: &Candidates<'a>, rng: &mut Rng, cost: &impl Cost) -> Option<&'a Candidate> {
    let (a, b) = of.tier.draw_two(rng);
    if std::ptr::eq(a, b) || !of.usable(a) || !of.usable(b) {
        return None;
    }
    let (cost_a, cost_b) = (cost.cost(a), cost.cost(b));
    let turn = |candidate: &Candidate| candidate.load.turn.load(Relaxed);
    Some(if cost_a == cost_b {
        // Which it is can't be foreseen, and a wrong guess costs more than a comparison.
        select_unpredictable(turn(b) < turn(a), b, a)
    } else if cost_b < cost_a {
        b
    } else {
        a
    })
}

/// The cheapest of as many distinct random ones as `seen` has room for; `None` if none of those drawn is usable.
#[inline(never)]
fn sample<'a>(of: &Candidates<'a>, seen: &mut [u32], rng: &mut Rng, cost: &impl Cost) -> Option<&'a Candidate> {
    let mut drawn = 0;
    let mut redraws = 0;
    let mut best: Option<(&'a Candidate, f32, u64)> = None;
    while drawn < seen.len() && redraws < REDRAWS {
        let candidate = of.tier.draw(rng);
        if seen[..drawn].contains(&candidate.index) || !of.usable(candidate) {
            redraws += 1;
            continue;
        }
        seen[drawn] = candidate.index;
        drawn += 1;
        let (cost, turn) = (cost.cost(candidate), candidate.load.turn.load(Relaxed));
        if best.is_none_or(|(_, least, due)| cost < least || (cost == least && turn < due)) {
            best = Some((candidate, cost, turn));
        }
    }
    best.map(|(candidate, ..)| candidate)
}

/// Whether so many picks passed it by that it may be starving.
fn is_behind(of: &Candidates<'_>, turn: u64) -> bool {
    of.clock * TICKS > turn + (FLOOR_ROUNDS * of.tier.round * TICKS as f32) as u64
}

fn starves(of: &Candidates<'_>, candidate: &Candidate, cost: &impl Cost) -> bool {
    is_behind(of, candidate.load.turn.load(Relaxed)) && of.unpicked(candidate) >= cost.patience(candidate)
}

/// Takes a starving endpoint.
fn claim<'a>(of: &Candidates<'a>, candidate: &'a Candidate) -> Option<Chosen<'a>> {
    take_turn(of, candidate, 0);
    Some(Chosen { candidate, floor: true })
}

/// Its next turn is due when it has waited for its share of picks. What it waited too long is made up for, if that was not more than
/// so many of its turns; more, and it was left alone for a reason.
#[inline]
fn take_turn(of: &Candidates<'_>, candidate: &Candidate, made_up: u64) {
    let load = &candidate.load;
    // Threads that pick at once may count as one: it is a clock, not a count, and cheaper so.
    of.fleet.clock.store(of.clock + 1, Relaxed);
    let now = of.clock * TICKS;
    let wait = match of.tier.wait {
        Some(wait) if of.slow_start.is_none() => wait,
        _ => (of.tier.round / of.weight(candidate) * TICKS as f32) as u64,
    };
    let due = load.turn.load(Relaxed).min(now);
    let begin = if now - due > made_up * wait { now } else { due };
    load.turn.store(begin + wait, Relaxed);
}
