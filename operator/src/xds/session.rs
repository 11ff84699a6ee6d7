//! The conversation of one stream, pure: a request or a new snapshot in, responses out. No IO, no clock, no randomness.
//!
//! It holds only its own app's snapshot, so that nothing of another app can be sent, whatever is asked for. At most one
//! response of a kind awaits its answer; what changes meanwhile is sent with the next. Across kinds it makes before it breaks:
//! a route table waits until the clusters it names are in use, and what is gone is taken away only when nothing that the
//! client has names it any more.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as XdsResource,
};
use tenbin_model::{FieldError, Kind, ResourceName};

use super::subscription::{Asked, Due, Progress, REASON, Subscription};
use crate::key::AppKey;
use crate::snapshot::{AppSnapshot, Version};

/// The most names that one stream may subscribe to, all kinds together.
pub const MAX_NAMES: usize = 1024;

/// A response is closed when its resources come to this many bytes; the rest follows once it is answered.
pub const MAX_RESPONSE: usize = 1 << 20;

/// One stream's conversation.
#[derive(Debug)]
pub struct Session {
    app: AppKey,
    /// None until the app has compiled: nothing is answered out of not knowing.
    snapshot: Option<Arc<AppSnapshot>>,
    kinds: [Subscription; Kind::ALL.len()],
    responses: u64,
    /// The client is an Envoy: it puts a changed cluster in use, and accepts it, only once it is sent its endpoints again.
    warms: bool,
}

/// What follows from one input.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    /// To be sent, in this order.
    pub responses: Vec<DeltaDiscoveryResponse>,
    /// The request accepted the last response of this kind.
    pub acked: Option<Kind>,
    /// The request rejected the last response of this kind, for this reason (shortened: it is the client's text).
    pub nacked: Option<(Kind, String)>,
    /// How many names of other apps the request asked for; they are answered as absent.
    pub foreign: u64,
}

/// A request that breaks a bound. The stream ends with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A name that can't be one.
    #[error("{0}")]
    Name(#[from] FieldError),
    /// Too many names in one request, or on the stream.
    #[error("{0} names subscribed on one stream, at most {MAX_NAMES} are accepted")]
    TooMany(usize),
}

/// How far one stream is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamSync {
    /// The `metadata.generation` of the spec that its resources follow from.
    pub generation: i64,
    /// It has asked for its listeners and all that follows from them, and accepted all of it in its current version.
    pub synced: bool,
    /// What it rejected, each as `kind name: reason`.
    pub rejected: Vec<String>,
}

impl Session {
    /// A conversation with a proxy of `app`, before its first request.
    pub fn new(app: AppKey, snapshot: Option<Arc<AppSnapshot>>) -> Self {
        Session {
            app,
            snapshot,
            kinds: Default::default(),
            responses: 0,
            warms: false,
        }
    }

    /// Takes a request. Types of resources other than ours are left unanswered.
    ///
    /// # Errors
    /// The request breaks a bound; the stream should end.
    pub fn on_request(&mut self, request: DeltaDiscoveryRequest) -> Result<Step, Violation> {
        let Some(kind) = Kind::from_type_url(&request.type_url) else {
            return Ok(Step::default());
        };
        let mut step = Step::default();
        self.warms |= request
            .node
            .as_ref()
            .is_some_and(|node| node.user_agent_name == "envoy");
        let error = request.error_detail.as_ref().map(|status| status.message.as_str());
        let nonce = request.response_nonce.as_str();
        if !nonce.is_empty() && self.kinds[kind as usize].answer(nonce, error) {
            match error {
                None => step.acked = Some(kind),
                Some(error) => step.nacked = Some((kind, error.chars().take(REASON).collect())),
            }
        }
        let asked = asked(request)?;
        step.foreign = self.count_foreign(kind, &asked.subscribe);
        self.kinds[kind as usize].ask(kind, asked);
        let names: usize = self.kinds.iter().map(|kind| kind.names().len()).sum();
        if names > MAX_NAMES {
            return Err(Violation::TooMany(names));
        }
        step.responses = self.respond();
        Ok(step)
    }

    /// Takes a new snapshot of the app.
    pub fn on_snapshot(&mut self, snapshot: Arc<AppSnapshot>) -> Step {
        self.snapshot = Some(snapshot);
        Step {
            responses: self.respond(),
            ..Step::default()
        }
    }

