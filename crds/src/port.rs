//! `BalancedApp.spec.ports`: where an app listens and what it speaks there. What goes together is in `rules`; what a field does is
//! decided in the operator and the proxy, never here.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// A port of the app.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = rules::tls_is_there_where_it_is_spoken(),
    validation = rules::tls_is_read()
)]
#[serde(rename_all = "camelCase")]
pub struct AppPort {
    /// The port's name: 1 to 12 characters of a-z, 0-9 and '-'. Not `admin` and not beginning with `tb-`, which are the
    /// proxy's.
    #[schemars(length(max = 63))]
    #[x_kube(
        validation = ("size(self) <= 12 && self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && !self.contains('--')", "a port's name must be 1 to 12 characters of a-z, 0-9 and '-', begin with a letter, not end with '-' and have no '--'"),
        validation = ("self != 'admin' && !self.startsWith('tb-')", "a port's name must not be 'admin' nor begin with 'tb-': these are names of the proxy's ports")
    )]
    pub name: String,

    /// The port number on which the app listens: 1 to 65535. The app finds it as `TENBIN_PORT_<NAME>`.
    #[schemars(range(min = 1, max = 65535), extend("format" = "int32"))]
    pub port: u16,

    /// The port number of the Service: 1 to 65535; the same as `port` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535), extend("format" = "int32"))]
    pub service_port: Option<u16>,

    /// What the app speaks on this port. `http` (the default): HTTP/1.1, with Upgrade (WebSocket). `https`: the same over TLS. `h2c`:
    /// HTTP/2 in cleartext. `h2`: HTTP/2 over TLS. `grpc`: HTTP/2, over TLS where `tls` is given. `tcp`: anything, balanced connection by
    /// connection. Clients may speak HTTP/1.1 and HTTP/2 in cleartext whatever the app speaks, but for `tcp`. A change replaces the pods, whose
    /// proxies have to start with it, unless it comes to the same (`h2c` and `grpc` without `tls`); the proxies speak it at once.
    #[serde(default)]
    pub app_protocol: AppProtocol,

    /// How the app's certificate is verified. Needed for `https` and `h2`, allowed for `grpc`. A change replaces no pods, unless `grpc` becomes
    /// TLS or cleartext by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<PortTls>,
}

/// What an app speaks on a port.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppProtocol {
    /// HTTP/1.1, with Upgrade (WebSocket).
    #[default]
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 in cleartext, by prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/2, over TLS where it is given.
    Grpc,
    /// Anything, connection by connection.
    Tcp,
}

/// How the certificate of an app is verified. There is no way not to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortTls {
    /// The name that the certificate must be for, and that the app is asked for (SNI): a host name in lower case or an IP address;
    /// `<app>.<namespace>.svc` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::server_name())]
    pub server_name: Option<String>,

    /// The certificates of the CAs that may sign it, as PEM: at most 65536 bytes.
    #[schemars(length(min = 1, max = 65536))]
    #[x_kube(validation = rules::ca_bundle())]
    pub ca_bundle: String,
}
