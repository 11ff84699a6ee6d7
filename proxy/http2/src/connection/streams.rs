//! The streams that are not over: what each may still send and get, and a table to find them by number. Nothing of frames here.

/// What is still to come of a message, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// Its head, and all after it.
    Head,
    /// Its body, and trailers.
    Body,
    /// Nothing.
    Done,
}

/// What decides, besides its length, whether a response has a body (RFC 9110 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Head,
    Connect,
    Other,
}

/// A stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    /// Its number; 0 in free places of the table.
    pub(super) id: u32,
    pub(super) receiving: Half,
    pub(super) sending: Half,
    pub(super) asked: Asked,
    /// Whether `send_data` took less than it was given for want of this stream's window.
    pub(super) is_blocked: bool,
    /// Bytes that may be sent: less than none when the peer made its windows smaller.
    pub(super) send_window: i64,
    /// Bytes that the peer may send.
    pub(super) receive_window: i64,
    /// Bytes that were released, but the peer was not told.
    pub(super) released: u32,
    /// Bytes of body that are still to come, if the length is known.
    pub(super) length: Option<u64>,
}

impl Stream {
    /// Whether nothing is to come in either direction.
    pub(super) fn is_over(&self) -> bool {
        self.receiving == Half::Done && self.sending == Half::Done
    }
}

/// A place where no stream is.
const FREE: Stream = Stream {
    id: 0,
    receiving: Half::Done,
    sending: Half::Done,
    asked: Asked::Other,
    is_blocked: false,
    send_window: 0,
    receive_window: 0,
    released: 0,
    length: None,
};

/// Places of a table that has any.
const LEAST: usize = 8;

/// Places that an empty table may keep.
const KEPT: usize = 32;

/// Streams by number: open addressing, each as near behind its own place as there was room. Numbers of one side go up by two, so that half
/// of one is as good as a hash. A peer that chooses them badly makes a look-up pass over each of its open streams, which are few.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// None, or a power of two; at most three quarters are taken.
    places: Vec<Stream>,
    taken: usize,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.taken
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        let at = self.find(id)?;
        self.places.get_mut(at)
    }

    /// Adds a stream whose number is not in the table.
    pub(super) fn insert(&mut self, stream: Stream) {
        if (self.taken + 1) * 4 > self.places.len() * 3 {
            let places = (self.places.len() * 2).max(LEAST);
            let old = std::mem::replace(&mut self.places, vec![FREE; places]);
            for stream in old.into_iter().filter(|stream| stream.id != 0) {
                self.put(stream);
            }
        }
        self.taken += 1;
        self.put(stream);
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Stream> {
        let mut free = self.find(id)?;
        let removed = std::mem::replace(self.places.get_mut(free)?, FREE);
        self.taken -= 1;
        if self.taken == 0 && self.places.len() > KEPT {
            self.places = Vec::new();
            return Some(removed);
        }
        // What stands behind moves up, so that no search ends at the free place in front of what it looks for.
        let mask = self.places.len() - 1;
        let mut at = free;
        loop {
            at = (at + 1) & mask;
            let Some(&stream) = self.places.get(at).filter(|stream| stream.id != 0) else {
                return Some(removed);
            };
            let is_behind = at.wrapping_sub(home(stream.id, mask)) & mask >= at.wrapping_sub(free) & mask;
            if is_behind {
                self.places.swap(at, free);
                free = at;
            }
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.places.iter_mut().filter(|stream| stream.id != 0)
    }

    /// Takes all streams with numbers above `last` out.
    pub(super) fn remove_above(&mut self, last: u32) -> Vec<Stream> {
        let mut above: Vec<Stream> = self
            .iter_mut()
            .filter(|stream| stream.id > last)
            .map(|stream| *stream)
            .collect();
        above.sort_unstable_by_key(|stream| stream.id);
        for stream in &above {
            self.remove(stream.id);
        }
        above
    }

    pub(super) fn clear(&mut self) {
        *self = Streams::default();
    }

    fn find(&self, id: u32) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        let mut at = home(id, mask);
        // It ends: a quarter of the places are free.
        loop {
            match self.places.get(at)?.id {
                0 => return None,
                found if found == id => return Some(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Puts a stream where there is room for it.
    fn put(&mut self, stream: Stream) {
        let mask = self.places.len() - 1;
        let mut at = home(stream.id, mask);
        while let Some(place) = self.places.get_mut(at) {
            if place.id == 0 {
                *place = stream;
                return;
            }
            at = (at + 1) & mask;
        }
    }
}

/// A stream's own place.
fn home(id: u32, mask: usize) -> usize {
    (id >> 1) as usize & mask
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is put in is found, what is taken out is not, in any order and however badly the numbers fall.
        #[test]
        fn a_table_is_a_set(steps in prop::collection::vec((any::<bool>(), prop_oneof![0..40_u32, (0..20_u32).prop_map(|n| n * 64)]), 0..200)) {
            let mut streams = Streams::default();
            let mut model = BTreeSet::new();
            for (adds, n) in steps {
                let id = n * 2 + 1;
                if adds && model.insert(id) {
                    streams.insert(Stream { id, ..FREE });
                } else if !adds {
                    prop_assert_eq!(streams.remove(id).map(|stream| stream.id), model.take(&id));
                }
                prop_assert_eq!(streams.len(), model.len());
                prop_assert!(model.iter().all(|&id| streams.find(id).is_some()));
            }
            for n in 0..1300 {
                prop_assert_eq!(streams.find(n).is_some(), model.contains(&n));
            }
            let half = model.iter().nth(model.len() / 2).copied().unwrap_or(0);
            let above: Vec<u32> = streams.remove_above(half).iter().map(|stream| stream.id).collect();
            prop_assert_eq!(above, model.iter().copied().filter(|&id| id > half).collect::<Vec<u32>>());
            let left: BTreeSet<u32> = streams.iter_mut().map(|stream| stream.id).collect();
            prop_assert_eq!(left, model.into_iter().filter(|&id| id <= half).collect::<BTreeSet<u32>>());
        }
    }
}
