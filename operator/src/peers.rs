//! The operator's replicas and their proxies: every proxy hangs on one of them, and the leader writes the status of all. So the
//! leader finds the others by the endpoints of their Service and follows each. Nothing is decided about the counts here.

mod server;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{AbortHandle, abortable};
use futures::stream::FuturesUnordered;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event as WatchEvent, watcher};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tracing::{debug, info};

use crate::key::AppKey;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::run::Event;
use crate::status::Sync;
use crate::world::Shared;
use crate::xds::streams::{Progress, Streams};
use wire::{Follow, Json, MAX_REJECTED, PATH, Report};

pub use server::{AuthenticatePeer, Counts, PeerService};

/// How long connecting to a replica may take.
const CONNECT: Duration = Duration::from_secs(3);
/// The pause between two tries.
const RETRY: Duration = Duration::from_secs(1);
/// How long the counts of a replica stand that can't be followed at the moment: its proxies move within about this time.
const GRACE: Duration = Duration::from_secs(5);
/// The largest report, in bytes: 1000 apps with all their rejections.
const MAX_REPORT: usize = 8 << 20;

/// Counts of other replicas, by replica.
type Remote = BTreeMap<Peer, BTreeMap<AppKey, Progress>>;

/// How far the proxies of an app are, on all replicas as far as known here.
#[derive(Clone, Debug)]
pub struct Syncs {
    streams: Arc<Streams>,
    remote: Arc<Mutex<Remote>>,
}

/// Another replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Peer {
    name: String,
    address: SocketAddr,
}

impl Syncs {
    /// The streams of this replica, and of those that are followed.
    pub fn new(streams: Arc<Streams>) -> Self {
        Syncs {
            streams,
            remote: Arc::default(),
        }
    }

    /// How far the proxies of this app are with the spec of this `metadata.generation`. A replica that has not seen that one yet has no proxy
    /// that has it.
    pub fn of(&self, app: &AppKey, generation: i64) -> Sync {
        let own = self.streams.progress_of(app);
        let remote = self.lock();
        let mut sum = Sync::default();
        for progress in remote.values().filter_map(|apps| apps.get(app)).chain([&own]) {
            let sync = &progress.sync;
            let synced = if progress.generation >= generation {
                sync.synced
            } else {
                0
            };
            sum.connected = sum.connected.saturating_add(sync.connected);
            sum.synced = sum.synced.saturating_add(synced);
            sum.rejected.extend(sync.rejected.iter().cloned());
        }
        drop(remote);
        sum.rejected.sort();
        sum.rejected.dedup();
        sum.rejected.truncate(MAX_REJECTED);
        sum
    }

    /// Takes a report, and says whose counts it changed.
    fn take(&self, peer: &Peer, report: Report) -> BTreeSet<AppKey> {
        let mut remote = self.lock();
        let known = remote.entry(peer.clone()).or_default();
        let mut changed = BTreeSet::new();
        if report.reset {
            changed.extend(std::mem::take(known).into_keys());
        }
        for (app, progress) in report.apps.into_iter().map(wire::AppReport::into_progress) {
            changed.insert(app.clone());
            if progress.sync == Sync::default() {
                known.remove(&app);
            } else {
                known.insert(app, progress);
            }
        }
        changed
    }

