//! The body of a request over HTTP/1, read as it is asked for. Dropped before its end, the rest is nobody's.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop::poll_proceed;

use super::wire::Wire;
use crate::serve::upload::BodyError;
use crate::serve::worker::WorkerContext;

/// The body.
#[derive(Debug)]
pub(in crate::serve) struct Http1Body {
    wire: Rc<Wire>,
    worker: Rc<WorkerContext>,
    /// Whether nothing more comes, whatever the connection is about by now.
    over: bool,
}

impl Http1Body {
    pub(super) fn new(wire: &Rc<Wire>, worker: &Rc<WorkerContext>) -> Self {
        Http1Body {
            over: wire.is_body_over(),
            wire: Rc::clone(wire),
            worker: Rc::clone(worker),
        }
    }
}

impl Body for Http1Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        // Pieces may be a byte each: after some of them others have their turn.
        let turn = ready!(poll_proceed(cx));
        let polled = {
            let scratch = &mut **self.worker.scratch.borrow_mut();
            ready!(self.wire.poll_body(scratch, cx))
        };
        turn.made_progress();
        self.over = matches!(polled, None | Some(Err(_))) || self.wire.is_body_over();
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        if self.over {
            return SizeHint::with_exact(0);
        }
        self.wire.body_left().map(SizeHint::with_exact).unwrap_or_default()
    }
}

impl Drop for Http1Body {
    fn drop(&mut self) {
        if !self.over {
            self.wire.abandon_body();
        }
    }
}
