//! The order of turns of weighted round robin, in which at every moment each endpoint has had its share within one request.
//! Source: Tijdeman, "The chairman assignment problem" (Discrete Mathematics 32, 1980): of those whose next turn may come already,
//! the one whose must come first. As smooth as can be, and computed once instead of at each pick.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Rng;

/// The longest order of few endpoints. Weights that need a longer one are rounded.
const LENGTH_MAX: u64 = 16_384;
/// Up to how many steps all places are looked at to begin at a random one.
const LOOKED_AT: u64 = 1 << 16;

/// The order of turns for `weights` (above 0): places, each as often as its weight by the greatest common divisor. With equal weights
/// each once. Not empty unless `weights` is.
pub(crate) fn sequence(weights: &[u32]) -> Box<[u32]> {
    let weights = reduced(weights);
    let total: u64 = weights.iter().sum();
    let count = weights.len() as u64;
    if total == count {
        return (0..count as u32).collect();
    }
    let mut waiting: BinaryHeap<Reverse<(u64, u32, u64)>> = BinaryHeap::with_capacity(weights.len());
    let mut due: BinaryHeap<Reverse<(u64, u32, u64)>> = BinaryHeap::with_capacity(weights.len());
    for (place, &weight) in (0u32..).zip(&weights) {
        waiting.push(Reverse((release(1, weight, total, count), place, 1)));
    }
    let mut order = Vec::with_capacity(total as usize);
    for turn in 1..=total {
        while let Some(&Reverse((release, place, nth))) = waiting.peek()
            && release <= turn
        {
            waiting.pop();
            due.push(Reverse((
                deadline(nth, weights[place as usize], total, count),
                place,
                nth,
            )));
        }
        let Some(Reverse((_, place, nth))) = due.pop() else {
            continue;
        };
        order.push(place);
        let weight = weights[place as usize];
        waiting.push(Reverse((release(nth + 1, weight, total, count), place, nth + 1)));
    }
    order.into()
}

/// The first turn that may be the `nth` of a place: not more than 1 − 1/(2n − 2) above its share.
fn release(nth: u64, weight: u64, total: u64, count: u64) -> u64 {
    let slack = 2 * count - 2;
    ((nth * slack - (slack - 1)) * total).div_ceil(weight * slack)
}

/// The last turn that may be the `nth` of a place: not more than that below its share.
fn deadline(nth: u64, weight: u64, total: u64, count: u64) -> u64 {
    let slack = 2 * count - 2;
    ((nth - 1) * slack + slack - 1) * total / (weight * slack) + 1
}

/// The weights by their greatest common divisor, rounded where the order would be too long.
fn reduced(weights: &[u32]) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let reduced: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
    let total: u64 = reduced.iter().sum();
    let longest = LENGTH_MAX.max(4 * weights.len() as u64);
    if total <= longest {
        return reduced;
    }
    reduced.iter().map(|weight| (weight * longest / total).max(1)).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A random place in `order` to begin at, from which every endpoint's count stays within one of its share at all times.
pub(crate) fn start(order: &[u32], places: usize, rng: &mut Rng) -> usize {
    let total = order.len();
    if total == places {
        return rng.below(total);
    }
    if total as u64 * places as u64 > LOOKED_AT {
        return 0;
    }
    let mut weights = vec![0i64; places];
    for &place in order {
        weights[place as usize] += 1;
    }
    // How far each is above its share, times the length, after each turn.
    let length = total as i64;
    let mut above = vec![0i64; places];
    let mut highest = above.clone();
    let mut lowest = above.clone();
    let mut history = Vec::with_capacity(total);
    for &turn in order {
        history.push(above.clone());
        for place in 0..places {
            above[place] += i64::from(turn as usize == place) * length - weights[place];
            highest[place] = highest[place].max(above[place]);
            lowest[place] = lowest[place].min(above[place]);
        }
    }
    let within =
        |above: &Vec<i64>| (0..places).all(|p| highest[p] - above[p] <= length && above[p] - lowest[p] <= length);
    let good: Vec<usize> = (0..total).filter(|&at| within(&history[at])).collect();
    good.get(rng.below(good.len())).copied().unwrap_or(0)
}
