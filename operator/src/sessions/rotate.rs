//! Which step the keys of an app need, and when the next one will be, from the keys and the time alone: nothing is remembered. Each
//! step is one write, and every state between two steps can be served.
//!
//! add a key that opens (before the end of the sealing one's time) → overlap, until every proxy has it → promote: it seals → the old
//! one opens on, until no cookie that it sealed can be valid → drop it.

use std::time::Duration;

use tenbin_model::SessionKeys;

use super::held::Held;

/// The least time that a key seals for, in seconds.
const LEAST: u64 = 60;
/// The longest, in seconds: a year.
const MOST: u64 = 365 * 24 * 3600;
/// The longest that a key only opens before it seals, in seconds.
const OVERLAP: u64 = 24 * 3600;
/// What clocks of proxies and operators may differ by, in seconds.
const SKEW: u64 = 60;
/// Keys that may be opening still when the next one comes: with the sealing and the next one there are at most
/// [`SessionKeys::MAX`], since one more may be just between two.
const OPENING: u64 = SessionKeys::MAX as u64 - 3;

/// How long a key seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    seconds: u64,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new key, that opens and does not seal yet.
    Add,
    /// The key of this id seals from now on.
    Promote(u32),
    /// The key of this id goes: nothing that it sealed can be valid.
    Drop(u32),
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// This step, now.
    Now(Step),
    /// Nothing before that time.
    At(u64),
}

impl Rotation {
    /// A key seals for that many seconds.
    ///
    /// # Errors
    /// Less than a minute or more than a year.
    pub fn new(seconds: u64) -> Result<Self, String> {
        if (LEAST..=MOST).contains(&seconds) {
            return Ok(Rotation { seconds });
        }
        Err(format!(
            "--session-keys-rotate-seconds (sessionKeys.rotateSeconds in the chart): {seconds}, expected {LEAST} to {MOST}"
        ))
    }

    /// What the keys need at `now`, in seconds since 1970, where cookies are valid for `life`.
    pub(super) fn decide(self, held: &Held, life: Duration, now: u64) -> Decision {
        let life = life.as_secs().saturating_add(SKEW);
        let mut next = u64::MAX;
        for due in [
            droppable(held, life),
            self.promotion(held, life),
            self.addition(held, life),
        ] {
            match due {
                Some((at, step)) if at <= now => return Decision::Now(step),
                Some((at, _)) => next = next.min(at),
                None => {}
            }
        }
        Decision::At(next)
    }

    /// For how long a key seals: longer than said where cookies are valid for so long that there would be too many keys.
    fn sealing(self, life: u64) -> u64 {
        self.seconds.max(life.div_ceil(OPENING))
    }

    fn overlap(self, life: u64) -> u64 {
        (self.sealing(life) / 4).min(OVERLAP)
    }

    fn promotion(self, held: &Held, life: u64) -> Option<(u64, Step)> {
        let waiting = held.keys().iter().find(|held| held.sealing.is_none())?;
        let at = waiting.added.saturating_add(self.overlap(life));
        Some((at, Step::Promote(waiting.key.id)))
    }

    fn addition(self, held: &Held, life: u64) -> Option<(u64, Step)> {
        let waits = held.keys().iter().any(|held| held.sealing.is_none());
        let since = held.keys().first()?.sealing?;
        if waits || held.keys().len() >= SessionKeys::MAX {
            return None;
        }
        let at = since.saturating_add(self.sealing(life) - self.overlap(life));
        Some((at, Step::Add))
    }
}

