//! Streams that we reset lately: their peer may not know yet, so that what it sent them meanwhile is no error (RFC 9113 §5.4.2).

use std::collections::VecDeque;

/// So many are remembered one by one.
const REMEMBERED: usize = 64;

/// Streams that were reset by us.
#[derive(Debug, Default)]
pub(super) struct Closed {
    recent: VecDeque<u32>,
    /// The highest number that was forgotten: it and all below may have been reset.
    forgotten: u32,
}

impl Closed {
    /// Remembers a stream.
    pub(super) fn add(&mut self, stream: u32) {
        if self.recent.len() == REMEMBERED
            && let Some(oldest) = self.recent.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.recent.push_back(stream);
    }

    /// Whether a stream that is over may have been reset by us.
    pub(super) fn may_have(&self, stream: u32) -> bool {
        stream <= self.forgotten || self.recent.contains(&stream)
    }
}
