//! `/metrics`: what the atomics of `state` say, read when somebody asks. Nothing is counted here, and no label is looked up while a
//! request passes.
//!
//! | name | type | labels | what |
//! |---|---|---|---|
//! | `tenbin_build_info` | gauge | `version` | 1 |
//! | `tenbin_requests_total` | counter | `listener`, `code` (`1xx`–`5xx`, `none`) | finished requests; `none`: no response was begun |
//! | `tenbin_request_failures_total` | counter | `listener`, `reason` | of them those that failed, by short code (see `serve::error`) |
//! | `tenbin_requests_in_flight` | gauge | `listener` | open requests and upgraded connections |
//! | `tenbin_request_duration_seconds` | histogram | `listener` | headers to end of response; without upgraded connections |
//! | `tenbin_request_retries_total` | counter | `listener` | tries beyond the first |
//! | `tenbin_affinity_total` | counter | `listener`, `outcome` (see `affinity::Outcome`) | requests that an affinity looked at; `hit` ÷ all is how many found their endpoint |
//! | `tenbin_picks_total` | counter | `listener`, `reason` (see `access_log`) | picks, those of retries too |
//! | `tenbin_upgraded_connections` | gauge | `listener` | open upgraded connections (WebSockets) |
//! | `tenbin_connections` | gauge | `listener` | open client connections |
//! | `tenbin_connections_accepted_total` | counter | `listener` | |
//! | `tenbin_connections_refused_total` | counter | `listener` | turned away at the limit |
//! | `tenbin_connections_malformed_total` | counter | `listener` | closed because of what is not HTTP |
//! | `tenbin_connections_header_timeouts_total` | counter | `listener` | closed because headers took too long |
//! | `tenbin_connection_limit` | gauge | | the most client connections |
//! | `tenbin_fd_limit` | gauge | | the limit of descriptors |
//! | `tenbin_draining` | gauge | | 1 from the beginning of a drain |
//! | `tenbin_snapshot_updates_total` | counter | | updates put in use |
//! | `tenbin_snapshot_age_seconds` | gauge | | since what is in use was received, in a former life of the process too; before any, since the start |
//! | `tenbin_snapshot_restored` | gauge | | 1 while what is in use was saved in a former life and no stream was opened since (only with a stream, as the next three) |
//! | `tenbin_snapshot_saves_total` | counter | | snapshots saved |
//! | `tenbin_snapshot_save_failures_total` | counter | | attempts that failed |
//! | `tenbin_snapshot_refused_total` | counter | | saved snapshots that could not be used at the start |
//! | `tenbin_access_log_dropped_total` | counter | | lines for which there was no room |
//! | `tenbin_endpoints` | gauge | `cluster`, `state` (`ready`, `draining`) | endpoints known |
//! | `tenbin_endpoint_picks_total` | counter | `cluster`, `endpoint` | requests and retries sent there |
//! | `tenbin_endpoint_requests_in_flight` | gauge | `cluster`, `endpoint` | open there |
//! | `tenbin_endpoint_connections_opened_total` | counter | `cluster`, `endpoint` | |
//! | `tenbin_endpoint_connect_failures_total` | counter | `cluster`, `endpoint` | |
//! | `tenbin_endpoint_skipped` | gauge | `cluster`, `endpoint` | 1 while left out after failures |
//! | `tenbin_endpoint_weight` | gauge | `cluster`, `endpoint` | its share of the requests against the others' |
//! | `tenbin_endpoint_latency_seconds` | gauge | `cluster`, `endpoint` | average (geometric mean) to a response's head lately; 0 before the first |
//! | `tenbin_xds_…` | | | the stream: see `xds::metrics` |
//!
//! Endpoints are named by their instance; a cluster of more than 100 is shown as one sum, with the endpoint `all` (of latencies, the
//! longest).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use tenbin_balance::{Reason, Role, Status, Time};

use crate::access_log::AccessLog;
use crate::affinity::Outcome;
use crate::serve::error::Failure;
use crate::shared::Shared;
use crate::spans::Spans;
use crate::state::{Cluster, Listener, Snapshot};

/// The most endpoints of a cluster that are shown one by one.
const MAX_ENDPOINTS: usize = 100;

