//! A kind cluster of a given name: made, found healthy and kept, or found stale and made anew. Its kubeconfig is a file of
//! our own, so that a user's contexts stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::cache::key;
use crate::docker::Docker;
use crate::firewall::NETWORK;
use crate::run::Run;
use crate::tools::Tools;
use crate::{Context, interrupt, machine};

/// The label that kind puts on a cluster's containers.
const LABEL: &str = "io.x-k8s.kind.cluster";
/// How long an existing cluster may take to prove healthy.
const HEALTHY: Duration = Duration::from_secs(45);

/// A running cluster, and the programs that drive it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name, as kind knows it.
    pub name: String,
    /// The file that leads to it.
    pub kubeconfig: PathBuf,
    /// The daemon that it runs on.
    pub docker: Docker,
    /// kind, kubectl and helm.
    pub tools: Tools,
    /// Whether this run made it.
    pub made: bool,
}

/// What is noted of a cluster when it is made, for `down` and for the next `up`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Note {
    /// A key over its config and its node image: a cluster of another key is stale.
    pub key: String,
    /// Whether it runs on a daemon of our own.
    pub own: bool,
    /// `DOCKER_HOST` of its daemon, where that was set.
    pub host: Option<String>,
    /// Whether its network came with it, and so may go with it.
    pub made_network: bool,
}

impl Cluster {
    /// A `kubectl` command on it.
    #[must_use]
    pub fn kubectl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Run {
        Run::new(&self.tools.kubectl)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(args)
    }

    /// A `helm` command on it.
    #[must_use]
    pub fn helm<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Run {
        Run::new(&self.tools.helm)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(args)
    }

    /// The names of its nodes' containers.
    ///
    /// # Errors
    /// Where the daemon doesn't answer.
    pub fn nodes(&self) -> Result<Vec<String>> {
        containers(&self.docker, &self.name, "{{.Names}}")
    }
}

/// Where the kubeconfig of a cluster of this name lies.
///
/// # Errors
/// Where the cache can't be written.
pub fn kubeconfig(context: &Context, name: &str) -> Result<PathBuf> {
    context.cache.path(&format!("clusters/{name}.kubeconfig"))
}

/// The cluster of this name, on this image: the one that is there if it is healthy and of the same making, else a new one.
///
/// # Errors
/// Where kind fails; nothing half-made is left then.
pub fn up(context: &Context, docker: &Docker, tools: Tools, name: &str, image: &str) -> Result<Cluster> {
    up_with(
        context,
        docker,
        tools,
        name,
        image,
        &context.root.join("kind-config.yaml"),
    )
}

/// The same with another kind config than the tree's.
///
/// # Errors
/// As for [`up`].
pub fn up_with(
    context: &Context,
    docker: &Docker,
    tools: Tools,
    name: &str,
    image: &str,
    config: &Path,
) -> Result<Cluster> {
    let say = &context.say;
    let text = fs::read_to_string(config).with_context(|| format!("can't read {}", config.display()))?;
    let image_id = docker.run(["image", "inspect", "--format", "{{.Id}}", image]).out()?;
    let key = key([text.as_str(), &image_id]);
    let nodes = nodes_in(&text);
    let mut cluster = Cluster {
        name: name.to_owned(),
        kubeconfig: kubeconfig(context, name)?,
        docker: docker.clone(),
        tools,
        made: false,
    };

    if !containers(docker, name, "{{.ID}}")?.is_empty() {
        let same = note(context, name).is_some_and(|note| note.key == key);
        let why = if !same {
            Some("of another making")
        } else {
            unhealthy(&cluster, nodes)?
        };
        let Some(why) = why else {
            say.line(format_args!("   the cluster `{name}` is there, and healthy"));
            return Ok(cluster);
        };
        say.line(format_args!(
            "   the cluster `{name}` is there, but {why}: making it anew"
        ));
        delete(docker, name)?;
    }
    let made_network = docker.own || !docker.run(["network", "inspect", NETWORK]).succeeds();
    let host = docker.host.clone().or_else(|| std::env::var("DOCKER_HOST").ok());
    write_note(
        context,
        name,
        &Note {
            key,
            own: docker.own,
            host,
            made_network,
        },
    )?;
    if let Err(error) = create(context, &cluster, config, image) {
        say.line(format_args!("   taking away the half-made cluster `{name}`"));
        delete(docker, name)?;
        forget(context, name)?;
        return Err(match machine::hint() {
            Some(hint) if !interrupt::caused(&error) => error.context(hint),
            _ => error,
        });
    }
    cluster.made = true;
    Ok(cluster)
}

