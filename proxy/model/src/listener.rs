//! Where requests are accepted.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::ResourceName;

/// A socket that accepts HTTP requests. A sidecar binds the address that its pod's own template names for the listener,
/// since that is what its Service sends to, and takes the rest from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: ResourceName,
    /// Where it listens.
    pub address: SocketAddr,
    /// The route table that its requests are matched against.
    pub routes: ResourceName,
    /// How long a client may take to send a request's headers; 408 after it. At least 1 ms.
    pub header_timeout: Duration,
    /// How long a client's connection may stay open without a request. At least 1 ms.
    pub idle_timeout: Duration,
    /// Addresses of proxies in front of this one whose `X-Forwarded-For` is believed; at most [`Self::MAX_TRUSTED`]. A client at any
    /// other address is the client, whatever its headers say.
    pub trusted_hops: Vec<IpNet>,
}

impl Listener {
    /// Default of [`Self::header_timeout`].
    pub const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(30);
    /// Default of [`Self::idle_timeout`]: longer than what usual clients and load balancers keep a connection for, so that they close first.
    pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(600);
    /// The most [`Self::trusted_hops`].
    pub const MAX_TRUSTED: usize = 64;
}
