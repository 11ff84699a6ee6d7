//! Pseudo-headers, and what would become another request line in HTTP/1.1.

use super::{and, but, of, passes};
use crate::http2::{Answer, Row};
use crate::row::form;

const GET: &str = "GET / HTTP/1.1";

pub(super) fn rows() -> Vec<Row> {
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
        path("a fragment", b"/#evil"),
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
