//! A machine: workers, a queue in order of arrival, and a fault.

use std::collections::VecDeque;
use std::time::Duration;

use tenbin_balance::Time;

use crate::scenario::Fault;

/// One endpoint's machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) speed: f64,
    pub(crate) fault: Fault,
    /// How often it went down: what it had begun before is lost.
    pub(crate) life: u32,
    busy: usize,
    workers: usize,
    queue: VecDeque<usize>,
}

impl Machine {
    pub(crate) fn new(speed: f64, workers: usize) -> Self {
        Machine {
            speed,
            fault: Fault::None,
            life: 0,
            busy: 0,
            workers,
            queue: VecDeque::new(),
        }
    }

    /// A request comes; gives whether a worker takes it at once.
    pub(crate) fn offer(&mut self, request: usize) -> bool {
        if self.busy < self.workers {
            self.busy += 1;
            true
        } else {
            self.queue.push_back(request);
            false
        }
    }

    /// Whether a worker is free.
    pub(crate) fn is_free(&self) -> bool {
        self.busy < self.workers
    }

    /// A worker is done; gives the request that it takes next.
    pub(crate) fn done(&mut self) -> Option<usize> {
        let next = self.queue.pop_front();
        if next.is_none() {
            self.busy -= 1;
        }
        next
    }

    /// It goes down; gives what waited.
    pub(crate) fn kill(&mut self) -> VecDeque<usize> {
        self.life += 1;
        self.busy = 0;
        std::mem::take(&mut self.queue)
    }

    /// When work that is begun now is done.
    pub(crate) fn finish(&self, now: Time, work: Duration) -> Time {
        let slow = match self.fault {
            Fault::Slow(times) => times,
            _ => 1.0,
        };
        now.plus(work.mul_f64(slow / self.speed))
    }
}
