//! Room for large responses: buffers that a worker's connections read into in turn. What was used last is used next, while it is at hand
//! for the processor, and a connection that waits for its endpoint has none. Small responses and heads must not come here.

use std::cell::RefCell;

use bytes::BytesMut;

use crate::limits::MAX_BUFFER;

/// Who wants less has a buffer of its own: it may be kept for long by a client that is slow to take what was read.
pub(super) const LARGE: usize = 32 << 10;
/// How much room a buffer has.
const ROOM: usize = MAX_BUFFER;
/// The most buffers that a worker keeps.
const KEPT: usize = 8;

thread_local! {
    /// Those that nobody reads into; what was read into some of them may be on its way to a client still.
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer: the last one that nobody needs any more, or a new one.
pub(super) fn take() -> BytesMut {
    SPARE.with_borrow_mut(|spare| {
        let at = spare.iter_mut().rposition(|buffer| buffer.try_reclaim(ROOM));
        at.map_or_else(|| BytesMut::with_capacity(ROOM), |at| spare.remove(at))
    })
}

/// Takes one back, whatever becomes of what was read into it.
pub(super) fn put(mut buffer: BytesMut) {
    buffer.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() == KEPT {
            spare.remove(0);
        }
        spare.push(buffer);
    });
}

/// Lets go of half of them: of what nobody needs any more, nothing is left soon.
pub(super) fn sweep() {
    SPARE.with_borrow_mut(|spare| {
        let gone = spare.len().div_ceil(2);
        spare.drain(..gone);
        if spare.is_empty() {
            spare.shrink_to_fit();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_is_free_comes_first() {
        let mut buffers: Vec<BytesMut> = (0..3).map(|_| take()).collect();
        let places: Vec<*const u8> = buffers.iter().map(|buffer| buffer.as_ptr()).collect();
        for buffer in &mut buffers {
            buffer.extend_from_slice(b"response");
        }
        let on_its_way = buffers[2].split().freeze();
        buffers.into_iter().for_each(put);
        assert_eq!(take().as_ptr(), places[1], "what is on its way is not overwritten");
        assert_eq!(&on_its_way[..], b"response");
        drop(on_its_way);
        let last = take();
        assert_eq!((last.as_ptr(), last.len()), (places[2], 0));
        assert!(last.capacity() >= ROOM);
    }

    #[test]
    fn no_more_are_kept_than_may_be_and_soon_none() {
        (0..=KEPT).for_each(|_| put(BytesMut::with_capacity(ROOM)));
        let kept = || SPARE.with_borrow(Vec::len);
        assert_eq!(kept(), KEPT);
        let sweeps = (0..).take_while(|_| kept() > 0).map(|_| sweep()).count();
        assert_eq!(sweeps, 4);
    }
}
