//! What must hold for any bytes whatever; the property tests and the fuzzers both ask for it. Rows with known outcomes are in
//! the other tests.
#![allow(dead_code, reason = "each test and fuzzer uses some")]

use bytes::BytesMut;
use http::{HeaderMap, Method};
use tenbin_http1::{
    BodyReader, HeadReader, Length, Limits, Malformed, Piece, Reply, RequestHead, ResponseHead, write_chunk,
    write_last_chunk, write_request, write_response,
};

/// Small, so that they are met.
pub(crate) const LIMITS: Limits = Limits {
    head: 512,
    headers: 8,
    target: 64,
};

/// What comes of bytes that hold one head.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// The head, and how many bytes it took with the empty lines before it.
    Head(T, usize),
    Malformed(Malformed),
    More,
}

impl<T> Outcome<T> {
    fn is(&self, other: &Self, same: impl Fn(&T, &T) -> bool) -> bool {
        match (self, other) {
            (Self::Head(a, at), Self::Head(b, bt)) => at == bt && same(a, b),
            (Self::Malformed(a), Self::Malformed(b)) => a == b,
            (Self::More, Self::More) => true,
            _ => false,
        }
    }
}

fn same_request(one: &RequestHead, two: &RequestHead) -> bool {
    let (a, b) = (&one.request, &two.request);
    (one.body, one.keep_alive, a.version()) == (two.body, two.keep_alive, b.version())
        && (a.method(), a.uri(), a.headers()) == (b.method(), b.uri(), b.headers())
}

fn same_response(one: &ResponseHead, two: &ResponseHead) -> bool {
    let (a, b) = (&one.response, &two.response);
    (one.body, one.keep_alive, a.version()) == (two.body, two.keep_alive, b.version())
        && (a.status(), a.headers()) == (b.status(), b.headers())
}

/// Gives `wire` to `read` in pieces of the given lengths, which are used over and over; `read` is asked after each.
fn feed<T>(
    wire: &[u8],
    lengths: &[usize],
    mut read: impl FnMut(&mut BytesMut) -> Result<Option<T>, Malformed>,
) -> Outcome<T> {
    let mut buf = BytesMut::new();
    let mut fed = 0;
    for length in lengths.iter().cycle() {
        let piece = &wire[fed..(fed + length.max(&1)).min(wire.len())];
        fed += piece.len();
        buf.extend_from_slice(piece);
        match read(&mut buf) {
            Ok(Some(head)) => return Outcome::Head(head, fed - buf.len()),
            Err(malformed) => return Outcome::Malformed(malformed),
            Ok(None) if fed == wire.len() => return Outcome::More,
            Ok(None) => {}
        }
    }
    unreachable!("there is a length")
}

pub(crate) fn read_request(wire: &[u8], lengths: &[usize], limits: &Limits) -> Outcome<RequestHead> {
    let mut reader = HeadReader::default();
    feed(wire, lengths, |buf| reader.request(buf, limits))
}

pub(crate) fn read_response(wire: &[u8], lengths: &[usize], limits: &Limits, method: &Method) -> Outcome<ResponseHead> {
    let mut reader = HeadReader::default();
    feed(wire, lengths, |buf| reader.response(buf, limits, method))
}

/// What comes of bytes that hold one body and then the peer's end.
#[derive(Debug, PartialEq)]
pub(crate) struct Read {
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// How many bytes the body took.
    pub(crate) outcome: Result<usize, Malformed>,
}

