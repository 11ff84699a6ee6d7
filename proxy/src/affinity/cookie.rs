//! Cookies in requests (RFC 6265 §4.2): found by name and taken out, over several headers. What a cookie means, and cookies in responses, must
//! not come here.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{COOKIE, Entry, HeaderValue};

/// The values of every cookie called `name`, in order, without the quotes that may stand around them. Names are told apart by case.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(COOKIE)
        .into_iter()
        .flat_map(|line| pairs(line.as_bytes()))
        .filter(move |pair| name_of(pair) == Some(name))
        .map(value_of)
}

/// Takes every cookie called `name` out; the others stay as they were sent, and so do lines without it.
pub(super) fn remove(headers: &mut HeaderMap, name: &[u8]) {
    if values(headers, name).next().is_none() {
        return;
    }
    let Entry::Occupied(mut lines) = headers.entry(COOKIE) else {
        return;
    };
    let kept: Vec<HeaderValue> = lines.iter().filter_map(|line| without(line, name)).collect();
    let mut kept = kept.into_iter();
    match kept.next() {
        Some(first) => drop(lines.insert(first)),
        None => {
            lines.remove();
            return;
        }
    }
    kept.for_each(|line| lines.append(line));
}

/// A line without the cookies called `name`; `None` if nothing is left of it.
fn without(line: &HeaderValue, name: &[u8]) -> Option<HeaderValue> {
    if !pairs(line.as_bytes()).any(|pair| name_of(pair) == Some(name)) {
        return Some(line.clone());
    }
    let mut kept = Vec::with_capacity(line.len());
    for pair in pairs(line.as_bytes()).filter(|pair| name_of(pair) != Some(name)) {
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(pair);
    }
    if kept.is_empty() {
        return None;
    }
    HeaderValue::from_maybe_shared(Bytes::from(kept)).ok()
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&b| b == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

/// `None` for what has no `=`: browsers take that for a value without a name.
fn name_of(pair: &[u8]) -> Option<&[u8]> {
    let end = pair.iter().position(|&b| b == b'=')?;
    Some(pair[..end].trim_ascii_end())
}

fn value_of(pair: &[u8]) -> &[u8] {
    let begin = pair.iter().position(|&b| b == b'=').map_or(pair.len(), |at| at + 1);
    let value = pair[begin..].trim_ascii_start();
    value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    fn found<'a>(headers: &'a HeaderMap, name: &'a str) -> Vec<&'a str> {
        values(headers, name.as_bytes())
            .map(|value| std::str::from_utf8(value).unwrap())
            .collect()
    }

    fn left(headers: &HeaderMap) -> Vec<&str> {
        headers
            .get_all(COOKIE)
            .iter()
            .map(|line| line.to_str().unwrap())
            .collect()
    }

    #[test]
    fn found_in_every_form_and_line() {
        let headers = headers(&[
            b"a=1; sid=one; b=2",
            b"SID=no;sid=\"two\" ; xsid=no; sid",
            b"; ;sid = three=3;sid=;sid=\"",
        ]);
        assert_eq!(found(&headers, "sid"), ["one", "two", "three=3", "", "\""]);
        assert_eq!(found(&headers, "none"), [""; 0]);
    }

    #[test]
    fn taken_out_and_the_rest_stays() {
        let mut some = headers(&[b"a=\"1\";  sid=x;b=2=;plain", b"sid=y", b"c=3; "]);
        remove(&mut some, b"sid");
        assert_eq!(left(&some), ["a=\"1\"; b=2=; plain", "c=3; "]);
        let mut only = headers(&[b"sid=x", b"sid=y"]);
        remove(&mut only, b"sid");
        assert!(only.is_empty());
        let mut none = headers(&[b"a=1;;b=2"]);
        remove(&mut none, b"sid");
        assert_eq!(left(&none), ["a=1;;b=2"], "what has none is not touched");
    }

    proptest! {
        #[test]
        fn anything_may_be_sent(lines in proptest::collection::vec("[ -~]{0,40}|[s;=\" ]{0,20}", 0..4)) {
            let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
            let mut headers = headers(&lines);
            let others: Vec<Vec<u8>> = values(&headers, b"=").chain(values(&headers, b"o")).map(<[u8]>::to_vec).collect();
            remove(&mut headers, b"s");
            prop_assert_eq!(values(&headers, b"s").count(), 0);
            let kept: Vec<Vec<u8>> = values(&headers, b"=").chain(values(&headers, b"o")).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(kept, others);
        }
    }
}
