//! The HTTP connection manager of a [`Listener`]: its routes over the same stream, HTTP/1.1 and HTTP/2, WebSocket upgrades allowed.

use envoy_types::pb::envoy::config::core::v3::{CidrRange, HttpProtocolOptions, TypedExtensionConfig};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    RouteSpecifier, UpgradeConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType as HttpConfigType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
};
use envoy_types::pb::envoy::extensions::http::original_ip_detection::xff::v3::{XffConfig, XffTrustedCidrs};
use envoy_types::pb::google::protobuf::{Duration as ProtoDuration, UInt32Value};
use ipnet::IpNet;
use prost::{Message, Name};

use super::parts;
use crate::{FieldError, Listener, ResourceName, bounds};

/// The name of the filter.
pub(super) const NAME: &str = "envoy.filters.network.http_connection_manager";

/// The connection manager of a listener whose route table is `routes`.
pub(super) fn to_xds(listener: &Listener, routes: &ResourceName) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: listener.name.as_str().to_owned(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(parts::ads()),
            route_config_name: routes.as_str().to_owned(),
        })),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".to_owned(),
            config_type: Some(HttpConfigType::TypedConfig(parts::pack(&Router::default()))),
            ..HttpFilter::default()
        }],
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..UpgradeConfig::default()
        }],
        request_headers_timeout: Some(parts::to_duration(listener.header_timeout)),
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: Some(parts::to_duration(listener.idle_timeout)),
            ..HttpProtocolOptions::default()
        }),
        // Each route has its own; Envoy's default ends bodies and tunnels after five quiet minutes.
        stream_idle_timeout: Some(ProtoDuration { seconds: 0, nanos: 0 }),
        original_ip_detection_extensions: to_detection(&listener.trusted_hops),
        ..HttpConnectionManager::default()
    }
}

/// Puts what a connection manager says into `listener`; gives the name of its route table.
///
/// # Errors
/// The first field that can't be accepted.
pub(super) fn from_xds(manager: &HttpConnectionManager, listener: &mut Listener) -> Result<ResourceName, FieldError> {
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
    listener.header_timeout = parts::from_duration(
        "request_headers_timeout",
        manager.request_headers_timeout.as_ref(),
        Listener::DEFAULT_HEADER_TIMEOUT,
    )?;
    let common = manager.common_http_protocol_options.as_ref();
    listener.idle_timeout = parts::from_duration(
        "common_http_protocol_options.idle_timeout",
        common.and_then(|c| c.idle_timeout.as_ref()),
        Listener::DEFAULT_IDLE_TIMEOUT,
    )?;
    listener.trusted_hops = from_detection(&manager.original_ip_detection_extensions)?;
    Ok(routes)
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
        typed_config: Some(parts::pack(&config)),
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
