//! What happens in a world: machines, traffic, and what goes wrong when. Plain data.

use std::time::Duration;

use crate::traffic::Mix;

/// A world.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What happens, for people.
    pub about: &'static str,
    /// How fast each machine is, 1 being usual: also its weight, times 100, where `weighted`.
    pub machines: Vec<f64>,
    /// Whether the balancers are told how fast machines are.
    pub weighted: bool,
    /// Machines that are there from the beginning; the others join by [`Change::Join`].
    pub present: usize,
    /// Requests that a machine works on at a time.
    pub workers: usize,
    /// Proxies, each with its own view, among which requests are spread at random.
    pub proxies: usize,
    /// Requests a second, all proxies together.
    pub rate: f64,
    /// How long requests come.
    pub duration: Duration,
    /// How long a request is worked on by a machine of speed 1.
    pub service: Service,
    /// What kinds of requests come.
    pub mix: Mix,
    /// What happens when, in any order.
    pub changes: Vec<(Duration, Change)>,
}

/// How long requests are worked on: always 10 ms on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Memoryless.
    Exponential,
    /// Nine in ten take 5 ms, the others 55 ms.
    Bimodal,
    /// Log-normal, σ = 1.5: one in a hundred takes 33 times the median and more.
    Heavy,
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// The machine of that number behaves differently from now on; nobody is told.
    Fault(usize, Fault),
    /// It becomes ready.
    Join(usize),
    /// It drains: it is told to be stopping, and finishes what it has.
    Drain(usize),
    /// It is taken out of every view.
    Leave(usize),
}

/// How a machine behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// As it should.
    None,
    /// It takes this many times as long.
    Slow(f64),
    /// It answers with an error after a millisecond.
    Fails,
    /// It accepts and never answers; the proxy gives up after ten seconds.
    Hangs,
    /// Nobody listens: connections are refused, what was open is lost.
    Down,
}

impl Default for Scenario {
    /// Ten machines of four workers at 70% of what they can do, one proxy, thirty seconds.
    fn default() -> Self {
        Scenario {
            name: "",
            about: "",
            machines: vec![1.0; 10],
            weighted: false,
            present: 10,
            workers: 4,
            proxies: 1,
            rate: 2800.0,
            duration: Duration::from_secs(30),
            service: Service::Exponential,
            mix: Mix::default(),
            changes: Vec::new(),
        }
    }
}
