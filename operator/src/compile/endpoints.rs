//! Which pods answer for an app, where, and what may be sent to them. An endpoint counts when three agree: a slice of the app's
//! Service that names it, the pod's owners, and the pod itself, which says its addresses and where its app listens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use tenbin_crds::EndpointCounts;
use tenbin_model::{Endpoint, EndpointId, EndpointSet, EndpointState, ResourceName, bounds};

use crate::key::AppKey;
use crate::problem::Problem;
use crate::tables::{PodRow, SliceEndpoint, Tables, WEIGHT};

/// The pods of an app that slices name, whatever the port.
pub(super) struct Found<'a> {
    /// By UID, and so in the order of endpoints.
    pods: BTreeMap<EndpointId, Candidate<'a>>,
}

struct Candidate<'a> {
    name: &'a str,
    pod: &'a PodRow,
    address: IpAddr,
    /// Place of the address among the pod's own: the smallest wins.
    rank: usize,
    state: EndpointState,
    weight: u32,
    zone: &'a str,
}

impl<'a> Found<'a> {
    pub(super) fn new(tables: &'a Tables, key: &AppKey, problems: &mut Vec<Problem>) -> Self {
        let ours: BTreeMap<&str, (&str, &PodRow)> = tables.pods(key).into_iter().map(|p| (&*p.1.uid, p)).collect();
        let mut found = Found { pods: BTreeMap::new() };
        let endpoints = tables.slice_endpoints(key);
        let hinted = are_hinted(&endpoints);
        for endpoint in endpoints {
            match ours.get(&*endpoint.uid) {
                Some((name, pod)) => {
                    let weight = weight(tables, name, pod, problems);
                    let zone = zone(endpoint, hinted);
                    problems.extend(found.add(name, pod, endpoint, weight, zone));
                }
                None => problems.extend(foreign(tables, key, endpoint)),
            }
        }
        found
    }

    fn add(
        &mut self,
        name: &'a str,
        pod: &'a PodRow,
        endpoint: &SliceEndpoint,
        weight: u32,
        zone: &'a str,
    ) -> Option<Problem> {
        if pod.finished {
            return None;
        }
        let Some(rank) = pod.addresses.iter().position(|address| *address == endpoint.address) else {
            // A pod without an address is one whose newest state has not come yet.
            return (!pod.addresses.is_empty()).then(|| not_its_address(name, pod, endpoint));
        };
        let id = EndpointId::parse("pod.metadata.uid", &pod.uid).ok()?;
        let candidate = Candidate {
            name,
            pod,
            address: endpoint.address,
            rank,
            // The pod tells that it stops before its slices do, and never takes it back.
            state: if pod.deleting {
                EndpointState::Draining
            } else {
                endpoint.state
            },
            weight,
            zone,
        };
        match self.pods.get_mut(&id) {
            // In a second slice: while it moves from one to the other, or with the address of another family. What one
            // slice knows to be draining is draining.
            Some(known) => {
                if candidate.state == EndpointState::Draining {
                    known.state = EndpointState::Draining;
                }
                if candidate.rank < known.rank {
                    known.rank = candidate.rank;
                    known.address = candidate.address;
                }
            }
            None => {
                self.pods.insert(id, candidate);
            }
        }
        None
    }

    /// The endpoints of the port of that name, where each pod's own app listens. A pod whose app has no such port is none.
    pub(super) fn of_port(&self, cluster: &ResourceName, port: &str, problems: &mut Vec<Problem>) -> EndpointSet {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (id, candidate) in &self.pods {
            if let Some(number) = candidate.pod.port(port) {
                endpoints.push(Endpoint {
                    id: id.clone(),
                    address: SocketAddr::new(candidate.address, number),
                    state: candidate.state,
                    instance: candidate.name.to_owned(),
                    weight: candidate.weight,
                    zone: candidate.zone.to_owned(),
                });
            }
        }
        if endpoints.len() > EndpointSet::MAX {
            problems.push(Problem::warning(
                "spec.replicas",
                "TooManyEndpoints",
                format!(
                    "{} endpoints are too many, only {} get requests",
                    endpoints.len(),
                    EndpointSet::MAX
                ),
            ));
            // Stable: within a state the order stays that of identities.
            endpoints.sort_by_key(|endpoint| endpoint.state == EndpointState::Draining);
            endpoints.truncate(EndpointSet::MAX);
            endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        }
        EndpointSet {
            cluster: cluster.clone(),
            endpoints,
        }
    }
}

