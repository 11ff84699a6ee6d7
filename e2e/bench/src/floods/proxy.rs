//! The proxy of a turn, as its users would have it but for the access log: a listener in cleartext and one with TLS, both with two apps
//! behind them; and the one file that the apps have for this alone.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use serde_json::json;
use tempfile::TempDir;

use super::{LONG, LONG_BODY, NEVER, SINK};
use crate::cpu::{App, PROXY_CORE, START, Site, pinned};
use crate::process::{Process, free_address};

/// A proxy that runs.
pub(super) struct Proxy {
    pub(super) process: Process,
    pub(super) web: SocketAddr,
    pub(super) secure: SocketAddr,
    // Last: the proxy ends before its folder goes.
    _dir: TempDir,
}

/// Puts the file of [`LONG`] where the web app finds it.
pub(super) fn long_answer(site: &Site) -> anyhow::Result<()> {
    let file = site.dir().join("web").join(LONG.trim_start_matches('/'));
    fs::write(file, "x".repeat(LONG_BODY)).context("write the long answer")
}

impl Proxy {
    /// Starts a new process, and waits until it listens.
    pub(super) fn start(site: &Site, binary: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir_in(site.dir())?;
        let [web, secure, status] = [free_address()?, free_address()?, free_address()?];
        let path = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
        let demo = [path(NEVER), path(SINK), "/ws".to_owned()];
        let demo = demo.map(|prefix| json!({ "prefix": prefix, "cluster": "demo" }));
        let routes: Vec<_> = demo.into_iter().chain([json!({ "cluster": "web" })]).collect();
        let certificate = json!({ "chain": site.certificate(), "key": site.key() });
        let config = json!({
            "status": status,
            "listeners": [
                { "name": "web", "address": web, "routes": routes },
                { "name": "secure", "address": secure, "routes": routes, "tls": { "certificates": [certificate] } },
            ],
            "clusters": [
                { "name": "web", "endpoints": site.endpoints(App::Web) },
                { "name": "demo", "endpoints": site.endpoints(App::Websocket) },
            ],
        });
        // JSON is YAML.
        let file = dir.path().join("tenbin.yaml");
        fs::write(&file, config.to_string()).context("write tenbin.yaml")?;
        let mut command = pinned(PROXY_CORE, binary);
        command
            .args(["--workers", "1", "--access-log", "off", "--config"])
            .arg(&file);
        let mut process = Process::start("tenbin-proxy", command, dir.path().join("tenbin.log"))?;
        for address in [web, secure] {
            process.listens(address, START)?;
        }
        Ok(Proxy {
            process,
            web,
            secure,
            _dir: dir,
        })
    }

    /// Where clients of a row go.
    pub(super) fn address(&self, row: &super::Row) -> SocketAddr {
        let tls = row.tls || row.kind == super::Kind::Slow(super::Slow::Hellos);
        if tls { self.secure } else { self.web }
    }
}
