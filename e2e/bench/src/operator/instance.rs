//! The operator under test: its release binary as a process of this machine, with the rights of its own ServiceAccount, so that
//! /proc tells what it takes. What is done to it is not decided here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::Api;
use kube::config::Kubeconfig;
use serde_json::json;
use tempfile::{NamedTempFile, TempDir};
use tenbin_e2e::{Samples, eventually};

use super::objects::token;
use crate::process::{Process, free_address, get};

/// The operator's namespace, and the name of its ServiceAccount and Service, as the chart has them.
pub(super) const SYSTEM: &str = "tenbin-system";
pub(super) const SERVICE: &str = "tenbin-operator";
/// How long it may take to list everything.
const START: Duration = Duration::from_secs(120);
/// Without a request of the operator's own making for so long, it has settled.
const CALM: Duration = Duration::from_secs(3);

/// How to start it.
pub(super) struct Setup {
    binary: PathBuf,
    kubeconfig: NamedTempFile,
    logs: TempDir,
    starts: u32,
    /// Where the stream is.
    pub(super) stream: SocketAddr,
    admin: SocketAddr,
}

/// A running operator.
pub(super) struct Operator {
    pub(super) process: Process,
    admin: SocketAddr,
}

impl Setup {
    /// Prepares it: with the cluster of `KUBECONFIG`, where the chart's ServiceAccount and roles are.
    pub(super) async fn new(client: &Client, binary: PathBuf) -> anyhow::Result<Self> {
        ensure!(
            binary.exists(),
            "{} is not there: build it with --release",
            binary.display()
        );
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), SYSTEM);
        let spec = json!({ "audiences": [], "expirationSeconds": 7200 });
        let token = token(&accounts, SERVICE, spec)
            .await
            .context("is the chart installed?")?;
        let mut config = Kubeconfig::read().context("KUBECONFIG")?;
        for user in &mut config.auth_infos {
            user.auth_info = Some(serde_json::from_value(json!({ "token": token }))?);
        }
        let kubeconfig = NamedTempFile::new()?;
        serde_json::to_writer(&kubeconfig, &config)?;
        Ok(Setup {
            binary,
            kubeconfig,
            logs: TempDir::new()?,
            starts: 0,
            stream: free_address()?,
            admin: free_address()?,
        })
    }

    /// Starts it.
    pub(super) fn start(&mut self) -> anyhow::Result<Operator> {
        self.starts += 1;
        let mut command = Command::new(&self.binary);
        command
            .env("KUBECONFIG", self.kubeconfig.path())
            .args([
                "--pod-name",
                "bench-0",
                "--pod-namespace",
                SYSTEM,
                "--proxy-image",
                "tenbin/proxy:bench",
            ])
            .args([
                "--xds-listen",
                &self.stream.to_string(),
                "--admin-listen",
                &self.admin.to_string(),
            ]);
        let log = self.logs.path().join(format!("operator-{}.log", self.starts));
        Ok(Operator {
            process: Process::start("tenbin-operator", command, log)?,
            admin: self.admin,
        })
    }
}

impl Operator {
    /// Waits until it serves the stream.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        self.process.answers(self.admin, "/readyz", START).await
    }

    /// Its metrics.
    pub(super) async fn metrics(&self) -> anyhow::Result<Samples> {
        Ok(Samples::parse(&get(self.admin, "/metrics").await?))
    }

    /// Waits until it has nothing to do: but for its lease, it asks the API server for nothing.
    pub(super) async fn settled(&self, seconds: u64) -> anyhow::Result<()> {
        let (mut before, mut since) = (-1.0, Instant::now());
        eventually("the operator has nothing to do", seconds, async || {
            let metrics = self.metrics().await?;
            let requests = metrics.named("tenbin_operator_api_requests_total");
            let own = requests.filter(|sample| sample.labels.get("resource").is_none_or(|kind| kind != "leases"));
            let now: f64 = own.map(|sample| sample.value).sum();
            if now > before {
                (before, since) = (now, Instant::now());
            }
            ensure!(since.elapsed() >= CALM, "{now} requests so far");
            Ok(())
        })
        .await
        .with_context(|| self.process.said())
    }

    /// Waits until that many streams hang on it.
    pub(super) async fn streams(&self, wanted: usize) -> anyhow::Result<()> {
        eventually("streams come and go", 60, async || {
            let now = self.metrics().await?.sum("tenbin_operator_xds_streams", &[]);
            ensure!(now == wanted as f64, "{now} streams, not {wanted}");
            Ok(())
        })
        .await
        .with_context(|| self.process.said())
    }
}
