//! What client, app and caches see of a session's cookie, and what people do.

use tenbin_model::{EndpointState, OnDead, OnDrain, Policy};

use crate::app::{App, Browser, sessions};
use crate::backend::{Backend, nobody};
use crate::client::{Client, Response};
use crate::harness::{Proxy, eventually};
use crate::operator::Operator;

const READY: EndpointState = EndpointState::Ready;

#[tokio::test]
async fn an_app_sees_nothing_of_it() {
    let app = App::of(1, OnDrain::Keep, OnDead::Rebalance).await;
    let proxy = app.proxy(&[]).await;
    let mut browser = Browser::default();
    browser.get(&proxy).await;
    let mut client = proxy.client().await;
    let cookie = browser.cookie.unwrap();
    client
        .send(format!(
            "GET /headers HTTP/1.1\r\nhost: test\r\ncookie: a=1; {cookie}; b=2\r\ncookie: {cookie}\r\n\r\n"
        ))
        .await;
    let seen = client.response().await.text();
    assert!(
        seen.contains("\"cookie\": \"a=1; b=2\"") && !seen.contains("tenbin="),
        "{seen}"
    );
}

#[tokio::test]
async fn an_upgrade_gets_a_session_too() {
    let app = App::of(2, OnDrain::Keep, OnDead::Rebalance).await;
    let proxy = app.proxy(&[]).await;
    let upgrade = "connection: Upgrade\r\nupgrade: echo\r\n";
    let mut client = proxy.client().await;
    client
        .send(format!("GET /upgrade HTTP/1.1\r\nhost: test\r\n{upgrade}\r\n"))
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 101);
    let cookie = response
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let home = app.replicas.iter().position(|app| app.requests() == 1).unwrap();
    assert_eq!(
        proxy
            .metric("tenbin_upgraded_connections{listener=\"ns/hello/http\"}")
            .await,
        1.0
    );

    let mut second = proxy.client().await;
    second
        .send(format!(
            "GET /upgrade HTTP/1.1\r\nhost: test\r\ncookie: {cookie}\r\n{upgrade}\r\n"
        ))
        .await;
    let response = second.response().await;
    assert_eq!((response.status, response.header("set-cookie")), (101, None));
    assert_eq!(app.replicas[home].requests(), 2);
    assert_eq!(
        proxy
            .metric("tenbin_upgraded_connections{listener=\"ns/hello/http\"}")
            .await,
        2.0
    );
    drop((client, second));
    proxy
        .await_metric("tenbin_upgraded_connections{listener=\"ns/hello/http\"}", 0.0)
        .await;
}

#[tokio::test]
async fn nobodys_session_begins_at_a_failure_and_caches_are_told() {
    let app = App::of(1, OnDrain::Keep, OnDead::Rebalance).await;
    let proxy = app.proxy(&[]).await;
    let mut client = proxy.client().await;
    for (status, told) in [(200, true), (404, true), (500, false), (501, true), (503, false)] {
        let response = client.get(&format!("/status/{status}")).await;
        assert_eq!(
            (response.status, response.header("set-cookie").is_some()),
            (status, told)
        );
        assert_eq!(response.header("cache-control"), told.then_some("private"), "{status}");
    }
}

