//! The operator at its planned size: so many apps and endpoints in a real API server, so many proxies on real streams. What it
//! takes at rest, and what a change costs: of a pod, of an app, of everything. The steps are here; how each is done, beside.

mod instance;
mod objects;
mod streams;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Client, ResourceExt};
use nix::sys::signal::Signal;
use serde_json::json;
use tenbin_crds::BalancedApp;
use tenbin_e2e::eventually;
use tenbin_model::Kind;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::machine;
use crate::table::{Samples, Table, bytes, ms};
use instance::{Operator, SERVICE, SYSTEM, Setup};
use objects::{Apps, Member, NAMESPACE, SERVICE_NAME};
use streams::{Proxies, Proxy, Tally, Target};

/// How long a change may take to arrive.
const ARRIVE: Duration = Duration::from_secs(30);
/// How long all proxies may take to connect, with all their pauses.
const CONNECT: Duration = Duration::from_secs(180);
/// How long CPU at rest is looked at.
const REST: Duration = Duration::from_secs(10);
/// How long the operator may take to settle, in seconds.
const SETTLE: u64 = 300;

/// How many of what.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Apps.
    #[arg(long, default_value_t = 1000)]
    apps: usize,
    /// Endpoints of each app.
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
    /// Connected proxies.
    #[arg(long, default_value_t = 1000)]
    proxies: usize,
    /// Further proxies, for what each of them takes.
    #[arg(long, default_value_t = 500)]
    further: usize,
    /// How often a small change is made.
    #[arg(long, default_value_t = 30)]
    repetitions: usize,
    /// The operator's release binary.
    #[arg(
        long,
        env = "TENBIN_OPERATOR_BINARY",
        default_value = "target/release/tenbin-operator"
    )]
    operator: PathBuf,
}

/// Apps that differ in how many of their pods have a connected proxy.
struct Groups {
    /// All of them have.
    all: Vec<Member>,
    /// One has.
    one: Vec<Member>,
    /// None has.
    none: Vec<Member>,
    connected: Vec<Member>,
    further: Vec<Member>,
}

struct Bench {
    options: Options,
    apps: Apps,
    operator: Operator,
    proxies: Proxies,
    seen: mpsc::UnboundedReceiver<(String, Instant)>,
    rest: Table,
    costs: Table,
}

/// Runs it and prints the tables.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    // Whoever comes first installs it; all want the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default()
        .await
        .context("no cluster: KUBECONFIG must lead to one")?;
    let machine = machine::describe();
    let mut setup = Setup::new(&client, options.operator.clone()).await?;
    let apps = Apps::new(client.clone(), options.apps, options.endpoints);

    eprintln!("creating {} apps; the operator makes their objects", options.apps);
    let mut operator = setup.start()?;
    operator.ready().await?;
    let began = Instant::now();
    apps.create().await.with_context(|| operator.process.said())?;
    let accepted = began.elapsed();
    // It rests while pods come: what it costs to see 10,000 of them being made is nobody's question.
    operator.process.end(Signal::SIGTERM)?;
    eprintln!("creating {} pods", options.apps * options.endpoints);
    let members = apps.populate().await?;
    let groups = Groups::of(&options, members)?;

    let began = Instant::now();
    let mut operator = setup.start()?;
    operator.ready().await?;
    let started = began.elapsed();
    let secrets: Api<Secret> = Api::namespaced(client, SYSTEM);
    let secret = secrets.get("tenbin-xds-tls").await?;
    let ca = secret
        .data
        .and_then(|data| data.get("ca.crt").cloned())
        .context("the operator's Secret has no ca.crt")?;
    let host = format!("{SERVICE}.{SYSTEM}.svc");
    let proxies = Proxies::new(Target::new(setup.stream, host, &ca.0)?);
    let seen = watch(&apps, [&groups.all, &groups.one, &groups.none])?;
    let rest = Table::new("at rest | resident | most so far | CPU | budget");
    let costs = Table::new(
        "what | n | proxies that hear | resources | bytes | time p50, max | from watch event p50, max | operator CPU | budget",
    );
    let title = format!(
        "The operator with {} apps × {} endpoints",
        options.apps, options.endpoints
    );
    let mut bench = Bench {
        options,
        apps,
        operator,
        proxies,
        seen,
        rest,
        costs,
    };
    let measured = bench.measure(&mut setup, &groups).await;
    measured.with_context(|| bench.operator.process.said())?;
    println!("\n## {title}\n\n{machine}\n");
    println!("{}\n{}", bench.rest, bench.costs);
    println!(
        "Bytes are those of the responses, before HTTP/2 and TLS. Time: from just before the write is sent to the API server, or from \
         the beginning of the disturbance, until the last proxy has it. From watch event: from when a watch of our own, beside the \
         operator's, had it; below 0, the proxy was first. CPU is the operator's, user and system, resting hum included. The proxies \
         are simulated in one process of the same machine. A proxy that finds room in memory that the operator has freed and not \
         given back takes 0 B more. \
         All apps accepted from nothing, one after the other the operator made 5 objects of each: {}. Start with everything there, until \
         the stream is served: {}.",
        ms(accepted.as_secs_f64() * 1000.0),
        ms(started.as_secs_f64() * 1000.0)
    );
    Ok(())
}

