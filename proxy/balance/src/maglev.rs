//! Maglev hashing: a table that is filled by each endpoint in turn, in an order of its own. Source: Eisenbud et al., "Maglev: A Fast
//! and Reliable Software Network Load Balancer" (NSDI 2016), §3.4, weights as in Envoy. Trade-off: as even as can be and one look to
//! pick, but when an endpoint goes, some keys of others move too.

use crate::hash;

/// Slots, a prime: more than the usual 65,537, with which one of 200 endpoints takes 2.5 × its keys along.
const SLOTS: u32 = 110_017;
/// Slots for more than [`FEW`] endpoints.
const SLOTS_MANY: u32 = 655_373;
/// How many endpoints the small table is for. Where it is passed, all keys are dealt anew.
const FEW: usize = 5_000;

/// When so few slots are left, which of them an endpoint asks for first is computed: to find the last hundred by asking takes as long as to
/// find the first half.
const LAST: u32 = 200;

/// The table: an endpoint in each slot. Their number is a constant, by which dividing is cheap, and the small table fits a cache.
#[derive(Debug)]
pub(crate) enum Maglev {
    /// [`SLOTS`].
    Few(Box<[u16]>),
    /// [`SLOTS_MANY`].
    Many(Box<[u32]>),
}

/// The order in which an endpoint asks for slots.
#[derive(Clone, Copy)]
struct Order {
    next: u32,
    step: u32,
}

impl Order {
    fn new(id: &str, slots: u32) -> Self {
        let hash = hash::of_endpoint(id);
        Order {
            next: ((hash >> 32) as u32) % slots,
            step: (hash as u32) % (slots - 1) + 1,
        }
    }

    fn take(&mut self, slots: u32) -> u32 {
        let slot = self.next;
        self.next += self.step;
        if self.next >= slots {
            self.next -= slots;
        }
        slot
    }

    /// The one of those left that it asks for first.
    fn take_of(&mut self, left: &mut Vec<u32>, slots: u32) -> u32 {
        let inverse = inverse(self.step, slots);
        let steps = |slot: u32| u64::from(slot + slots - self.next) * inverse % u64::from(slots);
        let first = (0..left.len()).min_by_key(|&at| steps(left[at])).unwrap_or(0);
        self.next = left.swap_remove(first);
        self.take(slots)
    }
}

/// What gives 1 when it is multiplied by `step`, modulo a prime: by Fermat, the power of two less than that.
fn inverse(step: u32, prime: u32) -> u64 {
    let prime = u64::from(prime);
    let (mut power, mut rest, mut product) = (u64::from(step), prime - 2, 1);
    while rest > 0 {
        if rest % 2 == 1 {
            product = product * power % prime;
        }
        power = power * power % prime;
        rest /= 2;
    }
    product
}

impl Maglev {
    /// The table of endpoints by identity and weight (above 0), numbered from 0 as they come. At least one.
    pub(crate) fn new(endpoints: &[(&str, u32)]) -> Self {
        if endpoints.len() <= FEW {
            Maglev::Few(fill(endpoints, SLOTS, |endpoint| endpoint as u16))
        } else {
            Maglev::Many(fill(endpoints, SLOTS_MANY, |endpoint| endpoint as u32))
        }
    }

    /// The endpoint of `key`.
    #[inline]
    pub(crate) fn at(&self, key: u64) -> u32 {
        match self {
            Maglev::Few(table) => table[(key % u64::from(SLOTS)) as usize].into(),
            Maglev::Many(table) => table[(key % u64::from(SLOTS_MANY)) as usize],
        }
    }

    /// The endpoints from the slot of `key` on; without end.
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = u32> {
        let slots = match self {
            Maglev::Few(_) => SLOTS,
            Maglev::Many(_) => SLOTS_MANY,
        };
        let slot = key % u64::from(slots);
        (slot..).map(|slot| self.at(slot))
    }
}

/// A table of so many slots.
fn fill<T: Clone + Default>(endpoints: &[(&str, u32)], slots: u32, entry: impl Fn(usize) -> T) -> Box<[T]> {
    let heaviest = endpoints.iter().map(|&(_, weight)| weight).max().unwrap_or(1);
    let mut orders: Vec<Order> = endpoints.iter().map(|(id, _)| Order::new(id, slots)).collect();
    let mut credits = vec![0u32; endpoints.len()];
    let mut table = vec![T::default(); slots as usize];
    // Most looks are at slots that are taken: in bits they are near.
    let mut taken = vec![0u64; slots.div_ceil(u64::BITS) as usize];
    let mut left = Vec::new();
    let mut free = slots;
    while free > 0 {
        for (endpoint, &(_, weight)) in endpoints.iter().enumerate() {
            credits[endpoint] += weight;
            if credits[endpoint] < heaviest || free == 0 {
                continue;
            }
            credits[endpoint] -= heaviest;
            let slot = if left.is_empty() {
                take_free(&mut orders[endpoint], &mut taken, slots)
            } else {
                orders[endpoint].take_of(&mut left, slots)
            };
            table[slot as usize] = entry(endpoint);
            free -= 1;
            if free == LAST {
                left = (0..slots).filter(|&slot| !is_taken(&taken, slot)).collect();
            }
        }
    }
    table.into()
}

/// The slot that it asks for first of those that are free.
fn take_free(order: &mut Order, taken: &mut [u64], slots: u32) -> u32 {
    // A copy is kept in registers.
    let mut own = *order;
    let slot = loop {
        let slot = own.take(slots);
        if !is_taken(taken, slot) {
            break slot;
        }
    };
    *order = own;
    taken[(slot / u64::BITS) as usize] |= 1 << (slot % u64::BITS);
    slot
}

fn is_taken(taken: &[u64], slot: u32) -> bool {
    taken[(slot / u64::BITS) as usize] >> (slot % u64::BITS) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_the_slots_that_it_asks_for_first() {
        for (count, weight) in [(1, 1), (7, 1), (150, 3)] {
            let ids: Vec<String> = (0..count).map(|n| format!("pod-{n}")).collect();
            let weights = (0..).map(|n| 1 + n % weight);
            let endpoints: Vec<(&str, u32)> = ids.iter().map(String::as_str).zip(weights).collect();
            let mut orders: Vec<Order> = ids.iter().map(|id| Order::new(id, SLOTS)).collect();
            let mut asked = vec![0; count];
            let mut table = vec![None; SLOTS as usize];
            let (mut round, mut free) = (0, SLOTS);
            while free > 0 {
                round += 1;
                for (endpoint, &(_, own)) in endpoints.iter().enumerate() {
                    if asked[endpoint] < round * own / weight && free > 0 {
                        asked[endpoint] += 1;
                        free -= 1;
                        while table[orders[endpoint].next as usize].is_some() {
                            orders[endpoint].take(SLOTS);
                        }
                        table[orders[endpoint].take(SLOTS) as usize] = Some(endpoint as u32);
                    }
                }
            }
            let maglev = Maglev::new(&endpoints);
            let built: Vec<_> = (0..u64::from(SLOTS)).map(|key| Some(maglev.at(key))).collect();
            assert!(built == table, "{count} endpoints");
        }
    }
}
