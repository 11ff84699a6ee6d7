//! What /proc says of processes and cores. Which process is whose is not known here.

use std::fs;
use std::ops::{Add, Sub};

use anyhow::Context;

/// Clock ticks per second in /proc, the same on every Linux that we run on.
const TICKS: f64 = 100.0;

/// CPU time in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Times {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Add for Times {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Times {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }
}

impl Sub for Times {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Times {
            user: self.user - other.user,
            system: self.system - other.system,
        }
    }
}

struct Stat {
    parent: u32,
    times: Times,
}

/// CPU time so far of a process, in steps of 10 ms; none of one that is gone.
pub(crate) fn times(id: u32) -> Option<Times> {
    Some(stat(id)?.times)
}

/// CPU time so far in seconds of a process's threads that have not ended, to the nanosecond; none of a process that is gone.
pub(crate) fn exact(id: u32) -> Option<f64> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten();
    // A thread that ends meanwhile is left out, as those before it.
    let of = |text: String| text.split(' ').next()?.parse::<f64>().ok();
    let times = threads.filter_map(|thread| of(fs::read_to_string(thread.path().join("schedstat")).ok()?));
    Some(times.sum::<f64>() / 1e9)
}

/// How many descriptors a process has open; none of one that is gone.
pub(crate) fn descriptors(id: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as u64)
}

/// The children of a process.
pub(crate) fn children(id: u32) -> anyhow::Result<Vec<u32>> {
    let all = fs::read_dir("/proc").context("read /proc")?.flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(numbers
        .filter(|other| stat(*other).is_some_and(|stat| stat.parent == id))
        .collect())
}

/// A field of /proc/PID/status, in bytes.
pub(crate) fn status(id: u32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(1024.0 * line.trim().strip_suffix(" kB")?.parse::<f64>().ok()?)
}

/// CPU time so far in seconds that a core of this machine gave to anybody.
pub(crate) fn core_time(core: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("cpu")?.strip_prefix(core)?.strip_prefix(' '));
    let fields = line
        .with_context(|| format!("/proc/stat knows no CPU {core}"))?
        .split(' ');
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
    let busy = fields.take(8).enumerate().filter(|(at, _)| ![3, 4].contains(at));
    Ok(busy.filter_map(|(_, ticks)| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS)
}

fn stat(id: u32) -> Option<Stat> {
    parsed(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Reads /proc/PID/stat; the name in brackets may hold anything.
fn parsed(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let seconds = |at: usize| Some(fields.get(at)?.parse::<f64>().ok()? / TICKS);
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        times: Times {
            user: seconds(11)?,
            system: seconds(12)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_whatever_the_program_is_called() {
        let text = "7 (a) b) S 5 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 1 1 1";
        let stat = parsed(text).unwrap();
        let times = Times { user: 1.5, system: 0.5 };
        assert_eq!((stat.parent, stat.times), (5, times));
        assert!(parsed("7 (a)").is_none());
    }
}
