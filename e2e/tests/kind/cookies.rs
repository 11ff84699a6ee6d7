//! Session cookies that are of no use: forged, too old, another app's, of a pod that is gone. Each is ignored and counted, and the
//! client gets a good one; nothing is restarted by it.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tenbin_e2e::{App, Balancing, Driver, Lab, Node, demo_spec, eventually, pod_name, restarts, sidecar, test};
use tenbin_load::{Answer, Load, Request};

use super::weighs;

/// The cookie's name, unless the spec names another.
const NAME: &str = "tenbin";

/// A client of one sidecar, and what that sidecar counts.
struct Door<'a> {
    lab: &'a Lab,
    driver: Driver,
    pod: Pod,
    url: String,
}

impl<'a> Door<'a> {
    async fn of(lab: &'a Lab, pod: &Pod) -> anyhow::Result<Self> {
        Ok(Door {
            lab,
            driver: lab.driver().await?,
            pod: pod.clone(),
            url: format!("{}/", sidecar(pod)?),
        })
    }

    /// A request with this `cookie` header; it is answered, whatever the cookie.
    async fn send(&self, cookie: Option<&str>) -> anyhow::Result<Answer> {
        let mut request = Request::get(&self.url);
        request
            .headers
            .extend(cookie.map(|c| ("cookie".to_owned(), c.to_owned())));
        let answer = self.driver.send(&request).await?;
        ensure!(
            answer.status == Some(200) && answer.error.is_none(),
            "with {cookie:?}: {answer:?}"
        );
        Ok(answer)
    }

    /// Requests that came to one of these ends so far.
    async fn count(&self, outcomes: &[&str]) -> anyhow::Result<f64> {
        let metrics = self.lab.proxy_metrics(&self.pod).await?;
        let count = |outcome: &&str| metrics.sum("tenbin_affinity_total", &[("outcome", *outcome)]);
        Ok(outcomes.iter().map(count).sum())
    }

    /// Sends a cookie that comes to one of these ends; the client is given another one with the answer.
    async fn useless(&self, cookie: &str, outcomes: &[&str]) -> anyhow::Result<()> {
        let before = self.count(outcomes).await?;
        let answer = self.send(Some(cookie)).await?;
        let after = self.count(outcomes).await?;
        ensure!(
            after == before + 1.0,
            "{cookie:?} did not count as {outcomes:?}: {before}, then {after}"
        );
        given(&answer).with_context(|| format!("after {cookie:?}"))?;
        Ok(())
    }
}

/// The session cookie that an answer sets, as `name=value`.
fn given(answer: &Answer) -> anyhow::Result<String> {
    let ours = answer.cookies.iter().find(|c| c.starts_with(&format!("{NAME}=")));
    let ours = ours.with_context(|| format!("no cookie was given: {answer:?}"))?;
    Ok(ours.split(';').next().unwrap_or_default().to_owned())
}

fn who(answer: &Answer) -> anyhow::Result<String> {
    let name = answer.headers.get("x-tenbin-instance");
    name.cloned().context("the answer names no instance")
}

fn cookie(ttl: Option<u32>) -> Balancing {
    Balancing::bound(json!({ "type": "Cookie", "cookie": { "ttlSeconds": ttl } }))
}

#[test]
fn useless_cookies_are_ignored_and_counted() {
    test("cookies", async |lab| {
        let mut spec = demo_spec(lab, 2);
        spec["affinity"] = json!({ "type": "Cookie" });
        let app = App::create(lab, "cookies", spec.clone()).await?;
        spec["replicas"] = json!(1);
        let other = App::create(lab, "other", spec).await?;
        app.ready(2, 60).await?;
        other.ready(1, 60).await?;
        let pods = app.pods().await?;
        let (first, second) = (&pods[0], &pods[1]);
        let door = Door::of(lab, first).await?;

        sound(&door).await?;
        forged(&door).await?;
        let foreign = Door::of(lab, &other.pods().await?[0]).await?.send(None).await?;
        // Another app has other keys; of whom a cookie is that opens with none of ours, nobody can tell for certain.
        door.useless(&given(&foreign)?, &["forged", "unknown_key"]).await?;
        weightless(&door, &pods).await?;
        expired(&door, &app).await?;
        stale(&door, &app, second).await?;

        for pod in app.pods().await? {
            for container in ["app", "tenbin-proxy"] {
                let count = restarts(&pod, container);
                ensure!(
                    count == Some(0),
                    "{container} of {}: restarts {count:?}",
                    pod_name(&pod)
                );
            }
        }
        restarted(&door).await
    });
}

