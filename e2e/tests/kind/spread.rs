//! Item 2: who gets how much, by algorithm.

use anyhow::{Context, ensure};
use serde_json::json;
use tenbin_e2e::{App, Driver, Lab, demo_spec, eventually, explain, pod_ip, test};
use tenbin_load::{Load, Report, Request};

/// A load of `count` requests without pauses.
fn burst(app: &App<'_>, path: &str, clients: usize, count: u64, fresh_connections: bool) -> Load {
    Load {
        count: Some(count),
        pause_ms: 0,
        fresh_connections,
        ..app.load(path, clients)
    }
}

/// Both of two instances got `each` ± `off`.
fn even(report: &Report, each: u64, off: u64) -> anyhow::Result<()> {
    super::lossless(report)?;
    let counts: Vec<u64> = report.instances.values().map(|i| i.ok).collect();
    ensure!(
        counts.len() == 2 && counts.iter().all(|c| c.abs_diff(each) <= off),
        "not {each} ± {off} each: {}",
        explain(report)
    );
    Ok(())
}

/// The longest run of answers of one instance.
fn longest_run(order: &[String]) -> usize {
    order.chunk_by(|a, b| a == b).map(<[String]>::len).max().unwrap_or(0)
}

#[test]
fn requests_are_spread_as_the_algorithm_says() {
    test("spread", async |lab| {
        let app = App::create(lab, "spread", demo_spec(lab, 2)).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;

        // Each connection is one sidecar's, so both ways matter: one that is kept, and many, spread over both sidecars.
        even(&driver.run(&burst(&app, "/", 1, 1000, false)).await?, 500, 10)?;
        even(&driver.run(&burst(&app, "/", 8, 1000, false)).await?, 500, 10)?;
        even(&driver.run(&burst(&app, "/", 4, 1000, true)).await?, 500, 10)?;

        let before = app.ready_names().await?;
        app.patch(&json!({ "algorithm": "LeastRequest" })).await?;
        app.ready(2, 60).await?;
        ensure!(
            app.ready_names().await? == before,
            "a change of algorithm replaced pods"
        );

        // One client at a time finds all endpoints idle, so every pick is a tie.
        let report = driver.run(&burst(&app, "/", 1, 200, false)).await?;
        even(&report, 100, 10)?;
        let run = longest_run(&report.order);
        ensure!(run <= 3, "ties do not rotate, {run} in a row: {:?}", report.order);

        // Each takes as long as the other: long enough that it is the waiting which counts, not who of them gets the processor.
        let same = "/slow?ms=50";
        even(&driver.run(&burst(&app, same, 16, 1000, false)).await?, 500, 40)?;
        even(&driver.run(&burst(&app, same, 16, 1000, true)).await?, 500, 40)?;
        slow_one_gets_less(lab, &app, &driver).await
    });
}

/// A replica that takes ten times as long as the other gets a fifth at most.
async fn slow_one_gets_less(lab: &Lab, app: &App<'_>, driver: &Driver) -> anyhow::Result<()> {
    let pods = app.pods().await?;
    let mut slow = String::new();
    for (pod, delay) in pods.iter().zip([20, 200]) {
        let url = format!("http://{}:8080/slow?ms={delay}", pod_ip(pod));
        let answer = driver.send(&Request::post(url, 0)).await?;
        ensure!(answer.status == Some(200), "{answer:?}");
        slow = pod.metadata.name.clone().context("a pod has a name")?;
    }
    for fresh_connections in [false, true] {
        let report = driver.run(&burst(app, "/", 16, 1000, fresh_connections)).await?;
        super::lossless(&report)?;
        let share = report.instances.get(&slow).map_or(0, |i| i.ok);
        ensure!(share <= 200, "the slow one got {share}: {}", explain(&report));
    }
    let namespace = &lab.namespace;
    eventually("the slow one is still Ready", 10, async || {
        let names = app.ready_names().await?;
        ensure!(names.contains(&slow), "{namespace}: {names:?}");
        Ok(())
    })
    .await
}
