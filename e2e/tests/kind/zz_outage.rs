//! The control plane killed, taken away, cut off, under constant load: traffic never notices, and all converges by itself.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use tenbin_e2e::{App, Driver, Lab, Node, Samples, demo_spec, eventually, explain, pod_ip, restarts, say, test};
use tenbin_load::{Load, Request};

/// Resources sent by an operator, by kind.
const SENT: &str = "tenbin_operator_xds_resources_sent_total";
/// How far the clocks of a kill and of a request may be apart, in milliseconds, on a machine that is busy.
const BLUR: u64 = 200;

/// Both operators killed at once, again and again: nobody notices, and what comes back sends nothing that proxies have already.
#[test]
fn a_operators_killed_again_and_again() {
    test("killed", async |lab| {
        alone(lab).await?;
        let app = App::create(lab, "steady", demo_spec(lab, 3)).await?;
        let driver = lab.driver().await?;
        app.ready(3, 60).await?;
        let load = driver.start(&app.load("/", 6)).await?;
        load.answered(50).await?;
        for round in 1..=3 {
            let before = lab.operators().await?;
            for pod in &before {
                Node::kill(pod, &["operator"]).await?;
            }
            eventually("both operators are back", 90, async || {
                let now = lab.operators().await?;
                let back = now.iter().filter(|pod| {
                    let old = before.iter().find(|old| old.metadata.uid == pod.metadata.uid);
                    old.is_some_and(|old| restarts(pod, "operator") > restarts(old, "operator"))
                });
                ensure!(back.count() == before.len(), "not yet");
                Ok(())
            })
            .await?;
            eventually("every proxy is connected again", 60, async || connected(lab, 3).await).await?;
            let sent = lab.operator_metrics().await?.sum(SENT, &[]);
            ensure!(
                sent == 0.0,
                "round {round}: {sent} resources were sent, though nothing had changed"
            );
            load.answered(50).await?;
        }
        super::lossless(&load.stop().await?)?;
        app.patch(&json!({ "replicas": 2 })).await?;
        app.ready(2, 90).await
    });
}

/// Waits until the pods of tests before are gone: what their going sends would be counted with ours.
async fn alone(lab: &Lab) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::all(lab.client.clone());
    eventually("the apps of other tests are gone", 120, async || {
        let all = pods.list(&ListParams::default().labels("tenbin.dev/app")).await?.items;
        let of_tests = |pod: &&Pod| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            namespace.starts_with("e2e-") && namespace != lab.namespace
        };
        let left = all.iter().filter(of_tests).count();
        ensure!(left == 0, "{left} pods");
        Ok(())
    })
    .await
}

/// The operators have a stream of each of `proxies`, none of other apps, and nothing is under way.
async fn connected(lab: &Lab, proxies: usize) -> anyhow::Result<Samples> {
    let metrics = lab.operator_metrics().await?;
    let streams = metrics.sum("tenbin_operator_xds_streams", &[]);
    ensure!(streams >= proxies as f64, "{streams} streams");
    Ok(metrics)
}

/// The lease holder dies without a word: another one writes within 30 s, both serve all along, the counts stay right.
#[test]
fn b_leadership_passes_on() {
    test("lead", async |lab| {
        let app = App::create(lab, "led", demo_spec(lab, 2)).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;
        let load = driver.start(&app.load("/", 4)).await?;
        load.answered(50).await?;
        let holder = async || -> anyhow::Result<String> {
            let lease = lab.system::<Lease>().get("tenbin-operator").await?;
            lease
                .spec
                .and_then(|s| s.holder_identity)
                .context("nobody holds the lease")
        };
        let before = holder().await?;
        let pods = lab.operators().await?;
        let mut names = pods.iter().filter_map(|p| p.metadata.name.clone());
        let leader = names.find(|n| before.contains(n.as_str()));
        let leader = leader.with_context(|| format!("the lease is held by {before:?}, no operator"))?;
        let at_once = DeleteParams::default().grace_period(0);
        lab.system::<Pod>().delete(&leader, &at_once).await?;
        app.patch(&json!({ "replicas": 3 })).await?;
        eventually("another one leads", 30, async || {
            let now = holder().await?;
            ensure!(!now.is_empty() && now != before, "{now:?}");
            Ok(())
        })
        .await?;
        app.ready(3, 30).await?;
        counts(&app, 3).await?;
        load.answered(50).await?;
        super::lossless(&load.stop().await?)
    });
}

