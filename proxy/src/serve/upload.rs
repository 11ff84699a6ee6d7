//! A request's body on its way to endpoints: streamed one chunk at a time, measured, watched, and where it may be sent again, kept up to
//! a bound. Whether it is sent again is decided elsewhere.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tenbin_balance::Time;
use tenbin_http1::Malformed;
use tokio::time::{Sleep, sleep_until};

use super::connection::{Busy, Connection};
use super::error::Failure;
use super::expect::{Body as Wanted, Gate};
use super::incoming::Incoming;
use crate::clock::Clock;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client broke it off.
    #[error("broken off")]
    Broken,
    /// The client does not keep to its form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// We broke it off.
    #[error("{}", .0.code())]
    Cut(Failure),
    /// It is being sent elsewhere.
    #[error("sent elsewhere")]
    Stale,
}

/// How much of a request's body is taken, and kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measures {
    /// The largest that is taken, in bytes.
    pub(super) most: u64,
    /// So much is kept to be sent again.
    pub(super) keep: usize,
    /// How long it may stand still.
    pub(super) idle: Duration,
}

/// One sending of a request's body. Of several, only the latest gets anything.
#[derive(Debug)]
pub struct RequestBody {
    upload: Option<Rc<Upload>>,
    number: u32,
    /// Whether what was kept was sent in this one.
    replayed: bool,
    started: bool,
    /// Whether its trailers were sent: nothing comes after them.
    done: bool,
}

/// A request's body, which may be sent more than once.
pub struct Upload {
    clock: Clock,
    measures: Measures,
    source: RefCell<Source>,
    /// When all of it had been sent.
    ended: Cell<Option<Time>>,
    /// When some of it came last.
    moved: Cell<Time>,
    /// Whether the client owes some.
    owed: Cell<bool>,
    cut: Cell<Option<Failure>>,
    /// The latest sending, and whether it is alive.
    number: Cell<u32>,
    alive: Cell<bool>,
    /// Whether it will not be sent again.
    settled: Cell<bool>,
    /// Whether nobody else watches how long it stands still.
    watched: Cell<bool>,
}

struct Source {
    /// `None` when all of it came, or nobody wants any more.
    incoming: Option<Incoming>,
    /// What it waits for, where the client waits to be told to go on.
    gate: Option<Gate>,
    /// The client's connection is busy until the body ended, even where the response ended before.
    busy: Option<Busy>,
    length: SizeHint,
    taken: u64,
    /// All that came so far, as long as it is little enough.
    kept: Option<BytesMut>,
    trailers: Option<HeaderMap>,
    waker: Option<Waker>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("ended", &self.ended)
            .field("cut", &self.cut)
            .finish_non_exhaustive()
    }
}

impl Upload {
    /// The client's body, behind a gate where there is one; `None` if there is none.
    pub(super) fn new(
        incoming: Incoming,
        measures: Measures,
        connection: &Rc<Connection>,
        gate: Option<Gate>,
    ) -> Option<Rc<Self>> {
        if incoming.is_end_stream() {
            return None;
        }
        let clock = connection.worker.clock;
        Some(Rc::new(Upload {
            clock,
            measures,
            ended: Cell::new(None),
            moved: Cell::new(clock.now()),
            owed: Cell::new(false),
            cut: Cell::new(None),
            number: Cell::new(0),
            alive: Cell::new(false),
            settled: Cell::new(false),
            watched: Cell::new(false),
            source: RefCell::new(Source {
                length: incoming.size_hint(),
                incoming: Some(incoming),
                gate,
                busy: Some(connection.busy()),
                taken: 0,
                kept: (measures.keep > 0).then(BytesMut::new),
                trailers: None,
                waker: None,
                timer: None,
            }),
        }))
    }

    /// Sends it, from its beginning. To be asked only while [`Self::is_whole`].
    pub(super) fn send(self: &Rc<Self>) -> RequestBody {
        self.number.set(self.number.get() + 1);
        self.alive.set(true);
        self.moved.set(self.clock.now());
        self.owed.set(false);
        RequestBody {
            upload: Some(Rc::clone(self)),
            number: self.number.get(),
            replayed: false,
            started: false,
            done: false,
        }
    }

    /// Whether it can be sent from its beginning.
    pub(super) fn is_whole(&self) -> bool {
        let source = self.source.borrow();
        self.cut.get().is_none() && (source.kept.is_some() || (source.taken == 0 && source.trailers.is_none()))
    }

    /// It will not be sent again: nothing more is kept.
    pub(super) fn settle(&self) {
        self.settled.set(true);
        if !self.alive.get() {
            self.end();
        } else if self.number.get() == 1 {
            // Any later sending may still need what was kept.
            self.source.borrow_mut().kept = None;
        }
    }

