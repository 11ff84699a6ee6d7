//! [`Cluster`] as `envoy.config.cluster.v3.Cluster`, its endpoints over the same stream.

use envoy_types::pb::envoy::config::cluster::v3::Cluster as XdsCluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::r#type::v3::Percent;

use super::{balancing, parts, upstream};
use crate::{Cluster, FieldError, ResourceName};

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
            lb_policy: balancing::to_policy(&self.balancing).into(),
            lb_config: balancing::to_config(&self.balancing),
            metadata: balancing::to_metadata(&self.balancing, &self.limits),
            circuit_breakers: upstream::to_breakers(&self.limits),
            typed_extension_protocol_options: upstream::to_options(self.protocol),
            transport_socket: self.tls.as_ref().map(upstream::to_socket),
            // Only with no endpoint ready may draining ones be picked; Envoy's default does so from half of them on.
            common_lb_config: Some(CommonLbConfig {
                healthy_panic_threshold: Some(Percent { value: 1.0 }),
                consistent_hashing_lb_config: balancing::to_bound(&self.balancing),
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
        parts::unsupported("transport_socket_matches", !xds.transport_socket_matches.is_empty())?;
        parts::unsupported("load_balancing_policy", xds.load_balancing_policy.is_some())?;
        parts::unsupported("lb_subset_config", xds.lb_subset_config.is_some())?;
        let (balancing, limits) = balancing::from_xds(xds)?;
        Ok(Cluster {
            balancing,
            limits,
            protocol: upstream::from_options(&xds.typed_extension_protocol_options)?,
            tls: xds.transport_socket.as_ref().map(upstream::from_socket).transpose()?,
            connect_timeout: parts::from_duration(
                "connect_timeout",
                xds.connect_timeout.as_ref(),
                Cluster::DEFAULT_CONNECT_TIMEOUT,
            )?,
            name,
        })
    }
}