/// The status counts every proxy, whichever operator it hangs on.
async fn counts(app: &App<'_>, replicas: u64) -> anyhow::Result<()> {
    eventually("every proxy is counted", 60, async || {
        let status = app.status().await?;
        let proxies = &status["proxies"];
        let all = |field: &str| proxies[field].as_u64() == Some(replicas);
        ensure!(all("connected") && all("synced"), "{proxies}");
        Ok(())
    })
    .await
}

/// With no operator at all: a proxy that restarts serves everybody from its snapshot, a pod that is new serves its own app; with them
/// again, only what changed is sent.
#[test]
fn c_apps_live_without_operators() {
    test("outage", async |lab| {
        alone(lab).await?;
        let app = App::create(lab, "alone", demo_spec(lab, 3)).await?;
        let driver = lab.driver().await?;
        app.ready(3, 60).await?;
        let load = driver.start(&app.load("/", 4)).await?;
        load.answered(50).await?;
        scale_operators(lab, 0).await?;
        load.answered(50).await?;
        super::lossless(&load.stop().await?).context("the operators went")?;

        let pods = app.pods().await?;
        let [first, second, third] = pods.as_slice() else {
            anyhow::bail!("{} pods", pods.len());
        };
        serves_from_its_snapshot(lab, &driver, first).await?;
        app_is_whole(lab, &app, 3).await?;

        let gone = second.metadata.name.clone().context("a pod has a name")?;
        let load = driver.start(&app.load("/", 4)).await?;
        load.answered(20).await?;
        lab.api::<Pod>().delete(&gone, &DeleteParams::default()).await?;
        let newcomer = newcomer(lab, &app, &pods).await?;
        let name = newcomer.metadata.name.clone().context("a pod has a name")?;
        for _ in 0..5 {
            let who = driver.who(&format!("http://{}:15080/", pod_ip(&newcomer))).await?;
            ensure!(who == name, "{who} answered in the place of {name}");
        }
        load.answered(50).await?;
        super::lossless(&load.report().await?).context("a pod was replaced with no operator")?;

        // At its most talkative while it connects anew: still no token in its log.
        app.admin(&name, &["log-level", "trace"]).await?;
        scale_operators(lab, 2).await?;
        app.ready(3, 60).await?;
        let balanced = "the new pod is balanced over by the old ones' sidecars";
        eventually(balanced, 30, async || {
            let third = format!("http://{}:15080/", pod_ip(third));
            ensure!(driver.who(&third).await? == name, "not yet");
            Ok(())
        })
        .await?;
        counts(&app, 3).await?;
        load.answered(50).await?;
        super::lossless(&load.stop().await?).context("the operators came back")?;
        // All that the newcomer needs, and the endpoints that changed for the two others.
        let metrics = lab.operator_metrics().await?;
        for kind in ["cluster", "listener", "routes"] {
            let sent = metrics.sum(SENT, &[("kind", kind)]);
            ensure!(
                sent == 1.0,
                "{sent} resources of kind {kind} were sent, one proxy is new"
            );
        }
        super::streams::no_log_holds_a_token(lab, "tenbin.dev/app=alone").await
    });
}

/// The proxy of `pod` is killed; the one that comes up in its place knows everybody, and says that this is from before.
async fn serves_from_its_snapshot(lab: &Lab, driver: &Driver, pod: &Pod) -> anyhow::Result<()> {
    let name = pod.metadata.name.as_deref().context("a pod has a name")?;
    let before = restarts(pod, "tenbin-proxy");
    Node::kill(pod, &["tenbin-proxy"]).await?;
    let again = eventually("the killed proxy is back", 30, async || {
        let pod = lab.api::<Pod>().get(name).await?;
        ensure!(
            restarts(&pod, "tenbin-proxy") > before && tenbin_e2e::is_ready(&pod),
            "not yet"
        );
        Ok(pod)
    })
    .await?;
    let url = format!("http://{}:15080/", pod_ip(&again));
    let mut instances = BTreeSet::new();
    for _ in 0..9 {
        instances.insert(driver.who(&url).await?);
    }
    ensure!(instances.len() == 3, "only {instances:?} answered through {name}");
    let metrics = lab.proxy_metrics(&again).await?;
    ensure!(
        metrics.sum("tenbin_snapshot_restored", &[]) == 1.0,
        "it does not say that its snapshot is from before"
    );
    let age = metrics.sum("tenbin_snapshot_age_seconds", &[]);
    ensure!(age > 0.0 && age < 600.0, "its snapshot is {age} s old");
    say(format_args!(
        "{name} serves 3 endpoints from a snapshot that is {age:.0} s old"
    ));
    Ok(())
}

