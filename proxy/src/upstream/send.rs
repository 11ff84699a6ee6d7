//! One request over one connection: sent, waited for, and judged when no response comes. Which connection, and what to do about a
//! failure, is decided by the caller; here it is only said whether anything of it was sent.

use http::{Request, Response, Version};
use hyper::Error;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tracing::debug;

use super::pool::{Lease, Via};
use crate::serve::error::Failure;
use crate::serve::{Parcel, Patience, RequestBody, Upload};

/// A response's head came.
#[derive(Debug)]
pub struct Delivered {
    /// The response; its body is still on its way.
    pub response: Response<Incoming>,
    /// The connection, to be put back when the body was read.
    pub lease: Lease,
}

/// No response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Why.
    pub failure: Failure,
    /// Whether nothing of the request can have reached an app.
    pub unsent: bool,
    /// Whether the connection was good for requests before, so that its end says nothing about the endpoint.
    pub stale: bool,
}

impl Undelivered {
    fn sent(failure: Failure, stale: bool) -> Self {
        Undelivered {
            failure,
            unsent: false,
            stale,
        }
    }
}

/// Sends a request and waits for the head of its response. With `keep`, it may be sent again.
///
/// # Errors
/// Whatever kept the response from coming.
pub async fn send(
    mut lease: Lease,
    parcel: &mut Parcel,
    keep: bool,
    patience: &Patience,
) -> Result<Delivered, Undelivered> {
    let Some(request) = parcel.request(&lease.endpoint, keep) else {
        // It was sent before and was not to be sent again.
        return Err(Undelivered::sent(Failure::Closed, false));
    };
    let read_before = match &lease.via {
        Via::Http1(connection) => connection.read(),
        Via::Http2(_) => 0,
    };
    let outcome = match &mut lease.via {
        Via::Http1(connection) => patience.head(connection.sender.try_send_request(request)).await,
        Via::Http2(ticket) => patience.head(ticket.sender().try_send_request(request)).await,
    };
    match outcome {
        Ok(Ok(mut response)) => {
            if let Via::Http2(ticket) = &lease.via {
                *response.version_mut() = Version::HTTP_11;
                ticket.connection().heard();
            }
            Ok(Delivered { response, lease })
        }
        Ok(Err(error)) => Err(judge(error, parcel, &lease, read_before)),
        Err(failure) => Err(Undelivered::sent(failure, false)),
    }
}

fn judge(
    mut error: TrySendError<Request<RequestBody>>,
    parcel: &mut Parcel,
    lease: &Lease,
    read_before: u64,
) -> Undelivered {
    if let Some(unsent) = error.take_message() {
        parcel.take_back(unsent);
        if let Via::Http2(ticket) = &lease.via {
            ticket.connection().retire();
        }
        return Undelivered {
            // A connection that closes at once is as good as none.
            failure: if lease.reused {
                Failure::Closed
            } else {
                Failure::Connect
            },
            unsent: true,
            stale: lease.reused,
        };
    }
    let error = error.into_error();
    debug!(%error, reused = lease.reused, "no response");
    if let Some(cut) = parcel.upload().and_then(Upload::cut) {
        return Undelivered::sent(cut, false);
    }
    match &lease.via {
        Via::Http1(_) if error.is_user() => Undelivered::sent(Failure::ClientGone, false),
        Via::Http1(_) if error.is_parse() => Undelivered::sent(Failure::Protocol, false),
        Via::Http1(connection) if connection.read() == read_before => Undelivered::sent(Failure::Closed, lease.reused),
        // Some of a response came: nobody knows what it would have said.
        Via::Http1(_) => Undelivered::sent(Failure::HeadBroken, false),
        Via::Http2(ticket) => {
            let (failure, is_over) = judge_http2(&error);
            if is_over {
                ticket.connection().retire();
            }
            Undelivered {
                failure,
                unsent: failure == Failure::Refused,
                stale: lease.reused && failure == Failure::Closed,
            }
        }
    }
}

/// What an error of HTTP/2 says, and whether its connection takes no more requests.
fn judge_http2(error: &Error) -> (Failure, bool) {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    match cause {
        Some(cause) if cause.is_remote() && cause.is_go_away() => (Failure::Refused, true),
        Some(cause) if cause.is_remote() && cause.reason() == Some(h2::Reason::REFUSED_STREAM) => {
            (Failure::Refused, false)
        }
        Some(cause) if cause.is_remote() && cause.is_reset() => (Failure::Reset, false),
        Some(cause) if cause.is_library() => (Failure::Protocol, true),
        _ => (Failure::Closed, true),
    }
}
