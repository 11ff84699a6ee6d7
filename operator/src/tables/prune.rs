//! What nobody reads of each kind, so that no watch queues or keeps it. What is added to a row must be kept here.

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, ContainerState, ContainerStatus, Node, Pod, PodSpec, PodStatus, Secret, Service,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PartialObjectMeta;
use tenbin_crds::{APP_LABEL, BalancedApp};

use super::WEIGHT;
use crate::fleet;

/// Drops what nobody reads: a watch calls it before an object is queued.
pub trait Prune {
    /// Drops what nobody reads. Idempotent.
    fn prune(&mut self);
}

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn metadata(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
        if annotations.is_empty() {
            meta.annotations = None;
        }
    }
}

/// Identity and owners alone.
fn links(meta: &mut ObjectMeta) {
    *meta = ObjectMeta {
        name: meta.name.take(),
        namespace: meta.namespace.take(),
        uid: meta.uid.take(),
        owner_references: meta.owner_references.take(),
        deletion_timestamp: meta.deletion_timestamp.take(),
        ..ObjectMeta::default()
    };
}

impl Prune for BalancedApp {
    fn prune(&mut self) {
        metadata(&mut self.metadata);
    }
}

impl Prune for Deployment {
    /// Metadata, `spec.replicas`, and of the status counts and conditions. A change of the rest shows in `metadata.generation`.
    fn prune(&mut self) {
        metadata(&mut self.metadata);
        if let Some(spec) = &mut self.spec {
            let replicas = spec.replicas;
            *spec = k8s_openapi::api::apps::v1::DeploymentSpec {
                replicas,
                ..Default::default()
            };
        }
        if let Some(status) = &mut self.status {
            *status = DeploymentStatus {
                available_replicas: status.available_replicas,
                conditions: status.conditions.take(),
                observed_generation: status.observed_generation,
                replicas: status.replicas,
                updated_replicas: status.updated_replicas,
                ..DeploymentStatus::default()
            };
            for condition in status.conditions.iter_mut().flatten() {
                condition.last_update_time = None;
            }
        }
    }
}

impl Prune for Service {
    /// Metadata; a change of the rest shows in `metadata.resourceVersion`.
    fn prune(&mut self) {
        metadata(&mut self.metadata);
        self.spec = None;
        self.status = None;
    }
}

impl Prune for PodDisruptionBudget {
    /// Metadata; a change of the spec shows in `metadata.generation`.
    fn prune(&mut self) {
        metadata(&mut self.metadata);
        self.spec = None;
        self.status = None;
    }
}

impl Prune for ConfigMap {
    /// Metadata; a change of the rest shows in `metadata.resourceVersion`.
    fn prune(&mut self) {
        metadata(&mut self.metadata);
        self.data = None;
        self.binary_data = None;
    }
}

impl Prune for ControllerRevision {
    /// All of it, the pod template as text.
    fn prune(&mut self) {
        metadata(&mut self.metadata);
        fleet::pack(self);
    }
}

impl Prune for PartialObjectMeta<ReplicaSet> {
    fn prune(&mut self) {
        links(&mut self.metadata);
    }
}

impl Prune for Pod {
    /// Identity, our label, our weight, owners, its node, the ports of its containers, and of the status addresses, conditions, phase and why containers
    /// wait.
    fn prune(&mut self) {
        let labels = self.metadata.labels.take();
        let ours = labels.and_then(|mut labels| labels.remove_entry(APP_LABEL));
        let annotations = self.metadata.annotations.take();
        let weight = annotations.and_then(|mut annotations| annotations.remove_entry(WEIGHT));
        links(&mut self.metadata);
        self.metadata.labels = ours.map(|label| [label].into());
        self.metadata.annotations = weight.map(|annotation| [annotation].into());
        if let Some(spec) = &mut self.spec {
            let containers = std::mem::take(&mut spec.containers);
            let ports = |c: Container| Container {
                name: c.name,
                ports: c.ports,
                ..Container::default()
            };
            *spec = PodSpec {
                containers: containers.into_iter().map(ports).collect(),
                node_name: spec.node_name.take(),
                ..PodSpec::default()
            };
        }
        if let Some(status) = &mut self.status {
            let waiting = |all: Option<Vec<ContainerStatus>>| all.map(|all| all.into_iter().map(waiting).collect());
            *status = PodStatus {
                conditions: status.conditions.take(),
                phase: status.phase.take(),
                pod_ip: status.pod_ip.take(),
                pod_ips: status.pod_ips.take(),
                init_container_statuses: waiting(status.init_container_statuses.take()),
                container_statuses: waiting(status.container_statuses.take()),
                ..PodStatus::default()
            };
        }
    }
}

fn waiting(status: ContainerStatus) -> ContainerStatus {
    ContainerStatus {
        name: status.name,
        image: status.image,
        state: status.state.map(|state| ContainerState {
            waiting: state.waiting,
            ..ContainerState::default()
        }),
        ..ContainerStatus::default()
    }
}

impl Prune for PartialObjectMeta<Node> {
    /// Name and our weight.
    fn prune(&mut self) {
        let labels = self.metadata.labels.take();
        let weight = labels.and_then(|mut labels| labels.remove_entry(WEIGHT));
        links(&mut self.metadata);
        self.metadata.labels = weight.map(|label| [label].into());
    }
}

impl Prune for Secret {
    /// Identity, version, annotations and content.
    fn prune(&mut self) {
        metadata(&mut self.metadata);
    }
}

impl Prune for EndpointSlice {
    /// Identity, labels, and of the endpoints address, pod, conditions and zones.
    fn prune(&mut self) {
        let labels = self.metadata.labels.take();
        links(&mut self.metadata);
        self.metadata.labels = labels;
        self.ports = None;
        for endpoint in &mut self.endpoints {
            endpoint.addresses.truncate(1);
            *endpoint = Endpoint {
                addresses: std::mem::take(&mut endpoint.addresses),
                conditions: endpoint.conditions.take(),
                target_ref: endpoint.target_ref.take(),
                zone: endpoint.zone.take(),
                hints: endpoint.hints.take(),
                ..Endpoint::default()
            };
        }
    }
}
