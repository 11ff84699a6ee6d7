//! A client of the operator's stream that says what a test wants it to say, true or not.

use std::sync::Arc;

use anyhow::{Context, ensure};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::PostParams;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::Lab;

/// The port of the operator's stream.
const PORT: u16 = 15010;
/// Type URL of clusters.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// Type URL of endpoints.
pub const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// Type URL of listeners.
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// Type URL of route tables.
pub const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// A token of a `ServiceAccount`, made by the API server.
#[derive(Clone)]
pub struct Token(pub String);

impl Token {
    /// A token of the namespace's default `ServiceAccount` for `audience`, bound to `pod` where one is given.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn request(lab: &Lab, audience: &str, pod: Option<&Pod>) -> anyhow::Result<Self> {
        let mut spec = json!({ "audiences": [audience], "expirationSeconds": 600 });
        if let Some(pod) = pod {
            spec["boundObjectRef"] = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "name": pod.metadata.name,
                "uid": pod.metadata.uid,
            });
        }
        let request: TokenRequest = serde_json::from_value(json!({ "metadata": {}, "spec": spec }))?;
        let accounts = lab.api::<ServiceAccount>();
        let made = accounts
            .create_token_request("default", &PostParams::default(), &request)
            .await?;
        Ok(Token(made.status.context("the API server made no token")?.token))
    }
}

/// An incremental ADS stream.
pub struct Stream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Stream {
    /// Opens a stream to the operator's pod `operator`, through the API server's port-forward, trusting the CA that the app
    /// `app` was given, with `token` as bearer. A refusal may come now or with the first response.
    ///
    /// # Errors
    /// No TLS connection can be made. What the operator answers is in the inner result.
    pub async fn open(
        lab: &Lab,
        operator: &str,
        app: &str,
        token: Option<&str>,
    ) -> anyhow::Result<Result<Self, Status>> {
        let channel = connect(lab, operator, app).await?;
        let (requests, queue) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(queue));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().context("the token is no header")?;
            request.metadata_mut().insert("authorization", value);
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        // The answer's headers may wait for the first request.
        let hello = DeltaDiscoveryRequest {
            node: Some(Node {
                id: format!("{}/{app}", lab.namespace),
                ..Node::default()
            }),
            type_url: LISTENER.to_owned(),
            resource_names_subscribe: vec![format!("{}/no-such-app/http", lab.namespace)],
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(hello).await.context("the stream takes no request")?;
        let opened = client.delta_aggregated_resources(request).await;
        let mut stream = match opened {
            Ok(response) => Stream {
                requests,
                responses: response.into_inner(),
            },
            Err(status) => return Ok(Err(status)),
        };
        Ok(match stream.next().await {
            Ok(first) => {
                ensure!(
                    first.resources.is_empty() && first.removed_resources.len() == 1,
                    "the first answer is not that the app asked for is absent: {first:?}"
                );
                stream.ack(&first).await?;
                Ok(stream)
            }
            Err(status) => Err(status),
        })
    }

    /// Asks for resources by name.
    ///
    /// # Errors
    /// The stream is over.
    pub async fn subscribe(&self, kind: &str, names: &[&str]) -> anyhow::Result<()> {
        let request = DeltaDiscoveryRequest {
            type_url: kind.to_owned(),
            resource_names_subscribe: names.iter().map(|&n| n.to_owned()).collect(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.context("the stream is over")
    }

    /// Accepts a response.
    ///
    /// # Errors
    /// The stream is over.
    pub async fn ack(&self, response: &DeltaDiscoveryResponse) -> anyhow::Result<()> {
        self.respond(response, None).await
    }

    /// Refuses a response, with the reason.
    ///
    /// # Errors
    /// The stream is over.
    pub async fn nack(&self, response: &DeltaDiscoveryResponse, reason: &str) -> anyhow::Result<()> {
        let detail = RpcStatus {
            code: 3,
            message: reason.to_owned(),
            details: Vec::new(),
        };
        self.respond(response, Some(detail)).await
    }

    async fn respond(&self, response: &DeltaDiscoveryResponse, error: Option<RpcStatus>) -> anyhow::Result<()> {
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error,
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.context("the stream is over")
    }

    /// The next response.
    ///
    /// # Errors
    /// The stream is over, or nothing came within ten seconds.
    pub async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let next = self.responses.message();
        match tokio::time::timeout(std::time::Duration::from_secs(10), next).await {
            Ok(Ok(Some(response))) => Ok(response),
            Ok(Ok(None)) => Err(Status::ok("the stream ended")),
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Status::deadline_exceeded("no response within 10 s")),
        }
    }
}

async fn connect(lab: &Lab, operator: &str, app: &str) -> anyhow::Result<Channel> {
    let bundle = lab.api::<ConfigMap>().get(&format!("{app}-tenbin")).await?;
    let pem = bundle.data.and_then(|d| d.get("ca.crt").cloned());
    let pem = pem.context("the app's ConfigMap holds no ca.crt")?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut forward = lab.system::<Pod>().portforward(operator, &[PORT]).await?;
    let plain = forward.take_stream(PORT).context("port-forward gave no stream")?;
    let name = ServerName::try_from(format!("tenbin-operator.{}.svc", lab.settings.system))?;
    let secure = TlsConnector::from(Arc::new(config))
        .connect(name, plain)
        .await
        .context("TLS")?;
    let mut once = Some(TokioIo::new(secure));
    let connector = tower::service_fn(move |_| {
        let stream = once.take();
        async move { stream.ok_or_else(|| std::io::Error::other("one connection is all there is")) }
    });
    let endpoint = Endpoint::from_shared(format!("http://tenbin-operator.{}.svc:{PORT}", lab.settings.system))?;
    endpoint.connect_with_connector(connector).await.context("HTTP/2")
}
