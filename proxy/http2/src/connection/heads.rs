//! The fields of one header block, gathered, and what they make: a request, a response, or trailers, or why they make none (RFC 9113 §8).
//! What that means for a stream is not decided here.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::Protocol;
use crate::Malformed;
use crate::hpack::Field;

/// Fields for which a head has room at once: most have no more.
const USUAL: usize = 12;

/// The fields of a header block.
#[derive(Default)]
pub(super) struct Fields {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<Bytes>,
    status: Option<StatusCode>,
    headers: HeaderMap,
    /// As RFC 9113 §6.5.2 counts.
    size: usize,
    /// The first thing that was wrong; what came after it was not kept.
    malformed: Option<Malformed>,
    /// The limits were reached; what came after was not kept.
    is_too_large: bool,
    /// `Content-Length`.
    length: Option<u64>,
}

/// How much is taken.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) size: usize,
    pub(super) headers: usize,
}

impl Fields {
    /// None yet; headers are to be put in `headers`, which is empty.
    pub(super) fn new(headers: HeaderMap) -> Self {
        Fields {
            headers,
            ..Fields::default()
        }
    }

    /// Adds a field of that size; whether more are wanted.
    pub(super) fn add(&mut self, field: Field, size: usize, limits: Limits) -> bool {
        self.size = self.size.saturating_add(size);
        if self.size > limits.size {
            self.is_too_large = true;
            return false;
        }
        let added = match field {
            Field::Header(name, value) => {
                if self.headers.len() >= limits.headers {
                    self.is_too_large = true;
                    return false;
                }
                self.header(name, value)
            }
            Field::Bad(malformed) => Err(malformed),
            _ if !self.headers.is_empty() => Err(Malformed::PseudoLate),
            Field::Method(method) => once(&mut self.method, method),
            Field::Scheme(scheme) => once(&mut self.scheme, scheme),
            Field::Authority(authority) => once(&mut self.authority, authority),
            Field::Path(path) => once(&mut self.path, path),
            Field::Protocol(protocol) => once(&mut self.protocol, protocol),
            Field::Status(status) => once(&mut self.status, status),
        };
        self.malformed = added.err();
        self.malformed.is_none()
    }

    fn header(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), Malformed> {
        // By their lengths most names are told from those that mean something here.
        match name.as_str().len() {
            2 if name == TE && value.as_bytes() != b"trailers" => return Err(Malformed::Te),
            7 if name == UPGRADE => return Err(Malformed::ConnectionSpecific),
            10 if name == CONNECTION || name.as_str() == "keep-alive" => return Err(Malformed::ConnectionSpecific),
            14 if name == CONTENT_LENGTH => {
                let length = decimal(value.as_bytes()).ok_or(Malformed::ContentLength)?;
                if self.length.replace(length).is_some() {
                    return Err(Malformed::ContentLength);
                }
            }
            16 if name.as_str() == "proxy-connection" => return Err(Malformed::ConnectionSpecific),
            17 if name == TRANSFER_ENCODING => return Err(Malformed::ConnectionSpecific),
            _ => {}
        }
        if self.headers.is_empty() {
            self.headers.reserve(USUAL);
        }
        if self.headers.try_append(name, value).is_err() {
            self.is_too_large = true;
        }
        Ok(())
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    /// `Content-Length`, if there is one.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// A request (RFC 9113 §8.3.1, §8.5, RFC 8441 §4).
    pub(super) fn request(mut self, offers_protocol: bool) -> Result<http::Request<()>, Malformed> {
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        let Some(method) = &self.method else {
            return Err(Malformed::PseudoMissing);
        };
        let is_connect = *method == Method::CONNECT;
        let has_protocol = self.protocol.is_some();
        if self.status.is_some() || has_protocol && !(is_connect && offers_protocol) {
            return Err(Malformed::PseudoMisplaced);
        }
        if is_connect && !has_protocol {
            if self.scheme.is_some() || self.path.is_some() {
                return Err(Malformed::PseudoMisplaced);
            }
            if self.authority.is_none() {
                return Err(Malformed::PseudoMissing);
            }
        } else if self.scheme.is_none() || self.path.is_none() {
            return Err(Malformed::PseudoMissing);
        }
        let uri = self.uri().ok_or(Malformed::Path)?;
        Ok(self.with(uri))
    }

    /// What there is of a request that is too large.
    pub(super) fn partial(mut self) -> http::Request<()> {
        let uri = self.uri().unwrap_or_default();
        self.with(uri)
    }

    fn uri(&mut self) -> Option<Uri> {
        let mut parts = http::uri::Parts::default();
        parts.authority = self.authority.take();
        // A URI with a scheme and without an authority cannot be made.
        parts.scheme = self.scheme.take().filter(|_| parts.authority.is_some());
        parts.path_and_query = self.path.take();
        Uri::from_parts(parts).ok()
    }

    fn with(self, uri: Uri) -> http::Request<()> {
        let mut request = http::Request::new(());
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = self.method.unwrap_or_default();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        if let Some(protocol) = self.protocol {
            request.extensions_mut().insert(Protocol(protocol));
        }
        request
    }

    /// A response (RFC 9113 §8.3.2).
    pub(super) fn response(self) -> Result<http::Response<()>, Malformed> {
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        if self.has_request_pseudo() {
            return Err(Malformed::PseudoMisplaced);
        }
        let status = self.status.ok_or(Malformed::PseudoMissing)?;
        // There is no other protocol to switch to (RFC 9113 §8.6).
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Malformed::Status);
        }
        let mut response = http::Response::new(());
        *response.version_mut() = Version::HTTP_2;
        *response.status_mut() = status;
        *response.headers_mut() = self.headers;
        Ok(response)
    }

    /// Trailers (RFC 9113 §8.1).
    pub(super) fn trailers(self) -> Result<HeaderMap, Malformed> {
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        if self.status.is_some() || self.has_request_pseudo() {
            return Err(Malformed::PseudoMisplaced);
        }
        Ok(self.headers)
    }

    fn has_request_pseudo(&self) -> bool {
        self.method.is_some()
            || self.scheme.is_some()
            || self.authority.is_some()
            || self.path.is_some()
            || self.protocol.is_some()
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed::PseudoTwice),
    }
}

/// A decimal number of at most 64 bits, of nothing but digits.
fn decimal(text: &[u8]) -> Option<u64> {
    let digit = |number: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then_some(u64::from(byte & 0x0f))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0, digit)
}
