//! `cargo xtask test`: every check there is. All stages run, also after one has failed, so that one run shows everything;
//! the cluster's ground (daemon, node image) is laid beside the stages that need none. What this run started, it ends.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use clap::ValueEnum;
use tenbin_cluster::cache::Lock;
use tenbin_cluster::images::{Images, cargo};
use tenbin_cluster::interrupt::{self, Interrupted};
use tenbin_cluster::kind::Cluster;
use tenbin_cluster::run::{Run, Stream};
use tenbin_cluster::say::span;
use tenbin_cluster::{Context, charts, curl, diagnostics, down, envoy, images, kind, socketio, tools};

use crate::tests_counted::Counted;
use crate::up::{self, Ground};
use crate::{Way, deny, making};

/// The cluster of the tests; a user's `up` stays untouched.
const CLUSTER: &str = "tenbin-test";
/// How long one cargo command may take before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(90 * 60);

/// What can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// `cargo fmt --check`.
    Format,
    /// `cargo clippy`, warnings are errors.
    Clippy,
    /// Licences, duplicates, sources, advisories.
    Deny,
    /// Unit tests, properties, simulations, golden files.
    Unit,
    /// `helm lint`.
    Charts,
    /// End to end on a fresh cluster.
    E2e,
}

/// What the stages found.
#[derive(Debug, Default)]
struct Findings {
    counted: Counted,
    /// Stages that failed otherwise than by a test that failed.
    broken: u64,
    failures: Vec<String>,
}

impl Findings {
    fn note(&mut self, result: Result<()>, failed_before: u64) {
        if let Err(error) = result {
            self.broken += u64::from(self.counted.failed == failed_before);
            self.failures.push(format!("{error:#}"));
        }
    }
}

/// Runs the stages asked for, or all, and ends with the line `N passed, N failed`.
pub(crate) fn everything(context: &Context, only: &[Stage], way: &Way) -> Result<()> {
    let wanted = |stage: Stage| only.is_empty() || only.contains(&stage);
    let say = &context.say;
    let _alone = context.cache.lock("lock-test", say)?;
    let mut findings = Findings::default();
    thread::scope(|scope| {
        let lock = making(context)?;
        let lane = context.lane("cluster");
        let ground = wanted(Stage::E2e).then(|| scope.spawn(move || fresh_ground(&lane, way)));
        for (stage, name) in [
            (Stage::Format, "Format"),
            (Stage::Clippy, "Clippy"),
            (Stage::Deny, "Licences and advisories"),
            (Stage::Unit, "Unit tests"),
            (Stage::Charts, "Charts"),
        ] {
            if wanted(stage) && !interrupt::requested() {
                let before = findings.counted.failed;
                let result = say.stage(name, || simple(context, stage, &mut findings.counted));
                findings.note(result, before);
            }
        }
        if let Some(ground) = ground {
            let before = findings.counted.failed;
            let ground = ground
                .join()
                .unwrap_or_else(|_| Err(anyhow!("the cluster's lane panicked")));
            let result = ground.and_then(|ground| end_to_end(context, ground, lock, &mut findings.counted));
            findings.note(result, before);
        }
        anyhow::Ok(())
    })?;
    ensure!(!interrupt::requested(), Interrupted);
    if findings.counted.passed + findings.counted.failed == 0 && (wanted(Stage::Unit) || wanted(Stage::E2e)) {
        findings.note(Err(anyhow!("no test was executed")), 0);
    }
    conclude(context, &findings)
}

/// The stages that need no cluster.
fn simple(context: &Context, stage: Stage, counted: &mut Counted) -> Result<()> {
    match stage {
        Stage::Format => shown(context, &["fmt", "--all", "--check"], &[], counted),
        Stage::Clippy => shown(
            context,
            // The tests on kind are no test that cargo runs by itself, and so not among all targets.
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--test",
                "kind",
                "--",
                "-D",
                "warnings",
            ],
            &[],
            counted,
        ),
        Stage::Deny => deny::check(context),
        Stage::Unit => {
            let args = ["test", "--workspace", "--no-fail-fast"];
            shown(context, &args, &suites(context)?, counted)
        }
        Stage::Charts => charts::lint(context),
        Stage::E2e => bail!("end to end is not a simple stage"),
    }
}

/// The test suites of others, which tests run against the proxy.
fn suites(context: &Context) -> Result<Vec<(&'static str, String)>> {
    let text = |path: PathBuf| path.display().to_string();
    Ok(vec![
        ("TENBIN_H2SPEC", text(tools::h2spec(context)?)),
        ("TENBIN_KOSOKU", text(tools::kosoku(context)?)),
        ("TENBIN_GRPC_INTEROP", text(tools::grpc_interop(context)?)),
    ])
}

/// The ground of the tests' cluster, with no rests of an earlier one on it.
fn fresh_ground(context: &Context, way: &Way) -> Result<Ground> {
    let ground = up::ground(context, way)?;
    kind::delete(&ground.docker, CLUSTER)?;
    Ok(ground)
}

