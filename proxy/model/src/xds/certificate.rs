//! [`Certificate`] as `envoy.extensions.transport_sockets.tls.v3.Secret`: a certificate and its key in inline PEM. No error here ever
//! shows a byte of the key.

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, TlsCertificate};

use super::parts;
use crate::{Certificate, FieldError, ResourceName, bounds};

impl Certificate {
    /// This certificate as Envoy knows a secret.
    pub fn to_xds(&self) -> Secret {
        Secret {
            name: self.name.as_str().to_owned(),
            r#type: Some(Type::TlsCertificate(TlsCertificate {
                certificate_chain: Some(parts::to_inline(&self.chain)),
                private_key: Some(parts::to_inline(&self.key)),
                ..TlsCertificate::default()
            })),
        }
    }

    /// Reads and judges what Envoy would call a secret. Whether certificate and key fit is for who uses them to say.
    ///
    /// # Errors
    /// The first field that can't be accepted, without its value.
    pub fn from_xds(xds: &Secret) -> Result<Self, FieldError> {
        let name = ResourceName::parse("name", &xds.name)?;
        let Some(Type::TlsCertificate(certificate)) = &xds.r#type else {
            return Err(parts::missing("tls_certificate", "a certificate and its key"));
        };
        let (chain, key) = ("tls_certificate.certificate_chain", "tls_certificate.private_key");
        let theirs = parts::from_inline(chain, certificate.certificate_chain.as_ref())?;
        let secret = parts::from_inline(key, certificate.private_key.as_ref())?;
        Ok(Certificate {
            name,
            chain: bounds::chain(chain, &theirs)?,
            key: bounds::private_key(key, &secret)?,
        })
    }
}
