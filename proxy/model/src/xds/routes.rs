//! [`RouteTable`] as `envoy.config.route.v3.RouteConfiguration`. Envoy's route timeout covers the whole response, so it is off; ours,
//! and all of a route's timeouts, retries and bodies, ride in our metadata, with what an Envoy has for them beside.

use std::collections::HashSet;

use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HashPolicy};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    Route as XdsRoute, RouteAction, RouteConfiguration, RouteMatch, VirtualHost as XdsVirtualHost,
};
use envoy_types::pb::google::protobuf::Duration as ProtoDuration;

use super::resilience::RouteWire;
use super::{parts, retry};
use crate::{FieldError, HashKey, ResourceName, Route, RouteTable, VirtualHost, bounds};

/// The field of our metadata.
const FIELD: &str = "route";

impl RouteTable {
    /// This table as Envoy knows it.
    pub fn to_xds(&self) -> RouteConfiguration {
        RouteConfiguration {
            name: self.name.as_str().to_owned(),
            virtual_hosts: self.hosts.iter().map(VirtualHost::to_xds).collect(),
            // Our domains never hold a port, whatever port a client came by.
            ignore_port_in_host_matching: true,
            ..RouteConfiguration::default()
        }
    }

    /// Reads and judges what Envoy would call a route configuration.
    ///
    /// # Errors
    /// The first field that can't be accepted; a domain or the name of a virtual host that comes twice.
    pub fn from_xds(xds: &RouteConfiguration) -> Result<Self, FieldError> {
        let name = ResourceName::parse("name", &xds.name)?;
        parts::unsupported("vhds", xds.vhds.is_some())?;
        let routes: usize = xds.virtual_hosts.iter().map(|host| host.routes.len()).sum();
        let domains: usize = xds.virtual_hosts.iter().map(|host| host.domains.len()).sum();
        for (what, count) in [("routes", routes), ("domains", domains)] {
            if count > bounds::MAX_ROUTES {
                let accepted = format!("at most {} {what} in all", bounds::MAX_ROUTES);
                return Err(FieldError::new("virtual_hosts", count, accepted));
            }
        }
        let (mut names, mut domains) = (HashSet::new(), HashSet::new());
        let mut hosts = Vec::with_capacity(xds.virtual_hosts.len());
        for (i, host) in xds.virtual_hosts.iter().enumerate() {
            let path = format!("virtual_hosts[{i}]");
            hosts.push(VirtualHost::from_xds(host).map_err(|e| e.within(&path))?);
            if !names.insert(&host.name) {
                let path = format!("{path}.name");
                return Err(FieldError::new(
                    path,
                    &host.name,
                    "a name that no other virtual host has",
                ));
            }
            for (d, domain) in host.domains.iter().enumerate() {
                if !domains.insert(domain) {
                    let path = format!("{path}.domains[{d}]");
                    return Err(FieldError::new(path, domain, "each domain at most once in the table"));
                }
            }
        }
        Ok(RouteTable { name, hosts })
    }
}

impl VirtualHost {
    /// This virtual host as Envoy knows it.
    pub fn to_xds(&self) -> XdsVirtualHost {
        XdsVirtualHost {
            name: self.name.clone(),
            domains: self.domains.clone(),
            routes: self.routes.iter().map(Route::to_xds).collect(),
            ..XdsVirtualHost::default()
        }
    }

    /// Reads and judges a virtual host.
    ///
    /// # Errors
    /// The first field that can't be accepted.
    pub fn from_xds(xds: &XdsVirtualHost) -> Result<Self, FieldError> {
        let name = bounds::label("name", &xds.name)?;
        if name.is_empty() {
            return Err(parts::missing("name", "a name of 1 to 253 printable ASCII characters"));
        }
        parts::unsupported("matcher", xds.matcher.is_some())?;
        parts::unsupported("require_tls", xds.require_tls != 0)?;
        if xds.domains.is_empty() {
            return Err(parts::missing("domains", "at least one domain"));
        }
        let domains = xds.domains.iter().enumerate();
        let domains = domains.map(|(i, domain)| bounds::domain(&format!("domains[{i}]"), domain));
        let routes = xds.routes.iter().enumerate();
        let routes = routes.map(|(i, route)| Route::from_xds(route).map_err(|e| e.within(&format!("routes[{i}]"))));
        Ok(VirtualHost {
            name,
            domains: domains.collect::<Result<_, _>>()?,
            routes: routes.collect::<Result<_, _>>()?,
        })
    }
}

