//! Reading Kubernetes objects: the few questions that many tests ask.

use std::net::IpAddr;

use anyhow::Context;
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

/// The pod's name; empty while it has none.
pub fn pod_name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

/// The number of the pod's port of that name, of whichever container.
pub fn port_of(pod: &Pod, name: &str) -> Option<u16> {
    let spec = pod.spec.as_ref()?;
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}

/// Where the sidecar of a pod takes requests for the app's port `http`, past the Service: `http://address:port`.
///
/// # Errors
/// The pod has no address or no sidecar.
pub fn sidecar(pod: &Pod) -> anyhow::Result<String> {
    let address: IpAddr = pod_ip(pod).parse().context("the pod has no address")?;
    let port = port_of(pod, "tb-http").context("the pod has no port tb-http")?;
    Ok(format!("http://{}", std::net::SocketAddr::new(address, port)))
}

/// When the pod was told to go, in milliseconds since 1970, rounded down to seconds; `None` while it is not.
pub fn leaving_since_ms(pod: &Pod) -> Option<u64> {
    let by = pod.metadata.deletion_timestamp.as_ref()?.0.as_millisecond();
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default() * 1000;
    u64::try_from(by - grace).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_times_are_read() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "p",
                "deletionTimestamp": "1970-01-01T00:01:00Z",
                "deletionGracePeriodSeconds": 45,
            },
            "spec": {
                "containers": [{ "name": "app", "ports": [{ "name": "http", "containerPort": 8080 }] }],
                "initContainers": [{ "name": "tenbin-proxy", "ports": [{ "name": "tb-http", "containerPort": 15080 }] }],
            },
            "status": { "podIP": "10.0.0.7" },
        }))
        .expect("a pod");
        assert_eq!(sidecar(&pod).ok().as_deref(), Some("http://10.0.0.7:15080"));
        assert_eq!(port_of(&pod, "http"), Some(8080));
        assert_eq!(port_of(&pod, "other"), None);
        assert_eq!(leaving_since_ms(&pod), Some(15_000));
        assert_eq!(leaving_since_ms(&Pod::default()), None);
        assert!(sidecar(&Pod::default()).is_err());
    }
}
