//! The world with balancers in it: events in order of time, each request from its coming to its end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tenbin_balance::{
    Ask, Balancer, Fleet, Load, Member, Open, Outcome as Answer, Reason, Rng, Role, Settings, Time, Tried,
};

use crate::algorithms::Algorithm;
use crate::machine::Machine;
use crate::report::Latencies;
use crate::scenario::{Change, Fault, Scenario};
use crate::traffic::{Kind, Request};

/// How long a proxy waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a machine takes to answer with an error, and to refuse a connection.
const QUICK: Duration = Duration::from_millis(1);
/// How many endpoints a request is tried on.
const TRIES: usize = 3;
/// How long news takes to a proxy at most.
const NEWS: usize = 50_000;

/// What became of it all.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of plain requests; one that failed counts with the time that it took to fail.
    pub latencies: Latencies,
    /// Requests that failed.
    pub failed: usize,
    /// Requests that each machine got.
    pub picks: Vec<u64>,
    /// When each machine got each of its requests, in microseconds.
    pub arrivals: Vec<Vec<u64>>,
    /// The longest time for which a ready machine that works had no request.
    pub longest_wait: Duration,
    /// Picks by reason.
    pub reasons: Vec<(Reason, u64)>,
    /// What the proxies still count as open after the last request ended.
    pub left_open: u32,
}

/// Runs `algorithm` in `scenario`.
pub fn run(scenario: &Scenario, algorithm: &Algorithm, requests: &[Request], seed: u64) -> Outcome {
    World::new(scenario, &algorithm.settings, requests, seed).run()
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Number of a change.
    Change(usize),
    /// A proxy hears of what is ready.
    News(usize),
    /// A request comes.
    Arrive(usize),
    /// Its work is done, by a machine in that life of its.
    Done(usize, usize, u32),
    /// It is answered without work: by a poll's time, or with an error.
    Answer(usize),
    /// Its connection was refused or lost.
    Refused(usize),
    /// Nobody answered.
    Timeout(usize),
    /// A socket ends.
    End(usize),
}

#[derive(Debug, Default)]
struct Flight {
    open: Option<Open>,
    machine: usize,
    tries: usize,
    tried: Tried,
}

struct Proxy {
    balancer: Balancer,
    loads: Vec<Arc<Load>>,
    rng: Rng,
}

/// What the control plane says of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Ready,
    Draining,
}

