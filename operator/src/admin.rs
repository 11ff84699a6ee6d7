//! Plain HTTP for the kubelet and Prometheus: /healthz, /readyz, /metrics. Nothing that changes anything, nothing secret.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::metrics::Metrics;

/// The loop counts as stuck when it was not seen for so long.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// Connections at once; more wait.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take for its request's headers, and the longest life of an idle connection.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// What the probes answer by.
#[derive(Clone, Debug)]
pub struct Health {
    /// When the loop last came around.
    pub seen: watch::Receiver<Instant>,
    /// Whether the stream is served.
    pub serving: watch::Receiver<bool>,
}

impl Health {
    /// Whether the loop makes progress.
    fn alive(&self) -> bool {
        self.seen.borrow().elapsed() < STUCK_AFTER
    }
}

/// Serves until `stop`.
///
/// # Errors
/// The listener fails for good.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return Ok(());
        };
        let stream = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, or the client is gone already: neither ends the server.
                    debug!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (health, metrics) = (health.clone(), metrics.clone());
        connections.spawn(async move {
            let _slot = slot;
            let answer = service_fn(move |request: Request<Incoming>| {
                let response = respond(request.method(), request.uri().path(), &health, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            if let Err(error) = served {
                debug!(%error, "admin connection ended");
            }
        });
    }
}

fn respond(method: &Method, path: &str, health: &Health, metrics: &Metrics) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n");
    }
    match path {
        "/healthz" if health.alive() => text(StatusCode::OK, "ok\n"),
        "/healthz" => text(StatusCode::SERVICE_UNAVAILABLE, "the event loop is stuck\n"),
        "/readyz" if *health.serving.borrow() => text(StatusCode::OK, "ok\n"),
        "/readyz" => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the stream is not served: watches not complete, no certificate, or stopping\n",
        ),
        "/metrics" => {
            let mut response = text(StatusCode::OK, metrics.to_text());
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
            response
        }
        _ => text(StatusCode::NOT_FOUND, "expected /healthz, /readyz or /metrics\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn probes_follow_the_loop_and_the_stream() {
        let (seen_tx, seen) = watch::channel(Instant::now());
        let (serving_tx, serving) = watch::channel(false);
        let health = Health { seen, serving };
        let metrics = Metrics::new(|_| {});
        let status = |path: &str| respond(&Method::GET, path, &health, &metrics).status();
        assert_eq!(status("/healthz"), StatusCode::OK);
        assert_eq!(status("/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        serving_tx.send_replace(true);
        assert_eq!(status("/readyz"), StatusCode::OK);
        tokio::time::advance(STUCK_AFTER).await;
        assert_eq!(status("/healthz"), StatusCode::SERVICE_UNAVAILABLE);
        seen_tx.send_replace(Instant::now());
        assert_eq!(status("/healthz"), StatusCode::OK);
        assert_eq!(status("/secret"), StatusCode::NOT_FOUND);
        assert_eq!(
            respond(&Method::POST, "/healthz", &health, &metrics).status(),
            StatusCode::METHOD_NOT_ALLOWED
        );
    }

    #[tokio::test]
    async fn metrics_are_served_as_openmetrics() {
        use http_body_util::BodyExt;
        let metrics = Metrics::new(|_| {});
        metrics.leader.set(1);
        let health = Health {
            seen: watch::channel(Instant::now()).1,
            serving: watch::channel(true).1,
        };
        let response = respond(&Method::GET, "/metrics", &health, &metrics);
        let body = response.into_body().collect().await.expect("full").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        assert!(body.contains("tenbin_operator_leader 1\n"), "{body}");
        assert!(body.ends_with("# EOF\n"));
    }
}
