//! The driver of a connection: takes its streams, and looks when it has to end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tenbin_balance::Time;
use tenbin_http2::{Error, Reason};
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep_until};

use super::clerks::Clerks;
use super::ping::Pinger;
use super::stream::Job;
use super::streams::Streams;
use super::wire::Wire;
use super::{FAREWELL, MAX_STREAMS, PREFACE};
use crate::http2::{Came, Link, Receiver, Sender};
use crate::serve::alarm;
use crate::serve::connection::{Connection, rearm};

/// Room for so many streams that come at once is kept.
const KEPT: usize = 16;

/// How a connection ended.
pub(super) enum End {
    /// In silence.
    Over,
    /// As it should: both sides said all that there was.
    Done,
    /// The client broke the rules, and was told so.
    Broken(Error),
    /// The client only made work, and was told so.
    Flood,
}

/// Drives a connection until it ends.
pub(super) async fn drive(connection: &Rc<Connection>, link: &mut Link<Wire>, streams: Rc<Streams>) -> End {
    let clock = connection.worker.clock;
    let mut driver = Driver {
        connection,
        link,
        pinger: Pinger::default(),
        streams,
        phase: Phase::Open,
        looks: clock.now(),
        begun: Vec::new(),
        postponed: false,
    };
    let mut timer = pin!(sleep_until(clock.at(driver.looks)));
    let mut closing = pin!(connection.worker.closing.notified());
    let mut woken_by_both = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = driver.poll_streams(cx) {
                return Poll::Ready(end);
            }
            if !woken_by_both {
                woken_by_both = true;
                let _ = closing.as_mut().poll(cx);
                let _ = alarm::poll(timer.as_mut(), cx);
            }
            if driver.turn() {
                driver.rearm(timer.as_mut(), cx);
                continue;
            }
            if driver.streams.stuck_until().is_some_and(|until| until < driver.looks) {
                driver.rearm(timer.as_mut(), cx);
            }
            if !timer.is_elapsed() {
                return Poll::Pending;
            }
            if let Some(end) = driver.look() {
                return Poll::Ready(end);
            }
            driver.rearm(timer.as_mut(), cx);
        }
    })
    .await
}

/// Why others have their turn.
enum Pause {
    /// Streams began.
    Begun,
    /// So many frames came that others come first.
    Enough,
}

/// Has the task go on in the next round of the runtime, when others have had their turn and what came for them meanwhile is known; sooner if
/// anything else wakes it.
fn defer(cx: &mut Context<'_>) {
    // What it waits for is that the task is polled once more.
    let _ = pin!(yield_now()).poll(cx);
}

/// What becomes of a connection.
enum Phase {
    Open,
    /// The client was told to go; it may end what it has begun.
    Told(Time),
    /// The client was thrown out, and hears why: nothing more of it is read.
    Thrown(Time, Option<Error>),
}

struct Driver<'a> {
    connection: &'a Rc<Connection>,
    link: &'a mut Link<Wire>,
    pinger: Pinger,
    streams: Rc<Streams>,
    phase: Phase,
    /// When it looks at its time limits next.
    looks: Time,
    /// Streams that came with what was read last.
    begun: Vec<(Request<()>, Sender, Receiver)>,
    /// Whether they have waited for more to be read.
    postponed: bool,
}

