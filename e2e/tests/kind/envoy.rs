//! A stock Envoy on the operator's stream, with a token of one of the app's pods: it takes everything, and balances over the app.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::PostParams;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tenbin_e2e::{App, Driver, Lab, Token, demo_spec, eventually, is_ready, pod_ip, test};

/// The port of Envoy's admin interface.
const ADMIN: u16 = 9901;
/// Responses that proxies rejected, by kind.
const NACKS: &str = "tenbin_operator_xds_nacks_total";

#[test]
fn a_stock_envoy_takes_everything_and_balances() {
    test("envoy", async |lab| {
        let app = App::create(lab, "plain", demo_spec(lab, 2)).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;
        let rejected = lab.operator_metrics().await?.sum(NACKS, &[]);
        let envoy = start(lab, &app).await?;
        let url = format!("http://{}:15080/", pod_ip(&envoy));
        eventually("Envoy balances over both replicas", 60, async || {
            balanced(&driver, &url, &app).await
        })
        .await?;
        app.patch(&json!({ "replicas": 3 })).await?;
        app.ready(3, 60).await?;
        eventually("Envoy balances over the new replica, too", 30, async || {
            balanced(&driver, &url, &app).await
        })
        .await?;
        app.patch(&json!({ "replicas": 1, "algorithm": "LeastRequest" }))
            .await?;
        app.ready(1, 60).await?;
        eventually("Envoy knows that two are gone", 30, async || {
            balanced(&driver, &url, &app).await
        })
        .await?;
        took_everything(lab).await?;
        let now = lab.operator_metrics().await?.sum(NACKS, &[]);
        ensure!(
            now == rejected,
            "the operators count {now} rejections, {rejected} before"
        );
        Ok(())
    });
}

/// Envoy's pod, once it serves its admin interface.
async fn start(lab: &Lab, app: &App<'_>) -> anyhow::Result<Pod> {
    let pod = app.pods().await?.into_iter().next().context("no pod")?;
    let token = Token::request(lab, "tenbin.dev/xds", Some(&pod)).await?;
    let bundle = lab.api::<ConfigMap>().get("plain-tenbin").await?;
    let ca = bundle.data.and_then(|data| data.get("ca.crt").cloned());
    let config = bootstrap(&lab.settings.system, &token.0, &ca.context("no ca.crt")?);
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": "envoy" },
        "stringData": { "envoy.json": config.to_string() },
    }))?;
    lab.api::<Secret>().create(&PostParams::default(), &secret).await?;
    let image = lab.settings.envoy_image.as_deref();
    let image = image.context("TENBIN_ENVOY_IMAGE is not set, expected an image: run `cargo xtask test`")?;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "envoy" },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "envoy",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["-c", "/etc/envoy/envoy.json", "--concurrency", "1", "-l", "warn"],
                "readinessProbe": { "httpGet": { "path": "/ready", "port": ADMIN }, "periodSeconds": 1 },
                "volumeMounts": [{ "name": "config", "mountPath": "/etc/envoy", "readOnly": true }],
            }],
            "volumes": [{ "name": "config", "secret": { "secretName": "envoy" } }],
        },
    }))?;
    lab.api::<Pod>().create(&PostParams::default(), &pod).await?;
    eventually("Envoy is Ready", 60, async || {
        let pod = lab.api::<Pod>().get("envoy").await?;
        ensure!(is_ready(&pod), "{:?}", pod.status);
        Ok(pod)
    })
    .await
}

/// What an Envoy that knows nothing but the stream starts from.
fn bootstrap(system: &str, token: &str, ca: &str) -> Value {
    let host = format!("tenbin-operator.{system}.svc");
    let ads = json!({ "ads": {}, "resource_api_version": "V3" });
    json!({
        "node": { "id": "envoy", "cluster": "test" },
        "admin": { "address": { "socket_address": { "address": "0.0.0.0", "port_value": ADMIN } } },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{
                    "envoy_grpc": { "cluster_name": "operator" },
                    "initial_metadata": [{ "key": "authorization", "value": format!("Bearer {token}") }],
                }],
            },
            "lds_config": ads,
            "cds_config": ads,
        },
        "static_resources": { "clusters": [{
            "name": "operator",
            "type": "STRICT_DNS",
            "connect_timeout": "5s",
            "load_assignment": { "cluster_name": "operator", "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": { "socket_address": { "address": host, "port_value": 15010 } } },
            }] }] },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { "http2_protocol_options": {} },
                },
            },
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                    "sni": host,
                    "common_tls_context": {
                        "alpn_protocols": ["h2"],
                        "validation_context": {
                            "trusted_ca": { "inline_string": ca },
                            "match_typed_subject_alt_names": [{ "san_type": "DNS", "matcher": { "exact": host } }],
                        },
                    },
                },
            },
        }] },
    })
}

/// Just the app's ready pods answer through Envoy.
async fn balanced(driver: &Driver, url: &str, app: &App<'_>) -> anyhow::Result<()> {
    let wanted: BTreeSet<String> = app.ready_names().await?.into_iter().collect();
    let mut answered = BTreeSet::new();
    for _ in 0..12 {
        answered.insert(driver.who(url).await?);
    }
    ensure!(answered == wanted, "{answered:?} answered, {wanted:?} are Ready");
    Ok(())
}

/// By Envoy's own counts: updates of every kind, none rejected.
async fn took_everything(lab: &Lab) -> anyhow::Result<()> {
    let stats = lab.pod_text(&lab.namespace, "envoy", ADMIN, "/stats").await?;
    let count = |line: &str| line.rsplit_once(": ").and_then(|(_, n)| n.parse::<u64>().ok());
    let of = |end: &str, part: &str| {
        let lines = stats.lines().filter(|line| line.contains(part));
        let of_end = lines.filter(|line| line.split(':').next().is_some_and(|name| name.ends_with(end)));
        of_end.filter_map(count).sum::<u64>()
    };
    ensure!(of("update_rejected", "") == 0, "Envoy rejected something:\n{stats}");
    for part in ["lds.", "cds.", "rds.", "cluster."] {
        ensure!(of("update_success", part) > 0, "no update of {part} came:\n{stats}");
    }
    Ok(())
}
