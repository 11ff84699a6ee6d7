//! The driver's side of a connection: writes what is to be written, reads, and hands on what came. When it ends is its user's to say.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::Request;
use tenbin_http2::{Error, Event};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::shared::{Shared, Taken};
use super::stream::{Receiver, Sender};

/// The most slices that are written at once.
const SLICES: usize = 16;
/// How much is read at a time where much comes.
const MUCH: usize = 64 << 10;
/// Nothing is read while so many bytes wait to be written: whoever does not read is not answered for ever.
const FULL: usize = 256 << 10;

/// The socket of a connection, and what was read from it.
pub(crate) struct Link<T> {
    io: T,
    shared: Rc<Shared>,
    input: BytesMut,
    /// Whether the last read filled all there was room for.
    much: bool,
    unflushed: bool,
}

/// What came that is the driver's business.
#[expect(clippy::large_enum_variant, reason = "taken apart where it is made, never kept")]
pub(crate) enum Came {
    /// A request.
    Request(Request<()>, Sender, Receiver),
    /// A request whose head is too large.
    TooLarge(Sender),
    /// The peer's settings.
    Settings,
    /// The peer takes no more streams.
    GoAway,
    /// So much that others should have their turn before more of it is taken.
    Enough,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Link<T> {
    pub(crate) fn new(io: T, shared: Rc<Shared>) -> Self {
        Link {
            io,
            shared,
            input: BytesMut::new(),
            much: false,
            unflushed: false,
        }
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Writes what is to be written; ready when all of it went out.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Link { io, shared, .. } = self;
        let wrote = shared.with(|inner| {
            inner.driven(cx);
            let mut wrote = false;
            while !inner.http.is_written() {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let used = inner.http.output(&mut slices);
                let slices = slices.get(..used).unwrap_or_default();
                let n = match Pin::new(&mut *io).poll_write_vectored(cx, slices) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(written) => written?,
                    Poll::Pending => return Poll::Pending,
                };
                inner.http.wrote(n);
                wrote = true;
                if !inner.http.is_full() {
                    inner.unblock();
                }
            }
            Poll::Ready(io::Result::Ok(wrote))
        });
        self.unflushed |= ready!(wrote)?;
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what is there, by way of `scratch` unless there is much, so that a connection without streams holds no buffer; how much.
    /// Pending while the peer does not take what waits for it.
    pub(crate) fn poll_read(&mut self, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.shared.with(|inner| inner.http.waiting()) >= FULL {
            return Poll::Pending;
        }
        let io = Pin::new(&mut self.io);
        if self.much {
            self.input.reserve(MUCH);
            let n = match poll_read_buf(io, cx, &mut self.input) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    self.rest();
                    return Poll::Pending;
                }
            };
            self.much = n >= scratch.len();
            return Poll::Ready(Ok(n));
        }
        let mut buf = ReadBuf::new(scratch);
        ready!(io.poll_read(cx, &mut buf))?;
        let (n, room) = (buf.filled().len(), buf.remaining());
        self.input.extend_from_slice(buf.filled());
        self.much = room == 0;
        Poll::Ready(Ok(n))
    }

    /// Whether the last read filled all there was room for: more may be there.
    pub(crate) fn has_much(&self) -> bool {
        self.much
    }

    /// Nothing comes for now: holds no more than what is not complete.
    fn rest(&mut self) {
        self.much = false;
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    /// The next of what was read that is the driver's business; the rest goes to its streams.
    ///
    /// # Errors
    /// The peer broke the rules: the connection is over, and its end waits to be written.
    pub(crate) fn next(&mut self) -> Result<Option<Came>, Error> {
        let Link { shared, input, .. } = self;
        Ok(match shared.with(|inner| inner.next(input))? {
            Taken::All => None,
            Taken::Enough => Some(Came::Enough),
            Taken::Until(Event::Request { stream, head, end }) => {
                let (sender, receiver) = shared.handles(stream, end, false);
                Some(Came::Request(head, sender, receiver))
            }
            Taken::Until(Event::TooLarge { stream, end, .. }) => {
                Some(Came::TooLarge(shared.handles(stream, end, false).0))
            }
            Taken::Until(Event::Settings) => Some(Came::Settings),
            // What is left is GOAWAY.
            Taken::Until(event) => {
                shared.with(|inner| inner.take(event));
                Some(Came::GoAway)
            }
        })
    }

    /// Whether something is to be written.
    pub(crate) fn has_output(&self) -> bool {
        self.shared.with(|inner| !inner.http.is_written())
    }

    /// What was spent on the peer's frames since this was asked last.
    pub(crate) fn take_cost(&self) -> u32 {
        self.shared.with(|inner| inner.http.take_cost())
    }

    /// What the peer earned since this was asked last, by messages that we wait for.
    pub(crate) fn take_earned(&self) -> u32 {
        self.shared.with(|inner| std::mem::take(&mut inner.earned))
    }

    /// Whether both sides have said and done all there was to.
    pub(crate) fn is_done(&self) -> bool {
        self.shared.with(|inner| inner.http.is_done())
    }

    /// Has all streams know that nothing more goes or comes; what still waits may be written.
    pub(crate) fn end(&self) {
        self.shared.with(super::shared::Inner::end);
    }

    /// What carries it.
    pub(crate) fn io(&mut self) -> &mut T {
        &mut self.io
    }
}

impl<T> Drop for Link<T> {
    fn drop(&mut self) {
        self.shared.with(super::shared::Inner::end);
    }
}
