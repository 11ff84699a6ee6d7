//! CAs and certificates of the stream that rotate by the minute under load: nobody notices. Comes after `zz_last`, which compares
//! what the operators called since they started: here the chart is upgraded, which starts them anew.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams};
use tenbin_e2e::{App, Lab, RunningLoad, Samples, demo_spec, eventually, is_ready, restarts, say, test};

/// A CA lives for six minutes and waits for 90 s before it signs, which is what a kubelet takes to bring the bundle into a pod.
const SPED_UP: [&str; 3] = [
    "certificates.caSeconds=360",
    "certificates.servingSeconds=60",
    "certificates.overlapSeconds=90",
];
/// The longest until each CA was followed by the next, in seconds: two thirds of a life, the overlap, and what a busy machine adds.
const ROUND: u64 = 480;

#[test]
fn certificates_rotate_and_nobody_notices() {
    test("rotation", async |lab| {
        let app = App::create(lab, "rotated", demo_spec(lab, 2)).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;
        let pods = Pods::of(&app).await?;
        let load = driver.start(&app.load("/", 2)).await?;
        load.answered(50).await?;

        lab.with_chart(async || {
            lab.set_chart(&SPED_UP).await?;
            rotates(lab, &app, &load).await
        })
        .await?;
        settled(lab, &app).await.context("the values are back")?;
        load.answered(50).await?;
        super::lossless(&load.stop().await?)?;
        ensure!(Pods::of(&app).await? == pods, "pods were replaced or restarted");
        Ok(())
    });
}

/// The serving certificate and the CA follow each other without a stream being cut; proxies that have to connect anew do so by the
/// new CA.
async fn rotates(lab: &Lab, app: &App<'_>, load: &RunningLoad) -> anyhow::Result<()> {
    settled(lab, app).await.context("the operators are upgraded")?;
    let streams = connects(lab, app).await?;
    let first = secret(lab).await?;

    eventually("the serving certificate is renewed", 120, async || {
        let now = secret(lab).await?;
        ensure!(differs(&first, &now, "tls.crt"), "it is the same");
        Ok(())
    })
    .await?;
    eventually("the next CA signs", ROUND, async || {
        let now = secret(lab).await?;
        let waits = if now.contains_key("next-ca.key") {
            "one waits"
        } else {
            "none waits"
        };
        ensure!(differs(&first, &now, "ca.key"), "the old one signs, {waits}");
        Ok(())
    })
    .await?;
    load.answered(50).await?;
    let after = connects(lab, app).await?;
    ensure!(
        after == streams,
        "rotation cut streams: {streams:?} before, {after:?} after"
    );
    seen(lab).await?;

    // Now every stream ends, one operator after the other.
    for old in names(lab).await? {
        lab.system::<Pod>().delete(&old, &DeleteParams::default()).await?;
        eventually("another operator is Ready in its place", 90, async || {
            let now = names(lab).await?;
            ensure!(now.len() == 2 && !now.contains(&old), "{now:?}");
            Ok(())
        })
        .await?;
    }
    eventually("every proxy connected again, by the new CA", 60, async || {
        let now = connects(lab, app).await?;
        let more = |(pod, count): (&String, &u64)| now.get(pod).is_some_and(|again| again > count);
        ensure!(after.iter().all(more), "{after:?} before, {now:?} now");
        Ok(())
    })
    .await?;
    settled(lab, app).await.context("the streams were ended")?;
    load.answered(50).await
}

