//! Our proxy from a file, with its defaults.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::Plan;
use crate::cpu::site::pinned;
use crate::process::Process;

pub(super) fn start(plan: &Plan<'_>, binary: &Path) -> anyhow::Result<Process> {
    let mut listener = json!({ "name": "web", "address": plan.address, "routes": [{ "cluster": "app" }] });
    if plan.setup.wire.tls {
        let certificate = json!({ "chain": plan.site.certificate(), "key": plan.site.key() });
        listener["tls"] = json!({ "certificates": [certificate], "minVersion": "1.3" });
    }
    let mut cluster = json!({ "name": "app", "endpoints": plan.endpoints() });
    if plan.grpc() {
        cluster["protocol"] = json!("http2");
    }
    let config = json!({ "status": plan.metrics, "listeners": [listener], "clusters": [cluster] });
    // JSON is YAML.
    let file = plan.dir.join("tenbin.yaml");
    fs::write(&file, config.to_string()).context("write tenbin.yaml")?;
    let workers = plan.setup.workers.to_string();
    let mut command = pinned(plan.setup.cores, binary);
    command
        .args(["--workers", &workers, "--access-log", "off", "--config"])
        .arg(&file);
    Process::start("tenbin-proxy", command, plan.dir.join("tenbin.log"))
}
