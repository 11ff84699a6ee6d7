//! Sessions by cookie: each client stays with one pod, through whichever sidecar it comes, while replicas come and go, and as long as
//! its pod serves.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::json;
use tenbin_e2e::{App, Lab, RunningLoad, demo_spec, eventually, explain, leaving_since_ms, pod_name, sidecar, test};
use tenbin_load::{Load, Report, Request};

/// How long a replica that is to go keeps serving, in seconds.
const DRAIN: u64 = 5;

#[test]
fn clients_stay_with_their_pod() {
    test("sessions", async |lab| {
        let mut spec = demo_spec(lab, 2);
        spec["affinity"] = json!({ "type": "Cookie", "onDrain": "Keep" });
        spec["rollout"] = json!({ "drainSeconds": DRAIN });
        let app = App::create(lab, "sessions", spec).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;
        let pods = app.pods().await?;

        // Fifty clients, each going from one sidecar to the other and back.
        let fifty = Load {
            hosts: pods.iter().map(sidecar).collect::<anyhow::Result<_>>()?,
            per_client: Some(20),
            cookies: true,
            ..Load::new(Request::get(app.url("/")), 50)
        };
        let report = driver.start(&fifty).await?.ended().await?;
        super::lossless(&report)?;
        ensure!(
            report.ok == 50 * 20 && report.instances.len() == 2,
            "{}",
            explain(&report)
        );
        unmoved(&report)?;

        // Connections of their own, so that each request may come to any sidecar.
        let clients = Load {
            cookies: true,
            fresh_connections: true,
            ..app.load("/", 20)
        };
        let old = driver.start(&clients).await?;
        old.answered(100).await?;
        app.patch(&json!({ "replicas": 4 })).await?;
        app.ready(4, 60).await?;
        old.answered(100).await?;
        unmoved(&old.report().await?).context("from 2 to 4")?;
        let new = driver.start(&clients).await?;
        new.answered(200).await?;
        ensure!(new.report().await?.instances.len() == 4, "new sessions are not spread");

        let mut leaving = Leaving::default();
        app.patch(&json!({ "replicas": 2 })).await?;
        leaving.gone(lab, &app, 2).await?;
        stayed(&[&old, &new], &leaving).await.context("from 4 to 2")?;

        app.patch(&json!({ "env": [{ "name": "CHANGED", "value": "1" }] }))
            .await?;
        leaving.gone(lab, &app, 4).await?;
        app.ready(2, 60).await?;
        stayed(&[&old, &new], &leaving).await.context("the rolling update")?;
        for load in [old, new] {
            let report = load.stop().await?;
            super::lossless(&report)?;
            // Once for the pods that went first, and for each that is replaced.
            let most = report.visits.iter().map(Vec::len).max().unwrap_or(0);
            ensure!(most <= 4, "a client was with {most} pods: {:?}", report.visits);
        }
        Ok(())
    });
}

/// Each client was with one pod only.
fn unmoved(report: &Report) -> anyhow::Result<()> {
    let moved: Vec<_> = report.visits.iter().filter(|visits| visits.len() != 1).collect();
    ensure!(
        moved.is_empty() && !report.visits.is_empty(),
        "{} clients of {} were with other than one pod: {:?}",
        moved.len(),
        report.visits.len(),
        moved.first()
    );
    Ok(())
}

/// The pods that were told to go, and since when, in milliseconds since 1970.
#[derive(Default)]
struct Leaving(BTreeMap<String, u64>);

impl Leaving {
    /// Looks on until `count` pods in all have been told to go, and are gone.
    async fn gone(&mut self, lab: &Lab, app: &App<'_>, count: usize) -> anyhow::Result<()> {
        let of_app = ListParams::default().labels(&format!("tenbin.dev/app={}", app.name));
        eventually("pods go", 120, async || {
            let pods = lab.api::<Pod>().list(&of_app).await?.items;
            for pod in &pods {
                if let Some(since) = leaving_since_ms(pod) {
                    self.0.entry(pod_name(pod)).or_insert(since);
                }
            }
            let there = pods.iter().filter(|pod| self.0.contains_key(&pod_name(pod))).count();
            ensure!(
                self.0.len() == count && there == 0,
                "{} of {count} were told to go, {there} of them are still there",
                self.0.len()
            );
            Ok(())
        })
        .await
    }
}

/// No client left its pod before that pod's time was over; and some had to, or this says nothing.
async fn stayed(loads: &[&RunningLoad], leaving: &Leaving) -> anyhow::Result<()> {
    let mut moves = 0;
    for load in loads {
        load.answered(100).await?;
        let report = load.report().await?;
        super::lossless(&report)?;
        for visits in &report.visits {
            for pair in visits.windows(2) {
                moves += 1;
                let (from, to) = (&pair[0], &pair[1]);
                let since = leaving.0.get(&from.instance);
                let since = since.with_context(|| format!("a client left a pod that was not to go: {visits:?}"))?;
                ensure!(
                    to.first_ms >= since + DRAIN * 1000,
                    "a client left {} {} ms after it was told to go: {visits:?}",
                    from.instance,
                    to.first_ms.saturating_sub(*since)
                );
            }
        }
    }
    ensure!(moves > 0, "no client was with a pod that went");
    Ok(())
}
