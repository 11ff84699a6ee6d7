//! A stream as the client's end of a tunnel (RFC 8441): DATA both ways, each way as far as the other end takes it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tenbin_http2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::SEND_BUFFER;
use super::streams::Streams;
use crate::http2::{Lost, Receiver, Sender};

/// Both ways of a stream.
pub(super) struct StreamIo {
    send: Sender,
    receive: Receiver,
    streams: Rc<Streams>,
    /// What came and was not read yet.
    ahead: Bytes,
    /// Whether our end was said.
    done: bool,
}

impl StreamIo {
    pub(super) fn new(send: Sender, receive: Receiver, streams: Rc<Streams>) -> Self {
        StreamIo {
            send,
            receive,
            streams,
            ahead: Bytes::new(),
            done: false,
        }
    }
}

impl AsyncRead for StreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.ahead.is_empty() {
            match ready!(self.receive.poll_frame(cx)) {
                Some(Ok(frame)) => self.ahead = frame.into_data().unwrap_or_default(),
                // Who resets a stream like this has closed it, as with a socket.
                Some(Err(Lost::Reset(Reason::NO_ERROR | Reason::CANCEL))) | None => return Poll::Ready(Ok(())),
                Some(Err(lost)) => return Poll::Ready(Err(into_io(lost))),
            }
        }
        let n = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let some = buf.get(..SEND_BUFFER).unwrap_or(buf);
        let n = ready!(self.send.poll_data(&mut Bytes::copy_from_slice(some), false, cx)).map_err(into_io)?;
        self.streams.sent(n, true);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.done {
            self.done = true;
            ready!(self.send.poll_data(&mut Bytes::new(), true, cx)).map_err(into_io)?;
        }
        Poll::Ready(Ok(()))
    }
}

fn into_io(lost: Lost) -> io::Error {
    match lost {
        Lost::Connection => io::ErrorKind::BrokenPipe.into(),
        Lost::Reset(_) | Lost::Broken(_) => io::Error::other(format!("{lost:?}")),
    }
}
