//! The other end of a sidecar's stream: tells its proxies what a test wants, over real TLS and gRPC. It accepts everybody, and does not
//! care what it is told back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource as XdsResource,
};
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tenbin_model::{
    Affinity, Balancing, Cluster, Endpoint, EndpointId, EndpointSet, EndpointState, Kind, Listener, Policy, Resource,
    ResourceName, Route, RouteTable, SessionKey, SessionKeys, VirtualHost, xds,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Each with its version.
type Resources = BTreeMap<(Kind, String), (u64, Resource)>;

/// An operator of one app.
pub(crate) struct Operator {
    /// The app's name.
    pub(crate) app: &'static str,
    resources: watch::Sender<Resources>,
    address: SocketAddr,
    folder: TempDir,
}

pub(crate) fn name(text: &str) -> ResourceName {
    ResourceName::parse("test", text).unwrap()
}

impl Operator {
    /// An operator whose app `ns/hello` has this affinity, is balanced in turn, has one key (1) and no endpoints yet.
    pub(crate) async fn of(affinity: Affinity) -> Self {
        Self::of_app("hello", affinity).await
    }

    /// The same for another app.
    pub(crate) async fn of_app(app: &'static str, affinity: Affinity) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("token"), "any").unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![made.cert.der().clone()],
                PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];

        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(terminate(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            grpc.local_addr().unwrap(),
        ));
        let (resources, told) = watch::channel(Resources::new());
        let service = AggregatedDiscoveryServiceServer::new(Ads(told));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(grpc)));

        let operator = Operator {
            app,
            resources,
            address,
            folder,
        };
        operator.listener(&[]);
        operator.route();
        operator.balance(Policy::RoundRobin, Some(affinity));
        operator.keys(&[1]);
        operator.endpoints(&[]);
        operator
    }

    /// The arguments of a sidecar that follows it.
    pub(crate) fn args(&self) -> Vec<String> {
        let file = |name| self.folder.path().join(name);
        let arg = |name, path: PathBuf| format!("--{name}={}", path.display());
        vec![
            format!("--xds-address=localhost:{}", self.address.port()),
            arg("xds-ca", file("ca.crt")),
            arg("xds-token", file("token")),
        ]
    }

    /// The name of the resources of its port.
    fn port(&self) -> ResourceName {
        ResourceName::app_port("ns", self.app, "http")
    }

    /// Tells everybody of a resource.
    pub(crate) fn set(&self, resource: Resource) {
        let key = (resource.kind(), resource.name().as_str().to_owned());
        self.resources.send_modify(|resources| {
            let version = resources.get(&key).map_or(0, |(version, _)| version + 1);
            resources.insert(key, (version, resource));
        });
    }

    /// Whose X-Forwarded-For is believed.
    pub(crate) fn listener(&self, trusted: &[&str]) {
        self.says(|listener| listener.trusted_hops = trusted.iter().map(|text| text.parse().unwrap()).collect());
    }

    /// What else there is to say of its listener; what is not said is as by default.
    pub(crate) fn says(&self, change: impl FnOnce(&mut Listener)) {
        let mut listener = Listener::new(self.port(), ([0, 0, 0, 0], 1).into(), self.port());
        change(&mut listener);
        self.set(Resource::Listener(listener));
    }

    fn route(&self) {
        let route = Route::new("/", self.port());
        self.set(Resource::Routes(RouteTable {
            name: self.port(),
            hosts: vec![VirtualHost {
                name: "all".to_owned(),
                domains: vec!["*".to_owned()],
                routes: vec![route],
            }],
        }));
    }

    /// How it balances.
    pub(crate) fn balance(&self, policy: Policy, affinity: Option<Affinity>) {
        self.set(Resource::Cluster(Cluster {
            balancing: Balancing {
                policy,
                affinity,
                ..Balancing::default()
            },
            connect_timeout: Duration::from_secs(1),
            ..Cluster::new(self.port())
        }));
    }

    /// The keys of its session cookies by their ids, the one that seals first.
    pub(crate) fn keys(&self, ids: &[u32]) {
        let key = |&id: &u32| SessionKey {
            id,
            secret: [id as u8; 32],
        };
        self.set(Resource::Keys(SessionKeys {
            name: name("ns/hello"),
            keys: ids.iter().map(key).collect(),
        }));
    }

    /// Its endpoints: who, where, and whether they drain.
    pub(crate) fn endpoints(&self, endpoints: &[(&str, SocketAddr, EndpointState)]) {
        let endpoint = |&(id, address, state): &(&str, SocketAddr, EndpointState)| Endpoint {
            state,
            ..Endpoint::new(EndpointId::parse("test", id).unwrap(), address)
        };
        let mut endpoints: Vec<Endpoint> = endpoints.iter().map(endpoint).collect();
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        self.set(Resource::Endpoints(EndpointSet {
            cluster: self.port(),
            endpoints,
        }));
    }
}

/// Takes TLS off connections, and passes them on.
async fn terminate(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr) {
    while let Ok((client, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let (Ok(mut client), Ok(mut server)) = (acceptor.accept(client).await, TcpStream::connect(to).await) else {
                return;
            };
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

struct Ads(watch::Receiver<Resources>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only the incremental stream is spoken here"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, stream) = mpsc::channel(16);
        tokio::spawn(converse(request.into_inner(), self.0.clone(), responses));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Tells one client whatever it subscribed to and was not told yet.
async fn converse(
    mut requests: Streaming<DeltaDiscoveryRequest>,
    mut resources: watch::Receiver<Resources>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
) {
    let mut subscribed: BTreeSet<(Kind, String)> = BTreeSet::new();
    let mut told = Resources::new();
    loop {
        tokio::select! {
            request = requests.message() => {
                let Ok(Some(request)) = request else { return };
                let kind = Kind::from_type_url(&request.type_url).unwrap();
                for name in request.resource_names_unsubscribe {
                    subscribed.remove(&(kind, name.clone()));
                    told.remove(&(kind, name));
                }
                subscribed.extend(request.resource_names_subscribe.into_iter().map(|name| (kind, name)));
            }
            changed = resources.changed() => if changed.is_err() { return },
        }
        let now = resources.borrow_and_update().clone();
        for kind in Kind::ALL {
            let news = now
                .iter()
                .filter(|(key, resource)| key.0 == kind && subscribed.contains(key) && told.get(key) != Some(resource));
            let news: Resources = news.map(|(key, resource)| (key.clone(), resource.clone())).collect();
            if !news.is_empty() {
                if responses.send(Ok(response(kind, &news))).await.is_err() {
                    return;
                }
                told.extend(news);
            }
        }
    }
}

fn response(kind: Kind, news: &Resources) -> DeltaDiscoveryResponse {
    let resource = |((_, name), (version, resource)): (&(Kind, String), &(u64, Resource))| XdsResource {
        name: name.clone(),
        version: version.to_string(),
        resource: Some(xds::encode(resource)),
        ..XdsResource::default()
    };
    DeltaDiscoveryResponse {
        type_url: kind.type_url().to_owned(),
        resources: news.iter().map(resource).collect(),
        nonce: "n".to_owned(),
        ..DeltaDiscoveryResponse::default()
    }
}
