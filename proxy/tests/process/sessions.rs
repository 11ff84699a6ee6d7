//! Sessions: proxies that share keys keep a client at its endpoint, whatever else it sends.

use std::net::SocketAddr;

use futures::future::join_all;
use tenbin_model::{Affinity, EndpointState, OnDead, OnDrain, Policy, SameSite, SessionCookie};

use crate::backend::{Backend, nobody};
use crate::client::{Client, Response};
use crate::harness::{Proxy, eventually};
use crate::operator::{Operator, name};

const READY: EndpointState = EndpointState::Ready;
const DRAINING: EndpointState = EndpointState::Draining;

fn sessions(on_drain: OnDrain, on_dead: OnDead) -> Affinity {
    Affinity::Cookie(SessionCookie {
        name: "tenbin".to_owned(),
        path: "/".to_owned(),
        ttl: None,
        same_site: SameSite::Lax,
        secure: false,
        http_only: true,
        on_drain,
        on_dead,
        keys: name("ns/hello"),
    })
}

/// An app of several replicas, and the operator that tells of them.
struct App {
    operator: Operator,
    replicas: Vec<Backend>,
}

impl App {
    async fn of(n: usize, on_drain: OnDrain, on_dead: OnDead) -> Self {
        let app = App {
            operator: Operator::of(sessions(on_drain, on_dead)).await,
            replicas: join_all((0..n).map(|_| Backend::app())).await,
        };
        app.operator.endpoints(&app.all(READY));
        app
    }

    /// Its replicas, called `pod-0`, `pod-1` and so on.
    fn all(&self, state: EndpointState) -> Vec<(&'static str, SocketAddr, EndpointState)> {
        let names = ["pod-0", "pod-1", "pod-2", "pod-3"].into_iter();
        names
            .zip(&self.replicas)
            .map(|(id, app)| (id, app.address, state))
            .collect()
    }

    /// A sidecar that knows all of it.
    async fn proxy(&self, args: &[&str]) -> Proxy {
        let proxy = Proxy::following(&self.operator, args).await;
        proxy.await_endpoints(&self.all(READY)).await;
        proxy
    }

    /// Which of its replicas a response came from.
    fn at(&self, response: &Response) -> usize {
        let from = response.text();
        self.replicas
            .iter()
            .position(|app| app.address.to_string() == from)
            .unwrap()
    }
}

/// A browser: it keeps what it is told to, and sends it to whichever proxy it meets.
#[derive(Default)]
struct Browser {
    cookie: Option<String>,
}

impl Browser {
    async fn get(&mut self, proxy: &Proxy) -> Response {
        let mut client = proxy.client().await;
        let cookie = self
            .cookie
            .as_ref()
            .map(|cookie| format!("cookie: theme=dark; {cookie}; lang=en\r\n"));
        client
            .send(format!(
                "GET /who HTTP/1.1\r\nhost: test\r\n{}\r\n",
                cookie.unwrap_or_default()
            ))
            .await;
        let response = client.response().await;
        if let Some(told) = response.header("set-cookie") {
            self.cookie = told.split(';').next().map(str::to_owned);
        }
        response
    }

    /// One that sends this and keeps nothing yet.
    fn with(cookie: impl Into<String>) -> Self {
        Browser {
            cookie: Some(cookie.into()),
        }
    }
}

async fn outcomes(proxy: &Proxy, outcome: &str) -> f64 {
    proxy
        .metric(&format!(
            "tenbin_affinity_total{{listener=\"ns/hello/http\",outcome=\"{outcome}\"}}"
        ))
        .await
}