/// Tells when the slices of these apps change, as a watch beside the operator's sees it.
fn watch(apps: &Apps, watched: [&[Member]; 3]) -> anyhow::Result<mpsc::UnboundedReceiver<(String, Instant)>> {
    let names: Vec<&str> = watched
        .iter()
        .filter_map(|members| Some(members.first()?.app.as_str()))
        .collect();
    ensure!(names.len() == watched.len(), "an app without pods can't be watched");
    let config = Config::default().labels(&format!("{SERVICE_NAME} in ({})", names.join(",")));
    let api = apps.api::<EndpointSlice>();
    let (tell, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut events = watcher(api, config).boxed();
        while let Some(event) = events.next().await {
            if let Ok(Event::Apply(slice) | Event::InitApply(slice)) = event {
                let app = slice.labels().get(SERVICE_NAME).cloned().unwrap_or_default();
                let _ = tell.send((app, Instant::now()));
            }
        }
    });
    Ok(seen)
}

impl Groups {
    /// A hundredth of the proxies' number of apps have all their pods connected, then one pod of each app, the last apps none.
    fn of(options: &Options, mut members: Vec<Vec<Member>>) -> anyhow::Result<Self> {
        let full = (options.proxies / 100).max(1);
        let single = options.proxies.saturating_sub(full * options.endpoints);
        ensure!(
            single > options.further && full + single < options.apps && options.endpoints > 1,
            "{options:?} does not fit: expected more than `further` proxies besides those of {full} whole apps, an app for each of \
             these, and one over"
        );
        let connected = members[..full].iter().flatten();
        let connected = connected
            .chain(members[full..full + single].iter().map(|of_app| &of_app[0]))
            .cloned()
            .collect();
        let further = members[full..full + options.further]
            .iter()
            .map(|of_app| of_app[1].clone())
            .collect();
        let mut take = |at: usize| members.swap_remove(at);
        // From the end, so that what is taken moves nothing that is taken later.
        let (none, one, all) = (take(options.apps - 1), take(full + single - 1), take(0));
        Ok(Groups {
            all,
            one,
            none,
            connected,
            further,
        })
    }
}

/// A series of one small change.
#[derive(Default)]
struct Series {
    total: Samples,
    from_watch: Samples,
    hearers: usize,
    resources: usize,
    bytes: usize,
    /// When the last proxy heard of the newest change.
    last: Option<Instant>,
}

impl Bench {
    async fn measure(&mut self, setup: &mut Setup, groups: &Groups) -> anyhow::Result<()> {
        self.operator.settled(SETTLE).await?;
        let idle = self.at_rest("no proxies", "–").await?;

        eprintln!("making tokens");
        let all: Vec<Member> = groups.connected.iter().chain(&groups.further).cloned().collect();
        let tokens = self.apps.tokens(&all).await?;
        let all = all.iter().zip(&tokens).enumerate();
        let all: Vec<Arc<Proxy>> = all
            .map(|(id, (member, token))| Ok(Arc::new(Proxy::new(id, NAMESPACE, &member.app, token)?)))
            .collect::<anyhow::Result<_>>()?;
        let (first, further) = all.split_at(self.options.proxies);

        self.connect("first connection of all", first).await?;
        self.operator.settled(SETTLE).await?;
        self.counts(first.len()).await?;
        let connected = self.at_rest(&format!("{} proxies", first.len()), "≤ 150 MiB").await?;
        self.connect("connection of further ones", further).await?;
        self.operator.settled(SETTLE).await?;
        let more = self.at_rest(&format!("{} proxies", all.len()), "–").await?;
        self.each("each of the first proxies", (connected - idle) / first.len() as f64);
        self.each("each further proxy", (more - connected) / further.len() as f64);
        self.proxies.end(further);
        self.operator.streams(first.len()).await?;
        self.operator.settled(SETTLE).await?;
        self.proxies.forget();

        let Groups { all, one, none, .. } = groups;
        self.pod_changes("a pod of an app with all connected", all, all.len())
            .await?;
        self.pod_changes("a pod of an app with one connected", one, 1).await?;
        self.pod_changes("a pod of an app with none connected", none, 0).await?;
        self.app_changes(&groups.all).await?;
        self.resync(first).await?;
        self.restart(setup, first.len()).await?;
        self.operator.settled(SETTLE).await?;
        self.counts(first.len()).await?;
        self.at_rest(&format!("{} proxies, after all this", first.len()), "≤ 150 MiB")
            .await?;
        // Those that came back by themselves hear changes as before.
        self.pod_changes("a pod, after the restart", all, all.len()).await
    }

