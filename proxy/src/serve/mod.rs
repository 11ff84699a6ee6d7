//! Requests: accepted, routed, sent to an endpoint, answered, counted. The way of a request is `request`, top to bottom.
//! What is known about routes and endpoints is `state`'s; connections to endpoints are `upstream`'s.

pub mod error;

mod body;
mod connection;
mod copy;
mod exchange;
mod expect;
mod forwarding;
mod handshake;
mod headers;
mod http2;
mod interim;
mod io;
mod listener;
mod opening;
mod request;
mod request_id;
mod tcp;
mod tunnel;
mod worker;

pub use body::{RequestBody, Upload};
pub use handshake::Refused;
pub use io::{Counted, CountedIo, IoCounts, Transport};
pub use listener::{Bound, bind};
pub use worker::{Worker, WorkerContext, spawn};
