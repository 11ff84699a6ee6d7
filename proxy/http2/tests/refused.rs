//! What RFC 9113 does not allow, and what is allowed though it looks odd: each row is what a peer sends after it has begun, and how we
//! react. Each is given whole, and byte by byte.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod wire;

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response};
use tenbin_http2::{Config, Connection, Event, Reason};
use wire::*;

const NOTHING: u32 = 0;
const PROTOCOL: u32 = 1;
const FLOW: u32 = 3;
const CLOSED: u32 = 5;
const SIZE: u32 = 6;
const REFUSED: u32 = 7;
const CANCEL: u32 = 8;
const COMPRESSION: u32 = 9;
const CALM: u32 = 11;

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    /// GOAWAY with this code.
    Goaway(u32),
    /// This stream is reset with this code; the connection goes on.
    Reset(u32, u32),
    /// The connection goes on, and no stream is reset.
    Fine,
}
use Becomes::{Fine, Goaway, Reset};

struct Row {
    rule: &'static str,
    name: &'static str,
    input: Vec<u8>,
    becomes: Becomes,
}

fn row(rule: &'static str, name: &'static str, input: &[Vec<u8>], becomes: Becomes) -> Row {
    Row {
        rule,
        name,
        input: input.concat(),
        becomes,
    }
}

fn config() -> Config {
    Config {
        max_streams: 3,
        connect_protocol: true,
        max_resets: 4,
        ..Config::default()
    }
}

/// A GET with other fields than the usual.
fn with(more: &[(&str, &[u8])]) -> Vec<u8> {
    head(1, END_STREAM, &[&pseudo("GET"), more].concat())
}

/// A head of these fields alone.
fn of(fields: &[(&str, &[u8])]) -> Vec<u8> {
    head(1, END_STREAM, fields)
}

/// A POST with this length, and this body in one frame.
fn sized(length: &[u8], body: &[u8]) -> Vec<u8> {
    let fields = [&pseudo("POST")[..], &[("content-length", length)]].concat();
    [head(1, 0, &fields), frame(DATA, END_STREAM, 1, body)].concat()
}

