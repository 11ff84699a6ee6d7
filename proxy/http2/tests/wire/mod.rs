//! HTTP/2 by hand, for the tests: frames and header blocks as they are on the wire, written and read without the crate's own code.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test that includes this module uses a part of it"
)]

use std::io::IoSlice;

use bytes::BytesMut;
use tenbin_http2::{Connection, Error, Event};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITIZED: u8 = 0x20;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// SETTINGS.
pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let one = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &settings.iter().flat_map(one).collect::<Vec<u8>>())
}

/// WINDOW_UPDATE.
pub fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// RST_STREAM.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// A header block: each field as a literal that is not indexed.
pub fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value] {
            let mut length = text.len();
            if length < 127 {
                block.push(length.try_into().unwrap());
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push((length % 128) as u8 | 128);
                    length /= 128;
                }
                block.push(length.try_into().unwrap());
            }
            block.extend_from_slice(text);
        }
    }
    block
}

/// The pseudo-headers of a request.
pub fn pseudo(method: &str) -> Vec<(&str, &[u8])> {
    vec![
        (":method", method.as_bytes()),
        (":scheme", b"http"),
        (":path", b"/"),
        (":authority", b"a"),
    ]
}

/// A head in one frame.
pub fn head(stream: u32, flags: u8, fields: &[(&str, &[u8])]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// A whole GET.
pub fn get(stream: u32) -> Vec<u8> {
    head(stream, END_STREAM, &pseudo("GET"))
}

/// The head of a POST.
pub fn post(stream: u32) -> Vec<u8> {
    head(stream, 0, &pseudo("POST"))
}

/// The head of a response.
pub fn ok(stream: u32, flags: u8) -> Vec<u8> {
    head(stream, flags, &[(":status", b"200")])
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Four bytes of the payload.
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// All frames of some bytes, which must be whole.
pub fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(&[a, b, c, kind, flags, d, e, f, g]) = bytes.first_chunk() {
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        frames.push(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([d, e, f, g]),
            payload: bytes[9..9 + length].to_vec(),
        });
        bytes = &bytes[9 + length..];
    }
    assert!(bytes.is_empty(), "{} bytes after the last frame", bytes.len());
    frames
}

/// Takes all that a connection has to say.
pub fn drain(connection: &mut Connection) -> Vec<u8> {
    let mut all = Vec::new();
    while !connection.is_written() {
        let mut slices = [IoSlice::new(&[]); 4];
        let count = connection.output(&mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        assert!(!bytes.is_empty());
        connection.wrote(bytes.len());
        all.extend(bytes);
    }
    all
}

/// Gives bytes to a connection, so many at a time; all events, and how it ended.
pub fn feed(connection: &mut Connection, bytes: &[u8], step: usize) -> (Vec<Event>, Option<Error>) {
    let mut input = BytesMut::new();
    let mut events = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        input.extend_from_slice(piece);
        loop {
            match connection.next(&mut input) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}
