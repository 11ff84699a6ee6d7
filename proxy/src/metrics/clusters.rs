//! What is known of clusters and their endpoints. Endpoints are told one by one up to a limit, so that no app makes more series than that;
//! above it, in one sum.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tenbin_balance::{Charge, Role, Status, Time};

use super::out::Out;
use crate::state::{Cluster, Snapshot};

/// The most endpoints of a cluster that are shown one by one.
const MAX_ENDPOINTS: usize = 100;
/// What the others are called.
const ALL: &str = "(all)";

/// Writes all of it.
pub(super) fn write(out: &mut Out<'_>, snapshot: &Snapshot, now: Time) -> fmt::Result {
    let by_role = snapshot.clusters().flat_map(|cluster| {
        [(Role::Ready, "ready"), (Role::Draining, "draining")].map(|(role, state)| {
            (
                [("cluster", cluster.name.as_str()), ("state", state)],
                cluster.count(role) as f64,
            )
        })
    });
    out.gauges("endpoints", "Endpoints known", by_role)?;
    let skipped = snapshot.clusters().map(|cluster| {
        let skipped = cluster
            .endpoints()
            .filter(|(endpoint, _)| is_skipped(endpoint.stats.load.skip(), now));
        ([("cluster", cluster.name.as_str())], skipped.count() as f64)
    });
    out.gauges("endpoints_skipped", "Endpoints left out after failures", skipped)?;
    let ejections = snapshot.clusters().flat_map(|cluster| {
        let fleet = cluster.endpoints().next().map(|(_, member)| member.load.fleet());
        let counts = fleet.map(|fleet| Charge::ALL.map(|charge| (charge, fleet.charges(charge))));
        let labels = |charge: Charge| [("cluster", cluster.name.as_str()), ("reason", charge.as_str())];
        counts.into_iter().flatten().map(move |(charge, n)| (labels(charge), n))
    });
    out.counters("ejections", "Times that endpoints began to be left out", ejections)?;
    limits(out, snapshot)?;
    endpoints(out, snapshot, now)
}

/// A counter of clusters: its name, what it says, and the value.
type OfCluster = (&'static str, &'static str, fn(&Cluster) -> u64);

/// Who waits at the limits of clusters, and whom they turned away; retries that the budget forbade.
fn limits(out: &mut Out<'_>, snapshot: &Snapshot) -> fmt::Result {
    let labels = |cluster: &Arc<Cluster>| [("cluster", cluster.name.as_str().to_owned())];
    let waiting = snapshot.clusters().map(|c| (labels(c), c.gate.waiting().into()));
    out.gauges("requests_waiting", "Requests that wait for room at a limit", waiting)?;
    let counters: [OfCluster; 3] = [
        ("queue_overflows", "Requests refused since too many waited", |c| {
            c.gate.overflows()
        }),
        (
            "queue_timeouts",
            "Requests refused since they had waited for too long",
            |c| c.gate.timeouts(),
        ),
        ("retries_denied", "Retries that the budget did not allow", |c| {
            c.budget.denied()
        }),
    ];
    for (name, help, value) in counters {
        out.counters(name, help, snapshot.clusters().map(|c| (labels(c), value(c))))?;
    }
    Ok(())
}

fn is_skipped(skip: &tenbin_balance::Skip, now: Time) -> bool {
    skip.status(now) == Status::Skipped
}

/// A metric of endpoints: its name, what it says, and the value.
type Column<T> = (&'static str, &'static str, fn(&Shown<'_>) -> T);

fn endpoints(out: &mut Out<'_>, snapshot: &Snapshot, now: Time) -> fmt::Result {
    let shown: Vec<Shown<'_>> = snapshot
        .clusters()
        .flat_map(|cluster| Shown::of(cluster, now))
        .collect();
    let counters: [Column<u64>; 4] = [
        ("endpoint_picks", "Requests and retries sent to an endpoint", |s| {
            s.picks
        }),
        (
            "endpoint_connections_opened",
            "Connections opened to an endpoint",
            |s| s.opened,
        ),
        (
            "endpoint_connections_reused",
            "Requests sent over a connection that another had used",
            |s| s.reused,
        ),
        (
            "endpoint_connect_failures",
            "Connections that could not be opened",
            |s| s.failures,
        ),
    ];
    for (name, help, value) in counters {
        out.counters(name, help, shown.iter().map(|shown| (shown.labels, value(shown))))?;
    }
    let gauges: [Column<f64>; 6] = [
        ("endpoint_requests_in_flight", "Requests open at an endpoint", |s| {
            s.open as f64
        }),
        ("endpoint_connections", "Connections open to an endpoint", |s| {
            s.connections as f64
        }),
        ("endpoint_connections_idle", "Of them those that nobody uses", |s| {
            s.idle as f64
        }),
        ("endpoint_skipped", "1 while an endpoint is left out", |s| {
            s.skipped as f64
        }),
        ("endpoint_weight", "Share of the requests against the others'", |s| {
            s.weight as f64
        }),
        (
            "endpoint_latency_seconds",
            "Average time to the head of a response lately",
            |s| s.latency,
        ),
    ];
    for (name, help, value) in gauges {
        out.gauges(name, help, shown.iter().map(|shown| (shown.labels, value(shown))))?;
    }
    Ok(())
}

/// What is shown of an endpoint, or of all of a large cluster.
struct Shown<'a> {
    labels: [(&'static str, &'a str); 2],
    picks: u64,
    open: u64,
    opened: u64,
    reused: u64,
    failures: u64,
    connections: u64,
    idle: u64,
    skipped: u64,
    weight: u64,
    /// In seconds; of several, the longest.
    latency: f64,
}

impl<'a> Shown<'a> {
    fn of(cluster: &'a Cluster, now: Time) -> Vec<Self> {
        let each = cluster.endpoints().map(|(endpoint, member)| {
            let stats = &endpoint.stats;
            Shown {
                labels: [("cluster", cluster.name.as_str()), ("endpoint", &endpoint.instance)],
                picks: stats.load.picks(),
                open: stats.load.open().into(),
                opened: stats.connections.load(Relaxed),
                reused: stats.reused.load(Relaxed),
                failures: stats.connect_failures.load(Relaxed),
                connections: stats.open_connections.load(Relaxed).into(),
                idle: stats.idle.load(Relaxed),
                skipped: is_skipped(stats.load.skip(), now).into(),
                weight: member.weight.into(),
                latency: stats.load.latency().unwrap_or_default().as_secs_f64(),
            }
        });
        if cluster.endpoints().count() <= MAX_ENDPOINTS {
            return each.collect();
        }
        each.reduce(|sum, next| Shown {
            labels: [("cluster", cluster.name.as_str()), ("endpoint", ALL)],
            picks: sum.picks + next.picks,
            open: sum.open + next.open,
            opened: sum.opened + next.opened,
            reused: sum.reused + next.reused,
            failures: sum.failures + next.failures,
            connections: sum.connections + next.connections,
            idle: sum.idle + next.idle,
            skipped: sum.skipped + next.skipped,
            weight: sum.weight + next.weight,
            latency: sum.latency.max(next.latency),
        })
        .into_iter()
        .collect()
    }
}
