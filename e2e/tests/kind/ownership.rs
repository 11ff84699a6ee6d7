//! What the operator owns, what it leaves alone, and when it keeps its hands off.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tenbin_e2e::{App, Lab, demo_spec, eventually, test};

async fn deployment(lab: &Lab, name: &str) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(lab.api::<Deployment>().get(name).await?)?)
}

fn app_image(deployment: &Value) -> Option<&str> {
    let containers = deployment.pointer("/spec/template/spec/containers")?.as_array()?;
    containers.iter().find(|c| c["name"] == "app")?["image"].as_str()
}

/// What somebody changes in a field of ours is put back; what they add stays; what they delete comes again.
#[test]
fn drift_is_repaired_in_our_fields_only() {
    test("drift", async |lab| {
        let app = App::create(lab, "drift", demo_spec(lab, 1)).await?;
        app.ready(1, 60).await?;

        lab.kubectl
            .run(&["annotate", "deployment", "drift", "example.org/by-hand=yes"])
            .await?;
        lab.kubectl.run(&["label", "service", "drift", "by-hand=yes"]).await?;
        lab.kubectl
            .run(&["set", "image", "deployment/drift", "app=example.org/other:1"])
            .await?;
        lab.kubectl
            .run(&["scale", "deployment", "drift", "--replicas=3"])
            .await?;
        eventually("image and replicas are put back", 30, async || {
            let found = deployment(lab, "drift").await?;
            ensure!(
                app_image(&found) == Some(&lab.settings.demo_image),
                "{:?}",
                app_image(&found)
            );
            ensure!(found["spec"]["replicas"] == 1, "{}", found["spec"]["replicas"]);
            Ok(())
        })
        .await?;

        let patch = Patch::Merge(json!({ "spec": { "selector": { "tenbin.dev/app": "elsewhere" } } }));
        lab.api::<Service>()
            .patch("drift", &PatchParams::default(), &patch)
            .await?;
        eventually("the Service's selector is put back", 30, async || {
            let selector = lab.api::<Service>().get("drift").await?.spec.and_then(|s| s.selector);
            let expected = BTreeMap::from([("tenbin.dev/app".to_owned(), "drift".to_owned())]);
            ensure!(selector.as_ref() == Some(&expected), "{selector:?}");
            Ok(())
        })
        .await?;

        let found = deployment(lab, "drift").await?;
        ensure!(
            found["metadata"]["annotations"]["example.org/by-hand"] == "yes",
            "{}",
            found["metadata"]
        );
        let service = lab.api::<Service>().get("drift").await?.metadata;
        ensure!(
            service.labels.is_some_and(|l| l.contains_key("by-hand")),
            "the Service's label is gone"
        );

        for kind in ["service", "pdb", "configmap"] {
            let name = if kind == "configmap" { "drift-tenbin" } else { "drift" };
            lab.kubectl.run(&["delete", kind, name]).await?;
            eventually("what was deleted comes again", 30, async || {
                lab.kubectl.run(&["get", kind, name]).await.map(|_| ())
            })
            .await?;
        }
        app.ready(1, 60).await?;
        lab.driver().await?.get(&app.url("/")).await?;
        Ok(())
    });
}

/// An object that is not ours is never touched, whatever its kind; a condition names it; once it is gone, the app comes up.
#[test]
fn a_foreign_object_of_that_name_is_left_alone() {
    test("foreign", async |lab| {
        let foreign: Service = serde_json::from_value(json!({
            "metadata": { "name": "taken", "labels": { "tenbin.dev/app": "taken" } },
            "spec": { "selector": { "app": "somebody-elses" }, "ports": [{ "port": 5432 }] },
        }))?;
        let before = lab.api::<Service>().create(&PostParams::default(), &foreign).await?;
        let app = App::create(lab, "taken", demo_spec(lab, 1)).await?;
        app.wait_condition("Ready", "False", &["Service", "taken"], 30).await?;
        app.wait_condition("Degraded", "True", &["Service", "taken"], 30)
            .await?;
        let after = lab.api::<Service>().get("taken").await?;
        ensure!(
            after.metadata.resource_version == before.metadata.resource_version,
            "the foreign Service was written: {after:?}"
        );
        lab.api::<Service>().delete("taken", &DeleteParams::default()).await?;
        app.ready(1, 60).await?;
        let driver = lab.driver().await?;
        // The name meant another address until now, which the cluster's DNS may still remember.
        eventually("the app answers", 60, async || driver.get(&app.url("/")).await).await?;
        Ok(())
    });
}

/// While paused nothing is written, while endpoints keep streaming.
#[test]
fn paused_means_no_writes() {
    test("paused", async |lab| {
        let app = App::create(lab, "paused", demo_spec(lab, 1)).await?;
        let driver = lab.driver().await?;
        app.ready(1, 60).await?;
        app.patch(&json!({ "paused": true, "env": [{ "name": "COLOUR", "value": "green" }] }))
            .await?;
        app.wait_condition("Progressing", "False", &["paused"], 20).await?;

        // Somebody scales by hand, as one does while paused: nobody puts it back, and the new replica is balanced over.
        lab.kubectl
            .run(&["scale", "deployment", "paused", "--replicas=2"])
            .await?;
        let load = driver.start(&app.load("/", 2)).await?;
        eventually("the new replica gets requests", 60, async || {
            let report = load.report().await?;
            ensure!(report.instances.len() == 2, "{:?}", report.instances);
            Ok(())
        })
        .await?;
        load.answered(50).await?;
        super::lossless(&load.stop().await?)?;
        let found = deployment(lab, "paused").await?;
        ensure!(
            found["spec"]["replicas"] == 2,
            "written while paused: {}",
            found["spec"]["replicas"]
        );
        let env = found
            .pointer("/spec/template/spec/containers/0/env")
            .context("an env")?;
        ensure!(!env.to_string().contains("COLOUR"), "written while paused: {env}");

        app.patch(&json!({ "paused": false })).await?;
        app.ready(1, 90).await?;
        let found = deployment(lab, "paused").await?;
        let env = found
            .pointer("/spec/template/spec/containers/0/env")
            .context("an env")?;
        ensure!(env.to_string().contains("COLOUR"), "what waited was not applied: {env}");
        Ok(())
    });
}
