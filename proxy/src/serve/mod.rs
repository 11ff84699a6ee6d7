//! Requests: accepted, routed, sent to an endpoint, answered, counted. The way of a request is `request`, top to bottom.
//! What is known about routes and endpoints is `state`'s; connections to endpoints are `upstream`'s.

pub mod error;

mod body;
mod connection;
mod exchange;
mod headers;
mod io;
mod listener;
mod request;
mod tunnel;
mod worker;

pub use body::{RequestBody, Upload};
pub use io::{Counted, CountedIo, IoCounts};
pub use listener::{Bound, bind};
pub use worker::{Worker, WorkerContext, spawn};
