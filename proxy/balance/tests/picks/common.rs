//! What the tests share: sets of endpoints, short ways to pick, and a small world in which requests take time. No assertions about
//! one algorithm.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use proptest::test_runner::{Config as ProptestConfig, RngSeed};
use tenbin_balance::{
    Ask, Balancer, Fleet, Hash, Home, Load, Member, Outcome, Pick, Policy, Rng, Role, Settings, SlowStart, Table, Time,
    Tried,
};

/// Properties are looked at with the same examples each time.
pub(crate) fn examples(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// An hour after the epoch, so that what lies before it can be said.
pub(crate) const NOW: Time = Time::from_micros(3_600_000_000);
pub(crate) const LEAST_REQUEST: Policy = Policy::LeastRequest { choices: None };
pub(crate) const PEAK_EWMA: Policy = Policy::PeakEwma {
    decay: Duration::from_secs(10),
    choices: None,
};
pub(crate) const POLICIES: [Policy; 5] = [
    Policy::Adaptive,
    Policy::RoundRobin,
    Policy::Random,
    LEAST_REQUEST,
    PEAK_EWMA,
];
/// Those that look at what an endpoint has to do.
pub(crate) const BY_LOAD: [Policy; 3] = [Policy::Adaptive, LEAST_REQUEST, PEAK_EWMA];

/// A ready endpoint of `fleet`, with a state of its own.
pub(crate) fn member(fleet: &Arc<Fleet>, n: usize, weight: u32) -> Member {
    Member {
        id: format!("pod-{n:05}").into(),
        role: Role::Ready,
        weight,
        zone: "".into(),
        load: Arc::new(Load::new(fleet)),
    }
}

/// Ready endpoints of these weights, with a fleet of their own.
pub(crate) fn weighted(weights: &[u32]) -> Vec<Member> {
    let fleet = Arc::new(Fleet::default());
    weights.iter().enumerate().map(|(n, &w)| member(&fleet, n, w)).collect()
}

/// `n` ready endpoints of weight 1.
pub(crate) fn members(n: usize) -> Vec<Member> {
    weighted(&vec![1; n])
}

/// One more endpoint of the fleet of `members`.
pub(crate) fn newcomer(members: &[Member]) -> Member {
    member(members[0].load.fleet(), members.len(), 1)
}

/// `members` in zones, in turn.
pub(crate) fn zoned(mut members: Vec<Member>, zones: &[&str]) -> Vec<Member> {
    for (n, member) in members.iter_mut().enumerate() {
        member.zone = zones[n % zones.len()].into();
    }
    members
}

/// All but the one at `index`.
pub(crate) fn without(members: &[Member], index: usize) -> Vec<Member> {
    let mut rest = members.to_vec();
    rest.remove(index);
    rest
}

pub(crate) fn by(policy: Policy) -> Settings {
    Settings {
        policy,
        ..Settings::default()
    }
}

pub(crate) fn hashed(table: Table, bound: Option<u32>) -> Settings {
    Settings {
        hash: Some(Hash { table, bound }),
        ..Settings::default()
    }
}

pub(crate) fn eased(policy: Policy, window: u64, floor: u8) -> Settings {
    Settings {
        slow_start: Some(SlowStart {
            window: Duration::from_secs(window),
            floor,
        }),
        ..by(policy)
    }
}

pub(crate) fn balancer(settings: Settings, members: &[Member], seed: u64) -> Balancer {
    Balancer::new(settings, members.to_vec(), NOW, &mut Rng::new(seed))
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn pick_at(balancer: &Balancer, now: Time, rng: &mut Rng) -> Pick {
    balancer
        .pick(&Ask::new(now, &Tried::default()), rng)
        .expect("one is left")
}

/// The endpoint of a request that ends at once.
pub(crate) fn pick(balancer: &Balancer, rng: &mut Rng) -> usize {
    pick_at(balancer, NOW, rng).index
}

pub(crate) fn pick_key(balancer: &Balancer, key: u64, now: Time) -> Pick {
    let tried = Tried::default();
    let ask = Ask {
        key: Some(key),
        ..Ask::new(now, &tried)
    };
    balancer.pick(&ask, &mut Rng::new(key)).expect("one is left")
}

pub(crate) fn pick_home(balancer: &Balancer, index: usize, keep_draining: bool) -> Pick {
    let tried = Tried::default();
    let ask = Ask {
        home: Some(Home { index, keep_draining }),
        ..Ask::new(NOW, &tried)
    };
    balancer.pick(&ask, &mut Rng::new(1)).expect("one is left")
}

/// Requests that were ever sent to each.
pub(crate) fn picks(members: &[Member]) -> Vec<u64> {
    members.iter().map(|m| m.load.picks()).collect()
}

/// The same since `before`.
pub(crate) fn picks_since(members: &[Member], before: &[u64]) -> Vec<u64> {
    picks(members)
        .iter()
        .zip(before)
        .map(|(now, then)| now - then)
        .collect()
}

pub(crate) fn spread(counts: &[u64]) -> u64 {
    let max = counts.iter().max().expect("not empty");
    max - counts.iter().min().expect("not empty")
}

/// How far the count that is farthest from its share lies from it.
pub(crate) fn off_share(counts: &[u64], weights: &[u32]) -> f64 {
    let total: u64 = counts.iter().sum();
    let sum: u32 = weights.iter().sum();
    let off = |(&n, &w): (&u64, &u32)| (n as f64 - total as f64 * f64::from(w) / f64::from(sum)).abs();
    counts.iter().zip(weights).map(off).fold(0.0, f64::max)
}

/// Whether `counts` may come from `weights` by chance: chi-square at α = 10⁻⁶, its limit by Wilson and Hilferty (1931).
pub(crate) fn by_chance(counts: &[u64], weights: &[u32]) -> bool {
    let total: u64 = counts.iter().sum();
    let sum: u32 = weights.iter().sum();
    let expected = weights.iter().map(|&w| total as f64 * f64::from(w) / f64::from(sum));
    let square: f64 = counts
        .iter()
        .zip(expected)
        .map(|(&n, e)| (n as f64 - e).powi(2) / e)
        .sum();
    let (freedom, z) = (counts.len() as f64 - 1.0, 4.7534);
    let part = 2.0 / (9.0 * freedom);
    square < freedom * (1.0 - part + z * part.sqrt()).powi(3)
}

/// What an endpoint does with a request.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// It answers well after this time.
    Good(Duration),
    /// It fails after this time.
    Bad(Duration),
    /// It never answers.
    Never,
}

/// Time, and requests that are under way.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) rng: Rng,
    due: BinaryHeap<Reverse<(u64, usize)>>,
    open: BTreeMap<usize, (Pick, Answer)>,
    sent: usize,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        World {
            now: NOW,
            rng: Rng::new(seed),
            due: BinaryHeap::new(),
            open: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Sends a request, and gives where it went.
    pub(crate) fn send(&mut self, balancer: &Balancer, answer: &impl Fn(usize) -> Answer) -> usize {
        let pick = pick_at(balancer, self.now, &mut self.rng);
        let (index, answer) = (pick.index, answer(pick.index));
        if let Answer::Good(after) | Answer::Bad(after) = answer {
            self.due.push(Reverse((self.now.plus(after).as_micros(), self.sent)));
        }
        self.open.insert(self.sent, (pick, answer));
        self.sent += 1;
        index
    }

    /// Lets time pass, and the answers come that are due.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while let Some(&Reverse((at, id))) = self.due.peek()
            && at <= end.as_micros()
        {
            self.due.pop();
            let at = Time::from_micros(at);
            let (pick, answer) = self.open.remove(&id).expect("what is due is open");
            match answer {
                Answer::Good(_) => pick.open.answered(Outcome::Success, None, at),
                Answer::Bad(_) => pick.open.answered(Outcome::Failure, None, at),
                Answer::Never => {}
            }
            pick.open.ended(at);
        }
        self.now = end;
    }

    /// Sends requests over `balancers` in turn, `every` so often, for `time`; gives how many went to each endpoint.
    pub(crate) fn run(
        &mut self,
        balancers: &[Balancer],
        every: Duration,
        time: Duration,
        answer: &impl Fn(usize) -> Answer,
    ) -> Vec<u64> {
        let mut counts = vec![0; balancers[0].members().len()];
        let end = self.now.plus(time);
        for balancer in balancers.iter().cycle() {
            if self.now >= end {
                break;
            }
            counts[self.send(balancer, answer)] += 1;
            self.pass(every);
        }
        counts
    }
}

/// Every endpoint answers well after `time`.
pub(crate) fn all_good(time: Duration) -> impl Fn(usize) -> Answer {
    move |_| Answer::Good(time)
}
