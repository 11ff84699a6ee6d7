//! Taking away what we made: clusters, their files, our own daemon with its network and rules. A user's daemon keeps all
//! that was there before.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::Context;
use crate::docker::Docker;
use crate::firewall::NETWORK;
use crate::kind;
use crate::own_daemon::OwnDaemon;

/// Removes the cluster of this name, and our own daemon with it unless another cluster runs there.
///
/// # Errors
/// Where a daemon fails to remove something.
pub fn cluster(context: &Context, name: &str) -> Result<()> {
    remove(context, name)?;
    daemon_if_idle(context)
}

/// Removes the cluster of this name; daemons stay.
///
/// # Errors
/// Where a daemon fails to remove something.
pub fn remove(context: &Context, name: &str) -> Result<()> {
    let own = OwnDaemon::new(context)?;
    match kind::note(context, name) {
        Some(note) if !note.own => {
            let docker = Docker {
                own: false,
                started: false,
                host: note.host,
            };
            if docker.version().is_ok() {
                kind::delete(&docker, name)?;
                if note.made_network && !kind::any(&docker)? {
                    // In use by something else: then it stays, and that is right.
                    let _ = docker.run(["network", "rm", NETWORK]).despite_interrupt().out();
                }
            } else {
                context.say.line(format_args!(
                    "   the Docker daemon of `{name}` doesn't answer: its containers stay"
                ));
            }
        }
        _ if own.version().is_some() => kind::delete(&own.client(), name)?,
        _ => {}
    }
    kind::forget(context, name)?;
    context.say.line(format_args!("   the cluster `{name}` is gone"));
    Ok(())
}

/// Ends our own daemon, or clears what a killed one left, unless a cluster runs on it.
///
/// # Errors
/// Where it doesn't end.
pub fn daemon_if_idle(context: &Context) -> Result<()> {
    let own = OwnDaemon::new(context)?;
    if own.version().is_some() && kind::any(&own.client())? {
        context
            .say
            .line("   our own Docker daemon goes on running: it has another cluster");
        return Ok(());
    }
    if own.left_something() {
        own.stop()?;
        context
            .say
            .line("   our own Docker daemon is gone, with its network and rules");
    }
    Ok(())
}

/// Removes everything: every cluster that was noted, our daemon, our images, and the cache.
///
/// # Errors
/// Where something can't be removed.
pub fn purge(context: &Context) -> Result<()> {
    let clusters = context.cache.path("clusters/x")?.with_file_name("");
    for file in fs::read_dir(clusters)?.flatten() {
        let path = file.path();
        if path.extension().is_some_and(|extension| extension == "json")
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
        {
            cluster(context, name)?;
        }
    }
    let own = OwnDaemon::new(context)?;
    if own.left_something() {
        own.stop()?;
    }
    let theirs = Docker {
        own: false,
        started: false,
        host: None,
    };
    if theirs.version().is_ok() {
        let ours = theirs.run([
            "images",
            "--filter",
            "reference=tenbin/*",
            "--format",
            "{{.Repository}}:{{.Tag}}",
        ]);
        for image in ours.out()?.lines() {
            let _ = theirs.run(["rmi", image]).out();
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let root = context.cache.root();
    ensure!(
        !mounts.contains(&*root.to_string_lossy()),
        "something is still mounted under {}",
        root.display()
    );
    fs::remove_dir_all(root).with_context(|| format!("can't remove {}", root.display()))?;
    context
        .say
        .line(format_args!("   the cache {} is gone", root.display()));
    Ok(())
}
