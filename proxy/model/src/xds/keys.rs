//! [`SessionKeys`] as `envoy.extensions.transport_sockets.tls.v3.Secret`: a generic secret with our own bytes, a format and then
//! each key's id (big-endian) and secret. No error here ever shows a byte of them.

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{GenericSecret, Secret};

use super::parts;
use crate::{FieldError, ResourceName, SessionKey, SessionKeys};

/// Changes when a former proxy would misread what is written now.
const FORMAT: u8 = 1;
/// The bytes of one key: its id and its secret.
const KEY: usize = 4 + 32;

const PATH: &str = "generic_secret.secret.inline_bytes";

impl SessionKeys {
    /// These keys as Envoy knows a secret.
    pub fn to_xds(&self) -> Secret {
        let mut bytes = Vec::with_capacity(1 + KEY * self.keys.len());
        bytes.push(FORMAT);
        for key in &self.keys {
            bytes.extend_from_slice(&key.id.to_be_bytes());
            bytes.extend_from_slice(&key.secret);
        }
        Secret {
            name: self.name.as_str().to_owned(),
            r#type: Some(Type::GenericSecret(GenericSecret {
                secret: Some(DataSource {
                    specifier: Some(Specifier::InlineBytes(bytes)),
                    ..DataSource::default()
                }),
                ..GenericSecret::default()
            })),
        }
    }

    /// Reads and judges what Envoy would call a secret.
    ///
    /// # Errors
    /// The first field that can't be accepted, without its value.
    pub fn from_xds(xds: &Secret) -> Result<Self, FieldError> {
        let name = ResourceName::parse("name", &xds.name)?;
        let Some(Type::GenericSecret(secret)) = &xds.r#type else {
            return Err(parts::missing("generic_secret", "a generic secret"));
        };
        let specifier = secret.secret.as_ref().and_then(|source| source.specifier.as_ref());
        let Some(Specifier::InlineBytes(bytes)) = specifier else {
            return Err(parts::missing(PATH, "the keys in inline bytes"));
        };
        let size = || format!("{} bytes", bytes.len());
        let Some((&FORMAT, rest)) = bytes.split_first() else {
            return Err(FieldError::new(PATH, size(), format!("keys of format {FORMAT}")));
        };
        let (keys, []) = rest.as_chunks::<KEY>() else {
            return Err(FieldError::new(PATH, size(), format!("{KEY} bytes for each key")));
        };
        let keys = keys.iter().map(|bytes| {
            let [a, b, c, d, secret @ ..] = *bytes;
            SessionKey {
                id: u32::from_be_bytes([a, b, c, d]),
                secret,
            }
        });
        SessionKeys::new(PATH, name, keys.collect())
    }
}
