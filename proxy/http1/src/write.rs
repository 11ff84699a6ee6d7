//! Heads and what frames bodies, into a buffer that the connection reuses. What headers a message has is decided elsewhere, but
//! for those that say how its body ends: they follow from its length alone.

use bytes::{BufMut, BytesMut};
use http::header::{CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::{Length, framing, trailers};

/// What ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Room for a head of the usual size.
const HEAD: usize = 1024;

/// Writes a request's head.
///
/// Of `headers` all go but `content-length` and `transfer-encoding`: what stands there follows from `body`. `None`: no body and no
/// header of one (GET); `Exact(0)`: `content-length: 0` (POST). A request cannot end with its connection: `UntilClose` is
/// written as `Chunked`. Hop-by-hop headers are the caller's to remove or set. `target`: as of a [`http::Uri`], so without
/// spaces and control characters. `ready`: further header lines, each with its end, as [`write_line`] makes them.
pub fn write_request(
    out: &mut BytesMut,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    ready: &[u8],
    body: Option<Length>,
) {
    debug_assert!(
        target.bytes().all(|byte| byte > b' '),
        "the target of a request line has no spaces"
    );
    out.reserve(HEAD);
    out.put_slice(method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    put_headers(out, headers, |name| !is_framing(name));
    out.put_slice(ready);
    match body {
        None => {}
        Some(Length::Exact(length)) => put_length(out, length),
        Some(Length::Chunked | Length::UntilClose) => out.put_slice(CHUNKED),
    }
    out.put_slice(b"\r\n");
}

/// Writes a header's line by itself, for heads that it will be part of.
pub fn write_line(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// How a response's head is to be written, beside its status and headers.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The client's: one of before 1.1 is told where the connection goes on, and gets no chunks.
    pub version: Version,
    /// Whether the connection ends with this response.
    pub close: bool,
    /// How its body ends. `None`: there is none and none is announced, as for 1xx, 204, 304 and what answers HEAD; a
    /// single `content-length` among the headers passes then for HEAD and 304, where it is that of the response to a GET.
    pub body: Option<Length>,
}

/// Writes a response's head.
///
/// Of `headers` all go but `content-length` and `transfer-encoding`: what stands there follows from `reply.body`, and is left out
/// whatever that says for 1xx, 204 and 304. A body is sent as [`Length::to_client`] says; one that ends with the connection
/// makes the head say `connection: close`, as `reply.close` does. `connection` among the headers goes too (it names an upgrade, say);
/// `close` and `keep-alive` are added here. `date` is added where the headers have none and the status is not 1xx (RFC 9110
/// §6.6.1). The status line has the client's version, 1.0 or 1.1.
pub fn write_response(
    out: &mut BytesMut,
    status: StatusCode,
    headers: &HeaderMap,
    reply: &Reply,
    date: Option<&HeaderValue>,
) {
    out.reserve(HEAD);
    put_status(out, reply.version, status);
    let bodiless = framing::never_has_body(status);
    let body = match reply.body {
        Some(body) if !bodiless && status != StatusCode::NOT_MODIFIED => Some(body.to_client(reply.version)),
        _ => None,
    };
    let length_passes = body.is_none() && !bodiless && headers.get_all(CONTENT_LENGTH).iter().nth(1).is_none();
    put_headers(out, headers, |name| {
        !is_framing(name) || (length_passes && *name == CONTENT_LENGTH)
    });
    match body {
        None | Some(Length::UntilClose) => {}
        Some(Length::Exact(length)) => put_length(out, length),
        Some(Length::Chunked) => out.put_slice(CHUNKED),
    }
    if reply.close || body == Some(Length::UntilClose) {
        out.put_slice(b"connection: close\r\n");
    } else if reply.version < Version::HTTP_11 {
        out.put_slice(b"connection: keep-alive\r\n");
    }
    if let Some(date) = date
        && !status.is_informational()
        && !headers.contains_key(DATE)
    {
        out.put_slice(b"date: ");
        out.put_slice(date.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

/// Writes an informational response (100, 103), which is all of it. Clients of before HTTP/1.1 must get none (RFC 9110 §15.2).
pub fn write_interim(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    put_status(out, Version::HTTP_11, status);
    put_headers(out, headers, |name| !is_framing(name));
    out.put_slice(b"\r\n");
}

/// Writes what goes before a chunk's data of `length` bytes; after the data goes [`CHUNK_END`]. `length` must not be 0: a chunk of
/// no bytes ends the body.
pub fn write_chunk_size(out: &mut BytesMut, length: usize) {
    debug_assert!(length > 0, "a chunk of no bytes ends the body");
    let mut digits = [0; 2 * size_of::<usize>()];
    let mut rest = length;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = match (rest & 0xf) as u8 {
            low @ 0..=9 => b'0' + low,
            low => b'a' + (low - 10),
        };
        used += 1;
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(digits.get(digits.len() - used..).unwrap_or_default());
    out.put_slice(b"\r\n");
}

/// Writes a whole chunk; nothing where `data` is empty.
pub fn write_chunk(out: &mut BytesMut, data: &[u8]) {
    if !data.is_empty() {
        write_chunk_size(out, data.len());
        out.put_slice(data);
        out.put_slice(CHUNK_END);
    }
}

/// Writes the end of a chunked body. Of `trailers` all go that may be there.
pub fn write_last_chunk(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    out.put_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        put_headers(out, trailers, |name| !trailers::is_forbidden(name));
    }
    out.put_slice(b"\r\n");
}

const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";

fn is_framing(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING
}

fn put_status(out: &mut BytesMut, version: Version, status: StatusCode) {
    let old = version < Version::HTTP_11;
    if status == StatusCode::OK && !old {
        out.put_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.put_slice(if old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.put_slice(status.as_str().as_bytes());
    // The space is part of the line, also where no reason follows (RFC 9112 §4).
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

fn put_headers(out: &mut BytesMut, headers: &HeaderMap, passes: impl Fn(&HeaderName) -> bool) {
    let pass = || headers.iter().filter(|(name, _)| passes(name));
    let length: usize = pass().map(|(name, value)| line_length(name, value)).sum();
    let begin = out.len();
    // Room for all lines at once: adding to the buffer piece by piece costs more than the copies.
    out.resize(begin + length, 0);
    let mut room = out.get_mut(begin..).unwrap_or_default();
    for (name, value) in pass() {
        let Some((line, rest)) = std::mem::take(&mut room).split_at_mut_checked(line_length(name, value)) else {
            break;
        };
        put_line(line, name.as_str().as_bytes(), value.as_bytes());
        room = rest;
    }
    debug_assert!(room.is_empty(), "the same headers pass both times");
}

fn line_length(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + 2 + value.len() + 2
}

/// Writes a header's line, which is as long as `line`.
fn put_line(line: &mut [u8], name: &[u8], value: &[u8]) {
    if let Some((to, rest)) = line.split_at_mut_checked(name.len()) {
        to.copy_from_slice(name);
        if let Some((colon, rest)) = rest.split_first_chunk_mut()
            && let Some((to, rest)) = rest.split_at_mut_checked(value.len())
            && let Some((end, _)) = rest.split_first_chunk_mut()
        {
            *colon = *b": ";
            to.copy_from_slice(value);
            *end = *b"\r\n";
        }
    }
}

fn put_length(out: &mut BytesMut, length: u64) {
    let mut digits = [0; 20];
    let mut rest = length;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        used += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(b"content-length: ");
    out.put_slice(digits.get(digits.len() - used..).unwrap_or_default());
    out.put_slice(b"\r\n");
}
