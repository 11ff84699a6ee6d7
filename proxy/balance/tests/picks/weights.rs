//! Weights under every algorithm, and weight 0.

use proptest::prelude::{any, prop, prop_assert, proptest};
use tenbin_balance::{FULL_SCAN, Pick, Policy, Reason, Rng, Role, Table};

use crate::common::*;

proptest! {
    #![proptest_config(examples(64))]

    #[test]
    fn least_request_fills_by_weight(weights in prop::collection::vec(1u32..20, 1..12), seed in any::<u64>()) {
        let members = weighted(&weights);
        let balancer = balancer(by(LEAST_REQUEST), &members, seed);
        let mut rng = Rng::new(seed);
        let mut open: Vec<Pick> = Vec::new();
        for _ in 0..4 * weights.iter().sum::<u32>() {
            open.push(pick_at(&balancer, NOW, &mut rng));
            let full = |of: usize| f64::from(members[of].load.open()) / f64::from(weights[of]);
            let lowest = (0..weights.len()).map(full).fold(f64::MAX, f64::min);
            for (at, weight) in weights.iter().enumerate() {
                let own = f64::from(members[at].load.open() - u32::from(members[at].load.open() > 0)) / f64::from(*weight);
                prop_assert!(own <= lowest + 1e-6, "{at} got one though another was emptier");
            }
        }
        prop_assert!(picks(&members).iter().zip(&weights).all(|(&n, &w)| n == 4 * u64::from(w)), "{:?}", picks(&members));
    }

    #[test]
    fn random_is_by_weight(weights in prop::collection::vec(0u32..1000, 2..60), seed in any::<u64>()) {
        let members = weighted(&weights);
        let balancer = balancer(by(Policy::Random), &members, seed);
        let mut rng = Rng::new(seed);
        for _ in 0..4_000 {
            pick(&balancer, &mut rng);
        }
        let weighing: Vec<(u64, u32)> = picks(&members).into_iter().zip(weights).filter(|(_, w)| *w > 0).collect();
        let (counts, weights): (Vec<u64>, Vec<u32>) = weighing.into_iter().unzip();
        prop_assert!(counts.is_empty() || counts.iter().sum::<u64>() == 4_000 || weights.is_empty(), "{counts:?}");
        // What is expected too seldom says nothing by chi-square.
        let sum: u32 = weights.iter().sum();
        if weights.len() > 1 && weights.iter().all(|w| w * 4_000 / sum >= 5) {
            prop_assert!(by_chance(&counts, &weights), "{counts:?} of {weights:?}");
        }
    }
}

#[test]
fn random_is_by_weight_and_no_other() {
    let weights = [1, 2, 3, 4];
    let members = weighted(&weights);
    let balancer = balancer(by(Policy::Random), &members, 1);
    let mut rng = Rng::new(1);
    for _ in 0..20_000 {
        pick(&balancer, &mut rng);
    }
    assert!(by_chance(&picks(&members), &weights), "{:?}", picks(&members));
    assert!(!by_chance(&picks(&members), &[1, 2, 3, 5]), "the test can tell");
}

#[test]
fn ties_rotate_by_weight() {
    for policy in [Policy::Adaptive, LEAST_REQUEST] {
        for weights in [
            vec![1; 7],
            vec![1, 2, 3, 4],
            vec![5, 3],
            vec![3, 5],
            vec![10, 1, 1],
            vec![1, 100],
            vec![7, 7, 2, 9, 4],
        ] {
            let members = weighted(&weights);
            let balancer = balancer(by(policy), &members, 5);
            let mut rng = Rng::new(5);
            let rounds = 2_000;
            for _ in 0..rounds {
                pick(&balancer, &mut rng);
            }
            let off = off_share(&picks(&members), &weights) / f64::from(rounds);
            assert!(off < 0.01, "{policy:?} {weights:?}: {:?}", picks(&members));
        }
    }
}

