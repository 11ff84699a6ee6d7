//! [`Listener`] as `envoy.config.listener.v3.Listener`: one filter chain with the HTTP connection manager, its routes over the
//! same stream, WebSocket upgrades allowed.

use envoy_types::pb::envoy::config::core::v3::HttpProtocolOptions;
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
use envoy_types::pb::google::protobuf::{Any, Duration as ProtoDuration};
use prost::{Message, Name};

use super::parts;
use crate::{FieldError, Listener, ResourceName};

/// Path of the connection manager in its listener.
const MANAGER: &str = "filter_chains[0].filters[0].typed_config";

impl Listener {
    /// This listener as Envoy knows it.
    pub fn to_xds(&self) -> XdsListener {
        let manager = HttpConnectionManager {
            stat_prefix: self.name.as_str().to_owned(),
            route_specifier: Some(RouteSpecifier::Rds(Rds {
                config_source: Some(parts::ads()),
                route_config_name: self.routes.as_str().to_owned(),
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
        let (routes, header_timeout, idle_timeout) = manager_fields(&manager).map_err(|e| e.within(MANAGER))?;
        Ok(Listener {
            name,
            address,
            routes,
            header_timeout,
            idle_timeout,
        })
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

/// The route table's name, the header timeout and the idle timeout.
fn manager_fields(
    manager: &HttpConnectionManager,
) -> Result<(ResourceName, std::time::Duration, std::time::Duration), FieldError> {
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
    Ok((routes, header_timeout, idle_timeout))
}