/// Frames by themselves and in their order.
fn order() -> Vec<Row> {
    let open = block(&pseudo("GET"));
    let (begun, rest) = open.split_at(5);
    let begun = frame(HEADERS, END_STREAM, 1, begun);
    let end = frame(CONTINUATION, END_HEADERS, 1, rest);
    vec![
        row(
            "4.1",
            "a frame of an unknown kind",
            &[frame(0x77, 0xff, 1, b"what")],
            Fine,
        ),
        row("4.1", "unknown flags", &[frame(PING, 0xfe, 0, &[0; 8])], Fine),
        row(
            "4.2",
            "a frame of 16385 bytes",
            &[post(1), frame(DATA, 0, 1, &[0; 16_385])],
            Goaway(SIZE),
        ),
        row(
            "4.3",
            "a block that cannot be read",
            &[frame(HEADERS, END_HEADERS, 1, &[0x80])],
            Goaway(COMPRESSION),
        ),
        row("4.3", "a block in two frames", &[begun.clone(), end.clone()], Fine),
        row(
            "4.3",
            "DATA within a block",
            &[begun.clone(), frame(DATA, 0, 1, b"")],
            Goaway(PROTOCOL),
        ),
        row(
            "4.3",
            "PING within a block",
            &[begun.clone(), frame(PING, 0, 0, &[0; 8])],
            Goaway(PROTOCOL),
        ),
        row(
            "5.5",
            "an unknown frame within a block",
            &[begun.clone(), frame(0x77, 0, 0, b"")],
            Goaway(PROTOCOL),
        ),
        row(
            "4.3",
            "PRIORITY of a bad size within a block",
            &[begun.clone(), frame(PRIORITY, 0, 1, b"")],
            Goaway(PROTOCOL),
        ),
        row(
            "6.10",
            "another stream's CONTINUATION",
            &[begun.clone(), frame(CONTINUATION, 4, 3, rest)],
            Goaway(PROTOCOL),
        ),
        row(
            "6.10",
            "CONTINUATION after a block",
            &[get(1), end.clone()],
            Goaway(PROTOCOL),
        ),
        row(
            "6.10",
            "CONTINUATION of nothing",
            &[frame(CONTINUATION, 4, 1, &open)],
            Goaway(PROTOCOL),
        ),
        row(
            "6.10",
            "CONTINUATION on no stream",
            &[begun.clone(), frame(CONTINUATION, 4, 0, rest)],
            Goaway(PROTOCOL),
        ),
        row(
            "10.5.1",
            "a block without measure",
            &[begun.clone(), frame(CONTINUATION, 0, 1, &[0; 16_384]).repeat(3)],
            Goaway(CALM),
        ),
        row(
            "10.5.1",
            "empty CONTINUATIONs",
            &[begun, frame(CONTINUATION, 0, 1, b"").repeat(20)],
            Goaway(CALM),
        ),
        row("6.1", "DATA on no stream", &[frame(DATA, 0, 0, b"x")], Goaway(PROTOCOL)),
        row(
            "6.1",
            "more padding than frame",
            &[post(1), frame(DATA, PADDED, 1, &[5, 0])],
            Goaway(PROTOCOL),
        ),
        row(
            "6.2",
            "HEADERS on no stream",
            &[frame(HEADERS, 5, 0, &open)],
            Goaway(PROTOCOL),
        ),
        row(
            "6.2",
            "HEADERS with more padding than frame",
            &[frame(HEADERS, 5 | PADDED, 1, &[9, 0])],
            Goaway(PROTOCOL),
        ),
        row("6.3", "PRIORITY", &[frame(PRIORITY, 0, 9, &[0, 0, 0, 3, 1])], Fine),
        row(
            "6.3",
            "PRIORITY on no stream",
            &[frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 1])],
            Goaway(PROTOCOL),
        ),
        row(
            "6.3",
            "PRIORITY of a bad size",
            &[post(1), frame(PRIORITY, 0, 1, &[0; 4])],
            Reset(1, SIZE),
        ),
        row(
            "7540 5.3.1",
            "PRIORITY on itself",
            &[post(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 1])],
            Reset(1, PROTOCOL),
        ),
        row(
            "7540 5.3.1",
            "HEADERS that depend on themselves",
            &[frame(
                HEADERS,
                5 | PRIORITIZED,
                1,
                &[&[0, 0, 0, 1, 1], &open[..]].concat(),
            )],
            Reset(1, PROTOCOL),
        ),
        row("6.4", "RST_STREAM on no stream", &[reset(0, CANCEL)], Goaway(PROTOCOL)),
        row(
            "6.4",
            "RST_STREAM of an idle stream",
            &[reset(1, CANCEL)],
            Goaway(PROTOCOL),
        ),
        row(
            "6.4",
            "RST_STREAM of a bad size",
            &[post(1), frame(RST_STREAM, 0, 1, &[0; 3])],
            Goaway(SIZE),
        ),
        row(
            "6.5",
            "SETTINGS of a bad size",
            &[frame(SETTINGS, 0, 0, &[0; 5])],
            Goaway(SIZE),
        ),
        row(
            "6.5",
            "ACK with settings",
            &[frame(SETTINGS, ACK, 0, &[0; 6])],
            Goaway(SIZE),
        ),
        row(
            "6.5",
            "SETTINGS on a stream",
            &[frame(SETTINGS, 0, 1, b"")],
            Goaway(PROTOCOL),
        ),
        row("6.5.2", "ENABLE_PUSH 2", &[settings(&[(2, 2)])], Goaway(PROTOCOL)),
        row(
            "6.5.2",
            "INITIAL_WINDOW_SIZE 2^31",
            &[settings(&[(4, 1 << 31)])],
            Goaway(FLOW),
        ),
        row(
            "6.5.2",
            "MAX_FRAME_SIZE 16383",
            &[settings(&[(5, 16_383)])],
            Goaway(PROTOCOL),
        ),
        row(
            "6.5.2",
            "MAX_FRAME_SIZE 2^24",
            &[settings(&[(5, 1 << 24)])],
            Goaway(PROTOCOL),
        ),
        row("6.5.2", "an unknown setting", &[settings(&[(0x99, 7)])], Fine),
        row(
            "6.6",
            "PUSH_PROMISE",
            &[post(1), frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])],
            Goaway(PROTOCOL),
        ),
        row(
            "6.7",
            "PING on a stream",
            &[frame(PING, 0, 1, &[0; 8])],
            Goaway(PROTOCOL),
        ),
        row("6.7", "PING of a bad size", &[frame(PING, 0, 0, &[0; 6])], Goaway(SIZE)),
        row(
            "6.8",
            "GOAWAY on a stream",
            &[frame(GOAWAY, 0, 1, &[0; 8])],
            Goaway(PROTOCOL),
        ),
    ]
}

