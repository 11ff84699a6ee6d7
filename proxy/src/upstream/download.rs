//! A response's body on its way from an endpoint, over either version of HTTP, and what it comes over. What goes to the client, and when it
//! takes too long, is decided elsewhere.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tenbin_http1::BodyReader;

use super::exclusive::Broken;
use super::pool::{Lease, Via};
use super::upgraded::Upgraded;

/// A response's body. While it is polled it sends the rest of the request, too, where the response came first. Dropped before its end it
/// takes its request along.
#[derive(Debug)]
pub struct Download {
    source: Source,
    /// What it comes over; gone when that was taken back.
    lease: Option<Lease>,
}

enum Source {
    Http1(BodyReader),
    Http2(Incoming),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::Http1(_) => "Http1",
            Source::Http2(_) => "Http2",
        })
    }
}

impl Download {
    pub(super) fn http1(reader: BodyReader, lease: Lease) -> Self {
        Download {
            source: Source::Http1(reader),
            lease: Some(lease),
        }
    }

    pub(super) fn http2(incoming: Incoming, lease: Lease) -> Self {
        Download {
            source: Source::Http2(incoming),
            lease: Some(lease),
        }
    }

    /// What it came over, for other requests or to send the rest of this one: once, when it ended.
    pub fn finish(&mut self) -> Option<Lease> {
        match &self.source {
            Source::Http1(reader) if !reader.is_end() => None,
            _ => self.lease.take(),
        }
    }

    /// Goes on with the request alone, where that is not all sent: for who cannot take more of the response. Whether it fails is told by the
    /// response.
    pub fn poll_request(&mut self, cx: &mut Context<'_>) {
        if let Some(Lease {
            via: Via::Http1(connection),
            ..
        }) = &mut self.lease
        {
            let _ = connection.poll_send(cx);
        }
    }

    /// The connection after a switch of protocols; none over HTTP/2, where there is no such thing.
    pub fn into_upgraded(self) -> Option<Upgraded> {
        match self.lease?.via {
            Via::Http1(connection) => Some(connection.into_upgraded()),
            Via::Http2(_) => None,
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        match (&mut this.source, &mut this.lease) {
            (
                Source::Http1(reader),
                Some(Lease {
                    via: Via::Http1(connection),
                    ..
                }),
            ) => connection.poll_body(reader, cx),
            (Source::Http1(_), _) => Poll::Ready(None),
            (Source::Http2(incoming), _) => Poll::Ready(match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                // A reset without an error is taken for an end, though only END_STREAM says that it is all (RFC 9113 §8.1).
                None if !incoming.is_end_stream() => Some(Err(Broken::Short)),
                frame => frame.map(|frame| frame.map_err(Broken::Http2)),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Http1(reader) => reader.is_end(),
            Source::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Http1(reader) => reader.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Http2(incoming) => incoming.size_hint(),
        }
    }
}
