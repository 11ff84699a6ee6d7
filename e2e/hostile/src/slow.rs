//! What slow clients begin: each goes on byte by byte, or stands still. How slowly is not known here.

use crate::frames::PREFACE;

/// A head whose last header has no end; more of it is any letter.
pub const HEADERS: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX: ";

/// Half of HTTP/2's preface.
pub const HALF_PREFACE: &[u8] = PREFACE.split_at(20).0;

/// The beginning of a TLS record with a ClientHello of 508 bytes (RFC 8446 §4.1.2): its version and four bytes of its random number.
pub const HALF_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03, 1, 2, 3, 4,
];

/// The head of a request whose body has `length` bytes.
pub fn body(path: &str, length: u32) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

/// The head of a request whose body comes in chunks.
pub fn chunked(path: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes()
}

/// A whole request.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}
