//! Programs that a benchmark runs on this machine, and what /proc says of them. What they are is not known here.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Clock ticks per second in /proc, the same on every Linux that we run on.
const TICKS: f64 = 100.0;
/// How long a program may take to end when asked to.
const END: Duration = Duration::from_secs(10);
/// How long an answer over HTTP may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A running program; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it says goes to `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: PathBuf) -> anyhow::Result<Self> {
        let file = File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("can't start {name}: {command:?}"))?;
        Ok(Process {
            child,
            name: name.to_owned(),
            log,
        })
    }

    /// Waits until `GET path` at `address` is answered with 200.
    pub(crate) async fn answers(&mut self, address: SocketAddr, path: &str, limit: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let Err(error) = get(address, path).await else {
                return Ok(());
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it answered:\n{}", self.name, self.said());
            }
            if began.elapsed() > limit {
                let said = self.said();
                return Err(error)
                    .with_context(|| format!("{} not ready within {limit:?}; it says:\n{said}", self.name));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// CPU time so far in seconds, user and system, of the program and its children.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        let id = self.child.id();
        let stat = |pid: &str| stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
        let own = stat(&id.to_string()).with_context(|| format!("{} is gone; it said:\n{}", self.name, self.said()))?;
        let all = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| stat(entry.file_name().to_str()?));
        Ok(own.seconds
            + all
                .filter(|process| process.parent == id)
                .map(|process| process.seconds)
                .sum::<f64>())
    }

    /// A field of /proc/PID/status in bytes: `VmRSS` is what is resident, `VmHWM` the most that ever was.
    pub(crate) fn memory(&self, field: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        Ok(1024.0 * kib.with_context(|| format!("no {field} of {}; it said:\n{}", self.name, self.said()))?)
    }

    /// Ends it with a signal, SIGTERM or SIGKILL, and waits for its end.
    pub(crate) fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_none() {
            kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        }
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(asked.elapsed() < END, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The last of what it said.
    pub(crate) fn said(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(15)..].join("\n  ");
        format!("  {last}\n  (all of it: {})", self.log.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.end(Signal::SIGTERM).is_err() {
            // Too late for asking; a process that is gone already is no fault.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

struct Stat {
    parent: u32,
    seconds: f64,
}

/// Reads /proc/PID/stat; the name in brackets may hold anything.
fn stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        seconds: (ticks(11)? + ticks(12)?) / TICKS,
    })
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

/// An address of this machine at which nobody listens now.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

/// The body of the answer to `GET path`, which must be 200.
pub(crate) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let what = || format!("GET http://{address}{path}");
    let answer = timeout(ANSWER, exchange).await.with_context(what)?.with_context(what)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(what)?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{}: {answer}", what());
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_whatever_the_program_is_called() {
        let text = "7 (a) b) S 5 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 1 1 1";
        let stat = stat(text).unwrap();
        assert_eq!((stat.parent, stat.seconds), (5, 2.0));
        assert!(super::stat("7 (a)").is_none());
    }

    #[test]
    fn a_process_is_watched_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo here; exec sleep 1000"]);
        let mut process = Process::start("sleeper", command, dir.path().join("log")).unwrap();
        assert!(process.memory("VmRSS").unwrap() > 0.0);
        assert!(process.cpu().unwrap() < 5.0);
        process.end(Signal::SIGKILL).unwrap();
        assert!(process.cpu().is_err());
    }
}
