//! Names that come often: those of the static table (RFC 7541 Appendix A), and others, found without an allocation. What fields mean
//! is not known here.

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::Field;
use crate::Malformed;

/// How many fields the static table has; the first has the index 1.
pub(super) const STATIC: usize = 61;

/// The static table's pseudo-headers come first.
const PSEUDO: usize = 14;

macro_rules! tables {
    ({$($pseudo:literal $pseudo_value:literal $field:expr,)*} {$($name:literal $value:literal,)*} {$($other:literal,)*}) => {
        /// The static table as text.
        const TEXT: [(&str, &str); STATIC] = [$(($pseudo, $pseudo_value),)* $(($name, $value),)*];

        static FIELDS: [Field; STATIC] = [
            $($field,)*
            $(Field::Header(HeaderName::from_static($name), HeaderValue::from_static($value)),)*
        ];

        /// Names of headers: those of the static table in its order, then others.
        static NAMES: [HeaderName; COUNT] = [$(HeaderName::from_static($name),)* $(HeaderName::from_static($other),)*];

        static NAME_TEXT: [&str; COUNT] = [$($name,)* $($other,)*];

        const COUNT: usize = [$($name,)* $($other,)*].len();
    };
}

tables! {
    {
        ":authority" "" Field::Bad(Malformed::Authority),
        ":method" "GET" Field::Method(Method::GET),
        ":method" "POST" Field::Method(Method::POST),
        ":path" "/" Field::Path(PathAndQuery::from_static("/")),
        ":path" "/index.html" Field::Path(PathAndQuery::from_static("/index.html")),
        ":scheme" "http" Field::Scheme(Scheme::HTTP),
        ":scheme" "https" Field::Scheme(Scheme::HTTPS),
        ":status" "200" Field::Status(StatusCode::OK),
        ":status" "204" Field::Status(StatusCode::NO_CONTENT),
        ":status" "206" Field::Status(StatusCode::PARTIAL_CONTENT),
        ":status" "304" Field::Status(StatusCode::NOT_MODIFIED),
        ":status" "400" Field::Status(StatusCode::BAD_REQUEST),
        ":status" "404" Field::Status(StatusCode::NOT_FOUND),
        ":status" "500" Field::Status(StatusCode::INTERNAL_SERVER_ERROR),
    }
    {
        "accept-charset" "",
        "accept-encoding" "gzip, deflate",
        "accept-language" "",
        "accept-ranges" "",
        "accept" "",
        "access-control-allow-origin" "",
        "age" "",
        "allow" "",
        "authorization" "",
        "cache-control" "",
        "content-disposition" "",
        "content-encoding" "",
        "content-language" "",
        "content-length" "",
        "content-location" "",
        "content-range" "",
        "content-type" "",
        "cookie" "",
        "date" "",
        "etag" "",
        "expect" "",
        "expires" "",
        "from" "",
        "host" "",
        "if-match" "",
        "if-modified-since" "",
        "if-none-match" "",
        "if-range" "",
        "if-unmodified-since" "",
        "last-modified" "",
        "link" "",
        "location" "",
        "max-forwards" "",
        "proxy-authenticate" "",
        "proxy-authorization" "",
        "range" "",
        "referer" "",
        "refresh" "",
        "retry-after" "",
        "server" "",
        "set-cookie" "",
        "strict-transport-security" "",
        "transfer-encoding" "",
        "user-agent" "",
        "vary" "",
        "via" "",
        "www-authenticate" "",
    }
    {
        "alt-svc",
        "baggage",
        "content-security-policy",
        "dnt",
        "forwarded",
        "grpc-accept-encoding",
        "grpc-encoding",
        "grpc-message",
        "grpc-status",
        "grpc-status-details-bin",
        "grpc-timeout",
        "origin",
        "pragma",
        "priority",
        "sec-ch-ua",
        "sec-ch-ua-mobile",
        "sec-ch-ua-platform",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "sec-fetch-site",
        "sec-fetch-user",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "upgrade-insecure-requests",
        "x-b3-sampled",
        "x-b3-spanid",
        "x-b3-traceid",
        "x-content-type-options",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-frame-options",
        "x-real-ip",
        "x-request-id",
        "x-xss-protection",
    }
}

/// The sizes of the static table's fields (RFC 7541 §4.1).
static SIZES: [u8; STATIC] = {
    let mut sizes = [0; STATIC];
    let mut at = 0;
    while at < STATIC {
        sizes[at] = (TEXT[at].0.len() + TEXT[at].1.len() + 32) as u8;
        at += 1;
    }
    sizes
};

/// A field of the static table, and its size.
#[inline]
pub(super) fn field(index: usize) -> Option<(&'static Field, usize)> {
    let at = index.checked_sub(1)?;
    Some((FIELDS.get(at)?, usize::from(*SIZES.get(at)?)))
}

/// Where a name is in [`NAMES`], by [`hash`] with [`SEED`]; [`NONE`]: none is there.
static PLACES: [u8; PLACES_LEN] = match places(SEED) {
    Some(places) => places,
    None => panic!("two names have one place"),
};
const PLACES_LEN: usize = 1024;
const NONE: u8 = u8::MAX;

/// The first with which no two names have one place.
const SEED: u32 = {
    let mut seed = 0x9e37_79b1;
    while places(seed).is_none() {
        seed += 2;
    }
    seed
};

/// A place for a name that is not empty, by its length and four of its bytes.
#[inline]
const fn hash(name: &[u8], seed: u32) -> usize {
    let length = name.len();
    let (first, middle, last) = (name[0], name[length / 2], name[length - 1]);
    let before = name[length - 1 - (length > 1) as usize];
    let key = u32::from_le_bytes([first, middle, last, before]) ^ ((length as u32) << 5);
    (key.wrapping_mul(seed) >> 22) as usize
}

const fn places(seed: u32) -> Option<[u8; PLACES_LEN]> {
    let mut places = [NONE; PLACES_LEN];
    let mut at = 0;
    while at < COUNT {
        let place = hash(NAME_TEXT[at].as_bytes(), seed);
        if places[place] != NONE {
            return None;
        }
        places[place] = at as u8;
        at += 1;
    }
    Some(places)
}

/// Where `name` is in [`NAMES`].
#[inline]
fn find(name: &[u8]) -> Option<usize> {
    if name.is_empty() {
        return None;
    }
    // No hash is beyond the table: it has 10 bits.
    let at = usize::from(PLACES[hash(name, SEED)]);
    let known = NAME_TEXT.get(at)?;
    (known.as_bytes() == name).then_some(at)
}

/// The name that `name` says, if it is one of those that come often.
#[inline]
pub(super) fn name(name: &[u8]) -> Option<HeaderName> {
    NAMES.get(find(name)?).cloned()
}

/// The static table's index of a header's name, if it has one; the first, where it has several.
#[inline]
pub(super) fn index(name: &[u8]) -> Option<u8> {
    let index = find(name)? + PSEUDO + 1;
    if index <= STATIC {
        u8::try_from(index).ok()
    } else {
        None
    }
}
