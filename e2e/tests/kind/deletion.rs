//! Item 6: everything of an app goes with it, after what is under way.

use anyhow::ensure;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use tenbin_e2e::{App, Lab, demo_spec, eventually, explain, test};
use tenbin_load::Load;

#[test]
fn deletion_removes_everything_and_finishes_what_is_under_way() {
    test("delete", async |lab| {
        let app = App::create(lab, "gone", demo_spec(lab, 2)).await?;
        let neighbour = App::create(lab, "stays", demo_spec(lab, 1)).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;
        neighbour.ready(1, 60).await?;
        let clients = 8;
        let slow = Load {
            count: Some(clients as u64),
            pause_ms: 0,
            ..app.load("/slow?ms=4000", clients)
        };
        let under_way = driver.start(&slow).await?;
        eventually("all are under way", 10, async || {
            let report = under_way.report().await?;
            ensure!(report.open == clients as u64, "{} are", report.open);
            Ok(())
        })
        .await?;
        lab.kubectl.run(&["delete", "bapp", "gone", "--wait=false"]).await?;
        let report = under_way.ended().await?;
        super::lossless(&report)?;
        ensure!(report.ok == clients as u64, "{}", explain(&report));
        eventually("everything of it is gone", 60, async || nothing_left(lab).await).await?;
        lab.is_gone::<Service>("gone").await?;
        lab.is_gone::<Deployment>("gone").await?;
        lab.is_gone::<PodDisruptionBudget>("gone").await?;
        lab.is_gone::<ConfigMap>("gone-tenbin").await?;
        driver.get(&neighbour.url("/")).await?;
        Ok(())
    });
}

async fn nothing_left(lab: &Lab) -> anyhow::Result<()> {
    let all = ListParams::default();
    let mut names = Vec::new();
    names.extend(
        lab.api::<Deployment>()
            .list(&all)
            .await?
            .items
            .into_iter()
            .map(|o| o.metadata),
    );
    names.extend(
        lab.api::<ReplicaSet>()
            .list(&all)
            .await?
            .items
            .into_iter()
            .map(|o| o.metadata),
    );
    names.extend(lab.api::<Pod>().list(&all).await?.items.into_iter().map(|o| o.metadata));
    names.extend(
        lab.api::<Service>()
            .list(&all)
            .await?
            .items
            .into_iter()
            .map(|o| o.metadata),
    );
    names.extend(
        lab.api::<EndpointSlice>()
            .list(&all)
            .await?
            .items
            .into_iter()
            .map(|o| o.metadata),
    );
    names.extend(
        lab.api::<ConfigMap>()
            .list(&all)
            .await?
            .items
            .into_iter()
            .map(|o| o.metadata),
    );
    names.extend(
        lab.api::<ControllerRevision>()
            .list(&all)
            .await?
            .items
            .into_iter()
            .map(|o| o.metadata),
    );
    names.extend(
        lab.api::<PodDisruptionBudget>()
            .list(&all)
            .await?
            .items
            .into_iter()
            .map(|o| o.metadata),
    );
    let left: Vec<String> = names
        .into_iter()
        .filter_map(|m| m.name)
        .filter(|n| n.starts_with("gone"))
        .collect();
    ensure!(left.is_empty(), "left: {left:?}");
    Ok(())
}
