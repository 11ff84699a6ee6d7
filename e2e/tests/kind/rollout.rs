//! Item 3 and its kin: scaling and every kind of rollout under load, with no request lost.

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};
use tenbin_e2e::{App, Lab, RunningLoad, demo_spec, eventually, is_ready, say, test};

/// How long after it is Ready a replica may take to answer its first request, in milliseconds.
/// What it takes is said; a pod tells the time it became Ready in whole seconds, rounded down.
const SOON: u64 = 10_000;

#[test]
fn scaling_loses_nothing() {
    test("scale", async |lab| {
        let app = App::create(lab, "hello", demo_spec(lab, 2)).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;
        autoscale(lab).await?;
        let kept = driver.start(&app.load("/", 6)).await?;
        let fresh = driver
            .start(&tenbin_load::Load {
                fresh_connections: true,
                ..app.load("/", 2)
            })
            .await?;
        kept.answered(50).await?;

        lab.kubectl.run(&["scale", "bapp", "hello", "--replicas=4"]).await?;
        app.ready(4, 60).await?;
        let listing = lab.kubectl.run(&["get", "bapp", "hello"]).await?;
        ensure!(listing.contains("4/4"), "{listing}");
        new_ones_answer_soon(&app, &kept).await?;

        lab.kubectl.run(&["scale", "bapp", "hello", "--replicas=2"]).await?;
        app.ready(2, 60).await?;
        gone(lab, "hello", 2).await?;
        kept.answered(50).await?;
        super::lossless(&kept.stop().await?)?;
        super::lossless(&fresh.stop().await?)?;
        autoscaler_is_able(lab).await
    });
}

/// A `HorizontalPodAutoscaler` that would not scale anything here, since it wants what the app has.
async fn autoscale(lab: &Lab) -> anyhow::Result<()> {
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "hello" },
        "spec": {
            "scaleTargetRef": { "apiVersion": "tenbin.dev/v1alpha1", "kind": "BalancedApp", "name": "hello" },
            "minReplicas": 1,
            "maxReplicas": 8,
            "metrics": [{
                "type": "Resource",
                "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 50 } },
            }],
        },
    });
    lab.kubectl.apply(&autoscaler.to_string()).await?;
    Ok(())
}

async fn autoscaler_is_able(lab: &Lab) -> anyhow::Result<()> {
    eventually("the autoscaler can read and set the scale", 45, async || {
        let text = lab.kubectl.run(&["get", "hpa", "hello", "-o", "json"]).await?;
        let hpa: Value = serde_json::from_str(&text)?;
        let conditions = hpa["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let able = conditions
            .iter()
            .any(|c| c["type"] == "AbleToScale" && c["status"] == "True");
        ensure!(able, "{conditions:?}");
        Ok(())
    })
    .await
}

/// Each of the app's pods has answered requests of `load`, from soon after it became Ready.
async fn new_ones_answer_soon(app: &App<'_>, load: &RunningLoad) -> anyhow::Result<()> {
    let pods = app.pods().await?;
    let report = eventually("every replica answers", 10, async || {
        let report = load.report().await?;
        ensure!(report.instances.len() == pods.len(), "{:?}", report.instances.keys());
        Ok(report)
    })
    .await?;
    for pod in pods {
        let name = pod.metadata.name.clone().context("a pod has a name")?;
        let ready_ms = ready_since_ms(&pod).with_context(|| format!("{name} is not Ready"))?;
        let first_ms = report.instances[&name].first_ms;
        let took = first_ms.saturating_sub(ready_ms);
        // Those that were there before the load began say nothing.
        if ready_ms > report.began_ms {
            say(format_args!(
                "{name}: first answer {took} ms after the second in which it became Ready"
            ));
            ensure!(took <= SOON, "{name} took {took} ms from Ready to its first answer");
        }
    }
    Ok(())
}

fn ready_since_ms(pod: &Pod) -> Option<u64> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
    u64::try_from(ready.last_transition_time.as_ref()?.0.as_millisecond()).ok()
}

/// Waits until there are `left` pods of the app, those that are about to go included.
async fn gone(lab: &Lab, app: &str, left: usize) -> anyhow::Result<()> {
    let of_app = ListParams::default().labels(&format!("tenbin.dev/app={app}"));
    eventually("the replaced pods are gone", 120, async || {
        let pods = lab.api::<Pod>().list(&of_app).await?.items;
        ensure!(pods.len() == left, "{} pods", pods.len());
        Ok(())
    })
    .await
}

/// A change of memory, of the app's port, and a restart by hand: each replaces every pod, none loses a request.
#[test]
fn rollouts_lose_nothing() {
    test("rollout", async |lab| {
        let mut spec = demo_spec(lab, 2);
        spec["resources"] = json!({ "requests": { "memory": "32Mi" }, "limits": { "memory": "64Mi" } });
        let app = App::create(lab, "roll", spec).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;
        let load = driver.start(&app.load("/", 6)).await?;
        let fresh = driver
            .start(&tenbin_load::Load {
                fresh_connections: true,
                ..app.load("/", 2)
            })
            .await?;
        load.answered(50).await?;

        replaced_by(lab, &app, async || {
            app.patch(&json!({ "resources": { "limits": { "memory": "96Mi" } } }))
                .await
        })
        .await?;
        for pod in app.pods().await? {
            let limits = serde_json::to_value(&pod.spec.context("a spec")?.containers[0].resources)?;
            ensure!(limits["limits"]["memory"] == "96Mi", "{limits}");
        }
        load.answered(50).await?;
        super::lossless(&load.report().await?).context("change of memory")?;

        replaced_by(lab, &app, async || {
            app.patch(&json!({ "ports": [{ "name": "http", "port": 9090, "servicePort": 80 }] }))
                .await
        })
        .await?;
        load.answered(50).await?;
        super::lossless(&load.report().await?).context("change of port")?;

        replaced_by(lab, &app, async || {
            lab.kubectl
                .run(&["rollout", "restart", "deployment/roll"])
                .await
                .map(|_| ())
        })
        .await?;
        let deployment = lab.api::<Deployment>().get("roll").await?;
        let template = deployment.spec.context("a spec")?.template.metadata.unwrap_or_default();
        let restarted = template.annotations.unwrap_or_default();
        ensure!(
            restarted.contains_key("kubectl.kubernetes.io/restartedAt"),
            "the annotation of the restart is gone: {restarted:?}"
        );
        gone(lab, "roll", 2).await?;
        load.answered(50).await?;
        super::lossless(&load.stop().await?).context("restart")?;
        super::lossless(&fresh.stop().await?).context("fresh connections")
    });
}

/// Does something that replaces both pods, and waits until it has.
async fn replaced_by(lab: &Lab, app: &App<'_>, action: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let before = app.ready_names().await?;
    action().await?;
    eventually("all pods are replaced", 90, async || {
        let pods = app.pods().await?;
        let names: Vec<String> = pods.iter().filter_map(|p| p.metadata.name.clone()).collect();
        ensure!(
            pods.len() == 2 && pods.iter().all(is_ready) && !names.iter().any(|n| before.contains(n)),
            "{}: before {before:?}, now {names:?}",
            lab.namespace
        );
        Ok(())
    })
    .await?;
    app.ready(2, 60).await
}