/// Streams, their states and windows.
fn streams() -> Vec<Row> {
    let more = |n| frame(DATA, 0, 1, &[0; 16_000]).repeat(n);
    vec![
        row(
            "5.1",
            "DATA on an idle stream",
            &[frame(DATA, 1, 1, b"x")],
            Goaway(PROTOCOL),
        ),
        row(
            "5.1",
            "WINDOW_UPDATE of an idle stream",
            &[window(1, 1)],
            Goaway(PROTOCOL),
        ),
        row(
            "5.1",
            "DATA after the end",
            &[get(1), frame(DATA, 1, 1, b"x")],
            Reset(1, CLOSED),
        ),
        row("5.1", "HEADERS after the end", &[get(1), get(1)], Reset(1, CLOSED)),
        row(
            "5.1",
            "DATA after RST_STREAM",
            &[post(1), reset(1, CANCEL), frame(DATA, 1, 1, b"x")],
            Goaway(CLOSED),
        ),
        row(
            "5.1",
            "HEADERS after RST_STREAM",
            &[post(1), reset(1, CANCEL), get(1)],
            Goaway(CLOSED),
        ),
        row(
            "5.1",
            "WINDOW_UPDATE and RST_STREAM after RST_STREAM",
            &[post(1), reset(1, 8), window(1, 1), reset(1, 8)],
            Fine,
        ),
        row(
            "5.1",
            "DATA after our reset",
            &[with(&[("te", b"x")]), frame(DATA, 1, 1, b"x")],
            Reset(1, PROTOCOL),
        ),
        row("5.1.1", "an even stream", &[get(2)], Goaway(PROTOCOL)),
        row("5.1.1", "a lower stream", &[get(5), get(3)], Goaway(CLOSED)),
        row("5.1.1", "gaps", &[get(1), get(77)], Fine),
        row(
            "5.1.2",
            "more streams than may be",
            &[post(1), post(3), post(5), get(7)],
            Reset(7, REFUSED),
        ),
        row(
            "10.5",
            "more errors than may be",
            &[post(1), post(3), post(5), get(7), get(9), get(11), get(13), get(15)],
            Goaway(CALM),
        ),
        row("6.9", "WINDOW_UPDATE by nothing", &[window(0, 0)], Goaway(PROTOCOL)),
        row(
            "6.9",
            "WINDOW_UPDATE of a stream by nothing",
            &[post(1), window(1, 0)],
            Reset(1, PROTOCOL),
        ),
        row(
            "6.9",
            "WINDOW_UPDATE of a bad size",
            &[frame(WINDOW_UPDATE, 0, 0, &[0; 3])],
            Goaway(SIZE),
        ),
        row("6.9.1", "too large a window", &[window(0, 0x7fff_ffff)], Goaway(FLOW)),
        row(
            "6.9.1",
            "too large a window of a stream",
            &[post(1), window(1, 0x7fff_ffff)],
            Reset(1, FLOW),
        ),
        row("6.9.1", "the largest window", &[window(0, 0x7fff_0000)], Fine),
        row(
            "6.9.2",
            "settings that make too large a window",
            &[post(1), window(1, 0x7fff_0000), settings(&[(4, 0x7fff_0000)])],
            Goaway(FLOW),
        ),
        row(
            "6.9.1",
            "more than a stream's window",
            &[post(1), more(5)],
            Reset(1, FLOW),
        ),
        row("6.9.1", "a window's worth", &[post(1), more(4)], Fine),
    ]
}

/// Messages.
fn messages() -> Vec<Row> {
    let bad = Reset(1, PROTOCOL);
    let malformed = |rule, name, more: &[(&str, &[u8])]| row(rule, name, &[with(more)], bad);
    let connect: &[(&str, &[u8])] = &[(":method", b"CONNECT")];
    let to: &[(&str, &[u8])] = &[(":authority", b"a:1")];
    let path: &[(&str, &[u8])] = &[(":scheme", b"http"), (":path", b"/")];
    let protocol: &[(&str, &[u8])] = &[(":protocol", b"websocket")];
    let request =
        |name, fields: &[&[(&str, &[u8])]], becomes| row("8.3.1, 8.5", name, &[of(&fields.concat())], becomes);
    let trailed = |name, flags, trailers: &[(&str, &[u8])], becomes| {
        row(
            "8.1",
            name,
            &[post(1), frame(DATA, 0, 1, b"x"), head(1, flags, trailers)],
            becomes,
        )
    };
    vec![
        malformed("8.2.1", "upper case", &[("X-A", b"1")]),
        malformed("8.2.1", "a bad name", &[("x a", b"1")]),
        malformed("8.2.1", "a line end in a value", &[("x", b"a\r\nb: c")]),
        malformed("8.2.1", "a space before a value", &[("x", b" a")]),
        malformed("8.2.2", "Connection", &[("connection", b"close")]),
        malformed("8.2.2", "Keep-Alive", &[("keep-alive", b"1")]),
        malformed("8.2.2", "Proxy-Connection", &[("proxy-connection", b"close")]),
        malformed("8.2.2", "Transfer-Encoding", &[("transfer-encoding", b"chunked")]),
        malformed("8.2.2", "Upgrade", &[("upgrade", b"h2c")]),
        malformed("8.2.2", "TE", &[("te", b"gzip")]),
        row("8.2.2", "TE: trailers", &[with(&[("te", b"trailers")])], Fine),
        malformed("8.3", "an unknown pseudo-header", &[(":x", b"1")]),
        malformed("8.3", "a response's pseudo-header", &[(":status", b"200")]),
        malformed("8.3", "two methods", &[(":method", b"GET")]),
        malformed("8.3", "two paths", &[(":path", b"/")]),
        malformed("8.3", "two schemes", &[(":scheme", b"http")]),
        malformed("8.3", "two authorities", &[(":authority", b"a")]),
        malformed(
            "8.3",
            "a pseudo-header after a header",
            &[("x", b"1"), (":authority", b"a")],
        ),
        malformed("8441 4", ":protocol without CONNECT", &[(":protocol", b"websocket")]),
        request("no method", &[path, to], bad),
        request("no scheme", &[&[(":method", b"GET"), (":path", b"/")], to], bad),
        request("no path", &[&[(":method", b"GET"), (":scheme", b"http")], to], bad),
        request("no authority", &[&[(":method", b"GET")], path], Fine),
        request(
            "an empty path",
            &[&[(":method", b"GET"), (":scheme", b"http"), (":path", b"")]],
            bad,
        ),
        request("CONNECT", &[connect, to], Fine),
        request("CONNECT to nobody", &[connect], bad),
        request("CONNECT with a path", &[connect, to, path], bad),
        request("extended CONNECT", &[connect, protocol, to, path], Fine),
        request("extended CONNECT without a path", &[connect, protocol, to], bad),
        row("8.1.1", "a good length", &[sized(b"5", b"hello")], Fine),
        row("8.1.1", "too short a body", &[sized(b"6", b"hello")], bad),
        row("8.1.1", "too long a body", &[sized(b"4", b"hello")], bad),
        row("8.1.1", "a bad length", &[sized(b"+5", b"hello")], bad),
        row(
            "8.1.1",
            "a length of more than 64 bits",
            &[sized(b"18446744073709551621", b"hello")],
            bad,
        ),
        row("8.1.1", "an empty length", &[sized(b"", b"")], bad),
        malformed("8.1.1", "a length and no body", &[("content-length", b"5")]),
        malformed(
            "8.1.1",
            "two lengths",
            &[("content-length", b"0"), ("content-length", b"0")],
        ),
        row(
            "8.1.1",
            "trailers before the length is there",
            &[
                head(1, 0, &[&pseudo("POST")[..], &[("content-length", b"5")]].concat()),
                head(1, 1, &[("x", b"1")]),
            ],
            bad,
        ),
        trailed("trailers", END_STREAM, &[("x", b"1")], Fine),
        trailed("trailers that do not end", 0, &[("x", b"1")], bad),
        trailed("a pseudo-header in trailers", END_STREAM, &[(":path", b"/")], bad),
        trailed(
            "a connection's header in trailers",
            END_STREAM,
            &[("connection", b"close")],
            bad,
        ),
        row(
            "10.5.1",
            "trailers over the limit",
            &[
                post(1),
                head(1, END_STREAM, &[("x", &[b'x'; 15_950]), ("y", &[b'y'; 390])]),
            ],
            bad,
        ),
    ]
}

