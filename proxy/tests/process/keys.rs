//! Requests with a key: the same key goes to the same replica, through any proxy, and the source address is whose it should be.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures::future::join_all;
use tenbin_model::{Affinity, EndpointState, HashKey, HashTable};

use crate::backend::Backend;
use crate::client::Client;
use crate::harness::{Proxy, eventually};
use crate::operator::Operator;

type Endpoints = Vec<(&'static str, SocketAddr, EndpointState)>;

fn hash(key: HashKey, table: HashTable) -> Affinity {
    Affinity::Hash {
        key,
        table,
        bound: None,
    }
}

async fn endpoints(n: usize) -> Endpoints {
    let apps = join_all((0..n).map(|_| Backend::app())).await;
    let names = ["pod-0", "pod-1", "pod-2", "pod-3"].into_iter();
    names
        .zip(apps)
        .map(|(id, app)| (id, app.address, EndpointState::Ready))
        .collect()
}

async fn following(operator: &Operator, endpoints: &Endpoints, args: &[&str]) -> Proxy {
    operator.endpoints(endpoints);
    let proxy = Proxy::following(operator, args).await;
    proxy.await_endpoints(endpoints).await;
    proxy
}

/// Who answers this request, given its target and headers.
async fn who(client: &mut Client, target: &str, headers: &str) -> String {
    client
        .send(format!("GET {target} HTTP/1.1\r\nhost: test\r\n{headers}\r\n"))
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 200);
    response.text()
}

#[tokio::test]
async fn each_kind_of_key_stays_through_any_proxy() {
    let endpoints = endpoints(4).await;
    // What the same client sends to one proxy, and to the other.
    type Say = fn(u32) -> [(String, String); 2];
    let kinds: [(HashKey, HashTable, Say); 4] = [
        (HashKey::Header("x-user".to_owned()), HashTable::Ring, |n| {
            ["x-user", "X-User"].map(|name| ("/who".to_owned(), format!("{name}: user-{n}\r\n")))
        }),
        (HashKey::QueryParam("user".to_owned()), HashTable::Ring, |n| {
            ["a=1&user", "user"].map(|name| (format!("/who?{name}=user-{n}&user=x"), String::new()))
        }),
        (HashKey::Cookie("sid".to_owned()), HashTable::Ring, |n| {
            ["sid", "a=1; sid"].map(|name| ("/who".to_owned(), format!("cookie: {name}=\"user-{n}\"; sid=x\r\n")))
        }),
        (HashKey::Path, HashTable::Maglev, |n| {
            ["x/../", "/./"].map(|way| (format!("/who/{way}{n}?{n}"), String::new()))
        }),
    ];
    for (key, table, say) in kinds {
        let operator = Operator::of(hash(key.clone(), table)).await;
        let (one, two) = (
            following(&operator, &endpoints, &[]).await,
            following(&operator, &endpoints, &[]).await,
        );
        let (mut first, mut second) = (one.client().await, two.client().await);
        let mut places = BTreeSet::new();
        for n in 0..40 {
            let [here, there] = say(n);
            let place = who(&mut first, &here.0, &here.1).await;
            assert_eq!(place, who(&mut second, &there.0, &there.1).await, "{key:?} {n}");
            places.insert(place);
        }
        assert_eq!(places.len(), 4, "{key:?}: 40 keys are spread");
        let hits = "tenbin_affinity_total{listener=\"ns/hello/http\",outcome=\"hit\"}";
        assert_eq!(one.metric(hits).await, 40.0);
        let picks = "tenbin_picks_total{listener=\"ns/hello/http\",reason=\"hash\"}";
        assert_eq!(two.metric(picks).await, 40.0);
    }
}

#[tokio::test]
async fn only_keys_of_who_left_move_and_they_come_back() {
    let all = endpoints(4).await;
    let operator = Operator::of(hash(HashKey::Header("x-user".to_owned()), HashTable::Ring)).await;
    let proxy = following(&operator, &all, &[]).await;
    let mut client = proxy.client().await;
    let mut places = async || {
        let mut places = Vec::new();
        for n in 0..60 {
            places.push(who(&mut client, "/who", &format!("x-user: {n}\r\n")).await);
        }
        places
    };
    let before = places().await;
    let mut fewer = all.clone();
    let left = fewer.pop().unwrap().1.to_string();
    operator.endpoints(&fewer);
    proxy.await_endpoints(&fewer).await;
    let after = places().await;
    for (n, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before == after, *before != left, "key {n}");
    }
    operator.endpoints(&all);
    proxy.await_endpoints(&all).await;
    assert_eq!(places().await, before);
}

