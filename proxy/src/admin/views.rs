//! What admin shows of what lives, as JSON: the process, the endpoints with their state. Nothing here is secret, and nothing secret may
//! come here. The configuration is `config`'s.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Value, json};
use tenbin_balance::{Member, Role, Time};
use tenbin_model::{HashKey, HashTable, OnDead, OnDrain, Policy};

use crate::admin::Process;
use crate::affinity::{Affinity, Sessions};
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
                "upgraded": stats.tunnels.load(Relaxed),
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

/// The endpoints with their live state.
pub(super) fn clusters(snapshot: &Snapshot, now: Time) -> Value {
    let clusters = snapshot.clusters().map(|cluster| live(cluster, now));
    json!({ "clusters": clusters.collect::<Vec<_>>() })
}

fn live(cluster: &Cluster, now: Time) -> Value {
    let endpoints = cluster.endpoints().map(|(endpoint, member)| {
        let (stats, load) = (&endpoint.stats, &endpoint.stats.load);
        let mut value = named(endpoint, member);
        value["inFlight"] = load.open().into();
        value["young"] = load.young(now).into();
        value["picks"] = load.picks().into();
        value["latencyMs"] = load.latency().map(millis).into();
        value["slowness"] = rounded(load.slowness().into()).into();
        value["connections"] = stats.open_connections.load(Relaxed).into();
        value["connectionsIdle"] = stats.idle.load(Relaxed).into();
        value["connectionsOpened"] = stats.connections.load(Relaxed).into();
        value["connectFailures"] = stats.connect_failures.load(Relaxed).into();
        value["skip"] = match load.skip().explain(now) {
            None => Value::Null,
            Some((failures, left)) => json!({ "failures": failures, "leftMs": left.as_millis() }),
        };
        value
    });
    let mut value = balancing(cluster);
    value["endpoints"] = endpoints.collect();
    if let Some((_, member)) = cluster.endpoints().next() {
        let fleet = member.load.fleet();
        value["latencyMs"] = fleet.latency().map(millis).into();
        value["lateAfterMs"] = millis(fleet.overdue()).into();
        value["heldAfterMs"] = millis(fleet.held_after()).into();
    }
    value
}

pub(super) fn named(endpoint: &Endpoint, member: &Member) -> Value {
    json!({
        "id": endpoint.id.as_str(),
        "instance": &*endpoint.instance,
        "address": endpoint.address.to_string(),
        "state": match member.role {
            Role::Ready => "Ready",
            Role::Draining => "Draining",
        },
        "weight": member.weight,
        "zone": &*member.zone,
    })
}

/// How a cluster balances.
pub(super) fn balancing(cluster: &Cluster) -> Value {
    let slow_start = cluster
        .balancing
        .slow_start
        .map(|start| json!({ "windowMs": start.window.as_millis(), "floorPercent": start.floor }));
    json!({
        "name": cluster.name.as_str(),
        "algorithm": algorithm(cluster.balancing.policy),
        "affinity": affinity(cluster),
        "slowStart": slow_start,
        "sameZone": cluster.balancing.same_zone,
        "ownZone": cluster.own_zone(),
    })
}

fn algorithm(policy: Policy) -> &'static str {
    match policy {
        Policy::Adaptive => "Adaptive",
        Policy::RoundRobin => "RoundRobin",
        Policy::Random => "Random",
        Policy::LeastRequest { .. } => "LeastRequest",
        Policy::PeakEwma { .. } => "PeakEwma",
    }
}

fn affinity(cluster: &Cluster) -> Value {
    let mut value = match &cluster.affinity {
        Affinity::None => return Value::Null,
        Affinity::Cookie(sessions) => return session_cookie(sessions),
        Affinity::Hash(key) => hash_key(key),
    };
    if let Some(tenbin_model::Affinity::Hash { table, bound, .. }) = &cluster.balancing.affinity {
        value["table"] = match table {
            HashTable::Ring => "Ring",
            HashTable::Maglev => "Maglev",
        }
        .into();
        value["boundPercent"] = (*bound).into();
    }
    value
}

fn hash_key(key: &HashKey) -> Value {
    match key {
        HashKey::SourceIp { v4, v6 } => json!({ "type": "SourceIP", "ipv4PrefixLength": v4, "ipv6PrefixLength": v6 }),
        HashKey::Header(name) => json!({ "type": "Header", "name": name }),
        HashKey::QueryParam(name) => json!({ "type": "QueryParam", "name": name }),
        HashKey::Path => json!({ "type": "Path" }),
        HashKey::Cookie(name) => json!({ "type": "Cookie", "issuedBy": "App", "name": name }),
    }
}

fn session_cookie(sessions: &Sessions) -> Value {
    json!({
        "type": "Cookie",
        "issuedBy": "Proxy",
        "name": sessions.name(),
        "validSeconds": sessions.ttl().as_secs(),
        "onDrain": match sessions.on_drain {
            OnDrain::Keep => "Keep",
            OnDrain::Move => "Move",
        },
        "onDead": match sessions.on_dead {
            OnDead::Rebalance => "Rebalance",
            OnDead::Fail => "Fail",
        },
        "keyIds": sessions.key_ids().collect::<Vec<_>>(),
    })
}

fn millis(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e3)
}

/// With three places after the point.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
