//! What a connection's driver, its socket and its streams know of each other: how much the client asks for against what is done for it,
//! how many streams it broke off, when it was last heard of, since when it takes nothing. Each of these ends a connection when it goes too
//! far; ending it is the driver's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tenbin_balance::Time;

use super::{MAX_CUT, MAX_RESETS, YOUNG, ping};
use crate::clock::Clock;
use crate::http2::Tally;

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    clock: Clock,
    all: Cell<u32>,
    cut: Cell<u32>,
    taken_back: Cell<u32>,
    tally: RefCell<Tally>,
    heard: Cell<Time>,
    /// Since when the socket has taken nothing of what waits for it.
    stuck: Cell<Option<Time>>,
    /// The longest that any of its responses may stand still.
    patience: Cell<Duration>,
}

impl Streams {
    pub(super) fn new(clock: Clock) -> Self {
        let now = clock.now();
        Streams {
            clock,
            all: Cell::new(0),
            cut: Cell::new(0),
            taken_back: Cell::new(0),
            tally: RefCell::new(Tally::new(now)),
            heard: Cell::new(now),
            stuck: Cell::new(None),
            patience: Cell::new(Duration::ZERO),
        }
    }

    /// The client sent something.
    pub(super) fn hears(&self) {
        self.heard.set(self.clock.now());
    }

    /// What it sent costs so much.
    pub(super) fn spend(&self, cost: u32) {
        self.tally.borrow_mut().spend(cost);
    }

    /// When the client sent something last.
    pub(super) fn heard(&self) -> Time {
        self.heard.get()
    }

    fn is_overdrawn(&self) -> bool {
        let mut tally = self.tally.borrow_mut();
        tally.is_short() && tally.is_overdrawn(self.clock.now())
    }

    /// The socket took something, or did not.
    pub(super) fn wrote(&self, some: bool) {
        if some {
            self.stuck.set(None);
        } else if self.stuck.get().is_none() {
            self.stuck.set(Some(self.clock.now()));
        }
    }

    /// Until when the socket has to take something, where something waits for it.
    pub(super) fn stuck_until(&self) -> Option<Time> {
        Some(self.stuck.get()?.plus(self.patience()))
    }

    /// How long the socket may take nothing: as long as any response may stand still, where there was one.
    pub(super) fn patience(&self) -> Duration {
        match self.patience.get() {
            Duration::ZERO => ping::TIMEOUT,
            patience => patience,
        }
    }

    /// There is a response that may stand still for so long.
    pub(super) fn responds(&self, idle: Duration) {
        self.patience.set(self.patience.get().max(idle));
    }

    /// So many bytes of a response went on their way; with `whole`, as one chunk.
    pub(super) fn sent(&self, bytes: usize, whole: bool) {
        self.tally.borrow_mut().sent(bytes, whole);
    }

    /// Whether the client only makes work.
    pub(super) fn is_flood(&self) -> bool {
        let half = self.all.get() / 2;
        self.cut.get() > MAX_CUT.max(half) || self.taken_back.get() > MAX_RESETS.max(half) || self.is_overdrawn()
    }

    /// A stream came.
    pub(super) fn come(&self) {
        self.all.set(self.all.get().saturating_add(1));
        self.tally.borrow_mut().request();
    }

    /// It was taken back before it was looked at, and so was no request.
    pub(super) fn taken_back(&self) {
        self.taken_back.set(self.taken_back.get().saturating_add(1));
        self.tally.borrow_mut().no_request();
    }

    /// It begins.
    pub(super) fn begin(self: &Rc<Self>) -> Unanswered {
        Unanswered {
            streams: Rc::clone(self),
            began: self.heard(),
            answered: false,
        }
    }
}

/// An unanswered stream: dropped young and before it is answered, it counts as cut.
pub(super) struct Unanswered {
    streams: Rc<Streams>,
    began: Time,
    answered: bool,
}

impl Unanswered {
    /// It has its response.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let streams = &self.streams;
        if !self.answered && streams.clock.now().since(self.began) < YOUNG {
            streams.cut.set(streams.cut.get().saturating_add(1));
        }
    }
}
