//! The proxy's side of the conversation, pure: a response in; an update, an answer and new subscriptions out. No IO, no clock.
//!
//! Every resource is judged alone: a bad one is named in the rejection and its last good version stays, the good ones beside it
//! count. Subscriptions follow references: from the listeners that the pod has to their route tables, clusters and endpoints.
//! An update never leaves a reference dangling.

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as XdsResource,
};
use envoy_types::pb::google::rpc;
use tenbin_model::{FieldError, Kind, ResourceName, Update};

use super::saved::Kept;
use super::whole::{self, Entry, Received, Resources};

/// The longest reason of a rejection that is sent, in characters.
const REASON: usize = 4096;

/// The conversation, across streams: a new stream goes on where the last one broke off.
#[derive(Debug)]
pub struct Session {
    node: String,
    listeners: Vec<ResourceName>,
    received: Received,
    /// What the updates so far add up to.
    used: Arc<Resources>,
    /// What this stream is subscribed to.
    subscribed: [BTreeSet<ResourceName>; Kind::ALL.len()],
}

/// What follows from a response.
#[derive(Debug, Default, PartialEq)]
pub struct Judged {
    /// The change to put in use; none where nothing changes. It must be taken before the requests are sent.
    pub update: Option<Update>,
    /// The answer, then changed subscriptions; to be sent in this order.
    pub requests: Vec<DeltaDiscoveryRequest>,
    /// Resources that were refused, each with the reason.
    pub rejected: Vec<Rejected>,
}

/// A refused resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its kind; none where the response was of no kind of ours.
    pub kind: Option<Kind>,
    /// Its name, as it came.
    pub name: String,
    /// Why.
    pub error: FieldError,
}

impl Session {
    /// A session that has nothing yet. `node` tells the operator who is asking, for its logs; what may be seen does not
    /// follow from it.
    pub fn new(node: String, listeners: Vec<ResourceName>) -> Self {
        Session {
            node,
            listeners,
            received: Received::default(),
            used: Arc::default(),
            subscribed: Default::default(),
        }
    }

    /// A session that goes on from what another one kept, and the update that puts that in use.
    pub fn restored(node: String, listeners: Vec<ResourceName>, kept: &Kept) -> (Self, Update) {
        let mut session = Session::new(node, listeners);
        session.received.resources = Resources::clone(&kept.resources);
        let update = session.used.update_to(&kept.resources);
        session.used = Arc::clone(&kept.resources);
        (session, update)
    }

    /// What is in use, to be kept; it was received at `received`, in seconds since 1970.
    pub fn kept(&self, received: u64) -> Kept {
        Kept {
            resources: Arc::clone(&self.used),
            received,
        }
    }

    /// The first requests of a new stream, with the versions that are here already.
    pub fn connect(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.subscribed = Default::default();
        // Another replica may know better.
        self.received.absent = Default::default();
        let mut requests = self.subscribe();
        for request in &mut requests {
            if let Some(kind) = Kind::from_type_url(&request.type_url) {
                let held = self.received.resources.of(kind).iter();
                let versions = held.map(|(name, entry)| (name.as_str().to_owned(), entry.version.clone()));
                request.initial_resource_versions = versions.collect();
            }
        }
        if let Some(first) = requests.first_mut() {
            first.node = Some(Node {
                id: self.node.clone(),
                user_agent_name: "tenbin-proxy".to_owned(),
                ..Node::default()
            });
        }
        requests
    }

    /// Judges a response.
    pub fn on_response(&mut self, response: DeltaDiscoveryResponse) -> Judged {
        let Some(kind) = Kind::from_type_url(&response.type_url) else {
            let error = FieldError::new("type_url", &response.type_url, "a type that was asked for");
            let rejected = vec![Rejected {
                kind: None,
                name: String::new(),
                error,
            }];
            return Judged {
                requests: vec![answer(response.type_url, response.nonce, &rejected)],
                rejected,
                update: None,
            };
        };
        let mut rejected = Vec::new();
        let twice = twice(&response);
        let gone = &response.removed_resources;
        for name in response
            .resources
            .iter()
            .map(|r| &r.name)
            .chain(gone)
            .collect::<BTreeSet<_>>()
        {
            if twice.contains(name.as_str()) {
                let error = FieldError::new("name", name, "each name at most once in a response");
                rejected.push(Rejected {
                    kind: Some(kind),
                    name: name.clone(),
                    error,
                });
            }
        }
        for resource in response.resources {
            let name = resource.name.clone();
            if twice.contains(&name) {
                continue;
            }
            if let Err(error) = self.take(kind, resource) {
                rejected.push(Rejected {
                    kind: Some(kind),
                    name,
                    error,
                });
            }
        }
        for name in gone.iter().filter(|name| !twice.contains(name.as_str())) {
            self.take_removal(kind, name);
        }
        let update = self.advance();
        let mut requests = vec![answer(response.type_url, response.nonce, &rejected)];
        requests.extend(self.subscribe());
        Judged {
            update,
            requests,
            rejected,
        }
    }

