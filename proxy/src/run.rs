//! The process: binds, starts the workers, and is the control thread: updates, status port, admin socket, signals, drain.
//! Traffic is never touched here.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use prometheus_client::registry::Registry;
use tenbin_model::Certificate;
use tokio::net::TcpListener;
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep};
use tracing::{error, info, warn};

use crate::access_log::{AccessLog, Lines};
use crate::certificates::{self, CertificateFiles};
use crate::clock::Clock;
use crate::drain::drain;
use crate::lifecycle::Lifecycle;
use crate::local_http::{self, Handler, Socket};
use crate::metrics::Metrics;
use crate::plan::{Plan, StreamPlan};
use crate::serve::{self, Bound, Worker};
use crate::shared::Shared;
use crate::spans::{Exporter, Spans};
use crate::state::{Listener, State};
use crate::telemetry::LogLevel;
use crate::xds::client::{self, Change, ClientConfig};
use crate::xds::metrics::StreamMetrics;
use crate::xds::session::Session;
use crate::xds::store::Store;
use crate::{admin, limits, status};

/// Updates that may wait to be put in use.
const WAITING_UPDATES: usize = 16;
/// How long the access log and spans get to be written and sent at the end, and how often is looked whether they are.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// See [`LAST_WORDS`].
const LAST_LOOK: Duration = Duration::from_millis(2);
/// How often workers are looked after.
const LOOK: Duration = Duration::from_secs(1);

/// What only the control thread has.
struct Control {
    shared: Shared,
    workers: Vec<JoinHandle<io::Result<()>>>,
    stream: Option<Stream>,
    files: Files,
    status: Option<(Socket, Handler)>,
    admin: Option<(Socket, Handler)>,
    access_log: (AccessLog, Lines),
    spans: (Spans, Exporter),
    instance: String,
}

/// The files of certificates, and what was in them at the start.
struct Files {
    files: Vec<CertificateFiles>,
    known: Vec<Certificate>,
}

/// What the stream's task has.
struct Stream {
    client: ClientConfig,
    session: Session,
    store: Store,
    metrics: Arc<StreamMetrics>,
}

/// Runs the proxy until it is told to end, and has drained.
///
/// # Errors
/// Something could not be bound or started, or a worker failed.
pub fn run(plan: Plan, log_level: LogLevel) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let admin_socket = plan.admin.clone();
    let drain = plan.drain;
    let control = {
        let _entered = runtime.enter();
        start(plan, log_level)?
    };
    let Control {
        shared,
        workers,
        stream,
        files,
        status,
        admin,
        access_log: (access_log, lines),
        spans: (spans, exporter),
        instance,
    } = control;
    let outcome = runtime.block_on(async {
        let told = futures::future::join(write_lines(lines), exporter.run(shared.clock, instance));
        let local = futures::future::join3(serve_local(status), serve_local(admin), told);
        let mut local = std::pin::pin!(local);
        let outcome = tokio::select! {
            _ = &mut local => bail!("the control thread's servers ended"),
            () = follow(stream, files, &shared) => bail!("the stream's task ended"),
            outcome = live(&shared, &workers, drain) => outcome,
        };
        spans.flush();
        let told = async {
            while access_log.pending() + spans.counts().pending.load(Relaxed) > 0 {
                sleep(LAST_LOOK).await;
            }
        };
        tokio::select! {
            _ = &mut local => {}
            () = told => {}
            () = sleep(LAST_WORDS) => {}
        }
        outcome
    });
    shared.lifecycle.stop();
    if let Some(path) = admin_socket {
        let _ = std::fs::remove_file(path);
    }
    for worker in workers {
        match worker.join() {
            Ok(ended) => ended.context("a worker failed")?,
            Err(_) => bail!("a worker panicked"),
        }
    }
    outcome
}

/// Binds everything and starts the workers.
fn start(plan: Plan, log_level: LogLevel) -> anyhow::Result<Control> {
    let instance = plan.bootstrap.instance.clone();
    let descriptors = limits::raise_descriptors().context("the limit of descriptors")?;
    let shared = Shared {
        state: Arc::new(State::new(plan.bootstrap, seed())),
        lifecycle: Lifecycle::new(limits::connections(descriptors.now)),
        clock: Clock::start(),
        updated: Arc::default(),
        fd_limit: descriptors.now,
    };
    let files = Files {
        known: plan.first.as_ref().map(certificates::of).unwrap_or_default(),
        files: plan.certificates,
    };
    if let Some(update) = plan.first {
        shared.state.apply(update, shared.clock.now(), seed());
    }
    let (access_log, lines) = AccessLog::new(plan.access_log);
    let (spans, exporter) = Spans::new();
    let stream = plan.stream.map(|plan| restore(plan, &shared));
    if let Some(port) = shared.state.load().waits_for() {
        warn!(%port, reason = plan.missing.join("; "), "not ready before the operator says how the app's certificate is verified");
    }

    let bound = bind(&shared.state, plan.workers)?;
    let addresses = bound.iter().map(|bound| bound.address).collect();
    let (status_socket, status_address) = plan.status.map(bind_status).transpose()?.unzip();
    let admin_socket = plan.admin.as_deref().map(bind_admin).transpose()?;
    let workers = start_workers(bound, &shared, &access_log, &spans)?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        workers = plan.workers,
        fd_limit = descriptors.now,
        fd_limit_before = descriptors.before,
        connection_limit = shared.lifecycle.limit(),
        "started"
    );

    let mut registry = Registry::with_prefix("tenbin");
    if let Some(stream) = &stream {
        stream.metrics.register(&mut registry);
    }
    let metrics = Metrics {
        shared: shared.clone(),
        access_log: access_log.clone(),
        spans: spans.clone(),
    };
    registry.register_collector(Box::new(metrics));
    let process = admin::Process {
        shared: shared.clone(),
        stream: stream.as_ref().map(|stream| Arc::clone(&stream.metrics)),
        bound: addresses,
        status: status_address,
        workers: plan.workers,
        log_level,
    };
    let status_answers = status::handler(registry, Arc::clone(&shared.state));
    Ok(Control {
        shared,
        workers,
        stream,
        files,
        status: status_socket.map(|socket| (socket, status_answers)),
        admin: admin_socket.map(|socket| (socket, admin::handler(process))),
        access_log: (access_log, lines),
        spans: (spans, exporter),
        instance,
    })
}