#[test]
fn equal_ties_rotate_exactly() {
    for policy in [Policy::Adaptive, LEAST_REQUEST] {
        let members = members(7);
        let balancer = balancer(by(policy), &members, 5);
        let mut rng = Rng::new(5);
        for round in 1..=20 {
            for _ in 0..7 {
                pick(&balancer, &mut rng);
            }
            assert_eq!(picks(&members), [round; 7], "{policy:?}: each once a round");
        }
    }
}

#[test]
fn ties_of_some_rotate_among_those() {
    let members = members(5);
    let balancer = balancer(by(LEAST_REQUEST), &members, 5);
    let busy: Vec<_> = [0, 3].iter().map(|&at: &usize| members[at].load.begin(NOW)).collect();
    let mut rng = Rng::new(5);
    for _ in 0..300 {
        pick(&balancer, &mut rng);
    }
    assert_eq!(picks(&members), [1, 100, 100, 1, 100]);
    drop(busy);
}

#[test]
fn two_of_many_fill_by_weight() {
    for policy in [LEAST_REQUEST, Policy::Adaptive] {
        let weights: Vec<u32> = (0..FULL_SCAN as u32 + 68).map(|n| 1 + n % 3).collect();
        let members = weighted(&weights);
        let balancer = balancer(by(policy), &members, 7);
        let mut rng = Rng::new(7);
        let open: Vec<Pick> = (0..4_000).map(|_| pick_at(&balancer, NOW, &mut rng)).collect();
        for member in &members {
            let (n, fair) = (f64::from(member.load.open()), 20.0 * f64::from(member.weight));
            assert!(
                (0.75 * fair..1.25 * fair).contains(&n),
                "{policy:?}: {n} at weight {}",
                member.weight
            );
        }
        drop(open);
        assert!(members.iter().all(|m| m.load.open() == 0));
    }
}

#[test]
fn weight_0_gets_nothing_new_and_keeps_its_sessions() {
    for policy in POLICIES {
        let members = weighted(&[1, 0, 2]);
        let balancer = balancer(by(policy), &members, 9);
        let mut rng = Rng::new(9);
        for _ in 0..500 {
            assert_ne!(pick(&balancer, &mut rng), 1, "{policy:?}");
        }
        let home = pick_home(&balancer, 1, false);
        assert_eq!((home.index, home.reason), (1, Reason::Affinity), "{policy:?}");
    }
}

#[test]
fn weight_0_gets_no_keys() {
    for table in [Table::Ring, Table::Maglev] {
        let balancer = balancer(hashed(table, None), &weighted(&[1, 0, 1]), 9);
        for key in 0..500u64 {
            assert_ne!(
                pick_key(&balancer, key.wrapping_mul(0x9e37_79b9_7f4a_7c15), NOW).index,
                1,
                "{table:?}"
            );
        }
    }
}

#[test]
fn weight_0_everywhere_is_used_alike() {
    for policy in POLICIES {
        let members = weighted(&[0, 0, 0]);
        let balancer = balancer(by(policy), &members, 9);
        let mut rng = Rng::new(9);
        for _ in 0..3_000 {
            assert_eq!(pick_at(&balancer, NOW, &mut rng).reason, Reason::Reserve, "{policy:?}");
        }
        assert!(
            by_chance(&picks(&members), &[1; 3]),
            "{policy:?}: {:?}",
            picks(&members)
        );
    }
}

#[test]
fn weight_0_comes_before_draining_and_after_a_skipped_one() {
    for policy in POLICIES {
        let mut set = weighted(&[1, 0, 1]);
        set[2].role = Role::Draining;
        let first = balancer(by(policy), &set, 9);
        set[0].load.skip().failed(NOW);
        let pick = pick_at(&first, NOW, &mut Rng::new(1));
        assert_eq!((pick.index, pick.reason), (0, Reason::Panic), "{policy:?}");
        let gone = first.next(by(policy), without(&set, 0), NOW, &mut Rng::new(1));
        let pick = pick_at(&gone, NOW, &mut Rng::new(1));
        assert_eq!((pick.index, pick.reason), (0, Reason::Reserve), "{policy:?}");
    }
}
