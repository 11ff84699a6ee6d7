//! Several threads that share one balancer: nothing is lost or counted twice, and what holds for one thread holds for all together.

use std::time::Duration;

use tenbin_balance::{Balancer, Outcome, Pick, Policy, Rng, Status, Table, Time, hash_key};

use crate::common::*;

/// Lets four threads pick so often each, and keep what they picked.
fn pick_by_four(each: u64, pick: impl Fn(u64, &mut Rng) -> Pick + Sync) -> Vec<Pick> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u64)
            .map(|seed| {
                let pick = &pick;
                scope.spawn(move || {
                    let mut rng = Rng::new(seed);
                    (0..each).map(|n| pick(seed * each + n, &mut rng)).collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no thread panics"))
            .collect()
    })
}

fn plain(balancer: &Balancer) -> impl Fn(u64, &mut Rng) -> Pick + Sync {
    |_, rng| pick_at(balancer, NOW, rng)
}

#[test]
fn turns_are_shared_exactly() {
    for weights in [vec![1, 1, 1], vec![1, 2, 3, 4]] {
        let members = weighted(&weights);
        let balancer = balancer(by(Policy::RoundRobin), &members, 23);
        let sum: u32 = weights.iter().sum();
        drop(pick_by_four(u64::from(sum) * 500, plain(&balancer)));
        let expected: Vec<u64> = weights.iter().map(|&w| 2_000 * u64::from(w)).collect();
        assert_eq!(picks(&members), expected);
    }
}

#[test]
fn counts_are_exact() {
    for policy in POLICIES {
        let members = members(10);
        let balancer = balancer(by(policy), &members, 23);
        let open = pick_by_four(2_500, plain(&balancer));
        assert_eq!(picks(&members).iter().sum::<u64>(), 10_000);
        for (index, member) in members.iter().enumerate() {
            let own = open.iter().filter(|pick| pick.index == index).count() as u32;
            assert_eq!(member.load.open(), own, "{policy:?}");
            let young = (policy == Policy::Adaptive).then_some(own);
            assert_eq!(member.load.young(NOW), young, "{policy:?}");
        }
        drop(open);
        assert!(members.iter().all(|m| m.load.open() == 0), "{policy:?}");
        assert!(members.iter().all(|m| m.load.young(NOW).unwrap_or(0) == 0));
    }
}

#[test]
fn least_request_fills_alike_across_threads() {
    let members = members(10);
    let balancer = balancer(by(LEAST_REQUEST), &members, 23);
    let open = pick_by_four(2_500, plain(&balancer));
    let loads: Vec<u64> = members.iter().map(|m| u64::from(m.load.open())).collect();
    // Each thread may be late by the one request that it is just about.
    assert!(spread(&loads) <= 4, "{loads:?}");
    drop(open);
}

#[test]
fn the_bound_holds_across_threads() {
    for table in [Table::Ring, Table::Maglev] {
        let members = members(5);
        let balancer = balancer(hashed(table, Some(125)), &members, 1);
        // Few keys, so that all the endpoints of some are full at any time.
        let open = pick_by_four(1_000, |n, _| pick_key(&balancer, hash_key(&(n % 3).to_le_bytes()), NOW));
        let bound = (4_000 * 125u32).div_ceil(5 * 100);
        assert!(members.iter().all(|m| m.load.open() <= bound), "{table:?}: {members:?}");
        drop(open);
    }
}

#[test]
fn slow_start_gives_no_turn_twice() {
    let settings = eased(Policy::RoundRobin, 1_000_000, 10);
    let mut all = members(3);
    let first = balancer(settings.clone(), &all, 1);
    all.push(newcomer(&all));
    let balancer = first.next(settings, all.clone(), NOW, &mut Rng::new(2));
    drop(pick_by_four(31 * 500, plain(&balancer)));
    let counts = picks(&all);
    // A tenth of what the others have.
    assert!((1_990..=2_010).contains(&counts[3]), "{counts:?}");
}

#[test]
fn one_of_all_threads_tries() {
    let members = members(3);
    let balancer = balancer(by(LEAST_REQUEST), &members, 1);
    for round in 0..50u32 {
        let at = NOW.plus(Duration::from_secs(100) * round);
        members[1].load.skip().failed(at);
        let later = at.plus(Duration::from_secs(31));
        let open = pick_by_four(20, |_, rng| pick_at(&balancer, later, rng));
        assert_eq!(open.iter().filter(|pick| pick.index == 1).count(), 1);
        members[1].load.skip().connected();
    }
}

#[test]
fn clocks_that_differ_between_threads_hurt_nobody() {
    for policy in POLICIES {
        let members = members(8);
        let balancer = balancer(eased(policy, 10, 10), &members, 1);
        let clock = |n: u64| NOW.plus(millis(n % 7));
        drop(pick_by_four(2_000, |n, rng| {
            let pick = pick_at(&balancer, clock(n), rng);
            // Its end is seen by a thread whose clock is behind.
            pick.open
                .answered(Outcome::Success, None, Time::from_micros(clock(n).as_micros() - 5_000));
            pick.open.ended(NOW);
            pick
        }));
        for member in &members {
            assert_eq!(
                (member.load.open(), member.load.young(NOW).unwrap_or(0)),
                (0, 0),
                "{policy:?}"
            );
            assert_eq!(member.load.skip().status(NOW.plus(millis(7))), Status::Usable);
        }
        assert!(
            picks(&members).iter().all(|n| *n > 500),
            "{policy:?}: {:?}",
            picks(&members)
        );
    }
}
