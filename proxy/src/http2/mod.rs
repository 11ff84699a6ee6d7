//! One HTTP/2 connection, of either side, shared by the tasks of its streams and the one that drives it (`link`): frames are
//! `tenbin_http2`'s, here are the socket, who waits for what, what came and was not taken yet, and what the peer's frames may cost
//! (`tally`). What a message means is not its business. All of it stays on one worker.

mod link;
mod queue;
mod shared;
mod stream;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use link::{Came, Link};
pub(crate) use shared::{Lost, Shared};
pub(crate) use stream::{Receiver, Sender};
pub(crate) use tally::Tally;