    /// What one proxy takes, in bytes.
    fn each(&mut self, what: &str, resident: f64) {
        self.rest
            .row(format!("{what} | {} |  |  | ≤ 64 KiB", bytes(resident.max(0.0))));
    }

    /// Memory and CPU with nothing going on; gives what is resident, in bytes.
    async fn at_rest(&mut self, what: &str, budget: &str) -> anyhow::Result<f64> {
        let before = self.operator.process.cpu()?;
        sleep(REST).await;
        let cpu = (self.operator.process.cpu()? - before) / REST.as_secs_f64();
        let resident = self.operator.process.memory("VmRSS")?;
        let most = bytes(self.operator.process.memory("VmHWM")?);
        let cpu = format!("{:.1} % of a core", 100.0 * cpu);
        self.rest
            .row(format!("{what} | {} | {most} | {cpu} | {budget}", bytes(resident)));
        Ok(resident)
    }

    /// What the apps' statuses say of their proxies must be what there is.
    async fn counts(&self, wanted: usize) -> anyhow::Result<()> {
        let wanted = i32::try_from(wanted)?;
        eventually(
            "statuses count all proxies, as connected and as synced",
            60,
            async || {
                let counted = self.apps.proxies().await?;
                ensure!(counted == (wanted, wanted), "{counted:?}, not {wanted}");
                Ok(())
            },
        )
        .await
    }

    /// All of `proxies` connect at once, knowing nothing.
    async fn connect(&mut self, what: &str, proxies: &[Arc<Proxy>]) -> anyhow::Result<()> {
        eprintln!("{what}: {} proxies", proxies.len());
        let (cpu, reviews) = (self.operator.process.cpu()?, self.reviews().await?);
        let began = Instant::now();
        self.proxies.start(proxies);
        let tally = self
            .proxies
            .hear(what, CONNECT, |t| t.heard_of(&Kind::ALL) == proxies.len())
            .await?;
        let reviews = self.reviews().await? - reviews;
        let what = format!("{what} ({reviews} token reviews, {} tries failed)", tally.failed());
        self.all_at_once(&what, &tally, began, tally.last, cpu, "–")
    }

    async fn reviews(&self) -> anyhow::Result<f64> {
        Ok(self
            .operator
            .metrics()
            .await?
            .sum("tenbin_operator_token_reviews_total", &[]))
    }

    /// A row of something that happens once, to all proxies.
    fn all_at_once(
        &mut self,
        what: &str,
        tally: &Tally,
        began: Instant,
        ended: Option<Instant>,
        cpu_before: f64,
        budget: &str,
    ) -> anyhow::Result<()> {
        let time = ms(ended.map_or(f64::NAN, |at| milliseconds(began, at)));
        let cpu = ms((self.operator.process.cpu()? - cpu_before) * 1000.0);
        let (heard, resources, size) = (tally.heard.len(), tally.resources, bytes(tally.bytes as f64));
        self.costs.row(format!(
            "{what} | 1 | {heard} | {resources} | {size} | {time} |  | {cpu} | {budget}"
        ));
        Ok(())
    }

    /// Everybody is cut off and comes back with nothing.
    async fn resync(&mut self, proxies: &[Arc<Proxy>]) -> anyhow::Result<()> {
        self.proxies.end(proxies);
        self.operator.streams(0).await?;
        self.operator.settled(SETTLE).await?;
        self.proxies.forget();
        self.connect("full resync of all", proxies).await
    }

