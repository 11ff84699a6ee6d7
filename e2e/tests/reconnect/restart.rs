//! The proxy as a process against the operator's stream: it is killed, and starts again while there is no operator.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;
use tenbin_model::{Balancing, Cluster, Endpoint, EndpointId, EndpointSet, EndpointState, Policy, Resource};
use tenbin_proxy::config::{AdminCommand, Cli, Command};
use tenbin_proxy::plan::Plan;
use tenbin_proxy::xds::saved::{Kept, Owner};
use tenbin_proxy::xds::session::Session;
use tenbin_proxy::{admin, run, telemetry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;

use super::{ANY, LATE, Replica, certificate, files, name};

/// Far longer ago than anything here takes, in seconds.
const AGES: u64 = 3600;

/// Not a test: the proxy of the tests below. They start this program once more, for this alone, as a sidecar is started: all it
/// is to know stands in its environment.
#[test]
#[ignore = "the proxy of the other tests, of no use alone"]
fn proxy() {
    let Some(Command::Sidecar(sidecar)) = Cli::try_parse_from(["tenbin-proxy", "sidecar"]).unwrap().command else {
        panic!("not a sidecar");
    };
    let log_level = telemetry::start(&sidecar.common.log, sidecar.common.log_format).unwrap();
    run::run(Plan::sidecar(&sidecar).unwrap(), log_level).unwrap();
}

struct Proxy {
    child: Child,
    listener: SocketAddr,
    status: SocketAddr,
    socket: PathBuf,
}

impl Proxy {
    async fn start(state: &Path, operator: SocketAddr, files: &Path, app: SocketAddr) -> Self {
        let child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "restart::proxy", "--ignored", "--nocapture"])
            .env("TENBIN_NAMESPACE", "shop")
            .env("TENBIN_APP", "hello")
            .env("TENBIN_POD_NAME", "hello-1")
            .env("TENBIN_POD_UID", "uid-1")
            .env("TENBIN_PORTS", format!("http=0:{}", app.port()))
            .env("TENBIN_STATUS_PORT", "0")
            .env("TENBIN_XDS_ADDRESS", format!("localhost:{}", operator.port()))
            .env("TENBIN_XDS_CA", files.join("ca.crt"))
            .env("TENBIN_XDS_TOKEN", files.join("token"))
            .env("TENBIN_STATE_DIR", state)
            .env("TENBIN_LOG", "error")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let socket = state.join("admin.sock");
        let status = eventually("the proxy starts", async || ask(&socket).await).await;
        let port = |value: &Value| value.as_str().unwrap().parse::<SocketAddr>().unwrap().port();
        let local = |value| SocketAddr::from((Ipv4Addr::LOCALHOST, port(value)));
        Proxy {
            child,
            listener: local(&status["listeners"][0]["address"]),
            status: local(&status["statusAddress"]),
            socket,
        }
    }

    /// Who answers.
    async fn answers(&self) -> BTreeSet<String> {
        let mut answers = BTreeSet::new();
        for _ in 0..12 {
            let (status, body) = get(self.listener, "/").await;
            assert_eq!(status, 200);
            answers.insert(body);
        }
        answers
    }

    async fn metric(&self, name: &str) -> f64 {
        let (_, text) = get(self.status, "/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    async fn await_metric(&self, name: &str, value: f64) {
        eventually(&format!("{name} is {value}"), async || {
            (self.metric(name).await == value).then_some(())
        })
        .await;
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

async fn ask(socket: &Path) -> Option<Value> {
    let socket = socket.to_owned();
    let asked = tokio::task::spawn_blocking(move || admin::ask(&socket, &AdminCommand::Status, true));
    let answer = asked.await.unwrap().ok()?;
    Some(serde_json::from_str(&answer).unwrap())
}

async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(LATE, waiting).await;
    waited.unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// Status and body.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// An app that answers with its name.
async fn app(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                        return;
                    }
                }
                let length = name.len();
                let response =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{name}");
                let _ = stream.write_all(response.as_bytes()).await;
            });
        }
    });
    address
}

