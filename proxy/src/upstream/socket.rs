//! A connection to an endpoint, cleartext or TLS: bytes both ways, counted as open while it lives, and able to say whether anything came
//! while nobody read it. No protocol here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::state::{Admission, EndpointStats};

/// An open connection.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    /// Whether nothing is under way on it, so that its end is an orderly one.
    at_rest: bool,
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
            at_rest: false,
            _slot: slot,
        }
    }

    /// Nothing is under way on it from now on, or something is.
    pub(super) fn set_at_rest(&mut self, at_rest: bool) {
        self.at_rest = at_rest;
    }

    /// Whether it is as one wants it between two requests: open, and nothing came that nobody asked for. Without a system call where
    /// nothing came at all. Messages of TLS itself (session tickets) are taken in.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        match &mut self.stream {
            Stream::Plain(stream) => {
                matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Stream::Tls(stream) => {
                let mut nobody = Context::from_waker(Waker::noop());
                Pin::new(stream)
                    .poll_read(&mut nobody, &mut ReadBuf::new(&mut byte))
                    .is_pending()
            }
        }
    }

    /// Ready when there may be something to be read. With TLS that is not known before it is tried.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Plain(stream) => stream.poll_read_ready(cx),
            Stream::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether what was not written, as far as we know, cannot have reached anybody: TLS may have sent a part of it.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Plain(_))
    }
}

impl Drop for Socket {
    /// With TLS a peer cannot tell a bare end from one that somebody else made.
    fn drop(&mut self) {
        if let (true, Stream::Tls(stream)) = (self.at_rest, &mut self.stream) {
            let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
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
