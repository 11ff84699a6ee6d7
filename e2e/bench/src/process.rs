//! Programs that a benchmark runs on this machine: started, waited for, measured with their children, ended. What they are is not
//! known here, nor how /proc is read.

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

use crate::procfs::{self, Times};

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

    /// Waits until something accepts connections at `address`.
    pub(crate) fn listens(&mut self, address: SocketAddr, limit: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        while let Err(error) = std::net::TcpStream::connect_timeout(&address, ANSWER) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it listened:\n{}", self.name, self.said());
            }
            let late = || format!("{} not ready within {limit:?}; it says:\n{}", self.name, self.said());
            ensure!(began.elapsed() < limit, "{}: {error}", late());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// CPU time so far in seconds, user and system, of the program and its children.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        let Times { user, system } = self.times()?;
        Ok(user + system)
    }

    /// The same, apart.
    pub(crate) fn times(&self) -> anyhow::Result<Times> {
        let id = self.child.id();
        let own = procfs::times(id).with_context(|| self.gone())?;
        let children = procfs::children(id)?.into_iter().filter_map(procfs::times);
        Ok(children.fold(own, |sum, times| sum + times))
    }

    /// The same in sum, to the nanosecond, without threads that have ended.
    pub(crate) fn exact_cpu(&self) -> anyhow::Result<f64> {
        let id = self.child.id();
        let own = procfs::exact(id).with_context(|| self.gone())?;
        let children = procfs::children(id)?.into_iter().filter_map(procfs::exact);
        Ok(own + children.sum::<f64>())
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> anyhow::Result<u64> {
        procfs::descriptors(self.child.id()).with_context(|| self.gone())
    }

    /// A field of /proc/PID/status in bytes: `VmRSS` is what is resident, `VmHWM` the most that ever was.
    pub(crate) fn memory(&self, field: &str) -> anyhow::Result<f64> {
        procfs::status(self.child.id(), field).with_context(|| format!("no {field}: {}", self.gone()))
    }

    /// The same of the largest of the program and its children: a master counts as little beside its worker, whose pages it shares.
    pub(crate) fn largest(&self, field: &str) -> anyhow::Result<f64> {
        let children = procfs::children(self.child.id())?;
        let theirs = children.into_iter().filter_map(|id| procfs::status(id, field));
        Ok(theirs.fold(self.memory(field)?, f64::max))
    }

    fn gone(&self) -> String {
        format!("{} is gone; it said:\n{}", self.name, self.said())
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
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

    use super::*;

    #[test]
    fn a_process_is_watched_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000");
        let mut process = Process::start("sleeper", command, dir.path().join("log")).unwrap();
        // Stopped, it does not grow between one reading and the next, as it does while it starts.
        let id = Pid::from_raw(process.child.id().cast_signed());
        kill(id, Signal::SIGSTOP).unwrap();
        let stopped = WaitStatus::Stopped(id, Signal::SIGSTOP);
        assert_eq!(waitpid(id, Some(WaitPidFlag::WUNTRACED)).unwrap(), stopped);
        assert!(process.memory("VmRSS").unwrap() > 0.0);
        assert!(process.cpu().unwrap() < 5.0);
        assert!(process.exact_cpu().unwrap() > 0.0);
        assert!(process.descriptors().unwrap() >= 3);
        assert_eq!(process.largest("VmHWM").unwrap(), process.memory("VmHWM").unwrap());
        process.end(Signal::SIGKILL).unwrap();
        assert!(process.cpu().is_err());
    }
}
