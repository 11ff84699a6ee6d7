//! Requests whose bodies are still on their way when the response comes, over HTTP/1.1: neither waits for the other, and what is left of a
//! request is sent before its connection takes another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::http2::{tls, trusting};
use crate::world::{PATIENCE, World};

/// An app that does `script` on each connection; its address, and how many connections it had.
async fn app<F: Future<Output = ()> + Send>(
    script: impl Fn(TcpStream, usize) -> F + Clone + Send + Sync + 'static,
) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let script = script.clone();
            let n = count.fetch_add(1, SeqCst) + 1;
            tokio::spawn(async move { script(stream, n).await });
        }
    });
    (address, connections)
}

/// Reads up to the end of a head and takes that away; what came after it.
async fn until_blank(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let after = bytes.split_off(at + 4);
            return (String::from_utf8(bytes).unwrap(), after);
        }
        let n = timeout(PATIENCE, stream.read_buf(&mut bytes)).await.unwrap().unwrap();
        assert!(n > 0, "an end in {:?}", String::from_utf8_lossy(&bytes));
    }
}

async fn exactly(stream: &mut TcpStream, mut came: Vec<u8>, length: usize) -> Vec<u8> {
    while came.len() < length {
        let n = timeout(PATIENCE, stream.read_buf(&mut came)).await.unwrap().unwrap();
        assert!(n > 0, "an end after {} of {length} bytes", came.len());
    }
    came
}

