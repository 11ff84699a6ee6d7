//! The proxy's client against the operator's server, over real TLS on loopback: what a proxy has it keeps through the loss of
//! its replica, and finds the next one with the token and the CA of the day.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "reconnect/relay.rs"]
mod relay;
#[path = "reconnect/restart.rs"]
mod restart;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tempfile::TempDir;
use tenbin_model::{
    Balancing, Cluster, Endpoint, EndpointId, EndpointSet, EndpointState, Kind, Listener, Policy, Resource,
    ResourceName, Route, RouteTable, VirtualHost,
};
use tenbin_operator::key::AppKey;
use tenbin_operator::snapshot::AppSnapshot;
use tenbin_operator::xds::metrics::{ResourceLabel, StreamMetrics as ServerMetrics};
use tenbin_operator::xds::server::{Authenticate, Limits, Service};
use tenbin_operator::xds::store::Store;
use tenbin_operator::xds::streams::Streams;
use tenbin_proxy::xds::client::{Change, ClientConfig, run};
use tenbin_proxy::xds::metrics::StreamMetrics as ClientMetrics;
use tenbin_proxy::xds::session::Session;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Far beyond what anything here takes.
const LATE: Duration = Duration::from_secs(60);

/// Takes the token it was made for.
struct OneToken(&'static str);

impl Authenticate for OneToken {
    async fn authenticate(&self, token: Option<&str>) -> Result<AppKey, Status> {
        match token {
            Some(token) if token == self.0 => Ok(app()),
            _ => Err(Status::unauthenticated("another token")),
        }
    }

    async fn is_able(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A certificate for localhost, and itself as the CA in PEM.
fn certificate() -> (Arc<Fixed>, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let certified = CertifiedKey::new(vec![made.cert.der().clone()], key);
    (Arc::new(Fixed(Arc::new(certified))), made.cert.pem())
}

struct Replica {
    address: SocketAddr,
    store: Arc<Store>,
    streams: Arc<Streams>,
    metrics: Arc<ServerMetrics>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Replica {
    async fn start(address: SocketAddr, certificate: Arc<Fixed>, token: &'static str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (store, streams, metrics) = (
            Arc::<Store>::default(),
            Arc::<Streams>::default(),
            Arc::<ServerMetrics>::default(),
        );
        let stop = CancellationToken::new();
        let service = Service {
            auth: Arc::new(OneToken(token)),
            store: Arc::clone(&store),
            streams: Arc::clone(&streams),
            metrics: Arc::clone(&metrics),
            limits: Limits::default(),
            others: tonic::service::Routes::default(),
        };
        let task = tokio::spawn(service.serve(listener, certificate, stop.clone()));
        Replica {
            address,
            store,
            streams,
            metrics,
            stop,
            task,
        }
    }

    fn publish(&self, resources: Vec<Resource>) {
        self.store
            .publish(app(), Some(Arc::new(AppSnapshot::new(1, resources))));
    }

    /// Resources sent, of all kinds.
    fn sent(&self) -> u64 {
        let of = |kind: Kind| {
            self.metrics
                .sent
                .get_or_create(&ResourceLabel { kind: kind.as_str() })
                .get()
        };
        Kind::ALL.into_iter().map(of).sum()
    }

    async fn synced(&self) {
        until(|| self.streams.progress_of(&app()).sync.synced == 1).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LATE, self.task).await.unwrap().unwrap().unwrap();
    }
}

struct Client {
    changes: mpsc::Receiver<Change>,
    metrics: Arc<ClientMetrics>,
    task: JoinHandle<()>,
}

impl Client {
    fn start(port: u16, files: &Path) -> Self {
        let config = ClientConfig {
            address: format!("localhost:{port}"),
            ca: files.join("ca.crt"),
            token: files.join("token"),
        };
        let session = Session::new("shop/hello-1".to_owned(), vec![name()]);
        let (sender, changes) = mpsc::channel(4);
        let metrics = Arc::<ClientMetrics>::default();
        let task = tokio::spawn(run(config, session, sender, Arc::clone(&metrics)));
        Client { changes, metrics, task }
    }

    async fn update(&mut self) -> tenbin_model::Update {
        let change = tokio::time::timeout(LATE, self.changes.recv()).await;
        change.expect("in time").expect("the client runs").update
    }
}

async fn until(done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LATE, waiting).await.expect("in time");
}

fn app() -> AppKey {
    AppKey::new("shop", "hello")
}

fn name() -> ResourceName {
    ResourceName::app_port("shop", "hello", "http")
}

fn content(last: u8) -> Vec<Resource> {
    vec![
        Resource::Listener(Listener::new(name(), ([0, 0, 0, 0], 15080).into(), name())),
        Resource::Routes(RouteTable {
            name: name(),
            hosts: vec![VirtualHost {
                name: "all".to_owned(),
                domains: vec!["*".to_owned()],
                routes: vec![Route::new("/", name())],
            }],
        }),
        Resource::Cluster(Cluster {
            balancing: Balancing {
                policy: Policy::Adaptive,
                ..Balancing::default()
            },
            ..Cluster::new(name())
        }),
        Resource::Endpoints(EndpointSet {
            cluster: name(),
            endpoints: vec![Endpoint {
                id: EndpointId::parse("id", "uid-1").unwrap(),
                address: ([10, 0, 0, last], 8080).into(),
                state: EndpointState::Ready,
                instance: "hello-1".to_owned(),
                weight: 1,
                zone: String::new(),
            }],
        }),
    ]
}

/// A folder with the CA and the token that a proxy reads.
fn files(ca: &str, token: &str) -> TempDir {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("ca.crt"), ca).unwrap();
    std::fs::write(files.path().join("token"), token).unwrap();
    files
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[tokio::test]
async fn a_proxy_that_moves_to_another_replica_is_sent_nothing_anew() {
    let (cert, ca) = certificate();
    let files = files(&ca, "monday\n");
    let first = Replica::start(ANY, Arc::clone(&cert), "monday").await;
    first.publish(content(1));
    let mut client = Client::start(first.address.port(), files.path());
    let update = client.update().await;
    assert_eq!(update.set.len(), 4, "whole at once");
    first.synced().await;
    assert_eq!(first.sent(), 4);

    std::fs::write(files.path().join("token"), "tuesday\n").unwrap();
    let address = first.address;
    first.stop().await;
    let second = Replica::start(address, cert, "tuesday").await;
    second.publish(content(1));
    second.synced().await;
    assert_eq!(second.sent(), 0);
    assert_eq!(client.metrics.connected.get(), 1);
    assert!(client.metrics.connects.get() >= 2);

    second.publish(content(2));
    let update = client.update().await;
    let kinds: Vec<Kind> = update.set.iter().map(Resource::kind).collect();
    assert_eq!(kinds, [Kind::Endpoints]);
    second.synced().await;
    assert_eq!(second.sent(), 1, "what changed, and nothing else");
    assert_eq!(client.metrics.updates.get(), 2);
    assert!(client.metrics.last_update.get() > 0.0);

    drop(client.changes);
    tokio::time::timeout(LATE, client.task)
        .await
        .expect("ends with its receiver")
        .unwrap();
    until(|| second.streams.progress_of(&app()).sync.connected == 0).await;
}

#[tokio::test]
async fn a_proxy_that_is_not_let_in_comes_back_with_the_files_of_the_day() {
    let (cert, ca) = certificate();
    let (_, wrong) = certificate();
    let files = files(&wrong, "stale");
    let replica = Replica::start(ANY, cert, "fresh").await;
    replica.publish(content(1));
    let mut client = Client::start(replica.address.port(), files.path());
    until(|| client.metrics.failures.get() >= 2).await;
    assert_eq!(replica.metrics.streams.get(), 0, "another CA is not trusted");
    std::fs::write(files.path().join("ca.crt"), ca).unwrap();
    let failures = client.metrics.failures.get();
    until(|| client.metrics.failures.get() >= failures + 2).await;
    assert_eq!(client.metrics.connected.get(), 0, "a stale token opens no stream");
    std::fs::write(files.path().join("token"), "fresh").unwrap();
    assert_eq!(client.update().await.set.len(), 4);
    assert_eq!(client.metrics.connected.get(), 1);
}
