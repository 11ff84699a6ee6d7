//! More replicas, more work: an app that can do so much per replica does twice and four times as much with two and four.

use anyhow::ensure;
use serde_json::json;
use tenbin_e2e::{App, Driver, demo_spec, explain, say, test};
use tenbin_load::{Load, Request};

/// Work at once in a replica.
const SLOTS: u64 = 2;
/// Milliseconds that a piece of work takes. Two at once of these are 100 a second: far from what the machine can do, so that nothing
/// but the number of replicas counts.
const WORK: u64 = 20;
/// Seconds that each load takes at the rate there should be.
const SECONDS: u64 = 2;
/// Enough to keep the slots of four replicas busy, with as many waiting at each.
const CLIENTS: usize = 32;

#[test]
fn throughput_grows_with_replicas() {
    test("capacity", async |lab| {
        let mut spec = demo_spec(lab, 1);
        spec["env"] = json!([{ "name": "DEMO_SLOTS", "value": SLOTS.to_string() }]);
        // What an app gets that says nothing.
        spec["algorithm"] = json!(null);
        let app = App::create(lab, "capacity", spec).await?;
        let driver = lab.driver().await?;
        app.ready(1, 60).await?;
        let one = rate(&app, &driver, 1).await?;
        for (replicas, least) in [(2, 1.8), (4, 3.6)] {
            app.patch(&json!({ "replicas": replicas })).await?;
            app.ready(replicas, 60).await?;
            let rate = rate(&app, &driver, replicas).await?;
            ensure!(
                rate >= least * one,
                "{replicas} replicas do {rate:.1}/s, one {one:.1}/s: less than {least} times as much"
            );
        }
        Ok(())
    });
}

/// The most that all replicas together do in a second, in three loads: a machine that stands still for a moment only ever takes from it.
async fn rate(app: &App<'_>, driver: &Driver, replicas: u32) -> anyhow::Result<f64> {
    let mut most = 0_f64;
    for _ in 0..3 {
        most = most.max(rate_once(app, driver, replicas).await?);
    }
    Ok(most)
}

/// Requests per second of all replicas together, kept busy.
async fn rate_once(app: &App<'_>, driver: &Driver, replicas: u32) -> anyhow::Result<f64> {
    let per_second = u64::from(replicas) * SLOTS * 1000 / WORK;
    let load = Load {
        count: Some(per_second * SECONDS),
        ..Load::new(Request::get(app.url(&format!("/work?ms={WORK}"))), CLIENTS)
    };
    let report = driver.run(&load).await?;
    super::lossless(&report)?;
    let last = report
        .instances
        .values()
        .map(|i| i.last_ms)
        .max()
        .unwrap_or(report.began_ms);
    let took = last.saturating_sub(report.began_ms).max(1);
    let rate = report.ok as f64 * 1000.0 / took as f64;
    say(format_args!(
        "{replicas} replicas: {rate:.1} requests/s: {}",
        explain(&report)
    ));
    Ok(rate)
}
