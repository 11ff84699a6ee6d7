//! Requests on the wire: what each rule refuses, and what must pass beside it.
#![allow(missing_docs, reason = "tests")]

mod laws;

use http::StatusCode;
use laws::{Outcome, read_request};
use tenbin_http1::Malformed::{self, *};
use tenbin_http1::{HeadReader, Length, Limits, RequestHead};

const LIMITS: Limits = Limits {
    head: 256,
    headers: 4,
    target: 32,
};

fn accepted(wire: &[u8]) -> RequestHead {
    match read_request(wire, &[wire.len()], &LIMITS) {
        Outcome::Head(head, length) if length == wire.len() => head,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(wire)),
    }
}

fn refused(rows: &[(&[u8], Malformed)], status: StatusCode) {
    for (wire, expected) in rows {
        for lengths in [&[wire.len()][..], &[1]] {
            match read_request(wire, lengths, &LIMITS) {
                Outcome::Malformed(malformed) => {
                    assert_eq!(malformed, *expected, "{:?}", String::from_utf8_lossy(wire));
                }
                other => panic!("{:?}: {other:?}", String::from_utf8_lossy(wire)),
            }
        }
        assert_eq!(expected.status(), status, "{expected:?}");
    }
}

const BAD: StatusCode = StatusCode::BAD_REQUEST;

