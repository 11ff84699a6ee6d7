//! The endpoints that a pick may choose from, and what every algorithm asks of them.

use std::time::Duration;

use crate::pick::Tried;
use crate::settings::{Member, SlowStart};
use crate::skip::Status;
use crate::tier::Tier;
use crate::{Load, Time};

/// A tier as one request sees it.
#[derive(Clone, Copy)]
pub(crate) struct Candidates<'a> {
    pub(crate) all: &'a [Member],
    pub(crate) tier: &'a Tier,
    pub(crate) now: Time,
    pub(crate) tried: &'a Tried,
    /// Whether those that are skipped may be chosen.
    pub(crate) panic: bool,
    /// Slow start, as long as any endpoint is being eased in; with it, the part of its share that the endpoint has that has the most.
    pub(crate) slow_start: Option<(SlowStart, f32)>,
    /// Whether more than the request is decided.
    pub(crate) lasts: bool,
    /// The fleet's time, in picks.
    pub(crate) clock: u64,
}

impl<'a> Candidates<'a> {
    pub(crate) fn load(&self, index: usize) -> &'a Load {
        &self.all[index].load
    }

    /// Whether it may be chosen.
    #[inline]
    pub(crate) fn usable(&self, index: usize) -> bool {
        let load = &self.all[index].load;
        (self.panic || load.status(self.now) != Status::Skipped) && !self.tried.contains(load)
    }

    /// Its weight as of now: not below 0.01.
    pub(crate) fn weight(&self, index: usize) -> f32 {
        let weight = self.all[index].weight.max(1) as f32;
        weight * self.share(index)
    }

    /// The part of its weight that it has while it is eased in: against that of who is ready for longest, so that where all are new nobody
    /// is held back.
    pub(crate) fn share(&self, index: usize) -> f32 {
        match self.slow_start {
            Some((slow_start, most)) => self.eased(index, slow_start, most),
            None => 1.0,
        }
    }

    /// Out of line: what is rare is not to cost every pick its preparations.
    #[cold]
    fn eased(&self, index: usize, slow_start: SlowStart, most: f32) -> f32 {
        let since = self.load(index).ready_since.load(std::sync::atomic::Ordering::Relaxed);
        (slow_start.share(since, self.now) / most).min(1.0)
    }

    /// Usable members, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        let members = self.tier.members.iter().map(|&index| index as usize);
        members.filter(move |&index| self.usable(index))
    }

    /// How long it has not been picked.
    pub(crate) fn unpicked(&self, index: usize) -> Duration {
        let picked = self.load(index).picked.load(std::sync::atomic::Ordering::Relaxed);
        self.now.since(Time::from_micros(picked))
    }
}
