//! A pick allocates nothing, whatever the algorithm, the table and the number of endpoints. A file of its own: it has an allocator that counts.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use tenbin_balance::{
    Ask, Balancer, Fleet, Hash, Home, Load, Member, Outcome, Policy, Rng, Role, Settings, SlowStart, Table, Time, Tried,
};

const NOW: Time = Time::from_micros(3_600_000_000);

fn members(n: u32) -> Vec<Member> {
    let fleet = Arc::new(Fleet::default());
    let member = |n: u32| Member {
        id: format!("pod-{n:05}").into(),
        role: Role::Ready,
        weight: 1 + n % 3,
        zone: ["a", "b"][n as usize % 2].into(),
        load: Arc::new(Load::new(&fleet)),
    };
    (0..n).map(member).collect()
}

/// Allocations of many requests in a row, from the pick to the end.
fn allocations(settings: Settings, ask: Ask<'_>, n: u32) -> u64 {
    let members = members(n);
    let mut rng = Rng::new(1);
    let balancer = Balancer::new(settings, members.clone(), NOW, &mut rng);
    members[0].load.skip().failed(NOW);
    let counted = measure(|| {
        for n in 0..500u64 {
            let now = NOW.plus(Duration::from_millis(n));
            let key = ask.key.map(|key| key.wrapping_mul(n));
            let pick = balancer.pick(&Ask { now, key, ..ask }, &mut rng).expect("one is left");
            pick.open.answered(Outcome::Success, None, now);
            pick.open.ended(now);
        }
    });
    counted.count_total
}

#[test]
fn a_pick_allocates_nothing() {
    let policies = [
        Policy::Adaptive,
        Policy::RoundRobin,
        Policy::Random,
        Policy::LeastRequest { choices: None },
        Policy::LeastRequest { choices: Some(100) },
        Policy::PeakEwma {
            decay: Duration::from_secs(10),
            choices: None,
        },
    ];
    let tried = Tried::default();
    for policy in policies {
        for zone in [None, Some("a".into())] {
            for n in [3, 32, 1_000] {
                let settings = Settings {
                    policy,
                    zone: zone.clone(),
                    slow_start: Some(SlowStart {
                        window: Duration::from_secs(10),
                        floor: 10,
                    }),
                    ..Settings::default()
                };
                assert_eq!(
                    allocations(settings, Ask::new(NOW, &tried), n),
                    0,
                    "{policy:?} over {n}"
                );
            }
        }
    }
}

#[test]
fn nor_does_one_with_a_key_or_a_session() {
    let tried = Tried::default();
    let plain = Ask::new(NOW, &tried);
    let home = Home {
        index: 1,
        keep_draining: true,
    };
    for table in [Table::Ring, Table::Maglev] {
        for bound in [None, Some(125)] {
            let settings = Settings {
                hash: Some(Hash { table, bound }),
                ..Settings::default()
            };
            for (key, home) in [(Some(0x9e37_79b9_7f4a_7c15), None), (None, Some(home))] {
                assert_eq!(
                    allocations(settings.clone(), Ask { key, home, ..plain }, 1_000),
                    0,
                    "{table:?} {bound:?}"
                );
            }
        }
    }
}

#[test]
fn what_allocates_is_counted() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1u64)))).count_total, 1);
}
