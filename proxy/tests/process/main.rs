//! The proxy as a process: the real binary between real sockets on loopback. What needs no socket is tested beside the code.

#![allow(
    clippy::disallowed_methods,
    reason = "tests start tasks and look at the clock to give up waiting"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod app;
mod autobahn;
mod backend;
mod client;
mod cookies;
mod drain;
mod failures;
mod grpc_interop;
mod h2spec;
mod harness;
mod http2;
mod http2_floods;
mod http2_streams;
mod inside;
mod keys;
mod limits;
mod log;
mod observed;
mod operator;
mod sessions;
mod shares;
mod sidecar;
mod spans;
mod start;
mod tcp;
mod tls;
mod told;
mod traffic;
