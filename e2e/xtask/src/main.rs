//! The commands of this repository: `cargo xtask up` brings the whole thing to life on a local cluster, `cargo xtask
//! test` checks everything. What the flags are lives here; what is done, in the other files and in `tenbin-cluster`.

mod bench;
mod deny;
mod simulate;
mod test;
mod tests_counted;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use tenbin_cluster::cache::{Cache, Lock};
use tenbin_cluster::say::{Say, span};
use tenbin_cluster::{Context, docker, down, images, interrupt, node_image, socketio};

/// The name of the cluster that `up` makes.
const CLUSTER: &str = "tenbin";

/// Tenbin's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a cluster, builds and installs Tenbin, and runs the first app on it.
    Up(Way),
    /// Removes the cluster and all that `up` made, except the cache.
    Down {
        /// Removes the cache too: every cluster of ours, what was built, and Docker's data where the daemon is ours.
        #[arg(long)]
        purge: bool,
    },
    /// Checks everything: format, lints, licences, tests, charts, and end to end on a fresh cluster.
    Test {
        /// Runs only this stage; may be given more than once.
        #[arg(long, value_name = "STAGE", value_enum)]
        only: Vec<test::Stage>,
        #[command(flatten)]
        way: Way,
    },
    /// Measures: the operator at its planned size, endpoint event to first pick, CPU per request against other proxies, a
    /// probe beside floods.
    Bench {
        /// Runs only this one.
        #[arg(value_enum)]
        only: Option<bench::Bench>,
        #[command(flatten)]
        cpu: bench::Cpu,
        #[command(flatten)]
        way: Way,
    },
    /// Runs every balancing algorithm in every simulated world, and prints the table of docs/algorithms.md.
    Simulate(simulate::Simulate),
    /// Builds our images into the Docker daemon, and into the cluster's nodes if it is up.
    Images {
        /// Those of examples/socketio as well: the example itself and Redis.
        #[arg(long)]
        socketio: bool,
        #[command(flatten)]
        way: Way,
    },
    /// A bare cluster, without Tenbin on it.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Checks licences, duplicates, sources, and advisories where they can be had.
    Deny,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Makes it, or finds it healthy.
    Up(Way),
    /// Removes it.
    Down,
}

/// Which way the cluster is made. What is not said is found out by trying.
#[derive(Args, Clone, Debug)]
pub(crate) struct Way {
    /// The Docker daemon: `existing` one, one of our `own`, or `auto`: the existing one if it answers.
    #[arg(long, default_value = "auto", value_name = "own|existing|auto")]
    docker: docker::Choice,
    /// The nodes' image: `pull` kind's, `build` our own, `auto`: pulled if that works, or a reference.
    #[arg(long, default_value = "auto", value_name = "auto|pull|build|REF")]
    node_image: node_image::Choice,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let say = Say::default();
    let result = interrupt::listen()
        .and_then(|()| context(say.clone()))
        .and_then(|context| run(&context, cli.command));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<test::Quiet>() => ExitCode::FAILURE,
        Err(error) if interrupt::caused(&error) => {
            say.plain("\nInterrupted; what was half-made is gone. The same command goes on from here.");
            ExitCode::from(130)
        }
        Err(error) => {
            say.plain(format_args!("\nFAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn context(say: Say) -> Result<Context> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = here
        .join("../..")
        .canonicalize()
        .context("can't find the workspace: run this as `cargo xtask`")?;
    Ok(Context {
        root,
        cache: Cache::open()?,
        say,
    })
}

/// The lock under which things that other runs use are made and removed.
pub(crate) fn making(context: &Context) -> Result<Lock> {
    let lock = context.cache.lock("lock", &context.say)?;
    context.cache.clear_rests()?;
    Ok(lock)
}

fn run(context: &Context, command: Command) -> Result<()> {
    let say = &context.say;
    let lock = || making(context);
    match command {
        Command::Up(way) => {
            let _lock = lock()?;
            up::everything(context, &way)
        }
        Command::Down { purge } => {
            let _lock = lock()?;
            say.stage("Down", || {
                if purge {
                    down::purge(context)
                } else {
                    down::cluster(context, CLUSTER)
                }
            })?;
            say.plain("\nDown.");
            Ok(())
        }
        Command::Test { only, way } => test::everything(context, &only, &way),
        Command::Bench { only, cpu, way } => bench::everything(context, only, &cpu, &way),
        Command::Simulate(simulate) => simulate::run(say, &context.root, simulate),
        Command::Images { socketio, way } => build_images(context, socketio, &way),
        Command::Cluster(ClusterCommand::Up(way)) => {
            let _lock = lock()?;
            let cluster = up::cluster(context, &way, CLUSTER)?;
            say.plain(format_args!("\nThe cluster is up ({}).", span(say.elapsed())));
            up::print_environment(context, &cluster);
            Ok(())
        }
        Command::Cluster(ClusterCommand::Down) => {
            let _lock = lock()?;
            say.stage("Down", || down::cluster(context, CLUSTER))
        }
        Command::Deny => say.stage("Licences, duplicates, sources, advisories", || deny::check(context)),
    }
}

fn build_images(context: &Context, socketio: bool, way: &Way) -> Result<()> {
    let say = &context.say;
    let binaries = say.stage("Release binaries", || images::binaries(context))?;
    let _lock = making(context)?;
    let docker = say.stage("Docker daemon", || docker::ensure(context, way.docker))?;
    let ours = say.stage("Images", || images::build(context, &docker, &binaries))?;
    let mut built = vec![ours.proxy, ours.operator, ours.demo];
    if socketio {
        let example = say.stage("Socket.IO", || socketio::build(context, &docker))?;
        built.extend([example.server, example.redis]);
    }
    if let Some(cluster) = up::existing(context, &docker, CLUSTER)? {
        say.stage("Images into the nodes", || {
            images::load(context, &cluster, &built.iter().collect::<Vec<_>>())
        })?;
    }
    for image in &built {
        say.plain(image.reference());
    }
    Ok(())
}
