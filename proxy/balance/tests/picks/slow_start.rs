//! Slow start: a floor, a ramp, the whole share after the window; only for who becomes ready while others are.

use std::time::Duration;

use tenbin_balance::{Balancer, Member, Policy, Role, Settings};

use crate::common::*;

const WINDOW: u64 = 20;
const FLOOR: u8 = 10;

/// The part of a fair share that the last endpoint gets at each of these seconds, where a request comes every 250 µs and takes so long.
fn parts(balancer: &Balancer, takes: Duration, seconds: &[u64]) -> Vec<f64> {
    let mut world = World::new(3);
    let n = balancer.members().len();
    let part = |&second: &u64| {
        let until = NOW.plus(Duration::from_secs(second));
        world.pass(until.since(world.now));
        // Not the newcomer's first moments: those of the mean over half a second.
        let counts = world.run(
            std::slice::from_ref(balancer),
            Duration::from_micros(250),
            millis(500),
            &all_good(takes),
        );
        let others = counts[..n - 1].iter().sum::<u64>() as f64 / (n - 1) as f64;
        counts[n - 1] as f64 / others
    };
    seconds.iter().map(part).collect()
}

fn grown(settings: &Settings, n: usize) -> (Vec<Member>, Balancer) {
    let mut all = members(n);
    let first = balancer(settings.clone(), &all, 1);
    all.push(newcomer(&all));
    let next = first.next(settings.clone(), all.clone(), NOW, &mut tenbin_balance::Rng::new(2));
    (all, next)
}

#[test]
fn it_begins_at_the_floor_and_grows_to_the_whole_share() {
    // Where nothing is open, peak EWMA sends nothing to who has a smaller weight: see under load.
    for policy in [Policy::Adaptive, Policy::RoundRobin, Policy::Random, LEAST_REQUEST] {
        let (_, balancer) = grown(&eased(policy, WINDOW, FLOOR), 4);
        let parts = parts(&balancer, Duration::from_micros(100), &[0, 5, 10, 15, 20, 30]);
        for (part, wanted) in parts.iter().zip([0.11, 0.335, 0.56, 0.785, 1.0, 1.0]) {
            assert!((part - wanted).abs() < 0.12, "{policy:?}: {parts:?}");
        }
        assert!(parts[0] > 0.0, "{policy:?}");
    }
}

#[test]
fn it_holds_under_load() {
    for policy in BY_LOAD {
        let (_, balancer) = grown(&eased(policy, WINDOW, FLOOR), 4);
        // 120 requests are open all the time.
        let parts = parts(&balancer, millis(30), &[0, 10, 25]);
        for (part, wanted) in parts.iter().zip([0.11, 0.56, 1.0]) {
            assert!((part - wanted).abs() < 0.15, "{policy:?}: {parts:?}");
        }
    }
}

#[test]
fn it_holds_where_two_of_many_are_compared() {
    for policy in [LEAST_REQUEST, Policy::Adaptive] {
        let (_, balancer) = grown(&eased(policy, WINDOW, FLOOR), 60);
        let parts = parts(&balancer, millis(30), &[0, 25]);
        assert!(
            parts[0] < 0.5 && (0.7..1.3).contains(&parts[1]),
            "{policy:?}: {parts:?}"
        );
    }
}

#[test]
fn who_was_there_from_the_beginning_has_it_all() {
    for policy in POLICIES {
        let all = members(4);
        let settings = eased(policy, WINDOW, FLOOR);
        let first = balancer(settings.clone(), &all, 1);
        let parts_at_once = parts(&first, millis(1), &[0]);
        assert!((0.8..1.25).contains(&parts_at_once[0]), "{policy:?}: {parts_at_once:?}");
        let again = first.next(settings, all, NOW, &mut tenbin_balance::Rng::new(2));
        let parts = parts(&again, millis(1), &[1]);
        assert!(
            (0.8..1.25).contains(&parts[0]),
            "{policy:?}: an update changes nothing: {parts:?}"
        );
    }
}

#[test]
fn where_all_are_new_nobody_is_held_back() {
    for policy in POLICIES {
        let settings = eased(policy, WINDOW, 1);
        let old = members(3);
        let first = balancer(settings.clone(), &old, 1);
        let new: Vec<Member> = (3..8).map(|n| member(old[0].load.fleet(), n, 1)).collect();
        let next = first.next(settings, new.clone(), NOW, &mut tenbin_balance::Rng::new(2));
        let mut world = World::new(4);
        let counts = world.run(&[next], millis(1), millis(500), &all_good(millis(1)));
        assert!(counts.iter().all(|n| (65..140).contains(n)), "{policy:?}: {counts:?}");
    }
}

#[test]
fn who_is_ready_again_is_eased_in_again() {
    let settings = eased(Policy::RoundRobin, WINDOW, FLOOR);
    let mut all = members(4);
    let first = balancer(settings.clone(), &all, 1);
    let mut rng = tenbin_balance::Rng::new(2);
    all[3].role = Role::Draining;
    let without = first.next(settings.clone(), all.clone(), NOW, &mut rng);
    all[3].role = Role::Ready;
    let again = without.next(settings, all, NOW, &mut rng);
    let parts = parts(&again, millis(1), &[0, 25]);
    assert!(parts[0] < 0.25 && parts[1] > 0.9, "{parts:?}");
}

#[test]
fn without_slow_start_there_is_none() {
    for policy in POLICIES {
        let (_, balancer) = grown(&by(policy), 4);
        let parts = parts(&balancer, Duration::from_micros(100), &[0]);
        assert!((0.8..1.25).contains(&parts[0]), "{policy:?}: {parts:?}");
    }
}
