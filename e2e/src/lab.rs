//! A test's own corner of the cluster: a namespace with a load driver in it, gone when the test is over.

use std::fmt::Display;
use std::io::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::driver::{self, Driver};
use crate::kubectl::{self, Kubectl, Outcome};
use crate::{Node, Samples, Settings, eventually, is_ready, pod_ip, port_of};

/// Where a test works.
pub struct Lab {
    /// The API server.
    pub client: kube::Client,
    /// The test's own namespace.
    pub namespace: String,
    /// What the tests were told.
    pub settings: Settings,
    /// `kubectl` in that namespace.
    pub kubectl: Kubectl,
}

/// Tells the person who runs the tests something, also of a test that passes: with the other words of the test, when all have run.
pub fn say(what: impl Display) {
    println!("    {what}");
}

/// Tells it at once, past what holds back a test's words.
fn say_now(what: impl Display) {
    let _ = writeln!(std::io::stderr(), "    {what}");
}

/// Runs `body` in a namespace of its own. Where it fails, what the cluster looked like then is told.
///
/// # Panics
/// The test fails, as test frameworks expect it.
pub fn test(name: &str, body: impl AsyncFnOnce(&Lab) -> anyhow::Result<()>) {
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(e) => panic!("{e:#}"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs no more than a few file descriptors");
    let outcome = runtime.block_on(async {
        let began = Instant::now();
        let lab = Lab::new(name, settings).await?;
        let outcome = match lab.start_driver().await {
            Ok(()) => body(&lab).await,
            Err(e) => Err(e),
        };
        if outcome.is_err() {
            lab.describe().await;
        }
        lab.remove().await;
        say_now(format_args!("{name}: {:.1} s", began.elapsed().as_secs_f32()));
        outcome
    });
    if let Err(e) = outcome {
        panic!("{e:#}");
    }
}

/// Whether there is an object of ours now. It is asked for twice, where an answer was lost.
fn created<K>(answer: kube::Result<K>) -> anyhow::Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

impl Lab {
    async fn new(name: &str, settings: Settings) -> anyhow::Result<Self> {
        // Whichever test comes first installs it; all want the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = kube::Client::try_default().await.context("no cluster")?;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let namespace = format!("e2e-{name}-{:05}", seconds % 100_000);
        let object: Namespace = serde_json::from_value(json!({
            "metadata": { "name": namespace, "labels": { "tenbin-e2e": "true" } },
        }))?;
        let all: Api<Namespace> = Api::all(client.clone());
        eventually("the API server answers", 60, async || {
            created(all.create(&PostParams::default(), &object).await)
        })
        .await?;
        Ok(Lab {
            kubectl: Kubectl::new(&settings.kubectl, &namespace),
            client,
            namespace,
            settings,
        })
    }

    async fn start_driver(&self) -> anyhow::Result<()> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": driver::POD },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "load",
                    "image": self.settings.demo_image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["load"],
                }],
            },
        }))?;
        // The namespace's ServiceAccount is made by a controller, a moment later.
        eventually("the load driver's pod is accepted", 60, async || {
            created(self.api::<Pod>().create(&PostParams::default(), &pod).await)
        })
        .await
    }

    /// The load driver, as soon as it answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn driver(&self) -> anyhow::Result<Driver> {
        let driver = Driver::new(self.client.clone(), &self.namespace);
        eventually("the load driver answers", 60, async || driver.healthy().await).await?;
        Ok(driver)
    }

    /// The load driver's address, from which its requests come.
    ///
    /// # Errors
    /// It has none yet.
    pub async fn driver_ip(&self) -> anyhow::Result<String> {
        let address = pod_ip(&self.api::<Pod>().get(driver::POD).await?);
        ensure!(!address.is_empty(), "the load driver has no address yet");
        Ok(address)
    }

    /// Objects of the test's own namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects of the operator's namespace.
    pub fn system<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.settings.system)
    }

    /// `kubectl` in the operator's namespace.
    pub fn system_kubectl(&self) -> Kubectl {
        Kubectl::new(&self.settings.kubectl, &self.settings.system)
    }

    /// Runs `helm` in the operator's namespace.
    ///
    /// # Errors
    /// It does not end with 0.
    pub async fn helm(&self, args: &[&str], input: &str) -> anyhow::Result<String> {
        let mut all = vec!["--namespace", self.settings.system.as_str()];
        all.extend_from_slice(args);
        let Outcome { ok, stdout, stderr } = kubectl::run(&self.settings.helm, &all, input).await?;
        ensure!(ok, "helm {}: {stdout}{stderr}", args.join(" "));
        Ok(stdout)
    }

    /// The operators' pods that are Ready.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn operators(&self) -> anyhow::Result<Vec<Pod>> {
        let all = self.system::<Pod>().list(&ListParams::default()).await?;
        let of_operator = |p: &Pod| {
            let name = p.metadata.name.as_deref().unwrap_or_default();
            name.starts_with("tenbin-operator-") && p.metadata.deletion_timestamp.is_none() && is_ready(p)
        };
        Ok(all.items.into_iter().filter(of_operator).collect())
    }

    /// A path of a pod's port, through the API server's proxy.
    ///
    /// # Errors
    /// The pod does not answer with 200.
    pub async fn pod_text(&self, namespace: &str, pod: &str, port: u16, path: &str) -> anyhow::Result<String> {
        let uri = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}");
        let request = http::Request::get(&uri).body(Vec::new())?;
        self.client.request_text(request).await.with_context(|| uri)
    }

    /// Metrics of the proxy in a pod of the test's namespace.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn proxy_metrics(&self, pod: &Pod) -> anyhow::Result<Samples> {
        let name = pod.metadata.name.as_deref().context("a pod has a name")?;
        let port = port_of(pod, "tb-admin").context("the pod has no proxy")?;
        let text = self.pod_text(&self.namespace, name, port, "/metrics").await?;
        Ok(Samples::parse(&text))
    }

    /// The node on which the control plane runs.
    pub fn control_plane(&self) -> Node {
        Node::named(&format!("{}-control-plane", self.settings.cluster))
    }

    /// `/metrics` of both operators together.
    ///
    /// # Errors
    /// One does not answer.
    pub async fn operator_metrics(&self) -> anyhow::Result<Samples> {
        let mut all = Samples::default();
        for pod in self.operators().await? {
            let name = pod.metadata.name.context("a pod has a name")?;
            let text = self.pod_text(&self.settings.system, &name, 15020, "/metrics").await?;
            all = all.and(Samples::parse(&text));
        }
        Ok(all)
    }

    /// Whether there is no object of that kind and name.
    ///
    /// # Errors
    /// There is one, or the API server does not answer.
    pub async fn is_gone<K>(&self, name: &str) -> anyhow::Result<()>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let found = self.api::<K>().get_opt(name).await?;
        ensure!(found.is_none(), "{} {name} is still there", K::kind(&()));
        Ok(())
    }

    async fn remove(&self) {
        let all: Api<Namespace> = Api::all(self.client.clone());
        let outcome = all.delete(&self.namespace, &DeleteParams::default()).await;
        crate::never_mind("namespace", outcome.map(|_| ()).map_err(Into::into));
    }

    /// Tells what the namespace and the operators look like.
    async fn describe(&self) {
        say(format_args!("---- {} as it was when the test failed", self.namespace));
        let questions: [&[&str]; 5] = [
            &[
                "get",
                "bapp,deploy,rs,svc,pdb,endpointslices,controllerrevisions,pods",
                "-o",
                "wide",
            ],
            &["get", "bapp", "-o", "yaml"],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &["logs", "-l", "tenbin.dev/app", "--prefix", "--tail=15", "-c", "app"],
            &[
                "logs",
                "-l",
                "tenbin.dev/app",
                "--prefix",
                "--tail=40",
                "-c",
                "tenbin-proxy",
            ],
        ];
        for question in questions {
            if let Ok(answer) = self.kubectl.attempt(question, "").await {
                say(format_args!(
                    "$ kubectl {}\n{}{}",
                    question.join(" "),
                    answer.stdout,
                    answer.stderr
                ));
            }
        }
        let logs = ["logs", "-l", "app.kubernetes.io/name=tenbin", "--prefix", "--tail=60"];
        for question in [&["get", "pods", "-o", "wide"][..], &logs[..]] {
            if let Ok(answer) = self.system_kubectl().attempt(question, "").await {
                say(format_args!(
                    "$ kubectl {}\n{}{}",
                    question.join(" "),
                    answer.stdout,
                    answer.stderr
                ));
            }
        }
    }
}
