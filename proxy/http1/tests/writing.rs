//! Heads and chunks as they go on the wire, byte for byte.
#![allow(missing_docs, reason = "tests")]

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use tenbin_http1::{
    CHUNK_END, Length, Reply, write_chunk, write_chunk_size, write_interim, write_last_chunk, write_line,
    write_request, write_response,
};

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let line = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let mut map = HeaderMap::new();
    for (name, value) in lines.iter().map(line) {
        map.append(name, value);
    }
    map
}

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).expect("text")
}

const FRAMED: &[(&str, &str)] = &[
    ("host", "a"),
    ("content-length", "7"),
    ("x", "1"),
    ("transfer-encoding", "gzip"),
    ("x", "2"),
    ("content-length", "8"),
];

#[test]
fn requests() {
    let request = |body| written(|out| write_request(out, &Method::POST, "/a?b", &headers(FRAMED), b"", body));
    let expected = |framing| format!("POST /a?b HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: 2\r\n{framing}\r\n");
    assert_eq!(request(None), expected(""));
    assert_eq!(request(Some(Length::Exact(0))), expected("content-length: 0\r\n"));
    assert_eq!(
        request(Some(Length::Exact(u64::MAX))),
        expected("content-length: 18446744073709551615\r\n")
    );
    assert_eq!(request(Some(Length::Exact(1050))), expected("content-length: 1050\r\n"));
    assert_eq!(
        request(Some(Length::Chunked)),
        expected("transfer-encoding: chunked\r\n")
    );
    assert_eq!(
        request(Some(Length::UntilClose)),
        expected("transfer-encoding: chunked\r\n")
    );
    let bare = written(|out| {
        write_request(
            out,
            &Method::from_bytes(b"M-SEARCH").expect("a token"),
            "*",
            &HeaderMap::new(),
            b"",
            None,
        );
    });
    assert_eq!(bare, "M-SEARCH * HTTP/1.1\r\n\r\n");
    let mut ready = Vec::new();
    for (name, value) in &headers(&[("x-ready", "1"), ("x-set", "2")]) {
        write_line(&mut ready, name, value);
    }
    let all = written(|out| write_request(out, &Method::GET, "/", &headers(&[("host", "a")]), &ready, None));
    assert_eq!(all, "GET / HTTP/1.1\r\nhost: a\r\nx-ready: 1\r\nx-set: 2\r\n\r\n");
}

#[test]
fn how_a_response_ends_follows_from_its_body() {
    // RFC 9112 §6.1, §6.2, §9.3; RFC 9110 §8.6
    let (new, old) = (Version::HTTP_11, Version::HTTP_10);
    for (status, version, close, body, begin, end) in [
        (
            200,
            new,
            false,
            Some(Length::Exact(5)),
            "1.1 200 OK",
            "content-length: 5\r\n",
        ),
        (
            200,
            new,
            true,
            Some(Length::Exact(5)),
            "1.1 200 OK",
            "content-length: 5\r\nconnection: close\r\n",
        ),
        (
            200,
            new,
            false,
            Some(Length::Chunked),
            "1.1 200 OK",
            "transfer-encoding: chunked\r\n",
        ),
        (
            200,
            new,
            false,
            Some(Length::UntilClose),
            "1.1 200 OK",
            "connection: close\r\n",
        ),
        (200, new, false, None, "1.1 200 OK", ""),
        (304, new, false, None, "1.1 304 Not Modified", ""),
        (304, new, false, Some(Length::Exact(0)), "1.1 304 Not Modified", ""),
        (204, new, false, None, "1.1 204 No Content", ""),
        (204, new, false, Some(Length::Exact(0)), "1.1 204 No Content", ""),
        (204, new, false, Some(Length::UntilClose), "1.1 204 No Content", ""),
        (101, new, false, None, "1.1 101 Switching Protocols", ""),
        (
            404,
            old,
            true,
            Some(Length::Exact(0)),
            "1.0 404 Not Found",
            "content-length: 0\r\nconnection: close\r\n",
        ),
        (
            200,
            old,
            false,
            Some(Length::Exact(0)),
            "1.0 200 OK",
            "content-length: 0\r\nconnection: keep-alive\r\n",
        ),
        (
            200,
            old,
            false,
            Some(Length::Chunked),
            "1.0 200 OK",
            "connection: close\r\n",
        ),
        (
            200,
            old,
            false,
            Some(Length::UntilClose),
            "1.0 200 OK",
            "connection: close\r\n",
        ),
        (
            599,
            new,
            false,
            Some(Length::Exact(1)),
            "1.1 599 ",
            "content-length: 1\r\n",
        ),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        let reply = Reply { version, close, body };
        let wire = written(|out| write_response(out, status, &headers(FRAMED), &reply, None));
        let rest = wire
            .strip_prefix(&format!("HTTP/{begin}\r\n"))
            .expect("its status line");
        // Where a length passes, it stands where it stood.
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.split_inclusive("\r\n").map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(
            sorted(rest),
            sorted(&format!("host: a\r\nx: 1\r\nx: 2\r\n{end}\r\n")),
            "{status} {reply:?}"
        );
        assert!(rest.ends_with("\r\n\r\n"));
    }
}

