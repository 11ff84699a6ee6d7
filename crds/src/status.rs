//! `BalancedApp.status`: what the operator found. It is computed in the operator, never here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::embedded;

/// What the operator found.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BalancedAppStatus {
    /// The `metadata.generation` that the rest of the status is about.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub observed_generation: i64,

    /// Pods of the app that exist and are not stopping.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub replicas: i32,

    /// Replicas that are ready.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub ready_replicas: i32,

    /// Replicas made from the newest pod template.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub updated_replicas: i32,

    /// Replicas that have been ready for long enough to count on.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub available_replicas: i32,

    /// Pods that are stopping and finish their requests.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub draining_replicas: i32,

    /// Ready replicas of those wanted, for people: `2/2`.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub ready: String,

    /// The label selector of the pods, as text, for the scale subresource.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub selector: String,

    /// The algorithm by which requests are balanced: the spec's, else `Adaptive`.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub algorithm: String,

    /// Endpoints as the proxies are told of them.
    #[serde(default)]
    pub endpoints: EndpointCounts,

    /// Proxies of the app, as the operator sees them.
    #[serde(default)]
    pub proxies: ProxyCounts,

    /// `Ready` sums up the others: `Available` (enough replicas serve), `Progressing` (a change is under way), `Degraded`
    /// (something is wrong, and what), `ConfigSynced` (all proxies have the newest configuration).
    #[serde(default)]
    #[schemars(schema_with = "embedded::conditions")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// Endpoints as the proxies are told of them.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointCounts {
    /// Endpoints that get requests.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub ready: i32,

    /// Endpoints that finish what they have.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub draining: i32,
}

/// Proxies of an app.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyCounts {
    /// Proxies with a stream to the operator.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub connected: i32,

    /// Connected proxies that have accepted the newest configuration.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub synced: i32,

    /// Image of the proxy in the pods made from the newest pod template.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub image: String,
}
