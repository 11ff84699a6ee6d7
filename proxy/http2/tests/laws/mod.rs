//! What must hold for any bytes whatever; the property tests and the fuzzers both ask for it. Rows with known outcomes are in
//! the other tests.
#![allow(dead_code, reason = "each test and fuzzer uses some")]

mod audit;
pub(crate) mod build;
mod connection;
pub(crate) mod huffman;
mod mirror;
pub(crate) mod model;
mod owner;
mod script;
pub(crate) mod text;

#[allow(unused_imports, reason = "each test and fuzzer uses some")]
pub(crate) use connection::connection;

use bytes::{Bytes, BytesMut};
use tenbin_http2::Reason;
use tenbin_http2::frame::{self, Frame, Wrong};
use tenbin_http2::hpack::{self, Decoder, Field};

use model::{Model, Pair};

/// Small, so that entries go.
const TABLE: usize = 256;

/// The first byte of each block says how long it is (up to the byte before the last that there is), and so on.
pub(crate) fn hpack(mut data: &[u8]) {
    let mut blocks = Vec::new();
    while let Some((&length, rest)) = data.split_first() {
        let (block, rest) = rest.split_at(rest.len().min(usize::from(length)));
        blocks.push(block);
        data = rest;
    }
    header_blocks(&blocks);
}

/// Decodes the blocks of a connection as the model does.
pub(crate) fn header_blocks(blocks: &[&[u8]]) {
    let mut model = Model::new(TABLE);
    let mut decoder = Decoder::new(TABLE);
    // One that wants no more than one field of a block: its table must not differ for that.
    let mut hasty = Decoder::new(TABLE);
    for block in blocks {
        let expected = model.decode(block);
        let shared = Bytes::copy_from_slice(block);
        let mut fields = Vec::new();
        let outcome = decoder.decode(&shared, &mut |field, size| {
            fields.push((field, size));
            true
        });
        let mut count = 0;
        let hasty_outcome = hasty.decode(&shared, &mut |_, _| {
            count += 1;
            false
        });
        assert_eq!(outcome, hasty_outcome, "for what is wanted");
        let Some(expected) = expected else {
            assert_eq!(outcome.map_err(|error| error.reason), Err(Reason::COMPRESSION_ERROR));
            return;
        };
        assert_eq!(outcome, Ok(()));
        assert_eq!(fields.len(), expected.len());
        assert_eq!(count, fields.len().min(1));
        for ((field, size), (pair, never)) in fields.iter().zip(&expected) {
            assert_eq!(*size, model::size(pair));
            same(field, pair);
            if let Field::Header(_, value) = field {
                assert_eq!(value.is_sensitive(), *never);
            }
            again(field);
        }
    }
}

/// A field is the text that the model has, or is bad, and says so.
fn same(field: &Field, (name, value): &Pair) {
    match text::text(field) {
        Ok((found, text)) => {
            assert_eq!(found.as_bytes(), name);
            if name == b":scheme" {
                assert!(text.eq_ignore_ascii_case(value));
            } else {
                assert_eq!(text, *value);
            }
            assert_ne!(is_bad(name, value), Some(true), "of {}", name.escape_ascii());
        }
        Err(malformed) => {
            assert_ne!(is_bad(name, value), Some(false), "{malformed}");
        }
    }
}

/// Names whose values have rules of more than one line.
fn is_unclear(name: &[u8]) -> bool {
    [&b":authority"[..], b":path", b":scheme"].contains(&name)
}

/// Whether RFC 9113 §8.2.1 and §8.3 refuse a field.
fn is_bad(name: &[u8], value: &[u8]) -> Option<bool> {
    let token = |text: &[u8]| {
        let mark = |byte| b"!#$%&'*+-.^_`|~".contains(byte);
        !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || mark(byte))
    };
    if is_unclear(name) {
        return None;
    }
    Some(match name {
        b":method" | b":protocol" => !token(value),
        b":status" => !(value.len() == 3 && value.iter().all(u8::is_ascii_digit) && value[0] > b'0'),
        name => {
            let edge = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
            let control = |&byte: &u8| byte < b' ' && byte != b'\t' || byte == 127;
            !token(name)
                || name.iter().any(u8::is_ascii_uppercase)
                || edge(value.first())
                || edge(value.last())
                || value.iter().any(control)
        }
    })
}

/// Writes a field.
pub(crate) fn put(out: &mut BytesMut, field: &Field) {
    match field {
        Field::Method(method) => hpack::put_method(out, method),
        Field::Scheme(scheme) => hpack::put_scheme(out, scheme),
        Field::Authority(authority) => hpack::put_authority(out, authority),
        Field::Path(path) => hpack::put_path(out, path),
        Field::Protocol(protocol) => hpack::put_protocol(out, protocol),
        Field::Status(status) => hpack::put_status(out, *status),
        Field::Header(name, value) => hpack::put_header(out, name, value),
        Field::Bad(_) => {}
    }
}