fn body(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn both_ways_at_a_time() {
    const SIZE: usize = 3 << 20;
    // It answers with half of its body, reads the request's, and then sends the rest.
    let (address, connections) = app(|mut stream, _| async move {
        for _ in 0..3 {
            let (_, came) = until_blank(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhal")
                .await
                .unwrap();
            assert!(exactly(&mut stream, came, SIZE).await == body(SIZE));
            stream.write_all(b"ves").await.unwrap();
        }
    })
    .await;
    let world = World::before(&[address]);
    let mut client = TcpStream::connect(world.address).await.unwrap();
    for _ in 0..3 {
        let head = format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {SIZE}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let (head, came) = until_blank(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        client.write_all(&body(SIZE)).await.unwrap();
        assert_eq!(exactly(&mut client, came, 6).await, b"halves");
    }
    assert_eq!(connections.load(SeqCst), 1);
}

#[tokio::test]
async fn the_rest_of_a_request_is_sent_after_its_response() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (address, connections) = app(move |mut stream, n| {
        let tell = tell.clone();
        async move {
            loop {
                let (head, came) = until_blank(&mut stream).await;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await
                    .unwrap();
                let text = if head.contains("chunked") {
                    "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
                } else {
                    "abcdefg"
                };
                let body = exactly(&mut stream, came, text.len()).await;
                tell.send((n, String::from_utf8(body).unwrap() == text)).unwrap();
            }
        }
    })
    .await;
    let world = World::before(&[address]);
    let mut client = TcpStream::connect(world.address).await.unwrap();
    for (framing, parts) in [
        ("content-length: 7", ["abc", "defg"]),
        ("transfer-encoding: chunked", ["3\r\nabc\r\n", "4\r\ndefg\r\n0\r\n\r\n"]),
        ("content-length: 7", ["abc", "defg"]),
    ] {
        let head = format!("POST / HTTP/1.1\r\nhost: test\r\n{framing}\r\n\r\n{}", parts[0]);
        client.write_all(head.as_bytes()).await.unwrap();
        let (_, came) = until_blank(&mut client).await;
        assert_eq!(exactly(&mut client, came, 2).await, b"ok");
        client.write_all(parts[1].as_bytes()).await.unwrap();
        assert_eq!(
            timeout(PATIENCE, told.recv()).await.unwrap(),
            Some((1, true)),
            "{framing}"
        );
    }
    assert_eq!(connections.load(SeqCst), 1, "one request after the other");
}

#[tokio::test]
async fn an_endpoint_that_answers_and_closes_is_heard_whatever_is_still_to_be_sent() {
    let (address, _) = app(|mut stream, _| async move {
        until_blank(&mut stream).await;
        let text = "HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nown";
        stream.write_all(text.as_bytes()).await.unwrap();
    })
    .await;
    let world = World::before(&[address]);
    for _ in 0..20 {
        let mut client = TcpStream::connect(world.address).await.unwrap();
        let head = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        let _ = client.write_all(&body(200_000)).await;
        let (head, came) = until_blank(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 413"), "{head}");
        assert_eq!(exactly(&mut client, came, 3).await, b"own");
    }
    assert!(world.codes().is_empty(), "{:?}", world.codes());
}

#[tokio::test]
async fn a_connection_that_was_closed_or_spoke_unasked_takes_no_request() {
    for unasked in ["", "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"] {
        let (tell, mut told) = mpsc::unbounded_channel();
        let (address, connections) = app(move |mut stream, _| {
            let tell = tell.clone();
            async move {
                let (_, came) = until_blank(&mut stream).await;
                exactly(&mut stream, came, 4).await;
                let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(ok.as_bytes()).await.unwrap();
                stream.write_all(unasked.as_bytes()).await.unwrap();
                drop(stream);
                tell.send(()).unwrap();
            }
        })
        .await;
        let world = World::before(&[address]);
        let mut client = TcpStream::connect(world.address).await.unwrap();
        for n in 1..=20 {
            let request = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbody";
            client.write_all(request.as_bytes()).await.unwrap();
            let (head, came) = until_blank(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
            exactly(&mut client, came, 2).await;
            told.recv().await.unwrap();
            assert_eq!(connections.load(SeqCst), n);
        }
        assert!(world.codes().is_empty());
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_under_tls_takes_no_request() {
    let (config, ca) = tls(b"http/1.1");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (tell, mut told) = mpsc::unbounded_channel();
    let (address, connections) = app(move |stream, _| {
        let (acceptor, tell) = (acceptor.clone(), tell.clone());
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut request = vec![0; 4096];
            // Twice, since what TLS itself sends after the handshake is no reason to give a connection up.
            for _ in 0..2 {
                assert!(stream.read(&mut request).await.unwrap() > 0);
                let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(ok.as_bytes()).await.unwrap();
            }
            stream.shutdown().await.unwrap();
            tell.send(()).unwrap();
            // An end of TLS alone has to do: the socket stays open.
            let _ = stream.read(&mut request).await;
        }
    })
    .await;
    let world = World::of(&[address], |s| s.cluster.tls = trusting(&ca, "app.test"));
    let mut client = TcpStream::connect(world.address).await.unwrap();
    for n in 1..=10 {
        for _ in 0..2 {
            let request = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbody";
            client.write_all(request.as_bytes()).await.unwrap();
            let (head, came) = until_blank(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
            exactly(&mut client, came, 2).await;
        }
        told.recv().await.unwrap();
        assert_eq!(connections.load(SeqCst), n);
    }
}

#[tokio::test]
async fn bytes_that_come_with_a_switch_of_protocols_are_passed_on() {
    let (address, _) = app(|mut stream, _| async move {
        until_blank(&mut stream).await;
        let text = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nfirst";
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.unwrap();
        stream.write_all(&back).await.unwrap();
    })
    .await;
    let world = World::before(&[address]);
    let mut client = TcpStream::connect(world.address).await.unwrap();
    let request = "GET / HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let (head, came) = until_blank(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(exactly(&mut client, came, 5).await, b"first");
    client.write_all(b"back").await.unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "back");
}

#[tokio::test]
async fn a_flood_of_informational_responses_is_no_answer() {
    for (count, status) in [(16, "200"), (17, "502")] {
        let (address, _) = app(move |mut stream, _| async move {
            until_blank(&mut stream).await;
            let flood = "HTTP/1.1 102 Processing\r\n\r\n".repeat(count);
            stream.write_all(flood.as_bytes()).await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.read_u8().await;
        })
        .await;
        let world = World::before(&[address]);
        let mut client = TcpStream::connect(world.address).await.unwrap();
        let request = "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        assert_eq!(got.matches("HTTP/1.1 102").count(), 16, "{got}");
        assert!(got.contains(&format!("\r\n\r\nHTTP/1.1 {status}")), "{got}");
        assert_eq!(world.codes().contains(&"UPE"), status == "502");
    }
}
