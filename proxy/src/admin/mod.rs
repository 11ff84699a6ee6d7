//! Admin: a Unix socket that only the proxy's own user can open, and the client of it in the same binary, so that `kubectl exec` is all
//! that is needed. Nothing of it listens on the network.

mod certificates;
mod client;
mod config;
mod server;
mod socket;
mod table;
mod views;

pub use client::ask;
pub use server::{Process, handler};
pub use socket::bind;
