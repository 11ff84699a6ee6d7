//! Another version of the chart, and back: no pod changes by it, until its app rolls out or the chart says that all shall.

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tenbin_e2e::{App, Lab, Node, demo_spec, eventually, restarts, test};

#[test]
fn a_chart_upgrade_restarts_no_app() {
    test("upgrade", async |lab| {
        lab.with_chart(async || upgrades(lab).await).await
    });
}

async fn upgrades(lab: &Lab) -> anyhow::Result<()> {
    let proxy = &lab.settings.proxy_image;
    for version in ["next", "after"] {
        retag(lab, proxy, version).await?;
        retag(lab, &lab.settings.operator_image, version).await?;
    }
    let one = App::create(lab, "one", demo_spec(lab, 2)).await?;
    let two = App::create(lab, "two", demo_spec(lab, 2)).await?;
    let driver = lab.driver().await?;
    one.ready(2, 60).await?;
    two.ready(2, 60).await?;
    let load = driver.start(&one.load("/", 4)).await?;
    let load_two = driver.start(&two.load("/", 4)).await?;
    load.answered(50).await?;

    let before = pods(&one).await?;
    lab.set_chart(&["operator.image.tag=next", "proxy.image.tag=next"])
        .await?;
    one.ready(2, 60).await?;
    ensure!(pods(&one).await? == before, "the upgrade changed pods");
    super::lossless(&load.report().await?).context("the upgrade")?;
    runs(&one, proxy).await?;
    eventually("the operators know who is behind", 30, async || {
        let outdated = lab.operator_metrics().await?.sum("tenbin_operator_apps_outdated", &[]);
        ensure!(outdated >= 2.0, "{outdated} apps");
        Ok(())
    })
    .await?;

    // What does not touch the pods leaves the old ones, and makes new ones like them.
    one.patch(&json!({ "replicas": 3, "algorithm": "LeastRequest" }))
        .await?;
    one.ready(3, 60).await?;
    let grown = pods(&one).await?;
    ensure!(
        before.iter().all(|pod| grown.contains(pod)),
        "scaling replaced pods: {before:?}, {grown:?}"
    );
    ensure!(
        images(&one).await?.iter().all(|image| image == proxy),
        "{:?}",
        images(&one).await?
    );

    // What does takes the new proxy.
    let next = with_tag(proxy, "next");
    one.patch(&json!({ "env": [{ "name": "CHANGED", "value": "1" }] }))
        .await?;
    eventually("the next rollout takes the new proxy", 120, async || {
        let images = images(&one).await?;
        ensure!(
            images.len() == 3 && images.iter().all(|image| *image == next),
            "{images:?}"
        );
        Ok(())
    })
    .await?;
    one.ready(3, 60).await?;
    runs(&one, &next).await?;
    super::lossless(&load.report().await?).context("the rollout")?;

    let (first, second) = (pods(&one).await?, pods(&two).await?);
    lab.helm(&["rollback", "tenbin", "--wait", "--timeout", "120s"], "")
        .await?;
    one.ready(3, 60).await?;
    two.ready(2, 60).await?;
    ensure!(
        pods(&one).await? == first && pods(&two).await? == second,
        "the rollback changed pods"
    );

    lab.set_chart(&["proxy.image.tag=after", "proxy.upgrade=Staggered"])
        .await?;
    staggered(lab, &[&one, &two], &with_tag(proxy, "after")).await?;
    one.ready(3, 60).await?;
    two.ready(2, 60).await?;
    super::lossless(&load.stop().await?).context("staggered")?;
    super::lossless(&load_two.stop().await?).context("staggered, the second app")
}

/// All apps get the image, never two at a time.
async fn staggered(lab: &Lab, apps: &[&App<'_>], image: &str) -> anyhow::Result<()> {
    let mut together = 0;
    eventually("every app has the newest proxy", 240, async || {
        let mut rolling = 0;
        // In one answer: of two, the first may have ended before the second began.
        let deployments = lab.api::<Deployment>().list(&ListParams::default()).await?;
        for app in apps {
            let deployment = deployments.items.iter().find(|d| d.name_any() == app.name);
            let deployment = deployment.with_context(|| format!("no Deployment {}", app.name))?;
            let status = deployment.status.clone().unwrap_or_default();
            let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
            let done = status.observed_generation == deployment.metadata.generation
                && status.updated_replicas == wanted
                && status.replicas == wanted;
            rolling += usize::from(!done);
        }
        together = together.max(rolling);
        for app in apps {
            let images = images(app).await?;
            ensure!(images.iter().all(|found| found == image), "{}: {images:?}", app.name);
        }
        Ok(())
    })
    .await?;
    ensure!(together == 1, "{together} apps were rolled at a time");
    Ok(())
}

/// Gives an image that the nodes have a second tag.
async fn retag(lab: &Lab, image: &str, tag: &str) -> anyhow::Result<()> {
    let nodes: Api<NodeObject> = Api::all(lab.client.clone());
    // containerd knows it under its full name, with a host before it.
    let script = format!(
        "full=$(ctr -n k8s.io images ls -q | grep '/{image}$' | head -n 1)\n\
         ctr -n k8s.io images tag --force $full ${{full%:*}}:{tag}"
    );
    for node in nodes.list(&ListParams::default()).await?.items {
        let name = node.metadata.name.context("a node has a name")?;
        Node::named(&name).run(&script).await?;
    }
    Ok(())
}

fn with_tag(image: &str, tag: &str) -> String {
    let name = image.rsplit_once(':').map_or(image, |(name, _)| name);
    format!("{name}:{tag}")
}

/// UIDs of the app's pods with how often their containers were restarted.
async fn pods(app: &App<'_>) -> anyhow::Result<Vec<(String, Option<i32>, Option<i32>)>> {
    let mut all: Vec<_> = app
        .pods()
        .await?
        .into_iter()
        .map(|pod: Pod| {
            let (own, proxy) = (restarts(&pod, "app"), restarts(&pod, "tenbin-proxy"));
            (pod.metadata.uid.unwrap_or_default(), own, proxy)
        })
        .collect();
    all.sort();
    Ok(all)
}

/// The proxies' images, one for each pod.
async fn images(app: &App<'_>) -> anyhow::Result<Vec<String>> {
    let pods = app.pods().await?;
    let containers = pods.into_iter().flat_map(|pod| {
        pod.spec
            .into_iter()
            .flat_map(|spec| spec.init_containers.into_iter().flatten())
    });
    let proxies = containers.filter(|container| container.name == "tenbin-proxy");
    Ok(proxies.filter_map(|container| container.image).collect())
}

/// The app's status names the proxy of pods made now.
async fn runs(app: &App<'_>, image: &str) -> anyhow::Result<()> {
    eventually("the status names the proxy", 30, async || {
        let status = app.status().await?;
        ensure!(status["proxies"]["image"] == image, "{}", status["proxies"]);
        Ok(())
    })
    .await
}
