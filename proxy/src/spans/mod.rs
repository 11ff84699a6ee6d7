//! Spans of requests: one for each request and one for each try, told to a collector by OTLP. Here is the workers' end: a bounded queue that
//! nobody waits for. What a request carries of a trace is `context`'s, what a span says `otlp`'s, sending them `export`'s.

mod context;
mod export;
mod otlp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::{Notify, mpsc};

pub(crate) use context::span_id;
pub use context::{Context, SpanId};
pub use export::Exporter;

use crate::record::Record;

/// Requests whose spans may wait to be sent.
const WAITING: usize = 2048;

/// The workers' end.
#[derive(Clone, Debug)]
pub struct Spans {
    waiting: mpsc::Sender<Box<Record>>,
    counts: Arc<Counts>,
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct Counts {
    /// Sent, and not refused.
    pub exported: AtomicU64,
    /// Dropped because too many waited.
    pub overflowed: AtomicU64,
    /// Dropped because the collector could not be reached, was too slow, or refused them.
    pub refused: AtomicU64,
    /// Requests whose spans wait or are being sent.
    pub pending: AtomicU64,
    /// Says that the process ends, and nobody should wait for more.
    flush: Notify,
}

impl Spans {
    /// The workers' end, and the end that has to be run with [`Exporter::run`].
    pub fn new() -> (Self, Exporter) {
        let (waiting, records) = mpsc::channel(WAITING);
        let counts = Arc::<Counts>::default();
        let spans = Spans {
            waiting,
            counts: Arc::clone(&counts),
        };
        (spans, Exporter::new(records, counts))
    }

    /// Has the spans of a request sent, or drops them if too many wait.
    pub fn send(&self, record: Box<Record>) {
        let spans = spans_of(&record);
        self.counts.pending.fetch_add(1, Relaxed);
        if self.waiting.try_send(record).is_err() {
            self.counts.pending.fetch_sub(1, Relaxed);
            self.counts.overflowed.fetch_add(spans, Relaxed);
        }
    }

    /// Has what waits sent at once.
    pub fn flush(&self) {
        self.counts.flush.notify_one();
    }

    /// What became of spans so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// How many spans a request has.
fn spans_of(record: &Record) -> u64 {
    1 + record.tries.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let (spans, _exporter) = Spans::new();
        for _ in 0..WAITING + 2 {
            spans.send(Box::new(record()));
        }
        let counts = spans.counts();
        assert_eq!(counts.pending.load(Relaxed), WAITING as u64);
        assert_eq!(counts.overflowed.load(Relaxed), 2 * spans_of(&record()));
    }
}
