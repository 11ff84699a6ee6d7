use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointConditions};
use kube::core::ObjectMeta;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::tables::{Tables, Watched};
use crate::xds::session::StreamSync;

fn app(name: &str) -> AppKey {
    AppKey::new("shop", name)
}

fn peer(name: &str, address: SocketAddr) -> Peer {
    Peer {
        name: name.to_owned(),
        address,
    }
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

fn report(reset: bool, json: &str) -> Report {
    let mut report: Report = serde_json::from_str(json).unwrap();
    report.reset = reset;
    report
}

#[test]
fn counts_of_all_replicas_are_added_up() {
    let streams = Arc::new(Streams::default());
    let syncs = Syncs::new(streams.clone());
    let open = streams.open(app("hello"));
    open.set(StreamSync {
        generation: 2,
        synced: true,
        rejected: vec!["cluster b: bad".to_owned()],
    });
    let (one, two) = (peer("one", anywhere()), peer("two", anywhere()));
    let hello = r#"{"apps":[{"namespace":"shop","name":"hello","connected":3,"synced":2,"rejected":["cluster a: bad","cluster b: bad"]}]}"#;
    assert_eq!(syncs.take(&one, report(true, hello)), BTreeSet::from([app("hello")]));
    syncs.take(&two, report(true, hello));
    let sync = syncs.of(&app("hello"), 2);
    assert_eq!((sync.connected, sync.synced), (7, 5));
    assert_eq!(sync.rejected, ["cluster a: bad", "cluster b: bad"]);
    // Who has not seen the newest spec has no proxy that has it.
    for (generation, synced) in [(1, 3), (2, 5), (3, 5)] {
        let report = format!(
            r#"{{"apps":[{{"namespace":"shop","name":"hello","generation":{generation},"connected":3,"synced":2}}]}}"#
        );
        syncs.take(&two, self::report(false, &report));
        let sync = syncs.of(&app("hello"), 2);
        assert_eq!((sync.connected, sync.synced), (7, synced), "{generation}");
    }
    assert_eq!(syncs.of(&app("hello"), 3).synced, 4, "ours is not the newest either");
    assert_eq!(syncs.drop_peer(&two), BTreeSet::from([app("hello")]));
    assert_eq!(syncs.of(&app("hello"), 2).connected, 4);
    // A reset names what it forgets as changed too.
    let other = r#"{"apps":[{"namespace":"shop","name":"other","connected":1}]}"#;
    assert_eq!(
        syncs.take(&one, report(true, other)),
        BTreeSet::from([app("hello"), app("other")])
    );
    assert_eq!(syncs.of(&app("hello"), 2).connected, 1);
}

fn slice(name: &str, pods: &[(&str, &str, Option<bool>)]) -> EndpointSlice {
    let endpoint = |(name, ip, serving): &(&str, &str, Option<bool>)| SliceEndpoint {
        addresses: vec![(*ip).to_owned()],
        conditions: Some(EndpointConditions {
            serving: *serving,
            ..Default::default()
        }),
        target_ref: Some(ObjectReference {
            name: Some((*name).to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    };
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..Default::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: pods.iter().map(endpoint).collect(),
        ports: None,
    }
}

#[test]
fn replicas_are_found_by_their_endpoints() {
    let mut found = Found::default();
    let names = |found: &Found| -> Vec<String> { found.peers("me", 15010).into_iter().map(|p| p.name).collect() };
    found.apply(WatchEvent::Init);
    let pods = [
        ("me", "10.0.0.1", None),
        ("a", "10.0.0.2", Some(true)),
        ("b", "10.0.0.3", Some(false)),
    ];
    found.apply(WatchEvent::InitApply(slice("one", &pods)));
    found.apply(WatchEvent::InitApply(slice(
        "two",
        &[("c", "fd00::1", None), ("d", "no address", None)],
    )));
    found.apply(WatchEvent::InitDone);
    assert_eq!(names(&found), ["a", "c"]);
    let first = found.peers("me", 15010).first().cloned().unwrap();
    assert_eq!(first.address.to_string(), "10.0.0.2:15010");
    // A relist without the second slice.
    found.apply(WatchEvent::Init);
    found.apply(WatchEvent::InitApply(slice("one", &[("a", "10.0.0.2", Some(true))])));
    assert_eq!(names(&found), ["a", "c"], "the old stands until the list is whole");
    found.apply(WatchEvent::InitDone);
    assert_eq!(names(&found), ["a"]);
    found.apply(WatchEvent::Delete(slice("one", &[])));
    assert!(names(&found).is_empty());
}

struct Friend;

impl AuthenticatePeer for Friend {
    async fn authenticate_peer(&self, token: Option<&str>) -> Result<(), tonic::Status> {
        match token {
            Some("friend") => Ok(()),
            _ => Err(tonic::Status::permission_denied("no friend")),
        }
    }
}

fn apps(names: &[&str]) -> Shared {
    let mut tables = Tables::new(&[]);
    tables.apply(None, Watched::App(WatchEvent::Init));
    for name in names {
        let spec = serde_json::json!({ "image": "i", "ports": [{ "name": "http", "port": 80 }] });
        let mut app = tenbin_crds::BalancedApp::new(name, serde_json::from_value(spec).unwrap());
        app.metadata.namespace = Some("shop".to_owned());
        app.metadata.uid = Some(format!("uid-{name}"));
        tables.apply(None, Watched::App(WatchEvent::InitApply(app)));
    }
    tables.apply(None, Watched::App(WatchEvent::InitDone));
    Shared::new(tables)
}

async fn follow(address: SocketAddr, token: &str) -> Result<Streaming<Report>, tonic::Status> {
    let channel = Endpoint::try_from(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut request = Request::new(Follow::default());
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let path = http::uri::PathAndQuery::from_static(PATH);
    let answer = grpc
        .server_streaming(request, path, Json::<Follow, Report>::default())
        .await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn a_replica_tells_its_friends_what_changes_and_nobody_else() {
    let streams = Arc::new(Streams::default());
    let (version, versions) = watch::channel(0);
    let counts = Counts {
        world: apps(&["hello", "other"]),
        streams: streams.clone(),
        version: versions,
    };
    let stop = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = PeerService::new(Friend, counts, stop.clone());
    let server = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);

    let refused = follow(address, "foe").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);

    let open = streams.open(app("hello"));
    let mut reports = follow(address, "friend").await.unwrap();
    let syncs = Syncs::new(Arc::default());
    let me = peer("me", address);
    let first = reports.message().await.unwrap().unwrap();
    assert!(first.reset);
    assert_eq!(syncs.take(&me, first), BTreeSet::from([app("hello")]));
    assert_eq!(
        (syncs.of(&app("hello"), 2).connected, syncs.of(&app("hello"), 2).synced),
        (1, 0)
    );

    open.set(StreamSync {
        generation: 2,
        synced: true,
        rejected: Vec::new(),
    });
    version.send_modify(|v| *v += 1);
    let next = reports.message().await.unwrap().unwrap();
    assert_eq!((next.reset, next.apps.len()), (false, 1));
    syncs.take(&me, next);
    assert_eq!(syncs.of(&app("hello"), 2).synced, 1);

    drop(open);
    version.send_modify(|v| *v += 1);
    syncs.take(&me, reports.message().await.unwrap().unwrap());
    assert_eq!(syncs.of(&app("hello"), 2), Sync::default());

    stop.cancel();
    assert!(
        reports.message().await.unwrap().is_none(),
        "a stopping replica ends the stream"
    );
    server.abort();
}

/// A replica that answers TLS with a certificate of its own, and no more.
async fn tls_replica(name: &str) -> (SocketAddr, String, tokio::task::JoinHandle<()>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            open.extend(acceptor.accept(socket).await);
        }
    });
    (address, made.cert.pem(), task)
}

