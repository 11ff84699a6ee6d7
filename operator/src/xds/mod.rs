//! The stream to the proxies: incremental ADS. `session` and `subscription` are the pure conversation of one stream; `server`
//! and `accept` do the IO; `store` and `streams` are where the rest of the operator meets them.

#[allow(clippy::disallowed_methods, reason = "IO: the accept loop, which spawns and waits")]
pub mod accept;
pub mod metrics;
#[allow(clippy::disallowed_methods, reason = "IO: streams that end and wait by the clock")]
pub mod server;
pub mod session;
pub mod store;
pub mod streams;
mod subscription;
