//! Responses on the wire: what each rule refuses, how bodies end, and when the connection can be used again.
#![allow(missing_docs, reason = "tests")]

mod laws;

use http::{Method, StatusCode};
use laws::{Outcome, read_response};
use tenbin_http1::Malformed::{self, *};
use tenbin_http1::{Length, Limits, ResponseHead};

const LIMITS: Limits = Limits {
    head: 256,
    headers: 4,
    target: 0,
};

fn accepted_to(method: &Method, wire: &str) -> ResponseHead {
    match read_response(wire.as_bytes(), &[wire.len()], &LIMITS, method) {
        Outcome::Head(head, length) if length == wire.len() => head,
        other => panic!("{wire:?}: {other:?}"),
    }
}

fn accepted(wire: &str) -> ResponseHead {
    accepted_to(&Method::GET, wire)
}

fn refused(rows: &[(&[u8], Malformed)]) {
    for (wire, expected) in rows {
        for lengths in [&[wire.len()][..], &[1]] {
            match read_response(wire, lengths, &LIMITS, &Method::GET) {
                Outcome::Malformed(malformed) => {
                    assert_eq!(malformed, *expected, "{:?}", String::from_utf8_lossy(wire));
                }
                other => panic!("{:?}: {other:?}", String::from_utf8_lossy(wire)),
            }
        }
    }
}

#[test]
fn status_line() {
    // RFC 9112 §4, RFC 9110 §15
    refused(&[
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", StatusLine),
        (b"GET / HTTP/1.1\r\n", StatusLine),
        (b"0\r\n\r\nHTTP/1.1 200 OK\r\n", StatusLine), // the rest of a body that should not have been there
        (b"HTTP\r\n", StatusLine),
        (b"HTTP/1.1\r\n", StatusLine),
        (b"HTTP/1.1200 OK\r\n", StatusLine),
        (b"HTTP/1.1\t200 OK\r\n", StatusLine),
        (b"HTTP/1.1 \r\n", Status),
        (b"HTTP/1.1  200 OK\r\n", Status),
        (b"HTTP/1.1 20 OK\r\n", Status),
        (b"HTTP/1.1 2000 OK\r\n", Status),
        (b"HTTP/1.1 099 OK\r\n", Status),
        (b"HTTP/1.1 -20 OK\r\n", Status),
        (b"HTTP/1.1 2 0 OK\r\n", Status),
        (b"HTTP/1.1 200OK\r\n", Status),
        (b"HTTP/1.1 200\tOK\r\n", Status),
        (b"HTTP/1.1 20x\r\n", Status),
        (b"HTTP/1.1 200 O\x00K\r\n", Reason),
        (b"HTTP/1.1 200 O\x7fK\r\n", Reason),
        (b"HTTP/1.1 200 \x1b\r\n", Reason),
        (b"http/1.1 200 OK\r\n", StatusLine),
        (b"HTTP/1.x 200 OK\r\n", Version),
        (b"HTTP/11. 200 OK\r\n", Version),
        (b"HTTP/0.9 200 OK\r\n", UnsupportedVersion),
        (b"HTTP/2.0 200 OK\r\n", UnsupportedVersion),
    ]);
    for (wire, status) in [
        ("HTTP/1.1 200\r\n\r\n", 200),
        ("HTTP/1.1 200 \r\n\r\n", 200),
        ("HTTP/1.1 404 Nicht  gefunden\t\u{e9}!\r\n\r\n", 404),
        ("HTTP/1.1 100 Continue\r\n\r\n", 100),
        ("HTTP/1.1 999 x\r\n\r\n", 999),
    ] {
        assert_eq!(accepted(wire).response.status().as_u16(), status);
    }
    let version = |wire| accepted(wire).response.version();
    assert_eq!(version("HTTP/1.0 200 OK\r\n\r\n"), http::Version::HTTP_10);
    assert_eq!(version("HTTP/1.9 200 OK\r\n\r\n"), http::Version::HTTP_11);
}

#[test]
fn lines_are_those_of_requests() {
    // RFC 9112 §2.2, §5.1, §5.2
    refused(&[
        (b"HTTP/1.1 200 OK\n\n", BareLf),
        (b"HTTP/1.1 200 OK\r\nA: b\n\r\n", BareLf),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\n", BareLf),
        (b"HTTP/1.1 200 OK\r\r\n\r\n", BareCr),
        (b"HTTP/1.1 200\r\r\n\r\n", Status),
        (b"HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: c\r\n\r\n", BareCr),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Folded),
        (b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", Folded),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", SpaceBeforeColon),
        (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", EmptyName),
        (b"HTTP/1.1 200 OK\r\nA\r\n\r\n", NoColon),
        (b"HTTP/1.1 200 OK\r\nA\x00: b\r\n\r\n", Name),
        (b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n", Value),
        (b"HTTP/1.1 200 OK\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n", TooManyHeaders),
        (&[&b"HTTP/1.1 200 "[..], &[b'a'; 243]].concat(), HeadTooLong),
    ]);
}

#[test]
fn framing_that_is_refused() {
    // RFC 9112 §6.1, §6.3; RFC 9110 §8.6
    for (version, headers, malformed) in [
        ("1.1", "Content-Length: +5", ContentLength),
        ("1.1", "Content-Length: 5, 5", ContentLength),
        ("1.1", "Content-Length:", ContentLength),
        ("1.1", "Content-Length: 5\r\nContent-Length: 5", ContentLength),
        ("1.1", "Content-Length: 5\r\nContent-Length: 6", ContentLength),
        ("1.1", "Transfer-Encoding: gzip, chunked", UnknownCoding),
        ("1.1", "Transfer-Encoding: identity", UnknownCoding),
        ("1.1", "Transfer-Encoding: chunked, chunked", TransferEncoding),
        ("1.1", "Transfer-Encoding: chunked, gzip", TransferEncoding),
        (
            "1.1",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            TransferEncoding,
        ),
        ("1.0", "Transfer-Encoding: chunked", EncodingInHttp10),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let wire = format!("HTTP/{version} 200 OK\r\n{headers}\r\n\r\n");
            let outcome = read_response(wire.as_bytes(), &[wire.len()], &LIMITS, &method);
            assert!(
                matches!(outcome, Outcome::Malformed(found) if found == malformed),
                "{headers}: {outcome:?}"
            );
        }
    }
}