#[test]
fn line_ends_are_crlf() {
    // RFC 9112 §2.2
    refused(
        &[
            (b"GET / HTTP/1.1\nHost: a\n\n", BareLf),
            (b"GET / HTTP/1.1\n", BareLf),
            (b"GET / HTTP/1.1\r\nHost: a\n\r\n", BareLf),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\n", BareLf),
            (b"\nGET / HTTP/1.1\r\n\r\n", BareLf),
            (b"GET / HTTP/1.1\r\nA: a\nB: b\r\n\r\n", BareLf),
            (b"\rGET / HTTP/1.1\r\n\r\n", BareCr),
            (b"GET\r / HTTP/1.1\r\n\r\n", BareCr),
            (b"GET /\r HTTP/1.1\r\n\r\n", BareCr),
            (b"GET /\r\r\n\r\n", BareCr),
            (b"GET / HTTP/1.1\r\r\n\r\n", BareCr),
            (b"GET / HTTP/1.1\rHost: a\r\n\r\n", BareCr),
            (b"GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n", BareCr),
            (b"GET / HTTP/1.1\r\nHost\r: a\r\n\r\n", BareCr),
            (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", BareCr),
            (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", BareCr),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n", BareCr),
            (b"GET / HTTP/1.1\r\nHost:\rTransfer-Encoding: chunked\r\n\r\n", BareCr),
        ],
        BAD,
    );
}

#[test]
fn a_few_empty_lines_before_it_are_skipped() {
    // RFC 9112 §2.2
    accepted(b"\r\nGET / HTTP/1.1\r\n\r\n");
    accepted(b"\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    refused(&[(b"\r\n\r\n\r\n\r\n\r\n", EmptyLines)], BAD);
}

#[test]
fn request_line() {
    // RFC 9112 §3
    refused(
        &[
            (b"GET\r\n", RequestLine),
            (b"GET /\r\n", RequestLine), // HTTP/0.9
            (b"GET  / HTTP/1.1\r\n", Version),
            (b"GET /  HTTP/1.1\r\n", Version),
            (b"GET / HTTP/1.1 \r\n", Version),
            (b"GET / a HTTP/1.1\r\n", Version),
            (b"GET\t/\tHTTP/1.1\r\n", RequestLine),
            (b"GET /\tHTTP/1.1\r\n", RequestLine),
            (b" GET / HTTP/1.1\r\n", Method),
            // RFC 9110 §9.1: a token
            (b"G\x00T / HTTP/1.1\r\n", Method),
            (b"G\x7fT / HTTP/1.1\r\n", Method),
            (b"G\xc3\x89T / HTTP/1.1\r\n", Method),
            (b"G(T / HTTP/1.1\r\n", Method),
            (b"G\"T / HTTP/1.1\r\n", Method),
            // What another protocol begins with is told at once: TLS, HTTP/2 as PROXY protocol, nothing of HTTP.
            (b"\x16\x03\x01", Method),
            (b"\0", Method),
            (b"{", Method),
        ],
        BAD,
    );
    refused(
        &[(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n", MethodTooLong)],
        StatusCode::NOT_IMPLEMENTED,
    );
    assert_eq!(
        accepted(b"get / HTTP/1.1\r\n\r\n").request.method().as_str(),
        "get",
        "methods have their case"
    );
    assert_eq!(
        accepted(b"M-SEARCH / HTTP/1.1\r\n\r\n").request.method().as_str(),
        "M-SEARCH"
    );
}

#[test]
fn versions() {
    // RFC 9112 §2.3, RFC 9110 §2.5
    refused(
        &[
            (b"GET / http/1.1\r\n", Version),
            (b"GET / HTTP/1.10\r\n", Version),
            (b"GET / HTTP/01.1\r\n", Version),
            (b"GET / HTTP/1\r\n", Version),
            (b"GET / HTTP/1,1\r\n", Version),
            (b"GET / HTTP/1.x\r\n", Version),
            (b"GET / HTP/1.1\r\n", Version),
            (b"GET / \r\n", Version),
            (b"GET / HTTP/1.1\x00\r\n", Version),
        ],
        BAD,
    );
    refused(
        &[
            (b"GET / HTTP/0.9\r\n", UnsupportedVersion),
            (b"GET / HTTP/2.0\r\n", UnsupportedVersion),
            (b"PRI * HTTP/2.0\r\n", UnsupportedVersion),
            (b"GET / HTTP/3.0\r\n", UnsupportedVersion),
        ],
        StatusCode::HTTP_VERSION_NOT_SUPPORTED,
    );
    let version = |wire| accepted(wire).request.version();
    assert_eq!(version(b"GET / HTTP/1.1\r\n\r\n"), http::Version::HTTP_11);
    assert_eq!(version(b"GET / HTTP/1.0\r\n\r\n"), http::Version::HTTP_10);
    assert_eq!(
        version(b"GET / HTTP/1.2\r\n\r\n"),
        http::Version::HTTP_11,
        "handled as the latest that is spoken"
    );
}

#[test]
fn target() {
    // RFC 9112 §3.2, RFC 9110 §4.2, RFC 3986 §2
    let rows: &[&[u8]] = &[
        b"GET a",
        b"GET a/b",
        b"GET a:80",
        b"GET *",
        b"GET ?a",
        b"GET ftp://a/",
        b"GET http:/a",
        b"GET http:a",
        b"GET http://",
        b"GET http:///a",
        b"GET http://:80/",
        b"GET http://u@a/",
        b"GET http://u:p@a/",
        b"GET http://@a/",
        b"GET http://a:x/",
        b"GET http://a:65536/",
        b"GET http://a:+80/",
        b"GET http://[::1/",
        b"GET http://a]/",
        b"GET http://a:80:80/",
        b"GET /#",
        b"GET /a#b",
        b"GET /?a#b",
        b"GET http://a/#b",
        b"GET http://a#b",
        b"GET /\x00",
        b"GET /\x01",
        b"GET /a\tb",
        b"GET /\x7f",
        b"GET /\xc3\xa9",
        b"GET /?\xff",
        b"GET /<",
        b"GET />",
        b"GET /`",
        b"GET /?<",
        b"GET /?>",
        b"GET /?\"",
        b"GET //\\a\xff",
        b"OPTIONS **",
        b"OPTIONS *?",
        b"CONNECT /",
        b"CONNECT *",
        b"CONNECT a",
        b"CONNECT a:",
        b"CONNECT :80",
        b"CONNECT a:x",
        b"CONNECT a:65536",
        b"CONNECT u@a:80",
        b"CONNECT http://a:80",
        b"CONNECT http://a:80/",
        b"CONNECT a:80/",
        b"CONNECT a:80?b",
        b"GET ",
    ];
    for row in rows {
        let wire = [row, &b" HTTP/1.1\r\n\r\n"[..]].concat();
        refused(&[(&wire, Target)], BAD);
    }
    let rows: &[(&str, &str, &str)] = &[
        ("GET", "/", "/"),
        ("GET", "//a//b/../c", "//a//b/../c"),
        ("GET", "/a?b?c=/d", "/a?b?c=/d"),
        ("GET", "/%00%2f%", "/%00%2f%"),
        ("GET", "/[\\]^{|}\"", "/[\\]^{|}\""),
        ("GET", "/?[\\]^`{|}", "/?[\\]^`{|}"),
        ("OPTIONS", "*", "*"),
        ("OPTIONS", "/", "/"),
        ("GET", "http://a", "http://a/"),
        ("GET", "HTTP://A:80/b", "http://A:80/b"),
        ("GET", "https://[::1]:443/?b", "https://[::1]:443/?b"),
        ("GET", "http://a:/", "http://a:/"),
        ("CONNECT", "a:80", "a:80"),
        ("CONNECT", "[::1]:80", "[::1]:80"),
    ];
    for (method, target, uri) in rows {
        let head = accepted(format!("{method} {target} HTTP/1.1\r\n\r\n").as_bytes());
        assert_eq!(head.request.uri().to_string(), *uri, "{target}");
    }
}

#[test]
fn header_lines() {
    // RFC 9112 §5, §5.1, §5.2; RFC 9110 §5.1, §5.5
    let rows: &[(&[u8], Malformed)] = &[
        (b"Host : a", SpaceBeforeColon),
        (b"Host\t: a", SpaceBeforeColon),
        (b"Transfer-Encoding : chunked", SpaceBeforeColon),
        (b" Host: a", Folded),
        (b"\tHost: a", Folded),
        (b"A: b\r\n c", Folded),
        (b"A: b\r\n\tc: d", Folded),
        (b"A: b\r\n ", Folded),
        (b": a", EmptyName),
        (b":", EmptyName),
        (b"Host", NoColon),
        (b"GET / HTTP/1.1", NoColon),
        (b"Ho st", NoColon),
        (b"Ho st: a", Name),
        (b"Ho\x00st: a", Name),
        (b"Ho\x7fst: a", Name),
        (b"H\xc3\xb6st: a", Name),
        (b"\xffHost: a", Name),
        (b"\"Host: a", Name),
        (b"(Host): a", Name),
        (b"Host;: a", Name),
        (b"A: \x00", Value),
        (b"A: a\x00b", Value),
        (b"A: a\x0bb", Value),
        (b"A: \x0c", Value),
        (b"A: \x1b", Value),
        (b"A: \x7f", Value),
        (b"Transfer-Encoding: \x0bchunked", Value),
    ];
    for (row, malformed) in rows {
        let wire = [b"GET / HTTP/1.1\r\n", *row, b"\r\n\r\n"].concat();
        refused(&[(&wire, *malformed)], BAD);
    }
    let head = accepted(b"GET / HTTP/1.1\r\nHost:a\r\nx!#$%&'*+-.^_`|~9:\t b \xff\t\r\nE:\r\nX: \r\n\r\n");
    let headers = head.request.headers();
    assert_eq!(headers["host"], "a");
    assert_eq!(headers["x!#$%&'*+-.^_`|~9"].as_bytes(), b"b \xff");
    assert_eq!((headers["e"].len(), headers["x"].len()), (0, 0));
    let long = format!("GET / HTTP/1.1\r\n{}: b\r\n\r\n", "X".repeat(100));
    assert_eq!(accepted(long.as_bytes()).request.headers()["x".repeat(100)], "b");
}

#[test]
fn content_length() {
    // RFC 9110 §8.6
    for value in [
        "",
        "+5",
        "-1",
        "0x5",
        "5a",
        "5 5",
        "5,5",
        "5, 5",
        "5;",
        "5.0",
        "1e3",
        "\"5\"",
        "18446744073709551616",
        "999999999999999999999",
        "00000000000000000000005",
    ] {
        let wire = format!("POST / HTTP/1.1\r\nContent-Length: {value}\r\n\r\n");
        refused(&[(wire.as_bytes(), ContentLength)], BAD);
    }
    refused(
        &[
            (
                b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                ContentLength,
            ),
            (
                b"POST / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length: 6\r\n\r\n",
                ContentLength,
            ),
            (
                b"POST / HTTP/1.1\r\nContent-Length: \xef\xbc\x95\r\n\r\n",
                ContentLength,
            ),
        ],
        BAD,
    );
    for (value, length) in [
        ("0", 0),
        ("5", 5),
        (" 5\t", 5),
        ("007", 7),
        ("18446744073709551615", u64::MAX),
    ] {
        let head = accepted(format!("GET / HTTP/1.1\r\nContent-Length:{value}\r\n\r\n").as_bytes());
        assert_eq!(head.body, Length::Exact(length));
    }
    assert_eq!(
        accepted(b"POST / HTTP/1.1\r\n\r\n").body,
        Length::Exact(0),
        "RFC 9112 §6.3: no body unless announced"
    );
}

#[test]
fn transfer_encoding() {
    // RFC 9112 §6.1, §6.3, §7
    for value in [
        "",
        ",",
        "chunked, chunked",
        "chunked,chunked",
        "chunked, gzip",
        "chunked,",
        ",chunked",
        "x,chunked",
        "identity, chunked",
        "chunked;a",
        "chunked a",
        "chunked\u{a0}",
        "\"chunked\"",
        "'chunked'",
        "chunked\tx",
        "gzip;q=1",
        "gzip chunked",
        "gzip,,chunked",
    ] {
        let wire = format!("POST / HTTP/1.1\r\nTransfer-Encoding: {value}\r\n\r\n");
        refused(&[(wire.as_bytes(), TransferEncoding)], BAD);
    }
    for value in [
        "gzip",
        "identity",
        "x-chunked",
        "chunke",
        "gzip, chunked",
        "x-gzip,deflate , Chunked",
    ] {
        let wire = format!("POST / HTTP/1.1\r\nTransfer-Encoding: {value}\r\n\r\n");
        refused(&[(wire.as_bytes(), UnknownCoding)], StatusCode::NOT_IMPLEMENTED);
    }
    refused(
        &[
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                TransferEncoding,
            ),
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: x\r\n\r\n",
                TransferEncoding,
            ),
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n",
                TransferEncoding,
            ),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", Folded),
            (
                b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
                EncodingInHttp10,
            ),
            (
                b"POST / HTTP/1.0\r\nTransfer-Encoding: x\r\nContent-Length: 5\r\n\r\n",
                EncodingInHttp10,
            ),
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                LengthAndEncoding,
            ),
            (
                b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                LengthAndEncoding,
            ),
            (
                b"POST / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
                LengthAndEncoding,
            ),
            (
                b"POST / HTTP/1.1\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                ContentLength,
            ),
        ],
        BAD,
    );
    for value in ["chunked", "Chunked", " CHUNKED\t"] {
        let head = accepted(format!("GET / HTTP/1.1\r\nTransfer-Encoding:{value}\r\n\r\n").as_bytes());
        assert_eq!(head.body, Length::Chunked);
    }
}

