//! Endpoints that speak HTTP/2, and TLS with endpoints.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use h2::Reason;
use h2::server::{Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use rustls::ServerConfig;
use tenbin_model::{UpstreamProtocol, UpstreamTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::app::{App, Way, nobody};
use crate::client::{Got, get, request, send};
use crate::world::{PATIENCE, Settings, World, eventually};

/// How an app answers over HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// The head that it got, its body and trailers; and trailers of its own.
    Echo,
    /// Nothing until the test lets it.
    Gated,
    /// It refuses each request.
    Refuse,
    /// It refuses all further requests over the first connection (GOAWAY), and works over others.
    GoAway,
    /// It resets each request.
    Reset,
    /// It says so in `grpc-status`.
    GrpcStatus(&'static str),
}

#[derive(Clone)]
struct App2 {
    address: SocketAddr,
    seen: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    reset: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl App2 {
    async fn new(does: Does, most: u32, tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = App2 {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
            reset: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        };
        let serving = app.clone();
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let n = serving.connections.fetch_add(1, SeqCst);
                let (app, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => app.serve(stream, does, most, n).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                app.serve(stream, does, most, n).await;
                            }
                        }
                    }
                });
            }
        });
        app
    }

    async fn serve(&self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, does: Does, most: u32, n: usize) {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(most);
        let Ok(mut connection): Result<Connection<_, Bytes>, _> = builder.handshake(io).await else {
            return;
        };
        while let Some(Ok((request, respond))) = connection.accept().await {
            if does == Does::GoAway && n == 0 {
                // With the stream's own number still unprocessed.
                drop((request, respond));
                connection.abrupt_shutdown(Reason::NO_ERROR);
                continue;
            }
            self.seen.fetch_add(1, SeqCst);
            let app = self.clone();
            tokio::spawn(async move { app.answer(request, respond, does).await });
        }
    }

    async fn answer(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>, does: Does) {
        let (head, mut body) = request.into_parts();
        match does {
            Does::Refuse => respond.send_reset(Reason::REFUSED_STREAM),
            Does::Reset => respond.send_reset(Reason::INTERNAL_ERROR),
            Does::GrpcStatus(status) => {
                let response = Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", status);
                respond.send_response(response.body(()).unwrap(), true).unwrap();
            }
            Does::Gated => {
                let gate = Arc::clone(&self.gate);
                tokio::select! {
                    permit = gate.acquire() => permit.unwrap().forget(),
                    _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => {
                        self.reset.fetch_add(1, SeqCst);
                        return;
                    }
                }
                respond.send_response(Response::new(()), true).unwrap();
            }
            Does::Echo | Does::GoAway => {
                let mut length = 0;
                while let Some(Ok(data)) = body.data().await {
                    length += data.len();
                    body.flow_control().release_capacity(data.len()).unwrap();
                }
                let trailers = body.trailers().await.unwrap_or_default();
                let text = format!("{} {} {:#?} {length} {trailers:?}", head.method, head.uri, head.headers);
                let response = Response::builder().header("trailer", "x-sum").body(()).unwrap();
                let mut stream: SendStream<Bytes> = respond.send_response(response, false).unwrap();
                stream.send_data(text.into(), false).unwrap();
                let sum = HeaderValue::from_static("42");
                stream
                    .send_trailers(HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), sum)]))
                    .unwrap();
            }
        }
    }

    fn seen(&self) -> usize {
        self.seen.load(SeqCst)
    }

    fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

fn http2(settings: &mut Settings) {
    settings.cluster.protocol = UpstreamProtocol::Http2;
}

#[tokio::test]
async fn requests_share_a_connection_as_far_as_its_endpoint_allows() {
    for (most, requests, connections) in [(250, 100, 1), (250, 150, 2), (20, 50, 3)] {
        let app = App2::new(Does::Gated, most, None).await;
        let world = World::of(&[app.address], http2);
        let clients: Vec<_> = (0..requests).map(|_| tokio::spawn(get(world.address))).collect();
        eventually("they are all there", || app.seen() == requests).await;
        assert_eq!(app.connections(), connections, "{requests} at {most} a connection");
        app.gate.add_permits(requests);
        for client in join_all(clients).await {
            assert_eq!(client.unwrap().status, Some(200));
        }
        assert_eq!(get_after(&app, &world).await.status, Some(200));
        assert_eq!(app.connections(), connections, "they are used again");
    }
}

async fn get_after(app: &App2, world: &World) -> Got {
    app.gate.add_permits(1);
    get(world.address).await
}

