//! One consistent view of everything received, in the form in which requests use it, made from the one before and an update.
//! Pure: no clock, no IO, randomness from a seed. Whatever can be computed before a request comes is computed here.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tenbin_balance::{Rng, Time};
use tenbin_model::{EndpointSet, Kind, Resource, ResourceName, Route, RouteTable, SessionKeys, Target, Update};

use http::HeaderName;
use tracing::warn;

use super::cluster::{Given, Known};
use super::path::{self, Unclear};
use super::tls::{ServerTls, Shown, Terminator};
use super::{Bootstrap, Cluster, PortStats, Router};
use crate::affinity::TrustedHops;
use crate::serve::error::Failure;

/// What the proxy knows at one moment.
#[derive(Debug)]
pub struct Snapshot {
    bootstrap: Arc<Bootstrap>,
    received: Received,
    clusters: BTreeMap<ResourceName, Arc<Cluster>>,
    known: BTreeMap<ResourceName, Known>,
    listeners: Vec<Arc<Listener>>,
    updates: u64,
}

/// The resources as they came.
#[derive(Clone, Debug, Default)]
struct Received {
    keys: BTreeMap<ResourceName, Arc<SessionKeys>>,
    certificates: BTreeMap<ResourceName, Arc<Shown>>,
    clusters: BTreeMap<ResourceName, Arc<tenbin_model::Cluster>>,
    endpoints: BTreeMap<ResourceName, Arc<EndpointSet>>,
    listeners: BTreeMap<ResourceName, Arc<tenbin_model::Listener>>,
    routes: BTreeMap<ResourceName, (Arc<RouteTable>, Arc<Router>)>,
}

/// A listener as its connections use it.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: ResourceName,
    /// Where it was asked to listen.
    pub address: SocketAddr,
    /// How long a client may take to send a request's headers.
    pub header_timeout: Duration,
    /// How long a client's connection may stay open without a request.
    pub idle_timeout: Duration,
    /// The proxies in front of it that are believed when they say who the client is.
    pub trusted: TrustedHops,
    /// All that was said of it, or the defaults; under the name of its own.
    pub settings: Arc<tenbin_model::Listener>,
    /// TLS with its clients.
    pub tls: ServerTls,
    /// Whether endpoints are told of clients by `Forwarded` too.
    pub forwarded: bool,
    /// The header of responses that names the endpoint's instance.
    pub served_by: Option<HeaderName>,
    /// Its counters: the same in every snapshot.
    pub stats: Arc<PortStats>,
    /// The cluster that its connections go to as they are, where it is not for HTTP.
    tcp: Option<ResourceName>,
    router: Arc<Router>,
    /// The clusters of the router's targets; `None` where one is named but unknown.
    targets: Vec<Option<Arc<Cluster>>>,
}

/// Where a request goes.
#[derive(Debug)]
pub struct Routed {
    /// The cluster that answers.
    pub cluster: Arc<Cluster>,
    /// What its route says.
    pub route: Arc<Route>,
    /// The path that is sent to it, where that is not the client's own.
    pub path: Option<String>,
}

impl Listener {
    /// Whether its connections go to endpoints as they are.
    pub fn is_tcp(&self) -> bool {
        self.tcp.is_some()
    }

    /// Whether what its clients read first is HTTP, in cleartext.
    pub fn is_cleartext_http(&self) -> bool {
        !self.is_tcp() && !self.tls.is_on()
    }

    /// The cluster that its connections go to as they are: by name, since it may be unknown, or another one for the next connection.
    pub fn tcp(&self) -> Option<&ResourceName> {
        self.tcp.as_ref()
    }

