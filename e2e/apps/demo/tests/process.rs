//! The demo app as a process, spoken to over its port.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt, StreamExt, TryStreamExt, channel::mpsc};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

type Body = BoxBody<Bytes, std::convert::Infallible>;

struct Demo {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Demo {
    fn start(flags: &[&str]) -> Demo {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tenbin-demo"))
            .args(["--port", "0", "--instance", "demo-1", "--app", "shop"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let started = output.next().unwrap().unwrap();
        let port = started.rsplit(':').next().unwrap().parse().unwrap();
        assert_eq!(started, format!("demo-1 of shop listens on 0.0.0.0:{port}"));
        Demo { process, output, port }
    }

    async fn connect(&self) -> SendRequest<Body> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        let mut sender = self.connect().await;
        tokio::time::timeout(PATIENCE, sender.send_request(request))
            .await
            .unwrap()
            .unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        to_text(self.send(request(Method::GET, path)).await).await
    }

    async fn post(&self, path: &str) -> (StatusCode, String) {
        to_text(self.send(request(Method::POST, path)).await).await
    }

    async fn get_json(&self, path: &str) -> Value {
        let (status, text) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Waits for the process to end, and says with which code.
    fn code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.process.try_wait().unwrap() {
                Some(status) => return status.code(),
                None => assert!(Instant::now() < deadline, "the process does not end"),
            }
            std::thread::yield_now();
        }
    }

