//! One turn: a new process of a proxy, a warm-up, the load, and what the proxy took for it.

use std::fmt::{self, Display};

use anyhow::Context;

use super::load::{self, Target};
use super::proxy::{Programs, Proxy, Setup};
use super::row::Row;
use super::site::Site;
use crate::procfs::core_time;
use crate::table::ms;

/// How long a proxy runs before it is measured, in seconds.
const WARM_UP: u32 = 1;
/// As many clients as proxies must expect in rows that load.
const CLIENTS: u64 = 1000;

/// What is done in a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) row: Row,
    pub(crate) workers: u16,
    /// The proxy's cores, and those of the load.
    pub(crate) cores: &'a str,
    pub(crate) load_cores: &'a str,
    pub(crate) seconds: u32,
}

/// What was measured of a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// CPU in µs per request: the proxy's own code, and the kernel's for it.
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// CPU seconds per second that the proxy used of its cores; and that others did of its core, where it has one alone.
    pub(crate) used: f64,
    pub(crate) others: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// The most memory of the proxy's largest process, in bytes.
    pub(crate) peak: f64,
}

impl Turn {
    /// CPU in µs per request.
    pub(crate) fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

impl Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, p99) = (self.cpu(), ms(self.p99_ms));
        write!(f, "{cpu:.1} µs/request, {:.0} requests/s, p99 {p99}", self.rate)
    }
}

/// One turn.
pub(crate) fn measure(proxy: Proxy, plan: Plan<'_>, site: &Site, programs: &Programs) -> anyhow::Result<Turn> {
    let setup = Setup {
        wire: plan.row.wire(),
        cores: plan.cores,
        workers: plan.workers,
        clients: CLIENTS,
    };
    let running = proxy.start(setup, site, programs)?;
    let target = Target {
        address: running.address,
        site,
        cores: plan.load_cores,
    };
    let process = &running.process;
    let blame = || format!("{} says:\n{}", proxy.title(), process.said());
    load::run(plan.row, target, WARM_UP).with_context(blame)?;
    // Beside other cores, what others use says nothing.
    let core = || core_time(plan.cores).unwrap_or(f64::NAN);
    let (before, core_before) = (process.times()?, core());
    let said = load::run(plan.row, target, plan.seconds).with_context(blame)?;
    let (times, core) = (process.times()? - before, core() - core_before);
    let cpu = times.user + times.system;
    Ok(Turn {
        user: times.user * 1e6 / said.requests,
        system: times.system * 1e6 / said.requests,
        rate: said.requests / said.seconds,
        used: cpu / said.seconds,
        others: (core - cpu).max(0.0) / said.seconds,
        p50_ms: said.p50_ms,
        p99_ms: said.p99_ms,
        peak: process.largest("VmHWM")?,
    })
}
