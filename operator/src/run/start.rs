//! Starts the operator's tasks, watches over them, and ends them in order. No decisions about apps.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::api::Api;
use kube::client::ClientBuilder;
use kube::{Client, Config as KubeConfig};
use rustls::crypto::CryptoProvider;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{info, warn};

use super::{EVENTS, Event, Loop};
use crate::admin::{self, Health};
use crate::apply::{self, Applier};
use crate::auth::{Authenticator, Refusal};
use crate::certs::{Keeper, Serving};
use crate::config::Config;
use crate::events::{self, Events, Note};
use crate::lease::{Elector, Leadership};
use crate::metrics::{CountRequests, Metrics};
use crate::peers::{AuthenticatePeer, Counts, Follower, PeerService, Syncs};
use crate::sessions;
use crate::status_writer::{self, StatusWriter};
use crate::tables::Tables;
use crate::watch::{Context as WatchContext, watches};
use crate::work::Queue;
use crate::world::Shared;
use crate::xds::metrics::StreamMetrics;
use crate::xds::server;
use crate::xds::store::Store;
use crate::xds::streams::Streams;

/// How long the tasks that end in order may take for it.
const STOP: Duration = Duration::from_secs(10);
/// How long connecting to the API server may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Tasks that end with their name.
type Tasks = JoinSet<anyhow::Result<&'static str>>;

/// What the tasks share.
struct Parts {
    config: Config,
    client: Client,
    world: Shared,
    store: Arc<Store>,
    streams: Arc<Streams>,
    syncs: Syncs,
    leadership: Leadership,
    events: mpsc::Sender<Event>,
    notes: Events,
    metrics: Arc<Metrics>,
    stream_metrics: Arc<StreamMetrics>,
    apply: Arc<Queue>,
    status: Arc<Queue>,
    stop: CancellationToken,
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// It can't start, or a task of it ended that never should: the process is then to be started again.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let stream_metrics = Arc::new(StreamMetrics::default());
    let metrics = Metrics::new(|registry| stream_metrics.register(registry));
    let client = client(metrics.clone()).await?;
    let (leads, leadership) = Leadership::new();
    let (events, received) = mpsc::channel(EVENTS);
    let (notes, noted) = Events::new(metrics.clone());
    let streams = Arc::new(Streams::default());
    let parts = Parts {
        world: Shared::new(Tables::new(&config.namespaces())),
        store: Arc::default(),
        syncs: Syncs::new(streams.clone()),
        streams,
        leadership,
        events,
        notes,
        stream_metrics,
        apply: Arc::default(),
        status: Arc::default(),
        stop: CancellationToken::new(),
        config,
        client,
        metrics,
    };
    info!(
        replica = parts.config.pod_name,
        namespaces = ?parts.config.namespaces(),
        version = env!("CARGO_PKG_VERSION"),
        "operator starts"
    );
    let (serving, is_serving) = watch::channel(false);
    let (ready, is_ready) = watch::channel(false);
    let (seen, was_seen) = watch::channel(Instant::now());
    let health = Health {
        seen: was_seen,
        serving: is_serving,
    };

    // Tasks that end at `stop`, in order; and those that are dropped after.
    let (mut ending, mut tasks) = (Tasks::new(), Tasks::new());
    let elector = parts.elector(leads);
    let stop = parts.stop.clone();
    ending.spawn(async move {
        elector.run(stop).await;
        Ok("lease")
    });
    let versions = parts.spawn_changes(&mut tasks);
    ending.spawn(parts.serve(is_ready, serving, versions)?);
    parts.spawn_admin(&mut tasks, health).await?;
    parts.spawn_watches(&mut tasks);
    parts.spawn_writers(&mut tasks, noted)?;
    let looping = parts.the_loop(ready, seen);
    let stop = parts.stop.clone();
    tasks.spawn(async move {
        looping.run(received, stop).await;
        Ok("loop")
    });

    let ended = until_stopped(&mut ending, &mut tasks).await;
    info!("operator stops");
    parts.stop.cancel();
    let in_order = async { while ending.join_next().await.is_some() {} };
    if timeout(STOP, in_order).await.is_err() {
        warn!("not everything ended in time");
    }
    ended
}

/// Waits for a signal to stop, or for a task that should not have ended.
async fn until_stopped(ending: &mut Tasks, tasks: &mut Tasks) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = tokio::select! {
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        Some(ended) = ending.join_next() => ended,
        Some(ended) = tasks.join_next() => ended,
    };
    let name = ended.context("a task panicked")??;
    bail!("task {name} ended by itself");
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}"))
}

