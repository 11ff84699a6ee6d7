//! How an endpoint is chosen and connected to.

use std::time::Duration;

use crate::{Affinity, Limits, ResourceName, UpstreamTls};

/// A set of endpoints that answer alike, and how one of them is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name; its [`crate::EndpointSet`] has the same.
    pub name: ResourceName,
    /// How an endpoint is chosen.
    pub balancing: Balancing,
    /// How long connecting to an endpoint may take before another is tried. At least 1 ms.
    pub connect_timeout: Duration,
    /// What its endpoints speak.
    pub protocol: UpstreamProtocol,
    /// TLS with its endpoints; cleartext without.
    pub tls: Option<UpstreamTls>,
    /// What is sent there at once.
    pub limits: Limits,
}

/// What endpoints speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1, one request at a time over each connection.
    #[default]
    Http1,
    /// HTTP/2, many requests at a time over each connection: by prior knowledge in cleartext, by ALPN over TLS.
    Http2,
}

impl Cluster {
    /// Default of [`Self::connect_timeout`]: a pod's network answers within a millisecond, a lost SYN is sent again after one second.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

    /// A cluster with the defaults of everything.
    pub fn new(name: ResourceName) -> Self {
        Cluster {
            name,
            balancing: Balancing::default(),
            connect_timeout: Self::DEFAULT_CONNECT_TIMEOUT,
            protocol: UpstreamProtocol::default(),
            tls: None,
            limits: Limits::default(),
        }
    }
}

impl Cluster {
    /// The session keys that it names.
    pub fn keys(&self) -> Option<&ResourceName> {
        match self.balancing.affinity.as_ref()? {
            Affinity::Cookie(cookie) => Some(&cookie.keys),
            Affinity::Hash { .. } => None,
        }
    }
}

/// How an endpoint is chosen for a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balancing {
    /// The algorithm, for every request that no affinity binds.
    pub policy: Policy,
    /// What binds a request to an endpoint.
    pub affinity: Option<Affinity>,
    /// How an endpoint that became ready is eased in. It matters where algorithms weigh endpoints: everywhere but in hashing.
    pub slow_start: Option<SlowStart>,
    /// Whether endpoints of the proxy's own zone come first, and others get what is beyond their capacity.
    pub same_zone: bool,
}

/// The algorithm that chooses an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The one with the fewest active requests, by latency, age of open requests and failures: what wins the simulation.
    #[default]
    Adaptive,
    /// Each in turn by its weight, from a random start.
    RoundRobin,
    /// Any, by its weight.
    Random,
    /// The one with the fewest open requests.
    LeastRequest {
        /// How many distinct random endpoints are compared, 2 to 100. All where they are few, else 2, unless given.
        choices: Option<u32>,
    },
    /// The one with the least latency times open requests (peak-sensitive moving average).
    PeakEwma {
        /// Over which time a peak is forgotten: [`Policy::DEFAULT_DECAY`] by default; 100 ms to 10 minutes.
        decay: Duration,
        /// How many distinct random endpoints are compared, 2 to 100; 2 unless given.
        choices: Option<u32>,
    },
}

impl Policy {
    /// Default of `decay`.
    pub const DEFAULT_DECAY: Duration = Duration::from_secs(10);
}

/// How an endpoint's share grows after it became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// Until it has its whole share. 1 s to 1 hour.
    pub window: Duration,
    /// Percent of its share that it begins with: 1 to 100.
    pub floor: u8,
}

impl SlowStart {
    /// Default of [`Self::floor`].
    pub const DEFAULT_FLOOR: u8 = 10;
}
