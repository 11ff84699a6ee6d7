//! Apps for the proxy to send to: a well-behaved one, and ones that follow a script.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A running app.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    gate: watch::Sender<bool>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    cancelled: AtomicUsize,
}

type Body = BoxBody<Bytes, hyper::Error>;

impl Backend {
    /// `/who`, `/who/…`: its address; `/echo`: the body, as it comes; `/sink`: how long the body was; `/headers`: the request's headers;
    /// `/gate`: nothing until [`Backend::open`]; `/stream`: "begin", then after [`Backend::open`] "end"; `/status/N`; `/upgrade`: an
    /// upgrade to a protocol that echoes.
    pub(crate) async fn app() -> Self {
        Self::speaking(Version::HTTP_11).await
    }

    /// The same over HTTP/2 by prior knowledge, and nothing else.
    pub(crate) async fn h2c() -> Self {
        Self::speaking(Version::HTTP_2).await
    }

    async fn speaking(version: Version) -> Self {
        let (backend, listener) = Self::listen().await;
        let app = backend.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                app.seen.connections.fetch_add(1, SeqCst);
                let app = app.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let app = app.clone();
                        async move { Ok::<_, Infallible>(app.answer(request).await) }
                    });
                    let stream = TokioIo::new(stream);
                    if version == Version::HTTP_2 {
                        let builder = http2::Builder::new(TokioExecutor::new());
                        let _ = builder.serve_connection(stream, service).await;
                        return;
                    }
                    let connection = http1::Builder::new().serve_connection(stream, service);
                    let _ = connection.with_upgrades().await;
                });
            }
        });
        backend
    }

    /// An app that does `script` on each connection; it is told which one it is.
    pub(crate) async fn script<F: Future<Output = ()> + Send>(
        script: impl Fn(TcpStream, usize) -> F + Copy + Send + Sync + 'static,
    ) -> Self {
        let (backend, listener) = Self::listen().await;
        let seen = Arc::clone(&backend.seen);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let n = seen.connections.fetch_add(1, SeqCst);
                tokio::spawn(async move { script(stream, n).await });
            }
        });
        backend
    }

    async fn listen() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Backend {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            gate: watch::Sender::new(false),
        };
        (backend, listener)
    }

    /// Connections it ever had.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(SeqCst)
    }

    /// Requests it ever had.
    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(SeqCst)
    }

    /// Requests that were taken back while it worked on them.
    pub(crate) fn cancelled(&self) -> usize {
        self.seen.cancelled.load(SeqCst)
    }

    /// Lets everything that waits at the gate go on.
    pub(crate) fn open(&self) {
        self.gate.send_replace(true);
    }

    async fn wait(&self) {
        self.gate.subscribe().wait_for(|open| *open).await.unwrap();
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        self.seen.requests.fetch_add(1, SeqCst);
        let path = request.uri().path().to_owned();
        match path.as_str() {
            path if path == "/who" || path.starts_with("/who/") => full(self.address.to_string()),
            "/echo" => Response::new(request.into_body().boxed()),
            "/sink" => {
                let mut length = 0;
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    length += frame.unwrap().data_ref().map_or(0, Bytes::len);
                }
                full(length.to_string())
            }
            "/headers" => full(format!(
                "{} {:?}\n{:#?}",
                request.method(),
                request.uri(),
                request.headers()
            )),
            "/gate" => {
                let broken = CountOnDrop(Some(&self.seen.cancelled));
                self.wait().await;
                broken.disarm();
                full("open")
            }
            "/stream" => {
                let app = self.clone();
                let end = async move {
                    app.wait().await;
                    Ok(Frame::data(Bytes::from_static(b"end")))
                };
                let begin = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"begin")))]);
                Response::new(BodyExt::boxed(StreamBody::new(begin.chain(futures::stream::once(end)))))
            }
            "/upgrade" if request.method() == Method::GET => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let mut io = TokioIo::new(upgrade.await.unwrap());
                    let mut buffer = [0; 1024];
                    while let Ok(n @ 1..) = io.read(&mut buffer).await {
                        io.write_all(&buffer[..n]).await.unwrap();
                    }
                });
                let mut response = full("");
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
                response.headers_mut().insert("upgrade", "echo".parse().unwrap());
                response
            }
            other => {
                let mut response = full("");
                let status = other
                    .strip_prefix("/status/")
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(404);
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                response.headers_mut().insert("connection", "x-hop".parse().unwrap());
                response.headers_mut().insert("x-hop", "1".parse().unwrap());
                response.headers_mut().insert("x-end", "2".parse().unwrap());
                response
            }
        }
    }
}

struct CountOnDrop<'a>(Option<&'a AtomicUsize>);

impl CountOnDrop<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CountOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.0 {
            counter.fetch_add(1, SeqCst);
        }
    }
}

fn full(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed())
}

/// Reads a request's head from a scripted connection; false if the connection ended first.
pub(crate) async fn read_head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut head).await, Ok(n) if n > 0) {
            return false;
        }
    }
    true
}

/// Writes to a scripted connection.
pub(crate) async fn write(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// An address at which nobody listens, nor will while the socket is kept.
pub(crate) fn nobody() -> (SocketAddr, Socket) {
    let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

/// Somebody does from now on.
pub(crate) fn listen(nobody: Socket) -> TcpListener {
    nobody.listen(128).unwrap();
    nobody.set_nonblocking(true).unwrap();
    TcpListener::from_std(nobody.into()).unwrap()
}