async fn client(metrics: Arc<Metrics>) -> anyhow::Result<Client> {
    let mut config = KubeConfig::infer()
        .await
        .context("no way to the API server is configured")?;
    config.connect_timeout = Some(CONNECT);
    let builder = ClientBuilder::try_from(config).context("the API server's client can't be made")?;
    Ok(builder.with_layer(&CountRequests::new(metrics)).build())
}

impl Parts {
    fn elector(&self, leads: watch::Sender<Option<Instant>>) -> Elector {
        Elector {
            leases: Api::namespaced(self.client.clone(), &self.config.pod_namespace),
            name: self.config.service_name.clone(),
            me: self.config.pod_name.clone(),
            leads,
            metrics: self.metrics.clone(),
        }
    }

    fn the_loop(&self, ready: watch::Sender<bool>, seen: watch::Sender<Instant>) -> Loop {
        Loop {
            defaults: self.config.defaults(),
            config: self.config.clone(),
            world: self.world.clone(),
            store: self.store.clone(),
            apply: self.apply.clone(),
            status: self.status.clone(),
            metrics: self.metrics.clone(),
            ready,
            seen,
            leader: false,
            complete: false,
        }
    }

    /// Tells the loop, and by what is returned the other replicas, when proxies come, go, or get further.
    fn spawn_changes(&self, tasks: &mut Tasks) -> watch::Receiver<u64> {
        let (version, versions) = watch::channel(0);
        let (streams, events) = (self.streams.clone(), self.events.clone());
        tasks.spawn(async move {
            loop {
                let apps = streams.changed().await;
                version.send_modify(|v: &mut u64| *v = v.wrapping_add(1));
                if events.send(Event::Streams(apps)).await.is_err() {
                    return Ok("changes of streams");
                }
            }
        });
        versions
    }

    async fn spawn_admin(&self, tasks: &mut Tasks, health: Health) -> anyhow::Result<()> {
        let listener = bind(self.config.admin_listen).await?;
        let (metrics, stop) = (self.metrics.clone(), self.stop.clone());
        tasks.spawn(async move {
            admin::serve(listener, health, metrics, stop).await?;
            Ok("admin")
        });
        Ok(())
    }

    fn spawn_watches(&self, tasks: &mut Tasks) {
        let context = WatchContext {
            client: self.client.clone(),
            events: self.events.clone(),
            metrics: self.metrics.clone(),
        };
        for watch in watches(&context, &self.config.namespaces(), &self.config.pod_namespace) {
            tasks.spawn(async move {
                watch.await;
                Ok("watch")
            });
        }
    }

    /// What writes to the API server, most of it on the leader alone, and what the leader has to know for it.
    fn spawn_writers(&self, tasks: &mut Tasks, noted: mpsc::Receiver<Note>) -> anyhow::Result<()> {
        let reporter = self.config.pod_name.clone();
        let publisher = events::publish_all(self.client.clone(), reporter, noted, self.metrics.clone());
        tasks.spawn(async move {
            publisher.await;
            Ok("events")
        });
        let leading = self.leading()?;
        tasks.spawn(async move {
            leading.run().await;
            Ok("leading")
        });
        let config = &self.config;
        let [server_name, _] = config.stream_names();
        let follower = Follower {
            slices: Api::namespaced(self.client.clone(), &config.pod_namespace),
            service: config.service_name.clone(),
            me: config.pod_name.clone(),
            port: config.xds_listen.port(),
            server_name,
            token: config.peer_token.clone(),
            world: self.world.clone(),
            syncs: self.syncs.clone(),
            leadership: self.leadership.clone(),
            events: self.events.clone(),
            metrics: self.metrics.clone(),
        };
        tasks.spawn(async move {
            follower.run().await;
            Ok("peers")
        });
        Ok(())
    }

    fn leading(&self) -> anyhow::Result<Leading> {
        Ok(Leading {
            sessions: sessions::Keeper {
                secrets: Api::namespaced(self.client.clone(), &self.config.pod_namespace),
                namespaces: self.config.namespaces(),
                rotation: self.config.rotation().map_err(anyhow::Error::msg)?,
                leadership: self.leadership.clone(),
                world: self.world.clone(),
                notes: self.notes.clone(),
                metrics: self.metrics.clone(),
                provider: CryptoProvider::get_default()
                    .context("no TLS crypto provider is installed")?
                    .clone(),
            },
            applier: Applier::new(
                self.client.clone(),
                self.world.clone(),
                self.leadership.clone(),
                self.events.clone(),
                self.notes.clone(),
                self.metrics.clone(),
                self.apply.clone(),
                self.config.proxy_upgrade,
            ),
            writer: StatusWriter::new(
                self.client.clone(),
                self.world.clone(),
                self.syncs.clone(),
                self.leadership.clone(),
                self.notes.clone(),
                self.metrics.clone(),
            ),
            apply: self.apply.clone(),
            status: self.status.clone(),
            leadership: self.leadership.clone(),
            events: self.events.clone(),
        })
    }

