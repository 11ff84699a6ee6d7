//! What the stream to the operator counts. No logic.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// All metrics of the stream.
#[derive(Debug, Default)]
pub struct StreamMetrics {
    /// 1 while a stream is open.
    pub connected: Gauge,
    /// Streams opened.
    pub connects: Counter,
    /// Attempts to open a stream that failed.
    pub failures: Counter,
    /// Updates put in use.
    pub updates: Counter,
    /// Resources refused; the last good version of each stays.
    pub rejected: Counter,
    /// When the last update was put in use, in seconds since 1970; 0 before the first.
    pub last_update: Gauge<f64, AtomicU64>,
    /// The saved snapshot.
    pub snapshot: SnapshotMetrics,
}

/// What is told of the saved snapshot.
#[derive(Debug, Default)]
pub struct SnapshotMetrics {
    /// 1 while what is in use comes from the file and no stream has been opened since.
    pub restored: Gauge,
    /// Snapshots saved.
    pub saves: Counter,
    /// Attempts to save one that failed.
    pub save_failures: Counter,
    /// Files that could not be used at the start.
    pub refused: Counter,
}

impl StreamMetrics {
    /// Registers all of them: after the prefix of the registry, each name begins with `xds_`, or with `snapshot_` where it is
    /// about the saved one.
    pub fn register(&self, registry: &mut Registry) {
        self.snapshot.register(registry.sub_registry_with_prefix("snapshot"));
        let r = registry.sub_registry_with_prefix("xds");
        r.register(
            "connected",
            "1 while the stream to the operator is open",
            self.connected.clone(),
        );
        r.register("connects", "Streams opened to the operator", self.connects.clone());
        let help = "Failed attempts to open a stream to the operator";
        r.register("connect_failures", help, self.failures.clone());
        r.register("updates", "Updates from the operator put in use", self.updates.clone());
        let help = "Resources from the operator that were refused";
        r.register("rejected_resources", help, self.rejected.clone());
        let help = "When the last update was put in use, since 1970";
        r.register_with_unit("last_update_timestamp", help, Unit::Seconds, self.last_update.clone());
    }
}

impl SnapshotMetrics {
    fn register(&self, r: &mut Registry) {
        let help = "1 while what is in use is the saved snapshot and no stream was opened since the start";
        r.register("restored", help, self.restored.clone());
        r.register("saves", "Snapshots saved", self.saves.clone());
        let help = "Failed attempts to save the snapshot";
        r.register("save_failures", help, self.save_failures.clone());
        let help = "Saved snapshots that could not be used at the start";
        r.register("refused", help, self.refused.clone());
    }
}
