//! The way of a request, top to bottom: take the newest snapshot, check, route, try endpoints (pick, connect, send, judge), respond.
//! Counting it is `exchange`'s, why it failed and what that means is `error`'s.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tenbin_balance::Tried;

use super::body::{RequestBody, ResponseBody};
use super::connection::Connection;
use super::error::{Failure, Retry};
use super::exchange::Exchange;
use super::headers;
use super::tunnel::Tunnel;
use super::worker::WorkerContext;
use crate::state::{Picked, Routed};
use crate::upstream::{self, Delivered, Lease, Undelivered};

/// How many endpoints a request may be tried on.
const MAX_TRIES: usize = 3;

/// An endpoint's response, and what is needed to pass it on.
struct Answer {
    response: Response<Incoming>,
    lease: Lease,
    /// The client's end, if it asked for an upgrade.
    upgrade: Option<OnUpgrade>,
}

/// Serves one request of a connection.
pub(super) async fn serve(connection: Rc<Connection>, request: Request<Incoming>) -> Response<ResponseBody> {
    let snapshot = connection.worker.state.load();
    let listener = snapshot.listener_at(connection.listener);
    let mut exchange = Exchange::begin(connection, listener, &request);

    let routed = headers::check(&request).and_then(|()| listener.route(headers::host(&request), request.uri().path()));
    drop(snapshot);
    let outcome = match routed {
        Ok(routed) => forward(&mut exchange, &routed, request).await,
        Err(failure) => Err(failure),
    };
    match outcome.and_then(prepared) {
        Ok(answer) => respond(exchange, answer),
        Err(failure) => refuse(exchange, failure),
    }
}

/// Sends the request to an endpoint of the routed cluster: to another one as long as nothing of it was sent.
async fn forward(exchange: &mut Exchange, routed: &Routed, mut request: Request<Incoming>) -> Result<Answer, Failure> {
    let worker = Rc::clone(&exchange.connection().worker);
    let wants_upgrade = headers::to_endpoint(&mut request);
    let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let mut request = request.map(|body| RequestBody::new(body, exchange.connection()));

    let mut tried = Tried::default();
    let mut failure = Failure::NoEndpoint;
    for attempt in 0..MAX_TRIES {
        let Some(picked) = pick(&worker, routed, attempt, &tried) else {
            break;
        };
        let picked = exchange.try_on(picked);
        match deliver(&worker, picked, routed, request).await {
            Ok(Delivered { response, lease }) => {
                return Ok(Answer {
                    response,
                    lease,
                    upgrade,
                });
            }
            Err(Undelivered {
                failure: why,
                request: Some(back),
            }) if why.retry() == Retry::Elsewhere => {
                tried.push(Arc::clone(picked.open.load()));
                request = back;
                failure = why;
            }
            Err(undelivered) => return Err(undelivered.failure),
        }
    }
    Err(failure)
}

/// Picks an endpoint that was not tried yet. Each try but the first looks at the newest endpoints: those of the route may have changed.
fn pick(worker: &WorkerContext, routed: &Routed, attempt: usize, tried: &Tried) -> Option<Picked> {
    let newest = (attempt > 0)
        .then(|| worker.state.load().cluster(&routed.cluster.name).cloned())
        .flatten();
    let cluster = newest.as_ref().unwrap_or(&routed.cluster);
    cluster.pick(worker.clock.now(), &mut worker.rng.borrow_mut(), tried)
}

/// Sends the request to the picked endpoint: over an idle connection if there is one, over a new one if there is none or the idle one
/// turned out to be dead before it can have mattered.
async fn deliver(
    worker: &WorkerContext,
    picked: &Picked,
    routed: &Routed,
    mut request: Request<RequestBody>,
) -> Result<Delivered, Undelivered> {
    if let Some(idle) = worker.pool.take(&picked.endpoint, worker.clock.now()) {
        match upstream::send(idle, request, routed.response_timeout, worker.clock).await {
            Ok(delivered) => {
                // It may have been the one request that was let through to try the endpoint again.
                picked.endpoint.stats.load.skip().succeeded();
                return Ok(delivered);
            }
            Err(Undelivered {
                failure: Failure::Closed,
                request: Some(back),
            }) => request = back,
            Err(undelivered) => return Err(undelivered),
        }
    }
    match upstream::connect(&picked.endpoint, routed.cluster.connect_timeout, worker.clock).await {
        Ok(fresh) => upstream::send(fresh, request, routed.response_timeout, worker.clock).await,
        Err(failure) => Err(Undelivered {
            failure,
            request: Some(request),
        }),
    }
}

/// Judges the head of an endpoint's response, and makes it what the client gets.
fn prepared(mut answer: Answer) -> Result<Answer, Failure> {
    headers::to_client(&mut answer.response, answer.upgrade.is_some())?;
    Ok(answer)
}

/// Passes an endpoint's response on.
fn respond(mut exchange: Exchange, answer: Answer) -> Response<ResponseBody> {
    let Answer {
        mut response,
        lease,
        upgrade,
    } = answer;
    exchange.answer(response.status());
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (response.status(), upgrade) {
        let endpoint = hyper::upgrade::on(&mut response);
        exchange.complete();
        let connection = Rc::clone(exchange.connection());
        connection.open_tunnel(Tunnel {
            client,
            endpoint,
            exchange,
        });
        return response.map(|_| ResponseBody::none());
    }
    if exchange.connection().worker.lifecycle.is_draining() {
        headers::say_close(response.headers_mut());
    }
    response.map(|body| ResponseBody::relayed(exchange, body, lease))
}

/// Tells the client why there is no answer.
fn refuse(mut exchange: Exchange, failure: Failure) -> Response<ResponseBody> {
    exchange.fail(failure);
    exchange.answer(failure.status());
    let draining = exchange.connection().worker.lifecycle.is_draining();
    let mut response = Response::new(ResponseBody::text(exchange, failure.text()));
    *response.status_mut() = failure.status();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if draining {
        headers::say_close(response.headers_mut());
    }
    response
}