/// What the operators tell of it: the leader counted its steps, and all show when the certificates end.
async fn seen(lab: &Lab) -> anyhow::Result<()> {
    let metrics = lab.operator_metrics().await?;
    for step in ["renew_serving", "promote_ca"] {
        let count = metrics.sum("tenbin_operator_certificate_rotations_total", &[("step", step)]);
        ensure!(count >= 1.0, "{step} is not counted");
    }
    for certificate in ["ca", "serving"] {
        let label = [("certificate", certificate)];
        let ends = metrics.sum("tenbin_operator_certificate_expiry_timestamp_seconds", &label);
        // Of two operators.
        ensure!(ends > 2.0 * 1.7e9, "{certificate} ends at {ends}");
    }
    let ok = metrics.sum("tenbin_operator_certificate_ok", &[]);
    ensure!(ok == 2.0, "{ok} of 2 operators have a good certificate");
    let events = [
        "get",
        "events",
        "--field-selector",
        "involvedObject.name=tenbin-xds-tls",
        "-o",
        "name",
    ];
    let listed = lab.system_kubectl().run(&events).await?;
    ensure!(!listed.trim().is_empty(), "no Event tells of it");
    say(format_args!("{} Events on the Secret", listed.lines().count()));
    Ok(())
}

/// Two operators and no third that is about to go, every proxy connected and in step.
async fn settled(lab: &Lab, app: &App<'_>) -> anyhow::Result<()> {
    eventually("two operators are there", 120, async || {
        let all = lab.system::<Pod>().list(&ListParams::default()).await?.items;
        let of_operator = all.iter().filter_map(|p| p.metadata.name.as_deref());
        let there = of_operator.filter(|name| name.starts_with("tenbin-operator-")).count();
        let ready = names(lab).await?.len();
        ensure!(there == 2 && ready == 2, "{there} there, {ready} Ready");
        Ok(())
    })
    .await?;
    app.ready(2, 90).await?;
    eventually("every proxy is connected", 60, async || {
        for (pod, metrics) in proxies(lab, app).await? {
            let connected = metrics.ending("xds_connected");
            ensure!(connected == 1.0, "{pod}: {connected}");
        }
        Ok(())
    })
    .await
}

async fn names(lab: &Lab) -> anyhow::Result<Vec<String>> {
    let pods = lab.operators().await?;
    Ok(pods.into_iter().filter_map(|p| p.metadata.name).collect())
}

/// `/metrics` of every sidecar, by pod.
async fn proxies(lab: &Lab, app: &App<'_>) -> anyhow::Result<Vec<(String, Samples)>> {
    let mut all = Vec::new();
    for pod in app.ready_names().await? {
        let text = lab.pod_text(&lab.namespace, &pod, 15020, "/metrics").await?;
        all.push((pod, Samples::parse(&text)));
    }
    ensure!(all.len() == 2, "{} pods are Ready", all.len());
    Ok(all)
}

/// How many streams every sidecar has opened so far, by pod.
async fn connects(lab: &Lab, app: &App<'_>) -> anyhow::Result<BTreeMap<String, u64>> {
    let all = proxies(lab, app).await?.into_iter();
    Ok(all
        .map(|(pod, metrics)| (pod, metrics.ending("xds_connects_total") as u64))
        .collect())
}

/// What the Secret holds. Never to be printed.
async fn secret(lab: &Lab) -> anyhow::Result<BTreeMap<String, ByteString>> {
    let secret = lab.system::<Secret>().get("tenbin-xds-tls").await?;
    secret.data.context("the Secret holds nothing")
}

fn differs(one: &BTreeMap<String, ByteString>, two: &BTreeMap<String, ByteString>, entry: &str) -> bool {
    one.get(entry) != two.get(entry)
}

/// Pods with the restarts of their containers.
#[derive(Debug, PartialEq)]
struct Pods(BTreeMap<String, (Option<i32>, Option<i32>)>);

impl Pods {
    async fn of(app: &App<'_>) -> anyhow::Result<Self> {
        let ready = app.pods().await?.into_iter().filter(is_ready);
        let one = |pod: Pod| {
            let counts = (restarts(&pod, "app"), restarts(&pod, "tenbin-proxy"));
            Some((pod.metadata.uid?, counts))
        };
        Ok(Pods(ready.filter_map(one).collect()))
    }
}
