//! HTTP/2 with clients: what passes, and what hostile clients come to.

use std::process::Stdio;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::backend::{Backend, read_head, write};
use crate::harness::{PATIENCE, Proxy, eventually};
use crate::inside::Inside;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

type Sender = SendRequest<Full<Bytes>>;

async fn connect(proxy: &Inside) -> Sender {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://test.example{path}");
    Request::builder().uri(uri).body(Full::default()).unwrap()
}

async fn text(sender: &mut Sender, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let sender = connect(&proxy).await;
    let ask = |_| {
        let mut sender = sender.clone();
        async move { text(&mut sender, get("/who")).await }
    };
    for (status, who) in join_all((0..500).map(ask)).await {
        assert_eq!((status, who), (StatusCode::OK, app.address.to_string()));
    }
    assert_eq!(proxy.stats().accepted.load(Relaxed), 1);
    let mut sender = sender;
    let mut echo = get("/echo");
    *echo.method_mut() = Method::POST;
    *echo.body_mut() = Full::from(vec![b'x'; 3 << 20]);
    let (status, body) = text(&mut sender, echo).await;
    assert_eq!(
        (status, body.len()),
        (StatusCode::OK, 3 << 20),
        "windows are opened again"
    );
}

#[tokio::test]
async fn headers_are_as_an_http1_endpoint_wants_them() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let mut sender = connect(&proxy).await;
    let mut request = get("/headers?x=1");
    for cookie in ["a=1", "b=2"] {
        request.headers_mut().append("cookie", cookie.parse().unwrap());
    }
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let (_, seen) = text(&mut sender, request).await;
    assert!(seen.starts_with("GET /headers?x=1\n"), "{seen}");
    for expected in [
        "\"host\": \"test.example\"",
        "\"cookie\": \"a=1; b=2\"",
        "\"te\": \"trailers\"",
        "\"x-forwarded-proto\": \"http\"",
    ] {
        assert!(seen.contains(expected), "{expected} in {seen}");
    }
    let mut connect = get("/");
    *connect.method_mut() = Method::CONNECT;
    *connect.uri_mut() = "test.example:80".parse().unwrap();
    assert_eq!(text(&mut sender, connect).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn what_we_answer_to_head_has_no_body() {
    let proxy = Inside::with(&[], |_| {});
    let mut sender = connect(&proxy).await;
    let mut head = get("/");
    *head.method_mut() = Method::HEAD;
    assert_eq!(
        text(&mut sender, head).await,
        (StatusCode::SERVICE_UNAVAILABLE, String::new())
    );
    let (status, words) = text(&mut sender, get("/")).await;
    assert!(
        status == StatusCode::SERVICE_UNAVAILABLE && words.contains("UH"),
        "{words}"
    );
}

#[tokio::test]
async fn curl_speaks_it_by_prior_knowledge() {
    let app = Backend::app().await;
    let proxy = Proxy::before(&[app.address]).await;
    let mut curl = tokio::process::Command::new("curl");
    curl.args(["-sS", "--http2-prior-knowledge", "-w", " %{http_version} %{http_code}"]);
    curl.arg(format!("http://{}/who", proxy.address()))
        .stdout(Stdio::piped());
    let Ok(output) = curl.output().await else {
        eprintln!("there is no curl here");
        return;
    };
    let said = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, format!("{} 2 200", app.address), "{told}");
}

#[tokio::test]
async fn trailers_reach_the_client() {
    let app = Backend::script(async |mut stream, _| {
        assert!(read_head(&mut stream).await);
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: grpc-status\r\n\r\n";
        write(&mut stream, &format!("{head}2\r\nhi\r\n0\r\ngrpc-status: 7\r\n\r\n")).await;
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let proxy = Inside::with(&[app.address], |_| {});
    let mut sender = connect(&proxy).await;
    let response = sender.send_request(get("/")).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "7");
    assert_eq!(body.to_bytes(), "hi");

    // HTTP/1.1 clients get them too, if they say that they take them.
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n")
        .await;
    let head = client.head().await.unwrap();
    assert_eq!(head.header("trailer"), Some("grpc-status"));
    assert_eq!(client.chunk().await.unwrap(), b"hi");
    assert_eq!(client.exactly(21).await.unwrap(), b"0\r\ngrpc-status: 7\r\n\r\n");
}

#[tokio::test]
async fn a_stream_can_be_a_websocket() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // The server says in its first settings that it can.
    let mut first = Request::new(Empty::<Bytes>::new());
    *first.uri_mut() = "http://a/who".parse().unwrap();
    sender.send_request(first).await.unwrap();
    let connect = |path: &str| {
        let request = Request::builder().method("CONNECT").uri(format!("http://a{path}"));
        request
            .extension(Protocol::from_static("echo"))
            .body(Empty::new())
            .unwrap()
    };
    let response = sender.send_request(connect("/upgrade")).await.unwrap();
    assert_eq!(
        (response.status(), response.headers().get("upgrade")),
        (StatusCode::OK, None)
    );
    let mut socket = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    for message in ["one", "and two"] {
        socket.write_all(message.as_bytes()).await.unwrap();
        let mut back = vec![0; message.len()];
        socket.read_exact(&mut back).await.unwrap();
        assert_eq!(back, message.as_bytes());
    }
    assert_eq!(proxy.stats().tunnels.load(Relaxed), 1);
    drop(socket);
    eventually("the tunnel is closed", async || {
        (proxy.stats().in_flight.load(Relaxed) == 0).then_some(())
    })
    .await;
    let refused = sender.send_request(connect("/who")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_GATEWAY, "the endpoint did not switch");
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_takes_its_request_back() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let mut sender = connect(&proxy).await;
    let asked = tokio::spawn(sender.send_request(get("/gate")));
    eventually("the app has it", async || (app.requests() == 1).then_some(())).await;
    asked.abort();
    eventually("the app is told", async || (app.cancelled() == 1).then_some(())).await;
    assert_eq!(
        text(&mut sender, get("/who")).await.0,
        StatusCode::OK,
        "the connection lives on"
    );
}

