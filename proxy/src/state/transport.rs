//! How a cluster's endpoints are spoken with: which HTTP, and TLS with what it needs, made ready at snapshot time. Pure; connecting must
//! not come here.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tenbin_model::{UpstreamProtocol, UpstreamTls};

/// How endpoints are spoken with. One object for as long as its settings are the same: connections are pooled by it.
#[derive(Debug, Default)]
pub struct Transport {
    /// What they speak.
    pub protocol: UpstreamProtocol,
    /// What it is wrapped in.
    pub tls: EndpointTls,
    settings: Option<UpstreamTls>,
}

/// TLS with endpoints.
#[derive(Debug, Default)]
pub enum EndpointTls {
    /// Cleartext.
    #[default]
    Off,
    /// Always verified. Tickets to resume with are kept in the configuration, for all workers.
    On {
        /// The CAs, the protocol that is offered.
        config: Arc<ClientConfig>,
        /// Whom the certificate must be for.
        name: ServerName<'static>,
    },
    /// It was asked for with what can't be used: nothing is sent in cleartext instead.
    Unusable(String),
}

impl Transport {
    /// The transport that `cluster` asks for: the very object of before where nothing changed, or where what is asked for can't be used
    /// and what there was can.
    pub(super) fn next(before: Option<&Arc<Self>>, cluster: &tenbin_model::Cluster) -> Arc<Self> {
        let (protocol, settings) = (cluster.protocol, cluster.tls.as_ref());
        if let Some(before) = before
            && before.protocol == protocol
            && before.settings.as_ref() == settings
        {
            return Arc::clone(before);
        }
        let tls = settings.map_or(EndpointTls::Off, |settings| EndpointTls::new(settings, protocol));
        match before {
            Some(before) if tls.is_unusable() && matches!(before.tls, EndpointTls::On { .. }) => Arc::clone(before),
            _ => Arc::new(Transport {
                protocol,
                tls,
                settings: settings.cloned(),
            }),
        }
    }
}

impl EndpointTls {
    fn new(settings: &UpstreamTls, protocol: UpstreamProtocol) -> Self {
        match Self::try_new(settings, protocol) {
            Ok(tls) => tls,
            Err(why) => {
                tracing::warn!(server_name = settings.server_name, %why, "TLS with endpoints cannot be used");
                EndpointTls::Unusable(why)
            }
        }
    }

    /// What `settings` ask for.
    ///
    /// # Errors
    /// The name is none, or the CA's text holds no certificate that can be read: which field, and what would be accepted.
    pub fn try_new(settings: &UpstreamTls, protocol: UpstreamProtocol) -> Result<Self, String> {
        let name = ServerName::try_from(settings.server_name.clone()).map_err(|_| {
            format!(
                "server_name {:?}: a host name or an IP address is expected",
                settings.server_name
            )
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(settings.ca.as_bytes()) {
            let certificate = certificate.map_err(|error| format!("ca: certificates in PEM are expected: {error}"))?;
            let added = roots.add(certificate);
            added.map_err(|error| format!("ca: certificates of CAs are expected: {error}"))?;
        }
        if roots.is_empty() {
            return Err("ca: at least one certificate in PEM is expected".to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = match protocol {
            UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
            UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
        };
        Ok(EndpointTls::On {
            config: Arc::new(config),
            name,
        })
    }

    /// Whether nothing can be sent, since it was asked for with what can't be used.
    pub(super) fn is_unusable(&self) -> bool {
        matches!(self, EndpointTls::Unusable(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenbin_model::{Cluster, ResourceName};

    fn cluster(name: &str, ca: &str) -> Cluster {
        Cluster {
            tls: Some(UpstreamTls {
                server_name: name.to_owned(),
                ca: ca.to_owned(),
            }),
            ..Cluster::new(ResourceName::parse("test", "app").unwrap())
        }
    }

    fn ca() -> String {
        rcgen::generate_simple_self_signed(["app.test".to_owned()])
            .unwrap()
            .cert
            .pem()
    }

    #[test]
    fn what_is_the_same_is_the_same_object() {
        let ca = ca();
        let first = Transport::next(None, &cluster("app.test", &ca));
        assert!(matches!(first.tls, EndpointTls::On { .. }));
        assert!(Arc::ptr_eq(
            &first,
            &Transport::next(Some(&first), &cluster("app.test", &ca))
        ));
        let renamed = Transport::next(Some(&first), &cluster("other.test", &ca));
        assert!(!Arc::ptr_eq(&first, &renamed));
        let cleartext = Cluster::new(ResourceName::parse("test", "app").unwrap());
        let plain = Transport::next(Some(&first), &cleartext);
        assert!(matches!(plain.tls, EndpointTls::Off));
        let h2 = Cluster {
            protocol: UpstreamProtocol::Http2,
            ..cluster("app.test", &ca)
        };
        assert!(!Arc::ptr_eq(&first, &Transport::next(Some(&first), &h2)));
    }

    #[test]
    fn what_cannot_be_used_leaves_what_was_good_and_is_never_cleartext() {
        let good = Transport::next(None, &cluster("app.test", &ca()));
        for bad in [
            cluster("app.test", ""),
            cluster(
                "app.test",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            ),
            cluster("not a name", &ca()),
        ] {
            assert!(Arc::ptr_eq(&good, &Transport::next(Some(&good), &bad)));
            assert!(Transport::next(None, &bad).tls.is_unusable(), "{bad:?}");
        }
    }
}
