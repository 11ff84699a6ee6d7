//! What a sidecar serves before its first update, by what its app speaks.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::Signal;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tenbin_model::{Cluster, OnDead, OnDrain, Resource, UpstreamTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::app::sessions;
use crate::backend::Backend;
use crate::client::Client;
use crate::harness::{PATIENCE, Proxy, eventually};
use crate::operator::{Operator, name};

/// An operator that is not there.
const NOBODY: [&str; 3] = [
    "--xds-address=localhost:1",
    "--xds-ca=/nowhere/ca.crt",
    "--xds-token=/nowhere/token",
];
/// The name that a certificate must be for where the spec gives none.
const DEFAULT_NAME: &str = "hello.ns.svc";

/// An app that speaks TLS alone.
struct TlsApp {
    address: SocketAddr,
    /// What its certificate is verified by.
    ca: String,
    /// Connections that it ever had, whatever was said.
    connections: Arc<AtomicUsize>,
}

impl TlsApp {
    /// What `app` answers, under a certificate for `host` and with one protocol to agree on.
    async fn before(app: &Backend, host: &str, alpn: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = TlsApp {
            address: listener.local_addr().unwrap(),
            ca: made.cert.pem(),
            connections: Arc::default(),
        };
        let (to, connections) = (app.address, Arc::clone(&tls.connections));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.fetch_add(1, SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let (Ok(mut client), Ok(mut app)) = (acceptor.accept(client).await, TcpStream::connect(to).await)
                    else {
                        return;
                    };
                    let _ = copy_bidirectional(&mut client, &mut app).await;
                });
            }
        });
        tls
    }

    fn verified_for(&self, server_name: &str) -> UpstreamTls {
        UpstreamTls {
            server_name: server_name.to_owned(),
            ca: self.ca.clone(),
        }
    }
}

/// Calls as gRPC does, by HTTP/2 with a status in the trailers; gives what came back and that status.
async fn call(proxy: SocketAddr) -> (Bytes, String) {
    let stream = TcpStream::connect(proxy).await.unwrap();
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let body = Full::new(Bytes::from_static(b"hello")).with_trailers(std::future::ready(Some(Ok(trailers))));
    let request = Request::post("http://test.example/echo")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (Version::HTTP_2, 200));
    let body = response.into_body().collect().await.unwrap();
    let status = body.trailers().unwrap()["grpc-status"].to_str().unwrap().to_owned();
    (body.to_bytes(), status)
}

#[tokio::test]
async fn each_port_is_spoken_with_in_its_own_way() {
    let (http, grpc) = (Backend::app().await, Backend::h2c().await);
    // Who is connected to is the first to speak: no HTTP begins like that.
    let database = Backend::script(async |mut stream, _| {
        let mut said = [0; 4];
        if stream.write_all(b"ready").await.is_ok() && stream.read_exact(&mut said).await.is_ok() {
            let _ = stream.write_all(&said).await;
        }
    })
    .await;
    let port = |backend: &Backend| backend.address.port();
    let ports = format!(
        "http=0:{},db=0:{}/tcp,grpc=0:{}/h2c",
        port(&http),
        port(&database),
        port(&grpc)
    );
    let proxy = Proxy::sidecar_on(&ports, &NOBODY).await;
    assert_eq!(proxy.ask_status("/readyz").await.0, 200);

    assert_eq!(proxy.client().await.get("/who").await.text(), http.address.to_string());
    let mut stream = TcpStream::connect(proxy.address_of(1)).await.unwrap();
    let mut came = [0; 5];
    timeout(PATIENCE, stream.read_exact(&mut came)).await.unwrap().unwrap();
    assert_eq!(&came, b"ready");
    stream.write_all(b"ping").await.unwrap();
    let mut rest = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rest, "ping");
    assert_eq!(call(proxy.address_of(2)).await, (Bytes::from("hello"), "0".to_owned()));
    // Clients may speak HTTP/1.1 there all the same.
    let mut client = Client::connect(proxy.address_of(2)).await;
    assert_eq!(client.get("/who").await.text(), grpc.address.to_string());
}

