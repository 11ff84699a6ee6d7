//! What a head costs to read and to write. `cargo bench -p tenbin-http1`; `by httparse` is the same work by another parser with its
//! fields put in the same kind of map, as a server on it would have to.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};
use tenbin_http1::{BodyReader, HeadReader, Length, Limits, Piece, Reply, write_request, write_response};

const LIMITS: Limits = Limits {
    head: 65_536,
    headers: 100,
    target: 16_384,
};

const BROWSER: &[u8] = b"GET /search/results?q=load+balancer&page=2 HTTP/1.1\r\n\
Host: www.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: https://www.example.com/search\r\n\
Connection: keep-alive\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
Upgrade-Insecure-Requests: 1\r\n\
Sec-Fetch-Dest: document\r\n\
Sec-Fetch-Mode: navigate\r\n\
Sec-Fetch-Site: same-origin\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: app\r\n\
Content-Type: text/html; charset=utf-8\r\n\
Content-Length: 1024\r\n\
ETag: \"5f3c-1a2b\"\r\n\
Cache-Control: max-age=60\r\n\
Vary: accept-encoding\r\n\
Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";

fn by_httparse(buf: &mut BytesMut) -> Request<()> {
    let (length, count, ranges, method, target) = {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut fields);
        let length = request.parse(buf).unwrap().unwrap();
        let base = buf.as_ptr() as usize;
        let range = |bytes: &[u8]| (bytes.as_ptr() as usize - base, bytes.len());
        let mut ranges = [((0, 0), (0, 0)); 100];
        for (slot, field) in ranges.iter_mut().zip(request.headers.iter()) {
            *slot = (range(field.name.as_bytes()), range(field.value));
        }
        let method = Method::from_bytes(request.method.unwrap().as_bytes()).unwrap();
        (
            length,
            request.headers.len(),
            ranges,
            method,
            range(request.path.unwrap().as_bytes()),
        )
    };
    let head = buf.split_to(length).freeze();
    let mut headers = HeaderMap::with_capacity(count + 8);
    for ((name, name_length), (value, value_length)) in &ranges[..count] {
        let name = HeaderName::from_bytes(&head[*name..name + name_length]).unwrap();
        let value = HeaderValue::from_maybe_shared(head.slice(*value..value + value_length)).unwrap();
        headers.append(name, value);
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_maybe_shared(head.slice(target.0..target.0 + target.1)).unwrap();
    *request.headers_mut() = headers;
    request
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Bytes(BROWSER.len() as u64));
    let mut reader = HeadReader::default();
    group.bench_function("request of a browser", |bencher| {
        bencher.iter_batched_ref(
            || BytesMut::from(BROWSER),
            |buf| reader.request(black_box(buf), &LIMITS).unwrap().unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("request of a browser, by httparse", |bencher| {
        bencher.iter_batched_ref(
            || BytesMut::from(BROWSER),
            |buf| by_httparse(black_box(buf)),
            BatchSize::SmallInput,
        );
    });
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    group.bench_function("response", |bencher| {
        bencher.iter_batched_ref(
            || BytesMut::from(RESPONSE),
            |buf| reader.response(black_box(buf), &LIMITS, &Method::GET).unwrap().unwrap(),
            BatchSize::SmallInput,
        );
    });
    let body = [b"400\r\n", &[b'a'; 1024][..], b"\r\n0\r\n\r\n"].concat();
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("chunked body of 1 KiB", |bencher| {
        bencher.iter_batched_ref(
            || BytesMut::from(&body[..]),
            |buf| {
                let mut reader = BodyReader::new(Length::Chunked, &LIMITS);
                let piece = reader.next(black_box(buf)).unwrap();
                assert!(matches!(piece, Piece::Data(_)) && reader.is_end());
                piece
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write");
    let method = Method::GET;
    let request = HeadReader::default()
        .request(&mut BytesMut::from(BROWSER), &LIMITS)
        .unwrap()
        .unwrap()
        .request;
    let response = HeadReader::default()
        .response(&mut BytesMut::from(RESPONSE), &LIMITS, &method)
        .unwrap()
        .unwrap()
        .response;
    let date = HeaderValue::from_maybe_shared(Bytes::from_static(b"Sun, 06 Nov 1994 08:49:37 GMT")).unwrap();
    let mut out = BytesMut::with_capacity(4096);
    group.bench_function("request of a browser", |bencher| {
        bencher.iter(|| {
            out.clear();
            write_request(
                &mut out,
                &method,
                "/search/results?q=load+balancer&page=2",
                black_box(request.headers()),
                b"",
                None,
            );
        });
    });
    let reply = Reply {
        version: Version::HTTP_11,
        close: false,
        body: Some(Length::Exact(1024)),
    };
    group.bench_function("response", |bencher| {
        bencher.iter(|| {
            out.clear();
            write_response(
                &mut out,
                StatusCode::OK,
                black_box(response.headers()),
                &reply,
                Some(&date),
            );
        });
    });
    group.finish();
}

criterion_group!(benches, read, write);
criterion_main!(benches);
