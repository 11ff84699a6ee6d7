//! A cluster's worth of apps without a kubelet or a controller: the operator makes an app's children itself, as always; what
//! controllers and kubelets would add (ReplicaSets, pods with addresses, slices) is made here, with their owners and UIDs.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tenbin_crds::BalancedApp;
use tenbin_e2e::eventually;

/// Where the apps live.
pub(super) const NAMESPACE: &str = "bench";
/// The label by which a slice belongs to a Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Requests under way at once.
const AT_ONCE: usize = 24;
/// Tries of a request that an overloaded API server does not answer well.
const TRIES: u32 = 6;
/// Where the addresses of pods begin.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 1);
/// How long the operator may take to accept all apps, in seconds.
const ACCEPT: u64 = 600;

/// The apps of the benchmark.
pub(super) struct Apps {
    client: Client,
    /// How many there are.
    pub(super) count: usize,
    /// Endpoints of each.
    pub(super) endpoints: usize,
}

/// A pod of an app.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) app: String,
    name: String,
    uid: String,
    address: Ipv4Addr,
}

impl Apps {
    pub(super) fn new(client: Client, count: usize, endpoints: usize) -> Self {
        Apps {
            client,
            count,
            endpoints,
        }
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Creates the apps and waits until the operator has accepted all of them.
    pub(super) async fn create(&self) -> anyhow::Result<()> {
        create::<Namespace>(
            &Api::all(self.client.clone()),
            json!({ "metadata": { "name": NAMESPACE } }),
        )
        .await?;
        // Made by a controller elsewhere.
        create::<ServiceAccount>(&self.api(), json!({ "metadata": { "name": "default" } })).await?;
        let api = self.api::<BalancedApp>();
        let made = stream::iter(0..self.count).map(|n| {
            let app = json!({
                "metadata": { "name": name(n) },
                "spec": {
                    "replicas": self.endpoints,
                    "image": "shop:1",
                    "ports": [{ "name": "http", "port": 8080, "servicePort": 80 }],
                    "algorithm": "LeastRequest",
                    "healthProbe": { "http": { "path": "/healthz" } },
                },
            });
            create(&api, app)
        });
        made.buffer_unordered(AT_ONCE)
            .try_for_each(|_: BalancedApp| async { Ok(()) })
            .await?;
        let mut told = 0;
        eventually("the operator accepts all apps", ACCEPT, async || {
            let accepted = self
                .api::<ControllerRevision>()
                .list_metadata(&ListParams::default())
                .await?
                .items
                .len();
            if accepted >= told + 100 {
                told = accepted;
                eprintln!("{accepted} of {} apps are accepted", self.count);
            }
            ensure!(accepted >= self.count, "{accepted} of {}", self.count);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        })
        .await
    }

    /// Gives every app its pods; they come app by app.
    pub(super) async fn populate(&self) -> anyhow::Result<Vec<Vec<Member>>> {
        let deployments = self.api::<Deployment>().list(&ListParams::default()).await?.items;
        ensure!(
            deployments.len() == self.count,
            "{} Deployments for {} apps",
            deployments.len(),
            self.count
        );
        let made = stream::iter(deployments.iter().enumerate()).map(|(n, deployment)| self.populate_one(n, deployment));
        let mut made = made.buffered(AT_ONCE);
        let mut all = Vec::with_capacity(self.count);
        while let Some(members) = made.try_next().await? {
            all.push(members);
            if all.len() % 100 == 0 {
                eprintln!("{} of {} apps have their pods", all.len(), self.count);
            }
        }
        Ok(all)
    }

    async fn populate_one(&self, n: usize, deployment: &Deployment) -> anyhow::Result<Vec<Member>> {
        let app = deployment.name_any();
        let template = deployment
            .spec
            .as_ref()
            .map(|spec| &spec.template)
            .context("a Deployment has a spec")?;
        let mut meta = serde_json::to_value(&template.metadata)?;
        meta["labels"]["pod-template-hash"] = "bench".into();
        let labels = meta["labels"].clone();
        let object = json!({
            "metadata": { "name": format!("{app}-bench"), "labels": labels, "ownerReferences": owner(deployment) },
            "spec": {
                "replicas": self.endpoints,
                "selector": { "matchLabels": labels },
                "template": { "metadata": meta, "spec": template.spec },
            },
        });
        let set: ReplicaSet = create(&self.api(), object).await?;
        let pods = self.api::<Pod>();
        let mut members = Vec::with_capacity(self.endpoints);
        for k in 0..self.endpoints {
            let mut meta = meta.clone();
            meta["name"] = format!("{app}-bench-{k}").into();
            meta["ownerReferences"] = owner(&set);
            let pod: Pod = create(&pods, json!({ "metadata": meta, "spec": template.spec })).await?;
            let offset = u32::try_from(n * self.endpoints + k)?;
            let member = Member {
                app: app.clone(),
                name: pod.name_any(),
                uid: pod.uid().context("a pod has a UID")?,
                address: Ipv4Addr::from(u32::from(FIRST_ADDRESS) + offset),
            };
            patch_status(&pods, &member.name, member.status(true)).await?;
            members.push(member);
        }
        let slice = json!({
            "metadata": { "name": format!("{app}-bench"), "labels": { SERVICE_NAME: app, "tenbin.dev/app": app } },
            "addressType": "IPv4",
            "endpoints": endpoints(&members, None),
            "ports": [{ "name": "http", "port": 15080, "protocol": "TCP" }],
        });
        create::<EndpointSlice>(&self.api(), slice).await?;
        let count = self.endpoints;
        let status = json!({
            "replicas": count, "updatedReplicas": count, "readyReplicas": count, "availableReplicas": count,
            "observedGeneration": deployment.metadata.generation,
        });
        patch_status(&self.api::<Deployment>(), &app, status).await?;
        Ok(members)
    }

    /// The last pod of an app becomes ready or not: first the pod says so, then the slice, as in a real cluster. Gives the future
    /// that writes the slice.
    pub(super) async fn flip(
        &self,
        members: &[Member],
        ready: bool,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
        let last = members.last().context("an app has pods")?;
        patch_status(&self.api::<Pod>(), &last.name, last.status(ready)).await?;
        let unready = (!ready).then(|| members.len() - 1);
        let patch = json!({ "endpoints": endpoints(members, unready) });
        let (api, name) = (self.api::<EndpointSlice>(), format!("{}-bench", last.app));
        Ok(async move {
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            Ok(())
        })
    }

    /// A token for the stream, bound to that pod.
    pub(super) async fn token(&self, member: &Member) -> anyhow::Result<String> {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "name": member.name, "uid": member.uid });
        let spec = json!({ "audiences": ["tenbin.dev/xds"], "expirationSeconds": 3600, "boundObjectRef": pod });
        token(&self.api(), "default", spec).await
    }

    /// Tokens for all of them, in their order.
    pub(super) async fn tokens(&self, members: &[Member]) -> anyhow::Result<Vec<String>> {
        let tokens = stream::iter(members).map(|member| self.token(member));
        tokens.buffered(AT_ONCE).try_collect().await
    }

    /// What the statuses of all apps say of their proxies: connected, and synced.
    pub(super) async fn proxies(&self) -> anyhow::Result<(i32, i32)> {
        let apps = self.api::<BalancedApp>().list(&ListParams::default()).await?.items;
        let counts = apps.into_iter().filter_map(|app| Some(app.status?.proxies));
        Ok(counts.fold((0, 0), |sum, count| (sum.0 + count.connected, sum.1 + count.synced)))
    }
}

