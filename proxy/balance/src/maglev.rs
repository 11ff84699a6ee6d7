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

/// The table: an endpoint in each slot. Their number is a constant, by which dividing is cheap, and the small table fits a cache.
#[derive(Debug)]
pub(crate) enum Maglev {
    /// [`SLOTS`].
    Few(Box<[u16]>),
    /// [`SLOTS_MANY`].
    Many(Box<[u32]>),
}

/// The order in which an endpoint asks for slots.
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
    let mut free = slots;
    while free > 0 {
        for (endpoint, &(_, weight)) in endpoints.iter().enumerate() {
            credits[endpoint] += weight;
            if credits[endpoint] < heaviest || free == 0 {
                continue;
            }
            credits[endpoint] -= heaviest;
            let slot = loop {
                let slot = orders[endpoint].take(slots);
                let (word, bit) = (&mut taken[(slot / u64::BITS) as usize], 1 << (slot % u64::BITS));
                if *word & bit == 0 {
                    *word |= bit;
                    break slot;
                }
            };
            table[slot as usize] = entry(endpoint);
            free -= 1;
        }
    }
    table.into()
}