/// What a server sends on the stream 1 of a GET, 3 of a HEAD, and 5 of a POST whose body is to come.
fn responses() -> Vec<Row> {
    let status = |stream, flags, more: &[(&str, &[u8])]| head(stream, flags, more);
    let length: &[(&str, &[u8])] = &[(":status", b"200"), ("content-length", b"5")];
    vec![
        row(
            "6.5.2",
            "a server that may push",
            &[settings(&[(2, 1)])],
            Goaway(PROTOCOL),
        ),
        row(
            "6.6",
            "PUSH_PROMISE",
            &[frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])],
            Goaway(PROTOCOL),
        ),
        row(
            "5.1",
            "a stream that was not begun",
            &[ok(7, END_STREAM)],
            Goaway(PROTOCOL),
        ),
        row("5.1", "a pushed stream", &[ok(2, END_STREAM)], Goaway(PROTOCOL)),
        row(
            "8.1",
            "DATA before a head",
            &[frame(DATA, 1, 1, b"x")],
            Reset(1, PROTOCOL),
        ),
        row(
            "8.1",
            "a response",
            &[ok(1, 0), frame(DATA, 0, 1, b"x"), head(1, 1, &[("x", b"1")])],
            Fine,
        ),
        row(
            "5.1",
            "a response after the end",
            &[ok(1, END_STREAM), ok(1, END_STREAM)],
            Goaway(CLOSED),
        ),
        row(
            "5.1",
            "DATA after the end, while the request goes on",
            &[ok(5, 1), frame(DATA, 0, 5, b"x")],
            Reset(5, CLOSED),
        ),
        row(
            "8.1",
            "an interim response",
            &[head(1, 0, &[(":status", b"103")]), ok(1, END_STREAM)],
            Fine,
        ),
        row(
            "8.1",
            "an interim response that ends",
            &[status(1, END_STREAM, &[(":status", b"100")])],
            Reset(1, PROTOCOL),
        ),
        row(
            "8.6",
            "101",
            &[status(1, 0, &[(":status", b"101")])],
            Reset(1, PROTOCOL),
        ),
        row(
            "8.3.2",
            "no status",
            &[status(1, END_STREAM, &[("x", b"1")])],
            Reset(1, PROTOCOL),
        ),
        row(
            "8.3.2",
            "a bad status",
            &[status(1, END_STREAM, &[(":status", b"2x0")])],
            Reset(1, PROTOCOL),
        ),
        row("8.3", "a request", &[get(1)], Reset(1, PROTOCOL)),
        row(
            "8.1.1",
            "a good length",
            &[status(1, 0, length), frame(DATA, 1, 1, b"hello")],
            Fine,
        ),
        row(
            "8.1.1",
            "no body for its length",
            &[status(1, END_STREAM, length)],
            Reset(1, PROTOCOL),
        ),
        row(
            "8.1.1",
            "less body than its length",
            &[status(1, 0, length), frame(DATA, 1, 1, b"x")],
            Reset(1, PROTOCOL),
        ),
        row(
            "8.1.1",
            "no body for its length, of HEAD",
            &[status(3, END_STREAM, length)],
            Fine,
        ),
        row(
            "9110 9.3.2",
            "a body, of HEAD",
            &[status(3, 0, length), frame(DATA, 1, 3, b"hello")],
            Reset(3, PROTOCOL),
        ),
        row(
            "9110 15.4.5",
            "304 with a length",
            &[status(1, END_STREAM, &[(":status", b"304"), ("content-length", b"5")])],
            Fine,
        ),
        row(
            "9110 15.3.5",
            "204 with a body",
            &[status(1, 0, &[(":status", b"204")]), frame(DATA, 1, 1, b"x")],
            Reset(1, PROTOCOL),
        ),
        row(
            "10.5.1",
            "a head over the limit",
            &[status(1, 0, &[(":status", b"200"), ("x", &[b'x'; 16_340])])],
            Reset(1, PROTOCOL),
        ),
        row(
            "6.8",
            "GOAWAY, then the refused stream",
            &[frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]), ok(5, 1)],
            Fine,
        ),
    ]
}

