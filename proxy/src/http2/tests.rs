//! Two of our own connections over a pipe.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tenbin_http2::{Config, Connection, Reason};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use super::{Came, Link, Lost, Receiver, Sender, Shared};

/// Drives a side until it ends; what begins there goes to `begun`.
async fn drive(mut link: Link<DuplexStream>, begun: mpsc::UnboundedSender<(Request<()>, Sender, Receiver)>) {
    let mut scratch = [0; 4096];
    poll_fn(|cx| {
        loop {
            let written = link.poll_write(cx);
            if matches!(written, Poll::Ready(Err(_))) {
                return Poll::Ready(());
            }
            while let Some(came) = link.next().expect("both keep to the rules") {
                if let Came::Request(head, sender, receiver) = came {
                    let _ = begun.send((head, sender, receiver));
                }
            }
            match link.poll_read(&mut scratch, cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if written.is_ready() && link.has_output() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

struct Pair {
    client: Rc<Shared>,
    begun: mpsc::UnboundedReceiver<(Request<()>, Sender, Receiver)>,
    driven: tokio::task::JoinHandle<()>,
}

/// A client and a server, both driven.
#[expect(clippy::disallowed_methods, reason = "both sides need somebody to drive them")]
fn pair(config: Config) -> Pair {
    let (ours, theirs) = duplex(1000);
    let client = Shared::new(Connection::client(config), true);
    let server = Shared::new(Connection::server(config), false);
    let (begins, begun) = mpsc::unbounded_channel();
    let (nothing, _) = mpsc::unbounded_channel();
    tokio::task::spawn_local(drive(Link::new(ours, Rc::clone(&client)), nothing));
    let driven = tokio::task::spawn_local(drive(Link::new(theirs, server), begins));
    Pair { client, begun, driven }
}

fn get(path: &str) -> Request<()> {
    Request::builder()
        .uri(format!("http://a.example{path}"))
        .body(())
        .unwrap()
}

async fn read(receiver: &Receiver) -> Result<(Vec<u8>, Option<HeaderMap>), Lost> {
    let (mut body, mut trailers) = (Vec::new(), None);
    while let Some(frame) = poll_fn(|cx| receiver.poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    assert!(receiver.is_end());
    Ok((body, trailers))
}

async fn write(sender: &Sender, data: &[u8], end: bool) -> Result<(), Lost> {
    let mut data = Bytes::copy_from_slice(data);
    loop {
        poll_fn(|cx| sender.poll_data(&mut data, end, cx)).await?;
        if data.is_empty() {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "local")]
async fn bodies_larger_than_any_window_pass_both_ways_at_once() {
    let mut pair = pair(Config {
        stream_window: 5000,
        output: 3000,
        ..Config::default()
    });
    let body: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
    for _ in 0..3 {
        let (sender, receiver) = pair.client.request(&get("/"), &[], false).unwrap();
        let (head, answer, ask) = pair.begun.recv().await.unwrap();
        assert_eq!(head.uri(), "http://a.example/");
        answer.respond(&Response::new(()), false).unwrap();
        let head = poll_fn(|cx| receiver.poll_head(cx)).await.unwrap();
        assert_eq!(head.status(), 200);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", "yes".parse().unwrap());
        let echo = async {
            while let Some(frame) = poll_fn(|cx| ask.poll_frame(cx)).await {
                write(&answer, &frame.unwrap().into_data().unwrap(), false)
                    .await
                    .unwrap();
            }
            answer.trailers(&trailers).unwrap();
        };
        let (sent, came, ()) = tokio::join!(write(&sender, &body, true), read(&receiver), echo);
        sent.unwrap();
        let (came, ended) = came.unwrap();
        assert!(came == body);
        assert_eq!(ended, Some(trailers));
    }
}

#[tokio::test(flavor = "local")]
async fn an_end_that_comes_apart_stays_apart() {
    let mut pair = pair(Config::default());
    let _bare = pair.client.request(&get("/"), &[], true).unwrap();
    let (_, _answer, ask) = pair.begun.recv().await.unwrap();
    assert!(ask.is_end());

    let (sender, _receiver) = pair.client.request(&get("/"), &[], false).unwrap();
    write(&sender, b"", true).await.unwrap();
    let (_, _answer, ask) = pair.begun.recv().await.unwrap();
    // Another exchange both ways, so that the end came.
    let (_sender, receiver) = pair.client.request(&get("/"), &[], true).unwrap();
    let (_, answer, _ask) = pair.begun.recv().await.unwrap();
    answer.respond(&Response::new(()), true).unwrap();
    poll_fn(|cx| receiver.poll_head(cx)).await.unwrap();
    assert!(!ask.is_end(), "nobody took it");
    assert_eq!(read(&ask).await, Ok((Vec::new(), None)));
}

#[tokio::test(flavor = "local")]
async fn a_stream_that_nobody_holds_is_reset() {
    let mut pair = pair(Config::default());
    let (sender, receiver) = pair.client.request(&get("/"), &[], false).unwrap();
    let (_, answer, _ask) = pair.begun.recv().await.unwrap();
    drop((sender, receiver));
    assert_eq!(poll_fn(|cx| answer.poll_lost(cx)).await, Lost::Reset(Reason::CANCEL));
    assert!(answer.respond(&Response::new(()), true).is_err());

    // Who has answered in full needs no more of the request.
    let (_sender, receiver) = pair.client.request(&get("/"), &[], false).unwrap();
    let (_, answer, ask) = pair.begun.recv().await.unwrap();
    answer.respond(&Response::new(()), true).unwrap();
    drop((answer, ask));
    poll_fn(|cx| receiver.poll_head(cx)).await.unwrap();
    assert_eq!(read(&receiver).await, Ok((Vec::new(), None)));
}

#[tokio::test(flavor = "local")]
async fn the_end_of_a_connection_is_the_end_of_its_streams() {
    let mut pair = pair(Config::default());
    let (_sender, receiver) = pair.client.request(&get("/"), &[], true).unwrap();
    let begun = pair.begun.recv().await.unwrap();
    pair.driven.abort();
    let lost = poll_fn(|cx| receiver.poll_head(cx)).await;
    assert_eq!(lost.map(drop), Err(Lost::Connection));
    assert!(pair.client.is_closed());
    assert!(pair.client.request(&get("/"), &[], true).is_err());
    drop(begun);
}

#[tokio::test(flavor = "local")]
async fn one_that_is_shut_down_ends_what_it_began() {
    let mut pair = pair(Config::default());
    let (sender, receiver) = pair.client.request(&get("/"), &[], false).unwrap();
    let (_, answer, ask) = pair.begun.recv().await.unwrap();
    pair.client.shut_down();
    assert!(pair.client.request(&get("/"), &[], true).is_err());
    write(&sender, b"all", true).await.unwrap();
    assert_eq!(read(&ask).await, Ok((b"all".to_vec(), None)));
    answer.respond(&Response::new(()), true).unwrap();
    poll_fn(|cx| receiver.poll_head(cx)).await.unwrap();
}
