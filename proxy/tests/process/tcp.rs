//! Listeners for plain TCP: each connection is balanced as it is.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use tenbin_model::{Affinity, Balancing, Cluster, HashKey, HashTable, Policy, Resource, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, tcp::OwnedReadHalf};
use tokio::time::timeout;

use crate::backend::{Backend, nobody};
use crate::harness::{PATIENCE, eventually};
use crate::inside::{Inside, name, plain};

/// An app that says its number, then all that it is told, when that is over.
async fn apps() -> (Backend, Backend) {
    let one = Backend::script(async |stream, _| echo(stream, b"1").await).await;
    let two = Backend::script(async |stream, _| echo(stream, b"2").await).await;
    (one, two)
}

async fn echo(mut stream: TcpStream, number: &[u8]) {
    let mut said = Vec::new();
    if stream.write_all(number).await.is_ok() && stream.read_to_end(&mut said).await.is_ok() {
        let _ = stream.write_all(&said).await;
    }
}

fn tcp(endpoints: &[SocketAddr], balancing: Balancing) -> Inside {
    let mut set = plain(endpoints, |listener| listener.target = Target::Tcp(name("app")));
    set[0] = Resource::Cluster(Cluster {
        balancing,
        ..Cluster::new(name("app"))
    });
    Inside::start(set)
}

fn round_robin() -> Balancing {
    Balancing {
        policy: Policy::RoundRobin,
        ..Balancing::default()
    }
}

async fn rest(mut stream: OwnedReadHalf) -> String {
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    text
}

/// Says `text`, ends its side, and gives what came until the other one did too.
async fn talk(proxy: &Inside, text: &str) -> String {
    let (read, mut write) = TcpStream::connect(proxy.address).await.unwrap().into_split();
    write.write_all(text.as_bytes()).await.unwrap();
    write.shutdown().await.unwrap();
    rest(read).await
}

#[tokio::test]
async fn each_connection_goes_to_one_endpoint_and_ends_side_by_side() {
    let (one, two) = apps().await;
    let proxy = tcp(&[one.address, two.address], round_robin());
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        seen.insert(talk(&proxy, "hello").await);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["1hello", "2hello"]);
    assert_eq!((one.connections(), two.connections()), (2, 2));
    proxy.await_no_connection().await;
    assert_eq!(proxy.stats().in_flight.load(Relaxed), 0);
}

#[tokio::test]
async fn it_is_open_for_life_and_drains_like_a_tunnel() {
    let (one, _) = apps().await;
    let proxy = tcp(&[one.address], round_robin());
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    let stats = proxy.stats();
    assert_eq!((stats.in_flight.load(Relaxed), stats.tunnels.load(Relaxed)), (1, 1));
    let load = |proxy: &Inside| {
        let snapshot = proxy.state.load();
        let endpoint = snapshot.clusters().next().unwrap().endpoints().next().unwrap().0;
        endpoint.stats.load.open()
    };
    assert_eq!(load(&proxy), 1);
    proxy.lifecycle.drain();
    stream.write_all(b"still here").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).await.unwrap();
    assert_eq!(back, "still here");
    eventually("it is over", async || (load(&proxy) == 0).then_some(())).await;
}

#[tokio::test]
async fn who_cannot_be_reached_is_passed_over_and_where_nobody_can_the_client_is_reset() {
    let (one, _) = apps().await;
    let (gone, _nobody) = nobody();
    let proxy = tcp(&[gone, one.address], round_robin());
    for _ in 0..4 {
        assert_eq!(talk(&proxy, "x").await, "1x");
    }
    let alone = tcp(&[gone], round_robin());
    // The reset may come before connecting is done.
    let ask = async { TcpStream::connect(alone.address).await?.read(&mut [0]).await };
    let error = timeout(PATIENCE, ask).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let failures: u64 = alone.stats().failures.iter().map(|n| n.load(Relaxed)).sum();
    assert_eq!(failures, 1, "it is counted before the reset");
}

#[tokio::test]
async fn a_client_keeps_its_endpoint_where_addresses_decide() {
    let (one, two) = apps().await;
    let balancing = Balancing {
        affinity: Some(Affinity::Hash {
            key: HashKey::SourceIp { v4: 32, v6: 64 },
            table: HashTable::Ring,
            bound: None,
        }),
        ..Balancing::default()
    };
    let proxy = tcp(&[one.address, two.address], balancing);
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        seen.insert(talk(&proxy, "").await);
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[tokio::test]
async fn a_megabyte_each_way() {
    let (one, _) = apps().await;
    let proxy = tcp(&[one.address], round_robin());
    let (read, mut write) = TcpStream::connect(proxy.address).await.unwrap().into_split();
    let sent = "x".repeat(1 << 20);
    let upload = async {
        write.write_all(sent.as_bytes()).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let ((), back) = tokio::join!(upload, rest(read));
    assert_eq!(back.len(), sent.len() + 1);
}

#[tokio::test]
async fn a_silent_connection_ends() {
    let (one, _) = apps().await;
    let proxy = Inside::with(&[one.address], |listener| {
        listener.target = Target::Tcp(name("app"));
        listener.idle_timeout = std::time::Duration::from_secs(2);
    });
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 1);
    let ended = timeout(PATIENCE, stream.read(&mut [0; 8])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    proxy.await_no_connection().await;
}
