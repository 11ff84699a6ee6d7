//! What clients notice of replicas that fail, hang or have too much to do, and of requests that are too large or take too long. The
//! probe of every replica stays green all along.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tenbin_e2e::{App, Driver, demo_spec, eventually, explain, pod_ip, pod_name, sidecar, test};
use tenbin_load::{Answer, Load, Raw, Report, Request, Step};

/// Replicas.
const REPLICAS: u32 = 5;
/// Failed requests that one replica may cost, for each proxy.
const FAILED: u64 = 10;
/// Slow ones, of more than 250 ms, of 2,000: a fifth of all would be, if nothing were learnt of the one that hangs.
const SLOW: u64 = 50;

#[test]
fn bad_replicas_are_hardly_noticed() {
    test("resilience", async |lab| {
        let mut spec = demo_spec(lab, REPLICAS);
        // What an app gets that says nothing.
        spec["algorithm"] = json!(null);
        let app = App::create(lab, "resilient", spec).await?;
        let driver = lab.driver().await?;
        app.ready(REPLICAS, 90).await?;
        let pods = app.pods().await?;
        let (bad, others) = pods.split_first().context("no pod")?;

        one_fails(&driver, bad, others).await.context("one answers 500")?;
        one_hangs(&app, &driver, bad, others).await.context("one hangs")?;
        one_is_unavailable(&app, &driver, bad, others)
            .await
            .context("one answers 503")?;
        nobody_is_overloaded(&app, &driver, others).await.context("limits")?;
        sizes_and_times(&app, &driver).await?;
        ensure!(app.ready_names().await?.len() == pods.len(), "a probe is not green");
        Ok(())
    });
}

/// Sets `spec.resilience` to this alone, in all proxies.
async fn set(app: &App<'_>, resilience: Value) -> anyhow::Result<()> {
    // A merge would keep what is not named.
    app.patch(&json!({ "resilience": null })).await?;
    if !resilience.is_null() {
        app.patch(&json!({ "resilience": resilience })).await?;
    }
    app.ready(REPLICAS, 30).await
}

/// Tells one replica, not through a proxy.
async fn tell(driver: &Driver, pod: &Pod, path: &str) -> anyhow::Result<()> {
    let request = Request::post(format!("http://{}:8080{path}", pod_ip(pod)), 0);
    let answer = driver.send(&request).await?;
    ensure!(answer.status == Some(200), "{answer:?}");
    Ok(())
}

/// A load through the sidecar of one pod: each proxy learns for itself.
async fn through(driver: &Driver, pod: &Pod, path: &str, clients: usize, count: u64) -> anyhow::Result<Report> {
    let load = Load {
        count: Some(count),
        pause_ms: 5,
        ..Load::new(Request::get(format!("{}{path}", sidecar(pod)?)), clients)
    };
    driver.run(&load).await
}

/// With no setting at all, each proxy has the replica's own answer passed on a few times, and then goes elsewhere.
async fn one_fails(driver: &Driver, bad: &Pod, others: &[Pod]) -> anyhow::Result<()> {
    tell(driver, bad, "/fail?status=500").await?;
    for pod in [&others[0], &others[1], bad] {
        let report = through(driver, pod, "/", 8, 2_000).await?;
        let own = report.failures.iter().all(|failure| failure.status == Some(500));
        ensure!(
            report.failed <= FAILED && own,
            "through {}: {}",
            pod_name(pod),
            explain(&report)
        );
        let busy = report.instances.len();
        ensure!(busy == others.len(), "{busy} replicas answer: {}", explain(&report));
    }
    tell(driver, bad, "/fail?status=0").await?;
    eventually("it is asked again", 60, async || {
        let report = through(driver, &others[0], "/", 4, 200).await?;
        ensure!(report.instances.contains_key(&pod_name(bad)), "{}", explain(&report));
        super::lossless(&report)
    })
    .await
}

