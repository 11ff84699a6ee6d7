//! The socket under HTTP/2: notes what comes and whether anything goes, gives nothing more of a client that has spent all that it had, and
//! reads on for a while after the end, so that what the client is still sending does not wipe out our last words (GOAWAY).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::streams::Streams;
use crate::serve::io::Counted;

/// How long, and how much, a client is read from after the end.
const LINGER: Duration = Duration::from_secs(1);
const MOST_UNREAD: usize = 256 << 10;

/// A watched socket.
pub(super) struct Wire {
    io: Counted,
    streams: Rc<Streams>,
    /// Until when it is read from, where our end was said, and how much of that is left.
    lingers: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Wire {
    pub(super) fn new(io: Counted, streams: Rc<Streams>) -> Self {
        Wire {
            io,
            streams,
            lingers: None,
        }
    }

    /// Reads and forgets; ready when the client is done, or has had its time.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (timer, left) = self
            .lingers
            .get_or_insert_with(|| (Box::pin(sleep(LINGER)), MOST_UNREAD));
        let mut unread = [0; 4096];
        while *left > 0 && timer.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut unread);
            if ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)).is_err() || buf.filled().is_empty() {
                break;
            }
            *left = left.saturating_sub(buf.filled().len());
        }
        Poll::Ready(())
    }

    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.streams.wrote(polled.is_ready());
        polled
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Whoever drives the connection asks for the reason and comes back, so nobody has to be woken.
        if self.streams.is_shut() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.streams.read(bytes);
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
        if self.lingers.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}
