//! A set of endpoints and the rules by which one of them is picked: sessions and keys first, then the algorithm among the good ones, and
//! what happens when there is none. The algorithms themselves are next door.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::adaptive::Adaptive;
use crate::candidates::{Candidate, Candidates};
use crate::hashing::Hashing;
use crate::least;
use crate::least_request::LeastRequest;
use crate::load::Bond;
use crate::peak_ewma::{self, PeakEwma};
use crate::pick::{Ask, Home, Pick, Reason};
use crate::settings::{Member, Policy, Role, Settings, SlowStart};
use crate::skip::Status;
use crate::tier::Tier;
use crate::zones::Zones;
use crate::{Fleet, Rng, Time, round_robin};

/// An endpoint, and why it.
type Found<'a> = (&'a Candidate, Reason);

/// A set of endpoints that requests are balanced over, shared by every thread.
#[derive(Debug)]
pub struct Balancer {
    settings: Settings,
    members: Vec<Member>,
    fleet: Option<Arc<Fleet>>,
    /// Ready, with a weight.
    ready: Tier,
    /// The same by zone, where zones matter.
    zones: Option<Zones>,
    /// Ready, of weight 0.
    reserve: Tier,
    draining: Tier,
    hashing: Option<Hashing>,
    easing: Easing,
}

impl Balancer {
    /// A balancer over `members`, which are sorted by id, share a fleet, and are not more than `u32` can count. Where round robin starts is random.
    pub fn new(settings: Settings, members: Vec<Member>, now: Time, rng: &mut Rng) -> Self {
        Self::build(settings, members, None, now, rng)
    }

    /// The balancer that takes over from this one after its settings or members changed: what rotates goes on where it stood, and an
    /// endpoint that is new or ready again is eased in, if that is wanted.
    #[must_use]
    pub fn next(&self, settings: Settings, members: Vec<Member>, now: Time, rng: &mut Rng) -> Self {
        Self::build(settings, members, Some(self), now, rng)
    }

    fn build(settings: Settings, members: Vec<Member>, before: Option<&Balancer>, now: Time, rng: &mut Rng) -> Self {
        debug_assert!(members.is_sorted_by(|a, b| a.id < b.id), "members are sorted by id");
        let fleet = members.first().map(|member| Arc::clone(member.load.fleet()));
        if let (Policy::PeakEwma { decay, .. }, Some(fleet)) = (settings.policy, &fleet) {
            fleet.set_decay(decay);
        }
        let places = |wanted: &dyn Fn(&Member) -> bool| -> Vec<u32> {
            let numbered = (0u32..).zip(&members);
            numbered.filter(|(_, m)| wanted(m)).map(|(i, _)| i).collect()
        };
        let ready = places(&|m| m.role == Role::Ready && m.weight > 0);
        if let Some(fleet) = &fleet {
            let is_bounded = settings.hash.is_some_and(|hash| hash.bound.is_some());
            fleet.serve(ready.len(), is_bounded, settings.policy == Policy::Adaptive);
        }
        let tier = |places: Vec<u32>, of: fn(&Balancer) -> &Tier, rng: &mut Rng| {
            let before = before.map(|b| (&*b.members, of(b)));
            Tier::new(&members, &places, settings.policy, before, rng)
        };
        let zones_before = before.and_then(|b| Some((&*b.members, b.zones.as_ref()?)));
        let easing = ease(&members, before, &settings, now);
        queue(&members, fleet.as_deref(), rng);
        Balancer {
            zones: settings
                .zone
                .as_ref()
                .and_then(|own| Zones::new(own, &members, &ready, settings.policy, zones_before, rng)),
            hashing: settings
                .hash
                .map(|hash| Hashing::new(hash, &members, &ready, before.and_then(|b| b.hashing.as_ref()))),
            ready: tier(ready, |b| &b.ready, rng),
            reserve: tier(places(&|m| m.role == Role::Ready && m.weight == 0), |b| &b.reserve, rng),
            draining: tier(places(&|m| m.role == Role::Draining), |b| &b.draining, rng),
            settings,
            fleet,
            easing,
            members,
        }
    }

    /// What it was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The members, in the order they were given.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Picks an endpoint that was not tried: that of the request's session or key; else a ready one that is not skipped, by the policy; if all
    /// of those are skipped, any ready one; then those of weight 0, then draining ones, by the same rules. `None` if all were tried.
    pub fn pick(&self, ask: &Ask<'_>, rng: &mut Rng) -> Option<Pick> {
        let fleet = &**self.fleet.as_ref()?;
        if let Some(pick) = ask.home.and_then(|home| self.at_home(home, ask)) {
            return Some(pick);
        }
        if let (Some(key), Some(hashing)) = (ask.key, &self.hashing) {
            if let Some(candidate) = hashing.own(key, ask, &self.ready.members) {
                return Some(begin(&self.ready, (candidate, Reason::Hash), fleet, ask));
            }
            if let Some(pick) = hashing.pick(key, ask, &self.ready.members, fleet) {
                return Some(pick);
            }
        }
        let (tier, found) = self.place(fleet, ask, rng)?;
        Some(begin(tier, found, fleet, ask))
    }

