//! What endpoints answer.

use super::{Answer, Row, clean};
use crate::recorder::Script;
use crate::row::{Input, Section, raw};

fn of(name: &'static str, input: Input, answer: Answer, rule: &'static str) -> Row {
    Row {
        name,
        shown: input.shown,
        answer,
        rule,
        script: Script::Bytes(input.bytes),
        method: "GET",
    }
}

/// An answer with status 200, these lines of headers, and this body.
fn ok(lines: &str, body: &str) -> Input {
    let input = raw(format!("{lines}\r\n{body}"));
    let bytes = [b"HTTP/1.1 200 OK\r\n", &input.bytes[..]].concat();
    Input { bytes, ..input }
}

pub(crate) fn sections() -> Vec<Section<Row>> {
    vec![
        Section {
            title: "Answers: heads",
            intro: "What an endpoint says. `HTTP/1.1 200 OK` stands before what does not begin with a status line of its own.",
            rows: heads(),
        },
        Section {
            title: "Answers: bodies",
            intro: "",
            rows: bodies(),
        },
    ]
}

fn heads() -> Vec<Row> {
    let bad = |name, text: &str, rule| of(name, raw(text), Answer::Refused, rule);
    let fields = |name, lines: &str, rule| of(name, ok(lines, "ok"), Answer::Refused, rule);
    let line = "9112 §4";
    let hello = "content-length: 2\r\n";
    let mut rows = vec![
        bad("no HTTP", "SSH-2.0-OpenSSH_9.9\r\n\r\n", line),
        bad("bytes", "\0\x01\x02\x03\r\n\r\n", line),
        bad("HTTP/0.9", "<html>ok</html>\r\n\r\n", line),
        bad(
            "another version",
            "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            "9112 §2.3",
        ),
        bad(
            "a version in lower case",
            "http/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "9112 §2.3",
        ),
        bad(
            "a status of two digits",
            "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n",
            line,
        ),
        bad(
            "a status of four digits",
            "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
            line,
        ),
        bad(
            "a status that is no number",
            "HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n",
            line,
        ),
        bad(
            "a status below all",
            "HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n",
            "9110 §15",
        ),
        bad(
            "a reason with a NUL",
            "HTTP/1.1 200 O\0K\r\ncontent-length: 0\r\n\r\n",
            line,
        ),
        bad(
            "LF after the status line",
            "HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n",
            "9112 §2.2",
        ),
        bad(
            "LF after a header",
            "HTTP/1.1 200 OK\r\nx: 1\ncontent-length: 0\r\n\r\n",
            "9112 §2.2",
        ),
        bad(
            "LF as the end",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\n",
            "9112 §2.2",
        ),
        fields(
            "a header injected by LF",
            "content-length: 2\r\nx: 1\nset-cookie: evil\r\n",
            "9112 §2.2",
        ),
        fields(
            "a header injected by CR",
            "content-length: 2\r\nx: 1\rset-cookie: evil\r\n",
            "9112 §2.2",
        ),
        fields("a folded header", "content-length: 2\r\nx: 1\r\n 2\r\n", "9112 §5.2"),
        fields(
            "a space before the colon",
            "content-length: 2\r\nx : 1\r\n",
            "9112 §5.1",
        ),
        fields("no colon", "content-length: 2\r\nx\r\n", "9112 §5"),
        fields("no name", "content-length: 2\r\n: 1\r\n", "9110 §5.1"),
        fields("a NUL in a value", "content-length: 2\r\nx: \0\r\n", "9110 §5.5"),
        fields("a space in a name", "content-length: 2\r\nx y: 1\r\n", "9110 §5.1"),
        fields("two lengths", "content-length: 2\r\ncontent-length: 3\r\n", "9112 §6.3"),
        fields(
            "the same length twice",
            "content-length: 2\r\ncontent-length: 2\r\n",
            "9110 §8.6",
        ),
        fields("a list of lengths", "content-length: 2, 2\r\n", "9110 §8.6"),
        fields("a length with a sign", "content-length: +2\r\n", "9110 §8.6"),
        fields("a negative length", "content-length: -2\r\n", "9110 §8.6"),
        fields(
            "a length of more than 64 bits",
            "content-length: 18446744073709551618\r\n",
            "9110 §8.6",
        ),
        fields(
            "a coding that nobody asked for",
            "transfer-encoding: gzip, chunked\r\n",
            "9112 §6.1",
        ),
        fields("an unknown coding", "transfer-encoding: xchunked\r\n", "9112 §6.1"),
        fields(
            "two codings",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "9112 §6.1",
        ),
        bad(
            "a coding in HTTP/1.0",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "9112 §6.1",
        ),
        bad(
            "a switch of protocols that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "9110 §15.2.2",
        ),
        Row {
            script: Script::Last(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
            ..bad("half a head, then the end", "HTTP/1.1 200 OK\r\ncontent-le", "9112 §8")
        },
        Row {
            script: Script::Bytes(
                (0..101)
                    .map(|n| format!("x-{n}: 1\r\n"))
                    .fold("HTTP/1.1 200 OK\r\n".to_owned(), |a, b| a + &b)
                    .into_bytes(),
            ),
            ..of("101 headers", raw("").shown("101 lines"), Answer::Refused, "limit")
        },
        Row {
            script: Script::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: 1\r\n".to_vec()),
            ..of(
                "headers without end",
                raw("").shown("x: 1\\r\\n, for ever"),
                Answer::Refused,
                "limit",
            )
        },
        Row {
            script: Script::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 1 << 10]),
            ..of(
                "a header without end",
                raw("").shown("x: x…, for ever"),
                Answer::Refused,
                "limit",
            )
        },
        Row {
            script: Script::Endless(Vec::new(), b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n".to_vec()),
            ..of(
                "interim answers without end",
                raw("").shown("HTTP/1.1 103 Early Hints, for ever"),
                Answer::Refused,
                "9110 §15.2: a few of them (at most 16)",
            )
        },
    ];
    rows.extend([
        of(
            "a length and chunks",
            ok("content-length: 100\r\ntransfer-encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
            Answer::Cleaned(clean(200, "ok").lacks("content-length: 100")),
            "9112 §6.3: the chunks count",
        ),
        of(
            "headers of one connection",
            ok(
                &format!("{hello}connection: x-a\r\nx-a: evil\r\nkeep-alive: evil\r\nproxy-connection: evil\r\nproxy-authenticate: evil\r\nupgrade: evil\r\n"),
                "ok",
            ),
            Answer::Passes(clean(200, "ok").lacks("evil")),
            "9110 §7.6.1",
        ),
        of(
            "no reason",
            raw("HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok"),
            Answer::Passes(clean(200, "ok")),
            "9112 §4",
        ),
        of(
            "a few interim answers",
            raw("HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
            Answer::Passes(clean(200, "ok")),
            "9110 §15.2",
        ),
    ]);
    rows
}

fn bodies() -> Vec<Row> {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let broken = |name, body: &str, rule| of(name, ok("transfer-encoding: chunked\r\n", body), Answer::Broken, rule);
    let chunk = "9112 §7.1";
    vec![
        broken("a chunk size with a prefix", "2\r\nok\r\n0x2\r\nok\r\n0\r\n\r\n", chunk),
        broken("a chunk size with a sign", "2\r\nok\r\n+2\r\nok\r\n0\r\n\r\n", chunk),
        broken(
            "a chunk size of more than 64 bits",
            "2\r\nok\r\n10000000000000002\r\nok\r\n0\r\n\r\n",
            chunk,
        ),
        broken(
            "LF after a chunk size",
            "2\r\nok\r\n2\nok\r\n0\r\n\r\n",
            "9112 §2.2, §7.1",
        ),
        broken("more data than its size", "2\r\nok!\r\n0\r\n\r\n", chunk),
        broken(
            "LF in an extension",
            "2\r\nok\r\n2;a\nb\r\nok\r\n0\r\n\r\n",
            "9112 §7.1.1",
        ),
        broken("a folded trailer", "2\r\nok\r\n0\r\nx: 1\r\n 2\r\n\r\n", "9112 §7.1.2"),
        Row {
            script: Script::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok".to_vec()),
            ..of(
                "less than its length, then the end",
                raw("content-length: 10\r\n\r\nok"),
                Answer::Broken,
                "9112 §8",
            )
        },
        Row {
            script: Script::Last(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n".to_vec()),
            ..of(
                "no last chunk, but the end",
                raw("transfer-encoding: chunked\r\n\r\n2\r\nok\r\n"),
                Answer::Broken,
                "9112 §8",
            )
        },
        of(
            "another answer behind it",
            ok("content-length: 2\r\n", &format!("ok{poison}")),
            Answer::Cleaned(clean(200, "ok")),
            "9112 §9.2: nobody asked for it",
        ),
        of(
            "another answer behind its chunks",
            ok(
                "transfer-encoding: chunked\r\n",
                &format!("2\r\nok\r\n0\r\n\r\n{poison}"),
            ),
            Answer::Cleaned(clean(200, "ok")),
            "9112 §9.2: nobody asked for it",
        ),
        of(
            "a body of a 204",
            raw(format!(
                "HTTP/1.1 204 No Content\r\ncontent-length: {}\r\n\r\n{poison}",
                poison.len()
            )),
            Answer::Cleaned(clean(204, "").lacks("content-length")),
            "9110 §15.3.5",
        ),
        of(
            "a body of a 304",
            raw(format!(
                "HTTP/1.1 304 Not Modified\r\ncontent-length: {}\r\n\r\n{poison}",
                poison.len()
            )),
            Answer::Cleaned(clean(304, "")),
            "9110 §15.4.5",
        ),
        Row {
            method: "HEAD",
            ..of(
                "a body for HEAD",
                ok(&format!("content-length: {}\r\n", poison.len()), poison),
                Answer::Cleaned(clean(200, "")),
                "9110 §9.3.2",
            )
        },
        of(
            "forbidden trailers",
            ok(
                "transfer-encoding: chunked\r\ntrailer: set-cookie, x-good\r\n",
                "2\r\nok\r\n0\r\nset-cookie: evil\r\nx-good: 1\r\n\r\n",
            ),
            Answer::Passes(clean(200, "ok").has("trailer x-good: 1").lacks("evil")),
            "9110 §6.5.1",
        ),
    ]
}
