//! Same zone first, yet every endpoint gets the same, and a zone without good endpoints spills.

use tenbin_balance::{Balancer, Member, Policy, Rng, Settings};

use crate::common::*;

fn in_zone(zone: &str, policy: Policy) -> Settings {
    Settings {
        zone: Some(zone.into()),
        ..by(policy)
    }
}

/// A set of endpoints in zones of these sizes.
fn zones(sizes: &[(&str, usize)]) -> Vec<Member> {
    let names: Vec<&str> = sizes.iter().flat_map(|&(zone, n)| vec![zone; n]).collect();
    let mut all = members(names.len());
    for (member, name) in all.iter_mut().zip(names) {
        member.zone = name.into();
    }
    all
}

/// What each endpoint gets where a proxy in each zone sends as much, and what of it stays in its zone.
fn sent(sizes: &[(&str, usize)], policy: Policy, requests: usize) -> (Vec<u64>, f64) {
    let mut sums = vec![0; sizes.iter().map(|(_, n)| n).sum()];
    let mut local = 0;
    for (seed, (zone, _)) in (0..).zip(sizes) {
        let members = zones(sizes);
        let balancer = balancer(in_zone(zone, policy), &members, seed);
        let mut rng = Rng::new(seed);
        for _ in 0..requests {
            let index = pick(&balancer, &mut rng);
            sums[index] += 1;
            local += u32::from(&*members[index].zone == *zone);
        }
    }
    (sums, f64::from(local) / (requests * sizes.len()) as f64)
}

#[test]
fn where_zones_are_alike_nothing_leaves_its_own() {
    for policy in POLICIES {
        let (sums, local) = sent(&[("a", 3), ("b", 3), ("c", 3)], policy, 3_000);
        assert_eq!(local, 1.0, "{policy:?}");
        assert!(sums.iter().all(|n| (880..1_120).contains(n)), "{policy:?}: {sums:?}");
    }
}

#[test]
fn every_endpoint_gets_the_same_where_zones_differ() {
    for policy in POLICIES {
        for sizes in [[("a", 4), ("b", 2)], [("a", 7), ("b", 1)], [("b", 1), ("c", 5)]] {
            let (sums, local) = sent(&sizes, policy, 12_000);
            let fair = 24_000 / sums.len() as u64;
            let even = sums.iter().all(|n| n.abs_diff(fair) * 100 < fair * 8);
            assert!(even, "{policy:?} {sizes:?}: {sums:?}");
            assert!(local > 0.5, "{policy:?} {sizes:?}: {local} stays");
        }
        let (sums, _) = sent(&[("a", 6), ("b", 2), ("c", 1)], policy, 12_000);
        assert!(sums.iter().all(|n| n.abs_diff(4_000) < 320), "{policy:?}: {sums:?}");
    }
}

#[test]
fn weights_are_capacity() {
    let mut set = weighted(&[3, 1, 1, 1]);
    for (member, zone) in set.iter_mut().zip(["a", "b", "b", "b"]) {
        member.zone = zone.into();
    }
    let balancer = balancer(in_zone("a", LEAST_REQUEST), &set, 1);
    let mut rng = Rng::new(1);
    assert!(
        (0..1_000).all(|_| pick(&balancer, &mut rng) == 0),
        "one of weight 3 is as much as three of 1"
    );
}

#[test]
fn a_zone_without_good_endpoints_spills() {
    for policy in POLICIES {
        let members = zones(&[("a", 2), ("b", 2)]);
        let balancer = balancer(in_zone("a", policy), &members, 1);
        members[0].load.skip().failed(NOW);
        let mut rng = Rng::new(1);
        assert!(
            (0..200).all(|_| pick(&balancer, &mut rng) == 1),
            "{policy:?}: the other of its own"
        );
        members[1].load.skip().failed(NOW);
        let before = picks(&members);
        for _ in 0..200 {
            pick(&balancer, &mut rng);
        }
        let after = picks_since(&members, &before);
        assert!(
            after[0] + after[1] == 0 && after[2] > 60 && after[3] > 60,
            "{policy:?}: {after:?}"
        );
    }
}

fn spread_over(balancer: &Balancer) -> usize {
    let mut rng = Rng::new(1);
    let mut seen: Vec<usize> = (0..200).map(|_| pick(balancer, &mut rng)).collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}

#[test]
fn zones_that_say_nothing_are_ignored() {
    let all = zones(&[("a", 2), ("b", 2)]);
    let mut one_unknown = all.clone();
    one_unknown[3].zone = "".into();
    for (settings, set) in [
        (by(Policy::Adaptive), &all),
        (in_zone("z", Policy::Adaptive), &all),
        (in_zone("", Policy::Adaptive), &all),
        (in_zone("a", Policy::Adaptive), &one_unknown),
    ] {
        assert_eq!(spread_over(&balancer(settings.clone(), set, 1)), 4, "{settings:?}");
    }
    assert_eq!(spread_over(&balancer(in_zone("a", Policy::Adaptive), &all, 1)), 2);
}
