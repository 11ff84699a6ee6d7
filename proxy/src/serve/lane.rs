//! Steps that take long, as the cryptography of a handshake, go one in each round of the worker's runtime: nobody who is served already
//! waits for more than one or two of them, however many clients come at once. HAProxy's scheduler does so with what it calls heavy tasks.

use std::pin::pin;
use std::task::Context;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;

/// Where the long steps of one worker go.
#[derive(Debug)]
pub(super) struct Lane(Semaphore);

impl Default for Lane {
    fn default() -> Self {
        Lane(Semaphore::const_new(1))
    }
}

impl Lane {
    /// Waits until it is this one's turn, first come, first served; the next has its own in another round than this drops what it got.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it: there is always one.
        let turn = self.0.acquire().await.ok();
        // Until the runtime has been through all that is to be done, and has looked for more.
        yield_now().await;
        turn
    }
}

/// Has the task of `cx` go on in the runtime's next round, when all others have had their turn, and those for whom something came by then.
pub(super) fn defer(cx: &mut Context<'_>) {
    // What it waits for is that it is polled once more.
    let _ = pin!(yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::runtime::{Builder, LocalOptions};
    use tokio::task::spawn_local;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "whose turn it is is what is tested")]
    fn others_wait_for_two_at_most() {
        let (lane, seen) = (Rc::new(Lane::default()), Rc::new(RefCell::new(Vec::new())));
        let steps = async {
            let heavy = (0..10).map(|_| {
                let (lane, seen) = (Rc::clone(&lane), Rc::clone(&seen));
                spawn_local(async move {
                    let _turn = lane.turn().await;
                    seen.borrow_mut().push("heavy");
                })
            });
            let heavy: Vec<_> = heavy.collect();
            let other = Rc::clone(&seen);
            let light = spawn_local(async move {
                loop {
                    other.borrow_mut().push("light");
                    yield_now().await;
                }
            });
            for step in heavy {
                step.await.unwrap();
            }
            light.abort();
        };
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default());
        runtime.unwrap().block_on(steps);
        let seen = seen.borrow();
        assert_eq!(seen.iter().filter(|what| **what == "heavy").count(), 10);
        assert!(!seen.windows(3).any(|three| three == ["heavy"; 3]), "{seen:?}");
    }
}
