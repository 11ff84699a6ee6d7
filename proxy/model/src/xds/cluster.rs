//! [`Cluster`] as `envoy.config.cluster.v3.Cluster`, its endpoints over the same stream.

use envoy_types::pb::envoy::config::cluster::v3::Cluster as XdsCluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::r#type::v3::Percent;

use super::parts;
use crate::{Cluster, FieldError, Policy, ResourceName};

impl Cluster {
    /// This cluster as Envoy knows it.
    pub fn to_xds(&self) -> XdsCluster {
        XdsCluster {
            name: self.name.as_str().to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
            eds_cluster_config: Some(EdsClusterConfig {
                eds_config: Some(parts::ads()),
                service_name: String::new(),
            }),
            connect_timeout: Some(parts::to_duration(self.connect_timeout)),
            lb_policy: self.policy.to_xds().into(),
            // Only with no endpoint ready may draining ones be picked; Envoy's default does so from half of them on.
            common_lb_config: Some(CommonLbConfig {
                healthy_panic_threshold: Some(Percent { value: 1.0 }),
                ..CommonLbConfig::default()
            }),
            ..XdsCluster::default()
        }
    }

    /// Reads and judges what Envoy would call a cluster.
    ///
    /// # Errors
    /// The first field that can't be accepted.
    pub fn from_xds(xds: &XdsCluster) -> Result<Self, FieldError> {
        let name = ResourceName::parse("name", &xds.name)?;
        match &xds.cluster_discovery_type {
            Some(ClusterDiscoveryType::Type(t)) if *t == i32::from(DiscoveryType::Eds) => {}
            Some(ClusterDiscoveryType::Type(other)) => return Err(FieldError::new("type", other, "EDS (3)")),
            _ => return Err(parts::missing("type", "EDS (3)")),
        }
        let eds = xds.eds_cluster_config.as_ref();
        parts::from_ads("eds_cluster_config.eds_config", eds.and_then(|e| e.eds_config.as_ref()))?;
        let service = eds.map(|e| e.service_name.as_str()).unwrap_or_default();
        if !service.is_empty() && service != name.as_str() {
            return Err(FieldError::new(
                "eds_cluster_config.service_name",
                service,
                "none, or the cluster's own name",
            ));
        }
        parts::unsupported("transport_socket", xds.transport_socket.is_some())?;
        parts::unsupported("transport_socket_matches", !xds.transport_socket_matches.is_empty())?;
        parts::unsupported("load_balancing_policy", xds.load_balancing_policy.is_some())?;
        parts::unsupported("lb_subset_config", xds.lb_subset_config.is_some())?;
        Ok(Cluster {
            name,
            policy: Policy::from_xds("lb_policy", xds.lb_policy)?,
            connect_timeout: parts::from_duration(
                "connect_timeout",
                xds.connect_timeout.as_ref(),
                Cluster::DEFAULT_CONNECT_TIMEOUT,
            )?,
        })
    }
}

impl Policy {
    /// This policy as Envoy knows it.
    pub fn to_xds(self) -> LbPolicy {
        match self {
            Policy::RoundRobin => LbPolicy::RoundRobin,
            Policy::LeastRequest => LbPolicy::LeastRequest,
        }
    }

    /// Reads a policy; `path` is where it stood.
    ///
    /// # Errors
    /// A policy that this proxy does not have.
    pub fn from_xds(path: &str, value: i32) -> Result<Self, FieldError> {
        match LbPolicy::try_from(value) {
            Ok(LbPolicy::RoundRobin) => Ok(Policy::RoundRobin),
            Ok(LbPolicy::LeastRequest) => Ok(Policy::LeastRequest),
            Ok(other) => Err(FieldError::new(
                path,
                other.as_str_name(),
                "ROUND_ROBIN or LEAST_REQUEST",
            )),
            Err(_) => Err(FieldError::new(path, value, "ROUND_ROBIN (0) or LEAST_REQUEST (1)")),
        }
    }
}
