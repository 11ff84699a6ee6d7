//! Stage 2: what the API server said, as far as somebody reads it. One table per kind, and the ways from an event to its app
//! and from an app to what belongs to it, so that a change costs what that app costs. No decisions, no IO.
//!
//! A watch of one namespace relists that namespace alone: every event comes with the scope of its watch.

mod prune;
mod rows;
mod table;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PartialObjectMeta;
use kube::runtime::watcher::Event;
use tenbin_crds::BalancedApp;

use crate::fleet;
use crate::key::AppKey;
use crate::owners;
pub use prune::Prune;
use rows::{Kept, Meta, NodeRow, ReplicaSetRow, SliceRow};
pub use rows::{KeysRow, PodRow, SliceEndpoint, WEIGHT};
use table::{Change, Name, Row, Table};

/// An event of one of the watches.
#[expect(clippy::large_enum_variant, reason = "moved once, from its watch to its table")]
pub enum Watched {
    /// BalancedApps.
    App(Event<BalancedApp>),
    /// Deployments.
    Deployment(Event<Deployment>),
    /// Services.
    Service(Event<Service>),
    /// Disruption budgets.
    Budget(Event<PodDisruptionBudget>),
    /// ConfigMaps.
    ConfigMap(Event<ConfigMap>),
    /// Accepted specs.
    Revision(Event<ControllerRevision>),
    /// ReplicaSets: the link from pod to Deployment.
    ReplicaSet(Event<PartialObjectMeta<ReplicaSet>>),
    /// Pods.
    Pod(Event<Pod>),
    /// EndpointSlices.
    Slice(Event<EndpointSlice>),
    /// Nodes that give their pods a weight.
    Node(Event<PartialObjectMeta<Node>>),
    /// Secrets with session keys, in the operator's own namespace.
    Keys(Event<Secret>),
}

/// Its kind alone: an object may hold secrets.
impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Watched::App(_) => "App",
            Watched::Deployment(_) => "Deployment",
            Watched::Service(_) => "Service",
            Watched::Budget(_) => "Budget",
            Watched::ConfigMap(_) => "ConfigMap",
            Watched::Revision(_) => "Revision",
            Watched::ReplicaSet(_) => "ReplicaSet",
            Watched::Pod(_) => "Pod",
            Watched::Slice(_) => "Slice",
            Watched::Node(_) => "Node",
            Watched::Keys(_) => "Keys",
        })
    }
}

/// A kind of child that the operator applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// ConfigMap.
    ConfigMap,
    /// Service.
    Service,
    /// PodDisruptionBudget.
    Budget,
    /// Deployment.
    Deployment,
}

/// Everything watched.
#[derive(Debug)]
pub struct Tables {
    apps: Table<Kept<BalancedApp>>,
    deployments: Table<Kept<Deployment>>,
    services: Table<Meta<Service>>,
    budgets: Table<Meta<PodDisruptionBudget>>,
    config_maps: Table<Meta<ConfigMap>>,
    revisions: Table<Kept<ControllerRevision>>,
    replica_sets: Table<ReplicaSetRow>,
    pods: Table<PodRow>,
    slices: Table<SliceRow>,
    nodes: Table<NodeRow>,
    keys: Table<KeysRow>,
}

impl Default for Tables {
    fn default() -> Self {
        Tables::new(&[])
    }
}

impl Tables {
    /// Empty tables for a watch of each of `namespaces`, or one of all where there is none. Nodes and session keys have one watch
    /// each, whose scope is `None`.
    pub fn new(namespaces: &[String]) -> Self {
        Tables {
            apps: Table::new(namespaces),
            deployments: Table::new(namespaces),
            services: Table::new(namespaces),
            budgets: Table::new(namespaces),
            config_maps: Table::new(namespaces),
            revisions: Table::new(namespaces),
            replica_sets: Table::new(namespaces),
            pods: Table::new(namespaces),
            slices: Table::new(namespaces),
            nodes: Table::new(&[]),
            keys: Table::new(&[]),
        }
    }

