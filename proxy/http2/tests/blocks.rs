//! Header blocks that must be refused, and what becomes of the table.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "laws/build.rs"]
mod build;
#[path = "laws/huffman.rs"]
mod huffman;
#[path = "laws/text.rs"]
mod text;

use build::{Kind, Name};
use bytes::Bytes;
use tenbin_http2::hpack::{Decoder, Field};
use tenbin_http2::{Malformed, Reason};
use text::{decode, hex, lines};

/// A block of one Huffman-coded value.
fn coded(value: &[u8]) -> Vec<u8> {
    let mut block = vec![0x0f, 58 - 15];
    build::integer(&mut block, 0x80, 7, value.len());
    [block, value.to_vec()].concat()
}

fn refused(block: &[u8], why: &str) {
    let error = decode(&mut Decoder::new(4096), block).expect_err(why);
    assert_eq!(error.reason, Reason::COMPRESSION_ERROR, "{why}");
    assert!(error.what.contains(why), "`{}` says nothing of `{why}`", error.what);
}

#[test]
fn indices() {
    for block in [
        "80",
        "be",
        "ff00",
        "ff80808080 01",
        "7e 0161",
        "0f2f 0161",
        "1f2f 0161",
        "bf",
    ] {
        refused(&hex(block), "index beyond");
    }
    // The last of the static table, by each representation.
    assert_eq!(
        lines(&mut Decoder::new(4096), &hex("bd 7d0161 0f2e0162 1f2e0163")),
        [
            "www-authenticate: ",
            "www-authenticate: a",
            "www-authenticate: b",
            "www-authenticate: c",
        ]
    );
}

#[test]
fn integers_are_bounded() {
    for block in [
        "ff ffffffffff 00",
        "ff 8080808080 00",
        "0f 8080808080 00",
        "41 ff 8080808080 00",
        "3f 8080808080 00",
    ] {
        refused(&hex(block), "more than 5 bytes");
    }
    // Much longer than any block, but no overflow.
    refused(&hex("41 7f ffffffff7f 61"), "ends within");
    refused(&hex("ff ffffffff7f"), "index beyond");
    // Zeros on the left that nobody needs: 15 as six bytes.
    assert_eq!(
        lines(&mut Decoder::new(4096), &hex("0f 8080808000 0161")),
        ["accept-charset: a"]
    );
}

#[test]
fn cut_off() {
    let whole = hex("82 400a 6375 7374 6f6d 2d6b 6579 8925 a849 e95b b8e8 b4bf");
    let ends = [1, whole.len()];
    for length in 1..=whole.len() {
        let outcome = decode(&mut Decoder::new(4096), &whole[..length]);
        if ends.contains(&length) {
            assert!(outcome.is_ok(), "{length}");
        } else {
            let error = outcome.expect_err("a part of a field");
            assert_eq!(error.reason, Reason::COMPRESSION_ERROR, "{length}");
        }
    }
    for block in [
        "ff", "ff80", "41", "4101", "40", "4001", "400161", "40016101", "3f", "3f80", "0f", "1f", "00",
    ] {
        refused(&hex(block), "ends within");
    }
}

#[test]
fn padding() {
    // `a` is 00011 and `<` 15 bits; what follows must be ones, 7 at most.
    for (symbols, padding, good) in [
        (&b"a"[..], 3, true),
        (b"a", 3 + 8, false),
        (b"aaaaaaaa", 0, true),
        (b"aaaaaaaa", 8, false),
        (b"<", 1, true),
        (b"<", 9, false),
        (b"", 8, false),
        (b"", 24, false),
        (b"", 0, true),
        (b"0000000X", 0, false),
    ] {
        let symbols = symbols.iter().map(|&byte| usize::from(byte));
        let bits = huffman::bits(symbols, &vec![true; padding]);
        let block = coded(&huffman::bytes(&bits));
        if good {
            decode(&mut Decoder::new(4096), &block).expect("a good block");
        } else if bits.len().is_multiple_of(8) {
            refused(&block, "padding");
        }
    }
    for zero in 0..3 {
        let mut padding = vec![true; 3];
        padding[zero] = false;
        refused(
            &coded(&huffman::bytes(&huffman::bits([usize::from(b'a')], &padding))),
            "padding",
        );
    }
}

