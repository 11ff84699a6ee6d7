//! One request over one connection: sent, waited for, and judged when no response comes. Which connection, and what to do about a
//! failure, is decided by the caller; here it is only said whether anything of it was sent.

use std::future::poll_fn;

use http::{HeaderMap, Response, StatusCode, Version};
use tenbin_http1::BodyReader;
use tenbin_http2::Reason;
use tracing::debug;

use super::call::Call;
use super::download::Download;
use super::exclusive::{Broken, Exclusive, LIMITS};
use super::pool::{Lease, Via};
use crate::serve::error::Failure;
use crate::serve::{Parcel, Patience, Upload};

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

/// Sends a request and waits for the head of its response; informational ones before it are told to `interim`. With `keep`, it may be sent
/// again.
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
    let Lease { endpoint, via, reused } = &mut lease;
    let (mut head, reader) = match via {
        Via::Http1(connection) => {
            let response = over_http1(connection, *reused, parcel, keep, patience, interim).await?;
            let (head, reader) = response.into_parts();
            (Response::from_parts(head, ()), Some(reader))
        }
        Via::Http2(call) => {
            let Some((request, body)) = parcel.request(endpoint) else {
                return Err(spent());
            };
            let begun = call.begin(&request, parcel.ready(), body);
            if keep || begun.is_err() {
                parcel.keep(request);
            }
            if let Err(refused) = begun {
                debug!(%refused, reused, "nothing was sent");
                return Err(unsent(*reused));
            }
            (over_http2(call, *reused, parcel, patience, interim).await?, None)
        }
    };
    *head.version_mut() = Version::HTTP_11;
    Ok(head.map(|()| Download::new(reader, lease)))
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
    let Some((head, ready, body)) = parcel.once_more() else {
        return Err(spent());
    };
    connection.begin(head, ready, body);
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
    Ok(head.response.map(|()| BodyReader::new(head.body, &LIMITS)))
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

async fn over_http2(
    call: &mut Call,
    reused: bool,
    parcel: &Parcel,
    patience: &Patience,
    interim: &mut dyn FnMut(StatusCode, HeaderMap),
) -> Result<Response<()>, Undelivered> {
    match patience.head(poll_fn(|cx| call.poll_head(interim, cx))).await {
        Ok(Ok(head)) => Ok(head),
        Ok(Err(broken)) => Err(judge_http2(&broken, call, reused, parcel)),
        Err(failure) => Err(Undelivered::sent(failure, false)),
    }
}

fn judge_http2(broken: &Broken, call: &Call, reused: bool, parcel: &Parcel) -> Undelivered {
    debug!(%broken, reused, "no response");
    if let Some(cut) = parcel.upload().and_then(Upload::cut) {
        return Undelivered::sent(cut, false);
    }
    let failure = match broken {
        Broken::Request(_) | Broken::Length => Failure::ClientGone,
        // Also of those that a GOAWAY says were not taken.
        Broken::Reset(Reason::REFUSED_STREAM) => Failure::Refused,
        Broken::Reset(_) => Failure::Reset,
        Broken::Malformed(_) | Broken::Interim | Broken::Rules(_) => Failure::Protocol,
        Broken::Unsent(_) | Broken::Closed | Broken::Io(_) if call.connection().is_foul() => Failure::Protocol,
        Broken::Unsent(_) | Broken::Closed | Broken::Io(_) => Failure::Closed,
    };
    Undelivered {
        failure,
        unsent: failure == Failure::Refused,
        // One that says that it ends (GOAWAY) is no worse than one that just does.
        stale: reused && call.connection().is_over() && matches!(failure, Failure::Refused | Failure::Closed),
    }
}
