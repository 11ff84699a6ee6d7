//! Bodies on the wire: chunks and what each of their rules refuses, trailers, lengths, and what is known ahead.
#![allow(missing_docs, reason = "tests")]

mod laws;

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use laws::read_body;
use tenbin_http1::Malformed::{self, *};
use tenbin_http1::{BodyReader, Length, Limits, Piece};

const LIMITS: Limits = Limits {
    head: 64,
    headers: 3,
    target: 0,
};

fn chunked(wire: &[u8]) -> (Vec<u8>, Option<HeaderMap>, Result<usize, Malformed>) {
    let whole = read_body(wire, &[wire.len()], Length::Chunked, &LIMITS);
    let bytes = read_body(wire, &[1], Length::Chunked, &LIMITS);
    assert_eq!(whole, bytes, "{:?}", String::from_utf8_lossy(wire));
    (whole.data, whole.trailers, whole.outcome)
}

fn reader(length: Length) -> BodyReader {
    BodyReader::new(length, &LIMITS)
}

#[test]
fn chunks_that_are_refused() {
    let rows: &[(&[u8], Malformed)] = &[
        // RFC 9112 §7.1: chunk-size = 1*HEXDIG
        (b"\r\n", ChunkSize),
        (b";a\r\n", ChunkSize),
        (b"g\r\n", ChunkSize),
        (b"0x5\r\nhello\r\n", ChunkSize),
        (b"+5\r\nhello\r\n", ChunkSize),
        (b"-1\r\n", ChunkSize),
        (b" 5\r\nhello\r\n", ChunkSize),
        (b"5 \r\nhello\r\n", ChunkSize),
        (b"5\t;a\r\nhello\r\n", ChunkSize),
        (b"5_0\r\n", ChunkSize),
        (b"5,0\r\n", ChunkSize),
        (b"5\x00\r\n", ChunkSize),
        (b"\xef\xbc\x95\r\n", ChunkSize),
        (b"10000000000000000\r\n", ChunkSize), // 2^64
        (b"00000000000000005\r\nhello\r\n", ChunkSize),
        // RFC 9112 §2.2
        (b"5\nhello\r\n0\r\n\r\n", BareLf),
        (b"5;a\nhello\r\n0\r\n\r\n", BareLf),
        (b"5;a\rb\r\nhello\r\n0\r\n\r\n", BareCr),
        (b"5\rhello\r\n", BareCr),
        (b"5\r\r\nhello\r\n", BareCr),
        (b"5\r\nhello\n0\r\n\r\n", BareLf),
        (b"5\r\nhello\r0\r\n\r\n", BareCr),
        (b"5\r\nhello\r\r\n0\r\n\r\n", BareCr),
        (b"0\n\r\n", BareLf),
        (b"0\r\n\n", BareLf),
        (b"0\r\na: b\n\r\n", BareLf),
        (b"0\r\na: b\r\n\n", BareLf),
        (b"0\r\na: b\rc: d\r\n\r\n", BareCr),
        // RFC 9112 §7.1: the data ends in CRLF
        (b"5\r\nhello0\r\n\r\n", ChunkEnd),
        (b"4\r\nhello\r\n0\r\n\r\n", ChunkEnd),
        (b"5\r\nhello \r\n0\r\n\r\n", ChunkEnd),
        (b"6\r\nhello\r\n0\r\n\r\n", BareLf),
        // RFC 9112 §7.1.1
        (b"5;\r\nhello\r\n", ChunkExtension),
        (b"5;a=\x00\r\n", ChunkExtension),
        (b"5;\x7f\r\n", ChunkExtension),
        (b"5;\xff\r\n", ChunkExtension),
        // RFC 9112 §7.1.2: trailers are header lines
        (b"0\r\n a: b\r\n\r\n", Folded),
        (b"0\r\na : b\r\n\r\n", SpaceBeforeColon),
        (b"0\r\na\r\n\r\n", NoColon),
        (b"0\r\n: b\r\n\r\n", EmptyName),
        (b"0\r\na(: b\r\n\r\n", Name),
        (b"0\r\na: \x00\r\n\r\n", Value),
        (b"0\r\nGET / HTTP/1.1\r\n\r\n", NoColon),
        // RFC 9112 §8
        (b"", Truncated),
        (b"5", Truncated),
        (b"5\r\nhell", Truncated),
        (b"5\r\nhello\r\n", Truncated),
        (b"0\r\n", Truncated),
        (b"0\r\na: b\r\n", Truncated),
    ];
    for (wire, malformed) in rows {
        assert_eq!(chunked(wire).2, Err(*malformed), "{:?}", String::from_utf8_lossy(wire));
        assert_eq!(malformed.status(), StatusCode::BAD_REQUEST);
    }
}

