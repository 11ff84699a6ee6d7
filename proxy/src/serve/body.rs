//! A response's body on its way to the client: one chunk at a time, measured, watched, at most a bounded part of it held, and what must
//! happen when it ends.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tenbin_balance::Time;
use tenbin_model::{Route, Timeouts};
use tokio::time::{Sleep, sleep_until};
use tracing::debug;

use super::error::Failure;
use super::exchange::Exchange;
use super::upload::{BodyError, Upload};
use crate::clock::Clock;
use crate::upstream::{Download, Lease};

/// A response's body on its way to the client. While it lives its request is open; when it ends, the connection it came over may be used
/// again.
pub(super) struct ResponseBody {
    source: Source,
    /// `None` where the request lives on as a tunnel.
    exchange: Option<Exchange>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are the large one, and one lives a request long"
)]
enum Source {
    Endpoint(Relay),
    Text(Option<Bytes>),
}

/// An endpoint's body.
pub(super) struct Relay {
    body: Download,
    /// The request's body, where that is still under way.
    upload: Option<Rc<Upload>>,
    /// What came before the client got any.
    held: VecDeque<Frame<Bytes>>,
    /// How much more is taken.
    left: u64,
    ended: bool,
    stall: Stall,
}

/// Watches whether a body stands still: by a timer only where it does at all.
pub(super) struct Stall {
    clock: Clock,
    idle: Duration,
    /// When it was first seen to stand still; `None` since it moved.
    since: Option<Time>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// For one that may stand still for so long.
    pub(super) fn new(clock: Clock, idle: Duration) -> Self {
        Stall {
            clock,
            idle,
            since: None,
            timer: None,
        }
    }

    /// It moves.
    pub(super) fn moved(&mut self) {
        self.since = None;
    }

    /// Ready when nothing moved for too long, the request's body included: what goes both ways may pause in one of them.
    pub(super) fn poll(&mut self, upload: Option<&Upload>, cx: &mut Context<'_>) -> Poll<()> {
        let (clock, idle) = (self.clock, self.idle);
        let since = *self.since.get_or_insert_with(|| clock.now());
        let due = || upload.map_or(since, |upload| upload.moved().max(since)).plus(idle);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(clock.at(due()))));
        loop {
            ready!(timer.as_mut().poll(cx));
            if due() <= clock.now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(clock.at(due()));
        }
    }
}

impl Relay {
    /// The endpoint's body.
    ///
    /// # Errors
    /// [`Failure::ResponseTooLarge`], where its length says so.
    pub(super) fn new(
        body: Download,
        upload: Option<Rc<Upload>>,
        route: &Route,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let left = route.bodies.response_max.unwrap_or(u64::MAX);
        if body.size_hint().lower() > left {
            return Err(Failure::ResponseTooLarge);
        }
        Ok(Relay {
            body,
            upload,
            held: VecDeque::new(),
            left,
            ended: false,
            stall: Stall::new(clock, route.timeouts.idle),
        })
    }

    /// Reads up to about so many bytes before the client gets any; the connection that they came over, if that was all.
    ///
    /// # Errors
    /// The endpoint breaks off, or sends too much.
    pub(super) async fn gather(&mut self, most: usize) -> Result<Option<Lease>, Failure> {
        let mut gathered = 0;
        while gathered < most && !self.ended {
            let frame = match poll_fn(|cx| self.poll(cx)).await {
                None => break,
                Some(frame) => frame?,
            };
            gathered += frame.data_ref().map_or(0, Bytes::len);
            self.ended = self.body.is_end_stream();
            self.held.push_back(frame);
        }
        Ok(if self.ended { self.body.finish() } else { None })
    }

