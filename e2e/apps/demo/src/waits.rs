//! How many calls wait for their time, and how many were given up on before. Nothing waits here.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// Calls that wait.
#[derive(Default)]
pub(crate) struct Waits {
    begun: AtomicU64,
    ended: AtomicU64,
    cancelled: AtomicU64,
}

/// One that waits. Dropped, it was cancelled.
pub(crate) struct Waiting<'a>(&'a Waits);

impl Waits {
    pub(crate) fn begin(&self) -> Waiting<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    pub(crate) fn to_json(&self) -> Value {
        let (ended, cancelled) = (
            self.ended.load(Ordering::Relaxed),
            self.cancelled.load(Ordering::Relaxed),
        );
        let waiting = self.begun.load(Ordering::Relaxed).saturating_sub(ended + cancelled);
        json!({ "waiting": waiting, "ended": ended, "cancelled": cancelled })
    }
}

impl Waiting<'_> {
    /// Its time was over.
    pub(crate) fn end(self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(1, Ordering::Relaxed);
    }
}
