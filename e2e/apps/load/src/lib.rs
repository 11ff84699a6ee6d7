//! The load driver: a pod's worth of clients, steered over a small JSON API, that records what became of every request.
//! It runs inside the cluster, so that requests go the way of any client there: name, Service, sidecar. What the answers
//! mean is judged by the tests, never here.

mod body;
mod client;
mod control;
pub mod demo;
mod events;
mod grpc;
mod jar;
mod plan;
mod report;
mod run;
mod scan;
mod tcp;
mod volume;
mod websocket;

pub use control::serve;
pub use plan::{
    Answer, Call, Called, Calls, Cause, Connected, Connections, Echo, Echoed, Failure, Heard, Instance, Listen, Load,
    Moved, Raw, Received, Report, Request, Scan, Scanned, Started, Step, Visit, Volume,
};

/// The port of the JSON API.
pub const PORT: u16 = 7070;
