//! What users may say: the `BalancedApp` resource (`tenbin.dev/v1alpha1`), its schema and its validation rules.
//! No client, no IO, no decisions: what a field does is decided in the operator.
#![expect(
    unreachable_pub,
    reason = "the derive of a schema repeats each struct, `pub` included, inside a function"
)]

mod affinity;
mod balancing;
mod embedded;
mod port;
mod probe;
mod proxy;
mod resilience;
mod rollout;
mod rules;
mod spec;
mod status;

pub use affinity::{Affinity, AffinityType, Cookie, HeaderKey, IssuedBy, OnDead, OnDrain, QueryParamKey, SameSite};
pub use balancing::{Algorithm, AlgorithmConfig, SlowStart, SourceIp, TrafficDistribution};
pub use port::{AppPort, AppProtocol, PortTls};
pub use probe::{GrpcProbe, HealthProbe, HttpProbe, TcpProbe};
pub use proxy::{AccessLog, AccessLogFormat, ProxySpec};
pub use resilience::{Limits, Resilience, Retries, RetryOn, Timeouts};
pub use rollout::Rollout;
pub use spec::{BalancedApp, BalancedAppSpec};
pub use status::{BalancedAppStatus, EndpointCounts, ProxyCounts};

/// The API group of all our resources, and the prefix of our labels and annotations.
pub const GROUP: &str = "tenbin.dev";
/// Label on everything made for an app, and on its pods: the app's name. Anyone may set a label, so nothing is trusted because of it.
pub const APP_LABEL: &str = "tenbin.dev/app";
