//! What is wrong with streams: their fields, their bodies, and what would become something else in HTTP/1.1.

use super::frames::{DATA, END_STREAM, block, fields, frame, headers};
use super::{Answer, Row};
use crate::row::{Form, Section, form};

const GET: &str = "GET / HTTP/1.1";

type Fields = Vec<(String, Vec<u8>)>;

fn shown(fields: &[(&str, &[u8])]) -> String {
    let one = |(name, value): &(&str, &[u8])| {
        let value = match value {
            [first, rest @ ..] if rest.len() > 40 && rest.iter().all(|b| b == first) => {
                format!("{}…({}×)", first.escape_ascii(), value.len())
            }
            value => value.escape_ascii().to_string(),
        };
        format!("{}: {value}", name.escape_debug())
    };
    fields
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join(", ")
        .replace('`', "\\x60")
}

fn row(name: &'static str, shown: String, frames: Vec<u8>, answer: Answer, rule: &'static str) -> Row {
    Row {
        name,
        shown,
        answer,
        rule,
        frames,
    }
}

fn owned(fields: &[(&str, &[u8])]) -> Fields {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
        .collect()
}

/// A GET with further fields.
fn and(name: &'static str, more: &[(&str, &[u8])], answer: Answer, rule: &'static str) -> Row {
    let all = [fields("GET", "/"), owned(more)].concat();
    row(name, shown(more), headers(1, END_STREAM, &block(&all)), answer, rule)
}

/// A GET with another value of a field.
fn but(name: &'static str, field: &str, value: &[u8], answer: Answer, rule: &'static str) -> Row {
    let mut all = fields("GET", "/");
    for (known, its) in &mut all {
        if known == field {
            *its = value.to_vec();
        }
    }
    row(
        name,
        shown(&[(field, value)]),
        headers(1, END_STREAM, &block(&all)),
        answer,
        rule,
    )
}

/// A request of these fields alone.
fn of(name: &'static str, all: &[(&str, &[u8])], answer: Answer, rule: &'static str) -> Row {
    row(
        name,
        shown(all),
        headers(1, END_STREAM, &block(&owned(all))),
        answer,
        rule,
    )
}

/// A POST with further fields and this body, in frames.
fn post(name: &'static str, more: &[(&str, &[u8])], body: &[&[u8]], answer: Answer, rule: &'static str) -> Row {
    let all = [fields("POST", "/"), owned(more)].concat();
    let mut frames = headers(1, 0, &block(&all));
    for (at, data) in body.iter().enumerate() {
        let end = if at + 1 == body.len() { END_STREAM } else { 0 };
        frames.extend(frame(DATA, end, 1, data));
    }
    let data: Vec<String> = body
        .iter()
        .map(|data| format!("DATA {}", data.escape_ascii()))
        .collect();
    let shown = [shown(more), data.join(", ")].join(", ");
    row(name, shown.trim_start_matches(", ").to_owned(), frames, answer, rule)
}

fn passes(form: Form) -> Answer {
    Answer::Passes(form)
}

pub(crate) fn sections() -> Vec<Section<Row>> {
    vec![
        Section {
            title: "HTTP/2: fields",
            intro: "A GET of `/` with such fields. *malformed*: the stream is answered 400 or reset with PROTOCOL_ERROR, or the connection ends with \
                    it (RFC 9113 §8.1.1), and nothing reaches an endpoint.",
            rows: of_fields(),
        },
        Section {
            title: "HTTP/2: pseudo-headers",
            intro: "",
            rows: pseudo(),
        },
        Section {
            title: "HTTP/2: bodies",
            intro: "",
            rows: bodies(),
        },
    ]
}