#[test]
fn end_of_string() {
    let eos = huffman::EOS;
    for symbols in [
        &[eos][..],
        &[97, eos],
        &[97, eos, 97],
        &[eos, eos],
        &[97, 97, 97, 97, 97, 97, 97, 97, 97, eos, 97, 98, 99, 100, 101],
    ] {
        refused(
            &coded(&huffman::bytes(&huffman::bits(symbols.iter().copied(), &[]))),
            "EOS",
        );
    }
}

/// Each symbol by itself and next to each other one, wherever they begin in a byte.
#[test]
fn every_symbol() {
    for one in 0..=255_u8 {
        let text: Vec<u8> = (0..=255_u8).flat_map(|two| [one, two, b'a', two]).collect();
        let mut block = Vec::new();
        build::literal(&mut block, Kind::Plain, &Name::Index(4), &text, true);
        let mut sizes = Vec::new();
        let mut decoder = Decoder::new(4096);
        decoder
            .decode(&Bytes::from(block), &mut |_, size| {
                sizes.push(size);
                true
            })
            .unwrap();
        assert_eq!(sizes, [5 + 1024 + 32], "with {one}");

        let printable: Vec<u8> = text.into_iter().filter(|&byte| byte >= b' ' && byte != 127).collect();
        let value = [b"<", &printable[..], b">"].concat();
        let mut block = Vec::new();
        build::literal(&mut block, Kind::Plain, &Name::Index(58), &value, true);
        let fields = decode(&mut Decoder::new(4096), &block).unwrap();
        assert_eq!(fields[0].0, Ok(("user-agent".to_owned(), value)), "with {one}");
    }
}

#[test]
fn size_updates() {
    refused(&hex("82 20"), "after a field");
    refused(&hex("82 3f e11f 82"), "after a field");
    refused(&hex("3f e21f"), "above SETTINGS_HEADER_TABLE_SIZE");
    let mut decoder = Decoder::new(4096);
    assert_eq!(lines(&mut decoder, &hex("400161 0162 be")), ["a: b", "a: b"]);
    // To 4096 leaves it, and so does a block of updates alone; to 0 empties it, whatever follows.
    assert_eq!(lines(&mut decoder, &hex("3fe11f be")), ["a: b"]);
    assert_eq!(lines(&mut decoder, &hex("3fe11f 3f8000")), [""; 0]);
    assert!(decode(&mut decoder, &hex("20 3fe11f be")).is_err());
    // 33 bytes are room for nothing that has a name and a value.
    let mut decoder = Decoder::new(4096);
    assert_eq!(lines(&mut decoder, &hex("3f02 400161 0162")), ["a: b"]);
    assert!(decode(&mut decoder, &hex("be")).is_err());
    // 34 are.
    let mut decoder = Decoder::new(4096);
    assert_eq!(
        lines(&mut decoder, &hex("3f03 400161 0162 400163 0164 be")),
        ["a: b", "c: d", "c: d"]
    );
    assert!(decode(&mut decoder, &hex("bf")).is_err());
}

#[test]
fn tables_that_are_allowed() {
    // None at all: literals are handed out, and nothing stays.
    let mut decoder = Decoder::new(0);
    assert_eq!(lines(&mut decoder, &hex("20 400161 0162")), ["a: b"]);
    assert!(decode(&mut decoder, &hex("be")).is_err());
    // A larger one begins with what the peer assumes, and grows when it says so.
    let entry = |length: usize| build::field(Kind::Indexed, b"a", &vec![b'b'; length]);
    let mut decoder = Decoder::new(65_536);
    lines(&mut decoder, &entry(4096 - 33));
    lines(&mut decoder, &[0xbe]);
    lines(&mut decoder, &entry(4096 - 32));
    assert!(decode(&mut decoder, &[0xbe]).is_err());
    let mut decoder = Decoder::new(65_536);
    lines(
        &mut decoder,
        &[hex("3fe1ff03"), entry(65_536 - 33), vec![0xbe]].concat(),
    );
}

/// An entry that is larger than the table empties it, is handed out, and is no error (RFC 7541 §4.4); one may be named by the entry
/// that goes for it.
#[test]
fn eviction() {
    let mut decoder = Decoder::new(64);
    lines(&mut decoder, &hex("400161 0162"));
    let large = build::field(Kind::Indexed, b"a", &[b'c'; 32]);
    assert_eq!(lines(&mut decoder, &large), [format!("a: {}", "c".repeat(32))]);
    assert!(decode(&mut decoder, &hex("be")).is_err());

    let mut decoder = Decoder::new(64);
    lines(&mut decoder, &hex("400161 0162"));
    assert_eq!(lines(&mut decoder, &hex("7e 0163 be")), ["a: c", "a: c"]);
    assert!(decode(&mut decoder, &hex("bf")).is_err());
}

