//! `cargo xtask bench`: makes what the benchmarks need and runs them. What needs no cluster comes first; the one that takes the
//! cluster's controllers away comes last. What is measured, and how, is in `e2e/bench`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use tenbin_cluster::images::{Binaries, cargo};
use tenbin_cluster::interrupt::{self, Interrupted};
use tenbin_cluster::kind::Cluster;
use tenbin_cluster::run::{Run, which};
use tenbin_cluster::say::span;
use tenbin_cluster::{Context, charts, down, envoy, images, kind, own_daemon};

use crate::test::environment;
use crate::up;
use crate::{Way, making};

/// The cluster of the benchmarks; others stay untouched.
const CLUSTER: &str = "tenbin-bench";
/// How long one benchmark may take before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(45 * 60);
/// How long pods may take to go.
const GONE: Duration = Duration::from_secs(120);

/// What can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bench {
    /// The operator with 1,000 apps × 10 endpoints and 1,000 proxies.
    Operator,
    /// From endpoint event to first pick.
    Latency,
    /// CPU per request, throughput, latency and memory of the proxy against nginx, HAProxy and Envoy.
    Cpu,
    /// A probe's latency beside floods, slow and many clients, and the proxy's memory for each connection and stream.
    Floods,
    /// Memory of the proxy for each of 10,000 WebSockets.
    Sockets,
}

/// What is passed on to `cpu`, or to `floods` where that runs alone; they judge it.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Cpu {
    /// Of `cpu` and `floods`: only these rows, as h1-1k,tls.
    #[arg(long, value_name = "ROW,…")]
    rows: Option<String>,
    /// Of `cpu`: only these proxies, as tenbin,nginx.
    #[arg(long, value_name = "PROXY,…")]
    proxies: Option<String>,
    /// Of `cpu`: rounds of each row.
    #[arg(long)]
    rounds: Option<u32>,
    /// Of `cpu`: seconds for each proxy in a round; of `floods`: for the probe, alone and beside each row.
    #[arg(long)]
    seconds: Option<u32>,
    /// Of `cpu` and `floods`: the page whose tables are replaced, from the workspace's root: docs/performance.md.
    #[arg(long, value_name = "PAGE")]
    write: Option<String>,
}

impl Cpu {
    /// As the benchmark's command line wants it.
    fn args(&self) -> Vec<String> {
        let given = [
            ("--rows", self.rows.clone()),
            ("--proxies", self.proxies.clone()),
            ("--rounds", self.rounds.map(|rounds| rounds.to_string())),
            ("--seconds", self.seconds.map(|seconds| seconds.to_string())),
            ("--write", self.write.clone()),
        ];
        let pairs = given
            .into_iter()
            .filter_map(|(name, value)| Some([name.to_owned(), value?]));
        pairs.flatten().collect()
    }
}

/// Runs the one asked for, or all; the others run also after one has failed.
pub(crate) fn everything(context: &Context, only: Option<Bench>, asked: &Cpu, way: &Way) -> Result<()> {
    let wanted = |bench: Bench| only.is_none_or(|only| only == bench);
    let args = asked.args();
    ensure!(
        wanted(Bench::Cpu) || only == Some(Bench::Floods) || args.is_empty(),
        "{} is for `cpu` or `floods`, which is not run",
        args.join(" ")
    );
    let say = &context.say;
    let _alone = context.cache.lock("lock-test", say)?;
    let binaries = say.stage("Release binaries", || images::binaries(context))?;
    say.stage("Benchmarks", || {
        let build = Run::new(cargo()).args(["build", "--release", "-p", "tenbin-bench"]);
        build.dir(&context.root).log(context.cache.log("cargo-bench")?).done()
    })?;
    let mut failures = Vec::new();
    if wanted(Bench::Cpu) {
        failures.extend(say.stage("CPU per request", || cpu(context, &binaries, &args)).err());
    }
    if wanted(Bench::Floods) && !interrupt::requested() {
        // Where `cpu` runs too, what was given is its.
        let args = if only == Some(Bench::Floods) { &args[..] } else { &[] };
        failures.extend(say.stage("Floods", || floods(context, &binaries, args)).err());
    }
    if wanted(Bench::Sockets) && !interrupt::requested() {
        failures.extend(say.stage("WebSockets", || sockets(context, &binaries)).err());
    }
    let on_cluster: Vec<Bench> = [Bench::Latency, Bench::Operator]
        .into_iter()
        .filter(|b| wanted(*b))
        .collect();
    if !on_cluster.is_empty() && !interrupt::requested() {
        failures.extend(on_fresh_cluster(context, way, &binaries, &on_cluster));
    }
    ensure!(!interrupt::requested(), Interrupted);
    say.plain(format_args!("\n{} in all.", span(say.elapsed())));
    let words: Vec<String> = failures.iter().map(|error| format!("{error:#}")).collect();
    ensure!(words.is_empty(), "{}", words.join("\nFAILED: "));
    Ok(())
}

fn cpu(context: &Context, binaries: &Binaries, args: &[String]) -> Result<()> {
    let programs = [
        ("nginx", "nginx"),
        ("haproxy", "haproxy"),
        ("wrk", "wrk"),
        ("h2load", "nghttp2-client"),
        ("taskset", "util-linux"),
    ];
    installed(context, &programs)?;
    let [proxy, demo] = ours(binaries)?;
    let envoy = envoy::program(context)?.display().to_string();
    run(context, "cpu", args, &[proxy, demo, ("TENBIN_ENVOY_BINARY", envoy)])
}

