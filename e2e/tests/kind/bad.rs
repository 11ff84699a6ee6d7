//! Item 5: mistakes people make. Each is refused at once, or reported in the conditions, by a message that names field and value;
//! and an app that runs goes on as it was.

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tenbin_e2e::{App, Lab, demo_spec, eventually, test};

/// A mistake: where it stands in the manifest, what stands there, and what a message about it must name.
struct Mistake {
    what: &'static str,
    path: &'static str,
    value: Value,
    names: &'static [&'static str],
}

fn mistake(what: &'static str, path: &'static str, value: Value, names: &'static [&'static str]) -> Mistake {
    Mistake {
        what,
        path,
        value,
        names,
    }
}

/// Mistakes that `kubectl apply` itself must refuse.
fn refused() -> Vec<Mistake> {
    vec![
        mistake(
            "a negative number of replicas",
            "/spec/replicas",
            json!(-1),
            &["spec.replicas", "-1"],
        ),
        mistake("no ports", "/spec/ports", json!([]), &["spec.ports", "0"]),
        mistake(
            "a port beyond all ports",
            "/spec/ports/0/port",
            json!(70000),
            &["spec.ports[0].port", "70000"],
        ),
        mistake(
            "an algorithm by another spelling",
            "/spec/algorithm",
            json!("round-robin"),
            &["spec.algorithm", "round-robin", "RoundRobin"],
        ),
        mistake(
            "a field by another spelling",
            "/spec/replica",
            json!(3),
            &["spec.replica"],
        ),
        mistake(
            "two ports of one name",
            "/spec/ports",
            json!([{ "name": "http", "port": 8080 }, { "name": "http", "port": 8081 }]),
            &["spec.ports[1]", "http"],
        ),
        mistake(
            "a port's name in capitals",
            "/spec/ports/0/name",
            json!("HTTP"),
            &["spec.ports[0].name", "HTTP"],
        ),
        mistake(
            "two kinds of probe at once",
            "/spec/healthProbe",
            json!({ "http": { "path": "/healthz" }, "tcp": {} }),
            &["spec.healthProbe", "http", "tcp"],
        ),
        mistake(
            "a probe's path without a slash",
            "/spec/healthProbe/http/path",
            json!("healthz"),
            &["spec.healthProbe.http.path", "healthz"],
        ),
        mistake(
            "a probe of a port that is none",
            "/spec/healthProbe/port",
            json!("admin-api"),
            &["spec.healthProbe.port", "admin-api"],
        ),
        mistake(
            "a rollout that can't move",
            "/spec/rollout",
            json!({ "maxSurge": 0, "maxUnavailable": 0 }),
            &["spec.rollout", "maxSurge", "maxUnavailable", "0"],
        ),
        mistake(
            "a drain longer than the grace",
            "/spec/rollout",
            json!({ "drainSeconds": 61, "graceSeconds": 45 }),
            &["spec.rollout", "drainSeconds", "graceSeconds", "61", "45"],
        ),
        mistake(
            "a name that no Service can have",
            "/metadata/name",
            json!("my.shop"),
            &["metadata.name", "my.shop"],
        ),
        mistake(
            "an image that is empty",
            "/spec/image",
            json!(""),
            &["spec.image", "\"\""],
        ),
        mistake(
            "a size in no unit",
            "/spec/resources",
            json!({ "limits": { "memory": "64Megs" } }),
            &["spec.resources", "64Megs"],
        ),
    ]
}

/// Mistakes that only the operator, or the API server at its hands, finds.
fn reported() -> Vec<Mistake> {
    vec![
        mistake(
            "a field of the pod by another spelling",
            "/spec/podTemplate",
            json!({ "spec": { "terminationGracePeriodSecond": 9 } }),
            &["podTemplate.spec.terminationGracePeriodSecond"],
        ),
        mistake(
            "a limit below the request",
            "/spec/resources",
            json!({ "requests": { "memory": "256Mi" }, "limits": { "memory": "64Mi" } }),
            &["memory", "256Mi", "64Mi"],
        ),
        mistake(
            "a ServiceAccount that is not there",
            "/spec/serviceAccountName",
            json!("no-such-account"),
            &["serviceaccount", "no-such-account"],
        ),
        mistake(
            "an image that is not there",
            "/spec/image",
            json!("tenbin.invalid/nothing:1"),
            &["image", "tenbin.invalid/nothing:1"],
        ),
    ]
}

fn manifest(lab: &Lab, name: &str, mistake: &Mistake) -> anyhow::Result<Value> {
    let mut object = json!({
        "apiVersion": "tenbin.dev/v1alpha1",
        "kind": "BalancedApp",
        "metadata": { "name": name },
        "spec": demo_spec(lab, 1),
    });
    put(&mut object, mistake.path, mistake.value.clone())?;
    Ok(object)
}

/// Sets the value at a JSON pointer whose parent exists.
fn put(object: &mut Value, path: &str, value: Value) -> anyhow::Result<()> {
    let (parent, field) = path.rsplit_once('/').context("a path begins with a slash")?;
    let parent = object.pointer_mut(parent).with_context(|| format!("no {parent}"))?;
    parent[field] = value;
    Ok(())
}

