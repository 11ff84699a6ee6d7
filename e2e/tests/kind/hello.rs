//! `kubectl apply -f examples/hello.yaml`, and everything a newcomer sees from then on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use serde_json::{Value, json};
use tenbin_e2e::{App, Lab, demo_spec, eventually, pod_ip, say, test};

/// Item 1: Ready, and a request answered, with the times from apply.
#[test]
fn one_command_makes_a_balanced_app() {
    test("hello", async |lab| {
        let driver = lab.driver().await?;
        let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello.yaml"))?;
        let began = Instant::now();
        lab.kubectl.apply(&example).await?;
        let app = App::named(lab, "hello");
        eventually("a request is answered", 60, async || driver.get(&app.url("/")).await).await?;
        let answered = began.elapsed();
        app.ready(2, 60).await?;
        let ready = began.elapsed();
        say(format_args!(
            "from apply: {:.1} s to the first answer, {:.1} s to Ready",
            answered.as_secs_f32(),
            ready.as_secs_f32()
        ));

        listing(lab).await?;
        children(lab).await?;
        replicas_know_who_they_are(lab, &app).await?;
        conditions(lab, &app).await?;
        logs_and_events(lab, &app).await?;
        admin(&app).await?;
        open_ports(lab, &app).await
    });
}

/// The columns of a listing, as any client that asks for a table gets them.
async fn listing(lab: &Lab) -> anyhow::Result<()> {
    let request = http::Request::get(format!(
        "/apis/tenbin.dev/v1alpha1/namespaces/{}/balancedapps",
        lab.namespace
    ))
    .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
    .body(Vec::new())?;
    let table: Value = lab.client.request(request).await?;
    let columns: Vec<String> = table["columnDefinitions"]
        .as_array()
        .context("the table has columns")?
        .iter()
        .map(|c| c["name"].as_str().unwrap_or_default().to_lowercase())
        .collect();
    ensure!(
        columns == ["name", "ready", "desired", "algorithm", "synced", "proxy", "age"],
        "columns: {columns:?}"
    );
    let cells = &table["rows"][0]["cells"];
    ensure!(
        cells[0] == "hello" && cells[1] == "2/2" && cells[2] == 2 && cells[3] == "RoundRobin" && cells[4] == "True",
        "cells: {cells}"
    );
    let short = lab.kubectl.run(&["get", "bapp", "hello"]).await?;
    ensure!(short.contains("2/2"), "{short}");
    let all = lab.kubectl.run(&["get", "all"]).await?;
    ensure!(all.contains("balancedapp.tenbin.dev/hello"), "{all}");
    Ok(())
}

fn owned_by_hello(meta: &ObjectMeta) -> anyhow::Result<()> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let good = |o: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
        o.kind == "BalancedApp" && o.name == "hello" && o.controller == Some(true)
    };
    ensure!(owners.len() == 1 && owners.iter().all(good), "owners: {owners:?}");
    let label = meta.labels.as_ref().and_then(|l| l.get("tenbin.dev/app"));
    ensure!(label.map(String::as_str) == Some("hello"), "labels: {:?}", meta.labels);
    Ok(())
}

/// Every object of the app has its owner and its label, the budget never blocks a drain, and the sidecar is a native one.
async fn children(lab: &Lab) -> anyhow::Result<()> {
    let deployment = lab.api::<Deployment>().get("hello").await?;
    owned_by_hello(&deployment.metadata)?;
    owned_by_hello(&lab.api::<Service>().get("hello").await?.metadata)?;
    owned_by_hello(&lab.api::<ConfigMap>().get("hello-tenbin").await?.metadata)?;
    let revisions = lab.api::<ControllerRevision>().list(&ListParams::default()).await?;
    ensure!(revisions.items.len() == 1, "{} revisions", revisions.items.len());
    owned_by_hello(&revisions.items[0].metadata)?;

    let budget = lab.api::<PodDisruptionBudget>().get("hello").await?;
    owned_by_hello(&budget.metadata)?;
    let spec = serde_json::to_value(budget.spec)?;
    ensure!(
        spec["maxUnavailable"] == 1 && spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow",
        "budget: {spec}"
    );

    let pod = deployment.spec.and_then(|s| s.template.spec).context("a template")?;
    let sidecar = pod.init_containers.unwrap_or_default();
    let sidecar = sidecar
        .iter()
        .find(|c| c.name == "tenbin-proxy")
        .context("no sidecar")?;
    ensure!(
        sidecar.restart_policy.as_deref() == Some("Always"),
        "the sidecar is no native one"
    );
    ensure!(
        sidecar.image.as_deref() == Some(&lab.settings.proxy_image),
        "{:?}",
        sidecar.image
    );
    let resources = serde_json::to_value(&sidecar.resources)?;
    for path in ["/requests/cpu", "/requests/memory", "/limits/cpu", "/limits/memory"] {
        ensure!(
            resources.pointer(path).is_some(),
            "the sidecar has no {path}: {resources}"
        );
    }
    let app = pod
        .containers
        .iter()
        .find(|c| c.name == "app")
        .context("no app container")?;
    probes(app)
}

