//! Which endpoint of a cluster a request gets: that of its session where sessions decide, else the balancer's pick; and what became of
//! its affinity. Pure; sending anything there must not come here.

use std::sync::Arc;

use tenbin_balance::{Ask, Home, Open, Pick, Reason, Rng, Role, Time, Tried};
use tenbin_model::{OnDead, OnDrain};

use super::{Cluster, Endpoint};
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
}

impl Cluster {
    /// Picks an endpoint that was not tried yet: see [`tenbin_balance::Balancer::pick`].
    ///
    /// # Errors
    /// [`Failure::NoEndpoint`] where all were tried; [`Failure::Session`] where sessions may not move and the request's can't be had.
    pub fn pick(&self, wanted: &Wanted<'_>, rng: &mut Rng) -> Result<Picked, Failure> {
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