/// A good one: what it looks like, and that it is followed.
async fn sound(door: &Door<'_>) -> anyhow::Result<()> {
    let first = door.send(None).await?;
    let line = &first.cookies[0];
    ensure!(
        line.contains("; Path=/") && line.contains("; HttpOnly") && line.contains("; SameSite=Lax"),
        "{line}"
    );
    let control = first.headers.get("cache-control").map_or("", String::as_str);
    ensure!(
        control.contains("private") || control.contains("no-store"),
        "a shared cache may keep the cookie: cache-control is {control:?}"
    );
    let cookie = given(&first)?;
    let before = door.count(&["hit"]).await?;
    for _ in 0..4 {
        let again = door.send(Some(&cookie)).await?;
        ensure!(who(&again)? == who(&first)?, "the session moved: {again:?}");
        ensure!(again.cookies.is_empty(), "a fresh cookie was replaced: {again:?}");
    }
    let hits = door.count(&["hit"]).await? - before;
    ensure!(hits == 4.0, "{hits} hits of 4");
    Ok(())
}

/// Not ours, or ours no more.
async fn forged(door: &Door<'_>) -> anyhow::Result<()> {
    let good = given(&door.send(None).await?)?;
    let middle = good.len() / 2;
    let other = if good.as_bytes()[middle] == b'A' { "B" } else { "A" };
    let changed = format!("{}{other}{}", &good[..middle], &good[middle + 1..]);
    let all = [
        changed,
        good[..good.len() - 4].to_owned(),
        format!("{good}AAAA"),
        format!("{NAME}="),
        format!("{NAME}=10.244.1.7:8080"),
        format!("{NAME}={}", "A".repeat(4_000)),
        format!("{NAME}={}", "A".repeat(100)),
        format!("{NAME}=\"%00\\\u{e9};;=;"),
    ];
    for cookie in all {
        door.useless(&cookie, &["forged", "unknown_key"]).await?;
    }
    Ok(())
}

/// A pod of weight 0 keeps its sessions and gets no new ones.
async fn weightless(door: &Door<'_>, pods: &[Pod]) -> anyhow::Result<()> {
    let second = pod_name(&pods[1]);
    let cookie = session_on(door, &second).await?;
    let weight = async |weight: &str| {
        let kubectl = &door.lab.kubectl;
        kubectl.run(&["annotate", "pod", &second, weight]).await.map(|_| ())
    };
    weight("tenbin.dev/weight=0").await?;
    weighs(door.lab, pods, &second, 0).await?;
    let fresh = Load {
        count: Some(50),
        ..Load::new(Request::get(&door.url), 4)
    };
    let report = door.driver.run(&fresh).await?;
    super::lossless(&report)?;
    ensure!(
        !report.instances.contains_key(&second),
        "weight 0 got new sessions: {:?}",
        report.instances
    );
    let kept = who(&door.send(Some(&cookie)).await?)?;
    ensure!(kept == second, "weight 0 lost a session to {kept}");
    weight("tenbin.dev/weight-").await?;
    weighs(door.lab, pods, &second, 1).await
}

/// A cookie of a session on the pod of that name.
async fn session_on(door: &Door<'_>, pod: &str) -> anyhow::Result<String> {
    eventually("a session on the pod", 10, async || {
        let answer = door.send(None).await?;
        ensure!(who(&answer)? == pod, "{answer:?}");
        given(&answer)
    })
    .await
}

/// A cookie whose time is over, by the clock.
async fn expired(door: &Door<'_>, app: &App<'_>) -> anyhow::Result<()> {
    app.balance(2, &cookie(Some(8))).await?;
    let hits = door.count(&["hit"]).await?;
    let answer = door.send(None).await?;
    ensure!(answer.cookies[0].contains("; Max-Age=8"), "{answer:?}");
    let short = given(&answer)?;
    door.send(Some(&short)).await?;
    ensure!(
        door.count(&["hit"]).await? > hits,
        "a cookie of eight seconds is over at once"
    );
    eventually("the cookie expires", 30, async || {
        door.useless(&short, &["expired"]).await
    })
    .await?;
    app.balance(2, &cookie(None)).await
}

/// A cookie of a pod that is gone.
async fn stale(door: &Door<'_>, app: &App<'_>, gone: &Pod) -> anyhow::Result<()> {
    let cookie = session_on(door, &pod_name(gone)).await?;
    door.lab
        .kubectl
        .run(&["delete", "pod", &pod_name(gone), "--wait=true"])
        .await?;
    app.ready(2, 60).await?;
    eventually("the proxy knows that it is gone", 20, async || {
        door.useless(&cookie, &["gone"]).await
    })
    .await
}

/// A proxy that was killed and is back knows the cookies of before.
async fn restarted(door: &Door<'_>) -> anyhow::Result<()> {
    let before = door.send(None).await?;
    let cookie = given(&before)?;
    Node::kill(&door.pod, &["tenbin-proxy"]).await?;
    eventually("the proxy answers again", 30, async || {
        let answer = door.send(Some(&cookie)).await?;
        ensure!(
            who(&answer)? == who(&before)? && answer.cookies.is_empty(),
            "the session is lost: {answer:?}"
        );
        Ok(())
    })
    .await
}