/// The health probe became the kubelet's readiness and startup probe on the app's own port, and no liveness probe.
fn probes(app: &Container) -> anyhow::Result<()> {
    for probe in [&app.readiness_probe, &app.startup_probe] {
        let http = probe
            .as_ref()
            .and_then(|p| p.http_get.clone())
            .context("no HTTP probe")?;
        ensure!(http.path.as_deref() == Some("/healthz"), "{http:?}");
    }
    ensure!(app.liveness_probe.is_none(), "nobody asked for a liveness probe");
    Ok(())
}

/// Instance name, app name and port are in the environment of every replica, and the replica really goes by them.
async fn replicas_know_who_they_are(lab: &Lab, app: &App<'_>) -> anyhow::Result<()> {
    let driver = lab.driver().await?;
    let mut seen = BTreeSet::new();
    for pod in app.pods().await? {
        let name = pod.metadata.name.clone().context("a pod has a name")?;
        let containers = pod.spec.as_ref().map(|s| s.containers.clone()).unwrap_or_default();
        let container = containers
            .into_iter()
            .find(|c| c.name == "app")
            .context("no app container")?;
        let env = container.env.unwrap_or_default();
        let find = |name: &str| env.iter().find(|e| e.name == name);
        let port = find("TENBIN_PORT")
            .and_then(|e| e.value.clone())
            .context("no TENBIN_PORT")?;
        ensure!(
            find("TENBIN_APP").and_then(|e| e.value.as_deref()) == Some("hello"),
            "{env:?}"
        );
        ensure!(
            find("TENBIN_PORT_HTTP").and_then(|e| e.value.clone()) == Some(port.clone()),
            "{env:?}"
        );
        ensure!(
            find("TENBIN_INSTANCE").is_some_and(|e| e.value_from.is_some()),
            "{env:?}"
        );
        let answer = driver.get(&format!("http://{}:{port}/", pod_ip(&pod))).await?;
        let answer: Value = serde_json::from_str(&answer.body)?;
        ensure!(
            answer["instance"] == name.as_str() && answer["app"] == "hello",
            "{answer}"
        );
        seen.insert(name);
    }
    ensure!(seen.len() == 2, "{seen:?}");
    Ok(())
}

/// All five conditions, by the API conventions, and the counts.
async fn conditions(lab: &Lab, app: &App<'_>) -> anyhow::Result<()> {
    let object = app.get().await?;
    let generation = object.metadata.generation.unwrap_or_default();
    for condition in app.conditions().await? {
        let expected = if condition.kind == "Degraded" { "False" } else { "True" };
        // Progressing may be either once all is done; it must be told all the same.
        ensure!(
            condition.kind == "Progressing" || condition.status == expected,
            "{condition:?}"
        );
        ensure!(condition.reason.chars().all(char::is_alphanumeric), "{condition:?}");
        ensure!(
            !condition.reason.is_empty() && !condition.last_transition_time.is_empty(),
            "{condition:?}"
        );
        ensure!(condition.observed_generation == generation, "{condition:?}");
    }
    let kinds: BTreeSet<String> = app.conditions().await?.into_iter().map(|c| c.kind).collect();
    let expected = ["Available", "ConfigSynced", "Degraded", "Progressing", "Ready"];
    ensure!(kinds.iter().map(String::as_str).eq(expected), "{kinds:?}");
    let status = eventually("both proxies are synced", 20, async || {
        let status = app.status().await?;
        ensure!(
            status["proxies"] == json!({ "connected": 2, "synced": 2, "image": lab.settings.proxy_image }),
            "{status:#}"
        );
        Ok(status)
    })
    .await?;
    for (path, value) in [
        ("/replicas", json!(2)),
        ("/readyReplicas", json!(2)),
        ("/updatedReplicas", json!(2)),
        ("/availableReplicas", json!(2)),
        ("/drainingReplicas", json!(0)),
        ("/ready", json!("2/2")),
        ("/endpoints/ready", json!(2)),
        ("/endpoints/draining", json!(0)),
        ("/selector", json!("tenbin.dev/app=hello")),
    ] {
        ensure!(
            status.pointer(path) == Some(&value),
            "{path} is not {value}: {status:#}"
        );
    }
    Ok(())
}

