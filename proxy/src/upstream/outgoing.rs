//! A request on its way over a connection of its own: its head, then its body, framed as HTTP/1.1 wants it, as fast as the endpoint takes
//! it and never much ahead of that. What comes back is not looked at here.

use std::borrow::Cow;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http_body::Body;
use tenbin_balance::Time;
use tenbin_http1::{CHUNK_END, Length, write_chunk, write_chunk_size, write_last_chunk, write_request};
use tokio::io::AsyncWrite;

use crate::serve::{BodyError, RequestBody, Upload, usually_has_body};

/// Chunks of up to so many bytes are copied next to what else is to be written; larger ones are written from where they are.
const COPIED: usize = 4 << 10;
/// Pieces of up to so many bytes that come together become one chunk: an endpoint need not suffer from a client that sends them apart.
const JOINED: usize = 256;
/// No more of a body is taken while so many bytes wait.
const ENOUGH: usize = 16 << 10;

/// What is still to be written of a request.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    buffer: BytesMut,
    /// How much of the buffer was written.
    written: usize,
    /// A large piece of the body, which follows the buffer.
    chunk: Bytes,
    rest: Option<Rest>,
    /// Whether any of the request was written.
    begun: bool,
    /// Whether something was written that may not have gone on its way yet.
    unflushed: bool,
}

/// A body of which not all was written.
#[derive(Debug)]
struct Rest {
    body: RequestBody,
    /// How many bytes more there are; `None` where it goes in chunks.
    left: Option<u64>,
    /// Pieces that are to be one chunk.
    joined: BytesMut,
    /// Whether the end of the last chunk is still to be written.
    owes_end: bool,
    /// Whether all of it came.
    came: bool,
    /// Whether that, and what frames it, is among what is to be written.
    framed: bool,
}

/// Why a request was not sent to its end.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// The endpoint takes no more.
    Io(io::Error),
    /// The body breaks off.
    Body(BodyError),
    /// The body is not as long as was said.
    Length,
    /// Nobody wants this sending of the body any more: nothing is wrong.
    Abandoned,
}

impl Outgoing {
    /// Takes up the next request; `ready` are further header lines of it.
    pub(super) fn begin(&mut self, head: &Parts, ready: &[u8], body: RequestBody) {
        self.stop();
        self.begun = false;
        let length = if body.is_end_stream() {
            no_body(head)
        } else {
            Some(body.size_hint().exact().map_or(Length::Chunked, Length::Exact))
        };
        write_request(
            &mut self.buffer,
            &head.method,
            &target(&head.uri),
            &head.headers,
            ready,
            length,
        );
        if !body.is_end_stream() {
            let left = match length {
                Some(Length::Exact(length)) => Some(length),
                _ => None,
            };
            self.rest = Some(Rest {
                body,
                left,
                joined: BytesMut::new(),
                owes_end: false,
                came: false,
                framed: false,
            });
        }
    }

    /// Whether all of the request was written.
    pub(super) fn is_done(&self) -> bool {
        self.rest.is_none() && self.buffer.is_empty() && !self.unflushed
    }

    /// Whether any of it was.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Gives up what is left.
    pub(super) fn stop(&mut self) {
        self.rest = None;
        self.chunk = Bytes::new();
        self.buffer.clear();
        self.written = 0;
        self.unflushed = false;
    }

    /// Until when some of the body has to come, or go on its way.
    pub(super) fn due(&self) -> Option<Time> {
        let upload = self.rest.as_ref()?.body.upload();
        upload.map(Upload::due).map(|(due, _)| due)
    }

    /// Lets go of the memory that it keeps for the next request.
    pub(super) fn shrink(&mut self) {
        self.buffer = BytesMut::new();
    }

