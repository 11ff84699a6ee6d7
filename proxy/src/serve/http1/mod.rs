//! HTTP/1 with clients: one request after the other, each served by the task of its connection. What a request means is not its
//! business, nor when its connection has waited for too long: `connection` watches that.

mod body;
mod desk;
mod reply;
mod wire;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use http::StatusCode;
use http::Version;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use tenbin_http1::{Length, Malformed, RequestHead};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;

pub(super) use body::Http1Body;
pub(super) use desk::Desks;
pub(crate) use wire::Wire;

use super::connection::{Connection, LINGER};
use super::copy::Side;
use super::expect;
use super::incoming::Incoming;
use super::informer::Informer;
use super::io::Transport;
use super::request;
use super::tunnel::Tunnel;
use reply::{Reply, To};
use wire::Rest;

const REQUEST_TIMEOUT: &str = "tenbin: 408 DPE: the request's headers took too long\n";

/// How the requests of a connection end.
pub(super) enum End {
    /// There is nobody to tell anything.
    Gone,
    /// There will be no more responses. What the client still sends is read for a while, so that it does not wipe out the last one.
    Told,
    /// There will be no more responses, as the client wanted: it sends nothing more (RFC 9112 §9.6).
    Agreed,
    /// It goes on as this tunnel.
    Tunnel(Box<Tunnel>),
}

/// Serves the requests of a connection, one after the other, until one is the last.
pub(super) async fn requests(connection: &Rc<Connection>, wire: &Rc<Wire>) -> End {
    loop {
        let next = match next(connection, wire).await {
            Ok(Some(head)) => Ok(connection.worker.desks.take().serve(connection, wire, head)),
            Ok(None) => return End::Told,
            Err(malformed) => Err(malformed),
        };
        // Awaited out here, where no head is at hand: a connection has room for none.
        match next {
            Ok(served) => {
                if let Some(end) = served.await {
                    return end;
                }
            }
            Err(malformed) => {
                debug!(client = %connection.client, %malformed, "a request was refused");
                crate::state::count(&connection.settings().stats.malformed);
                let text = format!("tenbin: {} DPE: {malformed}\n", malformed.status().as_u16());
                return Box::pin(refuse(wire, malformed.status(), &text)).await;
            }
        }
    }
}

/// The next request's head; `None` if there will be none.
async fn next(connection: &Connection, wire: &Wire) -> Result<Option<RequestHead>, Malformed> {
    poll_fn(|cx| {
        let polled = {
            let scratch = &mut **connection.worker.scratch.borrow_mut();
            wire.poll_head(scratch, cx)
        };
        if polled.is_pending() {
            if wire.is_inside_head() {
                connection.head_begins();
            } else if connection.worker.lifecycle.is_closing() {
                return Poll::Ready(Ok(None));
            }
        }
        polled
    })
    .await
}

/// Serves one request; how the connection ends, if it does.
async fn serve(connection: &Rc<Connection>, wire: &Rc<Wire>, head: RequestHead) -> Option<End> {
    let RequestHead {
        request,
        body,
        keep_alive,
    } = head;
    let to = To {
        method: request.method().clone(),
        version: request.version(),
    };
    // HTTP/1.0 has no informational responses.
    let hears = to.version == Version::HTTP_11;
    let expects = hears && body != Length::Exact(0) && expect::is_expected(request.headers());
    wire.begin(body, hears, expects);
    let incoming = Incoming::Http1(Http1Body::new(wire, &connection.worker));
    let informer = Informer::Http1(Rc::clone(wire));
    let answered = {
        let served = request::serve(Rc::clone(connection), informer.clone(), request.map(|()| incoming));
        let mut served = pin!(served);
        poll_fn(|cx| {
            if let Poll::Ready(response) = served.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            // If that cannot be written, the response will not either.
            let _ = wire.poll_out(cx);
            let scratch = &mut **connection.worker.scratch.borrow_mut();
            wire.poll_gone(scratch, cx).map(|()| None)
        })
        .await
    };
    let Some(response) = answered else {
        return Some(End::Gone);
    };
    let refused = expect::answered(&informer, &response);
    let worker = &connection.worker;
    let left_lying = poll_fn(|cx| Poll::Ready(wire.rest(cx) == Rest::Abandoned && !wire.skip_body())).await;
    let mut close = !keep_alive || refused || left_lying || connection.is_told_to_go() || worker.lifecycle.is_closing();
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let mut reply = Reply::begin(wire, worker, response, &to, &mut close);
    let written = poll_fn(|cx| {
        if let Poll::Ready(written) = reply.poll(cx) {
            return Poll::Ready(written.is_ok());
        }
        let scratch = &mut **worker.scratch.borrow_mut();
        wire.poll_gone(scratch, cx).map(|()| false)
    });
    if !written.await {
        return Some(End::Gone);
    }
    drop(reply);
    if switches {
        return Some(connection.take_tunnel().map_or(End::Gone, End::Tunnel));
    }
    let read = poll_fn(|cx| match wire.rest(cx) {
        Rest::Read => Poll::Ready(true),
        Rest::Abandoned => Poll::Ready(wire.skip_body()),
        Rest::Wanted => Poll::Pending,
    });
    match (read.await, keep_alive) {
        (false, _) => Some(End::Told),
        (true, false) if !wire.is_inside_head() => Some(End::Agreed),
        (true, _) => close.then_some(End::Told),
    }
}

/// What is left to be done when the requests of a connection ended.
pub(super) async fn end(wire: &Wire, end: End) {
    let Some((transport, ahead)) = wire.take() else { return };
    match end {
        End::Gone => {}
        End::Told | End::Agreed if wire.is_ended() => {}
        // TLS has an end of its own to be said.
        End::Agreed if matches!(transport, Transport::Plain(_)) => {}
        // Boxed, as what is rare: every connection is as large as the largest that it may become.
        End::Told | End::Agreed => Box::pin(linger(transport)).await,
        End::Tunnel(tunnel) => {
            let client = Side {
                io: transport,
                ahead: ahead.freeze(),
            };
            Box::pin(tunnel.run(client)).await;
        }
    }
}

/// Tells a client that the headers of its request took too long.
pub(super) async fn time_out(wire: &Wire) -> End {
    refuse(wire, StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT).await
}

/// Answers what is no request.
async fn refuse(wire: &Wire, status: StatusCode, text: &str) -> End {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let reply = tenbin_http1::Reply {
        version: Version::HTTP_11,
        close: true,
        body: Some(Length::Exact(text.len() as u64)),
    };
    wire.respond(|out: &mut BytesMut| {
        tenbin_http1::write_response(out, status, &headers, &reply, None);
        out.extend_from_slice(text.as_bytes());
    });
    let told: Result<io::Result<()>, _> = timeout(LINGER, poll_fn(|cx| wire.poll_out(cx))).await;
    match told {
        Ok(Ok(())) => End::Told,
        Ok(Err(_)) | Err(_) => End::Gone,
    }
}

/// Reads what a client still sends on a connection that we close, for a while.
async fn linger(mut io: Transport) {
    let mut unread = [0; 4096];
    let drained = timeout(LINGER, async {
        io.shutdown().await?;
        while io.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    });
    if drained.await.is_err() {
        debug!("a client kept sending after the end");
    }
}
