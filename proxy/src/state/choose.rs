//! Which endpoint of a cluster a request gets: that of its session where sessions decide, else the balancer's pick; and what became of
//! its affinity. Pure; sending anything there must not come here.

use std::sync::Arc;

use tenbin_balance::{Ask, Home, Load, Open, Pick, Reason, Rng, Role, Time, Tried};
use tenbin_model::{OnDead, OnDrain};

use super::{Cluster, Endpoint, EndpointStats, Gate};
use crate::affinity::{Affinity, Bond, Brought, Outcome};
use crate::serve::error::Failure;

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Now.
    pub now: Time,
    /// What it brought to be bound by.
    pub bond: &'a Bond,
    /// Whether it asks for an upgrade, and so will stay open for long.
    pub held: bool,
    /// Endpoints that it was sent to already.
    pub tried: &'a Tried,
}

/// An endpoint that was picked for a request.
#[derive(Debug)]
pub struct Picked {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Why it was.
    pub reason: Reason,
    /// Among how many.
    pub candidates: u32,
    /// What became of its affinity.
    pub affinity: Outcome,
    /// Whether the request must not go to any other.
    pub only: bool,
    /// The request, counted as open there while this lives.
    pub open: Open,
    /// Tells who waits, where endpoints have a limit. After [`Self::open`], so that there is room when they look.
    freed: Option<Freed>,
}

/// Tells those who wait that a request left an endpoint.
#[derive(Debug)]
struct Freed {
    gate: Arc<Gate>,
    stats: Arc<EndpointStats>,
}

impl Drop for Freed {
    fn drop(&mut self) {
        self.stats.line.freed();
        self.gate.line.freed();
    }
}

impl Cluster {
    /// Picks an endpoint that was not tried yet, and is not at its limit: see [`tenbin_balance::Balancer::pick`].
    ///
    /// # Errors
    /// [`Failure::NoEndpoint`] where all were tried; [`Failure::Session`] where sessions may not move and the request's can't be had;
    /// [`Failure::Overflow`] where those that it may go to are at their limit.
    pub fn pick(&self, wanted: &Wanted<'_>, rng: &mut Rng) -> Result<Picked, Failure> {
        if !self.limited {
            return self.pick_any(wanted, rng);
        }
        match self.endpoint_limit() {
            None => self.pick_any(wanted, rng),
            Some(limit) => self.pick_below(limit, wanted, rng),
        }
    }

    /// Picks as if endpoints with `limit` open requests had been tried. A session waits for its own; nobody is sent to one that is left out,
    /// or to the last reserve, only because the good ones are full for a moment.
    fn pick_below(&self, limit: u32, wanted: &Wanted<'_>, rng: &mut Rng) -> Result<Picked, Failure> {
        if self.full_home(wanted, limit).is_some() {
            return Err(Failure::Overflow);
        }
        // Each round but the last finds an endpoint that another worker filled meanwhile.
        for _ in 0..=self.endpoints.len() {
            let (closed, full) = self.closed(limit, wanted.tried);
            let mut picked = match self.pick_any(
                &Wanted {
                    tried: &closed,
                    ..*wanted
                },
                rng,
            ) {
                Err(Failure::NoEndpoint) if full => return Err(Failure::Overflow),
                picked => picked?,
            };
            if full && matches!(picked.reason, Reason::Panic | Reason::Reserve | Reason::Draining) {
                return Err(Failure::Overflow);
            }
            picked.freed = Some(Freed {
                gate: Arc::clone(&self.gate),
                stats: Arc::clone(&picked.endpoint.stats),
            });
            if picked.open.load().open() <= limit {
                return Ok(picked);
            }
        }
        Err(Failure::Overflow)
    }

    /// The endpoints that were tried or have `limit` open requests, and whether there are any of the latter.
    fn closed(&self, limit: u32, tried: &Tried) -> (Tried, bool) {
        let mut closed = Tried::default();
        let mut full = false;
        for load in self.balancer.members().iter().map(|member| &member.load) {
            let was_tried = tried.contains(load);
            let is_full = load.open() >= limit;
            full |= is_full && !was_tried;
            if was_tried || is_full {
                closed.push(Arc::clone(load));
            }
        }
        (closed, full)
    }