    /// Takes what is there without waiting: the connection, if that was all.
    pub(super) fn drain(mut self, cx: &mut Context<'_>) -> Option<Lease> {
        while !self.body.is_end_stream() {
            match self.poll(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None) => break,
                Poll::Ready(Some(Err(_))) | Poll::Pending => return None,
            }
        }
        self.body.finish()
    }

    /// The next that the endpoint sends.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.stall.moved();
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                match self.left.checked_sub(length) {
                    Some(left) => self.left = left,
                    None => return Poll::Ready(Some(Err(Failure::ResponseTooLarge))),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                debug!(%error, "a response broke off");
                let cut = self.upload.as_ref().and_then(|upload| upload.cut());
                Poll::Ready(Some(Err(cut.unwrap_or(Failure::BodyBroken))))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.stall.poll(self.upload.as_deref(), cx));
                Poll::Ready(Some(Err(Failure::BodyIdle)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        if self.held.is_empty() {
            return hint;
        }
        let held: usize = self
            .held
            .iter()
            .filter_map(|frame| frame.data_ref())
            .map(Bytes::len)
            .sum();
        let held = held as u64;
        match hint.exact() {
            Some(rest) => SizeHint::with_exact(rest.saturating_add(held)),
            None if self.ended => SizeHint::with_exact(held),
            None => {
                hint.set_lower(hint.lower().saturating_add(held));
                hint
            }
        }
    }
}

impl ResponseBody {
    /// The endpoint's body.
    pub(super) fn relayed(exchange: Exchange, relay: Relay) -> Self {
        ResponseBody {
            source: Source::Endpoint(relay),
            exchange: Some(exchange),
        }
    }

    /// Our own few words.
    pub(super) fn text(exchange: Exchange, text: &'static str) -> Self {
        ResponseBody {
            source: Source::Text((!text.is_empty()).then(|| Bytes::from_static(text.as_bytes()))),
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
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let relay = match &mut this.source {
            Source::Text(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Endpoint(relay) => relay,
        };
        if let Some(frame) = relay.held.pop_front() {
            this.sends(&frame);
            return Poll::Ready(Some(Ok(frame)));
        }
        if relay.ended {
            this.end();
            return Poll::Ready(None);
        }
        let polled = ready!(relay.poll(cx));
        match polled {
            Some(Ok(frame)) => {
                this.sends(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(failure)) => {
                this.fail(failure);
                Poll::Ready(Some(Err(BodyError::Cut(failure))))
            }
            None => {
                this.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(text) => text.is_none(),
            Source::Endpoint(relay) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Source::Endpoint(relay) => relay.size_hint(),
        }
    }
}

impl ResponseBody {
    /// How long the client may take none of it.
    pub(super) fn idle(&self) -> Duration {
        match &self.source {
            Source::Endpoint(relay) => relay.stall.idle,
            Source::Text(_) => Timeouts::default().idle,
        }
    }

    /// It does not reach the client.
    pub(super) fn fail(&mut self, failure: Failure) {
        if let Some(exchange) = &mut self.exchange {
            exchange.fail(failure);
        }
    }

    /// Goes on with the request alone, where its response began before it was sent: for the time in which the client takes nothing of the
    /// response. A client may send all before it reads.
    pub(super) fn poll_request(&mut self, cx: &mut Context<'_>) {
        if let Source::Endpoint(relay) = &mut self.source {
            relay.body.poll_request(cx);
        }
    }

    /// A part of an endpoint's response goes to the client.
    fn sends(&mut self, frame: &Frame<Bytes>) {
        if let (Some(exchange), Some(data)) = (&mut self.exchange, frame.data_ref()) {
            exchange.sent(data.len() as u64);
        }
    }

    /// The whole response went on its way.
    fn end(&mut self) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let now = exchange.connection().worker.clock.now();
        if let Source::Endpoint(relay) = &mut self.source {
            if let Some(lease) = relay.body.finish() {
                exchange.give_back(lease, now);
            }
            if let Some(upload) = &relay.upload {
                upload.watch();
            }
        }
        exchange.complete(now);
    }
}

impl Drop for ResponseBody {
    /// A body is dropped when a driver needs no more of it: at its end without asking for what comes after, or because the client left.
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.end();
        }
    }
}
