//! What the admin socket answers: GET shows, POST changes.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tracing::info;

use super::{config, views};
use crate::local_http::{Handler, text};
use crate::shared::Shared;
use crate::telemetry::LogLevel;
use crate::xds::metrics::StreamMetrics;

/// Everything that admin shows or changes.
#[derive(Debug)]
pub struct Process {
    /// Listeners, clusters, endpoints, the process.
    pub shared: Shared,
    /// The stream to the operator, where there is one.
    pub stream: Option<Arc<StreamMetrics>>,
    /// Where the listeners are bound, in their order.
    pub bound: Vec<SocketAddr>,
    /// Where the status port is bound, if there is one.
    pub status: Option<SocketAddr>,
    /// How many workers serve.
    pub workers: usize,
    /// The level of the log.
    pub log_level: LogLevel,
}

/// The answers of the admin socket.
pub fn handler(process: Process) -> Handler {
    Rc::new(move |request, body| match (&request.method, request.uri.path()) {
        (&Method::GET, "/status") => show(&views::status(&process)),
        (&Method::GET, "/config") => show(&config::config(&process.shared.state.load())),
        (&Method::GET, "/clusters") => show(&views::clusters(
            &process.shared.state.load(),
            process.shared.clock.now(),
        )),
        (&Method::POST, "/drain") => {
            info!("told to drain");
            process.shared.lifecycle.drain();
            show(&json!({ "draining": true }))
        }
        (&Method::GET, "/log-level") => show(&json!({ "log": process.log_level.get() })),
        (&Method::POST, "/log-level") => log_level(&process, body),
        _ => text(
            StatusCode::NOT_FOUND,
            "GET /status, /config, /clusters, /log-level and POST /drain, /log-level are here\n",
        ),
    })
}

fn log_level(process: &Process, filter: &[u8]) -> Response<Full<Bytes>> {
    let filter = String::from_utf8_lossy(filter);
    match process.log_level.set(filter.trim()) {
        Ok(()) => show(&json!({ "log": filter.trim() })),
        Err(error) => text(
            StatusCode::BAD_REQUEST,
            format!(
                "log-level: {filter:?} is not accepted, expected error, warn, info, debug, trace or off, or one for each module, as \
                 info,tenbin_proxy=debug: {error}\n"
            ),
        ),
    }
}

fn show(value: &Value) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, format!("{value:#}\n"));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
