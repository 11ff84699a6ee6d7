//! Fields as text, so that they can be told apart and shown.
#![allow(dead_code, reason = "each test and fuzzer uses some")]

use bytes::Bytes;
use tenbin_http2::hpack::{Decoder, Field};
use tenbin_http2::{Error, Malformed};

/// Name and value as text; what is bad as its reason.
pub(crate) type Text = Result<(String, Vec<u8>), Malformed>;

pub(crate) fn text(field: &Field) -> Text {
    let pair = |name: &str, value: &[u8]| Ok((name.to_owned(), value.to_vec()));
    match field {
        Field::Method(method) => pair(":method", method.as_str().as_bytes()),
        Field::Scheme(scheme) => pair(":scheme", scheme.as_str().as_bytes()),
        Field::Authority(authority) => pair(":authority", authority.as_str().as_bytes()),
        Field::Path(path) => pair(":path", path.as_str().as_bytes()),
        Field::Protocol(protocol) => pair(":protocol", protocol),
        Field::Status(status) => pair(":status", status.as_str().as_bytes()),
        Field::Header(name, value) => pair(name.as_str(), value.as_bytes()),
        Field::Bad(malformed) => Err(*malformed),
    }
}

/// The fields of a block, each with its size.
pub(crate) fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(Text, usize)>, Error> {
    let mut fields = Vec::new();
    decoder.decode(&Bytes::copy_from_slice(block), &mut |field, size| {
        fields.push((text(&field), size));
        true
    })?;
    Ok(fields)
}

/// Fields that are all good, as `name: value`.
pub(crate) fn lines(decoder: &mut Decoder, block: &[u8]) -> Vec<String> {
    let fields = decode(decoder, block).expect("a block that can be decoded");
    let line = |(text, _): (Text, usize)| {
        let (name, value) = text.expect("a good field");
        format!("{name}: {}", String::from_utf8_lossy(&value))
    };
    fields.into_iter().map(line).collect()
}

/// Bytes written as hexadecimal digits; spaces are skipped.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|digit| !digit.is_ascii_whitespace()).collect();
    let value = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit") as u8;
    assert!(digits.len().is_multiple_of(2), "an odd number of digits");
    digits
        .chunks(2)
        .map(|pair| value(pair[0]) << 4 | value(pair[1]))
        .collect()
}