    /// The route of a request for `path` (without its query) at `host`.
    ///
    /// # Errors
    /// [`Failure::BadTarget`] for a path that cannot be read, or that leads elsewhere if it is read otherwise, or may; [`Failure::NoRoute`] where
    /// no route matches, [`Failure::NoCluster`] where its cluster is unknown.
    pub fn route(&self, host: &str, path: &str) -> Result<Routed, Failure> {
        let reading = path::read(path).map_err(|Unclear| Failure::BadTarget)?;
        let routes = self.router.at(host);
        let found = routes.route(&reading.sent);
        if !routes.are_one() {
            let others = reading.otherwise().map_err(|Unclear| Failure::BadTarget)?;
            if others.iter().any(|other| routes.route(other) != found) {
                return Err(Failure::BadTarget);
            }
        }
        let found = found.ok_or(Failure::NoRoute)?.clone();
        let cluster = self.targets[found.target].as_ref().ok_or(Failure::NoCluster)?;
        Ok(Routed {
            cluster: Arc::clone(cluster),
            route: found.route,
            path: match reading.sent {
                Cow::Borrowed(_) => None,
                Cow::Owned(path) => Some(path),
            },
        })
    }
}

impl Snapshot {
    /// The snapshot before any update.
    pub fn bootstrap(bootstrap: Bootstrap, seed: u64) -> Self {
        let names: BTreeSet<ResourceName> = bootstrap.ports.iter().map(|port| port.name.clone()).collect();
        let empty = Snapshot {
            bootstrap: Arc::new(bootstrap),
            received: Received::default(),
            clusters: BTreeMap::new(),
            known: BTreeMap::new(),
            listeners: Vec::new(),
            updates: 0,
        };
        empty.rebuild(Received::default(), &names, Time::default(), seed)
    }

    /// The snapshot after `update`, which came `now`. Random choices (where round robin starts) follow from `seed`.
    #[must_use]
    pub fn next(prev: &Snapshot, update: Update, now: Time, seed: u64) -> Self {
        let mut received = prev.received.clone();
        let touched = received.apply(update);
        let mut next = prev.rebuild(received, &touched, now, seed);
        next.updates += 1;
        next
    }

    /// The snapshot of `received`, in which the clusters `touched` are made anew and all others are those of before.
    fn rebuild(&self, received: Received, touched: &BTreeSet<ResourceName>, now: Time, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut clusters = self.clusters.clone();
        let mut known = self.known.clone();
        for name in touched {
            let of_cluster = known.entry(name.clone()).or_default();
            let cluster = Cluster::build(
                name,
                received.given(name),
                &self.bootstrap,
                of_cluster,
                self.clusters.get(name).map(|c| &**c),
                now,
                &mut rng,
            );
            match cluster {
                Some(cluster) => clusters.insert(name.clone(), Arc::new(cluster)),
                None => {
                    of_cluster.retain(|_| false);
                    clusters.remove(name)
                }
            };
        }
        known.retain(|_, of_cluster| !of_cluster.is_empty());
        let listeners = (0..self.bootstrap.ports.len())
            .map(|index| Arc::new(self.listener(index, &received, &clusters)))
            .collect();
        Snapshot {
            bootstrap: Arc::clone(&self.bootstrap),
            received,
            clusters,
            known,
            listeners,
            updates: self.updates,
        }
    }

