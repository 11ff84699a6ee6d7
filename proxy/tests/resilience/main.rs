//! What the proxy does when things go wrong or take too long: its workers inside the test, between real sockets on loopback, so that every
//! setting can be said and every counter read.

#![allow(
    clippy::disallowed_methods,
    reason = "tests start tasks and look at the clock to give up waiting"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod app;
mod bodies;
mod by_hand;
mod call;
mod client;
mod frames;
mod http2;
mod limits;
mod outcomes;
mod retries;
mod rules;
mod uploads;
mod way;
mod world;
