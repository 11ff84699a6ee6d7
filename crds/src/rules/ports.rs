//! The rules of ports and of what proxies tell: protocols with TLS and without, connections that are no requests, names of headers.

use kube::core::Rule;

use super::{AFFINITY, TOKEN, rule, value};

/// A host name in lower case; addresses are judged apart.
const HOST: &str = "^[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?([.][a-z0-9_]([-a-z0-9_]*[a-z0-9_])?)*$";

/// Headers that HTTP itself reads: the same as in the model's `bounds`.
const TAKEN: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "host",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

pub(crate) fn tls_is_there_where_it_is_spoken() -> Rule {
    rule(
        "!(self.appProtocol in ['https', 'h2']) || has(self.tls)",
        ".tls",
        "'appProtocol (%s) of port %s needs tls, as tls: {caBundle: ...}, to verify the certificate of the app; or set appProtocol to \
         http, h2c, grpc or tcp'.format([self.appProtocol, self.name])",
    )
}

pub(crate) fn tls_is_read() -> Rule {
    rule(
        "!has(self.tls) || self.appProtocol in ['https', 'h2', 'grpc']",
        ".tls",
        "'tls of port %s is not read with appProtocol %s: remove it, or set appProtocol to https, h2 or grpc'\
         .format([self.name, self.appProtocol])",
    )
}

pub(crate) fn connections_have_no_requests() -> Rule {
    rule(
        format!("{AFFINITY} in ['None', 'SourceIP'] || self.ports.exists(p, p.appProtocol != 'tcp')"),
        ".affinity.type",
        format!(
            "'affinity.type (%s) goes by what is in a request, but all of spec.ports have appProtocol tcp: set affinity.type to SourceIP \
             or None, or appProtocol to http, https, h2c, h2 or grpc'.format([{AFFINITY}])"
        ),
    )
}

pub(crate) fn server_name() -> Rule {
    value(
        format!("self.matches('{HOST}') || isIP(self)"),
        "'tls.serverName (%s) must be a host name in lower case, as shop.example.com, or an IP address'.format([self])",
    )
}

pub(crate) fn ca_bundle() -> Rule {
    Rule::new("self.contains('-----BEGIN CERTIFICATE-----')").message(
        "tls.caBundle must be the PEM of at least one certificate: -----BEGIN CERTIFICATE-----, base64, -----END CERTIFICATE-----",
    )
}

pub(crate) fn served_by_header() -> Rule {
    let taken: Vec<String> = TAKEN.iter().map(|name| format!("'{name}'")).collect();
    value(
        format!(
            "self.matches('{TOKEN}') && !(self.lowerAscii() in [{}])",
            taken.join(", ")
        ),
        format!(
            r"'proxy.servedByHeader (%s) must be 1 to 128 letters, digits or characters of !#$%%&\'*+-.^_`|~, as x-served-by, and none of {}'.format([self])",
            TAKEN.join(", ")
        ),
    )
}