#[tokio::test]
async fn clients_stay_through_two_proxies_and_the_restart_of_one() {
    let app = App::of(4, OnDrain::Keep, OnDead::Rebalance).await;
    let (one, mut two) = (app.proxy(&[]).await, app.proxy(&[]).await);
    let mut browsers: Vec<(Browser, usize)> = Vec::new();
    for _ in 0..8 {
        let mut browser = Browser::default();
        let first = browser.get(&one).await;
        let told = first.header("set-cookie").unwrap();
        assert!(
            told.starts_with("tenbin=") && told.ends_with("; Path=/; SameSite=Lax; HttpOnly"),
            "{told}"
        );
        assert_eq!(first.header("cache-control"), Some("private"));
        browsers.push((browser, app.at(&first)));
    }
    for round in 0..6 {
        if round == 3 {
            two = app.proxy(&[]).await;
        }
        for (browser, home) in &mut browsers {
            let response = browser.get(if round % 2 == 0 { &two } else { &one }).await;
            assert_eq!((app.at(&response), response.header("set-cookie")), (*home, None));
            assert_eq!(response.header("cache-control"), None, "it may be cached as ever");
        }
    }
    let spread: Vec<usize> = app.replicas.iter().map(Backend::requests).collect();
    assert_eq!(spread, [14; 4], "new clients are spread in turn");
    assert_eq!((outcomes(&one, "new").await, outcomes(&one, "hit").await), (8.0, 24.0));
    assert_eq!((outcomes(&two, "new").await, outcomes(&two, "hit").await), (0.0, 8.0));
}

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
async fn what_is_no_session_is_ignored_and_counted() {
    let app = App::of(2, OnDrain::Keep, OnDead::Rebalance).await;
    let proxy = app.proxy(&[]).await;
    let mut browser = Browser::default();
    browser.get(&proxy).await;
    let good = browser.cookie.unwrap();

    // Another app's, under a key that happens to be the same.
    let stranger = Operator::of_app("other", sessions(OnDrain::Keep, OnDead::Rebalance)).await;
    stranger.endpoints(&app.all(READY));
    let strangers = Proxy::following(&stranger, &[]).await;
    strangers.await_endpoints(&app.all(READY)).await;
    let mut foreign = Browser::default();
    foreign.get(&strangers).await;

    let mut changed = good.clone();
    let other = if &good[40..41] == "A" { "B" } else { "A" };
    changed.replace_range(40..41, other);
    let garbage = [
        "tenbin=",
        "tenbin=\"\"",
        "tenbin=%00%ff",
        "tenbin=../../etc",
        "tenbin==;tenbin",
    ];
    let long = format!("tenbin={}", "A".repeat(20_000));
    let mut forged: Vec<String> = garbage.map(str::to_owned).into();
    forged.extend([changed, long, foreign.cookie.unwrap()]);
    for (n, cookie) in forged.iter().enumerate() {
        let response = Browser::with(cookie).get(&proxy).await;
        assert_eq!(response.status, 200, "{cookie}");
        assert!(response.header("set-cookie").is_some(), "it gets a good one: {cookie}");
        assert_eq!(outcomes(&proxy, "forged").await, n as f64 + 1.0, "{cookie}");
    }
    assert_eq!(outcomes(&proxy, "hit").await, 0.0);
    let response = Browser::with(good).get(&proxy).await;
    assert_eq!(response.header("set-cookie"), None);
    assert_eq!(outcomes(&proxy, "hit").await, 1.0);
}

#[tokio::test]
async fn keys_rotate_without_a_client_noticing() {
    let app = App::of(2, OnDrain::Keep, OnDead::Rebalance).await;
    let proxy = app.proxy(&[]).await;
    let mut browser = Browser::default();
    browser.get(&proxy).await;
    for (keys, told) in [(&[2, 1][..], false), (&[2], true), (&[3, 2], false)] {
        app.operator.keys(keys);
        eventually("the keys are there", async || {
            let clusters = proxy.admin("clusters").await;
            let ids = &clusters["clusters"][0]["affinity"]["keyIds"];
            (*ids == serde_json::json!(keys)).then_some(())
        })
        .await;
        let response = browser.get(&proxy).await;
        assert_eq!(response.header("set-cookie").is_some(), told, "{keys:?}");
        if !told {
            let again = browser.get(&proxy).await;
            assert_eq!(app.at(&again), app.at(&response), "{keys:?}");
        }
    }
    assert_eq!(
        outcomes(&proxy, "unknown_key").await,
        1.0,
        "the first key went before a new cookie came"
    );
}

