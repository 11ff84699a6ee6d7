//! Starts the proxy with a configuration, finds out where it listens, asks it things, and ends it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tenbin_model::EndpointState;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::client::Client;
use crate::operator::Operator;

/// How long anything that must happen may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const BINARY: &str = env!("CARGO_BIN_EXE_tenbin-proxy");

/// Waits until `condition` gives something.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A running proxy. It is killed when the test is done with it.
pub(crate) struct Proxy {
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
    socket: PathBuf,
    /// Where its listeners are.
    pub(crate) listeners: Vec<SocketAddr>,
    /// Where its status port is.
    pub(crate) status: Option<SocketAddr>,
}

/// A configuration with one listener, one route and one cluster; more can be said in `cluster` and `listener`.
pub(crate) fn simple(endpoints: &[SocketAddr], cluster: &str, listener: &str, route: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|endpoint| format!("'{endpoint}'")).collect();
    let endpoints = endpoints.join(", ");
    format!(
        "status: 127.0.0.1:0\nlisteners:\n  - {{name: web, address: '127.0.0.1:0', routes: [{{cluster: app{route}}}]{listener}}}\n\
         clusters:\n  - {{name: app, endpoints: [{endpoints}]{cluster}}}\n"
    )
}

impl Proxy {
    /// A proxy for `endpoints`, with defaults.
    pub(crate) async fn before(endpoints: &[SocketAddr]) -> Self {
        Self::standalone(&simple(endpoints, "", "", ""), &[]).await
    }

    /// A proxy with a file, an admin socket of its own, and `args`.
    pub(crate) async fn standalone(config: &str, args: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("proxy.yaml");
        let socket = folder.path().join("admin.sock");
        std::fs::write(&file, format!("{config}\nadmin: {}\n", socket.display())).unwrap();
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(file).args(args);
        Self::start(command, folder, socket).await
    }

    /// A sidecar of the app at the port `app`, without an operator.
    pub(crate) async fn sidecar(app: u16, args: &[&str]) -> Self {
        Self::sidecar_on(&format!("http=0:{app}"), args).await
    }

    /// A sidecar of an app with these ports.
    pub(crate) async fn sidecar_on(ports: &str, args: &[&str]) -> Self {
        Self::sidecar_in(TempDir::new().unwrap(), "hello", ports, args).await
    }

    /// The same with a state folder that may have been another's.
    pub(crate) async fn sidecar_in(folder: TempDir, name: &str, ports: &str, args: &[&str]) -> Self {
        let socket = folder.path().join("admin.sock");
        let mut command = Command::new(BINARY);
        command
            .arg("sidecar")
            .arg(format!("--ports={ports}"))
            .arg("--state-dir")
            .arg(folder.path());
        command.args([
            "--namespace=ns",
            &format!("--app={name}"),
            "--pod-name=hello-1",
            "--pod-uid=uid-1",
            "--status-port=0",
        ]);
        command.args(args);
        Self::start(command, folder, socket).await
    }

    /// A sidecar that follows `operator`; of its own, nobody answers for the app.
    pub(crate) async fn following(operator: &Operator, args: &[&str]) -> Self {
        let mut all = operator.args();
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        // A port that no test is ever given.
        Self::sidecar_in(TempDir::new().unwrap(), operator.app, "http=0:1", &all).await
    }

    /// Waits until it knows exactly these endpoints of its first cluster.
    pub(crate) async fn await_endpoints(&self, endpoints: &[(&str, SocketAddr, EndpointState)]) {
        let mut expected: Vec<(String, String, String)> = endpoints
            .iter()
            .map(|(id, address, state)| ((*id).to_owned(), address.to_string(), format!("{state:?}")))
            .collect();
        expected.sort();
        eventually(&format!("{expected:?} are known"), async || {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let known = self.endpoints().await;
            let known: Vec<_> = known
                .iter()
                .map(|e| (text(&e["id"]), text(&e["address"]), text(&e["state"])))
                .collect();
            (known == expected).then_some(())
        })
        .await;
    }

    /// Starts `command` and waits until its admin socket answers.
    pub(crate) async fn start(mut command: Command, folder: TempDir, socket: PathBuf) -> Self {
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut proxy = Proxy {
            child: command.spawn().unwrap(),
            folder,
            socket,
            listeners: Vec::new(),
            status: None,
        };
        let status = eventually("the proxy starts", async || {
            assert!(proxy.child.try_wait().unwrap().is_none(), "the proxy ended at once");
            proxy.try_admin(&["status"]).await.ok()
        });
        let status: Value = serde_json::from_str(&status.await).unwrap();
        let address = |value: &Value| value.as_str().unwrap().parse::<SocketAddr>().unwrap();
        proxy.listeners = status["listeners"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| address(&l["address"]))
            .collect();
        proxy.status = status["statusAddress"].as_str().map(|text| text.parse().unwrap());
        proxy
    }

    /// Its first listener, by way of loopback.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_of(0)
    }

    /// Its listener for the port of that number, by way of loopback.
    pub(crate) fn address_of(&self, port: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.listeners[port].port()))
    }

    /// A connection to its first listener.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address()).await
    }

    /// Asks it by its own client; the error is what that says.
    pub(crate) async fn try_admin(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(BINARY);
        command.arg("admin").arg("--socket").arg(&self.socket).args(args);
        let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    }

    /// What it answers, as JSON.
    pub(crate) async fn admin(&self, question: &str) -> Value {
        serde_json::from_str(&self.try_admin(&[question, "--json"]).await.unwrap()).unwrap()
    }

    /// The endpoints of its first cluster with their live state.
    pub(crate) async fn endpoints(&self) -> Vec<Value> {
        self.admin("clusters").await["clusters"][0]["endpoints"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// The live state of one endpoint.
    pub(crate) async fn endpoint(&self, address: SocketAddr) -> Value {
        let endpoints = self.endpoints().await;
        endpoints
            .into_iter()
            .find(|e| e["address"] == address.to_string())
            .unwrap()
    }

    /// What its status port answers at `path`.
    pub(crate) async fn ask_status(&self, path: &str) -> (u16, String) {
        let status = SocketAddr::from(([127, 0, 0, 1], self.status.unwrap().port()));
        let response = Client::connect(status).await.get(path).await;
        (response.status, response.text())
    }

    /// The value of one series of its metrics, as `tenbin_connections{listener="web"}`.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.ask_status("/metrics").await;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
            .parse()
            .unwrap()
    }

    /// Waits until one series of its metrics has this value.
    pub(crate) async fn await_metric(&self, series: &str, value: f64) {
        eventually(&format!("{series} is {value}"), async || {
            (self.metric(series).await == value).then_some(())
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap());
        kill(pid, signal).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .expect("the proxy ends")
            .unwrap()
    }

    /// The most memory it ever had resident, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }
}
