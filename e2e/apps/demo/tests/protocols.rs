//! The demo app as a process, spoken to by the load driver in all their protocols: what the tests on a cluster rely on, without a proxy
//! between them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tenbin_load::{
    Answer, Call, Called, Calls, Connected, Connections, Heard, Listen, Load, Moved, Raw, Received, Report, Request,
    Started, Step, Volume,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// The app, the ports it told in the order of its flags, and the address of a driver.
struct Pair {
    process: Child,
    /// Kept, since who writes to a pipe that nobody reads from fails.
    _output: BufReader<ChildStdout>,
    ports: Vec<u16>,
    driver: SocketAddr,
}

impl Pair {
    async fn start(flags: &[&str], more: usize) -> Pair {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tenbin-demo"))
            .args(["--port", "0", "--instance", "demo-1"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let port = |line: std::io::Result<String>| line.unwrap().rsplit(':').next().unwrap().parse().unwrap();
        let ports = output.by_ref().lines().take(1 + more).map(port).collect();
        let driver = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        tokio::spawn(tenbin_load::serve(driver));
        while TcpStream::connect(driver).await.is_err() {
            tokio::task::yield_now().await;
        }
        Pair {
            process,
            _output: output,
            ports,
            driver,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[0])
    }

    fn address(&self, port: usize) -> String {
        format!("127.0.0.1:{}", self.ports[port])
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> T {
        self.call("POST", path, serde_json::to_vec(body).unwrap()).await
    }

    async fn call<T: DeserializeOwned>(&self, method: &str, path: &str, body: Vec<u8>) -> T {
        let stream = TcpStream::connect(self.driver).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = http::Request::builder().method(method).uri(path);
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(status, 200, "{body:?}");
        serde_json::from_slice(&body).unwrap()
    }

    async fn send(&self, request: Request) -> Answer {
        let answer: Answer = self.ask("/requests", &request).await;
        assert!(answer.error.is_none(), "{answer:?}");
        answer
    }

    async fn waits(&self) -> Value {
        serde_json::from_str(&self.send(Request::get(self.url("/waits"))).await.body).unwrap()
    }

    async fn raw(&self, address: String, steps: &[(&str, &str)]) -> Received {
        let step = |(after, text): &(&str, &str)| Step {
            after: (*after).to_owned(),
            text: (*text).to_owned(),
        };
        let plan = Raw {
            address,
            steps: steps.iter().map(step).collect(),
            timeout_ms: 2_000,
        };
        self.ask("/raw", &plan).await
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn speaks_http2_beside_http1_on_one_port() {
    let pair = Pair::start(&["--http-ports", "0"], 1).await;
    for http2 in [false, true] {
        for port in 0..2 {
            let url = format!("http://{}/headers", pair.address(port));
            let answer = pair
                .send(Request {
                    http2,
                    ..Request::get(url)
                })
                .await;
            let version = if http2 { "HTTP/2.0" } else { "HTTP/1.1" };
            assert_eq!(answer.headers["x-demo-protocol"], version);
        }
        let head = Request {
            method: "HEAD".to_owned(),
            http2,
            ..Request::get(pair.url("/at/1"))
        };
        let answer = pair.send(head).await;
        assert_eq!((answer.status, answer.body_bytes), (Some(200), 0));
        assert!(
            answer.headers["content-length"].parse::<u64>().unwrap() > 20,
            "{answer:?}"
        );
        let mut load = Load::new(Request::post(pair.url("/sink"), 100_000), 4);
        (load.request.http2, load.count) = (http2, Some(40));
        let started: Started = pair.ask("/loads", &load).await;
        let report = loop {
            let report: Report = pair.call("GET", &format!("/loads/{}", started.id), Vec::new()).await;
            if report.clients == 0 {
                break report;
            }
        };
        assert_eq!((report.ok, report.failed), (40, 0), "{report:?}");
        assert!(report.connections <= 4, "{report:?}");
    }
}

#[tokio::test]
async fn grpc_calls_of_all_kinds() {
    let pair = Pair::start(&[], 0).await;
    let url = pair.url("");
    for (call, messages) in [(Call::Say, 1), (Call::Count, 5), (Call::Gather, 1), (Call::Chat, 5)] {
        let plan = Calls {
            messages: 5,
            calls: 6,
            at_once: 3,
            metadata: [("x-mine".to_owned(), "yes".to_owned())].into(),
            ..Calls::new(&url, call)
        };
        let called: Called = pair.ask("/grpc", &plan).await;
        assert_eq!(called.codes, [(0, 6)].into(), "{call:?}: {called:?}");
        assert_eq!(called.instances, [("demo-1".to_owned(), 6)].into());
        assert_eq!(called.messages, 6 * messages, "{call:?}");
        assert_eq!(called.metadata["x-mine"], "yes");
    }
    let plan = Calls {
        status: 9,
        metadata: [("x-mine".to_owned(), "yes".to_owned())].into(),
        ..Calls::new(&url, Call::Say)
    };
    let called: Called = pair.ask("/grpc", &plan).await;
    assert_eq!(called.codes, [(9, 1)].into(), "{called:?}");
    assert_eq!(called.metadata["x-mine"], "yes");
}

#[tokio::test]
async fn a_call_that_waits_tells_whether_it_was_cancelled() {
    let pair = Pair::start(&[], 0).await;
    // The app goes by no deadline, and the driver only says one.
    let plan = Calls {
        ms: 50,
        deadline_ms: Some(20),
        ..Calls::new(pair.url(""), Call::Wait)
    };
    let called: Called = pair.ask("/grpc", &plan).await;
    assert_eq!(called.codes, [(0, 1)].into(), "{called:?}");
    assert_eq!(called.metadata["x-demo-deadline"], "20m");
    assert_eq!(pair.waits().await, json!({ "waiting": 0, "ended": 1, "cancelled": 0 }));

    let plan = Calls {
        ms: 60_000,
        calls: 3,
        at_once: 3,
        cancel_ms: Some(1_000),
        ..Calls::new(pair.url(""), Call::Wait)
    };
    let called: Called = pair.ask("/grpc", &plan).await;
    assert_eq!((called.given_up, called.codes.len()), (3, 0), "{called:?}");
    let told = async { while pair.waits().await != json!({ "waiting": 0, "ended": 1, "cancelled": 3 }) {} };
    timeout(Duration::from_secs(30), told)
        .await
        .expect("the app hears of it");
}

#[tokio::test]
async fn speaks_tls_with_the_certificate_it_is_given() {
    let made = rcgen::generate_simple_self_signed(["demo.test".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let flags = ["--tls-ports", "0", "--tls-certificate", &certificate, "--tls-key", &key];
    let pair = Pair::start(&flags, 1).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    for (alpn, version) in [("h2", "HTTP/2.0"), ("http/1.1", "HTTP/1.1")] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.into()];
        let stream = TcpStream::connect(pair.address(1)).await.unwrap();
        let name = ServerName::try_from("demo.test").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let io = TokioIo::new(connector.connect(name, stream).await.unwrap());
        let request = http::Request::get("https://demo.test/")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = if alpn == "h2" {
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        assert_eq!(response.headers()["x-demo-protocol"], version);
    }
}

#[test]
fn tls_needs_a_certificate() {
    let run = |flags: &[&str]| {
        let demo = Command::new(env!("CARGO_BIN_EXE_tenbin-demo"))
            .args(["--port", "0", "--tls-ports", "0"])
            .args(flags)
            .output()
            .unwrap();
        assert!(!demo.status.success());
        String::from_utf8(demo.stderr).unwrap()
    };
    let said = run(&[]);
    assert!(said.contains("--tls-certificate"), "{said}");
    let said = run(&["--tls-certificate", "x", "--tls-key", "secret"]);
    assert!(said.contains("tls-") && !said.contains("secret"), "{said}");
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let pair = Pair::start(&[], 0).await;
    let answer = pair
        .send(Request {
            http2: true,
            ..Request::post(pair.url("/trailers"), 1000)
        })
        .await;
    assert_eq!(answer.trailers["x-demo-bytes"], "1000", "{answer:?}");

    // HTTP/1.1 has them only for who asks.
    let chunked = "POST /trailers HTTP/1.1\r\nhost: demo\r\ntransfer-encoding: chunked\r\ntrailer: x-mine\r\nte: trailers\r\n\
                   connection: te, close\r\n\r\n3\r\nabc\r\n0\r\nx-mine: last\r\n\r\n";
    let received = pair.raw(pair.address(0), &[("", chunked)]).await;
    assert!(received.text.contains(r#"{"x-mine":"last"}"#), "{}", received.text);
    assert!(received.text.contains("\r\nx-demo-bytes: 3\r\n"), "{}", received.text);
    assert!(received.closed);

    // What is echoed keeps its own.
    let stream = TcpStream::connect(pair.address(0)).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let trailers = [("x-mine".parse().unwrap(), "last".parse().unwrap())]
        .into_iter()
        .collect();
    let frames = [Frame::data(Bytes::from("abc")), Frame::trailers(trailers)];
    let frames = futures::stream::iter(frames.map(Ok::<_, std::convert::Infallible>));
    let request = http::Request::post(pair.url("/echo"))
        .body(StreamBody::new(frames))
        .unwrap();
    let back = sender
        .send_request(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(back.trailers().unwrap()["x-mine"], "last");
    assert_eq!(back.to_bytes(), "abc");
}

#[tokio::test]
async fn a_body_is_asked_for_or_refused_before_it_comes() {
    let pair = Pair::start(&[], 0).await;
    let ask = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: demo\r\ncontent-length: 3\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
        )
    };
    let received = pair
        .raw(pair.address(0), &[("", &ask("/sink")), ("100 Continue\r\n\r\n", "abc")])
        .await;
    assert!(
        received.steps == 2 && received.text.contains(r#"{"bytes":3}"#),
        "{received:?}"
    );
    let received = pair
        .raw(
            pair.address(0),
            &[("", &ask("/status/417")), ("100 Continue\r\n\r\n", "abc")],
        )
        .await;
    assert!(
        received.steps == 1 && received.text.starts_with("HTTP/1.1 417"),
        "{received:?}"
    );
}

#[tokio::test]
async fn http_by_hand_says_what_a_library_does_not() {
    let pair = Pair::start(&["--raw-port", "0"], 1).await;
    let get = async |path: &str| {
        let text = format!("GET {path} HTTP/1.1\r\nhost: demo\r\n\r\n");
        pair.raw(pair.address(1), &[("", &text)]).await
    };
    let early = get("/early").await.text;
    assert!(early.starts_with("HTTP/1.1 103 Early Hints\r\nlink: "), "{early}");
    assert!(
        early.contains("\r\n\r\nHTTP/1.1 200 OK\r\n") && early.ends_with("\r\n\r\ndemo-1\n"),
        "{early}"
    );
    assert!(get("/refuse").await.text.starts_with("HTTP/1.1 417"));
    assert!(get("/").await.text.starts_with("HTTP/1.1 200"));
    for (path, text, closed) in [
        ("/half", "half", false),
        ("/cut", "half", true),
        ("/silent", "", false),
        ("/close", "", true),
        ("/garbage", "this is no HTTP\r\n\r\n", true),
    ] {
        let received = get(path).await;
        assert!(received.text.ends_with(text), "{path}: {received:?}");
        assert_eq!(received.closed, closed, "{path}: {received:?}");
    }
}

#[tokio::test]
async fn tcp_names_the_replica_and_echoes_until_the_client_is_done() {
    let mut pair = Pair::start(&["--tcp-port", "0"], 1).await;
    let plan = Connections {
        address: pair.address(1),
        connections: 3,
        bytes: 3_000_000,
    };
    let connected: Connected = pair.ask("/tcp", &plan).await;
    assert_eq!(connected.same, 3, "{connected:?}");
    assert_eq!(connected.instances, [("demo-1".to_owned(), 3)].into());

    // One that is open does not keep the app from stopping.
    let mut open = BufReader::new(std::net::TcpStream::connect(pair.address(1)).unwrap());
    let mut line = String::new();
    open.read_line(&mut line).unwrap();
    kill(
        Pid::from_raw(i32::try_from(pair.process.id()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(open.read_line(&mut line).unwrap(), 0);
    assert!(pair.process.wait().unwrap().success());
}

#[tokio::test]
async fn a_volume_comes_back_as_it_was_sent() {
    let pair = Pair::start(&[], 0).await;
    let plan = Volume {
        url: pair.url("/ws"),
        bytes: 20_000_001,
        message_bytes: 300_000,
        timeout_ms: 60_000,
    };
    let moved: Moved = pair.ask("/volume", &plan).await;
    assert_eq!(moved.error, None);
    assert_eq!((moved.sent, moved.received), (plan.bytes, plan.bytes));
    assert_eq!(moved.sent_hash, moved.received_hash);
    let elsewhere = Volume {
        url: pair.url("/nowhere"),
        ..plan
    };
    let moved: Moved = pair.ask("/volume", &elsewhere).await;
    assert!(moved.error.unwrap().contains("upgrade"));
}

#[tokio::test]
async fn events_go_on_until_the_app_stops() {
    let pair = Pair::start(&[], 0).await;
    let plan = Listen {
        url: pair.url("/events?ms=20"),
        ms: 2_000,
    };
    let heard: Heard = pair.ask("/events", &plan).await;
    assert_eq!(
        (heard.status, heard.missed, heard.broken.as_deref()),
        (Some(200), 0, None)
    );
    assert!(
        heard.events >= 5 && heard.instance.as_deref() == Some("demo-1"),
        "{heard:?}"
    );
    let plan = Listen { ms: 60_000, ..plan };
    let (heard, ()) = tokio::join!(pair.ask::<Heard>("/events", &plan), async {
        while pair.send(Request::get(pair.url("/"))).await.body.is_empty() {}
        kill(
            Pid::from_raw(i32::try_from(pair.process.id()).unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
    });
    assert_eq!(heard.broken.as_deref(), Some("the stream ended"), "{heard:?}");
}

#[tokio::test]
async fn a_replica_fails_everything_but_its_probe() {
    let pair = Pair::start(&[], 0).await;
    assert_eq!(
        pair.send(Request::post(pair.url("/fail?status=500"), 0)).await.status,
        Some(200)
    );
    for path in ["/", "/at/1", "/headers", "/nowhere"] {
        assert_eq!(
            pair.send(Request::get(pair.url(path))).await.status,
            Some(500),
            "{path}"
        );
    }
    assert_eq!(pair.send(Request::get(pair.url("/healthz"))).await.status, Some(200));
    assert_eq!(
        pair.send(Request::post(pair.url("/fail?status=1"), 0)).await.status,
        Some(400)
    );
    assert_eq!(
        pair.send(Request::post(pair.url("/fail?status=0"), 0)).await.status,
        Some(200)
    );
    assert_eq!(pair.send(Request::get(pair.url("/"))).await.status, Some(200));
}
