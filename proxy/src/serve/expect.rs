//! `Expect: 100-continue` from end to end: the endpoint is asked, and the client's body is touched only when the endpoint wants it, or has
//! not said for [`PATIENCE`]. As long as it is not touched, the client is not told to go on; so an endpoint's refusal reaches a
//! client that has sent nothing. An endpoint that answers well without having said so is one that reads while it answers.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::header::{EXPECT, HeaderMap};
use http::{Request, Response, Version};
use tokio::time::{Sleep, sleep};

use super::headers::Seen;
use super::informer::Informer;

/// How long an endpoint may take to say whether it wants a body: not all know how to say so.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps a body back until the endpoint wants it.
#[derive(Debug)]
pub(super) struct Gate {
    said: Rc<Said>,
    informer: Informer,
    /// From when somebody asks for the body.
    timer: Option<Pin<Box<Sleep>>>,
}

/// What the endpoint said.
#[derive(Debug, Default)]
pub(super) struct Said {
    answer: Cell<Option<Body>>,
    waker: RefCell<Option<Waker>>,
}

/// What is to be done with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// To be sent.
    Wanted,
    /// To be left where it is.
    Refused,
}

impl Said {
    /// The body is wanted.
    pub(super) fn yes(&self) {
        self.say(Body::Wanted);
    }

    fn say(&self, answer: Body) {
        self.answer.set(Some(answer));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Whether the headers of a request ask to be told to go on.
pub(super) fn is_expected(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The gate before the body of `request`, if its client waits to be told to go on. Endpoints that speak HTTP/2 are not asked, since few of
/// them answer: the client is told to go on as soon as one takes the request. HTTP/1 does that when it reads the body, so there is none then.
pub(super) fn gate<B>(request: &mut Request<B>, seen: Seen, informer: &Informer, to_http2: bool) -> Option<Gate> {
    if !seen.expect || request.version() == Version::HTTP_10 || !is_expected(request.headers()) {
        return None;
    }
    let said = Rc::<Said>::default();
    if to_http2 {
        request.headers_mut().remove(EXPECT);
        if matches!(informer, Informer::Http1(_)) {
            return None;
        }
        said.yes();
    }
    informer.hold(&said);
    Some(Gate {
        said,
        informer: informer.clone(),
        timer: None,
    })
}

/// The response to a request begins: a client whose body is still held learns what is to become of it. True if it will not be read: over
/// HTTP/1 nobody could tell the body that was not sent from the next request.
pub(super) fn answered<B>(informer: &Informer, response: &Response<B>) -> bool {
    let Some(said) = informer.release() else {
        return false;
    };
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    if refused {
        said.say(Body::Refused);
    } else {
        informer.say_continue();
        said.yes();
    }
    refused
}

impl Gate {
    /// What the endpoint says to it.
    pub(super) fn said(&self) -> Rc<Said> {
        Rc::clone(&self.said)
    }

    /// Ready when it is clear what is to be done with the body.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Body> {
        match self.said.answer.get() {
            Some(Body::Wanted) => {}
            Some(Body::Refused) => return Poll::Ready(Body::Refused),
            None => {
                self.said.waker.replace(Some(cx.waker().clone()));
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
                ready!(timer.as_mut().poll(cx));
            }
        }
        if self.informer.release().is_some() {
            self.informer.reads();
        }
        Poll::Ready(Body::Wanted)
    }
}