#[tokio::test]
async fn a_request_is_made_fit_and_trailers_go_both_ways() {
    let app = App2::new(Does::Echo, 100, None).await;
    let world = World::of(&[app.address], http2);
    let head = "POST /x?y=1 HTTP/1.1\r\nhost: app.test:81\r\nconnection: close, x-hop\r\nx-hop: 1\r\nte: trailers\r\n\
                trailer: x-end\r\ntransfer-encoding: chunked\r\n\r\n";
    let got = send(world.address, &format!("{head}4\r\nbody\r\n0\r\nx-end: 1\r\n\r\n")).await;
    let text = got.text();
    assert!(text.contains("POST http://app.test:81/x?y=1 "), "{text}");
    assert!(
        text.contains("\"te\": \"trailers\"") && text.contains("4 Some({\"x-end\": \"1\"})"),
        "{text}"
    );
    for gone in ["x-hop", "connection", "transfer-encoding", "\"host\""] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    assert!(
        text.contains("x-sum: 42"),
        "its own trailers reach a client that takes them: {text}"
    );
    let got = get(world.address).await;
    assert!(got.whole && !got.text().contains("\"te\""), "{}", got.text());
}

#[tokio::test]
async fn a_refused_request_goes_elsewhere_whatever_its_method() {
    let (refuses, works) = (
        App2::new(Does::Refuse, 100, None).await,
        App2::new(Does::Echo, 100, None).await,
    );
    let world = World::of(&[refuses.address, works.address], |s| {
        http2(s);
        s.reserve = 1;
    });
    for body in [0, 1000, 60_000] {
        let got = send(world.address, &request("POST", body)).await;
        assert_eq!(got.status, Some(200));
        assert!(
            got.text().contains(&format!(" {body} None")),
            "all of it: {}",
            got.text()
        );
    }
    let alone = World::of(&[refuses.address], http2);
    assert_eq!(send(alone.address, &request("POST", 0)).await.status, Some(503));
    assert_eq!(alone.codes(), ["UR"]);
}

#[tokio::test]
async fn a_connection_that_takes_no_more_requests_is_replaced() {
    let app = App2::new(Does::GoAway, 100, None).await;
    let world = World::of(&[app.address], http2);
    let got = send(world.address, &request("GET", 0)).await;
    assert_eq!(got.status, Some(200), "{got:?}");
    assert_eq!(app.connections(), 2);
}

