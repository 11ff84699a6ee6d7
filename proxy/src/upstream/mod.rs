//! Connections to endpoints: opened, pooled on their worker, used for one request at a time or shared by many, closed when nobody wants
//! them. Which endpoint to connect to is decided elsewhere.

mod connect;
mod lease;
mod multiplex;
mod pool;
mod send;
mod socket;

pub(crate) use connect::keepalive;
pub use lease::To;
pub use multiplex::{MAX_STREAMS, MAX_UNUSED_TIME};
pub use pool::{Lease, MAX_IDLE, MAX_IDLE_TIME, Pool};
pub use send::{Delivered, Undelivered, send};
pub use socket::Socket;
