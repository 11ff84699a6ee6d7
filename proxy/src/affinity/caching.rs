//! A response that belongs to one client must not be stored for others: what its headers tell caches is changed as little as that
//! takes (RFC 9111 §5.2.2). A stored Set-Cookie would send everybody to one endpoint.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};

use super::key::header;

/// What is meant for some caches only and outranks Cache-Control there (RFC 9213, and its forerunner of the Edge Architecture
/// Specification): without it, they go by Cache-Control.
const TARGETED: [HeaderName; 2] = [
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
];

/// Has shared caches leave a response alone: `private` is said where neither that nor `no-store` is, `public` and `s-maxage` go. All
/// else stays.
pub(super) fn make_private(headers: &mut HeaderMap) {
    for name in TARGETED {
        headers.remove(name);
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    let (mut said, mut contradicted) = (false, false);
    // One list: a quote that a line leaves open goes on in the next.
    let said_by_app = header(headers, CACHE_CONTROL.as_str());
    for directive in directives(&said_by_app) {
        let name = directive.split(|&b| b == b'=').next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage") {
            contradicted = true;
            continue;
        }
        // With a list of fields, `private` is about those alone.
        said |= directive.eq_ignore_ascii_case(b"private") || name.eq_ignore_ascii_case(b"no-store");
        kept.push(directive);
    }
    if said && !contradicted {
        return;
    }
    if !said {
        // First, where no unclosed quote of the app's swallows it.
        kept.insert(0, b"private");
    }
    let value = HeaderValue::from_maybe_shared(Bytes::from(kept.join(&b", "[..])));
    headers.insert(CACHE_CONTROL, value.unwrap_or(HeaderValue::from_static("private")));
}

/// The directives of a list: between commas, but for those in quotes.
fn directives(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |&b| {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        b == b',' && !quoted
    })
    .map(<[u8]>::trim_ascii)
    .filter(|directive| !directive.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made_private(lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, line.parse().unwrap());
        }
        headers.append("cdn-cache-control", HeaderValue::from_static("max-age=60"));
        headers.append("surrogate-control", HeaderValue::from_static("max-age=60"));
        make_private(&mut headers);
        assert!(!headers.contains_key("cdn-cache-control") && !headers.contains_key("surrogate-control"));
        let lines = headers.get_all(CACHE_CONTROL).iter();
        lines.map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn as_little_as_it_takes() {
        for (before, after) in [
            (&[][..], &["private"][..]),
            (&["max-age=60"], &["private, max-age=60"]),
            (&["public, max-age=60"], &["private, max-age=60"]),
            (&["Public", "S-MaxAge=9, immutable"], &["private, immutable"]),
            (&["max-age=60, private"], &["max-age=60, private"]),
            (&["no-store", "max-age=0"], &["no-store", "max-age=0"]),
            (&["private, s-maxage=10"], &["private"]),
            (
                &["private=\"set-cookie, x\", max-age=1"],
                &["private, private=\"set-cookie, x\", max-age=1"],
            ),
            (&["no-cache=\"a, public\", ,"], &["private, no-cache=\"a, public\""]),
            (
                &["no-cache=\"a\\\", public\""],
                &["private, no-cache=\"a\\\", public\""],
            ),
            (
                &["no-cache=\"open, max-age=3"],
                &["private, no-cache=\"open, max-age=3"],
            ),
            (&["s-maxage = 5"], &["private"]),
            (&["x=\"open", "private"], &["private, x=\"open, private"]),
        ] {
            assert_eq!(made_private(before), after, "{before:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_app_says_it_is_private(line in "[ -~]{0,40}|(public|private|no-store|s-maxage=1|[,\" =\\\\]){0,9}") {
            let lines = made_private(&[&line]);
            let directives: Vec<Vec<u8>> = lines.iter().flat_map(|l| directives(l.as_bytes())).map(<[u8]>::to_ascii_lowercase).collect();
            prop_assert!(directives.iter().any(|d| d == b"private" || d.starts_with(b"no-store")), "{lines:?}");
            prop_assert!(!directives.iter().any(|d| d == b"public" || d.starts_with(b"s-maxage=")), "{lines:?}");
        }
    }
}