impl Route {
    /// This route as Envoy knows it.
    pub fn to_xds(&self) -> XdsRoute {
        XdsRoute {
            r#match: Some(RouteMatch {
                path_specifier: Some(PathSpecifier::Prefix(self.prefix.clone())),
                ..RouteMatch::default()
            }),
            action: Some(Action::Route(RouteAction {
                cluster_specifier: Some(ClusterSpecifier::Cluster(self.cluster.as_str().to_owned())),
                timeout: Some(ProtoDuration { seconds: 0, nanos: 0 }),
                idle_timeout: Some(parts::to_duration(retry::to_idle(&self.timeouts))),
                retry_policy: retry::to_policy(&self.retry, &self.timeouts),
                hash_policy: self.hash_on.iter().map(to_hash_policy).collect(),
                ..RouteAction::default()
            })),
            metadata: RouteWire::of(self).and_then(|wire| parts::to_json(FIELD, &wire)),
            ..XdsRoute::default()
        }
    }

    /// Reads and judges a route.
    ///
    /// # Errors
    /// The first field that can't be accepted.
    pub fn from_xds(xds: &XdsRoute) -> Result<Self, FieldError> {
        let Some(matched) = &xds.r#match else {
            return Err(parts::missing("match", "a prefix"));
        };
        let Some(PathSpecifier::Prefix(prefix)) = &matched.path_specifier else {
            return Err(parts::missing("match.prefix", "a prefix: no other match is supported"));
        };
        let conditions = !matched.headers.is_empty()
            || !matched.query_parameters.is_empty()
            || !matched.cookies.is_empty()
            || !matched.dynamic_metadata.is_empty()
            || !matched.filter_state.is_empty()
            || matched.grpc.is_some()
            || matched.tls_context.is_some()
            || matched.runtime_fraction.is_some()
            || matched.case_sensitive.as_ref().is_some_and(|yes| !yes.value);
        parts::unsupported("match", conditions)?;
        let Some(Action::Route(action)) = &xds.action else {
            return Err(parts::missing("route", "a cluster: no other action is supported"));
        };
        let Some(ClusterSpecifier::Cluster(cluster)) = &action.cluster_specifier else {
            return Err(parts::missing("route.cluster", "the name of one cluster"));
        };
        let rewrites = !action.prefix_rewrite.is_empty()
            || !action.path_rewrite.is_empty()
            || action.regex_rewrite.is_some()
            || action.path_rewrite_policy.is_some()
            || action.host_rewrite_specifier.is_some();
        parts::unsupported("route (a rewrite)", rewrites)?;
        let (path, wire) = parts::from_json::<RouteWire>(xds.metadata.as_ref(), FIELD)?;
        let (timeouts, retry, bodies) = wire.judge().map_err(|error| error.within(&path))?;
        Ok(Route {
            prefix: bounds::prefix("match.prefix", prefix)?,
            cluster: ResourceName::parse("route.cluster", cluster)?,
            timeouts,
            retry,
            bodies,
            hash_on: action.hash_policy.first().and_then(from_hash_policy),
        })
    }
}

/// The pseudo-header by which an Envoy hashes the path, its query included.
const PATH: &str = ":path";

fn to_hash_policy(key: &HashKey) -> HashPolicy {
    let specifier = match key.clone() {
        HashKey::SourceIp { .. } => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
        HashKey::Header(name) => to_header(name),
        HashKey::Path => to_header(PATH.to_owned()),
        HashKey::QueryParam(name) => PolicySpecifier::QueryParameter(QueryParameter { name }),
        HashKey::Cookie(name) => PolicySpecifier::Cookie(Cookie {
            name,
            ..Cookie::default()
        }),
    };
    HashPolicy {
        policy_specifier: Some(specifier),
        ..HashPolicy::default()
    }
}

fn to_header(header_name: String) -> PolicySpecifier {
    PolicySpecifier::Header(Header {
        header_name,
        ..Header::default()
    })
}

/// None for what we would not write: nothing follows from it here.
fn from_hash_policy(policy: &HashPolicy) -> Option<HashKey> {
    match policy.policy_specifier.as_ref()? {
        PolicySpecifier::ConnectionProperties(c) => c.source_ip.then_some(HashKey::SOURCE_IP),
        PolicySpecifier::Header(h) if h.header_name == PATH => Some(HashKey::Path),
        PolicySpecifier::Header(h) => bounds::header("", &h.header_name).ok().map(HashKey::Header),
        PolicySpecifier::QueryParameter(q) => bounds::query_param("", &q.name).ok().map(HashKey::QueryParam),
        PolicySpecifier::Cookie(c) => bounds::cookie("", &c.name).ok().map(HashKey::Cookie),
        PolicySpecifier::FilterState(_) => None,
    }
}
