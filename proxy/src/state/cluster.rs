//! A cluster as requests use it: its endpoints with their live state, and the balancer over them. Built for each change of its
//! resources; what lives on (open requests, skips, counters, whose turn it is) is handed over by identity. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tenbin_balance::{Balancer, Member, Pick, Policy, Reason, Rng, Role, Time, Tried};
use tenbin_model::{EndpointId, EndpointState, ResourceName};

use super::{Bootstrap, EndpointStats};

/// Endpoints that answer alike.
#[derive(Debug)]
pub struct Cluster {
    /// Its name.
    pub name: ResourceName,
    /// How long connecting to an endpoint may take.
    pub connect_timeout: Duration,
    /// In the order of the balancer's members.
    endpoints: Vec<Arc<Endpoint>>,
    balancer: Balancer,
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
    /// Its live state and counters.
    pub stats: Arc<EndpointStats>,
}

/// An endpoint that was picked for a request.
#[derive(Debug)]
pub struct Picked {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Why it was.
    pub reason: Reason,
    /// The request, counted as open there while this lives.
    pub open: tenbin_balance::Open,
}

/// The counters of a cluster's endpoints by identity: of those that are there, and of those that went with requests still open.
pub(super) type Known = BTreeMap<EndpointId, Arc<EndpointStats>>;

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
        rng: &mut Rng,
    ) -> Option<Self> {
        let Given { settings, set, keys: _ } = given;
        let own_app = bootstrap.app(name).zip(bootstrap.own.as_ref());
        if settings.is_none() && own_app.is_none() {
            return None;
        }
        let mut wanted: Vec<tenbin_model::Endpoint> = set.map(|set| set.endpoints.clone()).unwrap_or_default();
        for endpoint in &mut wanted {
            if Some(&endpoint.id) == bootstrap.own.as_ref() {
                endpoint.address.set_ip(Bootstrap::LOOPBACK);
            }
        }
        if let (true, Some((address, own))) = (wanted.is_empty(), own_app) {
            wanted.push(tenbin_model::Endpoint {
                id: own.clone(),
                address,
                state: EndpointState::Ready,
                instance: bootstrap.instance.clone(),
                weight: 1,
                zone: String::new(),
            });
        }
        wanted.sort_by(|a, b| a.id.cmp(&b.id));
        wanted.dedup_by(|a, b| a.id == b.id);

        let endpoints: Vec<Arc<Endpoint>> = wanted.iter().map(|e| Endpoint::take_over(e, known, before)).collect();
        known.retain(|id, stats| stats.load.open() > 0 || endpoints.binary_search_by(|e| e.id.cmp(id)).is_ok());

        let members = wanted.iter().zip(&endpoints).map(to_member).collect();
        let policy = to_policy(settings.map(|s| s.balancing.policy).unwrap_or_default());
        Some(Cluster {
            name: name.clone(),
            connect_timeout: settings.map_or(tenbin_model::Cluster::DEFAULT_CONNECT_TIMEOUT, |s| s.connect_timeout),
            balancer: match before {
                Some(before) => before.balancer.next(policy, members, rng),
                None => Balancer::new(policy, members, rng),
            },
            endpoints,
        })
    }

    /// Picks an endpoint that was not tried yet; see [`Balancer::pick`].
    pub fn pick(&self, now: Time, rng: &mut Rng, tried: &Tried) -> Option<Picked> {
        let Pick { index, reason, open } = self.balancer.pick(now, rng, tried)?;
        Some(Picked {
            endpoint: Arc::clone(&self.endpoints[index]),
            reason,
            open,
        })
    }

    /// The endpoints, each with what it is picked for.
    pub fn endpoints(&self) -> impl Iterator<Item = (&Arc<Endpoint>, Role)> {
        self.endpoints
            .iter()
            .zip(self.balancer.members().iter().map(|m| m.role))
    }

    /// The algorithm.
    pub fn policy(&self) -> Policy {
        self.balancer.policy()
    }
}

impl Endpoint {
    /// The endpoint that `wanted` describes: the very object of before where nothing changed, at least its counters where it is known.
    fn take_over(wanted: &tenbin_model::Endpoint, known: &mut Known, before: Option<&Cluster>) -> Arc<Self> {
        let same = before.and_then(|cluster| {
            let at = cluster.endpoints.binary_search_by(|e| e.id.cmp(&wanted.id)).ok()?;
            let endpoint = &cluster.endpoints[at];
            (endpoint.address == wanted.address && *endpoint.instance == *wanted.instance).then(|| Arc::clone(endpoint))
        });
        same.unwrap_or_else(|| {
            Arc::new(Endpoint {
                id: wanted.id.clone(),
                address: wanted.address,
                instance: wanted.instance.as_str().into(),
                stats: Arc::clone(known.entry(wanted.id.clone()).or_default()),
            })
        })
    }
}

fn to_member((wanted, endpoint): (&tenbin_model::Endpoint, &Arc<Endpoint>)) -> Member {
    Member {
        id: endpoint.id.as_str().into(),
        role: match wanted.state {
            EndpointState::Ready => Role::Ready,
            EndpointState::Draining => Role::Draining,
        },
        load: Arc::clone(&endpoint.stats.load),
    }
}

fn to_policy(policy: tenbin_model::Policy) -> Policy {
    match policy {
        tenbin_model::Policy::RoundRobin | tenbin_model::Policy::Random => Policy::RoundRobin,
        tenbin_model::Policy::Adaptive
        | tenbin_model::Policy::LeastRequest { .. }
        | tenbin_model::Policy::PeakEwma { .. } => Policy::LeastRequest,
    }
}
