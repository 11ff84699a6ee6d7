//! From endpoint event to first pick, on a real cluster. The event is a write of an EndpointSlice; the pick is seen by a client
//! that keeps asking one sidecar, over one connection, and hears who answered.
//!
//! The slice is our own, beside the one that Kubernetes keeps for the Service: it gives a pod whose probe fails as ready, and
//! takes it back. So the time of the event is known to the millisecond, and the kubelet's probe period is not in the number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tenbin_e2e::{App, Lab, demo_spec, eventually, explain, pod_ip, test};
use tenbin_load::{Load, Request};

use crate::machine;
use crate::table::{Samples, Table, ms};

const APP: &str = "flip";
/// The proxy's port for the app's port `http`.
const PROXY_PORT: &str = "tb-http";
/// Without an answer of the endpoint for so long, the one before was its last, in milliseconds: a hundred others came between.
const QUIET_MS: u64 = 300;

/// How often.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How often the endpoint comes and goes.
    #[arg(long, default_value_t = 100)]
    repetitions: u32,
}

/// Runs it and prints the table. Who runs it is told by the environment, as the end-to-end tests are.
///
/// # Panics
/// It fails, as those tests do.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    test("bench-latency", async |lab| measure(lab, options).await);
    Ok(())
}

async fn measure(lab: &Lab, options: &Options) -> anyhow::Result<()> {
    let app = App::create(lab, APP, demo_spec(lab, 2)).await?;
    let driver = lab.driver().await?;
    app.ready(2, 120).await?;
    let mut pods = app.pods().await?;
    let (flipped, other) = (pods.pop().context("two pods")?, pods.pop().context("two pods")?);
    let name = flipped.metadata.name.clone().unwrap_or_default();
    let unhealthy = format!("http://{}:8080/healthz?ok=false", pod_ip(&flipped));
    let answer = driver.send(&Request::post(unhealthy, 0)).await?;
    ensure!(
        answer.status == Some(200),
        "the app does not become unhealthy: {answer:?}"
    );

    let port = port_of(&other, PROXY_PORT).with_context(|| format!("no container has a port {PROXY_PORT}"))?;
    let load = Load {
        request: Request::get(format!("http://{}:{port}/", pod_ip(&other))),
        pause_ms: 1,
        ..app.load("/", 1)
    };
    eventually("the unhealthy pod gets no requests", 60, async || {
        let report = driver
            .run(&Load {
                count: Some(20),
                ..load.clone()
            })
            .await?;
        ensure!(!report.instances.contains_key(&name), "{}", explain(&report));
        Ok(())
    })
    .await?;

    let slice = Slice {
        api: lab.api(),
        pod: flipped,
    };
    slice
        .api
        .create(&PostParams::default(), &serde_json::from_value(slice.object(false))?)
        .await?;
    let (mut came, mut went, mut failed) = (Samples::default(), Samples::default(), 0);
    for n in 0..options.repetitions {
        if n % 20 == 0 {
            eprintln!("{n} of {} repetitions", options.repetitions);
        }
        let running = driver.start(&load).await?;
        running.answered(5).await?;
        let written = slice.write(true).await?;
        let first = eventually("a request goes to the new endpoint", 10, async || {
            let report = running.report().await?;
            let seen = report.instances.get(&name).map(|instance| instance.first_ms);
            seen.with_context(|| explain(&report))
        })
        .await?;
        came.add(after(written, first));
        let written = slice.write(false).await?;
        let last = eventually("no request goes to the endpoint that is gone", 10, async || {
            let report = running.report().await?;
            let last = report.instances.get(&name).map_or(0, |instance| instance.last_ms);
            let quiet = report.now_ms.saturating_sub(last);
            ensure!(quiet >= QUIET_MS, "the last one was {quiet} ms ago");
            Ok(last)
        })
        .await?;
        went.add(after(written, last).max(0.0));
        failed += running.stop().await?.failed;
    }
    print(&came, &went, failed);
    Ok(())
}

fn print(came: &Samples, went: &Samples, failed: u64) {
    println!("\n## From endpoint event to first pick\n\n{}\n", machine::describe());
    let mut table = Table::new("from a write of an EndpointSlice | n | p50 | p90 | p99 | max | budget");
    for (what, samples, budget) in [
        ("to the first answer of the new endpoint", came, "p99 ≤ 100 ms"),
        ("to the last answer of the one that is gone", went, "–"),
    ] {
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|q| ms(samples.quantile(q)));
        table.row(format!(
            "{what} | {} | {p50} | {p90} | {p99} | {max} | {budget}",
            samples.count()
        ));
    }
    println!("{table}");
    println!(
        "From just before the write is sent to the API server, to the end of the answer, seen by one client of another pod's \
         sidecar that asks again 1 ms after each answer, in turn between two endpoints. Clocks: one machine's, to 1 ms, rounded \
         up. {failed} requests failed."
    );
}

/// Milliseconds from `written`, in milliseconds since the Unix epoch, to the end of the millisecond `seen`.
fn after(written: f64, seen: u64) -> f64 {
    seen as f64 + 1.0 - written
}

/// Our own slice of the app's Service, with one pod in it.
struct Slice {
    api: Api<EndpointSlice>,
    pod: Pod,
}

impl Slice {
    fn object(&self, ready: bool) -> Value {
        json!({
            "metadata": {
                "name": format!("{APP}-bench"),
                "labels": {
                    "kubernetes.io/service-name": APP,
                    "endpointslice.kubernetes.io/managed-by": "tenbin-bench",
                    "tenbin.dev/app": APP,
                },
            },
            "addressType": if pod_ip(&self.pod).contains(':') { "IPv6" } else { "IPv4" },
            "endpoints": [{
                "addresses": [pod_ip(&self.pod)],
                "conditions": { "ready": ready, "serving": ready, "terminating": false },
                "targetRef": {
                    "kind": "Pod",
                    "namespace": self.pod.metadata.namespace,
                    "name": self.pod.metadata.name,
                    "uid": self.pod.metadata.uid,
                },
            }],
            "ports": [],
        })
    }

    /// Writes it; gives the time just before, in milliseconds since the Unix epoch.
    async fn write(&self, ready: bool) -> anyhow::Result<f64> {
        let patch = Patch::Merge(json!({ "endpoints": self.object(ready)["endpoints"] }));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.api
            .patch(&format!("{APP}-bench"), &PatchParams::default(), &patch)
            .await?;
        Ok(now.as_secs_f64() * 1000.0)
    }
}

/// The number of a named port of a pod's containers.
fn port_of(pod: &Pod, name: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .find(|port| port.name.as_deref() == Some(name))
        .map(|port| port.container_port)
}
