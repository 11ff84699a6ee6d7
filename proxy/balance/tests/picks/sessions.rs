//! Sessions: they stay as long as their endpoint serves, and go elsewhere when it doesn't.

use std::time::Duration;

use tenbin_balance::{Ask, Home, Outcome, Policy, Reason, Rng, Role, Table, Tried, hash_key};

use crate::common::*;

#[test]
fn a_session_stays_whatever_the_load() {
    for policy in POLICIES {
        let members = members(3);
        let balancer = balancer(by(policy), &members, 1);
        let open: Vec<_> = (0..50).map(|_| pick_home(&balancer, 2, false)).collect();
        assert!(
            open.iter().all(|p| p.index == 2 && p.reason == Reason::Affinity),
            "{policy:?}"
        );
    }
}

#[test]
fn a_draining_endpoint_keeps_its_sessions_or_not_as_wanted() {
    for policy in POLICIES {
        let mut members = members(3);
        members[1].role = Role::Draining;
        let balancer = balancer(by(policy), &members, 1);
        assert_eq!(
            pick_home(&balancer, 1, true).reason,
            Reason::Affinity,
            "{policy:?}: keep"
        );
        let moved = pick_home(&balancer, 1, false);
        assert_ne!(moved.index, 1, "{policy:?}: move");
        assert_eq!(moved.reason, Reason::Policy);
    }
}

#[test]
fn a_session_of_a_skipped_endpoint_goes_elsewhere_and_one_comes_back_to_try() {
    let members = members(3);
    let balancer = balancer(by(LEAST_REQUEST), &members, 1);
    members[1].load.skip().failed(NOW);
    assert_ne!(pick_home(&balancer, 1, true).index, 1);
    let tried = Tried::default();
    let later = NOW.plus(Duration::from_secs(1));
    let ask = Ask {
        home: Some(Home {
            index: 1,
            keep_draining: true,
        }),
        ..Ask::new(later, &tried)
    };
    let trial = balancer.pick(&ask, &mut Rng::new(1)).unwrap();
    assert_eq!(trial.index, 1);
    assert_ne!(balancer.pick(&ask, &mut Rng::new(1)).unwrap().index, 1, "one is enough");
    trial.open.answered(Outcome::Success, None, later);
    assert_eq!(balancer.pick(&ask, &mut Rng::new(1)).unwrap().index, 1);
}

#[test]
fn sessions_leave_an_endpoint_that_hangs() {
    let members = members(3);
    let balancer = balancer(by(LEAST_REQUEST), &members, 1);
    let answered = pick_home(&balancer, 0, true);
    answered.open.answered(Outcome::Success, None, NOW.plus(millis(5)));
    let _stuck: Vec<_> = (0..4).map(|_| pick_home(&balancer, 1, true)).collect();
    let tried = Tried::default();
    let after = |time| {
        let home = Some(Home {
            index: 1,
            keep_draining: true,
        });
        let ask = Ask {
            home,
            ..Ask::new(NOW.plus(millis(time)), &tried)
        };
        balancer.pick(&ask, &mut Rng::new(1)).unwrap().index
    };
    assert_eq!(after(29_000), 1, "not for a pause");
    assert_ne!(after(31_000), 1);
}

#[test]
fn sessions_stay_where_only_answers_are_bad() {
    let members = members(3);
    let balancer = balancer(hashed(Table::Ring, None), &members, 1);
    let key = (0u64..)
        .map(|n| hash_key(&n.to_le_bytes()))
        .find(|&key| pick_key(&balancer, key, NOW).index == 1)
        .unwrap();
    for other in [0, 2].repeat(50) {
        let open = members[other].load.begin(NOW);
        open.answered(Outcome::Success, None, NOW.plus(millis(1)));
    }
    for _ in 0..5 {
        let open = members[1].load.begin(NOW);
        open.answered(Outcome::Failure, None, NOW.plus(millis(1)));
    }
    assert_eq!(
        pick_home(&balancer, 1, true).index,
        1,
        "what it knows of the session is there alone"
    );
    assert_ne!(
        pick_key(&balancer, key, NOW.plus(millis(2))).index,
        1,
        "a key has nothing to lose"
    );
}

#[test]
fn a_session_that_was_tried_at_home_goes_elsewhere() {
    let members = members(2);
    let balancer = balancer(by(LEAST_REQUEST), &members, 1);
    let mut tried = Tried::default();
    tried.push(members[0].load.clone());
    let ask = Ask {
        home: Some(Home {
            index: 0,
            keep_draining: true,
        }),
        ..Ask::new(NOW, &tried)
    };
    assert_eq!(balancer.pick(&ask, &mut Rng::new(1)).unwrap().index, 1);
}

#[test]
fn a_session_of_an_endpoint_that_is_no_more_goes_elsewhere() {
    let balancer = balancer(by(LEAST_REQUEST), &members(2), 1);
    assert_eq!(pick_home(&balancer, 2, true).reason, Reason::Policy);
}

#[test]
fn sessions_begin_where_the_fewest_are_whatever_this_second_says() {
    let members = members(4);
    let balancer = balancer(by(Policy::Adaptive), &members, 1);
    for (index, member) in members.iter().enumerate().cycle().take(80) {
        // Two have just started, and answer twenty times as slowly as the others.
        let took = if index < 2 { 100 } else { 5 };
        member
            .load
            .begin(NOW)
            .answered(Outcome::Success, None, NOW.plus(millis(took)));
    }
    let tried = Tried::default();
    let mut rng = Rng::new(1);
    let mut begin = |lasts| {
        let ask = Ask {
            lasts,
            ..Ask::new(NOW.plus(millis(200)), &tried)
        };
        balancer.pick(&ask, &mut rng).unwrap()
    };
    let plain: Vec<_> = (0..4).map(|_| begin(false)).collect();
    assert!(
        plain.iter().all(|pick| pick.index >= 2),
        "a request goes where it is answered soon"
    );
    drop(plain);
    let _sessions: Vec<_> = (0..40).map(|_| begin(true)).collect();
    assert!(members.iter().all(|m| m.load.open() == 10), "{members:?}");
}
