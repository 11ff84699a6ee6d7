//! One request over one connection: sent, waited for, and judged when no response comes. Which connection, and what to do about a
//! failure, is decided by the caller; here it is only said whether the request came back whole.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::sleep;
use tracing::debug;

use super::Lease;
use crate::clock::Clock;
use crate::serve::error::Failure;
use crate::serve::{RequestBody, Upload};

/// A response's head came.
#[derive(Debug)]
pub struct Delivered {
    /// The response; its body is still on its way.
    pub response: Response<Incoming>,
    /// The connection, to be put back when the body was read.
    pub lease: Lease,
}

/// No response came.
#[derive(Debug)]
pub struct Undelivered {
    /// Why.
    pub failure: Failure,
    /// The request, if it is safe to send it again: nothing of it was sent, or it has no body, its method is idempotent and a connection
    /// that had been idle ended without a byte of a response.
    pub request: Option<Request<RequestBody>>,
}

/// Sends `request` and waits for the head of its response, for as long as `limit` after the request's end.
///
/// # Errors
/// Whatever kept the response from coming, with the request where it is safe to send it again.
pub async fn send(
    mut lease: Lease,
    request: Request<RequestBody>,
    limit: Duration,
    clock: Clock,
) -> Result<Delivered, Undelivered> {
    let upload = request.body().upload();
    let spare = spare(&lease, &request);
    let read_before = lease.counts.read();
    let Some(outcome) = within(lease.sender.try_send_request(request), upload.as_deref(), limit, clock).await else {
        return Err(Undelivered {
            failure: Failure::ResponseTimeout,
            request: None,
        });
    };
    match outcome {
        Ok(response) => Ok(Delivered { response, lease }),
        Err(error) => {
            let silent = lease.counts.read() == read_before;
            Err(judge(error, lease.reused, spare.filter(|_| silent)))
        }
    }
}

/// A copy of a request that may be sent a second time if the idle connection it goes over turns out to be closed.
fn spare(lease: &Lease, request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !lease.reused || !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

fn judge(
    mut error: TrySendError<Request<RequestBody>>,
    reused: bool,
    spare: Option<Request<RequestBody>>,
) -> Undelivered {
    if let Some(unsent) = error.take_message() {
        return Undelivered {
            // A connection that closes at once is as good as none.
            failure: if reused { Failure::Closed } else { Failure::Connect },
            request: Some(unsent),
        };
    }
    let error = error.into_error();
    debug!(%error, reused, "no response");
    if error.is_user() {
        // The body that we were sending on ended in an error.
        return Undelivered {
            failure: Failure::ClientGone,
            request: None,
        };
    }
    if error.is_parse() {
        return Undelivered {
            failure: Failure::Protocol,
            request: None,
        };
    }
    Undelivered {
        failure: Failure::Closed,
        request: spare,
    }
}

/// Waits for `response` no longer than `limit` after `upload` ended (after now, where there is none). `None` when that is over.
async fn within<F: Future>(response: F, upload: Option<&Upload>, limit: Duration, clock: Clock) -> Option<F::Output> {
    let mut response = pin!(response);
    let mut timer = pin!(sleep(limit));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = response.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = clock.now();
            let deadline = match upload.map(Upload::ended) {
                None => now,
                Some(Some(ended)) => ended.plus(limit),
                Some(None) => now.plus(limit),
            };
            if deadline <= now {
                return Poll::Ready(None);
            }
            timer.as_mut().reset(clock.at(deadline));
        }
        Poll::Pending
    })
    .await
}