/// Puts what was saved in use, before the first request; the stream goes on from there.
fn restore(plan: StreamPlan, shared: &Shared) -> Stream {
    let StreamPlan { client, node_id, store } = plan;
    let metrics = Arc::<StreamMetrics>::default();
    let listeners = store.owner().listeners.clone();
    let session = match store.restore(&metrics.snapshot) {
        Some((kept, age)) => {
            let (session, update) = Session::restored(node_id, listeners, &kept);
            shared.state.apply(update, shared.clock.now(), seed());
            shared.updated.set_before_start(age);
            session
        }
        None => Session::new(node_id, listeners),
    };
    Stream {
        client,
        session,
        store,
        metrics,
    }
}

/// A seed for one thing's random choices.
#[expect(clippy::disallowed_methods, reason = "the one place where randomness comes from")]
fn seed() -> u64 {
    fastrand::u64(..)
}

/// Binds every listener, a socket for each worker.
fn bind(state: &State, workers: usize) -> anyhow::Result<Vec<Bound>> {
    let snapshot = state.load();
    let bind = |listener: &Arc<Listener>| {
        let (name, address) = (&listener.name, listener.address);
        let bound = serve::bind(address, workers).with_context(|| format!("listener {name}: cannot bind {address}"))?;
        info!(listener = %name, address = %bound.address, "listening");
        Ok(bound)
    };
    snapshot.listeners().iter().map(bind).collect()
}

fn bind_status(address: SocketAddr) -> anyhow::Result<(Socket, SocketAddr)> {
    let bound = serve::bind(address, 1).with_context(|| format!("status port: cannot bind {address}"))?;
    info!(address = %bound.address, "status port");
    let socket = bound.sockets.into_iter().next().context("status port: no socket")?;
    Ok((Socket::Tcp(TcpListener::from_std(socket)?), bound.address))
}

fn bind_admin(path: &Path) -> anyhow::Result<Socket> {
    let socket = admin::bind(path).with_context(|| format!("cannot bind the admin socket {}", path.display()))?;
    Ok(Socket::Unix(socket))
}

/// Starts a thread for each worker, with its socket of each listener.
fn start_workers(
    mut bound: Vec<Bound>,
    shared: &Shared,
    access_log: &AccessLog,
    spans: &Spans,
) -> anyhow::Result<Vec<JoinHandle<io::Result<()>>>> {
    let workers = bound.iter().map(|bound| bound.sockets.len()).max().unwrap_or(0);
    let start = |index| {
        let worker = Worker {
            state: Arc::clone(&shared.state),
            lifecycle: Arc::clone(&shared.lifecycle),
            access_log: access_log.clone(),
            spans: spans.clone(),
            clock: shared.clock,
            seed: seed(),
            sockets: bound.iter_mut().filter_map(|bound| bound.sockets.pop()).collect(),
        };
        serve::spawn(index, worker).context("a worker could not be started")
    };
    (0..workers).map(start).collect()
}

async fn serve_local(server: Option<(Socket, Handler)>) {
    match server {
        Some((socket, handler)) => local_http::serve(socket, handler).await,
        None => std::future::pending().await,
    }
}

async fn write_lines(lines: Lines) {
    if let Err(error) = lines.write_to(tokio::io::stdout()).await {
        error!(%error, "the access log cannot be written");
    }
    std::future::pending::<()>().await;
}

/// Takes changes from the stream and puts them in use, one after the other, then has them saved; where there is no stream, those of
/// certificates in files.
async fn follow(stream: Option<Stream>, files: Files, shared: &Shared) {
    let Some(stream) = stream else {
        let apply = |update| {
            shared.state.apply(update, shared.clock.now(), seed());
            shared.updated.set(shared.clock.now());
        };
        return certificates::follow(files.files, files.known, apply).await;
    };
    let (changes, mut waiting) = mpsc::channel(WAITING_UPDATES);
    let (newest, unsaved) = watch::channel(None);
    let apply = async {
        while let Some(Change { update, kept }) = waiting.recv().await {
            shared.state.apply(update, shared.clock.now(), seed());
            shared.updated.set(shared.clock.now());
            newest.send_replace(Some(kept));
        }
    };
    let metrics = Arc::clone(&stream.metrics);
    futures::join!(
        client::run(stream.client, stream.session, changes, stream.metrics),
        apply,
        stream.store.keep(unsaved, &metrics.snapshot),
    );
}

/// Waits for the end: told to end and drained, told twice, or a worker failed.
async fn live(shared: &Shared, workers: &[JoinHandle<io::Result<()>>], limit: Duration) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut look = interval(LOOK);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = look.tick() => if workers.iter().any(JoinHandle::is_finished) {
                bail!("a worker ended unasked");
            },
        }
    }
    tokio::select! {
        () = drain(&shared.state, &shared.lifecycle, shared.clock, limit) => {}
        _ = terminate.recv() => warn!("told to end a second time: ending at once"),
        _ = interrupt.recv() => warn!("told to end a second time: ending at once"),
    }
    Ok(())
}
