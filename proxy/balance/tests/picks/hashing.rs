//! Keys: who gets which, what moves when endpoints come and go, and the bound of bounded load.

use std::time::Duration;

use proptest::prelude::{any, prop, prop_assert, proptest};
use tenbin_balance::{Ask, Balancer, Member, Outcome, Pick, Reason, Rng, Table, Time, Tried, hash_key};

use crate::common::*;

const TABLES: [Table; 2] = [Table::Ring, Table::Maglev];

/// The identity that each of `keys` keys leads to.
fn homes(balancer: &Balancer, keys: u64) -> Vec<String> {
    let home = |n: u64| {
        let index = pick_key(balancer, hash_key(&n.to_le_bytes()), NOW).index;
        balancer.members()[index].id.to_string()
    };
    (0..keys).map(home).collect()
}

/// The part of the keys that moved though they need not have, and that of all that moved, when the one at `index` goes.
fn moved(table: Table, all: &[Member], index: usize, keys: u64) -> (f64, f64) {
    let before = homes(&balancer(hashed(table, None), all, 1), keys);
    let after = homes(&balancer(hashed(table, None), &without(all, index), 1), keys);
    let gone = &*all[index].id;
    let moves = before.iter().zip(&after).filter(|(then, now)| then != now);
    let (needed, needless): (Vec<_>, Vec<_>) = moves.partition(|(then, _)| **then == gone);
    let part = |n: usize| n as f64 / keys as f64;
    (part(needless.len()), part(needed.len() + needless.len()))
}

/// The mean over some removals, against the ideal share. What moves on an addition is the same, seen from the other side.
fn disruption(table: Table, n: usize) -> f64 {
    let all = members(n);
    let some: Vec<usize> = (0..6).map(|i| i * n / 6).collect();
    let sum: f64 = some.iter().map(|&at| moved(table, &all, at, 8_000).1).sum();
    sum / some.len() as f64 * n as f64
}

#[test]
fn the_ring_moves_the_keys_of_who_goes_and_no_others() {
    for n in [10, 30, 100, 200] {
        let disruption = disruption(Table::Ring, n);
        assert!(disruption <= 1.15, "{disruption} at {n}");
        assert_eq!(moved(Table::Ring, &members(n), n / 2, 4_000).0, 0.0, "{n}");
    }
}

#[test]
fn maglev_moves_few_others() {
    for n in [10, 30, 100, 200] {
        let disruption = disruption(Table::Maglev, n);
        assert!(disruption <= 2.2, "{disruption} at {n}");
    }
}

#[test]
fn of_weighted_ones_no_others_keys_move() {
    let weights: Vec<u32> = (0..100).map(|n| 100 + 50 * (n % 3)).collect();
    let all = weighted(&weights);
    for at in [0, 40, 98] {
        let (needless, _) = moved(Table::Ring, &all, at, 8_000);
        assert!(
            needless <= 0.0015,
            "{needless} of the keys moved for nothing without {at}"
        );
    }
}

#[test]
fn who_returns_gets_its_own_keys_back() {
    for table in TABLES {
        let all = members(20);
        let mut rng = Rng::new(1);
        let first = balancer(hashed(table, None), &all, 1);
        let before = homes(&first, 4_000);
        let without = first.next(hashed(table, None), without(&all, 7), NOW, &mut rng);
        assert_ne!(homes(&without, 4_000), before);
        assert_eq!(
            homes(&without.next(hashed(table, None), all, NOW, &mut rng), 4_000),
            before,
            "{table:?}"
        );
    }
}

#[test]
fn shares_are_even() {
    for (table, weights, within) in [
        (Table::Ring, vec![1, 1, 1, 1], 0.25),
        (Table::Ring, vec![1, 2, 3, 4], 0.25),
        (Table::Ring, vec![1000, 1000, 1000, 500], 0.25),
        (Table::Maglev, vec![1, 1, 1, 1], 0.02),
        (Table::Maglev, vec![1, 2, 3, 4], 0.025),
        (Table::Maglev, vec![1; 50], 0.10),
    ] {
        let members = weighted(&weights);
        homes(&balancer(hashed(table, None), &members, 1), 100_000);
        let sum: u32 = weights.iter().sum();
        for (&count, &weight) in picks(&members).iter().zip(&weights) {
            let share = count as f64 / 100_000.0 * f64::from(sum) / f64::from(weight);
            assert!(
                (share - 1.0).abs() <= within,
                "{table:?} {weights:?}: {:?}",
                picks(&members)
            );
        }
    }
}

#[test]
fn every_proxy_agrees() {
    for table in TABLES {
        let (one, other) = (
            balancer(hashed(table, None), &members(30), 1),
            balancer(hashed(table, None), &members(30), 2),
        );
        assert_eq!(homes(&one, 2_000), homes(&other, 2_000));
    }
}