#[tokio::test]
async fn the_preface_may_come_in_bytes_but_not_for_ever() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |listener| {
        listener.header_timeout = Duration::from_secs(3);
    });
    let mut slow = TcpStream::connect(proxy.address).await.unwrap();
    slow.set_nodelay(true).unwrap();
    for byte in PREFACE {
        slow.write_all(&[*byte]).await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    slow.write_all(SETTINGS).await.unwrap();
    let mut frame = [0; 9];
    slow.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "settings");

    let mut stuck = TcpStream::connect(proxy.address).await.unwrap();
    stuck.write_all(&PREFACE[..20]).await.unwrap();
    assert_eq!(timeout(PATIENCE, stuck.read(&mut frame)).await.unwrap().unwrap(), 0);

    // What only begins like it is HTTP/1 with a method that nobody knows.
    let mut client = proxy.client().await;
    client.send("PRIVET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response().await.status, 404);
    assert_eq!(app.requests(), 1);
}

#[tokio::test]
async fn idle_connections_are_told_to_go() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |listener| {
        listener.idle_timeout = Duration::from_secs(4);
        listener.header_timeout = Duration::from_secs(1);
    });
    let mut sender = connect(&proxy).await;
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        text(&mut sender, get("/who")).await.0,
        StatusCode::OK,
        "no request yet is no slow request"
    );
    let slow = sender.send_request(get("/gate"));
    sleep(Duration::from_millis(4500)).await;
    app.open();
    assert_eq!(slow.await.unwrap().status(), StatusCode::OK, "who waits is not idle");
    eventually("it is closed", async || sender.is_closed().then_some(())).await;
    proxy.await_no_connection().await;
}

#[tokio::test]
async fn a_drain_says_goodbye_and_lets_open_streams_end() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let mut sender = connect(&proxy).await;
    let open = sender.send_request(get("/gate"));
    let open = tokio::spawn(open);
    eventually("it is there", async || (app.requests() == 1).then_some(())).await;
    proxy.lifecycle.drain();
    let last = sender.send_request(get("/who")).await.unwrap();
    assert_eq!(
        (last.status(), last.headers().get("connection")),
        (StatusCode::OK, None)
    );
    eventually("nothing more is taken", async || {
        sender.send_request(get("/who")).await.is_err().then_some(())
    })
    .await;
    app.open();
    let response = open.await.unwrap().unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "open");
    proxy.await_no_connection().await;
}

#[tokio::test]
async fn large_lists_of_headers_are_refused() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let mut sender = connect(&proxy).await;
    let mut large = get("/who");
    for n in 0..20 {
        let value = "y".repeat(4000).parse().unwrap();
        large.headers_mut().insert(
            http::HeaderName::from_bytes(format!("x-{n}").as_bytes()).unwrap(),
            value,
        );
    }
    match sender.send_request(large).await {
        Ok(response) => assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Err(error) => assert!(!error.is_parse(), "{error}"),
    }
    assert_eq!(app.requests(), 0);
    let mut sender = connect(&proxy).await;
    assert_eq!(text(&mut sender, get("/who")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::spawn(connection);
    for n in 0..20_000 {
        let Ok(ready) = sender.ready().await else { break };
        sender = ready;
        let request = Request::builder().uri("http://a/gate").body(()).unwrap();
        let Ok((_, mut stream)) = sender.send_request(request, true) else {
            break;
        };
        stream.send_reset(h2::Reason::CANCEL);
        assert!(n < 19_999, "it never ends");
        tokio::task::yield_now().await;
    }
    assert!(timeout(PATIENCE, ended).await.is_ok());
    proxy.await_no_connection().await;
    assert!(app.requests() < 2000, "{}", app.requests());
    assert_eq!(proxy.stats().in_flight.load(Relaxed), 0);
    assert_eq!(proxy.client().await.get("/who").await.status, 200);
}

#[tokio::test]
async fn garbage_after_the_preface_is_no_more_than_a_lost_connection() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    for garbage in [
        &[0xff; 64][..],
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        client.write_all(PREFACE).await.unwrap();
        client.write_all(garbage).await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, client.read_to_end(&mut rest)).await.unwrap();
        let mut kinds = Vec::new();
        let mut frames = &rest[..];
        while let [a, b, c, kind, ..] = *frames {
            kinds.push(kind);
            frames = &frames[9 + u32::from_be_bytes([0, a, b, c]) as usize..];
        }
        assert_eq!(kinds.last(), Some(&7), "it hears of it (GOAWAY): {kinds:?}");
    }
    proxy.await_no_connection().await;
    assert!(proxy.stats().malformed.load(Relaxed) >= 2);
}
