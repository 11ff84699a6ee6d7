//! What binds a request to an endpoint: who its client is, what it is hashed by, the session cookie that the proxies of an app issue
//! and open. Made ready once for each snapshot, read by each request; whatever a client sends is bounded and never an error.
//! Which endpoint takes the request is the balancer's decision, and must not come here; nor may a key, in any form, leave here.

mod caching;
mod client_address;
mod cookie;
mod key;
mod outcome;
mod sessions;
mod token;

use std::net::IpAddr;
use std::time::Duration;

use http::Request;
use tenbin_model::{HashKey, ResourceName, SessionKeys};

pub use client_address::{MAX_HOPS, TrustedHops};
pub use outcome::Outcome;
pub use sessions::{Brought, Sessions};
pub use token::{Keyring, Opened, Token};

/// The affinity of a cluster, ready for use.
#[derive(Debug)]
pub enum Affinity {
    /// None: the policy chooses.
    None,
    /// The endpoint follows from a hash of this.
    Hash(HashKey),
    /// The endpoint is in a cookie that the proxies issue.
    Cookie(Box<Sessions>),
}

/// What a request brought to be bound by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bond {
    /// Nothing is looked for.
    None,
    /// The hash of its key, if it has one.
    Key(Option<u64>),
    /// What its cookie says.
    Session(Brought),
}

impl Bond {
    /// The hash of its key, if it has one.
    pub fn key(&self) -> Option<u64> {
        match self {
            Bond::Key(key) => *key,
            Bond::None | Bond::Session(_) => None,
        }
    }

    /// What became of it as long as no endpoint that it is bound to is known.
    pub fn outcome(&self) -> Outcome {
        match self {
            Bond::None | Bond::Key(None) => Outcome::None,
            Bond::Session(Brought::Nothing) => Outcome::New,
            Bond::Session(Brought::Useless(useless)) => *useless,
            Bond::Key(Some(_)) | Bond::Session(Brought::Session { .. }) => Outcome::Gone,
        }
    }

    /// Whether it is worth counting: something is looked for.
    pub fn counts(&self) -> bool {
        *self != Bond::None
    }

    /// Whether the client is to be told where its session is, after `outcome`.
    pub fn wants_cookie(&self, outcome: Outcome) -> bool {
        match self {
            Bond::Session(Brought::Session { old, .. }) => *old || outcome != Outcome::Hit,
            Bond::Session(_) => true,
            Bond::None | Bond::Key(_) => false,
        }
    }
}

impl Affinity {
    /// The affinity of `cluster`, made of its settings and the keys of its app.
    pub fn new(settings: Option<&tenbin_model::Affinity>, cluster: &ResourceName, keys: Option<&SessionKeys>) -> Self {
        match settings {
            None => Affinity::None,
            Some(tenbin_model::Affinity::Hash { key, .. }) => Affinity::Hash(key.clone()),
            Some(tenbin_model::Affinity::Cookie(cookie)) => {
                Affinity::Cookie(Box::new(Sessions::new(cookie, cluster, keys)))
            }
        }
    }

    /// What a connection without requests brought: who opened it.
    pub fn bond_connection(&self, client: IpAddr) -> Bond {
        match self {
            Affinity::Hash(key @ HashKey::SourceIp { .. }) => Bond::Key(key::hash(key, &Request::new(()), || client)),
            Affinity::None | Affinity::Hash(_) | Affinity::Cookie(_) => Bond::None,
        }
    }

    /// What `request` brought. `client` finds out who sent it, `now` the time of day; each is asked only where it matters.
    pub fn bond<B>(
        &self,
        request: &Request<B>,
        client: impl FnOnce() -> IpAddr,
        now: impl FnOnce() -> Duration,
    ) -> Bond {
        match self {
            Affinity::None => Bond::None,
            Affinity::Hash(key) => Bond::Key(key::hash(key, request, client)),
            Affinity::Cookie(sessions) => Bond::Session(sessions.read(request.headers(), now())),
        }
    }
}