#[test]
fn connection_goes_on() {
    // RFC 9112 §9.3, RFC 9110 §7.6.1
    for (head, keep_alive) in [
        ("1.1\r\n", true),
        ("1.0\r\n", false),
        ("1.1\r\nConnection: close\r\n", false),
        ("1.1\r\nConnection: Close\r\n", false),
        ("1.1\r\nConnection: x,\tCLOSE ,y\r\n", false),
        ("1.1\r\nConnection: x\r\nconnection: close\r\n", false),
        ("1.1\r\nConnection: closed\r\n", true),
        ("1.1\r\nConnection: keep-alive\r\n", true),
        ("1.1\r\nConnection: keep-alive, close\r\n", false),
        ("1.1\r\nConnection:\r\n", true),
        ("1.0\r\nConnection: Keep-Alive\r\n", true),
        ("1.0\r\nConnection: x\r\nConnection: te, keep-alive\r\n", true),
        ("1.0\r\nConnection: keep-alive, close\r\n", false),
        ("1.0\r\nConnection: te\r\n", false),
        ("1.0\r\nKeep-Alive: timeout=5\r\n", false),
    ] {
        assert_eq!(
            accepted(format!("GET / HTTP/{head}\r\n").as_bytes()).keep_alive,
            keep_alive,
            "{head}"
        );
    }
}