/// One selector finds all logs; events tell what happened; the proxies say their limits at the start.
async fn logs_and_events(lab: &Lab, app: &App<'_>) -> anyhow::Result<()> {
    let logs = lab
        .kubectl
        .run(&["logs", "-l", "tenbin.dev/app=hello", "--prefix"])
        .await?;
    for name in app.ready_names().await? {
        ensure!(
            logs.contains(&format!("pod/{name}/app")),
            "no line of {name} in:\n{logs}"
        );
        let proxy = lab
            .kubectl
            .run(&["logs", &name, "-c", "tenbin-proxy"])
            .await?
            .to_lowercase();
        ensure!(
            proxy.contains("fd_limit=") && proxy.contains("connection_limit="),
            "the proxy does not say its fd limit and its connection cap:\n{proxy}"
        );
    }
    eventually("events tell what happened", 20, async || {
        let of_app = "involvedObject.kind=BalancedApp,involvedObject.name=hello";
        let events = lab.kubectl.run(&["get", "events", "--field-selector", of_app]).await?;
        ensure!(events.contains("Normal"), "{events}");
        Ok(())
    })
    .await
}

/// The admin socket answers by `kubectl exec`, with the proxy's own binary as client.
async fn admin(app: &App<'_>) -> anyhow::Result<()> {
    let names = app.ready_names().await?;
    let pod = names.first().context("no pod is Ready")?;
    let status = app.admin(pod, &["status"]).await?;
    ensure!(!status.trim().is_empty(), "admin status says nothing");
    let clusters = app.admin(pod, &["clusters"]).await?;
    for name in &names {
        ensure!(
            clusters.contains(name.as_str()),
            "admin clusters does not name {name}:\n{clusters}"
        );
    }
    Ok(())
}

/// On the pod's address listen the app, the sidecar's traffic port and its `/readyz` and `/metrics`, and nothing else.
async fn open_ports(lab: &Lab, app: &App<'_>) -> anyhow::Result<()> {
    let driver = lab.driver().await?;
    let pod = app.pods().await?.into_iter().next().context("no pod")?;
    let name = pod.metadata.name.clone().context("a pod has a name")?;
    let ip = pod_ip(&pod);
    let named = |wanted: &str| -> anyhow::Result<u16> {
        let spec = pod.spec.as_ref().context("a pod has a spec")?;
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let mut ports = containers.flat_map(|c| c.ports.iter().flatten());
        let port = ports.find(|p| p.name.as_deref() == Some(wanted));
        Ok(u16::try_from(
            port.with_context(|| format!("no port {wanted}"))?.container_port,
        )?)
    };
    let (own, traffic, admin) = (named("http")?, named("tb-http")?, named("tb-admin")?);
    let scanned = driver.scan(&ip).await?;
    let mut expected = vec![own, traffic, admin];
    expected.sort_unstable();
    ensure!(
        scanned.open == expected && scanned.silent == 0,
        "open: {:?}, expected {expected:?}; {} silent",
        scanned.open,
        scanned.silent
    );

    driver.get(&format!("http://{ip}:{admin}/readyz")).await?;
    let metrics = lab.pod_text(&lab.namespace, &name, admin, "/metrics").await?;
    ensure!(metrics.contains("# HELP") && metrics.contains("# TYPE"), "{metrics}");
    for path in ["/", "/status", "/config", "/clusters", "/drain", "/quitquitquit"] {
        let answer = driver
            .send(&tenbin_load::Request::get(format!("http://{ip}:{admin}{path}")))
            .await?;
        ensure!(answer.status == Some(404), "{path} on the status port: {answer:?}");
    }
    Ok(())
}

