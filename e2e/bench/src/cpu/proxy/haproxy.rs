//! HAProxy: one thread, connections to endpoints shared by all clients.

use std::fs;

use anyhow::Context;

use super::Plan;
use crate::cpu::site::pinned;
use crate::process::Process;

pub(super) fn start(plan: &Plan<'_>) -> anyhow::Result<Process> {
    let file = plan.dir.join("haproxy.cfg");
    fs::write(&file, config(plan)).context("write haproxy.cfg")?;
    let mut command = pinned(plan.setup.cores, "haproxy");
    command.args(["-db", "-f"]).arg(&file);
    Process::start("haproxy", command, plan.dir.join("haproxy.log"))
}

fn config(plan: &Plan<'_>) -> String {
    let protocol = if plan.grpc() { " proto h2" } else { "" };
    let servers: String = plan
        .endpoints()
        .iter()
        .enumerate()
        .map(|(at, endpoint)| format!("  server app{at} {endpoint}{protocol}\n"))
        .collect();
    let tls = if plan.setup.wire.tls {
        let file = plan.site.both();
        format!(" ssl crt {} alpn h2,http/1.1 ssl-min-ver TLSv1.3", file.display())
    } else {
        String::new()
    };
    let scheme = if plan.setup.wire.tls { "https" } else { "http" };
    let told = [
        ("X-Request-ID", "%[uuid()]"),
        ("X-Real-IP", "%[src]"),
        ("X-Forwarded-For", "%[src]"),
        ("X-Forwarded-Host", "%[req.hdr(host)]"),
        ("X-Forwarded-Port", "%[dst_port]"),
        ("X-Forwarded-Proto", scheme),
    ];
    let tell = if plan.setup.wire.tells {
        told.map(|(name, value)| format!("  http-request set-header {name} {value}\n"))
            .concat()
    } else {
        String::new()
    };
    let Plan { address, metrics, .. } = plan;
    // Not one more client than are to come: the process needs two descriptors for each, and some.
    format!(
        "global\n  nbthread 1\n  maxconn {}\n\
         defaults\n  mode http\n  balance leastconn\n  http-reuse always\n  timeout connect 5s\n  timeout client 60s\n\
         \x20 timeout server 60s\n  timeout http-keep-alive 60s\n  timeout tunnel 1h\n\
         frontend web\n  bind {address}{tls}\n{tell}  default_backend app\n\
         frontend metrics\n  bind {metrics}\n  http-request use-service prometheus-exporter\n\
         backend app\n{servers}",
        plan.setup.clients + 16
    )
}