struct World<'a> {
    scenario: &'a Scenario,
    settings: &'a Settings,
    requests: &'a [Request],
    now: Time,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    number: u64,
    rng: Rng,
    machines: Vec<Machine>,
    states: Vec<State>,
    /// When each machine began to be one that should get requests.
    since: Vec<Option<Time>>,
    proxies: Vec<Proxy>,
    flights: Vec<Flight>,
    reasons: [u64; Reason::ALL.len()],
    outcome: Outcome,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, settings: &'a Settings, requests: &'a [Request], seed: u64) -> Self {
        let count = scenario.machines.len();
        let state = |m| {
            if m < scenario.present {
                State::Ready
            } else {
                State::Absent
            }
        };
        let states: Vec<State> = (0..count).map(state).collect();
        let mut rng = Rng::new(seed ^ 0x5eed);
        let proxies = (0..scenario.proxies)
            .map(|_| Proxy::new(scenario, settings, &states, Rng::new(rng.next_u64())))
            .collect();
        World {
            settings,
            requests,
            now: Time::default(),
            events: BinaryHeap::new(),
            number: 0,
            machines: (0..count)
                .map(|m| Machine::new(scenario.machines[m], scenario.workers))
                .collect(),
            since: states
                .iter()
                .map(|s| (*s == State::Ready).then(Time::default))
                .collect(),
            states,
            proxies,
            flights: requests.iter().map(|_| Flight::default()).collect(),
            reasons: Default::default(),
            outcome: Outcome {
                picks: vec![0; count],
                arrivals: vec![Vec::new(); count],
                ..Outcome::default()
            },
            rng,
            scenario,
        }
    }

    fn run(mut self) -> Outcome {
        for number in 0..self.scenario.changes.len() {
            let at = Time::default().plus(self.scenario.changes[number].0);
            self.at(at, Event::Change(number));
        }
        if let Some(first) = self.requests.first() {
            self.at(first.at, Event::Arrive(0));
        }
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            self.now = now;
            self.happen(event);
        }
        let end = Time::default().plus(self.scenario.duration);
        for machine in 0..self.machines.len() {
            self.waited(machine, end);
        }
        self.outcome.left_open = self
            .proxies
            .iter()
            .flat_map(|proxy| proxy.loads.iter().map(|load| load.open()))
            .sum();
        self.outcome.reasons = Reason::ALL.into_iter().zip(self.reasons).collect();
        self.outcome
    }

    fn at(&mut self, at: Time, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at, self.number, event)));
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now.plus(delay), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Change(number) => self.change(self.scenario.changes[number].1),
            Event::News(proxy) => {
                self.proxies[proxy].hear(self.scenario, self.settings, &self.states, self.now);
            }
            Event::Arrive(number) => {
                if let Some(next) = self.requests.get(number + 1) {
                    self.at(next.at, Event::Arrive(number + 1));
                }
                self.send(number);
            }
            Event::Done(number, machine, life) => {
                if self.machines[machine].life != life {
                    return self.happen(Event::Refused(number));
                }
                if let Some(next) = self.machines[machine].done() {
                    self.work(machine, next);
                }
                if self.machines[machine].fault == Fault::Hangs {
                    self.after(TIMEOUT, Event::Timeout(number));
                } else {
                    self.answer(number, Answer::Success);
                }
            }
            Event::Answer(number) => {
                let failed = self.machines[self.flights[number].machine].fault == Fault::Fails;
                self.answer(number, if failed { Answer::Failure } else { Answer::Success });
            }
            Event::Refused(number) => self.retry(number),
            Event::Timeout(number) => self.answer(number, Answer::Failure),
            Event::End(number) => self.end(number),
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Fault(machine, fault) => {
                self.waited(machine, self.now);
                self.machines[machine].fault = fault;
                if fault == Fault::Down {
                    for waiting in self.machines[machine].kill() {
                        self.after(QUICK, Event::Refused(waiting));
                    }
                }
            }
            Change::Join(machine) => self.set(machine, State::Ready),
            Change::Drain(machine) => self.set(machine, State::Draining),
            Change::Leave(machine) => self.set(machine, State::Absent),
        }
        self.since_now(change);
    }

    fn since_now(&mut self, change: Change) {
        let (Change::Fault(machine, _) | Change::Join(machine) | Change::Drain(machine) | Change::Leave(machine)) =
            change;
        let works = matches!(self.machines[machine].fault, Fault::None | Fault::Slow(_));
        let wanted = works && self.states[machine] == State::Ready;
        self.since[machine] = wanted.then_some(self.now);
    }

    /// Notes how long a machine that should get requests had none.
    fn waited(&mut self, machine: usize, until: Time) {
        if let Some(since) = self.since[machine] {
            self.outcome.longest_wait = self.outcome.longest_wait.max(until.since(since));
        }
    }

    fn set(&mut self, machine: usize, state: State) {
        self.waited(machine, self.now);
        self.states[machine] = state;
        for proxy in 0..self.proxies.len() {
            let delay = Duration::from_micros(self.rng.below(NEWS) as u64);
            self.after(delay, Event::News(proxy));
        }
    }

    /// Has the request's proxy pick an endpoint.
    fn send(&mut self, number: usize) {
        let request = self.requests[number];
        let proxy = &mut self.proxies[request.proxy];
        let flight = &mut self.flights[number];
        let ask = Ask {
            key: Some(request.key),
            lasts: request.kind == Kind::Socket,
            ..Ask::new(self.now, &flight.tried)
        };
        let Some(pick) = proxy.balancer.pick(&ask, &mut proxy.rng) else {
            return self.fail(number);
        };
        let machine: usize = proxy.balancer.members()[pick.index].id.parse().unwrap_or(0);
        self.reasons[pick.reason as usize] += 1;
        flight.open = Some(pick.open);
        flight.machine = machine;
        flight.tries += 1;
        self.outcome.picks[machine] += 1;
        self.outcome.arrivals[machine].push(self.now.as_micros());
        self.waited(machine, self.now);
        if self.since[machine].is_some() {
            self.since[machine] = Some(self.now);
        }
        match self.machines[machine].fault {
            Fault::Down => self.after(QUICK, Event::Refused(number)),
            Fault::Hangs => self.after(TIMEOUT, Event::Timeout(number)),
            Fault::Fails => self.after(QUICK, Event::Answer(number)),
            Fault::None | Fault::Slow(_) if request.kind == Kind::Poll => {
                self.after(request.held, Event::Answer(number));
            }
            Fault::None | Fault::Slow(_) => {
                if self.machines[machine].offer(number) {
                    self.work(machine, number);
                }
            }
        }
    }

    fn work(&mut self, machine: usize, number: usize) {
        let work = self.requests[number].work;
        let end = self.machines[machine].finish(self.now, work);
        self.at(end, Event::Done(number, machine, self.machines[machine].life));
    }

    fn answer(&mut self, number: usize, answer: Answer) {
        if let Some(open) = &self.flights[number].open {
            open.answered(answer, None, self.now);
        }
        let request = self.requests[number];
        if request.kind == Kind::Plain {
            self.outcome.latencies.add(request.at, self.now.since(request.at));
        }
        if answer == Answer::Failure {
            return self.fail(number);
        }
        if request.kind == Kind::Socket {
            if let Some(open) = &self.flights[number].open {
                open.held();
            }
            self.after(request.held, Event::End(number));
        } else {
            self.end(number);
        }
    }

    fn retry(&mut self, number: usize) {
        if let Some(open) = self.flights[number].open.take() {
            open.load().skip().failed(self.now);
            self.flights[number].tried.push(Arc::clone(open.load()));
        }
        if self.flights[number].tries < TRIES {
            self.send(number);
        } else {
            self.fail(number);
        }
    }

    fn fail(&mut self, number: usize) {
        self.outcome.failed += 1;
        self.flights[number].open = None;
    }

    fn end(&mut self, number: usize) {
        if let Some(open) = self.flights[number].open.take() {
            open.ended(self.now);
        }
    }
}

