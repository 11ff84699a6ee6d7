//! The form in which a snapshot is saved, pure: what is in use to bytes, and bytes judged to what can be put in use again.
//! Reading and writing them is `store`'s work.
//!
//! A header of fixed length (magic, format, SHA-256 of the rest), then one protobuf message. Every resource stands in it as it
//! came, with the version it came with. All of it counts or nothing: whatever is in doubt is refused.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::Resource as XdsResource;
use prost::Message;
use sha2::{Digest, Sha256};
use tenbin_model::{EndpointId, FieldError, Kind, ResourceName};

use super::whole::{self, Entry, Resources};

/// The largest saved snapshot, in bytes: for a moment the old and the new one lie beside each other on a volume of 16 MiB.
pub const MAX: usize = 6 << 20;

const MAGIC: &[u8; 15] = b"tenbin-snapshot";
/// Changes when a former proxy would misread what is written now.
const FORMAT: u8 = 1;
const HASH: usize = 32;

/// Whose snapshot it is: another's is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The pod.
    pub pod: EndpointId,
    /// The listeners that are followed.
    pub listeners: Vec<ResourceName>,
}

/// What was in use at one moment. Cheap to share.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub(super) resources: Arc<Resources>,
    pub(super) received: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(string, tag = "1")]
    pod: String,
    #[prost(string, repeated, tag = "2")]
    listeners: Vec<String>,
    /// Seconds since 1970.
    #[prost(uint64, tag = "3")]
    received: u64,
    #[prost(message, repeated, tag = "4")]
    resources: Vec<XdsResource>,
}

impl Kept {
    /// How many resources it holds.
    pub fn len(&self) -> usize {
        self.entries().count()
    }

    /// Whether the operator said that there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long ago it was received, at `now` since 1970. Zero if the time of day has gone back since.
    pub fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_secs(self.received))
    }

    fn entries(&self) -> impl Iterator<Item = (&ResourceName, &Arc<Entry>)> {
        Kind::ALL.into_iter().flat_map(|kind| self.resources.of(kind))
    }

    /// The bytes to be saved.
    ///
    /// # Errors
    /// They would be more than [`MAX`].
    pub fn encode(&self, owner: &Owner) -> Result<Vec<u8>, FieldError> {
        // Known before anything is copied; names and versions come on top.
        let least = self.entries().map(|(_, entry)| entry.wire.value.len()).sum();
        fits(least)?;
        let resource = |(name, entry): (&ResourceName, &Arc<Entry>)| XdsResource {
            name: name.as_str().to_owned(),
            version: entry.version.clone(),
            resource: Some(entry.wire.clone()),
            ..XdsResource::default()
        };
        let body = Body {
            pod: owner.pod.as_str().to_owned(),
            listeners: owner.names(),
            received: self.received,
            resources: self.entries().map(resource).collect(),
        };
        let bytes = seal(&body.encode_to_vec());
        fits(bytes.len())?;
        Ok(bytes)
    }

    /// Reads what [`Self::encode`] made, and judges it as if it had just been received. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// Names the first thing that can't be accepted: it is not whole or not ours, was changed, or holds a resource that is not
    /// accepted (any more).
    pub fn decode(owner: &Owner, bytes: &[u8]) -> Result<Self, FieldError> {
        fits(bytes.len())?;
        let body = unseal(bytes)?;
        if body.pod != owner.pod.as_str() {
            return Err(FieldError::new("pod", &body.pod, format!("{:?}", owner.pod.as_str())));
        }
        if body.listeners != owner.names() {
            let accepted = format!("{:?}", owner.names());
            return Err(FieldError::new("listeners", format!("{:?}", body.listeners), accepted));
        }
        let mut resources = Resources::default();
        for resource in body.resources {
            let path = format!("resources.{}", resource.name);
            let entry = judge(resource).map_err(|error| error.within(&path))?;
            if let Some(twice) = resources.insert(Arc::new(entry)) {
                let accepted = "each kind and name at most once";
                return Err(FieldError::new(path, twice.resource.kind().as_str(), accepted));
            }
        }
        if !whole::is_whole(&owner.listeners, &resources) {
            let accepted = "the listeners and all that follows from them, nothing else";
            return Err(FieldError::new("resources", "not a whole set", accepted));
        }
        Ok(Kept {
            resources: Arc::new(resources),
            received: body.received,
        })
    }
}

impl Owner {
    fn names(&self) -> Vec<String> {
        self.listeners.iter().map(|name| name.as_str().to_owned()).collect()
    }
}

fn fits(bytes: usize) -> Result<(), FieldError> {
    if bytes <= MAX {
        return Ok(());
    }
    Err(FieldError::new(
        "size",
        format!("{bytes} bytes"),
        format!("at most {MAX} bytes"),
    ))
}

fn judge(resource: XdsResource) -> Result<Entry, FieldError> {
    let name = ResourceName::parse("name", &resource.name)?;
    let wire = resource.resource.unwrap_or_default();
    let Some(kind) = Kind::from_type_url(&wire.type_url) else {
        return Err(FieldError::new("type_url", &wire.type_url, "a type that is asked for"));
    };
    Entry::judge(kind, &name, resource.version, wire)
}

fn seal(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + 1 + HASH + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&Sha256::digest(body));
    bytes.extend_from_slice(body);
    bytes
}

fn unseal(bytes: &[u8]) -> Result<Body, FieldError> {
    let Some((format, rest)) = bytes.strip_prefix(MAGIC).and_then(<[u8]>::split_first) else {
        let size = format!("{} bytes", bytes.len());
        return Err(FieldError::new("header", size, "a snapshot that a proxy saved"));
    };
    if *format != FORMAT {
        return Err(FieldError::new("format", format, FORMAT.to_string()));
    }
    match rest.split_at_checked(HASH) {
        Some((hash, body)) if Sha256::digest(body)[..] == *hash => {
            Body::decode(body).map_err(|error| FieldError::new("body", error, "a message that a proxy saved"))
        }
        _ => Err(FieldError::new(
            "checksum",
            format!("{} bytes", bytes.len()),
            "all bytes as they were written",
        )),
    }
}

#[cfg(test)]
mod tests;
