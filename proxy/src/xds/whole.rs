//! Make before break, pure: from what was received and what is in use, the newest set of resources in which every reference
//! holds. What is incomplete waits, what is gone stays while something still in use names it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenbin_model::{Kind, Resource, ResourceName, RouteTable, Update};

/// Resources by kind and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resources([BTreeMap<ResourceName, Arc<Resource>>; Kind::ALL.len()]);

/// What the control plane said of a kind.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The newest good version of each resource.
    pub(super) resources: Resources,
    /// Names that it said do not exist.
    pub(super) absent: [BTreeSet<ResourceName>; Kind::ALL.len()],
}

impl Resources {
    pub(super) fn get(&self, kind: Kind, name: &ResourceName) -> Option<&Arc<Resource>> {
        self.0[kind as usize].get(name)
    }

    pub(super) fn insert(&mut self, resource: Arc<Resource>) {
        self.0[resource.kind() as usize].insert(resource.name().clone(), resource);
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &ResourceName) {
        self.0[kind as usize].remove(name);
    }

    pub(super) fn retain(&mut self, kind: Kind, wanted: &BTreeSet<ResourceName>) {
        self.0[kind as usize].retain(|name, _| wanted.contains(name));
    }

    /// The name of the route table that a listener names.
    fn table_of(&self, listener: &ResourceName) -> Option<&ResourceName> {
        match self.get(Kind::Listener, listener).map(|r| &**r) {
            Some(Resource::Listener(listener)) => Some(&listener.routes),
            _ => None,
        }
    }

    /// The clusters that a route table names; each as often as it does.
    fn clusters_of(&self, table: &ResourceName) -> impl Iterator<Item = &ResourceName> {
        let table = match self.get(Kind::Routes, table).map(|r| &**r) {
            Some(Resource::Routes(table)) => Some(table),
            _ => None,
        };
        table.into_iter().flat_map(named)
    }

    /// The update that leads from `self` to `next`.
    pub(super) fn update_to(&self, next: &Resources) -> Update {
        let mut update = Update::default();
        for kind in Kind::ALL {
            let (before, after) = (&self.0[kind as usize], &next.0[kind as usize]);
            let changed = after
                .iter()
                .filter(|(name, resource)| before.get(*name) != Some(resource));
            update
                .set
                .extend(changed.map(|(_, resource)| Resource::clone(resource)));
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
    let tables = roots
        .iter()
        .flat_map(|root| both.into_iter().filter_map(|r| r.table_of(root)));
    let tables: BTreeSet<ResourceName> = tables.cloned().collect();
    let clusters = tables
        .iter()
        .flat_map(|table| both.into_iter().flat_map(|r| r.clusters_of(table)));
    let clusters: BTreeSet<ResourceName> = clusters.cloned().collect();
    let mut wanted: [BTreeSet<ResourceName>; Kind::ALL.len()] = Default::default();
    wanted[Kind::Listener as usize] = roots.iter().cloned().collect();
    wanted[Kind::Routes as usize] = tables;
    wanted[Kind::Endpoints as usize].clone_from(&clusters);
    wanted[Kind::Cluster as usize] = clusters;
    wanted
}

/// The newest whole set: every listener's table and every route's cluster is in it, with its endpoints or the knowledge that
/// there are none.
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

struct Choice<'a> {
    received: &'a Received,
    used: &'a Resources,
    next: Resources,
}

impl Choice<'_> {
    /// The newest listener whose table can be had; else the one in use, unless it is gone: nothing names a listener.
    fn listener(&mut self, name: &ResourceName) {
        let gone = self.received.absent[Kind::Listener as usize].contains(name);
        for from in [&self.received.resources, self.used] {
            if let Some(table) = from.table_of(name)
                && !gone
                && self.table(table)
            {
                self.next.0[Kind::Listener as usize]
                    .extend(from.get(Kind::Listener, name).map(|l| (name.clone(), l.clone())));
                return;
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

    /// It is in use, or has come with its endpoints.
    fn has_cluster(&self, name: &ResourceName) -> bool {
        let has_endpoints = self.received.resources.get(Kind::Endpoints, name).is_some()
            || self.received.absent[Kind::Endpoints as usize].contains(name);
        let arrived = self.received.resources.get(Kind::Cluster, name).is_some() && has_endpoints;
        arrived || self.used.get(Kind::Cluster, name).is_some()
    }

    fn cluster(&mut self, name: &ResourceName) {
        for kind in [Kind::Cluster, Kind::Endpoints] {
            let newest = self
                .received
                .resources
                .get(kind, name)
                .or_else(|| self.used.get(kind, name));
            self.next.0[kind as usize].extend(newest.map(|resource| (name.clone(), Arc::clone(resource))));
        }
    }
}