    /// The endpoint that the policy picks, why, and among which.
    #[inline]
    fn place<'a>(&'a self, fleet: &'a Fleet, ask: &'a Ask<'_>, rng: &mut Rng) -> Option<(&'a Tier, Found<'a>)> {
        if let Some(zones) = &self.zones {
            let tier = zones.draw(rng);
            if let Some(found) = self.among(tier, fleet, ask, rng) {
                return Some((tier, found));
            }
        }
        match self.among(&self.ready, fleet, ask, rng) {
            Some(found) => Some((&self.ready, found)),
            None => self.place_of_last_resort(fleet, ask, rng),
        }
    }

    /// The same where no ready one is good.
    #[cold]
    fn place_of_last_resort<'a>(
        &'a self,
        fleet: &'a Fleet,
        ask: &'a Ask<'_>,
        rng: &mut Rng,
    ) -> Option<(&'a Tier, Found<'a>)> {
        if let Some(found) = self.in_panic(&self.ready, fleet, ask, rng) {
            return Some((&self.ready, found));
        }
        for tier in [&self.reserve, &self.draining] {
            let found = self.among(tier, fleet, ask, rng);
            if let Some(found) = found.or_else(|| self.in_panic(tier, fleet, ask, rng)) {
                return Some((tier, found));
            }
        }
        None
    }

    /// The endpoint of a session, as long as it serves.
    fn at_home(&self, home: Home, ask: &Ask<'_>) -> Option<Pick> {
        let member = self.members.get(home.index)?;
        let serves = match member.role {
            Role::Ready => true,
            Role::Draining => home.keep_draining,
        };
        let good = serves && !ask.tried.contains(&member.load) && member.load.admit_bound(Bond::Session, ask.now);
        good.then(|| Pick {
            index: home.index,
            reason: Reason::Affinity,
            candidates: 1,
            open: member.load.begin(ask.now),
        })
    }

    /// A good endpoint of `tier`.
    #[inline]
    fn among<'a>(&'a self, tier: &'a Tier, fleet: &'a Fleet, ask: &'a Ask<'_>, rng: &mut Rng) -> Option<Found<'a>> {
        let of = self.candidates(tier, fleet, ask, false)?;
        let chosen = self.choose(&of, rng)?;
        if !chosen.candidate.load.is_blameless(ask.now) {
            return self.among_blamed(chosen, &of, rng);
        }
        let among_ready = if chosen.floor { Reason::Floor } else { Reason::Policy };
        Some((chosen.candidate, self.reason(tier, among_ready)))
    }

    /// The same where something speaks against the one that was chosen.
    #[cold]
    fn among_blamed<'a>(
        &'a self,
        mut chosen: least::Chosen<'a>,
        of: &Candidates<'a>,
        rng: &mut Rng,
    ) -> Option<Found<'a>> {
        // Each round but the last finds an endpoint that is not good after all, and skips it.
        for _ in 0..=of.tier.len() {
            // Of several requests that see an endpoint whose skip is over, one gets to try it; for the others it is skipped again.
            let load = &chosen.candidate.load;
            let reason = match load.admit(of.ask.now) {
                Some(Status::Usable) if load.skip().is_convicted() => self.reason(of.tier, Reason::Panic),
                Some(Status::Usable) if chosen.floor => self.reason(of.tier, Reason::Floor),
                Some(Status::Usable) => self.reason(of.tier, Reason::Policy),
                Some(_) => Reason::Trial,
                None => {
                    chosen = self.choose(of, rng)?;
                    continue;
                }
            };
            return Some((chosen.candidate, reason));
        }
        None
    }

    /// Any endpoint of `tier`, though it is skipped. If they all are, they are all tried again: else the first that works would get what was
    /// meant for all, until the others' time has come.
    #[cold]
    fn in_panic<'a>(&'a self, tier: &'a Tier, fleet: &'a Fleet, ask: &'a Ask<'_>, rng: &mut Rng) -> Option<Found<'a>> {
        let of = self.candidates(tier, fleet, ask, true)?;
        let chosen = self.choose(&of, rng)?;
        let skips = || tier.members.iter().map(|candidate| candidate.load.skip());
        if skips().all(|skip| skip.status(ask.now) == Status::Skipped) {
            skips().for_each(|skip| skip.due(ask.now));
        }
        Some((chosen.candidate, self.reason(tier, Reason::Panic)))
    }

    fn reason(&self, tier: &Tier, among_ready: Reason) -> Reason {
        if std::ptr::eq(tier, &raw const self.reserve) {
            Reason::Reserve
        } else if std::ptr::eq(tier, &raw const self.draining) {
            Reason::Draining
        } else {
            among_ready
        }
    }

    #[inline]
    fn candidates<'a>(
        &'a self,
        tier: &'a Tier,
        fleet: &'a Fleet,
        ask: &'a Ask<'a>,
        panic: bool,
    ) -> Option<Candidates<'a>> {
        if tier.is_empty() {
            return None;
        }
        Some(Candidates {
            tier,
            fleet,
            ask,
            panic,
            slow_start: self.easing.at(ask.now),
            clock: fleet.clock.load(Relaxed),
        })
    }

    #[inline]
    fn choose<'a>(&self, of: &Candidates<'a>, rng: &mut Rng) -> Option<least::Chosen<'a>> {
        let plain = |candidate| least::Chosen {
            candidate,
            floor: false,
        };
        let fleet = of.fleet;
        match self.settings.policy {
            Policy::RoundRobin => round_robin::choose(of).map(plain),
            Policy::Random => crate::random::choose(of, rng).map(plain),
            Policy::LeastRequest { choices } => least::choose(of, choices, rng, &LeastRequest(of)),
            Policy::PeakEwma { decay, choices } => {
                let usual = fleet.usual_peak();
                least::choose(
                    of,
                    Some(choices.unwrap_or(peak_ewma::CHOICES)),
                    rng,
                    &PeakEwma { of, decay, usual },
                )
            }
            Policy::Adaptive => {
                let cost = Adaptive {
                    of,
                    usual: fleet.latency_bits(),
                    window: fleet.window(),
                };
                least::choose(of, None, rng, &cost)
            }
        }
    }
}

