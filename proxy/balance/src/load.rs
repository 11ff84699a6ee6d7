//! The live state of one endpoint: what every picker of every thread knows about it. Atomics only, kept by the endpoint's identity
//! for as long as it lives, whatever happens to the set around it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::average::{Average, micros};
use crate::fleet::Charge;
use crate::peak::Peak;
use crate::waiting::Waiting;
use crate::young::{Ticket, Window, Young};
use crate::{Fleet, Skip, Status, Time};

/// Open requests, picks, evidence and skip state of one endpoint.
#[derive(Debug, Default)]
pub struct Load {
    fleet: Arc<Fleet>,
    /// Picks above [`Load::OPEN_BITS`], open requests below: one word, since both change with each pick.
    counts: AtomicU64,
    young: Young,
    /// When its turn is, counted in parts of picks of its fleet: among equals, the one that is due first. 0 before it has one.
    pub(crate) turn: AtomicU64,
    /// When it was picked last, in microseconds.
    pub(crate) picked: AtomicU64,
    /// When it became ready while others were, in microseconds; 0 where it was there from the beginning.
    pub(crate) ready_since: AtomicU64,
    /// What it saved up of turns while it was eased in: 1/65536ths, modulo 2³².
    pub(crate) credit: AtomicU32,
    /// Latency to a response's head, as a logarithm.
    latency: Average,
    pub(crate) peak: Peak,
    /// How long it is left alone after an answer that spoke against it: milliseconds.
    rest: AtomicU32,
    /// Requests sent since the last answer that still wait for theirs.
    waiting: Waiting,
    /// Failures in a row, and when the first of them was, in microseconds; 0 where the last answer was good.
    failures: AtomicU32,
    failing_since: AtomicU64,
    /// When the last answer came, in milliseconds modulo 2³².
    answered: AtomicU32,
    skip: Skip,
}

/// What binds a request to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bond {
    Session,
    Key,
}

/// What an answer says about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It does its work.
    Success,
    /// It failed, and it was its own fault.
    Failure,
}

impl Load {
    /// Answers by which an endpoint's latency is forgotten, and the time by which it is: whichever is sooner.
    const MEMORY: (u32, Duration) = (16, Duration::from_secs(1));
    /// A latency this far above the fleet's, as a logarithm, is nothing yet: twice as long.
    pub(crate) const TOLERANCE: f32 = 1.0;
    /// How much more than its slowness counts against an endpoint: 10 × slower costs as much as 11 requests.
    const STEEPNESS: f32 = 1.5;
    /// The first and the longest time for which a slow endpoint is left alone before a request looks whether it still is.
    const REST: (u32, u32) = (250, 8_000);

    /// How long an endpoint hangs before sessions leave it: longer than usual long polls take, which look the same.
    const BOUND_PATIENCE: Duration = Duration::from_secs(30);
    /// The bits of [`Load::counts`] with the open requests: 16 million. Picks have the other 40.
    const OPEN_BITS: u32 = 24;
    /// A pick, which opens a request.
    const PICK: u64 = (1 << Self::OPEN_BITS) + 1;

    /// The state of an endpoint of `fleet` of which nothing is known yet.
    pub fn new(fleet: &Arc<Fleet>) -> Self {
        let mut load = Load::default();
        load.fleet.clone_from(fleet);
        load
    }

    /// The state it shares with the other endpoints of its cluster.
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Requests that are open there now, each upgraded connection counted as one for life.
    pub fn open(&self) -> u32 {
        open(self.counts.load(Relaxed))
    }

    /// Open requests that were opened so lately that the endpoint must be at work on them; `None` under algorithms that don't ask.
    pub fn young(&self, now: Time) -> Option<u32> {
        let asked = self.fleet.counts_young();
        asked.then(|| self.young.count(now, self.fleet.window()))
    }

    pub(crate) fn young_within(&self, now: Time, window: Window) -> u32 {
        self.young.count(now, window)
    }

    /// Requests that were ever sent there.
    pub fn picks(&self) -> u64 {
        self.counts.load(Relaxed) >> Self::OPEN_BITS
    }

