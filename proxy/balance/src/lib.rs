//! Load-balancing arithmetic: which endpoint gets the next request.
//!
//! Pure: the time, randomness and what was tried already are passed in, so the same code runs in the proxy, in tests and in
//! simulations. No IO, no clock, no lock, no spawning; a pick neither waits nor allocates. What an endpoint's address is and how it
//! is connected to must never come here.
//!
//! A [`Balancer`] is built anew whenever the endpoints change; what must survive the change is in each endpoint's [`Load`]
//! (shared, kept by the endpoint's identity) and in the position that [`Balancer::next`] takes over.

mod balancer;
mod least_request;
mod load;
mod rng;
mod round_robin;
mod skip;
mod time;

pub use balancer::{Balancer, Member, Pick, Policy, Reason, Role, Tried};
pub use least_request::FULL_SCAN;
pub use load::{Load, Open};
pub use rng::Rng;
pub use skip::{Skip, Status};
pub use time::Time;
