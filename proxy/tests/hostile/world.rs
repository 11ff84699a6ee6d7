//! The proxy as a process, before the recorder.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::message::{Ends, Message};
use crate::recorder::{PROBE, Recorder};

/// How long anything that must happen may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const BINARY: &str = env!("CARGO_BIN_EXE_tenbin-proxy");

/// A proxy with one worker, so that what came first was also done first, and its endpoint.
pub(crate) struct World {
    proxy: Child,
    pub(crate) endpoint: Recorder,
    /// A listener that trusts nobody.
    pub(crate) web: SocketAddr,
    /// One that trusts the hops in front of it: all of loopback.
    pub(crate) behind: SocketAddr,
    /// One that speaks TLS, and its certificate, which is for `app.test`.
    pub(crate) secure: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    probes: AtomicUsize,
    _folder: TempDir,
}

/// Waits until `condition` gives something.
pub(crate) async fn eventually<T>(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T, String> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if start.elapsed() > patience {
            return Err(format!("{what} never happened"));
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// A certificate that signs itself, and what a listener is told of it.
fn certificate(folder: &Path) -> (CertificateDer<'static>, String) {
    let signed = rcgen::generate_simple_self_signed(["app.test".to_owned()]).unwrap();
    let (chain, key) = (folder.join("chain"), folder.join("key"));
    std::fs::write(&chain, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let tls = format!(
        "tls: {{certificates: [{{chain: {}, key: {}}}]}}",
        chain.display(),
        key.display()
    );
    (signed.cert.der().clone(), tls)
}

impl World {
    /// A proxy with `listener` as further settings of its listeners, and `route` of its routes.
    pub(crate) async fn start(listener: &str, route: &str) -> Self {
        let endpoint = Recorder::start().await;
        let folder = TempDir::new().unwrap();
        let (file, socket) = (folder.path().join("proxy.yaml"), folder.path().join("admin.sock"));
        let (certificate, tls) = certificate(folder.path());
        let routes = format!("routes: [{{prefix: /admin, cluster: admin{route}}}, {{cluster: app{route}}}]");
        let config = format!(
            "admin: {}\nlisteners:\n  - {{name: web, address: '127.0.0.1:0', {routes}{listener}}}\n  \
             - {{name: behind, address: '127.0.0.1:0', trustedHops: [127.0.0.0/8], {routes}{listener}}}\n  \
             - {{name: secure, address: '127.0.0.1:0', {tls}, {routes}{listener}}}\n\
             clusters:\n  - {{name: app, endpoints: ['{}']}}\n  - {{name: admin, endpoints: ['{}']}}\n",
            socket.display(),
            endpoint.app,
            endpoint.admin
        );
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(file).arg("--workers=1");
        let mut proxy = command.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let start = Instant::now();
        let status = loop {
            assert!(proxy.try_wait().unwrap().is_none(), "the proxy ended at once");
            assert!(start.elapsed() < PATIENCE, "the proxy never started");
            let mut ask = Command::new(BINARY);
            ask.arg("admin").arg("--socket").arg(&socket).arg("status");
            let output = ask.output().await.unwrap();
            if output.status.success() {
                break serde_json::from_slice::<Value>(&output.stdout).unwrap();
            }
            sleep(Duration::from_millis(10)).await;
        };
        let listeners = status["listeners"].as_array().unwrap();
        let address = |name: &str| {
            let found = listeners
                .iter()
                .find(|listener| listener["name"].as_str().unwrap().ends_with(name));
            found.unwrap()["address"].as_str().unwrap().parse().unwrap()
        };
        World {
            web: address("web"),
            behind: address("behind"),
            secure: address("secure"),
            certificate,
            proxy,
            endpoint,
            probes: AtomicUsize::default(),
            _folder: folder,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.proxy.id().unwrap()
    }

    /// Memory that the proxy has resident, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Has another client's request answered; the error is what came instead of its own answer.
    pub(crate) async fn probe(&self) -> Result<(), String> {
        let line = format!("{PROBE}{} HTTP/1.1", self.probes.fetch_add(1, Relaxed));
        let text = format!("{line}\r\nHost: probe\r\nConnection: close\r\n\r\n");
        let got = exchange(self.web, text.as_bytes(), PATIENCE).await;
        match Message::read(&got.bytes, Ends::AtOnce) {
            Ok((response, _)) if got.closed && response.status() == Some(200) && response.body == line.as_bytes() => {
                Ok(())
            }
            _ => Err(format!("another client got {:?}", String::from_utf8_lossy(&got.bytes))),
        }
    }
}

/// What came over a connection.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) bytes: Vec<u8>,
    /// Whether the proxy closed it.
    pub(crate) closed: bool,
}

/// Sends `input` over a connection of its own, and reads until the proxy closes it or `patience` is over.
pub(crate) async fn exchange(address: SocketAddr, input: &[u8], patience: Duration) -> Got {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut read, mut write) = stream.split();
    let mut bytes = Vec::new();
    let closed = timeout(patience, async {
        // Who is refused need not have sent all of it; a reset is an end, too.
        let (_, _) = tokio::join!(write.write_all(input), read.read_to_end(&mut bytes));
    });
    let closed = closed.await.is_ok();
    Got { bytes, closed }
}