fn of_fields() -> Vec<Row> {
    let bad = |name, field: &str, value: &[u8], rule| and(name, &[(field, value)], Answer::Malformed, rule);
    let names = "9113 §8.2.1";
    let connection = "9113 §8.2.2";
    let mut rows = vec![
        bad("a name in capitals", "X-A", b"1", names),
        bad("a space in a name", "x a", b"1", names),
        bad("a colon in a name", "x:a", b"1", names),
        bad("a line end in a name", "x: 1\r\nevil", b"1", names),
        bad("a NUL in a name", "x\0", b"1", names),
        bad("a control byte in a name", "x\x01", b"1", names),
        bad("DEL in a name", "x\x7f", b"1", names),
        bad("not ASCII in a name", "\u{e9}", b"1", names),
        bad("no name", "", b"1", names),
        bad("a line end in a value", "x", b"1\r\nevil: 1", names),
        bad("LF in a value", "x", b"1\nevil: 1", names),
        bad("CR in a value", "x", b"1\revil: 1", names),
        bad("NUL in a value", "x", b"1\x002", names),
        bad(
            "another request in a value",
            "x",
            b"1\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
            names,
        ),
        bad("a space in front of a value", "x", b" 1", names),
        bad("a tab behind a value", "x", b"1\t", names),
        bad("Connection", "connection", b"close", connection),
        bad("Keep-Alive", "keep-alive", b"timeout=5", connection),
        bad("Proxy-Connection", "proxy-connection", b"close", connection),
        bad("Upgrade", "upgrade", b"websocket", connection),
        bad("Transfer-Encoding", "transfer-encoding", b"chunked", connection),
        bad("another TE than trailers", "te", b"gzip", connection),
        bad("trailers and more in TE", "te", b"trailers, gzip", connection),
        and(
            "TE: trailers",
            &[("te", b"trailers")],
            passes(form(GET).has("te: trailers")),
            connection,
        ),
        and(
            "cookies in crumbs",
            &[("cookie", b"a=1"), ("cookie", b"b=2")],
            passes(form(GET).has("cookie: a=1; b=2")),
            "9113 §8.2.3",
        ),
        and(
            "what only proxies may say",
            &[
                ("x-forwarded-for", b"6.6.6.6"),
                ("x_real_ip", b"6.6.6.6"),
                ("forwarded", b"for=6.6.6.6"),
            ],
            passes(form(GET).has("x-forwarded-for: 127.0.0.1").lacks("6.6.6.6")),
            "as in HTTP/1",
        ),
        and(
            "an unknown expectation",
            &[("expect", b"gold")],
            Answer::Refused(417),
            "9110 §10.1.1",
        ),
        and(
            "a large header",
            &[("x", &[b'x'; 70_000])],
            Answer::Refused(431),
            "6585 §5 (64 KiB in all)",
        ),
        and(
            "headers without measure",
            &[("x", &[b'x'; 1_000_000])],
            Answer::Closed,
            "9113 §10.5.1",
        ),
    ];
    let many = |n: usize| {
        let more: Fields = (0..n).map(|n| (format!("x-{n}"), b"1".to_vec())).collect();
        headers(1, END_STREAM, &block(&[fields("GET", "/"), more].concat()))
    };
    rows.extend([
        row(
            "100 headers",
            "100 fields".to_owned(),
            many(99),
            passes(form(GET).has("x-98: 1")),
            "as in HTTP/1",
        ),
        row(
            "101 headers",
            "101 fields".to_owned(),
            many(101),
            Answer::Refused(431),
            "as in HTTP/1, which they become",
        ),
    ]);
    rows
}

