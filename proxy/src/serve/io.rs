//! A socket that counts what it reads, so that others can tell "nothing came yet" from "something did", in cleartext or under TLS.
//! What was read ahead to find out what the peer speaks is read first; informational responses are written between whole messages.
//! No protocol here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::interim::Interim;

/// What came over a socket, shared between the socket and whoever watches it.
#[derive(Debug, Default)]
pub struct IoCounts {
    read: AtomicU64,
    ended: AtomicBool,
    /// What is to be written before the next response.
    pub(super) interim: Interim,
}

impl IoCounts {
    /// Bytes that were read.
    pub fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Whether the peer closed its side.
    pub fn ended(&self) -> bool {
        self.ended.load(Relaxed)
    }
}

/// What carries the bytes.
#[derive(Debug)]
pub enum Transport {
    /// Cleartext.
    Plain(TcpStream),
    /// TLS, of either side.
    Tls(Box<TlsStream<TcpStream>>),
}

impl From<TcpStream> for Transport {
    fn from(stream: TcpStream) -> Self {
        Transport::Plain(stream)
    }
}

impl From<TlsStream<TcpStream>> for Transport {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Transport::Tls(Box::new(stream))
    }
}

/// Calls a method of whatever carries the bytes.
macro_rules! of {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            Transport::Plain($stream) => $call,
            Transport::Tls($stream) => $call,
        }
    };
}

/// The socket, as hyper takes it.
pub type CountedIo = TokioIo<Counted>;

/// The socket.
#[derive(Debug)]
pub struct Counted {
    transport: Transport,
    /// What was read ahead.
    ahead: Bytes,
    counts: Arc<IoCounts>,
}

impl Counted {
    /// Wraps a socket; gives what is counted beside it.
    pub fn wrap(stream: impl Into<Transport>) -> (CountedIo, Arc<IoCounts>) {
        Self::wrap_after(stream, Bytes::new())
    }

    /// The same for a socket from which `ahead` was read already.
    pub fn wrap_after(stream: impl Into<Transport>, ahead: Bytes) -> (CountedIo, Arc<IoCounts>) {
        let counts = Arc::<IoCounts>::default();
        let io = TokioIo::new(Counted {
            transport: stream.into(),
            ahead,
            counts: Arc::clone(&counts),
        });
        (io, counts)
    }

    /// The socket under it all.
    pub(super) fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(stream) => stream,
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Writes what is to be written between two messages, where there is any and this is between two.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let interim = &self.counts.interim;
        if !interim.is_due() {
            return Poll::Ready(Ok(()));
        }
        let transport = &mut self.transport;
        interim.poll_write(|text| of!(transport, stream => Pin::new(stream).poll_write(cx, text)))
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.ahead.is_empty() {
            let n = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead.split_to(n));
            this.counts.read.fetch_add(n as u64, Relaxed);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = of!(&mut this.transport, stream => Pin::new(stream).poll_read(cx, buf));
        if let Poll::Ready(Ok(())) = polled {
            let n = buf.filled().len() - before;
            if n == 0 && buf.remaining() > 0 {
                this.counts.ended.store(true, Relaxed);
            }
            this.counts.read.fetch_add(n as u64, Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.counts.interim.writes();
        of!(&mut self.transport, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(of!(&mut self.transport, stream => Pin::new(stream).poll_flush(cx)))?;
        self.counts.interim.flushed();
        if !self.counts.interim.is_due() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_interim(cx))?;
        of!(&mut self.transport, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of!(&mut self.transport, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        of!(&self.transport, stream => stream.is_write_vectored())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.counts.interim.writes();
        of!(&mut self.transport, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }
}