pub(crate) fn read_body(wire: &[u8], lengths: &[usize], length: Length, limits: &Limits) -> Read {
    let mut reader = BodyReader::new(length, limits);
    let mut buf = BytesMut::new();
    let mut read = Read {
        data: Vec::new(),
        trailers: None,
        outcome: Ok(0),
    };
    let mut fed = 0;
    let mut lengths = lengths.iter().cycle();
    loop {
        let left = reader.left();
        match reader.next(&mut buf) {
            Ok(Piece::Data(data)) => {
                assert!(!data.is_empty(), "no piece of data is empty");
                assert!(read.trailers.is_none(), "no data after trailers");
                if let Some(left) = left {
                    assert_eq!(reader.left(), Some(left - data.len() as u64));
                }
                read.data.extend_from_slice(&data);
            }
            Ok(Piece::Trailers(trailers)) => {
                assert!(reader.is_end() && !trailers.is_empty() && read.trailers.is_none());
                read.trailers = Some(trailers);
            }
            Ok(Piece::End) => {
                assert!(reader.is_end() && reader.left() == Some(0));
                read.outcome = Ok(fed - buf.len());
                return read;
            }
            Ok(Piece::More) if fed < wire.len() => {
                assert!(!reader.is_end(), "more of what has ended");
                let length = lengths.next().expect("there is a length");
                let piece = &wire[fed..(fed + length.max(&1)).min(wire.len())];
                fed += piece.len();
                buf.extend_from_slice(piece);
            }
            Ok(Piece::More) => match reader.closed() {
                Ok(()) => assert!(reader.is_end()),
                Err(malformed) => {
                    assert_eq!(reader.next(&mut buf), Err(malformed), "an error stays");
                    read.outcome = Err(malformed);
                    return read;
                }
            },
            Err(malformed) => {
                assert_eq!(reader.next(&mut buf), Err(malformed), "an error stays");
                assert_eq!(reader.closed(), Err(malformed), "an error stays");
                read.outcome = Err(malformed);
                return read;
            }
        }
    }
}

