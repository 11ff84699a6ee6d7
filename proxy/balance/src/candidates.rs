//! The endpoints that a pick may choose from, and what every algorithm asks of them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::pick::Ask;
use crate::settings::SlowStart;
use crate::tier::Tier;
use crate::{Fleet, Load, Status, Time};

/// A member as picks see it: the next look is at its load.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) load: Arc<Load>,
    /// Its place among all members.
    pub(crate) index: u32,
    /// Its weight: 1 or more.
    pub(crate) weight: f32,
}

/// A tier as one request sees it.
#[derive(Clone, Copy)]
pub(crate) struct Candidates<'a> {
    pub(crate) tier: &'a Tier,
    pub(crate) fleet: &'a Fleet,
    pub(crate) ask: &'a Ask<'a>,
    /// Whether those that are skipped may be chosen.
    pub(crate) panic: bool,
    /// Slow start, as long as any endpoint is being eased in; with it, the part of its share that the endpoint has that has the most.
    pub(crate) slow_start: Option<(&'a SlowStart, f32)>,
    /// The fleet's time, in picks.
    pub(crate) clock: u64,
}

impl<'a> Candidates<'a> {
    /// Whether it may be chosen.
    #[inline]
    pub(crate) fn usable(&self, candidate: &Candidate) -> bool {
        (candidate.load.skip().is_clear() || self.may_be_tried(candidate)) && !self.ask.tried.contains(&candidate.load)
    }

    #[cold]
    fn may_be_tried(&self, candidate: &Candidate) -> bool {
        self.panic || candidate.load.status(self.ask.now) != Status::Skipped
    }

    /// Its weight as of now: not below 0.01.
    pub(crate) fn weight(&self, candidate: &Candidate) -> f32 {
        candidate.weight * self.share(candidate)
    }

    /// The part of its weight that it has while it is eased in: against that of who is ready for longest, so that where all are new nobody
    /// is held back.
    pub(crate) fn share(&self, candidate: &Candidate) -> f32 {
        match self.slow_start {
            Some((slow_start, most)) => self.eased(candidate, slow_start, most),
            None => 1.0,
        }
    }

    /// Out of line: what is rare is not to cost every pick its preparations.
    #[cold]
    fn eased(&self, candidate: &Candidate, slow_start: &SlowStart, most: f32) -> f32 {
        let since = candidate.load.ready_since.load(Relaxed);
        (slow_start.share(since, self.ask.now) / most).min(1.0)
    }

    /// Usable members, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a Candidate> {
        self.tier.members.iter().filter(|candidate| self.usable(candidate))
    }

    /// How long it has not been picked.
    pub(crate) fn unpicked(&self, candidate: &Candidate) -> Duration {
        self.ask
            .now
            .since(Time::from_micros(candidate.load.picked.load(Relaxed)))
    }
}
