//! One stream: its request served as any other, and taken back when the client resets it; its response sent. What a request means is
//! not its business.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use http_body::Body as _;
use tracing::debug;

use super::body;
use super::form::{finish, from_upgrade, has_no_body, join_cookies, to_upgrade};
use super::notices::Notices;
use super::streams::{Streams, Unanswered};
use super::tunnel::StreamIo;
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
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (request, tunnel) = open(request, &connection);
    let to_head = request.method() == Method::HEAD;
    let Some(mut response) = served(&connection, request, &mut respond).await else {
        debug!(client = %connection.client, "a client reset a stream");
        return;
    };
    unanswered.answered();
    let Some(receive) = tunnel else {
        return send(&connection, &streams, response, to_head, respond).await;
    };
    from_upgrade(&mut response);
    let Some(tunnel) = connection.take_tunnel() else {
        return send(&connection, &streams, response, to_head, respond).await;
    };
    finish(&mut response, None, || connection.worker.dates.now());
    match respond.send_response(response.map(drop), false) {
        Ok(stream) => tunnel.run(StreamIo::new(stream, receive, streams)).await,
        Err(error) => debug!(%error, "a tunnel was not opened"),
    }
}

/// Makes the request one like any other, and keeps what comes of the stream apart where it may become a tunnel.
fn open(request: Request<RecvStream>, connection: &Connection) -> (Request<Incoming>, Option<RecvStream>) {
    let (head, stream) = request.into_parts();
    let is_connect = head.method == Method::CONNECT;
    let (body, stream) = if is_connect {
        (Incoming::Empty, Some(stream))
    } else {
        (Incoming::http2(stream, &head.headers), None)
    };
    let mut request = Request::from_parts(head, body);
    join_cookies(request.headers_mut());
    let connects = is_connect && to_upgrade(&mut request, || connection.random());
    (request, stream.filter(|_| connects))
}

/// Has the request served, and tells the client what there is to tell before the response; `None` if the client resets the stream.
async fn served(
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    respond: &mut SendResponse<Bytes>,
) -> Option<Response<ResponseBody>> {
    let notices = Rc::<Notices>::default();
    let informer = Informer::Stream(Rc::clone(&notices));
    let mut serving = pin!(request::serve(Rc::clone(connection), informer.clone(), request));
    poll_fn(|cx| {
        notices.register(cx.waker());
        // First, so that a stream that was reset at once does not so much as connect to an endpoint.
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        let mut polled = serving.as_mut().poll(cx);
        if let Poll::Ready(response) = &mut polled {
            expect::answered(&informer, response);
            if notices.is_empty() {
                return polled.map(Some);
            }
        }
        notices.send(respond);
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
    mut respond: SendResponse<Bytes>,
) {
    let (head, mut body) = response.into_parts();
    let mut head = Response::from_parts(head, ());
    let has_none = has_no_body(&head, to_head);
    let is_whole = body.is_end_stream();
    let length = body.size_hint().exact().filter(|_| !has_none && !is_whole);
    finish(&mut head, length, || connection.worker.dates.now());
    match respond.send_response(head, is_whole) {
        Ok(_) if is_whole => {}
        Ok(stream) => body::send(stream, body, has_none, streams, connection.worker.clock).await,
        Err(error) => {
            debug!(%error, "a response was not sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
            body.fail(Failure::ClientGone);
        }
    }
}
