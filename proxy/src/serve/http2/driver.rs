//! The driver of a connection: takes its streams, and looks when it has to end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use tenbin_balance::Time;
use tokio::time::{Sleep, sleep_until};

use super::ping::Pinger;
use super::streams::Streams;
use super::{FAREWELL, Http, PREFACE, stream};
use crate::serve::connection::{Connection, rearm};

/// How a connection ended.
pub(super) enum End {
    /// As it should, or in silence.
    Over,
    Broken(h2::Error),
    Flood,
}

/// Drives a connection until it ends.
pub(super) async fn drive(connection: &Rc<Connection>, mut http: Http, streams: Rc<Streams>) -> End {
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
            let (request, respond) = match ready!(pin!(http.accept()).poll(cx)) {
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
