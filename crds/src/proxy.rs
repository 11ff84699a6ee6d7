//! `BalancedApp.spec.proxy`: the proxy beside each replica, and what it tells of requests. What a field does is decided in the operator
//! and the proxy, never here.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{embedded, rules};

/// The proxy that runs beside each replica. Of its fields only `resources` is about pods; a change of the others replaces none.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxySpec {
    /// CPU and memory of the proxy (`requests`, `limits`), in place of the operator's defaults for all apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::resources")]
    pub resources: Option<ResourceRequirements>,

    /// Whether the app is told of the client by the header `Forwarded` (RFC 7239) too, beside `X-Forwarded-*` and `X-Real-IP`. False
    /// unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<bool>,

    /// A header of responses that names the replica that answered, as `x-served-by`: 1 to 128 letters, digits or characters of
    /// ``!#$%&'*+-.^_`|~``, none of the headers that HTTP itself reads. None unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::served_by_header())]
    pub served_by_header: Option<String>,

    /// A line for each request; what the operator says for all apps unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
}

/// What is logged of requests.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// How lines look. `None`: there are none. `Text`: words in a fixed order. `JSON`: one object a line.
    pub format: AccessLogFormat,

    /// One line for so many requests, chosen at random: 1 (every one, the default) to 1000000. Requests that failed are always logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub one_in: Option<u32>,
}

/// How lines of the access log look.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessLogFormat {
    /// There are none.
    #[default]
    None,
    /// Words in a fixed order.
    Text,
    /// One JSON object a line.
    #[serde(rename = "JSON")]
    Json,
}
