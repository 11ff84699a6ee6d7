//! Which cluster answers which request.

use crate::{Bodies, HashKey, ResourceName, Retry, Timeouts};

/// Routes by host, then by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    /// Its name.
    pub name: ResourceName,
    /// Virtual hosts; no domain stands in two of them.
    pub hosts: Vec<VirtualHost>,
}

/// The routes of a set of domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// Its name, unique in the table.
    pub name: String,
    /// Exact host names in lower case without a port, or `*` for all others.
    pub domains: Vec<String>,
    /// Tried in order; the first whose prefix matches wins.
    pub routes: Vec<Route>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Prefix of the path, beginning with `/`.
    pub prefix: String,
    /// The cluster that answers.
    pub cluster: ResourceName,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// When a request is sent again.
    pub retry: Retry,
    /// How much of bodies is taken.
    pub bodies: Bodies,
    /// What an Envoy hashes for clusters that hash: it wants to be told on the route. Our proxy goes by its cluster's affinity and
    /// never reads this. An Envoy hashes whole addresses: prefix lengths are not told.
    pub hash_on: Option<HashKey>,
}

impl Route {
    /// A route with the defaults of everything.
    pub fn new(prefix: impl Into<String>, cluster: ResourceName) -> Self {
        Route {
            prefix: prefix.into(),
            cluster,
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            bodies: Bodies::default(),
            hash_on: None,
        }
    }
}
