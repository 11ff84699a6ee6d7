//! Who gets how much of 10,000 requests over four pods: in turn, by weights of pods and of nodes, at random. One app, patched from one
//! to the next; no pod is replaced by it.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use tenbin_e2e::{App, Balancing, Driver, Lab, chi_square, demo_spec, explain, never_mind, pod_name, say, test};
use tenbin_load::{Load, Report, Request};

use super::weighs;

const REQUESTS: u64 = 10_000;
/// Chi-square with three degrees of freedom is above it once in a million times.
const CHI_SQUARE: f64 = 30.665;

#[test]
fn shares_are_what_the_algorithm_and_the_weights_say() {
    test("balance", async |lab| {
        let app = App::create(lab, "shares", demo_spec(lab, 4)).await?;
        let driver = lab.driver().await?;
        app.ready(4, 60).await?;
        let pods = app.pods().await?;

        shares(&burst(&app, &driver).await?, &pods, &[1, 1, 1, 1])?;
        pod_weights(lab, &app, &driver, &pods).await?;
        let outcome = node_weights(lab, &app, &driver, &pods).await;
        // The nodes are everybody's.
        for node in nodes(&pods) {
            let cleared = lab.kubectl.run(&["label", "node", &node, "tenbin.dev/weight-"]).await;
            never_mind("the node's label", cleared.map(|_| ()));
        }
        outcome?;
        for pod in &pods {
            weighs(lab, &pods, &pod_name(pod), 1).await?;
        }

        app.balance(4, &Balancing::by("Random")).await?;
        let report = burst(&app, &driver).await?;
        super::lossless(&report)?;
        let counts: Vec<u64> = report.instances.values().map(|i| i.ok).collect();
        let found = chi_square(&counts);
        say(format_args!("Random: {counts:?}, chi-square {found:.1}"));
        ensure!(
            counts.len() == 4 && found < CHI_SQUARE,
            "chi-square is {found}, not below {CHI_SQUARE}: {counts:?}"
        );

        let after: BTreeSet<String> = app.pods().await?.iter().map(pod_name).collect();
        let before: BTreeSet<String> = pods.iter().map(pod_name).collect();
        ensure!(after == before, "pods were replaced: {before:?}, now {after:?}");
        Ok(())
    });
}

/// 10,000 requests through the Service, over kept connections.
async fn burst(app: &App<'_>, driver: &Driver) -> anyhow::Result<Report> {
    let load = Load {
        count: Some(REQUESTS),
        ..Load::new(Request::get(app.url("/")), 16)
    };
    driver.run(&load).await
}

/// Every pod got what its weight says of all, ±1% of that.
fn shares(report: &Report, pods: &[Pod], weights: &[u64]) -> anyhow::Result<()> {
    super::lossless(report)?;
    let total: u64 = weights.iter().sum();
    for (pod, weight) in pods.iter().zip(weights) {
        let expected = REQUESTS * weight / total;
        let found = report.instances.get(&pod_name(pod)).map_or(0, |i| i.ok);
        ensure!(
            found.abs_diff(expected) <= expected / 100,
            "{} of weight {weight} of {total} got {found}, not {expected} ± 1%: {}",
            pod_name(pod),
            explain(report)
        );
    }
    Ok(())
}

/// Weights of pods, by annotations of those that run; 0 is nothing at all.
async fn pod_weights(lab: &Lab, app: &App<'_>, driver: &Driver, pods: &[Pod]) -> anyhow::Result<()> {
    for weights in [[1, 2, 3, 4], [0, 1, 1, 2]] {
        for (pod, weight) in pods.iter().zip(weights) {
            let annotation = format!("tenbin.dev/weight={weight}");
            let name = pod_name(pod);
            lab.kubectl
                .run(&["annotate", "--overwrite", "pod", &name, &annotation])
                .await?;
        }
        for (pod, weight) in pods.iter().zip(weights) {
            weighs(lab, pods, &pod_name(pod), weight).await?;
        }
        shares(&burst(app, driver).await?, pods, &weights.map(u64::from))?;
    }
    for pod in pods {
        let name = pod_name(pod);
        lab.kubectl
            .run(&["annotate", "pod", &name, "tenbin.dev/weight-"])
            .await?;
    }
    Ok(())
}

/// Weights of nodes, by labels: each node's pods have its own.
async fn node_weights(lab: &Lab, app: &App<'_>, driver: &Driver, pods: &[Pod]) -> anyhow::Result<()> {
    let nodes: Vec<String> = nodes(pods).into_iter().collect();
    ensure!(nodes.len() > 1, "all pods are on {nodes:?}");
    for (node, weight) in nodes.iter().zip(1_u32..) {
        let label = format!("tenbin.dev/weight={weight}");
        lab.kubectl.run(&["label", "--overwrite", "node", node, &label]).await?;
    }
    let mut weights = Vec::new();
    for pod in pods {
        let place = nodes.iter().position(|node| Some(node) == node_of(pod).as_ref());
        let weight = u32::try_from(place.context("the pod's node is one of them")?)? + 1;
        weighs(lab, pods, &pod_name(pod), weight).await?;
        weights.push(u64::from(weight));
    }
    shares(&burst(app, driver).await?, pods, &weights)
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

fn nodes(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(node_of).collect()
}
