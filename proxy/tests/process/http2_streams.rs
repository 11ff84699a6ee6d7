//! Single streams of HTTP/2 with clients, by a client that shows all there is: what comes before the response, and what becomes of
//! responses that nobody takes.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tenbin_model::{Resource, UpstreamProtocol};
use tenbin_proxy::serve::error::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::backend::{Backend, read_head, write};
use crate::harness::{PATIENCE, eventually};
use crate::inside::{Inside, plain};

/// So long an app may take to say whether it wants a body; after that the client is told to go on.
const SAYS: Duration = Duration::from_secs(1);

async fn connect_by(proxy: &Inside, builder: &Builder) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (client, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn connect(proxy: &Inside) -> SendRequest<Bytes> {
    connect_by(proxy, &Builder::new()).await
}

fn request(method: &str, path: &str, headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://a{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// Sends a request; one with a body where `whole` is false.
async fn ask(client: &SendRequest<Bytes>, request: Request<()>, whole: bool) -> (ResponseFuture, SendStream<Bytes>) {
    let mut client = client.clone().ready().await.unwrap();
    client.send_request(request, whole).unwrap()
}

/// The next that is told before the response; `None` if that is next.
async fn told(response: &mut ResponseFuture) -> Option<(StatusCode, HeaderMap)> {
    let told = timeout(PATIENCE, poll_fn(|cx| response.poll_informational(cx)));
    let (head, ()) = told.await.unwrap()?.unwrap().into_parts();
    Some((head.status, head.headers))
}

async fn answer(response: ResponseFuture) -> Response<RecvStream> {
    timeout(PATIENCE, response).await.unwrap().unwrap()
}

/// What is left of a body.
async fn rest(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = timeout(PATIENCE, body.data()).await.unwrap() {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    Ok(all)
}

async fn text(client: &SendRequest<Bytes>, path: &str) -> (StatusCode, String) {
    let response = answer(ask(client, request("GET", path, &[]), true).await.0).await;
    let status = response.status();
    (
        status,
        String::from_utf8(rest(response.into_body()).await.unwrap()).unwrap(),
    )
}

/// A worker for one endpoint whose responses may stand still for so long.
fn with_idle(endpoint: SocketAddr, idle: Duration) -> Inside {
    let mut set = plain(&[endpoint], |_| {});
    for resource in &mut set {
        if let Resource::Routes(table) = resource {
            table.hosts[0].routes[0].timeouts.idle = idle;
        }
    }
    Inside::start(set)
}

/// One endpoint that speaks HTTP/2.
fn to_http2(endpoint: SocketAddr) -> Vec<Resource> {
    let mut set = plain(&[endpoint], |_| {});
    for resource in &mut set {
        if let Resource::Cluster(cluster) = resource {
            cluster.protocol = UpstreamProtocol::Http2;
        }
    }
    set
}

/// An app that sends without end.
async fn endless() -> Backend {
    Backend::script(async |mut stream, _| {
        if read_head(&mut stream).await {
            write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n").await;
            while stream.write_all(&[b'x'; 16 << 10]).await.is_ok() {}
        }
    })
    .await
}

#[tokio::test]
async fn what_an_endpoint_says_meanwhile_comes_before_the_response() {
    /// The endpoint goes on when the client has had the first.
    static HAD: Semaphore = Semaphore::const_new(0);
    let app = Backend::script(async |mut stream, _| {
        while read_head(&mut stream).await {
            let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nkeep-alive: x\r\n\r\n";
            write(&mut stream, hint).await;
            HAD.acquire().await.unwrap().forget();
            write(&mut stream, "HTTP/1.1 102 Processing\r\n\r\n").await;
            write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let proxy = Inside::with(&[app.address], |_| {});
    let client = connect(&proxy).await;
    let (mut response, _) = ask(&client, request("GET", "/", &[]), true).await;
    let (status, headers) = told(&mut response).await.unwrap();
    assert_eq!(status, StatusCode::EARLY_HINTS);
    assert_eq!(
        (&headers["link"], headers.len()),
        (&"</a.css>; rel=preload".parse().unwrap(), 1)
    );
    HAD.add_permits(1);
    assert_eq!(told(&mut response).await.unwrap().0, StatusCode::PROCESSING);
    assert!(told(&mut response).await.is_none());
    let response = answer(response).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(rest(response.into_body()).await.unwrap(), b"ok");
}

#[tokio::test]
async fn a_flood_of_hints_is_cut() {
    let app = Backend::script(async |mut stream, _| {
        assert!(read_head(&mut stream).await);
        write(&mut stream, &"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(100)).await;
        write(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let proxy = Inside::with(&[app.address], |_| {});
    let (mut response, _) = ask(&connect(&proxy).await, request("GET", "/", &[]), true).await;
    let mut hints = 0;
    while told(&mut response).await.is_some() {
        hints += 1;
    }
    assert_eq!(hints, 16);
    assert_eq!(answer(response).await.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_is_told() {
    let app = Backend::script(async |mut stream, n| {
        assert!(read_head(&mut stream).await);
        match n {
            0 => {
                write(
                    &mut stream,
                    "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno",
                )
                .await;
                let mut body = Vec::new();
                let _ = timeout(PATIENCE, stream.read_to_end(&mut body)).await;
                assert!(body.is_empty(), "{body:?}");
                return;
            }
            1 => write(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await,
            // It does not know how to say so.
            _ => {}
        }
        stream.read_exact(&mut [0; 4]).await.unwrap();
        write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let proxy = Inside::with(&[app.address], |_| {});
    let client = connect(&proxy).await;
    let expecting = || request("POST", "/", &[("expect", "100-continue"), ("content-length", "4")]);

    let asked = Instant::now();
    let (mut refused, _body) = ask(&client, expecting(), false).await;
    if let Some((status, _)) = told(&mut refused).await {
        assert_eq!(status, StatusCode::CONTINUE);
        assert!(asked.elapsed() >= SAYS, "not before the app could say no");
        assert!(told(&mut refused).await.is_none());
    }
    let refused = answer(refused).await;
    assert_eq!(refused.status(), StatusCode::EXPECTATION_FAILED);
    assert_eq!(rest(refused.into_body()).await.unwrap(), b"no");

    for _ in 0..2 {
        let (mut welcome, mut body) = ask(&client, expecting(), false).await;
        assert_eq!(told(&mut welcome).await.unwrap().0, StatusCode::CONTINUE);
        body.send_data("body".into(), true).unwrap();
        assert!(told(&mut welcome).await.is_none());
        assert_eq!(answer(welcome).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn before_endpoints_with_http2_it_is_told_at_once() {
    let app = Backend::script(async |stream, _| {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                assert!(!request.headers().contains_key("expect"));
                let body = rest(request.into_body()).await.unwrap();
                assert_eq!(body, b"body");
                respond.send_response(Response::new(()), true).unwrap();
            });
        }
    })
    .await;
    let proxy = Inside::start(to_http2(app.address));
    let expecting = request("POST", "/", &[("expect", "100-continue"), ("content-length", "4")]);
    let (mut response, mut body) = ask(&connect(&proxy).await, expecting, false).await;
    assert_eq!(told(&mut response).await.unwrap().0, StatusCode::CONTINUE);
    body.send_data("body".into(), true).unwrap();
    assert_eq!(answer(response).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn heads_are_as_http2_wants_them() {
    let app = Backend::script(async |mut stream, n| {
        assert!(read_head(&mut stream).await);
        let dated = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let (status, headers, body) = match n {
            0 => ("200 OK", "connection: x-hop\r\nx-hop: 1\r\ncontent-length: 2\r\n", "hi"),
            1 => ("200 OK", "content-length: 5\r\n", ""),
            2 => ("304 Not Modified", dated, ""),
            _ => ("204 No Content", "", ""),
        };
        write(
            &mut stream,
            &format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n{body}"),
        )
        .await;
    })
    .await;
    let proxy = Inside::with(&[app.address], |_| {});
    let client = connect(&proxy).await;
    let head = async |method: &str| {
        let response = answer(ask(&client, request(method, "/", &[]), true).await.0).await;
        let (head, body) = response.into_parts();
        let mut names: Vec<_> = head.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        let names = names.join(" ");
        (head.status.as_u16(), names, head.headers, rest(body).await.unwrap())
    };
    let (_, names, headers, body) = head("GET").await;
    assert_eq!((names.as_str(), &body[..]), ("content-length date", &b"hi"[..]));
    assert!(headers["date"].to_str().unwrap().ends_with(" GMT"));
    let (_, _, headers, body) = head("HEAD").await;
    assert_eq!((&headers["content-length"], body.len()), (&"5".parse().unwrap(), 0));
    let (status, names, headers, _) = head("GET").await;
    assert_eq!((status, names.as_str()), (304, "date"));
    assert_eq!(headers["date"], "Sun, 06 Nov 1994 08:49:37 GMT", "the endpoint's own");
    let (status, names, ..) = head("GET").await;
    assert_eq!((status, names.as_str()), (204, "date"));
}

#[tokio::test]
async fn who_gets_no_body_gets_none_whatever_an_endpoint_sends() {
    let app = Backend::script(async |stream, _| {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut response = Response::new(());
            let is_head = request.method() == http::Method::HEAD;
            if !is_head {
                *response.status_mut() = StatusCode::NO_CONTENT;
            }
            // The end is said apart, and by one of them with what must not be there.
            let mut body = respond.send_response(response, false).unwrap();
            body.send_data(if is_head { "" } else { "body" }.into(), true).unwrap();
        }
    })
    .await;
    let proxy = Inside::start(to_http2(app.address));
    let client = connect(&proxy).await;
    for method in ["HEAD", "GET"] {
        let (response, _) = ask(&client, request(method, "/", &[]), true).await;
        assert_eq!(rest(answer(response).await.into_body()).await.unwrap(), b"", "{method}");
    }
    let stats = proxy.stats();
    eventually("both are counted", async || {
        (stats.requests[2].load(Relaxed) == 2).then_some(())
    })
    .await;
    assert_eq!(stats.failures.iter().map(|count| count.load(Relaxed)).sum::<u64>(), 0);
}

#[tokio::test]
async fn an_upload_that_is_broken_off_ends_its_request() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let client = connect(&proxy).await;
    let (response, mut body) = ask(&client, request("POST", "/sink", &[]), false).await;
    body.send_data("some".into(), false).unwrap();
    eventually("the app has it", async || (app.requests() == 1).then_some(())).await;
    body.send_reset(Reason::CANCEL);
    assert!(timeout(PATIENCE, response).await.unwrap().is_err());
    let stats = proxy.stats();
    eventually("it is over", async || {
        (stats.in_flight.load(Relaxed) == 0).then_some(())
    })
    .await;
    assert_eq!(stats.failures[Failure::ClientGone as usize].load(Relaxed), 1);
    assert_eq!(text(&client, "/who").await.0, StatusCode::OK);
}

#[tokio::test]
async fn padded_values_are_refused() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let client = connect(&proxy).await;
    for value in [&b" x"[..], b"x\t"] {
        let mut padded = request("GET", "/who", &[]);
        let value = http::HeaderValue::from_bytes(value).unwrap();
        padded.headers_mut().insert("x-padded", value);
        let (response, _) = ask(&client, padded, true).await;
        let refused = timeout(PATIENCE, response).await.unwrap().unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::PROTOCOL_ERROR));
    }
    assert_eq!(app.requests(), 0);
    assert_eq!(text(&client, "/who").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_response_that_nobody_takes_is_reset() {
    let app = endless().await;
    let proxy = with_idle(app.address, Duration::from_millis(300));
    let mut builder = Builder::new();
    builder.initial_window_size(1000);
    let client = connect_by(&proxy, &builder).await;
    let (response, _) = ask(&client, request("GET", "/", &[]), true).await;
    let mut body = answer(response).await.into_body();
    // As much as the first window holds is all that it takes.
    let error = loop {
        match timeout(PATIENCE, body.data()).await.unwrap().unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    let stats = proxy.stats();
    eventually("the request is over", async || {
        (stats.in_flight.load(Relaxed) == 0).then_some(())
    })
    .await;
    assert_eq!(stats.failures[Failure::DownloadIdle as usize].load(Relaxed), 1);
    assert_eq!(stats.connections.load(Relaxed), 1, "the connection goes on");
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection() {
    let app = endless().await;
    let proxy = with_idle(app.address, Duration::from_millis(300));
    let mut socket = TcpStream::connect(proxy.address).await.unwrap();
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // As much as a window may be, for each stream and the connection.
    frames.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]);
    frames.extend_from_slice(&[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0]);
    // GET http://a/
    frames.extend_from_slice(&[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'a']);
    socket.write_all(&frames).await.unwrap();
    let stats = proxy.stats();
    eventually("it is asked for", async || (app.connections() == 1).then_some(())).await;
    // It is not idle: a word now and then is no sign that it reads.
    let ping_free = [0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
    eventually("it is closed", async || {
        let _ = socket.write_all(&ping_free).await;
        (stats.connections.load(Relaxed) == 0 && stats.in_flight.load(Relaxed) == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn small_windows_are_no_attack() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let mut builder = Builder::new();
    builder.initial_window_size(600);
    let client = connect_by(&proxy, &builder).await;
    let (response, mut body) = ask(&client, request("POST", "/echo", &[]), false).await;
    let all = vec![b'x'; 1 << 20];
    body.send_data(all.clone().into(), true).unwrap();
    assert_eq!(rest(answer(response).await.into_body()).await.unwrap().len(), all.len());
}

#[tokio::test]
async fn a_tunnel_carries_much_and_ends_one_way_at_a_time() {
    let app = Backend::app().await;
    let proxy = Inside::with(&[app.address], |_| {});
    let client = connect(&proxy).await;
    // The server says in its first settings that it can.
    text(&client, "/who").await;
    let mut connect = request("CONNECT", "/upgrade", &[]);
    connect.extensions_mut().insert(h2::ext::Protocol::from_static("echo"));
    let (response, mut up) = ask(&client, connect, false).await;
    let response = answer(response).await;
    assert_eq!(response.status(), StatusCode::OK);
    up.send_data(vec![b'x'; 1 << 20].into(), true).unwrap();
    let back = rest(response.into_body()).await.unwrap();
    assert_eq!(back.len(), 1 << 20, "the other way goes on after the end of the first");
    let stats = proxy.stats();
    eventually("the tunnel is closed", async || {
        (stats.tunnels.load(Relaxed) == 0).then_some(())
    })
    .await;
    assert_eq!(text(&client, "/who").await.0, StatusCode::OK);
}
