//! The status port, on the pod's address: `/livez` and `/readyz` for the kubelet and `/metrics` for Prometheus, nothing else.
//!
//! Live means that every listener is bound; ready, that the app beside us can be spoken with on each, which is the same unless it
//! speaks TLS and nobody has told us yet how to verify it. It stays ready while draining: the endpoint's own readiness takes it out of the Service,
//! and until that is known everywhere, requests still come and are served.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::local_http::{Handler, text};
use crate::state::State;

/// The answers of the status port. It is made only after the listeners were bound, so whoever asks is told "live".
pub fn handler(registry: Registry, state: Arc<State>) -> Handler {
    Rc::new(move |request, _| {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET is accepted\n");
        }
        match request.uri.path() {
            "/livez" => text(StatusCode::OK, "live\n"),
            "/readyz" => match state.load().waits_for() {
                None => text(StatusCode::OK, "ready\n"),
                Some(port) => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("{port}: waiting for the operator to say how the app's certificate is verified\n"),
                ),
            },
            "/metrics" => {
                let mut out = String::new();
                if let Err(error) = encode(&mut out, &registry) {
                    return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"));
                }
                let mut response = text(StatusCode::OK, out);
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                response
            }
            _ => text(StatusCode::NOT_FOUND, "/livez, /readyz and /metrics are here\n"),
        }
    })
}
