//! `cargo xtask up`: the stages in their order, the two long ones side by side, and the words at the end.

use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow};
use tenbin_cluster::docker::Docker;
use tenbin_cluster::kind::Cluster;
use tenbin_cluster::say::span;
use tenbin_cluster::{Context, charts, docker, down, hello, images, kind, node_image, tools};

use crate::{CLUSTER, Way};

/// Cluster, images, charts and the first app.
pub(crate) fn everything(context: &Context, way: &Way) -> Result<()> {
    let say = &context.say;
    let (cluster, binaries) = thread::scope(|scope| {
        let lane = context.lane("cluster");
        let cluster = scope.spawn(move || cluster(&lane, way, CLUSTER));
        let binaries = say.stage("Release binaries", || images::binaries(context));
        (
            cluster
                .join()
                .unwrap_or_else(|_| Err(anyhow!("the cluster's lane panicked"))),
            binaries,
        )
    });
    // The interruption of one lane is that of the other: the first error says it all.
    let (cluster, binaries) = (cluster?, binaries?);
    let installed = install(context, &cluster, &binaries);
    if let Err(error) = installed {
        return Err(
            error.context("the cluster is up, but Tenbin is not; once it is mended, `cargo xtask up` goes on here")
        );
    }
    say.plain(format_args!("\nUp, in {}.", span(say.elapsed())));
    for stage in say.stages() {
        say.plain(format_args!("  {:<24} {:>12}", stage.name, span(stage.took)));
    }
    hello::next(context, &cluster);
    print_environment(context, &cluster);
    Ok(())
}

fn install(context: &Context, cluster: &Cluster, binaries: &images::Binaries) -> Result<()> {
    let say = &context.say;
    let images = say.stage("Images", || images::build(context, &cluster.docker, binaries))?;
    say.stage("Images into the nodes", || {
        images::load(context, cluster, &images.all())
    })?;
    say.stage("Charts", || charts::install(context, cluster, &images))?;
    say.stage("Hello", || hello::show(context, cluster))
}

/// A daemon, the programs and a node image; what a cluster is made of.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) docker: Docker,
    pub(crate) tools: tools::Tools,
    pub(crate) image: String,
}

/// Finds or makes the ground. A daemon that this run started goes again if the rest fails.
pub(crate) fn ground(context: &Context, way: &Way) -> Result<Ground> {
    let say = &context.say;
    let docker = say.stage("Docker daemon", || docker::ensure(context, way.docker))?;
    let rest = || {
        let image = say.stage("Node image", || node_image::ensure(context, &docker, &way.node_image))?;
        let tools = say.stage("kind, kubectl, helm", || tools::ensure(context))?;
        Ok((image, tools))
    };
    match undo_daemon(context, &docker, rest()) {
        Ok((image, tools)) => Ok(Ground { docker, tools, image }),
        Err(error) => Err(error),
    }
}

/// A cluster of the name: as it is if it is healthy, else made.
pub(crate) fn cluster(context: &Context, way: &Way, name: &str) -> Result<Cluster> {
    let ground = ground(context, way)?;
    cluster_on(context, ground, name)
}

/// A cluster on this ground.
pub(crate) fn cluster_on(context: &Context, ground: Ground, name: &str) -> Result<Cluster> {
    cluster_of(context, ground, name, &context.root.join("kind-config.yaml"))
}

/// A cluster on this ground, of this kind config.
pub(crate) fn cluster_of(context: &Context, ground: Ground, name: &str, config: &Path) -> Result<Cluster> {
    let Ground { docker, tools, image } = ground;
    let made = context.say.stage("Cluster", || {
        kind::up_with(context, &docker, tools, name, &image, config)
    });
    undo_daemon(context, &docker, made)
}

/// The cluster of the name, if there is one on this daemon.
pub(crate) fn existing(context: &Context, docker: &Docker, name: &str) -> Result<Option<Cluster>> {
    let kubeconfig = kind::kubeconfig(context, name)?;
    if !kubeconfig.exists() {
        return Ok(None);
    }
    let tools = tools::ensure(context)?;
    Ok(Some(Cluster {
        name: name.to_owned(),
        kubeconfig,
        docker: docker.clone(),
        tools,
        made: false,
    }))
}

/// How to reach the cluster from a shell, with the programs that are not on `PATH` anyway.
pub(crate) fn print_environment(context: &Context, cluster: &Cluster) {
    let say = &context.say;
    say.plain("");
    if let Some(host) = &cluster.docker.host {
        say.plain(format_args!("export DOCKER_HOST={host}"));
    }
    let tools = [&cluster.tools.kubectl, &cluster.tools.helm, &cluster.tools.kind];
    let ours = tools.into_iter().filter(|tool| tool.starts_with(context.cache.root()));
    for folder in ours.filter_map(|tool| tool.parent()) {
        say.plain(format_args!("export PATH={}:$PATH", folder.display()));
    }
    say.plain(format_args!("export KUBECONFIG={}", cluster.kubeconfig.display()));
}

/// Ends a daemon that this run started for nothing.
fn undo_daemon<T>(context: &Context, docker: &Docker, result: Result<T>) -> Result<T> {
    if result.is_err() && docker.started {
        down::daemon_if_idle(context)?;
    }
    result
}
