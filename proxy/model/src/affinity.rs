//! What binds requests to endpoints.

use std::time::Duration;

use crate::ResourceName;

/// What binds a request to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// The endpoint follows from a hash of something in the request; without it, the policy chooses.
    Hash {
        /// What is hashed.
        key: HashKey,
        /// How the hash becomes an endpoint.
        table: HashTable,
        /// Bounded load: the most open requests of an endpoint, in percent of its fair share of all; 101 to 10,000. No bound unless given.
        bound: Option<u32>,
    },
    /// The endpoint is in a sealed cookie that the proxies issue; the policy chooses for a client without one.
    Cookie(SessionCookie),
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, as many leading bits of it as said: 1 to 32, and 1 to 128.
    SourceIp {
        /// Leading bits of an IPv4 address; an IPv4 address mapped into IPv6 is one.
        v4: u8,
        /// Leading bits of an IPv6 address.
        v6: u8,
    },
    /// The value of a request header (lower-case name); of several, all values in order.
    Header(String),
    /// The value of a parameter of the query, undecoded; the first of that name.
    QueryParam(String),
    /// The path without its query, in canonical form.
    Path,
    /// The value of a cookie that the app sets; the first of that name.
    Cookie(String),
}

impl HashKey {
    /// The whole address of the client.
    pub const SOURCE_IP: HashKey = HashKey::SourceIp { v4: 32, v6: 128 };
}

/// How a hash becomes an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashTable {
    /// Consistent hashing on a ring of points: only the keys of an endpoint that goes move.
    #[default]
    Ring,
    /// Maglev's table: more even than the ring, and about twice as many keys move.
    Maglev,
}

/// A cookie that the proxies issue, which names an endpoint by its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookie {
    /// Its name: a token (RFC 6265), 1 to 64 characters.
    pub name: String,
    /// Its Path attribute: begins with `/`, at most 256 printable characters without `;`.
    pub path: String,
    /// How long it is valid: 1 s to 400 days, counted from its issue. Without it the browser forgets it at its end (a session
    /// cookie), and it is valid for [`Self::SESSION_LIFE`].
    pub ttl: Option<Duration>,
    /// Its SameSite attribute.
    pub same_site: SameSite,
    /// Whether it has the attribute Secure.
    pub secure: bool,
    /// Whether it has the attribute HttpOnly.
    pub http_only: bool,
    /// What happens to sessions on an endpoint that drains.
    pub on_drain: OnDrain,
    /// What happens to sessions on an endpoint that is gone or can't be reached.
    pub on_dead: OnDead,
    /// The [`crate::SessionKeys`] that seal it.
    pub keys: ResourceName,
}

impl SessionCookie {
    /// The longest that a cookie without a time of its own is valid.
    pub const SESSION_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
    /// Default of [`Self::name`].
    pub const DEFAULT_NAME: &str = "tenbin";
}

/// The SameSite attribute of a cookie (RFC 6265bis).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SameSite {
    /// Sent along when the user follows a link from another site.
    #[default]
    Lax,
    /// Sent from the own site only.
    Strict,
    /// Always sent; browsers want Secure with it.
    None,
}

/// What happens to sessions on an endpoint that drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDrain {
    /// They stay as long as it serves.
    #[default]
    Keep,
    /// They move at once.
    Move,
}

/// What happens to sessions on an endpoint that is gone or can't be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDead {
    /// They move to another one.
    #[default]
    Rebalance,
    /// The request is refused with 503, and the cookie stays.
    Fail,
}
