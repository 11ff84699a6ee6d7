//! The way of a request, top to bottom: take the newest snapshot, check, route, see what binds it, try endpoints (pick, connect, send,
//! judge), respond.
//! Counting it is `exchange`'s, why it failed and what that means is `error`'s, what a session is `affinity`'s.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tenbin_balance::{Outcome, Time, Tried};

use super::body::{RequestBody, ResponseBody, Upload};
use super::connection::Connection;
use super::error::{Failure, Fault, Retry};
use super::exchange::Exchange;
use super::tunnel::Tunnel;
use super::worker::WorkerContext;
use super::{expect, forwarding, headers, request_id};
use crate::affinity::{Affinity, Bond};
use crate::clock::since_1970;
use crate::state::{Listener, Picked, Routed, Wanted};
use crate::upstream::{self, Delivered, Lease, Undelivered};

/// How many endpoints a request may be tried on.
const MAX_TRIES: usize = 3;
/// A body of more bytes, or of unknown length, may take the client long to send.
const LONG: u64 = 64 << 10;

/// A request on its way: where it goes, and what binds it to an endpoint there.
struct Way {
    routed: Routed,
    bond: Bond,
    /// The header that tells the client which instance answered.
    served_by: Option<HeaderName>,
}

/// An endpoint's response, and what is needed to pass it on.
struct Answer {
    response: Response<Incoming>,
    lease: Lease,
    /// The client's end, if it asked for an upgrade.
    upgrade: Option<OnUpgrade>,
    /// How long that may stay without a byte.
    tunnel_idle: Duration,
}

/// Serves one request of a connection.
pub(super) async fn serve(connection: Rc<Connection>, mut request: Request<Incoming>) -> Response<ResponseBody> {
    let snapshot = connection.worker.state.load();
    let listener = snapshot.listener_at(connection.listener);
    request_id::ensure(&mut request, &mut connection.worker.rng.borrow_mut());
    let mut exchange = Exchange::begin(connection, listener, &request);

    let way = headers::check(&request).and_then(|()| find_way(&exchange, listener, &request));
    forwarding::tell(&mut request, &exchange.connection().peer, listener);
    drop(snapshot);
    let outcome = match way {
        Ok(way) => forward(&mut exchange, &way, request).await,
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(answer) => respond(exchange, answer),
        Err(failure) => refuse(exchange, failure),
    }
}

/// Where a checked request goes.
fn find_way(exchange: &Exchange, listener: &Listener, request: &Request<Incoming>) -> Result<Way, Failure> {
    let routed = listener.route(headers::host(request), request.uri().path())?;
    let peer = exchange.connection().client.ip();
    let client = || listener.trusted.client(peer, request.headers());
    let bond = routed.cluster.affinity.bond(request, client, since_1970);
    let served_by = listener.served_by.clone();
    Ok(Way {
        routed,
        bond,
        served_by,
    })
}

/// Sends the request to an endpoint of the routed cluster: to another one as long as nothing of it was sent.
async fn forward(exchange: &mut Exchange, way: &Way, mut request: Request<Incoming>) -> Result<Answer, Failure> {
    let worker = Rc::clone(&exchange.connection().worker);
    if let Affinity::Cookie(sessions) = &way.routed.cluster.affinity {
        sessions.hide(request.headers_mut());
    }
    if way.bond.counts() {
        exchange.bind(way.bond.outcome());
    }
    let gate = expect::gate(&mut request, exchange.connection());
    let wants_upgrade = headers::to_endpoint(&mut request);
    let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let mut request = request.map(|body| RequestBody::new(body, exchange.connection(), gate));
    let upload = request.body().upload();
    let sent = || upload.as_deref().and_then(Upload::ended);
    let is_long = request.body().size_hint().exact().is_none_or(|size| size > LONG);

    let mut tried = Tried::default();
    let mut failure = None;
    for attempt in 0..MAX_TRIES {
        let picked = match pick(&worker, way, attempt, wants_upgrade, &tried) {
            Ok(picked) => exchange.try_on(picked, &mut request, upload.as_ref()),
            // What went wrong before tells more than that nobody is left.
            Err(nobody) => return Err(failure.unwrap_or(nobody)),
        };
        if is_long {
            picked.open.uploads();
        }
        match deliver(&worker, picked, &way.routed, request).await {
            Ok(Delivered { response, lease }) => {
                exchange.tried(Ok(response.status()));
                let answer = Answer {
                    response,
                    lease,
                    upgrade,
                    tunnel_idle: way.routed.route.timeouts.tunnel_idle,
                };
                return prepared(exchange, way, answer, sent());
            }
            Err(Undelivered {
                failure: why,
                request: back,
            }) => {
                exchange.tried(Err(why));
                if why.fault() == Fault::Endpoint {
                    exchange.judge(Outcome::Failure, sent());
                }
                request = again(exchange, why, back)?;
                if let Some(picked) = exchange.picked() {
                    tried.push(Arc::clone(picked.open.load()));
                }
                failure = Some(why);
            }
        }
    }
    Err(failure.unwrap_or(Failure::NoEndpoint))
}

