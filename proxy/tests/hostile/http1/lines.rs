//! Request lines, and how lines end.

use crate::row::{Row, Section, form, get, line, raw, refused, row};

const GET: &str = "GET / HTTP/1.1";

pub(super) fn request_lines() -> Section<Row> {
    let bad = |name, text: &str, status, rule| row(name, line(text), refused(status), rule);
    let three = "9112 §3";
    let version = "9112 §2.3";
    Section {
        title: "Request lines",
        intro: "",
        rows: vec![
            bad("two spaces", "GET  / HTTP/1.1", 400, three),
            bad("two spaces before the version", "GET /  HTTP/1.1", 400, three),
            bad("a tab", "GET\t/ HTTP/1.1", 400, three),
            bad("a tab before the version", "GET /\tHTTP/1.1", 400, three),
            bad("a space in front", " GET / HTTP/1.1", 400, three),
            bad("a space at the end", "GET / HTTP/1.1 ", 400, three),
            bad("a space in the target", "GET /a b HTTP/1.1", 400, three),
            bad("a fourth word", "GET / HTTP/1.1 x", 400, three),
            bad("no method", "/ HTTP/1.1", 400, three),
            bad("no target", "GET HTTP/1.1", 400, three),
            row("HTTP/0.9", raw("GET /\r\n"), refused(400), "9112 §2.3"),
            bad("HTTP/0.9, said", "GET / HTTP/0.9", 505, version),
            bad("HTTP/2.0", "GET / HTTP/2.0", 505, version),
            bad("HTTP/3.0", "GET / HTTP/3.0", 505, version),
            row(
                "half of HTTP/2's preface",
                raw("PRI * HTTP/2.0\r\n\r\n"),
                refused(505),
                "9113 §3.4",
            ),
            row(
                "a later HTTP/1",
                line("GET / HTTP/1.2"),
                form(GET).passes(),
                "9110 §2.5",
            ),
            bad("a version in lower case", "GET / http/1.1", 400, version),
            bad("a long version", "GET / HTTP/1.10", 400, version),
            bad("a short version", "GET / HTTP/1", 400, version),
            bad("a padded version", "GET / HTTP/01.1", 400, version),
            bad("no number", "GET / HTTP/1.x", 400, version),
            bad("another protocol", "GET / HTTPS/1.1", 400, version),
            bad("RTSP", "DESCRIBE / RTSP/1.0", 400, version),
            bad("a method that is no token", "GE(T / HTTP/1.1", 400, "9110 §9.1"),
            bad("a NUL in the method", "G\0T / HTTP/1.1", 400, "9110 §9.1"),
            bad("a colon in the method", "GET: / HTTP/1.1", 400, "9110 §9.1"),
            row(
                "a long method",
                line(format!("{} / HTTP/1.1", "A".repeat(33))),
                refused(501),
                "9112 §3 (at most 32 bytes)",
            ),
            row(
                "a method without end",
                line(format!("{} / HTTP/1.1", "A".repeat(9000))),
                refused(501),
                "9112 §3 (at most 32 bytes)",
            ),
            row(
                "a method of nobody",
                line("get / HTTP/1.1"),
                form("get / HTTP/1.1").passes(),
                "9110 §9.1: methods are the app's, and have a case",
            ),
            bad(
                "TRACE",
                "TRACE / HTTP/1.1",
                405,
                "9110 §9.3.8: it would show what we add",
            ),
            bad("CONNECT", "CONNECT a:80 HTTP/1.1", 405, "9110 §9.3.6"),
            bad("CONNECT without a host", "CONNECT / HTTP/1.1", 400, "9112 §3.2.3"),
            row(
                "CONNECT with a body",
                raw("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhello"),
                refused(405),
                "9110 §9.3.6",
            ),
        ],
    }
}

pub(super) fn line_ends() -> Section<Row> {
    let bad = |name, bytes: &[u8]| row(name, raw(bytes), refused(400), "9112 §2.2");
    Section {
        title: "Line ends",
        intro: "Lines end in CR LF. LF alone is allowed to be taken for an end, and is not: two readers that differ are a smuggled request.",
        rows: vec![
            bad("LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
            bad("LF after a header", b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n"),
            bad("LF as the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
            bad("LF alone everywhere", b"GET / HTTP/1.1\nHost: a\n\n"),
            bad("CR after the request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
            bad("CR after a header", b"GET / HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n"),
            bad("CR CR LF after a header", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
            bad("CR as the end", b"GET / HTTP/1.1\r\nHost: a\r\n\rX: 1\r\n\r\n"),
            bad("CR in the method", b"G\rET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            bad("CR in the target", b"GET /\ra HTTP/1.1\r\nHost: a\r\n\r\n"),
            bad("LF in front", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            bad("CR in front", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            row(
                "an empty line in front",
                raw("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                form(GET).passes(),
                "9112 §2.2",
            ),
            row(
                "many empty lines in front",
                raw("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                refused(400),
                "9112 §2.2 (at most 4)",
            ),
            row("a folded header", get("X: a\r\n b\r\n"), refused(400), "9112 §5.2"),
            row(
                "a header folded by a tab",
                get("X: a\r\n\tb\r\n"),
                refused(400),
                "9112 §5.2",
            ),
            row(
                "a header folded to nothing",
                get("X: a\r\n \r\n"),
                refused(400),
                "9112 §5.2",
            ),
            row(
                "whitespace before the first header",
                raw("GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
                refused(400),
                "9112 §2.2",
            ),
            row(
                "a good request, then garbage",
                raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n\0\x01\x02 garbage\r\n\r\n"),
                crate::row::Answer::Then(form(GET), 400),
                "9112 §2.2: nothing after an error is read",
            ),
        ],
    }
}