#[tokio::test]
async fn an_expired_session_begins_anew() {
    let operator = Operator::of(Affinity::Cookie(SessionCookie {
        ttl: Some(std::time::Duration::from_secs(1)),
        ..match sessions(OnDrain::Keep, OnDead::Rebalance) {
            Affinity::Cookie(cookie) => cookie,
            Affinity::Hash { .. } => unreachable!("it is a cookie"),
        }
    }))
    .await;
    let replica = Backend::app().await;
    let endpoints = [("pod-0", replica.address, READY)];
    operator.endpoints(&endpoints);
    let proxy = Proxy::following(&operator, &[]).await;
    proxy.await_endpoints(&endpoints).await;
    let mut browser = Browser::default();
    let first = browser.get(&proxy).await;
    assert!(first.header("set-cookie").unwrap().contains("; Max-Age=1;"));
    // One that does not forget when it should, and does not keep what it is told.
    let stale = browser.cookie.unwrap();
    eventually("its time is over", async || {
        let response = Browser::with(&stale).get(&proxy).await;
        assert_eq!(response.status, 200);
        (outcomes(&proxy, "expired").await > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_draining_replica_keeps_its_sessions_where_that_is_wanted() {
    for on_drain in [OnDrain::Keep, OnDrain::Move] {
        let app = App::of(2, on_drain, OnDead::Rebalance).await;
        let proxy = app.proxy(&[]).await;
        let mut browser = Browser::default();
        let home = app.at(&browser.get(&proxy).await);
        let mut endpoints = app.all(READY);
        endpoints[home].2 = DRAINING;
        app.operator.endpoints(&endpoints);
        proxy.await_endpoints(&endpoints).await;
        let response = browser.get(&proxy).await;
        let kept = on_drain == OnDrain::Keep;
        assert_eq!(app.at(&response) == home, kept);
        assert_eq!(response.header("set-cookie").is_some(), !kept);
        assert_eq!(outcomes(&proxy, "moved").await, f64::from(u8::from(!kept)));
        let newcomer = Browser::default().get(&proxy).await;
        assert_ne!(app.at(&newcomer), home, "no new session where it drains");
    }
}

#[tokio::test]
async fn a_pod_that_went_is_not_who_has_its_address_now() {
    let app = App::of(2, OnDrain::Keep, OnDead::Rebalance).await;
    let proxy = app.proxy(&[]).await;
    let mut browser = Browser::default();
    let home = app.at(&browser.get(&proxy).await);
    let stale = browser.cookie.clone().unwrap();
    let mut endpoints = app.all(READY);
    endpoints[home].0 = "pod-9";
    app.operator.endpoints(&endpoints);
    proxy.await_endpoints(&endpoints).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let response = Browser::with(&stale).get(&proxy).await;
        assert!(response.header("set-cookie").is_some());
        seen.push(app.at(&response));
    }
    assert!(seen.contains(&(1 - home)), "the algorithm decides: {seen:?}");
    assert_eq!(outcomes(&proxy, "gone").await, 4.0);
}

#[tokio::test]
async fn a_dead_replica_loses_its_sessions_or_refuses_them() {
    for on_dead in [OnDead::Rebalance, OnDead::Fail] {
        let app = App::of(2, OnDrain::Keep, on_dead).await;
        let proxy = app.proxy(&[]).await;
        let mut browser = Browser::default();
        let home = app.at(&browser.get(&proxy).await);
        // It is moved to where nobody answers: to the proxy, it is the same pod.
        let mut endpoints = app.all(READY);
        endpoints[home].1 = nobody().await;
        app.operator.endpoints(&endpoints);
        proxy.await_endpoints(&endpoints).await;
        let before = browser.cookie.clone();
        let response = browser.get(&proxy).await;
        if on_dead == OnDead::Rebalance {
            assert_eq!(app.at(&response), 1 - home);
            assert_ne!(browser.cookie, before);
            assert_eq!(app.at(&browser.get(&proxy).await), 1 - home);
            assert_eq!(
                (outcomes(&proxy, "moved").await, outcomes(&proxy, "hit").await),
                (1.0, 1.0)
            );
            continue;
        }
        let text = "tenbin: 503 US: the endpoint of this session is gone or cannot be reached\n";
        assert_eq!((response.status, response.text().as_str()), (503, text));
        assert_eq!(browser.cookie, before, "the cookie stays");
        endpoints.remove(home);
        app.operator.endpoints(&endpoints);
        proxy.await_endpoints(&endpoints).await;
        assert_eq!(browser.get(&proxy).await.text(), text);
        proxy
            .await_metric(
                "tenbin_request_failures_total{listener=\"ns/hello/http\",reason=\"US\"}",
                2.0,
            )
            .await;
        assert_eq!(outcomes(&proxy, "gone").await, 2.0);

        let back = app.all(READY);
        app.operator.endpoints(&back);
        proxy.await_endpoints(&back).await;
        let response = browser.get(&proxy).await;
        assert_eq!(
            (response.status, app.at(&response)),
            (200, home),
            "at once, whatever was held against it"
        );
    }
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
    endpoints[home].1 = nobody().await;
    app.operator.endpoints(&endpoints);
    proxy.await_endpoints(&endpoints).await;
    browser.get(&proxy).await;
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
    let text = proxy.try_admin(&["clusters"]).await.unwrap();
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
