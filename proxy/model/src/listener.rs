//! Where requests are accepted.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::{ListenerTls, ResourceName};

/// A socket that accepts HTTP requests (HTTP/1.1 and HTTP/2 on the same port), or plain TCP connections. A sidecar binds the address
/// that its pod's own template names for the listener, since that is what its Service sends to, and takes the rest from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: ResourceName,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where what it accepts goes.
    pub target: Target,
    /// TLS with its clients; cleartext without.
    pub tls: Option<ListenerTls>,
    /// How long a client may take to send a request's headers; 408 after it. At least 1 ms. Like all that is about requests, it means
    /// nothing for plain TCP and has its default there.
    pub header_timeout: Duration,
    /// How long a client's connection may stay open without a request; one of plain TCP, without a byte either way. At least 1 ms.
    pub idle_timeout: Duration,
    /// Addresses of proxies in front of this one whose `X-Forwarded-For` is believed; at most [`Self::MAX_TRUSTED`]. A client at any
    /// other address is the client, whatever its headers say.
    pub trusted_hops: Vec<IpNet>,
    /// Whether endpoints are told of the client by `Forwarded` (RFC 7239) too, beside `X-Forwarded-*` and `X-Real-IP`.
    pub forwarded: bool,
    /// The header of responses that names the endpoint's instance (lower-case name); none unless given.
    pub served_by: Option<String>,
    /// What is logged of each request.
    pub access_log: AccessLog,
    /// Where spans of requests go; nowhere unless given.
    pub tracing: Option<Tracing>,
}

/// Where what a listener accepts goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// HTTP requests, matched against the route table of that name.
    Http(ResourceName),
    /// Each connection as it is, to an endpoint of the cluster of that name.
    Tcp(ResourceName),
}

/// What is logged of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// How lines look; none where it is off.
    pub format: AccessLogFormat,
    /// One line for so many requests, chosen at random: 1 (every one, the default) to 1,000,000. Requests that failed are always logged.
    pub one_in: u32,
}

impl Default for AccessLog {
    fn default() -> Self {
        AccessLog {
            format: AccessLogFormat::Off,
            one_in: 1,
        }
    }
}

/// How lines of the access log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AccessLogFormat {
    /// There are none.
    #[default]
    Off,
    /// Words in a fixed order.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where spans of requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// The collector (OTLP over gRPC), as `http://collector.observability:4317`.
    pub collector: String,
    /// Requests that begin a trace here, of 1,000,000; one that comes with a trace context goes by that.
    pub sampled: u32,
    /// What the spans say the service is (`service.name`).
    pub service: String,
}

impl Tracing {
    /// [`Self::sampled`] where every request begins a trace.
    pub const ALL: u32 = 1_000_000;
}

impl Target {
    /// The name of the route table, or of the cluster.
    pub fn name(&self) -> &ResourceName {
        match self {
            Target::Http(name) | Target::Tcp(name) => name,
        }
    }
}

impl Listener {
    /// The certificates that it names.
    pub fn certificates(&self) -> &[ResourceName] {
        self.tls.as_ref().map_or(&[], |tls| &tls.certificates)
    }

    /// A listener for HTTP with the defaults of everything.
    pub fn new(name: ResourceName, address: SocketAddr, routes: ResourceName) -> Self {
        Listener {
            name,
            address,
            target: Target::Http(routes),
            tls: None,
            header_timeout: Self::DEFAULT_HEADER_TIMEOUT,
            idle_timeout: Self::DEFAULT_IDLE_TIMEOUT,
            trusted_hops: Vec::new(),
            forwarded: false,
            served_by: None,
            access_log: AccessLog::default(),
            tracing: None,
        }
    }

    /// Default of [`Self::header_timeout`].
    pub const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(30);
    /// Default of [`Self::idle_timeout`]: longer than what usual clients and load balancers keep a connection for, so that they close first.
    pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(600);
    /// The most [`Self::trusted_hops`].
    pub const MAX_TRUSTED: usize = 64;
}
