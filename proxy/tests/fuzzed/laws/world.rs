//! Resources that requests are routed by, and what must hold of any set of them. No law of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use tenbin_balance::Time;
use tenbin_model::{
    Cluster, Endpoint, EndpointId, EndpointSet, Kind, Listener, Resource, ResourceName, Route, RouteTable, Target,
    Update, VirtualHost,
};
use tenbin_proxy::state::{self, Bootstrap, Snapshot};

pub(crate) const WEB: &str = "shop/hello/web";

pub(crate) fn name(text: &str) -> ResourceName {
    ResourceName::parse("name", text).expect("a name")
}

/// Domains, and routes from prefixes to clusters.
pub(crate) type Host<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

/// All that `listener` needs to serve by `hosts`.
pub(crate) fn serving(listener: Listener, hosts: &[Host<'_>]) -> Vec<Resource> {
    let clusters: BTreeSet<&str> = hosts.iter().flat_map(|host| host.1).map(|route| route.1).collect();
    let host = |&(domains, routes): &Host<'_>| VirtualHost {
        name: domains.join("+"),
        domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
        routes: routes
            .iter()
            .map(|&(prefix, cluster)| Route::new(prefix, name(cluster)))
            .collect(),
    };
    let table = RouteTable {
        name: listener.target.name().clone(),
        hosts: hosts.iter().map(host).collect(),
    };
    let mut all = vec![Resource::Listener(listener), Resource::Routes(table)];
    for (cluster, last) in clusters.into_iter().zip(1..) {
        let id = EndpointId::parse("id", &format!("uid-{cluster}")).expect("an identity");
        all.push(Resource::Cluster(Cluster::new(name(cluster))));
        all.push(Resource::Endpoints(EndpointSet {
            cluster: name(cluster),
            endpoints: vec![Endpoint::new(id, ([10, 1, 0, last], 8080).into())],
        }));
    }
    all
}

pub(crate) fn listener() -> Listener {
    Listener::new(name(WEB), ([0, 0, 0, 0], 15080).into(), name(WEB))
}

/// The snapshot after `update`, of a proxy that began with its listeners.
pub(crate) fn snapshot(update: Update) -> Snapshot {
    let before = Snapshot::bootstrap(Bootstrap::from_update(&update), 1);
    next(&before, update)
}

pub(crate) fn next(before: &Snapshot, update: Update) -> Snapshot {
    Snapshot::next(before, update, Time::default(), 1)
}

pub(crate) fn update(set: Vec<Resource>) -> Update {
    Update {
        set,
        removed: Vec::new(),
    }
}

/// A listener that trusts 10.0.0.0/8, with routes that overlap.
pub(crate) fn web() -> &'static Arc<state::Listener> {
    static WEB: OnceLock<Snapshot> = OnceLock::new();
    let web = WEB.get_or_init(|| {
        let listener = Listener {
            trusted_hops: vec!["10.0.0.0/8".parse().expect("a network")],
            forwarded: true,
            ..listener()
        };
        let paths = [
            ("/admin", "admin"),
            ("/a/b/", "deep"),
            ("/a", "a"),
            ("/api/", "api"),
            ("/p;q/", "api"),
            ("/r//s", "deep"),
            ("/", "rest"),
        ];
        snapshot(update(serving(
            listener,
            &[
                (&["a.example", "[::1]"], &paths),
                (&["*"], &[("/only", "only"), ("/admin/x", "admin")]),
            ],
        )))
    });
    web.listener_at(0)
}

/// Resources in use, by kind and name.
pub(crate) type InUse = BTreeMap<(Kind, ResourceName), Resource>;

/// Applies `update`, which says nothing that is not so.
pub(crate) fn apply(used: &mut InUse, update: &Update) {
    let mut told = BTreeSet::new();
    for (kind, name) in &update.removed {
        assert!(told.insert((*kind, name.clone())), "{name} twice");
        assert!(
            used.remove(&(*kind, name.clone())).is_some(),
            "{name} is taken away and was not there"
        );
    }
    for resource in &update.set {
        let key = (resource.kind(), resource.name().clone());
        assert!(told.insert(key.clone()), "{key:?} twice");
        let before = used.insert(key, resource.clone());
        assert_ne!(before.as_ref(), Some(resource), "no change");
    }
}

/// Every listener has its table or cluster, every route its cluster.
pub(crate) fn references_hold(used: &InUse) {
    for resource in used.values() {
        match resource {
            Resource::Listener(listener) => {
                let kind = match listener.target {
                    Target::Http(_) => Kind::Routes,
                    Target::Tcp(_) => Kind::Cluster,
                };
                let target = (kind, listener.target.name().clone());
                assert!(used.contains_key(&target), "{target:?} of {}", listener.name);
            }
            Resource::Routes(table) => {
                for route in table.hosts.iter().flat_map(|host| &host.routes) {
                    let cluster = (Kind::Cluster, route.cluster.clone());
                    assert!(used.contains_key(&cluster), "{cluster:?} of {}", table.name);
                }
            }
            Resource::Keys(_) | Resource::Certificate(_) | Resource::Cluster(_) | Resource::Endpoints(_) => {}
        }
    }
}

/// Nothing is there that nothing names.
pub(crate) fn nothing_else(used: &InUse, roots: &[ResourceName]) {
    let mut named: BTreeSet<(Kind, ResourceName)> = roots.iter().map(|root| (Kind::Listener, root.clone())).collect();
    for resource in used.values() {
        match resource {
            Resource::Listener(listener) => {
                let target = listener.target.name().clone();
                match listener.target {
                    Target::Http(_) => drop(named.insert((Kind::Routes, target))),
                    Target::Tcp(_) => {
                        named.extend([(Kind::Cluster, target.clone()), (Kind::Endpoints, target)]);
                    }
                }
                named.extend(
                    listener
                        .certificates()
                        .iter()
                        .map(|secret| (Kind::Secret, secret.clone())),
                );
            }
            Resource::Routes(table) => {
                for route in table.hosts.iter().flat_map(|host| &host.routes) {
                    let cluster = route.cluster.clone();
                    named.extend([(Kind::Cluster, cluster.clone()), (Kind::Endpoints, cluster)]);
                }
            }
            Resource::Cluster(cluster) => named.extend(cluster.keys().map(|keys| (Kind::Secret, keys.clone()))),
            Resource::Keys(_) | Resource::Certificate(_) | Resource::Endpoints(_) => {}
        }
    }
    for key in used.keys() {
        assert!(named.contains(key), "{key:?} is named by nothing");
    }
}