#[test]
fn a_length_without_a_body_is_that_of_the_response_to_a_get() {
    // RFC 9110 §8.6
    let response = |status, length, body| {
        let reply = Reply {
            version: Version::HTTP_11,
            close: false,
            body,
        };
        written(|out| write_response(out, status, &headers(length), &reply, None))
    };
    let (one, two) = (
        &[("content-length", "7")][..],
        &[("content-length", "7"), ("content-length", "7")][..],
    );
    for status in [StatusCode::OK, StatusCode::NOT_MODIFIED] {
        assert!(
            response(status, one, None).ends_with("\r\ncontent-length: 7\r\n\r\n"),
            "{status}"
        );
        assert!(
            !response(status, two, None).contains("length"),
            "{status}: never doubled"
        );
    }
    assert!(response(StatusCode::NOT_MODIFIED, one, Some(Length::Exact(0))).contains("content-length: 7\r\n"));
    assert!(response(StatusCode::OK, one, Some(Length::Exact(0))).ends_with("\r\ncontent-length: 0\r\n\r\n"));
    for status in [
        StatusCode::CONTINUE,
        StatusCode::SWITCHING_PROTOCOLS,
        StatusCode::NO_CONTENT,
    ] {
        assert!(!response(status, one, None).contains("length"), "{status}");
    }
}

#[test]
fn other_headers_of_a_response_go_as_they_are() {
    let own = headers(&[("connection", "upgrade"), ("upgrade", "websocket"), ("date", "today")]);
    let date = HeaderValue::from_static("now");
    let reply = Reply {
        version: Version::HTTP_11,
        close: false,
        body: None,
    };
    let switching = written(|out| write_response(out, StatusCode::SWITCHING_PROTOCOLS, &own, &reply, Some(&date)));
    assert_eq!(
        switching,
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\ndate: today\r\n\r\n"
    );
}

#[test]
fn a_date_where_there_is_none() {
    // RFC 9110 §6.6.1
    let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
    let reply = Reply {
        version: Version::HTTP_11,
        close: false,
        body: Some(Length::Exact(0)),
    };
    let response = |status, headers: &HeaderMap, date| {
        written(|out| {
            write_response(
                out,
                StatusCode::from_u16(status).expect("a status"),
                headers,
                &reply,
                date,
            );
        })
    };
    let (none, own) = (HeaderMap::new(), headers(&[("date", "own")]));
    assert!(response(200, &none, Some(&date)).contains("\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
    assert_eq!(response(200, &own, Some(&date)).matches("date: ").count(), 1);
    assert!(response(200, &own, Some(&date)).contains("date: own\r\n"));
    assert!(!response(200, &none, None).contains("date"));
    assert!(!response(101, &none, Some(&date)).contains("date"));
}

#[test]
fn interim_responses() {
    let hints = headers(&[
        ("link", "</a>; rel=preload"),
        ("content-length", "1"),
        ("transfer-encoding", "chunked"),
    ]);
    let wire = written(|out| {
        write_interim(out, StatusCode::CONTINUE, &HeaderMap::new());
        write_interim(out, StatusCode::EARLY_HINTS, &hints);
    });
    assert_eq!(
        wire,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n"
    );
}

#[test]
fn chunks() {
    for (length, line) in [
        (1, "1\r\n"),
        (9, "9\r\n"),
        (10, "a\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (0x1a0, "1a0\r\n"),
        (0x0123_4567_89ab_cdef, "123456789abcdef\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        assert_eq!(written(|out| write_chunk_size(out, length)), line);
    }
    assert_eq!(written(|out| write_chunk(out, b"hello")), "5\r\nhello\r\n");
    assert_eq!(written(|out| write_chunk(out, b"")), "", "it would end the body");
    assert_eq!(CHUNK_END, b"\r\n");
}

#[test]
fn last_chunk() {
    assert_eq!(written(|out| write_last_chunk(out, None)), "0\r\n\r\n");
    assert_eq!(
        written(|out| write_last_chunk(out, Some(&HeaderMap::new()))),
        "0\r\n\r\n"
    );
    let trailers = headers(&[
        ("grpc-status", "0"),
        ("content-length", "5"),
        ("set-cookie", "a"),
        ("x", "1"),
        ("x", "2"),
    ]);
    assert_eq!(
        written(|out| write_last_chunk(out, Some(&trailers))),
        "0\r\ngrpc-status: 0\r\nx: 1\r\nx: 2\r\n\r\n"
    );
}

#[test]
fn before_http_1_1_there_are_no_chunks() {
    assert_eq!(Length::Chunked.to_client(Version::HTTP_10), Length::UntilClose);
    assert_eq!(Length::Chunked.to_client(Version::HTTP_11), Length::Chunked);
    assert_eq!(Length::Exact(5).to_client(Version::HTTP_10), Length::Exact(5));
}
