//! The load driver: a pod's worth of HTTP clients, steered over a small JSON API, that records what became of every request.
//! It runs inside the cluster, so that requests go the way of any client there: name, Service, sidecar. What the answers
//! mean is judged by the tests, never here.

mod body;
mod client;
mod control;
mod jar;
mod plan;
mod report;
mod run;
mod scan;
mod websocket;

pub use control::serve;
pub use plan::{Answer, Cause, Echo, Echoed, Failure, Instance, Load, Report, Request, Scan, Scanned, Started, Visit};

/// The port of the JSON API.
pub const PORT: u16 = 7070;
