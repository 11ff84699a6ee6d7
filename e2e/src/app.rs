//! A `BalancedApp` as its user sees it: plain JSON, so that a test can also say what no typed client would.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{Condition, Lab, eventually, is_ready};

/// An app of a test.
pub struct App<'a> {
    lab: &'a Lab,
    /// Its name.
    pub name: String,
}

/// How the requests to an app are balanced, as in its spec. What is null is not written.
#[derive(Clone, Debug, Default)]
pub struct Balancing {
    /// `spec.algorithm`.
    pub algorithm: Value,
    /// `spec.affinity`.
    pub affinity: Value,
    /// `spec.trustedHops`.
    pub trusted_hops: Value,
}

impl Balancing {
    /// An algorithm alone.
    pub fn by(algorithm: &str) -> Self {
        Balancing {
            algorithm: algorithm.into(),
            ..Balancing::default()
        }
    }

    /// An affinity alone.
    pub fn bound(affinity: Value) -> Self {
        Balancing {
            affinity,
            ..Balancing::default()
        }
    }

    /// A merge patch of a spec: what an affinity of before had is removed by name, since a merge would keep it.
    fn patch(&self) -> Value {
        let mut affinity = self.affinity.clone();
        if let Some(fields) = affinity.as_object_mut() {
            for field in ["cookie", "header", "queryParam", "sourceIP", "onDrain", "onDead"] {
                fields.entry(field).or_insert(Value::Null);
            }
        }
        json!({
            "algorithm": self.algorithm,
            "algorithmConfig": null,
            "affinity": affinity,
            "trustedHops": self.trusted_hops,
        })
    }
}

/// A spec of the demo app with `replicas`, in round robin.
pub fn demo_spec(lab: &Lab, replicas: u32) -> Value {
    json!({
        "replicas": replicas,
        "image": lab.settings.demo_image,
        "ports": [{ "name": "http", "port": 8080, "servicePort": 80 }],
        "algorithm": "RoundRobin",
        "healthProbe": { "http": { "path": "/healthz" }, "intervalSeconds": 1 },
    })
}

impl<'a> App<'a> {
    /// The app of that name, which may exist or not.
    pub fn named(lab: &'a Lab, name: &str) -> Self {
        App {
            lab,
            name: name.to_owned(),
        }
    }

