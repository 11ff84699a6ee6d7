//! Against the h2 crate: what its encoder writes is read here, and what is written here its decoder reads.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "laws/build.rs"]
mod build;
#[path = "laws/huffman.rs"]
mod huffman;
#[path = "laws/text.rs"]
mod text;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tenbin_http2::frame::{self, Frame, Settings};
use tenbin_http2::hpack::{self, Decoder, Field};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

fn headers() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    const KNOWN: [&str; 8] = [
        "cookie",
        "user-agent",
        "grpc-timeout",
        "authorization",
        "accept-encoding",
        "x-a",
        "x-b",
        "via",
    ];
    let name = prop_oneof![
        4 => prop::sample::select(&KNOWN[..]).prop_map(HeaderName::from_static),
        1 => "[a-z][a-z0-9_-]{0,80}".prop_map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap()),
    ];
    let value = prop_oneof![
        2 => prop::sample::select(&["", "a", "gzip, deflate", "trailers"][..]).prop_map(|value| value.as_bytes().to_vec()),
        2 => prop::collection::vec(prop_oneof![8 => 33..127_u8, 1 => 128..=255_u8], 0..200),
    ];
    let value = (value, prop::bool::weighted(0.2)).prop_map(|(value, secret)| {
        let mut value = HeaderValue::from_bytes(&value).unwrap();
        value.set_sensitive(secret);
        value
    });
    prop::collection::vec((name, value), 0..12)
}

/// Messages of one connection: a path each, and headers.
fn requests(seeded: &mut TestRunner) -> Vec<Request<()>> {
    let strategy = prop::collection::vec(("/[a-z0-9/_.%=?-]{0,60}", headers()), 20);
    let generated = strategy.new_tree(seeded).unwrap().current();
    let request = |(path, headers): (String, Vec<(HeaderName, HeaderValue)>)| {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("http://demo:8080{}", path.replace("??", "?")).parse().unwrap();
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().extend(headers);
        request
    };
    generated.into_iter().map(request).collect()
}

/// Fields in an order that does not depend on who put them in one; those of a name stay in theirs.
fn sorted(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields
}

/// The next frame that `io` has.
async fn next(io: &mut DuplexStream, buf: &mut BytesMut) -> Frame {
    loop {
        if let Some(frame) = frame::read(buf, 16_384).unwrap() {
            return frame;
        }
        assert_ne!(io.read_buf(buf).await.unwrap(), 0, "the peer closed");
    }
}

/// h2's encoder has a table, and Huffman-codes all.
#[tokio::test]
async fn what_h2_writes_is_read() {
    let requests = requests(&mut TestRunner::deterministic());
    let (client, mut io) = tokio::io::duplex(1 << 20);
    let (sender, connection) = h2::client::handshake(client).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut preface = [0; 24];
    io.read_exact(&mut preface).await.unwrap();
    assert_eq!(&preface, frame::PREFACE);
    let mut out = BytesMut::new();
    frame::put_settings(&mut out, &Settings::default());
    io.write_all(&out).await.unwrap();

    let mut buf = BytesMut::new();
    let mut decoder = Decoder::new(4096);
    let mut responses = Vec::new();
    let mut literal = 0;
    for request in requests {
        let mut ready = sender.clone().ready().await.unwrap();
        responses.push(ready.send_request(request.clone(), true).unwrap());
        let block = loop {
            if let Frame::Headers {
                block,
                end_headers: true,
                ..
            } = next(&mut io, &mut buf).await
            {
                break block;
            }
        };
        let mut headers = HeaderMap::new();
        let mut pseudo = Vec::new();
        decoder
            .decode(&block, &mut |field, _| {
                match field {
                    Field::Header(name, value) => {
                        // h2 never indexes what is secret, nor we then.
                        let mut secret = request.headers().get_all(&name).iter().filter(|known| **known == value);
                        assert!(!value.is_sensitive() || secret.any(HeaderValue::is_sensitive));
                        headers.append(name, value);
                    }
                    other => pseudo.push(text::text(&other).unwrap()),
                }
                true
            })
            .unwrap();
        literal += block.len();
        assert_eq!(sorted(&headers), sorted(request.headers()));
        let uri = request.uri();
        let pair = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        pseudo.sort();
        assert_eq!(
            pseudo,
            [
                pair(":authority", uri.authority().unwrap().as_str()),
                pair(":method", "POST"),
                pair(":path", uri.path_and_query().unwrap().as_str()),
                pair(":scheme", "http"),
            ]
        );
    }
    assert!(literal > 1000, "blocks of {literal} bytes");
    connection.abort();
}

/// h2's server reads what is written here, in frames small enough that there are CONTINUATIONs.
#[tokio::test]
async fn what_is_written_h2_reads() {
    let requests = requests(&mut TestRunner::deterministic());
    let (server, mut io) = tokio::io::duplex(1 << 20);
    let mut out = BytesMut::from(&frame::PREFACE[..]);
    frame::put_settings(&mut out, &Settings::default());
    for (request, stream) in requests.iter().zip((1..).step_by(2)) {
        frame::put_headers(&mut out, stream, true, 300, |out| {
            let uri = request.uri();
            hpack::put_method(out, request.method());
            hpack::put_scheme(out, uri.scheme().unwrap());
            hpack::put_authority(out, uri.authority().unwrap());
            hpack::put_path(out, uri.path_and_query().unwrap());
            for (name, value) in request.headers() {
                hpack::put_header(out, name, value);
            }
        });
    }
    io.write_all(&out).await.unwrap();
    let mut connection = h2::server::handshake(server).await.unwrap();
    for request in requests {
        let (read, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_reset(h2::Reason::CANCEL);
        assert_eq!((read.method(), read.uri()), (request.method(), request.uri()));
        assert_eq!(sorted(read.headers()), sorted(request.headers()));
    }
}

/// Blocks that h2's decoder refuses, and those that it takes.
#[tokio::test]
async fn both_refuse_the_same() {
    let get = [0x82, 0x86, 0x84, 0x41, 0x01, b'h'];
    for (block, good) in [
        ("", true),
        ("80", false),
        ("bf", false),
        ("20", false),
        ("ffffffffff7f", false),
        ("400161 0162 be", true),
        ("0001 61 8106", false),
        ("0001 61 811f", true),
        ("0001 61 821fff", false),
        ("0001 61 84ffffffff", false),
        ("0001 61 05 61", false),
        ("40", false),
    ] {
        let block = [&get[..], &text::hex(block)].concat();
        let ours = text::decode(&mut Decoder::new(4096), &block).is_ok();
        assert_eq!(ours, good, "{block:02x?}");

        let (server, mut io) = tokio::io::duplex(1 << 16);
        let mut out = BytesMut::from(&frame::PREFACE[..]);
        frame::put_settings(&mut out, &Settings::default());
        frame::put_headers(&mut out, 1, true, 16_384, |out| out.extend_from_slice(&block));
        io.write_all(&out).await.unwrap();
        let mut connection = h2::server::handshake(server).await.unwrap();
        let accepted = connection.accept().await.unwrap();
        assert_eq!(accepted.is_ok(), good, "{block:02x?}");
    }
    assert!(Decoder::new(0).decode(&Bytes::new(), &mut |_, _| true).is_ok());
}
