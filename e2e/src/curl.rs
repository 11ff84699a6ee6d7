//! curl in a pod of the test's namespace: the client that everybody knows. What it says is judged by the tests.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::{Lab, Outcome, eventually, is_ready};

/// Name of its pod.
const POD: &str = "curl";

/// curl.
pub struct Curl<'a> {
    lab: &'a Lab,
}

impl<'a> Curl<'a> {
    /// Starts its pod, with the files of a Secret of the namespace at `/etc/curl` where one is named.
    ///
    /// # Errors
    /// The tests were given no image of it, or the pod does not start.
    pub async fn start(lab: &'a Lab, secret: Option<&str>) -> anyhow::Result<Self> {
        let image = lab.settings.curl_image.as_deref();
        let image = image.context("TENBIN_CURL_IMAGE is not set, expected an image: run `cargo xtask test`")?;
        let volumes = secret.map(|name| json!([{ "name": "files", "secret": { "secretName": name } }]));
        let mounts = secret.map(|_| json!([{ "name": "files", "mountPath": "/etc/curl", "readOnly": true }]));
        // It is the demo app's image too, of which something must run.
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": POD },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": POD,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["load"],
                    "volumeMounts": mounts.unwrap_or(Value::Null),
                }],
                "volumes": volumes.unwrap_or(Value::Null),
            },
        }))?;
        lab.api::<Pod>().create(&PostParams::default(), &pod).await?;
        eventually("curl's pod runs", 60, async || {
            let pod = lab.api::<Pod>().get(POD).await?;
            ensure!(is_ready(&pod), "{:?}", pod.status);
            Ok(())
        })
        .await?;
        Ok(Curl { lab })
    }

    /// Runs `curl -sS` with these; gives all that it says.
    ///
    /// # Errors
    /// It does not end with 0: with what it said.
    pub async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let outcome = self.attempt(args).await?;
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        ensure!(outcome.ok, "curl {}: {said}", args.join(" "));
        Ok(said)
    }

    /// Runs it, however it ends.
    ///
    /// # Errors
    /// `kubectl` can't be started.
    pub async fn attempt(&self, args: &[&str]) -> anyhow::Result<Outcome> {
        let mut all = vec!["exec", POD, "--", "/usr/local/bin/curl", "-sS", "--max-time", "20"];
        all.extend_from_slice(args);
        self.lab.kubectl.attempt(&all, "").await
    }
}
