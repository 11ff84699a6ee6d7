//! A connection that one request has for itself (HTTP/1.1), driven by whoever waits for its response: the request goes out while the
//! response comes in. Which request, and what its failure means, is decided elsewhere.

use std::fmt;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use http_body::Frame;
use tenbin_balance::Time;
use tenbin_http1::{BodyReader, HeadReader, Limits, Malformed, Piece, ResponseHead};
use tenbin_http2::Reason;
use tokio::io::AsyncReadExt;
use tracing::debug;

use super::outgoing::{Outgoing, Unfinished};
use super::room;
use super::socket::Socket;
use super::upgraded::Upgraded;
use crate::limits;
use crate::serve::{BodyError, RequestBody};

/// How much is read at a time at least: most responses are smaller.
const READ: usize = 8 << 10;
/// How much is read at a time at most, and so how much of a response is held.
const READ_MOST: usize = limits::MAX_BUFFER;
/// The most informational responses to one request.
pub(super) const MAX_INTERIM: u32 = 16;
/// Of the heads and trailers of responses.
pub(super) const LIMITS: Limits = Limits {
    head: limits::MAX_BUFFER,
    headers: limits::MAX_HEADERS,
    target: 0,
};

/// What keeps a response from coming, or breaks it off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Not a byte of the request could be written.
    #[error("nothing of the request could be written: {0}")]
    Unsent(#[source] io::Error),
    /// The request's body breaks off.
    #[error("the request's body broke off: {0}")]
    Request(#[source] BodyError),
    /// The request's body is longer or shorter than was said.
    #[error("the request's body is not as long as its Content-Length says")]
    Length,
    /// What comes is not HTTP.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Informational responses, and never another.
    #[error("more than {MAX_INTERIM} informational responses to one request")]
    Interim,
    /// The endpoint closed the connection.
    #[error("closed")]
    Closed,
    /// The connection broke.
    #[error(transparent)]
    Io(io::Error),
    /// The endpoint reset the request (HTTP/2), and has not sent all of its response: without an error, too, that is not all (RFC 9113 §8.1).
    #[error("reset: {0}")]
    Reset(Reason),
    /// What comes is not HTTP/2, for which we reset the request.
    #[error("not HTTP/2: {0}")]
    Rules(Reason),
}

/// The connection.
pub(super) struct Exclusive {
    socket: Socket,
    /// What was read and belongs to nobody yet.
    input: BytesMut,
    /// Whether that is lent room, to be given back.
    lent: bool,
    heads: HeadReader,
    outgoing: Outgoing,
    /// How much is read at a time where nothing else is known: as much as the last response was, and more where that comes.
    pace: usize,
    /// Bytes that came since the request began.
    heard: usize,
    /// Informational responses since then.
    interim: u32,
    /// Whether the endpoint lets it go on after this response, and got all of this request.
    keep: bool,
}

impl fmt::Debug for Exclusive {
    /// Without what was read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exclusive")
            .field("heard", &self.heard)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

impl Exclusive {
    /// HTTP/1.1 over a connection that was just opened.
    pub(super) fn new(socket: Socket) -> Box<Self> {
        Box::new(Exclusive {
            socket,
            input: BytesMut::new(),
            lent: false,
            heads: HeadReader::default(),
            outgoing: Outgoing::default(),
            pace: READ,
            heard: 0,
            interim: 0,
            keep: false,
        })
    }

    /// Takes up the next request, which is sent by waiting for the head of its response; `ready` are further header lines of it.
    pub(super) fn begin(&mut self, head: &Parts, ready: &[u8], body: RequestBody) {
        self.outgoing.begin(head, ready, body);
        self.heard = 0;
        self.interim = 0;
        self.keep = true;
    }

    /// Whether anything came since the request began.
    pub(super) fn has_heard(&self) -> bool {
        self.heard > 0
    }

    /// Whether some of the request is still to be sent.
    pub(super) fn is_sending(&self) -> bool {
        !self.outgoing.is_done()
    }

    /// Until when the request has to move on.
    pub(super) fn due(&self) -> Option<Time> {
        self.outgoing.due()
    }

    /// Sends the request of `method` and waits for the head of its response; informational ones before it are told to `interim`.
    pub(super) fn poll_head(
        &mut self,
        method: &Method,
        interim: &mut dyn FnMut(StatusCode, HeaderMap),
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Broken>> {
        let is_first = !self.outgoing.has_begun();
        if is_first && let Poll::Ready(sent) = self.poll_send(cx) {
            sent?;
        }
        loop {
            while !self.input.is_empty()
                && let Some(head) = self.heads.response(&mut self.input, &LIMITS, method)?
            {
                let status = head.response.status();
                if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                    self.keep &= head.keep_alive;
                    return Poll::Ready(Ok(head));
                }
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Poll::Ready(Err(Broken::Interim));
                }
                interim(status, head.response.into_parts().0.headers);
            }
            match self.poll_read(self.pace, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Broken::Closed)),
                Poll::Ready(read) => read.map_err(Broken::Io)?,
                Poll::Pending => break,
            };
        }
        // After it was tried to read, so that a response is seen however fast the request's body comes.
        if !is_first && let Poll::Ready(sent) = self.poll_send(cx) {
            sent?;
        }
        Poll::Pending
    }

    /// The next of the response's body. Goes on with the request where that is not all sent.
    pub(super) fn poll_body(
        &mut self,
        reader: &mut BodyReader,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let came = self.poll_piece(reader, cx);
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) if came.is_pending() => Poll::Ready(Some(Err(error))),
            _ => came.map(Result::transpose),
        }
    }

    fn poll_piece(
        &mut self,
        reader: &mut BodyReader,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, Broken>> {
        loop {
            match reader.next(&mut self.input)? {
                Piece::Data(data) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                Piece::Trailers(trailers) => return Poll::Ready(Ok(Some(Frame::trailers(trailers)))),
                Piece::End => return Poll::Ready(Ok(None)),
                Piece::More => {}
            }
            // Room for more than is left: what is read in full leaves open whether more came.
            let room = |left| usize::try_from(left).unwrap_or(usize::MAX).saturating_add(1);
            let want = reader
                .left()
                .map_or(self.pace, |left| room(left).clamp(READ, READ_MOST));
            match ready!(self.poll_read(want, cx)) {
                Ok(0) => reader.closed()?,
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Broken::Io(error))),
            }
        }
    }

    /// Sends what can be sent of the request. Ready when that is all that ever will be.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.outgoing.is_done() {
            return Poll::Ready(Ok(()));
        }
        let Err(unfinished) = ready!(self.outgoing.poll(&mut self.socket, cx)) else {
            return Poll::Ready(Ok(()));
        };
        self.keep = false;
        Poll::Ready(match unfinished {
            Unfinished::Body(error) => Err(Broken::Request(error)),
            Unfinished::Length => Err(Broken::Length),
            Unfinished::Io(error) if !self.outgoing.has_begun() && self.socket.is_plain() => Err(Broken::Unsent(error)),
            Unfinished::Io(error) => {
                // It may have answered before it closed: what it says is read.
                debug!(%error, "an endpoint takes no more of a request");
                self.outgoing.stop();
                Ok(())
            }
            Unfinished::Abandoned => {
                self.outgoing.stop();
                Ok(())
            }
        })
    }

    /// Reads some more, about `want` bytes at most; 0 if there will be none.
    fn poll_read(&mut self, want: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let spare = self.input.capacity() - self.input.len();
        if spare < want && !self.input.try_reclaim(want) && spare < want / 2 {
            if want >= room::LARGE && self.input.is_empty() {
                self.give_room_back();
                ready!(self.socket.poll_readable(cx))?;
                (self.input, self.lent) = (room::take(), true);
            } else {
                self.input.reserve(want);
                self.lent = false;
            }
        }
        let Poll::Ready(read) = pin!(self.socket.read_buf(&mut self.input)).poll(cx) else {
            if self.input.is_empty() {
                self.give_room_back();
            }
            return Poll::Pending;
        };
        let read = read?;
        self.heard = self.heard.saturating_add(read);
        if self.input.len() == self.input.capacity() {
            self.pace = (self.pace * 2).min(READ_MOST);
        }
        Poll::Ready(Ok(read))
    }

    /// Gives lent room back, of which nothing is to be read any more.
    fn give_room_back(&mut self) {
        if std::mem::take(&mut self.lent) {
            room::put(std::mem::take(&mut self.input));
        }
    }

    /// Whether another request may go over it, once the response was read to its end. It is at rest from then on, if it is at all.
    pub(super) fn come_to_rest(&mut self) -> bool {
        let is_over = self.input.is_empty() && self.outgoing.is_done();
        if is_over {
            self.give_room_back();
        }
        self.socket.set_at_rest(is_over);
        self.pace = self.heard.clamp(READ, READ_MOST);
        is_over && self.keep
    }

    /// Whether it is still as it was when it came to rest.
    pub(super) fn is_at_rest(&mut self) -> bool {
        self.socket.is_quiet()
    }

    /// It is to be used again.
    pub(super) fn wake(&mut self) {
        self.socket.set_at_rest(false);
    }

    /// Lets go of all memory that it holds for its next request.
    pub(super) fn shrink(&mut self) {
        (self.input, self.lent) = (BytesMut::new(), false);
        self.pace = READ;
        self.outgoing.shrink();
    }

    /// What is left when HTTP has ended on it.
    pub(super) fn into_upgraded(self) -> Upgraded {
        Upgraded {
            socket: self.socket,
            ahead: self.input.freeze(),
        }
    }
}

#[cfg(test)]
mod tests;
