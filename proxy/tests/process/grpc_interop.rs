//! The interoperability tests of gRPC: grpc-go's client through the proxy to grpc-go's server, both released programs. `cargo xtask test`
//! builds them; without that they are those on PATH, and where there are none the tests say so and pass.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tenbin_model::{ListenerTls, Resource, TlsVersion, UpstreamProtocol};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::harness::PATIENCE;
use crate::inside::{Inside, name, plain};
use crate::tls::certificate;

/// The cases that need no account with anybody.
const CASES: [&str; 17] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
    "channel_soak",
    "orca_per_rpc",
];
/// Which reads the load report in the trailers, as `orca_per_rpc` checks it.
const REPORTS: &str = r#"{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}"#;
/// What a soak calls too late would be a measurement.
const PATIENT: [&str; 2] = [
    "--soak_per_iteration_max_acceptable_latency_ms=20000",
    "--soak_overall_timeout_seconds=50",
];
/// How long one case may take; all wait for less.
const LIMIT: Duration = Duration::from_secs(60);

/// One of the two programs.
fn program(called: &str) -> PathBuf {
    let folder = std::env::var_os("TENBIN_GRPC_INTEROP").map(PathBuf::from);
    folder.unwrap_or_default().join(called)
}

/// A server of its own, and where it listens; `None` where there is none.
async fn server() -> Option<(Child, SocketAddr)> {
    let mut command = Command::new(program("grpc-interop-server"));
    command.arg("--port=0").kill_on_drop(true);
    command.env("GRPC_GO_LOG_SEVERITY_LEVEL", "info").stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if std::env::var_os("TENBIN_GRPC_INTEROP").is_none() => {
            eprintln!("there is no grpc-interop-server here: {error}");
            return None;
        }
        Err(error) => panic!("TENBIN_GRPC_INTEROP: {error}"),
    };
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it listens");
            if let Some((_, address)) = line.split_once("interop server listening on [::]:") {
                return address.trim().parse().unwrap();
            }
        }
    };
    let port: u16 = timeout(PATIENCE, listening).await.expect("it says where it listens");
    // What it says later is read too, else it would wait.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Some((child, SocketAddr::from(([127, 0, 0, 1], port))))
}

/// Runs all cases, each with a client of its own.
async fn run(address: SocketAddr, more: &[String]) {
    let mut failed = Vec::new();
    for case in CASES {
        let mut command = Command::new(program("grpc-interop-client"));
        command.arg("--server_host=127.0.0.1");
        command.arg(format!("--server_port={}", address.port()));
        command.arg(format!("--test_case={case}")).args(more).kill_on_drop(true);
        if case.starts_with("orca") {
            command.arg(format!("--service_config_json={REPORTS}"));
        }
        if case.ends_with("_soak") {
            command.args(PATIENT);
        }
        match timeout(LIMIT, command.output()).await {
            Ok(output) => {
                let output = output.expect("it runs");
                if !output.status.success() {
                    failed.push(format!("{case}: {}", String::from_utf8_lossy(&output.stderr)));
                }
            }
            Err(_) => failed.push(format!("{case}: it never ends")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// What the proxy is told, with HTTP/2 to the server.
fn set(server: SocketAddr, tls: Option<ListenerTls>) -> Vec<Resource> {
    let mut set = plain(&[server], |listener| listener.tls = tls);
    for resource in &mut set {
        if let Resource::Cluster(cluster) = resource {
            cluster.protocol = UpstreamProtocol::Http2;
        }
    }
    set
}

#[tokio::test]
async fn grpc_in_cleartext() {
    let Some((_server, address)) = server().await else {
        return;
    };
    let proxy = Inside::start(set(address, None));
    run(proxy.address, &[]).await;
}

#[tokio::test]
async fn grpc_over_tls() {
    let Some((_server, address)) = server().await else {
        return;
    };
    let certificate = certificate("c", &["app.test"]);
    let folder = TempDir::new().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, &certificate.chain).unwrap();
    let tls = ListenerTls {
        certificates: vec![name("c")],
        minimum: TlsVersion::Tls12,
    };
    let mut all = vec![Resource::Certificate(certificate)];
    all.extend(set(address, Some(tls)));
    let proxy = Inside::start(all);
    let more = [
        "--use_tls".to_owned(),
        "--use_test_ca".to_owned(),
        format!("--ca_file={}", roots.display()),
        "--server_host_override=app.test".to_owned(),
    ];
    run(proxy.address, &more).await;
}
