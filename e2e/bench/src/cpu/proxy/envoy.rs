//! Envoy: one worker thread, statistics and request IDs as by default, no tracing.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::Plan;
use crate::cpu::row::App;
use crate::cpu::site::pinned;
use crate::process::Process;

const TYPES: &str = "type.googleapis.com/envoy.extensions";
/// Connections and requests to endpoints, at the same time: more than there ever are.
const MOST: u32 = 100_000;

pub(super) fn start(plan: &Plan<'_>, binary: &Path) -> anyhow::Result<Process> {
    let config = json!({
        "admin": { "address": address(plan.metrics) },
        "static_resources": { "listeners": [listener(plan)], "clusters": [cluster(plan)] },
    });
    let file = plan.dir.join("envoy.json");
    fs::write(&file, config.to_string()).context("write envoy.json")?;
    let mut command = pinned(plan.setup.cores, binary);
    command
        .args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
            "-c",
        ])
        .arg(&file);
    Process::start("envoy", command, plan.dir.join("envoy.log"))
}

fn address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}

fn listener(plan: &Plan<'_>) -> Value {
    let mut manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "web",
        "use_remote_address": true,
        "route_config": { "virtual_hosts": [{
            "name": "app",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "app" } }],
        }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": format!("{TYPES}.filters.http.router.v3.Router") },
        }],
    });
    if plan.setup.wire.app == App::Websocket {
        manager["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
    }
    let mut chain = json!({
        "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }],
    });
    if plan.setup.wire.tls {
        let certificate = json!({
            "certificate_chain": { "filename": plan.site.certificate() },
            "private_key": { "filename": plan.site.key() },
        });
        chain["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"),
                "common_tls_context": {
                    "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
                    "tls_certificates": [certificate],
                    "alpn_protocols": ["h2", "http/1.1"],
                },
            },
        });
    }
    json!({ "name": "web", "address": address(plan.address), "filter_chains": [chain] })
}

fn cluster(plan: &Plan<'_>) -> Value {
    let endpoints: Vec<Value> = plan
        .endpoints()
        .iter()
        .map(|endpoint| json!({ "endpoint": { "address": address(*endpoint) } }))
        .collect();
    let mut cluster = json!({
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": { "thresholds": [{
            "max_connections": MOST, "max_pending_requests": MOST, "max_requests": MOST,
        }] },
        "load_assignment": { "cluster_name": "app", "endpoints": [{ "lb_endpoints": endpoints }] },
    });
    if plan.grpc() {
        let options = json!({
            "@type": format!("{TYPES}.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": { "http2_protocol_options": {} },
        });
        cluster["typed_extension_protocol_options"] =
            json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options });
    }
    cluster
}