    /// Judges and keeps one resource. One that was not asked for (any more) is left aside, good or bad.
    fn take(&mut self, kind: Kind, given: XdsResource) -> Result<(), FieldError> {
        let name = ResourceName::parse("name", &given.name)?;
        if !self.subscribed[kind as usize].contains(&name) {
            return Ok(());
        }
        // Without a body it is a heartbeat for what is here already.
        let Some(wire) = given.resource else { return Ok(()) };
        let entry = Entry::judge(kind, &name, given.version, wire)?;
        self.received.absent[kind as usize].remove(&name);
        self.received.resources.insert(Arc::new(entry));
        Ok(())
    }

    fn take_removal(&mut self, kind: Kind, name: &str) {
        // A name that can't be one was never subscribed to.
        if let Some(name) = self.subscribed[kind as usize]
            .iter()
            .find(|n| n.as_str() == name)
            .cloned()
        {
            self.received.resources.remove(kind, &name);
            self.received.absent[kind as usize].insert(name);
        }
    }

    /// Puts the newest whole set in use.
    fn advance(&mut self) -> Option<Update> {
        let next = whole::newest(&self.listeners, &self.received, &self.used);
        let update = self.used.update_to(&next);
        self.used = Arc::new(next);
        (update != Update::default()).then_some(update)
    }

    /// Subscribes to what is referred to now and lets go of the rest.
    fn subscribe(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let wanted = whole::wanted(&self.listeners, &self.received, &self.used);
        let mut requests = Vec::new();
        for (kind, wanted) in Kind::ALL.into_iter().zip(wanted) {
            let subscribed = &mut self.subscribed[kind as usize];
            let text = |name: &ResourceName| name.as_str().to_owned();
            let new: Vec<String> = wanted.difference(subscribed).map(text).collect();
            let old: Vec<String> = subscribed.difference(&wanted).map(text).collect();
            self.received.resources.retain(kind, &wanted);
            self.received.absent[kind as usize].retain(|name| wanted.contains(name));
            *subscribed = wanted;
            if !new.is_empty() || !old.is_empty() {
                requests.push(DeltaDiscoveryRequest {
                    type_url: kind.type_url().to_owned(),
                    resource_names_subscribe: new,
                    resource_names_unsubscribe: old,
                    ..DeltaDiscoveryRequest::default()
                });
            }
        }
        requests
    }

    /// What all updates so far add up to.
    #[cfg(test)]
    fn used(&self) -> &Resources {
        &self.used
    }
}

/// Names that come more than once in a response, set or removed.
fn twice(response: &DeltaDiscoveryResponse) -> BTreeSet<String> {
    let set = response.resources.iter().map(|resource| &resource.name);
    let mut seen = BTreeSet::new();
    let names = set.chain(&response.removed_resources);
    names.filter(|name| !seen.insert(*name)).cloned().collect()
}

/// ACK, or NACK that names every refused resource with its reason.
fn answer(type_url: String, nonce: String, rejected: &[Rejected]) -> DeltaDiscoveryRequest {
    let reasons: Vec<String> = rejected.iter().map(|r| format!("{}: {}", r.name, r.error)).collect();
    let error = (!rejected.is_empty()).then(|| rpc::Status {
        code: tonic::Code::InvalidArgument.into(),
        message: reasons.join("; ").chars().take(REASON).collect(),
        details: Vec::new(),
    });
    DeltaDiscoveryRequest {
        type_url,
        response_nonce: nonce,
        error_detail: error,
        ..DeltaDiscoveryRequest::default()
    }
}