    /// Writes what can be written. Ready when that is all of the request.
    pub(super) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Unfinished>> {
        loop {
            let filled = match &mut self.rest {
                Some(rest) => rest.poll_fill(&mut self.buffer, &mut self.chunk, cx)?,
                None => Poll::Ready(()),
            };
            ready!(self.poll_write(socket, cx)).map_err(Unfinished::Io)?;
            ready!(filled);
            if self.rest.as_ref().is_none_or(|rest| rest.framed) {
                self.rest = None;
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Writes all that is here.
    fn poll_write<S: AsyncWrite + Unpin>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let before = self.buffer.get(self.written..).unwrap_or_default();
            let socket = Pin::new(&mut *socket);
            let n = match (before, &*self.chunk) {
                ([], []) => break,
                (before, []) => ready!(socket.poll_write(cx, before))?,
                ([], chunk) => ready!(socket.poll_write(cx, chunk))?,
                (before, chunk) => {
                    let both = [IoSlice::new(before), IoSlice::new(chunk)];
                    ready!(socket.poll_write_vectored(cx, &both))?
                }
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_buffer = n.min(before.len());
            self.written += of_buffer;
            self.chunk.advance((n - of_buffer).min(self.chunk.len()));
            self.begun = true;
            self.unflushed = true;
        }
        self.buffer.clear();
        self.written = 0;
        self.chunk = Bytes::new();
        if self.unflushed {
            ready!(Pin::new(socket).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl Rest {
    /// Takes what there is of the body, up to a bound. Pending where the client owes the next of it.
    fn poll_fill(
        &mut self,
        buffer: &mut BytesMut,
        chunk: &mut Bytes,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, Unfinished> {
        let filled = self.fill(buffer, chunk, cx)?;
        self.join(buffer);
        Ok(filled)
    }

    fn fill(&mut self, buffer: &mut BytesMut, chunk: &mut Bytes, cx: &mut Context<'_>) -> Result<Poll<()>, Unfinished> {
        while !self.framed && chunk.is_empty() && buffer.len() + self.joined.len() < ENOUGH {
            if std::mem::take(&mut self.owes_end) {
                buffer.extend_from_slice(CHUNK_END);
            }
            if self.came {
                self.end(buffer, None)?;
                break;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.take(data, buffer, chunk)?,
                    Err(trailers) => self.end(buffer, trailers.trailers_ref())?,
                },
                Poll::Ready(Some(Err(BodyError::Stale))) => return Err(Unfinished::Abandoned),
                Poll::Ready(Some(Err(error))) => return Err(Unfinished::Body(error)),
                Poll::Ready(None) => self.came = true,
                // Its client was told to keep it.
                Poll::Pending if self.body.is_end_stream() => return Err(Unfinished::Abandoned),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Has some data written.
    fn take(&mut self, data: Bytes, buffer: &mut BytesMut, chunk: &mut Bytes) -> Result<(), Unfinished> {
        self.came = self.body.is_end_stream();
        if data.is_empty() {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(Unfinished::Length)?;
        } else if data.len() <= JOINED {
            self.joined.extend_from_slice(&data);
            return Ok(());
        } else {
            self.join(buffer);
            write_chunk_size(buffer, data.len());
            self.owes_end = true;
        }
        if data.len() <= COPIED {
            buffer.extend_from_slice(&data);
        } else {
            *chunk = data;
        }
        Ok(())
    }

    /// Has what was joined written.
    fn join(&mut self, buffer: &mut BytesMut) {
        write_chunk(buffer, &self.joined);
        self.joined.clear();
    }

    /// Has what ends it written.
    fn end(&mut self, buffer: &mut BytesMut, trailers: Option<&HeaderMap>) -> Result<(), Unfinished> {
        self.join(buffer);
        match self.left {
            None => write_last_chunk(buffer, trailers),
            Some(0) => {}
            Some(_) => return Err(Unfinished::Length),
        }
        self.framed = true;
        Ok(())
    }
}

/// What is said of a body that is not there: the client's own word, or what endpoints expect of a method that usually has one
/// (RFC 9110 §8.6).
fn no_body(head: &Parts) -> Option<Length> {
    (usually_has_body(&head.method) || head.headers.contains_key(CONTENT_LENGTH)).then_some(Length::Exact(0))
}

/// The target in origin form (RFC 9112 §3.2.1): `/` where there is no path.
fn target(uri: &Uri) -> Cow<'_, str> {
    match uri.path_and_query().map_or("/", PathAndQuery::as_str) {
        query if query.starts_with('?') => format!("/{query}").into(),
        target => target.into(),
    }
}
