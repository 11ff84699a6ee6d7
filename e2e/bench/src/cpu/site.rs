//! What all proxies and loads share: the app that is balanced over, nginx's or the demo's, and the files of TLS. One for a whole run,
//! on the load's core; none of it is measured.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use prost::Message;
use tempfile::TempDir;
use tenbin_load::demo::{Ask, Said};

use super::proxy::nginx;
use super::row::App;
use crate::process::{Process, free_address};

/// Length of a small answer's body, in bytes.
pub(crate) const SMALL: usize = 1024;
/// The path of a large answer, and the length of its body, in bytes.
pub(crate) const LARGE_PATH: &str = "/large";
pub(crate) const LARGE: usize = 100 * 1024;
/// The name that the certificate is for.
pub(crate) const HOST: &str = "localhost";
/// The one cipher that all clients offer; all proxies have it.
pub(crate) const CIPHER: &str = "TLS_AES_128_GCM_SHA256";
/// Endpoints of an app: ports of one process.
const ENDPOINTS: usize = 4;
/// The demo app's name for itself.
const INSTANCE: &str = "demo";
/// What gRPC calls say, in bytes.
const TEXT: usize = 100;
/// How long a program may take to start.
pub(crate) const START: Duration = Duration::from_secs(10);

/// The apps and the files.
#[derive(Debug)]
pub(crate) struct Site {
    web: Vec<SocketAddr>,
    demo: Vec<SocketAddr>,
    _apps: [Process; 2],
    // Last: the apps end before their folder goes.
    dir: TempDir,
}

impl Site {
    /// Starts the apps on `cores` and writes the files.
    pub(crate) fn start(cores: &str, demo: &Path) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        // nginx's workers are somebody else, and read and write here too.
        let dir = builder.permissions(Permissions::from_mode(0o755)).tempdir()?;
        certificate(dir.path())?;
        fs::write(dir.path().join("openssl.cnf"), openssl())?;
        fs::write(dir.path().join("call"), framed(&ask()))?;
        let (web, web_process) = web(dir.path(), cores)?;
        let (demo, demo_process) = demo_app(dir.path(), cores, demo)?;
        Ok(Site {
            web,
            demo,
            _apps: [web_process, demo_process],
            dir,
        })
    }

    /// The app's endpoints.
    pub(crate) fn endpoints(&self, app: App) -> &[SocketAddr] {
        match app {
            App::Web => &self.web,
            App::Grpc | App::Websocket => &self.demo,
        }
    }

    /// Where proxies and loads may write.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate, which signs itself; PEM.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir().join("certificate.pem")
    }

    /// Its private key; PEM.
    pub(crate) fn key(&self) -> PathBuf {
        self.dir().join("key.pem")
    }

    /// Both in one file, as HAProxy wants them.
    pub(crate) fn both(&self) -> PathBuf {
        self.dir().join("both.pem")
    }

    /// What a program that uses OpenSSL is told by `OPENSSL_CONF`, so that it offers our one cipher.
    pub(crate) fn openssl(&self) -> PathBuf {
        self.dir().join("openssl.cnf")
    }

    /// The body of a gRPC call.
    pub(crate) fn call(&self) -> PathBuf {
        self.dir().join("call")
    }
}

/// Length of the body of a call's answer, in bytes.
pub(crate) fn answer_length() -> usize {
    let said = Said {
        instance: INSTANCE.to_owned(),
        text: ask().text,
        number: 0,
    };
    framed(&said).len()
}

fn ask() -> Ask {
    Ask {
        text: "x".repeat(TEXT),
        ..Ask::default()
    }
}

/// A message as gRPC frames it: not compressed, its length, itself.
fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

fn certificate(dir: &Path) -> anyhow::Result<()> {
    // Its key is ECDSA with P-256, the library's default.
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).context("make a certificate")?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(dir.join("certificate.pem"), &certificate)?;
    fs::write(dir.join("key.pem"), &key)?;
    fs::write(dir.join("both.pem"), certificate + &key)?;
    Ok(())
}

fn openssl() -> String {
    format!(
        "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\nMinProtocol = TLSv1.3\n\
         Ciphersuites = {CIPHER}\n"
    )
}

fn addresses() -> anyhow::Result<Vec<SocketAddr>> {
    (0..ENDPOINTS).map(|_| free_address()).collect()
}

fn web(dir: &Path, cores: &str) -> anyhow::Result<(Vec<SocketAddr>, Process)> {
    let endpoints = addresses()?;
    let listen: String = endpoints
        .iter()
        .map(|address| format!("    listen {address};\n"))
        .collect();
    let (prefix, small) = (dir.join("web"), "x".repeat(SMALL));
    fs::create_dir(&prefix)?;
    fs::write(prefix.join(LARGE_PATH.trim_start_matches('/')), "x".repeat(LARGE))?;
    let http = format!(
        "  sendfile on;\n  tcp_nopush on;\n  open_file_cache max=8;\n  server {{\n{listen}    root .;\n\
         \x20   location {LARGE_PATH} {{ }}\n    location / {{ default_type text/plain; return 200 {small}; }}\n  }}\n"
    );
    let mut process = nginx::run(&prefix, "web", cores, 4096, &http)?;
    listen_all(&mut process, &endpoints)?;
    Ok((endpoints, process))
}

fn demo_app(dir: &Path, cores: &str, binary: &Path) -> anyhow::Result<(Vec<SocketAddr>, Process)> {
    let endpoints = addresses()?;
    let ports: Vec<String> = endpoints.iter().map(|address| address.port().to_string()).collect();
    let (first, more) = ports.split_first().context("an app needs an endpoint")?;
    let mut command = pinned(cores, binary);
    command.args(["--instance", INSTANCE, "--port", first, "--http-ports", &more.join(",")]);
    let mut process = Process::start("tenbin-demo", command, dir.join("demo.log"))?;
    listen_all(&mut process, &endpoints)?;
    Ok((endpoints, process))
}

fn listen_all(process: &mut Process, endpoints: &[SocketAddr]) -> anyhow::Result<()> {
    endpoints
        .iter()
        .try_for_each(|address| process.listens(*address, START))
}

/// A program on some cores alone (`0`, `0,1`).
pub(crate) fn pinned(cores: &str, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores]).arg(program.as_ref());
    command
}
