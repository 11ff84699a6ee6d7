//! One stream: its request served as any other, and taken back when the client resets it; its response sent. What a request means is
//! not its business.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::{Method, Request, Response};
use http_body::Body as _;
use tracing::debug;

use super::body;
use super::form::{finish, from_upgrade, has_no_body, join_cookies, to_upgrade};
use super::notices::Notices;
use super::streams::{Streams, Unanswered};
use super::tunnel::StreamIo;
use crate::http2::{Receiver, Sender};
use crate::serve::body::ResponseBody;
use crate::serve::connection::Connection;
use crate::serve::error::Failure;
use crate::serve::incoming::Incoming;
use crate::serve::informer::Informer;
use crate::serve::{expect, request};

/// A stream that begins.
pub(super) struct Job {
    pub(super) connection: Rc<Connection>,
    pub(super) streams: Rc<Streams>,
    pub(super) unanswered: Unanswered,
    pub(super) request: Request<()>,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
}

/// Serves a stream until its response is sent, or nobody wants it any more.
pub(super) async fn serve(job: Job) {
    let Job {
        connection,
        streams,
        unanswered,
        request,
        sender,
        receiver,
    } = job;
    let (request, tunnel) = open(request, receiver, &connection);
    let to_head = request.method() == Method::HEAD;
    let notices = Rc::<Notices>::default();
    let informer = Informer::Stream(Rc::clone(&notices));
    let answered = {
        let served = request::serve(Rc::clone(&connection), informer.clone(), request);
        let mut served = pin!(served);
        poll_fn(|cx| {
            // Who has taken it back before it was looked at makes no work for endpoints.
            if sender.poll_lost(cx).is_ready() {
                return Poll::Ready(None);
            }
            notices.register(cx.waker());
            let polled = served.as_mut().poll(cx);
            if let Poll::Ready(response) = &polled {
                expect::answered(&informer, response);
            }
            // Before the response, whatever there is to be told.
            notices.send(&sender);
            polled.map(Some)
        })
        .await
    };
    let Some(response) = answered else {
        debug!(client = %connection.client, "a client reset a stream");
        return;
    };
    unanswered.answered();
    match tunnel {
        None => {
            if let Some((mut body, has_none)) = respond(&connection, response, to_head, &sender) {
                body::send(&sender, &mut body, has_none, &streams, connection.worker.clock).await;
            }
        }
        // Boxed, as what is rare.
        Some(receiver) => Box::pin(connect(&connection, streams, response, to_head, sender, receiver)).await,
    }
}

/// Sends the response to a CONNECT, and carries the tunnel that it opens.
async fn connect(
    connection: &Connection,
    streams: Rc<Streams>,
    mut response: Response<ResponseBody>,
    to_head: bool,
    sender: Sender,
    receiver: Receiver,
) {
    from_upgrade(&mut response);
    let Some(tunnel) = connection.take_tunnel() else {
        if let Some((mut body, has_none)) = respond(connection, response, to_head, &sender) {
            body::send(&sender, &mut body, has_none, &streams, connection.worker.clock).await;
        }
        return;
    };
    finish(&mut response, None, || connection.worker.dates.now());
    if sender.respond(&response.map(drop), false).is_ok() {
        tunnel.run(StreamIo::new(sender, receiver, streams).into()).await;
    }
}

/// Makes the request one like any other, and keeps what comes of the stream apart where it may become a tunnel.
fn open(request: Request<()>, receiver: Receiver, connection: &Connection) -> (Request<Incoming>, Option<Receiver>) {
    let (head, ()) = request.into_parts();
    let is_connect = head.method == Method::CONNECT;
    let (body, receiver) = if is_connect {
        (Incoming::Empty, Some(receiver))
    } else {
        (Incoming::http2(receiver, &head.headers), None)
    };
    let mut request = Request::from_parts(head, body);
    join_cookies(request.headers_mut());
    let connects = is_connect && to_upgrade(&mut request, || connection.random());
    (request, receiver.filter(|_| connects))
}

/// Sends the head of a response. What is to follow it, if anything is, and whether that is left out since the response has no body.
fn respond(
    connection: &Connection,
    response: Response<ResponseBody>,
    to_head: bool,
    sender: &Sender,
) -> Option<(ResponseBody, bool)> {
    let (head, mut body) = response.into_parts();
    let mut head = Response::from_parts(head, ());
    let has_none = has_no_body(&head, to_head);
    let is_whole = body.is_end_stream();
    let length = body.size_hint().exact().filter(|_| !has_none && !is_whole);
    finish(&mut head, length, || connection.worker.dates.now());
    let sent = sender.respond(&head, is_whole);
    tenbin_http1::recycle(head.into_parts().0.headers);
    match sent {
        Ok(()) => (!is_whole).then_some((body, has_none)),
        Err(_) => {
            body.fail(Failure::ClientGone);
            None
        }
    }
}
