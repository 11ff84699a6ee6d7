//! The stream to the proxies: incremental ADS. `session` and `subscription` are the pure conversation of one stream; `server`
//! and `accept` do the IO; `store` and `streams` are where the rest of the operator meets them.

pub mod accept;
pub mod metrics;
pub mod server;
pub mod session;
pub mod store;
pub mod streams;
mod subscription;
