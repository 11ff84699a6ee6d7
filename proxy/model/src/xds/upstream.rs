//! What a cluster's endpoints speak and what is sent there at once, as Envoy knows it. Protocol and TLS are read back from here; limits
//! an Envoy has only in part, so that ours are read from our metadata.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::cluster::v3::CircuitBreakers;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, TransportSocket, transport_socket,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};

use super::{parts, tls};
use crate::{FieldError, Limits, UpstreamProtocol, UpstreamTls};

/// What HTTP options are known by.
const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Nothing for HTTP/1.1, which an Envoy speaks by itself.
pub(super) fn to_options(protocol: UpstreamProtocol) -> HashMap<String, Any> {
    let config = match protocol {
        UpstreamProtocol::Http1 => return HashMap::new(),
        UpstreamProtocol::Http2 => ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default()),
    };
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(config),
        })),
        ..HttpProtocolOptions::default()
    };
    HashMap::from([(OPTIONS.to_owned(), parts::pack(&options))])
}

pub(super) fn from_options(options: &HashMap<String, Any>) -> Result<UpstreamProtocol, FieldError> {
    const PATH: &str = "typed_extension_protocol_options";
    if let Some(other) = options.keys().filter(|key| *key != OPTIONS).min() {
        return Err(FieldError::new(PATH, other, format!("{OPTIONS} alone")));
    }
    let Some(any) = options.get(OPTIONS) else {
        return Ok(UpstreamProtocol::Http1);
    };
    let path = format!("{PATH}[{OPTIONS}]");
    let read: HttpProtocolOptions = parts::unpack(&path, any)?;
    match read.upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
            Some(ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions { .. })) => Ok(UpstreamProtocol::Http1),
            Some(ProtocolConfig::Http2ProtocolOptions(_)) => Ok(UpstreamProtocol::Http2),
            _ => Err(parts::missing(&path, "HTTP/1.1 or HTTP/2")),
        },
        _ => Err(parts::missing(
            &path,
            "explicit_http_config: one protocol for all requests",
        )),
    }
}

/// An Envoy's own limits stand where nothing was said; else what was not said is without a limit, as it is here.
pub(super) fn to_breakers(limits: &Limits) -> Option<CircuitBreakers> {
    let most = |value: Option<u32>| {
        Some(UInt32Value {
            value: value.unwrap_or(u32::MAX),
        })
    };
    (*limits != Limits::default()).then(|| CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: most(limits.connections),
            max_requests: most(limits.requests),
            max_pending_requests: Some(UInt32Value { value: limits.queue }),
            ..Thresholds::default()
        }],
        per_host_thresholds: match limits.endpoint_connections {
            Some(_) => vec![Thresholds {
                max_connections: most(limits.endpoint_connections),
                ..Thresholds::default()
            }],
            None => Vec::new(),
        },
    })
}

const SOCKET: &str = "envoy.transport_sockets.tls";

/// TLS with the endpoints.
pub(super) fn to_socket(tls: &UpstreamTls) -> TransportSocket {
    TransportSocket {
        name: SOCKET.to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(parts::pack(
            &tls::to_upstream(tls),
        ))),
    }
}

pub(super) fn from_socket(socket: &TransportSocket) -> Result<UpstreamTls, FieldError> {
    const PATH: &str = "transport_socket.typed_config";
    let Some(transport_socket::ConfigType::TypedConfig(any)) = &socket.config_type else {
        return Err(parts::missing(PATH, "an UpstreamTlsContext"));
    };
    let context: UpstreamTlsContext = parts::unpack(PATH, any)?;
    tls::from_upstream(&context).map_err(|e| e.within(PATH))
}
