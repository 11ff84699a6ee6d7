//! What an update of the endpoints keeps, and what a newcomer may not get by being unknown.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use tenbin_balance::{Balancer, Fleet, Member, Outcome, Reason, Rng, Role, Status, Tried};

use crate::common::*;

#[test]
fn the_state_of_an_endpoint_survives_every_update() {
    for policy in POLICIES {
        let all = members(4);
        let mut rng = Rng::new(1);
        let first = balancer(by(policy), &all, 1);
        let open: Vec<_> = (0..40).map(|_| pick_at(&first, NOW, &mut rng)).collect();
        open[0].open.answered(Outcome::Success, None, NOW.plus(millis(30)));
        all[2].load.skip().failed(NOW);
        let (counts, loads): (Vec<u64>, Vec<u32>) = (picks(&all), all.iter().map(|m| m.load.open()).collect());

        let without = first.next(by(policy), without(&all, 1), NOW, &mut rng);
        let mut changed = all.clone();
        changed[3].weight = 5;
        changed[0].role = Role::Draining;
        let again = without.next(by(policy), changed, NOW, &mut rng);
        for (before, after) in all.iter().zip(again.members()) {
            assert!(Arc::ptr_eq(&before.load, &after.load));
        }
        assert_eq!(picks(again.members()), counts, "{policy:?}");
        assert!(again.members().iter().map(|m| m.load.open()).eq(loads), "{policy:?}");
        assert_eq!(again.members()[2].load.skip().status(NOW), Status::Skipped);
        assert_eq!(again.members()[open[0].index].load.latency(), Some(millis(30)));
        drop(open);
        assert!(again.members().iter().all(|m| m.load.open() == 0));
    }
}

#[test]
fn fallbacks_in_order() {
    for policy in POLICIES {
        let mut set = members(3);
        set[2].role = Role::Draining;
        let first = balancer(by(policy), &set, 17);
        let mut rng = Rng::new(17);
        let mut reasons = |balancer: &Balancer| {
            let mut picks: Vec<_> = (0..30)
                .map(|_| pick_at(balancer, NOW, &mut rng))
                .map(|p| (p.index, p.reason))
                .collect();
            picks.sort_by_key(|pick| pick.0);
            picks.dedup();
            picks
        };
        assert_eq!(
            reasons(&first),
            [(0, Reason::Policy), (1, Reason::Policy)],
            "{policy:?}"
        );
        set[0].load.skip().failed(NOW);
        assert_eq!(reasons(&first), [(1, Reason::Policy)], "{policy:?}");
        let mut rng = Rng::new(17);
        let gone = first.next(by(policy), vec![set[2].clone()], NOW, &mut rng);
        assert_eq!(reasons(&gone), [(0, Reason::Draining)], "{policy:?}");
        let empty = gone.next(by(policy), Vec::new(), NOW, &mut rng);
        assert!(
            empty
                .pick(&tenbin_balance::Ask::new(NOW, &Tried::default()), &mut rng)
                .is_none(),
            "{policy:?}"
        );
        let back = empty.next(by(policy), members(1), NOW, &mut rng);
        assert_eq!(reasons(&back), [(0, Reason::Policy)], "{policy:?}");
    }
}

/// How many times its fair share the newcomer gets in its first moments, over proxies that know nothing of each other.
fn rush(policy: tenbin_balance::Policy, proxies: usize, every: Duration, takes: Duration) -> f64 {
    let mut world = World::new(11);
    let sets: Vec<Vec<Member>> = (0..proxies).map(|_| members(10)).collect();
    let balancers: Vec<Balancer> = (0u64..)
        .zip(&sets)
        .map(|(seed, set)| balancer(by(policy), set, seed))
        .collect();
    let dice = std::cell::RefCell::new(Rng::new(5));
    // Exponential service times.
    let answer = |_| Answer::Good(takes.mul_f32(-(1.0 - dice.borrow_mut().unit()).ln()));
    world.run(&balancers, every, Duration::from_secs(1), &answer);
    let next: Vec<Balancer> = balancers
        .iter()
        .map(|balancer| {
            let mut set = balancer.members().to_vec();
            set.push(newcomer(&set));
            balancer.next(by(policy), set, world.now, &mut world.rng)
        })
        .collect();
    let counts = world.run(&next, every, millis(100), &answer);
    counts[10] as f64 * 11.0 / counts.iter().sum::<u64>() as f64
}