    fn terminate(&self) {
        kill(
            Pid::from_raw(i32::try_from(self.process.id()).unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn request(method: Method, path: &str) -> Request<Body> {
    with_body(method, path, Full::new(Bytes::new()).boxed())
}

fn with_body(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "demo")
        .body(body)
        .unwrap()
}

/// A body whose chunks come from a channel.
fn body_from_channel() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (
        sender,
        BodyExt::boxed(StreamBody::new(receiver.map(|chunk| Ok(Frame::data(chunk))))),
    )
}

async fn to_text(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = tokio::time::timeout(PATIENCE, response.into_body().collect())
        .await
        .unwrap()
        .unwrap();
    (status, String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn says_who_it_is_and_counts_requests_but_not_probes() {
    let demo = Demo::start(&[]);
    assert_eq!(
        demo.get_json("/").await,
        json!({ "instance": "demo-1", "app": "shop", "requests": 1 })
    );
    demo.get("/healthz").await;
    assert_eq!(demo.get_json("/").await["requests"], 2);
    assert_eq!(demo.get_json("/at/any/place?x=1").await["requests"], 3);
    let response = demo.send(request(Method::GET, "/nowhere")).await;
    assert_eq!(response.headers()["x-tenbin-instance"], "demo-1");
    let (status, help) = to_text(response).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(help.contains("POST /kill"), "{help}");
}

#[tokio::test]
async fn post_kill_ends_it_without_an_answer_and_get_kill_does_not() {
    let mut demo = Demo::start(&[]);
    let response = demo.send(request(Method::GET, "/kill")).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(demo.get_json("/").await["requests"], 2);
    let mut sender = demo.connect().await;
    assert!(sender.send_request(request(Method::POST, "/kill")).await.is_err());
    assert_eq!(demo.code(), Some(1));
}

#[tokio::test]
async fn slow_takes_its_time_for_one_answer_or_for_all() {
    let demo = Demo::start(&[]);
    let elapsed = async |path: &str| {
        let start = Instant::now();
        assert_eq!(demo.get(path).await.0, StatusCode::OK);
        start.elapsed()
    };
    assert!(elapsed("/slow?ms=80").await >= Duration::from_millis(80));
    let (status, text) = demo.get("/slow?ms=60001").await;
    assert_eq!(
        (status, text.as_str()),
        (
            StatusCode::BAD_REQUEST,
            "parameter ms is '60001', must be a number from 0 to 60000\n"
        )
    );
    assert_eq!(demo.get("/slow").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(demo.post("/slow?ms=90").await.0, StatusCode::OK);
    assert!(elapsed("/").await >= Duration::from_millis(90));
    assert!(elapsed("/headers").await >= Duration::from_millis(90));
    // So long a delay that the next two could not be answered within the test's patience if it held them back.
    assert_eq!(demo.post("/slow?ms=60000").await.0, StatusCode::OK);
    assert_eq!(demo.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(demo.post("/slow?ms=0").await.0, StatusCode::OK);
    assert_eq!(demo.get("/").await.0, StatusCode::OK);
}

#[tokio::test]
async fn work_waits_for_a_slot() {
    let demo = Demo::start(&["--slots", "2"]);
    let start = Instant::now();
    let four = futures::future::join_all((0..4).map(|_| demo.get("/work?ms=100"))).await;
    assert!(four.iter().all(|(status, _)| *status == StatusCode::OK), "{four:?}");
    // Two at a time; what is not work waits for nobody.
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(demo.get("/work").await.0, StatusCode::BAD_REQUEST);
    // So long that what is not work would not be answered within the test's patience if it waited.
    let work = futures::future::join_all((0..2).map(|_| demo.get("/work?ms=60000")));
    tokio::select! {
        _ = work => panic!("work is over first"),
        (status, _) = demo.get("/") => assert_eq!(status, StatusCode::OK),
    }
}

#[tokio::test]
async fn answers_with_the_status_asked_for() {
    let demo = Demo::start(&[]);
    for status in [200, 204, 304, 404, 503, 599] {
        assert_eq!(demo.get(&format!("/status/{status}")).await.0.as_u16(), status);
    }
    assert_eq!(demo.post("/status/500").await.0.as_u16(), 500);
    for bad in ["100", "600", "x", ""] {
        let (status, text) = demo.get(&format!("/status/{bad}")).await;
        assert_eq!(
            (status, text),
            (
                StatusCode::BAD_REQUEST,
                format!("status is '{bad}', must be from 200 to 599\n")
            )
        );
    }
}

#[tokio::test]
async fn health_can_be_switched() {
    let demo = Demo::start(&[]);
    assert_eq!(demo.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(demo.post("/healthz?ok=false").await.0, StatusCode::OK);
    assert_eq!(demo.get("/healthz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(demo.post("/healthz?ok=maybe").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(demo.get("/healthz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(demo.post("/healthz?ok=true").await.0, StatusCode::OK);
    assert_eq!(demo.get("/healthz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn tells_the_headers_it_saw() {
    let demo = Demo::start(&[]);
    let ask = async |path: &str| {
        let mut request = request(Method::GET, path);
        for (name, value) in [
            ("cookie", "a=1"),
            ("x-session-id", "s7"),
            ("x-other", "1"),
            ("x-other", "2"),
        ] {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        serde_json::from_str::<Value>(&to_text(demo.send(request).await).await.1).unwrap()
    };
    assert_eq!(
        ask("/session").await,
        json!({ "instance": "demo-1", "headers": { "cookie": "a=1", "x-session-id": "s7" } })
    );
    assert_eq!(
        ask("/headers").await,
        json!({ "host": "demo", "cookie": "a=1", "x-session-id": "s7", "x-other": "1, 2" })
    );
}

#[tokio::test]
async fn echo_sends_each_chunk_back_before_the_next_comes() {
    let demo = Demo::start(&[]);
    let (mut chunks, body) = body_from_channel();
    let mut request = with_body(Method::POST, "/echo", body);
    request
        .headers_mut()
        .insert("content-type", "text/x-test".parse().unwrap());
    chunks.send("first".into()).await.unwrap();
    let mut response = demo.send(request).await;
    assert_eq!(response.headers()["content-type"], "text/x-test");
    let next = async |response: &mut Response<Incoming>| {
        let frame = tokio::time::timeout(PATIENCE, response.body_mut().frame())
            .await
            .unwrap()
            .unwrap();
        frame.unwrap().into_data().unwrap()
    };
    assert_eq!(next(&mut response).await, "first");
    chunks.send("second".into()).await.unwrap();
    assert_eq!(next(&mut response).await, "second");
    drop(chunks);
    assert!(response.body_mut().frame().await.is_none());
}

#[tokio::test]
async fn sink_counts_what_it_gets() {
    let demo = Demo::start(&[]);
    let (mut chunks, body) = body_from_channel();
    let chunk = Bytes::from(vec![7; 1024 * 1024]);
    let (response, ()) = tokio::join!(demo.send(with_body(Method::POST, "/sink", body)), async move {
        for _ in 0..32 {
            chunks.send(chunk.clone()).await.unwrap();
        }
    });
    let (status, text) = to_text(response).await;
    assert_eq!((status, text.trim()), (StatusCode::OK, r#"{"bytes":33554432}"#));
    assert_eq!(demo.get("/sink").await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn stream_comes_line_by_line() {
    let demo = Demo::start(&[]);
    let response = demo.send(request(Method::GET, "/stream?n=3&ms=20")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let frames: Vec<Bytes> = response.into_body().into_data_stream().try_collect().await.unwrap();
    assert_eq!(frames, ["data: 0\n\n", "data: 1\n\n", "data: 2\n\n"]);
    assert_eq!(demo.get("/stream?n=0").await.1, "");
    assert_eq!(demo.get("/stream?n=100001").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn websocket_echoes_and_is_closed_when_the_app_stops() {
    let mut demo = Demo::start(&[]);
    assert_eq!(demo.get("/ws").await.0, StatusCode::UPGRADE_REQUIRED);
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://127.0.0.1:{}/ws", demo.port))
        .await
        .unwrap();
    for message in [Message::text("hello"), Message::binary(vec![1, 2, 3])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    demo.terminate();
    let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else {
        panic!("not closed")
    };
    assert_eq!(close.reason.as_str(), "the app stops");
    assert!(socket.next().await.is_none_or(|message| message.is_err()));
    assert_eq!(demo.code(), Some(0));
}

#[tokio::test]
async fn finishes_what_is_in_flight_when_told_to_stop() {
    let mut demo = Demo::start(&["--log"]);
    let mut idle = demo.connect().await;
    assert_eq!(
        to_text(idle.send_request(request(Method::GET, "/")).await.unwrap())
            .await
            .0,
        StatusCode::OK
    );
    assert!(demo.output.next().unwrap().unwrap().starts_with("GET / 200 "));
    // The answer has begun, so the request is in flight for certain.
    let mut response = demo.send(request(Method::GET, "/stream?n=20&ms=25")).await;
    let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "data: 0\n\n");
    demo.terminate();
    assert!(demo.output.any(|line| line.unwrap().starts_with("demo-1 stops")));
    assert!(
        TcpStream::connect(("127.0.0.1", demo.port)).await.is_err(),
        "it still takes connections"
    );
    let (_, rest) = to_text(response).await;
    assert!(rest.ends_with("data: 19\n\n"), "{rest}");
    assert_eq!(demo.code(), Some(0));
    assert_eq!(demo.output.next().unwrap().unwrap(), "demo-1 has stopped");
}
