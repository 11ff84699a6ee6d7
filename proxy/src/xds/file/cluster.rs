//! A cluster in the file: its endpoints, what they speak, how they are chosen, what is sent there at once.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use tenbin_model::{
    Cluster, Endpoint, EndpointId, EndpointSet, EndpointState, FieldError, Limits, ResourceName, SessionKeys,
    UpstreamProtocol, bounds,
};

use super::balancing::{self, AffinityItem, ConfigItem};
use super::tls::ClusterTlsItem;
use super::{keys, number, socket, time, unread};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ClusterItem {
    name: String,
    algorithm: Option<String>,
    #[serde(default)]
    algorithm_config: ConfigItem,
    affinity: Option<AffinityItem>,
    session_keys: Option<PathBuf>,
    connect_timeout: Option<String>,
    protocol: Option<String>,
    tls: Option<ClusterTlsItem>,
    #[serde(default)]
    limits: LimitsItem,
    endpoints: Vec<EndpointItem>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LimitsItem {
    connections: Option<u64>,
    connections_per_endpoint: Option<u64>,
    requests: Option<u64>,
    requests_per_endpoint: Option<u64>,
    queue_length: Option<u64>,
    queue_timeout: Option<String>,
}

/// An address alone, or with more about it.
#[derive(Deserialize)]
#[serde(untagged)]
enum EndpointItem {
    Address(String),
    Full(FullEndpoint),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullEndpoint {
    address: String,
    weight: Option<u64>,
}

impl ClusterItem {
    /// The cluster and its endpoints.
    pub(super) fn judge(&self) -> Result<(Cluster, EndpointSet), FieldError> {
        let name = ResourceName::parse("name", &self.name)?;
        let algorithm = self.algorithm.as_deref();
        let balancing = balancing::judge(algorithm, &self.algorithm_config, self.affinity.as_ref(), &name)?;
        let tls = self.tls.as_ref().map(ClusterTlsItem::judge);
        let cluster = Cluster {
            name: name.clone(),
            balancing,
            connect_timeout: time(
                "connectTimeout",
                self.connect_timeout.as_deref(),
                Cluster::DEFAULT_CONNECT_TIMEOUT,
            )?,
            protocol: match self.protocol.as_deref() {
                None | Some("http1") => UpstreamProtocol::Http1,
                Some("http2") => UpstreamProtocol::Http2,
                Some(other) => return Err(FieldError::new("protocol", other, "http1 or http2")),
            },
            tls: tls.transpose().map_err(|e| e.within("tls"))?,
            limits: self.limits.judge().map_err(|e| e.within("limits"))?,
        };
        let endpoints = self.endpoints(name)?;
        Ok((cluster, endpoints))
    }

    fn endpoints(&self, cluster: ResourceName) -> Result<EndpointSet, FieldError> {
        if self.endpoints.len() > EndpointSet::MAX {
            let accepted = format!("at most {} endpoints", EndpointSet::MAX);
            return Err(FieldError::new("endpoints", self.endpoints.len(), accepted));
        }
        let mut seen = BTreeSet::new();
        let mut endpoints = Vec::with_capacity(self.endpoints.len());
        for (i, item) in self.endpoints.iter().enumerate() {
            let path = format!("endpoints[{i}]");
            let (text, weight) = match item {
                EndpointItem::Address(text) => (text, 1),
                EndpointItem::Full(full) => (&full.address, full.weight.unwrap_or(1)),
            };
            let address = socket(&path, text)?;
            if address.port() == 0 || !seen.insert(address) {
                return Err(FieldError::new(
                    path,
                    text,
                    "an address that no other endpoint has, its port not 0",
                ));
            }
            endpoints.push(Endpoint {
                // Without pods an endpoint is who it is by its address.
                id: EndpointId::parse(&path, &address.to_string())?,
                address,
                state: EndpointState::Ready,
                instance: address.to_string(),
                weight: bounds::weight(&format!("{path}.weight"), weight)?,
                zone: String::new(),
            });
        }
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(EndpointSet { cluster, endpoints })
    }

    /// What seals its session cookies, which has its name.
    pub(super) fn keys(&self, cluster: &Cluster) -> Result<Option<SessionKeys>, FieldError> {
        let file = self.session_keys.as_deref();
        match cluster.keys() {
            Some(name) => keys::read("sessionKeys", name.clone(), file).map(Some),
            None if file.is_some() => {
                let accepted = "nothing here but for an affinity of type Cookie issued by Proxy";
                Err(FieldError::new("sessionKeys", "(set)", accepted))
            }
            None => Ok(None),
        }
    }
}

impl LimitsItem {
    fn judge(&self) -> Result<Limits, FieldError> {
        let default = Limits::default();
        let queue = number("queueLength", self.queue_length, bounds::queue)?;
        let limits = Limits {
            connections: number("connections", self.connections, bounds::limit)?,
            endpoint_connections: number("connectionsPerEndpoint", self.connections_per_endpoint, bounds::limit)?,
            requests: number("requests", self.requests, bounds::limit)?,
            endpoint_requests: number("requestsPerEndpoint", self.requests_per_endpoint, bounds::limit)?,
            queue: queue.unwrap_or(default.queue),
            queue_timeout: time("queueTimeout", self.queue_timeout.as_deref(), default.queue_timeout)?,
        };
        let each = [
            limits.connections,
            limits.endpoint_connections,
            limits.requests,
            limits.endpoint_requests,
        ];
        let limited = each.iter().any(Option::is_some);
        let readers = "a limit to wait for: connections, connectionsPerEndpoint, requests or requestsPerEndpoint";
        unread("queueLength", queue.is_some() && !limited, readers)?;
        unread("queueTimeout", self.queue_timeout.is_some() && !limited, readers)?;
        Ok(limits)
    }
}
