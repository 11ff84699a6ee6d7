//! Item 7: who may see what on the operator's stream, tried with real tokens; and what becomes of a refusal.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use prost::Message;
use serde_json::json;
use tenbin_e2e::{App, CLUSTER, ENDPOINTS, LISTENER, Lab, ROUTES, Stream, Token, demo_spec, eventually, pod_ip, test};
use tonic::Code;

/// The audience that the operator wants.
const AUDIENCE: &str = "tenbin.dev/xds";
/// Refused streams, by reason.
const REFUSALS: &str = "tenbin_operator_refusals_total";

#[test]
fn only_an_apps_own_pods_see_its_resources() {
    test("stream", async |lab| {
        let mine = App::create(lab, "mine", demo_spec(lab, 1)).await?;
        let other = App::create(lab, "other", demo_spec(lab, 1)).await?;
        mine.ready(1, 60).await?;
        other.ready(1, 60).await?;
        let pod = mine.pods().await?.into_iter().next().context("no pod")?;
        let elsewhere = Elsewhere::new(lab).await?;
        let outcome = async {
            refusals(lab, &pod).await?;
            own_and_foreign(lab, &pod, &elsewhere).await?;
            nack_shows(lab, &mine, &pod).await?;
            no_log_holds_a_token(lab, "tenbin.dev/app=mine").await
        }
        .await;
        elsewhere.remove().await?;
        outcome
    });
}

/// A second namespace with an app of the same name.
struct Elsewhere {
    all: Api<Namespace>,
    name: String,
}

impl Elsewhere {
    async fn new(lab: &Lab) -> anyhow::Result<Self> {
        let all: Api<Namespace> = Api::all(lab.client.clone());
        let name = format!("{}-too", lab.namespace);
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        all.create(&PostParams::default(), &namespace).await?;
        let app = json!({
            "apiVersion": "tenbin.dev/v1alpha1",
            "kind": "BalancedApp",
            "metadata": { "name": "mine", "namespace": name },
            "spec": demo_spec(lab, 1),
        });
        let kubectl = tenbin_e2e::Kubectl::new(&lab.settings.kubectl, &name);
        kubectl.apply(&app.to_string()).await?;
        Ok(Elsewhere { all, name })
    }

    async fn remove(&self) -> anyhow::Result<()> {
        self.all.delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }
}

/// Every bad identity is refused by both operators, and counted by its reason.
async fn refusals(lab: &Lab, pod: &Pod) -> anyhow::Result<()> {
    let liar = liar(lab).await?;
    let no_pod = Token::request(lab, AUDIENCE, None).await?;
    let wrong_audience = Token::request(lab, "https://kubernetes.default.svc.cluster.local", Some(pod)).await?;
    let no_app = Token::request(lab, AUDIENCE, Some(&liar)).await?;
    let gone = Token::request(lab, AUDIENCE, Some(&liar)).await?;
    let mut forged = Token::request(lab, AUDIENCE, Some(pod)).await?;
    let signature = forged.0.rfind('.').context("a token has three parts")? + 1;
    forged.0.replace_range(
        signature..,
        &no_pod.0[no_pod.0.rfind('.').context("a token has three parts")? + 1..],
    );
    let cases: [(&str, Option<&str>, &str, Code); 6] = [
        ("no token", None, "no_token", Code::Unauthenticated),
        (
            "no token of anybody",
            Some("not-a-token"),
            "bad_token",
            Code::Unauthenticated,
        ),
        (
            "a forged signature",
            Some(&forged.0),
            "bad_token",
            Code::Unauthenticated,
        ),
        (
            "a wrong audience",
            Some(&wrong_audience.0),
            "wrong_audience",
            Code::Unauthenticated,
        ),
        (
            "a token bound to no pod",
            Some(&no_pod.0),
            "not_a_pod",
            Code::PermissionDenied,
        ),
        ("a pod of no app", Some(&no_app.0), "no_app", Code::PermissionDenied),
    ];
    for operator in operators(lab).await? {
        for (what, token, reason, code) in cases {
            refused(lab, &operator, token, reason, code)
                .await
                .with_context(|| format!("{what} at {operator}"))?;
        }
    }
    // Its pod gone, a token is good for nothing.
    lab.api::<Pod>()
        .delete("liar", &DeleteParams::default().grace_period(0))
        .await?;
    eventually("the pod is gone", 20, async || lab.is_gone::<Pod>("liar").await).await?;
    let operator = operators(lab).await?.remove(0);
    refused(lab, &operator, Some(&gone.0), "bad_token", Code::Unauthenticated)
        .await
        .context("a token of a pod that is gone")?;
    Ok(())
}

