//! Limits, and who waits while they are reached.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{sleep, timeout};

use crate::app::{App, Way};
use crate::client::{Got, get};
use crate::world::{World, eventually};

fn ask(world: &World) -> tokio::task::JoinHandle<Got> {
    tokio::spawn(get(world.address))
}

#[tokio::test]
async fn never_more_requests_than_the_limit_and_none_is_lost() {
    let apps = [App::new(Way::Gated).await, App::new(Way::Gated).await];
    let world = World::of(&[apps[0].address, apps[1].address], |s| {
        s.workers = 2;
        s.cluster.limits.requests = Some(3);
        s.cluster.limits.endpoint_requests = Some(2);
    });
    let clients: Vec<_> = (0..40).map(|_| ask(&world)).collect();
    eventually("all others wait", || world.waiting() == 37).await;
    eventually("three are in", || apps[0].seen() + apps[1].seen() == 3).await;
    for app in &apps {
        app.open(40);
    }
    for client in join_all(clients).await {
        assert_eq!(client.unwrap().status, Some(200));
    }
    assert!(apps.iter().all(|app| app.most() <= 2), "exact for each endpoint");
    assert_eq!(world.waiting(), 0);
    assert!(world.codes().is_empty());
}

#[tokio::test]
async fn who_came_first_is_first() {
    let app = App::new(Way::Gated).await;
    let world = World::of(&[app.address], |s| s.cluster.limits.endpoint_requests = Some(1));
    let mut clients = vec![ask(&world)];
    eventually("the first is in", || app.seen() == 1).await;
    for n in 1..=4 {
        clients.push(ask(&world));
        eventually("the next waits", || world.waiting() == n).await;
    }
    for client in clients {
        app.open(1);
        assert_eq!(
            timeout(Duration::from_secs(5), client).await.unwrap().unwrap().status,
            Some(200)
        );
    }
}

#[tokio::test]
async fn a_full_queue_is_told_at_once_and_a_late_one_in_time() {
    let app = App::new(Way::Gated).await;
    let world = World::of(&[app.address], |s| {
        s.cluster.limits.requests = Some(1);
        s.cluster.limits.queue = 1;
        s.cluster.limits.queue_timeout = Duration::from_secs(2);
    });
    let held = ask(&world);
    eventually("one is in", || app.seen() == 1).await;
    let late = ask(&world);
    eventually("one waits", || world.waiting() == 1).await;
    let full = get(world.address).await;
    assert_eq!((full.status, full.header("retry-after")), (Some(503), Some("1")));
    assert_eq!(full.text(), "tenbin: 503 UO: too many requests are open\n");
    let late = late.await.unwrap();
    assert_eq!((late.status, late.header("retry-after")), (Some(503), Some("1")));
    assert!(late.text().contains("for too long"), "{}", late.text());
    assert!(late.took >= Duration::from_secs(2));
    assert_eq!(app.seen(), 1);
    assert!(!world.is_blamed(app.address));
    app.open(1);
    assert_eq!(held.await.unwrap().status, Some(200));
}

#[tokio::test]
async fn who_leaves_while_waiting_leaves_at_once() {
    let app = App::new(Way::Gated).await;
    let world = World::of(&[app.address], |s| {
        s.cluster.limits.requests = Some(1);
        s.cluster.limits.queue = 1;
    });
    let held = ask(&world);
    eventually("one is in", || app.seen() == 1).await;
    let leaves = ask(&world);
    eventually("one waits", || world.waiting() == 1).await;
    leaves.abort();
    eventually("it is gone", || world.waiting() == 0).await;
    let next = ask(&world);
    eventually("its place is free", || world.waiting() == 1).await;
    app.open(2);
    assert_eq!(held.await.unwrap().status, Some(200));
    assert_eq!(next.await.unwrap().status, Some(200));
    assert_eq!(app.seen(), 2, "who left never came");
}

#[tokio::test]
async fn a_full_endpoint_is_passed_by_while_another_has_room() {
    let (full, free) = (App::new(Way::Gated).await, App::new(Way::Well).await);
    let world = World::of(&[full.address, free.address], |s| {
        s.cluster.balancing.policy = tenbin_model::Policy::RoundRobin;
        s.cluster.limits.endpoint_requests = Some(1);
    });
    let mut first = Vec::new();
    while full.seen() == 0 {
        first.push(ask(&world));
        sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..20 {
        assert_eq!(get(world.address).await.status, Some(200));
    }
    assert_eq!(full.seen(), 1);
    full.open(1);
}

#[tokio::test]
async fn never_more_connections_than_the_limit() {
    let app = App::new(Way::Gated).await;
    let world = World::of(&[app.address], |s| {
        s.workers = 2;
        s.cluster.limits.connections = Some(2);
    });
    let clients: Vec<_> = (0..20).map(|_| ask(&world)).collect();
    eventually("all others wait", || world.waiting() == 18 && app.seen() == 2).await;
    assert_eq!(app.connections(), 2);
    app.open(20);
    for client in clients {
        assert_eq!(client.await.unwrap().status, Some(200));
    }
    assert!(app.most() <= 2);
}
