//! HTTP/2 on the wire (RFC 9113, RFC 7541): bytes to events of streams, and what is to be said on streams to bytes, for both sides of
//! a connection. Pure: no IO, no clock, no task. What becomes of a message, and how long anything may take, is decided elsewhere.
//!
//! [`Connection`] is all of it: its user reads into a buffer, takes [`Event`]s out of it, says what it has to say, and writes what
//! [`Connection::output`] holds. Whatever the peer sends, memory and work are bounded by [`Config`]; work that nothing comes of is told
//! by [`Connection::take_cost`], so that the user can end who only makes work.

mod connection;
mod error;
pub mod frame;
pub mod hpack;

pub use connection::{Config, Connection, Event, Protocol, Refused};
pub use error::{Error, Malformed, Reason};
