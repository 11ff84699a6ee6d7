//! Frames onto the end of a buffer.

use bytes::BytesMut;

use super::{HEAD, Settings, flag, kind};
use crate::Reason;

/// Writes a frame's head; `length` bytes of payload are to follow (at most 2^24-1).
#[inline]
pub fn put_head(out: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&head(length, kind, flags, stream));
}

#[inline]
fn head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD] {
    debug_assert!(length < 1 << 24, "a frame of {length} bytes");
    let [.., l0, l1, l2] = length.to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    [l0, l1, l2, kind, flags, s0, s1, s2, s3]
}

/// Writes a whole frame of `N` bytes of payload.
#[inline]
fn put<const N: usize>(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: [u8; N]) {
    out.reserve(HEAD + N);
    put_head(out, N, kind, flags, stream);
    out.extend_from_slice(&payload);
}

/// Writes DATA's head; `length` bytes are to follow.
#[inline]
pub fn put_data_head(out: &mut BytesMut, stream: u32, length: usize, end: bool) {
    put_head(out, length, kind::DATA, if end { flag::END_STREAM } else { 0 }, stream);
}

/// Writes HEADERS with the header block that `block` writes, and CONTINUATIONs where it is longer than `max` bytes (the peer's
/// SETTINGS_MAX_FRAME_SIZE).
#[inline]
pub fn put_headers(out: &mut BytesMut, stream: u32, end: bool, max: usize, block: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    put_head(out, 0, kind::HEADERS, 0, stream);
    block(out);
    let length = out.len().saturating_sub(at + HEAD);
    let mut flags = if end { flag::END_STREAM } else { 0 };
    if length > max {
        return continued(out, at, stream, flags, max);
    }
    flags |= flag::END_HEADERS;
    if let Some(place) = out.get_mut(at..at + HEAD) {
        place.copy_from_slice(&head(length, kind::HEADERS, flags, stream));
    }
}

/// Cuts the block after the head at `at` into frames.
#[cold]
fn continued(out: &mut BytesMut, at: usize, stream: u32, flags: u8, max: usize) {
    let block = out.split_off(at + HEAD);
    out.truncate(at);
    let mut rest = &block[..];
    let (mut kind, mut flags) = (kind::HEADERS, flags);
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.len().min(max.max(1)));
        rest = after;
        if rest.is_empty() {
            flags |= flag::END_HEADERS;
        }
        put_head(out, part.len(), kind, flags, stream);
        out.extend_from_slice(part);
        (kind, flags) = (kind::CONTINUATION, 0);
    }
}

/// Writes RST_STREAM.
pub fn put_reset(out: &mut BytesMut, stream: u32, reason: Reason) {
    put(out, kind::RESET, 0, stream, reason.0.to_be_bytes());
}

/// Writes SETTINGS.
pub fn put_settings(out: &mut BytesMut, settings: &Settings) {
    put_head(out, settings.length(), kind::SETTINGS, 0, 0);
    settings.put(out);
}

/// Writes the acknowledgement of the peer's SETTINGS.
pub fn put_settings_ack(out: &mut BytesMut) {
    put_head(out, 0, kind::SETTINGS, flag::ACK, 0);
}

/// Writes PING, or the answer to one (`ack`).
pub fn put_ping(out: &mut BytesMut, ack: bool, payload: [u8; 8]) {
    put(out, kind::PING, if ack { flag::ACK } else { 0 }, 0, payload);
}

/// Writes GOAWAY; `last` is the last stream that something may have been done for.
pub fn put_go_away(out: &mut BytesMut, last: u32, reason: Reason) {
    let ([a, b, c, d], [e, f, g, h]) = (last.to_be_bytes(), reason.0.to_be_bytes());
    put(out, kind::GO_AWAY, 0, 0, [a, b, c, d, e, f, g, h]);
}

/// Writes WINDOW_UPDATE of a stream, or of the connection (0); `increment` is 1 to 2^31-1.
pub fn put_window_update(out: &mut BytesMut, stream: u32, increment: u32) {
    put(out, kind::WINDOW_UPDATE, 0, stream, increment.to_be_bytes());
}
