//! Where a message ends and whether its connection goes on: `Content-Length`, `Transfer-Encoding` and `Connection`
//! (RFC 9112 §6, §9.3). Other fields are not looked at.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::{Length, Malformed};

/// No number of 64 bits has more digits.
const LENGTH_DIGITS: usize = 20;

/// The transfer codings beside `chunked` that are registered (RFC 9112 §7): in front of it they make a good message that is
/// not understood here.
const CODINGS: [&str; 5] = ["compress", "deflate", "gzip", "x-compress", "x-gzip"];

/// Which of the fields that are read here a head has, so that nobody looks for others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Named {
    content_length: bool,
    transfer_encoding: bool,
    connection: bool,
}

impl Named {
    /// The head has a field of this name.
    #[inline]
    pub(crate) fn see(&mut self, name: &HeaderName) {
        self.content_length |= *name == CONTENT_LENGTH;
        self.transfer_encoding |= *name == TRANSFER_ENCODING;
        self.connection |= *name == CONNECTION;
    }
}

/// How a request's body ends: it has none unless its head says so.
pub(crate) fn of_request(headers: &HeaderMap, named: Named, version: Version) -> Result<Length, Malformed> {
    let chunked = is_chunked(headers, named, version)?;
    match (chunked, content_length(headers, named)?) {
        (true, None) => Ok(Length::Chunked),
        (true, Some(_)) => Err(Malformed::LengthAndEncoding),
        (false, length) => Ok(Length::Exact(length.unwrap_or(0))),
    }
}

/// How a response's body ends, and whether there is no doubt about it: where a length and chunks are both announced the chunks
/// count (RFC 9112 §6.3) and the length goes; where there can be no body and one is announced there is none. In both the
/// connection is not to be used again.
pub(crate) fn of_response(
    headers: &mut HeaderMap,
    named: Named,
    version: Version,
    status: StatusCode,
    method: &Method,
) -> Result<(Length, bool), Malformed> {
    let bodiless = bodiless(status, method);
    if is_chunked(headers, named, version)? {
        let certain = headers.remove(CONTENT_LENGTH).is_none();
        return Ok(match bodiless {
            Bodiless::Never => (Length::Exact(0), false),
            Bodiless::ThisTime => (Length::Exact(0), certain),
            Bodiless::No => (Length::Chunked, certain),
        });
    }
    Ok(match (bodiless, content_length(headers, named)?) {
        (Bodiless::Never, length) => (Length::Exact(0), length.unwrap_or(0) == 0),
        (Bodiless::ThisTime, _) => (Length::Exact(0), true),
        (Bodiless::No, Some(length)) => (Length::Exact(length), true),
        (Bodiless::No, None) => (Length::UntilClose, false),
    })
}

enum Bodiless {
    /// 1xx, 204, 2xx to CONNECT: no framing may be announced either.
    Never,
    /// 304 and what answers HEAD: framing is that of the response to a GET.
    ThisTime,
    No,
}

fn bodiless(status: StatusCode, method: &Method) -> Bodiless {
    if never_has_body(status) || (*method == Method::CONNECT && status.is_success()) {
        Bodiless::Never
    } else if *method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        Bodiless::ThisTime
    } else {
        Bodiless::No
    }
}

/// Whether such a response has neither a body nor a length of one (RFC 9110 §8.6).
pub(crate) fn never_has_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

fn is_chunked(headers: &HeaderMap, named: Named, version: Version) -> Result<bool, Malformed> {
    if !named.transfer_encoding {
        return Ok(false);
    }
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(line) = lines.next() else {
        return Ok(false);
    };
    if version < Version::HTTP_11 {
        return Err(Malformed::EncodingInHttp10);
    }
    if lines.next().is_some() {
        return Err(Malformed::TransferEncoding);
    }
    if line.as_bytes().eq_ignore_ascii_case(b"chunked") {
        Ok(true)
    } else {
        Err(other_coding(line))
    }
}

/// Whether what is not `chunked` alone is a good list of codings (501) or nonsense (400).
#[cold]
fn other_coding(line: &HeaderValue) -> Malformed {
    let Ok(line) = line.to_str() else {
        return Malformed::TransferEncoding;
    };
    let is_registered = |coding: &str| {
        CODINGS
            .iter()
            .any(|known| coding.trim_ascii().eq_ignore_ascii_case(known))
    };
    let good = match line.rsplit_once(',') {
        Some((others, last)) => {
            last.trim_ascii().eq_ignore_ascii_case("chunked") && others.split(',').all(is_registered)
        }
        None => !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
    };
    if good {
        Malformed::UnknownCoding
    } else {
        Malformed::TransferEncoding
    }
}

/// One line with one number: identical ones, which RFC 9110 §8.6 lets a recipient join, are refused too.
fn content_length(headers: &HeaderMap, named: Named) -> Result<Option<u64>, Malformed> {
    if !named.content_length {
        return Ok(None);
    }
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(Malformed::ContentLength);
    }
    let digits = line.as_bytes();
    if digits.is_empty() || digits.len() > LENGTH_DIGITS {
        return Err(Malformed::ContentLength);
    }
    let add = |sum: u64, &digit: &u8| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    };
    digits.iter().try_fold(0, add).map(Some).ok_or(Malformed::ContentLength)
}

/// Whether the sender lets the connection go on (RFC 9112 §9.3).
pub(crate) fn keeps_alive(headers: &HeaderMap, named: Named, version: Version) -> bool {
    if !named.connection {
        return version >= Version::HTTP_11;
    }
    let has = |option: &[u8]| {
        let mut options = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|line| line.as_bytes().split(|&b| b == b','));
        options.any(|found| found.trim_ascii().eq_ignore_ascii_case(option))
    };
    !has(b"close") && (version >= Version::HTTP_11 || has(b"keep-alive"))
}
