//! The stream over real TLS and gRPC on loopback, with a fake for who is asking.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "the other end of the IO")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest};
use envoy_types::pb::google::rpc;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tenbin_model::{
    Balancing, Cluster, Endpoint, EndpointId, EndpointSet, EndpointState, Kind, Policy, Resource, ResourceName,
};
use tenbin_operator::key::AppKey;
use tenbin_operator::snapshot::AppSnapshot;
use tenbin_operator::xds::metrics::{RefusalLabel, ResourceLabel, StreamMetrics};
use tenbin_operator::xds::server::{Authenticate, Limits, Service};
use tenbin_operator::xds::store::Store;
use tenbin_operator::xds::streams::Streams;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint as Dial};
use tonic::{Code, Request, Status, Streaming};
use tower::service_fn;

const OWN: &str = "shop/hello/http";
/// Far beyond what anything here takes.
const LATE: Duration = Duration::from_secs(30);

/// `good` is a pod of shop/hello, `other` one of shop/other, `slow` is never done.
#[derive(Default)]
struct Fake {
    unable: AtomicBool,
    asked: AtomicUsize,
}

impl Authenticate for Fake {
    async fn authenticate(&self, token: Option<&str>) -> Result<AppKey, Status> {
        match token {
            Some("good") => Ok(AppKey::new("shop", "hello")),
            Some("other") => Ok(AppKey::new("shop", "other")),
            Some("slow") => std::future::pending().await,
            Some(_) => Err(Status::permission_denied("bound to no pod")),
            None => Err(Status::unauthenticated("no token")),
        }
    }

    async fn is_able(&self) -> bool {
        self.asked.fetch_add(1, SeqCst);
        !self.unable.load(SeqCst)
    }
}

/// A certificate that can be changed while the server runs.
#[derive(Debug)]
struct Swappable(Mutex<Arc<CertifiedKey>>);

impl ResolvesServerCert for Swappable {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap()))
    }
}

fn certificate() -> (Arc<CertifiedKey>, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let der = made.cert.der().clone();
    (Arc::new(CertifiedKey::new(vec![der.clone()], key)), der)
}

struct Server {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    resolver: Arc<Swappable>,
    store: Arc<Store>,
    streams: Arc<Streams>,
    metrics: Arc<StreamMetrics>,
    auth: Arc<Fake>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

async fn server() -> Server {
    server_with(Limits::default()).await
}

async fn server_with(limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (key, certificate) = certificate();
    let resolver = Arc::new(Swappable(Mutex::new(key)));
    let (store, streams, metrics) = (
        Arc::<Store>::default(),
        Arc::<Streams>::default(),
        Arc::<StreamMetrics>::default(),
    );
    let stop = CancellationToken::new();
    let auth = Arc::<Fake>::default();
    let service = Service {
        auth: Arc::clone(&auth),
        store: Arc::clone(&store),
        streams: Arc::clone(&streams),
        metrics: Arc::clone(&metrics),
        limits,
        others: tonic::service::Routes::default(),
    };
    let certificates = Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>;
    let task = tokio::spawn(service.serve(listener, certificates, stop.clone()));
    Server {
        address,
        certificate,
        resolver,
        store,
        streams,
        metrics,
        auth,
        stop,
        task,
    }
}

async fn dial(address: SocketAddr, root: &CertificateDer<'static>) -> Result<Channel, tonic::transport::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsConnector::from(Arc::new(config));
    let connector = service_fn(move |_: http::Uri| {
        let tls = tls.clone();
        async move {
            let socket = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            tls.connect(name, socket).await.map(TokioIo::new)
        }
    });
    Dial::from_static("https://localhost")
        .connect_with_connector(connector)
        .await
}

/// A client's side of one stream.
struct Client {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

async fn open(channel: Channel, token: Option<&str>) -> Result<Client, Status> {
    let (requests, outbound) = mpsc::channel(16);
    let mut request = Request::new(ReceiverStream::new(outbound));
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let responses = client.delta_aggregated_resources(request).await?.into_inner();
    Ok(Client { requests, responses })
}

impl Server {
    async fn open(&self, token: Option<&str>) -> Result<Client, Status> {
        open(dial(self.address, &self.certificate).await.unwrap(), token).await
    }

