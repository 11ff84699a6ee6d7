//! What the user sees: one line per stage when it begins and when it ends, with the time since the start, and the
//! progress of long steps in between. Nothing here decides anything.

use std::fmt;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

/// How a stage went.
#[derive(Clone, Debug)]
pub struct StageTime {
    /// The stage's name.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// Whether it succeeded.
    pub ok: bool,
}

/// The voice of one run; clones share the clock and the list of stages.
#[derive(Clone)]
pub struct Say {
    start: Instant,
    lane: Option<String>,
    stages: Arc<Mutex<Vec<StageTime>>>,
}

impl fmt::Debug for Say {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Say").field("lane", &self.lane).finish_non_exhaustive()
    }
}

impl Default for Say {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            lane: None,
            stages: Arc::default(),
        }
    }
}

impl Say {
    /// The same voice with a lane's name before each line.
    #[must_use]
    pub fn lane(&self, name: &str) -> Self {
        Self {
            lane: Some(name.to_owned()),
            ..self.clone()
        }
    }

    /// One line, under the stage at work.
    pub fn line(&self, text: impl fmt::Display) {
        let lane = self.lane.as_ref().map_or_else(String::new, |lane| format!("[{lane}] "));
        // A closed pipe must not end a run that still has to clean up after itself.
        let _ = writeln!(
            std::io::stdout().lock(),
            "{:>6}  {lane}{text}",
            clock(self.start.elapsed())
        );
    }

    /// Text without a clock: what is meant to be copied, and what other programs said.
    pub fn plain(&self, text: impl fmt::Display) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Runs a stage: says its name, runs it, says how long it took and remembers it for [`Say::stages`].
    ///
    /// # Errors
    /// Those of the stage, with its name in front.
    pub fn stage<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.line(format_args!("== {name}"));
        let begin = Instant::now();
        let result = work();
        let took = begin.elapsed();
        let ok = result.is_ok();
        self.line(format_args!(
            "   {name}: {} in {}",
            if ok { "done" } else { "FAILED" },
            span(took)
        ));
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        stages.push(StageTime {
            name: name.to_owned(),
            took,
            ok,
        });
        result.map_err(|error| error.context(name.to_owned()))
    }

    /// The stages run so far, in the order in which they ended.
    #[must_use]
    pub fn stages(&self) -> Vec<StageTime> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Time since the run began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A duration as a clock shows it: `0:07`, `12:30`, `1:02:03`.
#[must_use]
pub fn clock(time: Duration) -> String {
    let (hours, minutes, seconds) = (time.as_secs() / 3600, time.as_secs() / 60 % 60, time.as_secs() % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A duration as a person says it: `0.4 s`, `12.3 s`, `2 min 05 s`.
#[must_use]
pub fn span(time: Duration) -> String {
    if time < Duration::from_secs(100) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        assert_eq!(clock(Duration::from_secs(7)), "0:07");
        assert_eq!(clock(Duration::from_secs(750)), "12:30");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
        assert_eq!(span(Duration::from_millis(420)), "0.4 s");
        assert_eq!(span(Duration::from_secs(125)), "2 min 05 s");
    }

    #[test]
    fn stages_are_remembered_with_their_outcome() {
        let say = Say::default();
        assert!(say.stage("good", || Ok(1)).is_ok());
        let error = say.stage::<()>("bad", || anyhow::bail!("no luck")).unwrap_err();
        assert_eq!(format!("{error:#}"), "bad: no luck");
        let stages: Vec<_> = say.stages().into_iter().map(|s| (s.name, s.ok)).collect();
        assert_eq!(stages, [("good".to_owned(), true), ("bad".to_owned(), false)]);
    }
}
