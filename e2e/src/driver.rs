//! The load driver's pod as seen from a test: its JSON API, reached through the API server's proxy.

use std::fmt::Write;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenbin_load::{
    Answer, Called, Calls, Connected, Connections, Echo, Echoed, Heard, Listen, Load, Moved, PORT, Raw, Received,
    Report, Request, Scan, Scanned, Started, Volume,
};

use crate::eventually;

/// Name of the driver's pod in each namespace.
pub(crate) const POD: &str = "load";

/// A load driver.
#[derive(Clone)]
pub struct Driver {
    client: kube::Client,
    base: String,
}

/// A load that was started.
pub struct RunningLoad {
    driver: Driver,
    id: u64,
}

impl Driver {
    /// The driver of `namespace`.
    pub(crate) fn new(client: kube::Client, namespace: &str) -> Self {
        Driver {
            client,
            base: format!("/api/v1/namespaces/{namespace}/pods/{POD}:{PORT}/proxy"),
        }
    }

    /// Starts a load as soon as its host can be reached.
    ///
    /// # Errors
    /// The driver can't be reached, or refuses it, or the host can't be reached.
    pub async fn start(&self, load: &Load) -> anyhow::Result<RunningLoad> {
        self.reached(&load.request.url).await?;
        let started: Started = self.call("POST", "/loads", load).await?;
        Ok(RunningLoad {
            driver: self.clone(),
            id: started.id,
        })
    }

    /// Runs a load with a count to its end.
    ///
    /// # Errors
    /// The driver can't be reached, or the load does not end within two minutes.
    pub async fn run(&self, load: &Load) -> anyhow::Result<Report> {
        ensure!(load.count.is_some(), "a load without a count does not end");
        self.start(load).await?.ended().await
    }

    /// Waits until the host of `url` answers. Kubernetes brings a Service to the nodes a moment after its pods are Ready; what is refused
    /// until then is not lost.
    ///
    /// # Errors
    /// It does not within 15 seconds.
    pub async fn reached(&self, url: &str) -> anyhow::Result<()> {
        let host: Vec<&str> = url.splitn(4, '/').take(3).collect();
        let root = Request::get(format!("{}/", host.join("/")));
        let what = format!("{} answers", host.join("/"));
        eventually(&what, 15, async || {
            let answer = self.send(&root).await?;
            ensure!(answer.status.is_some(), "{answer:?}");
            Ok(())
        })
        .await
    }

    /// Sends one request over a connection of its own.
    ///
    /// # Errors
    /// The driver can't be reached; what becomes of the request is in the answer.
    pub async fn send(&self, request: &Request) -> anyhow::Result<Answer> {
        self.call("POST", "/requests", request).await
    }

    /// Sends one GET and expects 200.
    ///
    /// # Errors
    /// Anything else came of it.
    pub async fn get(&self, url: &str) -> anyhow::Result<Answer> {
        let answer = self.send(&Request::get(url)).await?;
        ensure!(
            answer.status == Some(200) && answer.error.is_none(),
            "{url}: {answer:?}"
        );
        Ok(answer)
    }

    /// Who answers a GET.
    ///
    /// # Errors
    /// No answer, or none that names its instance.
    pub async fn who(&self, url: &str) -> anyhow::Result<String> {
        let answer = self.get(url).await?;
        let name = answer.headers.get("x-tenbin-instance");
        let name = name.context("the answer names no instance")?;
        Ok(name.clone())
    }

    /// Tries a WebSocket as soon as its host can be reached.
    ///
    /// # Errors
    /// The driver or the host can't be reached.
    pub async fn websocket(&self, plan: &Echo) -> anyhow::Result<Echoed> {
        self.reached(&plan.url).await?;
        self.call("POST", "/websocket", plan).await
    }

    /// Sends a volume over a WebSocket and takes it back, as soon as its host can be reached.
    ///
    /// # Errors
    /// The driver or the host can't be reached.
    pub async fn volume(&self, plan: &Volume) -> anyhow::Result<Moved> {
        self.reached(&plan.url).await?;
        self.call("POST", "/volume", plan).await
    }

