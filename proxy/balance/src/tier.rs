//! Endpoints among which an algorithm chooses: those of one role, and of one zone where zones matter. Made once for each change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::alias::Alias;
use crate::candidates::Candidate;
use crate::settings::{Member, Policy};
use crate::{Rng, sequence};

/// A group of members.
#[derive(Debug)]
pub(crate) struct Tier {
    /// In the order of all members.
    pub(crate) members: Box<[Candidate]>,
    /// Round robin's order: places in `members`. Empty for other algorithms.
    pub(crate) order: Box<[u32]>,
    /// Round robin's next turn.
    pub(crate) turn: AtomicU64,
    /// The weighted draw; `None` where all weigh the same.
    pub(crate) alias: Option<Alias>,
    /// Picks between two of a member of weight 1, if each had its share.
    pub(crate) round: f32,
    /// For how many parts of a pick a member waits for its next turn, where all weigh the same.
    pub(crate) wait: Option<u64>,
}

impl Tier {
    /// The tier of the members at `places`. Its turn goes on where that of `before` stood, else it begins at random.
    pub(crate) fn new(
        members: &[Member],
        places: &[u32],
        policy: Policy,
        before: Option<(&[Member], &Tier)>,
        rng: &mut Rng,
    ) -> Self {
        // In a tier of weight 0 all weigh the same.
        let weights: Vec<u32> = places.iter().map(|&i| members[i as usize].weight.max(1)).collect();
        let total: u64 = weights.iter().map(|&w| u64::from(w)).sum();
        let even = weights.iter().all(|w| *w == weights[0]);
        let order = if policy == Policy::RoundRobin {
            sequence::sequence(&weights)
        } else {
            Box::default()
        };
        let turn = match before.and_then(|(old, tier)| Some((tier.progress(order.len()), &old[tier.next()?].id))) {
            // Whose turn it was has it still, or who comes after it.
            Some((at, id)) => {
                let next = places.partition_point(|&i| members[i as usize].id < *id) % places.len().max(1);
                let (head, tail) = order.split_at(at);
                let ahead = tail.iter().chain(head).position(|&place| place as usize == next);
                at + ahead.unwrap_or(0)
            }
            None if order.is_empty() => 0,
            None => sequence::start(&order, places.len(), rng),
        };
        let candidate = |(&index, &weight): (&u32, &u32)| Candidate {
            load: Arc::clone(&members[index as usize].load),
            index,
            weight: weight as f32,
        };
        Tier {
            alias: (!even).then(|| Alias::new(&weights.iter().map(|&w| f64::from(w)).collect::<Vec<_>>())),
            round: total as f32,
            wait: even.then(|| places.len() as u64 * crate::least::TICKS),
            members: places.iter().zip(&weights).map(candidate).collect(),
            order,
            turn: AtomicU64::new(turn as u64),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member whose turn is next.
    fn next(&self) -> Option<usize> {
        let turn = self.turn.load(Relaxed).checked_rem(self.order.len() as u64)?;
        Some(self.members[self.order[turn as usize] as usize].index as usize)
    }

    /// Where in an order of `length` as much of a round is over as of the present one here.
    fn progress(&self, length: usize) -> usize {
        let own = self.order.len().max(1) as u64;
        (self.turn.load(Relaxed) % own * length as u64 / own) as usize
    }

    /// Two random members, distinct where all weigh the same. There are at least two.
    #[inline]
    pub(crate) fn draw_two(&self, rng: &mut Rng) -> (&Candidate, &Candidate) {
        let (a, b) = match &self.alias {
            Some(alias) => (alias.draw(rng), alias.draw(rng)),
            None => rng.two_below(self.members.len()),
        };
        (&self.members[a], &self.members[b])
    }

    /// A random member, by weight.
    #[inline]
    pub(crate) fn draw(&self, rng: &mut Rng) -> &Candidate {
        let place = match &self.alias {
            Some(alias) => alias.draw(rng),
            None => rng.below(self.members.len()),
        };
        &self.members[place]
    }
}
