//! A stream as the client's end of a tunnel (RFC 8441): DATA both ways, each way as far as the other end takes it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::SEND_BUFFER;
use super::streams::Streams;

/// Both ways of a stream.
pub(super) struct StreamIo {
    send: SendStream<Bytes>,
    receive: RecvStream,
    streams: Rc<Streams>,
    /// What came and was not read yet.
    ahead: Bytes,
    /// Whether our end was said.
    done: bool,
}

impl StreamIo {
    pub(super) fn new(send: SendStream<Bytes>, receive: RecvStream, streams: Rc<Streams>) -> Self {
        StreamIo {
            send,
            receive,
            streams,
            ahead: Bytes::new(),
            done: false,
        }
    }

    /// How many bytes can be sent now; waits until it is one at least.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let room = self.send.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }
}

impl AsyncRead for StreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.ahead.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => self.ahead = data,
                // Who resets a stream like this has closed it, as with a socket.
                Some(Err(error)) if matches!(error.reason(), Some(Reason::NO_ERROR | Reason::CANCEL)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(n));
        // It cannot fail: this much was received.
        let _ = self.receive.flow_control().release_capacity(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(buf.len().min(SEND_BUFFER));
        let room = ready!(self.poll_room(cx))?;
        let data = buf.take(room).copy_to_bytes(buf.len().min(room));
        let n = data.len();
        self.send.send_data(data, false).map_err(into_io)?;
        self.streams.sent(n, true);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.done {
            self.done = true;
            self.send.send_data(Bytes::new(), true).map_err(into_io)?;
        }
        Poll::Ready(Ok(()))
    }
}

fn into_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::other(error)
    }
}
