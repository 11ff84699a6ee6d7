//! What a balancer is told: the algorithm and what it works on. Plain data.

use std::sync::Arc;
use std::time::Duration;

use crate::{Load, Time};

/// How endpoints are picked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The algorithm, for every request without a key of its own.
    pub policy: Policy,
    /// Consistent hashing, for requests with a key.
    pub hash: Option<Hash>,
    /// How an endpoint that becomes ready while others are is eased in.
    pub slow_start: Option<SlowStart>,
    /// The zone whose endpoints come first; none does unless given.
    pub zone: Option<Arc<str>>,
}

/// The algorithm that picks among good endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Policy {
    /// Least active requests, by latency, age of open requests and failures (module `adaptive`).
    #[default]
    Adaptive,
    /// Each in turn by its weight, from a random start (`round_robin`).
    RoundRobin,
    /// Any, by its weight (`random`).
    Random,
    /// The fewest open requests (`least_request`).
    LeastRequest {
        /// How many distinct ones are compared, 2 to [`Policy::CHOICES_MAX`]; all of up to [`crate::FULL_SCAN`], else 2, unless given.
        choices: Option<u32>,
    },
    /// Least latency times open requests (`peak_ewma`).
    PeakEwma {
        /// Over which time a peak is forgotten.
        decay: Duration,
        /// How many distinct ones are compared, 2 to [`Policy::CHOICES_MAX`]; 2 unless given.
        choices: Option<u32>,
    },
}

impl Policy {
    /// The most endpoints that are compared where their number is given.
    pub const CHOICES_MAX: u32 = 100;
}

/// Consistent hashing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// By which table.
    pub table: Table,
    /// The most open requests of an endpoint, in percent of its fair share of all: above 100. Source: Mirrokni, Thorup, Zadimoghaddam,
    /// "Consistent Hashing with Bounded Loads" (2016).
    pub bound: Option<u32>,
}

/// How a key becomes an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A ring of points (`ring`).
    Ring,
    /// A table of slots (`maglev`).
    Maglev,
}

/// How the share of an endpoint grows after it became ready: in a straight line from a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// Until it has its whole share.
    pub window: Duration,
    /// Percent of its share that it begins with, 1 to 100.
    pub floor: u8,
}

impl SlowStart {
    /// The part of its share that an endpoint has that became ready at `since`: 0.01 to 1. One that was there from the beginning (0) has it all.
    pub(crate) fn share(self, since: u64, now: Time) -> f32 {
        if since == 0 {
            return 1.0;
        }
        let age = now.since(Time::from_micros(since));
        if age >= self.window {
            return 1.0;
        }
        let floor = f32::from(self.floor.clamp(1, 100)) / 100.0;
        floor + (1.0 - floor) * (age.as_secs_f32() / self.window.as_secs_f32())
    }
}

/// What an endpoint is picked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Anything.
    Ready,
    /// Its own sessions; anything only where no ready one is left.
    Draining,
}

/// One endpoint of a set.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its identity, unique in the set.
    pub id: Arc<str>,
    /// What it is picked for.
    pub role: Role,
    /// Its share against the others': with 0 it gets its own sessions only, and anything where nothing else is ready.
    pub weight: u32,
    /// Where it is.
    pub zone: Arc<str>,
    /// Its live state, the same object in every set that it is a member of. All members of a set share one fleet.
    pub load: Arc<Load>,
}
