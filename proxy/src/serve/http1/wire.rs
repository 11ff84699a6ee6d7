//! A client's connection with HTTP/1 as the request that is open on it sees it: what was read and is not taken yet, what is to be written
//! before anything else, how much of the request's body is still to come. Shared by who drives the connection and who reads the body;
//! what is written in which order is the driver's.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use tenbin_http1::{BodyReader, HeadReader, Length, Malformed, Piece, RequestHead};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::limits::{HEAD, MAX_BUFFER};
use crate::serve::expect::Said;
use crate::serve::io::Transport;
use crate::serve::upload::BodyError;

/// The most bytes of informational responses that wait to be written; what comes beyond is dropped.
const MAX_INTERIM: usize = 16 * 1024;
/// The most bytes that are read ahead of an open request, to notice that its client left.
const MAX_AHEAD: usize = 8 * 1024;
/// Up to so many bytes a buffer is kept for later responses.
const KEPT: usize = 12 * 1024;

/// The connection.
#[derive(Debug)]
pub(crate) struct Wire(RefCell<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    /// Gone when HTTP ended on it.
    transport: Option<Transport>,
    ahead: BytesMut,
    /// Whether the client closed its side.
    ended: bool,
    head: HeadReader,
    body: BodyReader,
    /// Whether the client waits to be told to go on with the body.
    expects: bool,
    /// Whether somebody may still read the body.
    wanted: bool,
    pub(super) out: BytesMut,
    /// Whether informational responses may be written: until the response begins.
    hears: bool,
    /// What holds the body back.
    held: Option<Rc<Said>>,
    /// Who drives the connection, while somebody else reads the body.
    waker: Option<Waker>,
}

/// What has become of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// All of it was read.
    Read,
    /// Somebody reads it.
    Wanted,
    /// Nobody will.
    Abandoned,
}

impl Wire {
    pub(in crate::serve) fn new(transport: Transport, ahead: BytesMut) -> Self {
        Wire(RefCell::new(Inner {
            transport: Some(transport),
            ahead,
            ended: false,
            head: HeadReader::default(),
            body: BodyReader::new(Length::Exact(0), &HEAD),
            expects: false,
            wanted: false,
            out: BytesMut::new(),
            hears: false,
            held: None,
            waker: None,
        }))
    }

    /// HTTP ended on it: what carried it, and what was read ahead.
    pub(super) fn take(&self) -> Option<(Transport, BytesMut)> {
        let inner = &mut *self.0.borrow_mut();
        let transport = inner.transport.take()?;
        Some((transport, std::mem::take(&mut inner.ahead)))
    }