impl Member {
    fn status(&self, ready: bool) -> Value {
        let flag = if ready { "True" } else { "False" };
        let since = "2026-01-01T00:00:00Z";
        let condition =
            |kind: &str, status: &str| json!({ "type": kind, "status": status, "lastTransitionTime": since });
        let container = |name: &str, ready: bool| {
            json!({
                "name": name, "image": "shop:1", "imageID": "", "ready": ready, "restartCount": 0, "started": true,
                "state": { "running": { "startedAt": since } },
            })
        };
        json!({
            "phase": "Running",
            "podIP": self.address,
            "podIPs": [{ "ip": self.address }],
            "startTime": since,
            "conditions": [
                condition("PodScheduled", "True"), condition("Initialized", "True"),
                condition("ContainersReady", flag), condition("Ready", flag),
            ],
            "containerStatuses": [container("app", ready)],
            "initContainerStatuses": [container("tenbin-proxy", true)],
        })
    }
}

/// The endpoints of a slice, all ready but one.
fn endpoints(members: &[Member], unready: Option<usize>) -> Value {
    let endpoint = |(at, member): (usize, &Member)| {
        let ready = Some(at) != unready;
        json!({
            "addresses": [member.address],
            "conditions": { "ready": ready, "serving": ready, "terminating": false },
            "targetRef": { "kind": "Pod", "namespace": NAMESPACE, "name": member.name, "uid": member.uid },
        })
    };
    members.iter().enumerate().map(endpoint).collect()
}

/// The name of the app of that number.
fn name(n: usize) -> String {
    format!("app-{n:04}")
}

fn owner<K: Resource<DynamicType = ()>>(object: &K) -> Value {
    json!(object.controller_owner_ref(&()).into_iter().collect::<Vec<_>>())
}

/// A token of a ServiceAccount.
pub(super) async fn token(api: &Api<ServiceAccount>, account: &str, spec: Value) -> anyhow::Result<String> {
    let request: TokenRequest = serde_json::from_value(json!({ "metadata": {}, "spec": spec }))?;
    let what = format!("a token of ServiceAccount {account}");
    let made = steadily(&what, async || {
        api.create_token_request(account, &PostParams::default(), &request)
            .await
    })
    .await?;
    Ok(made
        .status
        .with_context(|| format!("the API server made no {what}"))?
        .token)
}

/// Creates an object, or takes the one of its name.
async fn create<K>(api: &Api<K>, object: Value) -> anyhow::Result<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object)?;
    let name = object.name_any();
    let what = format!("{} {name}", K::kind(&()));
    steadily(&what, async || {
        match api.create(&PostParams::default(), &object).await {
            // Also where it was made, and the answer lost.
            Err(kube::Error::Api(status)) if status.is_already_exists() => api.get(&name).await,
            made => made,
        }
    })
    .await
}

async fn patch_status<K>(api: &Api<K>, name: &str, status: Value) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = Patch::Merge(json!({ "status": status }));
    let what = format!("status of {} {name}", K::kind(&()));
    steadily(&what, async || {
        api.patch_status(name, &PatchParams::default(), &patch).await
    })
    .await?;
    Ok(())
}

/// Asks again where the API server is overloaded; what it refuses stays refused.
async fn steadily<T>(what: &str, mut ask: impl AsyncFnMut() -> kube::Result<T>) -> anyhow::Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                let refused = matches!(&error, kube::Error::Api(status) if (400..429).contains(&status.code));
                if refused || tries == TRIES {
                    return Err(error).context(what.to_owned());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
