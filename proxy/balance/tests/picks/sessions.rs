//! Sessions: they stay as long as their endpoint serves, and go elsewhere when it doesn't.

use std::time::Duration;

use tenbin_balance::{Ask, Home, Outcome, Reason, Rng, Role, Tried};

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
    let home = Some(Home {
        index: 1,
        keep_draining: true,
    });
    let ask = Ask {
        home,
        ..Ask::new(NOW.plus(Duration::from_secs(1)), &tried)
    };
    assert_ne!(balancer.pick(&ask, &mut Rng::new(1)).unwrap().index, 1);
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
