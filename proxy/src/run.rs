//! The process: binds, starts the workers, and is the control thread: updates, status port, admin socket, signals, drain.
//! Traffic is never touched here.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use prometheus_client::registry::Registry;
use tenbin_model::Update;
use tokio::net::TcpListener;
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::interval;
use tracing::{error, info, warn};

use crate::access_log::{AccessLog, Format, Lines};
use crate::clock::Clock;
use crate::config::{self, LogFormat, Switch};
use crate::drain::drain;
use crate::lifecycle::Lifecycle;
use crate::local_http::{self, Socket};
use crate::metrics::{Metrics, UpdatedAt};
use crate::serve::{self, Bound, Worker};
use crate::state::{Bootstrap, State};
use crate::telemetry::LogLevel;
use crate::xds::client::{self, ClientConfig};
use crate::xds::file;
use crate::xds::metrics::StreamMetrics;
use crate::{admin, limits, status};

/// Updates that may wait to be put in use.
const WAITING_UPDATES: usize = 16;
/// How long the access log gets to be written at the end.
const LAST_LINES: Duration = Duration::from_millis(100);
/// How often workers are looked after.
const LOOK: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Debug)]
pub struct Plan {
    /// What is known before any update.
    bootstrap: Bootstrap,
    /// The first update, from a file.
    first: Option<Update>,
    /// Where more come from.
    stream: Option<ClientConfig>,
    /// The status port.
    status: Option<SocketAddr>,
    /// The admin socket.
    admin: Option<PathBuf>,
    workers: usize,
    drain: Duration,
    access_log: Option<Format>,
}

impl Plan {
    /// The plan of a sidecar.
    ///
    /// # Errors
    /// A value that cannot be used, with its name.
    pub fn sidecar(sidecar: &config::Sidecar) -> anyhow::Result<Self> {
        let bootstrap = sidecar.bootstrap()?;
        let stream = match (&sidecar.xds_address, &sidecar.xds_ca, &sidecar.xds_token) {
            (Some(address), Some(ca), Some(token)) => Some(ClientConfig {
                address: address.clone(),
                ca: ca.clone(),
                token: token.clone(),
                node_id: sidecar.pod_name.clone(),
                listeners: bootstrap.ports.iter().map(|port| port.name.clone()).collect(),
            }),
            _ => None,
        };
        Ok(Plan {
            bootstrap,
            first: None,
            stream,
            status: Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, sidecar.status_port))),
            admin: Some(sidecar.admin_socket()),
            ..Plan::common(&sidecar.common, 1)
        })
    }

    /// The plan of a proxy with a file.
    ///
    /// # Errors
    /// The file cannot be used; the text says where and why.
    pub fn standalone(standalone: &config::Standalone) -> anyhow::Result<Self> {
        let Some(path) = &standalone.config else {
            bail!("--config: a file is needed, or one of the subcommands sidecar and admin");
        };
        let file = file::load(path)?;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Plan {
            bootstrap: Bootstrap::from_update(&file.update),
            first: Some(file.update),
            status: file.status,
            admin: file.admin,
            ..Plan::common(&standalone.common, cpus)
        })
    }

    fn common(common: &config::Common, workers: usize) -> Self {
        let format = match common.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        };
        Plan {
            bootstrap: Bootstrap {
                own: None,
                instance: String::new(),
                ports: Vec::new(),
            },
            first: None,
            stream: None,
            status: None,
            admin: None,
            workers: common.workers.map_or(workers, usize::from),
            drain: common.drain(),
            access_log: (common.access_log == Switch::On).then_some(format),
        }
    }
}

/// What the threads share, and what only the control thread has.
struct Running {
    state: Arc<State>,
    lifecycle: Arc<Lifecycle>,
    clock: Clock,
    updated: Arc<UpdatedAt>,
    workers: Vec<JoinHandle<io::Result<()>>>,
}

