//! Requests with a key: the endpoint follows from the key, or is the next good one after it. With bounded load, an endpoint gets no more
//! than its share of what is open times a factor (Mirrokni, Thorup, Zadimoghaddam 2016); what is beyond goes to the next.

use std::sync::Arc;

use crate::Open;
use crate::load::Bond;
use crate::maglev::Maglev;
use crate::pick::{Ask, Pick, Reason};
use crate::ring::Ring;
use crate::settings::{Hash, Member, Table};

/// How many places after a key's own are looked at before the policy decides.
const STEPS: usize = 256;

/// A table over the ready endpoints.
#[derive(Debug)]
pub(crate) struct Hashing {
    hash: Hash,
    /// Whose table it is: identity and weight.
    of: Vec<(Arc<str>, u32)>,
    table: Arc<Built>,
    /// The places among the members of those in the table.
    places: Box<[u32]>,
    weights: u64,
}

#[derive(Debug)]
enum Built {
    Nobody,
    Ring(Ring),
    Maglev(Maglev),
}

impl Hashing {
    /// The table over the members at `ready`; that of `before` where nothing of it changed.
    pub(crate) fn new(hash: Hash, members: &[Member], ready: &[u32], before: Option<&Hashing>) -> Self {
        let of: Vec<(Arc<str>, u32)> = ready
            .iter()
            .map(|&place| &members[place as usize])
            .map(|member| (Arc::clone(&member.id), member.weight))
            .collect();
        let table = match before.filter(|b| b.hash.table == hash.table && b.of == of) {
            Some(before) => Arc::clone(&before.table),
            None => Arc::new(Built::new(hash.table, &of)),
        };
        Hashing {
            hash,
            weights: of.iter().map(|&(_, weight)| u64::from(weight)).sum(),
            of,
            table,
            places: ready.into(),
        }
    }

    /// The endpoint of `key`, or the first after it that is good and has room. `None` if there is none near.
    pub(crate) fn pick(&self, key: u64, ask: &Ask<'_>, members: &[Member]) -> Option<Pick> {
        let own = match &*self.table {
            Built::Nobody => return None,
            Built::Ring(ring) => ring.at(key),
            Built::Maglev(maglev) => maglev.at(key),
        };
        match self.begin(own, ask, members) {
            Some(open) => Some(self.picked(own, Reason::Hash, open)),
            None => self.overflow(key, own, ask, members),
        }
    }

    #[cold]
    fn overflow(&self, key: u64, own: u32, ask: &Ask<'_>, members: &[Member]) -> Option<Pick> {
        match &*self.table {
            Built::Nobody => None,
            Built::Ring(ring) => self.first(ring.from(key), own, ask, members),
            Built::Maglev(maglev) => self.first(maglev.from(key), own, ask, members),
        }
    }

    fn first(&self, places: impl Iterator<Item = u32>, own: u32, ask: &Ask<'_>, members: &[Member]) -> Option<Pick> {
        let others = places.take(STEPS).filter(|place| *place != own);
        others
            .filter_map(|place| Some((place, self.begin(place, ask, members)?)))
            .map(|(place, open)| self.picked(place, Reason::Overflow, open))
            .next()
    }

    fn picked(&self, place: u32, reason: Reason, open: Open) -> Pick {
        Pick {
            index: self.places[place as usize] as usize,
            reason,
            candidates: self.places.len() as u32,
            open,
        }
    }

    /// Opens the request at the endpoint at `place`, if that is good and has room.
    fn begin(&self, place: u32, ask: &Ask<'_>, members: &[Member]) -> Option<Open> {
        let load = &members[self.places[place as usize] as usize].load;
        if ask.tried.contains(load) {
            return None;
        }
        let Some(percent) = self.hash.bound else {
            return load.admit_bound(Bond::Key, ask.now).then(|| load.begin(ask.now));
        };
        let bound = self.bound(place, percent, load.fleet().open());
        // Room first: a trial that is admitted is used up.
        let good = load.open() < bound && load.admit_bound(Bond::Key, ask.now);
        good.then(|| load.begin_below(bound, ask.now)).flatten()
    }

    /// The most requests that may be open at an endpoint when one more comes.
    fn bound(&self, place: u32, percent: u32, open: u32) -> u32 {
        let weight = u64::from(self.of[place as usize].1);
        let share = (u64::from(open) + 1) * weight * u64::from(percent);
        u32::try_from(share.div_ceil(self.weights * 100)).unwrap_or(u32::MAX)
    }
}

impl Built {
    fn new(table: Table, of: &[(Arc<str>, u32)]) -> Self {
        let endpoints: Vec<(&str, u32)> = of.iter().map(|(id, weight)| (&**id, *weight)).collect();
        match table {
            _ if endpoints.is_empty() => Built::Nobody,
            Table::Ring => Built::Ring(Ring::new(&endpoints)),
            Table::Maglev => Built::Maglev(Maglev::new(&endpoints)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Role;

    fn members(weights: [u32; 3]) -> Vec<Member> {
        let member = |(n, &weight): (usize, &u32)| Member {
            id: format!("pod-{n}").into(),
            role: Role::Ready,
            weight,
            zone: "".into(),
            load: Arc::default(),
        };
        weights.iter().enumerate().map(member).collect()
    }

    #[test]
    fn an_update_that_does_not_matter_to_the_table_shares_it() {
        for table in [Table::Ring, Table::Maglev] {
            let hash = Hash { table, bound: None };
            let first = Hashing::new(hash, &members([1, 2, 3]), &[0, 1, 2], None);
            let shared = |hash, weights, ready: &[u32]| {
                let next = Hashing::new(hash, &members(weights), ready, Some(&first));
                Arc::ptr_eq(&first.table, &next.table)
            };
            let bound = Some(125);
            assert!(shared(hash, [1, 2, 3], &[0, 1, 2]));
            assert!(shared(Hash { table, bound }, [1, 2, 3], &[0, 1, 2]), "another bound");
            assert!(!shared(hash, [1, 2, 4], &[0, 1, 2]), "another weight");
            assert!(!shared(hash, [1, 2, 3], &[0, 2]), "another set");
        }
    }
}