#[test]
fn where_a_body_ends_and_whether_the_connection_goes_on() {
    // RFC 9112 §6.3, §9.3; RFC 9110 §8.6
    let none = Length::Exact(0);
    for (method, head, body, keep_alive) in [
        (Method::GET, "1.1 200\r\nContent-Length: 5\r\n", Length::Exact(5), true),
        (Method::GET, "1.1 200\r\nContent-Length: 0\r\n", none, true),
        (
            Method::GET,
            "1.1 200\r\nTransfer-Encoding: Chunked\r\n",
            Length::Chunked,
            true,
        ),
        (Method::GET, "1.1 200\r\n", Length::UntilClose, false),
        (
            Method::GET,
            "1.1 200\r\nConnection: keep-alive\r\n",
            Length::UntilClose,
            false,
        ),
        (Method::GET, "1.0 200\r\n", Length::UntilClose, false),
        (Method::GET, "1.0 200\r\nContent-Length: 5\r\n", Length::Exact(5), false),
        (
            Method::GET,
            "1.0 200\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n",
            Length::Exact(5),
            true,
        ),
        (
            Method::GET,
            "1.1 200\r\nContent-Length: 5\r\nConnection: close\r\n",
            Length::Exact(5),
            false,
        ),
        // Chunks count, and there is some doubt.
        (
            Method::GET,
            "1.1 200\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            Length::Chunked,
            false,
        ),
        // No body, whatever is announced.
        (Method::HEAD, "1.1 200\r\nContent-Length: 5\r\n", none, true),
        (Method::HEAD, "1.1 200\r\nTransfer-Encoding: chunked\r\n", none, true),
        (Method::HEAD, "1.1 200\r\n", none, true),
        (
            Method::HEAD,
            "1.1 200\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            none,
            false,
        ),
        (Method::GET, "1.1 304\r\nContent-Length: 5\r\n", none, true),
        (Method::GET, "1.1 304\r\n", none, true),
        (Method::GET, "1.1 204\r\n", none, true),
        (Method::GET, "1.1 204\r\nContent-Length: 0\r\n", none, true),
        // Nothing may be announced here: what was may come.
        (Method::GET, "1.1 204\r\nContent-Length: 5\r\n", none, false),
        (Method::GET, "1.1 204\r\nTransfer-Encoding: chunked\r\n", none, false),
        (Method::HEAD, "1.1 204\r\nContent-Length: 5\r\n", none, false),
        (Method::GET, "1.1 103\r\n", none, true),
        (Method::GET, "1.1 100\r\nContent-Length: 5\r\n", none, false),
        (Method::GET, "1.1 101\r\n", none, true),
        (Method::CONNECT, "1.1 200\r\n", none, true),
        (Method::CONNECT, "1.1 200\r\nContent-Length: 5\r\n", none, false),
        (
            Method::CONNECT,
            "1.1 200\r\nTransfer-Encoding: chunked\r\n",
            none,
            false,
        ),
        (
            Method::CONNECT,
            "1.1 404\r\nContent-Length: 5\r\n",
            Length::Exact(5),
            true,
        ),
        (Method::CONNECT, "1.1 404\r\n", Length::UntilClose, false),
    ] {
        let found = accepted_to(&method, &format!("HTTP/{head}\r\n"));
        assert_eq!((found.body, found.keep_alive), (body, keep_alive), "{method} {head}");
    }
    let both = accepted("HTTP/1.1 200\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(
        !both.response.headers().contains_key("content-length"),
        "it does not count"
    );
    let head = accepted_to(&Method::HEAD, "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(
        head.response.headers()["content-length"],
        "5",
        "that of the response to a GET"
    );
}

#[test]
fn interim_responses_come_before_the_final_one() {
    // RFC 9110 §15.2
    let mut reader = tenbin_http1::HeadReader::default();
    let mut buf = bytes::BytesMut::from(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    );
    let mut next = || {
        reader
            .response(&mut buf, &LIMITS, &Method::GET)
            .expect("good")
            .expect("whole")
    };
    assert_eq!(next().response.status(), StatusCode::CONTINUE);
    assert_eq!(next().response.headers()["link"], "a");
    assert_eq!(next().body, Length::Exact(1));
    assert_eq!(buf, "x");
}
