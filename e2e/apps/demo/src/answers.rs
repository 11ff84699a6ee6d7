//! What the demo app answers: one function for each path. Nothing here listens, and nothing knows of Kubernetes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream as streams};
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, watch};

use crate::body::{Body, Lines};
use crate::waits::Waits;
use crate::{grpc, websocket};

/// Longest delay, in milliseconds.
const DELAY_MAX_MS: u64 = 60_000;
/// Most lines of a stream.
const LINES_MAX: u64 = 100_000;
/// Which replica answered, on every answer.
const INSTANCE: HeaderName = HeaderName::from_static("x-tenbin-instance");
/// By which version of HTTP the request came, on every answer.
const PROTOCOL: HeaderName = HeaderName::from_static("x-demo-protocol");
/// The length of the request's body, in the trailers of the answer.
const BYTES: HeaderName = HeaderName::from_static("x-demo-bytes");

const HELP: &str = "\
GET  /               which replica this is
GET  /at/…           the same, whatever follows
POST /kill           ends the process at once
GET  /slow?ms=N      answers after N milliseconds (at most 60000)
GET  /work?ms=N      works for N milliseconds on one of its slots (--slots), after those that came before
POST /slow?ms=N      delays every answer but /healthz by N milliseconds from now on; 0 ends it
*    /status/N       answers with status N (200 to 599), and reads no body
POST /fail?status=N  answers everything but /healthz with status N from now on; 0 ends it
GET  /session        the cookies and session headers of the request
GET  /headers        the headers of the request
GET  /healthz        200 or 503
POST /healthz?ok=B   switches /healthz: true or false
GET  /ws             a WebSocket that sends back what it gets
POST /echo           sends the body back as it comes
POST /sink           counts the bytes of the body
GET  /stream?n=&ms=  n server-sent events, ms milliseconds apart
GET  /events?ms=     server-sent events without end, ms milliseconds apart
POST /trailers       the trailers of the request; its length is in those of the answer
GET  /waits          how many gRPC calls wait, and how many were cancelled
gRPC tenbin.demo.Demo: Say, Count, Gather, Chat, Wait
";

/// A replica's identity and what has been done to it.
pub(crate) struct App {
    instance: String,
    app: String,
    log: bool,
    stopping: watch::Receiver<bool>,
    requests: AtomicU64,
    delay_ms: AtomicU64,
    healthy: AtomicBool,
    /// The status that everything is answered with; none where it is 0.
    failing: AtomicU16,
    /// gRPC calls that wait.
    pub(crate) waits: Waits,
    /// Work that can be done at once; what comes when all are taken waits in line.
    slots: Semaphore,
}

impl App {
    /// A healthy replica that can do `slots` pieces of work at once; `stopping` turns true when it is to finish.
    pub(crate) fn new(instance: String, app: String, log: bool, slots: u32, stopping: watch::Receiver<bool>) -> App {
        App {
            instance,
            app,
            log,
            stopping,
            requests: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
            healthy: AtomicBool::new(true),
            failing: AtomicU16::new(0),
            waits: Waits::default(),
            slots: Semaphore::new(slots as usize),
        }
    }

    /// The replica's name.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// Turns true when the app is to finish. The process waits for whoever holds one.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.clone()
    }
}

/// Answers a request. An error is the client's: a body that breaks off.
pub(crate) async fn answer(app: &Arc<App>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let started = Instant::now();
    let protocol = format!("{:?}", request.version());
    let head = request.method() == Method::HEAD;
    let line = app.log.then(|| format!("{} {}", request.method(), request.uri()));
    let mut response = match route(app, request).await {
        Ok(response) => response,
        Err(Failure::Asked(response)) => *response,
        Err(Failure::Client(error)) => return Err(error),
    };
    if head {
        response = without_body(response);
    }
    if let Ok(instance) = HeaderValue::try_from(&app.instance) {
        response.headers_mut().insert(INSTANCE, instance);
    }
    if let Ok(protocol) = HeaderValue::try_from(protocol) {
        response.headers_mut().insert(PROTOCOL, protocol);
    }
    if let Some(line) = line {
        println!(
            "{line} {} {} ms",
            response.status().as_u16(),
            started.elapsed().as_millis()
        );
    }
    Ok(response)
}

/// The answer to a HEAD: the library leaves the body away over HTTP/1.1 alone.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::from_text(""))
}

/// Why a request gets no answer of the path's own.
enum Failure {
    /// It was asked for something that is not there: the answer that says so.
    Asked(Box<Response<Body>>),
    /// Its body broke off.
    Client(hyper::Error),
}

type Answer = Result<Response<Body>, Failure>;

