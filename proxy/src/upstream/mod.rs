//! Connections to endpoints: opened, pooled on their worker, used for one request at a time or shared by many, closed when nobody wants
//! them. Which endpoint to connect to is decided elsewhere.

mod call;
mod connect;
mod download;
mod driver;
mod exclusive;
mod lease;
mod multiplex;
mod outgoing;
mod pool;
mod room;
mod send;
mod socket;
mod upgraded;

pub(crate) use connect::keepalive;
pub use download::Download;
pub use exclusive::Broken;
pub use lease::To;
pub use multiplex::{MAX_STREAMS, MAX_UNUSED_TIME};
pub use pool::{Lease, MAX_IDLE, MAX_IDLE_TIME, Pool};
pub use send::{Undelivered, send};
pub use socket::Socket;
pub use upgraded::Upgraded;
