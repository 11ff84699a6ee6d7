//! The first line of a message: a request's line (RFC 9112 §3) and a response's (§4). Headers are read in `fields`.

use std::ops::Range;

use http::{Method, StatusCode, Version};

use crate::Malformed;

/// Methods are passed on whatever they are, but none in use is nearly as long (RFC 9110 §16.1: the longest has 17 bytes).
pub(crate) const METHOD_MAX: usize = 32;

/// No [`http::Uri`] is longer.
const URI_MAX: usize = u16::MAX as usize - 1;

/// What a request line has beside its method and target: two spaces, the version, CR LF.
const REST_OF_LINE: usize = 2 + "HTTP/1.1".len() + 2;

/// What a request line says. The target is where it is in the line.
#[derive(Debug)]
pub(crate) struct RequestLine {
    pub(crate) method: Method,
    pub(crate) target: Range<usize>,
    pub(crate) version: Version,
}

/// What a status line says; its reason is no part of a message (RFC 9112 §4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusLine {
    pub(crate) version: Version,
    pub(crate) status: StatusCode,
}

/// How long a request line may be whose target has at most `target` bytes.
pub(crate) fn line_limit(target: usize) -> usize {
    target.saturating_add(METHOD_MAX + REST_OF_LINE)
}

/// Reads a request line, without its end. `target`: how many bytes of a target are accepted.
pub(crate) fn request(line: &[u8], target: usize) -> Result<RequestLine, Malformed> {
    let method_end = memchr::memchr(b' ', line).ok_or(Malformed::RequestLine)?;
    let (method, rest) = line.split_at(method_end);
    let method = self::method(method)?;
    let rest = rest.get(1..).unwrap_or_default();
    let Some(target_end) = memchr::memchr(b' ', rest) else {
        return Err(carriage_return(rest).unwrap_or(Malformed::RequestLine));
    };
    if target_end > target.min(URI_MAX) {
        return Err(Malformed::TargetTooLong);
    }
    let version = version(rest.get(target_end + 1..).unwrap_or_default())?;
    let begin = method_end + 1;
    Ok(RequestLine {
        method,
        target: begin..begin + target_end,
        version,
    })
}

fn method(method: &[u8]) -> Result<Method, Malformed> {
    if method.len() > METHOD_MAX {
        return Err(Malformed::MethodTooLong);
    }
    Method::from_bytes(method).map_err(|_| carriage_return(method).unwrap_or(Malformed::Method))
}

/// RFC 9110 §2.5: a later minor version than ours is handled as ours. What is sent on says HTTP/1.1 in any case.
fn version(version: &[u8]) -> Result<Version, Malformed> {
    match version {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::HTTP_11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Malformed::UnsupportedVersion),
        other => Err(carriage_return(other).unwrap_or(Malformed::Version)),
    }
}

/// Reads a status line, without its end.
pub(crate) fn status(line: &[u8]) -> Result<StatusLine, Malformed> {
    let (version, rest) = line.split_at_checked("HTTP/1.1".len()).ok_or(Malformed::StatusLine)?;
    let version = self::version(version)?;
    let (status, reason) = match rest {
        [b' ', a, b, c] => ([*a, *b, *c], &[][..]),
        [b' ', a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
        [b' ', ..] => return Err(Malformed::Status),
        _ => return Err(Malformed::StatusLine),
    };
    let status = StatusCode::from_bytes(&status).map_err(|_| Malformed::Status)?;
    if reason
        .iter()
        .any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
    {
        return Err(carriage_return(reason).unwrap_or(Malformed::Reason));
    }
    Ok(StatusLine { version, status })
}

/// What is wrong with bytes of a line that are refused, if it is a CR.
pub(crate) fn carriage_return(bytes: &[u8]) -> Option<Malformed> {
    memchr::memchr(b'\r', bytes).map(|_| Malformed::BareCr)
}