/// A server, or a client with the streams of `responses`, after the peer's SETTINGS.
fn begin(is_server: bool) -> Connection {
    if is_server {
        let mut server = Connection::server(config());
        assert!(feed(&mut server, &[PREFACE, &settings(&[])].concat(), 99).1.is_none());
        return server;
    }
    let mut client = Connection::client(config());
    assert!(feed(&mut client, &settings(&[]), 99).1.is_none());
    for (method, end) in [(Method::GET, true), (Method::HEAD, true), (Method::POST, false)] {
        let head = Request::builder().method(method).uri("http://a/").body(()).unwrap();
        client.request(&head, &[], end).unwrap();
    }
    client
}

fn judge(is_server: bool, row: &Row, step: usize) -> Result<(), String> {
    let mut connection = begin(is_server);
    drain(&mut connection);
    let (events, error) = feed(&mut connection, &row.input, step);
    // Whether it goes on shows by what it says to a PING.
    let ping = frame(PING, 0, 0, b"goes on?");
    let goes_on = error.is_none() && feed(&mut connection, &ping, 99).1.is_none();
    let said = frames(&drain(&mut connection));
    let resets: BTreeSet<(u32, u32)> = said
        .iter()
        .filter(|frame| frame.kind == RST_STREAM)
        .map(|frame| (frame.stream, frame.number(0)))
        .collect();
    let goaways: Vec<u32> = said
        .iter()
        .filter(|frame| frame.kind == GOAWAY)
        .map(|frame| frame.number(4))
        .collect();
    let pongs = said.iter().filter(|frame| frame.payload == b"goes on?").count();
    let is_good = match row.becomes {
        Goaway(code) => goaways == [code] && error.map(|error| error.reason) == Some(Reason(code)) && pongs == 0,
        Reset(stream, code) => goes_on && goaways.is_empty() && pongs == 1 && resets == [(stream, code)].into(),
        Fine => goes_on && goaways.is_empty() && pongs == 1 && resets.is_empty(),
    };
    // The user is told, if it knows the stream.
    let knows = |stream| {
        !is_server
            || events
                .iter()
                .any(|event| matches!(event, Event::Request { stream: s, .. } if *s == stream))
    };
    let told = events.iter().any(|event| matches!(event, Event::Reset { by_peer: false, stream, reason } if row.becomes == Reset(*stream, reason.0)));
    let is_told = match row.becomes {
        Reset(stream, _) => told == knows(stream),
        _ => true,
    };
    if is_good && is_told {
        return Ok(());
    }
    Err(format!(
        "{} [{}]: {:?} expected, but it said {said:?}; error {error:?}, events {events:?}",
        row.name, row.rule, row.becomes
    ))
}

#[test]
fn refused() {
    let sections = [
        (true, order()),
        (true, streams()),
        (true, messages()),
        (false, responses()),
    ];
    let mut failed = Vec::new();
    for (is_server, rows) in sections {
        for row in rows {
            for step in [usize::MAX, 1] {
                failed.extend(judge(is_server, &row, step).err());
            }
        }
    }
    assert!(failed.is_empty(), "{} fail:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn first_frames() {
    let with = |first: &[u8]| {
        feed(&mut Connection::server(config()), first, 1)
            .1
            .map(|error| error.reason)
    };
    let preface = |rest: Vec<u8>| with(&[PREFACE, &rest].concat());
    assert_eq!(with(b"GET / HTTP/1.1\r\n"), Some(Reason::PROTOCOL_ERROR));
    assert_eq!(with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), None);
    assert_eq!(preface(settings(&[])), None);
    assert_eq!(preface(get(1)), Some(Reason::PROTOCOL_ERROR));
    assert_eq!(preface(frame(SETTINGS, ACK, 0, b"")), Some(Reason::PROTOCOL_ERROR));
    assert_eq!(preface(frame(PRIORITY, 0, 1, b"")), Some(Reason::PROTOCOL_ERROR));
    let mut client = Connection::client(config());
    assert_eq!(
        feed(&mut client, &ok(1, 1), 1).1.map(|error| error.reason),
        Some(Reason::PROTOCOL_ERROR)
    );
}

