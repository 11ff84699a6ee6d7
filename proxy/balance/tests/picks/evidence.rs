//! What answers, and their lack, do to an endpoint: failures, hangs, slowness; and what they must not do.

use std::time::Duration;

use tenbin_balance::{Outcome, Policy, Reason, Skip, Status};

use crate::common::*;

const SECOND: Duration = Duration::from_secs(1);

fn one_bad(bad: usize, answer: Answer) -> impl Fn(usize) -> Answer {
    move |index| if index == bad { answer } else { Answer::Good(millis(10)) }
}

#[test]
fn a_few_failures_in_a_row_skip_an_endpoint_under_every_algorithm() {
    for policy in POLICIES {
        let members = members(10);
        let balancers = [balancer(by(policy), &members, 1)];
        let mut world = World::new(1);
        let fails = one_bad(4, Answer::Bad(millis(1)));
        let counts = world.run(&balancers, millis(2), 20 * SECOND, &fails);
        assert!(
            counts[4] <= 10,
            "{policy:?}: {} of {}",
            counts[4],
            counts.iter().sum::<u64>()
        );
        assert_ne!(members[4].load.skip().status(world.now), Status::Usable);
    }
}

#[test]
fn trials_become_rarer_and_success_ends_them() {
    let members = members(4);
    let balancers = [balancer(by(LEAST_REQUEST), &members, 1)];
    let mut world = World::new(1);
    let fails = one_bad(1, Answer::Bad(millis(1)));
    let mut trials: Vec<u64> = Vec::new();
    for second in 0..64 {
        if world.run(&balancers, millis(5), SECOND, &fails)[1] > 0 {
            trials.push(second);
        }
    }
    let gaps: Vec<u64> = trials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        gaps.len() >= 4 && gaps.is_sorted() && gaps[gaps.len() - 1] >= 14,
        "{gaps:?}"
    );
    world.run(&balancers, millis(5), Skip::MAX + SECOND, &all_good(millis(10)));
    let counts = world.run(&balancers, millis(5), 10 * SECOND, &all_good(millis(10)));
    assert!((450..=550).contains(&counts[1]), "a fair share again: {counts:?}");
}

#[test]
fn one_request_tries_at_a_time() {
    for policy in POLICIES {
        let members = members(3);
        let balancer = balancer(by(policy), &members, 19);
        members[1].load.skip().failed(NOW);
        let later = NOW.plus(Skip::FIRST);
        let mut rng = tenbin_balance::Rng::new(19);
        let mut tries: Vec<_> = (0..60)
            .map(|_| pick_at(&balancer, later, &mut rng))
            .filter(|pick| pick.index == 1)
            .collect();
        assert_eq!(tries.len(), 1, "{policy:?}");
        assert_eq!(tries[0].reason, Reason::Trial, "{policy:?}");
        tries.remove(0).open.answered(Outcome::Success, None, later);
        let back = (0..60)
            .filter(|_| pick_at(&balancer, later, &mut rng).index == 1)
            .count();
        assert!(back >= 10, "{policy:?}: {back} of 60");
    }
}

#[test]
fn a_failure_now_and_then_skips_nobody() {
    let members = members(5);
    let balancers = [balancer(by(Policy::RoundRobin), &members, 1)];
    let mut world = World::new(1);
    let dice = std::cell::RefCell::new(tenbin_balance::Rng::new(7));
    let sometimes = |_| {
        let fails = dice.borrow_mut().below(10) == 0;
        if fails {
            Answer::Bad(millis(10))
        } else {
            Answer::Good(millis(10))
        }
    };
    let counts = world.run(&balancers, millis(5), 60 * SECOND, &sometimes);
    assert!(counts.iter().all(|n| (2_300..2_500).contains(n)), "{counts:?}");
}

#[test]
fn evidence_takes_out_half_of_them_at_most() {
    for policy in POLICIES {
        let members = members(10);
        let balancers = [balancer(by(policy), &members, 1)];
        let mut world = World::new(1);
        world.run(&balancers, millis(2), 5 * SECOND, &all_good(millis(10)));
        // Seven begin to fail, one after the other, so that each stands out when it does.
        for failing in 1..=7 {
            let some_bad = |index| {
                if index < failing {
                    Answer::Bad(millis(1))
                } else {
                    Answer::Good(millis(10))
                }
            };
            world.run(&balancers, millis(2), 2 * SECOND, &some_bad);
        }
        let convicted = |member: &tenbin_balance::Member| member.load.skip().explain(NOW).is_some();
        let out = members.iter().filter(|m| convicted(m)).count();
        assert!((1..=5).contains(&out), "{policy:?}: {out} of ten");
        world.run(&balancers, millis(2), 40 * SECOND, &all_good(millis(10)));
        let out = members.iter().filter(|m| convicted(m)).count();
        assert_eq!(out, 0, "{policy:?}: all are back");
    }
}

#[test]
fn a_bad_deployment_takes_nobody_out_for_long() {
    for policy in POLICIES {
        let members = members(10);
        let balancers = [balancer(by(policy), &members, 1)];
        let mut world = World::new(1);
        world.run(&balancers, millis(2), 5 * SECOND, &all_good(millis(10)));
        let all_bad = |_| Answer::Bad(millis(1));
        let counts = world.run(&balancers, millis(2), 30 * SECOND, &all_bad);
        assert!(
            counts.iter().all(|n| (500..3_000).contains(n)),
            "{policy:?}: while all fail {counts:?}"
        );
        // They all work again, and answer before the next request comes: none of them alone gets what was meant for ten.
        let counts = world.run(&balancers, millis(2), SECOND, &all_good(millis(1)));
        let most = *counts.iter().max().unwrap();
        // Peak EWMA remembers whose failures were the last.
        let limit = if policy == PEAK_EWMA { 250 } else { 150 };
        assert!(most <= limit, "{policy:?}: after it was over {counts:?}");
    }
}

