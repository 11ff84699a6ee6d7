//! The socket under HTTP/2: notes when something comes and whether anything goes, and reads on for a while after the end, so that what the
//! client is still sending does not wipe out our last words (GOAWAY).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::streams::Streams;
use crate::serve::io::Counted;

/// How long, and how much, a client is read from after the end.
const LINGER: Duration = Duration::from_secs(1);
const MOST_UNREAD: usize = 256 << 10;

/// A watched socket.
pub(super) struct Wire {
    io: Counted,
    streams: Rc<Streams>,
}

impl Wire {
    pub(super) fn new(io: Counted, streams: Rc<Streams>) -> Self {
        Wire { io, streams }
    }

    /// Says that nothing more comes, then reads and forgets until the client is done, or has had its time.
    pub(super) async fn linger(&mut self) {
        let io = &mut self.io;
        let mut unread = [0; 4096];
        let mut left = MOST_UNREAD;
        let lingers = async {
            io.shutdown().await?;
            while left > 0 {
                match io.read(&mut unread).await? {
                    0 => break,
                    n => left = left.saturating_sub(n),
                }
            }
            io::Result::Ok(())
        };
        // However it ends, this was the last of it.
        let _ = timeout(LINGER, lingers).await;
    }

    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.streams.wrote(polled.is_ready());
        polled
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.streams.hears();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
