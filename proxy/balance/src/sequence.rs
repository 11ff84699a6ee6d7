//! The order of turns of weighted round robin, in which at every moment each endpoint has had its share within one request.
//! Source: Tijdeman, "The chairman assignment problem" (Discrete Mathematics 32, 1980): of those whose next turn may come already,
//! the one whose must come first. As smooth as can be, and computed once instead of at each pick.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Rng;

/// The longest order of few endpoints. Weights that need a longer one are rounded.
const LENGTH_MAX: u64 = 16_384;
/// Up to how many endpoints of different weights every count is within one of its share from the very begin.
const FEW: usize = 16;

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
    reduced
        .iter()
        .map(|weight| ((weight * longest + total / 2) / total).max(1))
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A random place in `order` to begin at. Up to [`FEW`] places, or with equal weights, every count stays within one of its share from there;
/// with more, within two: hardly any begin would be left, and every proxy would begin with the heaviest.
pub(crate) fn start(order: &[u32], places: usize, rng: &mut Rng) -> usize {
    if order.len() == places || places > FEW {
        return rng.below(order.len());
    }
    let good = good_starts(order, places);
    good.get(rng.below(good.len())).copied().unwrap_or(0)
}

/// Where in `order` nobody is so far above or below its share that it comes to be more than one off, seen from there. The begin is.
fn good_starts(order: &[u32], places: usize) -> Vec<usize> {
    let mut turns = vec![Vec::new(); places];
    for (turn, &place) in (0i64..).zip(order) {
        turns[place as usize].push(turn);
    }
    // How many more of the endpoints each place is good for than the one before it.
    let mut steps = vec![0i64; order.len() + 1];
    for turns in &turns {
        for (from, to) in good_for(turns, order.len() as i64) {
            steps[from as usize] += 1;
            steps[to as usize + 1] -= 1;
        }
    }
    let good = steps.iter().scan(0, |sum, step| {
        *sum += step;
        Some(*sum == places as i64)
    });
    good.take(order.len())
        .enumerate()
        .filter_map(|(at, good)| good.then_some(at))
        .collect()
}

/// The places, from and to, that are good for the endpoint with these turns of an order of `length`.
fn good_for(turns: &[i64], length: i64) -> impl Iterator<Item = (i64, i64)> {
    let weight = turns.len() as i64;
    // How far above its share it is, times the length: highest just after a turn of its own, lowest just before.
    let above = move |nth: i64, at: i64| nth * length - at * weight;
    let highest = (0..)
        .zip(turns)
        .map(|(nth, at)| above(nth + 1, at + 1))
        .max()
        .unwrap_or(0);
    let lowest = (0..).zip(turns).map(|(nth, &at)| above(nth, at)).min().unwrap_or(0);
    let begins = [0].into_iter().chain(turns.iter().map(|at| at + 1));
    let ends = turns.iter().copied().chain([length - 1]);
    (0..).zip(begins.zip(ends)).filter_map(move |(nth, (begin, end))| {
        let from = -(length + lowest - above(nth, 0)).div_euclid(weight);
        let to = (length - highest + above(nth, 0)).div_euclid(weight);
        let (from, to) = (from.max(begin), to.min(end));
        (from <= to).then_some((from, to))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, prop, prop_assert, proptest};
    use proptest::test_runner::RngSeed;

    /// How far any count comes to be from its share in two rounds from `start` on.
    fn farthest(order: &[u32], weights: &[u32], start: usize) -> f64 {
        let total: u32 = weights.iter().sum();
        let mut counts = vec![0.0; weights.len()];
        let mut farthest = 0.0f64;
        for (turn, &place) in order.iter().cycle().skip(start).take(2 * order.len()).enumerate() {
            counts[place as usize] += 1.0;
            for (count, &weight) in counts.iter().zip(weights) {
                let share = (turn + 1) as f64 * f64::from(weight) / f64::from(total);
                farthest = farthest.max((count - share).abs());
            }
        }
        farthest
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn counts_stay_within_what_is_proven(weights in prop::collection::vec(1u32..60, 2..24)) {
            let order = sequence(&weights);
            let limit = 1.0 - 1.0 / (2 * weights.len() - 2) as f64;
            let farthest = farthest(&order, &weights, 0);
            prop_assert!(farthest <= limit + 1e-9, "{farthest} > {limit}");
        }

        #[test]
        fn the_good_starts_are_all_those_within_one(weights in prop::collection::vec(1u32..8, 2..6)) {
            let order = sequence(&weights);
            let good = good_starts(&order, weights.len());
            for start in 0..order.len() {
                let within = farthest(&order, &weights, start) <= 1.0 + 1e-9;
                prop_assert!(within == good.contains(&start), "{start} of {order:?}: {good:?}");
            }
        }
    }

    #[test]
    fn weights_that_need_too_long_an_order_are_rounded() {
        let weights: Vec<u32> = (501..=1000).collect();
        let order = sequence(&weights);
        assert!(order.len() < 17_000, "{}", order.len());
        let mut counts = vec![0u32; weights.len()];
        for &place in &order {
            counts[place as usize] += 1;
        }
        for (&weight, &count) in weights.iter().zip(&counts) {
            let share = f64::from(weight) * order.len() as f64 / 375_250.0;
            assert!(
                (f64::from(count) - share).abs() < 0.6,
                "{count} turns for {weight}: {share}"
            );
        }
    }

    #[test]
    fn nobody_and_nothing_but_itself() {
        assert!(sequence(&[]).is_empty());
        assert_eq!(&*sequence(&[1000]), [0]);
        assert_eq!(&*sequence(&[7, 7, 7]), [0, 1, 2]);
    }
}
