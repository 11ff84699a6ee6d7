//! What one app's proxies shall have: its resources by kind and name, each encoded once and versioned by its content.
//! Pure: no clock, no IO. Nothing here knows who has received what; that is the session's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use sha2::{Digest, Sha256};
use tenbin_model::{Kind, Resource, ResourceName, Target, xds};

/// The version of a resource: a hash of its wire form, so that every operator replica gives the same content the same version
/// and a proxy that moves between them is sent nothing anew.
pub type Version = Arc<str>;

/// The resources of one app. Cheap to share, never changed.
#[derive(Debug, Default)]
pub struct AppSnapshot {
    generation: i64,
    kinds: [BTreeMap<ResourceName, Entry>; Kind::ALL.len()],
}

/// One resource, ready to be sent. Its wire form may hold secrets and is never shown.
pub struct Entry {
    /// Version of the content.
    pub version: Version,
    /// The wire form.
    pub any: Any,
    /// What it names: of a listener its route table or its cluster, and its certificates; of a route table its clusters; of a cluster the
    /// keys of its session cookies; else nothing.
    pub names: Vec<(Kind, ResourceName)>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({})", self.version)
    }
}

impl Entry {
    /// What it names of a kind. Endpoints are named with their cluster.
    pub fn named(&self, kind: Kind) -> impl Iterator<Item = &ResourceName> {
        let kind = if kind == Kind::Endpoints { Kind::Cluster } else { kind };
        self.names
            .iter()
            .filter(move |(of, _)| *of == kind)
            .map(|(_, name)| name)
    }
}

impl AppSnapshot {
    /// Encodes and versions `resources`, which follow from the app's spec of this `metadata.generation`. Of two with the same kind and name
    /// the last counts.
    pub fn new(generation: i64, resources: Vec<Resource>) -> Self {
        let mut snapshot = AppSnapshot {
            generation,
            ..AppSnapshot::default()
        };
        for resource in resources {
            let any = xds::encode(&resource);
            let entry = Entry {
                version: version(&any.value),
                any,
                names: names(&resource),
            };
            snapshot.kinds[resource.kind() as usize].insert(resource.name().clone(), entry);
        }
        snapshot
    }

    /// The `metadata.generation` of the spec that it follows from.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// The resource of this kind and name.
    pub fn get(&self, kind: Kind, name: &ResourceName) -> Option<&Entry> {
        self.of(kind).get(name)
    }

    /// All resources of a kind, by name.
    pub fn of(&self, kind: Kind) -> &BTreeMap<ResourceName, Entry> {
        &self.kinds[kind as usize]
    }
}

/// 16 hexadecimal digits: within one name, two contents out of 2^32 would be needed for an even chance of a collision.
fn version(bytes: &[u8]) -> Version {
    let mut text = String::with_capacity(16);
    for byte in &Sha256::digest(bytes)[..8] {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

fn names(resource: &Resource) -> Vec<(Kind, ResourceName)> {
    match resource {
        Resource::Listener(listener) => {
            let target = match &listener.target {
                Target::Http(routes) => (Kind::Routes, routes.clone()),
                Target::Tcp(cluster) => (Kind::Cluster, cluster.clone()),
            };
            let certificates = listener.certificates().iter().map(|name| (Kind::Secret, name.clone()));
            [target].into_iter().chain(certificates).collect()
        }
        Resource::Routes(table) => {
            let routes = table.hosts.iter().flat_map(|host| &host.routes);
            let clusters: BTreeSet<&ResourceName> = routes.map(|route| &route.cluster).collect();
            clusters.into_iter().map(|name| (Kind::Cluster, name.clone())).collect()
        }
        Resource::Cluster(cluster) => cluster
            .keys()
            .map(|name| (Kind::Secret, name.clone()))
            .into_iter()
            .collect(),
        Resource::Keys(_) | Resource::Certificate(_) | Resource::Endpoints(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenbin_model::{Balancing, Cluster, Policy};

    use super::*;

    fn cluster(name: &str, seconds: u64) -> Resource {
        Resource::Cluster(Cluster {
            balancing: Balancing {
                policy: Policy::RoundRobin,
                ..Balancing::default()
            },
            connect_timeout: Duration::from_secs(seconds),
            ..Cluster::new(ResourceName::parse("name", name).unwrap())
        })
    }

    #[test]
    fn a_version_follows_from_the_content_alone() {
        let name = ResourceName::parse("name", "a/b/c").unwrap();
        let version = |seconds| {
            let snapshot = AppSnapshot::new(1, vec![cluster("other", 9), cluster("a/b/c", seconds)]);
            snapshot.get(Kind::Cluster, &name).unwrap().version.clone()
        };
        assert_eq!(version(1), version(1));
        assert_ne!(version(1), version(2));
        assert_eq!(version(1).len(), 16);
    }

    #[test]
    fn a_version_stays_the_same_between_releases() {
        // A change of this value sends every resource of every app anew on an upgrade: only ever on purpose.
        let snapshot = AppSnapshot::new(1, vec![cluster("a/b/c", 1)]);
        let versions: Vec<&str> = snapshot
            .of(Kind::Cluster)
            .values()
            .map(|entry| &*entry.version)
            .collect();
        assert_eq!(versions, ["7cc4459d83cc01ec"]);
    }
}