fn create(context: &Context, cluster: &Cluster, config: &Path, image: &str) -> Result<()> {
    let say = &context.say;
    let kind = cluster.docker.env(Run::new(&cluster.tools.kind));
    kind.args([
        "create",
        "cluster",
        "--name",
        &cluster.name,
        "--image",
        image,
        "--wait",
        "180s",
    ])
    .args([
        "--config".as_ref(),
        config.as_os_str(),
        "--kubeconfig".as_ref(),
        cluster.kubeconfig.as_os_str(),
    ])
    .log(context.cache.log(&format!("kind-{}", cluster.name))?)
    .lines(|_, line| {
        if let Some(step) = line.trim().strip_prefix("✓ ") {
            // Its pictures say nothing that the words don't.
            let words: String = step.chars().filter(|c| c.is_ascii() || *c == '≤').collect();
            say.line(format_args!("   {}", words.trim()));
        }
    })?;
    // kind waits for the control plane only.
    cluster
        .kubectl(["wait", "node", "--all", "--for=condition=Ready", "--timeout=120s"])
        .done()
}

/// Why a cluster must be made anew, if it must.
fn unhealthy(cluster: &Cluster, nodes: usize) -> Result<Option<&'static str>> {
    let running = containers(&cluster.docker, &cluster.name, "{{.State}}")?;
    if running.len() != nodes || running.iter().any(|state| state != "running") {
        return Ok(Some("not all of its nodes run"));
    }
    if !cluster.kubeconfig.exists() {
        let kind = cluster.docker.env(Run::new(&cluster.tools.kind));
        let export = kind.args(["export", "kubeconfig", "--name", &cluster.name, "--kubeconfig"]);
        if !export.args([&cluster.kubeconfig]).succeeds() {
            return Ok(Some("its kubeconfig is lost"));
        }
    }
    let ready = ["wait", "node", "--all", "--for=condition=Ready", "--timeout=30s"];
    let healthy = cluster.kubectl(ready).limit(HEALTHY).succeeds();
    // A signal makes the check fail too: no reason to throw a cluster away.
    anyhow::ensure!(!interrupt::requested(), interrupt::Interrupted);
    Ok((!healthy).then_some("its nodes are not ready"))
}

/// Removes a cluster's containers, as kind does; a cluster that isn't there is no fault. Works without kind, also on a
/// signal.
///
/// # Errors
/// Where the daemon doesn't answer.
pub fn delete(docker: &Docker, name: &str) -> Result<()> {
    let filter = format!("label={LABEL}={name}");
    let list = docker
        .run(["ps", "-aq", "--filter", &filter])
        .despite_interrupt()
        .out()?;
    let ids: Vec<&str> = list.lines().collect();
    if ids.is_empty() {
        return Ok(());
    }
    docker
        .run(["rm", "-f", "-v"])
        .args(ids)
        .despite_interrupt()
        .limit(Duration::from_secs(120))
        .done()
}

/// Whether the daemon runs a cluster, ours or not.
///
/// # Errors
/// Where the daemon doesn't answer.
pub fn any(docker: &Docker) -> Result<bool> {
    let list = docker
        .run(["ps", "-aq", "--filter", &format!("label={LABEL}")])
        .despite_interrupt()
        .out()?;
    Ok(!list.is_empty())
}

/// What was noted when the cluster was made.
#[must_use]
pub fn note(context: &Context, name: &str) -> Option<Note> {
    let text = fs::read(context.cache.path(&format!("clusters/{name}.json")).ok()?).ok()?;
    serde_json::from_slice(&text).ok()
}

fn write_note(context: &Context, name: &str, note: &Note) -> Result<()> {
    let file = context.cache.path(&format!("clusters/{name}.json"))?;
    fs::write(&file, serde_json::to_vec(note)?).with_context(|| format!("can't write {}", file.display()))
}

/// Removes the kubeconfig and the note of a cluster that is gone.
///
/// # Errors
/// Where the cache can't be written.
pub fn forget(context: &Context, name: &str) -> Result<()> {
    for file in [
        kubeconfig(context, name)?,
        context.cache.path(&format!("clusters/{name}.json"))?,
    ] {
        if file.exists() {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

fn containers(docker: &Docker, cluster: &str, format: &str) -> Result<Vec<String>> {
    let filter = format!("label={LABEL}={cluster}");
    let list = docker
        .run(["ps", "-a", "--filter", &filter, "--format", format])
        .out()?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// How many nodes a kind config has.
fn nodes_in(config: &str) -> usize {
    config
        .lines()
        .filter(|line| line.trim_start().trim_start_matches("- ").starts_with("role:"))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_of_the_tree_has_three_nodes() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kind-config.yaml");
        assert_eq!(nodes_in(&fs::read_to_string(path).unwrap()), 3);
        assert_eq!(nodes_in("nodes:\n- role: control-plane\n"), 1);
    }

    #[test]
    fn notes_survive_a_round_trip() {
        let note = Note {
            key: "k".to_owned(),
            own: true,
            host: None,
            made_network: false,
        };
        assert_eq!(
            serde_json::from_slice::<Note>(&serde_json::to_vec(&note).unwrap()).unwrap(),
            note
        );
    }
}
