//! What the operator counts. Names and labels are documented by their help texts; no label holds what users may choose freely
//! without bound. No logic: whoever does something counts it.

mod requests;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use requests::{CountRequests, CountingService};

/// A watched kind, as `Pod`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// The kind.
    pub kind: &'static str,
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// In lower case, from a closed list.
    pub result: &'static str,
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// From a closed list.
    pub reason: &'static str,
}

/// A certificate of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CertificateLabel {
    /// `ca` (the one that signed the serving certificate) or `serving`.
    pub certificate: &'static str,
}

/// A step of the certificates' rotation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabel {
    /// `create`, `renew_serving`, `add_ca`, `promote_ca`, `drop_ca`, `reissue` or `restore`.
    pub step: &'static str,
}

/// A request to the API server; what RBAC grants is compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// As RBAC names it: get, list, watch, create, patch, update, delete, deletecollection.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural, with its subresource: `balancedapps/status`.
    pub resource: String,
    /// HTTP status; 0 where no response came.
    pub code: u16,
}

/// All metrics of the operator's own; the stream registers its own beside them.
#[derive(Debug)]
pub struct Metrics {
    /// Events per kind.
    pub watch_events: Family<KindLabel, Counter>,
    /// Watch errors per kind.
    pub watch_errors: Family<KindLabel, Counter>,
    /// Relists per kind, the first included.
    pub watch_lists: Family<KindLabel, Counter>,
    /// Watches of a kind that fail now.
    pub watch_failing: Family<KindLabel, Gauge>,
    /// From an event's arrival to the publication of what it changed.
    pub watch_lag: Histogram,
    /// Time to compile one batch of changed apps.
    pub compile_seconds: Histogram,
    /// BalancedApps known.
    pub apps: Gauge,
    /// Problems standing, all apps together.
    pub problems: Gauge,
    /// Apps whose pods would be others if they were made today; on the leader.
    pub apps_outdated: Gauge,
    /// Runs of the applier per result.
    pub applies: Family<ResultLabel, Counter>,
    /// Children written.
    pub child_writes: Family<KindLabel, Counter>,
    /// Status writes per result.
    pub status_writes: Family<ResultLabel, Counter>,
    /// Secrets of session keys written or deleted per result.
    pub session_key_writes: Family<ResultLabel, Counter>,
    /// Kubernetes Events published per result.
    pub events: Family<ResultLabel, Counter>,
    /// 1 while this replica leads.
    pub leader: Gauge,
    /// Failed looks at the lease.
    pub lease_errors: Counter,
    /// Refused proxies per reason.
    pub refusals: Family<ReasonLabel, Counter>,
    /// TokenReviews asked for.
    pub token_reviews: Counter,
    /// 1 while the last certificate seen is good.
    pub certificate_ok: Gauge,
    /// When the certificates in use end, in seconds since 1970.
    pub certificate_expiry: Family<CertificateLabel, Gauge>,
    /// Steps that this replica wrote.
    pub certificate_rotations: Family<StepLabel, Counter>,
    /// Other replicas whose counts arrive here.
    pub peers: Gauge,
    /// Requests to the API server.
    pub api_requests: Family<RequestLabels, Counter>,
    registry: Mutex<Registry>,
}

impl Metrics {
    /// Fresh metrics in a registry of their own, together with what `register` adds to it.
    pub fn new(register: impl FnOnce(&mut Registry)) -> Arc<Self> {
        let mut registry = Registry::default();
        let metrics = Metrics {
            watch_events: Family::default(),
            watch_errors: Family::default(),
            watch_lists: Family::default(),
            watch_failing: Family::default(),
            watch_lag: Histogram::new(exponential_buckets(0.000_1, 4.0, 9)),
            compile_seconds: Histogram::new(exponential_buckets(0.000_01, 4.0, 10)),
            apps: Gauge::default(),
            problems: Gauge::default(),
            apps_outdated: Gauge::default(),
            applies: Family::default(),
            child_writes: Family::default(),
            status_writes: Family::default(),
            session_key_writes: Family::default(),
            events: Family::default(),
            leader: Gauge::default(),
            lease_errors: Counter::default(),
            refusals: Family::default(),
            token_reviews: Counter::default(),
            certificate_ok: Gauge::default(),
            certificate_expiry: Family::default(),
            certificate_rotations: Family::default(),
            peers: Gauge::default(),
            api_requests: Family::default(),
            registry: Mutex::default(),
        };
        let ours = registry.sub_registry_with_prefix("tenbin_operator");
        metrics.register(ours);
        register(ours);
        *metrics.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
        Arc::new(metrics)
    }

    fn register(&self, r: &mut Registry) {
        r.register("watch_events", "Watch events by kind", self.watch_events.clone());
        r.register(
            "watch_errors",
            "Failed or broken watches by kind",
            self.watch_errors.clone(),
        );
        r.register(
            "watch_lists",
            "Completed lists by kind, the first included",
            self.watch_lists.clone(),
        );
        let failing = "Watches of the kind that fail now";
        r.register("watch_failing", failing, self.watch_failing.clone());
        let lag = "From a watch event's arrival to the publication of what it changed";
        r.register_with_unit("watch_lag", lag, Unit::Seconds, self.watch_lag.clone());
        let compile = "Time to compile one batch of changed apps";
        r.register_with_unit("compile", compile, Unit::Seconds, self.compile_seconds.clone());
        r.register("apps", "BalancedApps known", self.apps.clone());
        r.register(
            "problems",
            "Problems standing, all apps together",
            self.problems.clone(),
        );
        let outdated = "Apps whose pods would get another proxy if they were made now; on the leader";
        r.register("apps_outdated", outdated, self.apps_outdated.clone());
        r.register("applies", "Runs of the applier by result", self.applies.clone());
        r.register(
            "child_writes",
            "Objects of apps written by kind",
            self.child_writes.clone(),
        );
        r.register("status_writes", "Status writes by result", self.status_writes.clone());
        r.register(
            "session_key_writes",
            "Secrets of session keys written or deleted by result",
            self.session_key_writes.clone(),
        );
        r.register(
            "published_events",
            "Kubernetes Events published by result",
            self.events.clone(),
        );
        r.register("leader", "1 while this replica leads", self.leader.clone());
        r.register("lease_errors", "Failed looks at the lease", self.lease_errors.clone());
        r.register("refusals", "Streams refused by reason", self.refusals.clone());
        r.register("token_reviews", "TokenReviews asked for", self.token_reviews.clone());
        let certificate = "1 while the stream's certificate last seen is good";
        r.register("certificate_ok", certificate, self.certificate_ok.clone());
        r.register_with_unit(
            "certificate_expiry_timestamp",
            "When the stream's certificates in use end, since 1970: ca, serving",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        r.register(
            "certificate_rotations",
            "Changes of the stream's certificates by this replica: create, renew_serving, add_ca, promote_ca, drop_ca, reissue, restore",
            self.certificate_rotations.clone(),
        );
        r.register("peers", "Other replicas whose counts arrive here", self.peers.clone());
        let requests = "Requests to the API server by verb, group, resource and status";
        r.register("api_requests", requests, self.api_requests.clone());
    }

    /// All metrics as OpenMetrics text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing into a String can't fail.
        let _ = encode(&mut text, &registry);
        text
    }
}
