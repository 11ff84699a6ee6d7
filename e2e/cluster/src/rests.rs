//! What a killed daemon of ours leaves: its containerd, shims and containers still running, its mounts, its socket and
//! files of a running state, its control groups. All of it is found by the daemon's own folder, so that nothing of
//! anybody else's is touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::run::Run;
use crate::say::Say;

/// The control group of our daemon's containers.
pub const CGROUP: &str = "/tenbin-docker";
const ENDING: Duration = Duration::from_secs(10);

/// One process, as far as finding rests needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    id: i32,
    parent: i32,
    command: String,
}

/// Ends and removes everything that a daemon with this folder left; nothing to do is the usual case.
///
/// # Errors
/// Where a process doesn't end.
pub fn clear(dir: &Path, say: &Say) -> Result<()> {
    let doomed = of_daemon(&processes(), &dir.to_string_lossy());
    if !doomed.is_empty() {
        say.line(format_args!(
            "   clearing the rests of a killed Docker daemon: {} processes",
            doomed.len()
        ));
    }
    for id in &doomed {
        // It may have ended by itself; then there is nothing left to signal.
        let _ = kill(Pid::from_raw(*id), Signal::SIGKILL);
    }
    let asked = Instant::now();
    while doomed.iter().any(|id| alive(*id)) {
        ensure!(
            asked.elapsed() < ENDING,
            "processes of a killed Docker daemon don't end: {doomed:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let mounts = mounts_under(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), dir);
    for mount in &mounts {
        let _ = Run::new("umount")
            .args(["-l".as_ref(), mount.as_os_str()])
            .despite_interrupt()
            .out();
    }
    for file in ["docker.pid", "docker.sock"] {
        let _ = fs::remove_file(dir.join(file));
    }
    // Only what is not a mount point any more may be removed with all below it.
    if mounts_under(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), dir).is_empty() {
        let _ = fs::remove_dir_all(dir.join("exec"));
    }
    for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        remove_cgroup(&controller.path().join(&CGROUP[1..]));
    }
    remove_cgroup(&Path::new("/sys/fs/cgroup").join(&CGROUP[1..]));
    Ok(())
}

/// The daemon, its containerd and shims (they name the folder), and all that descends from them: the containers.
fn of_daemon(processes: &[Process], dir: &str) -> BTreeSet<i32> {
    let within = format!("{dir}/");
    let named = |process: &&Process| {
        let program = process.command.split('\0').next().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default();
        process.command.contains(&within)
            && [
                "dockerd",
                "containerd",
                "containerd-shim",
                "containerd-shim-runc-v2",
                "runc",
            ]
            .contains(&program)
    };
    let mut doomed: BTreeSet<i32> = processes.iter().filter(named).map(|process| process.id).collect();
    loop {
        let more: Vec<i32> = processes
            .iter()
            .filter(|process| doomed.contains(&process.parent) && !doomed.contains(&process.id))
            .map(|process| process.id)
            .collect();
        if more.is_empty() {
            return doomed;
        }
        doomed.extend(more);
    }
}

fn processes() -> Vec<Process> {
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    ids.filter_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let parent = parent(&fs::read_to_string(entry.path().join("stat")).ok()?)?;
        Some(Process {
            id,
            parent,
            command: String::from_utf8_lossy(&command).into_owned(),
        })
    })
    .collect()
}

/// The parent's id in a `/proc/PID/stat`: the second field after the name, which may hold spaces and brackets.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Whether a process still runs; one that only waits to be reaped doesn't.
fn alive(id: i32) -> bool {
    let state = |stat: String| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    fs::read_to_string(format!("/proc/{id}/stat"))
        .ok()
        .and_then(state)
        .is_some_and(|state| state != 'Z')
}

/// The mount points below a folder in a `mountinfo`, the deepest first.
fn mounts_under(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    let unescaped = |text: &str| text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    let mut mounts: Vec<PathBuf> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescaped(point)))
        .filter(|point| point.starts_with(dir) && point != dir)
        .collect();
    mounts.sort();
    mounts.reverse();
    mounts
}

/// Removes a control group and those in it; one with processes in it stays.
fn remove_cgroup(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: i32, parent: i32, command: &str) -> Process {
        Process {
            id,
            parent,
            command: command.replace(' ', "\0"),
        }
    }

    #[test]
    fn only_what_names_our_folder_is_ours() {
        let all = [
            process(10, 1, "dockerd --config-file /c/docker/daemon.json"),
            process(11, 10, "containerd --config /c/docker/exec/containerd/containerd.toml"),
            process(
                12,
                1,
                "/usr/bin/containerd-shim-runc-v2 -address /c/docker/exec/containerd/containerd.sock",
            ),
            process(13, 12, "/sbin/init"),
            process(14, 13, "kubelet"),
            process(20, 1, "dockerd"),
            process(
                21,
                1,
                "/usr/bin/containerd-shim-runc-v2 -address /run/containerd/containerd.sock",
            ),
            process(22, 21, "/sbin/init"),
            process(23, 1, "tail -f /c/docker/dockerd.log"),
            process(24, 1, "dockerd --config-file /c/docker-other/daemon.json"),
        ];
        assert_eq!(of_daemon(&all, "/c/docker"), BTreeSet::from([10, 11, 12, 13, 14]));
    }

    #[test]
    fn the_parent_is_read_past_odd_names() {
        assert_eq!(parent("42 (a) b (c)) S 7 42 42 0 -1"), Some(7));
        assert_eq!(parent("nonsense"), None);
    }

    #[test]
    fn mounts_come_deepest_first_and_only_from_below() {
        let info = "1 0 0:1 / / rw - x x rw\n2 1 0:2 / /c/docker/exec/netns/a rw - nsfs nsfs rw\n\
            3 1 0:3 / /c/docker/data/overlay2/x\\040y/merged rw - overlay o rw\n4 1 0:4 / /c/docker2/x rw - o o rw\n\
            5 2 0:5 / /c/docker/exec rw - tmpfs t rw\n";
        let expected = [
            "/c/docker/exec/netns/a",
            "/c/docker/exec",
            "/c/docker/data/overlay2/x y/merged",
        ];
        assert_eq!(mounts_under(info, Path::new("/c/docker")), expected.map(PathBuf::from));
    }
}
