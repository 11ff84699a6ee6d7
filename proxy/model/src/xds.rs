//! The wire form: standard xDS v3 resources. The only home of protobuf names besides `xds` in operator and proxy.
//!
//! Each kind has its file with `to_xds` and `from_xds` side by side. What is ours alone rides in metadata under [`METADATA`],
//! where others ignore it. Protobuf maps have no order, so that a map of two keys would encode differently each time: every map
//! written here has exactly one key.
//!
//! `from_xds` judges every field it reads. A field that it does not know is ignored (a newer operator may speak to an older
//! proxy), unless ignoring it would serve something else than what was asked for, as TLS or a header match.

mod affinity;
mod balancing;
mod certificate;
mod cluster;
mod endpoints;
mod keys;
mod listener;
mod manager;
mod options;
mod parts;
mod resilience;
mod retry;
mod routes;
mod tls;
mod upstream;

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use envoy_types::pb::google::protobuf::Any;
use prost::Message;

use crate::{FieldError, Kind, Resource};

/// The key of our own fields in the metadata of standard resources.
pub const METADATA: &str = "tenbin.dev";

/// The largest encoded resource accepted, in bytes: room for a full [`crate::EndpointSet`] with long names.
pub const MAX_ENCODED: usize = 8 << 20;

const PREFIX: &str = "type.googleapis.com/";

impl Kind {
    /// The type URL of this kind in xDS.
    pub fn type_url(self) -> &'static str {
        match self {
            Kind::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Kind::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Kind::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Kind::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Kind::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The kind of a type URL, if it is one of ours.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// The name of this kind in metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Secret => "keys",
            Kind::Cluster => "cluster",
            Kind::Endpoints => "endpoints",
            Kind::Listener => "listener",
            Kind::Routes => "routes",
        }
    }
}

/// The wire form of a resource. The same resource always gives the same bytes.
pub fn encode(resource: &Resource) -> Any {
    let value = match resource {
        Resource::Keys(k) => k.to_xds().encode_to_vec(),
        Resource::Certificate(c) => c.to_xds().encode_to_vec(),
        Resource::Cluster(c) => c.to_xds().encode_to_vec(),
        Resource::Endpoints(e) => e.to_xds().encode_to_vec(),
        Resource::Listener(l) => l.to_xds().encode_to_vec(),
        Resource::Routes(r) => r.to_xds().encode_to_vec(),
    };
    Any {
        type_url: resource.kind().type_url().to_owned(),
        value,
    }
}

/// Reads and judges the wire form of a resource of `kind`. Never panics, whatever the bytes.
///
/// # Errors
/// Names the first field that can't be accepted, by its path in the xDS resource; at the path "" the bytes as a whole.
pub fn decode(kind: Kind, any: &Any) -> Result<Resource, FieldError> {
    if any.type_url != kind.type_url() {
        return Err(FieldError::new("type_url", &any.type_url, kind.type_url()));
    }
    if any.value.len() > MAX_ENCODED {
        let size = format!("{} bytes", any.value.len());
        return Err(FieldError::new("value", size, format!("at most {MAX_ENCODED} bytes")));
    }
    let bytes = any.value.as_slice();
    Ok(match kind {
        Kind::Secret => secret(&message(kind, bytes)?)?,
        Kind::Cluster => Resource::Cluster(crate::Cluster::from_xds(&message(kind, bytes)?)?),
        Kind::Endpoints => Resource::Endpoints(crate::EndpointSet::from_xds(&message(kind, bytes)?)?),
        Kind::Listener => Resource::Listener(crate::Listener::from_xds(&message(kind, bytes)?)?),
        Kind::Routes => Resource::Routes(crate::RouteTable::from_xds(&message(kind, bytes)?)?),
    })
}

/// A secret is known by its form.
fn secret(xds: &Secret) -> Result<Resource, FieldError> {
    match &xds.r#type {
        Some(secret::Type::TlsCertificate(_)) => crate::Certificate::from_xds(xds).map(Resource::Certificate),
        _ => crate::SessionKeys::from_xds(xds).map(Resource::Keys),
    }
}

fn message<M: Message + Default>(kind: Kind, bytes: &[u8]) -> Result<M, FieldError> {
    M::decode(bytes).map_err(|error| {
        let accepted = format!("a message of type {}", kind.type_url().trim_start_matches(PREFIX));
        FieldError::new("value", error, accepted)
    })
}
