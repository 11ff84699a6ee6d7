//! [`Listener`] as `envoy.config.listener.v3.Listener`: one filter chain with one filter, which is the HTTP connection manager or the
//! TCP proxy; TLS beside it, with certificates from the same stream.

use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener as XdsListener};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use envoy_types::pb::google::protobuf::Any;
use prost::Name;

use super::options::{self, Wire};
use super::{manager, parts, tls};
use crate::{FieldError, Listener, ListenerTls, ResourceName, Target};

/// Path of the filter in its listener.
const FILTER: &str = "filter_chains[0].filters[0].typed_config";
/// Path of TLS in its listener.
const SOCKET: &str = "filter_chains[0].transport_socket.typed_config";

impl Listener {
    /// This listener as Envoy knows it.
    pub fn to_xds(&self) -> XdsListener {
        let (name, config) = match &self.target {
            Target::Http(routes) => (manager::NAME, parts::pack(&manager::to_xds(self, routes))),
            Target::Tcp(cluster) => ("envoy.filters.network.tcp_proxy", parts::pack(&to_tcp(self, cluster))),
        };
        let http = matches!(self.target, Target::Http(_));
        XdsListener {
            name: self.name.as_str().to_owned(),
            address: Some(parts::to_address(self.address)),
            filter_chains: vec![FilterChain {
                filters: vec![Filter {
                    name: name.to_owned(),
                    config_type: Some(ConfigType::TypedConfig(config)),
                }],
                transport_socket: self.tls.as_ref().map(|tls| to_socket(tls, http)),
                ..FilterChain::default()
            }],
            metadata: Wire::of(self).and_then(|wire| parts::to_json(options::FIELD, &wire)),
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
        let [filter] = chain.filters.as_slice() else {
            let count = chain.filters.len();
            return Err(FieldError::new("filter_chains[0].filters", count, "exactly one"));
        };
        let Some(ConfigType::TypedConfig(config)) = &filter.config_type else {
            return Err(parts::missing(FILTER, "an HttpConnectionManager or a TcpProxy"));
        };
        let mut listener = Listener::new(name.clone(), address, name);
        listener.target = target(config, &mut listener)?;
        let http = matches!(listener.target, Target::Http(_));
        let socket = chain.transport_socket.as_ref();
        listener.tls = socket.map(|socket| from_socket(socket, http)).transpose()?;
        let (path, wire) = parts::from_json::<Wire>(xds.metadata.as_ref(), options::FIELD)?;
        wire.judge(&mut listener).map_err(|error| error.within(&path))?;
        Ok(listener)
    }
}

/// Where what is accepted goes; what else the filter says is put into `listener`.
fn target(config: &Any, listener: &mut Listener) -> Result<Target, FieldError> {
    if config.type_url == TcpProxy::type_url() {
        let proxy: TcpProxy = parts::unpack(FILTER, config)?;
        return from_tcp(&proxy, listener)
            .map(Target::Tcp)
            .map_err(|e| e.within(FILTER));
    }
    let manager: HttpConnectionManager = parts::unpack(FILTER, config)?;
    let routes = manager::from_xds(&manager, listener).map_err(|e| e.within(FILTER))?;
    Ok(Target::Http(routes))
}

fn to_tcp(listener: &Listener, cluster: &ResourceName) -> TcpProxy {
    TcpProxy {
        stat_prefix: listener.name.as_str().to_owned(),
        idle_timeout: Some(parts::to_duration(listener.idle_timeout)),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.as_str().to_owned())),
        ..TcpProxy::default()
    }
}

fn from_tcp(xds: &TcpProxy, listener: &mut Listener) -> Result<ResourceName, FieldError> {
    let Some(ClusterSpecifier::Cluster(cluster)) = &xds.cluster_specifier else {
        return Err(parts::missing("cluster", "the name of one cluster"));
    };
    parts::unsupported("tunneling_config", xds.tunneling_config.is_some())?;
    parts::unsupported("metadata_match", xds.metadata_match.is_some())?;
    listener.idle_timeout = parts::from_duration(
        "idle_timeout",
        xds.idle_timeout.as_ref(),
        crate::Timeouts::default().tunnel_idle,
    )?;
    ResourceName::parse("cluster", cluster)
}

fn to_socket(tls: &ListenerTls, http: bool) -> TransportSocket {
    let context = tls::to_downstream(tls, http);
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(parts::pack(&context))),
    }
}

fn from_socket(socket: &TransportSocket, http: bool) -> Result<ListenerTls, FieldError> {
    let Some(transport_socket::ConfigType::TypedConfig(any)) = &socket.config_type else {
        return Err(parts::missing(SOCKET, "a DownstreamTlsContext"));
    };
    let context: DownstreamTlsContext = parts::unpack(SOCKET, any)?;
    tls::from_downstream(&context, http).map_err(|e| e.within(SOCKET))
}