    fn publish(&self, resources: Vec<Resource>) {
        let snapshot = Arc::new(AppSnapshot::new(1, resources));
        self.store.publish(AppKey::new("shop", "hello"), Some(snapshot));
    }

    fn refused(&self, reason: &'static str) -> u64 {
        self.metrics.refused.get_or_create(&RefusalLabel { reason }).get()
    }
}

impl Client {
    async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    async fn next(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        in_time(self.responses.message()).await
    }

    async fn response(&mut self) -> DeltaDiscoveryResponse {
        self.next().await.unwrap().expect("a response")
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LATE, future).await.expect("in time")
}

/// Waits until `done`; each look is a turn of the runtime.
async fn until(done: impl Fn() -> bool) {
    in_time(async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

fn cluster(text: &str, seconds: u64) -> Resource {
    Resource::Cluster(Cluster {
        balancing: Balancing {
            policy: Policy::RoundRobin,
            ..Balancing::default()
        },
        connect_timeout: Duration::from_secs(seconds),
        ..Cluster::new(ResourceName::parse("name", text).unwrap())
    })
}

fn ask(kind: Kind, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn answer(response: &DeltaDiscoveryResponse, error: Option<&str>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: error.map(|message| rpc::Status {
            code: 3,
            message: message.to_owned(),
            details: Vec::new(),
        }),
        ..DeltaDiscoveryRequest::default()
    }
}

#[tokio::test]
async fn without_a_good_token_a_stream_is_refused_and_counted() {
    let server = server().await;
    assert_eq!(server.open(None).await.err().unwrap().code(), Code::Unauthenticated);
    assert_eq!(
        server.open(Some("bad")).await.err().unwrap().code(),
        Code::PermissionDenied
    );
    assert_eq!(
        (server.refused("unauthenticated"), server.refused("permission_denied")),
        (1, 1)
    );
    assert_eq!(server.metrics.streams.get(), 0);
}

#[tokio::test]
async fn a_review_that_takes_too_long_is_unavailable() {
    let review = Duration::from_millis(50);
    let limits = Limits {
        review,
        ..Limits::default()
    };
    let server = server_with(limits).await;
    let status = server.open(Some("slow")).await.err().unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(server.refused("unavailable"), 1);
}

#[tokio::test]
async fn only_incremental_ads_is_served() {
    let server = server().await;
    let channel = dial(server.address, &server.certificate).await.unwrap();
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let requests = tokio_stream::iter([DiscoveryRequest::default()]);
    let status = client.stream_aggregated_resources(requests).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_proxy_gets_its_own_and_other_apps_names_are_absent_and_counted() {
    let server = server().await;
    server.publish(vec![cluster(OWN, 1)]);
    let secret = Arc::new(AppSnapshot::new(1, vec![cluster("shop/other/http", 1)]));
    server.store.publish(AppKey::new("shop", "other"), Some(secret));
    let mut client = server.open(Some("good")).await.unwrap();
    client
        .send(ask(Kind::Cluster, &[OWN, "shop/other/http", "bank/hello/http"]))
        .await;
    let response = client.response().await;
    assert_eq!(response.resources.len(), 1);
    assert_eq!(response.resources[0].name, OWN);
    assert_eq!(response.removed_resources, ["bank/hello/http", "shop/other/http"]);
    assert_eq!(server.metrics.foreign.get(), 2);
    let sent = server
        .metrics
        .sent
        .get_or_create(&ResourceLabel { kind: "cluster" })
        .get();
    assert_eq!(sent, 1);
}

#[tokio::test]
async fn a_change_is_pushed_and_synced_once_accepted() {
    let server = server().await;
    let app = AppKey::new("shop", "hello");
    server.publish(vec![cluster(OWN, 1)]);
    let mut client = server.open(Some("good")).await.unwrap();
    client.send(ask(Kind::Cluster, &[OWN])).await;
    let first = client.response().await;
    assert_eq!(server.streams.progress_of(&app).sync.connected, 1);
    client.send(answer(&first, None)).await;
    until(|| server.streams.progress_of(&app).sync.synced == 1).await;
    server.publish(vec![cluster(OWN, 2)]);
    let second = client.response().await;
    assert_ne!(second.resources[0].version, first.resources[0].version);
    assert_eq!(server.streams.progress_of(&app).sync.synced, 0);
    client.send(answer(&second, None)).await;
    until(|| server.streams.progress_of(&app).sync.synced == 1).await;
    drop(client);
    until(|| server.streams.progress_of(&app).sync.connected == 0).await;
    until(|| server.metrics.streams.get() == 0).await;
}

#[tokio::test]
async fn a_rejection_is_counted_and_its_reason_told() {
    let server = server().await;
    server.publish(vec![cluster(OWN, 1)]);
    let mut client = server.open(Some("good")).await.unwrap();
    client.send(ask(Kind::Cluster, &[OWN])).await;
    let response = client.response().await;
    client.send(answer(&response, Some("shop/hello/http: no"))).await;
    let nacks = server
        .metrics
        .nacks
        .get_or_create(&ResourceLabel { kind: "cluster" })
        .clone();
    until(|| nacks.get() == 1).await;
    let sync = server.streams.progress_of(&AppKey::new("shop", "hello")).sync;
    assert_eq!(sync.rejected, ["cluster shop/hello/http: shop/hello/http: no"]);
}

#[tokio::test]
async fn an_app_that_goes_leaves_its_streams_with_what_they_have() {
    let server = server().await;
    server.publish(vec![cluster(OWN, 1)]);
    let mut client = server.open(Some("good")).await.unwrap();
    client.send(ask(Kind::Cluster, &[OWN])).await;
    let first = client.response().await;
    client.send(answer(&first, None)).await;
    server.store.publish(AppKey::new("shop", "hello"), None);
    // What comes next comes after the app was gone: nothing had been said about that.
    client.send(ask(Kind::Endpoints, &[OWN])).await;
    assert_eq!(client.response().await.type_url, Kind::Endpoints.type_url());
}

#[tokio::test]
async fn a_request_beyond_the_bounds_ends_its_stream_alone() {
    let server = server().await;
    server.publish(vec![cluster(OWN, 1)]);
    let channel = dial(server.address, &server.certificate).await.unwrap();
    let mut good = open(channel.clone(), Some("good")).await.unwrap();
    let mut bad = open(channel.clone(), Some("good")).await.unwrap();
    bad.send(ask(Kind::Cluster, &["x".repeat(513).as_str()])).await;
    assert_eq!(bad.next().await.unwrap_err().code(), Code::InvalidArgument);
    let mut huge = open(channel, Some("good")).await.unwrap();
    huge.send(ask(Kind::Cluster, &["x".repeat(600_000).as_str()])).await;
    assert!(
        !matches!(huge.next().await, Ok(Some(_))),
        "no answer to a message above the limit"
    );
    good.send(ask(Kind::Cluster, &[OWN])).await;
    assert_eq!(good.response().await.resources.len(), 1);
}

#[tokio::test]
async fn who_does_not_finish_the_handshake_holds_up_nobody() {
    let handshake = Duration::from_secs(2);
    let server = server_with(Limits {
        handshake,
        ..Limits::default()
    })
    .await;
    server.publish(vec![cluster(OWN, 1)]);
    let mut stalled = TcpStream::connect(server.address).await.unwrap();
    let mut client = server.open(Some("good")).await.unwrap();
    client.send(ask(Kind::Cluster, &[OWN])).await;
    assert_eq!(client.response().await.resources.len(), 1);
    // And is cut off in time.
    let end = in_time(stalled.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_eq!(server.refused("handshake"), 1);
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody() {
    let server = server().await;
    let endpoint = |i: usize| Endpoint {
        id: EndpointId::parse("id", &format!("uid-{i}")).unwrap(),
        address: ([10, 0, 0, 1], 80).into(),
        state: EndpointState::Ready,
        instance: "i".repeat(200),
        weight: 1,
        zone: String::new(),
    };
    let big = |n: usize| {
        let endpoints = (0..9000).map(endpoint).take(9000 - n).collect();
        let cluster = ResourceName::parse("name", OWN).unwrap();
        vec![Resource::Endpoints(EndpointSet { cluster, endpoints })]
    };
    server.publish(big(0));
    let slow = server.open(Some("good")).await.unwrap();
    slow.send(ask(Kind::Endpoints, &[OWN])).await;
    let mut client = server.open(Some("good")).await.unwrap();
    client.send(ask(Kind::Endpoints, &[OWN])).await;
    for n in 1..4 {
        let response = client.response().await;
        assert_eq!(response.resources.len(), 1);
        client.send(answer(&response, None)).await;
        server.publish(big(n));
    }
    assert_eq!(server.metrics.streams.get(), 2);
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_cuts_no_stream() {
    let server = server().await;
    server.publish(vec![cluster(OWN, 1)]);
    let mut before = server.open(Some("good")).await.unwrap();
    let (key, next) = certificate();
    *server.resolver.0.lock().unwrap() = key;
    assert!(
        dial(server.address, &server.certificate).await.is_err(),
        "the old CA no longer fits"
    );
    let channel = dial(server.address, &next).await.unwrap();
    let mut after = open(channel, Some("good")).await.unwrap();
    for client in [&mut before, &mut after] {
        client.send(ask(Kind::Cluster, &[OWN])).await;
        assert_eq!(client.response().await.resources.len(), 1);
    }
}

#[tokio::test]
async fn on_shutdown_streams_end_in_peace() {
    let server = server().await;
    server.publish(vec![cluster(OWN, 1)]);
    let mut client = server.open(Some("good")).await.unwrap();
    client.send(ask(Kind::Cluster, &[OWN])).await;
    client.response().await;
    server.stop.cancel();
    assert!(matches!(client.next().await, Ok(None)), "ended, not broken");
    in_time(server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_ends_in_peace_at_its_age_for_the_token_to_be_shown_anew() {
    let age = Duration::from_secs(2);
    let server = server_with(Limits {
        age,
        ..Limits::default()
    })
    .await;
    let mut client = server.open(Some("good")).await.unwrap();
    assert!(matches!(client.next().await, Ok(None)));
    let mut again = server.open(Some("good")).await.unwrap();
    server.publish(vec![cluster(OWN, 1)]);
    again.send(ask(Kind::Cluster, &[OWN])).await;
    assert_eq!(again.response().await.resources.len(), 1);
}

#[tokio::test]
async fn while_no_token_can_be_reviewed_streams_live_past_their_age() {
    let short = Duration::from_millis(20);
    let server = server_with(Limits {
        age: short,
        more: short,
        ..Limits::default()
    })
    .await;
    server.auth.unable.store(true, SeqCst);
    let mut client = server.open(Some("good")).await.unwrap();
    until(|| server.auth.asked.load(SeqCst) >= 3).await;
    server.publish(vec![cluster(OWN, 1)]);
    client.send(ask(Kind::Cluster, &[OWN])).await;
    assert_eq!(client.response().await.resources.len(), 1);
    server.auth.unable.store(false, SeqCst);
    assert!(matches!(client.next().await, Ok(None)), "ended in peace afterwards");
}