    /// Takes an event of the watch of `scope` (a namespace, or `None` for the watch of all) and tells whose app it is about. A
    /// relist changes nothing before its end, and then only what differs. Events of a scope not announced have no effect.
    pub fn apply(&mut self, scope: Option<&str>, watched: Watched) -> BTreeSet<AppKey> {
        match watched {
            Watched::App(event) => {
                let changes = self.apps.take(scope, event);
                changes.iter().map(|change| key_of(&change.name)).collect()
            }
            Watched::Deployment(event) => {
                let changes = self.deployments.take(scope, event);
                self.apps_of_children(&self.deployments, &changes, "")
            }
            Watched::Service(event) => {
                let changes = self.services.take(scope, event);
                self.apps_of_children(&self.services, &changes, "")
            }
            Watched::Budget(event) => {
                let changes = self.budgets.take(scope, event);
                self.apps_of_children(&self.budgets, &changes, "")
            }
            Watched::ConfigMap(event) => {
                let changes = self.config_maps.take(scope, event);
                self.apps_of_children(&self.config_maps, &changes, fleet::CONFIG_MAP_SUFFIX)
            }
            Watched::Revision(event) => {
                let changes = self.revisions.take(scope, event);
                dirty(&self.revisions, &changes, |row| self.app_of_uid(row.group()?))
            }
            Watched::ReplicaSet(event) => {
                let changes = self.replica_sets.take(scope, event);
                dirty(&self.replica_sets, &changes, |row| self.app_of_deployment(row.group()?))
            }
            Watched::Pod(event) => {
                let changes = self.pods.take(scope, event);
                let mut apps = dirty(&self.pods, &changes, |row| self.app_of_replica_set(row.group()?));
                apps.extend(self.claimed(&changes));
                apps
            }
            Watched::Slice(event) => {
                let changes = self.slices.take(scope, event);
                dirty(&self.slices, &changes, |row| {
                    let (namespace, name) = row.group()?.split_once('/')?;
                    self.apps.get(namespace, name).map(|_| AppKey::new(namespace, name))
                })
            }
            Watched::Node(event) => {
                let changes = self.nodes.take(scope, event);
                let names: BTreeSet<&str> = changes.iter().map(|change| &*change.name.name).collect();
                self.apps_on(&names)
            }
            Watched::Keys(event) => {
                let changes = self.keys.take(scope, event);
                dirty(&self.keys, &changes, |row| self.app_of_uid(row.group()?))
            }
        }
    }

    /// Whether every watch has listed once.
    pub fn complete(&self) -> bool {
        self.apps.complete()
            && self.deployments.complete()
            && self.services.complete()
            && self.budgets.complete()
            && self.config_maps.complete()
            && self.revisions.complete()
            && self.replica_sets.complete()
            && self.pods.complete()
            && self.slices.complete()
            && self.nodes.complete()
            && self.keys.complete()
    }

