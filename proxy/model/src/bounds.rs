//! What every value of the contract may be, field by field: one home for the bounds, whichever form a value comes in (xDS, a
//! file made by people). A check takes the path of the field, for the error. What spans fields (names unique in a table) is
//! judged where the whole is put together, never here.

mod resilience;
mod seen;
mod text;
mod tls;

use std::time::Duration;

use ipnet::IpNet;

use crate::{Endpoint, FieldError, Listener};
pub use resilience::{backoff, body_max, budget, buffer, limit, per_try, queue, retry_body, status_codes, tries};
pub use seen::{collector, one_in, sampled, served_by, service};
pub use text::duration;
pub use tls::{MAX_PEM, authorities, chain, private_key, server_name};

/// The longest time any field may hold: a week. What is meant to last longer is meant to last for ever, and no field says that.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The most domains, and the most routes, of one route table.
pub const MAX_ROUTES: usize = 10_000;

/// A time of 1 ms to [`MAX_TIMEOUT`].
///
/// # Errors
/// Shorter or longer.
pub fn timeout(path: &str, value: Duration) -> Result<Duration, FieldError> {
    if (Duration::from_millis(1)..=MAX_TIMEOUT).contains(&value) {
        Ok(value)
    } else {
        Err(FieldError::new(path, format!("{value:?}"), "a time of 1ms to 7 days"))
    }
}

/// A domain of a virtual host: `*`, or an exact host name in lower case without a port, at most 253 characters.
///
/// # Errors
/// Anything else; a wildcard within a name among it.
pub fn domain(path: &str, value: &str) -> Result<String, FieldError> {
    let name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_' | b'[' | b']');
    let v6 = value.starts_with('[') && value.ends_with(']');
    let host = (1..=253).contains(&value.len()) && value.bytes().all(|b| name(b) || (v6 && b == b':'));
    if value == "*" || host {
        Ok(value.to_owned())
    } else {
        Err(FieldError::new(
            path,
            value,
            "\"*\", or an exact host name in lower case without a port, at most 253 characters",
        ))
    }
}

/// A prefix of a path: begins with `/`, at most 2048 printable ASCII characters, neither `?` nor `#` among them.
///
/// # Errors
/// Anything else.
pub fn prefix(path: &str, value: &str) -> Result<String, FieldError> {
    let printable = |b: u8| b.is_ascii_graphic() && b != b'?' && b != b'#';
    if value.starts_with('/') && value.len() <= 2048 && value.bytes().all(printable) {
        Ok(value.to_owned())
    } else {
        Err(FieldError::new(
            path,
            value,
            "a path beginning with \"/\", at most 2048 printable ASCII characters without \"?\" and \"#\"",
        ))
    }
}

/// A name for people (of an instance, a virtual host): at most 253 printable ASCII characters.
///
/// # Errors
/// Anything else. An empty label is accepted.
pub fn label(path: &str, value: &str) -> Result<String, FieldError> {
    if value.len() <= 253 && value.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(value.to_owned())
    } else {
        Err(FieldError::new(path, value, "at most 253 printable ASCII characters"))
    }
}

/// A weight of 0 to [`Endpoint::MAX_WEIGHT`].
///
/// # Errors
/// A larger one.
pub fn weight(path: &str, value: u64) -> Result<u32, FieldError> {
    number(path, value, 0, Endpoint::MAX_WEIGHT)
}

/// How many endpoints are compared: 2 to 100.
///
/// # Errors
/// Fewer or more.
pub fn choices(path: &str, value: u64) -> Result<u32, FieldError> {
    number(path, value, 2, 100)
}

/// A bound of load in percent of the fair share: 101 to 10,000.
///
/// # Errors
/// Less or more.
pub fn load_bound(path: &str, value: u64) -> Result<u32, FieldError> {
    number(path, value, 101, 10_000)
}

/// The leading bits of an address that count: 1 to `most`, which is 32 or 128.
///
/// # Errors
/// Fewer or more.
pub fn prefix_length(path: &str, value: u64, most: u8) -> Result<u8, FieldError> {
    number(path, value, 1, most)
}

/// What slow start begins with, in percent: 1 to 100.
///
/// # Errors
/// Less or more.
pub fn floor(path: &str, value: u64) -> Result<u8, FieldError> {
    number(path, value, 1, 100)
}

/// How long slow start lasts: 1 s to 1 hour.
///
/// # Errors
/// Shorter or longer.
pub fn window(path: &str, value: Duration) -> Result<Duration, FieldError> {
    time(
        path,
        value,
        Duration::from_secs(1),
        Duration::from_secs(3600),
        "1s to 1h",
    )
}

/// Over which time a peak is forgotten: 100 ms to 10 minutes.
///
/// # Errors
/// Shorter or longer.
pub fn decay(path: &str, value: Duration) -> Result<Duration, FieldError> {
    time(
        path,
        value,
        Duration::from_millis(100),
        Duration::from_secs(600),
        "100ms to 10m",
    )
}

/// How long a cookie is valid: 1 s to 400 days, the most that browsers keep one for.
///
/// # Errors
/// Shorter or longer.
pub fn ttl(path: &str, value: Duration) -> Result<Duration, FieldError> {
    let most = Duration::from_secs(400 * 24 * 3600);
    time(path, value, Duration::from_secs(1), most, "1s to 400 days")
}