/// Whether the hints count: every endpoint that is ready has one, as kube-proxy wants it too.
fn are_hinted(endpoints: &[&SliceEndpoint]) -> bool {
    let mut ready = endpoints.iter().filter(|e| e.state == EndpointState::Ready);
    ready.all(|e| e.hint.is_some())
}

/// The zone whose proxies prefer the endpoint; none where its name can't be one.
fn zone(endpoint: &SliceEndpoint, hinted: bool) -> &str {
    let hint = endpoint.hint.as_deref().filter(|_| hinted);
    let zone = hint.unwrap_or(&endpoint.zone);
    if bounds::label("zone", zone).is_ok() { zone } else { "" }
}

/// The weight of a pod: its own, else its node's, else 1. One that is none counts as 1 and is told.
fn weight(tables: &Tables, name: &str, pod: &PodRow, problems: &mut Vec<Problem>) -> u32 {
    let node = pod.node.as_deref().unwrap_or_default();
    let (object, text) = match (&pod.weight, tables.node_weight(node)) {
        (Some(own), _) => (format!("annotation of pod {name}"), &**own),
        (None, Some(of_node)) => (format!("label of node {node}"), of_node),
        (None, None) => return 1,
    };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    match number.map(|number| bounds::weight(WEIGHT, number)) {
        Some(Ok(weight)) => weight,
        Some(Err(_)) | None => {
            let most = Endpoint::MAX_WEIGHT;
            let text = format!("the {object} {WEIGHT}: {text:?} is not accepted, expected 0 to {most}; it counts as 1");
            problems.push(Problem::warning("", "BadWeight", text));
            1
        }
    }
}

/// A pod in the app's slices that is not the app's. One that is not known yet is passed over: it makes itself heard.
fn foreign(tables: &Tables, key: &AppKey, endpoint: &SliceEndpoint) -> Option<Problem> {
    let pod = tables
        .pod(&key.namespace, &endpoint.pod)
        .filter(|pod| *pod.uid == *endpoint.uid)?;
    pod.claims(&key.name).then(|| {
        Problem::warning(
            "",
            "ForeignPod",
            format!(
                "pod {} carries the label tenbin.dev/app: {} without being one of its replicas: the Service sends \
                 requests to it, the proxies don't; take the label away",
                endpoint.pod, key.name
            ),
        )
    })
}

fn not_its_address(name: &str, pod: &PodRow, endpoint: &SliceEndpoint) -> Problem {
    let own: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
    Problem::warning(
        "",
        "ForeignAddress",
        format!(
            "an EndpointSlice gives pod {name} the address {}, which is not its own ({}): it gets no requests there",
            endpoint.address,
            own.join(", ")
        ),
    )
}

/// Pods among the endpoints, each counted once however many ports it has.
#[derive(Default)]
pub(super) struct Counted {
    ready: BTreeSet<EndpointId>,
    draining: BTreeSet<EndpointId>,
}

impl Counted {
    pub(super) fn add(&mut self, set: &EndpointSet) {
        for endpoint in &set.endpoints {
            match endpoint.state {
                EndpointState::Ready => self.ready.insert(endpoint.id.clone()),
                EndpointState::Draining => self.draining.insert(endpoint.id.clone()),
            };
        }
    }

    pub(super) fn counts(&self) -> EndpointCounts {
        let count = |set: &BTreeSet<EndpointId>| i32::try_from(set.len()).unwrap_or(i32::MAX);
        EndpointCounts {
            ready: count(&self.ready),
            draining: count(&self.draining),
        }
    }
}
