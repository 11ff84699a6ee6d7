//! `BalancedApp.spec.healthProbe`: how the kubelet finds out whether a replica can serve.
//! Which probes of the pod it becomes is decided in the operator, never here.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Exactly one of `http`, `tcp` and `grpc`, and how often to ask.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = (
        "[has(self.http), has(self.tcp), has(self.grpc)].filter(given, given).size() == 1",
        "healthProbe must have exactly one of http, tcp and grpc, for example http: {path: /healthz}"
    ),
    validation = Rule::new("self.timeoutSeconds <= self.intervalSeconds")
        .field_path(".timeoutSeconds")
        .message(Message::Expression(
            "'healthProbe.timeoutSeconds (%d) must not be greater than healthProbe.intervalSeconds (%d)'.format([self.timeoutSeconds, self.intervalSeconds])".to_owned()
        ))
)]
#[serde(rename_all = "camelCase")]
pub struct HealthProbe {
    /// Healthy when a GET of `path` is answered with a status from 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,

    /// Healthy when a TCP connection opens: `tcp: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProbe>,

    /// Healthy when the gRPC health service (grpc.health.v1) answers SERVING: `grpc: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcProbe>,

    /// The name of the port that is probed; the first of `ports` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 12))]
    pub port: Option<String>,

    /// Seconds from one probe to the next: 1 to 300, 5 by default.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 300))]
    pub interval_seconds: i32,

    /// Seconds to wait for an answer: 1 to 300, 1 by default; not more than `intervalSeconds`.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: i32,

    /// After how many good answers in a row a replica is ready again: 1 to 20, 1 by default.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 20))]
    pub success_threshold: i32,

    /// After how many bad answers in a row a replica gets no more requests: 1 to 20, 2 by default.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 20))]
    pub failure_threshold: i32,

    /// How many seconds the app may take to start before its container is restarted: 1 to 3600, 300 by default.
    #[serde(default = "three_hundred")]
    #[schemars(range(min = 1, max = 3600))]
    pub startup_seconds: i32,

    /// Whether a container whose probe keeps failing is restarted as well. False by default: an app that is merely busy
    /// gets worse from being restarted.
    #[serde(default)]
    pub liveness: bool,
}

fn one() -> i32 {
    1
}

fn two() -> i32 {
    2
}

fn five() -> i32 {
    5
}

fn three_hundred() -> i32 {
    300
}

/// Healthy when a GET is answered with a status from 200 to 399.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpProbe {
    /// The path to GET, beginning with '/', for example `/healthz`; a query (`?full=1`) is allowed.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = (r"self.matches(r'^/\S*$')", "path must begin with '/' and have no spaces, for example /healthz"))]
    pub path: String,
}

/// Healthy when a TCP connection opens.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpProbe {}

/// Healthy when the gRPC health service answers SERVING.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcProbe {
    /// The service asked for in the health request; the server as a whole unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service: Option<String>,
}
