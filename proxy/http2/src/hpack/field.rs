//! Names and values as text to fields that are parsed: what RFC 9113 §8.2.1 and §8.3 want of each by itself.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{Field, known};
use crate::Malformed;

/// A field's name, read.
#[derive(Clone)]
pub(super) enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
    Header(HeaderName),
    /// Its field is bad whatever the value, and how long the name was.
    Bad(Malformed, usize),
}

impl Name {
    pub(super) fn read(text: &[u8]) -> Self {
        if let Some(name) = known::name(text) {
            return Self::Header(name);
        }
        match text {
            [] => Self::Bad(Malformed::EmptyName, 0),
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            [b':', ..] => Self::Bad(Malformed::UnknownPseudo, text.len()),
            text => header(text),
        }
    }

    /// The name of a field that is in a table.
    pub(super) fn of(field: &Field) -> Option<Self> {
        Some(match field {
            Field::Method(_) => Self::Method,
            Field::Scheme(_) => Self::Scheme,
            Field::Authority(_) => Self::Authority,
            Field::Path(_) => Self::Path,
            Field::Protocol(_) => Self::Protocol,
            Field::Status(_) => Self::Status,
            Field::Header(name, _) => Self::Header(name.clone()),
            Field::Bad(_) => return None,
        })
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Path => ":path".len(),
            Self::Method | Self::Scheme | Self::Status => ":method".len(),
            Self::Protocol => ":protocol".len(),
            Self::Authority => ":authority".len(),
            Self::Header(name) => name.as_str().len(),
            Self::Bad(_, length) => *length,
        }
    }

    /// The field that it makes with `value`; `share` gives the same bytes to keep. What is wrong comes with the name.
    #[inline]
    pub(super) fn field(self, value: &[u8], share: impl FnOnce() -> Bytes) -> Result<Field, (Malformed, Self)> {
        let read = match self {
            Self::Header(name) => {
                return match header_value(value, share) {
                    Ok(value) => Ok(Field::Header(name, value)),
                    Err(malformed) => Err((malformed, Self::Header(name))),
                };
            }
            Self::Path => path(value, share).map(Field::Path),
            Self::Authority => authority(value, share).map(Field::Authority),
            Self::Method => Method::from_bytes(value)
                .map(Field::Method)
                .map_err(|_| Malformed::Method),
            Self::Scheme => scheme(value).map(Field::Scheme),
            Self::Status => StatusCode::from_bytes(value)
                .map(Field::Status)
                .map_err(|_| Malformed::Status),
            Self::Protocol if !value.is_empty() && value.iter().all(|&byte| is_token(byte)) => {
                Ok(Field::Protocol(share()))
            }
            Self::Protocol => Err(Malformed::Protocol),
            Self::Bad(malformed, _) => Err(malformed),
        };
        read.map_err(|malformed| (malformed, self))
    }
}

/// Bytes of tokens (RFC 9110 §5.6.2).
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

fn is_token(byte: u8) -> bool {
    // No index that a byte can be is out of range.
    TOKEN[usize::from(byte)]
}

/// A name that is not one of those that come often. `HeaderName` takes `"` as well, which no token has.
fn header(text: &[u8]) -> Name {
    if !text.iter().all(|&byte| is_token(byte)) {
        return Name::Bad(Malformed::Name, text.len());
    }
    if text.iter().any(u8::is_ascii_uppercase) {
        return Name::Bad(Malformed::UpperCase, text.len());
    }
    HeaderName::from_lowercase(text).map_or(Name::Bad(Malformed::Name, text.len()), Name::Header)
}

#[inline]
fn header_value(value: &[u8], share: impl FnOnce() -> Bytes) -> Result<HeaderValue, Malformed> {
    if let [b' ' | b'\t', ..] | [.., b' ' | b'\t'] = value {
        return Err(Malformed::SpaceAround);
    }
    HeaderValue::from_maybe_shared(share()).map_err(|_| Malformed::Value)
}

/// A path and its query, or `*`; of the bytes that no URI may have those pass that clients send, as in HTTP/1.1 targets.
fn path(value: &[u8], share: impl FnOnce() -> Bytes) -> Result<PathAndQuery, Malformed> {
    let begins = matches!(value, [b'/', ..] | b"*");
    if !begins || !value.iter().all(|&byte| matches!(byte, b'!'..=b'~') && byte != b'#') {
        return Err(Malformed::Path);
    }
    PathAndQuery::from_maybe_shared(share()).map_err(|_| Malformed::Path)
}

/// A host that is not empty, a port that is a number, no user (RFC 9113 §8.3.1, RFC 9110 §4.2.4).
fn authority(value: &[u8], share: impl FnOnce() -> Bytes) -> Result<Authority, Malformed> {
    if value.is_empty() || value.contains(&b'@') {
        return Err(Malformed::Authority);
    }
    let authority = Authority::from_maybe_shared(share()).map_err(|_| Malformed::Authority)?;
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host).unwrap_or_default();
    let good = match port.strip_prefix(':') {
        Some("") => true,
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    if good && !host.is_empty() {
        Ok(authority)
    } else {
        Err(Malformed::Authority)
    }
}

/// Schemes are case-insensitive (RFC 3986 §3.1).
fn scheme(value: &[u8]) -> Result<Scheme, Malformed> {
    if value.eq_ignore_ascii_case(b"https") {
        return Ok(Scheme::HTTPS);
    }
    if value.eq_ignore_ascii_case(b"http") {
        return Ok(Scheme::HTTP);
    }
    let good = value.first().is_some_and(u8::is_ascii_alphabetic)
        && value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    if !good {
        return Err(Malformed::Scheme);
    }
    Scheme::try_from(value).map_err(|_| Malformed::Scheme)
}
