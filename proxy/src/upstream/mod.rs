//! Connections to endpoints: opened, pooled on their worker, used for one request at a time, closed when nobody wants them.
//! Which endpoint to connect to is decided elsewhere.

mod connect;
mod pool;
mod send;

pub(crate) use connect::keepalive;
pub use connect::{connect, dial};
pub use pool::{Lease, MAX_IDLE, MAX_IDLE_TIME, Pool};
pub use send::{Delivered, Undelivered, send};