/// All pods are Ready, and the Service has heard of it.
async fn app_is_whole(lab: &Lab, app: &App<'_>, replicas: usize) -> anyhow::Result<()> {
    eventually("every pod is in the Service's slices", 30, async || {
        let of_service = format!("kubernetes.io/service-name={}", app.name);
        let names = "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].targetRef.name}";
        let slices = lab
            .kubectl
            .run(&["get", "endpointslices", "-l", &of_service, "-o", names])
            .await?;
        let ready = slices.split_whitespace().count();
        ensure!(ready == replicas, "{ready} ready endpoints");
        Ok(())
    })
    .await
}

async fn newcomer(lab: &Lab, app: &App<'_>, before: &[Pod]) -> anyhow::Result<Pod> {
    eventually("the new pod is Ready with no operator", 60, async || {
        let names = app.ready_names().await?;
        let is_old = |name: &String| before.iter().any(|pod| pod.metadata.name.as_ref() == Some(name));
        let new = names.iter().find(|name| !is_old(name));
        let new = new.with_context(|| format!("{names:?}"))?;
        Ok(lab.api::<Pod>().get(new).await?)
    })
    .await
}

async fn scale_operators(lab: &Lab, replicas: i32) -> anyhow::Result<()> {
    let count = format!("--replicas={replicas}");
    lab.system_kubectl()
        .run(&["scale", "deployment", "tenbin-operator", &count])
        .await?;
    eventually("the operators are scaled", 60, async || {
        let all = lab.system::<Pod>().list(&ListParams::default()).await?.items;
        let of_operator = |p: &&Pod| {
            p.metadata
                .name
                .as_deref()
                .is_some_and(|n| n.starts_with("tenbin-operator-"))
        };
        let there = all.iter().filter(of_operator).count();
        let ready = lab.operators().await?.len();
        let wanted = usize::try_from(replicas)?;
        ensure!(there == wanted && ready == wanted, "{there} there, {ready} Ready");
        Ok(())
    })
    .await
}

/// The API server hangs for 30 s, and a pod dies meanwhile: it is routed around, streams and operators live on.
#[test]
fn d_the_api_server_may_go() {
    test("cutoff", async |lab| {
        let app = App::create(lab, "cut", demo_spec(lab, 3)).await?;
        let driver = lab.driver().await?;
        app.ready(3, 60).await?;
        counts(&app, 3).await?;
        let pods = app.pods().await?;
        let [victim, through, _] = pods.as_slice() else {
            anyhow::bail!("{} pods", pods.len());
        };
        let connects = async || -> anyhow::Result<f64> {
            Ok(lab.proxy_metrics(through).await?.sum("tenbin_xds_connects_total", &[]))
        };
        let (streams, operators) = (connects().await?, lab.operators().await?);
        let clients = 4;
        // Through one sidecar that lives: a Service goes on sending to the dead one until the API server can say so.
        let load = driver
            .start(&Load {
                request: Request::get(format!("http://{}:15080/slow?ms=10", pod_ip(through))),
                ..app.load("", clients)
            })
            .await?;
        load.answered(50).await?;

        // It goes on by itself, whatever becomes of this test.
        let control_plane = lab.control_plane();
        let script = "pkill -STOP -x kube-apiserver; sleep 30; pkill -CONT -x kube-apiserver";
        let outage = control_plane.run(script);
        let kill = async {
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            Node::kill(victim, &[]).await
        };
        let (outage, killed_ms) = tokio::join!(outage, kill);
        outage?;
        let killed_ms = killed_ms?;
        eventually("the API server answers again", 60, async || {
            lab.operators().await?;
            Ok(())
        })
        .await?;

        // It has much to catch up with, and may refuse for a while yet.
        let report = eventually("it answers again what goes through it", 60, async || {
            load.report().await
        })
        .await?;
        let at_once = |f: &tenbin_load::Failure| f.began_ms <= killed_ms + BLUR;
        ensure!(
            report.failed <= clients as u64 && report.failures.iter().all(at_once),
            "more failed than what was in flight on the pod that was killed at +{} ms: {}",
            killed_ms.saturating_sub(report.began_ms),
            explain(&report)
        );
        ensure!(report.longest_gap_ms < 5_000, "nobody answered: {}", explain(&report));
        app.ready(3, 120).await?;
        load.answered(50).await?;
        counts(&app, 3).await?;
        let after = connects().await?;
        ensure!(after == streams, "streams were cut: {after} connects, {streams} before");
        for pod in lab.operators().await? {
            let old = operators.iter().find(|old| old.metadata.uid == pod.metadata.uid);
            let old = old.context("an operator was replaced")?;
            ensure!(
                restarts(&pod, "operator") == restarts(old, "operator"),
                "an operator restarted"
            );
        }
        load.stop().await?;
        Ok(())
    });
}
