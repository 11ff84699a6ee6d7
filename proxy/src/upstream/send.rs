//! One request over one connection: sent, waited for, and judged when no response comes. Which connection, and what to do about a
//! failure, is decided by the caller; here it is only said whether anything of it was sent.

use std::future::poll_fn;

use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::Error;
use hyper::client::conn::TrySendError;
use tenbin_http1::BodyReader;
use tracing::debug;

use super::download::Download;
use super::exclusive::{Broken, Exclusive, LIMITS};
use super::multiplex::Ticket;
use super::pool::{Lease, Via};
use crate::serve::error::Failure;
use crate::serve::{Parcel, Patience, RequestBody, Upload};

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

/// Sends a request and waits for the head of its response; informational ones before it are told to `interim` (none come over HTTP/2). With
/// `keep`, it may be sent again.
///
/// # Errors
/// Whatever kept the response from coming.
pub async fn send(
    mut lease: Lease,
    parcel: &mut Parcel,
    keep: bool,
    patience: &Patience,
    interim: &mut dyn FnMut(StatusCode, HeaderMap),
) -> Result<Response<Download>, Undelivered> {
    let reused = lease.reused;
    match &mut lease.via {
        Via::Http1(connection) => {
            let response = over_http1(connection, reused, parcel, keep, patience, interim).await?;
            Ok(response.map(|reader| Download::http1(reader, lease)))
        }
        Via::Http2(ticket) => {
            let Some(request) = parcel.request(&lease.endpoint, keep) else {
                return Err(spent());
            };
            match patience.head(ticket.sender().try_send_request(request)).await {
                Ok(Ok(mut response)) => {
                    *response.version_mut() = Version::HTTP_11;
                    ticket.connection().heard();
                    Ok(response.map(|incoming| Download::http2(incoming, lease)))
                }
                Ok(Err(error)) => Err(judge_http2(error, ticket, reused, parcel)),
                Err(failure) => Err(Undelivered::sent(failure, false)),
            }
        }
    }
}

/// It was sent before and was not to be sent again.
fn spent() -> Undelivered {
    Undelivered::sent(Failure::Closed, false)
}

/// Nothing of a request was sent. A connection that closes at once is as good as none.
fn unsent(reused: bool) -> Undelivered {
    Undelivered {
        failure: if reused { Failure::Closed } else { Failure::Connect },
        unsent: true,
        stale: reused,
    }
}

async fn over_http1(
    connection: &mut Exclusive,
    reused: bool,
    parcel: &mut Parcel,
    keep: bool,
    patience: &Patience,
    interim: &mut dyn FnMut(StatusCode, HeaderMap),
) -> Result<Response<BodyReader>, Undelivered> {
    let Some((head, body)) = parcel.once_more() else {
        return Err(spent());
    };
    connection.begin(head, body);
    let came = poll_fn(|cx| connection.poll_head(&head.method, interim, cx));
    let outcome = patience.head(came).await;
    if !keep && !matches!(outcome, Ok(Err(Broken::Unsent(_)))) {
        parcel.spend();
    }
    let head = match outcome {
        Ok(Ok(head)) => head,
        Ok(Err(broken)) => return Err(judge_http1(&broken, connection, reused, parcel)),
        Err(failure) => return Err(Undelivered::sent(failure, false)),
    };
    if head.response.status() == StatusCode::SWITCHING_PROTOCOLS && connection.is_sending() {
        // The rest of the request would be taken for the other protocol (RFC 9110 §7.8).
        return Err(Undelivered::sent(Failure::Protocol, false));
    }
    let mut response = head.response.map(|()| BodyReader::new(head.body, &LIMITS));
    *response.version_mut() = Version::HTTP_11;
    Ok(response)
}

fn judge_http1(broken: &Broken, connection: &Exclusive, reused: bool, parcel: &Parcel) -> Undelivered {
    debug!(%broken, reused, "no response");
    if let Some(cut) = parcel.upload().and_then(Upload::cut) {
        return Undelivered::sent(cut, false);
    }
    match broken {
        Broken::Unsent(_) => unsent(reused),
        Broken::Request(_) | Broken::Length => Undelivered::sent(Failure::ClientGone, false),
        Broken::Malformed(_) | Broken::Interim => Undelivered::sent(Failure::Protocol, false),
        // Some of a response came: nobody knows what it would have said.
        _ if connection.has_heard() => Undelivered::sent(Failure::HeadBroken, false),
        _ => Undelivered::sent(Failure::Closed, reused),
    }
}

fn judge_http2(
    mut error: TrySendError<Request<RequestBody>>,
    ticket: &Ticket,
    reused: bool,
    parcel: &Parcel,
) -> Undelivered {
    if error.take_message().is_some() {
        ticket.connection().retire();
        return unsent(reused);
    }
    let error = error.into_error();
    debug!(%error, reused, "no response");
    if let Some(cut) = parcel.upload().and_then(Upload::cut) {
        return Undelivered::sent(cut, false);
    }
    let (failure, is_over) = cause(&error);
    if is_over {
        ticket.connection().retire();
    }
    Undelivered {
        failure,
        unsent: failure == Failure::Refused,
        // One that says that it ends (GOAWAY) is no worse than one that just does.
        stale: reused && is_over && matches!(failure, Failure::Refused | Failure::Closed),
    }
}

/// What an error of HTTP/2 says, and whether its connection takes no more requests.
fn cause(error: &Error) -> (Failure, bool) {
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
