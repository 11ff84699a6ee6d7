//! What is to be written: small things joined in one buffer, large ones kept as they are, in order. What they mean is none of its business.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Bytes from which a piece of a body is not copied.
const LARGE: usize = 4 << 10;

/// Bytes of room that an empty buffer may keep: while streams are open, and while none is.
const KEPT_BUSY: usize = 64 << 10;
const KEPT: usize = 8 << 10;

/// Bytes to be written.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// All that is small: frames' heads, whole frames.
    pub(super) joined: BytesMut,
    /// Bytes of `joined` that are written already, in all: where it begins.
    written: u64,
    /// Large pieces, each with how many bytes of `joined`, in all, go before it.
    large: VecDeque<(u64, Bytes)>,
    /// Bytes of the large pieces.
    large_bytes: usize,
}

impl Output {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.joined.len() + self.large_bytes
    }

    /// Adds a piece of a body.
    pub(super) fn put(&mut self, piece: Bytes) {
        if piece.len() < LARGE {
            self.joined.extend_from_slice(&piece);
            return;
        }
        self.large_bytes += piece.len();
        self.large.push_back((self.written + self.joined.len() as u64, piece));
    }

    /// As many pieces, in order, as there is room for; returns how many.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut joined = &self.joined[..];
        let mut begin = self.written;
        let mut count = 0;
        let mut room = slices.iter_mut();
        let mut add = |piece: &'a [u8]| {
            if piece.is_empty() {
                return true;
            }
            let Some(slice) = room.next() else { return false };
            *slice = IoSlice::new(piece);
            count += 1;
            true
        };
        for (at, piece) in &self.large {
            let (before, after) = joined.split_at(until(begin, *at, joined.len()));
            if !add(before) || !add(piece) {
                return count;
            }
            (joined, begin) = (after, *at);
        }
        add(joined);
        count
    }

    /// So many bytes of it are written; `busy` while streams are open.
    pub(super) fn wrote(&mut self, mut bytes: usize, busy: bool) {
        while let Some((at, piece)) = self.large.front_mut() {
            let before = until(self.written, *at, self.joined.len()).min(bytes);
            self.joined.advance(before);
            self.written += before as u64;
            bytes -= before;
            if self.written < *at || bytes == 0 {
                return;
            }
            let taken = piece.len().min(bytes);
            piece.advance(taken);
            self.large_bytes -= taken;
            bytes -= taken;
            if !piece.is_empty() {
                return;
            }
            self.large.pop_front();
        }
        let rest = self.joined.len().min(bytes);
        self.joined.advance(rest);
        self.written += rest as u64;
        self.keep(if busy { KEPT_BUSY } else { KEPT });
    }

    /// No stream is open: keeps less room.
    pub(super) fn rest(&mut self) {
        self.keep(KEPT);
    }

    /// Keeps no more room than that, where it is empty.
    fn keep(&mut self, most: usize) {
        // That in front of it included.
        if self.joined.is_empty() && self.joined.try_reclaim(most + 1) {
            self.joined = BytesMut::new();
        }
    }
}

/// How many bytes of `joined`, which begins at `begin` and has `length`, go before `at`.
fn until(begin: u64, at: u64, length: usize) -> usize {
    usize::try_from(at - begin).map_or(length, |before| before.min(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a burst took does not stay with a connection that is idle.
    #[test]
    fn room_is_given_back() {
        let mut busy = Output::default();
        busy.put(Bytes::from_static(&[0; 4000]));
        for _ in 0..10 {
            busy.put(Bytes::from_static(&[0; 4000]));
        }
        busy.wrote(busy.len(), true);
        assert!(busy.joined.try_reclaim(KEPT + 1), "for what comes next");
        busy.rest();
        assert!(!busy.joined.try_reclaim(KEPT + 1), "nothing does");
        for step in [1, 1000, usize::MAX] {
            let mut output = Output::default();
            for _ in 0..100 {
                output.put(Bytes::from_static(&[0; 1000]));
            }
            while output.len() > 0 {
                output.wrote(output.len().min(step), false);
            }
            assert!(
                !output.joined.try_reclaim(KEPT + 1),
                "{} bytes are kept",
                output.joined.capacity()
            );
        }
    }

    proptest! {
        /// Whatever is written at a time, it comes out as it was put in.
        #[test]
        fn order_is_kept(pieces in prop::collection::vec((any::<u8>(), prop_oneof![0..20_usize, LARGE - 2..LARGE + 2]), 0..20), takes in prop::collection::vec((1..5_usize, 0..9000_usize), 0..40)) {
            let mut output = Output::default();
            let mut pieces = pieces.into_iter();
            let mut expected = Vec::new();
            let mut got = Vec::new();
            for (room, take) in takes.into_iter().chain(std::iter::repeat_n((3, usize::MAX), 20)) {
                if let Some((byte, length)) = pieces.next() {
                    output.put(vec![byte; length].into());
                    expected.extend(std::iter::repeat_n(byte, length));
                }
                let mut slices = vec![IoSlice::new(&[]); room];
                let count = output.slices(&mut slices);
                prop_assert_eq!(count == 0, output.len() == 0);
                let mut all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                all.truncate(take);
                output.wrote(all.len(), false);
                got.extend(all);
                prop_assert_eq!(expected.len(), got.len() + output.len());
            }
            prop_assert_eq!(got, expected);
        }
    }
}