/// The resources of an app with these replicas: `hello-1` is the proxy's own.
fn content(apps: &[SocketAddr]) -> Vec<Resource> {
    let endpoint = |(number, address): (usize, &SocketAddr)| Endpoint {
        id: EndpointId::parse("id", &format!("uid-{number}")).unwrap(),
        address: *address,
        state: EndpointState::Ready,
        instance: format!("hello-{number}"),
        weight: 1,
        zone: String::new(),
    };
    let mut resources = super::content(1);
    resources.retain(|resource| !matches!(resource, Resource::Cluster(_) | Resource::Endpoints(_)));
    resources.push(Resource::Cluster(Cluster {
        balancing: Balancing {
            policy: Policy::RoundRobin,
            ..Balancing::default()
        },
        ..Cluster::new(name())
    }));
    resources.push(Resource::Endpoints(EndpointSet {
        cluster: name(),
        endpoints: (1..).zip(apps).map(endpoint).collect(),
    }));
    resources
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A folder for the state, the apps, and a proxy that has saved all of them and is killed, as is its operator.
async fn killed(cert: &Arc<super::Fixed>, files: &Path) -> (TempDir, [SocketAddr; 3], SocketAddr) {
    let state = tempfile::tempdir().unwrap();
    let apps = [app("one").await, app("two").await, app("three").await];
    let replica = Replica::start(ANY, Arc::clone(cert), "token").await;
    replica.publish(content(&apps));
    let proxy = Proxy::start(state.path(), replica.address, files, apps[0]).await;
    replica.synced().await;
    proxy.await_metric("tenbin_snapshot_saves_total", 1.0).await;
    assert_eq!(proxy.metric("tenbin_snapshot_restored").await, 0.0);
    assert_eq!(proxy.answers().await, names(&["one", "two", "three"]));
    assert_eq!(replica.sent(), 4);
    let metadata = std::fs::metadata(state.path().join("snapshot")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let address = replica.address;
    replica.stop().await;
    proxy.kill().await;
    (state, apps, address)
}

/// Has the saved snapshot say that it was received long ago.
fn age(state: &Path) {
    let file = state.join("snapshot");
    let owner = Owner {
        pod: EndpointId::parse("pod", "uid-1").unwrap(),
        listeners: vec![name()],
    };
    let kept = Kept::decode(&owner, &std::fs::read(&file).unwrap()).unwrap();
    let (session, _) = Session::restored(String::new(), vec![name()], &kept);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    std::fs::write(file, session.kept(now - AGES).encode(&owner).unwrap()).unwrap();
}

#[tokio::test]
async fn a_proxy_that_starts_without_an_operator_serves_all_it_knew() {
    let (cert, ca) = certificate();
    let files = files(&ca, "token");
    let (state, apps, operator) = killed(&cert, files.path()).await;
    age(state.path());

    let proxy = Proxy::start(state.path(), operator, files.path(), apps[0]).await;
    assert_eq!(get(proxy.status, "/readyz").await.0, 200);
    assert_eq!(proxy.answers().await, names(&["one", "two", "three"]));
    assert_eq!(proxy.metric("tenbin_snapshot_restored").await, 1.0);
    assert_eq!(proxy.metric("tenbin_snapshot_refused_total").await, 0.0);
    assert!(proxy.metric("tenbin_snapshot_age_seconds").await >= AGES as f64);
    let status = ask(&proxy.socket).await.unwrap();
    assert_eq!(status["snapshotRestored"], true);
    assert!(status["snapshotAgeSeconds"].as_f64().unwrap() >= AGES as f64);

    let replica = Replica::start(operator, cert, "token").await;
    replica.publish(content(&apps));
    replica.synced().await;
    assert_eq!(replica.sent(), 0, "it has all of it");
    assert_eq!(proxy.metric("tenbin_snapshot_restored").await, 0.0);
    assert!(
        proxy.metric("tenbin_snapshot_age_seconds").await >= AGES as f64,
        "still"
    );

    replica.publish(content(&apps[..2]));
    eventually("the change is in use", async || {
        (proxy.answers().await == names(&["one", "two"])).then_some(())
    })
    .await;
    replica.synced().await;
    assert_eq!(replica.sent(), 1, "what changed");
    assert!(proxy.metric("tenbin_snapshot_age_seconds").await < AGES as f64);
    proxy.await_metric("tenbin_snapshot_saves_total", 1.0).await;
    replica.stop().await;
    proxy.kill().await;

    let proxy = Proxy::start(state.path(), operator, files.path(), apps[0]).await;
    assert_eq!(proxy.answers().await, names(&["one", "two"]));
}

#[tokio::test]
async fn a_proxy_whose_snapshot_is_damaged_serves_its_own_app_and_is_told_all_again() {
    let (cert, ca) = certificate();
    let files = files(&ca, "token");
    let (state, apps, operator) = killed(&cert, files.path()).await;
    let file = state.path().join("snapshot");
    let saved = std::fs::read(&file).unwrap();
    std::fs::write(&file, &saved[..saved.len() / 2]).unwrap();

    let proxy = Proxy::start(state.path(), operator, files.path(), apps[0]).await;
    assert_eq!(get(proxy.status, "/readyz").await.0, 200);
    assert_eq!(proxy.answers().await, names(&["one"]));
    assert_eq!(proxy.metric("tenbin_snapshot_restored").await, 0.0);
    assert_eq!(proxy.metric("tenbin_snapshot_refused_total").await, 1.0);

    let replica = Replica::start(operator, cert, "token").await;
    replica.publish(content(&apps));
    replica.synced().await;
    assert_eq!(replica.sent(), 4);
    assert_eq!(proxy.answers().await, names(&["one", "two", "three"]));
    proxy.await_metric("tenbin_snapshot_saves_total", 1.0).await;
    assert_ne!(std::fs::read(&file).unwrap().len(), saved.len() / 2);
}
