//! Parts that several kinds share: times, addresses, "over this stream", our metadata. No resource is put together here.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol};
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, Metadata, SocketAddress, address,
    data_source,
};
use envoy_types::pb::google::protobuf::value::Kind as ValueKind;
use envoy_types::pb::google::protobuf::{Any, Duration as ProtoDuration, Struct, Value};
use prost::{Message, Name};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::METADATA;
use crate::{FieldError, bounds};

/// An error for a field that is not there.
pub(super) fn missing(path: &str, accepted: &str) -> FieldError {
    FieldError::new(path, "", accepted)
}

/// An error where `present`: a field is set that we would not obey.
pub(super) fn unsupported(path: &str, present: bool) -> Result<(), FieldError> {
    if present {
        Err(FieldError::new(
            path,
            "(set)",
            "nothing here: this proxy does not do it",
        ))
    } else {
        Ok(())
    }
}

/// A message within a message.
pub(super) fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

/// Reads what [`pack`] writes.
pub(super) fn unpack<M: Message + Name + Default>(path: &str, any: &Any) -> Result<M, FieldError> {
    if any.type_url != M::type_url() {
        return Err(FieldError::new(
            format!("{path}.type_url"),
            &any.type_url,
            M::type_url(),
        ));
    }
    M::decode(any.value.as_slice())
        .map_err(|error| FieldError::new(path, error, format!("a message of type {}", M::NAME)))
}

/// Text in the resource itself.
pub(super) fn to_inline(text: &str) -> DataSource {
    DataSource {
        specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
        ..DataSource::default()
    }
}

/// Reads text in the resource itself; errors never show it.
pub(super) fn from_inline(path: &str, source: Option<&DataSource>) -> Result<String, FieldError> {
    let text = match source.and_then(|source| source.specifier.as_ref()) {
        Some(data_source::Specifier::InlineString(text)) => Some(text.clone()),
        Some(data_source::Specifier::InlineBytes(bytes)) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    };
    text.ok_or_else(|| missing(path, "inline PEM"))
}

pub(super) fn to_duration(value: Duration) -> ProtoDuration {
    ProtoDuration {
        // Bounded by a week wherever a value comes from outside; saturating for what is built by hand.
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: value.subsec_nanos().cast_signed(),
    }
}

/// A time within bounds, or `default` where there is none.
pub(super) fn from_duration(
    path: &str,
    value: Option<&ProtoDuration>,
    default: Duration,
) -> Result<Duration, FieldError> {
    let Some(value) = value else { return Ok(default) };
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => {
            let time = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()));
            bounds::timeout(path, time)
        }
        _ => Err(FieldError::new(
            path,
            format!("{}s {}ns", value.seconds, value.nanos),
            "a time of 1ms to 7 days",
        )),
    }
}

pub(super) fn to_address(address: SocketAddr) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            protocol: Protocol::Tcp.into(),
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..SocketAddress::default()
        })),
    }
}

/// A TCP address: an IP and a port of 1 to 65535.
pub(super) fn from_address(path: &str, value: Option<&Address>) -> Result<SocketAddr, FieldError> {
    let Some(address::Address::SocketAddress(socket)) = value.and_then(|a| a.address.as_ref()) else {
        return Err(missing(&format!("{path}.socket_address"), "an IP address and a port"));
    };
    let at = |field: &str| format!("{path}.socket_address.{field}");
    if socket.protocol != i32::from(Protocol::Tcp) {
        return Err(FieldError::new(at("protocol"), socket.protocol, "TCP (0)"));
    }
    let ip: IpAddr = socket
        .address
        .parse()
        .map_err(|_| FieldError::new(at("address"), &socket.address, "an IPv4 or IPv6 address"))?;
    let port = match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => port,
        Some(PortSpecifier::NamedPort(_)) | None => 0,
    };
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(SocketAddr::new(ip, port)),
        _ => Err(FieldError::new(at("port_value"), port, "a port of 1 to 65535")),
    }
}

/// "From this same stream".
pub(super) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

pub(super) fn from_ads(path: &str, value: Option<&ConfigSource>) -> Result<(), FieldError> {
    match value.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(ConfigSourceSpecifier::Ads(_)) => Ok(()),
        _ => Err(missing(path, "ads: references are followed on this stream only")),
    }
}

/// Our metadata with its one text field.
pub(super) fn to_metadata(key: &str, text: String) -> Metadata {
    let value = Value {
        kind: Some(ValueKind::StringValue(text)),
    };
    let fields = HashMap::from([(key.to_owned(), value)]);
    Metadata {
        filter_metadata: HashMap::from([(METADATA.to_owned(), Struct { fields })]),
        ..Metadata::default()
    }
}

/// The text of a field of our metadata, with its path; no text where it is not there.
///
/// # Errors
/// The field holds something other than text.
pub(super) fn from_metadata<'a>(
    path: &str,
    value: Option<&'a Metadata>,
    key: &str,
) -> Result<(String, Option<&'a str>), FieldError> {
    let path = format!("{path}.filter_metadata[{METADATA}].{key}");
    let field = value
        .and_then(|m| m.filter_metadata.get(METADATA))
        .and_then(|ours| ours.fields.get(key));
    match field.map(|value| &value.kind) {
        None => Ok((path, None)),
        Some(Some(ValueKind::StringValue(text))) => Ok((path, Some(text))),
        Some(_) => Err(FieldError::new(path, "(not text)", "text")),
    }
}

/// Our metadata with a value as JSON in its one field.
pub(super) fn to_json(key: &str, value: &impl Serialize) -> Option<Metadata> {
    // Plain text, numbers and switches always have a JSON form.
    serde_json::to_string(value).ok().map(|text| to_metadata(key, text))
}

/// The value that stands as JSON in a field of our metadata, with the path of the field; the default where it is not there.
///
/// # Errors
/// The field holds something other than a JSON object of that shape.
pub(super) fn from_json<T: DeserializeOwned + Default>(
    value: Option<&Metadata>,
    key: &str,
) -> Result<(String, T), FieldError> {
    let (path, text) = from_metadata("metadata", value, key)?;
    let Some(text) = text else {
        return Ok((path, T::default()));
    };
    match serde_json::from_str(text) {
        Ok(value) => Ok((path, value)),
        Err(error) => Err(FieldError::new(path, error, "a JSON object of options")),
    }
}

/// A time in the text form of protobuf durations: `60s`, `0.250000000s`.
pub(super) fn to_text(time: Duration) -> String {
    match time.subsec_nanos() {
        0 => format!("{}s", time.as_secs()),
        nanos => format!("{}.{nanos:09}s", time.as_secs()),
    }
}

/// Reads what [`to_text`] writes; no bounds but those of the text.
pub(super) fn from_text(path: &str, text: &str) -> Result<Duration, FieldError> {
    text_duration(text).ok_or_else(|| FieldError::new(path, text, "seconds as in \"60s\" or \"0.25s\""))
}

fn text_duration(text: &str) -> Option<Duration> {
    let text = text.strip_suffix('s')?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds, 12) || !digits(fraction, 9) {
        return None;
    }
    Some(Duration::new(
        seconds.parse().ok()?,
        format!("{fraction:0<9}").parse().ok()?,
    ))
}
