//! `BalancedApp.spec.affinity`: what binds requests to a replica. What goes together is in `rules`; what a field does is decided in
//! the operator and the proxy, never here.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{SourceIp, embedded, rules};

/// What binds requests to a replica.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = rules::header_and_its_type(),
    validation = rules::query_param_and_its_type(),
    validation = rules::cookie_and_its_type(),
    validation = rules::source_ip_and_its_type(),
    validation = rules::on_drain_needs_our_cookie(),
    validation = rules::on_dead_needs_our_cookie(),
    validation = rules::an_apps_cookie_has_a_name()
)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    /// `None` (the same as no `affinity`); `SourceIP`: the client's address; `Cookie`: a sealed cookie that the proxies issue, or one
    /// of the app's; `Header`, `QueryParam`, `Path`: that part of the request. A request without it goes by `algorithm`.
    #[serde(rename = "type")]
    pub kind: AffinityType,

    /// The cookie. For type `Cookie`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Cookie>,

    /// The header. For type `Header`, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderKey>,

    /// The parameter of the query. For type `QueryParam`, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_param: Option<QueryParamKey>,

    /// How much of the client's address counts. For type `SourceIP`.
    #[serde(default, rename = "sourceIP", skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<SourceIp>,

    /// What happens to sessions on a replica that stops: `Keep` (the default): they stay while it serves; `Move`: they move at once.
    /// For a cookie that the proxies issue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::choice::<OnDrain>")]
    pub on_drain: Option<OnDrain>,

    /// What happens to sessions on a replica that is gone or can't be reached: `Rebalance` (the default): they move to another one;
    /// `Fail`: the request is refused with 503 and the cookie stays. For a cookie that the proxies issue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::choice::<OnDead>")]
    pub on_dead: Option<OnDead>,
}

/// What binds a request.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AffinityType {
    /// Nothing.
    #[default]
    None,
    /// The client's address.
    SourceIP,
    /// A cookie.
    Cookie,
    /// A request header.
    Header,
    /// A parameter of the query.
    QueryParam,
    /// The path, without its query.
    Path,
}

/// A cookie: the proxies' own, sealed, with a replica in it; or one of the app's, whose value is hashed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = rules::an_apps_cookie_has_no_attributes(),
    validation = rules::same_site_none_needs_secure()
)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    /// `Proxy` (the default): the proxies issue it, and it names a replica. `App`: the app sets it, and its value is hashed.
    #[serde(default)]
    pub issued_by: IssuedBy,

    /// Its name: 1 to 64 letters, digits or characters of ``!#$%&'*+-.^_`|~``. `tenbin` unless given; needed for an app's cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::cookie_name())]
    pub name: Option<String>,

    /// Its Path: begins with `/`, at most 256 printable characters without `;`. `/` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::cookie_path())]
    pub path: Option<String>,

    /// For how many seconds it is valid, counted from its issue: 1 to 34560000 (400 days). Unless given, the browser forgets it at its
    /// end, and it is valid for 7 days at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 34_560_000), extend("format" = "int32"))]
    pub ttl_seconds: Option<u32>,

    /// Its SameSite: `Lax` (the default), `Strict` or `None`, which needs `secure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::choice::<SameSite>")]
    pub same_site: Option<SameSite>,

    /// Whether it is Secure: sent by the browser over HTTPS only. False unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure: Option<bool>,

    /// Whether it is HttpOnly: hidden from scripts. True unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_only: Option<bool>,
}

/// Who issues a cookie.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IssuedBy {
    /// The proxies.
    #[default]
    Proxy,
    /// The app.
    App,
}

/// The SameSite attribute of a cookie.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SameSite {
    /// Sent along when the user follows a link from another site.
    Lax,
    /// Sent from the own site only.
    Strict,
    /// Always sent.
    None,
}

/// A request header.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderKey {
    /// Its name, in any case: 1 to 128 letters, digits or characters of ``!#$%&'*+-.^_`|~``.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::header_name())]
    pub name: String,
}

/// A parameter of the query.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryParamKey {
    /// Its name as it stands in the URL: 1 to 128 printable ASCII characters without `&`, `=` and `#`.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::query_param_name())]
    pub name: String,
}

/// What happens to sessions on a replica that stops.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDrain {
    /// They stay while it serves.
    Keep,
    /// They move at once.
    Move,
}

/// What happens to sessions on a replica that is gone.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDead {
    /// They move to another one.
    Rebalance,
    /// The request is refused.
    Fail,
}
