//! Why a request went where it went: the access log and the admin socket say so. The log is switched on in the chart, which starts
//! the operators anew.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tenbin_e2e::{App, Driver, Lab, demo_spec, eventually, pod_ip, pod_name, sidecar, test};
use tenbin_load::{Answer, Cause, Request};

#[test]
fn a_request_tells_why_it_went_there() {
    test("reasons", async |lab| {
        lab.with_chart(async || {
            lab.set_chart(&["proxy.accessLog.format=Text"]).await?;
            reasons(lab).await
        })
        .await
    });
}

/// What a line of the log says of where a request went.
#[derive(Debug, PartialEq, Eq)]
struct Why {
    tries: String,
    endpoint: String,
    reason: String,
    candidates: String,
    affinity: String,
}

async fn reasons(lab: &Lab) -> anyhow::Result<()> {
    let mut spec = demo_spec(lab, 2);
    spec["affinity"] = json!({ "type": "Cookie" });
    let app = App::create(lab, "reasons", spec).await?;
    let driver = lab.driver().await?;
    app.ready(2, 60).await?;
    let pods = app.pods().await?;
    let (door, other) = (&pods[0], &pods[1]);

    // A client without a session: the algorithm picks.
    let first = send(&driver, door, "/at/first", None).await?;
    let why = why(lab, door, "/at/first").await?;
    let expected = |endpoint: &str, tries: &str, reason: &str, candidates: &str, affinity: &str| Why {
        tries: tries.to_owned(),
        endpoint: endpoint.to_owned(),
        reason: reason.to_owned(),
        candidates: candidates.to_owned(),
        affinity: affinity.to_owned(),
    };
    ensure!(why == expected(&who(&first)?, "1", "policy", "2", "new"), "{why:?}");

    // One with a session on the other pod: it stays there.
    let cookie = session_on(&driver, door, &pod_name(other)).await?;
    send(&driver, door, "/at/again", Some(&cookie)).await?;
    let why = self::why(lab, door, "/at/again").await?;
    ensure!(
        why == expected(&pod_name(other), "1", "affinity", "1", "hit"),
        "{why:?}"
    );
    clusters(&app, door, other).await?;

    // That pod's app is gone: tried there, then elsewhere.
    moved(lab, &driver, door, other, &cookie).await
}

async fn moved(lab: &Lab, driver: &Driver, door: &Pod, other: &Pod, cookie: &str) -> anyhow::Result<()> {
    let own = format!("http://{}:8080", pod_ip(other));
    eventually("a request that was tried twice", 60, async || {
        let kill = driver.send(&Request::post(format!("{own}/kill"), 0)).await?;
        ensure!(
            kill.error.as_ref().is_some_and(|(cause, _)| *cause == Cause::Closed),
            "not killed: {kill:?}"
        );
        let refused = driver.send(&Request::get(format!("{own}/"))).await?;
        ensure!(refused.status.is_none(), "it is back already");
        let path = format!("/at/{}", refused.ended_ms);
        let answer = send(driver, door, &path, Some(cookie)).await?;
        let why = why(lab, door, &path).await?;
        ensure!(
            why.tries == "2"
                && why.affinity == "moved"
                && why.endpoint == who(&answer)?
                && why.endpoint == pod_name(door),
            "{why:?}"
        );
        Ok(())
    })
    .await
}

/// What the admin socket shows of the cluster: how it balances, and what its endpoints got so far.
async fn clusters(app: &App<'_>, door: &Pod, other: &Pod) -> anyhow::Result<()> {
    let shown: Value = serde_json::from_str(&app.admin(&pod_name(door), &["clusters", "--json"]).await?)?;
    let cluster = &shown["clusters"][0];
    ensure!(
        cluster["algorithm"] == "RoundRobin" && cluster["affinity"]["type"] == "Cookie",
        "{cluster:#}"
    );
    let endpoints = cluster["endpoints"].as_array().cloned().unwrap_or_default();
    ensure!(endpoints.len() == 2, "{cluster:#}");
    let picked = endpoints.iter().find(|e| e["instance"] == pod_name(other).as_str());
    let picked = picked.with_context(|| format!("{cluster:#}"))?;
    ensure!(
        picked["weight"] == 1 && picked["state"] == "Ready" && picked["picks"].as_u64() >= Some(2),
        "{picked:#}"
    );
    // The keys are known by numbers; nothing else of them is shown.
    ensure!(
        cluster["affinity"]["keyIds"]
            .as_array()
            .is_some_and(|ids| !ids.is_empty() && ids.iter().all(Value::is_u64)),
        "{cluster:#}"
    );
    Ok(())
}

async fn send(driver: &Driver, door: &Pod, path: &str, cookie: Option<&str>) -> anyhow::Result<Answer> {
    let mut request = Request::get(format!("{}{path}", sidecar(door)?));
    request
        .headers
        .extend(cookie.map(|c| ("cookie".to_owned(), c.to_owned())));
    let answer = driver.send(&request).await?;
    ensure!(answer.status == Some(200) && answer.error.is_none(), "{answer:?}");
    Ok(answer)
}

fn who(answer: &Answer) -> anyhow::Result<String> {
    let name = answer.headers.get("x-tenbin-instance");
    name.cloned().context("the answer names no instance")
}

/// The cookie of a session on the pod of that name, as it is sent.
async fn session_on(driver: &Driver, door: &Pod, pod: &str) -> anyhow::Result<String> {
    eventually("a session on the pod", 10, async || {
        let answer = send(driver, door, "/", None).await?;
        ensure!(who(&answer)? == pod, "{answer:?}");
        let given = answer.cookies.first().context("no cookie was given")?;
        Ok(given.split(';').next().unwrap_or_default().to_owned())
    })
    .await
}

/// What the log of a pod's proxy says of the request for `path`: the words of its line from the tries on.
async fn why(lab: &Lab, door: &Pod, path: &str) -> anyhow::Result<Why> {
    eventually("the request is in the log", 10, async || {
        let log = lab
            .kubectl
            .run(&["logs", &pod_name(door), "-c", "tenbin-proxy"])
            .await?;
        let asked = format!(" {path}\"");
        let line = log.lines().find(|line| line.contains(&asked));
        let line = line.with_context(|| format!("no line for {path} in:\n{log}"))?;
        // What was asked for is quoted; status, code and duration come next.
        let (_, told) = line.split_once(&asked).context("nothing follows what was asked for")?;
        let mut words = told.split_whitespace().skip(3).map(str::to_owned);
        let mut next = || words.next().with_context(|| format!("too short: {line}"));
        let (tries, endpoint) = (next()?, next()?);
        let (reason, candidates, affinity) = (next()?, next()?, next()?);
        Ok(Why {
            tries,
            endpoint,
            reason,
            candidates,
            affinity,
        })
    })
    .await
}
