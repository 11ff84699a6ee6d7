//! What one stream has asked for and been told of one kind of resource. Pure bookkeeping; what may be sent when is decided by
//! the session, which sees all four kinds.

use std::collections::{BTreeMap, BTreeSet};

use tenbin_model::{Kind, ResourceName};

use crate::snapshot::{AppSnapshot, Version};

/// The longest reason of a rejection that is kept, in characters.
pub(super) const REASON: usize = 300;

/// One kind on one stream.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// A request for this kind has come.
    started: bool,
    /// Everything is asked for, besides `names`.
    wildcard: bool,
    /// What is asked for by name.
    names: BTreeSet<ResourceName>,
    /// What the client was told of each name.
    held: BTreeMap<ResourceName, Held>,
    /// Asked for again: to be sent again whatever its version.
    again: BTreeSet<ResourceName>,
    /// The response that is not answered yet.
    in_flight: Option<InFlight>,
}

#[derive(Debug, Default)]
struct Held {
    /// The version told last; none: told that it does not exist.
    told: Option<Version>,
    /// The version that the client serves by, which is the last one it accepted.
    accepted: Option<Version>,
    /// Why it rejected the version told last.
    rejected: Option<String>,
}

#[derive(Debug)]
struct InFlight {
    nonce: String,
    names: Vec<ResourceName>,
}

/// What is due to be sent of one kind.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Resources, new or changed.
    pub(super) set: Vec<ResourceName>,
    /// Names asked for that do not exist: the client waits for this answer.
    pub(super) absent: Vec<ResourceName>,
    /// Resources that the client has and that are gone.
    pub(super) removed: Vec<ResourceName>,
}

/// How far a client is with one resource that another one names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has not asked for it.
    NotAsked,
    /// It is told, or about to be, and has not answered.
    Waiting,
    /// It serves by a version of it, or knows that there is none.
    Settled,
    /// It rejected it and has no earlier version.
    Refused,
}

/// The changes of one request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) subscribe: Vec<ResourceName>,
    pub(super) unsubscribe: Vec<ResourceName>,
    pub(super) wildcard_on: bool,
    pub(super) wildcard_off: bool,
    /// Counts in the first request only.
    pub(super) versions: Vec<(ResourceName, String)>,
}

impl Subscription {
    pub(super) fn started(&self) -> bool {
        self.started
    }

    pub(super) fn names(&self) -> &BTreeSet<ResourceName> {
        &self.names
    }

    pub(super) fn awaits_answer(&self) -> bool {
        self.in_flight.is_some()
    }

    fn covers(&self, name: &ResourceName) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Takes a request's changes of what is asked for. In incremental xDS they count even where the nonce is stale.
    pub(super) fn ask(&mut self, kind: Kind, asked: Asked) {
        let first = !self.started;
        self.started = true;
        // Naming nothing in the first request means everything, but only for the kinds that no other resource names.
        let legacy = first && asked.subscribe.is_empty() && matches!(kind, Kind::Cluster | Kind::Listener);
        self.wildcard |= asked.wildcard_on || legacy;
        for name in asked.subscribe {
            let known = !self.names.insert(name.clone()) || self.held.contains_key(&name);
            if known {
                self.again.insert(name);
            }
        }
        if first {
            let names = &self.names;
            self.again.retain(|name| self.wildcard || names.contains(name));
            for (name, version) in asked.versions {
                if self.covers(&name) {
                    let version: Version = version.into();
                    let held = Held {
                        told: Some(version.clone()),
                        accepted: Some(version),
                        rejected: None,
                    };
                    self.held.insert(name, held);
                }
            }
        }
        for name in asked.unsubscribe {
            self.names.remove(&name);
            if self.wildcard {
                // Still covered by the wildcard: the client wants to hear what it now has.
                self.again.insert(name);
            } else {
                self.again.remove(&name);
                self.held.remove(&name);
            }
        }
        if asked.wildcard_off {
            self.wildcard = false;
            let names = &self.names;
            self.held.retain(|name, _| names.contains(name));
            self.again.retain(|name| names.contains(name));
        }
    }

