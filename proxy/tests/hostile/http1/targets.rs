//! Forms of the target, and for which host a request is.

use crate::row::{Input, Row, Section, form, line, raw, refused, row, target};

const GET: &str = "GET / HTTP/1.1";

pub(super) fn targets() -> Section<Row> {
    let bad = |name, text: &str, rule| row(name, target(text), refused(400), rule);
    let forms = "9112 §3.2";
    let uri = "3986 §2, 9112 §3.2";
    Section {
        title: "Targets",
        intro: "A GET of such a target, with `Host: a`.",
        rows: vec![
            bad("no slash", "a", forms),
            bad("a host and a port", "a:80", "9112 §3.2.3: of CONNECT only"),
            bad("the server as a whole", "*", "9112 §3.2.4: of OPTIONS only"),
            row(
                "the server as a whole",
                line("OPTIONS * HTTP/1.1"),
                form("OPTIONS * HTTP/1.1").passes(),
                "9112 §3.2.4",
            ),
            bad("a fragment", "/#a", "9112 §3.2: never part of it"),
            bad("a fragment after a query", "/?a#b", "9112 §3.2: never part of it"),
            bad("a query alone", "?a", forms),
            bad("a NUL", "/\0", uri),
            bad("a control byte", "/\x01", uri),
            bad("DEL", "/\x7f", uri),
            bad("a tab", "/a\tb", uri),
            bad("not ASCII", "/\u{e9}", uri),
            row("overlong UTF-8", target(b"/\xc0\xae/"), refused(400), uri),
            row("not ASCII in the query", target("/?\u{e9}"), refused(400), uri),
            bad("angle brackets", "/<a>", uri),
            bad("another scheme", "ftp://a/", "9110 §4.2"),
            bad("no host", "http:///a", "9110 §4.2.1"),
            bad("no host but a port", "http://:80/", "9110 §4.2.1"),
            bad("a user", "http://u@a/", "9110 §4.2.4"),
            bad("a user that looks like the host", "http://a:80@evil/", "9110 §4.2.4"),
            bad("a port too large", "http://a:65536/", "9110 §4.2.1"),
            bad("a host that is none", "http://a,b/", "9110 §4.2.1"),
            bad("a fragment of an absolute one", "http://a/#b", "9112 §3.2"),
            row(
                "https over cleartext",
                target("https://a/"),
                refused(421),
                "9110 §7.4: such a request must be rejected",
            ),
            row(
                "absolute",
                target("http://a/b?c"),
                form("GET /b?c HTTP/1.1").has("host: a").passes(),
                "9112 §3.2.2",
            ),
            row(
                "absolute, without a path",
                target("http://a"),
                form(GET).has("host: a").passes(),
                "9112 §3.2.1",
            ),
            row(
                "absolute, in capitals",
                target("HTTP://A/"),
                form(GET).has("host: A").passes(),
                "9110 §4.2.3",
            ),
            row(
                "absolute, for another host than Host",
                target("http://b/c"),
                form("GET /c HTTP/1.1")
                    .has("host: b")
                    .has("x-forwarded-host: b")
                    .passes(),
                "9112 §3.2.2: it replaces Host",
            ),
            row(
                "a long target",
                target(format!("/{}", "a".repeat(70_000))),
                refused(414),
                "9112 §3 (32 KiB)",
            ),
            row(
                "a target without end",
                raw([b"GET /", &[b'a'; 200_000][..]].concat()),
                refused(414),
                "9112 §3 (32 KiB)",
            ),
        ],
    }
}

pub(super) fn hosts() -> Section<Row> {
    let host = |value: &str| Input {
        bytes: format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n").into_bytes(),
        ..raw(value)
    };
    let bad = |name, value: &str| row(name, host(value), refused(400), "9112 §3.2, 9110 §7.2");
    let with = |name, lines: &str| {
        let input = raw(lines);
        let bytes = [b"GET / HTTP/1.1\r\n", &input.bytes[..], b"\r\n"].concat();
        row(name, Input { bytes, ..input }, refused(400), "9112 §3.2")
    };
    let good =
        |name, value: &'static str, has: &'static str| row(name, host(value), form(GET).has(has).passes(), "9112 §3.2");
    Section {
        title: "Host",
        intro: "A GET of `/` with such a Host: a name of letters, digits, `-`, `.`, `_`, `~` or an address, with or without a port. Further \
                characters that RFC 3986 has for names are none of any host.",
        rows: vec![
            with("none", ""),
            with("two that differ", "Host: a\r\nHost: b\r\n"),
            with("two that agree", "Host: a\r\nHost: a\r\n"),
            with("one in capitals, too", "Host: a\r\nHOST: b\r\n"),
            with("one with a space before the colon", "Host: a\r\nHost : b\r\n"),
            with("a folded one", "Host:\r\n a\r\n"),
            bad("empty", ""),
            bad("a port alone", ":80"),
            bad("a space in it", "a b"),
            bad("a list", "a, b"),
            bad("a comma", "a,b"),
            bad("a path", "a/b"),
            bad("a query", "a?b"),
            bad("a fragment", "a#b"),
            bad("a user", "u@a"),
            bad("a backslash", "a\\b"),
            bad("percent-encoding", "a%2eb"),
            bad("not ASCII", "\u{e9}"),
            bad("a NUL", "a\0"),
            bad("a port that is no number", "a:b"),
            bad("a port with a sign", "a:+80"),
            bad("a port too large", "a:65536"),
            bad("two ports", "a:80:80"),
            bad("an address without brackets", "::1"),
            bad("an open bracket", "[::1"),
            bad("something after the bracket", "[::1]a"),
            bad("no address in brackets", "[a]"),
            good("a port", "a:8080", "x-forwarded-port: 8080"),
            good("an empty port", "a:", "host: a:"),
            good("an address", "[::1]:80", "host: [::1]:80"),
            good("an underscore", "a_b", "host: a_b"),
            row(
                "none, in HTTP/1.0",
                raw("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
                form(GET).lacks("x-forwarded-host").passes(),
                "9112 §3.2",
            ),
            row(
                "two, beside an absolute target",
                raw("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
                refused(400),
                "9112 §3.2",
            ),
            row(
                "none, beside an absolute target",
                raw("GET http://a/ HTTP/1.1\r\n\r\n"),
                refused(400),
                "9112 §3.2",
            ),
        ],
    }
}