fn pseudo() -> Vec<Row> {
    let rule = "9113 §8.3";
    let request = "9113 §8.3.1";
    let bad = |name, more: &[(&str, &[u8])]| and(name, more, Answer::Malformed, rule);
    let path = |name, value: &[u8]| but(name, ":path", value, Answer::Malformed, request);
    let authority = |name, value: &[u8]| but(name, ":authority", value, Answer::Malformed, request);
    let of_some = |name, all: &[(&str, &[u8])], rule| of(name, all, Answer::Malformed, rule);
    vec![
        of_some(
            "after a field",
            &[
                (":method", b"GET"),
                (":scheme", b"http"),
                ("x", b"1"),
                (":path", b"/"),
                (":authority", b"a"),
            ],
            rule,
        ),
        bad("an unknown one", &[(":evil", b"1")]),
        bad("one of responses", &[(":status", b"200")]),
        bad("two paths", &[(":path", b"/evil")]),
        bad("two methods", &[(":method", b"POST")]),
        bad("two schemes", &[(":scheme", b"https")]),
        bad("two authorities", &[(":authority", b"evil")]),
        bad(":protocol without CONNECT", &[(":protocol", b"websocket")]),
        of_some(
            "no method",
            &[(":scheme", b"http"), (":path", b"/"), (":authority", b"a")],
            request,
        ),
        of_some(
            "no scheme",
            &[(":method", b"GET"), (":path", b"/"), (":authority", b"a")],
            request,
        ),
        of_some(
            "no path",
            &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"a")],
            request,
        ),
        of_some(
            "no authority and no Host",
            &[(":method", b"GET"), (":scheme", b"http"), (":path", b"/")],
            request,
        ),
        of(
            "Host alone",
            &[
                (":method", b"GET"),
                (":scheme", b"http"),
                (":path", b"/"),
                ("host", b"b"),
            ],
            passes(form(GET).has("host: b")),
            request,
        ),
        and(
            "Host as the authority",
            &[("host", b"A")],
            passes(form(GET).has("host: a")),
            request,
        ),
        and(
            "Host unlike the authority",
            &[("host", b"evil")],
            Answer::Malformed,
            request,
        ),
        and(
            "two Hosts",
            &[("host", b"a"), ("host", b"a")],
            Answer::Malformed,
            "9110 §7.2",
        ),
        path("an empty path", b""),
        path("a path without a slash", b"evil"),
        path("a URL as the path", b"http://evil/"),
        path("the server as a whole, of GET", b"*"),
        path("a space in the path", b"/ HTTP/1.1"),
        path("a line end in the path", b"/ HTTP/1.1\r\nevil: 1\r\nx: "),
        path("a tab in the path", b"/\tevil"),
        path("a NUL in the path", b"/\0"),
        path("not ASCII in the path", "/\u{e9}".as_bytes()),
        but(
            "a fragment",
            ":path",
            b"/#evil",
            passes(form(GET).lacks("evil")),
            "9110 §7.1: no part of it, and dropped before it is routed",
        ),
        path("a backslash in the path", b"/\\evil"),
        path("above the root", b"/../evil"),
        but(
            "up",
            ":path",
            b"/a/%2e%2e/admin?b",
            passes(form("GET /admin?b HTTP/1.1").admin()),
            "as in HTTP/1",
        ),
        authority("an empty authority", b""),
        authority("a user", b"u@a"),
        authority("a path in the authority", b"a/evil"),
        authority("a list", b"a,evil"),
        authority("a space in the authority", b"a evil"),
        authority("a line end in the authority", b"a\r\nevil: 1"),
        authority("a port that is no number", b"a:evil"),
        but("an empty method", ":method", b"", Answer::Malformed, request),
        but(
            "a space in the method",
            ":method",
            b"GET /evil",
            Answer::Malformed,
            "9110 §9.1",
        ),
        but(
            "a request line as the method",
            ":method",
            b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\nGET",
            Answer::Malformed,
            "9110 §9.1",
        ),
        but("TRACE", ":method", b"TRACE", Answer::Refused(405), "9110 §9.3.8"),
        but(
            "https over cleartext",
            ":scheme",
            b"https",
            passes(form(GET).has("x-forwarded-proto: http")),
            "of proxies that ended TLS",
        ),
        but("another scheme", ":scheme", b"ftp", Answer::Malformed, "9110 §4.2"),
        but(
            "a URL as the scheme",
            ":scheme",
            b"http://evil/?",
            Answer::Malformed,
            "9113 §8.3.1",
        ),
        but(
            "a line end in the scheme",
            ":scheme",
            b"http\r\nevil: 1",
            Answer::Malformed,
            "9113 §8.3.1",
        ),
        of(
            "CONNECT",
            &[(":method", b"CONNECT"), (":authority", b"a:80")],
            Answer::Refused(405),
            "9113 §8.5",
        ),
        of(
            "CONNECT without an authority",
            &[(":method", b"CONNECT")],
            Answer::Malformed,
            "9113 §8.5",
        ),
        of(
            "CONNECT with a path, but no protocol",
            &[
                (":method", b"CONNECT"),
                (":scheme", b"http"),
                (":path", b"/"),
                (":authority", b"a"),
            ],
            Answer::Malformed,
            "9113 §8.5",
        ),
        of(
            "extended CONNECT without a path",
            &[
                (":method", b"CONNECT"),
                (":protocol", b"websocket"),
                (":authority", b"a"),
            ],
            Answer::Malformed,
            "8441 §4",
        ),
        of(
            "extended CONNECT to HTTP/2",
            &[
                (":method", b"CONNECT"),
                (":protocol", b"h2c"),
                (":scheme", b"http"),
                (":path", b"/"),
                (":authority", b"a"),
            ],
            Answer::Refused(501),
            "8441 §4: no such upgrade",
        ),
        of(
            "a line end in the protocol",
            &[
                (":method", b"CONNECT"),
                (":protocol", b"websocket\r\nevil: 1"),
                (":scheme", b"http"),
                (":path", b"/"),
                (":authority", b"a"),
            ],
            Answer::Malformed,
            "8441 §4",
        ),
    ]
}