/// A pod of no app that says it is one of `mine`, by label, by name and by annotation.
async fn liar(lab: &Lab) -> anyhow::Result<Pod> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": "liar",
            "labels": { "tenbin.dev/app": "mine", "app.kubernetes.io/name": "mine", "app.kubernetes.io/managed-by": "tenbin" },
        },
        "spec": {
            // Nothing needs to run: its token is as good as any.
            "nodeSelector": { "tenbin-e2e": "no-such-node" },
            "containers": [{ "name": "app", "image": lab.settings.demo_image }],
        },
    }))?;
    Ok(lab.api::<Pod>().create(&PostParams::default(), &pod).await?)
}

async fn operators(lab: &Lab) -> anyhow::Result<Vec<String>> {
    let pods = lab.operators().await?;
    ensure!(pods.len() == 2, "{} operators are Ready", pods.len());
    Ok(pods.into_iter().filter_map(|p| p.metadata.name).collect())
}

async fn refused(lab: &Lab, operator: &str, token: Option<&str>, reason: &str, code: Code) -> anyhow::Result<()> {
    let label = [("reason", reason)];
    let before = lab.operator_metrics().await?.sum(REFUSALS, &label);
    let Err(status) = Stream::open(lab, operator, "mine", token).await? else {
        anyhow::bail!("was let in");
    };
    ensure!(status.code() == code, "{status:?}, expected {code:?}");
    if let Some(token) = token {
        ensure!(!status.message().contains(token), "the refusal repeats the token");
    }
    let after = lab.operator_metrics().await?.sum(REFUSALS, &label);
    // Sidecars that connect meanwhile may be refused too, for other reasons than these.
    ensure!(
        after > before,
        "{REFUSALS}{{reason={reason:?}}} is {after}, {before} before"
    );
    Ok(())
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|r| r.name.as_str()).collect()
}

/// What is the app's own comes; what is another's is answered as absent, at once, and counted, whoever the client says it is.
async fn own_and_foreign(lab: &Lab, pod: &Pod, elsewhere: &Elsewhere) -> anyhow::Result<()> {
    let token = Token::request(lab, AUDIENCE, Some(pod)).await?;
    let own = format!("{}/mine/http", lab.namespace);
    let foreign = [
        format!("{}/other/http", lab.namespace),
        format!("{}/mine/http", elsewhere.name),
    ];
    for operator in operators(lab).await? {
        // The node id that `open` sends is of the app named here: a lie.
        let stream = Stream::open(lab, &operator, "other", Some(&token.0)).await?;
        let mut stream = stream.map_err(|s| anyhow::anyhow!("refused: {s:?}"))?;
        for kind in [CLUSTER, ENDPOINTS, LISTENER, ROUTES] {
            let before = lab.operator_metrics().await?;
            stream.subscribe(kind, &[&own, &foreign[0], &foreign[1]]).await?;
            let (mut found, mut absent) = (Vec::new(), BTreeSet::new());
            while found.is_empty() || absent.len() < 2 {
                let response = stream
                    .next()
                    .await
                    .with_context(|| format!("{kind}: {found:?} {absent:?}"))?;
                ensure!(response.type_url == kind, "{}", response.type_url);
                ensure!(
                    names(&response).iter().all(|n| *n == own),
                    "another's came: {:?}",
                    names(&response)
                );
                absent.extend(response.removed_resources.iter().cloned());
                if kind == ENDPOINTS {
                    points_at_the_app(&response, pod)?;
                }
                stream.ack(&response).await?;
                found.extend(response.resources);
            }
            ensure!(absent == foreign.iter().cloned().collect(), "absent: {absent:?}");
            ensure!(!found[0].version.is_empty(), "no version: {:?}", found[0]);
            let counted = |m: &tenbin_e2e::Samples| m.ending("xds_foreign_names_total");
            let after = lab.operator_metrics().await?;
            ensure!(
                counted(&after) >= counted(&before) + 2.0,
                "foreign names: {} before, {} after",
                counted(&before),
                counted(&after)
            );
        }
    }
    Ok(())
}

