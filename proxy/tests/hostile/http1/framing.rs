//! Where a request ends: Content-Length, Transfer-Encoding, chunks.

use crate::row::{Row, Section, broken, chunked, form, get, post, raw, refused, row};

const POST: &str = "POST / HTTP/1.1";

pub(super) fn lengths() -> Section<Row> {
    let bad = |name, value: &str, rule| {
        let input = post(format!("Content-Length: {value}\r\n"), "hello");
        row(name, input, refused(400), rule)
    };
    let rule = "9112 §6.3, 9110 §8.6";
    Section {
        title: "Content-Length",
        intro: "A request with a body `hello` and these headers. One header with one number is a length; nothing else is.",
        rows: vec![
            row(
                "two lengths",
                post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
                refused(400),
                rule,
            ),
            row(
                "the same length twice",
                post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
                refused(400),
                rule,
            ),
            bad("a list of lengths", "5, 6", rule),
            bad("a list of the same", "5, 5", rule),
            bad("a sign", "+5", rule),
            bad("a negative length", "-5", rule),
            bad("nothing, negative", "-0", rule),
            bad("hexadecimal", "0x5", rule),
            bad("a separator of digits", "0_5", rule),
            bad("a space between digits", "0 5", rule),
            bad("a fraction", "5.0", rule),
            bad("a parameter", "5;a", rule),
            bad("a quoted number", "\"5\"", rule),
            bad("nothing", "", rule),
            bad("digits that are not ASCII", "\u{665}", rule),
            bad("more than 64 bits", "18446744073709551621", rule),
            bad("far more than 64 bits", "100000000000000000000000000000000005", rule),
            row(
                "nothing, then a length",
                post("Content-Length:\r\nContent-Length: 5\r\n", "hello"),
                refused(400),
                "9112 §6.3 (CVE-2023-40225)",
            ),
            row(
                "leading zeros",
                post("Content-Length: 0005\r\n", "hello"),
                form(POST).has("content-length: 5").body("hello").passes(),
                "9110 §8.6",
            ),
            row(
                "whitespace around it",
                post("Content-Length: \t5 \t\r\n", "hello"),
                form(POST).has("content-length: 5").body("hello").passes(),
                "9112 §5.1",
            ),
            row(
                "a body of a GET",
                raw("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
                form("GET / HTTP/1.1").has("content-length: 5").body("hello").passes(),
                "9112 §6",
            ),
            row(
                "an underscore",
                get("Content_Length: 5\r\n"),
                form("GET / HTTP/1.1").lacks("content_length").passes(),
                "9112 §6; CGI makes one variable of both",
            ),
            row(
                "named in Connection",
                post("Content-Length: 5\r\nConnection: content-length\r\n", "hello"),
                form(POST).has("content-length: 5").body("hello").passes(),
                "9110 §7.6.1",
            ),
            row(
                "more than the route takes",
                post("Content-Length: 1001\r\n", "hello"),
                refused(413),
                "9110 §15.5.14",
            ),
        ],
    }
}

pub(super) fn codings() -> Section<Row> {
    const BODY: &str = "5\r\nhello\r\n0\r\n\r\n";
    let rule = "9112 §6.1";
    let with = |name, lines: &str, status| row(name, post(lines, BODY), refused(status), rule);
    let of = |name, value: &str, status| {
        let input = post(format!("Transfer-Encoding: {value}\r\n"), BODY);
        row(name, input, refused(status), rule)
    };
    let passes = |name, lines: &str| {
        let answer = form(POST)
            .has("transfer-encoding: chunked")
            .lacks("content-length")
            .body("hello")
            .passes();
        row(name, post(lines, BODY), answer, rule)
    };
    Section {
        title: "Transfer-Encoding",
        intro: "A request with the chunked body `hello` and these headers. One header that says `chunked` is a coding; well-formed \
                others are 501, all that only looks like one is 400.",
        rows: vec![
            with(
                "a length, then a coding",
                "Content-Length: 15\r\nTransfer-Encoding: chunked\r\n",
                400,
            ),
            with(
                "a coding, then a length",
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                400,
            ),
            with(
                "a bad coding and a length",
                "Transfer-Encoding: \x0bchunked\r\nContent-Length: 15\r\n",
                400,
            ),
            of("another coding", "gzip", 501),
            of("another coding before it", "gzip, chunked", 501),
            of("the coding that is none", "identity", 501),
            of("an unknown coding", "xchunked", 501),
            of("half of it", "chunk", 501),
            of("twice", "chunked, chunked", 400),
            of("not the last one", "chunked, gzip", 400),
            of("undone", "chunked, identity", 400),
            of("behind nonsense", "x,chunked", 400),
            of("behind nothing", ", chunked", 400),
            of("before nothing", "chunked,", 400),
            of("a parameter", "chunked;a=b", 400),
            of("quoted", "\"chunked\"", 400),
            of("nothing", "", 400),
            of("a vertical tab", "\x0bchunked", 400),
            of("a form feed", "chunked\x0c", 400),
            of("a NUL", "chunked\0", 400),
            of("a no-break space", "\u{a0}chunked", 400),
            with(
                "in two lines",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                400,
            ),
            with(
                "in two lines that disagree",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                400,
            ),
            with(
                "in two lines, the coding last",
                "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
                400,
            ),
            with("folded", "Transfer-Encoding:\r\n chunked\r\n", 400),
            with("a space before the colon", "Transfer-Encoding : chunked\r\n", 400),
            with("a tab before the colon", "Transfer-Encoding\t: chunked\r\n", 400),
            with("a NUL in its name", "Transfer-Encoding\0: chunked\r\n", 400),
            with("hidden behind a bare CR", "X: a\rTransfer-Encoding: chunked\r\n", 400),
            with("hidden behind a bare LF", "X: a\nTransfer-Encoding: chunked\r\n", 400),
            row(
                "in HTTP/1.0",
                raw(format!(
                    "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{BODY}"
                )),
                refused(400),
                "9112 §6.1",
            ),
            passes("in capitals", "TRANSFER-ENCODING: CHUNKED\r\n"),
            passes("whitespace around it", "Transfer-Encoding: \tchunked \r\n"),
            passes(
                "named in Connection",
                "Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n",
            ),
            row(
                "an underscore",
                get("Transfer_Encoding: chunked\r\n"),
                form("GET / HTTP/1.1").lacks("transfer_encoding").passes(),
                "9112 §6; CGI makes one variable of both",
            ),
        ],
    }
}

pub(super) fn chunks() -> Section<Row> {
    let bad = |name, body: &str, rule| row(name, chunked(body), broken(400), rule);
    let passes = |name, body: &str, rule| row(name, chunked(body), form(POST).body("hello").passes(), rule);
    let size = "9112 §7.1";
    let extension = "9112 §7.1.1";
    let trailer = "9112 §7.1.2, 9110 §6.5.1";
    let mut rows = vec![
        bad("a prefix", "0x5\r\nhello\r\n0\r\n\r\n", size),
        bad("a sign", "+5\r\nhello\r\n0\r\n\r\n", size),
        bad("a negative size", "-5\r\nhello\r\n0\r\n\r\n", size),
        bad("a space before it", " 5\r\nhello\r\n0\r\n\r\n", size),
        bad("a space after it", "5 \r\nhello\r\n0\r\n\r\n", size),
        bad("a separator of digits", "0_5\r\nhello\r\n0\r\n\r\n", size),
        bad("nothing", "\r\nhello\r\n0\r\n\r\n", size),
        bad("no digit", "g\r\nhello\r\n0\r\n\r\n", size),
        bad("more than 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n", size),
        bad(
            "more digits than 64 bits have",
            "00000000000000005\r\nhello\r\n0\r\n\r\n",
            size,
        ),
        bad("LF after the size", "5\nhello\r\n0\r\n\r\n", "9112 §2.2, §7.1"),
        bad("CR after the size", "5\rhello\r\n0\r\n\r\n", "9112 §2.2, §7.1"),
        bad("LF after the data", "5\r\nhello\n0\r\n\r\n", "9112 §2.2, §7.1"),
        bad("nothing after the data", "5\r\nhello0\r\n\r\n", size),
        bad(
            "two bytes that are no line end after the data",
            "5\r\nhelloXX0\r\n\r\n",
            "9112 §7.1",
        ),
        bad("more data than its size", "3\r\nhello\r\n0\r\n\r\n", size),
        bad("LF after the last chunk", "5\r\nhello\r\n0\n\r\n", "9112 §2.2, §7.1"),
        bad("LF at the end", "5\r\nhello\r\n0\r\n\n", "9112 §2.2, §7.1"),
        bad(
            "no end: what follows would be a trailer",
            "5\r\nhello\r\n0\r\n",
            "9112 §7.1.2",
        ),
        bad("an extension without a name", "5;\r\nhello\r\n0\r\n\r\n", extension),
        bad(
            "LF in an extension",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "9112 §7.1.1 (CVE-2025-55315)",
        ),
        bad(
            "CR in an extension",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "9112 §7.1.1 (CVE-2025-55315)",
        ),
        bad("NUL in an extension", "5;a\0b\r\nhello\r\n0\r\n\r\n", extension),
        row(
            "a long extension",
            chunked(format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(300))),
            broken(400),
            "9112 §7.1.1 (at most 256 bytes)",
        ),
        row(
            "extensions without end",
            chunked(format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(100))
                .shown("100 chunks with extensions of 200 bytes"),
            broken(400),
            "9112 §7.1.1 (at most 16 KiB in a body)",
        ),
        passes(
            "an extension, dropped",
            "5;a=b;c=\"d;e\"\r\nhello\r\n0;f\r\n\r\n",
            extension,
        ),
        passes(
            "a size in capitals, with zeros",
            "00000005\r\nhello\r\n0000\r\n\r\n",
            size,
        ),
        bad("a folded trailer", "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n", trailer),
        bad(
            "a space before a trailer's colon",
            "5\r\nhello\r\n0\r\nX : a\r\n\r\n",
            trailer,
        ),
        bad("a trailer that ends with LF", "5\r\nhello\r\n0\r\nX: a\n\r\n", trailer),
        bad("a trailer with a NUL", "5\r\nhello\r\n0\r\nX: \0\r\n\r\n", trailer),
        row(
            "large trailers",
            chunked(format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "x".repeat(70_000))),
            broken(400),
            "9112 §7.1.2 (as headers: 64 KiB)",
        ),
    ];
    let forbidden = [
        ("framing in a trailer", "Content-Length: 9"),
        ("a coding in a trailer", "Transfer-Encoding: chunked"),
        ("a host in a trailer", "Host: evil"),
        ("credentials in a trailer", "Authorization: evil"),
        ("a cookie in a trailer", "Cookie: evil"),
        ("an address in a trailer", "X-Forwarded-For: 6.6.6.6"),
    ];
    for (name, line) in forbidden {
        let trailer = line.split(':').next().unwrap_or_default();
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: {trailer}\r\n\r\n");
        let input = raw(text + &format!("5\r\nhello\r\n0\r\n{line}\r\n\r\n"))
            .shown(&format!("5\\r\\nhello\\r\\n0\\r\\n{line}\\r\\n"));
        let answer = form(POST)
            .lacks("evil")
            .lacks("6.6.6.6")
            .lacks("trailer content")
            .lacks("trailer transfer");
        rows.push(row(name, input, answer.body("hello").passes(), "9110 §6.5.1"));
    }
    Section {
        title: "Chunks",
        intro: "A request with such a chunked body. The head is good, so an endpoint may have been sent it.",
        rows,
    }
}
