//! What admin shows, as JSON: the process, the configuration in use, the endpoints with their live state. Nothing here is secret, and
//! nothing secret may come here.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};
use tenbin_balance::{Policy, Role, Time};

use crate::admin::Process;
use crate::state::{Cluster, Endpoint, Snapshot};

/// How the process is.
pub(super) fn status(process: &Process) -> Value {
    let snapshot = process.shared.state.load();
    let now = process.shared.clock.now();
    let listeners = snapshot
        .listeners()
        .iter()
        .zip(&process.bound)
        .map(|(listener, bound)| {
            let stats = &listener.stats;
            json!({
                "name": listener.name.as_str(),
                "address": bound.to_string(),
                "connections": stats.connections.load(Relaxed),
                "inFlight": stats.in_flight.load(Relaxed),
            })
        });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": now.since(Time::default()).as_secs(),
        "workers": process.workers,
        "statusAddress": process.status.map(|address| address.to_string()),
        "draining": process.shared.lifecycle.is_draining(),
        "connections": process.shared.lifecycle.connections(),
        "connectionLimit": process.shared.lifecycle.limit(),
        "fdLimit": process.shared.fd_limit,
        "updates": snapshot.updates(),
        "snapshotAgeSeconds": process.shared.updated.age(now),
        "snapshotRestored": process.stream.as_ref().map(|stream| stream.snapshot.restored.get() == 1),
        "streamConnected": process.stream.as_ref().map(|stream| stream.connected.get() == 1),
        "listeners": listeners.collect::<Vec<_>>(),
    })
}

/// The configuration in use.
pub(super) fn config(snapshot: &Snapshot) -> Value {
    let listeners = snapshot.listeners().iter().map(|listener| {
        json!({
            "name": listener.name.as_str(),
            "address": listener.address.to_string(),
            "headerTimeoutMs": listener.header_timeout.as_millis(),
            "idleTimeoutMs": listener.idle_timeout.as_millis(),
        })
    });
    let routes = snapshot.routes().map(|table| {
        let hosts = table.hosts.iter().map(|host| {
            let routes = host.routes.iter().map(|route| {
                json!({
                    "prefix": route.prefix,
                    "cluster": route.cluster.as_str(),
                    "responseTimeoutMs": route.response_timeout.as_millis(),
                })
            });
            json!({ "name": host.name, "domains": host.domains, "routes": routes.collect::<Vec<_>>() })
        });
        json!({ "name": table.name.as_str(), "hosts": hosts.collect::<Vec<_>>() })
    });
    let clusters = snapshot.clusters().map(|cluster| {
        let endpoints = cluster.endpoints().map(|(endpoint, role)| named(endpoint, role));
        json!({
            "name": cluster.name.as_str(),
            "algorithm": algorithm(cluster.policy()),
            "connectTimeoutMs": cluster.connect_timeout.as_millis(),
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    });
    json!({
        "updates": snapshot.updates(),
        "listeners": listeners.collect::<Vec<_>>(),
        "routes": routes.collect::<Vec<_>>(),
        "clusters": clusters.collect::<Vec<_>>(),
    })
}

/// The endpoints with their live state.
pub(super) fn clusters(snapshot: &Snapshot, now: Time) -> Value {
    let clusters = snapshot.clusters().map(|cluster| live(cluster, now));
    json!({ "clusters": clusters.collect::<Vec<_>>() })
}

fn live(cluster: &Cluster, now: Time) -> Value {
    let endpoints = cluster.endpoints().map(|(endpoint, role)| {
        let stats = &endpoint.stats;
        let mut value = named(endpoint, role);
        value["inFlight"] = stats.load.open().into();
        value["picks"] = stats.load.picks().into();
        value["connectionsOpened"] = stats.connections.load(Relaxed).into();
        value["connectFailures"] = stats.connect_failures.load(Relaxed).into();
        value["skip"] = match stats.load.skip().explain(now) {
            None => Value::Null,
            Some((failures, left)) => json!({ "failures": failures, "leftMs": left.as_millis() }),
        };
        value
    });
    json!({
        "name": cluster.name.as_str(),
        "algorithm": algorithm(cluster.policy()),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn named(endpoint: &Endpoint, role: Role) -> Value {
    json!({
        "id": endpoint.id.as_str(),
        "instance": &*endpoint.instance,
        "address": endpoint.address.to_string(),
        "state": match role {
            Role::Ready => "Ready",
            Role::Draining => "Draining",
        },
    })
}

fn algorithm(policy: Policy) -> &'static str {
    match policy {
        Policy::RoundRobin => "RoundRobin",
        Policy::LeastRequest => "LeastRequest",
    }
}
