//! How an endpoint is chosen and connected to.

use std::time::Duration;

use crate::ResourceName;

/// A set of endpoints that answer alike, and how one of them is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name; its [`crate::EndpointSet`] has the same.
    pub name: ResourceName,
    /// How an endpoint is chosen.
    pub policy: Policy,
    /// How long connecting to an endpoint may take before another is tried. At least 1 ms.
    pub connect_timeout: Duration,
}

impl Cluster {
    /// Default of [`Self::connect_timeout`]: a pod's network answers within a millisecond, a lost SYN is sent again after one second.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
}

/// The algorithm that chooses an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Each in turn, from a random start.
    RoundRobin,
    /// The one with the fewest open requests.
    #[default]
    LeastRequest,
}
