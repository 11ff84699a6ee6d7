//! Bodies on their way through: never gathered, one chunk at a time, and what must happen when they end.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tenbin_balance::Time;

use super::connection::{Busy, Connection};
use super::error::Failure;
use super::exchange::Exchange;
use super::expect::{Body as Wanted, Gate};
use crate::clock::Clock;
use crate::upstream::Lease;

/// A request's body on its way to an endpoint.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<Incoming>,
    /// What it waits for, where the client waits to be told to go on.
    gate: Option<Gate>,
    upload: Option<Rc<Upload>>,
    /// Its connection is busy until the body ends, even where the response ended before.
    busy: Option<Busy>,
}

/// When a request's body had been sent, and how much of it.
#[derive(Debug)]
pub struct Upload {
    clock: Clock,
    ended: Cell<Option<Time>>,
    bytes: Cell<u64>,
}

impl Upload {
    /// How many bytes of it were sent.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// When it had been sent; `None` while it is still under way.
    pub fn ended(&self) -> Option<Time> {
        self.ended.get()
    }
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        RequestBody {
            incoming: None,
            gate: None,
            upload: None,
            busy: None,
        }
    }

    /// The client's body, behind a gate where there is one.
    pub(super) fn new(incoming: Incoming, connection: &Rc<Connection>, gate: Option<Gate>) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        let (clock, ended) = (connection.worker.clock, Cell::new(None));
        RequestBody {
            incoming: Some(incoming),
            gate,
            upload: Some(Rc::new(Upload {
                clock,
                ended,
                bytes: Cell::new(0),
            })),
            busy: Some(connection.busy()),
        }
    }

    /// What there is to know about its sending; `None` if there is none to send.
    pub fn upload(&self) -> Option<Rc<Upload>> {
        self.upload.clone()
    }

    fn end(&mut self) {
        if let Some(upload) = &self.upload
            && upload.ended.get().is_none()
        {
            upload.ended.set(Some(upload.clock.now()));
        }
        self.busy = None;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(gate) = &mut self.gate {
            match ready!(gate.poll_open(cx)) {
                Wanted::Wanted => self.gate = None,
                // Whoever sends it waits until the connection is given up; the client is let go.
                Wanted::Refused => {
                    (self.incoming, self.busy) = (None, None);
                    return Poll::Pending;
                }
            }
        }
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(incoming).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(upload)) = (&polled, &self.upload) {
            upload.bytes.set(upload.bytes.get() + data_of(frame));
        }
        if matches!(polled, Poll::Ready(None)) || self.is_end_stream() {
            self.end();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    /// Whoever drops it has sent as much of it as ever will be.
    fn drop(&mut self) {
        self.end();
    }
}

/// How many bytes of a body a frame is.
fn data_of(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}

/// A response's body on its way to the client. While it lives its request is open; when it ends, the connection it came over may be used
/// again.
pub(super) struct ResponseBody {
    source: Source,
    /// `None` where the request lives on as a tunnel.
    exchange: Option<Exchange>,
}

enum Source {
    Endpoint(Incoming, Option<Lease>),
    Text(Option<Bytes>),
}

impl ResponseBody {
    /// The endpoint's body, over the leased connection.
    pub(super) fn relayed(exchange: Exchange, body: Incoming, lease: Lease) -> Self {
        ResponseBody {
            source: Source::Endpoint(body, Some(lease)),
            exchange: Some(exchange),
        }
    }

    /// Our own few words.
    pub(super) fn text(exchange: Exchange, text: &'static str) -> Self {
        ResponseBody {
            source: Source::Text(Some(Bytes::from_static(text.as_bytes()))),
            exchange: Some(exchange),
        }
    }

    /// Nothing, as before a tunnel.
    pub(super) fn none() -> Self {
        ResponseBody {
            source: Source::Text(None),
            exchange: None,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        match &mut this.source {
            Source::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Endpoint(body, _) => {
                let polled = Pin::new(body).poll_frame(cx);
                match (&polled, &mut this.exchange) {
                    (Poll::Ready(Some(Ok(frame))), Some(exchange)) => exchange.sent(data_of(frame)),
                    (Poll::Ready(Some(Err(_))), Some(exchange)) => exchange.fail(Failure::BodyBroken),
                    _ => {}
                }
                if let Poll::Ready(None) = polled {
                    this.end();
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(text) => text.is_none(),
            Source::Endpoint(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Source::Endpoint(body, _) => body.size_hint(),
        }
    }
}

impl ResponseBody {
    /// The whole response went on its way.
    fn end(&mut self) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        if let Source::Endpoint(_, lease) = &mut self.source
            && let Some(lease) = lease.take()
        {
            exchange.give_back(lease);
        }
        exchange.complete();
    }
}

impl Drop for ResponseBody {
    /// hyper drops a body when it needs no more of it: at its end without asking for what comes after, or because the client left.
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.end();
        }
    }
}
