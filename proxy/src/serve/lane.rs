//! Steps that take long, as the cryptography of a handshake, are done by a task of the worker of their own, which lets all others have their
//! turn after each: nobody who is served already waits for more than two of them at a time, however many clients come at once. Where others
//! take long themselves, more than one is done at a time, so that new clients have a third of the worker. HAProxy's scheduler keeps what it
//! calls heavy tasks apart likewise.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;

use crate::clock::Clock;

/// Whether it had to be done.
type Step = Box<dyn FnOnce() -> bool>;

/// The steps that wait.
#[derive(Default)]
pub(super) struct Lane {
    steps: RefCell<VecDeque<Step>>,
    came: Notify,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({})", self.steps.borrow().len())
    }
}

impl Lane {
    /// What comes of a step, which is done when it is its turn: first come, first served. It is not done when nobody waits for it any more. There
    /// is nothing when the worker ends.
    pub(super) async fn step<T: 'static>(&self, work: impl FnOnce() -> T + 'static) -> Option<T> {
        let (tells, told) = oneshot::channel();
        let step = move || {
            let is_wanted = !tells.is_closed();
            if is_wanted {
                // Who waits does so on this thread, and has not stopped meanwhile.
                let _ = tells.send(work());
            }
            is_wanted
        };
        self.steps.borrow_mut().push_back(Box::new(step));
        self.came.notify_one();
        told.await.ok()
    }

    /// Does the steps of a worker, for ever.
    pub(super) async fn run(&self, clock: Clock) {
        // For how long they are done at a time, one at least: half as long as others took since the last.
        let mut share = Duration::ZERO;
        loop {
            let began = clock.now();
            while let Some(step) = self.next() {
                if step() && clock.now().since(began) >= share {
                    break;
                }
            }
            if self.steps.borrow().is_empty() {
                share = Duration::ZERO;
                self.came.notified().await;
            } else {
                let ended = clock.now();
                yield_now().await;
                share = clock.now().since(ended) / 2;
            }
        }
    }

    fn next(&self) -> Option<Step> {
        self.steps.borrow_mut().pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::rc::Rc;

    use tokio::runtime::{Builder, LocalOptions};
    use tokio::task::spawn_local;

    use super::*;

    /// Has `act` done on a runtime like a worker's, with a lane, and something else to do in each round, which is told too.
    #[expect(clippy::disallowed_methods, reason = "whose turn it is is what is tested")]
    fn with_lane<F: Future<Output = ()>>(act: impl FnOnce(Rc<Lane>, Rc<RefCell<Vec<usize>>>) -> F) -> Vec<usize> {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default());
        runtime.unwrap().block_on(async {
            let lane = Rc::new(Lane::default());
            let runs = Rc::clone(&lane);
            spawn_local(async move { runs.run(Clock::start()).await });
            let others = Rc::clone(&seen);
            spawn_local(async move {
                loop {
                    others.borrow_mut().push(OTHER);
                    yield_now().await;
                }
            });
            act(lane, Rc::clone(&seen)).await;
        });
        seen.take()
    }

    const OTHER: usize = usize::MAX;
    const LONG: Duration = Duration::from_millis(50);

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what holds a worker up is what is tested")]
    fn others_wait_for_two_at_most() {
        let seen = with_lane(async |lane, seen| {
            let steps = (0..10).map(|n| {
                let seen = Rc::clone(&seen);
                lane.step(move || {
                    std::thread::sleep(LONG);
                    seen.borrow_mut().push(n);
                })
            });
            let done = futures::future::join_all(steps).await;
            assert!(done.iter().all(Option::is_some));
        });
        let steps: Vec<usize> = seen.iter().copied().filter(|n| *n != OTHER).collect();
        assert_eq!(steps, Vec::from_iter(0..10), "first come, first served");
        assert!(seen.windows(3).all(|three| three.contains(&OTHER)), "{seen:?}");
    }

    #[test]
    fn what_nobody_waits_for_is_not_done() {
        let seen = with_lane(async |lane, seen| {
            let step = |n| {
                let seen = Rc::clone(&seen);
                lane.step(move || seen.borrow_mut().push(n))
            };
            let mut gone = Box::pin(step(1));
            assert!(futures::poll!(gone.as_mut()).is_pending());
            drop(gone);
            step(2).await;
        });
        assert!(seen.contains(&2) && !seen.contains(&1), "{seen:?}");
    }
}