    /// How far this stream is.
    pub fn sync(&self) -> StreamSync {
        let mut rejected = Vec::new();
        for kind in Kind::ALL {
            let of_kind = self.kinds[kind as usize].rejected();
            rejected.extend(of_kind.map(|(name, reason)| format!("{} {name}: {reason}", kind.as_str())));
        }
        let snapshot = self.snapshot.as_deref();
        StreamSync {
            generation: snapshot.map_or(0, AppSnapshot::generation),
            synced: rejected.is_empty() && snapshot.is_some_and(|snapshot| self.is_synced(snapshot)),
            rejected,
        }
    }

    fn is_synced(&self, snapshot: &AppSnapshot) -> bool {
        let begun = snapshot.of(Kind::Listener).is_empty() || self.kinds[Kind::Listener as usize].started();
        begun
            && Kind::ALL.into_iter().all(|kind| self.is_quiet(kind, snapshot))
            && self.follows(Kind::Listener, Kind::Routes, snapshot)
            && self.follows(Kind::Listener, Kind::Cluster, snapshot)
            && self.follows(Kind::Listener, Kind::Endpoints, snapshot)
            && self.follows(Kind::Routes, Kind::Cluster, snapshot)
            && self.follows(Kind::Routes, Kind::Endpoints, snapshot)
            && (!self.kinds[Kind::Secret as usize].started()
                || (self.follows(Kind::Listener, Kind::Secret, snapshot)
                    && self.follows(Kind::Cluster, Kind::Secret, snapshot)))
    }

    /// All that resources of kind `from` name has been asked for: the client does not stand in the middle of its first round.
    fn follows(&self, from: Kind, to: Kind, snapshot: &AppSnapshot) -> bool {
        let asked = |kind: Kind, name| self.kinds[kind as usize].progress(name) != Progress::NotAsked;
        let here = snapshot.of(from).iter().filter(|(name, _)| asked(from, name));
        here.flat_map(|(_, entry)| entry.named(to)).all(|name| asked(to, name))
    }

    /// Counts the names that are formed as another app's, each when it is first asked for.
    fn count_foreign(&self, kind: Kind, subscribe: &[ResourceName]) -> u64 {
        let known = self.kinds[kind as usize].names();
        let foreign = |name: &&ResourceName| match name.as_str().split('/').collect::<Vec<_>>()[..] {
            [namespace, app, _] => (namespace, app) != (&self.app.namespace, &self.app.name) && !known.contains(name),
            _ => false,
        };
        subscribe.iter().filter(foreign).count() as u64
    }

    /// Nothing of this kind is due, unanswered or rejected.
    fn is_quiet(&self, kind: Kind, snapshot: &AppSnapshot) -> bool {
        let subscription = &self.kinds[kind as usize];
        let due = subscription.due(kind, snapshot);
        !subscription.awaits_answer()
            && due.set.is_empty()
            && due.absent.is_empty()
            && due.removed.is_empty()
            && subscription.rejected().next().is_none()
    }

    /// Everything that may be sent now, in the order of the kinds.
    fn respond(&mut self) -> Vec<DeltaDiscoveryResponse> {
        let Some(snapshot) = self.snapshot.clone() else {
            return Vec::new();
        };
        let mut responses = Vec::new();
        for kind in Kind::ALL {
            let subscription = &self.kinds[kind as usize];
            if !subscription.started() || subscription.awaits_answer() {
                continue;
            }
            let mut due = subscription.due(kind, &snapshot);
            if kind == Kind::Routes {
                due.set.retain(|table| self.clusters_are_ready(table, &snapshot));
            }
            if !self.may_remove(kind, &snapshot) {
                due.removed.clear();
            }
            responses.extend(self.response(kind, due, &snapshot));
        }
        responses
    }

    /// Make before break: what may name a kind must be done with first, without a rejection that keeps an old one in use.
    fn may_remove(&self, kind: Kind, snapshot: &AppSnapshot) -> bool {
        let users: &[Kind] = match kind {
            Kind::Listener => &[],
            Kind::Routes => &[Kind::Listener],
            Kind::Cluster => &[Kind::Listener, Kind::Routes],
            Kind::Endpoints | Kind::Secret => &[Kind::Listener, Kind::Routes, Kind::Cluster],
        };
        users.iter().all(|user| self.is_quiet(*user, snapshot))
    }