    /// The next request's head, as far as it came: `None` at the end of the connection between two requests.
    ///
    /// # Errors
    /// It is not acceptable.
    pub(super) fn poll_head(
        &self,
        scratch: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<RequestHead>, Malformed>> {
        let inner = &mut *self.0.borrow_mut();
        loop {
            if !inner.ahead.is_empty()
                && let Some(head) = inner.head.request(&mut inner.ahead, &HEAD)?
            {
                return Poll::Ready(Ok(Some(head)));
            }
            if inner.ended {
                return Poll::Ready(Ok(None));
            }
            if ready!(inner.poll_read(scratch, cx)).is_err() {
                inner.ended = true;
                inner.ahead.clear();
            }
        }
    }

    /// Whether some of a request came that is not complete.
    pub(super) fn is_inside_head(&self) -> bool {
        !self.0.borrow().ahead.is_empty()
    }

    /// A request begins, with a body that ends like this; `hears` if its client takes informational responses, `expects` if it waits for one
    /// to go on with its body.
    pub(super) fn begin(&self, length: Length, hears: bool, expects: bool) {
        let inner = &mut *self.0.borrow_mut();
        inner.body = BodyReader::new(length, &HEAD);
        inner.expects = expects;
        inner.wanted = !inner.body.is_end();
        inner.hears = hears;
    }

    /// Lends it a buffer for what it writes, or takes that back: `out` holds an empty one instead. A connection has none between two
    /// requests.
    pub(super) fn swap_out(&self, out: &mut BytesMut) {
        let inner = &mut *self.0.borrow_mut();
        if inner.out.is_empty() {
            std::mem::swap(&mut inner.out, out);
        }
    }

    /// The response begins: nothing goes before it any more. What its head is to be written to.
    pub(super) fn respond<T>(&self, head: impl FnOnce(&mut BytesMut) -> T) -> T {
        let inner = &mut *self.0.borrow_mut();
        inner.hears = false;
        head(&mut inner.out)
    }

    /// Says so to the client, unless the response began.
    pub(crate) fn tell(&self, status: StatusCode, headers: &HeaderMap) {
        let inner = &mut *self.0.borrow_mut();
        let before = inner.out.len();
        if inner.hears && before < MAX_INTERIM {
            tenbin_http1::write_interim(&mut inner.out, status, headers);
            if inner.out.len() > MAX_INTERIM {
                inner.out.truncate(before);
            }
        }
    }

    /// The client may send its body, if it waits for that and it can still be said.
    pub(crate) fn say_continue(&self) {
        if std::mem::take(&mut self.0.borrow_mut().expects) {
            self.tell(StatusCode::CONTINUE, &HeaderMap::new());
        }
    }

    /// The body is held back until `said` says what is to become of it.
    pub(crate) fn hold(&self, said: Option<Rc<Said>>) {
        self.0.borrow_mut().held = said;
    }

    /// The body is held back no more; what holds it, if anything still does.
    pub(crate) fn release(&self) -> Option<Rc<Said>> {
        self.0.borrow_mut().held.take()
    }

    /// Writes what is to be written.
    pub(super) fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !inner.out.is_empty() {
            let n = ready!(carried(&mut inner.transport)?.poll_write(cx, &inner.out))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            inner.out.advance(n);
        }
        inner.written();
        carried(&mut inner.transport)?.poll_flush(cx)
    }

    /// Writes some of what is to be written, then of `data` and `after`; how much of these two went.
    pub(super) fn poll_write(&self, data: &[u8], after: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let inner = &mut *self.0.borrow_mut();
        let slices = [IoSlice::new(&inner.out), IoSlice::new(data), IoSlice::new(after)];
        let first = if inner.out.is_empty() { data } else { &inner.out };
        let transport = carried(&mut inner.transport)?;
        let n = if data.is_empty() && after.is_empty() || !transport.is_write_vectored() {
            ready!(transport.poll_write(cx, if first.is_empty() { after } else { first }))?
        } else {
            ready!(transport.poll_write_vectored(cx, &slices))?
        };
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_out = n.min(inner.out.len());
        inner.out.advance(of_out);
        if inner.out.is_empty() {
            inner.written();
        }
        Poll::Ready(Ok(n - of_out))
    }

