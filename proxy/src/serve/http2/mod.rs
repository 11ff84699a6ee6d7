//! HTTP/2 with clients: its limits, and what serves a connection: its `driver` takes its streams (`stream`) and ends it when its time
//! is over, when it must go, when nobody is there any more (`ping`), or when it is too much (`streams`). What a request means is not its business.
//!
//! | what | limit |
//! |---|---|
//! | open streams of a connection | [`MAX_STREAMS`] |
//! | list of headers | [`limits::MAX_HEAD`], as HTTP/2 counts it (32 bytes more for each header) |
//! | bytes of bodies that wait to be sent to endpoints | [`CONNECTION_WINDOW`] for a connection, [`STREAM_WINDOW`] for a stream |
//! | bytes of a response that wait for the client | [`SEND_BUFFER`] and one chunk for a stream |
//! | how long a response may wait for the client | the route's `timeouts.idle`; for the socket, the longest of those |
//! | streams reset by the client before they were looked at | [`MAX_RESETS`] |
//! | streams that we reset or refuse for the client's errors | [`MAX_RESETS`] |
//! | streams broken off within [`YOUNG`] before they were answered | [`MAX_CUT`], and then at most half of all |
//! | frames that only make work | what `tally` allows |
//! | a dead peer | is noticed after [`ping::INTERVAL`] and [`ping::TIMEOUT`] |
//!
//! HTTP/2's own machinery bounds CONTINUATION, DATA that is empty or small, and what waits to be written before it reads on.

mod body;
mod driver;
mod form;
mod notices;
mod ping;
mod stream;
mod streams;
mod tally;
mod tunnel;
mod wire;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use tokio::time::sleep_until;
use tracing::debug;

use self::driver::{End, drive};
use self::form::strip;
pub(super) use self::notices::Notices;
use self::streams::Streams;
use self::wire::Wire;
use super::connection::Connection;
use super::io::Counted;
use crate::limits;

/// The most open streams of a connection.
const MAX_STREAMS: u32 = 250;
/// How many bytes of bodies a client may send ahead of the endpoints, over all streams of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The same on one stream.
const STREAM_WINDOW: u32 = 256 << 10;
/// How many bytes of a response may wait for the client.
const SEND_BUFFER: usize = 64 << 10;
/// The most streams that the client reset before they were looked at, and that we reset for its errors: more end the connection.
const MAX_RESETS: usize = 64;
/// So many streams may be broken off by the client while they are young and unanswered; beyond, a connection of which these are the
/// greater part ends.
const MAX_CUT: u32 = 500;
/// Until when a stream is young: who gives up later has waited.
const YOUNG: Duration = Duration::from_secs(1);
/// How long a client that was told to go may hold its connection without a stream, and one that was thrown out may take to hear of it.
const FAREWELL: Duration = Duration::from_secs(1);
/// What each connection begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

type Http = h2::server::Connection<Wire, Bytes>;

/// The limits of every connection.
pub(super) fn builder() -> Builder {
    let mut http = Builder::new();
    http.max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(limits::MAX_HEAD).unwrap_or(u32::MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_window_size(STREAM_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(Some(MAX_RESETS))
        .enable_connect_protocol();
    http
}

/// Serves a connection until it ends.
pub(super) async fn serve(connection: &Rc<Connection>, io: Counted) {
    let streams = Rc::new(Streams::new(connection.worker.clock));
    let ended = match open(connection, Wire::new(io, Rc::clone(&streams))).await {
        Some(Ok(http)) => drive(connection, http, streams).await,
        Some(Err(error)) => End::Broken(error),
        None => End::Over,
    };
    match ended {
        End::Over => {}
        End::Broken(error) => {
            debug!(client = %connection.client, %error, "a client connection failed");
            if error.is_library() && error.reason() != Some(Reason::NO_ERROR) {
                crate::state::count(&connection.settings().stats.malformed);
            }
        }
        End::Flood => {
            debug!(client = %connection.client, "a client only made work");
            crate::state::count(&connection.settings().stats.malformed);
        }
    }
}

/// Reads the preface, within the time that a request's headers may take and unless the worker closes before.
async fn open(connection: &Connection, wire: Wire) -> Option<Result<Http, h2::Error>> {
    let worker = &connection.worker;
    let deadline = connection.deadline(&connection.settings());
    let late = async {
        match deadline {
            Some(deadline) => sleep_until(worker.clock.at(deadline)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        http = worker.http2.handshake(wire) => Some(http),
        () = late => None,
        () = worker.closing.notified() => None,
    }
}
