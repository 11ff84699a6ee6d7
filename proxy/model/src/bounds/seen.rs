//! Bounds of what is told of requests: access log, spans, the header that names an instance.

use super::{header, label, number};
use crate::{FieldError, Tracing};

/// Headers that mean something to whoever reads a response or frames it: not to be taken for the name of an instance.
const TAKEN: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "host",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// The header of responses that names the instance, in lower case: none that HTTP itself reads.
///
/// # Errors
/// The name of no header, or of one of HTTP's.
pub fn served_by(path: &str, value: &str) -> Result<String, FieldError> {
    if TAKEN.contains(&value) {
        let accepted = format!("a header that is none of {}, as x-served-by", TAKEN.join(", "));
        return Err(FieldError::new(path, value, accepted));
    }
    header(path, value)
}

/// One line of the access log for so many requests: 1 to 1,000,000.
///
/// # Errors
/// Fewer or more.
pub fn one_in(path: &str, value: u64) -> Result<u32, FieldError> {
    number(path, value, 1, 1_000_000)
}

/// Requests of a million that begin a trace: 0 to 1,000,000.
///
/// # Errors
/// More.
pub fn sampled(path: &str, value: u64) -> Result<u32, FieldError> {
    number(path, value, 0, Tracing::ALL)
}

/// The collector of spans: `http://`, a host and a port, nothing after it; at most 253 characters.
///
/// # Errors
/// Anything else.
pub fn collector(path: &str, value: &str) -> Result<String, FieldError> {
    if is_collector(value) {
        Ok(value.to_owned())
    } else {
        let accepted = "a URL of a host and a port, as http://collector.observability:4317";
        Err(FieldError::new(path, value, accepted))
    }
}

fn is_collector(value: &str) -> bool {
    let Some((host, port)) = value.strip_prefix("http://").and_then(|rest| rest.rsplit_once(':')) else {
        return false;
    };
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match v6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    };
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    value.len() <= 253 && host && digits && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// What spans say the service is: 1 to 253 printable ASCII characters.
///
/// # Errors
/// Anything else.
pub fn service(path: &str, value: &str) -> Result<String, FieldError> {
    match label(path, value) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(FieldError::new(path, value, "1 to 253 printable ASCII characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_host_and_a_port() {
        for good in [
            "http://otel:4317",
            "http://10.0.0.1:1",
            "http://[::1]:65535",
            "http://a.b-c_d:80",
        ] {
            assert!(collector("c", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "otel:4317",
            "https://otel:4317",
            "http://otel",
            "http://:1",
            "http://otel:0",
            "http://otel:65536",
            "http://otel:+80",
            "http://otel:80/v1",
            "http://user@otel:80",
            "http://::1:80",
            "http://[otel]:80",
        ] {
            assert!(collector("c", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_header_that_http_reads_names_no_instance() {
        assert!(served_by("h", "x-served-by").is_ok());
        for bad in ["connection", "set-cookie", "content-length", "X-Served-By", "a b", ""] {
            assert!(served_by("h", bad).is_err(), "{bad}");
        }
    }
}
