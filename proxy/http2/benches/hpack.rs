//! What a header block costs to read and to write. `cargo bench -p tenbin-http2`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tenbin_http2::frame;
use tenbin_http2::hpack::{Decoder, Field, put_authority, put_header, put_method, put_path, put_scheme, put_status};

#[path = "../tests/laws/build.rs"]
mod build;
#[path = "../tests/laws/huffman.rs"]
mod huffman;

use build::{Kind, Name};

/// A call of gRPC, as most clients make it.
const CALL: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/tenbin.demo.v1.Demo/Echo"),
    (":authority", "demo.default.svc.cluster.local:8080"),
    ("content-type", "application/grpc"),
    ("user-agent", "grpc-go/1.75.0"),
    ("te", "trailers"),
    ("grpc-timeout", "4999m"),
    ("grpc-accept-encoding", "gzip"),
    ("x-tenant", "0123456789abcdef"),
];

fn block(kind: Kind, huffman: bool) -> Bytes {
    let mut out = Vec::new();
    for (name, value) in CALL {
        match (*name, *value) {
            (":method", _) => out.push(0x83),
            (":scheme", _) => out.push(0x86),
            (name, value) => {
                let name = Name::Text(name.as_bytes().to_vec(), huffman);
                build::literal(&mut out, kind, &name, value.as_bytes(), huffman);
            }
        }
    }
    Bytes::from(out)
}

/// Puts the headers in a map, as their user does.
fn decode(decoder: &mut Decoder, block: &Bytes) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    decoder
        .decode(block, &mut |field, _| {
            match field {
                Field::Header(name, value) => {
                    headers.append(name, value);
                }
                other => drop(black_box(other)),
            }
            true
        })
        .unwrap();
    headers
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &block(Kind::Indexed, true));
    // What a client sends from its second call on.
    let indexed: Vec<u8> = [0x83, 0x86]
        .into_iter()
        .chain((62..70).rev().map(|index| 0x80 | index))
        .collect();
    let blocks = [
        ("call, indexed", Bytes::from(indexed)),
        ("call, literal", block(Kind::Plain, false)),
        ("call, Huffman", block(Kind::Plain, true)),
        ("call, Huffman, to be indexed", block(Kind::Indexed, true)),
    ];
    for (name, block) in blocks {
        group.bench_function(name, |bencher| bencher.iter(|| decode(&mut decoder, black_box(&block))));
    }
    let wire = build::frame(frame::kind::DATA, frame::flag::END_STREAM, 1, &[b'a'; 256]);
    group.bench_function("DATA of 256 bytes", |bencher| {
        bencher.iter_batched_ref(
            || BytesMut::from(&wire[..]),
            |buf| frame::read(black_box(buf), 16_384).unwrap().unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write");
    let mut headers = HeaderMap::new();
    for (name, value) in CALL.iter().skip(4) {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let authority = Authority::from_static("demo.default.svc.cluster.local:8080");
    let path = PathAndQuery::from_static("/tenbin.demo.v1.Demo/Echo");
    let mut out = BytesMut::with_capacity(4096);
    group.bench_function("call", |bencher| {
        bencher.iter(|| {
            out.clear();
            frame::put_headers(&mut out, 1, false, 16_384, |out| {
                put_method(out, &Method::POST);
                put_scheme(out, &Scheme::HTTP);
                put_authority(out, &authority);
                put_path(out, &path);
                for (name, value) in black_box(&headers) {
                    put_header(out, name, value);
                }
            });
        });
    });
    let content_type = HeaderValue::from_static("application/grpc");
    group.bench_function("response", |bencher| {
        bencher.iter(|| {
            out.clear();
            frame::put_headers(&mut out, 1, false, 16_384, |out| {
                put_status(out, StatusCode::OK);
                put_header(out, &http::header::CONTENT_TYPE, black_box(&content_type));
            });
        });
    });
    group.finish();
}

criterion_group!(benches, read, write);
criterion_main!(benches);