    /// The client can serve by this route table: every cluster of it that it asked for is in use there, endpoints included.
    /// A cluster that it refused holds back only a table that would replace a working one.
    fn clusters_are_ready(&self, table: &ResourceName, snapshot: &AppSnapshot) -> bool {
        let replaces = self.kinds[Kind::Routes as usize].serves(table);
        let endpoints = &self.kinds[Kind::Endpoints as usize];
        let Some(entry) = snapshot.get(Kind::Routes, table) else {
            return true;
        };
        entry.named(Kind::Cluster).all(|cluster| {
            match self.kinds[Kind::Cluster as usize].progress(cluster) {
                Progress::NotAsked => return true,
                Progress::Waiting => return false,
                Progress::Refused => return !replaces,
                Progress::Settled => {}
            }
            if !self.keys_are_ready(cluster, snapshot) {
                return false;
            }
            match endpoints.progress(cluster) {
                // Who follows endpoints at all is about to ask for those of a cluster that it just accepted.
                Progress::NotAsked => {
                    !(replaces && endpoints.started() && snapshot.get(Kind::Cluster, cluster).is_some())
                }
                Progress::Waiting => false,
                Progress::Refused => !replaces,
                Progress::Settled => true,
            }
        })
    }

    /// The keys that the cluster names are settled, for a client that follows keys at all: an Envoy does not.
    fn keys_are_ready(&self, cluster: &ResourceName, snapshot: &AppSnapshot) -> bool {
        let keys = &self.kinds[Kind::Secret as usize];
        let entry = snapshot.get(Kind::Cluster, cluster);
        let mut named = entry.into_iter().flat_map(|entry| entry.named(Kind::Secret));
        named.all(|name| keys.progress(name) != Progress::Waiting)
    }

    /// The next response of `kind`, noted as sent; none if nothing is due.
    fn response(&mut self, kind: Kind, due: Due, snapshot: &AppSnapshot) -> Option<DeltaDiscoveryResponse> {
        let mut resources = Vec::new();
        let mut set: Vec<(ResourceName, Version)> = Vec::new();
        let mut bytes = 0;
        for name in due.set {
            let Some(entry) = snapshot.get(kind, &name) else {
                continue;
            };
            if kind == Kind::Cluster && self.warms && self.kinds[kind as usize].changes(&name, &entry.version) {
                self.kinds[Kind::Endpoints as usize].send_again(&name);
            }
            bytes += entry.any.value.len();
            if bytes > MAX_RESPONSE && !set.is_empty() {
                break;
            }
            resources.push(XdsResource {
                name: name.as_str().to_owned(),
                version: entry.version.to_string(),
                resource: Some(entry.any.clone()),
                ..XdsResource::default()
            });
            set.push((name, entry.version.clone()));
        }
        let gone: Vec<ResourceName> = due.absent.into_iter().chain(due.removed).collect();
        if set.is_empty() && gone.is_empty() {
            return None;
        }
        self.responses += 1;
        let nonce = self.responses.to_string();
        self.kinds[kind as usize].sent(nonce.clone(), &set, &gone);
        Some(DeltaDiscoveryResponse {
            type_url: kind.type_url().to_owned(),
            nonce,
            resources,
            removed_resources: gone.iter().map(|name| name.as_str().to_owned()).collect(),
            ..DeltaDiscoveryResponse::default()
        })
    }
}

/// The changes that a request asks for, each name judged.
fn asked(request: DeltaDiscoveryRequest) -> Result<Asked, Violation> {
    let subscribe = request.resource_names_subscribe;
    let unsubscribe = request.resource_names_unsubscribe;
    let versions = request.initial_resource_versions;
    let most = subscribe.len().max(unsubscribe.len()).max(versions.len());
    if most > MAX_NAMES {
        return Err(Violation::TooMany(most));
    }
    let is_wildcard = |name: &String| name == "*";
    let parse = |path: &str, names: &[String]| -> Result<Vec<ResourceName>, FieldError> {
        let names = names.iter().filter(|name| !is_wildcard(name));
        names.map(|name| ResourceName::parse(path, name)).collect()
    };
    let known = versions.into_iter().map(|(name, version)| {
        let name = ResourceName::parse("initial_resource_versions", &name)?;
        // No version of ours is longer; a longer one just differs.
        Ok((name, version.chars().take(64).collect()))
    });
    Ok(Asked {
        wildcard_on: subscribe.iter().any(is_wildcard),
        wildcard_off: unsubscribe.iter().any(is_wildcard),
        subscribe: parse("resource_names_subscribe", &subscribe)?,
        unsubscribe: parse("resource_names_unsubscribe", &unsubscribe)?,
        versions: known.collect::<Result<_, FieldError>>()?,
    })
}