#[test]
fn fifty_proxies_do_not_rush_at_a_newcomer() {
    for policy in BY_LOAD {
        // Each proxy has about one, then ten requests open: less than one, then one for each endpoint.
        for every in [Duration::from_micros(200), Duration::from_micros(20)] {
            let rush = rush(policy, 50, every, millis(10));
            assert!(rush <= 2.2, "{policy:?} every {every:?}: {rush} × its share");
        }
    }
}

#[derive(Clone, Debug)]
struct Shape {
    draining: bool,
    skipped: bool,
    tried: bool,
    weight: u32,
    open: usize,
}

fn any_shape() -> impl proptest::strategy::Strategy<Value = Shape> {
    use proptest::strategy::Strategy;
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (flags, 0u32..3, 0usize..4).prop_map(|((draining, skipped, tried), weight, open)| Shape {
        draining,
        skipped,
        tried,
        weight,
        open,
    })
}

proptest! {
    #![proptest_config(examples(300))]

    /// The whole contract of a pick at once, against a model that says which endpoints are allowed.
    #[test]
    fn a_pick_is_always_from_the_best_tier_left(
        policy in prop::sample::select(POLICIES.to_vec()),
        shapes in prop::collection::vec(any_shape(), 0..80),
        seed in any::<u64>(),
    ) {
        let fleet = Arc::new(Fleet::default());
        let mut set: Vec<Member> = shapes.iter().enumerate().map(|(n, shape)| member(&fleet, n, shape.weight)).collect();
        let mut tried = Tried::default();
        let mut open = Vec::new();
        for (shape, member) in shapes.iter().zip(&mut set) {
            if shape.draining {
                member.role = Role::Draining;
            }
            if shape.skipped {
                member.load.skip().failed(NOW);
            }
            if shape.tried {
                tried.push(Arc::clone(&member.load));
            }
            open.extend((0..shape.open).map(|_| member.load.begin(NOW)));
        }
        let balancer = balancer(by(policy), &set, seed);
        let tiers: [&dyn Fn(&Shape) -> bool; 6] = [
            &|s| !s.tried && !s.draining && s.weight > 0 && !s.skipped,
            &|s| !s.tried && !s.draining && s.weight > 0,
            &|s| !s.tried && !s.draining && !s.skipped,
            &|s| !s.tried && !s.draining,
            &|s| !s.tried && !s.skipped,
            &|s| !s.tried,
        ];
        let allowed = tiers.iter().find(|tier| shapes.iter().any(tier));
        let pick = balancer.pick(&tenbin_balance::Ask::new(NOW, &tried), &mut Rng::new(seed));
        match (pick, allowed) {
            (Some(pick), Some(tier)) => prop_assert!(tier(&shapes[pick.index]), "{:?} of {shapes:?}", pick.index),
            (pick, allowed) => prop_assert_eq!(pick.is_none(), allowed.is_none()),
        }
    }
}

#[test]
fn ten_thousand_endpoints_one_and_none() {
    for policy in POLICIES {
        for n in [1, 10_000] {
            let members = members(n);
            let balancer = balancer(by(policy), &members, 1);
            let mut rng = Rng::new(1);
            let open: Vec<_> = (0..500).map(|_| pick_at(&balancer, NOW, &mut rng)).collect();
            let most = members.iter().map(|m| m.load.open()).max().unwrap();
            assert!(n == 1 || most <= 3, "{policy:?}: {most}");
            for member in &members {
                member.load.skip().failed(NOW);
            }
            assert_eq!(pick_at(&balancer, NOW, &mut rng).reason, Reason::Panic);
            drop(open);
        }
        assert!(
            balancer(by(policy), &[], 1)
                .pick(&tenbin_balance::Ask::new(NOW, &Tried::default()), &mut Rng::new(1))
                .is_none()
        );
    }
}
