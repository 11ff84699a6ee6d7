//! `Expect: 100-continue` from end to end: the endpoint is asked, and the client's body is touched only when the endpoint wants it, or has
//! not said for [`PATIENCE`]. As long as it is not touched, hyper does not tell the client to go on; so an endpoint's refusal reaches a
//! client that has sent nothing. An endpoint that answers well without having said so is one that reads while it answers.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::task::AtomicWaker;
use http::header::{EXPECT, HeaderMap};
use http::{Request, Response, StatusCode, Version};
use tokio::time::{Sleep, sleep};

use super::connection::Connection;
use super::headers;

/// How long an endpoint may take to say whether it wants a body: not all know how to say so.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps a body back until the endpoint wants it.
#[derive(Debug)]
pub(super) struct Gate {
    said: Arc<Said>,
    connection: Rc<Connection>,
    /// From when somebody asks for the body.
    timer: Option<Pin<Box<Sleep>>>,
}

/// What the endpoint said.
#[derive(Debug, Default)]
pub(super) struct Said {
    answer: AtomicU8,
    waker: AtomicWaker,
}

const YES: u8 = 1;
const NO: u8 = 2;

/// What is to be done with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// To be sent.
    Wanted,
    /// To be left where it is.
    Refused,
}

impl Said {
    fn say(&self, answer: u8) {
        self.answer.store(answer, Relaxed);
        self.waker.wake();
    }
}

/// Whether the headers of a request ask to be told to go on.
pub(super) fn is_expected(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The gate before the body of `request`, if its client waits to be told to go on. None before endpoints that speak HTTP/2, which have no
/// way to tell us: the client is told to go on as soon as one takes the request.
pub(super) fn gate<B>(request: &mut Request<B>, connection: &Rc<Connection>, to_http2: bool) -> Option<Gate> {
    if request.version() == Version::HTTP_10 || !is_expected(request.headers()) {
        return None;
    }
    if to_http2 {
        request.headers_mut().remove(EXPECT);
        return None;
    }
    let said = Arc::<Said>::default();
    let heard = Arc::clone(&said);
    hyper::ext::on_informational(request, move |response| {
        if response.status() == StatusCode::CONTINUE {
            heard.say(YES);
        }
    });
    connection.held_body.replace(Some(Arc::clone(&said)));
    Some(Gate {
        said,
        connection: Rc::clone(connection),
        timer: None,
    })
}

/// The response to a request begins, on a connection with HTTP/1: a client whose body is still held learns what is to become of it.
pub(super) fn answered<B>(connection: &Connection, response: &mut Response<B>) {
    let Some(said) = connection.held_body.take() else {
        return;
    };
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        // Nobody could tell the body that was not sent from the next request.
        headers::say_close(response.headers_mut());
        said.say(NO);
    } else {
        connection.interim().say_continue();
        said.say(YES);
    }
}

impl Gate {
    /// Ready when it is clear what is to be done with the body.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Body> {
        self.said.waker.register(cx.waker());
        match self.said.answer.load(Relaxed) {
            YES => {}
            NO => return Poll::Ready(Body::Refused),
            _ => {
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
                ready!(timer.as_mut().poll(cx));
            }
        }
        self.connection.held_body.take();
        Poll::Ready(Body::Wanted)
    }
}
