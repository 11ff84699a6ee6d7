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

/// The table: an endpoint in each slot.
#[derive(Debug)]
pub(crate) struct Maglev(Box<[u32]>);

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
        const FREE: u32 = u32::MAX;
        let slots = if endpoints.len() <= FEW { SLOTS } else { SLOTS_MANY };
        let heaviest = endpoints.iter().map(|&(_, weight)| weight).max().unwrap_or(1);
        let mut orders: Vec<Order> = endpoints.iter().map(|(id, _)| Order::new(id, slots)).collect();
        let mut credits = vec![0u32; endpoints.len()];
        let mut table = vec![FREE; slots as usize];
        let mut free = slots;
        while free > 0 {
            for (endpoint, &(_, weight)) in endpoints.iter().enumerate() {
                credits[endpoint] += weight;
                if credits[endpoint] < heaviest || free == 0 {
                    continue;
                }
                credits[endpoint] -= heaviest;
                let mut slot = orders[endpoint].take(slots);
                while table[slot as usize] != FREE {
                    slot = orders[endpoint].take(slots);
                }
                table[slot as usize] = endpoint as u32;
                free -= 1;
            }
        }
        Maglev(table.into())
    }

    /// The endpoint of `key`.
    pub(crate) fn at(&self, key: u64) -> u32 {
        self.0[(key % self.0.len() as u64) as usize]
    }

    /// The endpoints from the slot of `key` on; without end.
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = u32> {
        let slot = (key % self.0.len() as u64) as usize;
        let (before, after) = self.0.split_at(slot);
        after.iter().chain(before).copied().cycle()
    }
}
