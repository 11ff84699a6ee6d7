//! HTTP/2 with clients: its limits, and what serves a connection: its `driver` takes its streams (`stream`, each served by a task that the
//! worker keeps for the next ones, `clerks`) and ends it when its time is over, when it must go, when nobody is there any more (`ping`), or
//! when it is too much (`streams`). What a request means is not its business.
//!
//! | what | limit |
//! |---|---|
//! | open streams of a connection | [`MAX_STREAMS`] |
//! | list of headers | [`limits::MAX_HEAD`], as HTTP/2 counts it (32 bytes more for each header) |
//! | bytes of bodies that wait to be sent to endpoints | [`CONNECTION_WINDOW`] for a connection, [`STREAM_WINDOW`] for a stream |
//! | bytes of a response that wait for the client | [`SEND_BUFFER`] and one chunk for a stream |
//! | how long a response may wait for the client | the route's `timeouts.idle`; for the socket, the longest of those |
//! | streams reset by the client before they were looked at | [`MAX_RESETS`], and then at most half of all |
//! | streams that we reset or refuse for the client's errors | [`MAX_RESETS`] |
//! | streams broken off within [`YOUNG`] before they were answered | [`MAX_CUT`], and then at most half of all |
//! | frames that are taken at a time | 100 (`tenbin_http2`), then others have their turn |
//! | frames that only make work | what [`Tally`](crate::http2::Tally) allows |
//! | a dead peer | is noticed after [`ping::INTERVAL`] and [`ping::TIMEOUT`] |
//!
//! `tenbin_http2` bounds CONTINUATION; nothing is read while too much waits to be written (`crate::http2`).

mod body;
mod clerks;
mod driver;
mod form;
mod notices;
mod ping;
mod stream;
mod streams;
mod tunnel;
mod wire;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use tenbin_http2::{Config, Reason};
use tokio::time::sleep_until;
use tracing::debug;

pub(super) use self::clerks::Clerks;
use self::driver::{End, drive};
use self::form::strip;
pub(super) use self::form::strip_request;
pub(super) use self::notices::Notices;
use self::streams::Streams;
use self::wire::Wire;
use super::connection::Connection;
use super::io::Counted;
use crate::http2::{Came, Link, Shared};
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
const MAX_RESETS: u32 = 64;
/// So many streams may be broken off by the client while they are young and unanswered; beyond, a connection of which these are the
/// greater part ends.
const MAX_CUT: u32 = 500;
/// Until when a stream is young: who gives up later has waited.
const YOUNG: Duration = Duration::from_secs(1);
/// How long a client that was told to go may hold its connection without a stream, and one that was thrown out may take to hear of it.
const FAREWELL: Duration = Duration::from_secs(1);
/// What each connection begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The limits of every connection.
const CONFIG: Config = Config {
    max_streams: MAX_STREAMS,
    stream_window: STREAM_WINDOW,
    connection_window: CONNECTION_WINDOW,
    header_list: limits::MAX_HEAD as u32,
    headers: limits::MAX_HEADERS,
    output: SEND_BUFFER,
    max_resets: MAX_RESETS,
    connect_protocol: true,
};

/// Serves a connection until it ends.
pub(super) async fn serve(connection: &Rc<Connection>, io: Counted) {
    let streams = Rc::new(Streams::new(connection.worker.clock));
    let shared = Shared::new(
        tenbin_http2::Connection::server(CONFIG).with_maps(tenbin_http1::fresh),
        false,
    );
    let mut link = Link::new(Wire::new(io, Rc::clone(&streams)), shared);
    let ended = match open(connection, &mut link).await {
        Some(None) => drive(connection, &mut link, streams).await,
        Some(Some(end)) => end,
        None => End::Over,
    };
    link.end();
    let told = match ended {
        End::Over => false,
        End::Done => true,
        End::Broken(error) => {
            debug!(client = %connection.client, %error, "a client connection failed");
            if error.reason != Reason::NO_ERROR {
                crate::state::count(&connection.settings().stats.malformed);
            }
            true
        }
        End::Flood => {
            debug!(client = %connection.client, "a client only made work");
            crate::state::count(&connection.settings().stats.malformed);
            true
        }
    };
    if told {
        // Who broke the rules before it had begun hears why, if it takes that at once.
        poll_fn(|cx| Poll::Ready(link.poll_write(cx).is_ready())).await;
        link.io().linger().await;
    }
}

/// Reads the preface and the client's settings, within the time that a request's headers may take and unless the worker closes before;
/// `Some(Some(_))` if there are none.
async fn open(connection: &Connection, link: &mut Link<Wire>) -> Option<Option<End>> {
    let worker = &connection.worker;
    let deadline = connection.deadline(&connection.settings());
    let late = async {
        match deadline {
            Some(deadline) => sleep_until(worker.clock.at(deadline)).await,
            None => std::future::pending().await,
        }
    };
    let begins = poll_fn(|cx| {
        loop {
            let written = link.poll_write(cx);
            if let Poll::Ready(Err(_)) = written {
                return Poll::Ready(Some(End::Over));
            }
            match link.next() {
                Ok(Some(Came::Settings)) => return Poll::Ready(None),
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(End::Broken(error))),
            }
            let scratch = &mut **worker.scratch.borrow_mut();
            if !matches!(ready!(link.poll_read(scratch, cx)), Ok(1..)) {
                return Poll::Ready(Some(End::Over));
            }
        }
    });
    tokio::select! {
        biased;
        begun = begins => Some(begun),
        () = late => None,
        () = worker.closing.notified() => None,
    }
}
