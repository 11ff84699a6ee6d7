//! Fields to the end of a header block. Nothing is ever put in the peer's dynamic table, and nothing Huffman-coded: no state, no
//! memory, nothing to guess secrets by (RFC 7541 §7.1); pseudo-headers and the static table's names are indexed.

use bytes::BytesMut;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::known;

/// A literal field whose name has an index, none, and one that nobody is to put in a table (RFC 7541 §6.2.2, §6.2.3).
const PLAIN: u8 = 0x00;
const NEVER_INDEXED: u8 = 0x10;

/// What the static table's names `authorization`, `cookie`, `proxy-authorization` and `set-cookie` have as indices: names of secrets.
const SECRET: [u8; 4] = [23, 32, 49, 55];

/// The most bytes that a field takes beside its name and value: what it is, and the lengths of both, of 11 bytes each on
/// machines of 64 bits.
const FRAMING: usize = 23;

/// Writes `:method`.
pub fn put_method(out: &mut BytesMut, method: &Method) {
    match *method {
        Method::GET => out.extend_from_slice(&[0x82]),
        Method::POST => out.extend_from_slice(&[0x83]),
        _ => put_indexed_name(out, PLAIN, 2, method.as_str().as_bytes()),
    }
}

/// Writes `:scheme`.
pub fn put_scheme(out: &mut BytesMut, scheme: &Scheme) {
    if *scheme == Scheme::HTTP {
        out.extend_from_slice(&[0x86]);
    } else if *scheme == Scheme::HTTPS {
        out.extend_from_slice(&[0x87]);
    } else {
        put_indexed_name(out, PLAIN, 6, scheme.as_str().as_bytes());
    }
}

/// Writes `:authority`.
pub fn put_authority(out: &mut BytesMut, authority: &Authority) {
    put_indexed_name(out, PLAIN, 1, authority.as_str().as_bytes());
}

/// Writes `:path`.
pub fn put_path(out: &mut BytesMut, path: &PathAndQuery) {
    match path.as_str() {
        "/" => out.extend_from_slice(&[0x84]),
        path => put_indexed_name(out, PLAIN, 4, path.as_bytes()),
    }
}

/// Writes `:protocol` (RFC 8441); `protocol` is a token.
pub fn put_protocol(out: &mut BytesMut, protocol: &[u8]) {
    put_name(out, PLAIN, b":protocol", protocol);
}

/// Writes `:status`.
pub fn put_status(out: &mut BytesMut, status: StatusCode) {
    let index = match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => return put_indexed_name(out, PLAIN, 8, status.as_str().as_bytes()),
    };
    out.extend_from_slice(&[0x80 | index]);
}

/// Writes headers or trailers, each as [`put_header`] does.
pub fn put_headers(out: &mut BytesMut, headers: &HeaderMap) {
    let most: usize = headers.iter().map(|(name, value)| most(name, value)).sum();
    fill(out, most, |room| {
        for (name, value) in headers {
            room.header(name, value);
        }
    });
}

/// Writes a header or trailer; as one that nobody on the way is to put in a table where it is secret by its name, or its value is
/// marked as sensitive.
pub fn put_header(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    fill(out, most(name, value), |room| room.header(name, value));
}

/// The most bytes that a header takes.
fn most(name: &HeaderName, value: &HeaderValue) -> usize {
    FRAMING + name.as_str().len() + value.len()
}

/// Writes a literal field whose name is the static table's.
fn put_indexed_name(out: &mut BytesMut, kind: u8, index: u8, value: &[u8]) {
    fill(out, FRAMING + value.len(), |room| room.indexed_name(kind, index, value));
}

/// Writes a literal field with its name.
fn put_name(out: &mut BytesMut, kind: u8, name: &[u8], value: &[u8]) {
    fill(out, FRAMING + name.len() + value.len(), |room| {
        room.name(kind, name, value);
    });
}

/// Makes room for `most` bytes at once, since adding to the buffer piece by piece costs more than the copies, and has it written.
#[inline]
fn fill(out: &mut BytesMut, most: usize, write: impl FnOnce(&mut Room<'_>)) {
    let begin = out.len();
    out.resize(begin + most, 0);
    let mut room = Room {
        rest: out.get_mut(begin..).unwrap_or_default(),
    };
    write(&mut room);
    let left = room.rest.len();
    out.truncate(begin + most - left);
}

/// What is still to be written of a buffer.
struct Room<'a> {
    rest: &'a mut [u8],
}

impl Room<'_> {
    #[inline]
    fn put(&mut self, text: &[u8]) {
        let room = std::mem::take(&mut self.rest).split_at_mut_checked(text.len());
        debug_assert!(room.is_some(), "there is room for all that is written");
        if let Some((to, rest)) = room {
            to.copy_from_slice(text);
            self.rest = rest;
        }
    }

    #[inline]
    fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        let name = name.as_str().as_bytes();
        let index = known::index(name);
        let secret = value.is_sensitive() || index.is_some_and(|index| SECRET.contains(&index));
        let kind = if secret { NEVER_INDEXED } else { PLAIN };
        match index {
            Some(index) => self.indexed_name(kind, index, value.as_bytes()),
            None => self.name(kind, name, value.as_bytes()),
        }
    }

    #[inline]
    fn indexed_name(&mut self, kind: u8, index: u8, value: &[u8]) {
        match index {
            ..15 => self.put(&[kind | index]),
            // No index of the static table takes more than two bytes.
            15.. => self.put(&[kind | 15, index - 15]),
        }
        self.string(value);
    }

    #[inline]
    fn name(&mut self, kind: u8, name: &[u8], value: &[u8]) {
        self.put(&[kind]);
        self.string(name);
        self.string(value);
    }

    /// A string as it is (RFC 7541 §5.2).
    #[inline]
    fn string(&mut self, text: &[u8]) {
        match u8::try_from(text.len()) {
            Ok(length @ ..127) => self.put(&[length]),
            _ => {
                self.put(&[127]);
                self.rest_of_integer(text.len().saturating_sub(127));
            }
        }
        self.put(text);
    }

    /// What of an integer does not fit its first byte (RFC 7541 §5.1).
    fn rest_of_integer(&mut self, mut rest: usize) {
        loop {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                return self.put(&[low & 0x7f]);
            }
            self.put(&[low | 0x80]);
        }
    }
}
