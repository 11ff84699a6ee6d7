//! Names and values of headers, how many and how large.

use crate::row::{Row, Section, form, get, raw, refused, row};

const GET: &str = "GET / HTTP/1.1";

pub(super) fn section() -> Section<Row> {
    let bad = |name, lines: &[u8], rule| row(name, get(lines), refused(400), rule);
    let names = "9110 §5.1, 9112 §5.1";
    let values = "9110 §5.5";
    let limit = "6585 §5";
    let many = |n: usize| (0..n).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    Section {
        title: "Headers",
        intro: "A request with these further headers.",
        rows: vec![
            bad("no colon", b"X\r\n", names),
            bad("no name", b": 1\r\n", "9110 §5.1 (CVE-2023-25725)"),
            bad("a space before the colon", b"X : 1\r\n", names),
            bad("a tab before the colon", b"X\t: 1\r\n", names),
            bad("a space in a name", b"X Y: 1\r\n", names),
            bad("a parenthesis in a name", b"X(: 1\r\n", names),
            bad("a quote in a name", b"\"X\": 1\r\n", names),
            bad("a slash in a name", b"X/Y: 1\r\n", names),
            bad("a NUL in a name", b"X\0: 1\r\n", names),
            bad("a control byte in a name", b"X\x01: 1\r\n", names),
            bad("DEL in a name", b"X\x7f: 1\r\n", names),
            bad("a name that is not ASCII", "\u{fc}: 1\r\n".as_bytes(), names),
            bad("a NUL in a value", b"X: a\0b\r\n", values),
            bad("a control byte in a value", b"X: a\x01b\r\n", values),
            bad("an escape in a value", b"X: a\x1b[0m\r\n", values),
            bad("DEL in a value", b"X: a\x7fb\r\n", values),
            bad("a vertical tab around a value", b"X:\x0b1\r\n", values),
            row(
                "a tab in a value",
                get("X: a\tb\r\n"),
                form(GET).has("x: a\tb").passes(),
                values,
            ),
            row(
                "bytes that are not ASCII in a value",
                get("X: \u{e9}\r\n"),
                form(GET).has("x: \u{e9}").passes(),
                "9110 §5.5: obsolete, and opaque",
            ),
            row("an empty value", get("X:\r\n"), form(GET).has("x:").passes(), values),
            row(
                "100 headers",
                get(many(99)).shown("99 lines, and Host"),
                form(GET).has("x-98: 1").passes(),
                limit,
            ),
            row(
                "101 headers",
                get(many(100)).shown("100 lines, and Host"),
                refused(431),
                limit,
            ),
            row(
                "a long header",
                get(format!("X: {}\r\n", "x".repeat(70_000))),
                refused(431),
                "6585 §5 (64 KiB in all)",
            ),
            row(
                "a long name",
                get(format!("{}: 1\r\n", "x".repeat(70_000))),
                refused(431),
                "6585 §5 (64 KiB in all)",
            ),
            row(
                "a header without end",
                raw([b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &[b'x'; 200_000][..]].concat()),
                refused(431),
                "6585 §5 (64 KiB in all)",
            ),
            row(
                "an unknown expectation",
                get("Expect: gold\r\n"),
                refused(417),
                "9110 §10.1.1",
            ),
            row(
                "an unknown expectation beside the known one",
                get("Expect: 100-continue, gold\r\n"),
                refused(417),
                "9110 §10.1.1",
            ),
            row(
                "an expectation in HTTP/1.0",
                raw("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n"),
                form(GET).lacks("expect").passes(),
                "9110 §10.1.1",
            ),
            row(
                "an expectation with its body",
                raw("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello"),
                form("POST / HTTP/1.1").body("hello").passes(),
                "9110 §10.1.1",
            ),
        ],
    }
}
