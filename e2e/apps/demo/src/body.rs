//! The bodies of answers: whole ones, ones that pass through, ones that come piece by piece. No decisions here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::Sleep;

/// Why a body breaks off.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub(crate) enum Body {
    Full(Full<Bytes>),
    /// The request's own body, sent back as it comes.
    Echo(Incoming),
    Lines(Lines),
    /// Any other.
    Other(UnsyncBoxBody<Bytes, Error>),
}

impl Body {
    pub(crate) fn from_text(text: impl Into<Bytes>) -> Body {
        Body::Full(Full::new(text.into()))
    }

    pub(crate) fn other<B>(body: B) -> Body
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        Body::Other(body.map_err(Into::into).boxed_unsync())
    }

    /// A body without a length, of frames as they come.
    pub(crate) fn from_frames(frames: impl Stream<Item = Frame<Bytes>> + Send + 'static) -> Body {
        Body::other(StreamBody::new(frames.map(Ok::<_, Infallible>)))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Body::Full(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never: Infallible| match never {}),
            Body::Echo(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Body::Lines(lines) => lines.poll_line(cx).map(|line| line.map(|line| Ok(Frame::data(line)))),
            Body::Other(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(body) => body.is_end_stream(),
            Body::Echo(body) => body.is_end_stream(),
            Body::Lines(lines) => lines.next == lines.count,
            Body::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(body) => body.size_hint(),
            Body::Echo(body) => body.size_hint(),
            Body::Lines(_) => SizeHint::default(),
            Body::Other(body) => body.size_hint(),
        }
    }
}

/// Server-sent events `data: 0`, `data: 1`, …, with a pause before each but the first.
pub(crate) struct Lines {
    next: u64,
    count: u64,
    pause: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Lines {
    pub(crate) fn new(count: u64, pause: Duration) -> Lines {
        Lines {
            next: 0,
            count,
            pause,
            sleep: None,
        }
    }

    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.next == self.count {
            return Poll::Ready(None);
        }
        if let Some(sleep) = &mut self.sleep {
            std::task::ready!(sleep.as_mut().poll(cx));
        }
        let line = format!("data: {}\n\n", self.next);
        self.next += 1;
        self.sleep = Some(Box::pin(tokio::time::sleep(self.pause)));
        Poll::Ready(Some(line.into()))
    }
}