#[tokio::test]
async fn what_may_have_been_begun_is_not_sent_again() {
    let (resets, works) = (
        App2::new(Does::Reset, 100, None).await,
        App2::new(Does::Echo, 100, None).await,
    );
    let world = World::of(&[resets.address, works.address], |s| {
        http2(s);
        s.reserve = 1;
    });
    assert_eq!(send(world.address, &request("POST", 0)).await.status, Some(502));
    assert_eq!(world.codes(), ["UR"]);
    assert!(world.is_blamed(resets.address));
    assert_eq!(
        get(world.address).await.status,
        Some(200),
        "but what is idempotent, once"
    );
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_request_alone() {
    let app = App2::new(Does::Gated, 100, None).await;
    let world = World::of(&[app.address], http2);
    let stays = tokio::spawn(get(world.address));
    eventually("one is there", || app.seen() == 1).await;
    let leaves = tokio::spawn(get(world.address));
    eventually("another is there", || app.seen() == 2).await;
    leaves.abort();
    eventually("it is reset", || app.reset.load(SeqCst) == 1).await;
    app.gate.add_permits(1);
    assert_eq!(stays.await.unwrap().status, Some(200));
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn no_upgrade_passes() {
    let app = App2::new(Does::Echo, 100, None).await;
    let world = World::of(&[app.address], http2);
    let text = "GET / HTTP/1.1\r\nhost: test\r\nconnection: close, upgrade\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(send(world.address, text).await.status, Some(501));
    assert_eq!(app.seen(), 0);
}

fn grpc(timeout: &str) -> String {
    let deadline = if timeout.is_empty() {
        String::new()
    } else {
        format!("grpc-timeout: {timeout}\r\n")
    };
    format!(
        "POST /pkg.Service/Method HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/grpc\r\n{deadline}content-length: 0\r\n\r\n"
    )
}

#[tokio::test]
async fn a_grpc_client_is_told_in_its_own_words() {
    let (address, _nobody) = nobody();
    let dead = World::of(&[address], http2);
    let got = send(dead.address, &grpc("")).await;
    assert_eq!((got.status, got.header("grpc-status")), (Some(200), Some("14")));
    assert!(got.header("grpc-message").unwrap().contains("503 UF"), "{got:?}");
    assert_eq!(got.header("content-type"), Some("application/grpc"));
    assert!(got.body.is_empty());

    let hangs = App2::new(Does::Gated, 100, None).await;
    let world = World::of(&[hangs.address], http2);
    // The connection stands before a deadline begins.
    assert_eq!(get_after(&hangs, &world).await.status, Some(200));
    let got = send(world.address, &grpc("1S")).await;
    assert_eq!((got.status, got.header("grpc-status")), (Some(200), Some("4")));
    assert!(got.took >= Duration::from_secs(1) && got.took < Duration::from_secs(20));
    eventually("it is reset", || hangs.reset.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn a_grpc_status_is_held_against_who_does_not_work_alone() {
    for (status, blamed) in [
        ("0", false),
        ("5", false),
        ("4", false),
        ("2", true),
        ("13", true),
        ("14", true),
    ] {
        let app = App2::new(Does::GrpcStatus(status), 100, None).await;
        let world = World::of(&[app.address], http2);
        let got = send(world.address, &grpc("")).await;
        assert_eq!((got.status, got.header("grpc-status")), (Some(200), Some(status)));
        assert_eq!(world.is_blamed(app.address), blamed, "{status}");
    }
}

/// A server's configuration and the certificate that is to be trusted.
pub(crate) fn tls(protocol: &[u8]) -> (ServerConfig, String) {
    let signed = rcgen::generate_simple_self_signed(["app.test".to_owned()]).unwrap();
    let pem = signed.cert.pem();
    let key = rustls_pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    (config, pem)
}

/// Trust in `ca` for endpoints of this name.
pub(crate) fn trusting(ca: &str, name: &str) -> Option<UpstreamTls> {
    Some(UpstreamTls {
        server_name: name.to_owned(),
        ca: ca.to_owned(),
    })
}

#[tokio::test]
async fn tls_is_verified() {
    let (config, ca) = tls(b"h2");
    let (_, other) = tls(b"h2");
    let app = App2::new(Does::Echo, 100, Some(config)).await;
    let world = World::of(&[app.address], |s| {
        http2(s);
        s.cluster.tls = trusting(&ca, "app.test");
    });
    for _ in 0..3 {
        let got = get(world.address).await;
        assert!(got.text().contains("GET https://test/ "), "{got:?}");
    }
    assert_eq!(app.connections(), 1);
    for (ca, name) in [(&other, "app.test"), (&ca, "other.test"), (&String::new(), "app.test")] {
        let world = World::of(&[app.address], |s| {
            http2(s);
            s.cluster.tls = trusting(ca, name);
        });
        let before = app.seen();
        let got = send(world.address, &request("POST", 10)).await;
        assert_eq!((got.status, world.codes()), (Some(503), vec!["UFS"]), "{name}");
        assert_eq!(app.seen(), before);
        assert!(world.is_blamed(app.address));
    }
    let cleartext = App::new(Way::Garbage).await;
    let (first, good) = (cleartext.address, app.address);
    let world = World::of(&[first, good], |s| {
        http2(s);
        s.reserve = 1;
        s.cluster.tls = trusting(&ca, "app.test");
        s.cluster.connect_timeout = Duration::from_secs(2);
    });
    assert_eq!(
        send(world.address, &request("POST", 10)).await.status,
        Some(200),
        "nothing was sent"
    );
}

#[tokio::test]
async fn http1_over_tls_is_kept_alive_and_must_not_be_http2() {
    let (config, ca) = tls(b"http/1.1");
    let app = tls_http1(config).await;
    let world = World::of(&[app], |s| s.cluster.tls = trusting(&ca, "app.test"));
    for n in 1..=3 {
        assert_eq!(
            get(world.address).await.text(),
            format!("1 {n}"),
            "connection and request"
        );
    }
    let world = World::of(&[app], |s| {
        http2(s);
        s.cluster.tls = trusting(&ca, "app.test");
    });
    assert_eq!(get(world.address).await.status, Some(503));
    assert_eq!(world.codes(), ["UFS"]);
}

/// Answers with the number of the connection, and of the request on it.
async fn tls_http1(config: ServerConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        for connection in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                for n in 1.. {
                    if !matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {
                        return;
                    }
                    let body = format!("{connection} {n}");
                    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(text.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn what_is_silent_over_http2_times_out_and_is_reset() {
    let app = App2::new(Does::Gated, 100, None).await;
    let world = World::of(&[app.address], |s| {
        http2(s);
        s.route.timeouts.request = Duration::from_millis(200);
    });
    assert_eq!(send(world.address, &request("PUT", 100)).await.status, Some(504));
    eventually("it is reset", || app.reset.load(SeqCst) == 1).await;
    sleep(Duration::from_millis(20)).await;
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn the_rest_of_a_request_is_sent_after_its_response() {
    const SIZE: usize = 1 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for connection in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            let mut http: Connection<_, Bytes> = h2::server::handshake(stream).await.unwrap();
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Some(Ok((request, mut respond))) = http.accept().await {
                    let tell = tell.clone();
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        respond.send_response(Response::new(()), true).unwrap();
                        let mut length = 0;
                        while let Some(Ok(data)) = body.data().await {
                            length += data.len();
                            body.flow_control().release_capacity(data.len()).unwrap();
                        }
                        tell.send((connection, length)).unwrap();
                    });
                }
            });
        }
    });
    let world = World::of(&[address], http2);
    let mut client = TcpStream::connect(world.address).await.unwrap();
    for _ in 0..3 {
        let head = format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {SIZE}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            assert!(client.read_buf(&mut answer).await.unwrap() > 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        client.write_all(&vec![b'x'; SIZE]).await.unwrap();
        assert_eq!(timeout(PATIENCE, told.recv()).await.unwrap(), Some((1, SIZE)));
    }
}