/// The name of a header in lower case: a token (RFC 9110) of 1 to 128 characters.
///
/// # Errors
/// Anything else.
pub fn header(path: &str, value: &str) -> Result<String, FieldError> {
    let ok = (1..=128).contains(&value.len()) && value.bytes().all(|b| is_token(b) && !b.is_ascii_uppercase());
    let accepted = "the name of a header in lower case, 1 to 128 characters";
    text(path, value, ok, accepted)
}

/// The name of a cookie: a token (RFC 6265) of 1 to 64 characters.
///
/// # Errors
/// Anything else.
pub fn cookie(path: &str, value: &str) -> Result<String, FieldError> {
    let ok = (1..=64).contains(&value.len()) && value.bytes().all(is_token);
    let accepted = "the name of a cookie, 1 to 64 letters, digits or characters of !#$%&'*+-.^_`|~";
    text(path, value, ok, accepted)
}

/// The path of a cookie: begins with `/`, at most 256 printable ASCII characters without `;`.
///
/// # Errors
/// Anything else.
pub fn cookie_path(path: &str, value: &str) -> Result<String, FieldError> {
    let printable = |b: u8| (b.is_ascii_graphic() || b == b' ') && b != b';';
    let ok = value.starts_with('/') && value.len() <= 256 && value.bytes().all(printable);
    let accepted = "a path beginning with \"/\", at most 256 printable ASCII characters without \";\"";
    text(path, value, ok, accepted)
}

/// The name of a parameter of the query as it stands in an URL: 1 to 128 printable ASCII characters without `&`, `=`, `#`.
///
/// # Errors
/// Anything else.
pub fn query_param(path: &str, value: &str) -> Result<String, FieldError> {
    let printable = |b: u8| b.is_ascii_graphic() && !matches!(b, b'&' | b'=' | b'#');
    let ok = (1..=128).contains(&value.len()) && value.bytes().all(printable);
    let accepted = "the name of a query parameter, 1 to 128 printable ASCII characters without \"&\", \"=\" and \"#\"";
    text(path, value, ok, accepted)
}

/// Ranges of addresses, at most [`Listener::MAX_TRUSTED`], as `10.0.0.0/8`; a lone address is a range of one.
///
/// # Errors
/// Too many, or the first that is none.
pub fn trusted_hops(path: &str, values: &[String]) -> Result<Vec<IpNet>, FieldError> {
    if values.len() > Listener::MAX_TRUSTED {
        let accepted = format!("at most {} ranges", Listener::MAX_TRUSTED);
        return Err(FieldError::new(path, values.len(), accepted));
    }
    let range = |(i, value): (usize, &String)| {
        let net = value
            .parse()
            .or_else(|_| value.parse::<std::net::IpAddr>().map(IpNet::from));
        let accepted = "a range of addresses as 10.0.0.0/8 or fd00::/8";
        net.map_err(|_: std::net::AddrParseError| FieldError::new(format!("{path}[{i}]"), value, accepted))
    };
    values.iter().enumerate().map(range).collect()
}

/// A byte of a token: what names of headers and cookies are made of.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn text(path: &str, value: &str, ok: bool, accepted: &str) -> Result<String, FieldError> {
    if ok {
        Ok(value.to_owned())
    } else {
        Err(FieldError::new(path, value, accepted))
    }
}

fn number<T: TryFrom<u64> + Into<u64> + Copy>(path: &str, value: u64, least: u64, most: T) -> Result<T, FieldError> {
    let refused = || FieldError::new(path, value, format!("{least} to {}", most.into()));
    if (least..=most.into()).contains(&value) {
        T::try_from(value).map_err(|_| refused())
    } else {
        Err(refused())
    }
}

fn time(path: &str, value: Duration, least: Duration, most: Duration, range: &str) -> Result<Duration, FieldError> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(FieldError::new(
            path,
            format!("{value:?}"),
            format!("a time of {range}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_is_inclusive_and_named() {
        assert!(timeout("t", Duration::from_millis(1)).is_ok());
        assert!(timeout("t", MAX_TIMEOUT).is_ok());
        assert_eq!(
            timeout("t", Duration::ZERO).unwrap_err().to_string(),
            "t: \"0ns\" is not accepted, expected a time of 1ms to 7 days"
        );
        assert!(timeout("t", MAX_TIMEOUT + Duration::from_nanos(1)).is_err());
        assert!(domain("d", &"a".repeat(253)).is_ok());
        assert!(domain("d", &"a".repeat(254)).is_err());
        assert!(prefix("p", &format!("/{}", "a".repeat(2047))).is_ok());
        assert!(prefix("p", &format!("/{}", "a".repeat(2048))).is_err());
        assert!(label("l", &"a".repeat(254)).is_err());
    }

    #[test]
    fn domains_are_exact_or_the_lone_star() {
        for good in ["*", "a", "shop.example.com", "10.0.0.1", "[::1]", "my_host"] {
            assert!(domain("d", good).is_ok(), "{good}");
        }
        for bad in ["", "*.example.com", "Shop", "a:80", "a b", "::1", "a/b"] {
            assert!(domain("d", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_are_paths() {
        for good in ["/", "/a/b", "/a%20b"] {
            assert!(prefix("p", good).is_ok(), "{good}");
        }
        for bad in ["", "a", "/a?b", "/a#b", "/a b", "/ä"] {
            assert!(prefix("p", bad).is_err(), "{bad}");
        }
    }
}
