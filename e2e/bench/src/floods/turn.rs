//! One row: a proxy of its own, the probe alone, then beside; or the memory before and after something was opened.

use std::fmt::{self, Display};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;

use super::proxy::Proxy;
use super::{Kind, Row};
use crate::client::hostile::Told;
use crate::client::probe::Probed;
use crate::cpu::{LOAD_CORE, Site, pinned};
use crate::procfs::core_time;
use crate::table::{Samples, bytes, ms};

/// How long the proxy has to get over its start, and over what was opened.
const SETTLE: Duration = Duration::from_secs(1);
/// How often the proxy is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long what clients asked for may take to be there.
const THERE: Duration = Duration::from_secs(30);

/// What all rows share.
pub(super) struct Bench<'a> {
    pub(super) site: &'a Site,
    pub(super) proxy: &'a Path,
    pub(super) rounds: u32,
    pub(super) seconds: u32,
    pub(super) share: u32,
}

/// The probe's time, and what was used meanwhile, in CPU seconds per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) probed: Probed,
    /// By the proxy, and of the core of all others.
    pub(super) proxy: f64,
    pub(super) load: f64,
    /// The most memory of the proxy, in bytes.
    pub(super) most: f64,
}

impl Watched {
    /// What is usual among `all`, and all that failed.
    fn usual(all: &[Watched]) -> Self {
        let median = |value: fn(&Watched) -> f64| all.iter().map(value).collect::<Samples>().median();
        Watched {
            probed: Probed {
                good: all.iter().map(|watched| watched.probed.good).sum(),
                failed: all.iter().map(|watched| watched.probed.failed).sum(),
                p50_ms: median(|watched| watched.probed.p50_ms),
                p99_ms: median(|watched| watched.probed.p99_ms),
                max_ms: median(|watched| watched.probed.max_ms),
            },
            proxy: median(|watched| watched.proxy),
            load: median(|watched| watched.load),
            most: median(|watched| watched.most),
        }
    }
}

/// What was measured beside a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    pub(super) row: Row,
    pub(super) connections: u64,
    pub(super) quiet: Watched,
    pub(super) beside: Watched,
    pub(super) told: Told,
}

impl Beside {
    /// Memory for each connection or stream, in bytes.
    pub(super) fn each(&self) -> f64 {
        (self.beside.most - self.quiet.most) / (self.connections * self.row.each()) as f64
    }
}

impl Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (quiet, beside) = (self.quiet.probed, self.beside.probed);
        write!(
            f,
            "quiet p99 {}, beside p50 {}, p99 {}, most {}, {} failed; proxy {:.0} %, load's core {:.0} %, clients {:.0} %; {}",
            ms(quiet.p99_ms),
            ms(beside.p50_ms),
            ms(beside.p99_ms),
            ms(beside.max_ms),
            beside.failed,
            100.0 * self.beside.proxy,
            100.0 * self.beside.load,
            100.0 * self.told.cpu / self.told.seconds,
            bytes(self.beside.most),
        )
    }
}

/// What a row's memory is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) row: Row,
    /// What is open: connections, or streams.
    pub(super) open: u64,
    /// Resident before, and after.
    pub(super) none: f64,
    pub(super) all: f64,
}

impl Memory {
    /// For each, in bytes.
    pub(super) fn each(&self) -> f64 {
        (self.all - self.none) / self.open as f64
    }
}

impl Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} each of {}", bytes(self.each()), self.open)
    }
}

/// The probe alone, then beside so many clients of a row.
pub(super) fn beside(bench: &Bench<'_>, row: &Row, connections: u64) -> anyhow::Result<Beside> {
    let proxy = Proxy::start(bench.site, bench.proxy)?;
    let measured = measure(bench, &proxy, row, connections);
    measured.with_context(|| format!("the proxy says:\n{}", proxy.process.said()))
}

fn measure(bench: &Bench<'_>, proxy: &Proxy, row: &Row, connections: u64) -> anyhow::Result<Beside> {
    let (mut quiet, mut beside, mut told) = (Vec::new(), Vec::new(), Told::default());
    for _ in 0..bench.rounds {
        sleep(SETTLE);
        quiet.push(watch(bench, proxy)?);
        let clients = Clients::start(bench, proxy, row, connections)?;
        sleep(SETTLE);
        beside.push(watch(bench, proxy)?);
        let now = clients.end()?;
        let open = connections * row.each();
        ensure!(
            !matches!(row.kind, Kind::Open(_)) || now.open == open,
            "{} of {open} are open in the end",
            now.open
        );
        told = told.and(now);
    }
    let memory = |all: &[Watched], pick: fn(f64, f64) -> f64| all.iter().map(|watched| watched.most).reduce(pick);
    Ok(Beside {
        row: *row,
        connections,
        // What a round left behind is not what there was before.
        quiet: Watched {
            most: memory(&quiet, f64::min).unwrap_or_default(),
            ..Watched::usual(&quiet)
        },
        beside: Watched {
            most: memory(&beside, f64::max).unwrap_or_default(),
            ..Watched::usual(&beside)
        },
        told,
    })
}