/// The request, if it may go to another endpoint after `why`.
///
/// # Errors
/// It may not.
fn again(
    exchange: &mut Exchange,
    why: Failure,
    request: Option<Request<RequestBody>>,
) -> Result<Request<RequestBody>, Failure> {
    let request = request.filter(|_| why.retry() == Retry::Elsewhere).ok_or(why)?;
    if why.fault() == Fault::Endpoint && exchange.picked().is_some_and(|picked| picked.only) {
        exchange.bind(crate::affinity::Outcome::Gone);
        return Err(Failure::Session);
    }
    Ok(request)
}

/// Picks an endpoint that was not tried yet. Each try but the first looks at the newest endpoints: those of the route may have changed.
fn pick(worker: &WorkerContext, way: &Way, attempt: usize, held: bool, tried: &Tried) -> Result<Picked, Failure> {
    let routed = &way.routed.cluster;
    let newest = (attempt > 0)
        .then(|| worker.state.load().cluster(&routed.name).cloned())
        .flatten();
    let wanted = Wanted {
        now: worker.clock.now(),
        bond: &way.bond,
        held,
        tried,
    };
    newest
        .as_ref()
        .unwrap_or(routed)
        .pick(&wanted, &mut worker.rng.borrow_mut())
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
        match upstream::send(idle, request, routed.route.timeouts.request, worker.clock).await {
            Ok(delivered) => return Ok(delivered),
            Err(Undelivered {
                failure: Failure::Closed,
                request: Some(back),
            }) => request = back,
            Err(undelivered) => return Err(undelivered),
        }
    }
    match upstream::connect(&picked.endpoint, routed.cluster.connect_timeout, worker.clock).await {
        Ok(fresh) => upstream::send(fresh, request, routed.route.timeouts.request, worker.clock).await,
        Err(failure) => Err(Undelivered {
            failure,
            request: Some(request),
        }),
    }
}

/// Judges the head of an endpoint's response, and makes it what the client gets.
///
/// # Errors
/// It is not one that can be passed on.
fn prepared(exchange: &mut Exchange, way: &Way, mut answer: Answer, sent: Option<Time>) -> Result<Answer, Failure> {
    let failed = speaks_against(answer.response.status());
    let checked = headers::to_client(&mut answer.response, answer.upgrade.is_some());
    let outcome = if failed || checked.is_err() {
        Outcome::Failure
    } else {
        Outcome::Success
    };
    exchange.judge(outcome, sent);
    checked?;
    if let (Affinity::Cookie(sessions), Some(picked)) = (&way.routed.cluster.affinity, exchange.picked()) {
        let headers = answer.response.headers_mut();
        sessions.own(headers);
        // Nobody's session begins at an endpoint that has just failed.
        if !failed && way.bond.wants_cookie(picked.affinity) {
            sessions.issue(headers, picked.endpoint.id.as_str(), since_1970());
        }
    }
    if let (Some(name), Some(picked)) = (&way.served_by, exchange.picked())
        && let Ok(instance) = HeaderValue::from_str(&picked.endpoint.instance)
    {
        answer.response.headers_mut().insert(name, instance);
    }
    Ok(answer)
}

/// Whether a status says that the endpoint does not do its work: not what a request may have brought on itself.
fn speaks_against(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Passes an endpoint's response on.
fn respond(mut exchange: Exchange, answer: Answer) -> Response<ResponseBody> {
    let Answer {
        mut response,
        lease,
        upgrade,
        tunnel_idle,
    } = answer;
    exchange.answer(response.status());
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (response.status(), upgrade) {
        let endpoint = hyper::upgrade::on(&mut response);
        exchange.complete();
        exchange.hold();
        let connection = Rc::clone(exchange.connection());
        connection.open_tunnel(Tunnel {
            client,
            endpoint,
            idle: tunnel_idle,
            exchange,
        });
        return response.map(|_| ResponseBody::none());
    }
    if exchange.connection().worker.lifecycle.is_draining() {
        exchange.connection().say_close(response.headers_mut());
    }
    response.map(|body| ResponseBody::relayed(exchange, body, lease))
}

/// Tells the client why there is no answer.
fn refuse(mut exchange: Exchange, failure: Failure) -> Response<ResponseBody> {
    exchange.fail(failure);
    exchange.answer(failure.status());
    let connection = Rc::clone(exchange.connection());
    let mut response = Response::new(ResponseBody::text(exchange, failure.text()));
    *response.status_mut() = failure.status();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if connection.worker.lifecycle.is_draining() {
        connection.say_close(response.headers_mut());
    }
    response
}