async fn route(app: &Arc<App>, mut request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    if path == "/healthz" {
        return healthz(app, &request);
    }
    let requests = app.requests.fetch_add(1, Ordering::Relaxed) + 1;
    // How it misbehaves is said at once, or a slow replica could hardly be made fast again; and dying takes no time.
    if !(request.method() == Method::POST && ["/slow", "/fail", "/kill"].contains(&path.as_str())) {
        let delay = app.delay_ms.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        if let Ok(status) = StatusCode::from_u16(app.failing.load(Ordering::Relaxed)) {
            return Ok(to_text(status, format!("{} fails\n", app.instance)));
        }
    }
    if is_grpc(&request) {
        return Ok(grpc::answer(app, request).await);
    }
    match path.as_str() {
        "/" => who(app, &request, requests),
        "/kill" => {
            allow(&request, &[Method::POST])?;
            println!("{} is killed", app.instance);
            std::process::exit(1)
        }
        "/slow" => slow(app, &request).await,
        "/work" => work(app, &request).await,
        "/session" => {
            allow(&request, &[Method::GET, Method::HEAD])?;
            let seen = to_object(request.headers(), |name| {
                *name == COOKIE || name.as_str().contains("session")
            });
            Ok(to_json(&json!({ "instance": app.instance, "headers": seen })))
        }
        "/headers" => {
            allow(&request, &[Method::GET, Method::HEAD])?;
            Ok(to_json(&Value::Object(to_object(request.headers(), |_| true))))
        }
        "/ws" => {
            allow(&request, &[Method::GET])?;
            Ok(websocket::upgrade(&mut request, app.stopping()))
        }
        "/echo" => {
            allow(&request, &[Method::POST, Method::PUT])?;
            Ok(echo(request))
        }
        "/sink" => {
            allow(&request, &[Method::POST, Method::PUT])?;
            sink(request).await
        }
        "/stream" => {
            allow(&request, &[Method::GET])?;
            stream(&request)
        }
        "/fail" => fail(app, &request),
        "/events" => {
            allow(&request, &[Method::GET])?;
            events(app, &request)
        }
        "/trailers" => {
            allow(&request, &[Method::POST, Method::PUT])?;
            trailers(request).await
        }
        "/waits" => {
            allow(&request, &[Method::GET])?;
            Ok(to_json(&app.waits.to_json()))
        }
        at if at.starts_with("/at/") => who(app, &request, requests),
        other => match other.strip_prefix("/status/") {
            Some(status) => to_status(status),
            None => Err(refuse(StatusCode::NOT_FOUND, HELP)),
        },
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn who(app: &App, request: &Request<Incoming>, requests: u64) -> Answer {
    allow(request, &[Method::GET, Method::HEAD])?;
    Ok(to_json(
        &json!({ "instance": app.instance, "app": app.app, "requests": requests }),
    ))
}

fn healthz(app: &App, request: &Request<Incoming>) -> Answer {
    allow(request, &[Method::GET, Method::HEAD, Method::POST])?;
    if request.method() == Method::POST {
        let healthy = match parameter(request, "ok") {
            Some("true") => true,
            Some("false") => false,
            other => return Err(bad_parameter("ok", other, "true or false")),
        };
        app.healthy.store(healthy, Ordering::Relaxed);
        println!(
            "{} is now {}",
            app.instance,
            if healthy { "healthy" } else { "unhealthy" }
        );
        return Ok(to_text(
            StatusCode::OK,
            if healthy { "healthy\n" } else { "unhealthy\n" },
        ));
    }
    Ok(if app.healthy.load(Ordering::Relaxed) {
        to_text(StatusCode::OK, "healthy\n")
    } else {
        to_text(StatusCode::SERVICE_UNAVAILABLE, "unhealthy\n")
    })
}

async fn slow(app: &App, request: &Request<Incoming>) -> Answer {
    allow(request, &[Method::GET, Method::POST])?;
    let ms = number(request, "ms", None, DELAY_MAX_MS)?;
    if request.method() == Method::POST {
        app.delay_ms.store(ms, Ordering::Relaxed);
        println!("{} now takes {ms} ms for every answer", app.instance);
    } else {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    Ok(to_json(&json!({ "instance": app.instance, "ms": ms })))
}

fn fail(app: &App, request: &Request<Incoming>) -> Answer {
    allow(request, &[Method::POST])?;
    let given = parameter(request, "status");
    let accepted = |status: &u16| *status == 0 || (200..=599).contains(status);
    let status = given.and_then(|text| text.parse().ok()).filter(accepted);
    let status = status.ok_or_else(|| bad_parameter("status", given, "0, or a number from 200 to 599"))?;
    app.failing.store(status, Ordering::Relaxed);
    println!("{} now answers everything with {status}", app.instance);
    Ok(to_json(&json!({ "instance": app.instance, "status": status })))
}

/// A piece of work: nothing is calculated, so that capacity is the number of slots and no matter of the machine.
async fn work(app: &App, request: &Request<Incoming>) -> Answer {
    allow(request, &[Method::GET])?;
    let ms = number(request, "ms", None, DELAY_MAX_MS)?;
    // It is never closed, so that this is never an error; then there would be no line to wait in.
    let slot = app.slots.acquire().await;
    tokio::time::sleep(Duration::from_millis(ms)).await;
    drop(slot);
    Ok(to_json(&json!({ "instance": app.instance, "ms": ms })))
}

fn to_status(text: &str) -> Answer {
    let status = text.parse().ok().filter(|status| (200..=599).contains(status));
    match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        // These two have no body by definition.
        Some(status @ (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)) => Ok(to_text(status, "")),
        Some(status) => Ok(to_text(status, format!("{status}\n"))),
        None => Err(refuse(
            StatusCode::BAD_REQUEST,
            format!("status is '{text}', must be from 200 to 599\n"),
        )),
    }
}

fn echo(request: Request<Incoming>) -> Response<Body> {
    let same = [CONTENT_TYPE, TRAILER].map(|name| (request.headers().get(&name).cloned(), name));
    let mut response = Response::new(Body::Echo(request.into_body()));
    for (value, name) in same {
        response.headers_mut().extend(value.map(|value| (name, value)));
    }
    response
}

async fn sink(request: Request<Incoming>) -> Answer {
    let mut body = request.into_body();
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.map_err(Failure::Client)?.data_ref() {
            bytes += data.len() as u64;
        }
    }
    Ok(to_json(&json!({ "bytes": bytes })))
}

/// What came behind the body, and the body's length behind the answer's. HTTP/1.1 has trailers only where both sides said so before.
async fn trailers(request: Request<Incoming>) -> Answer {
    let body = request.into_body().collect().await.map_err(Failure::Client)?;
    let found = body.trailers().cloned().unwrap_or_default();
    let seen = Value::Object(to_object(&found, |_| true));
    let mut behind = HeaderMap::new();
    behind.insert(BYTES, HeaderValue::from(body.to_bytes().len()));
    let frames = [Frame::data(Bytes::from(format!("{seen}\n"))), Frame::trailers(behind)];
    let mut response = Response::new(Body::from_frames(streams::iter(frames)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(TRAILER, HeaderValue::from_static("x-demo-bytes"));
    Ok(response)
}

/// Events until the client goes or the app stops, each with its number and the replica's name.
fn events(app: &Arc<App>, request: &Request<Incoming>) -> Answer {
    let ms = number(request, "ms", Some(1000), DELAY_MAX_MS)?.max(1);
    let instance = app.instance.clone();
    let ticks = tokio::time::interval(Duration::from_millis(ms));
    let numbers = streams::unfold((0_u64, ticks), |(next, mut ticks)| async move {
        ticks.tick().await;
        Some((next, (next + 1, ticks)))
    });
    let mut stopping = app.stopping();
    let stop = async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let frames = numbers
        .map(move |id| Frame::data(Bytes::from(format!("id: {id}\ndata: {instance}\n\n"))))
        .take_until(Box::pin(stop));
    let mut response = Response::new(Body::from_frames(frames));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

fn stream(request: &Request<Incoming>) -> Answer {
    let count = number(request, "n", Some(10), LINES_MAX)?;
    let ms = number(request, "ms", Some(100), DELAY_MAX_MS)?;
    let mut response = Response::new(Body::Lines(Lines::new(count, Duration::from_millis(ms))));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// Headers as a JSON object; of several with one name, the values are joined by a comma, as HTTP has it.
fn to_object(headers: &HeaderMap, keep: impl Fn(&HeaderName) -> bool) -> Map<String, Value> {
    let mut object = Map::new();
    for name in headers.keys().filter(|name| keep(name)) {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        object.insert(name.to_string(), values.join(", ").into());
    }
    object
}

/// The value of a query parameter, which is taken as it stands: none of ours needs escapes.
fn parameter<'a>(request: &'a Request<Incoming>, name: &str) -> Option<&'a str> {
    let pairs = request.uri().query()?.split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn number(request: &Request<Incoming>, name: &str, default: Option<u64>, max: u64) -> Result<u64, Failure> {
    let given = parameter(request, name);
    let value = match given {
        None => default,
        Some(text) => text.parse().ok().filter(|value| *value <= max),
    };
    value.ok_or_else(|| bad_parameter(name, given, &format!("a number from 0 to {max}")))
}

fn bad_parameter(name: &str, given: Option<&str>, accepted: &str) -> Failure {
    let given = given.map_or("missing".to_owned(), |given| format!("'{given}'"));
    refuse(
        StatusCode::BAD_REQUEST,
        format!("parameter {name} is {given}, must be {accepted}\n"),
    )
}

fn allow(request: &Request<Incoming>, methods: &[Method]) -> Result<(), Failure> {
    if methods.contains(request.method()) {
        return Ok(());
    }
    let allowed = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let mut response = to_text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} takes {allowed} only\n", request.uri().path()),
    );
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    Err(Failure::Asked(Box::new(response)))
}

fn refuse(status: StatusCode, text: impl Into<String>) -> Failure {
    Failure::Asked(Box::new(to_text(status, text)))
}

fn to_text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from_text(text.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn to_json(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from_text(format!("{value}\n")));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
