//! The dynamic table (RFC 7541 §2.3.2, §4): fields that the peer may refer to, kept parsed, newest first.

use std::collections::VecDeque;

use super::Field;
use super::field::Name;

struct Entry {
    field: Field,
    /// The name where the field is bad: it may be referred to with another value.
    name: Option<Box<Name>>,
    size: usize,
}

/// What a decoder remembers.
pub(super) struct Table {
    entries: VecDeque<Entry>,
    /// The sum of the entries' sizes (RFC 7541 §4.1).
    size: usize,
    limit: usize,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit,
        }
    }

    /// The field at `at`, the newest at 0, and its size.
    #[inline]
    pub(super) fn field(&self, at: usize) -> Option<(&Field, usize)> {
        let entry = self.entries.get(at)?;
        Some((&entry.field, entry.size))
    }

    /// The name of the field at `at`.
    pub(super) fn name(&self, at: usize) -> Option<Name> {
        let entry = self.entries.get(at)?;
        match &entry.name {
            Some(name) => Some(Name::clone(name)),
            None => Name::of(&entry.field),
        }
    }

    /// The oldest go until an entry of `size` bytes has room; whether it has, which one that is larger than the table never has (RFC
    /// 7541 §4.4).
    pub(super) fn make_room(&mut self, size: usize) -> bool {
        let left = self.limit.checked_sub(size);
        self.evict(left.unwrap_or(0));
        left.is_some()
    }

    /// Adds a field that there is room for; `name` is kept where the field is bad.
    pub(super) fn add(&mut self, field: Field, name: Option<Box<Name>>, size: usize) {
        self.size += size;
        self.entries.push_front(Entry { field, name, size });
    }

    /// Sets how many bytes it takes (RFC 7541 §4.3).
    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.evict(limit);
    }

    /// The oldest go until at most `left` bytes are left.
    fn evict(&mut self, left: usize) {
        while self.size > left
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size;
        }
    }
}
