//! A cluster as requests use it: its endpoints with their live state, its affinity, and the balancer over them. Built for each change of
//! its resources; what lives on (open requests, evidence, skips, counters, whose turn it is) is handed over by identity. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tenbin_balance::{Balancer, Fleet, Member, Rng, Role, Time};
use tenbin_model::{Balancing, EndpointId, EndpointState, Limits, ResourceName, UpstreamProtocol};

use super::settings::{to_member, to_settings};
use super::{Bootstrap, Budget, EndpointStats, Gate, Transport};
use crate::affinity::Affinity;

/// Endpoints that answer alike.
#[derive(Debug)]
pub struct Cluster {
    /// Its name.
    pub name: ResourceName,
    /// How long connecting to an endpoint may take.
    pub connect_timeout: Duration,
    /// How its endpoints are spoken with.
    pub transport: Arc<Transport>,
    /// What is sent there at once, as it was told.
    pub limits: Limits,
    /// What counts against the limits, and who waits for them.
    pub gate: Arc<Gate>,
    /// Whether there is any limit. Without one the gate is never looked at.
    pub limited: bool,
    /// Retries that it has left.
    pub budget: Arc<Budget>,
    /// How it balances, as it was told.
    pub balancing: Balancing,
    /// What binds requests to its endpoints.
    pub affinity: Affinity,
    /// Whether anybody told us of it: without that, it is the app beside us alone.
    told: bool,
    /// In the order of the balancer's members.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) balancer: Balancer,
}

/// Where an endpoint is and what is known of it. One object for as long as nothing of it changes: connections are pooled by it.
#[derive(Debug)]
pub struct Endpoint {
    /// Who it is.
    pub id: EndpointId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its name for people.
    pub instance: Arc<str>,
    /// How it is spoken with.
    pub transport: Arc<Transport>,
    /// Its live state and counters.
    pub stats: Arc<EndpointStats>,
}

/// What is kept of a cluster from update to update, and as long as requests are open there.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// What its endpoints share.
    fleet: Arc<Fleet>,
    /// The counters of its endpoints: of those that are there, and of those that went with requests still open.
    endpoints: BTreeMap<EndpointId, Arc<EndpointStats>>,
}

impl Known {
    /// Forgets endpoints without open requests, but for those to `keep`.
    pub(super) fn retain(&mut self, keep: impl Fn(&EndpointId) -> bool) {
        self.endpoints.retain(|id, stats| stats.load.open() > 0 || keep(id));
    }

    /// Whether there is nothing left to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    fn of(&mut self, id: &EndpointId) -> Arc<EndpointStats> {
        let new = || Arc::new(EndpointStats::new(&self.fleet));
        Arc::clone(self.endpoints.entry(id.clone()).or_insert_with(new))
    }
}

/// What was received for a cluster.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given<'a> {
    /// How it balances.
    pub(super) settings: Option<&'a tenbin_model::Cluster>,
    /// Its endpoints.
    pub(super) set: Option<&'a tenbin_model::EndpointSet>,
    /// What seals its session cookies; none if it has none, or nobody has keys for it.
    pub(super) keys: Option<&'a tenbin_model::SessionKeys>,
}