/// Classes of status, as they lie in [`crate::state::PortStats::requests`].
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Everything that is shown.
#[derive(Debug)]
pub struct Metrics {
    /// Listeners, endpoints, the process.
    pub shared: Shared,
    /// The access log.
    pub access_log: AccessLog,
    /// Spans.
    pub spans: Spans,
}

type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Out(encoder);
        let snapshot = self.shared.state.load();
        self.process(&mut out, &snapshot)?;
        listeners(&mut out, snapshot.listeners())?;
        self.clusters(&mut out, &snapshot)
    }
}

impl Metrics {
    fn process(&self, out: &mut Out<'_>, snapshot: &Snapshot) -> fmt::Result {
        let now = self.shared.clock.now();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        out.gauges("build_info", "1, with the version of the proxy", [(version, 1.0)])?;
        out.gauge(
            "connection_limit",
            "The most client connections",
            self.shared.lifecycle.limit() as f64,
        )?;
        out.gauge("fd_limit", "The limit of descriptors", self.shared.fd_limit as f64)?;
        let draining = f64::from(u8::from(self.shared.lifecycle.is_draining()));
        out.gauge("draining", "1 from the beginning of a drain", draining)?;
        let age = self.shared.updated.age(now);
        out.gauge(
            "snapshot_age_seconds",
            "Time since what is in use was received, or the start",
            age,
        )?;
        out.counter("snapshot_updates", "Updates put in use", snapshot.updates())?;
        let dropped = self.access_log.dropped();
        out.counter(
            "access_log_dropped",
            "Lines of the access log for which there was no room",
            dropped,
        )
    }

