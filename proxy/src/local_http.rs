//! The small HTTP server of the control thread, for the status port and the admin socket: short answers from memory, few clients at
//! once, no traffic. What is answered is decided by a handler.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Clients at once; more wait.
const CLIENTS: usize = 32;
/// How long a client may stay.
const STAY: Duration = Duration::from_secs(30);
/// How long a client may take to ask.
const ASK: Duration = Duration::from_secs(5);
/// The largest body of a request, in bytes.
const MAX_BODY: usize = 16 * 1024;
/// How long accepting rests after it failed.
const REST: Duration = Duration::from_millis(100);

/// Answers a request with its body.
pub type Handler = Rc<dyn Fn(&Parts, &[u8]) -> Response<Full<Bytes>>>;

/// Where clients come from.
#[derive(Debug)]
pub enum Socket {
    /// The status port.
    Tcp(TcpListener),
    /// The admin socket.
    Unix(UnixListener),
}

/// Serves clients for as long as it is polled.
#[expect(clippy::disallowed_methods, reason = "the accept loop: each connection is a task")]
pub async fn serve(socket: Socket, handler: Handler) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let client = match &socket {
            Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| Client::Tcp(stream)),
            Socket::Unix(listener) => listener.accept().await.map(|(stream, _)| Client::Unix(stream)),
        };
        match client {
            Ok(client) => {
                let handler = Rc::clone(&handler);
                tokio::task::spawn_local(async move {
                    match client {
                        Client::Tcp(stream) => converse(stream, handler).await,
                        Client::Unix(stream) => converse(stream, handler).await,
                    }
                    drop(place);
                });
            }
            Err(error) => {
                rest(&error).await;
            }
        }
    }
}

enum Client {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn rest(error: &io::Error) {
    warn!(%error, "cannot accept");
    tokio::time::sleep(REST).await;
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, handler: Handler) {
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = Rc::clone(&handler);
        async move {
            let (parts, body) = request.into_parts();
            Ok::<_, Infallible>(match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => handler(&parts, &body.to_bytes()),
                Err(error) => text(http::StatusCode::BAD_REQUEST, format!("{error}\n")),
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASK)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(STAY, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a local client failed"),
        Err(_) => debug!("a local client stayed too long"),
    }
}

/// A short answer.
pub fn text(status: http::StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
