//! Weighs the frames that a peer sends against what is done with it, to end connections of which nothing comes but work. Frames that
//! carry a message or its body cost little; those that may come without end, and that HTTP/2's own machinery answers for ever (PING,
//! SETTINGS, PRIORITY, WINDOW_UPDATE, headers that are refused), are paid for by time, by requests and by what is sent. What each costs is
//! `tenbin_http2`'s. Pure: it is told the time.

use tenbin_balance::Time;

/// What a connection may spend at once: what it begins with, and the most that it saves up.
const BURST: u32 = 1000;
/// What it gets each second.
const EACH_SECOND: u32 = 100;
/// What a request brings; more than its headers and trailers cost, since priorities and windows come with it.
const REQUEST: u32 = 48;
/// What a chunk of a body that we send brings: windows of a stream and its connection that are opened for it, and a ping to measure the way.
const CHUNK: u32 = 4;
/// So many bytes of a body bring one more, for peers whose windows are small.
const BYTES: usize = 512;

/// An account of frames.
#[derive(Debug)]
pub(crate) struct Tally {
    /// What is left; nobody goes deeper into debt than by what was read at once.
    left: i64,
    /// When it last got anything for the time that passed.
    since: Time,
}

impl Tally {
    /// The account of a connection that begins.
    pub(crate) fn new(now: Time) -> Self {
        Tally {
            left: i64::from(BURST),
            since: now,
        }
    }

    /// The peer sent frames that cost so much.
    pub(crate) fn spend(&mut self, cost: u32) {
        self.left -= i64::from(cost);
    }

    /// A request was taken, or sent.
    pub(crate) fn request(&mut self) {
        self.earn(REQUEST);
    }

    /// What was taken for a request was none.
    pub(crate) fn no_request(&mut self) {
        self.spend(REQUEST);
    }

    /// So many bytes of a body were sent; with `whole`, as one chunk.
    pub(crate) fn sent(&mut self, bytes: usize, whole: bool) {
        let chunk = if whole { CHUNK } else { 0 };
        self.earn(u32::try_from(bytes / BYTES).unwrap_or(u32::MAX).saturating_add(chunk));
    }

    /// Whether it may have spent more than it had: the time has to be asked.
    pub(crate) fn is_short(&self) -> bool {
        self.left < 0
    }

    /// Whether it has spent more than it had, when all that is due to it is counted.
    pub(crate) fn is_overdrawn(&mut self, now: Time) -> bool {
        if !self.is_short() {
            return false;
        }
        let due = now.since(self.since).as_millis() * u128::from(EACH_SECOND) / 1000;
        if due > 0 {
            self.since = now;
            self.earn(u32::try_from(due).unwrap_or(u32::MAX));
        }
        self.is_short()
    }

    /// It gets so much.
    pub(crate) fn earn(&mut self, more: u32) {
        self.left = self.left.saturating_add(i64::from(more)).min(i64::from(BURST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PING: u32 = 1;
    const HEADERS: u32 = 16;

    /// How many frames are taken.
    fn until_overdrawn(tally: &mut Tally, cost: u32, mut each: impl FnMut(&mut Tally)) -> Option<usize> {
        (1..100_000).find(|_| {
            tally.spend(cost);
            each(tally);
            tally.is_overdrawn(Time::default())
        })
    }

    fn tally() -> Tally {
        Tally::new(Time::default())
    }

    #[test]
    fn pings_without_end_are_too_many() {
        let mut tally = tally();
        assert_eq!(until_overdrawn(&mut tally, PING, |_| {}), Some(1001));
        let later = Time::default().plus(Duration::from_secs(1));
        assert!(!tally.is_overdrawn(later), "time pays");
        assert_eq!(until_overdrawn(&mut tally, PING, |_| {}), Some(100));
    }

    #[test]
    fn requests_pay_for_themselves_and_refused_ones_do_not() {
        assert_eq!(until_overdrawn(&mut tally(), HEADERS, Tally::request), None);
        let refused = until_overdrawn(&mut tally(), HEADERS, |_| {}).unwrap();
        assert!(refused < 100, "{refused}");
    }

    #[test]
    fn windows_are_paid_for_by_what_is_sent_but_not_by_dribbles() {
        let twice = |sent: usize, whole: bool| until_overdrawn(&mut tally(), 2, |tally| tally.sent(sent, whole));
        assert_eq!(twice(16 << 10, true), None);
        assert_eq!(twice(1, true), None, "messages may be small");
        assert_eq!(twice(1 << 10, false), None, "and so may windows");
        assert!(twice(1, false).is_some(), "a byte at a time is an attack");
    }
}