    /// Keeps the certificates, and serves the stream once there is something to serve and something to serve it with.
    fn serve(
        &self,
        mut ready: watch::Receiver<bool>,
        serving: watch::Sender<bool>,
        versions: watch::Receiver<u64>,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<&'static str>> + Send + 'static> {
        let lives = self.config.certificate_lives().map_err(anyhow::Error::msg)?;
        let provider = CryptoProvider::get_default().context("no TLS crypto provider is installed")?;
        let certificate = Arc::new(Serving::default());
        let keeper = Keeper {
            secrets: Api::namespaced(self.client.clone(), &self.config.pod_namespace),
            names: self.config.stream_names().to_vec(),
            lives,
            leadership: self.leadership.clone(),
            serving: certificate.clone(),
            events: self.events.clone(),
            notes: self.notes.clone(),
            metrics: self.metrics.clone(),
            provider: provider.clone(),
        };
        let auth = Arc::new(Authenticator::new(
            self.client.clone(),
            self.world.clone(),
            self.metrics.clone(),
        ));
        let peer_auth = OperatorsOnly {
            auth: auth.clone(),
            user_name: self.config.user_name(),
        };
        let counts = Counts {
            world: self.world.clone(),
            streams: self.streams.clone(),
            version: versions,
        };
        let peers = Routes::new(PeerService::new(peer_auth, counts, self.stop.clone()));
        let service = server::Service {
            auth,
            store: self.store.clone(),
            streams: self.streams.clone(),
            metrics: self.stream_metrics.clone(),
            limits: server::Limits::default(),
            others: peers,
        };
        let (address, stop) = (self.config.xds_listen, self.stop.clone());
        Ok(async move {
            let served = async {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    waited = ready.wait_for(|ready| *ready) => { waited?; }
                }
                let listener = bind(address).await?;
                info!(%address, "the stream is served");
                serving.send_replace(true);
                let not_any_more = async {
                    stop.cancelled().await;
                    serving.send_replace(false);
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    served = service.serve(listener, certificate, stop.clone()) => served,
                    () = not_any_more => Ok(()),
                }
            };
            tokio::select! {
                served = served => served.map(|()| "stream"),
                () = keeper.run() => Ok("certificates"),
            }
        })
    }
}

/// Work that only the leader does.
struct Leading {
    sessions: sessions::Keeper,
    applier: Applier,
    writer: StatusWriter,
    apply: Arc<Queue>,
    status: Arc<Queue>,
    leadership: Leadership,
    events: mpsc::Sender<Event>,
}

impl Leading {
    /// Works while this replica leads, until the loop is gone.
    async fn run(self) {
        let (mut gained, mut lost) = (self.leadership.clone(), self.leadership.clone());
        loop {
            gained.gained().await;
            if self.events.send(Event::Leader(true)).await.is_err() {
                return;
            }
            tokio::select! {
                () = self.apply.run(apply::AT_ONCE, |app| self.applier.work(app)) => {}
                () = self.status.run(status_writer::AT_ONCE, |app| self.writer.work(app)) => {}
                () = self.sessions.run() => {}
                () = lost.lost() => {}
            }
            self.applier.forget();
            self.writer.forget();
            if self.events.send(Event::Leader(false)).await.is_err() {
                return;
            }
        }
    }
}

/// Lets in the holders of the operator's own ServiceAccount.
struct OperatorsOnly {
    auth: Arc<Authenticator>,
    user_name: String,
}

impl AuthenticatePeer for OperatorsOnly {
    async fn authenticate_peer(&self, token: Option<&str>) -> Result<(), tonic::Status> {
        let known = self.auth.authenticate_peer(token, &self.user_name).await;
        known.map_err(Refusal::to_status)
    }
}

impl server::Authenticate for Authenticator {
    async fn authenticate(&self, token: Option<&str>) -> Result<crate::key::AppKey, tonic::Status> {
        self.authenticate(token).await.map_err(Refusal::to_status)
    }

    async fn is_able(&self) -> bool {
        self.is_able().await
    }
}
