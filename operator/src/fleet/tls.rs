//! Whether TLS of a port can be spoken at all. Its schema can tell the shape of a certificate, but not read one.

use tenbin_crds::{AppPort, AppProtocol, BalancedAppSpec};
use tenbin_model::{FieldError, bounds};

use crate::problem::Problem;

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
