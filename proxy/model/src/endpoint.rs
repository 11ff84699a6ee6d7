//! Where requests can go.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::{FieldError, ResourceName};

/// The endpoints of one cluster, sorted by identity, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSet {
    /// The cluster they belong to.
    pub cluster: ResourceName,
    /// At most [`Self::MAX`], ascending by id.
    pub endpoints: Vec<Endpoint>,
}

impl EndpointSet {
    /// The most endpoints of one cluster.
    pub const MAX: usize = 10_000;
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Who it is, whatever its address: load, health and sessions are kept by it.
    pub id: EndpointId,
    /// Where its app listens.
    pub address: SocketAddr,
    /// What may be sent to it.
    pub state: EndpointState,
    /// A name for people: its pod's.
    pub instance: String,
    /// Its share of the requests against the others': 0 to [`Self::MAX_WEIGHT`]. With 0 it gets no new sessions and keeps those it has.
    pub weight: u32,
    /// The zone whose proxies prefer it; empty where none is known.
    pub zone: String,
}

impl Endpoint {
    /// The largest [`Self::weight`].
    pub const MAX_WEIGHT: u32 = 1000;

    /// A ready endpoint of weight 1, in no zone, with a name for people that is its identity's.
    pub fn new(id: EndpointId, address: SocketAddr) -> Self {
        Endpoint {
            instance: id.as_str().to_owned(),
            id,
            address,
            state: EndpointState::Ready,
            weight: 1,
            zone: String::new(),
        }
    }
}

/// What may be sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointState {
    /// Anything.
    Ready,
    /// Only what belongs there already, or anything where no endpoint is ready: it still serves, but is about to go.
    Draining,
}

/// The identity of an endpoint: its pod's UID, 1 to 128 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(Arc<str>);

impl EndpointId {
    /// Parses an identity; `path` is where it stood.
    ///
    /// # Errors
    /// Empty, longer than 128 bytes, or with bytes other than printable ASCII.
    pub fn parse(path: &str, id: &str) -> Result<Self, FieldError> {
        if !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(EndpointId(id.into()))
        } else {
            Err(FieldError::new(
                path,
                id,
                "an identity of 1 to 128 printable ASCII characters",
            ))
        }
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