    /// Its failures since its last good answer.
    pub fn failures(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// Whether it is left out.
    pub fn skip(&self) -> &Skip {
        &self.skip
    }

    /// How many times slower than its fleet it has been lately: 1 where it isn't, or nothing is known.
    pub fn slowness(&self) -> f32 {
        self.excess(self.fleet.latency_bits()).exp2()
    }

    /// The average (geometric mean) latency to a response's head lately; `None` before the first answer.
    pub fn latency(&self) -> Option<Duration> {
        let (average, samples) = self.latency.get();
        (samples > 0).then(|| Fleet::latency_of(average))
    }

    /// What a request there costs against one at a usual endpoint, by its latency alone: 1 or more.
    pub(crate) fn penalty(&self, fleet: Option<f32>) -> f32 {
        let above = self.excess(fleet) - Self::TOLERANCE;
        if above <= 0.0 {
            1.0
        } else {
            (above * Self::STEEPNESS).exp2()
        }
    }

    /// The latency above the fleet's, as a logarithm; 0 where it is below, or nothing is known.
    fn excess(&self, fleet: Option<f32>) -> f32 {
        match (self.latency.get(), fleet) {
            ((_, 0), _) | (_, None) => 0.0,
            ((own, _), Some(fleet)) => (own - fleet).max(0.0),
        }
    }

    /// How long it is left alone if it is avoided for its latency.
    pub(crate) fn rest(&self) -> Duration {
        Duration::from_millis(self.rest.load(Relaxed).max(Self::REST.0).into())
    }

    /// Whether requests wait there for so long, longer than `least`, and so many in a row, that it must hang.
    fn hangs(&self, now: Time, least: Duration) -> bool {
        // Most are told by this, and it costs nothing.
        self.waiting.is_longer(Fleet::LATE_MIN, now) && self.hangs_for(now, least)
    }

    #[cold]
    fn hangs_for(&self, now: Time, least: Duration) -> bool {
        let (waiting, since) = self.waiting.get(self.picks(), now);
        waiting >= Fleet::ROW_MIN && waiting >= self.fleet.late_in_a_row() && since > self.fleet.overdue().max(least)
    }

    /// Whether nothing at all speaks against it, as nearly always.
    #[inline]
    pub(crate) fn is_blameless(&self, now: Time) -> bool {
        self.skip.is_clear() && !self.waiting.is_longer(Fleet::LATE_MIN, now)
    }

    /// What may be done with it now. Where most of what the fleet answers is failures, nobody is to blame for them.
    pub(crate) fn status(&self, now: Time) -> Status {
        match self.skip.status(now) {
            Status::Due | Status::Skipped if self.skip.is_convicted() && self.fleet.is_in_doubt() => Status::Usable,
            status => status,
        }
    }

    /// Whether a request may go there now, and how it stands: one that hangs is skipped from now on, and where a skip is over, one caller
    /// gets to try.
    pub(crate) fn admit(&self, now: Time) -> Option<Status> {
        match self.status(now) {
            Status::Usable
                if !self.skip.is_convicted()
                    && self.hangs(now, Duration::ZERO)
                    && self.convict(Charge::Hanging, now) =>
            {
                None
            }
            Status::Usable => Some(Status::Usable),
            Status::Due => self.skip.admit(now).then_some(Status::Due),
            Status::Skipped => None,
        }
    }

    /// Whether a request that is bound to it may go there now. It leaves only where it must: when the endpoint can't be connected to, or has
    /// hung for half a minute; bound by a key alone and not by a session, also when it fails so often in a row as can't be chance.
    pub(crate) fn admit_bound(&self, by: Bond, now: Time) -> bool {
        let is_convicted = self.skip.is_convicted();
        if self.hangs(now, Self::BOUND_PATIENCE) {
            return if is_convicted {
                self.skip.admit(now)
            } else {
                !self.convict(Charge::Hanging, now)
            };
        }
        let leaves = by == Bond::Key && self.failures.load(Relaxed) >= self.fleet.failures_in_a_row();
        (is_convicted && !leaves) || self.status(now) == Status::Usable || self.skip.admit(now)
    }

    /// Counts a request there until the guard is dropped.
    pub fn begin(self: &Arc<Self>, now: Time) -> Open {
        self.begin_in(&self.fleet, now)
    }

    /// The same for who has its fleet at hand.
    pub(crate) fn begin_in(self: &Arc<Self>, fleet: &Fleet, now: Time) -> Open {
        let before = self.counts.fetch_add(Self::PICK, Relaxed);
        self.begun(fleet, before, now)
    }

    /// Counts a request there if fewer than `bound` are open.
    pub(crate) fn begin_below(self: &Arc<Self>, bound: u32, now: Time) -> Option<Open> {
        let below = |counts| (open(counts) < bound).then(|| counts.wrapping_add(Self::PICK));
        let before = self.counts.fetch_update(Relaxed, Relaxed, below).ok()?;
        Some(self.begun(&self.fleet, before, now))
    }

    fn begun(self: &Arc<Self>, fleet: &Fleet, before: u64, now: Time) -> Open {
        let bounded = fleet.is_bounded();
        if bounded {
            fleet.opened();
        }
        let young = fleet.counts_young();
        self.picked.store(now.as_micros(), Relaxed);
        self.waiting.sent(now);
        Open {
            number: Cell::new(Some((before >> Self::OPEN_BITS) + 1)),
            young: Cell::new(young.then(|| self.young.open(now, fleet.window()))),
            bounded,
            began: now,
            load: Arc::clone(self),
        }
    }

    fn succeeded(&self, began: Time, latency: Duration, now: Time) {
        // What it began before it began to fail says nothing about it now.
        if self.failing_since.load(Relaxed) <= began.as_micros() {
            self.failures.store(0, Relaxed);
            self.failing_since.store(0, Relaxed);
            self.acquitted(self.skip.succeeded());
        }
        let sample = self.fleet.answered(latency);
        let usual = self.fleet.latency_bits();
        let is_slow = sample - usual.unwrap_or(sample) > Self::TOLERANCE;
        let memory = self.memory(now);
        if is_slow {
            let longer = (2 * self.rest.load(Relaxed)).clamp(Self::REST.0, Self::REST.1);
            self.rest.store(longer, Relaxed);
            self.latency.add(sample, memory);
        } else {
            self.rest.store(self.rest.load(Relaxed) / 2, Relaxed);
            // Where it was slow it may be over: believe it by a third, which brings more requests to tell.
            let memory = if self.excess(usual) > Self::TOLERANCE {
                3
            } else {
                memory
            };
            self.latency.add(sample, memory);
        }
        self.peaked(micros(latency), now);
    }

    /// By how many answers its latency is forgotten, as often as they come.
    fn memory(&self, now: Time) -> u32 {
        let millis = (now.as_micros() / 1000) as u32;
        let before = self.answered.swap(millis, Relaxed);
        let gap = millis.wrapping_sub(before).max(1);
        let (answers, time) = Self::MEMORY;
        (time.as_millis() as u32 / gap).clamp(2, answers)
    }

    /// Has it skipped for what its answers, or their lack, say; false where half of its fleet is already: whoever is left must not be
    /// buried under what the others got.
    fn convict(&self, charge: Charge, now: Time) -> bool {
        if self.skip.is_convicted() {
            self.skip.failed(now);
            return true;
        }
        if !self.fleet.convict() {
            return false;
        }
        if self.skip.convicted(now) {
            self.fleet.charge(charge);
        } else {
            self.fleet.acquit();
        }
        true
    }

    /// Tells the fleet, where it had been convicted.
    fn acquitted(&self, was_convicted: bool) {
        if was_convicted {
            self.fleet.acquit();
        }
    }

    fn failed(&self, now: Time) {
        let row = self.failures.fetch_add(1, Relaxed) + 1;
        if row == 1 {
            self.failing_since.store(now.as_micros(), Relaxed);
        }
        if row >= self.fleet.failures_in_a_row() {
            self.convict(Charge::Failing, now);
        }
        let usual = self.fleet.latency().unwrap_or_default();
        self.peaked(micros(usual) * Peak::FAILURE, now);
    }

    fn peaked(&self, micros: f32, now: Time) {
        let peak = self.peak.observe(micros, now, self.fleet.decay());
        self.fleet.peaked(peak);
    }
}

/// One open request at an endpoint, counted for as long as this lives.
#[derive(Debug)]
#[must_use = "the request counts as open only while this lives"]
pub struct Open {
    load: Arc<Load>,
    /// Where it is counted as young, as long as it is to be.
    young: Cell<Option<Ticket>>,
    began: Time,
    /// Whether its fleet counts it as open.
    bounded: bool,
    /// Its number among the endpoint's requests, as long as it waits for an answer.
    number: Cell<Option<u64>>,
}

impl Open {
    /// The endpoint's state.
    pub fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// Its body may take the client long: until it is there, nobody waits for the endpoint. To be said right after the pick.
    pub fn uploads(&self) {
        self.no_longer_waiting();
    }