    /// Has what was written go out.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried(&mut self.0.borrow_mut().transport)?.poll_flush(cx)
    }

    /// How much waits to be written.
    pub(super) fn waiting(&self) -> usize {
        self.0.borrow().out.len()
    }

    /// What waits to be written.
    pub(super) fn write<T>(&self, write: impl FnOnce(&mut BytesMut) -> T) -> T {
        write(&mut self.0.borrow_mut().out)
    }

    /// Ready when the client has left, as far as can be seen: it is read on while nobody reads a body, up to a bound.
    pub(super) fn poll_gone(&self, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.0.borrow_mut();
        if inner.ended && inner.body.is_end() {
            return Poll::Ready(());
        }
        while inner.body.is_end() && inner.ahead.len() < MAX_AHEAD {
            if ready!(inner.poll_read(scratch, cx)).is_err() || inner.ended {
                return Poll::Ready(());
            }
        }
        if !inner.body.is_end() {
            inner.wake_later(cx);
        }
        Poll::Pending
    }

    /// What has become of the body, and that the driver is to be woken when that changes.
    pub(super) fn rest(&self, cx: &Context<'_>) -> Rest {
        let inner = &mut *self.0.borrow_mut();
        match (inner.body.is_end(), inner.wanted) {
            (true, _) => Rest::Read,
            (false, false) => Rest::Abandoned,
            (false, true) => {
                inner.wake_later(cx);
                Rest::Wanted
            }
        }
    }

    /// Throws away the rest of a body that nobody wants, if all of it is here; whether it was.
    pub(super) fn skip_body(&self) -> bool {
        let inner = &mut *self.0.borrow_mut();
        loop {
            match inner.body.next(&mut inner.ahead) {
                Ok(Piece::End) => return true,
                Ok(Piece::Data(_) | Piece::Trailers(_)) => {}
                Ok(Piece::More) | Err(_) => return false,
            }
        }
    }

    /// Whether the client closed its side.
    pub(super) fn is_ended(&self) -> bool {
        self.0.borrow().ended
    }

    /// The next of the body.
    pub(in crate::serve) fn poll_body(
        &self,
        scratch: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.say_continue();
        // Goes on without an answer: a client that takes none will find out later.
        let _ = self.poll_out_before_response(cx);
        let inner = &mut *self.0.borrow_mut();
        loop {
            let frame = match inner.body.next(&mut inner.ahead) {
                Ok(Piece::Data(data)) => Frame::data(data),
                Ok(Piece::Trailers(trailers)) => Frame::trailers(trailers),
                Ok(Piece::End) => {
                    inner.wake();
                    return Poll::Ready(None);
                }
                Ok(Piece::More) if inner.ended => return Poll::Ready(Some(Err(inner.fail(BodyError::Broken)))),
                Ok(Piece::More) => {
                    if ready!(inner.poll_read(scratch, cx)).is_err() {
                        inner.ended = true;
                    }
                    continue;
                }
                Err(malformed) => return Poll::Ready(Some(Err(inner.fail(BodyError::Malformed(malformed))))),
            };
            if inner.body.is_end() {
                inner.wake();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
    }

    fn poll_out_before_response(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.0.borrow().hears {
            return Poll::Ready(Ok(()));
        }
        self.poll_out(cx)
    }

    /// Whether all of the body was taken.
    pub(in crate::serve) fn is_body_over(&self) -> bool {
        self.0.borrow().body.is_end()
    }

    /// How many bytes of the body are still to come, where that is known.
    pub(in crate::serve) fn body_left(&self) -> Option<u64> {
        self.0.borrow().body.left()
    }

    /// Nobody reads the body any more.
    pub(in crate::serve) fn abandon_body(&self) {
        let inner = &mut *self.0.borrow_mut();
        inner.wanted = false;
        inner.wake();
    }
}

/// What carries the bytes, while HTTP is spoken on it.
fn carried(transport: &mut Option<Transport>) -> io::Result<Pin<&mut Transport>> {
    transport
        .as_mut()
        .map(Pin::new)
        .ok_or_else(|| io::ErrorKind::NotConnected.into())
}

impl Inner {
    /// Reads what is there: heads by way of `scratch`, so that connections between two requests hold no buffer, much of a body at once.
    fn poll_read(&mut self, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let left = self.body.left().unwrap_or(0);
        let n = if left > scratch.len() as u64 {
            let most = usize::try_from(left).map_or(MAX_BUFFER / 2, |left| left.min(MAX_BUFFER / 2));
            self.ahead.reserve(most.saturating_sub(self.ahead.len()).max(1));
            ready!(poll_read_buf(carried(&mut self.transport)?, cx, &mut self.ahead))?
        } else {
            let mut buf = ReadBuf::new(scratch);
            ready!(carried(&mut self.transport)?.poll_read(cx, &mut buf))?;
            self.ahead.extend_from_slice(buf.filled());
            buf.filled().len()
        };
        self.ended |= n == 0;
        Poll::Ready(Ok(()))
    }

    fn written(&mut self) {
        if self.out.capacity() > KEPT {
            self.out = BytesMut::new();
        } else {
            self.out.clear();
        }
    }

    /// The body has no good end: nobody can read on.
    fn fail(&mut self, error: BodyError) -> BodyError {
        self.wanted = false;
        self.wake();
        error
    }

    /// Has who drives the connection woken when the body is over.
    fn wake_later(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