impl Proxy {
    fn new(scenario: &Scenario, settings: &Settings, states: &[State], mut rng: Rng) -> Self {
        let fleet = Arc::new(Fleet::default());
        let loads: Vec<Arc<Load>> = states.iter().map(|_| Arc::new(Load::new(&fleet))).collect();
        let members = members(scenario, states, &loads);
        Proxy {
            balancer: Balancer::new(settings.clone(), members, Time::default(), &mut rng),
            loads,
            rng,
        }
    }

    fn hear(&mut self, scenario: &Scenario, settings: &Settings, states: &[State], now: Time) {
        let members = members(scenario, states, &self.loads);
        self.balancer = self.balancer.next(settings.clone(), members, now, &mut self.rng);
    }
}

fn members(scenario: &Scenario, states: &[State], loads: &[Arc<Load>]) -> Vec<Member> {
    let present = (0..states.len()).filter(|&m| states[m] != State::Absent);
    present
        .map(|m| Member {
            id: format!("{m:04}").into(),
            role: if states[m] == State::Ready {
                Role::Ready
            } else {
                Role::Draining
            },
            weight: if scenario.weighted {
                (scenario.machines[m] * 100.0) as u32
            } else {
                1
            },
            zone: "".into(),
            load: Arc::clone(&loads[m]),
        })
        .collect()
}
