//! Consistent hashing on a ring. Source: Karger et al., "Consistent Hashing and Random Trees" (1997), with many points an endpoint.
//! An endpoint's points follow from its identity and weight and the magnitude of the heaviest weight, never from how many others there are:
//! who comes or goes moves only its own keys. Trade-off: shares differ by about 6% between equal endpoints; Maglev is more even and moves more.

use crate::{Rng, hash};

/// Points of an endpoint of weight 1, where none weighs more than 3: shares differ by 1/√256.
const POINTS: u64 = 256;
/// The most points of a ring: 8 MiB. Beyond it every endpoint has half as many.
const POINTS_MAX: u64 = 1 << 20;

/// The ring: points in order of their position, found by the first bits of it.
#[derive(Debug)]
pub(crate) struct Ring {
    points: Box<[Point]>,
    /// Where the points of each bucket begin: a bucket is a range of positions with one point on average.
    starts: Box<[u32]>,
    shift: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    position: u32,
    endpoint: u32,
}

impl Ring {
    /// The ring of endpoints by identity and weight (above 0), numbered from 0 as they come.
    pub(crate) fn new(endpoints: &[(&str, u32)]) -> Self {
        let halvings = halvings(endpoints);
        let count = |weight: u32| ((u64::from(weight) * POINTS) >> halvings).div_ceil(2).max(1);
        let mut points = Vec::with_capacity(endpoints.iter().map(|&(_, weight)| 2 * count(weight) as usize).sum());
        for (endpoint, &(id, weight)) in (0u32..).zip(endpoints) {
            // Two points from each number that follows from its identity.
            let mut numbers = Rng::new(hash::of_endpoint(id));
            for _ in 0..count(weight) {
                let hash = numbers.next_u64();
                for position in [(hash >> 32) as u32, hash as u32] {
                    points.push(Point { position, endpoint });
                }
            }
        }
        let shift = u32::BITS - points.len().max(2).ilog2();
        let (points, starts) = sort(&points, shift);
        Ring { points, starts, shift }
    }

    /// The endpoints from the place of `key` on, clockwise, each as often as it has points; without end.
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = u32> {
        let position = (key >> 32) as u32;
        let bucket = (position >> self.shift) as usize;
        let mut at = self.starts[bucket] as usize;
        while self.points.get(at).is_some_and(|point| point.position < position) {
            at += 1;
        }
        let (before, after) = self.points.split_at(at);
        after.iter().chain(before).map(|point| point.endpoint).cycle()
    }
}

/// How often the points of each endpoint are halved, so that the heaviest has 512 to 1,023 at most. In whole halvings, so that it is the same
/// over nearly every change.
fn halvings(endpoints: &[(&str, u32)]) -> u32 {
    let heaviest = endpoints.iter().map(|&(_, weight)| weight).max().unwrap_or(1);
    let points = POINTS * endpoints.iter().map(|&(_, weight)| u64::from(weight)).sum::<u64>();
    let mut halvings = heaviest.max(1).ilog2().saturating_sub(1);
    while points >> halvings > POINTS_MAX {
        halvings += 1;
    }
    halvings
}

/// Sorts by buckets of the first bits, then within each: positions are evenly spread, so that each step is short.
fn sort(points: &[Point], shift: u32) -> (Box<[Point]>, Box<[u32]>) {
    let buckets = 1usize << (u32::BITS - shift);
    let mut starts = vec![0u32; buckets + 1];
    for point in points {
        starts[(point.position >> shift) as usize + 1] += 1;
    }
    for bucket in 0..buckets {
        starts[bucket + 1] += starts[bucket];
    }
    let mut next = starts.clone();
    let mut sorted = vec![Point::default(); points.len()];
    for &point in points {
        let place = &mut next[(point.position >> shift) as usize];
        sorted[*place as usize] = point;
        *place += 1;
    }
    for pair in starts.windows(2) {
        sorted[pair[0] as usize..pair[1] as usize].sort_unstable();
    }
    (sorted.into(), starts.into())
}