    /// The endpoint of the request's session, if that has `limit` open requests and would take it otherwise.
    fn full_home(&self, wanted: &Wanted<'_>, limit: u32) -> Option<&Arc<Endpoint>> {
        let home = self.home(wanted.bond).index()?;
        let member = &self.balancer.members()[home.index];
        let serves = member.role == Role::Ready || home.keep_draining;
        let is_full = |load: &Arc<Load>| load.open() >= limit && !wanted.tried.contains(load);
        (serves && is_full(&member.load)).then(|| &self.endpoints[home.index])
    }

    /// The line in which a request waits while there is no room for it: that of its session's endpoint where it may go nowhere else.
    pub(crate) fn line(&self, wanted: &Wanted<'_>) -> Option<Arc<EndpointStats>> {
        let home = self.full_home(wanted, self.endpoint_limit()?)?;
        Some(Arc::clone(&home.stats))
    }

    fn pick_any(&self, wanted: &Wanted<'_>, rng: &mut Rng) -> Result<Picked, Failure> {
        let home = self.home(wanted.bond);
        let home = match home {
            Place::At(home) if self.binds(home) => return self.only(home, wanted),
            Place::Gone if self.on_dead() == OnDead::Fail => return Err(Failure::Session),
            other => other,
        };
        let ask = Ask {
            now: wanted.now,
            key: wanted.bond.key(),
            home: home.index(),
            // Who has no session, or can't go on with it, gets one that lasts.
            lasts: wanted.held || matches!(wanted.bond, Bond::Session(_)),
            tried: wanted.tried,
        };
        let pick = self.balancer.pick(&ask, rng).ok_or(Failure::NoEndpoint)?;
        let affinity = outcome(wanted.bond, home, &pick);
        Ok(self.picked(pick, affinity, false))
    }

    fn picked(&self, pick: Pick, affinity: Outcome, only: bool) -> Picked {
        Picked {
            endpoint: Arc::clone(&self.endpoints[pick.index]),
            freed: None,
            reason: pick.reason,
            candidates: pick.candidates,
            affinity,
            only,
            open: pick.open,
        }
    }

    /// The endpoint of the request's session, by its identity.
    fn home(&self, bond: &Bond) -> Place {
        let (Affinity::Cookie(sessions), Bond::Session(Brought::Session { token, .. })) = (&self.affinity, bond) else {
            return Place::Nowhere;
        };
        match self.endpoints.binary_search_by(|e| e.id.as_str().cmp(token.uid())) {
            Ok(index) => Place::At(Home {
                index,
                keep_draining: sessions.on_drain == OnDrain::Keep,
            }),
            Err(_) => Place::Gone,
        }
    }

    fn on_dead(&self) -> OnDead {
        match &self.affinity {
            Affinity::Cookie(sessions) => sessions.on_dead,
            Affinity::None | Affinity::Hash(_) => OnDead::Rebalance,
        }
    }

    /// Whether a session at `home` may not move: then it goes there whatever is known against the endpoint, since the alternative is
    /// a refusal.
    fn binds(&self, home: Home) -> bool {
        let leaves = self.balancer.members()[home.index].role == Role::Draining && !home.keep_draining;
        self.on_dead() == OnDead::Fail && !leaves
    }

    fn only(&self, home: Home, wanted: &Wanted<'_>) -> Result<Picked, Failure> {
        let load = &self.balancer.members()[home.index].load;
        if wanted.tried.contains(load) {
            return Err(Failure::Session);
        }
        let pick = Pick {
            index: home.index,
            reason: Reason::Affinity,
            candidates: 1,
            open: load.begin(wanted.now),
        };
        Ok(self.picked(pick, Outcome::Hit, true))
    }
}

/// Where a request's session is.
#[derive(Clone, Copy)]
enum Place {
    /// It has none.
    Nowhere,
    /// At this endpoint.
    At(Home),
    /// At one that is not there any more.
    Gone,
}

impl Place {
    fn index(self) -> Option<Home> {
        match self {
            Place::At(home) => Some(home),
            Place::Nowhere | Place::Gone => None,
        }
    }
}

fn outcome(bond: &Bond, home: Place, pick: &Pick) -> Outcome {
    match (bond, home) {
        (Bond::Key(Some(_)), _) if pick.reason == Reason::Hash => Outcome::Hit,
        (Bond::Key(Some(_)), _) => Outcome::Moved,
        (_, Place::At(home)) if home.index == pick.index => Outcome::Hit,
        (_, Place::At(_)) => Outcome::Moved,
        _ => bond.outcome(),
    }
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
