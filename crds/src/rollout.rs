//! `BalancedApp.spec.rollout`: how replicas are replaced and stopped. How that is carried out is decided in the
//! operator, never here.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::embedded;

/// How replicas are replaced and stopped.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = (
        "!((self.maxSurge == 0 || self.maxSurge == '0%') && (self.maxUnavailable == 0 || self.maxUnavailable == '0%'))",
        "rollout.maxSurge and rollout.maxUnavailable must not both be 0: no replica could ever be replaced"
    ),
    validation = Rule::new("self.drainSeconds + 5 <= self.graceSeconds")
        .field_path(".drainSeconds")
        .message(Message::Expression(
            "'rollout.drainSeconds (%d) must be at least 5 less than rollout.graceSeconds (%d): requests in flight need time to finish'.format([self.drainSeconds, self.graceSeconds])".to_owned()
        ))
)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// How many replicas may run beyond `replicas` while they are replaced: a number (0 to 5000) or a percentage of
    /// `replicas`, rounded up (`0%` to `100%`). 25% by default.
    #[serde(default = "quarter")]
    #[schemars(schema_with = "embedded::count_or_percent")]
    pub max_surge: IntOrString,

    /// How many of `replicas` may be missing while they are replaced: a number (0 to 5000) or a percentage of
    /// `replicas`, rounded down (`0%` to `100%`). 0 by default: the old one goes when the new one is ready.
    #[serde(default = "zero")]
    #[schemars(schema_with = "embedded::count_or_percent")]
    pub max_unavailable: IntOrString,

    /// Seconds that a replica which is to go keeps taking requests, until everybody has heard of it: 0 to 600, 5 by default.
    #[serde(default = "drain")]
    #[schemars(range(min = 0, max = 600))]
    pub drain_seconds: i32,

    /// Seconds from the decision to stop a replica until it is killed, `drainSeconds` included: 5 to 3600, 45 by default.
    /// Requests that take longer are cut off.
    #[serde(default = "grace")]
    #[schemars(range(min = 5, max = 3600))]
    pub grace_seconds: i32,
}

impl Default for Rollout {
    fn default() -> Self {
        Rollout {
            max_surge: quarter(),
            max_unavailable: zero(),
            drain_seconds: drain(),
            grace_seconds: grace(),
        }
    }
}

fn quarter() -> IntOrString {
    IntOrString::String("25%".to_owned())
}

fn zero() -> IntOrString {
    IntOrString::Int(0)
}

fn drain() -> i32 {
    5
}

fn grace() -> i32 {
    45
}