    /// Forgets a replica, and says whose counts that changed.
    fn drop_peer(&self, peer: &Peer) -> BTreeSet<AppKey> {
        self.lock().remove(peer).unwrap_or_default().into_keys().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Remote> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What following the other replicas needs.
pub struct Follower {
    /// EndpointSlices of the operator's namespace.
    pub slices: Api<EndpointSlice>,
    /// The Service in front of the replicas.
    pub service: String,
    /// This replica's pod.
    pub me: String,
    /// Port of the stream; the same on every replica.
    pub port: u16,
    /// Name in the certificate of the stream.
    pub server_name: String,
    /// File with the token that proves who calls.
    pub token: PathBuf,
    /// Where the CA bundle of the stream is.
    pub world: Shared,
    /// Where counts go.
    pub syncs: Syncs,
    /// Only the leader follows.
    pub leadership: Leadership,
    /// The loop.
    pub events: mpsc::Sender<Event>,
    /// Counters of the process.
    pub metrics: Arc<Metrics>,
}

impl Follower {
    /// Follows while this replica leads, until the loop is gone.
    pub async fn run(self) {
        let (mut gained, mut lost) = (self.leadership.clone(), self.leadership.clone());
        loop {
            tokio::select! {
                () = gained.gained() => {}
                () = self.events.closed() => return,
            }
            tokio::select! {
                () = self.follow_all() => {}
                () = lost.lost() => {}
                () = self.events.closed() => return,
            }
            // Another replica counts now.
            self.syncs.lock().clear();
            self.metrics.peers.set(0);
        }
    }

    /// Follows every replica that the Service has.
    async fn follow_all(&self) {
        let labels = format!("kubernetes.io/service-name={}", self.service);
        let config = watcher::Config::default()
            .labels(&labels)
            .timeout(crate::watch::TIMEOUT_SECONDS);
        let mut slices = watcher(self.slices.clone(), config).default_backoff().boxed();
        let mut health = crate::watch::Health::new("EndpointSlice of the operator", self.metrics.clone());
        let mut found = Found::default();
        let mut followed: BTreeMap<Peer, AbortHandle> = BTreeMap::new();
        let mut following = FuturesUnordered::new();
        loop {
            let event = tokio::select! {
                event = slices.next() => event,
                Some(_) = following.next() => continue,
            };
            match event {
                None => return,
                Some(Err(error)) => {
                    health.failed(&error);
                    continue;
                }
                Some(Ok(event)) => {
                    health.worked(matches!(event, WatchEvent::InitDone));
                    found.apply(event);
                }
            }
            let peers = found.peers(&self.me, self.port);
            let gone: Vec<Peer> = followed.keys().filter(|peer| !peers.contains(*peer)).cloned().collect();
            for peer in gone {
                if let Some(handle) = followed.remove(&peer) {
                    handle.abort();
                }
                self.tell(self.syncs.drop_peer(&peer)).await;
            }
            for peer in peers {
                followed.entry(peer.clone()).or_insert_with(|| {
                    let (future, handle) = abortable(self.follow(peer));
                    following.push(future);
                    handle
                });
            }
        }
    }

    /// Follows one replica, again and again.
    async fn follow(&self, peer: Peer) {
        let mut failing = false;
        let mut seen = Instant::now();
        loop {
            match self.connect(&peer).await {
                Ok(mut reports) => {
                    failing = false;
                    self.metrics.peers.inc();
                    let _counted = Counted(&self.metrics);
                    debug!(peer = peer.name, "following");
                    while let Ok(Some(report)) = reports.message().await {
                        self.tell(self.syncs.take(&peer, report)).await;
                    }
                    seen = Instant::now();
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let error = format!("{error:#}");
                        info!(
                            peer = peer.name,
                            error, "another replica's proxies can't be counted now; retrying"
                        );
                    }
                }
            }
            if seen.elapsed() >= GRACE {
                self.tell(self.syncs.drop_peer(&peer)).await;
            }
            sleep(RETRY).await;
        }
    }

    /// Opens the stream of reports.
    async fn connect(&self, peer: &Peer) -> anyhow::Result<Streaming<Report>> {
        let token = tokio::fs::read_to_string(&self.token).await?;
        let mut bearer: MetadataValue<_> = format!("Bearer {}", token.trim()).parse()?;
        bearer.set_sensitive(true);
        let channel = timeout(CONNECT, self.channel(peer)).await??;
        let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(MAX_REPORT);
        timeout(CONNECT, grpc.ready()).await??;
        let mut request = Request::new(Follow::default());
        request.metadata_mut().insert("authorization", bearer);
        let path = http::uri::PathAndQuery::from_static(PATH);
        // The other side reviews the token first.
        let call = grpc.server_streaming(request, path, Json::<Follow, Report>::default());
        let response = timeout(3 * CONNECT, call).await?;
        // The status alone: what it was made of may hold the request.
        let response = response.map_err(|status| anyhow::anyhow!("{:?}: {}", status.code(), status.message()))?;
        Ok(response.into_inner())
    }

    async fn channel(&self, peer: &Peer) -> anyhow::Result<Channel> {
        let settings = self.world.read().settings.clone();
        let bundle = settings.ok_or_else(|| anyhow::anyhow!("no CA bundle yet"))?;
        let tls = TlsConnector::from(Arc::new(tls_config(&bundle.ca_bundle)?));
        let name = ServerName::try_from(self.server_name.clone())?;
        let address = peer.address;
        let connector = tower::service_fn(move |_: http::Uri| {
            let (tls, name) = (tls.clone(), name.clone());
            async move {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, socket).await?))
            }
        });
        let endpoint = Endpoint::try_from(format!("https://{}", self.server_name))?
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_with_connector(connector).await?)
    }

    async fn tell(&self, changed: BTreeSet<AppKey>) {
        if !changed.is_empty() {
            // A closed loop is seen by `run`.
            let _ = self.events.send(Event::Streams(changed)).await;
        }
    }
}

/// A followed replica, in the metric as long as this lives.
struct Counted<'a>(&'a Metrics);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.peers.dec();
    }
}

fn tls_config(bundle: &str) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(ca?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The EndpointSlices of the operator's Service.
#[derive(Debug, Default)]
struct Found {
    slices: BTreeMap<String, BTreeMap<String, IpAddr>>,
    listed: Option<BTreeSet<String>>,
}

impl Found {
    fn apply(&mut self, event: WatchEvent<EndpointSlice>) {
        match event {
            WatchEvent::Init => self.listed = Some(BTreeSet::new()),
            WatchEvent::InitApply(slice) | WatchEvent::Apply(slice) => {
                let name = slice.name_any();
                if let Some(listed) = &mut self.listed {
                    listed.insert(name.clone());
                }
                self.slices.insert(name, pods(slice));
            }
            WatchEvent::InitDone => {
                if let Some(listed) = self.listed.take() {
                    self.slices.retain(|name, _| listed.contains(name));
                }
            }
            WatchEvent::Delete(slice) => {
                self.slices.remove(&slice.name_any());
            }
        }
    }

    /// The replicas but `me`.
    fn peers(&self, me: &str, port: u16) -> BTreeSet<Peer> {
        let all = self.slices.values().flatten().filter(|(name, _)| *name != me);
        all.map(|(name, ip)| Peer {
            name: name.clone(),
            address: SocketAddr::new(*ip, port),
        })
        .collect()
    }
}

/// Pods that serve, by name.
fn pods(slice: EndpointSlice) -> BTreeMap<String, IpAddr> {
    let serving = slice.endpoints.into_iter().filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|c| c.serving).unwrap_or(true)
    });
    let pod = serving.filter_map(|endpoint| {
        let name = endpoint.target_ref?.name?;
        Some((name, endpoint.addresses.first()?.parse().ok()?))
    });
    pod.collect()
}

#[cfg(test)]
mod tests;
