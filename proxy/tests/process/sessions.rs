//! Sessions: proxies that share keys keep a client at its endpoint, whatever comes, goes, and is sent.

use tenbin_model::{Affinity, EndpointState, OnDead, OnDrain, SessionCookie};

use crate::app::{App, Browser, outcomes, sessions};
use crate::backend::{Backend, nobody};
use crate::harness::{Proxy, eventually};
use crate::operator::Operator;

const READY: EndpointState = EndpointState::Ready;
const DRAINING: EndpointState = EndpointState::Draining;

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
        let (gone, _nobody) = nobody();
        endpoints[home].1 = gone;
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
