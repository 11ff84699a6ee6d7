//! The JSON API: start, read and stop loads, send single requests, try other protocols, look for open ports.
//! Every answer is 200 with what was asked for, or 400 with `{"error": …}`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use crate::client::{self, Target};
use crate::plan::{self, Answer, Load, Scan, Started};
use crate::run::Running;
use crate::{events, grpc, scan, tcp, volume, websocket};

/// The longest body that is read, in bytes.
const BODY: usize = 64 * 1024;

#[derive(Default)]
struct Loads {
    all: BTreeMap<u64, Arc<Running>>,
    next: u64,
}

type Shared = Arc<Mutex<Loads>>;

/// Serves the API at `address` for as long as the process lives.
///
/// # Errors
/// The address can't be bound.
pub async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let loads = Shared::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await; // out of file descriptors, most likely
            continue;
        };
        let loads = loads.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(loads.clone(), request));
            // A client that goes away is its own business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(loads: Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match route(&loads, request).await {
        Ok(body) => (StatusCode::OK, body),
        Err(e) => (
            StatusCode::BAD_REQUEST,
            serde_json::json!({ "error": format!("{e:#}") }).to_string(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

async fn route(loads: &Shared, request: Request<Incoming>) -> anyhow::Result<String> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    // All of it, also where none is wanted: what is left unread would reset the connection under the answer.
    let body = Limited::new(request.into_body(), BODY).collect().await;
    let body = body
        .map_err(|e| anyhow::anyhow!("the body can't be read: {e}"))?
        .to_bytes();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (&method, parts.as_slice()) {
        (&Method::GET, ["healthz"]) => to_json(&serde_json::json!({ "ok": true })),
        (&Method::POST, ["loads"]) => {
            let running = Running::start(from_json::<Load>(&body)?).await?;
            to_json(&Started {
                id: add(loads, running),
            })
        }
        (&Method::GET, ["loads", id]) => to_json(&find(loads, id)?.report()),
        (&Method::POST, ["loads", id, "stop"]) => {
            // The report is for a GET: a POST is answered briefly. The API server's proxy closes what it reads from while it still
            // looks for the end of a POST's body, and a long answer to it would be cut off.
            find(loads, id)?.stop();
            to_json(&serde_json::json!({}))
        }
        (&Method::POST, ["requests"]) => to_json(&once(&from_json(&body)?).await?),
        (&Method::POST, ["websocket"]) => to_json(&websocket::echo(&from_json(&body)?).await),
        (&Method::POST, ["volume"]) => to_json(&volume::volume(&from_json(&body)?).await),
        (&Method::POST, ["events"]) => to_json(&events::listen(&from_json(&body)?).await),
        (&Method::POST, ["grpc"]) => to_json(&grpc::calls(&from_json(&body)?).await?),
        (&Method::POST, ["tcp"]) => to_json(&tcp::connections(&from_json(&body)?).await),
        (&Method::POST, ["raw"]) => to_json(&tcp::raw(&from_json(&body)?).await),
        (&Method::POST, ["scan"]) => {
            let plan: Scan = from_json(&body)?;
            to_json(&scan::scan(plan.address).await)
        }
        _ => bail!("there is no {method} {path}"),
    }
}

async fn once(request: &plan::Request) -> anyhow::Result<Answer> {
    let target = Target::resolve(&request.url).await?;
    Ok(client::send(&target, request, &mut None).await.answer)
}

fn add(loads: &Shared, running: Arc<Running>) -> u64 {
    let mut loads = loads.lock().unwrap_or_else(PoisonError::into_inner);
    let id = loads.next;
    loads.next += 1;
    loads.all.insert(id, running);
    id
}

fn find(loads: &Shared, id: &str) -> anyhow::Result<Arc<Running>> {
    let loads = loads.lock().unwrap_or_else(PoisonError::into_inner);
    let found = id.parse().ok().and_then(|id: u64| loads.all.get(&id));
    found.cloned().with_context(|| format!("there is no load {id}"))
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(body).context("the body is not what is expected here")
}

fn to_json<T: Serialize>(value: &T) -> anyhow::Result<String> {
    serde_json::to_string(value).context("no JSON can be made of the answer")
}
