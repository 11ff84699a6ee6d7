//! What is kept of each kind. Pods and slices are many, so that of them only what is read is kept, parsed once.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod, PodStatus, Secret};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PartialObjectMeta;
use kube::{Resource, ResourceExt};
use tenbin_crds::{APP_LABEL, BalancedApp};
use tenbin_model::EndpointState;

use super::Prune;
use super::table::Row;
use crate::fleet::APP_CONTAINER;
use crate::owners;
use crate::sessions::{self, Held};

/// Annotation of a pod, and label of a node for the pods on it: the weight of its endpoints. The pod's own counts first.
pub const WEIGHT: &str = "tenbin.dev/weight";

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRow {
    /// Its UID.
    pub uid: Arc<str>,
    /// Whether it has been told to stop.
    pub deleting: bool,
    /// Whether all its containers have ended for good.
    pub finished: bool,
    /// Its Ready condition.
    pub ready: bool,
    /// Its addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// The named ports of the container `app`: where the app listens.
    pub ports: Vec<(Box<str>, u16)>,
    /// Why it can't run, in few words, where the cluster says so.
    pub trouble: Option<Box<str>>,
    /// What its annotation says of its weight.
    pub weight: Option<Box<str>>,
    /// The node that it runs on.
    pub node: Option<Box<str>>,
    /// The app that its label names: whose slices it may be in, though it need not be that app's.
    pub(super) claim: Option<Box<str>>,
    replica_set: Option<Arc<str>>,
}

impl PodRow {
    /// Whether its label names that app, which says nothing about whose it is.
    pub fn claims(&self, app: &str) -> bool {
        self.claim.as_deref() == Some(app)
    }

    /// Whether it is to run: neither stopping nor at its end.
    pub fn is_active(&self) -> bool {
        !self.deleting && !self.finished
    }

    /// The number of the port of that name.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|(n, _)| **n == *name).map(|(_, number)| *number)
    }
}

impl Row for PodRow {
    type Object = Pod;

    fn from_object(pod: Pod) -> Self {
        let status = pod.status.as_ref();
        PodRow {
            uid: pod.uid().unwrap_or_default().into(),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            finished: status
                .and_then(|s| s.phase.as_deref())
                .is_some_and(|p| p == "Succeeded" || p == "Failed"),
            ready: status.is_some_and(is_ready),
            addresses: status.map(addresses).unwrap_or_default(),
            ports: app_ports(&pod),
            trouble: status.and_then(trouble).map(Into::into),
            weight: pod.annotations().get(WEIGHT).map(|weight| weight.as_str().into()),
            node: pod
                .spec
                .as_ref()
                .and_then(|spec| spec.node_name.as_deref())
                .map(Into::into),
            claim: pod.labels().get(APP_LABEL).map(|app| app.as_str().into()),
            replica_set: owners::controller(&pod.metadata, "apps", "ReplicaSet").map(Into::into),
        }
    }

    fn uid(&self) -> Option<&Arc<str>> {
        Some(&self.uid)
    }

    fn group(&self) -> Option<&Arc<str>> {
        self.replica_set.as_ref()
    }
}

fn is_ready(status: &PodStatus) -> bool {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn addresses(status: &PodStatus) -> Vec<IpAddr> {
    let all = status
        .pod_ips
        .as_deref()
        .unwrap_or_default()
        .iter()
        .map(|ip| ip.ip.as_str());
    let first = status.pod_ip.as_deref().filter(|_| status.pod_ips.is_none());
    first.into_iter().chain(all).filter_map(|ip| ip.parse().ok()).collect()
}

fn app_ports(pod: &Pod) -> Vec<(Box<str>, u16)> {
    let containers = pod.spec.as_ref().map(|s| s.containers.as_slice()).unwrap_or_default();
    let app = containers.iter().find(|c| c.name == APP_CONTAINER);
    let ports = app.and_then(|c| c.ports.as_deref()).unwrap_or_default();
    let named = ports.iter().filter(|p| p.protocol.as_deref().unwrap_or("TCP") == "TCP");
    named
        .filter_map(|p| Some((p.name.as_deref()?.into(), u16::try_from(p.container_port).ok()?)))
        .collect()
}

/// Reasons that belong to any start.
const USUAL: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Why a pod can't run. Words that alternate or count (back-off times) are left out, so that the text stays while the trouble does.
fn trouble(status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let unscheduled = conditions
        .iter()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        let reason = condition.reason.as_deref().unwrap_or("not scheduled");
        let message = condition.message.as_deref().unwrap_or_default();
        return Some(format!("{reason}: {message}").trim_end_matches([':', ' ']).to_owned());
    }
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten())
        .find_map(container_trouble)
}

