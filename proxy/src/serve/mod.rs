//! Requests: accepted, routed, sent to an endpoint, answered, counted. The way of a request is `request`, top to bottom.
//! What is known about routes and endpoints is `state`'s; connections to endpoints are `upstream`'s.

pub mod error;
#[doc(hidden)]
pub mod fuzzing;

mod alarm;
mod body;
mod connection;
mod copy;
mod date;
mod exchange;
mod expect;
mod forward;
mod forwarding;
mod grpc;
mod handshake;
mod headers;
mod http1;
mod http2;
mod incoming;
mod informer;
mod io;
mod lane;
mod listener;
mod opening;
mod parcel;
mod patience;
mod queue;
mod request;
mod request_id;
mod retry;
mod tcp;
mod tunnel;
mod upload;
mod worker;

pub use handshake::Refused;
pub use io::Transport;
pub use listener::{Bound, bind};
pub use parcel::Parcel;
pub(crate) use parcel::usually_has_body;
pub use patience::Patience;
pub use upload::{BodyError, RequestBody, Upload};
pub use worker::{Worker, WorkerContext, run, spawn};
