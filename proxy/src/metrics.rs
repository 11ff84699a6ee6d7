//! `/metrics`: what the atomics of `state` say, read when somebody asks. Nothing is counted here, and no label is looked up while a
//! request passes. Every name is explained in `docs/observability.md`.

mod clusters;
mod listeners;
mod out;

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use out::Out;

use crate::access_log::AccessLog;
use crate::shared::Shared;
use crate::spans::Spans;
use crate::state::Snapshot;

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

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Out(encoder);
        let snapshot = self.shared.state.load();
        self.process(&mut out, &snapshot)?;
        listeners::write(&mut out, snapshot.listeners())?;
        clusters::write(&mut out, &snapshot, self.shared.clock.now())
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
        )?;
        let counts = self.spans.counts();
        out.counter(
            "spans_exported",
            "Spans that a collector took",
            counts.exported.load(Relaxed),
        )?;
        let dropped = [("queue", &counts.overflowed), ("collector", &counts.refused)];
        let dropped = dropped.map(|(reason, n)| ([("reason", reason)], n.load(Relaxed)));
        out.counters("spans_dropped", "Spans that no collector has", dropped)
    }
}