    /// Takes an answer. False: the nonce is not that of the response in flight, and the answer means nothing.
    ///
    /// A rejection counts for the resources that the reason names, as Envoy and our proxy do (the others of the response are
    /// in use there); for all of them where it names none.
    pub(super) fn answer(&mut self, nonce: &str, error: Option<&str>) -> bool {
        let Some(in_flight) = self.in_flight.take_if(|f| f.nonce == nonce) else {
            return false;
        };
        let blamed = |name: &ResourceName| error.is_some_and(|error| is_named(error, name.as_str()));
        let anyone = in_flight.names.iter().any(blamed);
        for name in in_flight.names {
            let Some(held) = self.held.get_mut(&name) else {
                continue;
            };
            match error {
                Some(error) if !anyone || blamed(&name) => held.rejected = Some(error.chars().take(REASON).collect()),
                _ => {
                    held.accepted.clone_from(&held.told);
                    held.rejected = None;
                    if held.told.is_none() && !self.names.contains(&name) {
                        self.held.remove(&name);
                    }
                }
            }
        }
        true
    }

    /// What is due against `snapshot`, whether it may be sent now or not. A rejected version is not due again.
    pub(super) fn due(&self, kind: Kind, snapshot: &AppSnapshot) -> Due {
        let mut due = Due::default();
        let mut names: BTreeSet<&ResourceName> = self.names.iter().chain(&self.again).collect();
        if self.wildcard {
            names.extend(snapshot.of(kind).keys().chain(self.held.keys()));
        }
        for name in names {
            let held = self.held.get(name);
            let again = self.again.contains(name);
            match snapshot.get(kind, name) {
                Some(entry) => {
                    let told = held.and_then(|held| held.told.as_ref());
                    if again || told != Some(&entry.version) {
                        due.set.push(name.clone());
                    }
                }
                None if again || held.is_none() => due.absent.push(name.clone()),
                None if held.is_some_and(|held| held.told.is_some()) => due.removed.push(name.clone()),
                None => {}
            }
        }
        due
    }

    /// Notes a response as sent: what it sets (with versions) and what it says is gone.
    pub(super) fn sent(&mut self, nonce: String, set: &[(ResourceName, Version)], gone: &[ResourceName]) {
        let told = set.iter().map(|(name, version)| (name, Some(version.clone())));
        let told = told.chain(gone.iter().map(|name| (name, None)));
        let mut names = Vec::with_capacity(set.len() + gone.len());
        for (name, version) in told {
            let held = self.held.entry(name.clone()).or_default();
            held.told = version;
            held.rejected = None;
            self.again.remove(name);
            names.push(name.clone());
        }
        self.in_flight = Some(InFlight { nonce, names });
    }

    /// The client was told another version of `name` before than `version`.
    pub(super) fn changes(&self, name: &ResourceName, version: &Version) -> bool {
        let told = self.held.get(name).and_then(|held| held.told.as_ref());
        told.is_some_and(|told| told != version)
    }

    /// Sends `name` again, if it is asked for or the first request is still to come.
    pub(super) fn send_again(&mut self, name: &ResourceName) {
        if self.covers(name) || !self.started {
            self.again.insert(name.clone());
        }
    }

    /// How far the client is with `name`.
    pub(super) fn progress(&self, name: &ResourceName) -> Progress {
        if !self.covers(name) {
            return Progress::NotAsked;
        }
        let in_flight = self.in_flight.as_ref().is_some_and(|f| f.names.contains(name));
        match self.held.get(name) {
            Some(held) if held.accepted.is_some() => Progress::Settled,
            Some(held) if held.rejected.is_some() => Progress::Refused,
            Some(held) if held.told.is_none() && !in_flight => Progress::Settled,
            _ => Progress::Waiting,
        }
    }

    /// The client serves by some version of `name`.
    pub(super) fn serves(&self, name: &ResourceName) -> bool {
        self.held.get(name).is_some_and(|held| held.accepted.is_some())
    }

    /// Names with the reason why the client rejected the version it was told last.
    pub(super) fn rejected(&self) -> impl Iterator<Item = (&ResourceName, &str)> {
        let held = self.held.iter();
        held.filter_map(|(name, held)| Some((name, held.rejected.as_deref()?)))
    }
}

/// `text` names `name` as a word of its own, not as a part of a longer name.
fn is_named(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}