#[test]
fn limits_are_exact() {
    // RFC 9112 §3, RFC 6585 §5
    let line = |target: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(target - 1)).into_bytes();
    accepted(&[line(32), b"\r\n".to_vec()].concat());
    refused(
        &[(&line(33), TargetTooLong), (&[b'a'; 76], TargetTooLong)],
        StatusCode::URI_TOO_LONG,
    );
    let head = |length: usize| {
        let begin = "GET / HTTP/1.1\r\nA: ";
        format!("{begin}{}\r\n\r\n", "a".repeat(length - begin.len() - 4)).into_bytes()
    };
    accepted(&head(256));
    let many = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count)).into_bytes();
    accepted(&many(4));
    refused(
        &[
            (&head(257), HeadTooLong),
            (
                &head(256)[..255].iter().copied().chain([b'a']).collect::<Vec<_>>(),
                HeadTooLong,
            ),
            (&many(5), TooManyHeaders),
        ],
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    );
    let unlimited = Limits {
        head: usize::MAX,
        headers: usize::MAX,
        target: usize::MAX,
    };
    let wire = line(70_000);
    let outcome = read_request(&wire, &[wire.len()], &unlimited);
    assert!(
        matches!(outcome, Outcome::Malformed(TargetTooLong)),
        "no URI is longer than 64 KiB"
    );
}

