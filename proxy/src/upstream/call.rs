//! A request over a connection that others share (HTTP/2), driven by whoever waits for its response: its body goes out while the response
//! comes in, each as far as the windows let it. Which request, and what its failure means, is decided elsewhere.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use tenbin_balance::Time;
use tenbin_http2::{Reason, Refused};
use tracing::debug;

use super::exclusive::{Broken, MAX_INTERIM};
use super::multiplex::{Multiplex, Ticket};
use crate::http2::{Lost, Receiver, Sender};
use crate::serve::{BodyError, RequestBody, Upload};

/// The request, before it begins and after it.
pub(super) struct Call {
    /// Its stream, which ends before its place is given back.
    stream: Option<(Sender, Receiver)>,
    ticket: Ticket,
    /// What is still to be sent of it.
    rest: Option<Rest>,
    /// Whether it asks for a head alone.
    is_head: bool,
    /// Whether its response has no body, whatever comes.
    has_none: bool,
    /// Whether the response was all there though its stream did not end well.
    over: bool,
    /// How much of the response's body is still to come, where its head said so; HTTP/2 holds the endpoint to that.
    left: Option<u64>,
    /// Informational responses so far.
    interim: u32,
}

/// A body of which not all was sent.
struct Rest {
    body: RequestBody,
    /// How many more bytes there are to come, where that was said.
    left: Option<u64>,
    /// What came of it and waits.
    data: Bytes,
    /// Whether that is the last.
    came: bool,
}

/// Why a request's body was not sent to its end.
enum Unfinished {
    /// The endpoint takes no more.
    Lost(Lost),
    /// The body breaks off.
    Body(BodyError),
    /// The body is not as long as was said.
    Length,
    /// Nobody wants this sending of the body any more: nothing is wrong.
    Abandoned,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl From<Lost> for Broken {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Reset(reason) => Broken::Reset(reason),
            Lost::Broken(reason) => Broken::Rules(reason),
            Lost::Connection => Broken::Closed,
        }
    }
}

impl Call {
    /// A request that is to go over the connection on which it has a place.
    pub(super) fn new(ticket: Ticket) -> Box<Self> {
        Box::new(Call {
            stream: None,
            ticket,
            rest: None,
            is_head: false,
            has_none: false,
            over: false,
            left: None,
            interim: 0,
        })
    }

    /// Takes up the request, whose body is sent by waiting for the response; `ready` are further headers of it.
    ///
    /// # Errors
    /// Nothing of it is sent: the endpoint takes no more over this connection, or none for now.
    pub(super) fn begin(&mut self, head: &Request<()>, ready: &[u8], body: RequestBody) -> Result<(), Refused> {
        let is_all = body.is_end_stream();
        self.stream = Some(self.ticket.request(head, ready, is_all)?);
        self.is_head = head.method() == Method::HEAD;
        self.rest = (!is_all).then(|| Rest {
            left: body.size_hint().exact(),
            body,
            data: Bytes::new(),
            came: false,
        });
        Ok(())
    }

    /// The connection that it goes over.
    pub(super) fn connection(&self) -> &Multiplex {
        self.ticket.connection()
    }

    /// Whether some of the request is still to be sent.
    pub(super) fn is_sending(&self) -> bool {
        self.rest.is_some()
    }

    /// Until when the request has to move on.
    pub(super) fn due(&self) -> Option<Time> {
        let upload = self.rest.as_ref()?.body.upload();
        upload.map(Upload::due).map(|(due, _)| due)
    }

