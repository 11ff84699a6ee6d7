//! What the stream counts. No logic; no label holds what a client may choose.

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use prost::Message;
use tenbin_model::Kind;
use tonic::Code;

/// A kind of resource: cluster, endpoints, listener or routes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResourceLabel {
    /// The kind.
    pub kind: &'static str,
}

/// Why a stream or connection was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabel {
    /// From a closed list.
    pub reason: &'static str,
}

/// All metrics of the stream.
#[derive(Debug, Default)]
pub struct StreamMetrics {
    /// Open streams.
    pub streams: Gauge,
    /// Open connections, those in their handshake included.
    pub connections: Gauge,
    /// Resources sent, by kind.
    pub sent: Family<ResourceLabel, Counter>,
    /// Names told to be gone or not to exist, by kind.
    pub removed: Family<ResourceLabel, Counter>,
    /// Bytes of responses.
    pub bytes: Counter,
    /// Responses accepted, by kind.
    pub acks: Family<ResourceLabel, Counter>,
    /// Responses rejected, by kind.
    pub nacks: Family<ResourceLabel, Counter>,
    /// Streams and connections refused, by reason.
    pub refused: Family<RefusalLabel, Counter>,
    /// Names of other apps that were asked for.
    pub foreign: Counter,
}

impl StreamMetrics {
    /// Registers all of them, each name beginning with `xds_` after the prefix of the registry.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("xds");
        r.register("streams", "Open streams", self.streams.clone());
        r.register("connections", "Open connections", self.connections.clone());
        r.register("resources_sent", "Resources sent, by kind", self.sent.clone());
        let help = "Resources told to be gone or not to exist, by kind";
        r.register("resources_removed", help, self.removed.clone());
        r.register_with_unit("responses", "Size of responses sent", Unit::Bytes, self.bytes.clone());
        r.register("acks", "Responses that proxies accepted, by kind", self.acks.clone());
        r.register("nacks", "Responses that proxies rejected, by kind", self.nacks.clone());
        let help = "Streams and connections refused, by reason";
        r.register("refused", help, self.refused.clone());
        let help = "Names of other apps that proxies asked for; each was answered as absent";
        r.register("foreign_names", help, self.foreign.clone());
    }

    pub(super) fn count_sent(&self, kind: Kind, response: &DeltaDiscoveryResponse) {
        let label = ResourceLabel { kind: kind.as_str() };
        let sent = response.resources.len() as u64;
        self.sent.get_or_create(&label).inc_by(sent);
        let removed = response.removed_resources.len() as u64;
        self.removed.get_or_create(&label).inc_by(removed);
        self.bytes.inc_by(response.encoded_len() as u64);
    }

    pub(super) fn count_ack(&self, kind: Kind) {
        self.acks.get_or_create(&ResourceLabel { kind: kind.as_str() }).inc();
    }

    pub(super) fn count_nack(&self, kind: Kind) {
        self.nacks.get_or_create(&ResourceLabel { kind: kind.as_str() }).inc();
    }

    pub(super) fn count_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusalLabel { reason }).inc();
    }
}

/// The label of a refusal that has no reason but its status.
pub(super) fn reason_of(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "unauthenticated",
        Code::PermissionDenied => "permission_denied",
        Code::Unavailable => "unavailable",
        Code::Unimplemented => "unimplemented",
        Code::InvalidArgument => "invalid",
        _ => "other",
    }
}
