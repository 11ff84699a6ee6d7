//! The end-to-end tests: the product as installed on a kind cluster, seen from outside. Run by `cargo xtask test`, which makes
//! the cluster and sets the environment (`tenbin_e2e::Settings`); one after the other (`--test-threads=1`), in the order of
//! their names, since the last ones take the operators away.

mod authority;
mod bad;
mod balance;
mod bodies;
mod capacity;
mod cookies;
mod deletion;
mod edge;
mod envoy;
mod forwarded;
mod hello;
mod keys;
mod kill;
mod long;
mod ownership;
mod protocols;
mod resilience;
mod rollout;
mod sessions;
mod socketio;
mod spread;
mod streams;
mod zz_last;
mod zz_outage;
mod zz_reasons;
mod zz_rotation;
mod zz_upgrade;

use anyhow::ensure;
use k8s_openapi::api::core::v1::Pod;
use tenbin_e2e::{Lab, eventually, explain, pod_name};
use tenbin_load::Report;

/// Whether a load answered something and lost nothing.
fn lossless(report: &Report) -> anyhow::Result<()> {
    ensure!(
        report.ok > 0 && report.failed == 0,
        "requests were lost: {}",
        explain(report)
    );
    Ok(())
}

/// Waits until the proxies of all of `pods` give the pod of that name this weight.
async fn weighs(lab: &Lab, pods: &[Pod], name: &str, weight: u32) -> anyhow::Result<()> {
    eventually("the proxies know the weight", 20, async || {
        for pod in pods {
            let metrics = lab.proxy_metrics(pod).await?;
            let found = metrics.sum("tenbin_endpoint_weight", &[("endpoint", name)]);
            ensure!(
                found == f64::from(weight),
                "{name} weighs {found} for {}, not {weight}",
                pod_name(pod)
            );
        }
        Ok(())
    })
    .await
}
