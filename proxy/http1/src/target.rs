//! A request's target: which of the four forms it has (RFC 9112 §3.2), and which bytes it may have. Where a request goes is
//! decided elsewhere.

use bytes::Bytes;
use http::uri::Authority;
use http::{Method, Uri};

use crate::Malformed;

/// Reads a target, without a copy.
///
/// Of the printable characters that no URI may have (RFC 3986 §2) those pass as they are that clients send and [`Uri`] accepts:
/// `[`, `\`, `]`, `^`, `{`, `|`, `}`, beside them `"` in paths and the backtick in queries. `#`, `<`, `>` and all that is not
/// ASCII are refused. nginx and HAProxy pass all that is printable.
pub(crate) fn read(method: &Method, target: Bytes) -> Result<Uri, Malformed> {
    if !target.iter().all(|&byte| matches!(byte, b'!'..=b'~') && byte != b'#') {
        return Err(crate::start::carriage_return(&target).unwrap_or(Malformed::Target));
    }
    let form = if *method == Method::CONNECT {
        Form::Authority
    } else if target.first() == Some(&b'/') {
        Form::Origin
    } else if target.as_ref() == b"*" && *method == Method::OPTIONS {
        Form::Asterisk
    } else if is_absolute(&target) {
        Form::Absolute
    } else {
        return Err(Malformed::Target);
    };
    let uri = Uri::from_maybe_shared(target).map_err(|_| Malformed::Target)?;
    let good = match form {
        Form::Origin | Form::Asterisk => uri.authority().is_none(),
        Form::Absolute => uri.authority().is_some_and(|authority| names_host(authority, false)),
        Form::Authority => {
            uri.scheme().is_none()
                && uri.path_and_query().is_none()
                && uri.authority().is_some_and(|authority| names_host(authority, true))
        }
    };
    if good { Ok(uri) } else { Err(Malformed::Target) }
}

enum Form {
    Origin,
    Absolute,
    Authority,
    Asterisk,
}

/// Schemes are case-insensitive (RFC 9110 §4.2.3).
fn is_absolute(target: &[u8]) -> bool {
    let begins = |scheme: &[u8]| {
        target
            .get(..scheme.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    begins(b"http://") || begins(b"https://")
}

/// A host that is not empty, a port that is a number, no user (RFC 9110 §4.2.1, §4.2.4).
fn names_host(authority: &Authority, with_port: bool) -> bool {
    let host = authority.host();
    let Some(rest) = authority.as_str().strip_prefix(host) else {
        return false;
    };
    let port = match rest.strip_prefix(':') {
        Some("") => !with_port,
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
        None => rest.is_empty() && !with_port,
    };
    port && !host.is_empty()
}
