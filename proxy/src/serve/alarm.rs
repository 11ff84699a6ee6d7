//! Timers for what hardly ever takes as long as it may: a worker keeps them set for the next request, and moves one only where it would go off
//! too late. What is due when is for those who wait.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tenbin_balance::Time;
use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep_until};

use crate::clock::Clock;

/// The most timers that a worker keeps.
const MOST: usize = 256;

/// The timers of a worker that nobody waits for.
#[derive(Debug, Default)]
pub(super) struct Alarms(RefCell<Vec<Timer>>);

/// A timer, and when it goes off.
type Timer = (Pin<Box<Sleep>>, Time);

/// A timer that may go off early: whoever it wakes looks whether it is time. For one task, which was awake when it was set last.
#[derive(Debug)]
pub(super) struct Alarm<'a> {
    alarms: &'a Alarms,
    clock: Clock,
    /// There until it is given back.
    timer: Option<Timer>,
}

impl Alarms {
    /// One that wakes the task of `cx` by `due`, or before.
    pub(super) fn take(&self, clock: Clock, due: Time, cx: &mut Context<'_>) -> Alarm<'_> {
        let mut alarm = Alarm {
            alarms: self,
            clock,
            timer: self.0.borrow_mut().pop(),
        };
        alarm.wake_by(due, cx);
        alarm
    }
}

impl Alarm<'_> {
    /// Whether it has gone off.
    pub(super) fn has_gone_off(&self) -> bool {
        self.timer.as_ref().is_some_and(|(timer, _)| timer.is_elapsed())
    }

    /// Wakes the task of `cx` by `due`, or before.
    pub(super) fn wake_by(&mut self, due: Time, cx: &mut Context<'_>) {
        let at = self.clock.at(due);
        let (timer, set) = self.timer.get_or_insert_with(|| (Box::pin(sleep_until(at)), due));
        if due < *set || timer.is_elapsed() {
            timer.as_mut().reset(at);
            *set = due;
        }
        if poll(timer.as_mut(), cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        let Some((mut timer, set)) = self.timer.take() else {
            return;
        };
        let mut kept = self.alarms.0.borrow_mut();
        // Whom it would wake is forgotten: the memory of a task stays for as long as somebody may wake it.
        let is_set = poll(timer.as_mut(), &mut Context::from_waker(Waker::noop())).is_pending();
        if is_set && kept.len() < MOST {
            kept.push((timer, set));
        }
    }
}

/// Polls a timer whatever else the task has done in this turn: one that is polled once must be set after that.
pub(super) fn poll(timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    pin!(unconstrained(timer)).poll(cx)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Waits until one that was set for `after` goes off; how long that took.
    async fn wait(alarms: &Alarms, clock: Clock, after: Duration) -> Duration {
        let begin = clock.now();
        let mut alarm = None;
        poll_fn(|cx| {
            let alarm = alarm.get_or_insert_with(|| alarms.take(clock, begin.plus(after), cx));
            if alarm.has_gone_off() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        clock.now().since(begin)
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_kept_for_the_next_and_never_late() {
        let (alarms, clock) = (Alarms::default(), Clock::start());
        let due = |seconds| clock.now().plus(SECOND * seconds);
        poll_fn(|cx| {
            drop(alarms.take(clock, due(9), cx));
            Poll::Ready(())
        })
        .await;
        assert_eq!(alarms.0.borrow().len(), 1);
        // Set for later than is wanted now: it is moved.
        assert_eq!(wait(&alarms, clock, SECOND).await.as_secs(), 1);
        assert_eq!(alarms.0.borrow().len(), 0, "one that has gone off is not kept");
        poll_fn(|cx| {
            drop(alarms.take(clock, due(1), cx));
            Poll::Ready(())
        })
        .await;
        // Set for earlier: it goes off then.
        assert_eq!(wait(&alarms, clock, SECOND * 9).await.as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_one_wakes_nobody() {
        let (alarms, clock) = (Alarms::default(), Clock::start());
        let polls = std::cell::Cell::new(0);
        let watched = poll_fn(|cx| {
            polls.set(polls.get() + 1);
            if polls.get() == 1 {
                drop(alarms.take(clock, clock.now().plus(SECOND), cx));
            }
            Poll::<()>::Pending
        });
        assert!(tokio::time::timeout(SECOND * 5, watched).await.is_err());
        // The first, and when the time to wait was over.
        assert_eq!(polls.get(), 2);
    }
}
