//! Make before break, pure: from what was received and what is in use, the newest set of resources in which every reference
//! holds. What is incomplete waits, what is gone stays while something still in use names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use tenbin_model::{FieldError, Kind, Listener, Resource, ResourceName, RouteTable, Target, Update, xds};

use crate::state::Shown;

/// One resource as it came. Its version stays with it, so that none is ever told of another content.
#[derive(PartialEq)]
pub(super) struct Entry {
    pub(super) resource: Resource,
    /// The version that it came with.
    pub(super) version: String,
    /// What it was decoded from: a proxy that can read more of it, if one is to, shall find it all.
    pub(super) wire: Any,
}

/// The wire form may hold secrets and is never shown.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { resource, version, .. } = self;
        write!(f, "{resource:?} at {version:?}")
    }
}

impl Entry {
    /// Judges what came as `name`.
    pub(super) fn judge(kind: Kind, name: &ResourceName, version: String, wire: Any) -> Result<Self, FieldError> {
        let resource = xds::decode(kind, &wire)?;
        if let Resource::Certificate(certificate) = &resource {
            Shown::judge(certificate)?;
        }
        if resource.name() == name {
            Ok(Entry {
                resource,
                version,
                wire,
            })
        } else {
            let accepted = format!("{name}, as it was sent under");
            Err(FieldError::new("name", resource.name(), accepted))
        }
    }
}

/// Resources by kind and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resources([BTreeMap<ResourceName, Arc<Entry>>; Kind::ALL.len()]);

/// What the control plane said of a kind.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The newest good version of each resource.
    pub(super) resources: Resources,
    /// Names that it said do not exist.
    pub(super) absent: [BTreeSet<ResourceName>; Kind::ALL.len()],
}

impl Resources {
    pub(super) fn get(&self, kind: Kind, name: &ResourceName) -> Option<&Arc<Entry>> {
        self.0[kind as usize].get(name)
    }

    /// All of a kind, by name.
    pub(super) fn of(&self, kind: Kind) -> &BTreeMap<ResourceName, Arc<Entry>> {
        &self.0[kind as usize]
    }

    /// Gives the one that had its kind and name before.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let (kind, name) = (entry.resource.kind(), entry.resource.name().clone());
        self.0[kind as usize].insert(name, entry)
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &ResourceName) {
        self.0[kind as usize].remove(name);
    }

    pub(super) fn retain(&mut self, kind: Kind, wanted: &BTreeSet<ResourceName>) {
        self.0[kind as usize].retain(|name, _| wanted.contains(name));
    }

    /// A listener by name.
    fn listener(&self, name: &ResourceName) -> Option<&Listener> {
        match self.get(Kind::Listener, name).map(|entry| &entry.resource) {
            Some(Resource::Listener(listener)) => Some(listener),
            _ => None,
        }
    }

    /// The certificates that listeners name.
    fn certificates(&self) -> impl Iterator<Item = &ResourceName> {
        let listeners = self.of(Kind::Listener).keys().filter_map(|name| self.listener(name));
        listeners.flat_map(Listener::certificates)
    }

    /// The clusters that a route table names; each as often as it does.
    fn clusters_of(&self, table: &ResourceName) -> impl Iterator<Item = &ResourceName> {
        let table = match self.get(Kind::Routes, table).map(|entry| &entry.resource) {
            Some(Resource::Routes(table)) => Some(table),
            _ => None,
        };
        table.into_iter().flat_map(named)
    }

    /// The keys that a cluster names.
    fn keys_of(&self, cluster: &ResourceName) -> Option<&ResourceName> {
        match self.get(Kind::Cluster, cluster).map(|entry| &entry.resource) {
            Some(Resource::Cluster(cluster)) => cluster.keys(),
            _ => None,
        }
    }

    /// The update that leads from `self` to `next`.
    pub(super) fn update_to(&self, next: &Resources) -> Update {
        let mut update = Update::default();
        for kind in Kind::ALL {
            let (before, after) = (&self.0[kind as usize], &next.0[kind as usize]);
            let same = |before: &Arc<Entry>, after: &Entry| before.resource == after.resource;
            let changed = after
                .iter()
                .filter(|(name, entry)| !before.get(*name).is_some_and(|before| same(before, entry)));
            update.set.extend(changed.map(|(_, entry)| entry.resource.clone()));
            let gone = before.keys().filter(|name| !after.contains_key(*name));
            update.removed.extend(gone.map(|name| (kind, name.clone())));
        }
        update
    }
}

fn named(table: &RouteTable) -> impl Iterator<Item = &ResourceName> {
    let routes = table.hosts.iter().flat_map(|host| &host.routes);
    routes.map(|route| &route.cluster)
}

/// The names to subscribe to, kind by kind: what follows from `roots` by the references of what was received and of what is
/// in use.
pub(super) fn wanted(
    roots: &[ResourceName],
    received: &Received,
    used: &Resources,
) -> [BTreeSet<ResourceName>; Kind::ALL.len()] {
    let both = [&received.resources, used];
    let listeners: Vec<&Listener> = roots
        .iter()
        .flat_map(|root| both.into_iter().filter_map(|r| r.listener(root)))
        .collect();
    let (mut tables, mut clusters) = (BTreeSet::new(), BTreeSet::new());
    for listener in &listeners {
        match &listener.target {
            Target::Http(table) => tables.insert(table.clone()),
            Target::Tcp(cluster) => clusters.insert(cluster.clone()),
        };
    }
    let of_tables = tables
        .iter()
        .flat_map(|table| both.into_iter().flat_map(|r| r.clusters_of(table)));
    clusters.extend(of_tables.cloned());
    let keys = clusters
        .iter()
        .flat_map(|cluster| both.into_iter().filter_map(|r| r.keys_of(cluster)));
    let certificates = listeners.iter().flat_map(|listener| listener.certificates());
    let secrets: BTreeSet<ResourceName> = keys.chain(certificates).cloned().collect();
    let mut wanted: [BTreeSet<ResourceName>; Kind::ALL.len()] = Default::default();
    wanted[Kind::Listener as usize] = roots.iter().cloned().collect();
    wanted[Kind::Routes as usize] = tables;
    wanted[Kind::Endpoints as usize].clone_from(&clusters);
    wanted[Kind::Cluster as usize] = clusters;
    wanted[Kind::Secret as usize] = secrets;
    wanted
}