impl Driver<'_> {
    /// Moves everything on, and takes the streams that begin; ready when the connection ended.
    fn poll_streams(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let written = self.link.poll_write(cx);
            self.streams.wrote(written.is_ready());
            match written {
                Poll::Ready(Ok(())) if matches!(self.phase, Phase::Thrown(..)) => return Poll::Ready(self.thrown()),
                Poll::Ready(Ok(())) if self.link.is_done() => return Poll::Ready(End::Done),
                Poll::Ready(Err(_)) => return Poll::Ready(End::Over),
                Poll::Pending if matches!(self.phase, Phase::Thrown(..)) => return Poll::Pending,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            match self.take() {
                Ok(None) => {}
                // What began goes first: what comes of it is written together, and nobody begins more than is looked at.
                Ok(Some(Pause::Begun)) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Some(Pause::Enough)) => {
                    defer(cx);
                    return Poll::Pending;
                }
                Err(error) => {
                    self.phase = Phase::Thrown(self.connection.worker.clock.now(), Some(error));
                    continue;
                }
            }
            // It is told so in `turn`, and only then goes on.
            if self.streams.is_flood() {
                return Poll::Pending;
            }
            if written.is_ready() && self.link.has_output() {
                continue;
            }
            let read = {
                let scratch = &mut **self.connection.worker.scratch.borrow_mut();
                self.link.poll_read(scratch, cx)
            };
            match read {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(End::Over),
                Poll::Pending if self.begin_all() => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes what was read; why others should have their turn before more is.
    fn take(&mut self) -> Result<Option<Pause>, Error> {
        loop {
            let came = self.link.next();
            self.streams.spend(self.link.take_cost());
            match came? {
                // Where more is known to have come, it may take back what this began: it is read first, once.
                None if self.link.has_much() && !self.postponed && self.begun.len() < MAX_STREAMS as usize => {
                    self.postponed = !self.begun.is_empty();
                    return Ok(None);
                }
                None => return Ok(self.begin_all().then_some(Pause::Begun)),
                Some(Came::Enough) => {
                    self.look_through();
                    return Ok(Some(Pause::Enough));
                }
                Some(Came::Request(request, sender, receiver)) => {
                    self.streams.come();
                    self.begun.push((request, sender, receiver));
                }
                Some(Came::TooLarge(sender)) => self.refuse(&sender),
                Some(Came::Settings | Came::GoAway) => {}
            }
        }
    }

    /// Forgets the streams that came and were taken back.
    fn look_through(&mut self) {
        let streams = &self.streams;
        self.begun.retain(|(_, sender, _)| {
            let stays = !sender.is_lost();
            if !stays {
                streams.taken_back();
            }
            stays
        });
    }

    /// Begins what came, once all that was read is known: what was taken back already costs no more than having been read, and who takes
    /// back too much has nothing begun.
    fn begin_all(&mut self) -> bool {
        self.postponed = false;
        self.look_through();
        if self.streams.is_flood() {
            return false;
        }
        let mut begun = std::mem::take(&mut self.begun);
        let some = !begun.is_empty();
        for (request, sender, receiver) in begun.drain(..) {
            self.begin(request, sender, receiver);
        }
        if begun.capacity() <= KEPT {
            self.begun = begun;
        }
        some
    }

    fn begin(&self, request: Request<()>, sender: Sender, receiver: Receiver) {
        let job = Job {
            connection: Rc::clone(self.connection),
            streams: Rc::clone(&self.streams),
            unanswered: self.streams.begin(),
            request,
            sender,
            receiver,
        };
        Clerks::serve(&self.connection.worker, job);
    }

    /// Refuses a request whose head is too large.
    fn refuse(&self, sender: &Sender) {
        crate::state::count(&self.connection.settings().stats.malformed);
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        // A stream that is over needs none.
        let _ = sender.respond(&response, true);
    }

    /// How it ends after the client was thrown out.
    fn thrown(&mut self) -> End {
        match std::mem::replace(&mut self.phase, Phase::Open) {
            Phase::Thrown(_, Some(error)) => End::Broken(error),
            _ => End::Flood,
        }
    }

    /// Looks whether the client has to go; true if it was told so just now.
    fn turn(&mut self) -> bool {
        let connection = self.connection;
        let now = || connection.worker.clock.now();
        if matches!(self.phase, Phase::Thrown(..)) {
            return false;
        }
        if self.streams.is_flood() {
            self.phase = Phase::Thrown(now(), None);
            self.link.shared().go_away(Reason::ENHANCE_YOUR_CALM);
            return true;
        }
        let goes = connection.worker.lifecycle.is_closing() || connection.is_told_to_go();
        if !goes || matches!(self.phase, Phase::Told(_)) {
            return false;
        }
        self.phase = Phase::Told(now());
        self.link.shared().shut_down();
        true
    }

    /// Looks at all time limits.
    fn look(&mut self) -> Option<End> {
        let now = self.connection.worker.clock.now();
        let idle_since = self.connection.idle_since(PREFACE.len() as u64);
        let heard = self.streams.heard();
        if self.streams.stuck_until().is_some_and(|until| now >= until)
            || self.pinger.is_gone(self.link.shared(), now, heard)
        {
            return Some(if matches!(self.phase, Phase::Thrown(..)) {
                self.thrown()
            } else {
                End::Over
            });
        }
        match self.phase {
            Phase::Thrown(at, _) => (now >= at.plus(FAREWELL)).then(|| self.thrown()),
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
                self.link.shared().shut_down();
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
            Phase::Told(_) | Phase::Thrown(..) => clock.now().plus(FAREWELL),
        };
        let look = look.min(self.pinger.next_look(self.streams.heard()));
        self.looks = self.streams.stuck_until().map_or(look, |until| look.min(until));
        rearm(timer, clock.at(self.looks), cx);
    }
}
