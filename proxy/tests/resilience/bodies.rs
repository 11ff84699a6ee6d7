//! How large bodies may be, how long they may stand still, and what is held of them.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::app::{App, Way};
use crate::client::{get, request, send};
use crate::world::{PATIENCE, World, eventually};

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_at_once_or_when_it_is() {
    let app = App::new(Way::Silent).await;
    let world = World::of(&[app.address], |s| s.route.bodies.request_max = Some(1000));
    let got = send(world.address, &request("POST", 1001)).await;
    assert_eq!((got.status, app.seen()), (Some(413), 0));
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    let head = "POST / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let got = send(world.address, &format!("{head}{chunk}1\r\nx\r\n0\r\n\r\n")).await;
    assert_eq!((got.status, got.whole), (Some(413), true));
    assert_eq!(world.codes(), ["RTL"]);
    assert!(!world.is_blamed(app.address));
    let fits = App::new(Way::Well).await;
    let world = World::of(&[fits.address], |s| s.route.bodies.request_max = Some(1000));
    assert_eq!(send(world.address, &request("POST", 1000)).await.status, Some(200));
}

#[tokio::test]
async fn a_response_that_is_too_large_is_refused_or_breaks_off() {
    for told in [true, false] {
        let app = App::new(Way::Large(2000, told)).await;
        let world = World::of(&[app.address], |s| s.route.bodies.response_max = Some(1999));
        let got = get(world.address).await;
        assert_eq!((got.status == Some(502), got.whole), (told, told), "{got:?}");
        assert_eq!(world.codes(), ["UTL"]);
        let world = World::of(&[app.address], |s| s.route.bodies.response_max = Some(2000));
        assert!(get(world.address).await.whole);
        let world = World::of(&[app.address], |s| {
            s.route.bodies.response_max = Some(1999);
            s.route.bodies.response_buffer = Some(4000);
        });
        assert_eq!(get(world.address).await.status, Some(502), "none of it was sent yet");
    }
}

#[tokio::test]
async fn what_is_held_back_frees_the_endpoint_from_a_slow_client() {
    let size = 900_000;
    for told in [true, false] {
        let app = App::new(Way::Large(size, told)).await;
        let world = World::of(&[app.address], |s| s.route.bodies.response_buffer = Some(1 << 20));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&world.address.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut slow = TcpStream::from_std(socket.into()).unwrap();
        slow.write_all(request("GET", 0).as_bytes()).await.unwrap();
        eventually("the endpoint is done", || {
            app.seen() == 1 && world.open_at(app.address) == 0
        })
        .await;
        assert_eq!(get(world.address).await.status, Some(200));
        assert_eq!(app.connections(), 1, "its connection is free too");
        let mut all = Vec::new();
        slow.read_to_end(&mut all).await.unwrap();
        assert!(all.len() > size, "and the client gets all of it: {}", all.len());
    }
}

#[tokio::test]
async fn a_body_may_take_any_time_as_long_as_it_moves() {
    let app = App::new(Way::Well).await;
    let world = World::of(&[app.address], |s| {
        s.route.timeouts.request = Duration::from_secs(3);
        s.route.timeouts.idle = Duration::from_secs(5);
    });
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 8\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for byte in b"slowpace" {
        sleep(Duration::from_millis(450)).await;
        stream.write_all(&[*byte]).await.unwrap();
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
}

#[tokio::test]
async fn an_upload_that_stands_still_after_its_answer_is_cut() {
    let app = App::new(Way::Early).await;
    let world = World::of(&[app.address], |s| s.route.timeouts.idle = Duration::from_secs(2));
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 8\r\n\r\nhalf";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = vec![0; 4096];
    let n = stream.read(&mut text).await.unwrap();
    assert!(text[..n].starts_with(b"HTTP/1.1 200 OK"));
    let open = || {
        let snapshot = world.state.load();
        let cluster = snapshot.clusters().next().unwrap();
        let (endpoint, _) = cluster.endpoints().next().unwrap();
        endpoint
            .stats
            .open_connections
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    eventually("the connection to the endpoint is closed", || open() == 0).await;
}

#[tokio::test]
async fn what_a_client_breaks_off_never_looks_whole_to_an_endpoint() {
    for reason in [Reason::NO_ERROR, Reason::CANCEL] {
        let endpoint = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World::before(&[endpoint.local_addr().unwrap()]);
        let stream = TcpStream::connect(world.address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        drop(tokio::spawn(connection));
        let mut client = client.ready().await.unwrap();
        let request = Request::post("http://test/").body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        let (mut stream, _) = endpoint.accept().await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.windows(4).any(|part| part == b"half") {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "{bytes:?}");
        }
        body.send_reset(reason);
        assert!(response.await.is_err());
        // However it ends.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("0\r\n\r\n"), "{reason:?}: {text}");
        eventually("it is over", || world.codes() == ["DC"]).await;
    }
}