    /// Every BalancedApp there is, in no order.
    pub fn apps(&self) -> impl Iterator<Item = AppKey> + '_ {
        self.apps.names().map(key_of)
    }

    /// A BalancedApp, its last known status included.
    pub fn app(&self, key: &AppKey) -> Option<&Arc<BalancedApp>> {
        self.apps.get(&key.namespace, &key.name).map(|row| &row.object)
    }

    /// The accepted specs that the app controls, newest first.
    pub fn revisions(&self, key: &AppKey) -> Vec<&Arc<ControllerRevision>> {
        let rows = self.uid(key).into_iter().flat_map(|uid| self.revisions.of_group(uid));
        let mut revisions: Vec<_> = rows
            .filter(|(name, _)| *name.namespace == *key.namespace)
            .map(|(_, row)| &row.object)
            .collect();
        // Rows come by name, and the sort is stable.
        revisions.sort_by_key(|revision| std::cmp::Reverse(revision.revision));
        revisions
    }

    /// Metadata of the child of that kind that has the child's name, whoever controls it (see [`owners::controls`]). Only what
    /// carries our label is watched: what is not here may exist nevertheless.
    pub fn child(&self, key: &AppKey, kind: ChildKind) -> Option<&ObjectMeta> {
        let AppKey { namespace, name } = key;
        match kind {
            ChildKind::ConfigMap => self
                .config_maps
                .get(namespace, &fleet::config_map_name(name))
                .map(|r| &r.meta),
            ChildKind::Service => self.services.get(namespace, name).map(|r| &r.meta),
            ChildKind::Budget => self.budgets.get(namespace, name).map(|r| &r.meta),
            ChildKind::Deployment => self.deployments.get(namespace, name).map(|r| &r.object.metadata),
        }
    }

    /// The app's Deployment, pruned (see [`Prune`]); not one of that name that somebody else controls.
    pub fn deployment(&self, key: &AppKey) -> Option<&Deployment> {
        let deployment = &self.deployments.get(&key.namespace, &key.name)?.object;
        owners::controls(self.uid(key)?, &deployment.metadata).then_some(deployment)
    }

    /// Every pod of the app with its name, by owners, sorted by UID.
    pub fn pods(&self, key: &AppKey) -> Vec<(&str, &PodRow)> {
        let here = |name: &Name| *name.namespace == *key.namespace;
        let mut pods: Vec<(&str, &PodRow)> = Vec::new();
        let deployments = self.uid(key).into_iter().flat_map(|uid| self.deployments.of_group(uid));
        for uid in deployments
            .filter(|(name, _)| here(name))
            .filter_map(|(_, row)| row.uid())
        {
            for uid in self.replica_sets.of_group(uid).filter_map(|(_, row)| row.uid()) {
                let of_one = self.pods.of_group(uid).filter(|(name, _)| here(name));
                pods.extend(of_one.map(|(name, row)| (&*name.name, row)));
            }
        }
        pods.sort_by(|(_, a), (_, b)| a.uid.cmp(&b.uid));
        pods
    }

    /// A pod by name, whosever it is.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&PodRow> {
        self.pods.get(namespace, name)
    }

    /// What a node's label says of the weight of its pods; nothing where it has none.
    pub fn node_weight(&self, node: &str) -> Option<&str> {
        self.nodes.get("", node)?.weight.as_deref()
    }

    /// The session keys of the app of that UID.
    pub fn session_keys(&self, app_uid: &str) -> Option<&KeysRow> {
        // One by one the names of Secrets follow from UIDs; of several the first by name counts on every replica.
        self.keys.of_group(app_uid).map(|(_, row)| row).next()
    }

    /// All session keys, whosever, in no order.
    pub fn all_session_keys(&self) -> impl Iterator<Item = &KeysRow> {
        self.keys.rows()
    }

    /// What all slices of the app's Service say, slice by slice in order of their names.
    pub fn slice_endpoints(&self, key: &AppKey) -> Vec<&SliceEndpoint> {
        let group = rows::slices_of(&key.namespace, &key.name);
        self.slices
            .of_group(&group)
            .flat_map(|(_, slice)| &slice.endpoints)
            .collect()
    }

    /// The app whose pod this is, by controller owners and UIDs; `None` for a pod that is not known (yet) with this UID.
    pub fn app_of_pod(&self, namespace: &str, name: &str, uid: &str) -> Option<AppKey> {
        let pod = self.pods.get(namespace, name).filter(|pod| *pod.uid == *uid)?;
        self.app_of_replica_set(pod.group()?)
            .filter(|app| app.namespace == namespace)
    }

    fn uid(&self, key: &AppKey) -> Option<&str> {
        self.app(key)?.metadata.uid.as_deref()
    }

    fn app_of_uid(&self, uid: &str) -> Option<AppKey> {
        self.apps.by_uid(uid).map(|(name, _)| key_of(name))
    }

    fn app_of_deployment(&self, uid: &str) -> Option<AppKey> {
        self.app_of_uid(self.deployments.by_uid(uid)?.1.group()?)
    }

    fn app_of_replica_set(&self, uid: &str) -> Option<AppKey> {
        self.app_of_deployment(self.replica_sets.by_uid(uid)?.1.group()?)
    }

    /// The apps that have pods on these nodes. It looks at every pod: labels of nodes rarely change.
    fn apps_on(&self, nodes: &BTreeSet<&str>) -> BTreeSet<AppKey> {
        if nodes.is_empty() {
            return BTreeSet::new();
        }
        let here = |pod: &&PodRow| pod.node.as_deref().is_some_and(|node| nodes.contains(node));
        let pods = self.pods.rows().filter(here);
        pods.filter_map(|pod| self.app_of_replica_set(pod.group()?)).collect()
    }

    /// Apps that pods name in their label, theirs or not: such a pod may be in the app's slices.
    fn claimed(&self, changes: &[Change<PodRow>]) -> BTreeSet<AppKey> {
        let claim = |change: &Change<PodRow>| {
            let rows = change.old.iter().chain(self.pods.named(&change.name));
            let keys = rows.filter_map(|row| Some(AppKey::new(&*change.name.namespace, row.claim.as_deref()?)));
            keys.filter(|key| self.app(key).is_some()).collect::<Vec<_>>()
        };
        changes.iter().flat_map(claim).collect()
    }

    /// Apps whose children changed: by owner, and by name, since a foreign object of a child's name is in an app's way.
    fn apps_of_children<R: Row>(&self, table: &Table<R>, changes: &[Change<R>], suffix: &str) -> BTreeSet<AppKey> {
        let mut apps = dirty(table, changes, |row| self.app_of_uid(row.group()?));
        for change in changes {
            let Name { namespace, name } = &change.name;
            if let Some(name) = name.strip_suffix(suffix)
                && self.apps.get(namespace, name).is_some()
            {
                apps.insert(AppKey::new(&**namespace, name));
            }
        }
        apps
    }
}

/// The apps of what changed, before and after.
fn dirty<R: Row>(table: &Table<R>, changes: &[Change<R>], app: impl Fn(&R) -> Option<AppKey>) -> BTreeSet<AppKey> {
    let rows = changes.iter().flat_map(|c| c.old.iter().chain(table.named(&c.name)));
    rows.filter_map(app).collect()
}

fn key_of(name: &Name) -> AppKey {
    AppKey::new(&*name.namespace, &*name.name)
}
