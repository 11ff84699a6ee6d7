//! Round robin: each within one request of its share at every moment, from a random start, over updates.

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use tenbin_balance::{Ask, Policy, Reason, Rng, Settings, Tried};

use crate::common::*;

proptest! {
    #![proptest_config(examples(100))]

    #[test]
    fn each_within_one_of_its_share_at_every_moment(weights in prop::collection::vec(1u32..40, 1..9), seed in any::<u64>()) {
        let members = weighted(&weights);
        let balancer = balancer(by(Policy::RoundRobin), &members, seed);
        let mut rng = Rng::new(seed);
        let period: u32 = weights.iter().sum();
        for turn in 0..2 * period + 3 {
            pick(&balancer, &mut rng);
            let off = off_share(&picks(&members), &weights);
            prop_assert!(off <= 1.0 + 1e-9, "{off} after {turn}: {:?}", picks(&members));
        }
    }

    #[test]
    fn equal_ones_differ_by_one_at_most(n in 1usize..70, turns in 1usize..500, seed in any::<u64>()) {
        let members = members(n);
        let balancer = balancer(by(Policy::RoundRobin), &members, seed);
        let mut rng = Rng::new(seed);
        for _ in 0..turns {
            pick(&balancer, &mut rng);
        }
        prop_assert!(spread(&picks(&members)) <= 1);
    }

    #[test]
    fn an_update_that_changes_nothing_is_not_noticed(
        weights in prop::collection::vec(1u32..40, 1..9),
        updates in prop::collection::vec(0usize..4, 60),
        seed in any::<u64>(),
    ) {
        let members = weighted(&weights);
        let settings = by(Policy::RoundRobin);
        let mut rng = Rng::new(seed);
        let mut balancer = balancer(settings.clone(), &members, seed);
        for turns in updates {
            for _ in 0..turns {
                pick(&balancer, &mut rng);
                let off = off_share(&picks(&members), &weights);
                prop_assert!(off <= 1.0 + 1e-9, "{off}: {:?}", picks(&members));
            }
            balancer = balancer.next(settings.clone(), members.clone(), NOW, &mut rng);
        }
    }

    #[test]
    fn missing_ones_leave_the_others_their_shares(n in 3usize..20, missing in 0usize..20, seed in any::<u64>()) {
        let members = members(n);
        let balancer = balancer(by(Policy::RoundRobin), &members, seed);
        members[missing % n].load.skip().failed(NOW);
        let mut rng = Rng::new(seed);
        for _ in 0..50 * n {
            pick(&balancer, &mut rng);
        }
        let mut counts = picks(&members);
        prop_assert_eq!(counts.remove(missing % n), 0);
        prop_assert!(spread(&counts) <= 1, "its neighbour did not get its turns: {:?}", counts);
    }
}

#[test]
fn it_starts_anywhere() {
    for weights in [vec![1; 4], vec![1, 2, 3, 4], vec![3; 200], (1..=200).collect()] {
        let mut first = vec![0u32; weights.len()];
        for seed in 0..100 {
            first[pick(
                &balancer(by(Policy::RoundRobin), &weighted(&weights), seed),
                &mut Rng::new(0),
            )] += 1;
        }
        let most = first.iter().max().unwrap();
        assert!(
            *most <= 60,
            "{most} of 100 proxies began with the same of {}: {first:?}",
            weights.len()
        );
    }
}

#[test]
fn it_keeps_its_place_when_endpoints_go_and_come() {
    let all = members(6);
    let settings = by(Policy::RoundRobin);
    let mut rng = Rng::new(3);
    let balancer = balancer(settings.clone(), &all, 3);
    while pick(&balancer, &mut rng) != 2 {}
    // 3 would be next: without it, 4 is.
    let balancer = balancer.next(settings.clone(), without(&all, 3), NOW, &mut rng);
    assert_eq!(&*balancer.members()[pick(&balancer, &mut rng)].id, "pod-00004");
    // 5 is next, whoever else is new.
    let balancer = balancer.next(settings, all, NOW, &mut rng);
    assert_eq!(pick(&balancer, &mut rng), 5);
    assert_eq!(pick(&balancer, &mut rng), 0);
}

#[test]
fn it_keeps_its_place_within_a_zone() {
    let all = zoned(members(12), &["a", "b"]);
    let settings = Settings {
        zone: Some("a".into()),
        ..by(Policy::RoundRobin)
    };
    let mut rng = Rng::new(3);
    let mut balancer = balancer(settings.clone(), &all, 3);
    for _ in 0..60 {
        pick(&balancer, &mut rng);
        balancer = balancer.next(settings.clone(), all.clone(), NOW, &mut rng);
    }
    assert_eq!(picks(&all), [10, 0, 10, 0, 10, 0, 10, 0, 10, 0, 10, 0]);
}

#[test]
fn a_turn_is_used_up_by_a_request_that_tried_its_endpoint() {
    let members = members(3);
    let balancer = balancer(by(Policy::RoundRobin), &members, 5);
    let mut tried = Tried::default();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let ask = Ask::new(NOW, &tried);
        let pick = balancer.pick(&ask, &mut Rng::new(0)).unwrap();
        assert_eq!(pick.reason, Reason::Policy);
        seen.push(pick.index);
        tried.push(members[pick.index].load.clone());
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2], "each once");
    assert!(balancer.pick(&Ask::new(NOW, &tried), &mut Rng::new(0)).is_none());
}
