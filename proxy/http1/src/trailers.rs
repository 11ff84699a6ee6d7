//! Trailers of a chunked body (RFC 9112 §7.1.2): found like the lines of a head, and which fields they may not have.

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName};

use crate::lines::Lines;
use crate::{Limits, Malformed, fields};

/// Where the search for the end of trailers stands.
#[derive(Debug, Default)]
pub(crate) struct Trailers {
    lines: Lines,
    count: usize,
}

impl Trailers {
    /// Takes the trailers and the empty line after them off the front of `buf`; `None`: more bytes are needed. What may not be in
    /// trailers is left out.
    pub(crate) fn read(&mut self, buf: &mut BytesMut, limits: &Limits) -> Result<Option<HeaderMap>, Malformed> {
        while let Some(line) = self.lines.next(buf, limits.head, Malformed::TrailersTooLong)? {
            if line.is_empty() {
                let section = buf.split_to(self.lines.begin()).freeze();
                if self.count == 0 {
                    return Ok(Some(HeaderMap::new()));
                }
                let (mut trailers, _) = fields::read(&section, 0, self.count)?;
                for name in &FORBIDDEN {
                    trailers.remove(name);
                }
                return Ok(Some(trailers));
            }
            if self.count == limits.headers {
                return Err(Malformed::TrailersTooLong);
            }
            self.count += 1;
        }
        Ok(None)
    }
}

/// Whether a field may not be in trailers.
pub(crate) fn is_forbidden(name: &HeaderName) -> bool {
    FORBIDDEN.contains(name)
}

/// RFC 9110 §6.5.1: fields of framing, routing, authentication, of how a request is to be carried out, of how a response is to be
/// kept and of what the content is. They were read, or would have been, before the body; whoever merges them afterwards believes
/// something that nobody judged.
static FORBIDDEN: [HeaderName; 43] = [
    header::AGE,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::EXPECT,
    header::EXPIRES,
    header::FORWARDED,
    header::HOST,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::ORIGIN,
    header::PRAGMA,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VARY,
    header::VIA,
    header::WARNING,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];