fn container_trouble(status: &ContainerStatus) -> Option<String> {
    let reason = status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()?;
    let name = &status.name;
    match reason {
        usual if USUAL.contains(&usual) => None,
        "ErrImagePull" | "ImagePullBackOff" => {
            Some(format!("container {name}: image {} can't be pulled", status.image))
        }
        "CrashLoopBackOff" => Some(format!(
            "container {name} keeps failing (CrashLoopBackOff); see its logs"
        )),
        other => Some(format!("container {name}: {other}")),
    }
}

/// A ReplicaSet: a link from pod to Deployment.
#[derive(Debug, PartialEq)]
pub(super) struct ReplicaSetRow {
    uid: Arc<str>,
    deployment: Option<Arc<str>>,
}

impl Row for ReplicaSetRow {
    type Object = PartialObjectMeta<ReplicaSet>;

    fn from_object(object: Self::Object) -> Self {
        ReplicaSetRow {
            uid: object.uid().unwrap_or_default().into(),
            deployment: owners::controller(&object.metadata, "apps", "Deployment").map(Into::into),
        }
    }

    fn uid(&self) -> Option<&Arc<str>> {
        Some(&self.uid)
    }

    fn group(&self) -> Option<&Arc<str>> {
        self.deployment.as_ref()
    }
}

/// An object kept as it is, pruned, with the UIDs of itself and of the BalancedApp that controls it.
#[derive(Debug)]
pub(super) struct Kept<K> {
    pub(super) object: Arc<K>,
    uid: Arc<str>,
    app: Option<Arc<str>>,
}

impl<K: PartialEq> PartialEq for Kept<K> {
    fn eq(&self, other: &Self) -> bool {
        self.object == other.object
    }
}

impl<K: Prune + Resource<DynamicType = ()> + PartialEq> Kept<K> {
    fn new(mut object: K) -> Self {
        object.prune();
        Kept {
            uid: object.meta().uid.as_deref().unwrap_or_default().into(),
            app: owners::app(object.meta()).map(Into::into),
            object: Arc::new(object),
        }
    }
}

macro_rules! kept {
    ($($kind:ty),*) => {$(
        impl Row for Kept<$kind> {
            type Object = $kind;

            fn from_object(object: $kind) -> Self {
                Kept::new(object)
            }

            fn uid(&self) -> Option<&Arc<str>> {
                Some(&self.uid)
            }

            fn group(&self) -> Option<&Arc<str>> {
                self.app.as_ref()
            }
        }
    )*};
}

kept!(BalancedApp, Deployment, ControllerRevision);

/// Of an object, its metadata.
#[derive(Debug)]
pub(super) struct Meta<K> {
    pub(super) meta: ObjectMeta,
    app: Option<Arc<str>>,
    kind: std::marker::PhantomData<K>,
}

impl<K> PartialEq for Meta<K> {
    fn eq(&self, other: &Self) -> bool {
        self.meta == other.meta
    }
}

impl<K: Prune + Resource<DynamicType = ()>> Row for Meta<K> {
    type Object = K;

    fn from_object(mut object: K) -> Self {
        object.prune();
        let meta = std::mem::take(object.meta_mut());
        Meta {
            app: owners::app(&meta).map(Into::into),
            meta,
            kind: std::marker::PhantomData,
        }
    }

    fn uid(&self) -> Option<&Arc<str>> {
        None
    }

    fn group(&self) -> Option<&Arc<str>> {
        self.app.as_ref()
    }
}

/// An EndpointSlice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SliceRow {
    service: Option<Arc<str>>,
    pub(super) endpoints: Vec<SliceEndpoint>,
}

/// An endpoint that takes requests, as a slice has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Name of its pod.
    pub pod: Box<str>,
    /// UID of its pod.
    pub uid: Box<str>,
    /// Its first address; the others are for nobody, says the API.
    pub address: IpAddr,
    /// What may be sent to it.
    pub state: EndpointState,
    /// The zone it is in; empty where none is known.
    pub zone: Box<str>,
    /// The zone whose clients it is meant for, where the slice says.
    pub hint: Option<Box<str>>,
}

/// A node that gives its pods a weight.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NodeRow {
    pub(super) weight: Option<Box<str>>,
}