#[test]
fn a_hang_is_convicted_after_few_requests() {
    for policy in POLICIES {
        let members = members(10);
        let balancers = [balancer(by(policy), &members, 1)];
        let mut world = World::new(1);
        world.run(&balancers, millis(5), 2 * SECOND, &all_good(millis(10)));
        let counts = world.run(&balancers, millis(5), 10 * SECOND, &one_bad(6, Answer::Never));
        assert!(counts[6] <= 13, "{policy:?}: {counts:?}");
    }
}

#[test]
fn long_polls_convict_nobody_once_they_are_known() {
    for policy in BY_LOAD {
        let members = members(5);
        let balancers = [balancer(by(policy), &members, 1)];
        let mut world = World::new(1);
        let number = std::cell::Cell::new(0u32);
        // Each fifth is answered after 25 s.
        let answer = |_| {
            number.set(number.get() + 1);
            Answer::Good(if number.get().is_multiple_of(5) {
                25 * SECOND
            } else {
                millis(10)
            })
        };
        let mut skipped = |seconds: u32| -> usize {
            let mut skipped = 0;
            for _ in 0..seconds {
                world.run(&balancers, millis(7), SECOND, &answer);
                skipped += members
                    .iter()
                    .filter(|m| m.load.skip().status(world.now) != Status::Usable)
                    .count();
            }
            skipped
        };
        let unknown = skipped(30);
        assert!(
            unknown <= 15,
            "{policy:?}: before any was answered, {unknown} of 150 endpoint seconds"
        );
        assert_eq!(skipped(90), 0, "{policy:?}: once they are known");
    }
}

#[test]
fn who_answers_a_poll_late_does_not_hang() {
    // Everybody polls anew after a broadcast has answered all polls at once, and nothing else comes.
    let members = members(4);
    let balancer = balancer(by(Policy::Adaptive), &members, 1);
    let mut rng = tenbin_balance::Rng::new(1);
    let mut now = NOW;
    for n in 0..400 {
        let pick = pick_at(&balancer, now, &mut rng);
        let took = if n % 4 == 0 { 25 * SECOND } else { millis(10) };
        pick.open.answered(Outcome::Success, None, now.plus(took));
        now = now.plus(millis(100));
    }
    now = now.plus(25 * SECOND);
    let _polls: Vec<_> = (0..400).map(|_| pick_at(&balancer, now, &mut rng)).collect();
    let later = now.plus(24 * SECOND);
    for _ in 0..40 {
        assert_eq!(pick_at(&balancer, later, &mut rng).reason, Reason::Policy);
    }
    assert!(members.iter().all(|m| m.load.skip().explain(later).is_none()));
}

#[test]
fn a_slow_endpoint_is_left_alone_but_looked_at() {
    let members = members(10);
    let balancers = [balancer(by(Policy::Adaptive), &members, 1)];
    let mut world = World::new(1);
    let slow = one_bad(3, Answer::Good(millis(300)));
    world.run(&balancers, millis(3), 5 * SECOND, &slow);
    let mut unpicked = 0;
    for _ in 0..60 {
        let counts = world.run(&balancers, millis(3), SECOND, &slow);
        assert!(counts[3] <= 4, "{counts:?}");
        unpicked = if counts[3] == 0 { unpicked + 1 } else { 0 };
        assert!(unpicked <= 10, "starved for {unpicked} s");
    }
    let counts = world.run(&balancers, millis(3), 20 * SECOND, &all_good(millis(10)));
    assert!(counts[3] > 200, "no longer slow: {counts:?}");
}

#[test]
fn nobody_starves_under_load() {
    for policy in BY_LOAD {
        let members = members(6);
        let balancers = [balancer(by(policy), &members, 1)];
        // As busy as an endpoint with many sockets can look.
        let _sockets: Vec<_> = (0..500).map(|_| members[2].load.begin(NOW)).collect();
        members[2]
            .load
            .begin(NOW)
            .answered(Outcome::Success, None, NOW.plus(25 * SECOND));
        let mut world = World::new(1);
        world.run(&balancers, millis(2), 10 * SECOND, &all_good(millis(20)));
        for _ in 0..5 {
            let counts = world.run(&balancers, millis(2), 10 * SECOND, &all_good(millis(20)));
            assert!(counts[2] > 0, "{policy:?}: {counts:?}");
        }
    }
}

#[test]
fn requests_that_nobody_waited_for_convict_nobody() {
    let members = members(2);
    let balancers = [balancer(by(LEAST_REQUEST), &members, 1)];
    let mut world = World::new(1);
    world.run(&balancers, millis(10), 2 * SECOND, &all_good(millis(10)));
    // Their clients went away before any answer could be there.
    for _ in 0..8 {
        drop(pick_at(&balancers[0], world.now, &mut world.rng));
    }
    world.pass(SECOND);
    world.run(&balancers, millis(10), millis(40), &all_good(millis(10)));
    assert!(
        members
            .iter()
            .all(|m| m.load.skip().status(world.now) == Status::Usable)
    );
}

#[test]
fn suspicion_of_all_is_no_reason_to_refuse() {
    for policy in POLICIES {
        let members = members(40);
        let balancer = balancer(by(policy), &members, 1);
        for member in &members {
            member.load.skip().failed(NOW);
        }
        assert_eq!(
            pick_at(&balancer, NOW, &mut tenbin_balance::Rng::new(1)).reason,
            Reason::Panic,
            "{policy:?}"
        );
    }
}
