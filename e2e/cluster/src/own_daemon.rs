//! A Docker daemon of our own, where none answers: Debian's package, with its data in the cache by version, its own
//! socket, no default bridge, and a runtime that asks for no capability the machine lacks. It outlives the run that
//! started it and goes on `down`. What a killed one leaves is `rests`' business.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::json;

use crate::docker::Docker;
use crate::firewall;
use crate::interrupt::{self, Interrupted};
use crate::machine::{self, Before};
use crate::run::{Run, which};
use crate::say::{Say, span};
use crate::{Context, rests};

/// Debian's packages for a daemon and a node image.
const PACKAGES: [&str; 4] = ["docker.io", "iptables", "jq", "mmdebstrap"];
/// How long the daemon may take to answer.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end, its containers with it.
const STOP: Duration = Duration::from_secs(30);
/// The capabilities by their bit, as `capability.h` numbers them.
const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP \
    LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO \
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE \
    AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF \
    CHECKPOINT_RESTORE";

/// Our own daemon, running or not.
#[derive(Clone, Debug)]
pub struct OwnDaemon {
    dir: PathBuf,
    shim: PathBuf,
    say: Say,
}

impl OwnDaemon {
    /// Where it lives; nothing is started.
    ///
    /// # Errors
    /// Where the cache can't be written or lies too deep for a socket's path.
    pub fn new(context: &Context) -> Result<Self> {
        let dir = context.cache.path("docker")?;
        // A socket's path holds 107 bytes; containerd's is the longest below.
        let longest = dir.join("exec/containerd/containerd-debug.sock").as_os_str().len();
        ensure!(
            longest <= 107,
            "the cache {} lies too deep for a socket; set TENBIN_CACHE",
            dir.display()
        );
        Ok(Self {
            dir,
            shim: context.data("runc-bounded"),
            say: context.say.clone(),
        })
    }

