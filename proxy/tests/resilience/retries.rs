//! Sent again: where that is safe, where it is wanted, never more than there is to spend.

use std::time::Duration;

use tenbin_model::{Policy, RetryOn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::app::{App, At, By, Way};
use crate::client::{get, request, send};
use crate::world::World;

async fn ten(bad: Way) -> (Vec<App>, Vec<std::net::SocketAddr>) {
    let mut apps = vec![App::new(bad).await];
    for _ in 0..9 {
        apps.push(App::new(Way::Well).await);
    }
    let addresses = apps.iter().map(|app| app.address).collect();
    (apps, addresses)
}

#[tokio::test]
async fn one_of_ten_that_answers_500_at_once_costs_at_most_ten_requests() {
    let (_apps, addresses) = ten(Way::Status(500)).await;
    let world = World::of(&addresses, |s| s.workers = 2);
    let mut failed = 0;
    for _ in 0..1000 {
        failed += usize::from(get(world.address).await.status != Some(200));
    }
    assert!((1..=10).contains(&failed), "{failed} of 1000 failed");
}

#[tokio::test]
async fn one_of_ten_that_hangs_slows_at_most_ten_requests_and_none_for_long() {
    let (apps, addresses) = ten(Way::Silent).await;
    let world = World::of(&addresses, |s| {
        // Far more than a good one needs, on any machine.
        s.route.timeouts.per_try = Some(Duration::from_secs(1));
        s.route.retry.on = [RetryOn::Timeout].into();
    });
    for _ in 0..300 {
        assert_eq!(get(world.address).await.status, Some(200));
    }
    let slow = apps[0].seen();
    assert!((1..=10).contains(&slow), "it had {slow} requests");
    // Each of them was sent once more and no more: it took the time of one try and of an answer.
    let sent: usize = apps.iter().map(App::seen).sum();
    let retries = world.retries();
    assert!(retries >= slow);
    assert_eq!(sent, 300 + retries);
}

#[tokio::test]
async fn the_last_real_answer_is_passed_on() {
    let first = App::new(Way::Status(503)).await;
    for (way, expected) in [
        (Way::Status(502), 502),
        (Way::Ends(At::Begin, By::Close), 503),
        (Way::Silent, 503),
    ] {
        let second = App::new(way).await;
        let world = World::of(&[first.address, second.address], |s| {
            s.reserve = 1;
            s.route.retry.on = [RetryOn::GatewayError].into();
            s.route.retry.tries = 2;
            // Only what is silent takes it all.
            s.route.timeouts.request = Duration::from_secs(if way == Way::Silent { 2 } else { 20 });
        });
        let got = get(world.address).await;
        assert_eq!(
            (got.status, got.header("x-own")),
            (Some(expected), Some("1")),
            "{way:?}"
        );
        assert_eq!((got.text(), got.whole), ("own".to_owned(), true));
        assert!(world.codes().is_empty(), "it is the app's answer");
    }
}

#[tokio::test]
async fn retries_cost_no_more_than_their_budget() {
    let apps = [App::new(Way::Status(503)).await, App::new(Way::Status(503)).await];
    let world = World::of(&[apps[0].address, apps[1].address], |s| {
        s.route.retry.statuses = [503].into();
        s.route.retry.tries = 2;
        s.route.retry.backoff = Duration::from_millis(1);
    });
    for _ in 0..400 {
        assert_eq!(get(world.address).await.status, Some(503));
    }
    let retries = apps[0].seen() + apps[1].seen() - 400;
    // 30 that are always there, a fifth of 400 and of the retries themselves, three a second.
    assert!((30..=200).contains(&retries), "{retries} retries of 400 requests");
}

#[tokio::test]
async fn no_endpoint_is_asked_twice_while_another_is_left() {
    let mut apps = Vec::new();
    for _ in 0..3 {
        apps.push(App::new(Way::Status(503)).await);
    }
    let addresses: Vec<_> = apps.iter().map(|app| app.address).collect();
    let world = World::of(&addresses, |s| {
        s.cluster.balancing.policy = Policy::Random;
        s.route.retry.statuses = [503].into();
        s.route.retry.backoff = Duration::from_millis(1);
    });
    for n in 1..=5 {
        get(world.address).await;
        let seen: Vec<_> = apps.iter().map(App::seen).collect();
        assert_eq!(seen, [n, n, n], "three tries, each somewhere else");
    }
    let alone = World::of(&addresses[..1], |s| s.route.retry.statuses = [503].into());
    get(alone.address).await;
    assert_eq!(apps[0].seen(), 8, "where nobody else is left, it is asked again");
}

/// Sends requests over one client connection, so many milliseconds apart.
async fn at_intervals(world: &World, millis: &[u64], method: &str) -> Vec<String> {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let body = if method == "POST" { "x" } else { "" };
    let mut lines = Vec::new();
    for &pause in millis {
        sleep(Duration::from_millis(pause)).await;
        let text = format!(
            "{method} / HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut buffer = vec![0; 4096];
        let n = stream.read(&mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        lines.push(text.lines().next().unwrap_or_default().to_owned());
    }
    lines
}

#[tokio::test]
async fn a_server_that_closes_idle_connections_after_five_seconds_loses_no_request() {
    // At the edges of both limits: ours of 4 s, the server's of 5 s (Node.js).
    let world = |app: &App| World::before(&[app.address]);
    let app = App::new(Way::CloseAfter(5000)).await;
    let worlds: Vec<World> = (0..6).map(|_| world(&app)).collect();
    let runs = worlds.iter().enumerate().map(|(n, world)| {
        let method = if n % 2 == 0 { "POST" } else { "GET" };
        let pause = 3900 + 220 * n as u64;
        async move { at_intervals(world, &[0, pause, pause], method).await }
    });
    for lines in futures::future::join_all(runs).await {
        assert_eq!(lines, ["HTTP/1.1 200 OK"; 3]);
    }
}

#[tokio::test]
async fn a_server_that_closes_when_it_is_used_again_is_asked_again_only_what_is_idempotent() {
    let app = App::new(Way::Ends(At::Reuse, By::Close)).await;
    let world = World::before(&[app.address]);
    let lines = at_intervals(&world, &[0, 0, 0, 0], "GET").await;
    assert_eq!(lines, ["HTTP/1.1 200 OK"; 4]);
    let got = send(world.address, &request("POST", 1)).await;
    assert_eq!(got.status, Some(502), "it may have begun");
    assert_eq!(world.codes(), ["UC"]);
    let got = send(world.address, &request("POST", 1)).await;
    assert_eq!(got.status, Some(200), "over a new connection");
}
