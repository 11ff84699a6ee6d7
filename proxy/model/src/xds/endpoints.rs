//! [`EndpointSet`] as `envoy.config.endpoint.v3.ClusterLoadAssignment`: a locality for each zone; an endpoint's identity in our
//! metadata, the name of its instance in the standard `hostname`.

use std::collections::BTreeMap;

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
    /// These endpoints as Envoy knows them, a locality for each zone.
    pub fn to_xds(&self) -> ClusterLoadAssignment {
        let mut zones: BTreeMap<&str, Vec<&Endpoint>> = BTreeMap::new();
        for endpoint in &self.endpoints {
            zones.entry(&endpoint.zone).or_default().push(endpoint);
        }
        let alone = zones.len() == 1;
        let locality = |(zone, endpoints): (&str, Vec<&Endpoint>)| LocalityLbEndpoints {
            locality: Some(Locality {
                zone: zone.to_owned(),
                ..Locality::default()
            }),
            // A locality without a weight gets nothing in gRPC's clients, and in Envoy with locality weighting.
            load_balancing_weight: Some(UInt32Value {
                value: if alone { 1 } else { weight_of(&endpoints) },
            }),
            lb_endpoints: endpoints.into_iter().map(Endpoint::to_xds).collect(),
            ..LocalityLbEndpoints::default()
        };
        ClusterLoadAssignment {
            cluster_name: self.cluster.as_str().to_owned(),
            endpoints: zones.into_iter().map(locality).collect(),
            ..ClusterLoadAssignment::default()
        }
    }

    /// Reads and judges what Envoy would call a load assignment; localities and endpoints may come in any order.
    ///
    /// # Errors
    /// The first field that can't be accepted; an identity that comes twice.
    pub fn from_xds(xds: &ClusterLoadAssignment) -> Result<Self, FieldError> {
        let cluster = ResourceName::parse("cluster_name", &xds.cluster_name)?;
        let count: usize = xds.endpoints.iter().map(|locality| locality.lb_endpoints.len()).sum();
        if count > EndpointSet::MAX {
            let accepted = format!("at most {} endpoints", EndpointSet::MAX);
            return Err(FieldError::new("endpoints", count, accepted));
        }
        let mut endpoints = Vec::with_capacity(count);
        for (l, locality) in xds.endpoints.iter().enumerate() {
            let within = |e: FieldError| e.within(&format!("endpoints[{l}]"));
            let zone = zone(locality).map_err(within)?;
            for (i, endpoint) in locality.lb_endpoints.iter().enumerate() {
                let endpoint = Endpoint::from_xds(endpoint, &zone);
                endpoints.push(endpoint.map_err(|e| within(e.within(&format!("lb_endpoints[{i}]"))))?);
            }
        }
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        match endpoints.windows(2).find(|pair| pair[0].id == pair[1].id) {
            Some(twice) => Err(FieldError::new("endpoints", &twice[0].id, "each identity at most once")),
            None => Ok(EndpointSet { cluster, endpoints }),
        }
    }
}

/// The weight of a locality against the others, so that who goes by it treats all endpoints by their own.
fn weight_of(endpoints: &[&Endpoint]) -> u32 {
    let sum: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
    u32::try_from(sum).unwrap_or(u32::MAX).max(1)
}

/// The zone of a locality. A locality of less than the highest priority is refused: we have no priorities.
fn zone(locality: &LocalityLbEndpoints) -> Result<String, FieldError> {
    if locality.priority != 0 {
        return Err(FieldError::new("priority", locality.priority, "0: all zones alike"));
    }
    let zone = locality.locality.as_ref().map(|l| l.zone.as_str()).unwrap_or_default();
    bounds::label("locality.zone", zone)
}

impl Endpoint {
    /// This endpoint as Envoy knows it, but for its zone, which is its locality's.
    pub fn to_xds(&self) -> LbEndpoint {
        LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(XdsEndpoint {
                address: Some(parts::to_address(self.address)),
                hostname: self.instance.clone(),
                ..XdsEndpoint::default()
            })),
            health_status: to_health(self.state, self.weight).into(),
            // No weight is 1 to everybody; 0 is refused by Envoy.
            load_balancing_weight: (self.weight > 1).then_some(UInt32Value { value: self.weight }),
            metadata: Some(parts::to_metadata(UID, self.id.as_str().to_owned())),
        }
    }

    /// Reads and judges one endpoint of `zone`.
    ///
    /// # Errors
    /// The first field that can't be accepted.
    pub fn from_xds(xds: &LbEndpoint, zone: &str) -> Result<Self, FieldError> {
        let Some(HostIdentifier::Endpoint(endpoint)) = &xds.host_identifier else {
            return Err(parts::missing("endpoint", "an address"));
        };
        let (path, id) = parts::from_metadata("metadata", xds.metadata.as_ref(), UID)?;
        let (state, used) = from_health("health_status", xds.health_status)?;
        let weight = xds.load_balancing_weight.as_ref().map_or(1, |weight| weight.value);
        let weight = bounds::weight("load_balancing_weight", weight.into())?;
        Ok(Endpoint {
            id: EndpointId::parse(&path, id.unwrap_or_default())?,
            address: parts::from_address("endpoint.address", endpoint.address.as_ref())?,
            // A draining endpoint has a share in the last resort alone, where 0 would mean nothing.
            weight: match state {
                EndpointState::Ready if !used => 0,
                EndpointState::Ready => weight,
                EndpointState::Draining => weight.max(1),
            },
            state,
            instance: bounds::label("endpoint.hostname", &endpoint.hostname)?,
            zone: zone.to_owned(),
        })
    }
}

/// An endpoint of weight 0 is a degraded one: the nearest that Envoy has, used only where the healthy ones are too few. A draining
/// one is draining, whatever its weight: it is told as 1.
fn to_health(state: EndpointState, weight: u32) -> HealthStatus {
    match (state, weight) {
        (EndpointState::Draining, _) => HealthStatus::Draining,
        (EndpointState::Ready, 0) => HealthStatus::Degraded,
        (EndpointState::Ready, _) => HealthStatus::Healthy,
    }
}

/// Reads a state, and whether the endpoint has any weight; `path` is where it stood. An endpoint whose health is not told is ready,
/// as in Envoy. What must not be used at all must not be in the set.
fn from_health(path: &str, value: i32) -> Result<(EndpointState, bool), FieldError> {
    match HealthStatus::try_from(value) {
        Ok(HealthStatus::Healthy | HealthStatus::Unknown) => Ok((EndpointState::Ready, true)),
        Ok(HealthStatus::Degraded) => Ok((EndpointState::Ready, false)),
        Ok(HealthStatus::Draining) => Ok((EndpointState::Draining, true)),
        Ok(other) => Err(FieldError::new(
            path,
            other.as_str_name(),
            "HEALTHY, UNKNOWN, DRAINING or DEGRADED",
        )),
        Err(_) => Err(FieldError::new(
            path,
            value,
            "HEALTHY (1), UNKNOWN (0), DRAINING (3) or DEGRADED (5)",
        )),
    }
}