    /// How much of it came so far, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.source.borrow().taken
    }

    /// When it had been sent; `None` while it is still under way.
    pub fn ended(&self) -> Option<Time> {
        self.ended.get()
    }

    /// Until when some of it has to come, and whose fault it is if nothing does.
    pub fn due(&self) -> (Time, Failure) {
        let failure = if self.owed.get() {
            Failure::UploadIdle
        } else {
            Failure::StreamIdle
        };
        (self.moved.get().plus(self.measures.idle), failure)
    }

    /// When some of it came last.
    pub(super) fn moved(&self) -> Time {
        self.moved.get()
    }

    /// Why it was broken off, if it was.
    pub fn cut(&self) -> Option<Failure> {
        self.cut.get()
    }

    /// From now on nobody else watches whether it stands still: its response ended before it.
    pub(super) fn watch(&self) {
        if self.ended.get().is_none() {
            self.watched.set(true);
            if let Some(waker) = self.source.borrow_mut().waker.take() {
                waker.wake();
            }
        }
    }

    /// All of it was sent that ever will be.
    fn end(&self) {
        if self.ended.get().is_none() {
            self.ended.set(Some(self.clock.now()));
        }
        let mut source = self.source.borrow_mut();
        source.incoming = None;
        source.kept = None;
        source.timer = None;
        let busy = source.busy.take();
        drop(source);
        drop(busy);
    }

    /// The rest came.
    fn came(&self) {
        self.ended.set(Some(self.clock.now()));
        let mut source = self.source.borrow_mut();
        source.incoming = None;
        source.timer = None;
        let busy = source.busy.take();
        drop(source);
        drop(busy);
    }

    fn broken(&self, failure: Failure) -> BodyError {
        self.cut.set(Some(failure));
        BodyError::Cut(failure)
    }

    /// What was kept, as one chunk.
    fn replay(&self) -> Option<Bytes> {
        let source = self.source.borrow();
        let kept = source.kept.as_ref().filter(|kept| !kept.is_empty())?;
        Some(Bytes::copy_from_slice(kept))
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut source = self.source.borrow_mut();
        if let Some(gate) = &mut source.gate {
            match ready!(gate.poll_open(cx)) {
                Wanted::Wanted => source.gate = None,
                // Whoever sends it waits until the connection is given up; the client is let go.
                Wanted::Refused => {
                    let left = (source.incoming.take(), source.busy.take());
                    drop(source);
                    drop(left);
                    return Poll::Pending;
                }
            }
        }
        let Some(incoming) = &mut source.incoming else {
            return Poll::Ready(source.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))));
        };
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        let is_last = incoming.is_end_stream();
        self.owed.set(polled.is_pending());
        match polled {
            Poll::Pending => self.wait(&mut source, cx),
            Poll::Ready(Some(Ok(frame))) => {
                self.moved.set(self.clock.now());
                if let Err(failure) = source.take(&frame, self.measures, self.settled.get()) {
                    return Poll::Ready(Some(Err(self.broken(failure))));
                }
                drop(source);
                if is_last || frame.is_trailers() {
                    self.came();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let malformed = matches!(error, BodyError::Malformed(_));
                self.cut.set(Some(if malformed {
                    Failure::BadBody
                } else {
                    Failure::ClientGone
                }));
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                drop(source);
                self.came();
                Poll::Ready(None)
            }
        }
    }

    /// Waits for the client: for ever while somebody else looks after that, else for as long as a body may stand still.
    fn wait(&self, source: &mut Source, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !source.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            source.waker = Some(cx.waker().clone());
        }
        if !self.watched.get() {
            return Poll::Pending;
        }
        let (mut due, _) = self.due();
        let at = |due| self.clock.at(due);
        let timer = source.timer.get_or_insert_with(|| Box::pin(sleep_until(at(due))));
        while timer.as_mut().poll(cx).is_ready() {
            (due, _) = self.due();
            if due <= self.clock.now() {
                return Poll::Ready(Some(Err(self.broken(Failure::UploadIdle))));
            }
            timer.as_mut().reset(at(due));
        }
        Poll::Pending
    }
}

impl Source {
    /// Counts what came, and keeps it while it may be sent again. Copied, since a small chunk may hold a large buffer.
    fn take(&mut self, frame: &Frame<Bytes>, measures: Measures, settled: bool) -> Result<(), Failure> {
        if settled {
            self.kept = None;
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = self.kept.as_ref().map(|_| trailers.clone());
            return Ok(());
        }
        let Some(data) = frame.data_ref() else {
            return Ok(());
        };
        self.taken = self.taken.saturating_add(data.len() as u64);
        if self.taken > measures.most {
            return Err(Failure::TooLarge);
        }
        if self.taken > measures.keep as u64 {
            self.kept = None;
        } else if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(data);
        }
        Ok(())
    }
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        RequestBody {
            upload: None,
            number: 0,
            replayed: true,
            started: false,
            done: true,
        }
    }

    /// What is sent by it, if anything.
    pub fn upload(&self) -> Option<&Upload> {
        self.upload.as_deref()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.started = true;
        let this = &mut *self;
        let Some(upload) = this.upload.as_ref().filter(|_| !this.done) else {
            return Poll::Ready(None);
        };
        if this.number != upload.number.get() {
            return Poll::Ready(Some(Err(BodyError::Stale)));
        }
        if let Some(failure) = upload.cut.get() {
            return Poll::Ready(Some(Err(BodyError::Cut(failure))));
        }
        if !this.replayed {
            this.replayed = true;
            if let Some(bytes) = upload.replay() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
        let polled = upload.poll(cx);
        this.done = matches!(&polled, Poll::Ready(Some(Ok(frame))) if frame.is_trailers());
        polled
    }

    fn is_end_stream(&self) -> bool {
        let Some(upload) = self.upload.as_ref().filter(|_| !self.done) else {
            return true;
        };
        if self.number != upload.number.get() || upload.cut.get().is_some() {
            return false;
        }
        let source = upload.source.borrow();
        let rest = source.incoming.is_none() && source.trailers.is_none();
        rest && (self.replayed || source.kept.as_ref().is_none_or(BytesMut::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.upload {
            None => SizeHint::with_exact(0),
            Some(upload) if !self.started => upload.source.borrow().length,
            Some(_) => SizeHint::default(),
        }
    }
}

impl Drop for RequestBody {
    /// Whoever drops the last sending has sent as much of it as ever will be.
    fn drop(&mut self) {
        if let Some(upload) = &self.upload
            && self.number == upload.number.get()
        {
            upload.alive.set(false);
            if upload.settled.get() {
                upload.end();
            }
        }
    }
}
