//! Bodies, their lengths, and trailers.

use super::{and, owned, passes, post, row, shown};
use crate::http2::{Answer, Row};
use crate::row::form;
use tenbin_hostile::frames::{DATA, END_STREAM, block, fields, frame, headers};

pub(super) fn rows() -> Vec<Row> {
    let rule = "9113 §8.1.1";
    const POST: &str = "POST / HTTP/1.1";
    let trailers = |name, ends: &[(&str, &[u8])], answer, rule| {
        let head = headers(1, 0, &block(&self::fields("POST", "/")));
        let body = frame(DATA, 0, 1, b"hello");
        let end = headers(1, END_STREAM, &block(&owned(ends)));
        let shown = format!("DATA hello, trailers {}", shown(ends));
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
