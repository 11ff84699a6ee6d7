//! Clients of HTTP/2 that only make work, by frames written by hand: each connection ends after a bounded number of them, and is told so.

use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::harness::PATIENCE;
use crate::inside::Inside;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PING: u8 = 6;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The code of the last GOAWAY in what a server sent.
fn goaway(mut frames: &[u8]) -> Option<u32> {
    let mut code = None;
    while let [high, middle, low, kind, _, _, _, _, _, rest @ ..] = frames {
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        let payload = rest.get(..length)?;
        if *kind == GOAWAY {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        frames = &rest[length..];
    }
    code
}

/// Sends so many of what `next` gives for each number, as long as the connection lasts; the code that it ends with.
async fn flood(proxy: &Inside, frames: u32, next: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let (mut read, mut write) = TcpStream::connect(proxy.address).await.unwrap().into_split();
    let said = tokio::spawn(async move {
        let mut said = Vec::new();
        let _ = read.read_to_end(&mut said).await;
        said
    });
    write.write_all(PREFACE).await.unwrap();
    write.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    for number in 0..frames {
        if write.write_all(&next(number)).await.is_err() {
            break;
        }
    }
    let said = timeout(PATIENCE, said).await.expect("it ends").unwrap();
    drop(write);
    proxy.await_no_connection().await;
    goaway(&said)
}

#[tokio::test]
async fn frames_without_end_are_too_many() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let floods: [(&str, Vec<u8>); 6] = [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("answers to no ping", frame(PING, 1, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("priorities", frame(2, 0, 1, &[0, 0, 0, 0, 16])),
        ("windows", frame(8, 0, 0, &[0, 0, 0, 1])),
        ("frames that nobody knows", frame(0xee, 0, 0, &[1, 2, 3])),
    ];
    for (what, frame) in floods {
        let code = flood(&proxy, 5000, |_| frame.clone()).await;
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{what}");
    }
    let stats = proxy.stats();
    assert_eq!((app.requests(), stats.malformed.load(Relaxed)), (0, 6));
    assert_eq!(proxy.client().await.get("/who").await.status, 200);
}

#[tokio::test]
async fn headers_that_unpack_to_too_much_end_the_connection_soon() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let code = flood(&proxy, 500, |n| {
        // GET http://a/, and a header that is kept (4,000 bytes), said again and again by one byte each.
        let mut block = vec![0x82, 0x86, 0x84, 0x41, 1, b'a'];
        if n == 0 {
            block.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
            block.extend_from_slice(&[b'y'; 4000]);
        }
        block.extend_from_slice(&[0xbe; 60]);
        frame(1, 5, 2 * n + 1, &block)
    })
    .await;
    assert_eq!((code, app.requests()), (Some(ENHANCE_YOUR_CALM), 0));
}

#[tokio::test]
async fn bursts_of_requests_are_no_flood() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let mut socket = TcpStream::connect(proxy.address).await.unwrap();
    let mut burst = PREFACE.to_vec();
    burst.extend_from_slice(&frame(SETTINGS, 0, 0, &[]));
    // GET http://a/gate, as many as may be open, each with a priority and a window.
    for stream in (1..500).step_by(2) {
        burst.extend_from_slice(&frame(1, 5, stream, b"\x82\x86\x41\x01a\x04\x05/gate"));
        burst.extend_from_slice(&frame(2, 0, stream, &[0, 0, 0, 0, 16]));
        burst.extend_from_slice(&frame(8, 0, stream, &[0, 1, 0, 0]));
    }
    socket.write_all(&burst).await.unwrap();
    crate::harness::eventually("all are there", async || (app.requests() == 250).then_some(())).await;
    assert_eq!(proxy.stats().connections.load(Relaxed), 1);
}

#[tokio::test]
async fn errors_without_end_are_too_many_and_endpoints_see_few_of_them() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    // GET http://a/gate
    let get = |n: u32, flags: u8| frame(1, flags, 2 * n + 1, b"\x82\x86\x41\x01a\x04\x05/gate");
    let window_of_nothing = flood(&proxy, 2000, |n| {
        let mut frames = get(n, 5);
        frames.extend_from_slice(&frame(8, 0, 2 * n + 1, &[0; 4]));
        frames
    });
    assert!(window_of_nothing.await.is_some());
    let data_after_the_end = flood(&proxy, 2000, |n| {
        let mut frames = get(n, 5);
        frames.extend_from_slice(&frame(0, 0, 2 * n + 1, b"x"));
        frames
    });
    assert!(data_after_the_end.await.is_some());
    let refused = flood(&proxy, 2000, |n| get(n, 5));
    assert_eq!(refused.await, Some(ENHANCE_YOUR_CALM));
    let empty_data = flood(&proxy, 2000, |n| if n == 0 { get(0, 4) } else { frame(0, 0, 1, &[]) });
    assert_eq!(empty_data.await, Some(ENHANCE_YOUR_CALM));
    let empty_continuations = flood(&proxy, 20_000, |n| if n == 0 { get(0, 0) } else { frame(9, 0, 1, &[]) });
    assert!(empty_continuations.await.is_some());
    // So many streams may be open, and so many reset for errors, on each connection.
    assert!(app.requests() < 5 * (250 + 64), "{}", app.requests());
    assert_eq!(proxy.stats().in_flight.load(Relaxed), 0);
}
