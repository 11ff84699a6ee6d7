//! How long a request waits for what: the times of its route, and the deadline that a gRPC client gives. Pure but for the clock.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tenbin_balance::Time;
use tenbin_model::Timeouts;

use super::alarm::Alarm;
use super::error::Failure;
use super::upload::Upload;
use super::worker::WorkerContext;

/// The time that one request has.
#[derive(Debug)]
pub struct Patience {
    worker: Rc<WorkerContext>,
    began: Time,
    timeouts: Timeouts,
    /// When its client stops waiting, whatever it still sends.
    deadline: Option<Time>,
    upload: Option<Rc<Upload>>,
    /// When the try under way began.
    tried: Cell<Time>,
}

impl Patience {
    /// The time of a request that `began` just now, of which a gRPC client says how long it waits.
    pub(super) fn new(
        worker: Rc<WorkerContext>,
        began: Time,
        timeouts: Timeouts,
        grpc: Option<Duration>,
        upload: Option<Rc<Upload>>,
    ) -> Self {
        Patience {
            worker,
            began,
            timeouts,
            deadline: grpc.map(|timeout| began.plus(timeout)),
            upload,
            tried: Cell::new(began),
        }
    }

    /// When the try under way began.
    pub(super) fn tried(&self) -> Time {
        self.tried.get()
    }

    /// A try begins `now`.
    pub(super) fn begin(&self, now: Time) {
        self.tried.set(now);
    }

    /// Until when the head of a response must have come from any endpoint; `None` while that is not known, since the body is still
    /// under way.
    pub(super) fn end(&self) -> Option<Time> {
        let ended = match &self.upload {
            None => Some(self.began),
            Some(upload) => upload.ended(),
        };
        let end = ended.map(|ended| ended.plus(self.timeouts.request));
        end.into_iter().chain(self.deadline).min()
    }

    /// Whether there is time left.
    pub(super) fn lasts(&self) -> bool {
        self.end().is_none_or(|end| self.worker.clock.now() < end)
    }

    /// Until when a try that began at `tried` waits, and what it is when that is over.
    fn due(&self, tried: Time) -> (Time, Failure) {
        let last = match &self.upload {
            Some(upload) if upload.ended().is_none() => {
                let (idle, failure) = upload.due();
                match self.deadline {
                    Some(deadline) if deadline <= idle => return (deadline, Failure::ResponseTimeout),
                    _ => return (idle, failure),
                }
            }
            Some(upload) => upload.ended().map_or(tried, |ended| ended.max(tried)),
            None => tried,
        };
        let try_end = self.timeouts.per_try.map(|per_try| last.plus(per_try));
        let end = self.end().into_iter().chain(try_end).min();
        (end.unwrap_or(last), Failure::ResponseTimeout)
    }

    /// When it has to be looked again whether a try's time is over: while a body is under way, no later than its end could matter.
    fn look(&self, tried: Time) -> Time {
        let (due, _) = self.due(tried);
        if self.upload.as_ref().is_none_or(|upload| upload.ended().is_some()) {
            return due;
        }
        let limits = [Some(self.timeouts.request), self.timeouts.per_try];
        let shortest = limits.into_iter().flatten().min().unwrap_or_default();
        self.worker.clock.now().plus(shortest).min(due)
    }

    /// Waits for the head of the response to the try that was begun.
    ///
    /// # Errors
    /// Its time is over.
    pub async fn head<F: Future>(&self, response: F) -> Result<F::Output, Failure> {
        let tried = self.tried.get();
        let mut response = pin!(response);
        let (clock, alarms) = (self.worker.clock, &self.worker.alarms);
        let mut alarm: Option<Alarm<'_>> = None;
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = response.as_mut().poll(cx) {
                return Poll::Ready(Ok(outcome));
            }
            let Some(alarm) = &mut alarm else {
                alarm = Some(alarms.take(clock, self.look(tried), cx));
                return Poll::Pending;
            };
            if alarm.has_gone_off() {
                let (due, failure) = self.due(tried);
                if due <= clock.now() {
                    return Poll::Ready(Err(failure));
                }
                alarm.wake_by(self.look(tried), cx);
            }
            Poll::Pending
        })
        .await
    }

    /// Waits for what comes before a try, for as long as the request as a whole may take.
    ///
    /// # Errors
    /// [`Failure::ResponseTimeout`].
    pub(super) async fn before<F: Future>(&self, what: F) -> Result<F::Output, Failure> {
        let Some(end) = self.end() else {
            return Ok(what.await);
        };
        let within = tokio::time::timeout_at(self.worker.clock.at(end), what);
        within.await.map_err(|_| Failure::ResponseTimeout)
    }
}
