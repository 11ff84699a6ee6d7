//! `examples/socketio` as it is, with Redis: 200 Socket.IO clients from as many addresses, behind a hop that is trusted, by polling first
//! and then by WebSocket. A handshake is several requests; all of a client's must come to the same pod.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};
use tenbin_e2e::{App, Balancing, Lab, eventually, say, test};

const CLIENTS: u32 = 200;
/// The fewest sockets of a pod: 50 are its share.
const FEWEST: u32 = 20;

/// What the clients tell, in one line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    /// That are connected.
    connected: u32,
    /// That connected no more than once.
    once: u32,
    /// That are on a WebSocket.
    upgraded: u32,
    /// Clients of each pod.
    instances: BTreeMap<String, u32>,
    /// What was said to all.
    broadcasts: u32,
    /// Clients that heard all of it, each thing once.
    heard_all: u32,
    /// Handshakes that failed, and connections that were lost: the first 20.
    errors: Vec<String>,
}

#[test]
fn socket_io_works_on_four_replicas() {
    test("socketio", async |lab| {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/socketio");
        for file in ["redis.yaml", "app.yaml"] {
            let manifest = std::fs::read_to_string(format!("{example}/{file}"))?;
            lab.kubectl.apply(&manifest).await?;
        }
        let app = App::named(lab, "socketio");
        app.ready(4, 120).await?;
        let status = app.get().await?.data["spec"]["affinity"]["type"].clone();
        ensure!(status == "Cookie", "the example's affinity is {status}");
        connect(lab, &app).await.context("affinity Cookie")?;

        let by_address = Balancing {
            trusted_hops: pod_networks(lab).await?,
            ..Balancing::bound(json!({ "type": "SourceIP" }))
        };
        app.balance(4, &by_address).await?;
        connect(lab, &app).await.context("affinity SourceIP")
    });
}

/// Everybody connects, nothing fails on the way, all hear what is said, and the proxies know how many are there.
async fn connect(lab: &Lab, app: &App<'_>) -> anyhow::Result<()> {
    let pods: Api<Pod> = lab.api();
    pods.create(&PostParams::default(), &clients()?).await?;
    let told = eventually("the clients tell what became of them", 90, async || {
        let said = lab.kubectl.run(&["logs", "clients"]).await?;
        let line = said.lines().find(|line| line.starts_with('{'));
        let line = line.with_context(|| format!("nothing yet: {said}"))?;
        Ok(serde_json::from_str::<Told>(line)?)
    })
    .await?;
    say(format_args!("{:?}", told.instances));
    ensure!(
        told.errors.is_empty() && told.connected == CLIENTS && told.once == CLIENTS && told.upgraded == CLIENTS,
        "not every client connected at once: {told:?}"
    );
    ensure!(
        told.broadcasts == 4 && told.heard_all == CLIENTS,
        "not every client heard what was said: {told:?}"
    );
    ensure!(
        told.instances.len() == 4 && told.instances.values().all(|&sockets| sockets >= FEWEST),
        "sockets are not spread: {told:?}"
    );
    let ours = app.pods().await?;
    eventually("the proxies count the sockets", 10, async || {
        let mut open = 0.0;
        for pod in &ours {
            let metrics = lab.proxy_metrics(pod).await?;
            open += metrics.sum("tenbin_upgraded_connections", &[]);
        }
        ensure!(open == f64::from(CLIENTS), "{open} upgraded connections");
        Ok(())
    })
    .await?;
    pods.delete("clients", &DeleteParams::default().grace_period(1)).await?;
    eventually("the clients are gone", 30, async || lab.is_gone::<Pod>("clients").await).await
}

/// The example's own clients, in a pod.
fn clients() -> anyhow::Result<Pod> {
    let count = CLIENTS.to_string();
    let pod = json!({
        "metadata": { "name": "clients" },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "clients",
                "image": "tenbin/socketio:dev",
                "imagePullPolicy": "IfNotPresent",
                "args": ["clients.js", "--url", "http://socketio", "--clients", count, "--hop"],
            }],
        },
    });
    Ok(serde_json::from_value(pod)?)
}

/// The ranges that pods get their addresses from: where a hop in front runs in the cluster itself.
async fn pod_networks(lab: &Lab) -> anyhow::Result<Value> {
    let nodes: Api<NodeObject> = Api::all(lab.client.clone());
    let nodes = nodes.list(&ListParams::default()).await?;
    let ranges: Vec<String> = nodes
        .items
        .into_iter()
        .filter_map(|node| node.spec?.pod_cidrs)
        .flatten()
        .collect();
    ensure!(!ranges.is_empty(), "no node has a range of addresses for pods");
    Ok(json!(ranges))
}
