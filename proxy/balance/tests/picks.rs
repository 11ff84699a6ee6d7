//! What a pick promises, over every policy: shares, rotation, fallbacks, exclusion.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tenbin_balance::{Balancer, FULL_SCAN, Load, Member, Open, Policy, Reason, Rng, Role, Skip, Time, Tried};

const NOW: Time = Time::from_micros(1_000_000);

fn member(n: usize) -> Member {
    Member {
        id: format!("pod-{n:05}").into(),
        role: Role::Ready,
        load: Arc::default(),
    }
}

fn members(n: usize) -> Vec<Member> {
    (0..n).map(member).collect()
}

fn draining(mut member: Member) -> Member {
    member.role = Role::Draining;
    member
}

fn pick(balancer: &Balancer, rng: &mut Rng) -> usize {
    balancer.pick(NOW, rng, &Tried::default()).expect("one is left").index
}

fn counts(balancer: &Balancer) -> Vec<u64> {
    balancer.members().iter().map(|m| m.load.picks()).collect()
}

fn spread(counts: &[u64]) -> u64 {
    let max = counts.iter().max().expect("not empty");
    max - counts.iter().min().expect("not empty")
}

#[test]
fn round_robin_starts_anywhere() {
    let mut rng = Rng::new(1);
    let mut first = [0; 4];
    for _ in 0..400 {
        first[pick(&Balancer::new(Policy::RoundRobin, members(4), &mut rng), &mut rng)] += 1;
    }
    assert!(first.iter().all(|&n| n > 50), "400 first picks of 4: {first:?}");
}

#[test]
fn least_request_starts_anywhere() {
    let mut rng = Rng::new(1);
    let mut first = [0; 4];
    for _ in 0..400 {
        first[pick(&Balancer::new(Policy::LeastRequest, members(4), &mut rng), &mut rng)] += 1;
    }
    assert!(first.iter().all(|&n| n > 50), "400 first picks of 4: {first:?}");
}

#[test]
fn round_robin_goes_on_over_updates() {
    let mut rng = Rng::new(3);
    let all = members(5);
    let mut balancer = Balancer::new(Policy::RoundRobin, all.clone(), &mut rng);
    for _ in 0..50 {
        let picked = pick(&balancer, &mut rng);
        balancer = balancer.next(Policy::RoundRobin, all.clone(), &mut rng);
        assert_eq!(pick(&balancer, &mut rng), (picked + 1) % 5);
    }
    assert!(spread(&counts(&balancer)) <= 1);
}

#[test]
fn round_robin_keeps_its_place_when_endpoints_go_and_come() {
    let mut rng = Rng::new(3);
    let all = members(6);
    let balancer = Balancer::new(Policy::RoundRobin, all.clone(), &mut rng);
    while pick(&balancer, &mut rng) != 2 {}
    // 3 would be next: without it, 4 is.
    let without: Vec<_> = all.iter().filter(|m| *m.id != *"pod-00003").cloned().collect();
    let balancer = balancer.next(Policy::RoundRobin, without.clone(), &mut rng);
    assert_eq!(&*without[pick(&balancer, &mut rng)].id, "pod-00004");
    // 5 is next, whoever else is new.
    let balancer = balancer.next(Policy::RoundRobin, all, &mut rng);
    assert_eq!(pick(&balancer, &mut rng), 5);
    assert_eq!(pick(&balancer, &mut rng), 0);
}

#[test]
fn a_skipped_ones_share_is_not_its_neighbours() {
    let mut rng = Rng::new(9);
    let balancer = Balancer::new(Policy::RoundRobin, members(5), &mut rng);
    balancer.members()[2].load.skip().failed(NOW);
    for _ in 0..400 {
        pick(&balancer, &mut rng);
    }
    let mut counts = counts(&balancer);
    assert_eq!(counts.remove(2), 0);
    assert!(spread(&counts) <= 1, "{counts:?}");
}

#[test]
fn ties_rotate() {
    let mut rng = Rng::new(5);
    let balancer = Balancer::new(Policy::LeastRequest, members(7), &mut rng);
    for round in 1..=20 {
        for _ in 0..7 {
            pick(&balancer, &mut rng);
        }
        assert_eq!(
            counts(&balancer),
            vec![round; 7],
            "one after the other, none open: each once a round"
        );
    }
}