#[test]
fn what_is_too_large_can_be_answered() {
    for more in [
        vec![("x".to_owned(), vec![b'x'; 16_300])],
        (0..101).map(|n| (format!("x{n}"), vec![])).collect(),
    ] {
        let mut server = begin(true);
        let more: Vec<(&str, &[u8])> = more.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let block = block(&[&pseudo("POST")[..], &more].concat());
        let (first, rest) = block.split_at(block.len().min(16_000));
        let input = [
            frame(HEADERS, END_STREAM, 1, first),
            frame(CONTINUATION, END_HEADERS, 1, rest),
        ]
        .concat();
        let (events, error) = feed(&mut server, &input, 4000);
        assert_eq!(error, None);
        let [
            Event::TooLarge {
                stream: 1,
                head,
                end: true,
            },
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(
            (head.method(), head.uri().to_string()),
            (&Method::POST, "http://a/".to_owned())
        );
        server
            .respond(1, &Response::builder().status(431).body(()).unwrap(), true)
            .unwrap();
        assert_eq!(server.open_streams(), 0);
    }
}

/// As many fields as are taken, and no more bytes than are.
#[test]
fn the_limits_are_reached() {
    let mut server = begin(true);
    let names: Vec<String> = (0..100).map(|n| format!("x{n}")).collect();
    let more: Vec<(&str, &[u8])> = names.iter().map(|name| (&name[..], &b""[..])).collect();
    let (events, _) = feed(&mut server, &head(1, 1, &[&pseudo("GET")[..], &more].concat()), 4000);
    assert!(
        matches!(&events[..], [Event::Request { head, .. }] if head.headers().len() == 100),
        "{events:?}"
    );
    // 42 + 43 + 38 + 43 for the pseudo-headers.
    let value = vec![b'x'; (16 << 10) - 42 - 43 - 38 - 43 - 33];
    let (events, _) = feed(
        &mut server,
        &head(3, 1, &[&pseudo("GET")[..], &[("x", &value)]].concat()),
        4000,
    );
    assert!(matches!(&events[..], [Event::Request { .. }]), "{events:?}");
    let value = [&value[..], b"x"].concat();
    let (events, _) = feed(
        &mut server,
        &head(5, 1, &[&pseudo("GET")[..], &[("x", &value)]].concat()),
        4000,
    );
    assert!(matches!(&events[..], [Event::TooLarge { .. }]), "{events:?}");
}

/// What comes for a stream after we reset it is none of our business, but the connection's window does not shrink by it, and header blocks
/// are read for what they put in the table.
#[test]
fn a_reset_stream_is_ignored() {
    let mut server = begin(true);
    feed(&mut server, &post(1), 99);
    server.reset(1, Reason::CANCEL);
    let data = frame(DATA, 0, 1, &[0; 16_384]).repeat(200);
    // A field that goes to the table, then a stream that names it.
    let trailers = frame(HEADERS, 5, 1, &[0x40, 1, b'x', 1, b'y']);
    let next = frame(HEADERS, 5, 3, &[&block(&pseudo("GET"))[..], &[0xbe]].concat());
    let (events, error) = feed(&mut server, &[data, trailers, next].concat(), 1 << 20);
    assert_eq!(error, None);
    let [Event::Request { stream: 3, head, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(head.headers().get("x"), Some(&HeaderValue::from_static("y")));
    let said = frames(&drain(&mut server));
    let grown: u32 = said
        .iter()
        .filter(|frame| frame.kind == WINDOW_UPDATE)
        .map(|frame| frame.number(0))
        .sum();
    assert!(grown > 200 * 16_384 - (1 << 19), "{grown}");
    assert!(server.take_cost() >= 200, "it is not for nothing");
}

#[test]
fn the_connections_window_is_held_to() {
    let mut server = Connection::server(Config {
        stream_window: 1 << 20,
        connection_window: 0,
        ..config()
    });
    let begin = [
        PREFACE,
        &settings(&[]),
        &frame(SETTINGS, ACK, 0, b""),
        &post(1),
        &post(3),
    ]
    .concat();
    let data = |stream| frame(DATA, 0, stream, &[0; 16_000]);
    // No connection begins with less than 65,535.
    let good = [begin, data(1), data(3), data(1), data(3)].concat();
    assert_eq!(feed(&mut server, &good, 1000).1, None);
    let error = feed(&mut server, &data(1), 1000).1;
    assert_eq!(error.map(|error| error.reason), Some(Reason::FLOW_CONTROL_ERROR));
}

/// Until a peer has acknowledged our settings, it may use the window that every connection begins with.
#[test]
fn a_smaller_window_holds_when_it_is_acknowledged() {
    let small = Config {
        stream_window: 10,
        ..config()
    };
    let begin = || {
        let mut server = Connection::server(small);
        feed(&mut server, &[PREFACE, &settings(&[]), &post(1)].concat(), 99);
        server
    };
    let data = |length: usize| frame(DATA, 0, 1, &vec![0; length]);
    let ack = frame(SETTINGS, ACK, 0, b"");
    let mut server = begin();
    assert_eq!(feed(&mut server, &data(16_000), 9999).0.len(), 1);
    let over = feed(&mut server, &[&ack[..], &data(1)].concat(), 9999).0;
    assert!(
        matches!(
            &over[..],
            [Event::Reset {
                reason: Reason::FLOW_CONTROL_ERROR,
                ..
            }]
        ),
        "{over:?}"
    );
    let mut server = begin();
    assert_eq!(feed(&mut server, &[&ack[..], &data(10)].concat(), 9999).0.len(), 1);
    server.release(1, 4);
    let said = |server: &mut Connection| {
        frames(&drain(server))
            .iter()
            .filter(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 1)
            .map(|frame| frame.number(0))
            .sum::<u32>()
    };
    assert_eq!(said(&mut server), 0);
    server.release(1, 1);
    assert_eq!(said(&mut server), 5);
    assert_eq!(feed(&mut server, &data(5), 9999).0.len(), 1);
    let over = feed(&mut server, &data(1), 9999).0;
    assert!(matches!(&over[..], [Event::Reset { .. }]), "{over:?}");
}

/// What was sent and released before the smaller window held counts for it: a peer that has used all of it, and more, may go on.
#[test]
fn a_smaller_window_opens_again() {
    let mut server = Connection::server(Config {
        stream_window: 10,
        ..config()
    });
    let body = frame(DATA, 0, 1, &[0; 16_000]);
    feed(&mut server, &[PREFACE, &settings(&[]), &post(1), &body].concat(), 99);
    server.release(1, 16_000);
    let window = |server: &mut Connection| {
        let said = frames(&drain(server));
        let of_stream = said
            .iter()
            .filter(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 1);
        of_stream.map(|frame| frame.number(0)).sum::<u32>()
    };
    assert_eq!(window(&mut server), 0);
    feed(&mut server, &frame(SETTINGS, ACK, 0, b""), 99);
    assert_eq!(window(&mut server), 16_000);
    assert_eq!(feed(&mut server, &frame(DATA, 0, 1, &[0; 10]), 99).0.len(), 1);
    let over = feed(&mut server, &frame(DATA, 0, 1, b"x"), 99).0;
    assert!(matches!(&over[..], [Event::Reset { .. }]), "{over:?}");
}

/// However many streams we reset, an honest peer that did not know yet is none who errs.
#[test]
fn many_resets_of_ours() {
    let mut server = begin(true);
    for n in 0..1000 {
        let id = 2 * n + 1;
        assert_eq!(feed(&mut server, &post(id), 99).1, None);
        server.reset(id, Reason::CANCEL);
    }
    drain(&mut server);
    for n in 0..1000 {
        assert_eq!(
            feed(&mut server, &frame(DATA, END_STREAM, 2 * n + 1, b"late"), 99).1,
            None
        );
    }
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    for flood in [frame(PING, 0, 0, &[0; 8]), settings(&[])] {
        let mut server = begin(true);
        let (_, error) = feed(&mut server, &flood.repeat(10_000), 1 << 14);
        assert_eq!(error.map(|error| error.reason), Some(Reason::ENHANCE_YOUR_CALM));
        let mut server = begin(true);
        for _ in 0..10_000 {
            assert_eq!(feed(&mut server, &flood, 99).1, None);
            drain(&mut server);
        }
    }
}

#[test]
fn costs() {
    let cost = |input: &[Vec<u8>]| {
        let mut server = begin(true);
        server.take_cost();
        feed(&mut server, &input.concat(), 99);
        server.take_cost()
    };
    let open = block(&pseudo("POST"));
    assert_eq!(cost(&[post(1)]), 16);
    assert_eq!(cost(&[frame(HEADERS, 0, 1, &open), frame(CONTINUATION, 4, 1, b"")]), 20);
    assert_eq!(
        cost(&[
            post(1),
            frame(DATA, 0, 1, &[0; 1]),
            frame(DATA, 0, 1, b""),
            frame(DATA, 1, 1, b"")
        ]),
        17
    );
    assert_eq!(
        cost(&[
            settings(&[]),
            frame(PING, 0, 0, &[0; 8]),
            frame(0x77, 0, 0, b""),
            window(0, 1)
        ]),
        11
    );
    assert_eq!(cost(&[frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])]), 1);
}

#[test]
fn others_may_go_between_many_frames_of_which_nothing_comes() {
    let mut server = begin(true);
    let ping = frame(PING, 0, 0, &[0; 8]);
    let mut input = BytesMut::from(&[ping.repeat(100), post(1), ping.repeat(99)].concat()[..]);
    assert!(matches!(server.next(&mut input).unwrap(), Some(Event::Enough)));
    assert!(matches!(
        server.next(&mut input).unwrap(),
        Some(Event::Request { stream: 1, .. })
    ));
    assert!(server.next(&mut input).unwrap().is_none());
    assert!(input.is_empty());
}

#[test]
fn what_stands_for_thousands_of_its_bytes_ends_the_connection() {
    let mut server = begin(true);
    // A field of 4,000 bytes for the table, then nothing but its number.
    let long = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4000]].concat();
    let block = |times: usize| [block(&pseudo("GET")), vec![0x80 | 62; times]].concat();
    let first = [crate::block(&pseudo("GET")), long].concat();
    feed(&mut server, &frame(HEADERS, 5, 1, &first), 99);
    let most = 4 * config().header_list as usize / (4001 + 32);
    // More than what is taken, which is no crime.
    feed(&mut server, &frame(HEADERS, 5, 3, &block(most - 1)), 99);
    assert!(!frames(&drain(&mut server)).iter().any(|frame| frame.kind == GOAWAY));
    let mut input = BytesMut::from(&frame(HEADERS, 5, 5, &block(most + 1))[..]);
    let error = server.next(&mut input).unwrap_err();
    assert_eq!(error.reason, Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn a_graceful_end_of_a_server() {
    let mut server = begin(true);
    feed(&mut server, &post(1), 99);
    drain(&mut server);
    server.shut_down();
    assert!(!server.is_done());
    let said = frames(&drain(&mut server));
    let [goaway, ping] = &said[..] else { panic!("{said:?}") };
    assert_eq!(
        (goaway.kind, goaway.number(0), goaway.number(4)),
        (GOAWAY, 0x7fff_ffff, NOTHING)
    );
    // What crossed it on the way is taken.
    let (events, _) = feed(&mut server, &get(3), 99);
    assert!(matches!(&events[..], [Event::Request { stream: 3, .. }]), "{events:?}");
    let pong = frame(PING, ACK, 0, &ping.payload);
    assert!(feed(&mut server, &pong, 99).0.is_empty());
    let said = frames(&drain(&mut server));
    let [goaway] = &said[..] else { panic!("{said:?}") };
    assert_eq!((goaway.kind, goaway.number(0)), (GOAWAY, 3));
    // What comes now is not.
    let (events, error) = feed(&mut server, &[post(5), frame(DATA, 1, 5, b"x")].concat(), 99);
    assert!(events.is_empty() && error.is_none(), "{events:?}");
    let said = frames(&drain(&mut server));
    assert!(
        matches!(
            &said[..],
            [Frame {
                kind: RST_STREAM,
                stream: 5,
                ..
            }]
        ),
        "{said:?}"
    );
    let ok = Response::new(());
    server.respond(3, &ok, true).unwrap();
    server.respond(1, &ok, false).unwrap();
    feed(&mut server, &frame(DATA, END_STREAM, 1, b""), 99);
    assert!(!server.is_done());
    server.send_data(1, &mut Bytes::from_static(b"x"), true).unwrap();
    assert!(!server.is_done());
    drain(&mut server);
    assert!(server.is_done());
}

/// The last stream that GOAWAY names never goes up (RFC 9113 §6.8), also where streams were refused since.
#[test]
fn an_end_after_a_graceful_one() {
    let mut server = begin(true);
    feed(&mut server, &post(1), 99);
    server.shut_down();
    let pong = frame(PING, ACK, 0, b"shutdown");
    feed(&mut server, &[pong, post(3), post(5)].concat(), 99);
    drain(&mut server);
    let error = feed(&mut server, &frame(DATA, 0, 0, b""), 99).1;
    assert_eq!(error.map(|error| error.reason), Some(Reason::PROTOCOL_ERROR));
    let said = frames(&drain(&mut server));
    let [goaway] = &said[..] else { panic!("{said:?}") };
    assert_eq!((goaway.kind, goaway.number(0)), (GOAWAY, 1));
}

#[test]
fn an_end_at_once() {
    let mut server = begin(true);
    feed(&mut server, &post(1), 99);
    drain(&mut server);
    server.go_away(Reason::ENHANCE_YOUR_CALM);
    let said = frames(&drain(&mut server));
    let [goaway] = &said[..] else { panic!("{said:?}") };
    assert_eq!((goaway.kind, goaway.number(0), goaway.number(4)), (GOAWAY, 1, CALM));
    assert!(server.is_done());
    let (events, error) = feed(&mut server, &get(3), 99);
    assert!(events.is_empty() && error.is_none() && server.is_written());
}

#[test]
fn a_client_whose_server_leaves() {
    let mut client = begin(false);
    let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    let (events, _) = feed(&mut client, &goaway, 99);
    let refused = |event: &Event| {
        matches!(
            event,
            Event::Reset {
                reason: Reason::REFUSED_STREAM,
                by_peer: true,
                ..
            }
        )
    };
    let [first, second, Event::GoAway { last: 1, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert!(refused(first) && refused(second), "{events:?}");
    assert_eq!(client.open_streams(), 1);
    let (events, _) = feed(&mut client, &ok(1, END_STREAM), 99);
    assert!(matches!(&events[..], [Event::Response { end: true, .. }]), "{events:?}");
    drain(&mut client);
    assert!(client.is_done());
}
