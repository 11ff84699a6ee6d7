//! The proxy alone, from a file: TLS ended at the edge in front of an app's pods, with certificates by name out of a Secret, by curl.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::PostParams;
use serde_json::{Value, json};
use tenbin_e2e::{App, Curl, Lab, demo_spec, eventually, is_ready, pod_ip, test};

use crate::authority::Authority;

const PORT: u16 = 8443;
/// The port on which TLS 1.2 is refused.
const MODERN: u16 = 8444;
const STATUS: u16 = 15020;
/// Names that there are certificates for; the first is shown to who asks for no name that is known.
const NAMES: [&str; 3] = ["first.test", "second.test", "*.wild.test"];
const FORMAT: &str = "\n%{http_version} %{response_code} %{num_connects} %{scheme}";

#[test]
fn a_proxy_alone_ends_tls_for_every_name() {
    test("edge", async |lab| {
        let ca = Authority::new()?;
        let app = App::create(lab, "behind", demo_spec(lab, 2)).await?;
        app.ready(2, 60).await?;
        files(lab, &app, &ca).await?;
        let edge = start(lab).await?;
        let curl = Curl::start(lab, Some("edge")).await?;
        let at = pod_ip(&edge);

        every_name(&curl, &at).await.context("names")?;
        both_versions(&curl, &at).await.context("versions of HTTP")?;
        versions_of_tls(&curl, &at).await.context("versions of TLS")?;
        refusals(&curl, &at).await
    });
}

/// What the proxy and curl start from, in one Secret.
async fn files(lab: &Lab, app: &App<'_>, ca: &Authority) -> anyhow::Result<()> {
    let pods = app.pods().await?;
    let endpoints: Vec<String> = pods.iter().map(|pod| format!("{}:8080", pod_ip(pod))).collect();
    let mut data = json!({ "ca.pem": ca.pem, "other.pem": Authority::new()?.pem });
    let mut certificates = Vec::new();
    for (at, name) in NAMES.into_iter().enumerate() {
        let (chain, key) = ca.issue(name)?;
        data[format!("{at}.pem")] = chain.into();
        data[format!("{at}.key")] = key.into();
        certificates.push(json!({ "chain": format!("/etc/edge/{at}.pem"), "key": format!("/etc/edge/{at}.key") }));
    }
    let listener = |name: &str, port: u16, minimum: &str| {
        json!({
            "name": name,
            "address": format!("0.0.0.0:{port}"),
            "tls": { "certificates": certificates, "minVersion": minimum },
            "routes": [{ "cluster": "behind" }],
        })
    };
    let config = json!({
        "status": format!("0.0.0.0:{STATUS}"),
        "listeners": [listener("https", PORT, "1.2"), listener("modern", MODERN, "1.3")],
        "clusters": [{ "name": "behind", "endpoints": endpoints }],
    });
    // JSON is YAML.
    data["tenbin.yaml"] = config.to_string().into();
    let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": "edge" }, "stringData": data }))?;
    lab.api::<Secret>().create(&PostParams::default(), &secret).await?;
    Ok(())
}

/// The proxy's pod, once it is ready.
async fn start(lab: &Lab) -> anyhow::Result<Pod> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "edge" },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "proxy",
                "image": lab.settings.proxy_image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["--config", "/etc/edge/tenbin.yaml"],
                "readinessProbe": { "httpGet": { "path": "/readyz", "port": STATUS }, "periodSeconds": 1 },
                "volumeMounts": [{ "name": "files", "mountPath": "/etc/edge", "readOnly": true }],
            }],
            "volumes": [{ "name": "files", "secret": { "secretName": "edge" } }],
        },
    }))?;
    lab.api::<Pod>().create(&PostParams::default(), &pod).await?;
    eventually("the proxy is Ready", 60, async || {
        let pod = lab.api::<Pod>().get("edge").await?;
        ensure!(is_ready(&pod), "{:?}", pod.status);
        Ok(pod)
    })
    .await
}

/// curl, which trusts the test's authority and finds `name` at the proxy.
async fn get(curl: &Curl<'_>, at: &str, name: &str, port: u16, more: &[&str]) -> anyhow::Result<(bool, String)> {
    let resolve = format!("{name}:{port}:{at}");
    let url = format!("https://{name}:{port}/headers");
    let all = [
        &["--cacert", "/etc/curl/ca.pem", "--resolve", &resolve, "-w", FORMAT],
        more,
        &[&url],
    ]
    .concat();
    let outcome = curl.attempt(&all).await?;
    Ok((outcome.ok, format!("{}{}", outcome.stdout, outcome.stderr)))
}

/// Each name gets its own certificate, which curl verifies.
async fn every_name(curl: &Curl<'_>, at: &str) -> anyhow::Result<()> {
    for name in ["first.test", "second.test", "any.wild.test"] {
        let (ok, said) = get(curl, at, name, PORT, &["--http1.1"]).await?;
        ensure!(ok && said.contains("\n1.1 200 1 HTTPS"), "{name}: {said}");
        let seen = said.split("\n1.1 ").next().unwrap_or_default();
        let seen: Value = serde_json::from_str(seen).with_context(|| said.clone())?;
        ensure!(seen["x-forwarded-proto"] == "https", "{name}: {seen:#}");
        let port = PORT.to_string();
        ensure!(seen["x-forwarded-port"] == port.as_str(), "{name}: {seen:#}");
    }
    Ok(())
}

/// HTTP/2 where the client offers it, HTTP/1.1 where it does not; the connection is kept in both.
async fn both_versions(curl: &Curl<'_>, at: &str) -> anyhow::Result<()> {
    let again = format!("https://first.test:{PORT}/");
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let (ok, said) = get(curl, at, "first.test", PORT, &[flag, &again]).await?;
        let first = said.contains(&format!("\n{version} 200 1 HTTPS"));
        ensure!(
            ok && first && said.contains(&format!("\n{version} 200 0 HTTPS")),
            "{flag}: {said}"
        );
    }
    Ok(())
}

/// TLS 1.2 and 1.3, and the first refused where the listener wants the second.
async fn versions_of_tls(curl: &Curl<'_>, at: &str) -> anyhow::Result<()> {
    for (port, only, accepted) in [
        (PORT, "1.2", true),
        (PORT, "1.3", true),
        (MODERN, "1.2", false),
        (MODERN, "1.3", true),
    ] {
        let minimum = format!("--tlsv{only}");
        let (ok, said) = get(curl, at, "second.test", port, &[&minimum, "--tls-max", only]).await?;
        ensure!(ok == accepted, "TLS {only} at {port}: {said}");
    }
    let (ok, said) = get(curl, at, "second.test", PORT, &["--tls-max", "1.1"]).await?;
    ensure!(!ok, "TLS 1.1 is spoken: {said}");
    Ok(())
}

/// A name without a certificate gets the first one, which is not its own; nothing is served in cleartext, and nobody trusts another
/// authority.
async fn refusals(curl: &Curl<'_>, at: &str) -> anyhow::Result<()> {
    let (ok, said) = get(curl, at, "unknown.test", PORT, &[]).await?;
    ensure!(
        !ok && said.contains("first.test") | said.contains("unknown.test"),
        "{said}"
    );
    let (ok, said) = get(curl, at, "first.test", PORT, &["--cacert", "/etc/curl/other.pem"]).await?;
    ensure!(!ok, "{said}");
    let cleartext = curl.attempt(&[&format!("http://{at}:{PORT}/")]).await?;
    ensure!(
        !cleartext.ok && !cleartext.stdout.contains("GET"),
        "{}",
        cleartext.stdout
    );
    Ok(())
}
