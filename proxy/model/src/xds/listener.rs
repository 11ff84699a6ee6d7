//! [`Listener`] as `envoy.config.listener.v3.Listener`: one filter chain with the HTTP connection manager, its routes over the
//! same stream, WebSocket upgrades allowed.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::{CidrRange, HttpProtocolOptions, TypedExtensionConfig};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener as XdsListener};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    RouteSpecifier, UpgradeConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType as HttpConfigType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
};
use envoy_types::pb::envoy::extensions::http::original_ip_detection::xff::v3::{XffConfig, XffTrustedCidrs};
use envoy_types::pb::google::protobuf::{Any, Duration as ProtoDuration, UInt32Value};
use ipnet::IpNet;
use prost::{Message, Name};

use super::parts;
use crate::{FieldError, Listener, ResourceName, bounds};

/// Path of the connection manager in its listener.
const MANAGER: &str = "filter_chains[0].filters[0].typed_config";

impl Listener {
    /// This listener as Envoy knows it.
    pub fn to_xds(&self) -> XdsListener {
        let manager = HttpConnectionManager {
            stat_prefix: self.name.as_str().to_owned(),
            route_specifier: Some(RouteSpecifier::Rds(Rds {
                config_source: Some(parts::ads()),
                route_config_name: match &self.target {
                    crate::Target::Http(name) | crate::Target::Tcp(name) => name.as_str(),
                }
                .to_owned(),
            })),
            http_filters: vec![HttpFilter {
                name: "envoy.filters.http.router".to_owned(),
                config_type: Some(HttpConfigType::TypedConfig(pack(&Router::default()))),
                ..HttpFilter::default()
            }],
            upgrade_configs: vec![UpgradeConfig {
                upgrade_type: "websocket".to_owned(),
                ..UpgradeConfig::default()
            }],
            request_headers_timeout: Some(parts::to_duration(self.header_timeout)),
            common_http_protocol_options: Some(HttpProtocolOptions {
                idle_timeout: Some(parts::to_duration(self.idle_timeout)),
                ..HttpProtocolOptions::default()
            }),
            // A body and a tunnel may take as long as they like; Envoy's default ends them after five quiet minutes.
            stream_idle_timeout: Some(ProtoDuration { seconds: 0, nanos: 0 }),
            original_ip_detection_extensions: to_detection(&self.trusted_hops),
            ..HttpConnectionManager::default()
        };
        XdsListener {
            name: self.name.as_str().to_owned(),
            address: Some(parts::to_address(self.address)),
            filter_chains: vec![FilterChain {
                filters: vec![Filter {
                    name: "envoy.filters.network.http_connection_manager".to_owned(),
                    config_type: Some(ConfigType::TypedConfig(pack(&manager))),
                }],
                ..FilterChain::default()
            }],
            ..XdsListener::default()
        }
    }

    /// Reads and judges what Envoy would call a listener.
    ///
    /// # Errors
    /// The first field that can't be accepted.
    pub fn from_xds(xds: &XdsListener) -> Result<Self, FieldError> {
        let name = ResourceName::parse("name", &xds.name)?;
        let address = parts::from_address("address", xds.address.as_ref())?;
        parts::unsupported("listener_filters", !xds.listener_filters.is_empty())?;
        parts::unsupported("default_filter_chain", xds.default_filter_chain.is_some())?;
        let [chain] = xds.filter_chains.as_slice() else {
            let count = xds.filter_chains.len();
            return Err(FieldError::new("filter_chains", count, "exactly one"));
        };
        parts::unsupported(
            "filter_chains[0].filter_chain_match",
            chain.filter_chain_match.is_some(),
        )?;
        parts::unsupported("filter_chains[0].transport_socket", chain.transport_socket.is_some())?;
        let [filter] = chain.filters.as_slice() else {
            let count = chain.filters.len();
            return Err(FieldError::new("filter_chains[0].filters", count, "exactly one"));
        };
        let manager = manager_from_xds(filter)?;
        manager_fields(name, address, &manager).map_err(|e| e.within(MANAGER))
    }
}

fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

