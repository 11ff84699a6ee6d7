//! [`Certificate`] as `envoy.extensions.transport_sockets.tls.v3.Secret`: a certificate and its key in inline PEM. No error here ever
//! shows a byte of the key.

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, TlsCertificate};

use super::parts;
use crate::{Certificate, FieldError, ResourceName};

impl Certificate {
    /// This certificate as Envoy knows a secret.
    pub fn to_xds(&self) -> Secret {
        Secret {
            name: self.name.as_str().to_owned(),
            r#type: Some(Type::TlsCertificate(TlsCertificate {
                certificate_chain: Some(inline(&self.chain)),
                private_key: Some(inline(&self.key)),
                ..TlsCertificate::default()
            })),
        }
    }

    /// Reads and judges what Envoy would call a secret. Whether its PEM is any good is for who uses it to say.
    ///
    /// # Errors
    /// The first field that can't be accepted, without its value.
    pub fn from_xds(xds: &Secret) -> Result<Self, FieldError> {
        let name = ResourceName::parse("name", &xds.name)?;
        let Some(Type::TlsCertificate(certificate)) = &xds.r#type else {
            return Err(parts::missing("tls_certificate", "a certificate and its key"));
        };
        Ok(Certificate {
            name,
            chain: text(
                "tls_certificate.certificate_chain",
                certificate.certificate_chain.as_ref(),
            )?,
            key: text("tls_certificate.private_key", certificate.private_key.as_ref())?,
        })
    }
}

fn inline(text: &str) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineString(text.to_owned())),
        ..DataSource::default()
    }
}

fn text(path: &str, source: Option<&DataSource>) -> Result<String, FieldError> {
    let text = match source.and_then(|source| source.specifier.as_ref()) {
        Some(Specifier::InlineString(text)) => Some(text.clone()),
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    };
    text.ok_or_else(|| parts::missing(path, "inline PEM"))
}
