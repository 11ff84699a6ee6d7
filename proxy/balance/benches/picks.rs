//! What a pick, a table and an update cost. `cargo bench -p tenbin-balance`; a pick's time includes the request's end (`Open` is dropped),
//! except under `pick only`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use tenbin_balance::{
    Ask, Balancer, Fleet, Hash, Load, Member, Outcome, Pick, Policy, Rng, Role, Settings, Table, Time, Tried, hash_key,
};

const NOW: Time = Time::from_micros(3_600_000_000);
/// Picks between two looks at the clock.
const BATCH: usize = 100;
const LEAST_REQUEST: Policy = Policy::LeastRequest { choices: None };
const PEAK_EWMA: Policy = Policy::PeakEwma {
    decay: Duration::from_secs(10),
    choices: None,
};

fn members(n: u32, weight: impl Fn(u32) -> u32) -> Vec<Member> {
    let fleet = Arc::new(Fleet::default());
    let member = |n: u32| Member {
        id: format!("7f0b9c52-1d3e-4f60-9a7b-{n:012}").into(),
        role: Role::Ready,
        weight: weight(n),
        zone: "".into(),
        load: Arc::new(Load::new(&fleet)),
    };
    (0..n).map(member).collect()
}

fn by(policy: Policy) -> Settings {
    Settings {
        policy,
        ..Settings::default()
    }
}

fn hashed(table: Table, bound: Option<u32>) -> Settings {
    Settings {
        hash: Some(Hash { table, bound }),
        ..Settings::default()
    }
}

/// Picks, each 1 µs after the one before, with a key of its own where keys matter.
fn picks(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, settings: Settings, members: Vec<Member>) {
    let mut rng = Rng::new(1);
    let keyed = settings.hash.is_some();
    let balancer = Balancer::new(settings, members, NOW, &mut rng);
    let tried = Tried::default();
    let mut n = 0u64;
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            n += 1;
            let ask = Ask {
                key: keyed.then(|| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                ..Ask::new(NOW.plus(Duration::from_micros(n)), &tried)
            };
            black_box(balancer.pick(&ask, &mut rng))
        });
    });
}

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick and end");
    for (name, policy) in [
        ("RoundRobin", Policy::RoundRobin),
        ("Random", Policy::Random),
        ("LeastRequest", LEAST_REQUEST),
        ("PeakEwma", PEAK_EWMA),
        ("Adaptive", Policy::Adaptive),
    ] {
        picks(&mut group, &format!("{name}, 1000"), by(policy), members(1000, |_| 1));
        picks(
            &mut group,
            &format!("{name}, 1000 weighted"),
            by(policy),
            members(1000, |n| 1 + n % 4),
        );
    }
    for (name, policy) in [("LeastRequest", LEAST_REQUEST), ("Adaptive", Policy::Adaptive)] {
        for n in [10, 32] {
            picks(&mut group, &format!("{name}, {n}"), by(policy), members(n, |_| 1));
        }
    }
    for table in [Table::Ring, Table::Maglev] {
        picks(
            &mut group,
            &format!("{table:?}, 1000"),
            hashed(table, None),
            members(1000, |_| 1),
        );
        picks(
            &mut group,
            &format!("{table:?} bounded, 1000"),
            hashed(table, Some(125)),
            members(1000, |_| 1),
        );
    }
    group.finish();
}

/// The end of a request is not counted: they end after each batch, outside the time that is taken. What others on the machine cost is left
/// out as far as that can be told: the batch counts that a quarter of all are faster than.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn pick_only(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick only");
    let tried = Tried::default();
    for (name, settings) in [
        ("RoundRobin, 1000", by(Policy::RoundRobin)),
        ("Random, 1000", by(Policy::Random)),
        ("LeastRequest, 1000", by(LEAST_REQUEST)),
        ("PeakEwma, 1000", by(PEAK_EWMA)),
        ("Adaptive, 1000", by(Policy::Adaptive)),
        ("Ring, 1000", hashed(Table::Ring, None)),
        ("Maglev, 1000", hashed(Table::Maglev, None)),
    ] {
        let mut rng = Rng::new(1);
        let balancer = Balancer::new(settings, members(1000, |_| 1), NOW, &mut rng);
        let mut n = 0u64;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let mut batches: Vec<Duration> = Vec::with_capacity(times.div_ceil(BATCH as u64) as usize);
                let mut open: Vec<Option<Pick>> = Vec::with_capacity(BATCH);
                for _ in 0..times.div_ceil(BATCH as u64) {
                    let began = Instant::now();
                    for _ in 0..BATCH {
                        n += 1;
                        let ask = Ask {
                            key: Some(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                            ..Ask::new(NOW.plus(Duration::from_micros(n)), &tried)
                        };
                        open.push(balancer.pick(&ask, &mut rng));
                    }
                    batches.push(began.elapsed());
                    // All answered, as where endpoints work: rows of requests that nobody answers cost a closer look.
                    let now = NOW.plus(Duration::from_micros(n));
                    for pick in open.drain(..).flatten() {
                        pick.open.answered(Outcome::Success, None, now);
                    }
                }
                batches.sort_unstable();
                let usual = batches[batches.len() / 4];
                usual.mul_f64(times as f64 / BATCH as f64)
            });
        });
    }
    group.bench_function("hash of a key", |bencher| {
        bencher.iter(|| hash_key(black_box(b"203.0.113.17")));
    });
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build, 1000");
    for (name, settings, weight) in [
        ("Adaptive", by(Policy::Adaptive), 1),
        ("Adaptive, weighted: alias", by(Policy::Adaptive), 4),
        ("RoundRobin", by(Policy::RoundRobin), 1),
        ("RoundRobin, weighted: sequence", by(Policy::RoundRobin), 4),
        (
            "RoundRobin, weights to 100: longest sequence",
            by(Policy::RoundRobin),
            100,
        ),
        ("Ring", hashed(Table::Ring, None), 1),
        ("Ring, weighted", hashed(Table::Ring, None), 4),
        ("Maglev", hashed(Table::Maglev, None), 1),
        ("Maglev, weighted", hashed(Table::Maglev, None), 4),
    ] {
        let members = members(1000, |n| 1 + n % weight);
        group.bench_function(name, |bencher| {
            bencher.iter(|| Balancer::new(settings.clone(), members.clone(), NOW, &mut Rng::new(1)));
        });
    }
    group.finish();
}

/// One endpoint of 1,000 goes and comes back in turn; or only its role changes elsewhere, so that the table is shared.
fn update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update of one of 1000");
    for (name, settings) in [
        ("Adaptive", by(Policy::Adaptive)),
        ("RoundRobin", by(Policy::RoundRobin)),
        ("Ring", hashed(Table::Ring, None)),
        ("Maglev", hashed(Table::Maglev, None)),
    ] {
        let all = members(1000, |_| 1);
        let fewer = all[..999].to_vec();
        let mut rng = Rng::new(1);
        let before = Balancer::new(settings.clone(), all.clone(), NOW, &mut rng);
        group.bench_function(name, |bencher| {
            bencher.iter(|| before.next(settings.clone(), fewer.clone(), NOW, &mut rng));
        });
        group.bench_function(format!("{name}, nothing changed"), |bencher| {
            bencher.iter(|| before.next(settings.clone(), all.clone(), NOW, &mut rng));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600)).sample_size(20);
    targets = pick, pick_only, build, update
}
criterion_main!(benches);