#[tokio::test]
async fn without_a_key_requests_go_in_turn() {
    let all = endpoints(2).await;
    let operator = Operator::of(hash(HashKey::Header("x-user".to_owned()), HashTable::Ring)).await;
    let proxy = following(&operator, &all, &[]).await;
    let mut client = proxy.client().await;
    let (first, second) = (
        who(&mut client, "/who", "").await,
        who(&mut client, "/who", "x-user:\r\n").await,
    );
    assert_ne!(first, second);
    assert_eq!(
        proxy
            .metric("tenbin_affinity_total{listener=\"ns/hello/http\",outcome=\"none\"}")
            .await,
        2.0
    );
}

#[tokio::test]
async fn the_source_address_is_whom_trusted_hops_name() {
    let all = endpoints(4).await;
    let operator = Operator::of(hash(HashKey::SOURCE_IP, HashTable::Ring)).await;
    let proxy = following(&operator, &all, &[]).await;
    let mut client = proxy.client().await;
    let forwarded = |n: u32| {
        format!("x-forwarded-for: 192.0.2.{n}, 198.51.100.{n}\r\nx-forwarded-for: 10.9.9.9, 10.8.8.8:4711\r\n")
    };
    let mut places = async || {
        let mut places = Vec::new();
        for n in 0..40 {
            places.push(who(&mut client, "/who", &forwarded(n)).await);
        }
        places
    };
    let own = places().await;
    assert!(
        own.iter().all(|place| *place == own[0]),
        "nobody is trusted: the peer counts"
    );

    operator.listener(&["127.0.0.0/8", "10.0.0.0/8"]);
    eventually("the hops are known", async || {
        let config = proxy.admin("config").await;
        (config["listeners"][0]["trustedHops"] == serde_json::json!(["127.0.0.0/8", "10.0.0.0/8"])).then_some(())
    })
    .await;
    let trusted = places().await;
    assert_eq!(trusted, places().await, "each stays");
    let different: BTreeSet<_> = trusted.iter().collect();
    assert_eq!(different.len(), 4, "40 clients are spread");

    let mut client = proxy.client().await;
    for (n, place) in trusted.iter().enumerate() {
        let direct = format!("x-forwarded-for: 203.0.113.1\r\nx-forwarded-for: ::ffff:198.51.100.{n}\r\n");
        assert_eq!(
            who(&mut client, "/who", &direct).await,
            *place,
            "the same client by another way"
        );
    }
    for hostile in [
        "unknown",
        "[",
        "999.1.1.1",
        ",,,,",
        &"1,".repeat(20_000),
        "10.1.1.1, \u{e4}",
    ] {
        let headers = format!("x-forwarded-for: {hostile}\r\n");
        assert!(!who(&mut client, "/who", &headers).await.is_empty(), "{hostile}");
    }
}

#[tokio::test]
async fn the_log_names_the_peer_and_the_source_and_admin_the_key() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let all = endpoints(1).await;
    let operator = Operator::of(hash(HashKey::SOURCE_IP, HashTable::Ring)).await;
    operator.listener(&["127.0.0.1/32"]);
    let mut proxy = following(&operator, &all, &["--access-log=on", "--log-format=json"]).await;
    let mut client = proxy.client().await;
    who(
        &mut client,
        "/who",
        "x-forwarded-for: 192.0.2.1, [2001:db8::7]:4711\r\n",
    )
    .await;
    let mut lines = BufReader::new(proxy.child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["source"], "2001:db8::7", "{line}");
    assert!(line["client"].as_str().unwrap().contains("127.0.0.1"), "{line}");
    assert_eq!((&line["reason"], &line["affinity"]), (&"hash".into(), &"hit".into()));

    let shown = &proxy.admin("clusters").await["clusters"][0]["affinity"];
    let expected = serde_json::json!({
        "type": "SourceIP", "ipv4PrefixLength": 32, "ipv6PrefixLength": 128, "table": "Ring", "boundPercent": null,
    });
    assert_eq!(*shown, expected);
}
