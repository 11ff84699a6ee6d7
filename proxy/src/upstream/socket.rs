//! A connection to an endpoint as HTTP takes it, cleartext or TLS: it counts what was read, so that others can tell "nothing came" from
//! "something did", and is itself counted while it is open. No protocol here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::state::{Admission, EndpointStats};

/// An open connection.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    read: Arc<AtomicU64>,
    _slot: Slot,
}

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Counts a connection as open at its endpoint, and against the limit of its cluster.
#[derive(Debug)]
pub(super) struct Slot {
    stats: Arc<EndpointStats>,
    /// Told after the endpoint's count is right: see the order of dropping.
    admission: Option<Admission>,
}

impl Slot {
    /// Counts one, which the endpoint's count has already.
    pub(super) fn new(stats: &Arc<EndpointStats>, admission: Option<Admission>) -> Self {
        Slot {
            stats: Arc::clone(stats),
            admission,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.stats.open_connections.fetch_sub(1, Relaxed);
        self.stats.line.freed();
        drop(self.admission.take());
    }
}

impl Socket {
    pub(super) fn new(stream: Stream, slot: Slot) -> Self {
        Socket {
            stream,
            read: Arc::default(),
            _slot: slot,
        }
    }

    /// Bytes that were read, of what TLS protects.
    pub(super) fn read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if let Poll::Ready(Ok(())) = polled {
            self.read.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
}
