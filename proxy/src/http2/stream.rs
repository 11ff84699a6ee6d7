//! The two directions of one stream, as its task sees them. When both handles are gone and the stream has not ended by itself, it is
//! reset.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;
use tenbin_http2::Reason;

use super::shared::{Inner, Lost, Shared, Slot};

/// What goes on a stream.
pub(crate) struct Sender {
    shared: Rc<Shared>,
    id: u32,
}

/// What comes on a stream. The peer may send as much again as was taken.
pub(crate) struct Receiver {
    shared: Rc<Shared>,
    id: u32,
    /// Whether its end is told even where nothing comes before it: some servers take a stream that ends with its head for another thing
    /// than one that ends after it.
    ends_apart: Cell<bool>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({})", self.id)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({})", self.id)
    }
}

impl Sender {
    pub(super) fn new(shared: Rc<Shared>, id: u32) -> Self {
        Sender { shared, id }
    }

    fn act<T>(&self, act: impl FnOnce(&mut Inner) -> Result<T, Lost>) -> Result<T, Lost> {
        self.shared.with(|inner| {
            if let Some(lost) = inner.slot(self.id).map_or(Some(Lost::Connection), |slot| slot.lost) {
                return Err(lost);
            }
            let done = act(inner);
            inner.wake_driver();
            done
        })
    }

    /// Answers; `end` if there is no body. Informational responses go before.
    ///
    /// # Errors
    /// The stream is over.
    pub(crate) fn respond(&self, head: &Response<()>, end: bool) -> Result<(), Lost> {
        self.act(|inner| {
            inner.http.respond(self.id, head, end).map_err(|_| Lost::Connection)?;
            inner.ended(self.id, end);
            Ok(())
        })
    }

    /// Sends as much of `data` as can go now; ready when that is some of it, or all. With `end` it is the last.
    ///
    /// # Errors
    /// The stream is over.
    pub(crate) fn poll_data(&self, data: &mut Bytes, end: bool, cx: &Context<'_>) -> Poll<Result<usize, Lost>> {
        let sent = self.act(|inner| {
            let n = inner.http.send_data(self.id, data, end).map_err(|_| Lost::Connection)?;
            if n == 0 && !data.is_empty() {
                inner.block(self.id, cx);
                return Ok(Poll::Pending);
            }
            inner.ended(self.id, end && data.is_empty());
            Ok(Poll::Ready(n))
        });
        match sent {
            Ok(polled) => polled.map(Ok),
            Err(lost) => Poll::Ready(Err(lost)),
        }
    }

    /// Ends the stream with trailers.
    ///
    /// # Errors
    /// The stream is over.
    pub(crate) fn trailers(&self, trailers: &HeaderMap) -> Result<(), Lost> {
        self.act(|inner| {
            inner
                .http
                .send_trailers(self.id, trailers)
                .map_err(|_| Lost::Connection)?;
            inner.ended(self.id, true);
            Ok(())
        })
    }

    /// Gives the stream up.
    pub(crate) fn reset(&self, reason: Reason) {
        let _ = self.act(|inner| {
            inner.http.reset(self.id, reason);
            if let Some(slot) = inner.slot(self.id) {
                slot.lost = Some(Lost::Broken(reason));
            }
            Ok(())
        });
    }

    /// Whether the stream is over before its end.
    pub(crate) fn is_lost(&self) -> bool {
        self.shared
            .with(|inner| inner.slot(self.id).is_none_or(|slot| slot.lost.is_some()))
    }

    /// Why the stream is over before its end, once it is.
    pub(crate) fn poll_lost(&self, cx: &Context<'_>) -> Poll<Lost> {
        self.shared.with(|inner| {
            let Some(slot) = inner.slot(self.id) else {
                return Poll::Ready(Lost::Connection);
            };
            match slot.lost {
                Some(lost) => Poll::Ready(lost),
                None => {
                    slot.waits(cx);
                    Poll::Pending
                }
            }
        })
    }
}

impl Inner {
    fn ended(&mut self, id: u32, end: bool) {
        if let Some(slot) = self.slot(id) {
            slot.sent |= end;
        }
    }
}

impl Receiver {
    pub(super) fn new(shared: Rc<Shared>, id: u32, ends_apart: bool) -> Self {
        Receiver {
            shared,
            id,
            ends_apart: Cell::new(ends_apart),
        }
    }

    /// The next head of a response, informational ones among them.
    ///
    /// # Errors
    /// The stream is over.
    pub(crate) fn poll_head(&self, cx: &Context<'_>) -> Poll<Result<Response<()>, Lost>> {
        self.shared.with(|inner| {
            let Some(slot) = inner.slot(self.id) else {
                return Poll::Ready(Err(Lost::Connection));
            };
            if let Some(head) = slot.heads.pop() {
                return Poll::Ready(Ok(head));
            }
            match slot.lost {
                Some(lost) => Poll::Ready(Err(lost)),
                None => {
                    slot.waits(cx);
                    Poll::Pending
                }
            }
        })
    }

    /// The next of the body: data, or trailers; `None` at its end.
    ///
    /// # Errors
    /// The stream is over, and this is not all (RFC 9113 §8.1).
    pub(crate) fn poll_frame(&self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        let came = self.poll_came(cx);
        if came.is_ready() {
            self.ends_apart.set(false);
        }
        came
    }

    fn poll_came(&self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        self.shared.with(|inner| {
            let Some(slot) = inner.slot(self.id) else {
                return Poll::Ready(Some(Err(Lost::Connection)));
            };
            if let Some(data) = slot.data.pop() {
                inner.release(self.id, data.len());
                inner.wake_driver();
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if let Some(trailers) = slot.trailers.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            match slot.lost {
                _ if slot.received => Poll::Ready(None),
                Some(lost) => Poll::Ready(Some(Err(lost))),
                None => {
                    slot.waits(cx);
                    Poll::Pending
                }
            }
        })
    }

    /// Whether all of it was taken; of a request that has no body, but an end apart from its head, that end too.
    pub(crate) fn is_end(&self) -> bool {
        let is_drained = |slot: &mut Slot| slot.received && slot.data.is_empty() && slot.trailers.is_none();
        !self.ends_apart.get() && self.shared.with(|inner| inner.slot(self.id).is_none_or(is_drained))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.with(|inner| inner.leave(self.id));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.with(|inner| inner.leave(self.id));
    }
}
