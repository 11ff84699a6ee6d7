//! Header blocks and frames by hand, good and bad.
#![allow(dead_code, reason = "each test and fuzzer uses some")]

use super::huffman;

/// What becomes of a literal field: the bits that it begins with, and how many bits of an index follow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Indexed,
    Plain,
    Never,
}

#[derive(Clone, Debug)]
pub(crate) enum Name {
    Index(usize),
    Text(Vec<u8>, bool),
}

/// An integer after the bits of `first` (RFC 7541 §5.1).
pub(crate) fn integer(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let mask = (1 << prefix) - 1;
    if value < mask {
        return out.push(first | value as u8);
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A string, perhaps Huffman-coded.
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8], huffman: bool) {
    if huffman {
        let coded = huffman::encode(text);
        integer(out, 0x80, 7, coded.len());
        out.extend(coded);
    } else {
        integer(out, 0, 7, text.len());
        out.extend(text);
    }
}

pub(crate) fn literal(out: &mut Vec<u8>, kind: Kind, name: &Name, value: &[u8], huffman: bool) {
    let (first, prefix) = match kind {
        Kind::Indexed => (0x40, 6),
        Kind::Plain => (0x00, 4),
        Kind::Never => (0x10, 4),
    };
    match name {
        Name::Index(index) => integer(out, first, prefix, *index),
        Name::Text(name, huffman) => {
            integer(out, first, prefix, 0);
            string(out, name, *huffman);
        }
    }
    string(out, value, huffman);
}

/// One literal field, nothing of it Huffman-coded.
pub(crate) fn field(kind: Kind, name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    literal(&mut out, kind, &Name::Text(name.to_vec(), false), value, false);
    out
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
