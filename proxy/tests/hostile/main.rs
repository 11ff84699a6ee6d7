//! Hostile and ambiguous input: raw bytes over real sockets to a real proxy, before an endpoint that records every byte that reaches it.
//! Each row of a table is an input, what must come of it and the rule; docs/hardening.md is written from the rows.

#![allow(
    clippy::disallowed_methods,
    reason = "tests start tasks and look at the clock to give up waiting"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod desync;
mod early;
mod floods;
mod http1;
mod http2;
mod message;
mod page;
mod recorder;
mod row;
mod world;