fn keep(folder: &Path, port: &str, tls: &UpstreamTls) {
    std::fs::write(folder.join(format!("tls-{port}.json")), tls.to_json()).unwrap();
}

#[tokio::test]
async fn an_app_behind_tls_is_verified_by_what_the_pod_has() {
    let (http, http2) = (Backend::app().await, Backend::h2c().await);
    let https = TlsApp::before(&http, DEFAULT_NAME, "http/1.1").await;
    let h2 = TlsApp::before(&http2, "shop.example", "h2").await;
    let folder = TempDir::new().unwrap();
    keep(folder.path(), "s", &https.verified_for(DEFAULT_NAME));
    keep(folder.path(), "g", &h2.verified_for("shop.example"));
    keep(folder.path(), "other", &h2.verified_for("other.example"));
    let (https, h2) = (https.address.port(), h2.address.port());
    let ports = format!("s=0:{https}/https,g=0:{h2}/h2,other=0:{h2}/h2");
    let folder = format!("--tls-dir={}", folder.path().display());
    let proxy = Proxy::sidecar_on(&ports, &[&[&*folder], &NOBODY[..]].concat()).await;
    assert_eq!(proxy.ask_status("/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(proxy.client().await.get("/who").await.text(), http.address.to_string());
    assert_eq!(call(proxy.address_of(1)).await, (Bytes::from("hello"), "0".to_owned()));
    let refused = Client::connect(proxy.address_of(2)).await.get("/who").await;
    assert_eq!(refused.status, 503, "its certificate is for another name");
}

#[tokio::test]
async fn an_app_that_cannot_be_verified_yet_is_not_ready_and_is_told_nothing() {
    let app = Backend::app().await;
    let tls = TlsApp::before(&app, DEFAULT_NAME, "http/1.1").await;
    let operator = Operator::of(sessions(OnDrain::Keep, OnDead::Rebalance)).await;
    operator.set(Resource::Cluster(Cluster {
        tls: Some(tls.verified_for(DEFAULT_NAME)),
        ..Cluster::new(name("ns/hello/http"))
    }));
    // The operator is out of reach as long as there is no token.
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    let mut args = operator.args();
    args.retain(|arg| !arg.starts_with("--xds-token"));
    args.push(format!("--xds-token={}", token.display()));
    args.push(format!("--tls-dir={}", folder.path().display()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ports = format!("http=0:{}/https", tls.address.port());
    let mut proxy = Proxy::sidecar_on(&ports, &args).await;

    assert_eq!(proxy.ask_status("/livez").await.0, 200, "the app need not wait");
    let (status, why) = proxy.ask_status("/readyz").await;
    assert!(status == 503 && why.starts_with("ns/hello/http: waiting"), "{why}");
    let mut client = proxy.client().await;
    assert_eq!(client.get("/who").await.status, 503);
    assert_eq!(tls.connections.load(SeqCst), 0);

    std::fs::write(token, "any").unwrap();
    eventually("it is ready", async || {
        (proxy.ask_status("/readyz").await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(client.get("/who").await.text(), app.address.to_string());

    // Started again with the operator away, it goes by what it was told.
    eventually("it is saved", async || {
        (proxy.metric("tenbin_snapshot_saves_total").await >= 1.0).then_some(())
    })
    .await;
    proxy.signal(Signal::SIGKILL);
    proxy.ended().await;
    let state = std::mem::replace(&mut proxy.folder, TempDir::new().unwrap());
    let proxy = Proxy::sidecar_in(state, "hello", &ports, &NOBODY).await;
    assert_eq!(proxy.ask_status("/readyz").await.0, 200);
    assert_eq!(proxy.client().await.get("/who").await.text(), app.address.to_string());
}
