//! The contract between operator and proxy: plain data, and (in `xds`) its form on the wire.
//! No IO, no Kubernetes types; protobuf names live in `xds` alone. The operator compiles to these types, the proxy runs them.
//!
//! A [`Listener`] accepts requests and names a [`RouteTable`]; a route names a [`Cluster`]; a cluster's [`EndpointSet`] of the
//! same name holds where the requests can go; a cluster with session cookies names the [`SessionKeys`] that seal them.

mod affinity;
pub mod bounds;
mod cluster;
mod endpoint;
mod error;
mod listener;
mod name;
mod resilience;
mod route;
mod secret;
mod sidecar;
mod tls;
pub mod xds;

pub use affinity::{Affinity, HashKey, HashTable, OnDead, OnDrain, SameSite, SessionCookie};
pub use cluster::{Balancing, Cluster, Policy, SlowStart, UpstreamProtocol};
pub use endpoint::{Endpoint, EndpointId, EndpointSet, EndpointState};
pub use error::FieldError;
pub use listener::{AccessLog, AccessLogFormat, Listener, Target, Tracing};
pub use name::ResourceName;
pub use resilience::{Bodies, Limits, Retry, RetryOn, Timeouts};
pub use route::{Route, RouteTable, VirtualHost};
pub use secret::{SessionKey, SessionKeys};
pub use sidecar::{SidecarPort, Speaks};
pub use tls::{Certificate, ListenerTls, TlsVersion, UpstreamTls};

/// One resource of the contract: what is named, versioned, sent and judged as a whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// What seals the session cookies of clusters.
    Keys(SessionKeys),
    /// What a listener with TLS shows to clients.
    Certificate(Certificate),
    /// Where and how endpoints of one cluster are chosen.
    Cluster(Cluster),
    /// The endpoints of one cluster.
    Endpoints(EndpointSet),
    /// A socket that accepts requests.
    Listener(Listener),
    /// Which cluster answers which request.
    Routes(RouteTable),
}

/// A change of a set of resources: what is new or different, and what is gone. Applied as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// New or changed resources, each kind and name at most once.
    pub set: Vec<Resource>,
    /// Resources that are gone.
    pub removed: Vec<(Kind, ResourceName)>,
}

/// The kinds of resource, in the order in which they are sent: what is named comes before what names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`SessionKeys`] and [`Certificate`] (SDS).
    Secret,
    /// [`Cluster`] (CDS).
    Cluster,
    /// [`EndpointSet`] (EDS).
    Endpoints,
    /// [`Listener`] (LDS).
    Listener,
    /// [`RouteTable`] (RDS).
    Routes,
}

impl Kind {
    /// Every kind, in sending order.
    pub const ALL: [Kind; 5] = [
        Kind::Secret,
        Kind::Cluster,
        Kind::Endpoints,
        Kind::Listener,
        Kind::Routes,
    ];
}

impl Resource {
    /// The kind of this resource.
    pub fn kind(&self) -> Kind {
        match self {
            Resource::Keys(_) | Resource::Certificate(_) => Kind::Secret,
            Resource::Cluster(_) => Kind::Cluster,
            Resource::Endpoints(_) => Kind::Endpoints,
            Resource::Listener(_) => Kind::Listener,
            Resource::Routes(_) => Kind::Routes,
        }
    }

    /// The name it is subscribed by.
    pub fn name(&self) -> &ResourceName {
        match self {
            Resource::Keys(k) => &k.name,
            Resource::Certificate(c) => &c.name,
            Resource::Cluster(c) => &c.name,
            Resource::Endpoints(e) => &e.cluster,
            Resource::Listener(l) => &l.name,
            Resource::Routes(r) => &r.name,
        }
    }
}
