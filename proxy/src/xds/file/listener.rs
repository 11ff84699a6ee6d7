//! A listener in the file: what it accepts, where that goes, what is told of it.

use std::time::Duration;

use serde::Deserialize;
use tenbin_model::{
    AccessLog, AccessLogFormat, Affinity, Cluster, FieldError, HashKey, Listener, ResourceName, RouteTable, Target,
    Timeouts, Tracing, UpstreamProtocol, VirtualHost, bounds,
};

use super::route::RouteItem;
use super::tls::{FromFiles, ListenerTlsItem};
use super::{Clusters, known, socket, time, unread};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ListenerItem {
    name: String,
    address: String,
    header_timeout: Option<String>,
    idle_timeout: Option<String>,
    #[serde(default)]
    trusted_hops: Vec<String>,
    #[serde(default)]
    forwarded: bool,
    served_by_header: Option<String>,
    access_log: Option<AccessLogItem>,
    tracing: Option<TracingItem>,
    tls: Option<ListenerTlsItem>,
    tcp: Option<String>,
    #[serde(default)]
    routes: Vec<RouteItem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AccessLogItem {
    format: String,
    one_in: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TracingItem {
    collector: String,
    sample_percent: Option<f64>,
    service: Option<String>,
}

/// What follows from a listener.
pub(super) struct Resources {
    pub(super) certificates: Vec<FromFiles>,
    pub(super) listener: Listener,
    /// None where it accepts plain TCP.
    pub(super) routes: Option<RouteTable>,
}

impl ListenerItem {
    /// The listener; its route table has the same name.
    pub(super) fn judge(&self, clusters: &Clusters) -> Result<Resources, FieldError> {
        let name = ResourceName::parse("name", &self.name)?;
        let mut listener = Listener::new(name.clone(), socket("address", &self.address)?, name.clone());
        let tls = self
            .tls
            .as_ref()
            .map(|tls| tls.judge(&name).map_err(|e| e.within("tls")));
        let (tls, certificates) = tls.transpose()?.unzip();
        listener.tls = tls;
        let access_log = self.access_log.as_ref().map(AccessLogItem::judge).transpose();
        listener.access_log = access_log.map_err(|e| e.within("accessLog"))?.unwrap_or_default();
        let routes = match &self.tcp {
            Some(cluster) => {
                listener.target = Target::Tcp(self.connections_to(known("tcp", cluster, clusters)?)?);
                listener.idle_timeout = self.idle(Timeouts::default().tunnel_idle)?;
                None
            }
            None => {
                self.of_requests(&mut listener)?;
                Some(self.routes(name, clusters)?)
            }
        };
        Ok(Resources {
            certificates: certificates.unwrap_or_default(),
            listener,
            routes,
        })
    }

    fn idle(&self, default: Duration) -> Result<Duration, FieldError> {
        time("idleTimeout", self.idle_timeout.as_deref(), default)
    }

    /// What only a listener of requests has.
    fn of_requests(&self, listener: &mut Listener) -> Result<(), FieldError> {
        let headers = self.header_timeout.as_deref();
        listener.header_timeout = time("headerTimeout", headers, Listener::DEFAULT_HEADER_TIMEOUT)?;
        listener.idle_timeout = self.idle(Listener::DEFAULT_IDLE_TIMEOUT)?;
        listener.trusted_hops = bounds::trusted_hops("trustedHops", &self.trusted_hops)?;
        listener.forwarded = self.forwarded;
        let served_by = |name: &String| bounds::served_by("servedByHeader", &name.to_ascii_lowercase());
        listener.served_by = self.served_by_header.as_ref().map(served_by).transpose()?;
        let tracing = self.tracing.as_ref().map(|tracing| tracing.judge(&listener.name));
        listener.tracing = tracing.transpose().map_err(|e| e.within("tracing"))?;
        Ok(())
    }

    /// The cluster that connections go to: one that asks nothing of requests, since there are none.
    fn connections_to(&self, cluster: &Cluster) -> Result<ResourceName, FieldError> {
        let of_requests = [
            ("routes", !self.routes.is_empty()),
            ("headerTimeout", self.header_timeout.is_some()),
            ("trustedHops", !self.trusted_hops.is_empty()),
            ("forwarded", self.forwarded),
            ("servedByHeader", self.served_by_header.is_some()),
            ("tracing", self.tracing.is_some()),
        ];
        for (field, given) in of_requests {
            unread(field, given, "a listener without tcp")?;
        }
        let bound = !matches!(
            cluster.balancing.affinity,
            None | Some(Affinity::Hash {
                key: HashKey::SourceIp { .. },
                ..
            })
        );
        if bound || cluster.protocol != UpstreamProtocol::Http1 || cluster.tls.is_some() {
            let accepted = "a cluster without protocol, tls and any affinity but of type SourceIP";
            return Err(FieldError::new("tcp", &cluster.name, accepted));
        }
        Ok(cluster.name.clone())
    }

    /// Routes of one host stay in their order.
    fn routes(&self, name: ResourceName, clusters: &Clusters) -> Result<RouteTable, FieldError> {
        let mut hosts: Vec<VirtualHost> = Vec::new();
        if self.routes.is_empty() || self.routes.len() > bounds::MAX_ROUTES {
            let accepted = format!("1 to {} routes, or tcp", bounds::MAX_ROUTES);
            return Err(FieldError::new("routes", self.routes.len(), accepted));
        }
        for (i, item) in self.routes.iter().enumerate() {
            let path = format!("routes[{i}]");
            let (domain, route) = item.judge(clusters).map_err(|e| e.within(&path))?;
            match hosts.iter_mut().find(|host| host.name == domain) {
                Some(host) => host.routes.push(route),
                None => hosts.push(VirtualHost {
                    name: domain.clone(),
                    domains: vec![domain],
                    routes: vec![route],
                }),
            }
        }
        Ok(RouteTable { name, hosts })
    }
}

impl AccessLogItem {
    fn judge(&self) -> Result<AccessLog, FieldError> {
        let format = match self.format.as_str() {
            "None" => AccessLogFormat::Off,
            "Text" => AccessLogFormat::Text,
            "JSON" => AccessLogFormat::Json,
            other => return Err(FieldError::new("format", other, "None, Text or JSON")),
        };
        Ok(AccessLog {
            format,
            one_in: bounds::one_in("oneIn", self.one_in.unwrap_or(1))?,
        })
    }
}

impl TracingItem {
    /// The service has the listener's name unless given.
    fn judge(&self, listener: &ResourceName) -> Result<Tracing, FieldError> {
        let percent = self.sample_percent.unwrap_or(1.0);
        if !(0.0..=100.0).contains(&percent) {
            return Err(FieldError::new("samplePercent", percent, "0 to 100, as 1 or 0.01"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000")]
        let sampled = (percent * 10_000.0).round() as u32;
        let service = self.service.as_deref().unwrap_or(listener.as_str());
        Ok(Tracing {
            collector: bounds::collector("collector", &self.collector)?,
            sampled,
            service: bounds::service("service", service)?,
        })
    }
}