/// A fresh cluster, Tenbin on it, the tests, and all of it gone again, whatever happens between.
fn end_to_end(context: &Context, ground: Ground, lock: Lock, counted: &mut Counted) -> Result<()> {
    let say = &context.say;
    let started = ground.docker.started;
    let result = up::cluster_on(context, ground, CLUSTER).and_then(|cluster| {
        let before = counted.failed;
        let result = on_cluster(context, &cluster, lock, counted);
        if result.is_err() || counted.failed > before {
            let dir = context.root.join("target/e2e-diagnostics");
            diagnostics::save(&cluster, &dir)?;
            diagnostics::show(say, &dir);
            say.line(format_args!("   all of it: {}", dir.display()));
        }
        result
    });
    let removed = say.stage("Taking the cluster away", || {
        // Another run may be at work on the same daemon; after a signal, nobody is waited for.
        let _lock = making(context).ok();
        down::remove(context, CLUSTER)?;
        if started { down::daemon_if_idle(context) } else { Ok(()) }
    });
    result.and(removed)
}

fn on_cluster(context: &Context, cluster: &Cluster, lock: Lock, counted: &mut Counted) -> Result<()> {
    let say = &context.say;
    let binaries = say.stage("Release binaries", || images::binaries(context))?;
    let images = say.stage("Images", || images::build(context, &cluster.docker, &binaries))?;
    let envoy = say.stage("Envoy", || envoy::build(context, &cluster.docker))?;
    let curl = say.stage("curl", || curl::build(context, &cluster.docker, &images.demo))?;
    let example = say.stage("Socket.IO", || socketio::build(context, &cluster.docker))?;
    say.stage("Images into the nodes", || {
        let others = [&envoy, &curl, &example.server, &example.redis];
        images::load(context, cluster, &[&images.all()[..], &others[..]].concat())
    })?;
    say.stage("Charts on the cluster", || charts::install(context, cluster, &images))?;
    drop(lock);
    say.stage("End to end", || {
        // All packages, though one has such tests: the same choice as the unit tests', so that nothing is compiled twice.
        // What a test says comes at the end, its failures last of all; while it runs, each test's line as it ends.
        let args = [
            "test",
            "--workspace",
            "--test",
            "kind",
            "--",
            "--test-threads=1",
            "--show-output",
        ];
        let mut environment = environment(cluster, &images);
        environment.push(("TENBIN_ENVOY_IMAGE", envoy.reference()));
        environment.push(("TENBIN_CURL_IMAGE", curl.reference()));
        shown(context, &args, &environment, counted)
    })
}

/// What the tests need to know of the cluster.
pub(crate) fn environment(cluster: &Cluster, images: &Images) -> Vec<(&'static str, String)> {
    let mut env = vec![
        ("TENBIN_CLUSTER", cluster.name.clone()),
        ("TENBIN_PROXY_IMAGE", images.proxy.reference()),
        ("TENBIN_OPERATOR_IMAGE", images.operator.reference()),
        ("TENBIN_DEMO_IMAGE", images.demo.reference()),
        ("TENBIN_KUBECTL", cluster.tools.kubectl.display().to_string()),
        ("TENBIN_HELM", cluster.tools.helm.display().to_string()),
        ("KUBECONFIG", cluster.kubeconfig.display().to_string()),
    ];
    env.extend(cluster.docker.host.clone().map(|host| ("DOCKER_HOST", host)));
    env
}

/// Runs cargo, shows what it says except for the crates it compiles, and counts tests.
fn shown(context: &Context, args: &[&str], env: &[(&str, String)], counted: &mut Counted) -> Result<()> {
    let mut run = Run::new(cargo()).args(args).dir(&context.root).limit(LIMIT);
    for (name, value) in env {
        run = run.env(name, value);
    }
    let before = counted.failed;
    let result = run.lines(|stream, line| {
        counted.add(line);
        let word = line.split_whitespace().next().unwrap_or_default();
        if stream == Stream::Out || !["Compiling", "Checking", "Downloading", "Downloaded", "Blocking"].contains(&word)
        {
            context.say.plain(line);
        }
    });
    match result {
        Err(error) if interrupt::caused(&error) => Err(error),
        // Everything was shown above; the words of the error would show its end once more.
        Err(_) if counted.failed > before => bail!("{} tests failed, see above", counted.failed - before),
        Err(_) => bail!("`cargo {}` failed, see above", args.join(" ")),
        Ok(()) => Ok(()),
    }
}

/// The summary, and the last line.
fn conclude(context: &Context, findings: &Findings) -> Result<()> {
    let say = &context.say;
    say.plain(format_args!("\nSummary, {} in all:", span(say.elapsed())));
    for stage in say.stages() {
        let mark = if stage.ok { "ok    " } else { "FAILED" };
        say.plain(format_args!("  {mark}  {:<26} {:>12}", stage.name, span(stage.took)));
    }
    for failure in &findings.failures {
        say.plain(format_args!("\nFAILED: {failure}"));
    }
    for (name, message) in &findings.counted.failures {
        say.plain(format_args!("\nFAILED TEST: {name}"));
        for line in message {
            say.plain(format_args!("    {line}"));
        }
    }
    // A stage that failed without a test that failed counts as one, so that the line never looks good after a failure.
    say.plain(format_args!(
        "\n{} passed, {} failed",
        findings.counted.passed,
        findings.counted.failed + findings.broken
    ));
    if findings.failures.is_empty() {
        Ok(())
    } else {
        Err(anyhow!(Quiet))
    }
}

/// The error of a run that has said everything already.
#[derive(Debug)]
pub(crate) struct Quiet;

impl std::fmt::Display for Quiet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("see above")
    }
}

impl std::error::Error for Quiet {}
