//! Requests with a key: the endpoint follows from the key, or is the next good one after it. With bounded load, an endpoint gets no more
//! than its share of what is open times a factor (Mirrokni, Thorup, Zadimoghaddam 2016); what is beyond goes to the next.

use std::sync::Arc;

use crate::candidates::Candidate;
use crate::load::Bond;
use crate::maglev::Maglev;
use crate::pick::{Ask, Pick, Reason};
use crate::ring::Ring;
use crate::settings::{Hash, Member, Table};
use crate::{Fleet, Open};

/// How many places after a key's own are looked at before the policy decides.
const STEPS: usize = 256;

/// A table over the ready endpoints.
#[derive(Debug)]
pub(crate) struct Hashing {
    hash: Hash,
    /// Whose table it is: identity and weight.
    of: Vec<(Arc<str>, u32)>,
    table: Arc<Built>,
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
        }
    }

    /// The endpoint of `key` of those that the table was made of, where there is nothing to consider.
    #[inline]
    pub(crate) fn own<'a>(&self, key: u64, ask: &Ask<'_>, of: &'a [Candidate]) -> Option<&'a Candidate> {
        if self.hash.bound.is_some() {
            return None;
        }
        let own = of.get(self.at(key)? as usize)?;
        (own.load.is_blameless(ask.now) && !ask.tried.contains(&own.load)).then_some(own)
    }

    #[inline]
    fn at(&self, key: u64) -> Option<u32> {
        match &*self.table {
            Built::Nobody => None,
            Built::Ring(ring) => Some(ring.at(key)),
            Built::Maglev(maglev) => Some(maglev.at(key)),
        }
    }

    /// The endpoint of `key`, or the first after it that is good and has room, of those that the table was made of. `None` if there is none near.
    pub(crate) fn pick(&self, key: u64, ask: &Ask<'_>, of: &[Candidate], fleet: &Fleet) -> Option<Pick> {
        let own = self.at(key)?;
        match self.begin(own, ask, of, fleet) {
            Some(open) => Some(picked(own, Reason::Hash, of, open)),
            None => self.overflow(key, own, ask, of, fleet),
        }
    }

    #[cold]
    fn overflow(&self, key: u64, own: u32, ask: &Ask<'_>, of: &[Candidate], fleet: &Fleet) -> Option<Pick> {
        let others = |places: &mut dyn Iterator<Item = u32>| {
            let others = places.take(STEPS).filter(|place| *place != own);
            others
                .filter_map(|place| Some((place, self.begin(place, ask, of, fleet)?)))
                .map(|(place, open)| picked(place, Reason::Overflow, of, open))
                .next()
        };
        match &*self.table {
            Built::Nobody => None,
            Built::Ring(ring) => others(&mut ring.from(key)),
            Built::Maglev(maglev) => others(&mut maglev.from(key)),
        }
    }

    /// Opens the request at the endpoint at `place`, if that is good and has room.
    fn begin(&self, place: u32, ask: &Ask<'_>, of: &[Candidate], fleet: &Fleet) -> Option<Open> {
        let load = &of[place as usize].load;
        if ask.tried.contains(load) {
            return None;
        }
        let Some(percent) = self.hash.bound else {
            return load
                .admit_bound(Bond::Key, ask.now)
                .then(|| load.begin_in(fleet, ask.now));
        };
        let bound = self.bound(place, percent, fleet.open());
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

fn picked(place: u32, reason: Reason, of: &[Candidate], open: Open) -> Pick {
    Pick {
        index: of[place as usize].index as usize,
        reason,
        candidates: of.len() as u32,
        open,
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
