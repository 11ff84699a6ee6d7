//! What an app speaks on a port, and whether TLS of it can be spoken at all: its schema can tell the shape of a certificate, but not
//! read one. Here alone it is decided, for what proxies are sent and for what pods start with.

use std::collections::BTreeMap;

use tenbin_crds::{AppPort, AppProtocol, BalancedAppSpec};
use tenbin_model::{FieldError, SidecarPort, Speaks, UpstreamTls, bounds};

use crate::key::AppKey;
use crate::problem::Problem;

/// The most bytes of all [`files`]: together with what else there is, less than the 1 MiB that a ConfigMap may hold.
const MAX_FILES: usize = 512 << 10;

/// What the app speaks on a port.
pub fn speaks(port: &AppPort) -> Speaks {
    match port.app_protocol {
        AppProtocol::Http => Speaks::Http,
        AppProtocol::Https => Speaks::Https,
        AppProtocol::H2 => Speaks::H2,
        AppProtocol::Grpc if port.tls.is_some() => Speaks::H2,
        AppProtocol::H2c | AppProtocol::Grpc => Speaks::H2c,
        AppProtocol::Tcp => Speaks::Tcp,
    }
}

/// How the app is verified on a port; none where it speaks cleartext.
pub fn upstream_tls(key: &AppKey, port: &AppPort) -> Option<UpstreamTls> {
    let said = || port.tls.clone().unwrap_or_default();
    let default = || format!("{}.{}.svc", key.name, key.namespace);
    speaks(port).is_tls().then(said).map(|said| UpstreamTls {
        server_name: said.server_name.unwrap_or_else(default),
        ca: said.ca_bundle,
    })
}

/// The same as files for the proxies of fresh pods, by their names. Those that would be too much are left out: a pod without one is not
/// ready before its first update.
pub(super) fn files(key: &AppKey, spec: &BalancedAppSpec) -> BTreeMap<String, String> {
    let mut left = MAX_FILES;
    let file = |port: &AppPort| Some((SidecarPort::tls_file(&port.name), upstream_tls(key, port)?.to_json()));
    let fits = |(_, text): &(String, String)| match left.checked_sub(text.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    spec.ports.iter().filter_map(file).filter(fits).collect()
}

/// What is wrong with the TLS of a port, with the path in the spec.
pub fn port_tls(port: &AppPort) -> Vec<FieldError> {
    let needed = matches!(port.app_protocol, AppProtocol::Https | AppProtocol::H2);
    let path = format!("spec.ports[{}].tls", port.name);
    let Some(tls) = &port.tls else {
        let missing = FieldError::new(path, "", "a caBundle to verify the certificate of the app by");
        return needed.then_some(missing).into_iter().collect();
    };
    let name = tls.server_name.as_ref();
    let name = name.map(|name| bounds::server_name(&format!("{path}.serverName"), name));
    let ca = bounds::authorities(&format!("{path}.caBundle"), &tls.ca_bundle);
    name.and_then(Result::err).into_iter().chain(ca.err()).collect()
}

/// The same for all ports: such a spec is not carried out.
pub(super) fn check(spec: &BalancedAppSpec) -> Vec<Problem> {
    let errors = spec.ports.iter().flat_map(port_tls);
    let told = errors.map(|error| {
        let text = format!("{:?} is not accepted, expected {}", error.value, error.accepted);
        Problem::fatal(error.path, "BadTls", text)
    });
    told.collect()
}
