//! Names and values of fields, how many and how large.

use super::{Fields, and, passes, row};
use crate::http2::{Answer, Row};
use crate::row::form;
use tenbin_hostile::frames::{END_STREAM, block, fields, headers};

const GET: &str = "GET / HTTP/1.1";

pub(super) fn rows() -> Vec<Row> {
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