    /// The head of its response came, or it failed. To be said once; a request that nobody answered says nothing. Its latency counts from
    /// when the endpoint had the whole of it, where that was after the pick.
    pub fn answered(&self, outcome: Outcome, sent: Option<Time>, now: Time) {
        self.load.waiting.answered(self.load.picks());
        self.number.set(None);
        self.load.fleet.judged(outcome == Outcome::Failure);
        let latency = now.since(sent.unwrap_or(self.began).max(self.began));
        match outcome {
            Outcome::Success => self.load.succeeded(self.began, latency, now),
            Outcome::Failure => self.load.failed(now),
        }
    }

    /// It was upgraded: it stays open for long, and costs the endpoint little from now on.
    pub fn held(&self) {
        self.no_longer_young();
    }

    fn no_longer_waiting(&self) {
        if let Some(number) = self.number.take() {
            self.load.waiting.left(number, self.load.picks());
        }
    }

    fn no_longer_young(&self) {
        if let Some(ticket) = self.young.take() {
            self.load.young.close(ticket);
        }
    }

    /// It ended as it should, body and all: how long it took tells what is usual here.
    pub fn ended(&self, now: Time) {
        self.load.fleet.ended(now.since(self.began));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.no_longer_young();
        self.no_longer_waiting();
        self.load.counts.fetch_sub(1, Relaxed);
        if self.bounded {
            self.load.fleet.closed();
        }
    }
}

/// The open requests in [`Load::counts`].
fn open(counts: u64) -> u32 {
    (counts & ((1 << Load::OPEN_BITS) - 1)) as u32
}

impl Drop for Load {
    fn drop(&mut self) {
        self.acquitted(self.skip.succeeded());
    }
}
