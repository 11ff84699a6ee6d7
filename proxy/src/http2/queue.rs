//! What waits for somebody who usually is there: one in place, more in memory of their own. Of what it holds it knows nothing.

use std::collections::VecDeque;

/// First in, first out.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// Nothing follows where there is none.
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue {
            first: None,
            rest: VecDeque::new(),
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn push(&mut self, last: T) {
        match &self.first {
            None => self.first = Some(last),
            Some(_) => self.rest.push_back(last),
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let first = self.first.take()?;
        self.first = self.rest.pop_front();
        Some(first)
    }

    /// Takes out what was put in last.
    pub(super) fn pop_last(&mut self) -> Option<T> {
        self.rest.pop_back().or_else(|| self.first.take())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is one of those that the standard library has.
        #[test]
        fn order_is_kept(steps in prop::collection::vec(0..4_u8, 0..60)) {
            let (mut queue, mut model) = (Queue::default(), VecDeque::new());
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    0 => prop_assert_eq!(queue.pop(), model.pop_front()),
                    1 => prop_assert_eq!(queue.pop_last(), model.pop_back()),
                    _ => {
                        queue.push(n);
                        model.push_back(n);
                    }
                }
                prop_assert!(queue.iter().eq(&model));
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }
}
