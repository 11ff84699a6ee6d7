//! [`EndpointSet`] as `envoy.config.endpoint.v3.ClusterLoadAssignment`: one locality; an endpoint's identity in our metadata,
//! the name of its instance in the standard `hostname`.

use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Locality};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as XdsEndpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::parts;
use crate::{Endpoint, EndpointId, EndpointSet, EndpointState, FieldError, ResourceName, bounds};

/// The field of our metadata with an endpoint's identity.
const UID: &str = "uid";

impl EndpointSet {
    /// These endpoints as Envoy knows them.
    pub fn to_xds(&self) -> ClusterLoadAssignment {
        let locality = (!self.endpoints.is_empty()).then(|| LocalityLbEndpoints {
            locality: Some(Locality::default()),
            lb_endpoints: self.endpoints.iter().map(Endpoint::to_xds).collect(),
            // A locality without a weight gets nothing in gRPC's clients, and in Envoy with locality weighting.
            load_balancing_weight: Some(UInt32Value { value: 1 }),
            ..LocalityLbEndpoints::default()
        });
        ClusterLoadAssignment {
            cluster_name: self.cluster.as_str().to_owned(),
            endpoints: locality.into_iter().collect(),
            ..ClusterLoadAssignment::default()
        }
    }

    /// Reads and judges what Envoy would call a load assignment; the endpoints may come in any order.
    ///
    /// # Errors
    /// The first field that can't be accepted; an identity that comes twice.
    pub fn from_xds(xds: &ClusterLoadAssignment) -> Result<Self, FieldError> {
        let cluster = ResourceName::parse("cluster_name", &xds.cluster_name)?;
        let given: &[LbEndpoint] = match xds.endpoints.as_slice() {
            [] => &[],
            [one] => &one.lb_endpoints,
            more => return Err(FieldError::new("endpoints", more.len(), "at most one locality")),
        };
        if given.len() > EndpointSet::MAX {
            let accepted = format!("at most {} endpoints", EndpointSet::MAX);
            return Err(FieldError::new("endpoints[0].lb_endpoints", given.len(), accepted));
        }
        let mut endpoints = Vec::with_capacity(given.len());
        for (i, endpoint) in given.iter().enumerate() {
            let endpoint = Endpoint::from_xds(endpoint);
            endpoints.push(endpoint.map_err(|e| e.within(&format!("endpoints[0].lb_endpoints[{i}]")))?);
        }
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        match endpoints.windows(2).find(|pair| pair[0].id == pair[1].id) {
            Some(twice) => Err(FieldError::new(
                "endpoints[0].lb_endpoints",
                &twice[0].id,
                "each identity at most once",
            )),
            None => Ok(EndpointSet { cluster, endpoints }),
        }
    }
}

impl Endpoint {
    /// This endpoint as Envoy knows it.
    pub fn to_xds(&self) -> LbEndpoint {
        LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(XdsEndpoint {
                address: Some(parts::to_address(self.address)),
                hostname: self.instance.clone(),
                ..XdsEndpoint::default()
            })),
            health_status: self.state.to_xds().into(),
            metadata: Some(parts::to_metadata(UID, self.id.as_str().to_owned())),
            ..LbEndpoint::default()
        }
    }

    /// Reads and judges one endpoint.
    ///
    /// # Errors
    /// The first field that can't be accepted.
    pub fn from_xds(xds: &LbEndpoint) -> Result<Self, FieldError> {
        let Some(HostIdentifier::Endpoint(endpoint)) = &xds.host_identifier else {
            return Err(parts::missing("endpoint", "an address"));
        };
        let (path, id) = parts::from_metadata("metadata", xds.metadata.as_ref(), UID)?;
        Ok(Endpoint {
            id: EndpointId::parse(&path, id.unwrap_or_default())?,
            address: parts::from_address("endpoint.address", endpoint.address.as_ref())?,
            state: EndpointState::from_xds("health_status", xds.health_status)?,
            instance: bounds::label("endpoint.hostname", &endpoint.hostname)?,
        })
    }
}

impl EndpointState {
    /// This state as Envoy knows it.
    pub fn to_xds(self) -> HealthStatus {
        match self {
            EndpointState::Ready => HealthStatus::Healthy,
            EndpointState::Draining => HealthStatus::Draining,
        }
    }

    /// Reads a state; `path` is where it stood. An endpoint whose health is not told is ready, as in Envoy.
    ///
    /// # Errors
    /// A state that this proxy does not have: what must not be used at all must not be in the set.
    pub fn from_xds(path: &str, value: i32) -> Result<Self, FieldError> {
        match HealthStatus::try_from(value) {
            Ok(HealthStatus::Healthy | HealthStatus::Unknown) => Ok(EndpointState::Ready),
            Ok(HealthStatus::Draining) => Ok(EndpointState::Draining),
            Ok(other) => Err(FieldError::new(
                path,
                other.as_str_name(),
                "HEALTHY, UNKNOWN or DRAINING",
            )),
            Err(_) => Err(FieldError::new(path, value, "HEALTHY (1), UNKNOWN (0) or DRAINING (3)")),
        }
    }
}
