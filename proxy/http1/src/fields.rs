//! Header and trailer lines into a map (RFC 9112 §5). What the fields mean is read in `framing`.

use std::cell::RefCell;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::framing::Named;
use crate::{Malformed, start, token};

/// Room for what a proxy adds to a head, so that the map need not grow for it.
const SPARE: usize = 8;

/// The most maps that a thread keeps for later heads.
const KEPT: usize = 256;
/// The most headers that a kept map has room for.
const KEPT_ROOM: usize = 64;

thread_local! {
    /// Maps of heads that nobody needs any more, empty: their memory is what reading a head would otherwise spend most on.
    static SPENT: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map for headers that are about to be read: with the memory of one that was recycled, if there is any.
#[must_use]
pub fn fresh() -> HeaderMap {
    SPENT.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps the memory of headers that were read, and that nobody needs any more, for those that this thread reads next: of up to 256 maps.
pub fn recycle(mut headers: HeaderMap) {
    if (1..=KEPT_ROOM).contains(&headers.capacity()) {
        headers.clear();
        SPENT.with_borrow_mut(|spent| {
            if spent.len() < KEPT {
                spent.push(headers);
            }
        });
    }
}

/// Reads the lines of `section` from `at` up to the empty one; it is known that all of them end in CR LF, and that `count`
/// lines and an empty one are there. Values share the bytes of `section`.
pub(crate) fn read(section: &Bytes, at: usize, count: usize) -> Result<(HeaderMap, Named), Malformed> {
    let mut headers = fresh();
    headers
        .try_reserve(count.saturating_add(SPARE))
        .map_err(|_| Malformed::TooManyHeaders)?;
    let mut named = Named::default();
    let lines = section.get(at..).unwrap_or_default();
    let mut begin = 0;
    for lf in memchr::memchr_iter(b'\n', lines).take(count) {
        let line = lines.get(begin..lf.saturating_sub(1)).unwrap_or_default();
        begin = lf + 1;
        let (name, value) = line.split_at(token::length(line));
        let [b':', value @ ..] = value else {
            return Err(without_name(name, value));
        };
        let name = HeaderName::from_bytes(name).map_err(|_| without_name(name, b":"))?;
        let value = trimmed(value);
        let value = HeaderValue::from_maybe_shared(section.slice_ref(value))
            .map_err(|_| start::carriage_return(value).unwrap_or(Malformed::Value))?;
        named.see(&name, &value);
        headers.try_append(name, value).map_err(|_| Malformed::TooManyHeaders)?;
    }
    Ok((headers, named))
}

/// Without the spaces and tabs around it (RFC 9112 §5.1: OWS).
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// What is wrong with a line that has `rest` after a token, where a colon should be.
#[cold]
fn without_name(token: &[u8], rest: &[u8]) -> Malformed {
    match rest {
        [b' ' | b'\t', ..] if token.is_empty() => Malformed::Folded,
        [b':', ..] if token.is_empty() => Malformed::EmptyName,
        [b' ' | b'\t', ..] if trimmed(rest).first() == Some(&b':') => Malformed::SpaceBeforeColon,
        [b'\r', ..] => Malformed::BareCr,
        rest if !rest.contains(&b':') => Malformed::NoColon,
        _ => Malformed::Name,
    }
}
