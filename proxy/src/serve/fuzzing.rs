//! What fuzzers, and the test that replays what they found, reach of this room: pure functions on heads that nobody else outside needs.
//! Nothing may be decided here.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Request};
use http_body::Body;

use super::error::Failure;
use super::headers::Seen;
use super::{forwarding, grpc, headers};
use crate::state::{Listener, Routed};

/// What became of a request's head that was let through.
#[derive(Debug)]
pub struct Passed {
    /// The host that it was routed by.
    pub host: String,
    /// Where it goes.
    pub routed: Routed,
    /// What the endpoint is told of the client beside the head, as header lines.
    pub told: Vec<u8>,
    /// Whether it asks for an upgrade that may pass.
    pub upgrade: bool,
}

/// Takes a request from `client` (over TLS where `secure`) the way that `request` takes it, as far as its head goes: checked, routed, told
/// of the client, made what an endpoint is sent.
///
/// # Errors
/// Why it is refused.
pub fn pass<B: Body>(
    request: &mut Request<B>,
    client: SocketAddr,
    secure: bool,
    listener: &Listener,
) -> Result<Passed, Failure> {
    let seen = Seen::of(request.headers());
    let peer = forwarding::Peer::new(client, secure);
    let host = headers::check(request, seen, secure)?.to_owned();
    let told = peer.told(&host, listener);
    let routed = listener.route(&host, request.uri().path())?;
    if let Some(path) = &routed.path {
        headers::set_path(request, path)?;
    }
    if seen.client || told.is_none() {
        forwarding::tell(request, &peer, told.as_deref(), listener);
    }
    let upgrade = headers::to_endpoint(request, seen, false);
    Ok(Passed {
        host,
        routed,
        told: told.map_or(Vec::new(), |told| told.http1().to_vec()),
        upgrade,
    })
}

/// How long a gRPC client says that it waits.
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    grpc::timeout(headers)
}