/// The newest whole set: every listener's table or cluster and every route's cluster is in it, with the certificates, endpoints and keys
/// that they name, or the knowledge that there are none.
pub(super) fn newest(roots: &[ResourceName], received: &Received, used: &Resources) -> Resources {
    let mut choice = Choice {
        received,
        used,
        next: Resources::default(),
    };
    for root in roots {
        choice.listener(root);
    }
    choice.next
}

/// Whether `resources` can be in use as they are: every reference from `roots` on holds, and there is nothing else.
pub(super) fn is_whole(roots: &[ResourceName], resources: &Resources) -> bool {
    let mut received = Received {
        resources: resources.clone(),
        ..Received::default()
    };
    // A cluster may be in use without endpoints and without keys, a listener without its certificates.
    let clusters = resources.of(Kind::Cluster).keys();
    let keys = clusters.clone().filter_map(|name| resources.keys_of(name));
    received.absent[Kind::Secret as usize] = keys.chain(resources.certificates()).cloned().collect();
    received.absent[Kind::Endpoints as usize] = clusters.cloned().collect();
    newest(roots, &received, &Resources::default()) == *resources
}

struct Choice<'a> {
    received: &'a Received,
    used: &'a Resources,
    next: Resources,
}

impl Choice<'_> {
    /// The newest listener that can serve; else the one in use, unless it is gone: nothing names a listener.
    fn listener(&mut self, name: &ResourceName) {
        if self.received.absent[Kind::Listener as usize].contains(name) {
            return;
        }
        for from in [&self.received.resources, self.used] {
            let Some(listener) = from.listener(name) else { continue };
            let certified = listener.certificates().iter().all(|secret| self.has_secret(secret));
            if certified && self.target(&listener.target) {
                let certificates = listener.certificates().iter();
                let secrets = certificates.filter_map(|secret| self.newest(Kind::Secret, secret));
                let parts: Vec<Arc<Entry>> = secrets.chain(from.get(Kind::Listener, name)).cloned().collect();
                for part in parts {
                    self.next.insert(part);
                }
                return;
            }
        }
    }

    /// Takes what a listener's requests or connections go to; false if it can't be had.
    fn target(&mut self, target: &Target) -> bool {
        match target {
            Target::Http(table) => self.table(table),
            Target::Tcp(cluster) => {
                let here = self.has_cluster(cluster);
                if here {
                    self.cluster(cluster);
                }
                here
            }
        }
    }

    /// Takes the newest table whose clusters can all be had; false if there is none.
    fn table(&mut self, name: &ResourceName) -> bool {
        for from in [&self.received.resources, self.used] {
            let Some(table) = from.get(Kind::Routes, name) else {
                continue;
            };
            if from.clusters_of(name).all(|cluster| self.has_cluster(cluster)) {
                let clusters: Vec<ResourceName> = from.clusters_of(name).cloned().collect();
                self.next.insert(Arc::clone(table));
                for cluster in &clusters {
                    self.cluster(cluster);
                }
                return true;
            }
        }
        false
    }

    /// It is in use, or has come with its endpoints and keys.
    fn has_cluster(&self, name: &ResourceName) -> bool {
        let arrived = self.has_come(name) && self.is_settled(Kind::Endpoints, name);
        arrived || self.used.get(Kind::Cluster, name).is_some()
    }

    /// The newest version of a cluster can be used: what seals its session cookies is here, or known not to be.
    fn has_come(&self, name: &ResourceName) -> bool {
        let received = &self.received.resources;
        let keys = received.keys_of(name);
        received.get(Kind::Cluster, name).is_some() && keys.is_none_or(|keys| self.has_secret(keys))
    }

    /// A secret is here, or known not to be.
    fn has_secret(&self, name: &ResourceName) -> bool {
        self.is_settled(Kind::Secret, name) || self.used.get(Kind::Secret, name).is_some()
    }

    /// It has come, or there is none.
    fn is_settled(&self, kind: Kind, name: &ResourceName) -> bool {
        self.received.resources.get(kind, name).is_some() || self.received.absent[kind as usize].contains(name)
    }

    /// The newest version of a cluster that can be used, with the newest endpoints and keys.
    fn cluster(&mut self, name: &ResourceName) {
        let from = match self.has_come(name) {
            true => &self.received.resources,
            false => self.used,
        };
        let mut parts = vec![from.get(Kind::Cluster, name), self.newest(Kind::Endpoints, name)];
        parts.extend(from.keys_of(name).map(|keys| self.newest(Kind::Secret, keys)));
        let parts: Vec<Arc<Entry>> = parts.into_iter().flatten().cloned().collect();
        for part in parts {
            self.next.insert(part);
        }
    }

    /// What came last; else what is in use.
    fn newest(&self, kind: Kind, name: &ResourceName) -> Option<&Arc<Entry>> {
        let received = self.received.resources.get(kind, name);
        received.or_else(|| self.used.get(kind, name))
    }
}