#[test]
fn begins_with_its_first_byte() {
    let mut reader = HeadReader::default();
    let mut buf = bytes::BytesMut::new();
    let mut begun = Vec::new();
    for byte in b"\r\nGET / HTTP/1.1\r\n\r\n" {
        buf.extend_from_slice(&[*byte]);
        let head = reader.request(&mut buf, &LIMITS).expect("a good request");
        begun.push((reader.has_begun(), head.is_some()));
    }
    let mut expected = vec![(true, false); begun.len()];
    expected[0] = (false, false);
    expected[1] = (false, false);
    *expected.last_mut().expect("bytes") = (false, true);
    assert_eq!(begun, expected);
}

#[test]
fn one_after_the_other_out_of_one_buffer() {
    let mut reader = HeadReader::default();
    let mut buf = bytes::BytesMut::from("GET /a HTTP/1.1\r\nx: y\r\n\r\n\r\nHEAD /b HTTP/1.0\r\n\r\nPOST");
    let first = reader.request(&mut buf, &LIMITS).expect("good").expect("whole");
    let second = reader.request(&mut buf, &LIMITS).expect("good").expect("whole");
    assert!(reader.request(&mut buf, &LIMITS).expect("good").is_none());
    assert_eq!((first.request.uri().path(), second.request.uri().path()), ("/a", "/b"));
    assert_eq!(
        (second.request.method(), second.request.headers().len()),
        (&http::Method::HEAD, 0)
    );
    assert_eq!(buf, "POST");
}

#[test]
fn nothing_is_left_of_headers_that_were_given_back() {
    let first = accepted(b"GET / HTTP/1.1\r\na: 1\r\na: 2\r\nb: 3\r\n\r\n");
    tenbin_http1::recycle(first.request.into_parts().0.headers);
    let second = accepted(b"GET / HTTP/1.1\r\nb: 4\r\n\r\n").request;
    let headers: Vec<_> = second.headers().iter().collect();
    assert_eq!(headers.len(), 1);
    assert_eq!((headers[0].0.as_str(), headers[0].1.as_bytes()), ("b", &b"4"[..]));
}