fn floods(context: &Context, binaries: &Binaries, args: &[String]) -> Result<()> {
    installed(context, &[("nginx", "nginx"), ("taskset", "util-linux")])?;
    run(context, "floods", args, &ours(binaries)?)
}

fn sockets(context: &Context, binaries: &Binaries) -> Result<()> {
    run(context, "sockets", &[], &ours(binaries)?)
}

/// Where our proxy and its app are.
fn ours(binaries: &Binaries) -> Result<[(&'static str, String); 2]> {
    let path = |name: &str| anyhow::Ok(binaries.path(name)?.display().to_string());
    let (proxy, demo) = (path("tenbin-proxy")?, path("tenbin-demo")?);
    Ok([("TENBIN_PROXY_BINARY", proxy), ("TENBIN_DEMO_BINARY", demo)])
}

/// Installs the packages of those programs that are missing.
fn installed(context: &Context, programs: &[(&str, &'static str)]) -> Result<()> {
    let missing = programs.iter().filter(|(program, _)| which(program).is_none());
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    own_daemon::install(&context.say, &packages)
}

/// Runs one benchmark and shows what it says.
fn run(context: &Context, bench: &str, args: &[String], env: &[(&str, String)]) -> Result<()> {
    let mut run = Run::new(cargo())
        .args(["run", "--release", "--quiet", "-p", "tenbin-bench", "--", bench])
        .args(args)
        .dir(&context.root)
        .limit(LIMIT);
    for (name, value) in env {
        run = run.env(name, value);
    }
    run.lines(|_, line| context.say.plain(line))
}

/// A fresh cluster, Tenbin on it, the benchmarks, and all of it gone again; what failed.
fn on_fresh_cluster(context: &Context, way: &Way, binaries: &Binaries, benches: &[Bench]) -> Vec<anyhow::Error> {
    let say = &context.say;
    let mut started = false;
    let mut failures = Vec::new();
    let cluster = made(context, way, binaries, &mut started);
    match cluster {
        Ok((cluster, env)) => {
            for bench in benches {
                let result = match bench {
                    Bench::Latency => say.stage("Endpoint event to first pick", || run(context, "latency", &[], &env)),
                    _ => say
                        .stage("Controllers away", || controllers_away(&cluster))
                        .and_then(|()| say.stage("Operator", || run(context, "operator", &[], &env))),
                };
                failures.extend(result.err());
            }
        }
        Err(error) => failures.push(error),
    }
    let removed = say.stage("Taking the cluster away", || {
        // Another run may be at work on the same daemon; after a signal, nobody is waited for.
        let _lock = making(context).ok();
        down::remove(context, CLUSTER)?;
        if started { down::daemon_if_idle(context) } else { Ok(()) }
    });
    failures.extend(removed.err());
    failures
}

type Environment = Vec<(&'static str, String)>;

/// The cluster with Tenbin on it, and what the benchmarks need to know.
fn made(context: &Context, way: &Way, binaries: &Binaries, started: &mut bool) -> Result<(Cluster, Environment)> {
    let say = &context.say;
    let _lock = making(context)?;
    let ground = up::ground(context, way)?;
    *started = ground.docker.started;
    kind::delete(&ground.docker, CLUSTER)?;
    let cluster = up::cluster_of(
        context,
        ground,
        CLUSTER,
        &context.root.join("e2e/bench/kind-config.yaml"),
    )?;
    let images = say.stage("Images", || images::build(context, &cluster.docker, binaries))?;
    say.stage("Images into the nodes", || {
        images::load(context, &cluster, &images.all())
    })?;
    say.stage("Charts on the cluster", || charts::install(context, &cluster, &images))?;
    let mut env = environment(&cluster, &images);
    let operator = binaries.path("tenbin-operator")?.display().to_string();
    env.push(("TENBIN_OPERATOR_BINARY", operator));
    Ok((cluster, env))
}

/// Leaves an API server alone with its objects: no operator of the chart's, no controller manager, no scheduler. The chart's
/// ServiceAccount and roles stay, for the operator that is measured.
fn controllers_away(cluster: &Cluster) -> Result<()> {
    let old = [
        "delete",
        "namespace",
        "-l",
        "tenbin-e2e=true",
        "--ignore-not-found",
        "--timeout=180s",
    ];
    cluster.kubectl(old).done()?;
    let system = ["-n", charts::NAMESPACE];
    cluster
        .kubectl(system)
        .args(["scale", "deployment/tenbin-operator", "--replicas=0"])
        .done()?;
    gone(cluster, charts::NAMESPACE, "app.kubernetes.io/name=tenbin-operator")?;
    let nodes = cluster.nodes()?;
    let node = nodes.first().context("the cluster has no node")?;
    let park = "cd /etc/kubernetes && mkdir -p parked && mv manifests/kube-controller-manager.yaml manifests/kube-scheduler.yaml parked/";
    cluster.docker.run(["exec", node, "sh", "-c", park]).done()?;
    gone(
        cluster,
        "kube-system",
        "component in (kube-controller-manager,kube-scheduler)",
    )
}

/// Waits until a namespace has no pods with these labels.
fn gone(cluster: &Cluster, namespace: &str, labels: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        let pods = cluster
            .kubectl(["-n", namespace, "get", "pods", "-o", "name", "-l", labels])
            .out()?;
        if pods.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > GONE {
            bail!("still there after {}: {}", span(GONE), pods.replace('\n', ", "));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_is_passed_on() {
        assert!(Cpu::default().args().is_empty());
        let asked = Cpu {
            rows: Some("h1-1k,tls".to_owned()),
            seconds: Some(2),
            ..Cpu::default()
        };
        assert_eq!(asked.args(), ["--rows", "h1-1k,tls", "--seconds", "2"]);
    }
}
