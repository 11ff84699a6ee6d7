//! Who gets how much.

use futures::future::join_all;

use crate::backend::Backend;
use crate::harness::{Proxy, eventually, simple};

async fn apps(n: usize) -> Vec<Backend> {
    join_all((0..n).map(|_| Backend::app())).await
}

fn addresses(apps: &[Backend]) -> Vec<std::net::SocketAddr> {
    apps.iter().map(|app| app.address).collect()
}

fn requests(apps: &[Backend]) -> Vec<usize> {
    apps.iter().map(Backend::requests).collect()
}

#[tokio::test]
async fn round_robin_is_exact_over_workers() {
    let apps = apps(4).await;
    let proxy = Proxy::standalone(
        &simple(&addresses(&apps), ", algorithm: RoundRobin", "", ""),
        &["--workers=2"],
    )
    .await;
    join_all((0..16).map(async |_| {
        let mut client = proxy.client().await;
        for _ in 0..25 {
            assert_eq!(client.get("/who").await.status, 200);
        }
    }))
    .await;
    assert_eq!(requests(&apps), [100; 4]);
}

#[tokio::test]
async fn ties_of_least_request_rotate() {
    let apps = apps(4).await;
    let config = simple(&addresses(&apps), ", algorithm: LeastRequest", "", "");
    let proxy = Proxy::standalone(&config, &[]).await;
    let mut client = proxy.client().await;
    for _ in 0..40 {
        client.get("/who").await;
    }
    assert_eq!(requests(&apps), [10; 4], "one after the other: each in turn");
}

#[tokio::test]
async fn open_requests_are_counted_exactly_over_workers() {
    let apps = apps(3).await;
    let proxy = Proxy::standalone(
        &simple(&addresses(&apps), ", algorithm: LeastRequest", "", ""),
        &["--workers=2"],
    )
    .await;
    let mut clients = Vec::new();
    // One after the other, so that each pick sees all the others, whichever worker has them.
    for n in 1..=30 {
        let mut client = proxy.client().await;
        client.send("GET /gate HTTP/1.1\r\nhost: test\r\n\r\n").await;
        eventually("an app has it", async || {
            (requests(&apps).iter().sum::<usize>() == n).then_some(())
        })
        .await;
        clients.push(client);
    }
    assert_eq!(requests(&apps), [10; 3]);
    for endpoint in proxy.endpoints().await {
        assert_eq!(endpoint["inFlight"], 10);
    }
    for app in &apps {
        app.open();
    }
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "open");
    }
    eventually("none is open", async || {
        proxy.endpoints().await.iter().all(|e| e["inFlight"] == 0).then_some(())
    })
    .await;
    assert_eq!(
        proxy
            .metric("tenbin_requests_total{listener=\"web\",code=\"2xx\"}")
            .await,
        30.0
    );
}

#[tokio::test]
async fn a_busy_endpoint_is_left_alone() {
    let apps = apps(2).await;
    let proxy = Proxy::standalone(
        &simple(&addresses(&apps), ", algorithm: LeastRequest", "", ""),
        &["--workers=2"],
    )
    .await;
    let mut stuck = proxy.client().await;
    stuck.send("GET /gate HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let busy = eventually("one is busy", async || requests(&apps).iter().position(|&n| n == 1)).await;
    let mut client = proxy.client().await;
    for _ in 0..50 {
        client.get("/who").await;
    }
    assert_eq!(apps[busy].requests(), 1);
    assert_eq!(apps[1 - busy].requests(), 50);
}