#[tokio::test]
async fn what_the_app_says_of_caches_and_of_our_cookie() {
    let operator = Operator::of(sessions(OnDrain::Keep, OnDead::Rebalance)).await;
    let replica = Backend::script(async |mut stream, _| {
        while crate::backend::read_head(&mut stream).await {
            let response = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncache-control: public, max-age=60\r\ncache-control: s-maxage=9\r\n\
                            set-cookie: tenbin=the-apps; Path=/\r\nset-cookie: a=1\r\n\r\n";
            crate::backend::write(&mut stream, response).await;
        }
    })
    .await;
    let endpoints = [("pod-0", replica.address, READY)];
    operator.endpoints(&endpoints);
    let proxy = Proxy::following(&operator, &[]).await;
    proxy.await_endpoints(&endpoints).await;
    let cookies = |response: &Response| -> Vec<String> {
        let headers = response.headers.iter().filter(|(name, _)| name == "set-cookie");
        headers
            .map(|(_, value)| value.split(';').next().unwrap().to_owned())
            .collect()
    };
    let mut client = proxy.client().await;
    let first = client.get("/").await;
    let told = cookies(&first);
    assert_eq!((told.len(), told[0].as_str()), (2, "a=1"), "{told:?}");
    assert!(
        told[1].starts_with("tenbin=") && told[1] != "tenbin=the-apps",
        "{told:?}"
    );
    assert_eq!(first.header("cache-control"), Some("private, max-age=60"));
    client
        .send(format!("GET / HTTP/1.1\r\nhost: test\r\ncookie: {}\r\n\r\n", told[1]))
        .await;
    let second = client.response().await;
    assert_eq!(cookies(&second), ["a=1"], "the app can't end a session");
    assert_eq!(second.header("cache-control"), Some("public, max-age=60"));
}

#[tokio::test]
async fn the_log_and_admin_say_why() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let app = App::of(2, OnDrain::Keep, OnDead::Rebalance).await;
    let mut proxy = app.proxy(&["--access-log=on", "--log-format=json"]).await;
    let mut browser = Browser::default();
    let home = app.at(&browser.get(&proxy).await);
    browser.get(&proxy).await;
    let mut endpoints = app.all(READY);
    let (gone, _nobody) = nobody();
    endpoints[home].1 = gone;
    app.operator.endpoints(&endpoints);
    proxy.await_endpoints(&endpoints).await;
    browser.get(&proxy).await;
    // It goes and comes back, and nothing is held against it any more.
    endpoints.remove(home);
    for endpoints in [endpoints, app.all(READY)] {
        app.operator.endpoints(&endpoints);
        proxy.await_endpoints(&endpoints).await;
    }
    app.operator.balance(Policy::LeastRequest { choices: None }, None);
    eventually("there are no sessions any more", async || {
        proxy.admin("clusters").await["clusters"][0]["affinity"]
            .is_null()
            .then_some(())
    })
    .await;
    Client::connect(proxy.address()).await.get("/who").await;

    let mut lines = BufReader::new(proxy.child.stdout.take().unwrap()).lines();
    for (affinity, reason, candidates, tries) in [
        ("new", "policy", 2, 1),
        ("hit", "affinity", 1, 1),
        ("moved", "policy", 2, 2),
        ("none", "policy", 2, 1),
    ] {
        let line = lines.next_line().await.unwrap().unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&line["affinity"], &line["reason"], &line["candidates"], &line["tries"]),
            (&affinity.into(), &reason.into(), &candidates.into(), &tries.into()),
            "{line}"
        );
    }
    let picks = |reason| format!("tenbin_picks_total{{listener=\"ns/hello/http\",reason=\"{reason}\"}}");
    assert_eq!(proxy.metric(&picks("affinity")).await, 2.0);
    assert_eq!(proxy.metric(&picks("policy")).await, 3.0);
}

#[tokio::test]
async fn admin_shows_sessions_without_their_keys() {
    let app = App::of(1, OnDrain::Move, OnDead::Fail).await;
    let proxy = app.proxy(&[]).await;
    let text = proxy.try_admin(&["clusters", "--json"]).await.unwrap();
    let clusters: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "type": "Cookie", "issuedBy": "Proxy", "name": "tenbin", "validSeconds": 604_800,
        "onDrain": "Move", "onDead": "Fail", "keyIds": [1],
    });
    let cluster = &clusters["clusters"][0];
    assert_eq!(cluster["affinity"], expected);
    let endpoint = &cluster["endpoints"][0];
    assert_eq!(
        (&endpoint["weight"], &endpoint["zone"], &endpoint["latencyMs"]),
        (&1.into(), &"".into(), &serde_json::Value::Null)
    );
}
