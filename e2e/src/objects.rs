//! Reading Kubernetes objects: the few questions that many tests ask.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::Deserialize;

/// A condition of a `BalancedApp`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Available`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// In CamelCase.
    pub reason: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// The generation it was judged from.
    #[serde(default)]
    pub observed_generation: i64,
    /// When the status changed.
    pub last_transition_time: String,
}

/// Whether the pod is Ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// The pod's address; empty while it has none.
pub fn pod_ip(pod: &Pod) -> String {
    let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone());
    ip.unwrap_or_default()
}

/// How often the container of that name was restarted; `None` while the pod does not know it.
pub fn restarts(pod: &Pod, container: &str) -> Option<i32> {
    let status = pod.status.as_ref()?;
    let mut all = [&status.container_statuses, &status.init_container_statuses]
        .into_iter()
        .flatten()
        .flatten();
    all.find(|c: &&ContainerStatus| c.name == container)
        .map(|c| c.restart_count)
}