/// A few ways to cut `wire`, the same for the same bytes.
fn cuts(wire: &[u8]) -> [Vec<usize>; 3] {
    let seed = wire
        .iter()
        .fold(7u32, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let some = (0..7).map(|n| (seed >> (n * 4) & 0xf) as usize + 1).collect();
    [vec![1], vec![2, 3], some]
}

/// Any cut gives what the whole gives; what is accepted, others accept as the same; what is written of it is read as the same.
pub(crate) fn request(wire: &[u8]) {
    let whole = read_request(wire, &[wire.len()], &LIMITS);
    for cut in cuts(wire) {
        let pieces = read_request(wire, &cut, &LIMITS);
        assert!(
            pieces.is(&whole, same_request),
            "in pieces of {cut:?}: {pieces:?}, whole: {whole:?}"
        );
    }
    let Outcome::Head(head, length) = whole else {
        return;
    };
    let request = &head.request;
    let mut headers = [httparse::EMPTY_HEADER; LIMITS.headers];
    let mut other = httparse::Request::new(&mut headers);
    let wire = as_minor_version_1(&wire[..length]);
    let theirs = other.parse(&wire).expect("httparse accepts it");
    assert_eq!(theirs, httparse::Status::Complete(length));
    assert_eq!(other.method, Some(request.method().as_str()));
    let target = other.path.expect("a target");
    assert!(!target.contains(['#', ' ']));
    assert_eq!(target.parse::<http::Uri>().expect("a URI"), *request.uri());
    same_headers(request.headers(), other.headers);
    // On the way to an endpoint.
    let mut out = BytesMut::new();
    let announced = (head.body != Length::Exact(0)).then_some(head.body);
    write_request(&mut out, request.method(), target, request.headers(), b"", announced);
    let written = read_request(&out, &[out.len()], &Limits { head: 4096, ..LIMITS });
    let Outcome::Head(again, all) = written else {
        panic!("what was written is not read: {written:?}");
    };
    assert_eq!(all, out.len(), "one head and nothing after it");
    assert_eq!(again.body, head.body);
    assert_eq!(
        (again.request.method(), again.request.uri()),
        (request.method(), request.uri())
    );
    assert_eq!(unframed(again.request.headers()), unframed(request.headers()));
}

/// As [`request`], for a response to each method that makes a difference.
pub(crate) fn response(wire: &[u8]) {
    for method in [Method::GET, Method::HEAD, Method::CONNECT] {
        let whole = read_response(wire, &[wire.len()], &LIMITS, &method);
        for cut in cuts(wire) {
            let pieces = read_response(wire, &cut, &LIMITS, &method);
            assert!(
                pieces.is(&whole, same_response),
                "in pieces of {cut:?}: {pieces:?}, whole: {whole:?}"
            );
        }
        if let Outcome::Head(head, length) = whole {
            accepted_response(&head, &wire[..length], &method);
        }
    }
}

fn accepted_response(head: &ResponseHead, wire: &[u8], method: &Method) {
    let response = &head.response;
    let mut headers = [httparse::EMPTY_HEADER; LIMITS.headers];
    let mut other = httparse::Response::new(&mut headers);
    let wire = as_minor_version_1(wire);
    let theirs = other.parse(&wire).expect("httparse accepts it");
    assert_eq!(theirs, httparse::Status::Complete(wire.len()));
    assert_eq!(other.code, Some(response.status().as_u16()));
    if response.headers().len() < other.headers.len() {
        assert!(!head.keep_alive, "a length beside chunks was dropped");
    } else {
        same_headers(response.headers(), other.headers);
    }
    // On the way to a client.
    let announced = match head.body {
        Length::Exact(0) if *method == Method::HEAD => None,
        body => Some(body),
    };
    let reply = Reply {
        version: http::Version::HTTP_11,
        close: !head.keep_alive,
        body: announced,
    };
    let mut out = BytesMut::new();
    write_response(&mut out, response.status(), response.headers(), &reply, None);
    let written = read_response(
        &out,
        &[out.len()],
        &Limits {
            head: 4096,
            headers: 16,
            ..LIMITS
        },
        method,
    );
    let Outcome::Head(again, all) = written else {
        panic!("what was written is not read: {written:?}");
    };
    assert_eq!(all, out.len(), "one head and nothing after it");
    assert_eq!(again.body, head.body);
    assert_eq!(again.response.status(), response.status());
    assert!(head.keep_alive || !again.keep_alive);
}

/// As [`request`], for a body of each kind.
pub(crate) fn body(wire: &[u8]) {
    let half = wire.len() as u64 / 2;
    for length in [
        Length::Chunked,
        Length::UntilClose,
        Length::Exact(half),
        Length::Exact(half * 2 + 2),
    ] {
        let whole = read_body(wire, &[wire.len()], length, &LIMITS);
        // Only chunks have places where a cut could matter.
        let some = if length == Length::Chunked { 3 } else { 1 };
        for cut in cuts(wire).into_iter().rev().take(some) {
            assert_eq!(whole, read_body(wire, &cut, length, &LIMITS), "in pieces of {cut:?}");
        }
        let Ok(taken) = whole.outcome else {
            continue;
        };
        if length != Length::Chunked {
            assert_eq!(whole.data, &wire[..taken], "as it came");
            continue;
        }
        assert_eq!(whole.data, theirs(&wire[..taken]), "as another decoder reads it");
        let mut out = BytesMut::new();
        for piece in whole.data.chunks(3) {
            write_chunk(&mut out, piece);
        }
        write_last_chunk(&mut out, whole.trailers.as_ref());
        // Ours have a space behind the colon.
        let again = read_body(&out, &[out.len()], length, &Limits { head: 4096, ..LIMITS });
        assert_eq!((&again.data, &again.trailers), (&whole.data, &whole.trailers));
        assert_eq!(again.outcome, Ok(out.len()));
    }
}

/// httparse wants a minor version of 0 or 1, here all are accepted.
fn as_minor_version_1(wire: &[u8]) -> Vec<u8> {
    let mut wire = wire.to_vec();
    let at = match wire.windows(8).position(|part| part == b" HTTP/1.") {
        _ if wire.starts_with(b"HTTP/1.") => 7,
        Some(at) => at + 8,
        None => panic!("no version"),
    };
    if wire[at] != b'0' {
        wire[at] = b'1';
    }
    wire
}

/// The data of a chunked body by httparse's reading of sizes.
fn theirs(mut wire: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(wire).expect("httparse accepts the size");
        let httparse::Status::Complete((begin, size)) = size else {
            panic!("httparse wants more of a body that has ended");
        };
        let end = begin + usize::try_from(size).expect("it is in memory");
        if size == 0 {
            return data;
        }
        data.extend_from_slice(&wire[begin..end]);
        assert_eq!(&wire[end..end + 2], b"\r\n");
        wire = &wire[end + 2..];
    }
}

/// The same names with the same values; the order of values counts, that of names does not.
fn same_headers(ours: &HeaderMap, theirs: &[httparse::Header<'_>]) {
    let mut map = HeaderMap::new();
    for header in theirs {
        let name = http::HeaderName::from_bytes(header.name.as_bytes()).expect("a name");
        let value = http::HeaderValue::from_bytes(header.value.trim_ascii()).expect("a value");
        map.append(name, value);
    }
    assert_eq!(ours.len(), map.len());
    for name in ours.keys() {
        assert!(ours.get_all(name).iter().eq(map.get_all(name).iter()), "{name}");
    }
}

fn unframed(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(http::header::CONTENT_LENGTH);
    headers.remove(http::header::TRANSFER_ENCODING);
    headers
}
