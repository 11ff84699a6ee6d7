//! Load-balancing arithmetic: which endpoint gets the next request.
//!
//! Pure: the time, randomness and what was tried already are passed in, so the same code runs in the proxy, in tests and in
//! simulations. No IO, no clock, no lock, no spawning; a pick neither waits nor allocates. What an endpoint's address is and how it
//! is connected to must never come here.
//!
//! A [`Balancer`] is built anew whenever the endpoints change; what must survive the change is in each endpoint's [`Load`]
//! (shared, kept by the endpoint's identity), in their common [`Fleet`], and in the position that [`Balancer::next`] takes over.

mod adaptive;
mod alias;
mod average;
mod balancer;
mod candidates;
mod fleet;
mod hash;
mod hashing;
mod least;
mod least_request;
mod load;
mod maglev;
mod peak;
mod peak_ewma;
mod pick;
mod random;
mod ring;
mod rng;
mod round_robin;
mod sequence;
mod settings;
mod skip;
mod tier;
mod time;
mod waiting;
mod young;
mod zones;

pub use balancer::Balancer;
pub use fleet::{Charge, Fleet};
pub use hash::hash_key;
pub use least::FULL_SCAN;
pub use load::{Load, Open, Outcome};
pub use pick::{Ask, Home, Pick, Reason, Tried};
pub use rng::Rng;
pub use settings::{Hash, Member, Policy, Role, Settings, SlowStart, Table};
pub use skip::{Skip, Status};
pub use time::Time;
