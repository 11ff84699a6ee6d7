//! Header fields from the bytes of a fuzzer: a line each, `name: value`. What is no field is left out.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The fields of `wire`, but for more than 100.
pub(crate) fn fields(wire: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in wire.split(|&b| b == b'\n').take(100) {
        let Some(colon) = line.iter().position(|&b| b == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// The values of all lines of a field, in order.
pub(crate) fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

/// All fields but those of `names`, by name, with their values in order.
pub(crate) fn without(headers: &HeaderMap, names: &[&str]) -> Vec<(String, Vec<Vec<u8>>)> {
    let others = headers.keys().filter(|name| !names.contains(&name.as_str()));
    let of = |name: &HeaderName| values(headers, name.as_str()).into_iter().map(<[u8]>::to_vec).collect();
    let mut all: Vec<_> = others.map(|name| (name.as_str().to_owned(), of(name))).collect();
    all.sort();
    all
}