fn bodies() -> Vec<Row> {
    let rule = "9113 §8.1.1";
    const POST: &str = "POST / HTTP/1.1";
    let trailers = |name, fields: &[(&str, &[u8])], answer, rule| {
        let head = headers(1, 0, &block(&super::frames::fields("POST", "/")));
        let body = frame(DATA, 0, 1, b"hello");
        let end = headers(1, END_STREAM, &block(&owned(fields)));
        let shown = format!("DATA hello, trailers {}", shown(fields));
        row(name, shown, [head, body, end].concat(), answer, rule)
    };
    vec![
        post(
            "more than its length",
            &[("content-length", b"3")],
            &[b"hello"],
            Answer::Broken,
            rule,
        ),
        post(
            "less than its length",
            &[("content-length", b"10")],
            &[b"hello"],
            Answer::Broken,
            rule,
        ),
        post(
            "nothing of its length",
            &[("content-length", b"5")],
            &[b""],
            Answer::Broken,
            rule,
        ),
        and(
            "a length and no body",
            &[("content-length", b"5")],
            Answer::Malformed,
            rule,
        ),
        post(
            "a request behind its length",
            &[("content-length", b"0")],
            &[b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"],
            Answer::Broken,
            rule,
        ),
        post(
            "two lengths",
            &[("content-length", b"5"), ("content-length", b"6")],
            &[b"hello"],
            Answer::Malformed,
            rule,
        ),
        post(
            "the same length twice",
            &[("content-length", b"5"), ("content-length", b"5")],
            &[b"hello"],
            Answer::Malformed,
            "as in HTTP/1",
        ),
        post(
            "a list of lengths",
            &[("content-length", b"5, 5")],
            &[b"hello"],
            Answer::Malformed,
            "9110 §8.6",
        ),
        post(
            "a length with a sign",
            &[("content-length", b"+5")],
            &[b"hello"],
            Answer::Malformed,
            "9110 §8.6",
        ),
        post(
            "a length that is none",
            &[("content-length", b"evil")],
            &[b"hello"],
            Answer::Malformed,
            "9110 §8.6",
        ),
        post(
            "a length of more than 64 bits",
            &[("content-length", b"18446744073709551621")],
            &[b"hello"],
            Answer::Malformed,
            "9110 §8.6",
        ),
        post(
            "a good length",
            &[("content-length", b"5")],
            &[b"he", b"", b"llo"],
            passes(form(POST).has("content-length: 5").body("hello")),
            rule,
        ),
        post(
            "no length",
            &[],
            &[b"hello"],
            passes(
                form(POST)
                    .has("transfer-encoding: chunked")
                    .lacks("content-length")
                    .body("hello"),
            ),
            rule,
        ),
        post(
            "chunks in DATA",
            &[],
            &[b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"],
            passes(form(POST).body("0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n")),
            "9113 §8.1: data is data",
        ),
        trailers(
            "a pseudo-header in trailers",
            &[(":path", b"/evil")],
            Answer::Broken,
            "9113 §8.1",
        ),
        trailers(
            "a line end in trailers",
            &[("x", b"1\r\nevil: 1")],
            Answer::Broken,
            "9113 §8.2.1",
        ),
        trailers(
            "a connection's header in trailers",
            &[("transfer-encoding", b"chunked")],
            Answer::Broken,
            "9113 §8.2.2",
        ),
        trailers(
            "framing in trailers",
            &[
                ("content-length", b"0"),
                ("host", b"evil"),
                ("x-forwarded-for", b"6.6.6.6"),
            ],
            passes(
                form(POST)
                    .lacks("evil")
                    .lacks("6.6.6.6")
                    .lacks("trailer content-length")
                    .body("hello"),
            ),
            "9110 §6.5.1",
        ),
    ]
}