#[test]
fn ties_of_some_rotate_among_those() {
    let mut rng = Rng::new(5);
    let balancer = Balancer::new(Policy::LeastRequest, members(5), &mut rng);
    let busy: Vec<Open> = [0, 3].iter().map(|&i| balancer.members()[i].load.begin()).collect();
    for _ in 0..300 {
        pick(&balancer, &mut rng);
    }
    assert_eq!(counts(&balancer), [1, 100, 100, 1, 100]);
    drop(busy);
}

#[test]
fn many_endpoints_two_distinct_choices() {
    let mut rng = Rng::new(11);
    let n = FULL_SCAN + 68;
    let balancer = Balancer::new(Policy::LeastRequest, members(n), &mut rng);
    // With a distinct pair, an endpoint that is busier than all others never wins.
    let _busy: Vec<Open> = (0..5).map(|_| balancer.members()[17].load.begin()).collect();
    for _ in 0..5_000 {
        assert_ne!(pick(&balancer, &mut rng), 17);
    }
    let idle = counts(&balancer).into_iter().enumerate().filter(|&(i, _)| i != 17);
    assert!(idle.map(|(_, n)| n).all(|n| (15..110).contains(&n)), "about 50 each");
}

#[test]
fn many_endpoints_stay_even() {
    let mut rng = Rng::new(12);
    let balancer = Balancer::new(Policy::LeastRequest, members(100), &mut rng);
    let open: Vec<_> = (0..1_000)
        .map(|_| balancer.pick(NOW, &mut rng, &Tried::default()).unwrap())
        .collect();
    let loads: Vec<u64> = balancer.members().iter().map(|m| u64::from(m.load.open())).collect();
    assert!(
        spread(&loads) <= 6,
        "two choices keep 1,000 balls in 100 bins even: {loads:?}"
    );
    drop(open);
    assert!(balancer.members().iter().all(|m| m.load.open() == 0));
}

#[test]
fn a_new_endpoint_does_not_get_every_request() {
    let mut rng = Rng::new(13);
    let all = members(4);
    let balancer = Balancer::new(Policy::LeastRequest, all[..3].to_vec(), &mut rng);
    for _ in 0..300 {
        pick(&balancer, &mut rng);
    }
    let balancer = balancer.next(Policy::LeastRequest, all, &mut rng);
    for _ in 0..400 {
        pick(&balancer, &mut rng);
    }
    let new = counts(&balancer)[3];
    assert!(
        (99..=101).contains(&new),
        "a quarter of the 400 since it came, not {new}"
    );
}

#[test]
fn fallbacks_in_order() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        let mut rng = Rng::new(17);
        let set = vec![member(0), member(1), draining(member(2))];
        let balancer = Balancer::new(policy, set, &mut rng);
        let reasons = |rng: &mut Rng| -> Vec<(usize, Reason)> {
            let mut picks: Vec<_> = (0..20)
                .map(|_| {
                    balancer
                        .pick(NOW, rng, &Tried::default())
                        .map(|p| (p.index, p.reason))
                        .unwrap()
                })
                .collect();
            picks.sort_by_key(|p| p.0);
            picks.dedup();
            picks
        };
        assert_eq!(reasons(&mut rng), [(0, Reason::Policy), (1, Reason::Policy)]);
        balancer.members()[0].load.skip().failed(NOW);
        assert_eq!(reasons(&mut rng), [(1, Reason::Policy)]);
        balancer.members()[1].load.skip().failed(NOW);
        assert_eq!(reasons(&mut rng), [(0, Reason::Panic), (1, Reason::Panic)]);

        let gone = balancer.next(policy, vec![balancer.members()[2].clone()], &mut rng);
        assert_eq!(
            gone.pick(NOW, &mut rng, &Tried::default()).unwrap().reason,
            Reason::Draining
        );
        let empty = gone.next(policy, Vec::new(), &mut rng);
        assert!(empty.pick(NOW, &mut rng, &Tried::default()).is_none());
        let back = empty.next(policy, vec![member(5)], &mut rng);
        assert_eq!(back.pick(NOW, &mut rng, &Tried::default()).unwrap().index, 0);
    }
}