#[test]
fn chunks_that_pass() {
    let rows: &[(&[u8], &[u8])] = &[
        (b"0\r\n\r\n", b""),
        (b"0000000000000000\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"0000000000000005\r\nhello\r\n000\r\n\r\n", b"hello"),
        (
            b"1\r\na\r\n2\r\nbc\r\nA\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n",
            b"abc01234567890123456789a",
        ),
        (b"5;a;b=c;d=\"\\\"; 0\"\t\r\nhello\r\n0;e\r\n\r\n", b"hello"),
        (b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
    ];
    for (wire, data) in rows {
        let (found, trailers, outcome) = chunked(wire);
        assert_eq!(
            (&found[..], trailers, outcome),
            (*data, None, Ok(wire.len())),
            "{:?}",
            String::from_utf8_lossy(wire)
        );
    }
    let (data, _, outcome) = chunked(b"ffffffffffffffff\r\nhello");
    assert_eq!(
        (&data[..], outcome),
        (&b"hello"[..], Err(Truncated)),
        "the largest size"
    );
    assert_eq!(chunked(b"0\r\n\r\nGET / HTTP/1.1\r\n").2, Ok(5), "what follows is left");
}

#[test]
fn extensions_are_bounded() {
    let chunk = |length: usize| format!("1;{}\r\na\r\n", "x".repeat(length));
    let body = |chunks: &str| chunked(format!("{chunks}0\r\n\r\n").as_bytes()).2;
    assert!(body(&chunk(256)).is_ok());
    assert_eq!(body(&chunk(257)), Err(ExtensionsTooLong));
    assert!(body(&chunk(256).repeat(64)).is_ok());
    assert_eq!(
        body(&format!("{}{}", chunk(256).repeat(64), chunk(1))),
        Err(ExtensionsTooLong)
    );
    assert!(body(&format!("{}{}", chunk(256).repeat(64), "1\r\na\r\n".repeat(100))).is_ok());
}

#[test]
fn trailers() {
    let (data, trailers, outcome) = chunked(b"1\r\na\r\n0\r\nGrpc-Status: 0\r\nx: y\r\nx:z\r\n\r\n");
    let trailers = trailers.expect("trailers");
    assert_eq!((&data[..], outcome, trailers.len()), (&b"a"[..], Ok(38), 3));
    assert_eq!(trailers["grpc-status"], "0");
    assert!(trailers.get_all("x").iter().eq(["y", "z"]));
    // Limits of their own, the same as a head's: the section with its empty line, its lines.
    let long = |length: usize| format!("0\r\na: {}\r\n\r\n", "x".repeat(length - 7));
    assert!(chunked(long(64).as_bytes()).1.is_some());
    assert_eq!(chunked(long(65).as_bytes()).2, Err(TrailersTooLong));
    assert_eq!(chunked(b"0\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n").2, Err(TrailersTooLong));
    assert_eq!(TrailersTooLong.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[test]
fn fields_that_were_to_come_before_the_body_are_dropped() {
    // RFC 9110 §6.5.1
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Host",
        "Connection",
        "Content-Encoding",
        "Content-Type",
        "Trailer",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "TE",
        "Upgrade",
        "Keep-Alive",
        "Proxy-Connection",
        "X-Forwarded-For",
        "Forwarded",
        "Expect",
        "Cache-Control",
        "Location",
    ] {
        let (_, trailers, outcome) = chunked(format!("0\r\n{name}: 1\r\n{name}: 2\r\nx: y\r\n\r\n").as_bytes());
        assert!(outcome.is_ok());
        let trailers = trailers.expect("one that may be there");
        assert_eq!(
            (trailers.len(), &trailers["x"]),
            (1, &http::HeaderValue::from_static("y")),
            "{name}"
        );
        let (_, trailers, outcome) = chunked(format!("0\r\n{name}: 1\r\n\r\n").as_bytes());
        assert!(outcome.is_ok() && trailers.is_none(), "{name}: none is left");
    }
}

#[test]
fn the_end_of_chunks_is_known_with_the_last_data() {
    let mut reader = reader(Length::Chunked);
    let mut buf = BytesMut::from("5\r\nhello\r\n0\r\n\r\nGET");
    assert_eq!(reader.next(&mut buf), Ok(Piece::Data("hello".into())));
    assert!(reader.is_end());
    assert_eq!((reader.left(), &buf[..]), (Some(0), &b"GET"[..]));
    assert_eq!(reader.next(&mut buf), Ok(Piece::End));
}

#[test]
fn it_has_not_ended_while_trailers_are_to_be_taken() {
    let mut reader = reader(Length::Chunked);
    let mut buf = BytesMut::from("5\r\nhello\r\n0\r\na: b\r\n\r\n");
    assert_eq!(reader.next(&mut buf), Ok(Piece::Data("hello".into())));
    assert!(!reader.is_end() && buf.is_empty());
    assert_eq!(reader.left(), Some(0));
    assert_eq!(reader.closed(), Ok(()), "all of it came");
    assert!(matches!(reader.next(&mut buf), Ok(Piece::Trailers(trailers)) if trailers.len() == 1));
    assert!(reader.is_end());
    assert_eq!(reader.next(&mut buf), Ok(Piece::End));
}

#[test]
fn data_goes_before_an_error_behind_it() {
    let mut reader = reader(Length::Chunked);
    let mut buf = BytesMut::from("5\r\nhelloX");
    assert_eq!(reader.next(&mut buf), Ok(Piece::Data("hello".into())));
    assert!(!reader.is_end());
    assert_eq!(reader.next(&mut buf), Err(ChunkEnd));
}

#[test]
fn data_is_a_slice_of_the_buffer() {
    let mut buf = BytesMut::from("5\r\nhello\r\n0\r\n\r\n");
    let at = buf[3..].as_ptr();
    let Ok(Piece::Data(data)) = reader(Length::Chunked).next(&mut buf) else {
        panic!("no data");
    };
    assert_eq!(data.as_ptr(), at);
    let mut buf = BytesMut::from("hello");
    let at = buf.as_ptr();
    let Ok(Piece::Data(data)) = reader(Length::Exact(5)).next(&mut buf) else {
        panic!("no data");
    };
    assert_eq!(data.as_ptr(), at);
}

#[test]
fn a_chunk_that_is_there_in_part_is_given_at_once() {
    let mut reader = reader(Length::Chunked);
    let mut buf = BytesMut::from("5\r\nhel");
    assert_eq!(reader.next(&mut buf), Ok(Piece::Data("hel".into())));
    assert_eq!(reader.next(&mut buf), Ok(Piece::More));
    assert_eq!(reader.left(), None);
    buf.extend_from_slice(b"lo\r\n0\r\n\r");
    assert_eq!(reader.next(&mut buf), Ok(Piece::Data("lo".into())));
    assert!(!reader.is_end());
    buf.extend_from_slice(b"\n");
    assert_eq!(reader.next(&mut buf), Ok(Piece::End));
    assert!(reader.is_end());
}

#[test]
fn exact_lengths() {
    let mut none = reader(Length::Exact(0));
    assert!(none.is_end());
    assert_eq!(none.next(&mut BytesMut::from("x")), Ok(Piece::End));
    let mut reader = reader(Length::Exact(6));
    let mut buf = BytesMut::from("hel");
    assert_eq!(reader.left(), Some(6));
    assert_eq!(reader.next(&mut buf), Ok(Piece::Data("hel".into())));
    assert_eq!(reader.next(&mut buf), Ok(Piece::More));
    assert_eq!((reader.left(), reader.is_end()), (Some(3), false));
    buf.extend_from_slice(b"lo!GET");
    assert_eq!(reader.next(&mut buf), Ok(Piece::Data("lo!".into())));
    assert!(reader.is_end(), "known without another call");
    assert_eq!(buf, "GET");
    assert_eq!(reader.closed(), Ok(()));
}

#[test]
fn what_the_peers_end_means() {
    let mut buf = BytesMut::from("hello");
    let mut until = reader(Length::UntilClose);
    assert_eq!(until.next(&mut buf), Ok(Piece::Data("hello".into())));
    assert_eq!(until.next(&mut buf), Ok(Piece::More));
    assert_eq!((until.left(), until.is_end()), (None, false));
    assert_eq!(until.closed(), Ok(()));
    assert!(until.is_end());
    assert_eq!(until.next(&mut buf), Ok(Piece::End));
    let mut exact = reader(Length::Exact(5));
    assert_eq!(exact.closed(), Err(Truncated));
    assert_eq!(exact.next(&mut BytesMut::from("hello")), Err(Truncated));
    assert_eq!(reader(Length::Chunked).closed(), Err(Truncated));
}

#[test]
fn debug_forms_tell_nothing_of_what_was_sent() {
    let mut reader = reader(Length::Chunked);
    let mut buf = BytesMut::from("6\r\nsecret\r\n0\r\nx: secret\r\n\r\n");
    let data = reader.next(&mut buf);
    let mut told = format!("{data:?} {reader:?}");
    told.push_str(&format!(" {:?}", reader.next(&mut buf)));
    assert_eq!(
        told,
        "Ok(Data(6 bytes)) BodyReader { left: Some(0), end: false, .. } Ok(Trailers(1))"
    );
    let mut buf = BytesMut::from("GET /secret HTTP/1.1\r\nAuthorization: secret\r\n\r\n");
    let limits = Limits { target: 64, ..LIMITS };
    let head = tenbin_http1::HeadReader::default().request(&mut buf, &limits);
    assert_eq!(
        format!("{head:?}"),
        "Ok(Some(RequestHead { body: Exact(0), keep_alive: true, .. }))"
    );
}
