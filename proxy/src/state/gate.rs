//! What one proxy has open at a cluster against its limits, and the lines in which requests wait while these are reached. Shared by the
//! workers: atomics, and tokio's own queues, touched only where limits are set. Which request waits for what is decided elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// What is open at a cluster, and who waits. One object for as long as the cluster lives.
#[derive(Debug, Default)]
pub struct Gate {
    requests: AtomicU32,
    connections: AtomicU32,
    /// Requests that wait, in this line and those of its endpoints.
    waiting: AtomicU32,
    overflows: AtomicU64,
    timeouts: AtomicU64,
    /// Those that any endpoint is good for.
    pub(crate) line: Line,
}

/// Requests that wait for the same thing: the first of them looks whenever something became free, the others wait for it to leave.
#[derive(Debug)]
pub(crate) struct Line {
    length: AtomicU32,
    turn: Semaphore,
    freed: Notify,
}

impl Default for Line {
    fn default() -> Self {
        Line {
            length: AtomicU32::new(0),
            turn: Semaphore::new(1),
            freed: Notify::new(),
        }
    }
}

/// A place in a line, left when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    gate: &'a Gate,
    line: &'a Line,
}

/// A request or a connection that counts against a limit of its cluster while this lives.
#[derive(Debug)]
pub struct Admission {
    gate: Arc<Gate>,
    of: fn(&Gate) -> &AtomicU32,
    tells: bool,
}

impl Gate {
    /// Lets a request in, if there are fewer than `limit`.
    pub(crate) fn admit(self: &Arc<Self>, limit: u32) -> Option<Admission> {
        self.take(|gate| &gate.requests, limit)
    }

    /// Lets a connection be opened, if there are fewer than `limit`.
    pub(crate) fn connect(self: &Arc<Self>, limit: u32) -> Option<Admission> {
        self.take(|gate| &gate.connections, limit)
    }

    fn take(self: &Arc<Self>, of: fn(&Gate) -> &AtomicU32, limit: u32) -> Option<Admission> {
        below(of(self), limit).then(|| Admission {
            gate: Arc::clone(self),
            of,
            tells: true,
        })
    }

    /// The last place in `line`, if fewer than `limit` wait.
    pub(crate) fn join<'a>(&'a self, line: &'a Line, limit: u32) -> Option<Place<'a>> {
        if !below(&self.waiting, limit) {
            self.overflows.fetch_add(1, Relaxed);
            return None;
        }
        line.length.fetch_add(1, Relaxed);
        // Whoever frees something after what is looked at now sees that somebody waits.
        fence(SeqCst);
        Some(Place { gate: self, line })
    }

    /// One waited for too long.
    pub(crate) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Relaxed);
    }

    /// Requests that are open, where their number is limited.
    pub fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Connections that are open, where their number is limited.
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    /// Requests that wait.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Requests that found the line full.
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }

    /// Requests that waited for too long.
    pub fn timeouts(&self) -> u64 {
        self.timeouts.load(Relaxed)
    }
}

impl Line {
    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.length.load(Relaxed) == 0
    }

    /// Something became free that the first may have waited for.
    pub(crate) fn freed(&self) {
        fence(SeqCst);
        if !self.is_empty() {
            self.freed.notify_one();
        }
    }
}

impl Place<'_> {
    /// Waits until it is the first.
    pub(crate) async fn first(&self) -> Option<SemaphorePermit<'_>> {
        self.line.turn.acquire().await.ok()
    }

    /// Waits until something became free since it was asked for last.
    pub(crate) async fn freed(&self) {
        self.line.freed.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.line.length.fetch_sub(1, Relaxed);
        self.gate.waiting.fetch_sub(1, Relaxed);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        (self.of)(&self.gate).fetch_sub(1, Relaxed);
        if self.tells {
            self.gate.line.freed();
        }
    }
}

impl Admission {
    /// It was not needed: nobody is told.
    pub(crate) fn cancel(mut self) {
        self.tells = false;
    }
}

/// Adds one, if that is not above `limit`.
pub(crate) fn below(counter: &AtomicU32, limit: u32) -> bool {
    let more = |n| (n < limit).then_some(n + 1);
    counter.fetch_update(Relaxed, Relaxed, more).is_ok()
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn one_by_one_in_the_order_they_came() {
        let gate = Arc::new(Gate::default());
        let held = gate.admit(1).unwrap();
        assert!(gate.admit(1).is_none());
        let wait = async || {
            let place = gate.join(&gate.line, 2).unwrap();
            let _turn = place.first().await;
            loop {
                match gate.admit(1) {
                    Some(admission) => return admission,
                    None => place.freed().await,
                }
            }
        };
        let (mut first, mut second) = (Box::pin(wait()), Box::pin(wait()));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        assert_eq!(gate.waiting(), 2);
        assert!(gate.join(&gate.line, 2).is_none(), "the line is full");
        assert_eq!(gate.overflows(), 1);
        drop(held);
        assert!(poll!(&mut second).is_pending(), "the first is first");
        let Poll::Ready(admission) = poll!(&mut first) else {
            panic!("the first is in")
        };
        drop(first);
        assert!(poll!(&mut second).is_pending());
        drop(admission);
        assert!(poll!(&mut second).is_ready());
        drop(second);
        assert_eq!((gate.waiting(), gate.requests()), (0, 0));
    }

    #[tokio::test]
    async fn who_leaves_is_gone_at_once() {
        let gate = Arc::new(Gate::default());
        let mut place = Some(gate.join(&gate.line, 1).unwrap());
        let mut waits = Box::pin(place.as_ref().unwrap().first());
        assert!(poll!(&mut waits).is_ready());
        drop(waits);
        place.take();
        assert_eq!(gate.waiting(), 0);
        assert!(gate.join(&gate.line, 1).is_some());
    }
}
