//! Which fields are good by themselves, and why others are not.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "laws/build.rs"]
mod build;
#[path = "laws/huffman.rs"]
mod huffman;
#[path = "laws/text.rs"]
mod text;

use build::{Kind, Name};
use tenbin_http2::Malformed::{self, *};
use tenbin_http2::hpack::Decoder;

/// The field as each representation gives it, and from the table: always the same.
fn read(name: &[u8], value: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut found = Vec::new();
    for kind in [Kind::Plain, Kind::Never, Kind::Indexed] {
        for huffman in [false, true] {
            let mut block = Vec::new();
            build::literal(&mut block, kind, &Name::Text(name.to_vec(), huffman), value, huffman);
            if matches!(kind, Kind::Indexed) {
                block.extend([0xbe, 0x7e]);
                build::string(&mut block, value, huffman);
            }
            for (text, size) in text::decode(&mut Decoder::new(4096), &block).unwrap() {
                assert_eq!(size, name.len() + value.len() + 32);
                found.push(text.map(|(read, value)| {
                    assert_eq!(read.as_bytes(), name);
                    value
                }));
            }
        }
    }
    assert_eq!(found.len(), 10);
    found.dedup();
    assert_eq!(found.len(), 1, "representations differ: {found:?}");
    found.remove(0)
}

fn good(name: &str, values: &[&str]) {
    for value in values {
        assert_eq!(
            read(name.as_bytes(), value.as_bytes()),
            Ok(value.as_bytes().to_vec()),
            "{name}: {value}"
        );
    }
}

fn bad(name: &str, malformed: Malformed, values: &[&str]) {
    for value in values {
        assert_eq!(
            read(name.as_bytes(), value.as_bytes()),
            Err(malformed),
            "{name}: {value}"
        );
    }
}

#[test]
fn names() {
    for name in [
        "a",
        "te",
        "content-type",
        "grpc-status",
        "x-custom",
        "!#$%&'*+-.^_`|~0",
        &"n".repeat(300),
    ] {
        good(name, &["v"]);
    }
    bad("", EmptyName, &["v", ""]);
    for name in ["A", "Content-Type", "x-Custom", "TE"] {
        bad(name, UpperCase, &["v"]);
    }
    for name in [
        "a b",
        " a",
        "a:",
        "a\r",
        "\n",
        "a\0",
        "\u{7f}",
        "caf\u{e9}",
        "quo\"te",
        "(",
        "a/b",
        "[",
        "{",
        "@",
        ",",
    ] {
        bad(name, Malformed::Name, &["v"]);
    }
    for name in [
        ":",
        ":a",
        ":Path",
        ":method ",
        ":host",
        ":content-type",
        ":pat",
        ":path0",
    ] {
        bad(name, UnknownPseudo, &["v", "/", "GET"]);
    }
}

#[test]
fn values() {
    good("a", &["", "v", "a b", "a\tb", "caf\u{e9}", "\"", "\u{80}", ":", "a, b"]);
    bad(
        "a",
        Value,
        &[
            "\0", "a\rb", "a\nb", "\r\n", "a\r\n b", "\u{1}", "\u{7f}", "\u{1b}[m", "a\0",
        ],
    );
    bad("a", SpaceAround, &[" ", "\t", " a", "a ", "\ta", "a\t", " \0"]);
    for byte in 0..=255 {
        let fine = byte == b'\t' || (byte >= b' ' && byte != 127);
        assert_eq!(read(b"a", &[b'x', byte, b'y']).is_ok(), fine, "{byte}");
    }
}

#[test]
fn methods() {
    good(
        ":method",
        &[
            "GET",
            "POST",
            "CONNECT",
            "get",
            "M-SEARCH",
            "PROPPATCH",
            "!#$%&'*+-.^_`|~",
            &"M".repeat(40),
        ],
    );
    bad(
        ":method",
        Method,
        &["", " ", "GET ", "G T", "GET\r\n", "G\0", "G\u{e9}", "\"", "GET/"],
    );
}

#[test]
fn schemes() {
    good(":scheme", &["http", "https", "ftp", "coap+tcp", "a1.b-c"]);
    for (written, read_as) in [("HTTP", "http"), ("Https", "https")] {
        assert_eq!(read(b":scheme", written.as_bytes()), Ok(read_as.as_bytes().to_vec()));
    }
    bad(
        ":scheme",
        Scheme,
        &[
            "", "1a", "http:", "http://", "ht tp", "+a", "a/b", "h\u{e9}", "http\0", " http",
        ],
    );
}

#[test]
fn authorities() {
    good(
        ":authority",
        &[
            "h",
            "h:80",
            "h:",
            "a.b.c:65535",
            "127.0.0.1",
            "[::1]",
            "[::1]:8080",
            "a_b",
            "xn--caf-dma",
        ],
    );
    bad(
        ":authority",
        Authority,
        &[
            "",
            ":80",
            "u@h",
            "u:p@h:80",
            "@h",
            "h:65536",
            "%41",
            "h:x",
            "h:-1",
            "h:+1",
            "h:80:80",
            "a b",
            "h/p",
            "h?q",
            "h#f",
            "[::1",
            "::1",
            "h\0",
            "h\r\n",
            "caf\u{e9}",
            "http://h",
            "[::1]x",
            "h\\",
            "a,b\u{7f}",
        ],
    );
}

#[test]
fn paths() {
    good(
        ":path",
        &[
            "/",
            "*",
            "/a",
            "/a?b=c",
            "/?",
            "/a?b?c",
            "//",
            "/%41",
            "/a\"{}|\\^[]",
            "/a?`",
            "/tenbin.demo.v1.Demo/Echo",
        ],
    );
    bad(
        ":path",
        Path,
        &[
            "",
            "a",
            "?",
            "?a",
            "#",
            "/#",
            "/a#b",
            "/a b",
            "/a\tb",
            "/\0",
            "/a\r\n",
            "/\u{7f}",
            "/caf\u{e9}",
            "**",
            "*/",
            "http://h/",
            "/<",
            "/?>",
            " /",
        ],
    );
    // As long as a URI may be, and longer.
    for (length, good) in [(65_534, true), (65_535, false)] {
        let mut block = Vec::new();
        let path = "/".repeat(length);
        build::literal(&mut block, Kind::Plain, &Name::Index(4), path.as_bytes(), false);
        let fields = text::decode(&mut Decoder::new(4096), &block).unwrap();
        assert_eq!(fields[0].0.is_ok(), good, "{length}");
    }
}

#[test]
fn protocols() {
    good(":protocol", &["websocket", "connect-udp", "!"]);
    bad(
        ":protocol",
        Protocol,
        &["", "a b", "a/1", "a\0", "caf\u{e9}", "websocket\r\n"],
    );
}

#[test]
fn statuses() {
    good(":status", &["100", "101", "200", "404", "599", "999"]);
    bad(
        ":status",
        Status,
        &[
            "", "0", "99", "099", "1000", "20", "2000", "abc", "20a", "+20", " 200", "200 ", "20\0", "-20",
        ],
    );
}

/// The only entry of the static table that is no good as it stands.
#[test]
fn authority_without_value() {
    let fields = text::decode(&mut Decoder::new(4096), &[0x81, 0x82]).unwrap();
    assert_eq!(
        fields,
        [(Err(Authority), 42), (Ok((":method".to_owned(), b"GET".to_vec())), 42)]
    );
}
