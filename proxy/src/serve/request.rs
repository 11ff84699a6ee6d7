//! The way of a request, top to bottom: take the newest snapshot, check, route, see what binds it, have it answered by an endpoint
//! (`forward`), respond.
//! Counting it is `exchange`'s, why it failed and what that means is `error`'s, what a session is `affinity`'s.

use std::rc::Rc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode, Version};

use super::body::{Relay, ResponseBody};
use super::connection::Connection;
use super::error::Failure;
use super::exchange::Exchange;
use super::forward::{Answer, Way, forward};
use super::grpc;
use super::headers::Seen;
use super::incoming::Incoming;
use super::informer::Informer;
use super::tunnel::Tunnel;
use super::{forwarding, headers, request_id};
use crate::clock::since_1970;
use crate::state::Listener;

/// Serves one request of a connection.
pub(super) async fn serve(
    connection: Rc<Connection>,
    informer: Informer,
    mut request: Request<Incoming>,
) -> Response<ResponseBody> {
    let snapshot = connection.worker.state.load();
    let listener = snapshot.listener_at(connection.listener);
    request_id::ensure(&mut request, &mut connection.worker.rng.borrow_mut());
    let mut exchange = Exchange::begin(connection, listener, &request, informer);

    let form = Form::of(&request);
    let is_http1 = request.version() < Version::HTTP_2;
    let way = find_way(exchange.connection(), listener, &mut request);
    drop(snapshot);
    let outcome = match way {
        Ok(way) => answer(&mut exchange, &way, request).await,
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(answer) => respond(exchange, answer),
        Err(failure) => refuse(exchange, failure, form, is_http1 && failure.closes()),
    }
}

/// Checks a request, and where it goes. Its path becomes the one that it was routed by; what it says of its client, what is true.
fn find_way(connection: &Connection, listener: &Listener, request: &mut Request<Incoming>) -> Result<Way, Failure> {
    let seen = Seen::of(request.headers());
    let peer = &connection.peer;
    let host = headers::check(request, seen, connection.tls.is_some())?;
    let routed = listener.route(host, request.uri().path())?;
    let told = peer.told(host, listener);
    if let Some(path) = &routed.path {
        headers::set_path(request, path)?;
    }
    let client = || listener.trusted.client(connection.client.ip(), request.headers());
    let bond = routed.cluster.affinity.bond(request, client, since_1970);
    if seen.client || told.is_none() {
        forwarding::tell(request, peer, told.as_deref(), listener);
    }
    Ok(Way {
        routed,
        bond,
        seen,
        told,
        served_by: listener.served_by.clone(),
    })
}

/// What the client gets, as far as it must be known before it gets any.
struct Ready {
    head: Response<()>,
    body: Body,
}

enum Body {
    Relayed(Relay),
    /// And how long it may stay without a byte.
    Upgraded(Answer, Duration),
}

/// Has the request answered, and as much of the answer here as its route wants before the client gets any.
async fn answer(exchange: &mut Exchange, way: &Way, request: Request<Incoming>) -> Result<Ready, Failure> {
    let mut answer = forward(exchange, way, request).await?;
    if answer.response.status() == StatusCode::SWITCHING_PROTOCOLS && answer.upgrade {
        let mut head = Response::new(());
        *head.status_mut() = answer.response.status();
        head.headers_mut().clone_from(answer.response.headers());
        let body = Body::Upgraded(answer, way.routed.route.timeouts.tunnel_idle);
        return Ok(Ready { head, body });
    }
    let clock = exchange.connection().worker.clock;
    let upload = answer.upload.take();
    let (head, body) = answer.response.into_parts();
    let mut relay = Relay::new(body, upload, &way.routed.route, clock)?;
    let head = Response::from_parts(head, ());
    if let Some(most) = way.routed.route.bodies.response_buffer
        && !is_stream(&head)
        && let Some(lease) = relay.gather(most as usize).await?
    {
        exchange.release(lease);
    }
    Ok(Ready {
        head,
        body: Body::Relayed(relay),
    })
}

/// Whether what comes is to be seen as it comes: nothing of it is held back.
fn is_stream(head: &Response<()>) -> bool {
    let events = b"text/event-stream";
    let media = head.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let begins = media.and_then(|media| media.get(..events.len()));
    let is_events = begins.is_some_and(|begins| begins.eq_ignore_ascii_case(events));
    is_events || grpc::is_grpc(head.headers())
}

/// Passes an endpoint's response on.
fn respond(mut exchange: Exchange, ready: Ready) -> Response<ResponseBody> {
    let Ready { head, body } = ready;
    exchange.answer(head.status());
    let relay = match body {
        Body::Upgraded(answer, idle) => {
            exchange.complete(exchange.connection().worker.clock.now());
            exchange.hold();
            let connection = Rc::clone(exchange.connection());
            if let Some(endpoint) = answer.response.into_body().into_upgraded() {
                connection.open_tunnel(Tunnel {
                    endpoint,
                    idle,
                    exchange,
                });
            }
            return head.map(|()| ResponseBody::none());
        }
        Body::Relayed(relay) => relay,
    };
    if exchange.connection().worker.lifecycle.is_draining() {
        exchange.connection().say_close();
    }
    head.map(|()| ResponseBody::relayed(exchange, relay))
}

/// How a client takes being refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A status and a few words.
    Words,
    /// The same without a body. HTTP/1.1 leaves the body of an answer to HEAD out by itself.
    Head,
    /// As gRPC does.
    Grpc,
}

impl Form {
    fn of<B>(request: &Request<B>) -> Self {
        if grpc::is_grpc(request.headers()) {
            Form::Grpc
        } else if request.method() == Method::HEAD && request.version() == Version::HTTP_2 {
            Form::Head
        } else {
            Form::Words
        }
    }
}

/// Tells the client why there is no answer, and, where it `closes`, to go.
fn refuse(mut exchange: Exchange, failure: Failure, form: Form, closes: bool) -> Response<ResponseBody> {
    let is_grpc = form == Form::Grpc;
    exchange.fail(failure);
    let connection = Rc::clone(exchange.connection());
    let status = if is_grpc { StatusCode::OK } else { failure.status() };
    exchange.answer(status);
    let mut response = Response::new(());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if is_grpc {
        grpc::refusal(headers, failure);
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    if failure.passes() {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if closes || connection.worker.lifecycle.is_draining() {
        connection.say_close();
    }
    let text = if form == Form::Words { failure.text() } else { "" };
    response.map(|()| ResponseBody::text(exchange, text))
}
