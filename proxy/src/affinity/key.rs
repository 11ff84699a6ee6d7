//! What a request is hashed by. The same bytes on every proxy, so that all of them choose the same endpoint for it; nothing is stored,
//! and nothing is copied but where a request says it in several lines. The hash itself is the balancer's.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Request};
use tenbin_model::HashKey;

use super::cookie;
use crate::state::canonical;

/// The hash of what `key` names in `request`, which `client` sent. `None` where the request has none of it, or it is empty: such
/// requests have nothing else in common.
pub(super) fn hash<B>(key: &HashKey, request: &Request<B>, client: impl FnOnce() -> IpAddr) -> Option<u64> {
    let bytes = match key {
        HashKey::SourceIp { v4, v6 } => return Some(source(client(), *v4, *v6)),
        HashKey::Header(name) => header(request.headers(), name),
        HashKey::QueryParam(name) => Cow::Borrowed(parameter(request.uri().query()?, name)?.as_bytes()),
        HashKey::Path => path(request.uri().path()),
        HashKey::Cookie(name) => Cow::Borrowed(cookie::values(request.headers(), name.as_bytes()).next()?),
    };
    (!bytes.is_empty()).then(|| tenbin_balance::hash_key(&bytes))
}

/// The leading bits of an address, `v4` of an IPv4 one (at most 32), `v6` of an IPv6 one (at most 128).
fn source(client: IpAddr, v4: u8, v6: u8) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4.min(32))).unwrap_or(0);
            tenbin_balance::hash_key(&(address.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6.min(128))).unwrap_or(0);
            tenbin_balance::hash_key(&(address.to_bits() & mask).to_be_bytes())
        }
    }
}

/// The value of a header; of several lines the one that they mean together (RFC 9110 §5.3).
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Cow<'a, [u8]> {
    let mut lines = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    match (lines.next(), lines.next()) {
        (None, _) => Cow::Borrowed(&[]),
        (Some(only), None) => Cow::Borrowed(only),
        (Some(first), Some(second)) => {
            let all: Vec<&[u8]> = [first, second].into_iter().chain(lines).collect();
            Cow::Owned(all.join(&b", "[..]))
        }
    }
}

/// The value of the first parameter of a query that has this name, both as they were sent.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|&(key, _)| key == name).map(|(_, value)| value)
}

fn path(path: &str) -> Cow<'_, [u8]> {
    match canonical(path) {
        Cow::Borrowed(path) => Cow::Borrowed(path.as_bytes()),
        Cow::Owned(path) => Cow::Owned(path.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(key: &HashKey, uri: &str, headers: &[(&str, &str)], client: &str) -> Option<u64> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        hash(key, &request.body(()).unwrap(), || client.parse().unwrap())
    }

    fn text(text: &str) -> Option<u64> {
        Some(tenbin_balance::hash_key(text.as_bytes()))
    }

    #[test]
    fn headers_by_their_whole_value() {
        let key = HashKey::Header("x-user".to_owned());
        let of = |headers| of(&key, "/", headers, "::1");
        assert_eq!(of(&[("x-user", "ann")]), text("ann"));
        assert_eq!(of(&[("X-User", "ann"), ("x-user", "bob")]), text("ann, bob"));
        assert_eq!(of(&[("x-user", "")]), None);
        assert_eq!(of(&[("x-users", "ann")]), None);
    }

    #[test]
    fn parameters_undecoded_and_the_first() {
        let key = HashKey::QueryParam("id".to_owned());
        let of = |uri| of(&key, uri, &[], "::1");
        assert_eq!(of("/?a=1&id=x%20y&id=z"), text("x%20y"));
        assert_eq!(of("/?id==="), text("=="));
        for none in ["/", "/?", "/?id", "/?id=", "/?ID=1", "/?aid=1", "/?a&&b", "*"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn paths_whatever_their_spelling() {
        let of = |uri| of(&HashKey::Path, uri, &[], "::1");
        assert_eq!(of("/a/b?x=1"), text("/a/b"));
        assert_eq!(of("/a//./c/../%62"), text("/a/b"));
        assert_eq!(of("http://host/a/b"), text("/a/b"));
        assert_ne!(of("/a/B"), text("/a/b"));
    }

    #[test]
    fn the_apps_own_cookie() {
        let key = HashKey::Cookie("JSESSIONID".to_owned());
        let of = |headers| of(&key, "/", headers, "::1");
        assert_eq!(of(&[("cookie", "a=1; JSESSIONID=\"q\"; JSESSIONID=r")]), text("q"));
        assert_eq!(of(&[("cookie", "jsessionid=q")]), None);
        assert_eq!(of(&[("cookie", "JSESSIONID=")]), None);
    }

    #[test]
    fn addresses_by_their_leading_bits() {
        let of = |v4, v6, client| of(&HashKey::SourceIp { v4, v6 }, "/", &[], client);
        assert_eq!(
            of(32, 128, "192.0.2.1"),
            Some(tenbin_balance::hash_key(&[192, 0, 2, 1]))
        );
        assert_ne!(of(32, 128, "192.0.2.1"), of(32, 128, "192.0.2.2"));
        assert_eq!(of(24, 64, "192.0.2.1"), of(24, 64, "192.0.2.200"));
        assert_ne!(of(24, 64, "192.0.2.1"), of(24, 64, "192.0.3.1"));
        assert_eq!(of(24, 128, "192.0.2.1"), of(24, 128, "::ffff:192.0.2.9"));
        assert_eq!(of(32, 64, "2001:db8::1"), of(32, 64, "2001:db8::ffff:1"));
        assert_ne!(of(32, 64, "2001:db8::1"), of(32, 64, "2001:db8:0:1::1"));
        assert_ne!(of(32, 128, "2001:db8::1"), of(32, 128, "2001:db8::2"));
        assert_eq!(
            of(0, 255, "192.0.2.1"),
            of(0, 255, "10.0.0.1"),
            "no number of bits is too much"
        );
    }

    proptest! {
        #[test]
        fn anything_may_be_sent(query in "[ -~&&[^#<>\"`{} ]]{0,40}", line in "[ -~]{0,40}", v4: u8, v6: u8, address: u128) {
            let request = Request::builder().uri(format!("/{query}?{query}")).header("cookie", &line).header("x", &line);
            let request = request.body(()).unwrap();
            for key in [
                HashKey::SourceIp { v4, v6 },
                HashKey::Header("x".to_owned()),
                HashKey::QueryParam("a".to_owned()),
                HashKey::Path,
                HashKey::Cookie("a".to_owned()),
            ] {
                let ask = || hash(&key, &request, || IpAddr::V6(address.into()));
                prop_assert_eq!(ask(), ask());
            }
        }
    }
}
