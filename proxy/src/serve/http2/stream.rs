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

/// Serves a stream until its response is sent, or nobody wants it any more.
pub(super) async fn serve(
    connection: Rc<Connection>,
    streams: Rc<Streams>,
    unanswered: Unanswered,
    request: Request<()>,
    sender: Sender,
    receiver: Receiver,
) {
    let (request, tunnel) = open(request, receiver, &connection);
    let to_head = request.method() == Method::HEAD;
    let Some(mut response) = served(&connection, request, &sender).await else {
        debug!(client = %connection.client, "a client reset a stream");
        return;
    };
    unanswered.answered();
    let Some(receiver) = tunnel else {
        return send(&connection, &streams, response, to_head, &sender).await;
    };
    from_upgrade(&mut response);
    let Some(tunnel) = connection.take_tunnel() else {
        return send(&connection, &streams, response, to_head, &sender).await;
    };
    finish(&mut response, None, || connection.worker.dates.now());
    if sender.respond(&response.map(drop), false).is_ok() {
        tunnel.run(StreamIo::new(sender, receiver, streams)).await;
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

/// Has the request served, and tells the client what there is to tell before the response; `None` if the stream is over before.
async fn served(
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    sender: &Sender,
) -> Option<Response<ResponseBody>> {
    let notices = Rc::<Notices>::default();
    let informer = Informer::Stream(Rc::clone(&notices));
    let mut serving = pin!(request::serve(Rc::clone(connection), informer.clone(), request));
    poll_fn(|cx| {
        // Who has taken it back before it was looked at makes no work for endpoints.
        if sender.poll_lost(cx).is_ready() {
            return Poll::Ready(None);
        }
        notices.register(cx.waker());
        let mut polled = serving.as_mut().poll(cx);
        if let Poll::Ready(response) = &mut polled {
            expect::answered(&informer, response);
            if notices.is_empty() {
                return polled.map(Some);
            }
        }
        notices.send(sender);
        polled.map(Some)
    })
    .await
}

/// Sends the response.
async fn send(
    connection: &Connection,
    streams: &Streams,
    response: Response<ResponseBody>,
    to_head: bool,
    sender: &Sender,
) {
    let (head, mut body) = response.into_parts();
    let mut head = Response::from_parts(head, ());
    let has_none = has_no_body(&head, to_head);
    let is_whole = body.is_end_stream();
    let length = body.size_hint().exact().filter(|_| !has_none && !is_whole);
    finish(&mut head, length, || connection.worker.dates.now());
    let sent = sender.respond(&head, is_whole);
    tenbin_http1::recycle(head.into_parts().0.headers);
    match sent {
        Ok(()) if is_whole => {}
        Ok(()) => body::send(sender, body, has_none, streams, connection.worker.clock).await,
        Err(_) => body.fail(Failure::ClientGone),
    }
}
