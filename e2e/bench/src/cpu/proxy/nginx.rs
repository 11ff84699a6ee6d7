//! nginx: as the proxy that is measured, and for the app behind all.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::Plan;
use crate::cpu::row::App;
use crate::cpu::site::pinned;
use crate::process::Process;

/// Descriptors and connections besides those of clients: to endpoints, listeners, reserve.
const SPARE: u64 = 4000;

/// What an app is told of the client and the request, by the names and in the way of ingress-nginx.
const TOLD: [(&str, &str); 6] = [
    ("X-Request-ID", "$request_id"),
    ("X-Real-IP", "$remote_addr"),
    ("X-Forwarded-For", "$remote_addr"),
    ("X-Forwarded-Host", "$host"),
    ("X-Forwarded-Port", "$server_port"),
    ("X-Forwarded-Proto", "$scheme"),
];

pub(super) fn start(plan: &Plan<'_>) -> anyhow::Result<Process> {
    let http = http(plan);
    run(plan.dir, "nginx", plan.setup.cores, plan.setup.clients + SPARE, &http)
}

fn http(plan: &Plan<'_>) -> String {
    let servers: String = plan
        .endpoints()
        .iter()
        .map(|endpoint: &SocketAddr| format!("    server {endpoint};\n"))
        .collect();
    let (speaks, tls) = if plan.setup.wire.tls {
        let (certificate, key) = (plan.site.certificate(), plan.site.key());
        let tls = format!(
            "    ssl_certificate {};\n    ssl_certificate_key {};\n    ssl_protocols TLSv1.3;\n\
             \x20   ssl_session_cache shared:tls:10m;\n",
            certificate.display(),
            key.display()
        );
        (" ssl http2", tls)
    } else if plan.grpc() {
        (" http2", String::new())
    } else {
        ("", String::new())
    };
    let tell = if plan.setup.wire.tells {
        let verb = if plan.grpc() { "grpc" } else { "proxy" };
        TOLD.map(|(name, value)| format!("      {verb}_set_header {name} {value};\n"))
            .concat()
    } else {
        String::new()
    };
    let pass = match plan.setup.wire.app {
        App::Web => {
            // Its default buffers are of one page: a third dearer with large answers, and not cheaper with small ones.
            "proxy_pass http://app;\n      proxy_buffer_size 16k;\n      proxy_buffers 8 32k;\n\
             \x20     proxy_busy_buffers_size 64k;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n\
             \x20     proxy_set_header Host $host;"
        }
        App::Grpc => "grpc_pass grpc://app;\n      grpc_set_header Host $host;",
        App::Websocket => {
            "proxy_pass http://app;\n      proxy_http_version 1.1;\n      proxy_set_header Upgrade $http_upgrade;\n\
             \x20     proxy_set_header Connection upgrade;\n      proxy_set_header Host $host;\n      proxy_read_timeout 1h;"
        }
    };
    format!(
        "  upstream app {{\n    least_conn;\n{servers}    keepalive 256;\n    keepalive_requests 1000000000;\n  }}\n\
         \x20 server {{\n    listen {} reuseport{speaks};\n{tls}    location / {{\n      {pass}\n{tell}    }}\n  }}\n\
         \x20 server {{\n    listen {};\n    location / {{ stub_status; }}\n  }}\n",
        plan.address, plan.metrics
    )
}

/// nginx with what `http` says in its block of that name, in a folder of its own.
pub(in crate::cpu) fn run(
    prefix: &Path,
    name: &str,
    cores: &str,
    connections: u64,
    http: &str,
) -> anyhow::Result<Process> {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {kind};\n"))
        .concat();
    let config = format!(
        "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections {connections}; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n{temporary}{http}}}\n"
    );
    fs::write(prefix.join("nginx.conf"), config)?;
    let mut nginx = pinned(cores, "nginx");
    nginx.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(prefix);
    Process::start(name, nginx, prefix.join("nginx.log"))
}