/// The key that can go first, and when: a life after the one that followed it began to seal.
fn droppable(held: &Held, life: u64) -> Option<(u64, Step)> {
    let sealing = |at: usize| held.keys()[at].sealing;
    let ended = |at: usize| {
        let since = sealing(at)?;
        let later = (0..held.keys().len()).filter(|other| *other != at).filter_map(sealing);
        // Two of one second: the one that stands first sealed last.
        later.filter(|other| *other >= since).min()
    };
    let old = (1..held.keys().len()).filter_map(|at| Some((ended(at)?.saturating_add(life), at)));
    let (at, index) = old.min()?;
    Some((at, Step::Drop(held.keys()[index].key.id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    fn days(n: u64) -> Duration {
        Duration::from_secs(n * DAY)
    }

    /// Every step with its time, from the first key on until `end`.
    fn history(rotation: Rotation, life: Duration, end: u64) -> Vec<(u64, Step, Held)> {
        let (mut held, mut now, mut steps) = (Held::first([0; 32], 0), 0, Vec::new());
        while now < end {
            match rotation.decide(&held, life, now) {
                Decision::At(at) => {
                    assert!(at > now, "it would not wait at {now}");
                    now = at;
                }
                Decision::Now(step) => {
                    let secret = [u8::try_from(steps.len() % 256).unwrap(); 32];
                    held = held.after(step, secret, now);
                    assert_eq!(Held::decode(held.encode().as_bytes()).as_ref(), Ok(&held), "at {now}");
                    steps.push((now, step, held.clone()));
                }
            }
        }
        steps
    }

    #[test]
    fn a_key_opens_a_day_then_seals_thirty_then_opens_for_a_life() {
        let steps = history(Rotation::new(30 * DAY).unwrap(), days(7), 100 * DAY);
        let told: Vec<(u64, Step)> = steps.iter().map(|(at, step, _)| (*at, *step)).collect();
        assert_eq!(
            told,
            [
                (29 * DAY, Step::Add),
                (30 * DAY, Step::Promote(2)),
                (37 * DAY + SKEW, Step::Drop(1)),
                (59 * DAY, Step::Add),
                (60 * DAY, Step::Promote(3)),
                (67 * DAY + SKEW, Step::Drop(2)),
                (89 * DAY, Step::Add),
                (90 * DAY, Step::Promote(4)),
                (97 * DAY + SKEW, Step::Drop(3)),
            ]
        );
    }

    #[test]
    fn whatever_the_lives_every_cookie_can_be_opened_and_no_key_before_its_overlap_seals() {
        for seconds in [LEAST, 3600, 30 * DAY, MOST] {
            for life in [Duration::from_secs(1), days(1), days(7), days(400)] {
                let rotation = Rotation::new(seconds).unwrap();
                let sealing = rotation.sealing(life.as_secs() + SKEW);
                let steps = history(rotation, life, 40 * sealing);
                assert!(steps.len() > 40, "{seconds} {life:?}");
                for (at, step, held) in &steps {
                    assert!(held.keys().len() <= SessionKeys::MAX);
                    if let Step::Promote(id) = step {
                        let added = held.keys().iter().find(|held| held.key.id == *id).unwrap().added;
                        assert!(at - added >= rotation.overlap(life.as_secs() + SKEW));
                    }
                }
                // Who sealed at any time is there for a life after it.
                for pair in steps.windows(2) {
                    let sealer = pair[0].2.keys()[0].key.id;
                    let last = pair[1].0;
                    let until = last + life.as_secs();
                    let gone = steps.iter().find(|(_, step, _)| *step == Step::Drop(sealer));
                    assert!(
                        gone.is_none_or(|(at, _, _)| *at >= until),
                        "{sealer} of {last}, {gone:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_was_missed_is_made_up_for_step_by_step() {
        let rotation = Rotation::new(30 * DAY).unwrap();
        let mut held = Held::first([0; 32], 0);
        let now = 1000 * DAY;
        assert_eq!(rotation.decide(&held, days(7), now), Decision::Now(Step::Add));
        held = held.after(Step::Add, [1; 32], now);
        assert_eq!(
            rotation.decide(&held, days(7), now),
            Decision::At(now + DAY),
            "the overlap is never cut short"
        );
        held = held.after(Step::Promote(2), [0; 32], now + DAY);
        assert_eq!(
            rotation.decide(&held, days(7), now + DAY),
            Decision::At(now + 8 * DAY + SKEW)
        );
    }

    #[test]
    fn a_time_that_makes_no_sense_is_refused() {
        for bad in [0, LEAST - 1, MOST + 1] {
            let error = Rotation::new(bad).unwrap_err();
            assert!(error.contains(&bad.to_string()) && error.contains("60 to"), "{error}");
        }
    }
}
