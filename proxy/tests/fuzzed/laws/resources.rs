//! Resources of the contract in their wire form. The first byte says the kind (`0` secret, `1` cluster, `2` endpoints, `3` listener,
//! `4` routes), the rest is the message.

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use tenbin_model::xds::{decode, encode};
use tenbin_model::{Kind, Resource};

use super::world::{self, next, snapshot, update};

/// What is accepted encodes to what is accepted as the same, in the same bytes each time, and a proxy can be made of it; what a secret
/// holds is in no error and no debug form.
pub(crate) fn law(wire: &[u8]) {
    let Some((kind, value)) = wire.split_first() else {
        return;
    };
    let kind = Kind::ALL[usize::from(kind.wrapping_sub(b'0')) % Kind::ALL.len()];
    let any = Any {
        type_url: kind.type_url().to_owned(),
        value: value.to_vec(),
    };
    let read = decode(kind, &any);
    if kind == Kind::Secret {
        let shown = match &read {
            Ok(resource) => format!("{resource:?}"),
            Err(error) => error.to_string(),
        };
        hidden(value, &shown);
    }
    let Ok(resource) = read else { return };
    the_same(&resource);
    let empty = snapshot(update(vec![Resource::Listener(world::listener())]));
    next(&empty, update(vec![resource]));
}

/// A resource comes back as itself.
pub(crate) fn the_same(resource: &Resource) {
    let written = encode(resource);
    assert_eq!(decode(resource.kind(), &written).as_ref(), Ok(resource));
    assert_eq!(encode(resource), written);
}

/// Nothing that a secret holds is shown; its name may be.
fn hidden(value: &[u8], shown: &str) {
    let Ok(secret) = Secret::decode(value) else { return };
    let held = match &secret.r#type {
        Some(secret::Type::TlsCertificate(certificate)) => certificate.private_key.as_ref(),
        Some(secret::Type::GenericSecret(generic)) => generic.secret.as_ref(),
        _ => None,
    };
    let Some(DataSource {
        specifier: Some(held), ..
    }) = held
    else {
        return;
    };
    let held = match held {
        Specifier::InlineString(text) => text.clone(),
        Specifier::InlineBytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => return,
    };
    for line in held.lines().filter(|line| line.len() >= 24) {
        assert!(secret.name.contains(line) || !shown.contains(line), "{shown}");
    }
}
