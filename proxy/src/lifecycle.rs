//! Where the process is in its life (serving, draining, closing, stopped) and how many client connections it may have: the few facts
//! that every thread shares. Who moves it along, and when, is `drain`'s business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use tokio::sync::watch;

/// Shared by all threads.
#[derive(Debug)]
pub struct Lifecycle {
    draining: AtomicBool,
    closing: AtomicBool,
    stage: watch::Sender<Stage>,
    connections: AtomicUsize,
    limit: usize,
}

/// What workers have to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Accept and serve.
    Open,
    /// Still accept, but close every connection as soon as no request is open on it.
    Closing,
    /// End, whatever is open.
    Stopped,
}

impl Lifecycle {
    /// A process that serves, with at most `limit` client connections.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Lifecycle {
            draining: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            stage: watch::Sender::new(Stage::Open),
            connections: AtomicUsize::new(0),
            limit,
        })
    }

    /// From now on, every response asks its client to close the connection. Nothing is refused and nothing closed.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether responses ask for the connection to be closed.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Closes connections without an open request, and the others when it ends.
    pub fn close(&self) {
        self.drain();
        self.closing.store(true, Relaxed);
        self.stage.send_if_modified(|stage| stage.advance(Stage::Closing));
    }

    /// Whether connections are to be closed.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Ends the workers.
    pub fn stop(&self) {
        self.stage.send_if_modified(|stage| stage.advance(Stage::Stopped));
    }

    /// What workers have to do, and every change of it.
    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// A place for one more client connection; `None` if there are too many.
    pub fn admit(self: &Arc<Self>) -> Option<Slot> {
        let before = self.connections.fetch_add(1, Relaxed);
        let slot = Slot(Arc::clone(self));
        (before < self.limit).then_some(slot)
    }

    /// Client connections now.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// The most client connections.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl Stage {
    /// Moves on to `stage` unless it is there or further already.
    fn advance(&mut self, stage: Stage) -> bool {
        let ahead = stage > *self;
        *self = stage.max(*self);
        ahead
    }
}

/// The place of one client connection, free again when dropped.
#[derive(Debug)]
pub struct Slot(Arc<Lifecycle>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_connections_than_the_limit() {
        let lifecycle = Lifecycle::new(2);
        let one = lifecycle.admit();
        let _two = lifecycle.admit();
        assert!(lifecycle.admit().is_none());
        assert_eq!(lifecycle.connections(), 2, "who was turned away does not count");
        drop(one);
        assert!(lifecycle.admit().is_some());
    }

    #[test]
    fn life_goes_one_way() {
        let lifecycle = Lifecycle::new(1);
        let stage = lifecycle.stage();
        lifecycle.stop();
        lifecycle.close();
        assert_eq!(*stage.borrow(), Stage::Stopped);
        assert!(lifecycle.is_draining() && lifecycle.is_closing());
    }
}
