//! `Expect: 100-continue` from end to end: the endpoint is asked, and the client's body is touched only when the endpoint wants it, or has
//! not said for [`PATIENCE`]. As long as it is not touched, hyper does not tell the client to go on; so an endpoint's refusal reaches a
//! client that has sent nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use http::header::{EXPECT, HeaderMap};
use http::{Request, StatusCode};
use tokio::time::{Sleep, sleep};

/// How long an endpoint may take to say whether it wants a body: not all know how to say so.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps a body back until the endpoint wants it.
#[derive(Debug)]
pub(super) struct Gate {
    said: Arc<Said>,
    /// From when somebody asks for the body.
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Default)]
struct Said {
    yes: AtomicBool,
    waker: AtomicWaker,
}

/// Whether the headers of a request ask to be told to go on.
pub(super) fn is_expected(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The gate before the body of `request`, if its client waits to be told to go on.
pub(super) fn gate<B>(request: &mut Request<B>) -> Option<Gate> {
    if !is_expected(request.headers()) {
        return None;
    }
    let said = Arc::<Said>::default();
    let heard = Arc::clone(&said);
    hyper::ext::on_informational(request, move |response| {
        if response.status() == StatusCode::CONTINUE {
            heard.yes.store(true, Relaxed);
            heard.waker.wake();
        }
    });
    Some(Gate { said, timer: None })
}

impl Gate {
    /// Ready when the body may be sent.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.said.waker.register(cx.waker());
        if self.said.yes.load(Relaxed) {
            return Poll::Ready(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_silent_endpoint_gets_the_body_after_a_while() {
        let mut request = Request::builder().header(EXPECT, "100-Continue").body(()).unwrap();
        let mut gate = gate(&mut request).unwrap();
        assert!(poll_fn(|cx| Poll::Ready(gate.poll_open(cx))).await.is_pending());
        poll_fn(|cx| gate.poll_open(cx)).await;
        assert!(super::gate(&mut Request::new(())).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_wants_it_gets_it_at_once() {
        let said = Arc::<Said>::default();
        let mut gate = Gate {
            said: Arc::clone(&said),
            timer: None,
        };
        said.yes.store(true, Relaxed);
        assert!(poll_fn(|cx| Poll::Ready(gate.poll_open(cx))).await.is_ready());
        assert!(gate.timer.is_none());
    }
}