#[test]
fn mistakes_are_named() {
    test("bad", async |lab| {
        let mut wrong = Vec::new();
        for mistake in refused() {
            let text = manifest(lab, "mistaken", &mistake)?.to_string();
            let outcome = lab.kubectl.attempt(&["apply", "-f", "-"], &text).await?;
            if outcome.ok {
                wrong.push(format!("{}: accepted", mistake.what));
                lab.kubectl
                    .run(&["delete", "bapp", "mistaken", "--ignore-not-found"])
                    .await?;
            } else if let Some(missing) = mistake.names.iter().find(|n| !outcome.stderr.contains(**n)) {
                wrong.push(format!(
                    "{}: {missing:?} is not named: {}",
                    mistake.what,
                    outcome.stderr.trim()
                ));
            }
        }
        let reported = reported();
        for mistake in &reported {
            let app = manifest(lab, &name_of(mistake), mistake)?;
            lab.kubectl.apply(&app.to_string()).await?;
        }
        for mistake in &reported {
            if let Err(e) = is_reported(lab, mistake).await {
                wrong.push(format!("{}: {e:#}", mistake.what));
            }
        }
        ensure!(
            wrong.is_empty(),
            "{} of the mistakes:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        Ok(())
    });
}

/// The name of the app that holds a mistake.
fn name_of(mistake: &Mistake) -> String {
    format!(
        "m-{}",
        mistake.path.rsplit('/').next().unwrap_or_default().to_lowercase()
    )
}

/// The mistake shows in the conditions of a new app: not Ready, and why.
async fn is_reported(lab: &Lab, mistake: &Mistake) -> anyhow::Result<()> {
    let app = App::named(lab, &name_of(mistake));
    eventually("reported", 20, async || {
        let conditions = app.conditions().await?;
        let not_ready = conditions.iter().any(|c| c.kind == "Ready" && c.status == "False");
        let named = conditions
            .iter()
            .any(|c| mistake.names.iter().all(|n| c.message.contains(n)));
        ensure!(not_ready && named, "{:?} not named in {conditions:#?}", mistake.names);
        Ok(())
    })
    .await
}

/// Each bad update, also one that is half good, leaves all of the running app as it was; also for pods that start meanwhile.
#[test]
fn a_bad_update_keeps_the_old_one_in_full() {
    test("update", async |lab| {
        let app = App::create(lab, "steady", demo_spec(lab, 2)).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;
        let load = driver.start(&app.load("/", 4)).await?;
        load.answered(50).await?;
        let deployments = lab.api::<Deployment>();
        let before = deployments.get("steady").await?.metadata.generation;

        // The schema refuses one of these at once; the operator refuses the rest, all of it.
        ensure!(
            app.patch(&json!({ "ports": [] })).await.is_err(),
            "an app without ports was accepted"
        );
        app.patch(&json!({
            "replicas": 3,
            "algorithm": "LeastRequest",
            "ports": [{ "name": "http", "port": 9090, "servicePort": 81 }],
            "resources": { "requests": { "memory": "256Mi" }, "limits": { "memory": "64Mi" } },
        }))
        .await?;
        app.wait_condition("Degraded", "True", &["256Mi", "64Mi"], 20).await?;

        let victim = app.ready_names().await?.pop().context("a pod")?;
        lab.api::<Pod>().delete(&victim, &DeleteParams::default()).await?;
        eventually("a new pod of the old kind is Ready", 60, async || {
            let names = app.ready_names().await?;
            ensure!(names.len() == 2 && !names.contains(&victim), "{names:?}");
            Ok(names)
        })
        .await?;
        load.answered(100).await?;
        let report = load.report().await?;
        super::lossless(&report)?;
        let after = deployments.get("steady").await?;
        ensure!(
            after.metadata.generation == before,
            "the Deployment was changed: {after:?}"
        );
        let status = app.status().await?;
        ensure!(status["readyReplicas"] == 2, "{status:#}");

        // Alone, or others would take turns with it.
        super::lossless(&load.stop().await?)?;
        let even = tenbin_load::Load {
            count: Some(200),
            pause_ms: 0,
            ..app.load("/", 1)
        };
        let even = driver.run(&even).await?;
        ensure!(
            even.instances.values().all(|i| i.ok == 100),
            "no longer in round robin: {}",
            tenbin_e2e::explain(&even)
        );

        // Mended, all of it comes.
        let load = driver.start(&app.load("/", 4)).await?;
        app.patch(&json!({
            "ports": [{ "name": "http", "port": 9090, "servicePort": 80 }],
            "resources": { "requests": { "memory": "16Mi" }, "limits": { "memory": "64Mi" } },
        }))
        .await?;
        app.ready(3, 90).await?;
        app.wait_condition("Degraded", "False", &[], 20).await?;
        load.answered(50).await?;
        super::lossless(&load.stop().await?)
    });
}
