//! The configuration in use, as admin shows it: what was said of listeners, routes, clusters and certificates. Secrets never come here: keys
//! are known by their ids, certificates by what is public of them.

use serde_json::{Value, json};
use tenbin_model::{
    AccessLogFormat, Bodies, Limits, Listener, ResourceName, Retry, RetryOn, Route, Target, Timeouts, TlsVersion,
    UpstreamProtocol,
};

use super::certificates::certificate;
use super::views::{balancing, named};
use crate::state::Snapshot;

/// All of it.
pub(super) fn config(snapshot: &Snapshot) -> Value {
    let listeners = snapshot.listeners().iter().map(|l| {
        let mut value = listener(&l.settings);
        value["name"] = json!(l.name.as_str());
        value["address"] = json!(l.address.to_string());
        value
    });
    let routes = snapshot.routes().map(|table| {
        let hosts = table.hosts.iter().map(|host| {
            let routes = host.routes.iter().map(route);
            json!({ "name": host.name, "domains": host.domains, "routes": routes.collect::<Value>() })
        });
        json!({ "name": table.name.as_str(), "hosts": hosts.collect::<Value>() })
    });
    let clusters = snapshot.clusters().map(|cluster| {
        let mut value = balancing(cluster);
        value["connectTimeoutMs"] = json!(cluster.connect_timeout.as_millis());
        if let Some(told) = snapshot.told(&cluster.name) {
            value["protocol"] = json!(match told.protocol {
                UpstreamProtocol::Http1 => "Http1",
                UpstreamProtocol::Http2 => "Http2",
            });
            value["tls"] = json!(told.tls.as_ref().map(|tls| json!({ "serverName": tls.server_name })));
            value["limits"] = limits(&told.limits);
        }
        value["endpoints"] = cluster
            .endpoints()
            .map(|(endpoint, member)| named(endpoint, member))
            .collect();
        value
    });
    json!({
        "updates": snapshot.updates(),
        "listeners": listeners.collect::<Value>(),
        "routes": routes.collect::<Value>(),
        "clusters": clusters.collect::<Value>(),
        "certificates": snapshot.certificates().map(certificate).collect::<Value>(),
    })
}

fn listener(listener: &Listener) -> Value {
    let target = match &listener.target {
        Target::Http(routes) => json!({ "routes": routes.as_str() }),
        Target::Tcp(cluster) => json!({ "tcp": cluster.as_str() }),
    };
    let tls = listener.tls.as_ref().map(|tls| {
        json!({
            "certificates": tls.certificates.iter().map(ResourceName::as_str).collect::<Vec<_>>(),
            "minimum": match tls.minimum {
                TlsVersion::Tls12 => "TLSv1.2",
                TlsVersion::Tls13 => "TLSv1.3",
            },
        })
    });
    let tracing = listener.tracing.as_ref().map(|tracing| {
        json!({ "collector": tracing.collector, "sampledOfMillion": tracing.sampled, "service": tracing.service })
    });
    json!({
        "target": target,
        "tls": tls,
        "headerTimeoutMs": listener.header_timeout.as_millis(),
        "idleTimeoutMs": listener.idle_timeout.as_millis(),
        "trustedHops": listener.trusted_hops.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "forwarded": listener.forwarded,
        "servedBy": listener.served_by,
        "accessLog": {
            "format": match listener.access_log.format {
                AccessLogFormat::Off => "Off",
                AccessLogFormat::Text => "Text",
                AccessLogFormat::Json => "JSON",
            },
            "oneIn": listener.access_log.one_in,
        },
        "tracing": tracing,
    })
}

fn route(route: &Route) -> Value {
    json!({
        "prefix": route.prefix,
        "cluster": route.cluster.as_str(),
        "timeouts": timeouts(&route.timeouts),
        "retry": retry(&route.retry),
        "bodies": bodies(route.bodies),
    })
}

fn timeouts(timeouts: &Timeouts) -> Value {
    json!({
        "requestMs": timeouts.request.as_millis(),
        "perTryMs": timeouts.per_try.map(|limit| limit.as_millis()),
        "idleMs": timeouts.idle.as_millis(),
        "tunnelIdleMs": timeouts.tunnel_idle.as_millis(),
    })
}

fn retry(retry: &Retry) -> Value {
    let on = retry.on.iter().map(|on| match on {
        RetryOn::Closed => "Closed",
        RetryOn::GatewayError => "GatewayError",
        RetryOn::Timeout => "Timeout",
    });
    json!({
        "tries": retry.tries,
        "on": on.collect::<Value>(),
        "statuses": retry.statuses,
        "anyMethod": retry.any_method,
        "bodyBytes": retry.body,
        "budgetPercent": retry.budget,
        "backoffMs": retry.backoff.as_millis(),
    })
}

fn bodies(bodies: Bodies) -> Value {
    json!({
        "requestMaxBytes": bodies.request_max,
        "responseMaxBytes": bodies.response_max,
        "responseBufferBytes": bodies.response_buffer,
    })
}

fn limits(limits: &Limits) -> Value {
    json!({
        "connections": limits.connections,
        "endpointConnections": limits.endpoint_connections,
        "requests": limits.requests,
        "endpointRequests": limits.endpoint_requests,
        "queue": limits.queue,
        "queueTimeoutMs": limits.queue_timeout.as_millis(),
    })
}