fn manager_from_xds(filter: &Filter) -> Result<HttpConnectionManager, FieldError> {
    let Some(ConfigType::TypedConfig(any)) = &filter.config_type else {
        return Err(parts::missing(MANAGER, "an HttpConnectionManager"));
    };
    if any.type_url != HttpConnectionManager::type_url() {
        let path = format!("{MANAGER}.type_url");
        return Err(FieldError::new(path, &any.type_url, HttpConnectionManager::type_url()));
    }
    HttpConnectionManager::decode(any.value.as_slice())
        .map_err(|error| FieldError::new(MANAGER, error, "an HttpConnectionManager"))
}

/// The listener whose connection manager this is.
fn manager_fields(
    name: ResourceName,
    address: SocketAddr,
    manager: &HttpConnectionManager,
) -> Result<Listener, FieldError> {
    let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier else {
        return Err(parts::missing("rds", "a route table by name, from this stream"));
    };
    parts::from_ads("rds.config_source", rds.config_source.as_ref())?;
    let routes = ResourceName::parse("rds.route_config_name", &rds.route_config_name)?;
    for (i, filter) in manager.http_filters.iter().enumerate() {
        let router =
            matches!(&filter.config_type, Some(HttpConfigType::TypedConfig(any)) if any.type_url == Router::type_url());
        // A filter that may be left out says so itself; any other could be what keeps a stranger out.
        if !router && !filter.is_optional {
            let path = format!("http_filters[{i}].name");
            return Err(FieldError::new(path, &filter.name, "only the router"));
        }
    }
    let header_timeout = parts::from_duration(
        "request_headers_timeout",
        manager.request_headers_timeout.as_ref(),
        Listener::DEFAULT_HEADER_TIMEOUT,
    )?;
    let common = manager.common_http_protocol_options.as_ref();
    let idle_timeout = parts::from_duration(
        "common_http_protocol_options.idle_timeout",
        common.and_then(|c| c.idle_timeout.as_ref()),
        Listener::DEFAULT_IDLE_TIMEOUT,
    )?;
    Ok(Listener {
        header_timeout,
        idle_timeout,
        trusted_hops: from_detection(&manager.original_ip_detection_extensions)?,
        ..Listener::new(name, address, routes)
    })
}

/// Whose `X-Forwarded-For` is believed, as Envoy knows it.
fn to_detection(hops: &[IpNet]) -> Vec<TypedExtensionConfig> {
    let range = |net: &IpNet| CidrRange {
        address_prefix: net.addr().to_string(),
        prefix_len: Some(UInt32Value {
            value: net.prefix_len().into(),
        }),
    };
    let config = XffConfig {
        xff_trusted_cidrs: Some(XffTrustedCidrs {
            cidrs: hops.iter().map(range).collect(),
        }),
        ..XffConfig::default()
    };
    let extension = TypedExtensionConfig {
        name: "envoy.http.original_ip_detection.xff".to_owned(),
        typed_config: Some(pack(&config)),
    };
    (!hops.is_empty()).then_some(extension).into_iter().collect()
}

/// The trusted ranges. Any other way to tell the client's address is refused: to pass over it would take another client for it.
fn from_detection(extensions: &[TypedExtensionConfig]) -> Result<Vec<IpNet>, FieldError> {
    const PATH: &str = "original_ip_detection_extensions";
    let extension = match extensions {
        [] => return Ok(Vec::new()),
        [one] => one,
        more => return Err(FieldError::new(PATH, more.len(), "at most one")),
    };
    let path = format!("{PATH}[0].typed_config");
    let wrong = |value: &str| FieldError::new(&path, value, "an XffConfig with xff_trusted_cidrs");
    let config = match &extension.typed_config {
        Some(any) if any.type_url == XffConfig::type_url() => {
            XffConfig::decode(any.value.as_slice()).map_err(|error| wrong(&error.to_string()))?
        }
        other => return Err(wrong(other.as_ref().map_or("", |any| &any.type_url))),
    };
    let Some(trusted) = config.xff_trusted_cidrs.filter(|_| config.xff_num_trusted_hops == 0) else {
        return Err(wrong("(other fields)"));
    };
    let text = |range: &CidrRange| match &range.prefix_len {
        Some(length) => format!("{}/{}", range.address_prefix, length.value),
        None => format!("{}/0", range.address_prefix),
    };
    let ranges: Vec<String> = trusted.cidrs.iter().map(text).collect();
    bounds::trusted_hops(&format!("{path}.xff_trusted_cidrs.cidrs"), &ranges)
}
