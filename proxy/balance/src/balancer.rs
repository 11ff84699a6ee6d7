//! A set of endpoints and the rules by which one of them is picked: the policy among the good ones, and what happens when there is
//! none. The algorithms themselves are next door.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{Load, Open, Rng, Status, Time, least_request, round_robin};

/// The algorithm that picks among good endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Each in turn, from a random start.
    RoundRobin,
    /// The one with the fewest open requests.
    LeastRequest,
}

/// What an endpoint is picked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Anything.
    Ready,
    /// Only where no ready one is left.
    Draining,
}

/// One endpoint of a set.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its identity, unique in the set.
    pub id: Arc<str>,
    /// What it is picked for.
    pub role: Role,
    /// Its live state, the same object in every set that it is a member of.
    pub load: Arc<Load>,
}

/// Endpoints that a request was sent to already. Empty until the first failure, so the first pick allocates nothing.
#[derive(Debug, Default)]
pub struct Tried(Vec<Arc<Load>>);

impl Tried {
    /// Remembers an endpoint.
    pub fn push(&mut self, load: Arc<Load>) {
        self.0.push(load);
    }

    /// Whether an endpoint was tried.
    pub fn contains(&self, load: &Arc<Load>) -> bool {
        self.0.iter().any(|tried| Arc::ptr_eq(tried, load))
    }
}

/// Why an endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The policy chose it among the good ones.
    Policy,
    /// Every ready one is skipped, so they are all used: a wrong suspicion must not take the whole set down.
    Panic,
    /// No ready one is left; it still serves.
    Draining,
}

/// A picked endpoint.
#[derive(Debug)]
pub struct Pick {
    /// Its place among the members that the balancer was made of.
    pub index: usize,
    /// Why.
    pub reason: Reason,
    /// The request, counted as open there while this lives.
    pub open: Open,
}

/// A set of endpoints that requests are balanced over, shared by every thread.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
    members: Vec<Member>,
    ready: Tier,
    draining: Tier,
    /// Picks so far, over all predecessors: the time by which least request tells who waited longest.
    clock: AtomicU64,
}

/// The members of one role.
#[derive(Debug)]
struct Tier {
    members: Box<[u32]>,
    /// Round robin's next turn.
    turn: AtomicU64,
}

impl Tier {
    fn new(members: &[Member], role: Role, before: Option<(&Balancer, &Tier)>, rng: &mut Rng) -> Self {
        let indices: Box<[u32]> = (0u32..)
            .zip(members)
            .filter(|(_, m)| m.role == role)
            .map(|(i, _)| i)
            .collect();
        let start = match before.and_then(|(set, tier)| Some(&set.members[tier.next()?].id)) {
            // Whose turn it was has it still, or who comes after it.
            Some(id) => indices.partition_point(|&i| members[i as usize].id < *id),
            None => rng.below(indices.len()),
        };
        Tier {
            members: indices,
            turn: AtomicU64::new(start as u64),
        }
    }

    /// The member whose turn is next.
    fn next(&self) -> Option<usize> {
        let n = self.members.len() as u64;
        let turn = self.turn.load(Relaxed).checked_rem(n)?;
        Some(self.members[turn as usize] as usize)
    }
}

impl Balancer {
    /// A balancer over `members`, which are sorted by id and not more than `u32` can count. Where round robin starts is random.
    pub fn new(policy: Policy, members: Vec<Member>, rng: &mut Rng) -> Self {
        Self::build(policy, members, None, rng)
    }

    /// The balancer that takes over from this one after its policy or members changed: what rotates goes on where it stood.
    #[must_use]
    pub fn next(&self, policy: Policy, members: Vec<Member>, rng: &mut Rng) -> Self {
        Self::build(policy, members, Some(self), rng)
    }

    fn build(policy: Policy, members: Vec<Member>, before: Option<&Balancer>, rng: &mut Rng) -> Self {
        debug_assert!(members.is_sorted_by(|a, b| a.id < b.id), "members are sorted by id");
        let clock = before.map_or(0, |b| b.clock.load(Relaxed)).max(members.len() as u64);
        let (n, start) = (members.len(), rng.below(members.len()));
        for (i, member) in members.iter().enumerate() {
            // Who never had a turn gets a place in the queue, from a random start, so that many proxies don't all begin with the same one.
            let place = clock - ((i + start) % n) as u64;
            let _ = member.load.turn.compare_exchange(0, place, Relaxed, Relaxed);
        }
        Balancer {
            policy,
            ready: Tier::new(&members, Role::Ready, before.map(|b| (b, &b.ready)), rng),
            draining: Tier::new(&members, Role::Draining, before.map(|b| (b, &b.draining)), rng),
            members,
            clock: AtomicU64::new(clock),
        }
    }

    /// The policy.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The members, in the order they were given.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Picks an endpoint that is not among `tried`: a ready one that is not skipped, by the policy; if all of those are skipped, any
    /// ready one; if no ready one is left, a draining one by the same rules. `None` if all were tried.
    pub fn pick(&self, now: Time, rng: &mut Rng, tried: &Tried) -> Option<Pick> {
        let untried = |i: usize| !tried.contains(&self.members[i].load);
        let good = |i: usize| self.members[i].load.skip().status(now) != Status::Skipped && untried(i);
        for (tier, reason) in [(&self.ready, Reason::Policy), (&self.draining, Reason::Draining)] {
            while let Some(index) = self.choose(tier, rng, good) {
                // Of several requests that see an endpoint whose skip is over, one gets to try it; for the others it is skipped again.
                if self.members[index].load.skip().admit(now) {
                    return Some(self.begin(index, reason));
                }
            }
            if let Some(index) = self.choose(tier, rng, untried) {
                let reason = if reason == Reason::Policy {
                    Reason::Panic
                } else {
                    reason
                };
                return Some(self.begin(index, reason));
            }
        }
        None
    }

    fn choose(&self, tier: &Tier, rng: &mut Rng, usable: impl Fn(usize) -> bool) -> Option<usize> {
        match self.policy {
            Policy::RoundRobin => round_robin::choose(&tier.members, &tier.turn, usable),
            Policy::LeastRequest => least_request::choose(&self.members, &tier.members, &self.clock, rng, usable),
        }
    }

    fn begin(&self, index: usize, reason: Reason) -> Pick {
        Pick {
            index,
            reason,
            open: self.members[index].load.begin(),
        }
    }
}
