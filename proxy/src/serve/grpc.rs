//! What is different about gRPC: its clients say how long they wait, and read the outcome from `grpc-status`, not from the status of
//! HTTP. Pure functions on heads. <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::error::Failure;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Whether headers are those of a gRPC message (not of gRPC-Web, which is plain HTTP).
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let rest = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How long its client waits for a request. What is malformed is ignored: it is the endpoint's to refuse.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(TIMEOUT)?.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n = digits.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(n * 3600)),
        b'M' => Some(Duration::from_secs(n * 60)),
        b'S' => Some(Duration::from_secs(n)),
        b'm' => Some(Duration::from_millis(n)),
        b'u' => Some(Duration::from_micros(n)),
        b'n' => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

/// What a response without messages says in its headers (`Trailers-Only`); one with messages says it at their end.
pub(super) fn status(headers: &HeaderMap) -> Option<u8> {
    headers.get(STATUS)?.to_str().ok()?.parse().ok()
}

/// Whether a status says that the endpoint does not do its work: UNKNOWN (what frameworks make of a crash in a handler), INTERNAL,
/// UNAVAILABLE. What a request may have brought on itself is not among them, nor the end of the client's own deadline.
pub(super) fn speaks_against(status: u8) -> bool {
    matches!(status, 2 | 13 | UNAVAILABLE)
}

/// UNAVAILABLE: what 503 is in HTTP.
pub(super) const UNAVAILABLE: u8 = 14;

/// The headers of a response that tells a client of `failure`.
pub(super) fn refusal(headers: &mut HeaderMap, failure: Failure) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(STATUS, HeaderValue::from(u16::from(failure.grpc_status())));
    headers.insert(MESSAGE, HeaderValue::from_static(failure.text().trim_ascii_end()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (text, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]);
            assert_eq!(is_grpc(&headers), expected, "{text}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn timeouts_in_every_unit() {
        let read = |text: &'static str| timeout(&HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_static(text))]));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("1M"), Some(Duration::from_secs(60)));
        assert_eq!(read("10S"), Some(Duration::from_secs(10)));
        assert_eq!(read("99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        for bad in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_failure_can_be_told() {
        for failure in Failure::ALL {
            let mut headers = HeaderMap::new();
            refusal(&mut headers, failure);
            assert_eq!(status(&headers), Some(failure.grpc_status()), "{failure:?}");
            assert!(is_grpc(&headers));
        }
    }
}
