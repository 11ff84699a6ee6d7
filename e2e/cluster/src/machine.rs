//! What our own daemon and its clusters change on the machine beyond their own folders, what it was like before, and how
//! it is put back. Only where the daemon is ours: a user's machine with a daemon of its own keeps its settings.

use std::fs;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::firewall;

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
const INOTIFY: &str = "/proc/sys/fs/inotify/max_user_instances";
/// How many inotify instances clusters may need: a node opens about twenty, and all nodes share root's account. With the
/// usual 128, a third cluster's kubelet never sees the manifests of its control plane.
const INSTANCES: u32 = 1024;

/// What a machine was like before our daemon changed it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Before {
    /// The policy of the FORWARD chain, if it could be read.
    pub forward_policy: Option<String>,
    /// Whether there were chains of Docker's already.
    pub docker_chains: bool,
    /// The kernel's `ip_forward`, if it could be read.
    pub ip_forward: Option<String>,
    /// The kernel's `max_user_instances`, if it could be read.
    pub inotify_instances: Option<String>,
}

/// Looks at the machine.
#[must_use]
pub fn look() -> Before {
    let (forward_policy, docker_chains) = firewall::look();
    Before {
        forward_policy,
        docker_chains,
        ip_forward: read(FORWARDING),
        inotify_instances: read(INOTIFY),
    }
}

/// Makes room for more than two clusters.
///
/// # Errors
/// Where the kernel refuses.
pub fn prepare() -> Result<()> {
    if inotify_instances().is_some_and(|now| now < INSTANCES) {
        fs::write(INOTIFY, INSTANCES.to_string())?;
    }
    Ok(())
}

/// Puts everything back; what can't be, is left.
pub fn restore(before: &Before) {
    firewall::restore(before.forward_policy.as_deref(), before.docker_chains);
    for (file, value) in [(FORWARDING, &before.ip_forward), (INOTIFY, &before.inotify_instances)] {
        if let Some(value) = value {
            let _ = fs::write(file, value);
        }
    }
}

/// What to tell a user whose cluster didn't come up, if this machine gives a reason.
#[must_use]
pub fn hint() -> Option<String> {
    let now = inotify_instances().filter(|now| *now < INSTANCES)?;
    Some(format!(
        "a node needs about 20 inotify instances, and fs.inotify.max_user_instances is {now} for all of them; \
         if several clusters run here, raise it: sysctl fs.inotify.max_user_instances={INSTANCES}"
    ))
}

fn inotify_instances() -> Option<u32> {
    read(INOTIFY)?.parse().ok()
}

fn read(file: &str) -> Option<String> {
    Some(fs::read_to_string(file).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_an_earlier_version_are_read() {
        let before: Before = serde_json::from_str(r#"{"forward_policy":"ACCEPT","docker_chains":true}"#).unwrap();
        assert_eq!(before.forward_policy.as_deref(), Some("ACCEPT"));
        assert!(before.docker_chains && before.inotify_instances.is_none());
    }
}
