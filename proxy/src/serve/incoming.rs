//! The body of a client's request, whatever the client speaks. What it is for, how long it may take and how large it may be is
//! `upload`'s.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body::{Body, Frame, SizeHint};

use super::http1::Http1Body;
use super::upload::BodyError;
use crate::http2::{Lost, Receiver};

/// The body of a request as it comes in.
pub(super) enum Incoming {
    /// None.
    Empty,
    /// Over HTTP/1.
    Http1(Http1Body),
    /// On a stream of HTTP/2.
    Http2(Received),
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Incoming::Empty => "Empty",
            Incoming::Http1(_) => "Http1",
            Incoming::Http2(_) => "Http2",
        })
    }
}

/// What comes on a stream of HTTP/2. The client may send as much again as was taken.
pub(super) struct Received {
    stream: Receiver,
    /// How much of it is still to come, where its headers said so; HTTP/2 holds the client to that.
    left: Option<u64>,
}

impl Incoming {
    /// What comes on `stream` after these headers.
    pub(super) fn http2(stream: Receiver, headers: &HeaderMap) -> Self {
        if stream.is_end() {
            return Incoming::Empty;
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        Incoming::Http2(Received {
            stream,
            left: length.and_then(|length| length.parse().ok()),
        })
    }
}

impl Received {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        let frame = ready!(self.stream.poll_frame(cx));
        if let (Some(Ok(frame)), Some(left)) = (&frame, &mut self.left) {
            let data = frame.data_ref().map_or(0, Bytes::len);
            *left = left.saturating_sub(data as u64);
        }
        Poll::Ready(frame)
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Incoming::Empty => Poll::Ready(None),
            Incoming::Http1(body) => Pin::new(body).poll_frame(cx),
            Incoming::Http2(body) => body.poll(cx).map_err(|_| BodyError::Broken),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Incoming::Empty => true,
            Incoming::Http1(body) => body.is_end_stream(),
            Incoming::Http2(body) => body.stream.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Incoming::Empty => SizeHint::with_exact(0),
            Incoming::Http1(body) => body.size_hint(),
            Incoming::Http2(body) => body.left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
