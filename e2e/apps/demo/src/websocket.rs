//! `/ws`: a WebSocket that sends every message back. The handshake is answered here; no other path is.

use futures::{SinkExt, StreamExt};
use std::time::Duration;

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::body::Body;

/// Longest message that is sent back, in bytes; it is held in memory whole.
const MESSAGE_MAX: usize = 1024 * 1024;
/// How much of a connection is read at a time, in bytes.
const READ_BUFFER: usize = 16 * 1024;
/// How long a client has for its part of closing.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Answers the handshake, and echoes on the connection until the client closes it or the app stops.
pub(crate) fn upgrade(request: &mut Request<Incoming>, stopping: watch::Receiver<bool>) -> Response<Body> {
    let wants = request
        .headers()
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let accept = request
        .headers()
        .get(SEC_WEBSOCKET_KEY)
        .map(|key| derive_accept_key(key.as_bytes()));
    let (true, Some(accept)) = (wants, accept.and_then(|accept| HeaderValue::try_from(accept).ok())) else {
        let mut response = Response::new(Body::from_text("/ws speaks WebSocket: ask with Upgrade: websocket\n"));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response
            .headers_mut()
            .insert(UPGRADE, HeaderValue::from_static("websocket"));
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    };
    tokio::spawn(echo(hyper::upgrade::on(request), stopping));
    let mut response = Response::new(Body::from_text(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response
        .headers_mut()
        .insert(UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade, mut stopping: watch::Receiver<bool>) {
    // An upgrade that fails is a client that went away.
    let Ok(stream) = upgrade.await else { return };
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MESSAGE_MAX);
    config.max_frame_size = Some(MESSAGE_MAX);
    // The library's own would be 128 KiB for each of many idle sockets.
    config.read_buffer_size = READ_BUFFER;
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, Some(config)).await;
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        match message {
            // Pings and closes are answered by the library, as messages of its own are due.
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
    let goodbye = CloseFrame {
        code: CloseCode::Away,
        reason: "the app stops".into(),
    };
    let close = async {
        if socket.close(Some(goodbye)).await.is_ok() {
            // Until the client has answered the close.
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    // A client that never answers does not keep the app from stopping.
    let _ = tokio::time::timeout(CLOSE_MAX, close).await;
}
