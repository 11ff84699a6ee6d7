//! The first moments of a client connection: TLS, where the listener has it, and what is spoken: HTTP/2 by ALPN or, in cleartext, by its
//! first bytes (prior knowledge, RFC 9113 §3.3), else HTTP/1; or plain TCP. Requests must not come here.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, TlsStream, server};
use tracing::debug;

use super::handshake::Refused;
use super::http2::PREFACE;
use super::io::Counted;
use super::worker::WorkerContext;
use crate::record::TlsSeen;
use crate::state::{self, Listener, ServerTls};

/// The longest that a TLS handshake may take.
const MAX_HANDSHAKE: Duration = Duration::from_secs(10);

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP/1.1 or HTTP/1.0.
    Http1,
    /// HTTP/2.
    Http2,
    /// Whatever endpoints make of it.
    Tcp,
}

/// A connection that is ready for what is spoken on it.
pub(super) struct Opened {
    pub(super) io: Counted,
    pub(super) speaks: Speaks,
    /// What was agreed on, where it speaks TLS.
    pub(super) tls: Option<Arc<TlsSeen>>,
}

impl Opened {
    fn new(io: Counted, speaks: Speaks) -> Self {
        Opened { io, speaks, tls: None }
    }
}

/// Opens a connection, unless the worker closes before. `None` if that came to nothing.
pub(super) async fn open(worker: &Rc<WorkerContext>, listener: &Listener, stream: TcpStream) -> Option<Opened> {
    let closing = worker.closing.notified();
    let opened = async {
        match &listener.tls {
            ServerTls::Off if listener.is_tcp() => {
                Some(Opened::new(Counted::new(stream, BytesMut::new()), Speaks::Tcp))
            }
            ServerTls::Off => timeout(listener.header_timeout, sniffed(worker, stream)).await.ok()?,
            // Boxed, so that connections in cleartext are not as large as these.
            ServerTls::On(tls) => Box::pin(secured(worker, listener, Arc::clone(tls.config()), stream)).await,
            ServerTls::Waiting => {
                refuse(listener, Refused::NoCertificate);
                None
            }
        }
    };
    tokio::select! {
        biased;
        opened = opened => opened,
        () = closing => None,
    }
}

fn refuse(listener: &Listener, why: Refused) {
    if let Some(count) = listener.stats.handshake_failures.get(why as usize) {
        state::count(count);
    }
}

/// Speaks TLS with the client.
async fn secured(
    worker: &WorkerContext,
    listener: &Listener,
    config: Arc<ServerConfig>,
    stream: TcpStream,
) -> Option<Opened> {
    let limit = listener.header_timeout.min(MAX_HANDSHAKE);
    let stream = match timeout(limit, handshake(worker, config, stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            debug!(listener = %listener.name, %error, "a TLS handshake failed");
            refuse(listener, Refused::of(&error));
            return None;
        }
        Err(_) => {
            refuse(listener, Refused::Timeout);
            return None;
        }
    };
    state::count(&listener.stats.handshakes);
    let speaks = match stream.get_ref().1.alpn_protocol() {
        _ if listener.is_tcp() => Speaks::Tcp,
        Some(b"h2") => Speaks::Http2,
        _ => Speaks::Http1,
    };
    let tls = Some(Arc::new(TlsSeen::of(stream.get_ref().1)));
    let opened = Opened::new(Counted::new(TlsStream::from(stream), BytesMut::new()), speaks);
    Some(Opened { tls, ..opened })
}

/// Nearly all of what a handshake costs is in the answer to the ClientHello, which is made when it is its turn. (Who is asked for another
/// ClientHello has the answer to that made at once.)
async fn handshake(
    worker: &WorkerContext,
    config: Arc<ServerConfig>,
    stream: TcpStream,
) -> io::Result<server::TlsStream<TcpStream>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let answered = worker.lane.step(move || hello.into_stream(config)).await;
    answered.ok_or(io::ErrorKind::ConnectionAborted)?.await
}

/// Reads until it is clear whether a cleartext connection speaks HTTP/2.
async fn sniffed(worker: &WorkerContext, mut stream: TcpStream) -> Option<Opened> {
    let mut ahead = BytesMut::new();
    let speaks = loop {
        if ahead.starts_with(PREFACE) {
            break Speaks::Http2;
        }
        if !PREFACE.starts_with(&ahead) || !more(worker, &mut stream, &mut ahead).await? {
            break Speaks::Http1;
        }
    };
    Some(Opened::new(Counted::new(stream, ahead), speaks))
}

/// Reads what is there. False at the end, `None` where the client is gone.
async fn more(worker: &WorkerContext, stream: &mut TcpStream, ahead: &mut BytesMut) -> Option<bool> {
    poll_fn(|cx| {
        let mut scratch = worker.scratch.borrow_mut();
        let mut buf = ReadBuf::new(&mut scratch);
        let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf));
        ahead.extend_from_slice(buf.filled());
        Poll::Ready(read.ok().map(|()| !buf.filled().is_empty()))
    })
    .await
}