/// The sidecar and what the operator adds are fit for a namespace that enforces Pod Security "restricted"; `podTemplate` is
/// merged under it, so that the app's own part can be made fit.
#[test]
fn runs_where_pod_security_is_restricted() {
    test("restricted", async |lab| {
        let label = "pod-security.kubernetes.io/enforce=restricted";
        lab.kubectl.run(&["label", "namespace", &lab.namespace, label]).await?;
        let mut spec = demo_spec(lab, 1);
        spec["podTemplate"] = json!({
            "metadata": { "labels": { "team": "blue" }, "annotations": { "example.org/note": "kept" } },
            "spec": {
                "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                "containers": [{
                    "name": "app",
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "capabilities": { "drop": ["ALL"] },
                    },
                }],
            },
        });
        let app = App::create(lab, "strict", spec).await?;
        app.ready(1, 60).await?;
        let pods = app.pods().await?;
        let meta = &pods[0].metadata;
        let label = meta.labels.as_ref().and_then(|l| l.get("team")).map(String::as_str);
        ensure!(label == Some("blue"), "podTemplate's label is lost: {meta:?}");
        let note = meta.annotations.as_ref().and_then(|a| a.get("example.org/note"));
        ensure!(note.is_some(), "podTemplate's annotation is lost: {meta:?}");

        // The operators too: the API server warns of pods that would not be let in.
        let label = [
            "label",
            "--dry-run=server",
            "--overwrite",
            "namespace",
            &lab.settings.system,
        ];
        let strict = [&label[..], &["pod-security.kubernetes.io/enforce=restricted"]].concat();
        let outcome = lab.system_kubectl().attempt(&strict, "").await?;
        ensure!(outcome.ok && !outcome.stderr.contains("violate"), "{outcome:?}");
        let operators = lab.operators().await?;
        ensure!(operators.len() == 2, "{} operators are Ready", operators.len());
        let nodes: BTreeSet<_> = operators
            .iter()
            .filter_map(|p: &Pod| p.spec.as_ref()?.node_name.clone())
            .collect();
        ensure!(nodes.len() == 2, "both operators are on {nodes:?}");
        for operator in operators {
            let name = operator.metadata.name.context("a pod has a name")?;
            for path in ["/healthz", "/readyz"] {
                lab.pod_text(&lab.settings.system, &name, 15020, path).await?;
            }
        }
        Ok(())
    });
}

/// How long a settled app is looked at.
const QUIET: Duration = Duration::from_secs(10);

/// Once an app has settled, the operators write nothing but their lease.
#[test]
fn a_settled_app_causes_no_writes() {
    test("settled", async |lab| {
        let app = App::create(lab, "calm", demo_spec(lab, 2)).await?;
        app.ready(2, 60).await?;
        let writes = async || -> anyhow::Result<f64> {
            let metrics = lab.operator_metrics().await?;
            let is_write = |s: &&tenbin_e2e::Sample| {
                let label = |name: &str| s.labels.get(name).map(String::as_str).unwrap_or_default();
                // A review asks something, by a request that looks like a write.
                let asks = matches!(label("verb"), "get" | "list" | "watch") || label("resource") == "tokenreviews";
                !asks && label("resource") != "leases"
            };
            let calls = metrics.named("tenbin_operator_api_requests_total");
            Ok(calls.filter(is_write).map(|s| s.value).sum())
        };
        // What begins to settle may take another write or two; then there are ten seconds without one.
        let (mut known, mut since) = (writes().await?, Instant::now());
        eventually("nothing is written for ten seconds", 60, async || {
            let now = writes().await?;
            if now != known {
                (known, since) = (now, Instant::now());
            }
            let quiet = since.elapsed();
            ensure!(quiet >= QUIET, "{known} writes, the last {quiet:?} ago");
            Ok(())
        })
        .await
    });
}
