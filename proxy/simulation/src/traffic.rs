//! The requests of a world: when they come, what they are, how much work they are. Drawn once, so that every algorithm and the perfect
//! queue get the very same.

use std::time::Duration;

use tenbin_balance::{Rng, Time};

use crate::scenario::{Scenario, Service};

/// Shares of requests that are no plain ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mix {
    /// Long polls: answered after 25 s, no work.
    pub polls: f64,
    /// Sockets: answered after their work, then open for a minute on average.
    pub sockets: f64,
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work, then an answer.
    Plain,
    /// An answer after [`Request::held`], without work.
    Poll,
    /// Work and an answer, then open for [`Request::held`].
    Socket,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// When it comes.
    pub at: Time,
    /// What it is.
    pub kind: Kind,
    /// How long a machine of speed 1 works on it.
    pub work: Duration,
    /// How long it is held without work.
    pub held: Duration,
    /// The proxy that it comes to.
    pub proxy: usize,
    /// Its key, for hashing.
    pub key: u64,
}

/// How long a long poll waits.
const POLL: Duration = Duration::from_secs(25);
/// How long a socket is open on average.
const SOCKET: f64 = 60.0;

/// All requests of a world, by time.
pub fn requests(scenario: &Scenario, seed: u64) -> Vec<Request> {
    let mut rng = Rng::new(seed);
    let mut requests = Vec::new();
    let mut at = 0.0;
    while at < scenario.duration.as_secs_f64() {
        at += exponential(&mut rng) / scenario.rate;
        let draw = unit(&mut rng);
        let kind = if draw < scenario.mix.polls {
            Kind::Poll
        } else if draw < scenario.mix.polls + scenario.mix.sockets {
            Kind::Socket
        } else {
            Kind::Plain
        };
        requests.push(Request {
            at: Time::from_micros((at * 1e6) as u64),
            kind,
            work: Duration::from_secs_f64(scenario.service.draw(&mut rng)),
            held: match kind {
                Kind::Plain => Duration::ZERO,
                Kind::Poll => POLL,
                Kind::Socket => Duration::from_secs_f64(exponential(&mut rng) * SOCKET),
            },
            proxy: rng.below(scenario.proxies),
            key: rng.next_u64(),
        });
    }
    requests
}

impl Service {
    /// Seconds of work: 10 ms on average.
    fn draw(self, rng: &mut Rng) -> f64 {
        match self {
            Service::Exponential => exponential(rng) * 0.01,
            Service::Bimodal if unit(rng) < 0.9 => 0.005,
            Service::Bimodal => 0.055,
            Service::Heavy => {
                const SIGMA: f64 = 1.5;
                // Box and Muller: one of the two normal numbers.
                let radius = (2.0 * exponential(rng)).sqrt();
                let normal = radius * (std::f64::consts::TAU * unit(rng)).cos();
                0.01 * (SIGMA * normal - SIGMA * SIGMA / 2.0).exp()
            }
        }
    }
}

/// From 0 to 1, neither of them.
fn unit(rng: &mut Rng) -> f64 {
    ((rng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Of mean 1.
fn exponential(rng: &mut Rng) -> f64 {
    -unit(rng).ln()
}
