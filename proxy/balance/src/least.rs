//! The cheapest of all candidates, or of some: what least request, peak EWMA and the default have in common. A full scan where
//! endpoints are few is the optimum for equal ones; where they are many, the better of two random ones is nearly as good at a fixed
//! price (Mitzenmacher, "The power of two choices", 2001). They are distinct: drawn with replacement, a slow endpoint meets itself
//! and wins (measured: 2.6 × instead of 1.7 × the ideal p99). Among equals the one whose turn is due first: ties rotate, by weight.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::Rng;
use crate::candidates::Candidates;
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
    fn cost(&self, index: usize) -> f32;
    /// For how long it may go unpicked.
    fn patience(&self, _index: usize) -> Duration {
        FLOOR
    }
}

/// What was chosen.
pub(crate) struct Chosen {
    pub(crate) index: usize,
    /// Because it went without for too long.
    pub(crate) floor: bool,
}

/// The cheapest candidate of `choices` (of all, or two where they are many, unless given). `None` if none is usable.
pub(crate) fn choose(of: &Candidates<'_>, choices: Option<u32>, rng: &mut Rng, cost: &impl Cost) -> Option<Chosen> {
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
    let index = match sampled {
        Some(index) => {
            take_turn(of, index, 0);
            index
        }
        None => match scan(of, cost)? {
            Scanned::Starving(index) => return claim(of, index),
            Scanned::Cheapest(index) => {
                take_turn(of, index, 1);
                index
            }
        },
    };
    Some(Chosen { index, floor: false })
}

/// A starving endpoint, where it is its turn to be looked at: one after the other.
fn look(of: &Candidates<'_>, cost: &impl Cost) -> Option<usize> {
    let place = (of.clock / LOOKS) % of.tier.len() as u64;
    let index = of.tier.members[place as usize] as usize;
    (of.usable(index) && starves(of, index, cost)).then_some(index)
}

enum Scanned {
    Cheapest(usize),
    Starving(usize),
}

fn scan(of: &Candidates<'_>, cost: &impl Cost) -> Option<Scanned> {
    let mut best: Option<(usize, f32, u64)> = None;
    for index in of.iter() {
        let turn = of.load(index).turn.load(Relaxed);
        if is_behind(of, turn) && starves(of, index, cost) {
            return Some(Scanned::Starving(index));
        }
        let cost = cost.cost(index);
        let better = best.is_none_or(|(_, least, due)| cost < least || (cost == least && turn < due));
        if better {
            best = Some((index, cost, turn));
        }
    }
    best.map(|(index, ..)| Scanned::Cheapest(index))
}

/// The cheaper of two distinct random ones; `None` if they are not to be had at once.
fn better_of_two(of: &Candidates<'_>, rng: &mut Rng, cost: &impl Cost) -> Option<usize> {
    let (a, b) = of.tier.draw_two(rng);
    if a == b || !of.usable(a) || !of.usable(b) {
        return None;
    }
    let (cost_a, cost_b) = (cost.cost(a), cost.cost(b));
    let turn = |index| of.load(index).turn.load(Relaxed);
    let is_b = cost_b < cost_a || (cost_b == cost_a && turn(b) < turn(a));
    Some(if is_b { b } else { a })
}

/// The cheapest of as many distinct random ones as `seen` has room for; `None` if none of those drawn is usable.
fn sample(of: &Candidates<'_>, seen: &mut [u32], rng: &mut Rng, cost: &impl Cost) -> Option<usize> {
    let mut drawn = 0;
    let mut redraws = 0;
    let mut best: Option<(usize, f32, u64)> = None;
    while drawn < seen.len() && redraws < REDRAWS {
        let index = of.tier.draw(rng);
        if seen[..drawn].contains(&(index as u32)) || !of.usable(index) {
            redraws += 1;
            continue;
        }
        seen[drawn] = index as u32;
        drawn += 1;
        let (cost, turn) = (cost.cost(index), of.load(index).turn.load(Relaxed));
        if best.is_none_or(|(_, least, due)| cost < least || (cost == least && turn < due)) {
            best = Some((index, cost, turn));
        }
    }
    best.map(|(index, ..)| index)
}

/// Whether so many picks passed it by that it may be starving.
fn is_behind(of: &Candidates<'_>, turn: u64) -> bool {
    of.clock * TICKS > turn + (FLOOR_ROUNDS * of.tier.round * TICKS as f32) as u64
}

fn starves(of: &Candidates<'_>, index: usize, cost: &impl Cost) -> bool {
    is_behind(of, of.load(index).turn.load(Relaxed)) && of.unpicked(index) >= cost.patience(index)
}

/// Takes a starving endpoint.
fn claim(of: &Candidates<'_>, index: usize) -> Option<Chosen> {
    take_turn(of, index, 0);
    Some(Chosen { index, floor: true })
}

/// Its next turn is due when it has waited for its share of picks. What it waited too long is made up for, if that was not more than
/// so many of its turns; more, and it was left alone for a reason.
fn take_turn(of: &Candidates<'_>, index: usize, made_up: u64) {
    let load = of.load(index);
    // Threads that pick at once may count as one: it is a clock, not a count, and cheaper so.
    load.fleet().clock.store(of.clock + 1, Relaxed);
    let now = of.clock * TICKS;
    let wait = match of.tier.wait {
        Some(wait) if of.slow_start.is_none() => wait,
        _ => (of.tier.round / of.weight(index) * TICKS as f32) as u64,
    };
    let due = load.turn.load(Relaxed).min(now);
    let begin = if now - due > made_up * wait { now } else { due };
    load.turn.store(begin + wait, Relaxed);
}