/// Endpoints are the pod's own address with the port on which the app listens, not the sidecar's.
fn points_at_the_app(response: &DeltaDiscoveryResponse, pod: &Pod) -> anyhow::Result<()> {
    for resource in &response.resources {
        let body = resource.resource.as_ref().context("a resource has a body")?;
        let set = ClusterLoadAssignment::decode(body.value.as_slice())?;
        let endpoints: Vec<&LbEndpoint> = set.endpoints.iter().flat_map(|l| &l.lb_endpoints).collect();
        ensure!(endpoints.len() == 1, "{} endpoints", endpoints.len());
        let Some(HostIdentifier::Endpoint(endpoint)) = &endpoints[0].host_identifier else {
            anyhow::bail!("no endpoint: {:?}", endpoints[0]);
        };
        let Some(Address::SocketAddress(address)) = endpoint.address.as_ref().and_then(|a| a.address.as_ref()) else {
            anyhow::bail!("no address: {endpoint:?}");
        };
        ensure!(
            address.address == pod_ip(pod) && address.port_specifier == Some(PortSpecifier::PortValue(8080)),
            "{address:?}"
        );
    }
    Ok(())
}

/// A proxy's refusal shows in the metrics and in `ConfigSynced`, with its words, whichever operator it talks to; and goes with it.
async fn nack_shows(lab: &Lab, app: &App<'_>, pod: &Pod) -> anyhow::Result<()> {
    let token = Token::request(lab, AUDIENCE, Some(pod)).await?;
    let own = format!("{}/mine/http", lab.namespace);
    for operator in operators(lab).await? {
        let nacks = async || anyhow::Ok(lab.operator_metrics().await?.ending("xds_nacks_total"));
        let before = nacks().await?;
        let opened = Stream::open(lab, &operator, "mine", Some(&token.0)).await?;
        let mut stream = opened.map_err(|s| anyhow::anyhow!("refused: {s:?}"))?;
        stream.subscribe(CLUSTER, &[&own]).await?;
        let response = stream.next().await?;
        let reason = format!("lb_policy: 17 is not accepted, said to {operator}");
        stream.nack(&response, &reason).await?;
        app.wait_condition("ConfigSynced", "False", &["lb_policy: 17"], 20)
            .await
            .with_context(|| format!("NACK at {operator}"))?;
        ensure!(nacks().await? > before, "the NACK is not counted");
        drop(stream);
        app.wait_condition("ConfigSynced", "True", &[], 30)
            .await
            .context("the stream is over")?;
    }
    Ok(())
}

/// No log line of operators or sidecars holds a token: each begins with the same letters, those of `{"alg":`.
pub(crate) async fn no_log_holds_a_token(lab: &Lab, sidecars: &str) -> anyhow::Result<()> {
    let mut logs = Vec::new();
    for operator in operators(lab).await? {
        logs.push(lab.system_kubectl().run(&["logs", &operator]).await?);
    }
    let all = ["logs", "-l", sidecars, "-c", "tenbin-proxy", "--tail=-1", "--prefix"];
    logs.push(lab.kubectl.run(&all).await?);
    for log in logs {
        ensure!(!log.is_empty(), "a log is empty");
        let line = log.lines().find(|l| l.contains("eyJhbGciOi"));
        // The line itself must not be repeated here.
        ensure!(
            line.is_none(),
            "a line of {} characters holds a token",
            line.map_or(0, str::len)
        );
    }
    Ok(())
}