/// Runs the proxy until it is told to end, and has drained.
///
/// # Errors
/// Something could not be bound or started, or a worker failed.
pub fn run(plan: Plan, log_level: LogLevel) -> anyhow::Result<()> {
    let descriptors = limits::raise_descriptors().context("the limit of descriptors")?;
    let clock = Clock::start();
    let lifecycle = Lifecycle::new(limits::connections(descriptors.now));
    let state = Arc::new(State::new(plan.bootstrap, seed()));
    if let Some(update) = plan.first {
        state.apply(update, seed());
    }
    let (access_log, lines) = match plan.access_log {
        Some(format) => {
            let (log, lines) = AccessLog::new();
            (Some(log), Some((lines, format)))
        }
        None => (None, None),
    };

    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let _entered = control.enter();
    let bound = bind(&state, plan.workers)?;
    let addresses: Vec<SocketAddr> = bound.iter().map(|bound| bound.address).collect();
    let (status_socket, status_address) = plan.status.map(bind_status).transpose()?.unzip();
    let admin_socket = plan.admin.as_deref().map(|path| {
        let socket = admin::bind(path).with_context(|| format!("cannot bind the admin socket {}", path.display()));
        socket.map(Socket::Unix)
    });
    let admin_socket = admin_socket.transpose()?;

    let running = Running {
        workers: start_workers(bound, &state, &lifecycle, access_log.as_ref(), clock)?,
        state: Arc::clone(&state),
        lifecycle: Arc::clone(&lifecycle),
        clock,
        updated: Arc::default(),
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        workers = plan.workers,
        fd_limit = descriptors.now,
        fd_limit_before = descriptors.before,
        connection_limit = lifecycle.limit(),
        "started"
    );

    let stream = plan.stream.map(|config| (config, Arc::<StreamMetrics>::default()));
    let metrics = Metrics {
        state: Arc::clone(&state),
        lifecycle: Arc::clone(&lifecycle),
        clock,
        access_log,
        fd_limit: descriptors.now,
        updated: Arc::clone(&running.updated),
    };
    let process = admin::Process {
        state,
        lifecycle,
        clock,
        updated: Arc::clone(&running.updated),
        stream: stream.as_ref().map(|(_, metrics)| Arc::clone(metrics)),
        bound: addresses,
        status: status_address,
        workers: plan.workers,
        fd_limit: descriptors.now,
        log_level,
    };
    let mut registry = Registry::with_prefix("tenbin");
    if let Some((_, stream)) = &stream {
        stream.register(&mut registry);
    }
    registry.register_collector(Box::new(metrics));

    let local = futures::future::join3(
        serve_local(status_socket, status::handler(registry)),
        serve_local(admin_socket, admin::handler(process)),
        write_lines(lines),
    );
    let logs = plan.access_log.is_some();
    let outcome = control.block_on(async {
        let mut local = std::pin::pin!(local);
        let outcome = tokio::select! {
            _ = &mut local => bail!("the control thread's servers ended"),
            () = follow(stream, &running) => bail!("the stream's task ended"),
            outcome = live(&running, plan.drain) => outcome,
        };
        if logs {
            // The last lines of the access log.
            let _ = tokio::time::timeout(LAST_LINES, &mut local).await;
        }
        outcome
    });
    running.lifecycle.stop();
    if let Some(path) = &plan.admin {
        let _ = std::fs::remove_file(path);
    }
    for worker in running.workers {
        match worker.join() {
            Ok(ended) => ended.context("a worker failed")?,
            Err(_) => bail!("a worker panicked"),
        }
    }
    outcome
}

/// A seed for one thing's random choices.
#[expect(clippy::disallowed_methods, reason = "the one place where randomness comes from")]
fn seed() -> u64 {
    fastrand::u64(..)
}

/// Binds every listener, a socket for each worker.
fn bind(state: &State, workers: usize) -> anyhow::Result<Vec<Bound>> {
    let snapshot = state.load();
    let bind = |listener: &Arc<crate::state::Listener>| {
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

/// Starts a thread for each worker, with its socket of each listener.
fn start_workers(
    mut bound: Vec<Bound>,
    state: &Arc<State>,
    lifecycle: &Arc<Lifecycle>,
    access_log: Option<&AccessLog>,
    clock: Clock,
) -> anyhow::Result<Vec<JoinHandle<io::Result<()>>>> {
    let workers = bound.iter().map(|bound| bound.sockets.len()).max().unwrap_or(0);
    let start = |index| {
        let worker = Worker {
            state: Arc::clone(state),
            lifecycle: Arc::clone(lifecycle),
            access_log: access_log.cloned(),
            clock,
            seed: seed(),
            sockets: bound.iter_mut().filter_map(|bound| bound.sockets.pop()).collect(),
        };
        serve::spawn(index, worker).context("a worker could not be started")
    };
    (0..workers).map(start).collect()
}

async fn serve_local(socket: Option<Socket>, handler: local_http::Handler) {
    match socket {
        Some(socket) => local_http::serve(socket, handler).await,
        None => std::future::pending().await,
    }
}

async fn write_lines(lines: Option<(Lines, Format)>) {
    if let Some((lines, format)) = lines
        && let Err(error) = lines.write_to(tokio::io::stdout(), format).await
    {
        error!(%error, "the access log cannot be written");
    }
    std::future::pending::<()>().await;
}

/// Takes updates from the stream and puts them in use, one after the other; waits for ever where there is no stream.
async fn follow(stream: Option<(ClientConfig, Arc<StreamMetrics>)>, running: &Running) {
    let Some((config, metrics)) = stream else {
        return std::future::pending().await;
    };
    let (updates, mut waiting) = mpsc::channel(WAITING_UPDATES);
    let apply = async {
        while let Some(update) = waiting.recv().await {
            running.state.apply(update, seed());
            running.updated.set(running.clock.now());
        }
    };
    futures::join!(client::run(config, updates, metrics), apply);
}

/// Waits for the end: told to end and drained, told twice, or a worker failed.
async fn live(running: &Running, limit: Duration) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut look = interval(LOOK);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = look.tick() => if running.workers.iter().any(JoinHandle::is_finished) {
                bail!("a worker ended unasked");
            },
        }
    }
    tokio::select! {
        () = drain(&running.state, &running.lifecycle, running.clock, limit) => {}
        _ = terminate.recv() => warn!("told to end a second time: ending at once"),
        _ = interrupt.recv() => warn!("told to end a second time: ending at once"),
    }
    Ok(())
}
