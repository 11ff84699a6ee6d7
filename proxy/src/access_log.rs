//! The access log: one line for each request, written by one task off the workers. A worker never waits for it; what does not fit is
//! dropped and counted. The fields are listed in `docs/observability.md`; how a line is made of a record is `line`'s.

mod line;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use tenbin_balance::Rng;
use tenbin_model::AccessLogFormat;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::record::Record;

/// Lines that may wait to be written.
const WAITING: usize = 4096;

/// The workers' end of the log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: mpsc::Sender<(SystemTime, Box<Record>)>,
    counts: Arc<Counts>,
    /// How lines of listeners look that say nothing.
    unless_said: AccessLogFormat,
}

/// The writer's end of the log.
#[derive(Debug)]
pub struct Lines {
    waiting: mpsc::Receiver<(SystemTime, Box<Record>)>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    dropped: AtomicU64,
    pending: AtomicU64,
}

/// What is to be logged of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How its line looks.
    pub format: AccessLogFormat,
    /// Whether it has one even if it goes well.
    pub chosen: bool,
}

impl AccessLog {
    /// A log, and the end that has to be written with [`Lines::write_to`]. Listeners whose log is off have `unless_said`.
    pub fn new(unless_said: AccessLogFormat) -> (Self, Lines) {
        let (lines, waiting) = mpsc::channel(WAITING);
        let log = AccessLog {
            lines,
            counts: Arc::default(),
            unless_said,
        };
        let counts = Arc::clone(&log.counts);
        (log, Lines { waiting, counts })
    }

    /// What a listener that says `said` wants of a request that begins now; `None` where that is nothing. A request that is not among
    /// the chosen is logged too if it fails, so it has to be watched.
    pub fn wants(&self, said: &tenbin_model::AccessLog, rng: &mut Rng) -> Option<Wanted> {
        let format = match said.format {
            AccessLogFormat::Off => self.unless_said,
            format => format,
        };
        (format != AccessLogFormat::Off).then(|| Wanted {
            format,
            chosen: said.one_in <= 1 || rng.below(said.one_in as usize) == 0,
        })
    }

    /// Logs a request, or drops it if too many wait.
    #[expect(clippy::disallowed_methods, reason = "people want to know the time of day")]
    pub fn write(&self, record: Box<Record>) {
        self.counts.pending.fetch_add(1, Relaxed);
        if self.lines.try_send((SystemTime::now(), record)).is_err() {
            self.counts.pending.fetch_sub(1, Relaxed);
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines that are not written yet.
    pub fn pending(&self) -> u64 {
        self.counts.pending.load(Relaxed)
    }

    /// Lines that were dropped.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }
}

impl Lines {
    /// Writes lines until the log is gone.
    ///
    /// # Errors
    /// The output is broken.
    pub async fn write_to(mut self, mut output: impl AsyncWrite + Unpin) -> io::Result<()> {
        let mut waiting = Vec::new();
        let mut text = String::new();
        while self.waiting.recv_many(&mut waiting, 256).await > 0 {
            let lines = waiting.len() as u64;
            text.clear();
            for (time, record) in waiting.drain(..) {
                line::write(&mut text, time, &record);
            }
            output.write_all(text.as_bytes()).await?;
            output.flush().await?;
            self.counts.pending.fetch_sub(lines, Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    #[test]
    fn the_listener_says_what_is_logged_and_the_process_what_where_it_does_not() {
        let said = |format, one_in| tenbin_model::AccessLog { format, one_in };
        let mut rng = Rng::new(1);
        let (off, _lines) = AccessLog::new(AccessLogFormat::Off);
        assert_eq!(off.wants(&said(AccessLogFormat::Off, 1), &mut rng), None);
        let (text, _lines) = AccessLog::new(AccessLogFormat::Text);
        let format = |log: &AccessLog, format| {
            let mut rng = Rng::new(1);
            log.wants(&said(format, 1), &mut rng).map(|wanted| wanted.format)
        };
        assert_eq!(format(&text, AccessLogFormat::Off), Some(AccessLogFormat::Text));
        assert_eq!(format(&text, AccessLogFormat::Json), Some(AccessLogFormat::Json));
        assert_eq!(format(&off, AccessLogFormat::Json), Some(AccessLogFormat::Json));
    }

    #[test]
    fn one_in_so_many_is_chosen_and_all_are_watched() {
        let (log, _lines) = AccessLog::new(AccessLogFormat::Off);
        let mut rng = Rng::new(7);
        let said = tenbin_model::AccessLog {
            format: AccessLogFormat::Json,
            one_in: 100,
        };
        let wanted: Vec<_> = (0..100_000).filter_map(|_| log.wants(&said, &mut rng)).collect();
        assert_eq!(wanted.len(), 100_000);
        let chosen = wanted.iter().filter(|wanted| wanted.chosen).count();
        assert!((800..1_200).contains(&chosen), "{chosen}");
    }

    #[tokio::test]
    async fn nobody_waits_for_it() {
        let (log, lines) = AccessLog::new(AccessLogFormat::Text);
        for _ in 0..WAITING + 3 {
            log.write(Box::new(record()));
        }
        assert_eq!((log.dropped(), log.pending()), (3, WAITING as u64));
        drop(log);
        let mut out = Vec::new();
        lines.write_to(&mut out).await.unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), WAITING);
    }
}