#[test]
fn one_trial_when_the_skip_is_over() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        let mut rng = Rng::new(19);
        let balancer = Balancer::new(policy, members(3), &mut rng);
        let sick: Arc<Load> = Arc::clone(&balancer.members()[1].load);
        sick.skip().failed(NOW);
        let later = NOW.plus(Skip::FIRST);
        let mut sick_picks = || {
            (0..30)
                .filter(|_| balancer.pick(later, &mut rng, &Tried::default()).unwrap().index == 1)
                .count()
        };
        assert_eq!(sick_picks(), 1, "{policy:?}");
        sick.skip().succeeded();
        let back = sick_picks();
        assert!(back >= 9, "{policy:?}: a fair share again, {back} of 30");
    }
}

#[test]
fn threads_share_turns_exactly() {
    let balancer = Balancer::new(Policy::RoundRobin, members(3), &mut Rng::new(23));
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let balancer = &balancer;
            scope.spawn(move || {
                let mut rng = Rng::new(seed);
                for _ in 0..3_000 {
                    pick(balancer, &mut rng);
                }
            });
        }
    });
    assert_eq!(counts(&balancer), [4_000; 3]);
    assert!(balancer.members().iter().all(|m| m.load.open() == 0));
}

fn any_policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::RoundRobin), Just(Policy::LeastRequest)]
}

#[derive(Clone, Debug)]
struct Shape {
    draining: bool,
    skipped: bool,
    tried: bool,
    open: usize,
}

fn any_shape() -> impl Strategy<Value = Shape> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 0usize..4).prop_map(|(draining, skipped, tried, open)| Shape {
        draining,
        skipped,
        tried,
        open,
    })
}

proptest! {
    #[test]
    fn round_robin_is_fair_to_one(n in 1usize..70, picks in 1usize..1_000, seed: u64) {
        let mut rng = Rng::new(seed);
        let balancer = Balancer::new(Policy::RoundRobin, members(n), &mut rng);
        for _ in 0..picks {
            pick(&balancer, &mut rng);
        }
        prop_assert!(spread(&counts(&balancer)) <= 1);
    }

    #[test]
    fn least_request_never_opens_a_second_while_another_has_none(n in 1usize..=FULL_SCAN, seed: u64) {
        let mut rng = Rng::new(seed);
        let balancer = Balancer::new(Policy::LeastRequest, members(n), &mut rng);
        let open: Vec<_> = (0..3 * n).map(|_| balancer.pick(NOW, &mut rng, &Tried::default()).unwrap()).collect();
        prop_assert_eq!(counts(&balancer), vec![3; n]);
        drop(open);
    }

    /// The whole contract of a pick at once, against a model that says which endpoints are allowed.
    #[test]
    fn a_pick_is_always_from_the_best_tier_left(
        policy in any_policy(),
        shapes in prop::collection::vec(any_shape(), 0..80),
        seed: u64,
    ) {
        let mut rng = Rng::new(seed);
        let set: Vec<_> = shapes.iter().enumerate().map(|(i, s)| if s.draining { draining(member(i)) } else { member(i) }).collect();
        let balancer = Balancer::new(policy, set, &mut rng);
        let mut tried = Tried::default();
        let mut open = Vec::new();
        for (shape, member) in shapes.iter().zip(balancer.members()) {
            if shape.skipped {
                member.load.skip().failed(NOW);
            }
            if shape.tried {
                tried.push(Arc::clone(&member.load));
            }
            open.extend((0..shape.open).map(|_| member.load.begin()));
        }
        let tiers: [&dyn Fn(&Shape) -> bool; 4] = [
            &|s| !s.tried && !s.draining && !s.skipped,
            &|s| !s.tried && !s.draining,
            &|s| !s.tried && !s.skipped,
            &|s| !s.tried,
        ];
        let allowed = tiers.iter().find(|tier| shapes.iter().any(tier));
        match (balancer.pick(NOW, &mut rng, &tried), allowed) {
            (Some(pick), Some(tier)) => prop_assert!(tier(&shapes[pick.index]), "{:?} of {shapes:?}", pick.index),
            (None, None) => {}
            (pick, _) => prop_assert!(false, "{pick:?} of {shapes:?}"),
        }
    }

    #[test]
    fn a_skip_ends(failures in 1u8..40) {
        let skip = Skip::default();
        let mut now = NOW;
        for _ in 0..failures {
            prop_assert!(skip.admit(now));
            skip.failed(now);
            now = now.plus(Skip::MAX);
        }
        prop_assert!(skip.explain(now).unwrap().1 <= Duration::ZERO);
        prop_assert!(skip.admit(now));
    }
}