    /// Creates an app.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn create(lab: &'a Lab, name: &str, spec: Value) -> anyhow::Result<Self> {
        let app = App::named(lab, name);
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "tenbin.dev/v1alpha1",
            "kind": "BalancedApp",
            "metadata": { "name": name },
            "spec": spec,
        }))?;
        app.api().create(&PostParams::default(), &object).await?;
        Ok(app)
    }

    fn api(&self) -> Api<DynamicObject> {
        let kind = ApiResource {
            group: "tenbin.dev".to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: "tenbin.dev/v1alpha1".to_owned(),
            kind: "BalancedApp".to_owned(),
            plural: "balancedapps".to_owned(),
        };
        Api::namespaced_with(self.lab.client.clone(), &self.lab.namespace, &kind)
    }

    /// Changes its spec by a merge patch.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn patch(&self, spec: &Value) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.api().patch(&self.name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Changes how requests are balanced, and waits until the proxies of all `replicas` go by it. What is null is not written; of an
    /// affinity or options from before, nothing is left.
    ///
    /// # Errors
    /// The API server refuses it, or the proxies do not follow within 30 seconds.
    pub async fn balance(&self, replicas: u32, balancing: &Balancing) -> anyhow::Result<()> {
        self.patch(&balancing.patch()).await?;
        self.ready(replicas, 30).await
    }

    /// The object.
    ///
    /// # Errors
    /// There is none.
    pub async fn get(&self) -> anyhow::Result<DynamicObject> {
        Ok(self.api().get(&self.name).await?)
    }

    /// Its `.status`; null while it has none.
    ///
    /// # Errors
    /// There is no such object.
    pub async fn status(&self) -> anyhow::Result<Value> {
        Ok(self.get().await?.data["status"].clone())
    }

    /// Its conditions.
    ///
    /// # Errors
    /// There is no such object, or they are not what conditions are.
    pub async fn conditions(&self) -> anyhow::Result<Vec<Condition>> {
        match self.status().await?["conditions"].clone() {
            Value::Null => Ok(Vec::new()),
            found => Ok(serde_json::from_value(found)?),
        }
    }

    /// Waits for a condition with `status` whose message holds all of `words`.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn wait_condition(
        &self,
        kind: &str,
        status: &str,
        words: &[&str],
        seconds: u64,
    ) -> anyhow::Result<Condition> {
        let what = format!("{} has {kind}={status} with {words:?}", self.name);
        eventually(&what, seconds, async || {
            let all = self.conditions().await?;
            let found = all
                .iter()
                .find(|c| c.kind == kind && c.status == status && words.iter().all(|word| c.message.contains(word)));
            found.cloned().with_context(|| format!("{all:#?}"))
        })
        .await
    }

    /// Waits until all of the newest spec runs: `n/n` by the status of this generation, Ready and `ConfigSynced`, no pod too many.
    ///
    /// # Errors
    /// Not in time.
    pub async fn ready(&self, replicas: u32, seconds: u64) -> anyhow::Result<()> {
        let what = format!("{} is Ready with {replicas}", self.name);
        eventually(&what, seconds, async || {
            let object = self.get().await?;
            let status = &object.data["status"];
            let generation = object.metadata.generation.unwrap_or_default();
            ensure!(
                status["observedGeneration"].as_i64() == Some(generation),
                "generation {generation} is not yet observed: {status:#}"
            );
            let wanted = format!("{replicas}/{replicas}");
            ensure!(status["ready"] == wanted.as_str(), "ready is not {wanted}: {status:#}");
            for (field, path) in [
                ("replicas", "/replicas"),
                ("updated", "/updatedReplicas"),
                ("endpoints", "/endpoints/ready"),
            ] {
                let found = status.pointer(path).and_then(Value::as_u64);
                ensure!(
                    found == Some(u64::from(replicas)),
                    "{field} is not {replicas}: {status:#}"
                );
            }
            for kind in ["Ready", "ConfigSynced"] {
                let conditions: Vec<Condition> = serde_json::from_value(status["conditions"].clone())?;
                let holds = |c: &Condition| c.kind == kind && c.status == "True" && c.observed_generation == generation;
                ensure!(conditions.iter().any(holds), "{kind} is not True: {status:#}");
            }
            Ok(())
        })
        .await
    }

    /// Its pods that are not about to go, by its label.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        let of_app = ListParams::default().labels(&format!("tenbin.dev/app={}", self.name));
        let mut all = self.lab.api::<Pod>().list(&of_app).await?.items;
        all.retain(|p| p.metadata.deletion_timestamp.is_none());
        Ok(all)
    }

    /// Names of its pods that are Ready and not about to go.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn ready_names(&self) -> anyhow::Result<Vec<String>> {
        let pods = self.pods().await?.into_iter().filter(is_ready);
        Ok(pods.filter_map(|p| p.metadata.name).collect())
    }

    /// A URL of its Service.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}.{}.svc.cluster.local{path}", self.name, self.lab.namespace)
    }

    /// A URL of another port of its Service.
    pub fn url_of(&self, port: u16, path: &str) -> String {
        format!("http://{}{path}", self.address(port))
    }

    /// `host:port` of its Service.
    pub fn address(&self, port: u16) -> String {
        format!("{}.{}.svc.cluster.local:{port}", self.name, self.lab.namespace)
    }

    /// A load on its Service: `clients`, each pausing 20 ms after an answer, until stopped.
    pub fn load(&self, path: &str, clients: usize) -> tenbin_load::Load {
        tenbin_load::Load {
            pause_ms: 20,
            ..tenbin_load::Load::new(tenbin_load::Request::get(self.url(path)), clients)
        }
    }

    /// Runs the proxy's admin client in the sidecar of `pod`.
    ///
    /// # Errors
    /// It fails there.
    pub async fn admin(&self, pod: &str, args: &[&str]) -> anyhow::Result<String> {
        let mut all = vec![
            "exec",
            pod,
            "-c",
            "tenbin-proxy",
            "--",
            "/usr/local/bin/tenbin-proxy",
            "admin",
        ];
        all.extend_from_slice(args);
        let run = self.lab.kubectl.run(&all);
        tokio::time::timeout(Duration::from_secs(30), run)
            .await
            .context("kubectl exec")?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_leaves_nothing_of_before() {
        let patch = Balancing::bound(json!({ "type": "Header", "header": { "name": "x" } })).patch();
        assert_eq!(patch["affinity"]["header"], json!({ "name": "x" }));
        for gone in [
            "/algorithm",
            "/algorithmConfig",
            "/affinity/cookie",
            "/affinity/onDrain",
            "/trustedHops",
        ] {
            assert_eq!(patch.pointer(gone), Some(&Value::Null), "{gone}");
        }
        assert_eq!(Balancing::by("Random").patch()["affinity"], Value::Null);
    }
}
