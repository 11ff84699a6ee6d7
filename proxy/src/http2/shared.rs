//! What the streams of a connection and its driver have in common: the connection's state, what came for each stream, who is woken by
//! what. Who finds something to be written has the driver woken; whatever comes for a stream wakes its task.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use tenbin_http2::{Connection, Error, Event, Reason, Refused};

use super::queue::Queue;
use super::stream::{Receiver, Sender};

/// Pieces of a body that wait are joined up to so many bytes.
const JOINED: usize = 1 << 10;
/// The most heads of one stream that wait: who waits for them gives up at as many.
const HEADS: usize = 17;
/// What a response earns: more than its headers and trailers cost, since windows come with it.
const RESPONSE: u32 = 48;
/// What one that is informational earns, for as long as any may wait: what it costs.
const INTERIM: u32 = 16;

/// How far what was read was taken in.
#[expect(clippy::large_enum_variant, reason = "taken apart where it is made, never kept")]
pub(super) enum Taken {
    All,
    /// Others should have their turn before more is.
    Enough,
    /// This is for no stream that is there.
    Until(Event),
}

/// How much for streams is taken at a time, at most.
const ENOUGH: usize = 32;

/// Why a stream is over before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The peer reset it.
    Reset(Reason),
    /// We reset it, since the peer broke the rules.
    Broken(Reason),
    /// Its connection is over.
    Connection,
}

/// A connection.
pub(crate) struct Shared(RefCell<Inner>);

pub(super) struct Inner {
    pub(super) http: Connection,
    is_client: bool,
    slots: HashMap<u32, Slot, BuildHasherDefault<IdHasher>>,
    /// Streams that wait until more can be sent, in the order in which they began to.
    blocked: VecDeque<u32>,
    /// Who drives it.
    driver: Option<Waker>,
    /// Whether no more streams begin.
    closing: bool,
    /// Whether it is over: nothing more goes or comes.
    pub(super) over: bool,
    pub(super) ponged: bool,
    /// What the peer earned by messages that we wait for. Pieces of bodies may be as small as they are: windows keep them few.
    pub(super) earned: u32,
}

/// What a stream's handles have in common.
#[derive(Default)]
pub(super) struct Slot {
    /// Of a stream that we opened.
    pub(super) heads: Queue<Response<()>>,
    pub(super) data: Queue<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
    /// Whether nothing more comes, or goes.
    pub(super) received: bool,
    pub(super) sent: bool,
    pub(super) lost: Option<Lost>,
    waker: Option<Waker>,
    blocked: bool,
    handles: u8,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub(crate) fn new(http: Connection, is_client: bool) -> Rc<Self> {
        Rc::new(Shared(RefCell::new(Inner {
            http,
            is_client,
            slots: HashMap::default(),
            blocked: VecDeque::new(),
            driver: None,
            closing: false,
            over: false,
            ponged: false,
            earned: 0,
        })))
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.0.borrow_mut())
    }

    /// Acts on the connection, and has the driver woken if there is something to be written then.
    fn act<T>(&self, act: impl FnOnce(&mut Connection) -> T) -> T {
        self.with(|inner| {
            let done = act(&mut inner.http);
            inner.wake_driver();
            done
        })
    }

    /// Sends a request, with headers that are ready beside it ([`Connection::request`]); its stream.
    ///
    /// # Errors
    /// The peer takes no more, now or ever.
    pub(crate) fn request(
        self: &Rc<Self>,
        head: &Request<()>,
        ready: &[u8],
        end: bool,
    ) -> Result<(Sender, Receiver), Refused> {
        if self.is_closed() {
            return Err(Refused::Closing);
        }
        let id = self.act(|http| http.request(head, ready, end))?;
        Ok(self.handles(id, false, end))
    }

    /// Both ends of a stream that exists: of which the peer may say nothing more (`received`), or we (`sent`).
    pub(super) fn handles(self: &Rc<Self>, id: u32, received: bool, sent: bool) -> (Sender, Receiver) {
        let ends_apart = self.with(|inner| {
            let slot = Slot {
                received,
                sent,
                handles: 2,
                lost: inner.over.then_some(Lost::Connection),
                ..Slot::default()
            };
            inner.slots.insert(id, slot);
            !received && !inner.is_client
        });
        let receiver = Receiver::new(Rc::clone(self), id, ends_apart);
        (Sender::new(Rc::clone(self), id), receiver)
    }

    /// Asks the peer for a sign of life.
    pub(crate) fn ping(&self) {
        self.act(|http| http.ping(*b"tenbin\0\0"));
    }

    /// Whether it gave one since the last time that it was asked whether it did.
    pub(crate) fn take_pong(&self) -> bool {
        self.with(|inner| std::mem::take(&mut inner.ponged))
    }

    /// Has the peer begin no more streams; those that are open may end.
    pub(crate) fn shut_down(&self) {
        self.with(|inner| inner.closing = true);
        self.act(Connection::shut_down);
    }

    /// Ends it, for this reason.
    pub(crate) fn go_away(&self, reason: Reason) {
        self.with(|inner| inner.closing = true);
        self.act(|http| http.go_away(reason));
    }

    /// Has the driver look after it.
    pub(crate) fn wake(&self) {
        self.with(Inner::call_driver);
    }

    /// How many streams the peer takes at a time.
    pub(crate) fn peer_max_streams(&self) -> u32 {
        self.with(|inner| inner.http.peer_max_streams())
    }

    /// Whether it takes no more streams.
    pub(crate) fn is_closed(&self) -> bool {
        self.with(|inner| inner.over || inner.closing)
    }
}

