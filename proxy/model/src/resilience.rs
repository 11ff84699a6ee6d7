//! What a proxy does when things go wrong or take too long. Plain data; what each means is the proxy's business.

use std::collections::BTreeSet;
use std::time::Duration;

/// How long the parts of a request may take. Each at least 1 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the end of the request to the head of its response, all tries, waiting in queues and between tries included; 504 after it. The
    /// body may then take as long as it likes, as long as it moves.
    pub request: Duration,
    /// The same for one try. As long as the request may take unless given.
    pub per_try: Option<Duration>,
    /// How long a body may stand still, on its way in or out.
    pub idle: Duration,
    /// How long an upgraded connection, or one of plain TCP, may stay without a byte either way.
    pub tunnel_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            request: Duration::from_secs(60),
            per_try: None,
            idle: Duration::from_secs(300),
            tunnel_idle: Duration::from_secs(3600),
        }
    }
}

/// When a request is sent again. Without any of it: where no app can have begun it, and once where its method is idempotent and the
/// connection closed before a byte of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often it is sent in all: 1 to [`Self::MAX_TRIES`].
    pub tries: u32,
    /// What else makes it be sent again, as long as tries are left.
    pub on: BTreeSet<RetryOn>,
    /// Statuses that do too: 400 to 599, at most [`Self::MAX_STATUSES`].
    pub statuses: BTreeSet<u16>,
    /// Whether these hold for methods that are not idempotent too.
    pub any_method: bool,
    /// How much of a body is kept to be sent again, in bytes, at most [`Self::MAX_BODY`]. A request with more is sent once.
    pub body: u32,
    /// How many retries there may be against requests, in percent: 0 to 100. A few are always allowed.
    pub budget: u8,
    /// How long the first retry waits at most; the time doubles with each, up to ten times as long, and is drawn anew each time.
    pub backoff: Duration,
}

impl Retry {
    /// The most [`Self::tries`].
    pub const MAX_TRIES: u32 = 10;
    /// The most [`Self::statuses`].
    pub const MAX_STATUSES: usize = 16;
    /// The most [`Self::body`].
    pub const MAX_BODY: u32 = 1 << 20;
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            tries: 3,
            on: BTreeSet::new(),
            statuses: BTreeSet::new(),
            any_method: false,
            body: 64 << 10,
            budget: 20,
            backoff: Duration::from_millis(25),
        }
    }
}

/// What makes a request be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryOn {
    /// The connection closed before a byte of the response.
    Closed,
    /// 502, 503 or 504.
    GatewayError,
    /// No head of a response within [`Timeouts::per_try`].
    Timeout,
}

/// How much of bodies is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bodies {
    /// The largest body of a request, in bytes; 413 above it. Without it, any.
    pub request_max: Option<u64>,
    /// The largest body of a response, in bytes; 502 above it, or a broken response where it has begun. Without it, any.
    pub response_max: Option<u64>,
    /// Up to so many bytes of a response are read from the endpoint before the client gets any, so that slow clients don't hold it;
    /// at most [`Self::MAX_BUFFER`]. Nothing is held back without it.
    pub response_buffer: Option<u32>,
}

impl Bodies {
    /// The most [`Self::response_buffer`].
    pub const MAX_BUFFER: u32 = 1 << 20;
}

/// What one proxy sends to a cluster at once. Each proxy counts for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections to all endpoints, and to each; at least 1. No limit unless given.
    pub connections: Option<u32>,
    /// See [`Self::connections`].
    pub endpoint_connections: Option<u32>,
    /// Open requests at all endpoints, and at each; at least 1. No limit unless given.
    pub requests: Option<u32>,
    /// See [`Self::requests`].
    pub endpoint_requests: Option<u32>,
    /// Requests that wait while these are reached; 503 with Retry-After above it. 0 to 100,000.
    pub queue: u32,
    /// How long they wait; 503 with Retry-After after it. At least 1 ms.
    pub queue_timeout: Duration,
}

impl Limits {
    /// The most [`Self::queue`].
    pub const MAX_QUEUE: u32 = 100_000;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: None,
            endpoint_connections: None,
            requests: None,
            endpoint_requests: None,
            queue: 1024,
            queue_timeout: Duration::from_secs(5),
        }
    }
}