impl Row for NodeRow {
    type Object = PartialObjectMeta<Node>;

    fn from_object(node: Self::Object) -> Self {
        NodeRow {
            weight: node.labels().get(WEIGHT).map(|weight| weight.as_str().into()),
        }
    }

    fn uid(&self) -> Option<&Arc<str>> {
        None
    }

    fn group(&self) -> Option<&Arc<str>> {
        None
    }
}

/// A Secret with session keys. Its Debug shows none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysRow {
    /// Its name.
    pub name: Box<str>,
    /// Its UID.
    pub uid: Box<str>,
    /// Its `metadata.resourceVersion`: what a write depends on.
    pub version: Box<str>,
    /// Whose keys they are, as `namespace/name`; empty where it does not say.
    pub app: Box<str>,
    /// The keys, or what is wrong with them.
    pub held: Result<Held, String>,
    app_uid: Option<Arc<str>>,
}

impl KeysRow {
    /// The UID of the app whose keys they are; empty where it does not say.
    pub fn app_uid(&self) -> &str {
        self.app_uid.as_deref().unwrap_or_default()
    }
}

impl Row for KeysRow {
    type Object = Secret;

    fn from_object(secret: Secret) -> Self {
        let annotation = |key: &str| secret.annotations().get(key).map(String::as_str);
        let text = secret.data.as_ref().and_then(|data| data.get(sessions::ENTRY));
        let missing = || format!("it has no entry {:?}", sessions::ENTRY);
        KeysRow {
            held: text.ok_or_else(missing).and_then(|text| Held::decode(&text.0)),
            app: annotation(sessions::APP).unwrap_or_default().into(),
            app_uid: annotation(sessions::APP_UID).map(Into::into),
            name: secret.name_any().into(),
            uid: secret.uid().unwrap_or_default().into(),
            version: secret.resource_version().unwrap_or_default().into(),
        }
    }

    fn uid(&self) -> Option<&Arc<str>> {
        None
    }

    fn group(&self) -> Option<&Arc<str>> {
        self.app_uid.as_ref()
    }
}

/// The group of the slices of an app's Service.
pub(super) fn slices_of(namespace: &str, app: &str) -> String {
    format!("{namespace}/{app}")
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";

impl Row for SliceRow {
    type Object = EndpointSlice;

    fn from_object(slice: EndpointSlice) -> Self {
        let namespace = slice.namespace().unwrap_or_default();
        // Not by our label: another Service over the same pods may carry it as well, and tell other states.
        let service = slice.labels().get(SERVICE_NAME);
        let service = service.map(|name| slices_of(&namespace, name).into());
        let endpoints = slice.endpoints.iter();
        let mut endpoints: Vec<SliceEndpoint> = endpoints.filter_map(|e| slice_endpoint(&namespace, e)).collect();
        endpoints.shrink_to_fit();
        SliceRow { service, endpoints }
    }

    fn uid(&self) -> Option<&Arc<str>> {
        None
    }

    fn group(&self) -> Option<&Arc<str>> {
        self.service.as_ref()
    }
}

fn slice_endpoint(namespace: &str, endpoint: &Endpoint) -> Option<SliceEndpoint> {
    let target = endpoint.target_ref.as_ref()?;
    let here = target.namespace.as_deref().is_none_or(|n| n == namespace);
    if target.kind.as_deref() != Some("Pod") || !here {
        return None;
    }
    Some(SliceEndpoint {
        pod: target.name.as_deref()?.into(),
        uid: target.uid.as_deref()?.into(),
        address: endpoint.addresses.first()?.parse().ok()?,
        state: state(endpoint)?,
        zone: endpoint.zone.as_deref().unwrap_or_default().into(),
        hint: hint(endpoint).map(Into::into),
    })
}

/// The first zone of the hints; others are for nobody yet, says the API.
fn hint(endpoint: &Endpoint) -> Option<&str> {
    let zones = endpoint.hints.as_ref()?.for_zones.as_deref()?;
    zones.first().map(|zone| zone.name.as_str())
}

/// What the conditions say; `None` for what serves nothing.
fn state(endpoint: &Endpoint) -> Option<EndpointState> {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    let serving = conditions.serving.unwrap_or(ready);
    match conditions.terminating.unwrap_or(false) {
        true => serving.then_some(EndpointState::Draining),
        false => ready.then_some(EndpointState::Ready),
    }
}