impl Cluster {
    /// The cluster made of what is known under `name`; `None` if that is nothing. In a sidecar the app beside it is the endpoint where
    /// no other is known, and its own pod is reached over loopback.
    pub(super) fn build(
        name: &ResourceName,
        given: Given<'_>,
        bootstrap: &Bootstrap,
        known: &mut Known,
        before: Option<&Cluster>,
        now: Time,
        rng: &mut Rng,
    ) -> Option<Self> {
        let Given { settings, set, keys } = given;
        let own_app = bootstrap.app(name).zip(bootstrap.own.as_ref());
        let told = settings.is_some();
        let settings = settings.or_else(|| own_app.map(|(app, _)| &app.cluster))?;
        let mut wanted: Vec<tenbin_model::Endpoint> = set.map(|set| set.endpoints.clone()).unwrap_or_default();
        for endpoint in &mut wanted {
            if Some(&endpoint.id) == bootstrap.own.as_ref() {
                endpoint.address.set_ip(Bootstrap::LOOPBACK);
            }
        }
        if let (true, Some((app, own))) = (wanted.is_empty(), own_app) {
            wanted.push(tenbin_model::Endpoint {
                id: own.clone(),
                address: app.address,
                state: EndpointState::Ready,
                instance: bootstrap.instance.clone(),
                weight: 1,
                zone: String::new(),
            });
        }
        wanted.sort_by(|a, b| a.id.cmp(&b.id));
        wanted.dedup_by(|a, b| a.id == b.id);

        let transport = Transport::next(before.map(|before| &before.transport), settings);
        let take_over = |endpoint| Endpoint::take_over(endpoint, &transport, known, before);
        let endpoints: Vec<Arc<Endpoint>> = wanted.iter().map(take_over).collect();
        known.retain(|id| endpoints.binary_search_by(|e| e.id.cmp(id)).is_ok());

        let members: Vec<Member> = wanted.iter().zip(&endpoints).map(to_member).collect();
        let balancing = settings.balancing.clone();
        let own_zone = wanted
            .iter()
            .find(|e| Some(&e.id) == bootstrap.own.as_ref())
            .map(|e| &*e.zone);
        let to_balance = to_settings(&balancing, own_zone);
        let limits = settings.limits;
        Some(Cluster {
            name: name.clone(),
            connect_timeout: settings.connect_timeout,
            affinity: Affinity::new(balancing.affinity.as_ref(), name, keys),
            // Who comes after the app beside us had been alone may have been ready for long, and is not eased in.
            balancer: match before.filter(|before| before.told) {
                Some(before) => before.balancer.next(to_balance, members, now, rng),
                None => Balancer::new(to_balance, members, now, rng),
            },
            told,
            limited: limits.requests.is_some()
                || limits.endpoint_requests.is_some()
                || limits.connections.is_some()
                || limits.endpoint_connections.is_some(),
            limits,
            gate: before.map(|before| Arc::clone(&before.gate)).unwrap_or_default(),
            budget: before.map(|before| Arc::clone(&before.budget)).unwrap_or_default(),
            transport,
            balancing,
            endpoints,
        })
    }

    /// Whether it is the app beside us, which speaks TLS, and how its certificate is verified nobody has told us yet.
    pub(super) fn waits(&self) -> bool {
        !self.told && self.transport.tls.is_unusable()
    }

    /// The endpoints, each with what the balancer knows of it.
    pub fn endpoints(&self) -> impl Iterator<Item = (&Arc<Endpoint>, &Member)> {
        self.endpoints.iter().zip(self.balancer.members())
    }

    /// The endpoints of one role.
    pub fn count(&self, role: Role) -> usize {
        self.balancer.members().iter().filter(|m| m.role == role).count()
    }

    /// The most requests that may be open there: over HTTP/1.1 each needs a connection for itself.
    pub(crate) fn request_limit(&self) -> Option<u32> {
        self.with_connections(self.limits.requests, self.limits.connections)
    }

    /// The same for one endpoint.
    pub(super) fn endpoint_limit(&self) -> Option<u32> {
        self.with_connections(self.limits.endpoint_requests, self.limits.endpoint_connections)
    }

    fn with_connections(&self, requests: Option<u32>, connections: Option<u32>) -> Option<u32> {
        let connections = connections.filter(|_| self.transport.protocol == UpstreamProtocol::Http1);
        requests.into_iter().chain(connections).min()
    }

    /// Whether an endpoint is one of its own.
    pub(crate) fn has(&self, endpoint: &Endpoint) -> bool {
        let at = self.endpoints.binary_search_by(|e| e.id.cmp(&endpoint.id)).ok();
        let found = at.and_then(|at| self.endpoints.get(at));
        found.is_some_and(|found| std::ptr::eq(Arc::as_ptr(found), endpoint))
    }

    /// Requests that were ever sent to its endpoints, retries among them.
    pub(crate) fn picks(&self) -> u64 {
        let picks = self.balancer.members().iter().map(|member| member.load.picks());
        picks.sum()
    }

    /// The zone whose endpoints come first, where one does.
    pub fn own_zone(&self) -> Option<&str> {
        self.balancer.settings().zone.as_deref()
    }
}

impl Endpoint {
    /// The endpoint that `wanted` describes: the very object of before where nothing changed, at least its counters where it is known.
    fn take_over(
        wanted: &tenbin_model::Endpoint,
        transport: &Arc<Transport>,
        known: &mut Known,
        before: Option<&Cluster>,
    ) -> Arc<Self> {
        let same = before.and_then(|cluster| {
            let at = cluster.endpoints.binary_search_by(|e| e.id.cmp(&wanted.id)).ok()?;
            let endpoint = &cluster.endpoints[at];
            let same = endpoint.address == wanted.address
                && *endpoint.instance == *wanted.instance
                && Arc::ptr_eq(&endpoint.transport, transport);
            same.then(|| Arc::clone(endpoint))
        });
        same.unwrap_or_else(|| {
            Arc::new(Endpoint {
                id: wanted.id.clone(),
                address: wanted.address,
                instance: wanted.instance.as_str().into(),
                transport: Arc::clone(transport),
                stats: known.of(&wanted.id),
            })
        })
    }
}
