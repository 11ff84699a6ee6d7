//! A response's body on its way from an endpoint, over either version of HTTP, and what it comes over. What goes to the client, and when it
//! takes too long, is decided elsewhere.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tenbin_http1::BodyReader;
use tokio::task::coop::poll_proceed;

use super::exclusive::Broken;
use super::pool::{Lease, Via};
use super::upgraded::Upgraded;

/// A response's body. While it is polled it sends the rest of the request, too, where the response came first. Dropped before its end it
/// takes its request along.
pub struct Download {
    /// What makes a body of what comes over HTTP/1.1.
    reader: Option<BodyReader>,
    /// What it comes over; gone when that was taken back.
    lease: Option<Lease>,
}

impl std::fmt::Debug for Download {
    /// Without what was read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl Download {
    /// What comes over this; over HTTP/1.1, made a body by `reader`.
    pub(super) fn new(reader: Option<BodyReader>, lease: Lease) -> Self {
        Download {
            reader,
            lease: Some(lease),
        }
    }

    /// What it came over, for other requests or to send the rest of this one: once, when it ended.
    pub fn finish(&mut self) -> Option<Lease> {
        if self.is_end_stream() { self.lease.take() } else { None }
    }

    /// Goes on with the request alone, where that is not all sent: for who cannot take more of the response. Whether it fails is told by the
    /// response.
    pub fn poll_request(&mut self, cx: &mut Context<'_>) {
        if let Some(lease) = &mut self.lease {
            let _ = lease.via.poll_send(cx);
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
        let Some(lease) = &mut this.lease else {
            return Poll::Ready(None);
        };
        // Pieces may be a byte each: after some of them others have their turn.
        let turn = ready!(poll_proceed(cx));
        let came = match (&mut lease.via, &mut this.reader) {
            (Via::Http1(connection), Some(reader)) => ready!(connection.poll_body(reader, cx)),
            (Via::Http1(_), None) => None,
            (Via::Http2(call), _) => ready!(call.poll_body(cx)),
        };
        turn.made_progress();
        Poll::Ready(came)
    }

    fn is_end_stream(&self) -> bool {
        match &self.lease {
            Some(Lease {
                via: Via::Http2(call), ..
            }) => call.is_end(),
            Some(_) => self.reader.as_ref().is_none_or(BodyReader::is_end),
            None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.lease {
            Some(Lease {
                via: Via::Http2(call), ..
            }) => call.left(),
            Some(_) => self.reader.as_ref().and_then(BodyReader::left),
            None => Some(0),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
