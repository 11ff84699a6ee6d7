//! Requests: accepted, routed, sent to an endpoint, answered, counted. The way of a request is `request`, top to bottom.
//! What is known about routes and endpoints is `state`'s; connections to endpoints are `upstream`'s.

pub mod error;

mod body;
mod connection;
mod exchange;
mod forward;
mod grpc;
mod headers;
mod io;
mod listener;
mod parcel;
mod patience;
mod queue;
mod request;
mod retry;
mod tunnel;
mod upload;
mod worker;

pub use io::{Counted, CountedIo, IoCounts};
pub use listener::{Bound, bind};
pub use parcel::Parcel;
pub use patience::Patience;
pub use upload::{BodyError, RequestBody, Upload};
pub use worker::{Worker, WorkerContext, spawn};