/// What is written of a field reads as the same, here and by the model, and nothing of it stays in a table.
pub(crate) fn again(field: &Field) {
    if matches!(field, Field::Bad(_)) {
        return;
    }
    let mut out = BytesMut::new();
    put(&mut out, field);
    let block = out.freeze();
    let mut decoder = Decoder::new(4096);
    let mut fields = Vec::new();
    let outcome = decoder.decode(&block, &mut |field, _| {
        fields.push(field);
        true
    });
    assert_eq!((outcome, &fields[..]), (Ok(()), std::slice::from_ref(field)));
    let pairs = Model::new(4096).decode(&block).expect("what is written can be read");
    let [(pair, never)] = &pairs[..] else {
        panic!("{} fields for one", pairs.len())
    };
    if let Field::Header(name, value) = field {
        let secrets = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
        assert_eq!(*never, value.is_sensitive() || secrets.contains(&name.as_str()));
    }
    same(field, pair);
    assert!(
        decoder
            .decode(&Bytes::from_static(&[0x80 | 62]), &mut |_, _| true)
            .is_err()
    );
}

/// Our own limit of frames, small so that it is met.
pub(crate) const MAX: usize = 16_384;

/// What comes of bytes: frames, and how it ends.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) frames: Vec<Result<Frame, Wrong>>,
    /// Bytes that wait for more.
    pub(crate) left: usize,
}

/// Gives `wire` to the reader in pieces of the given lengths, which are used over and over.
pub(crate) fn read(wire: &[u8], lengths: &[usize], max: usize) -> Outcome {
    let mut buf = BytesMut::new();
    let mut outcome = Outcome {
        frames: Vec::new(),
        left: 0,
    };
    let mut rest = wire;
    for length in lengths.iter().cycle() {
        let (piece, after) = rest.split_at(rest.len().min(*length.max(&1)));
        buf.extend_from_slice(piece);
        rest = after;
        loop {
            let before = buf.len();
            match frame::read(&mut buf, max) {
                Ok(None) => {
                    assert_eq!(buf.len(), before, "bytes are gone, and no frame came");
                    assert!(before < frame::HEAD + max, "all of a frame is there");
                    break;
                }
                Ok(Some(frame)) => {
                    assert!(buf.len() + frame::HEAD <= before);
                    outcome.frames.push(Ok(frame));
                }
                Err(wrong @ Wrong::Stream { stream, .. }) => {
                    assert!(buf.len() + frame::HEAD <= before && stream != 0);
                    outcome.frames.push(Err(wrong));
                }
                Err(wrong) => {
                    outcome.frames.push(Err(wrong));
                    return outcome;
                }
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    outcome.left = buf.len();
    outcome
}

/// Bytes are the same frames however they come in pieces, and frames that are written again are the same frames.
pub(crate) fn frames(wire: &[u8]) {
    let whole = read(wire, &[usize::MAX], MAX);
    for lengths in [&[1][..], &[9], &[3, 11, 1, 64]] {
        assert_eq!(read(wire, lengths, MAX), whole, "in pieces of {lengths:?}");
    }
    for frame in whole.frames.into_iter().flatten() {
        let mut out = BytesMut::new();
        let Some(expected) = put_frame(&mut out, &frame) else {
            continue;
        };
        let mut frames = read(&out, &[usize::MAX], MAX);
        assert_eq!((frames.frames.len(), frames.left), (1, 0));
        assert_eq!(frames.frames.remove(0), Ok(expected));
    }
}

/// Writes a frame as we would, without padding and priority; gives what is to be read of it. `None`: we write none such.
fn put_frame(out: &mut BytesMut, frame: &Frame) -> Option<Frame> {
    match frame {
        Frame::Data { stream, data, end, .. } => {
            frame::put_data_head(out, *stream, data.len(), *end);
            out.extend_from_slice(data);
            let (stream, data, end) = (*stream, data.clone(), *end);
            let flow = data.len() as u32;
            return Some(Frame::Data {
                stream,
                data,
                flow,
                end,
            });
        }
        Frame::Headers { stream, block, end, .. } => {
            frame::put_headers(out, *stream, *end, MAX, |out| out.extend_from_slice(block));
            return Some(Frame::Headers {
                stream: *stream,
                block: block.clone(),
                end: *end,
                end_headers: true,
                depends_on: None,
            });
        }
        Frame::Reset { stream, reason } => frame::put_reset(out, *stream, *reason),
        Frame::Settings { ack: true, .. } => frame::put_settings_ack(out),
        Frame::Settings { settings, .. } => frame::put_settings(out, settings),
        Frame::Ping { ack, payload } => frame::put_ping(out, *ack, *payload),
        Frame::GoAway { last, reason } => frame::put_go_away(out, *last, *reason),
        Frame::WindowUpdate { stream, increment } => frame::put_window_update(out, *stream, *increment),
        Frame::Continuation { .. } | Frame::Priority { .. } | Frame::PushPromise { .. } | Frame::Unknown { .. } => {
            return None;
        }
    }
    Some(frame.clone())
}