    /// Sends the request and waits for the head of its response; informational ones before it are told to `interim`.
    pub(super) fn poll_head(
        &mut self,
        interim: &mut dyn FnMut(StatusCode, HeaderMap),
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, Broken>> {
        let Some((_, receiver)) = &self.stream else {
            return Poll::Ready(Err(Broken::Closed));
        };
        while let Poll::Ready(head) = receiver.poll_head(cx) {
            let head = head?;
            let status = head.status();
            if !status.is_informational() {
                let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
                self.has_none = self.is_head || has_none;
                self.left = self.length(&head);
                return Poll::Ready(Ok(head));
            }
            if status == StatusCode::SWITCHING_PROTOCOLS {
                // There is no such thing over HTTP/2 (RFC 9113 §8.6).
                return Poll::Ready(Err(Broken::Rules(Reason::PROTOCOL_ERROR)));
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Poll::Ready(Err(Broken::Interim));
            }
            interim(status, head.into_parts().0.headers);
        }
        // After it was tried to read, so that a response is seen however fast the request's body comes.
        if let Poll::Ready(sent) = self.poll_send(cx) {
            sent?;
        }
        Poll::Pending
    }

    /// How long a response's body is, where that is known.
    fn length(&self, head: &Response<()>) -> Option<u64> {
        if self.has_none || self.is_end() {
            return Some(0);
        }
        head.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// How many bytes of the response's body are still to come, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        if self.is_end() { Some(0) } else { self.left }
    }

    /// Whether all of the response was taken.
    pub(super) fn is_end(&self) -> bool {
        self.over || self.stream.as_ref().is_none_or(|(_, receiver)| receiver.is_end())
    }

    /// The next of the response's body. Goes on with the request where that is not all sent.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some((_, receiver)) = &self.stream else {
            return Poll::Ready(None);
        };
        let came = receiver.poll_frame(cx);
        if let (Poll::Ready(Some(Err(Lost::Broken(_)))), true) = (&came, self.has_none) {
            // A body that must not be there is what its stream was reset for: the response had ended before.
            self.over = true;
            return Poll::Ready(None);
        }
        if let (Poll::Ready(Some(Ok(frame))), Some(left)) = (&came, &mut self.left) {
            let data = frame.data_ref().map_or(0, Bytes::len);
            *left = left.saturating_sub(data as u64);
        }
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) if came.is_pending() => Poll::Ready(Some(Err(error))),
            _ => came.map(|frame| frame.map(|frame| frame.map_err(Broken::from))),
        }
    }

    /// Sends what can be sent of the request. Ready when that is all that ever will be.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let (Some(rest), Some((sender, _))) = (&mut self.rest, &self.stream) else {
            return Poll::Ready(Ok(()));
        };
        let sent = match ready!(rest.poll(sender, &self.ticket, cx)) {
            Ok(()) | Err(Unfinished::Abandoned) => Ok(()),
            Err(Unfinished::Body(error)) => return Poll::Ready(Err(Broken::Request(error))),
            Err(Unfinished::Length) => return Poll::Ready(Err(Broken::Length)),
            Err(Unfinished::Lost(lost)) => {
                // It may have answered before: what it says is read.
                debug!(?lost, "an endpoint takes no more of a request");
                Ok(())
            }
        };
        self.rest = None;
        Poll::Ready(sent)
    }

    /// The request ended as it should.
    pub(super) fn ended(&self, now: Time) {
        self.ticket.ended(now);
    }
}

impl Rest {
    /// Sends what can be sent. Ready when that is all of it.
    fn poll(&mut self, sender: &Sender, ticket: &Ticket, cx: &mut Context<'_>) -> Poll<Result<(), Unfinished>> {
        loop {
            if self.came || !self.data.is_empty() {
                let sent = ready!(sender.poll_data(&mut self.data, self.came, cx));
                ticket.sent(sent.map_err(Unfinished::Lost)?);
                if self.came && self.data.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.take(data)?,
                    Err(frame) => {
                        self.whole()?;
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Poll::Ready(sender.trailers(&trailers).map_err(Unfinished::Lost));
                    }
                },
                Poll::Ready(Some(Err(BodyError::Stale))) => return Poll::Ready(Err(Unfinished::Abandoned)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Unfinished::Body(error))),
                Poll::Ready(None) => {
                    self.whole()?;
                    self.came = true;
                }
                // Its client was told to keep it.
                Poll::Pending if self.body.is_end_stream() => return Poll::Ready(Err(Unfinished::Abandoned)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Has some data sent.
    fn take(&mut self, data: Bytes) -> Result<(), Unfinished> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(Unfinished::Length)?;
        }
        self.data = data;
        self.came = self.body.is_end_stream();
        if self.came { self.whole() } else { Ok(()) }
    }

    /// Nothing more of it comes.
    fn whole(&self) -> Result<(), Unfinished> {
        match self.left {
            None | Some(0) => Ok(()),
            Some(_) => Err(Unfinished::Length),
        }
    }
}
