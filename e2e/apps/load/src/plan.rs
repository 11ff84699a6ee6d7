//! What the driver is told and what it tells: the bodies of its JSON API, shared with the tests.
//! Every time is in milliseconds of the driver's own clock since the Unix epoch, so that times of one driver can be compared.

mod protocols;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use protocols::{Call, Called, Calls, Connected, Connections, Heard, Listen, Moved, Raw, Received, Step, Volume};

/// One request. In a load, `{n}` in the path, the query or the value of a header is the request's number (from 0), and `{ip}` an
/// address made of it, so that each can have a key of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// `http://host[:port]/path?query`.
    pub url: String,
    /// Its method.
    #[serde(default = "get")]
    pub method: String,
    /// Headers besides `host`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Length of the body in bytes, all of them `x`; no body where it is 0.
    #[serde(default)]
    pub body_bytes: u64,
    /// How long it may take in all, in milliseconds.
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u64,
    /// Over HTTP/2, by prior knowledge, rather than HTTP/1.1.
    #[serde(default)]
    pub http2: bool,
}

impl Request {
    /// A GET of `url` that may take ten seconds.
    pub fn get(url: impl Into<String>) -> Self {
        Request {
            url: url.into(),
            method: get(),
            headers: BTreeMap::new(),
            body_bytes: 0,
            timeout_ms: ten_seconds(),
            http2: false,
        }
    }

    /// A POST of `url` with `body_bytes` bytes that may take ten seconds.
    pub fn post(url: impl Into<String>, body_bytes: u64) -> Self {
        Request {
            method: "POST".to_owned(),
            body_bytes,
            ..Request::get(url)
        }
    }
}

fn get() -> String {
    "GET".to_owned()
}

fn ten_seconds() -> u64 {
    10_000
}

/// What became of one request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The status, if an answer began.
    pub status: Option<u16>,
    /// Its headers, names in lower case; of a repeated one the last.
    pub headers: BTreeMap<String, String>,
    /// The values of all its `set-cookie` headers.
    #[serde(default)]
    pub cookies: Vec<String>,
    /// What came behind its body, names in lower case.
    #[serde(default)]
    pub trailers: BTreeMap<String, String>,
    /// The first 64 KiB of its body, as text.
    pub body: String,
    /// Length of the whole body in bytes.
    pub body_bytes: u64,
    /// Why there is no answer, or not all of it.
    pub error: Option<(Cause, String)>,
    /// When it began.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
}

/// Requests of one kind, by several clients at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    /// What each client sends, again and again.
    pub request: Request,
    /// Clients at once, 1 to 512. Each waits for its answer before it sends again.
    pub clients: usize,
    /// Hosts, as `http://host[:port]`, that take the place of the one in the request's URL: each client goes from one to the next.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Requests in all; without it until stopped.
    #[serde(default)]
    pub count: Option<u64>,
    /// Requests of each client; without it as many as come to it.
    #[serde(default)]
    pub per_client: Option<u64>,
    /// What a client waits after an answer, in milliseconds.
    #[serde(default)]
    pub pause_ms: u64,
    /// A new connection for each request, rather than one for each client that is kept.
    #[serde(default)]
    pub fresh_connections: bool,
    /// Each client keeps the cookies it is given, and sends them back.
    #[serde(default)]
    pub cookies: bool,
}

impl Load {
    /// `clients` that send `request` without pauses, over connections that they keep, until stopped.
    pub fn new(request: Request, clients: usize) -> Self {
        Load {
            request,
            clients,
            hosts: Vec::new(),
            count: None,
            per_client: None,
            pause_ms: 0,
            fresh_connections: false,
            cookies: false,
        }
    }
}

/// The load that was started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// Its number.
    pub id: u64,
}

/// What became of a load so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Clients that are still at it.
    pub clients: usize,
    /// When it began.
    pub began_ms: u64,
    /// When this report was made.
    pub now_ms: u64,
    /// Requests under way.
    pub open: u64,
    /// Requests that have ended.
    pub ended: u64,
    /// Those with a status of 200 to 299 and their whole body.
    pub ok: u64,
    /// All others.
    pub failed: u64,
    /// The first 200 failures.
    pub failures: Vec<Failure>,
    /// Successful ones that took longer than 250 ms, and the longest time that one took, in milliseconds.
    #[serde(default)]
    pub slow: u64,
    /// See [`Self::slow`].
    #[serde(default)]
    pub longest_ms: u64,
    /// When the last failed request began; 0 without one.
    pub last_failure_began_ms: u64,
    /// Who answered, by the header `x-tenbin-instance`.
    pub instances: BTreeMap<String, Instance>,
    /// Who answered the first 2,000 requests, in the order of their ends.
    pub order: Vec<String>,
    /// Of each client, whom it was with, in the order of time: the first 100 visits.
    #[serde(default)]
    pub visits: Vec<Vec<Visit>>,
    /// Which requests, by their number, each instance answered, of those below 20,000; only where the request says `{n}` or `{ip}`.
    #[serde(default)]
    pub numbers: BTreeMap<String, Vec<u64>>,
    /// The longest time in which no request succeeded, up to now.
    pub longest_gap_ms: u64,
    /// Connections that were opened.
    pub connections: u64,
}

/// What one instance did in a load.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Instance {
    /// Successful answers.
    pub ok: u64,
    /// When the first of them ended.
    pub first_ms: u64,
    /// When the last of them ended.
    pub last_ms: u64,
}

/// Answers that a client got from one instance in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Who answered.
    pub instance: String,
    /// How many.
    pub ok: u64,
    /// When the request began that was the first of them.
    pub first_ms: u64,
    /// When the last of them ended.
    pub last_ms: u64,
}

/// A request of a load that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// When it began.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// What happened.
    pub cause: Cause,
    /// The status, if an answer began.
    pub status: Option<u16>,
    /// More words: the error, or the beginning of the answer's body.
    pub reason: String,
    /// Whether the connection had answered before.
    pub reused: bool,
}

/// Where a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The name could not be resolved, or no connection be opened.
    Connect,
    /// The connection ended before an answer began.
    Closed,
    /// The answer's status is not one of 200 to 299.
    Status,
    /// The answer's body ended too early.
    Body,
    /// Time was up.
    Timeout,
}

/// A WebSocket to be tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Echo {
    /// `http://host[:port]/path` of an endpoint that sends back what it gets.
    pub url: String,
    /// Messages to send, one after the other.
    pub messages: u64,
    /// Length of each in bytes.
    pub bytes: usize,
}

/// What came back over the WebSocket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Echoed {
    /// Messages that came back as they were sent.
    pub same: u64,
    /// Whether the other side answered the closing handshake.
    pub closed: bool,
    /// What went wrong.
    pub error: Option<String>,
}

/// Ports to be tried, all those of one address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scan {
    /// An IP address.
    pub address: std::net::IpAddr,
}

/// The ports of an address that accept a TCP connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scanned {
    /// Ascending.
    pub open: Vec<u16>,
    /// Ports that neither accepted nor refused within a second.
    pub silent: u32,
}