/// Opens the request at what was found in `tier`. Inlined, so that the pick is written where it is wanted: copying what was written just
/// now costs more than writing it.
#[inline]
fn begin(tier: &Tier, (candidate, reason): Found<'_>, fleet: &Fleet, ask: &Ask<'_>) -> Pick {
    Pick {
        index: candidate.index as usize,
        reason,
        candidates: tier.len() as u32,
        open: candidate.load.begin_in(fleet, ask.now),
    }
}

/// Who is being eased in.
#[derive(Debug, Default)]
struct Easing {
    slow_start: Option<SlowStart>,
    /// Until when anybody is.
    until: Time,
    /// Since when the endpoint is ready that is for longest; 0 if from the beginning.
    oldest: u64,
}

impl Easing {
    /// Slow start while it matters, and the part of its share that the oldest endpoint has.
    fn at(&self, now: Time) -> Option<(&SlowStart, f32)> {
        if now >= self.until {
            return None;
        }
        self.while_it_matters(now)
    }

    #[cold]
    fn while_it_matters(&self, now: Time) -> Option<(&SlowStart, f32)> {
        let slow_start = self.slow_start.as_ref()?;
        Some((slow_start, slow_start.share(self.oldest, now)))
    }
}

/// Notes who became ready just now, has it tried if it was skipped, and gives who is being eased in.
fn ease(members: &[Member], before: Option<&Balancer>, settings: &Settings, now: Time) -> Easing {
    let Some(before) = before else {
        return Easing::default();
    };
    // What was ready when we began may have been ready for long.
    let known = before.members.iter().any(|m| m.role == Role::Ready);
    let was_ready = |member: &Member| {
        let at = before.members.binary_search_by(|m| m.id.cmp(&member.id));
        at.is_ok_and(|at| before.members[at].role == Role::Ready)
    };
    for member in members.iter().filter(|m| m.role == Role::Ready) {
        if known && !was_ready(member) {
            member.load.ready_since.store(now.as_micros().max(1), Relaxed);
            member.load.skip().due(now);
        }
    }
    let since = || {
        let ready = members.iter().filter(|m| m.role == Role::Ready && m.weight > 0);
        ready.map(|m| m.load.ready_since.load(Relaxed))
    };
    let window = settings
        .slow_start
        .map(|SlowStart { window, .. }| window)
        .unwrap_or_default();
    Easing {
        slow_start: settings.slow_start,
        until: Time::from_micros(since().max().unwrap_or(0)).plus(window),
        oldest: since().min().unwrap_or(0),
    }
}

/// Gives who never had a turn a place in the queue, from a random start, so that many proxies don't all begin with the same one.
fn queue(members: &[Member], fleet: Option<&Fleet>, rng: &mut Rng) {
    let Some(fleet) = fleet else {
        return;
    };
    let n = members.len() as u64;
    let clock = fleet.clock.fetch_max(1, Relaxed).max(1);
    let start = rng.below(members.len()) as u64;
    for (place, member) in (0u64..).zip(members) {
        let turn = (clock + (place + start) % n) * least::TICKS;
        let _ = member.load.turn.compare_exchange(0, turn, Relaxed, Relaxed);
    }
}
