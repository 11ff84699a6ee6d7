//! A response's body on its way to the client of a stream: a chunk is asked for when all before it is with HTTP/2, and goes there as far
//! as the client's windows let it. One that the client takes nothing of for too long is reset.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body as _;
use tenbin_http2::Reason;
use tracing::debug;

use super::streams::Streams;
use super::strip;
use crate::clock::Clock;
use crate::http2::Sender;
use crate::serve::body::{ResponseBody, Stall};
use crate::serve::error::Failure;

/// Sends a body to its end, or as far as the client lets it. Where the response `has_none`, what comes of it is left out.
pub(super) async fn send(stream: &Sender, body: &mut ResponseBody, has_none: bool, streams: &Streams, clock: Clock) {
    let idle = body.idle();
    streams.responds(idle);
    let mut sending = Sending {
        stream,
        body: &mut *body,
        held: None,
        stall: Stall::new(clock, idle),
        streams,
    };
    match poll_fn(|cx| sending.poll(cx, has_none)).await {
        Ok(()) => {}
        Err(Stop::Gone) => body.fail(Failure::ClientGone),
        Err(Stop::Idle) => {
            stream.reset(Reason::CANCEL);
            body.fail(Failure::DownloadIdle);
        }
        Err(Stop::Broken) => stream.reset(Reason::INTERNAL_ERROR),
    }
}

/// Why a body is not sent to its end.
enum Stop {
    /// The client does not want it any more.
    Gone,
    /// The client took nothing of it for too long.
    Idle,
    /// It broke off itself, and its request knows why.
    Broken,
}

struct Sending<'a> {
    stream: &'a Sender,
    body: &'a mut ResponseBody,
    /// What waits for the client's windows.
    held: Option<Held>,
    stall: Stall,
    streams: &'a Streams,
}

/// A chunk of which some is not sent yet.
struct Held {
    data: Bytes,
    is_last: bool,
}

impl Sending<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, has_none: bool) -> Poll<Result<(), Stop>> {
        if self.stream.poll_lost(cx).is_ready() {
            return Poll::Ready(Err(Stop::Gone));
        }
        loop {
            if let Some(held) = self.held.take()
                && ready!(self.poll_held(held, cx))?
            {
                return Poll::Ready(Ok(()));
            }
            let frame = match ready!(Pin::new(&mut *self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    debug!(%error, "a response broke off");
                    return Poll::Ready(Err(Stop::Broken));
                }
                None => return Poll::Ready(self.end(cx)),
            };
            match frame.into_data() {
                Ok(data) => {
                    let is_last = self.body.is_end_stream();
                    let data = if has_none { Bytes::new() } else { data };
                    if !data.is_empty() {
                        self.held = Some(Held { data, is_last });
                    } else if is_last {
                        return Poll::Ready(self.end(cx));
                    }
                }
                Err(frame) => {
                    if let Ok(mut trailers) = frame.into_trailers() {
                        strip(&mut trailers);
                        let sent = self.stream.trailers(&trailers);
                        tenbin_http1::recycle(trailers);
                        return Poll::Ready(sent.map_err(|_| Stop::Gone));
                    }
                }
            }
        }
    }

    /// Sends what is held, as the windows allow; true if that was the end.
    fn poll_held(&mut self, mut held: Held, cx: &mut Context<'_>) -> Poll<Result<bool, Stop>> {
        loop {
            match self.stream.poll_data(&mut held.data, held.is_last, cx) {
                Poll::Ready(Ok(n)) => {
                    self.stall.moved();
                    let is_rest = held.data.is_empty();
                    self.streams.sent(n, is_rest);
                    if is_rest {
                        return Poll::Ready(Ok(held.is_last));
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Stop::Gone)),
                Poll::Pending => {
                    self.held = Some(held);
                    // A client may send all of its request before it reads.
                    self.body.poll_request(cx);
                    ready!(self.stall.poll(None, cx));
                    return Poll::Ready(Err(Stop::Idle));
                }
            }
        }
    }

    fn end(&self, cx: &Context<'_>) -> Result<(), Stop> {
        match self.stream.poll_data(&mut Bytes::new(), true, cx) {
            Poll::Ready(Err(_)) => Err(Stop::Gone),
            // Nothing takes no room.
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }
}
