//! What idle connections cost a proxy: each was served once. Memory is that of the proxy's process; the kernel's for sockets is the
//! same for all proxies, and not in it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::resource::{Resource, getrlimit};

use super::load::{self, Target};
use super::proxy::{Programs, Proxy, Setup};
use super::row::Row;
use super::site::Site;
use super::{LOAD_CORE, PROXY_CORE};
use crate::process::Process;

/// Connections, where the limit of descriptors allows it.
const CONNECTIONS: u64 = 10_000;
/// Descriptors of a proxy besides those of its clients. Ours takes clients for half of them all; so as many are left for it.
const SPARE: u64 = 300;
/// How long the proxy has to get over the opening, before it counts as idle.
const SETTLE: Duration = Duration::from_secs(1);

/// What was measured of a proxy; memory in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) proxy: Proxy,
    pub(crate) connections: u64,
    /// Resident without connections, and with them.
    pub(crate) none: f64,
    pub(crate) all: f64,
    pub(crate) peak: f64,
    /// CPU seconds to open and serve them all once.
    pub(crate) open: f64,
    /// CPU seconds per second while all are idle.
    pub(crate) cpu: f64,
}

impl Idle {
    /// Memory for each connection, in bytes.
    pub(crate) fn each(&self) -> f64 {
        (self.all - self.none) / self.connections as f64
    }
}

/// Opens them, watches them for some seconds, sees that they are still open.
pub(crate) fn measure(proxy: Proxy, site: &Site, programs: &Programs, seconds: u32) -> anyhow::Result<Idle> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let connections = CONNECTIONS.min(most.saturating_sub(SPARE) / 2);
    ensure!(
        connections > 0,
        "the limit of descriptors is {most}, at least {} are needed",
        SPARE + 2
    );
    let setup = Setup {
        wire: Row::Idle.wire(),
        cores: PROXY_CORE,
        workers: 1,
        clients: connections,
    };
    let running = proxy.start(setup, site, programs)?;
    let target = Target {
        address: running.address,
        site,
        cores: LOAD_CORE,
    };
    let idle = watch(proxy, &running.process, target, connections, seconds);
    let idle = idle.with_context(|| format!("{} says:\n{}", proxy.title(), running.process.said()))?;
    let each = crate::table::bytes(idle.each());
    eprintln!("idle: {}: {each} for each of {connections} connections", proxy.title());
    Ok(idle)
}

fn watch(proxy: Proxy, process: &Process, target: Target<'_>, connections: u64, seconds: u32) -> anyhow::Result<Idle> {
    let (none, began) = (process.largest("VmRSS")?, process.exact_cpu()?);
    let mut client = Client::start(target, connections)?;
    let open = process.exact_cpu()? - began;
    std::thread::sleep(SETTLE);
    let rest = Duration::from_secs(seconds.into());
    let before = process.exact_cpu()?;
    std::thread::sleep(rest);
    let cpu = (process.exact_cpu()? - before) / rest.as_secs_f64();
    let (all, peak) = (process.largest("VmRSS")?, process.largest("VmHWM")?);
    client.end()?;
    Ok(Idle {
        proxy,
        connections,
        none,
        all,
        peak,
        open,
        cpu,
    })
}

/// The client that holds the connections; they end with it.
struct Client(Child);

impl Client {
    /// Waits until all are open and were served.
    fn start(target: Target<'_>, connections: u64) -> anyhow::Result<Self> {
        let mut command = load::client("idle", target)?;
        command.args(["--connections", &connections.to_string()]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut client = Client(command.spawn().context("start the client")?);
        let mut line = String::new();
        let output = client.0.stdout.as_mut().context("the client has no output")?;
        // It says no more than this before its input ends, so nothing is lost with the buffer.
        BufReader::new(output).read_line(&mut line)?;
        client.expect(&line, &format!("{connections} open\n"))?;
        Ok(client)
    }

    /// Has each connection served again, and closes them.
    fn end(&mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        let mut rest = String::new();
        let output = self.0.stdout.as_mut().context("the client has no output")?;
        output.read_to_string(&mut rest)?;
        ensure!(rest.ends_with(" served again\n"), "{}", self.complaint());
        ensure!(self.0.wait()?.success(), "the client failed");
        Ok(())
    }

    fn expect(&mut self, line: &str, expected: &str) -> anyhow::Result<()> {
        ensure!(line == expected, "the client says {line:?}: {}", self.complaint());
        Ok(())
    }

    /// What it says as it ends.
    fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(errors) = self.0.stderr.as_mut() {
            // Without what it said, that it failed is still told.
            let _ = errors.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that has ended already is no fault.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