impl Inner {
    pub(super) fn slot(&mut self, id: u32) -> Option<&mut Slot> {
        self.slots.get_mut(&id)
    }

    /// So much of what came on a stream was taken.
    pub(super) fn release(&mut self, id: u32, bytes: usize) {
        self.http.release(id, u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Who drives it is woken by `cx`.
    pub(super) fn driven(&mut self, cx: &Context<'_>) {
        if !self.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
            self.driver = Some(cx.waker().clone());
        }
    }

    /// Has the driver woken, if there is something to be written.
    pub(super) fn wake_driver(&mut self) {
        if !self.http.is_written() || self.http.is_done() {
            self.call_driver();
        }
    }

    pub(super) fn call_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// The stream's task is woken when more of it can be sent.
    pub(super) fn block(&mut self, id: u32, cx: &Context<'_>) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.waits(cx);
            if !std::mem::replace(&mut slot.blocked, true) {
                self.blocked.push_back(id);
            }
        }
    }

    /// Wakes all that wait until more can be sent.
    pub(super) fn unblock(&mut self) {
        while let Some(id) = self.blocked.pop_front() {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.blocked = false;
                slot.wake();
            }
        }
    }

    /// Takes in what of `input` is for streams that are there, until something is not.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Taken, Error> {
        for _ in 0..ENOUGH {
            match self.http.next(input)? {
                None => return Ok(Taken::All),
                Some(Event::Enough) => return Ok(Taken::Enough),
                Some(
                    event @ (Event::Request { .. } | Event::TooLarge { .. } | Event::Settings | Event::GoAway { .. }),
                ) => return Ok(Taken::Until(event)),
                Some(event) => self.take(event),
            }
        }
        Ok(Taken::Enough)
    }

    /// Takes in what came for a stream that is there.
    pub(super) fn take(&mut self, event: Event) {
        self.earned = self.earned.saturating_add(self.worth(&event));
        match event {
            Event::Data { stream, data, end } => self.tell(stream, end, |slot| slot.put(data)),
            Event::Response { stream, head, end } => self.tell(stream, end, |slot| {
                if slot.heads.len() < HEADS {
                    slot.heads.push(head);
                }
            }),
            Event::Trailers { stream, trailers } => self.tell(stream, true, |slot| slot.trailers = Some(trailers)),
            Event::Reset {
                stream,
                reason,
                by_peer,
            } => self.tell(stream, false, |slot| {
                let lost = if by_peer {
                    Lost::Reset(reason)
                } else {
                    Lost::Broken(reason)
                };
                slot.lost.get_or_insert(lost);
            }),
            Event::Window { stream: Some(stream) } => {
                if let Some(slot) = self.slots.get_mut(&stream) {
                    slot.wake();
                }
            }
            Event::Window { stream: None } => self.unblock(),
            Event::Pong(_) => self.ponged = true,
            Event::GoAway { .. } => self.closing = true,
            Event::Settings | Event::Request { .. } | Event::TooLarge { .. } | Event::Enough => {}
        }
    }

    /// What the peer earns by it.
    fn worth(&self, event: &Event) -> u32 {
        match event {
            Event::Data { data, .. } => u32::from(!data.is_empty()),
            Event::Response { stream, head, .. } if head.status().is_informational() => {
                let waits = self.slots.get(stream).map_or(HEADS, |slot| slot.heads.len());
                if waits < HEADS { INTERIM } else { 0 }
            }
            Event::Response { .. } => RESPONSE,
            _ => 0,
        }
    }

    fn tell(&mut self, id: u32, end: bool, what: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(&id) {
            what(slot);
            slot.received |= end;
            slot.wake();
        }
    }

    /// Nothing more goes or comes.
    pub(super) fn end(&mut self) {
        self.over = true;
        for slot in self.slots.values_mut() {
            if !(slot.received && slot.sent) {
                slot.lost.get_or_insert(Lost::Connection);
            }
            slot.wake();
        }
        self.call_driver();
    }

    /// One of a stream's handles went; with the last, so does the stream.
    pub(super) fn leave(&mut self, id: u32) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        slot.handles -= 1;
        if slot.handles > 0 {
            return;
        }
        let unfinished = slot.lost.is_none() && !(slot.received && slot.sent);
        // A server that has answered in full needs no more of the request (RFC 9113 §8.1).
        let is_answered = slot.sent && !self.is_client;
        let untaken: usize = slot.data.iter().map(Bytes::len).sum();
        self.slots.remove(&id);
        self.release(id, untaken);
        if unfinished {
            let reason = if is_answered { Reason::NO_ERROR } else { Reason::CANCEL };
            self.http.reset(id, reason);
        }
        self.wake_driver();
    }
}

impl Slot {
    /// Keeps what came of a body until it is taken. Small pieces are joined, so that no more is held than came, about.
    fn put(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        match self.data.pop_last() {
            Some(last) if last.len() + data.len() <= JOINED => {
                let mut joined = last.try_into_mut().unwrap_or_else(|last| {
                    let mut joined = BytesMut::with_capacity(JOINED);
                    joined.extend_from_slice(&last);
                    joined
                });
                joined.extend_from_slice(&data);
                self.data.push(joined.freeze());
            }
            last => {
                if let Some(last) = last {
                    self.data.push(last);
                }
                self.data.push(data);
            }
        }
    }

    /// The stream's task is woken by whatever happens next.
    pub(super) fn waits(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Ids are spread well enough by a multiplication; of one connection there are few at a time.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