    fn clusters(&self, out: &mut Out<'_>, snapshot: &Snapshot) -> fmt::Result {
        let states = snapshot.clusters().flat_map(|cluster| {
            [(Role::Ready, "ready"), (Role::Draining, "draining")].map(|(role, state)| {
                let n = cluster.count(role) as f64;
                ([("cluster", cluster.name.as_str()), ("state", state)], n)
            })
        });
        out.gauges("endpoints", "Endpoints known", states)?;

        let now = self.shared.clock.now();
        let shown: Vec<Shown<'_>> = snapshot
            .clusters()
            .flat_map(|cluster| Shown::of(cluster, now))
            .collect();
        let by = |value: fn(&Shown<'_>) -> u64| shown.iter().map(move |shown| (shown.labels, value(shown)));
        out.counters(
            "endpoint_picks",
            "Requests and retries sent to an endpoint",
            by(|s| s.picks),
        )?;
        out.counters(
            "endpoint_connections_opened",
            "Connections opened to an endpoint",
            by(|s| s.connections),
        )?;
        out.counters(
            "endpoint_connect_failures",
            "Connections that could not be opened",
            by(|s| s.failures),
        )?;
        let by = |value: fn(&Shown<'_>) -> u64| shown.iter().map(move |shown| (shown.labels, value(shown) as f64));
        out.gauges(
            "endpoint_requests_in_flight",
            "Requests open at an endpoint",
            by(|s| s.open),
        )?;
        out.gauges("endpoint_skipped", "1 while an endpoint is left out", by(|s| s.skipped))?;
        out.gauges(
            "endpoint_weight",
            "Share of the requests against the others'",
            by(|s| s.weight),
        )?;
        let latencies = shown.iter().map(|shown| (shown.labels, shown.latency));
        let help = "Average time to the head of a response lately";
        out.gauges("endpoint_latency_seconds", help, latencies)
    }
}

fn listeners(out: &mut Out<'_>, listeners: &[Arc<Listener>]) -> fmt::Result {
    let classes = listeners.iter().flat_map(|listener| {
        let counts = CLASSES.iter().zip(&listener.stats.requests);
        counts.map(|(&code, n)| ([("listener", listener.name.as_str()), ("code", code)], n.load(Relaxed)))
    });
    out.counters("requests", "Finished requests by class of status", classes)?;
    // Two failures share a code, and a series must be there only once.
    let mut reasons: Vec<&'static str> = Failure::ALL.iter().map(|failure| failure.code()).collect();
    reasons.dedup();
    let failures = listeners.iter().flat_map(|listener| {
        reasons.iter().map(|&reason| {
            let same = Failure::ALL.iter().filter(|failure| failure.code() == reason);
            let n = same
                .map(|&failure| listener.stats.failures[failure as usize].load(Relaxed))
                .sum();
            ([("listener", listener.name.as_str()), ("reason", reason)], n)
        })
    });
    out.counters("request_failures", "Failed requests by reason", failures)?;

    let outcomes = listeners.iter().flat_map(|listener| {
        let counts = Outcome::ALL.iter().zip(&listener.stats.affinity);
        counts.map(|(outcome, n)| {
            (
                [("listener", listener.name.as_str()), ("outcome", outcome.name())],
                n.load(Relaxed),
            )
        })
    });
    out.counters("affinity", "Requests by what became of their affinity", outcomes)?;
    let reasons = listeners.iter().flat_map(|listener| {
        let counts = Reason::ALL.iter().zip(&listener.stats.picks);
        counts.map(|(reason, n)| {
            (
                [("listener", listener.name.as_str()), ("reason", reason.as_str())],
                n.load(Relaxed),
            )
        })
    });
    out.counters("picks", "Picks by their reason", reasons)?;

    let by = |value: fn(&Listener) -> &AtomicU64| {
        listeners
            .iter()
            .map(move |l| ([("listener", l.name.as_str())], value(l).load(Relaxed)))
    };
    out.counters("request_retries", "Tries beyond the first", by(|l| &l.stats.retries))?;
    out.counters(
        "connections_accepted",
        "Client connections accepted",
        by(|l| &l.stats.accepted),
    )?;
    out.counters(
        "connections_refused",
        "Client connections turned away",
        by(|l| &l.stats.refused),
    )?;
    out.counters(
        "connections_malformed",
        "Client connections closed for bad HTTP",
        by(|l| &l.stats.malformed),
    )?;
    let help = "Client connections closed because headers took too long";
    out.counters("connections_header_timeouts", help, by(|l| &l.stats.header_timeouts))?;
    let by = |value: fn(&Listener) -> &AtomicU64| {
        listeners
            .iter()
            .map(move |l| ([("listener", l.name.as_str())], value(l).load(Relaxed) as f64))
    };
    out.gauges(
        "requests_in_flight",
        "Open requests and upgraded connections",
        by(|l| &l.stats.in_flight),
    )?;
    out.gauges(
        "upgraded_connections",
        "Open upgraded connections",
        by(|l| &l.stats.tunnels),
    )?;
    out.gauges("connections", "Open client connections", by(|l| &l.stats.connections))?;

    let durations = listeners
        .iter()
        .map(|l| ([("listener", l.name.as_str())], l.stats.duration.read()));
    out.histograms(
        "request_duration_seconds",
        "Headers of a request to the end of its response",
        durations,
    )
}

/// What is shown of an endpoint, or of all of a large cluster.
struct Shown<'a> {
    labels: Labels<'a, 2>,
    picks: u64,
    open: u64,
    connections: u64,
    failures: u64,
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
                connections: stats.connections.load(Relaxed),
                failures: stats.connect_failures.load(Relaxed),
                skipped: u64::from(stats.load.skip().status(now) == Status::Skipped),
                weight: member.weight.into(),
                latency: stats.load.latency().unwrap_or_default().as_secs_f64(),
            }
        });
        if cluster.endpoints().count() <= MAX_ENDPOINTS {
            return each.collect();
        }
        each.reduce(|sum, next| Shown {
            labels: [("cluster", cluster.name.as_str()), ("endpoint", "all")],
            picks: sum.picks + next.picks,
            open: sum.open + next.open,
            connections: sum.connections + next.connections,
            failures: sum.failures + next.failures,
            skipped: sum.skipped + next.skipped,
            weight: sum.weight + next.weight,
            latency: sum.latency.max(next.latency),
        })
        .into_iter()
        .collect()
    }
}

/// Writes families of samples.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
        }
        Ok(())
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn histograms<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, (Vec<(f64, u64)>, f64))>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, (buckets, sum)) in samples {
            let count = buckets.iter().map(|(_, n)| n).sum();
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}