/// Runs the probe, and looks at the proxy meanwhile.
fn watch(bench: &Bench<'_>, proxy: &Proxy) -> anyhow::Result<Watched> {
    let mut command = pinned(LOAD_CORE, this()?);
    command.args(["client", "probe", &proxy.web.to_string()]);
    command.args(["--seconds", &bench.seconds.to_string()]);
    let (began, cpu, core) = (Instant::now(), proxy.process.exact_cpu()?, core_time(LOAD_CORE)?);
    let mut probe = Running::start(command)?;
    let mut most: f64 = 0.0;
    while probe.child.try_wait()?.is_none() {
        most = most.max(proxy.process.memory("VmRSS")?);
        sleep(LOOK);
    }
    let took = began.elapsed().as_secs_f64();
    Ok(Watched {
        probed: probe.end()?,
        proxy: (proxy.process.exact_cpu()? - cpu) / took,
        load: (core_time(LOAD_CORE)? - core) / took,
        most,
    })
}

/// The memory of what a row opens.
pub(super) fn memory(bench: &Bench<'_>, row: &Row, connections: u64) -> anyhow::Result<Memory> {
    let proxy = Proxy::start(bench.site, bench.proxy)?;
    // What is made once, for the first of a kind, is not what each costs.
    let first = Clients::start(bench, &proxy, row, 1)?;
    sleep(SETTLE);
    first.end()?;
    sleep(SETTLE);
    let none = proxy.process.memory("VmRSS")?;
    let clients = Clients::start(bench, &proxy, row, connections)?;
    there(&proxy, connections * row.descriptors())?;
    sleep(SETTLE);
    let all = proxy.process.memory("VmRSS")?;
    let open = clients.end()?.open;
    let expected = connections * row.each();
    ensure!(open == expected, "{open} of {expected} are open in the end");
    Ok(Memory {
        row: *row,
        open,
        none,
        all,
    })
}

/// Waits until the proxy has so many descriptors: its clients' connections, and those to the apps that their requests take.
fn there(proxy: &Proxy, descriptors: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let open = proxy.process.descriptors()?;
        if open >= descriptors {
            return Ok(());
        }
        ensure!(
            began.elapsed() < THERE,
            "the proxy has {open} descriptors, not {descriptors}"
        );
        sleep(LOOK);
    }
}

/// This program.
fn this() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("find the own program")
}

/// The hostile clients of a row, in a process of their own, which gives way to all others at once: probe and app are on the same core.
struct Clients(Running);

impl Clients {
    /// Waits until all have begun.
    fn start(bench: &Bench<'_>, proxy: &Proxy, row: &Row, connections: u64) -> anyhow::Result<Self> {
        let mut command = pinned(LOAD_CORE, "chrt");
        command.args(["--idle", "0"]).arg(this()?);
        command.args(["client", "hostile", &proxy.address(row).to_string(), "--row", row.name]);
        // Opening what then stays is not measured, so it need not be slow.
        let share = match row.kind {
            Kind::Open(_) => 100,
            _ => bench.share,
        };
        command.args(["--connections", &connections.to_string(), "--share", &share.to_string()]);
        if row.tls {
            command.arg("--certificate").arg(bench.site.certificate());
        }
        let mut clients = Clients(Running::start(command)?);
        let mut line = String::new();
        clients.0.said.read_line(&mut line)?;
        ensure!(
            line == "ready\n",
            "the clients did not begin: {}",
            clients.0.complaint()
        );
        Ok(clients)
    }

    /// Lets them stop; what became of them.
    fn end(mut self) -> anyhow::Result<Told> {
        drop(self.0.child.stdin.take());
        self.0.end()
    }
}

/// A client that runs; it ends when this is dropped.
struct Running {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("start a client")?;
        let said = BufReader::new(child.stdout.take().context("a client has no output")?);
        Ok(Running { child, said })
    }

    /// Waits for its end; what it said last.
    fn end<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut text = String::new();
        self.said.read_to_string(&mut text)?;
        ensure!(self.child.wait()?.success(), "a client failed: {}", self.complaint());
        serde_json::from_str(&text).with_context(|| format!("a client says what is not understood:\n{text}"))
    }

    /// What it says as it ends.
    fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(errors) = self.child.stderr.as_mut() {
            // Without what it said, that it failed is still told.
            let _ = errors.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is no fault.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