#[tokio::test]
async fn each_connection_trusts_the_cas_of_its_day() {
    use clap::Parser;
    let config = crate::config::Config::try_parse_from([
        "tenbin-operator",
        "--pod-name=a",
        "--pod-namespace=ops",
        "--proxy-image=proxy:1",
    ]);
    let config = config.unwrap();
    let [name, _] = config.stream_names();
    let (address, new, replica) = tls_replica(&name).await;
    let (_, old, other) = tls_replica(&name).await;
    let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Err::<http::Response<kube::client::Body>, _>(tower::BoxError::from("no API server"))
    });
    let (_leads, leadership) = Leadership::new();
    let follower = Follower {
        slices: Api::namespaced(kube::Client::new(nobody, "ops"), "ops"),
        service: "tenbin-operator".to_owned(),
        me: "me".to_owned(),
        port: address.port(),
        server_name: name,
        token: PathBuf::new(),
        world: Shared::new(Tables::new(&[])),
        syncs: Syncs::new(Arc::default()),
        leadership,
        events: mpsc::channel(1).0,
        metrics: Metrics::new(|_| {}),
    };
    let peer = peer("two", address);
    let settings = |bundle: String| Some(Arc::new(config.fleet_settings(bundle)));
    follower.world.write().settings = settings(old.clone());
    follower.channel(&peer).await.expect_err("its CA is not known yet");
    follower.world.write().settings = settings(old + &new);
    follower.channel(&peer).await.expect("known now");
    replica.abort();
    other.abort();
}
