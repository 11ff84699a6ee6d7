//! A socket that counts what it reads, so that others can tell "nothing came yet" from "something did". No protocol here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What came over a socket, shared between the socket and whoever watches it.
#[derive(Debug, Default)]
pub struct IoCounts {
    read: AtomicU64,
    ended: AtomicBool,
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

/// The socket, as hyper takes it.
pub type CountedIo = TokioIo<Counted>;

/// The socket.
#[derive(Debug)]
pub struct Counted {
    stream: TcpStream,
    counts: Arc<IoCounts>,
}

impl Counted {
    /// Wraps a socket; gives what is counted beside it.
    pub fn wrap(stream: TcpStream) -> (CountedIo, Arc<IoCounts>) {
        let counts = Arc::<IoCounts>::default();
        let io = TokioIo::new(Counted {
            stream,
            counts: Arc::clone(&counts),
        });
        (io, counts)
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = polled {
            let n = buf.filled().len() - before;
            if n == 0 && buf.remaining() > 0 {
                self.counts.ended.store(true, Relaxed);
            }
            self.counts.read.fetch_add(n as u64, Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