/// A replica that answers nothing any more: with a time for each try, every GET is answered by another, and few had to wait.
async fn one_hangs(app: &App<'_>, driver: &Driver, bad: &Pod, others: &[Pod]) -> anyhow::Result<()> {
    set(
        app,
        json!({ "timeouts": { "perTry": "250ms" }, "retries": { "conditions": ["Timeout"] } }),
    )
    .await?;
    tell(driver, bad, "/slow?ms=60000").await?;
    for pod in [&others[0], bad] {
        let report = through(driver, pod, "/", 8, 2_000).await?;
        super::lossless(&report)?;
        ensure!(
            report.slow <= SLOW,
            "{} took more than 250 ms, the longest {} ms: {}",
            report.slow,
            report.longest_ms,
            explain(&report)
        );
    }
    tell(driver, bad, "/slow?ms=0").await
}

/// Where the app says so, a 503 of a replica makes another one answer.
async fn one_is_unavailable(app: &App<'_>, driver: &Driver, bad: &Pod, others: &[Pod]) -> anyhow::Result<()> {
    set(
        app,
        json!({ "retries": { "conditions": ["GatewayError"], "statuses": [500] } }),
    )
    .await?;
    for status in [503, 500] {
        tell(driver, bad, &format!("/fail?status={status}")).await?;
        let report = through(driver, &others[0], "/", 4, 500).await?;
        super::lossless(&report).with_context(|| format!("{status}"))?;
    }
    tell(driver, bad, "/fail?status=0").await
}

/// One request for each replica at once: a few more wait, and what is more than that is turned away at once, with when to come back.
async fn nobody_is_overloaded(app: &App<'_>, driver: &Driver, others: &[Pod]) -> anyhow::Result<()> {
    let limits = json!({ "requestsPerReplica": 1, "queueLength": 5, "queueTimeout": "30s" });
    set(app, json!({ "limits": limits })).await?;
    let way = &others[0];
    // Not more than can be at work or wait.
    let report = through(driver, way, "/slow?ms=50", 9, 300).await?;
    super::lossless(&report).context("as many as may")?;

    let url = format!("{}/slow?ms=300", sidecar(way)?);
    let crowd = driver
        .start(&Load {
            pause_ms: 20,
            ..Load::new(Request::get(&url), 20)
        })
        .await?;
    let turned_away = eventually("a request is turned away", 20, async || {
        let answer = driver.send(&Request::get(&url)).await?;
        ensure!(answer.status == Some(503), "{answer:?}");
        Ok(answer)
    })
    .await?;
    ensure!(
        turned_away.headers.contains_key("retry-after") && turned_away.body.starts_with("tenbin: 503 "),
        "{turned_away:?}"
    );
    let report = crowd.stop().await?;
    let others = report.failures.iter().find(|failure| failure.status != Some(503));
    ensure!(
        report.ok > 0 && report.failed > 0 && others.is_none(),
        "{}",
        explain(&report)
    );
    eventually("all is well again", 20, async || driver.get(&url).await).await?;
    Ok(())
}

/// Bodies that are too large, and answers that take too long to begin; how long they take then is their own business.
async fn sizes_and_times(app: &App<'_>, driver: &Driver) -> anyhow::Result<()> {
    set(
        app,
        json!({ "limits": { "requestBodyBytes": 1000 }, "timeouts": { "request": "3s" } }),
    )
    .await?;
    let post = async |bytes: u64| driver.send(&Request::post(app.url("/sink"), bytes)).await;
    let (fits, large) = (post(1000).await?, post(1001).await?);
    ensure!(
        fits.status == Some(200) && large.status == Some(413),
        "{fits:?}, {large:?}"
    );
    let body = format!("5dc\r\n{}\r\n0\r\n\r\n", "x".repeat(1500));
    let chunked = Raw {
        address: app.address(80),
        steps: vec![Step {
            after: String::new(),
            text: format!(
                "POST /sink HTTP/1.1\r\nhost: resilient\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{body}"
            ),
        }],
        timeout_ms: 5_000,
    };
    let received = driver.raw(&chunked).await?;
    ensure!(received.text.starts_with("HTTP/1.1 413"), "{received:?}");

    let late = driver.send(&Request::get(app.url("/slow?ms=9000"))).await?;
    ensure!(late.status == Some(504) && took(&late) < 8_000, "{late:?}");
    let long = driver.get(&app.url("/stream?n=11&ms=400")).await?;
    ensure!(long.body.ends_with("data: 10\n\n") && took(&long) >= 4_000, "{long:?}");
    set(app, Value::Null).await
}

fn took(answer: &Answer) -> u64 {
    answer.ended_ms.saturating_sub(answer.began_ms)
}
