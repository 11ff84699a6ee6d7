//! The perfect central queue: a request waits until a worker of the fastest machine that has one is free, and no machine that is at fault
//! gets any. What no balancer can beat.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use tenbin_balance::Time;

use crate::machine::Machine;
use crate::report::Latencies;
use crate::scenario::{Change, Fault, Scenario};
use crate::traffic::{Kind, Request};

/// A machine that is slower than this many times is left alone.
const TOO_SLOW: f64 = 1.5;

/// The latencies of the plain requests, in the order of their coming.
pub fn perfect(scenario: &Scenario, requests: &[Request]) -> Latencies {
    let mut queue = Perfect {
        machines: (0..scenario.machines.len())
            .map(|m| Machine::new(scenario.machines[m], scenario.workers))
            .collect(),
        present: (0..scenario.machines.len()).map(|m| m < scenario.present).collect(),
        waiting: VecDeque::new(),
        ends: BinaryHeap::new(),
        latencies: Latencies::default(),
        requests,
    };
    let mut changes = scenario.changes.clone();
    changes.sort_by_key(|(at, _)| *at);
    let mut changes = changes.into_iter().peekable();
    for (number, request) in requests.iter().enumerate().filter(|(_, r)| r.kind != Kind::Poll) {
        while let Some((at, change)) = changes.next_if(|(at, _)| Time::default().plus(*at) <= request.at) {
            queue.ends_until(Time::default().plus(at));
            queue.change(change);
        }
        queue.ends_until(request.at);
        queue.waiting.push_back(number);
        queue.serve(request.at);
    }
    queue.ends_until(Time::from_micros(u64::MAX));
    queue.latencies
}

struct Perfect<'a> {
    machines: Vec<Machine>,
    present: Vec<bool>,
    waiting: VecDeque<usize>,
    ends: BinaryHeap<Reverse<(Time, usize, usize)>>,
    latencies: Latencies,
    requests: &'a [Request],
}

impl Perfect<'_> {
    fn change(&mut self, change: Change) {
        match change {
            Change::Fault(machine, fault) => self.machines[machine].fault = fault,
            Change::Join(machine) => self.present[machine] = true,
            Change::Drain(machine) | Change::Leave(machine) => self.present[machine] = false,
        }
    }

    fn serve(&mut self, now: Time) {
        while !self.waiting.is_empty() {
            let good = (0..self.machines.len()).filter(|&m| self.is_good(m));
            let Some(machine) = good.max_by(|&a, &b| self.machines[a].speed.total_cmp(&self.machines[b].speed)) else {
                return;
            };
            if let Some(number) = self.waiting.pop_front() {
                self.machines[machine].offer(number);
                let end = self.machines[machine].finish(now, self.requests[number].work);
                self.ends.push(Reverse((end, machine, number)));
            }
        }
    }

    fn is_good(&self, machine: usize) -> bool {
        let healthy = match self.machines[machine].fault {
            Fault::None => true,
            Fault::Slow(times) => times <= TOO_SLOW,
            Fault::Fails | Fault::Hangs | Fault::Down => false,
        };
        healthy && self.present[machine] && self.machines[machine].is_free()
    }

    fn ends_until(&mut self, now: Time) {
        while let Some(&Reverse((end, machine, number))) = self.ends.peek()
            && end <= now
        {
            self.ends.pop();
            self.machines[machine].done();
            let request = &self.requests[number];
            if request.kind == Kind::Plain {
                self.latencies.add(request.at, end.since(request.at));
            }
            self.serve(end);
        }
    }
}