    /// The address of its socket.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.join("docker.sock").display())
    }

    /// Its version, if it answers.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        if !self.dir.join("docker.sock").exists() {
            return None;
        }
        which("docker").and_then(|_| self.client().version().ok())
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Docker {
        Docker {
            own: true,
            started: false,
            host: Some(self.host()),
        }
    }

    /// Installs Debian's packages where something is missing.
    ///
    /// # Errors
    /// Where we are not root, there is no `apt-get`, or it fails.
    pub fn install(&self) -> Result<()> {
        ensure!(
            geteuid().is_root(),
            "no Docker daemon answers, and starting one of our own needs root: start Docker, or run this as root"
        );
        if ["dockerd", "docker", "iptables", "jq"]
            .into_iter()
            .all(|program| which(program).is_some())
        {
            return Ok(());
        }
        install_packages(&self.say)
    }

    /// Starts it, after clearing what a killed one left, and keeps its clusters inside their bridge.
    ///
    /// # Errors
    /// Where it doesn't answer in time: with the last lines of its log.
    pub fn start(&self) -> Result<()> {
        let begin = Instant::now();
        rests::clear(&self.dir, &self.say)?;
        fs::create_dir_all(&self.dir)?;
        self.remember_before()?;
        let config = self.write_config()?;
        let log = self.dir.join("dockerd.log");
        let out = fs::File::create(&log)?;
        // setsid: the daemon outlives this run and its terminal.
        let started = std::process::Command::new("setsid")
            .args(["--fork", "dockerd", "--config-file"])
            .arg(&config)
            .stdin(std::process::Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .status();
        ensure!(
            started.context("can't run setsid (util-linux)")?.success(),
            "setsid can't start dockerd"
        );
        while self.version().is_none() {
            let waited = begin.elapsed() > START;
            if waited || interrupt::requested() {
                self.stop()?;
                ensure!(waited, Interrupted);
                bail!("dockerd doesn't answer after {}:\n{}", span(START), tail(&log, 8));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.isolate()?;
        self.say
            .line(format_args!("   our own Docker daemon answers ({})", self.host()));
        Ok(())
    }

    /// Room for its clusters, their network, and the rules that keep their traffic in it.
    ///
    /// # Errors
    /// Where the kernel, Docker or iptables refuses.
    pub fn isolate(&self) -> Result<()> {
        machine::prepare()?;
        firewall::network(&self.client())?;
        firewall::close()
    }

    /// Ends it and takes away what it made on this machine outside the cache: rules, bridges, mounts, cgroups.
    ///
    /// # Errors
    /// Where its rests can't be cleared.
    pub fn stop(&self) -> Result<()> {
        if self.version().is_some() {
            let _ = self
                .client()
                .run(["network", "rm", firewall::NETWORK])
                .despite_interrupt()
                .limit(STOP)
                .out();
        }
        if let Some(pid) = self.pid() {
            kill(Pid::from_raw(pid), Signal::SIGTERM).with_context(|| format!("can't end dockerd (process {pid})"))?;
            let asked = Instant::now();
            while self.pid().is_some() && asked.elapsed() < STOP {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        rests::clear(&self.dir, &self.say)?;
        let before = self.dir.join("before.json");
        if let Ok(text) = fs::read(&before) {
            machine::restore(&serde_json::from_slice::<Before>(&text)?);
            fs::remove_file(before)?;
        }
        Ok(())
    }

    /// Whether anything of it is left: a process, or what it changed on the machine.
    #[must_use]
    pub fn left_something(&self) -> bool {
        self.dir.join("before.json").exists() || self.dir.join("docker.pid").exists()
    }

    /// The process of a running daemon of ours, and of no other.
    fn pid(&self) -> Option<i32> {
        let pid: i32 = fs::read_to_string(self.dir.join("docker.pid"))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        (command.contains("dockerd") && command.contains(&*self.dir.to_string_lossy())).then_some(pid)
    }

    /// Notes what the machine was like, once: a killed daemon's changes must not be taken for the user's own.
    fn remember_before(&self) -> Result<()> {
        let file = self.dir.join("before.json");
        if !file.exists() {
            fs::write(file, serde_json::to_vec(&machine::look())?)?;
        }
        Ok(())
    }

    fn write_config(&self) -> Result<PathBuf> {
        let version = Run::new("dockerd").args(["--version"]).out()?;
        let lacking = lacking(&fs::read_to_string("/proc/self/status")?);
        let runc = which("runc").context("Debian's docker.io brings `runc`, but PATH has none")?;
        let shim = self.dir.join("runc-bounded");
        if !lacking.is_empty() {
            self.say.line(format_args!(
                "   this machine lacks {}: containers do without",
                lacking.join(", ")
            ));
            let text = fs::read_to_string(&self.shim)?
                .replace("@LACKING@", &serde_json::to_string(&lacking)?)
                .replace("@RUNC@", &runc.to_string_lossy());
            fs::write(&shim, text)?;
            Run::new("chmod").args(["755".as_ref(), shim.as_os_str()]).done()?;
        }
        let config = config(
            &self.dir,
            &version_number(&version),
            (!lacking.is_empty()).then_some(&shim),
        );
        let file = self.dir.join("daemon.json");
        fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
        Ok(file)
    }
}

/// Installs what a daemon and a node image need, with `apt-get`.
///
/// # Errors
/// Where we are not root, there is no `apt-get`, or it fails.
pub fn install_packages(say: &Say) -> Result<()> {
    install(say, &PACKAGES)
}

/// Installs Debian packages, with `apt-get`.
///
/// # Errors
/// Where we are not root, there is no `apt-get`, or it fails.
pub fn install(say: &Say, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    ensure!(
        geteuid().is_root() && which("apt-get").is_some(),
        "missing programs, and only root on Debian can have them installed from here; please install: {list}"
    );
    say.line(format_args!("   installing Debian packages: {list}"));
    let apt = |args: &[&str]| Run::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive");
    apt(&["update", "-q"]).limit(Duration::from_secs(180)).done()?;
    apt(&["install", "-qy", "--no-install-recommends"])
        .args(packages)
        .limit(Duration::from_secs(600))
        .done()
}

/// The daemon's settings: all that it keeps lies under one folder, its data by version.
fn config(dir: &Path, version: &str, shim: Option<&PathBuf>) -> serde_json::Value {
    let mut config = json!({
        "data-root": dir.join(format!("data-{version}")),
        "exec-root": dir.join("exec"),
        "pidfile": dir.join("docker.pid"),
        "hosts": [format!("unix://{}", dir.join("docker.sock").display())],
        "bridge": "none",
        "cgroup-parent": rests::CGROUP,
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "log-opts": {"max-size": "10m", "max-file": "2"},
    });
    if let (Some(shim), Some(map)) = (shim, config.as_object_mut()) {
        map.insert("runtimes".to_owned(), json!({"bounded": {"path": shim}}));
        map.insert("default-runtime".to_owned(), json!("bounded"));
    }
    config
}

/// `20.10.24+dfsg1` out of `Docker version 20.10.24+dfsg1, build 297e128`.
fn version_number(text: &str) -> String {
    let word = text.split_whitespace().nth(2).unwrap_or("unknown");
    word.trim_end_matches(',').to_owned()
}

/// The capabilities that the bounding set of a `/proc/PID/status` lacks, of those that this kernel knows.
fn lacking(status: &str) -> Vec<String> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).ok()
    };
    let bounding = field("CapBnd").unwrap_or(u64::MAX);
    CAPABILITIES
        .split_whitespace()
        .enumerate()
        .filter(|(bit, _)| bounding >> bit & 1 == 0)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect()
}

/// The last lines of a file.
pub(crate) fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bounding_set_lacks_is_named() {
        let status = |set: &str| format!("Name:\tx\nCapEff:\t{set}\nCapBnd:\t{set}\nCapAmb:\t0\n");
        assert_eq!(lacking(&status("000001fffeffffff")), ["CAP_SYS_RESOURCE"]);
        assert!(lacking(&status("000001ffffffffff")).is_empty());
        assert_eq!(lacking(&status("000001fffefffffe")), ["CAP_CHOWN", "CAP_SYS_RESOURCE"]);
    }

    #[test]
    fn the_version_keys_the_data() {
        assert_eq!(
            version_number("Docker version 20.10.24+dfsg1, build 297e128"),
            "20.10.24+dfsg1"
        );
        let config = config(Path::new("/c/docker"), "20.10.24", None);
        assert_eq!(config["data-root"], "/c/docker/data-20.10.24");
        assert_eq!(config["bridge"], "none");
        assert!(config.get("default-runtime").is_none());
    }

    #[test]
    fn the_shim_becomes_the_default_runtime() {
        let config = config(
            Path::new("/c/docker"),
            "1",
            Some(&PathBuf::from("/c/docker/runc-bounded")),
        );
        assert_eq!(config["runtimes"]["bounded"]["path"], "/c/docker/runc-bounded");
        assert_eq!(config["default-runtime"], "bounded");
    }
}