    fn listener(&self, index: usize, received: &Received, clusters: &BTreeMap<ResourceName, Arc<Cluster>>) -> Listener {
        let port = &self.bootstrap.ports[index];
        let before = self.listeners.get(index);
        let settings = received.listeners.get(&port.name).unwrap_or(&port.listener);
        let tcp = match &settings.target {
            Target::Http(_) => None,
            Target::Tcp(cluster) => Some(cluster.clone()),
        };
        let router = match received.routes.get(settings.target.name()) {
            Some((_, router)) => Arc::clone(router),
            None if port.app.is_some() => Arc::new(Router::all_to(port.name.clone())),
            None => Arc::default(),
        };
        Listener {
            name: port.name.clone(),
            address: port.address,
            header_timeout: settings.header_timeout,
            idle_timeout: settings.idle_timeout,
            trusted: TrustedHops::new(&settings.trusted_hops),
            settings: Arc::clone(settings),
            tls: Terminator::next(
                settings.tls.as_ref(),
                tcp.is_none(),
                &received.certificates,
                before.map_or(&ServerTls::Off, |listener| &listener.tls),
            ),
            forwarded: settings.forwarded,
            served_by: settings
                .served_by
                .as_ref()
                .and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok()),
            tcp,
            stats: before.map(|listener| Arc::clone(&listener.stats)).unwrap_or_default(),
            targets: router
                .targets()
                .iter()
                .map(|name| clusters.get(name).cloned())
                .collect(),
            router,
        }
    }

    /// The listener of the bootstrap's port number `index`.
    pub fn listener_at(&self, index: usize) -> &Arc<Listener> {
        &self.listeners[index]
    }

    /// The listeners, in the order of the bootstrap's ports.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// A cluster by name.
    pub fn cluster(&self, name: &ResourceName) -> Option<&Arc<Cluster>> {
        self.clusters.get(name)
    }

    /// All clusters, by name.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.values()
    }

    /// The route tables as they came, by name.
    pub fn routes(&self) -> impl Iterator<Item = &RouteTable> {
        self.received.routes.values().map(|(table, _)| &**table)
    }

    /// What was said of a cluster, if anybody told us of it.
    pub fn told(&self, name: &ResourceName) -> Option<&tenbin_model::Cluster> {
        self.received.clusters.get(name).map(|cluster| &**cluster)
    }

    /// The certificates that can be shown to clients, by name.
    pub fn certificates(&self) -> impl Iterator<Item = &Shown> {
        self.received.certificates.values().map(|shown| &**shown)
    }

    /// A port whose app, beside us, speaks TLS that we do not know how to verify before an update says so. Nothing can be served there.
    pub fn waits_for(&self) -> Option<&ResourceName> {
        let mut ports = self.bootstrap.ports.iter().map(|port| &port.name);
        ports.find(|name| self.clusters.get(name).is_some_and(|cluster| cluster.waits()))
    }

    /// How many updates went into it.
    pub fn updates(&self) -> u64 {
        self.updates
    }
}

impl Received {
    /// What was received for a cluster.
    fn given(&self, name: &ResourceName) -> Given<'_> {
        let settings = self.clusters.get(name).map(|cluster| &**cluster);
        let keys = settings
            .and_then(tenbin_model::Cluster::keys)
            .and_then(|keys| self.keys.get(keys));
        Given {
            settings,
            set: self.endpoints.get(name).map(|set| &**set),
            keys: keys.map(|keys| &**keys),
        }
    }

    /// Takes an update in; gives the names of the clusters that it may have changed.
    fn apply(&mut self, update: Update) -> BTreeSet<ResourceName> {
        let mut touched = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for (kind, name) in update.removed {
            match kind {
                Kind::Secret => {
                    self.keys.remove(&name);
                    self.certificates.remove(&name);
                    keys.insert(name.clone());
                }
                Kind::Cluster => drop(self.clusters.remove(&name)),
                Kind::Endpoints => drop(self.endpoints.remove(&name)),
                Kind::Listener => drop(self.listeners.remove(&name)),
                Kind::Routes => drop(self.routes.remove(&name)),
            }
            if matches!(kind, Kind::Cluster | Kind::Endpoints) {
                touched.insert(name);
            }
        }
        for resource in update.set {
            let name = resource.name().clone();
            match resource {
                // A name is of one or the other.
                Resource::Keys(set) => {
                    self.certificates.remove(&name);
                    keys.insert(name.clone());
                    self.keys.insert(name, Arc::new(set));
                }
                Resource::Certificate(certificate) => match Shown::judge(&certificate) {
                    Ok(shown) => drop(self.certificates.insert(name, Arc::new(shown))),
                    // Who sent it was told; the last good one stays.
                    Err(error) => warn!(certificate = %name, %error, "a certificate is left aside"),
                },
                Resource::Cluster(cluster) => {
                    touched.insert(name.clone());
                    self.clusters.insert(name, Arc::new(cluster));
                }
                Resource::Endpoints(set) => {
                    touched.insert(name.clone());
                    self.endpoints.insert(name, Arc::new(set));
                }
                Resource::Listener(listener) => drop(self.listeners.insert(name, Arc::new(listener))),
                Resource::Routes(table) => {
                    let router = Arc::new(Router::new(&table));
                    self.routes.insert(name, (Arc::new(table), router));
                }
            }
        }
        let uses = |cluster: &tenbin_model::Cluster| cluster.keys().is_some_and(|name| keys.contains(name));
        let users = self.clusters.iter().filter(|(_, cluster)| uses(cluster));
        touched.extend(users.map(|(name, _)| name.clone()));
        touched
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
