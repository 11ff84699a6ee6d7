//! The end: nothing is lost, and it ends.

use std::time::Duration;

use futures::future::join_all;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::client::Client;
use crate::harness::{Proxy, eventually, simple};

#[tokio::test]
async fn nothing_is_lost_under_load() {
    let app = Backend::app().await;
    let mut proxy = Proxy::standalone(&simple(&[app.address], "", "", ""), &["--workers=2"]).await;
    let address = proxy.address();
    // Each keeps its connection until it is told to close it, opens another one, and goes elsewhere when it is told again.
    let clients = (0..32).map(|_| {
        tokio::spawn(async move {
            let mut served = 0;
            for _ in 0..2 {
                let mut client = Client::connect(address).await;
                loop {
                    let response = client.get("/who").await;
                    assert_eq!(response.status, 200);
                    served += 1;
                    if response.closes() {
                        break;
                    }
                }
            }
            served
        })
    });
    let clients: Vec<_> = clients.collect();
    eventually("there is load", async || (app.requests() > 500).then_some(())).await;
    assert_eq!(proxy.admin("drain").await["draining"], true);
    assert_eq!(proxy.ask_status("/readyz").await.0, 200, "readiness stays green");
    assert_eq!(proxy.metric("tenbin_draining").await, 1.0);
    proxy.signal(Signal::SIGTERM);
    let served: usize = join_all(clients).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(served, app.requests());
    assert!(proxy.ended().await.success());
}

#[tokio::test]
async fn open_requests_and_tunnels_are_waited_for() {
    let app = Backend::app().await;
    let mut proxy = Proxy::before(&[app.address]).await;
    let mut slow = proxy.client().await;
    slow.send("GET /gate HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let mut tunnel = proxy.client().await;
    tunnel
        .send("GET /upgrade HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n")
        .await;
    assert_eq!(tunnel.response().await.status, 101);
    eventually("both are open", async || (app.requests() == 2).then_some(())).await;
    proxy.signal(Signal::SIGTERM);
    eventually("it drains", async || {
        (proxy.metric("tenbin_draining").await == 1.0).then_some(())
    })
    .await;
    // Longer than a process without requests would stay.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        proxy.client().await.get("/who").await.status,
        200,
        "new connections are served"
    );
    tunnel.send("still here").await;
    assert_eq!(tunnel.exactly(10).await.unwrap(), b"still here");
    app.open();
    let response = slow.response().await;
    assert_eq!((response.status, response.closes()), (200, true));
    drop(tunnel);
    assert!(proxy.ended().await.success());
}

#[tokio::test]
async fn idle_connections_are_closed_at_the_very_end() {
    let app = Backend::app().await;
    let mut proxy = Proxy::before(&[app.address]).await;
    let mut idle = proxy.client().await;
    idle.get("/who").await;
    let mut late = proxy.client().await;
    late.get("/who").await;
    proxy.signal(Signal::SIGTERM);
    eventually("it drains", async || {
        (proxy.metric("tenbin_draining").await == 1.0).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let response = late.get("/who").await;
    assert_eq!(
        (response.status, response.closes()),
        (200, true),
        "one that was idle can be used once more"
    );
    assert!(idle.rest().await.is_empty());
    assert!(proxy.ended().await.success());
}

#[tokio::test]
async fn the_time_to_drain_is_limited() {
    let app = Backend::app().await;
    let mut proxy = Proxy::standalone(&simple(&[app.address], "", "", ""), &["--drain-seconds=1"]).await;
    let mut slow = proxy.client().await;
    slow.send("GET /gate HTTP/1.1\r\nhost: test\r\n\r\n").await;
    eventually("it is open", async || (app.requests() == 1).then_some(())).await;
    let start = Instant::now();
    proxy.signal(Signal::SIGTERM);
    assert!(proxy.ended().await.success());
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(slow.try_response().await.is_none());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let app = Backend::app().await;
    let mut proxy = Proxy::standalone(&simple(&[app.address], "", "", ""), &["--drain-seconds=3600"]).await;
    let mut slow = proxy.client().await;
    slow.send("GET /gate HTTP/1.1\r\nhost: test\r\n\r\n").await;
    eventually("it is open", async || (app.requests() == 1).then_some(())).await;
    proxy.signal(Signal::SIGTERM);
    eventually("it drains", async || {
        (proxy.metric("tenbin_draining").await == 1.0).then_some(())
    })
    .await;
    proxy.signal(Signal::SIGTERM);
    assert!(proxy.ended().await.success());
    assert!(
        !proxy.folder.path().join("admin.sock").exists(),
        "it cleans up after itself"
    );
}
