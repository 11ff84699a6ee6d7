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

/// What the fields of a head say of that, noted while they are read, so that nobody looks for them again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Named {
    length: Said,
    transfer_encoding: bool,
    /// Options of Connection.
    close: bool,
    keep_alive: bool,
}

/// What is said of a length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Said {
    #[default]
    Nothing,
    Length(u64),
    /// What is no number, or more than one line.
    Nonsense,
}

impl Named {
    /// The head has this field.
    #[inline]
    pub(crate) fn see(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == CONTENT_LENGTH {
            self.length = match (self.length, decimal(value.as_bytes())) {
                (Said::Nothing, Some(length)) => Said::Length(length),
                // Identical lines, which RFC 9110 §8.6 lets a recipient join, are refused too.
                _ => Said::Nonsense,
            };
        } else if *name == CONNECTION {
            for option in value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else {
            self.transfer_encoding |= *name == TRANSFER_ENCODING;
        }
    }

    /// One line with one number, or none.
    fn content_length(self) -> Result<Option<u64>, Malformed> {
        match self.length {
            Said::Nothing => Ok(None),
            Said::Length(length) => Ok(Some(length)),
            Said::Nonsense => Err(Malformed::ContentLength),
        }
    }

    /// Whether the sender lets the connection go on (RFC 9112 §9.3).
    pub(crate) fn keeps_alive(self, version: Version) -> bool {
        !self.close && (version >= Version::HTTP_11 || self.keep_alive)
    }
}

/// A number of nothing but digits, and of no more than 64 bits.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > LENGTH_DIGITS {
        return None;
    }
    let add = |sum: u64, &digit: &u8| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    };
    digits.iter().try_fold(0, add)
}

/// How a request's body ends: it has none unless its head says so.
pub(crate) fn of_request(headers: &HeaderMap, named: Named, version: Version) -> Result<Length, Malformed> {
    let chunked = is_chunked(headers, named, version)?;
    match (chunked, named.content_length()?) {
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
    Ok(match (bodiless, named.content_length()?) {
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
