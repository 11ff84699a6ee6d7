//! What follows from one port of an app: its listener, its routes unless it is plain TCP, and its cluster. Endpoints come from elsewhere.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use tenbin_crds::{AccessLogFormat as SaidFormat, AppPort, AppProtocol, BalancedAppSpec};
use tenbin_model::{
    AccessLog, AccessLogFormat, Affinity, Balancing, Cluster, FieldError, HashKey, Listener, Resource, ResourceName,
    Route, RouteTable, Target, Tracing, UpstreamProtocol, UpstreamTls, VirtualHost, bounds,
};

use super::Defaults;
use super::judged::Judged;
use super::resilience::Resilience;
use crate::fleet::{self, PortPlan};
use crate::key::AppKey;
use crate::problem::Problem;

/// What the ports of an app have in common.
pub(super) struct Common {
    pub(super) balancing: Balancing,
    pub(super) resilience: Resilience,
    pub(super) trusted_hops: Vec<IpNet>,
    pub(super) told: Told,
}

/// What is told of an app's requests.
pub(super) struct Told {
    forwarded: bool,
    served_by: Option<String>,
    access_log: AccessLog,
    tracing: Option<Tracing>,
}

/// From the spec, and where it says nothing from what the operator says for all apps.
pub(super) fn told(key: &AppKey, spec: &BalancedAppSpec, defaults: &Defaults, problems: &mut Vec<Problem>) -> Told {
    let said = spec.proxy.clone().unwrap_or_default();
    let mut judged = Judged {
        reason: "BadProxy",
        problems,
    };
    let served_by = said.served_by_header.map(|name| name.to_ascii_lowercase());
    let served_by = served_by.map(|name| bounds::served_by("spec.proxy.servedByHeader", &name));
    let access_log = said.access_log.map(|log| AccessLog {
        format: match log.format {
            SaidFormat::None => AccessLogFormat::Off,
            SaidFormat::Text => AccessLogFormat::Text,
            SaidFormat::Json => AccessLogFormat::Json,
        },
        one_in: judged
            .number("spec.proxy.accessLog.oneIn", log.one_in, bounds::one_in)
            .unwrap_or(1),
    });
    Told {
        forwarded: said.forwarded.unwrap_or(false),
        served_by: served_by.and_then(|name| judged.kept(name)),
        access_log: access_log.unwrap_or(defaults.access_log),
        tracing: defaults.tracing.as_ref().map(|tracing| Tracing {
            collector: tracing.collector.clone(),
            sampled: tracing.sampled,
            service: format!("{}.{}", key.name, key.namespace),
        }),
    }
}

/// The resources of a port but for its endpoints.
pub(super) fn resources(
    key: &AppKey,
    name: &ResourceName,
    (port, plan): (&AppPort, &PortPlan),
    common: &Common,
    problems: &mut Vec<Problem>,
) -> Vec<Resource> {
    let tcp = port.app_protocol == AppProtocol::Tcp;
    let balancing = if tcp {
        of_connections(&common.balancing)
    } else {
        common.balancing.clone()
    };
    let mut resources = vec![Resource::Listener(listener(name, plan, tcp, common))];
    if !tcp {
        resources.push(Resource::Routes(routes(name, &balancing, &common.resilience)));
    }
    let (protocol, tls) = spoken(key, port, problems);
    resources.push(Resource::Cluster(Cluster {
        name: name.clone(),
        balancing,
        connect_timeout: common.resilience.connect,
        protocol,
        tls,
        limits: common.resilience.limits,
    }));
    resources
}

fn listener(name: &ResourceName, plan: &PortPlan, tcp: bool, common: &Common) -> Listener {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, plan.listen));
    let resilience = &common.resilience;
    let mut listener = Listener {
        access_log: common.told.access_log,
        ..Listener::new(name.clone(), address, name.clone())
    };
    if tcp {
        listener.target = Target::Tcp(name.clone());
        listener.idle_timeout = resilience.timeouts.tunnel_idle;
        return listener;
    }
    Listener {
        header_timeout: resilience.headers,
        idle_timeout: resilience.keep_alive,
        trusted_hops: common.trusted_hops.clone(),
        forwarded: common.told.forwarded,
        served_by: common.told.served_by.clone(),
        tracing: common.told.tracing.clone(),
        ..listener
    }
}

/// Everything goes to the app.
fn routes(name: &ResourceName, balancing: &Balancing, resilience: &Resilience) -> RouteTable {
    RouteTable {
        name: name.clone(),
        hosts: vec![VirtualHost {
            name: "app".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route {
                prefix: "/".to_owned(),
                cluster: name.clone(),
                timeouts: resilience.timeouts,
                retry: resilience.retry.clone(),
                bodies: resilience.bodies,
                hash_on: hash_on(balancing),
            }],
        }],
    }
}

/// What an Envoy hashes; of an address all of it.
fn hash_on(balancing: &Balancing) -> Option<HashKey> {
    match balancing.affinity.as_ref()? {
        Affinity::Hash {
            key: HashKey::SourceIp { .. },
            ..
        } => Some(HashKey::SOURCE_IP),
        Affinity::Hash { key, .. } => Some(key.clone()),
        Affinity::Cookie(_) => None,
    }
}

/// A connection is bound by its source at most: what is in requests, nobody sees.
fn of_connections(balancing: &Balancing) -> Balancing {
    let by_source = |affinity: &Affinity| {
        matches!(
            affinity,
            Affinity::Hash {
                key: HashKey::SourceIp { .. },
                ..
            }
        )
    };
    Balancing {
        affinity: balancing.affinity.clone().filter(by_source),
        ..balancing.clone()
    }
}

/// What the app speaks on a port. Whatever is wrong with its TLS, it is never cleartext in its place: proxies refuse such a cluster,
/// and keep the one that they have.
fn spoken(key: &AppKey, port: &AppPort, problems: &mut Vec<Problem>) -> (UpstreamProtocol, Option<UpstreamTls>) {
    let (speaks, tls) = (fleet::speaks(port), fleet::upstream_tls(key, port));
    if tls.is_some() {
        let tell = |error: FieldError| {
            let text = format!("{:?} is not accepted, expected {}", error.value, error.accepted);
            Problem::warning(error.path, "BadTls", text)
        };
        problems.extend(fleet::port_tls(port).into_iter().map(tell));
    }
    (speaks.protocol(), tls)
}