    /// Reads server-sent events for a while, as soon as their host can be reached.
    ///
    /// # Errors
    /// The driver or the host can't be reached.
    pub async fn listen(&self, plan: &Listen) -> anyhow::Result<Heard> {
        self.reached(&plan.url).await?;
        self.call("POST", "/events", plan).await
    }

    /// Makes gRPC calls over one connection.
    ///
    /// # Errors
    /// The driver can't be reached, or the host can't.
    pub async fn grpc(&self, plan: &Calls) -> anyhow::Result<Called> {
        self.call("POST", "/grpc", plan).await
    }

    /// Tries connections to a TCP port that sends back what it gets.
    ///
    /// # Errors
    /// The driver can't be reached.
    pub async fn tcp(&self, plan: &Connections) -> anyhow::Result<Connected> {
        self.call("POST", "/tcp", plan).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The driver can't be reached.
    pub async fn raw(&self, plan: &Raw) -> anyhow::Result<Received> {
        self.call("POST", "/raw", plan).await
    }

    /// Looks for open ports.
    ///
    /// # Errors
    /// The driver can't be reached, or the address is none.
    pub async fn scan(&self, address: &str) -> anyhow::Result<Scanned> {
        let address = address.parse().with_context(|| format!("{address:?} is no address"))?;
        self.call("POST", "/scan", &Scan { address }).await
    }

    /// Whether it answers.
    pub(crate) async fn healthy(&self) -> anyhow::Result<()> {
        let _: serde_json::Value = self.call("GET", "/healthz", &()).await?;
        Ok(())
    }

    async fn call<T: DeserializeOwned>(&self, method: &str, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let body = if method == "GET" {
            Vec::new()
        } else {
            serde_json::to_vec(body)?
        };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .body(body)?;
        let answer = self.client.request(request).await;
        answer.with_context(|| format!("load driver: {method} {path}"))
    }
}

impl RunningLoad {
    /// What was seen so far.
    ///
    /// # Errors
    /// The driver can't be reached.
    pub async fn report(&self) -> anyhow::Result<Report> {
        self.driver.call("GET", &format!("/loads/{}", self.id), &()).await
    }

    /// Waits until the clients have succeeded `more` times from now on.
    ///
    /// # Errors
    /// They have not within 30 seconds.
    pub async fn answered(&self, more: u64) -> anyhow::Result<()> {
        let before = self.report().await?.ok;
        eventually("load goes on", 30, async || {
            let ok = self.report().await?.ok;
            ensure!(ok >= before + more, "{ok} answers, {before} before");
            Ok(())
        })
        .await
    }

    /// Stops the clients, waits for what is under way.
    ///
    /// # Errors
    /// The driver can't be reached, or the clients do not end.
    pub async fn stop(&self) -> anyhow::Result<Report> {
        let path = format!("/loads/{}/stop", self.id);
        let _: serde_json::Value = self.driver.call("POST", &path, &()).await?;
        self.ended().await
    }

    /// Waits until the last client is done.
    ///
    /// # Errors
    /// The driver can't be reached, or the clients do not end within two minutes.
    pub async fn ended(&self) -> anyhow::Result<Report> {
        eventually("the load ends", 120, async || {
            let report = self.report().await?;
            ensure!(report.clients == 0, "{} clients still at it", report.clients);
            Ok(report)
        })
        .await
    }
}

/// A report's numbers and first failures, with times from the beginning of the load.
pub fn explain(report: &Report) -> String {
    let mut text = format!(
        "{} ok, {} failed, {} connections, longest gap {} ms",
        report.ok, report.failed, report.connections, report.longest_gap_ms
    );
    for (name, instance) in &report.instances {
        let _ = write!(text, "; {name} {}", instance.ok);
    }
    for failure in report.failures.iter().take(8) {
        let _ = write!(
            text,
            "\n  began +{} ms, ended +{} ms: {:?} {:?}{} {}",
            failure.began_ms.saturating_sub(report.began_ms),
            failure.ended_ms.saturating_sub(report.began_ms),
            failure.cause,
            failure.status,
            if failure.reused { " on a kept connection" } else { "" },
            failure.reason
        );
    }
    text
}
