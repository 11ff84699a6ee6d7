//! Keeps the traffic of a cluster on our own daemon inside its own bridge, and puts the machine's rules back as they were.
//! Only where the daemon is ours: a user's daemon gets no rule of ours.

use anyhow::{Context as _, Result};

use crate::docker::Docker;
use crate::run::Run;

/// The network that kind puts its nodes on.
pub const NETWORK: &str = "kind";
/// The bridge of that network, named by us so that the rules are the same in every run.
pub const BRIDGE: &str = "tenbin-kind";

/// The policy of the FORWARD chain, if it can be read, and whether there are chains of Docker's.
pub(crate) fn look() -> (Option<String>, bool) {
    let rules = iptables(&["-S"]).out().unwrap_or_default();
    let policy = rules
        .lines()
        .find_map(|rule| rule.strip_prefix("-P FORWARD "))
        .map(str::to_owned);
    (policy, rules.lines().any(|rule| rule.starts_with("-N DOCKER")))
}

/// Makes the network of the clusters, on a bridge of the name the rules know.
///
/// # Errors
/// Where Docker fails.
pub fn network(docker: &Docker) -> Result<()> {
    let format = "{{index .Options \"com.docker.network.bridge.name\"}}";
    match docker.run(["network", "inspect", "--format", format, NETWORK]).out() {
        Ok(bridge) if bridge == BRIDGE => return Ok(()),
        Ok(_) => docker.run(["network", "rm", NETWORK]).done()?,
        Err(_) => {}
    }
    let name = format!("com.docker.network.bridge.name={BRIDGE}");
    docker
        .run(["network", "create", "--driver", "bridge", "--opt", &name, NETWORK])
        .out()
        .map(drop)
        .context("can't make the clusters' network")
}

/// The two ways out of the bridge: through this machine to another interface, and into this machine itself. Answers to
/// what the machine asked (the API server's published port) pass.
fn rules() -> [Vec<&'static str>; 2] {
    let comment = ["-m", "comment", "--comment", "tenbin", "-j", "REJECT"];
    let out = ["DOCKER-USER", "-i", BRIDGE, "!", "-o", BRIDGE];
    let machine = ["INPUT", "-i", BRIDGE, "-m", "conntrack", "--ctstate", "NEW"];
    [[&out[..], &comment[..]].concat(), [&machine[..], &comment[..]].concat()]
}

/// Closes both ways out.
///
/// # Errors
/// Where iptables fails.
pub fn close() -> Result<()> {
    for rule in rules() {
        if !iptables(&[&["-C"], &rule[..]].concat()).succeeds() {
            iptables(&[&["-I"], &rule[..]].concat())
                .done()
                .context("can't keep the cluster in its bridge")?;
        }
    }
    Ok(())
}

/// Puts the machine's rules back: ours go, and Docker's too where it had none before. What is gone already is no fault.
pub(crate) fn restore(policy: Option<&str>, docker_chains: bool) {
    for rule in rules() {
        while iptables(&[&["-D"], &rule[..]].concat()).despite_interrupt().succeeds() {}
    }
    if !docker_chains {
        for table in ["filter", "nat"] {
            let listed = iptables(&["-t", table, "-S"])
                .despite_interrupt()
                .out()
                .unwrap_or_default();
            for command in without_docker(&listed) {
                let args: Vec<&str> = ["-t", table]
                    .into_iter()
                    .chain(command.iter().map(String::as_str))
                    .collect();
                let _ = iptables(&args).despite_interrupt().out();
            }
        }
    }
    if let Some(policy) = policy {
        let _ = iptables(&["-P", "FORWARD", policy]).despite_interrupt().out();
    }
    let _ = Run::new("ip")
        .args(["link", "delete", BRIDGE])
        .despite_interrupt()
        .out();
}

/// The commands that take Docker's rules and chains out of a table listed by `iptables -S`: first the jumps from other
/// chains, then the content of its own, then those.
fn without_docker(listed: &str) -> Vec<Vec<String>> {
    let words = |rule: &str| rule.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let own: Vec<&str> = listed
        .lines()
        .filter_map(|rule| rule.strip_prefix("-N "))
        .filter(|name| name.starts_with("DOCKER"))
        .collect();
    let ours = |rule: &str| rule.contains(BRIDGE) || rule.split_whitespace().any(|word| own.contains(&word));
    let mut commands: Vec<Vec<String>> = Vec::new();
    for rule in listed.lines().filter(|rule| rule.starts_with("-A ") && ours(rule)) {
        let mut command = words(rule);
        if !command.get(1).is_some_and(|chain| own.contains(&chain.as_str())) {
            "-D".clone_into(&mut command[0]);
            commands.push(command);
        }
    }
    for action in ["-F", "-X"] {
        commands.extend(own.iter().map(|name| vec![action.to_owned(), (*name).to_owned()]));
    }
    commands
}

fn iptables(args: &[&str]) -> Run {
    // -w: wait for the lock that another program's iptables may hold.
    Run::new("iptables").args(["-w", "10"]).args(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_goes_and_the_rest_stays() {
        let listed = "-P FORWARD DROP\n-N DOCKER\n-N DOCKER-USER\n-N MINE\n\
            -A FORWARD -j DOCKER-USER\n-A FORWARD -o tenbin-kind -j DOCKER\n-A FORWARD -j MINE\n\
            -A DOCKER -d 172.18.0.2/32 -j ACCEPT\n-A DOCKER-USER -j RETURN\n";
        let commands: Vec<String> = without_docker(listed).iter().map(|words| words.join(" ")).collect();
        assert_eq!(
            commands,
            [
                "-D FORWARD -j DOCKER-USER",
                "-D FORWARD -o tenbin-kind -j DOCKER",
                "-F DOCKER",
                "-F DOCKER-USER",
                "-X DOCKER",
                "-X DOCKER-USER"
            ]
        );
    }

    #[test]
    fn both_ways_out_of_the_bridge_are_closed() {
        let [out, machine] = rules().map(|rule| rule.join(" "));
        assert!(
            out.starts_with("DOCKER-USER -i tenbin-kind ! -o tenbin-kind ") && out.ends_with("-j REJECT"),
            "{out}"
        );
        assert!(
            machine.starts_with("INPUT -i tenbin-kind ") && machine.ends_with("-j REJECT"),
            "{machine}"
        );
    }
}
