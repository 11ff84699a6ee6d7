//! Weighs the frames that a client sends against what is done for it, to end connections of which nothing comes but work. Frames that
//! carry a request or its body cost little; those that may come without end, and that HTTP/2's own machinery answers for ever (PING,
//! SETTINGS, PRIORITY, WINDOW_UPDATE, headers that are refused), are paid for by time, by requests and by what is sent. Pure: it sees
//! bytes pass and is told the time.

use tenbin_balance::Time;

/// What a connection may spend at once: what it begins with, and the most that it saves up.
const BURST: u32 = 1000;
/// What it gets each second.
const EACH_SECOND: u32 = 100;
/// What a request brings; more than its headers and trailers cost, since priorities and windows come with it.
const REQUEST: u32 = 48;
/// What a chunk of a response brings: windows of a stream and its connection that are opened for it, and a ping to measure the way.
const CHUNK: u32 = 4;
/// So many bytes of a response bring one more, for clients whose windows are small.
const BYTES: usize = 512;

/// The head of a frame (RFC 9113 §4.1).
const HEAD: usize = 9;
/// Kinds of frames that matter here (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;

/// An account of frames.
#[derive(Debug)]
pub(super) struct Tally {
    /// So many bytes come before the next frame's head.
    skip: usize,
    head: [u8; HEAD],
    /// How much of the head is there.
    have: usize,
    /// What is left; nobody goes deeper into debt than by what was read at once.
    left: i64,
    /// When it last got anything for the time that passed.
    since: Time,
}

impl Tally {
    /// For a connection that begins with `skip` bytes that are no frames.
    pub(super) fn new(skip: usize, now: Time) -> Self {
        Tally {
            skip,
            head: [0; HEAD],
            have: 0,
            left: i64::from(BURST),
            since: now,
        }
    }

    /// The client sent this.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = bytes.split_at(passed).1;
            let wanted = (HEAD - self.have).min(bytes.len());
            let (part, rest) = bytes.split_at(wanted);
            for (place, byte) in self.head.iter_mut().skip(self.have).zip(part) {
                *place = *byte;
            }
            self.have += wanted;
            bytes = rest;
            if self.have == HEAD {
                self.have = 0;
                let [high, middle, low, kind, ..] = self.head;
                self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.left -= cost(kind, self.skip);
            }
        }
    }

    /// A request was taken.
    pub(super) fn request(&mut self) {
        self.earn(i64::from(REQUEST));
    }

    /// So many bytes of a response were sent; with `whole`, as one chunk.
    pub(super) fn sent(&mut self, bytes: usize, whole: bool) {
        let chunk = if whole { CHUNK } else { 0 };
        self.earn(i64::from(chunk) + i64::try_from(bytes / BYTES).unwrap_or(i64::MAX));
    }

    /// Whether it may have spent more than it had: the time has to be asked.
    pub(super) fn is_short(&self) -> bool {
        self.left < 0
    }

    /// Whether it has spent more than it had, when all that is due to it is counted.
    pub(super) fn is_overdrawn(&mut self, now: Time) -> bool {
        if !self.is_short() {
            return false;
        }
        let due = now.since(self.since).as_millis() * u128::from(EACH_SECOND) / 1000;
        if due > 0 {
            self.since = now;
            self.earn(i64::try_from(due).unwrap_or(i64::MAX));
        }
        self.is_short()
    }

    fn earn(&mut self, more: i64) {
        self.left = self.left.saturating_add(more).min(i64::from(BURST));
    }
}

/// What a frame of this kind and length costs. Small and endless DATA is bounded by HTTP/2's own machinery.
fn cost(kind: u8, length: usize) -> i64 {
    match kind {
        DATA if length > 0 => 0,
        HEADERS => 16,
        // Each may change every stream there is.
        SETTINGS => 8,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const GET: &[u8] = &[0, 0, 3, HEADERS, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84];
    const PREFACE: usize = 24;

    fn tally() -> Tally {
        let mut tally = Tally::new(PREFACE, Time::default());
        tally.read(&[b'P'; PREFACE]);
        tally
    }

    /// How many frames are taken.
    fn until_overdrawn(tally: &mut Tally, frame: &[u8], mut each: impl FnMut(&mut Tally)) -> Option<usize> {
        (1..100_000).find(|_| {
            tally.read(frame);
            each(tally);
            tally.is_overdrawn(Time::default())
        })
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
    fn what_came_is_the_same_in_whatever_pieces() {
        let mut all = vec![b'P'; PREFACE];
        for _ in 0..50 {
            all.extend_from_slice(PING);
            all.extend_from_slice(GET);
        }
        let left = |size: usize| {
            let mut tally = Tally::new(PREFACE, Time::default());
            all.chunks(size).for_each(|piece| tally.read(piece));
            tally.left
        };
        for size in 1..=all.len() {
            assert_eq!(left(size), 1000 - 50 * 17, "pieces of {size}");
        }
    }

    #[test]
    fn requests_pay_for_themselves_and_refused_ones_do_not() {
        assert_eq!(until_overdrawn(&mut tally(), GET, Tally::request), None);
        let refused = until_overdrawn(&mut tally(), GET, |_| {}).unwrap();
        assert!(refused < 100, "{refused}");
    }

    #[test]
    fn windows_are_paid_for_by_what_is_sent_but_not_by_dribbles() {
        let update: &[u8] = &[0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        let twice = |sent: usize, whole: bool| {
            until_overdrawn(&mut tally(), &update.repeat(2), |tally| tally.sent(sent, whole))
        };
        assert_eq!(twice(16 << 10, true), None);
        assert_eq!(twice(1, true), None, "messages may be small");
        assert_eq!(twice(1 << 10, false), None, "and so may windows");
        assert!(twice(1, false).is_some(), "a byte at a time is an attack");
    }
}
