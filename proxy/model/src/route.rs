//! Which cluster answers which request.

use std::time::Duration;

use crate::{HashKey, ResourceName};

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
    /// How long an endpoint may take from the end of the request to the headers of its response; 504 after it. At least 1 ms.
    /// The body may then take as long as it likes.
    pub response_timeout: Duration,
    /// What an Envoy hashes for clusters that hash: it wants to be told on the route. Our proxy goes by its cluster's affinity and
    /// never reads this. An Envoy hashes whole addresses: prefix lengths are not told.
    pub hash_on: Option<HashKey>,
}

impl Route {
    /// Default of [`Self::response_timeout`].
    pub const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
}