/// A bad field spoils its message, not the table: it can be referred to, and so can its name.
#[test]
fn bad_fields_stay_in_the_table() {
    let mut decoder = Decoder::new(4096);
    let block = [
        build::field(Kind::Indexed, b"x-a", b"\0"),
        build::field(Kind::Indexed, b"X-A", b"b"),
        hex("bf be 7f00 0163 7f00 0164"),
    ]
    .concat();
    let good = |value: &[u8]| (Ok(("x-a".to_owned(), value.to_vec())), 36);
    let (value, name) = ((Err(Malformed::Value), 36), (Err(Malformed::UpperCase), 36));
    let fields = decode(&mut decoder, &block).unwrap();
    // The names referred to at last: `x-a`, and then (one later) `X-A`.
    let expected = [value.clone(), name.clone(), value, name.clone(), good(b"c"), name];
    assert_eq!(fields, expected);
}

/// What nobody wants is read all the same.
#[test]
fn what_is_not_wanted() {
    let block = [
        build::field(Kind::Indexed, b"a", b"b"),
        build::field(Kind::Plain, b"c", b"d"),
        build::field(Kind::Indexed, b"e", b"f"),
        hex("82 be"),
    ]
    .concat();
    for wanted in 1..=5 {
        let mut decoder = Decoder::new(4096);
        let mut fields = Vec::new();
        decoder
            .decode(&Bytes::from(block.clone()), &mut |field, _| {
                fields.push(text::text(&field).unwrap().0);
                fields.len() < wanted
            })
            .unwrap();
        assert_eq!(fields, ["a", "c", "e", ":method", "e"][..wanted]);
        assert_eq!(lines(&mut decoder, &hex("be bf")), ["e: f", "a: b"]);
    }
    for bad in [
        "0001 61 84ffffffff",
        "0f00 84ffffffff",
        "0f2f 0161",
        "be",
        "4061 84ffffffff",
        "20",
    ] {
        let block = Bytes::from([hex("82"), hex(bad)].concat());
        let outcome = Decoder::new(4096).decode(&block, &mut |_, _| false);
        assert_eq!(
            outcome.map_err(|error| error.reason),
            Err(Reason::COMPRESSION_ERROR),
            "{bad}"
        );
    }
}

/// A value of 4000 bytes in the table, and then named by each of 10000 bytes: all are one copy, as are those of a literal and its
/// block.
#[test]
fn values_are_not_copied() {
    let mut decoder = Decoder::new(4096);
    lines(&mut decoder, &build::field(Kind::Indexed, b"a", &[b'b'; 4000]));
    let mut places = Vec::new();
    let mut sizes = 0;
    decoder
        .decode(&Bytes::from(vec![0xbe; 10_000]), &mut |field, size| {
            let Field::Header(_, value) = field else {
                panic!("a header")
            };
            places.push(value.as_bytes().as_ptr());
            sizes += size;
            true
        })
        .unwrap();
    places.dedup();
    assert_eq!((places.len(), sizes), (1, 10_000 * 4033));

    for (kind, shared) in [(Kind::Plain, true), (Kind::Never, true), (Kind::Indexed, false)] {
        let block = Bytes::from(build::field(kind, b"a", b"value"));
        let place = block.as_ptr_range();
        let mut found = None;
        let mut keep = |field, _| {
            let Field::Header(_, value) = field else {
                panic!("a header")
            };
            found = Some(place.contains(&value.as_bytes().as_ptr()));
            true
        };
        Decoder::new(4096).decode(&block, &mut keep).unwrap();
        assert_eq!(found, Some(shared), "{kind:?}");
    }
}

/// What must never be indexed is marked, so that it is not on the way on.
#[test]
fn never_indexed() {
    for (kind, sensitive) in [(Kind::Never, true), (Kind::Plain, false), (Kind::Indexed, false)] {
        let block = Bytes::from(build::field(kind, b"x-key", b"secret"));
        let mut found = None;
        let mut keep = |field, _| {
            assert_eq!(format!("{field:?}"), "x-key");
            let Field::Header(_, value) = field else {
                panic!("a header")
            };
            found = Some(value.is_sensitive());
            true
        };
        Decoder::new(4096).decode(&block, &mut keep).unwrap();
        assert_eq!(found, Some(sensitive), "{kind:?}");
    }
}
