//! `BalancedApp.spec.resilience`: how long things may take, what is sent again, how much is let through. What goes together is in
//! `rules`; what a field does is decided in the operator and the proxy, never here.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{embedded, rules};

/// What happens when things take too long, fail, or are too many. Every field has a default. A change replaces no pods. Times are
/// numbers with units (ms, s, m, h), as `500ms`, `2s` or `1m30s`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = rules::a_try_is_no_longer_than_its_request(),
    validation = rules::on_timeout_needs_a_time()
)]
#[serde(rename_all = "camelCase")]
pub struct Resilience {
    /// How long things may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,

    /// When a request is sent again. Without it: where no replica can have begun it, and once where its method is idempotent and the
    /// connection closed before a byte of the response. A replica already tried is not tried again while another is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,

    /// How much is let through. Each proxy counts for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,

    /// Up to so many bytes of a response are read from the replica before the client gets any, so that slow clients don't hold it: 1 to
    /// 1048576 (1 MiB). Nothing is held back unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576), extend("format" = "int32"))]
    pub buffer_response_bytes: Option<u32>,
}

/// How long things may take.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// Connecting to a replica, before another one is tried: 1ms to 1h; 2s unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::hour")]
    pub connect: Option<String>,

    /// From the first byte of a request to the end of its headers; 408 after it: 1ms to 1h; 30s unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::hour")]
    pub request_headers: Option<String>,

    /// From the end of a request to the headers of its response, all tries together; 504 after it: 1ms to 1h; 60s unless given. The body
    /// of the response may then take as long as it likes, as long as it moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::hour")]
    pub request: Option<String>,

    /// The same for one try: 1ms to 1h, at most `request`; the same as `request` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::hour")]
    pub per_try: Option<String>,

    /// How long a body, of a request or a response, may stand still: 1ms to 24h; 5m unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::day")]
    pub idle: Option<String>,

    /// How long an upgraded connection (WebSocket), or one of a port of `tcp`, may stay without a byte either way: 1ms to 24h; 1h unless
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::day")]
    pub tunnel_idle: Option<String>,

    /// How long a client's connection is kept open without a request: 1ms to 1h; 10m unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::hour")]
    pub keep_alive: Option<String>,
}

/// When a request is sent again.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = rules::any_method_needs_a_condition(),
    validation = rules::conditions_need_tries()
)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// How often a request is sent in all: 1 (never again) to 10; 3 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10), extend("format" = "int32"))]
    pub tries: Option<u32>,

    /// What else makes a request be sent again. `Closed`: the connection closed before a byte of the response. `GatewayError`: 502, 503 or
    /// 504. `Timeout`: no headers of a response within `timeouts.perTry`, which it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub conditions: Vec<RetryOn>,

    /// Statuses that do too: 400 to 599, at most 16 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::statuses")]
    pub statuses: Vec<u16>,

    /// Whether `conditions` and `statuses` hold for methods that are not idempotent (POST, PATCH) too: only for an app that may get a request
    /// twice. False unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any_method: Option<bool>,

    /// How much of a request's body is kept to be sent again, in bytes: 0 to 1048576 (1 MiB); 65536 (64 KiB) unless given. A request with
    /// a larger body is sent once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_048_576), extend("format" = "int32"))]
    pub body_bytes: Option<u32>,

    /// How many retries there may be against requests, in percent: 0 to 100; 20 unless given. A few are always allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100), extend("format" = "int32"))]
    pub budget_percent: Option<u8>,

    /// How long the first retry waits at most: 1ms to 10s; 25ms unless given. The time doubles with each retry, up to ten times as long,
    /// and is drawn anew each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::seconds")]
    pub backoff: Option<String>,
}

/// What makes a request be sent again.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryOn {
    /// The connection closed before a byte of the response.
    Closed,
    /// 502, 503 or 504.
    GatewayError,
    /// No headers of a response within the time of a try.
    Timeout,
}

/// How much is let through at once. Each proxy counts for itself, so that an app of ten replicas has ten times as much.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = rules::a_queue_needs_a_limit())]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The most connections of a proxy to all replicas: 1 to 1000000; no limit unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub connections: Option<u32>,

    /// The most connections of a proxy to each replica: 1 to 1000000; no limit unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub connections_per_replica: Option<u32>,

    /// The most open requests of a proxy at all replicas: 1 to 1000000; no limit unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub requests: Option<u32>,

    /// The most open requests of a proxy at each replica: 1 to 1000000; no limit unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub requests_per_replica: Option<u32>,

    /// How many requests may wait while these are reached: 0 to 100000; 1024 unless given. 503 with Retry-After above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000), extend("format" = "int32"))]
    pub queue_length: Option<u32>,

    /// How long a request may wait so: 1ms to 1h; 5s unless given. 503 with Retry-After after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::hour")]
    pub queue_timeout: Option<String>,

    /// The largest body of a request, in bytes: 1 to 1099511627776 (1 TiB); 413 above it. Any size unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_099_511_627_776_i64), extend("format" = "int64"))]
    pub request_body_bytes: Option<u64>,

    /// The largest body of a response, in bytes: 1 to 1099511627776 (1 TiB); 502 above it, or a broken response where it has begun. Any
    /// size unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_099_511_627_776_i64), extend("format" = "int64"))]
    pub response_body_bytes: Option<u64>,
}
