//! Consistent hashing on a ring. Source: Karger et al., "Consistent Hashing and Random Trees" (1997), with many points an endpoint.
//! An endpoint's points follow from its identity and weight and the magnitude of the heaviest weight, never from how many others there are:
//! who comes or goes moves only its own keys. Trade-off: shares differ by about 6% between equal endpoints; Maglev is more even and moves more.

use crate::{Rng, hash};

/// Points of an endpoint of weight 1, where none weighs more than 3: shares differ by 1/√256.
const POINTS: u64 = 256;
/// The most points of a ring: 4 MiB. Beyond it every endpoint has half as many.
const POINTS_MAX: u64 = 1 << 20;

/// The ring: points in order of their position, found by the first bits of it. It is large against caches, so it is as small as can be.
#[derive(Debug)]
pub(crate) struct Ring {
    /// The bits of its position that its bucket doesn't tell, then its endpoint.
    points: Box<[u32]>,
    /// Where the points of each bucket begin, and the last end: a bucket is a range of positions with two to four points on average.
    starts: Box<[u32]>,
    /// Bits of a position that tell its place in its bucket.
    shift: u32,
    /// Bits of an endpoint: no more than those that tell the bucket.
    bits: u32,
}

#[derive(Clone, Copy)]
struct Point {
    position: u32,
    endpoint: u32,
}

impl Ring {
    /// The ring of endpoints by identity and weight (above 0), numbered from 0 as they come.
    pub(crate) fn new(endpoints: &[(&str, u32)]) -> Self {
        let halvings = halvings(endpoints);
        let count: usize = endpoints.iter().map(|&(_, weight)| 2 * pairs(weight, halvings)).sum();
        let bits = endpoints.len().max(2).next_power_of_two().ilog2();
        let shift = u32::BITS - count.max(1).ilog2().saturating_sub(1).max(bits);
        // Sorted by buckets of the first bits, then within each: positions are evenly spread, so that each step is short. The points are
        // computed twice, which is cheaper than memory for all of them.
        let mut starts = vec![0u32; (1usize << (u32::BITS - shift)) + 2];
        let bucket = |point: Point| (point.position >> shift) as usize;
        for_each_point(endpoints, halvings, |point| starts[bucket(point) + 2] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut points = vec![0; count];
        // Where the next point of a bucket goes is, in the end, where the next bucket starts.
        for_each_point(endpoints, halvings, |point| {
            let next = &mut starts[bucket(point) + 1];
            points[*next as usize] = (within(point.position, shift) << bits) | point.endpoint;
            *next += 1;
        });
        for bounds in starts.windows(2) {
            points[bounds[0] as usize..bounds[1] as usize].sort_unstable();
        }
        Ring {
            points: points.into(),
            starts: starts.into(),
            shift,
            bits,
        }
    }

    /// The endpoint of `key`.
    #[inline]
    pub(crate) fn at(&self, key: u64) -> u32 {
        let next = self.points.get(self.next(key)).or(self.points.first());
        next.map_or(0, |point| self.endpoint(*point))
    }

    /// The endpoints from the place of `key` on, clockwise, each as often as it has points; without end.
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = u32> {
        let (before, after) = self.points.split_at(self.next(key));
        after.iter().chain(before).map(|point| self.endpoint(*point)).cycle()
    }

    fn endpoint(&self, point: u32) -> u32 {
        point & ((1 << self.bits) - 1)
    }

    /// Where the first point is that is not before `key`; behind the last if there is none.
    #[inline]
    fn next(&self, key: u64) -> usize {
        let position = (key >> 32) as u32;
        let bucket = (position >> self.shift) as usize;
        let (start, end) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        let first = within(position, self.shift) << self.bits;
        let before = self.points[start..end].iter().take_while(|point| **point < first);
        start + before.count()
    }
}

/// The part of a position that its bucket doesn't tell.
fn within(position: u32, shift: u32) -> u32 {
    position & ((1 << shift) - 1)
}

/// Half the points of an endpoint.
fn pairs(weight: u32, halvings: u32) -> usize {
    ((u64::from(weight) * POINTS) >> halvings).div_ceil(2).max(1) as usize
}

/// Computes the points, endpoint by endpoint: two from each number that follows from its identity.
fn for_each_point(endpoints: &[(&str, u32)], halvings: u32, mut each: impl FnMut(Point)) {
    for (endpoint, &(id, weight)) in (0u32..).zip(endpoints) {
        let mut numbers = Rng::new(hash::of_endpoint(id));
        for _ in 0..pairs(weight, halvings) {
            let number = numbers.next_u64();
            for position in [(number >> 32) as u32, number as u32] {
                each(Point { position, endpoint });
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_to_the_first_point_from_it_on() {
        for count in [1u32, 2, 3, 64, 65, 1_000] {
            let ids: Vec<String> = (0..count).map(|n| format!("pod-{n}")).collect();
            let endpoints: Vec<(&str, u32)> = ids.iter().map(String::as_str).zip((1..4).cycle()).collect();
            let mut points = Vec::new();
            for_each_point(&endpoints, halvings(&endpoints), |point| {
                points.push((point.position, point.endpoint));
            });
            points.sort_unstable();
            let ring = Ring::new(&endpoints);
            let mut rng = Rng::new(1);
            let edges = points.iter().take(100).flat_map(|&(position, _)| {
                let position = u64::from(position) << 32;
                [position, position.wrapping_sub(1), position.wrapping_add(1 << 32)]
            });
            let random = (0..2_000).map(|_| rng.next_u64());
            for key in edges.chain(random).chain([0, u64::MAX]) {
                let next = points.partition_point(|&(position, _)| u64::from(position) < key >> 32);
                let expected: Vec<u32> = points.iter().cycle().skip(next).take(5).map(|&(_, e)| e).collect();
                assert_eq!(ring.at(key), expected[0], "{count} {key:x}");
                assert_eq!(ring.from(key).take(5).collect::<Vec<_>>(), expected, "{count} {key:x}");
            }
        }
    }
}
