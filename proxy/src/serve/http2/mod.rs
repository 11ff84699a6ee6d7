//! HTTP/2 with clients: its limits, and the driver of a connection, which takes its streams (`stream`) and ends it when its time is over,
//! when it must go, when nobody is there any more (`ping`), or when it is too much (`streams`). What a request means is not its business.
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
mod form;
mod notices;
mod ping;
mod stream;
mod streams;
mod tally;
mod tunnel;
mod wire;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use tenbin_balance::Time;
use tokio::time::{Sleep, sleep_until};
use tracing::debug;

use self::form::strip;
pub(super) use self::notices::Notices;
use self::ping::Pinger;
use self::streams::Streams;
use self::wire::Wire;
use super::connection::{Connection, rearm};
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

/// How a connection ended.
enum End {
    /// As it should, or in silence.
    Over,
    Broken(h2::Error),
    Flood,
}

async fn drive(connection: &Rc<Connection>, mut http: Http, streams: Rc<Streams>) -> End {
    let clock = connection.worker.clock;
    let pings = http.ping_pong().expect("it is given to who asks first");
    let mut driver = Driver {
        connection,
        pinger: Pinger::new(pings),
        streams,
        phase: Phase::Open,
        looks: clock.now(),
    };
    let mut timer = pin!(sleep_until(clock.at(driver.looks)));
    let mut closing = pin!(connection.worker.closing.notified());
    let mut woken_by_both = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = driver.poll_streams(&mut http, cx) {
                return Poll::Ready(end);
            }
            if !woken_by_both {
                woken_by_both = true;
                let _ = closing.as_mut().poll(cx);
                let _ = timer.as_mut().poll(cx);
            }
            if driver.turn(&mut http) {
                driver.rearm(timer.as_mut(), cx);
                continue;
            }
            if driver.streams.take_unread() {
                continue;
            }
            if driver.streams.stuck_until().is_some_and(|until| until < driver.looks) {
                driver.rearm(timer.as_mut(), cx);
            }
            if !timer.is_elapsed() {
                return Poll::Pending;
            }
            if let Some(end) = driver.look(&mut http, cx) {
                return Poll::Ready(end);
            }
            driver.rearm(timer.as_mut(), cx);
        }
    })
    .await
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Open,
    /// The client was told to go; it may end what it has begun.
    Told(Time),
    /// The client was thrown out, and hears why.
    Thrown(Time),
}

struct Driver<'a> {
    connection: &'a Rc<Connection>,
    pinger: Pinger,
    streams: Rc<Streams>,
    phase: Phase,
    /// When it looks at its time limits next.
    looks: Time,
}

impl Driver<'_> {
    /// Moves everything on, and takes the streams that begin; ready when the connection ended.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver of a connection: each stream is a task"
    )]
    fn poll_streams(&self, http: &mut Http, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let (request, respond) = match std::task::ready!(pin!(http.accept()).poll(cx)) {
                Some(Ok(stream)) => stream,
                Some(Err(error)) => return Poll::Ready(self.ended(End::Broken(error))),
                None => return Poll::Ready(self.ended(End::Over)),
            };
            let (connection, streams) = (Rc::clone(self.connection), Rc::clone(&self.streams));
            let unanswered = self.streams.begin();
            tokio::task::spawn_local(stream::serve(connection, streams, unanswered, request, respond));
        }
    }

    /// What an end is, where the client may have been thrown out before.
    fn ended(&self, end: End) -> End {
        match self.phase {
            Phase::Thrown(_) => End::Flood,
            Phase::Open | Phase::Told(_) => end,
        }
    }

    /// Looks whether the client has to go; true if it was told so just now.
    fn turn(&mut self, http: &mut Http) -> bool {
        let connection = self.connection;
        let now = || connection.worker.clock.now();
        if matches!(self.phase, Phase::Thrown(_)) {
            return false;
        }
        if self.streams.is_flood() {
            self.phase = Phase::Thrown(now());
            http.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            return true;
        }
        let goes = connection.worker.lifecycle.is_closing() || connection.is_told_to_go();
        if !goes || matches!(self.phase, Phase::Told(_)) {
            return false;
        }
        self.phase = Phase::Told(now());
        http.graceful_shutdown();
        true
    }

    /// Looks at all time limits.
    fn look(&mut self, http: &mut Http, cx: &mut Context<'_>) -> Option<End> {
        let now = self.connection.worker.clock.now();
        let idle_since = self.connection.idle_since(PREFACE.len() as u64);
        if self.streams.stuck_until().is_some_and(|until| now >= until)
            || self.pinger.is_gone(now, self.streams.heard(), cx)
        {
            return Some(self.ended(End::Over));
        }
        match self.phase {
            Phase::Thrown(at) => (now >= at.plus(FAREWELL)).then_some(End::Flood),
            Phase::Told(at) => idle_since
                .is_some_and(|since| now >= at.max(since).plus(FAREWELL))
                .then_some(End::Over),
            Phase::Open => {
                let deadline = self.connection.deadline(&self.connection.settings());
                if deadline.is_none_or(|deadline| now < deadline) {
                    return None;
                }
                if idle_since.is_none() {
                    return Some(End::Over);
                }
                self.phase = Phase::Told(now);
                http.graceful_shutdown();
                None
            }
        }
    }

    /// Looks next no later than at the earliest end of a time that may begin unseen.
    fn rearm(&mut self, timer: Pin<&mut Sleep>, cx: &mut Context<'_>) {
        let connection = self.connection;
        let clock = connection.worker.clock;
        let look = match self.phase {
            Phase::Open => connection.next_look(&connection.settings()),
            Phase::Told(_) | Phase::Thrown(_) => clock.now().plus(FAREWELL),
        };
        let look = look.min(self.pinger.next_look(self.streams.heard()));
        self.looks = self.streams.stuck_until().map_or(look, |until| look.min(until));
        rearm(timer, clock.at(self.looks), cx);
    }
}
