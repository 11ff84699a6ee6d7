//! The bodies of answers: whole ones, ones that pass through, ones that come line by line. No decisions here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::Sleep;

/// The body of an answer.
pub(crate) enum Body {
    Full(Full<Bytes>),
    /// The request's own body, sent back as it comes.
    Echo(Incoming),
    Lines(Lines),
}

impl Body {
    pub(crate) fn from_text(text: impl Into<Bytes>) -> Body {
        Body::Full(Full::new(text.into()))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Body::Full(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never: Infallible| match never {}),
            Body::Echo(body) => Pin::new(body).poll_frame(cx),
            Body::Lines(lines) => lines.poll_line(cx).map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(body) => body.is_end_stream(),
            Body::Echo(body) => body.is_end_stream(),
            Body::Lines(lines) => lines.next == lines.count,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(body) => body.size_hint(),
            Body::Echo(body) => body.size_hint(),
            Body::Lines(_) => SizeHint::default(),
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