    /// The operator is killed and started at once; the proxies come back by themselves, with what they have.
    async fn restart(&mut self, setup: &mut Setup, proxies: usize) -> anyhow::Result<()> {
        eprintln!("restart");
        self.proxies.forget();
        let began = Instant::now();
        self.operator.process.end(Signal::SIGKILL)?;
        self.operator = setup.start()?;
        self.operator.ready().await?;
        let ready = milliseconds(began, Instant::now());
        let tally = self
            .proxies
            .hear("all proxies are back", CONNECT, |t| t.opened.len() == proxies)
            .await?;
        let ended = tally.opened.values().max().copied();
        let what = format!(
            "restart (−9; serves after {}; {} tries failed)",
            ms(ready),
            tally.failed()
        );
        self.all_at_once(&what, &tally, began, ended, 0.0, "0 resources")?;
        self.operator.streams(proxies).await
    }

    /// The last pod of an app goes from ready to not ready and back; `wanted` proxies are to hear.
    async fn pod_changes(&mut self, what: &str, members: &[Member], wanted: usize) -> anyhow::Result<()> {
        let mut series = Series::default();
        let cpu = self.operator.process.cpu()?;
        for n in 0..self.options.repetitions {
            let write = self.apps.flip(members, n % 2 == 1).await?;
            while self.seen.try_recv().is_ok() {}
            let sent = Instant::now();
            write.await?;
            self.take(what, sent, Kind::Endpoints, wanted, &mut series).await?;
            let watched = timeout(ARRIVE, self.seen.recv()).await;
            let (app, at) = watched
                .ok()
                .flatten()
                .context("the watch beside the operator's saw nothing")?;
            ensure!(
                app == members[0].app,
                "a slice of {app} changed, not one of {}",
                members[0].app
            );
            if let Some(last) = series.last {
                series.from_watch.add(milliseconds(at, last));
            }
        }
        self.series(what, &series, cpu, "≤ 10 ms from watch event, O(proxies that hear)")
    }

    /// The algorithm of an app changes, all the way: checked, accepted, sent.
    async fn app_changes(&mut self, members: &[Member]) -> anyhow::Result<()> {
        let what = "the algorithm of an app with all connected";
        let mut series = Series::default();
        let cpu = self.operator.process.cpu()?;
        let (api, app) = (self.apps.api::<BalancedApp>(), &members[0].app);
        for n in 0..self.options.repetitions {
            let algorithm = ["RoundRobin", "LeastRequest"][n % 2];
            let patch = Patch::Merge(json!({ "spec": { "algorithm": algorithm } }));
            let sent = Instant::now();
            api.patch(app, &PatchParams::default(), &patch).await?;
            self.take(what, sent, Kind::Cluster, members.len(), &mut series).await?;
        }
        self.series(what, &series, cpu, "–")
    }

    /// Hears of one change that was sent at `sent`: `wanted` proxies must, and no others.
    async fn take(
        &mut self,
        what: &str,
        sent: Instant,
        kind: Kind,
        wanted: usize,
        series: &mut Series,
    ) -> anyhow::Result<()> {
        let tally = self
            .proxies
            .hear(what, ARRIVE, |t| t.heard_of(&[kind]) >= wanted)
            .await?;
        let heard = tally.heard.len();
        ensure!(
            heard == wanted && tally.failed() == 0,
            "{what}: {heard} proxies heard, not {wanted}"
        );
        series.hearers += heard;
        series.resources += tally.resources;
        series.bytes += tally.bytes;
        series.last = tally.last;
        if let Some(last) = tally.last {
            series.total.add(milliseconds(sent, last));
        }
        Ok(())
    }

    /// A row of a series: of counts the mean.
    fn series(&mut self, what: &str, series: &Series, cpu_before: f64, budget: &str) -> anyhow::Result<()> {
        eprintln!("{what}: done");
        let n = self.options.repetitions;
        let mean = |sum: usize| sum as f64 / n as f64;
        let cpu = ms((self.operator.process.cpu()? - cpu_before) * 1000.0 / n as f64);
        let both = |samples: &Samples| format!("{}, {}", ms(samples.median()), ms(samples.max()));
        let (total, from_watch) = (both(&series.total), both(&series.from_watch));
        let (hear, resources, size) = (mean(series.hearers), mean(series.resources), bytes(mean(series.bytes)));
        self.costs.row(format!(
            "{what} | {n} | {hear} | {resources} | {size} | {total} | {from_watch} | {cpu} | {budget}"
        ));
        Ok(())
    }
}

/// Milliseconds from one moment to another, below 0 where it came before.
fn milliseconds(from: Instant, to: Instant) -> f64 {
    let (later, earlier) = (to.saturating_duration_since(from), from.saturating_duration_since(to));
    (later.as_secs_f64() - earlier.as_secs_f64()) * 1000.0
}