#[test]
fn a_missing_ones_keys_go_to_several() {
    for table in TABLES {
        let members = members(8);
        let balancer = balancer(hashed(table, None), &members, 1);
        let keys: Vec<u64> = (0..4_000u64).map(|n| hash_key(&n.to_le_bytes())).collect();
        let own: Vec<u64> = keys
            .into_iter()
            .filter(|&key| pick_key(&balancer, key, NOW).index == 3)
            .collect();
        members[3].load.skip().failed(NOW);
        let before = picks(&members);
        for &key in &own {
            let pick = pick_key(&balancer, key, NOW);
            assert_eq!(pick.reason, Reason::Overflow);
            assert_eq!(pick_key(&balancer, key, NOW).index, pick.index, "the same each time");
        }
        let mut got = picks_since(&members, &before);
        assert_eq!(got.remove(3), 0);
        let most = *got.iter().max().unwrap() as f64 / (2 * own.len()) as f64;
        assert!(most < 0.35, "{table:?}: {got:?}");
    }
}

#[test]
fn a_hanging_endpoint_is_tried_again() {
    for table in TABLES {
        let members = members(3);
        let balancer = balancer(hashed(table, None), &members, 1);
        let key = (0u64..)
            .map(|n| hash_key(&n.to_le_bytes()))
            .find(|&key| pick_key(&balancer, key, NOW).index == 1)
            .unwrap();
        for other in [0, 2] {
            let open = members[other].load.begin(NOW);
            open.answered(Outcome::Success, None, NOW.plus(millis(1)));
        }
        let stuck: Vec<Pick> = (0..4).map(|_| pick_key(&balancer, key, NOW)).collect();
        let mut now = NOW.plus(Duration::from_secs(29));
        assert_eq!(
            pick_key(&balancer, key, now).index,
            1,
            "a key does not move for a pause"
        );
        now = now.plus(Duration::from_secs(2));
        assert_ne!(pick_key(&balancer, key, now).index, 1, "it hangs");
        now = now.plus(Duration::from_secs(3));
        let trial = pick_key(&balancer, key, now);
        assert_eq!(trial.index, 1, "{table:?}: its time has come");
        trial.open.answered(Outcome::Success, None, now);
        assert_eq!(pick_key(&balancer, key, now).index, 1);
        drop(stuck);
    }
}

#[test]
fn a_full_endpoint_does_not_waste_its_trial() {
    let members = members(4);
    let balancer = balancer(hashed(Table::Ring, Some(125)), &members, 1);
    let key = hash_key(b"somebody");
    let home = pick_key(&balancer, key, NOW).index;
    let stuck: Vec<_> = (0..5).map(|_| members[home].load.begin(NOW)).collect();
    members[home].load.skip().failed(NOW);
    let later = NOW.plus(Duration::from_secs(1));
    assert_ne!(pick_key(&balancer, key, later).index, home, "no room");
    drop(stuck);
    assert_eq!(
        pick_key(&balancer, key, later).index,
        home,
        "the trial is still to be had"
    );
}

/// The most that may be open at one of `weight` of `sum`, when `open` are.
fn bound(percent: u32, open: u32, weight: u32, sum: u32) -> u32 {
    (u64::from(open) * u64::from(weight) * u64::from(percent)).div_ceil(u64::from(sum) * 100) as u32
}

proptest! {
    #![proptest_config(examples(48))]

    #[test]
    fn the_bound_is_never_passed(
        weights in prop::collection::vec(1u32..9, 1..12),
        percent in 101u32..250,
        maglev in any::<bool>(),
        steps in prop::collection::vec((0u64..6, any::<bool>(), any::<prop::sample::Index>()), 1..120),
    ) {
        let members = weighted(&weights);
        let table = if maglev { Table::Maglev } else { Table::Ring };
        let balancer = balancer(hashed(table, Some(percent)), &members, 1);
        let sum: u32 = weights.iter().sum();
        let mut open: Vec<Pick> = Vec::new();
        for (key, close, which) in steps {
            if close && !open.is_empty() {
                let at = which.index(open.len());
                open.swap_remove(at);
                continue;
            }
            let pick = pick_key(&balancer, hash_key(&key.to_le_bytes()), NOW);
            prop_assert!(matches!(pick.reason, Reason::Hash | Reason::Overflow), "{:?}", pick.reason);
            let (own, weight) = (members[pick.index].load.open(), weights[pick.index]);
            open.push(pick);
            prop_assert!(own <= bound(percent, open.len() as u32, weight, sum), "{own} of {}", open.len());
        }
    }
}

#[test]
fn without_a_bound_one_key_stays_where_it_is() {
    let members = members(4);
    let balancer = balancer(hashed(Table::Maglev, None), &members, 1);
    let open: Vec<Pick> = (0..100).map(|_| pick_key(&balancer, 42, NOW)).collect();
    assert!(
        open.iter()
            .all(|pick| pick.index == open[0].index && pick.reason == Reason::Hash)
    );
}

#[test]
fn what_was_tried_is_passed_over_until_nothing_is_left() {
    for table in TABLES {
        let members = members(5);
        let balancer = balancer(hashed(table, None), &members, 1);
        let mut tried = Tried::default();
        for n in 0..5 {
            let ask = Ask {
                key: Some(7),
                ..Ask::new(Time::default(), &tried)
            };
            let pick = balancer.pick(&ask, &mut Rng::new(1)).unwrap();
            assert_eq!(pick.reason, if n == 0 { Reason::Hash } else { Reason::Overflow });
            assert!(!tried.contains(&members[pick.index].load));
            tried.push(members[pick.index].load.clone());
        }
        let ask = Ask {
            key: Some(7),
            ..Ask::new(Time::default(), &tried)
        };
        assert!(balancer.pick(&ask, &mut Rng::new(1)).is_none());
    }
}
