//! What every value of the contract may be, field by field: one home for the bounds, whichever form a value comes in (xDS, a
//! file made by people). A check takes the path of the field, for the error. What spans fields (names unique in a table) is
//! judged where the whole is put together, never here.

use std::time::Duration;

use crate::FieldError;

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
