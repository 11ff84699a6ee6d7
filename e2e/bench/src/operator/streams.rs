//! Simulated proxies: the proxy's own session over a connection and a TLS handshake of its own, with a real token; what is left
//! out is the traffic. Each tells what it hears; counting is done where it is read.
//!
//! As the proxy does, it comes back after a growing random pause, with the versions it has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tenbin_model::{Kind, ResourceName};
use tenbin_proxy::xds::session::Session;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

/// Proxies that share an address of this machine: the operator takes 128 connections of one.
const PER_ADDRESS: usize = 100;
/// As the proxy's: how long connecting and opening may take, the pauses between tries, and when a stream was a good one.
const CONNECT: Duration = Duration::from_secs(5);
const OPEN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_CAP: Duration = Duration::from_secs(5);
const LIVED: Duration = Duration::from_secs(10);
/// Without a word for so long, all that was to come has come.
const QUIET: Duration = Duration::from_millis(300);

/// The operator's stream.
pub(super) struct Target {
    address: SocketAddr,
    host: String,
    tls: TlsConnector,
}

/// Who a simulated proxy is.
pub(super) struct Proxy {
    /// Its number.
    pub(super) id: usize,
    listener: ResourceName,
    token: MetadataValue<Ascii>,
}

/// What a proxy tells.
enum Told {
    /// Its stream is open: it was let in.
    Opened,
    /// A try failed, or a stream broke.
    Failed(String),
    /// A response.
    Heard {
        kind: Option<Kind>,
        resources: usize,
        bytes: usize,
        refused: usize,
    },
}

/// When which proxy told what.
struct Word(usize, Instant, Told);

/// All simulated proxies; they end when this is dropped.
pub(super) struct Proxies {
    target: Arc<Target>,
    tasks: BTreeMap<usize, AbortHandle>,
    tell: mpsc::UnboundedSender<Word>,
    told: mpsc::UnboundedReceiver<Word>,
}

/// What was told in a span of time.
#[derive(Default)]
pub(super) struct Tally {
    /// When each stream opened last.
    pub(super) opened: BTreeMap<usize, Instant>,
    /// The kinds of which each proxy heard.
    pub(super) heard: BTreeMap<usize, BTreeSet<Kind>>,
    /// Resources sent.
    pub(super) resources: usize,
    /// Bytes of the responses, before HTTP/2 and TLS.
    pub(super) bytes: usize,
    /// The last response.
    pub(super) last: Option<Instant>,
    refused: usize,
    failures: BTreeMap<String, usize>,
}

impl Target {
    /// The stream at `address`, whose certificate is for `host` and signed by a CA of `pem`.
    pub(super) fn new(address: SocketAddr, host: String, pem: &[u8]) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate?)?;
        }
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Each of the real ones makes its configuration anew.
        config.resumption = Resumption::disabled();
        Ok(Target {
            address,
            host,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// A connection from an address that few others share.
    async fn connect(&self, id: usize) -> anyhow::Result<Channel> {
        let source = SocketAddr::new(source(id), 0);
        let name = ServerName::try_from(self.host.clone())?;
        let (address, tls) = (self.address, self.tls.clone());
        let connector = tower::service_fn(move |_| {
            let (tls, name) = (tls.clone(), name.clone());
            async move {
                let socket = TcpSocket::new_v4()?;
                socket.bind(source)?;
                let stream = socket.connect(address).await?;
                stream.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
            }
        });
        let endpoint = Endpoint::from_shared(format!("https://{}:{}", self.host, address.port()))?;
        Ok(timeout(CONNECT, endpoint.connect_with_connector(connector)).await??)
    }
}

/// The address that the proxy of that number connects from.
fn source(id: usize) -> IpAddr {
    let group = u32::try_from(id / PER_ADDRESS).unwrap_or(0);
    IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 1)) + group))
}

impl Proxy {
    /// The proxy of that number, in a pod of `namespace/app` that holds `token`.
    pub(super) fn new(id: usize, namespace: &str, app: &str, token: &str) -> anyhow::Result<Self> {
        let mut token = MetadataValue::try_from(format!("Bearer {token}"))?;
        token.set_sensitive(true);
        Ok(Proxy {
            id,
            listener: ResourceName::app_port(namespace, app, "http"),
            token,
        })
    }

    async fn run(self: Arc<Self>, target: Arc<Target>, tell: mpsc::UnboundedSender<Word>) {
        let mut session = Session::new(self.listener.to_string(), vec![self.listener.clone()]);
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let end = self.stream(&target, &mut session, &tell).await;
            let reason = end
                .err()
                .map_or_else(|| "closed by the operator".to_owned(), |error| format!("{error:#}"));
            let _ = tell.send(Word(self.id, Instant::now(), Told::Failed(reason)));
            failures = if began.elapsed() >= LIVED { 0 } else { failures + 1 };
            let most = PAUSE.saturating_mul(2u32.saturating_pow(failures)).min(PAUSE_CAP);
            sleep(most.mul_f64(fastrand::f64())).await;
        }
    }

    /// One stream, until it ends.
    async fn stream(
        &self,
        target: &Target,
        session: &mut Session,
        tell: &mpsc::UnboundedSender<Word>,
    ) -> anyhow::Result<()> {
        let tell = |told| {
            // Nobody reads any more: then nobody misses it.
            let _ = tell.send(Word(self.id, Instant::now(), told));
        };
        let channel = target.connect(self.id).await.context("connecting")?;
        let (requests, queue) = mpsc::channel(16);
        for request in session.connect() {
            requests.send(request).await?;
        }
        let mut request = Request::new(ReceiverStream::new(queue));
        request.metadata_mut().insert("authorization", self.token.clone());
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let opened = timeout(OPEN, client.delta_aggregated_resources(request))
            .await
            .context("opening")?;
        let mut inbound = opened.map_err(|status| words(&status))?.into_inner();
        tell(Told::Opened);
        while let Some(response) = inbound.message().await.map_err(|status| words(&status))? {
            let kind = Kind::from_type_url(&response.type_url);
            let (resources, bytes) = (response.resources.len(), response.encoded_len());
            let judged = session.on_response(response);
            tell(Told::Heard {
                kind,
                resources,
                bytes,
                refused: judged.rejected.len(),
            });
            for request in judged.requests {
                requests.send(request).await?;
            }
        }
        Ok(())
    }
}

/// A status without what it was made of.
fn words(status: &tonic::Status) -> anyhow::Error {
    anyhow!("{:?}: {}", status.code(), status.message())
}

impl Proxies {
    /// None yet.
    pub(super) fn new(target: Target) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Proxies {
            target: Arc::new(target),
            tasks: BTreeMap::new(),
            tell,
            told,
        }
    }

    /// Starts these, who know nothing yet, all at once.
    pub(super) fn start(&mut self, proxies: &[Arc<Proxy>]) {
        for proxy in proxies {
            let task = tokio::spawn(Arc::clone(proxy).run(Arc::clone(&self.target), self.tell.clone()));
            self.tasks.insert(proxy.id, task.abort_handle());
        }
    }

    /// Ends these, in the middle of whatever they do.
    pub(super) fn end(&mut self, proxies: &[Arc<Proxy>]) {
        for proxy in proxies {
            if let Some(task) = self.tasks.remove(&proxy.id) {
                task.abort();
            }
        }
    }

    /// Leaves aside what was told and not read.
    pub(super) fn forget(&mut self) {
        while self.told.try_recv().is_ok() {}
    }

    /// Takes what is told until `done`, and then until nothing more comes.
    pub(super) async fn hear(
        &mut self,
        what: &str,
        limit: Duration,
        done: impl Fn(&Tally) -> bool,
    ) -> anyhow::Result<Tally> {
        let deadline = Instant::now() + limit;
        let mut tally = Tally::default();
        loop {
            let finished = done(&tally);
            let wait = if finished {
                QUIET
            } else {
                deadline.saturating_duration_since(Instant::now())
            };
            match timeout(wait, self.told.recv()).await {
                Ok(Some(word)) => tally.add(word),
                Err(_) if finished => return Ok(tally),
                _ => return Err(anyhow!("{what}: not within {limit:?}: {}", tally.explained())),
            }
        }
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

impl Tally {
    fn add(&mut self, Word(id, at, told): Word) {
        match told {
            Told::Opened => {
                self.opened.insert(id, at);
            }
            Told::Failed(reason) => *self.failures.entry(reason).or_default() += 1,
            Told::Heard {
                kind,
                resources,
                bytes,
                refused,
            } => {
                self.heard.entry(id).or_default().extend(kind);
                self.resources += resources;
                self.bytes += bytes;
                self.refused += refused;
                self.last = self.last.max(Some(at));
            }
        }
    }

    /// How many proxies heard of all `kinds`.
    pub(super) fn heard_of(&self, kinds: &[Kind]) -> usize {
        self.heard
            .values()
            .filter(|heard| kinds.iter().all(|kind| heard.contains(kind)))
            .count()
    }

    /// Tries that failed and streams that broke.
    pub(super) fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    fn explained(&self) -> String {
        let (opened, heard, refused) = (self.opened.len(), self.heard.len(), self.refused);
        format!(
            "{opened} streams opened, {heard} heard something, {refused} resources refused, failed: {:#?}",
            self.failures
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_has_more_proxies_than_the_operator_takes() {
        assert_eq!(source(0), source(PER_ADDRESS - 1));
        assert_eq!(source(PER_ADDRESS).to_string(), "127.0.1.2");
        assert!(source(1_000_000).is_loopback());
    }

    #[test]
    fn what_is_told_is_added_up() {
        let (early, mut tally) = (Instant::now(), Tally::default());
        let late = early + Duration::from_secs(1);
        let heard = |kind| Told::Heard {
            kind: Some(kind),
            resources: 2,
            bytes: 10,
            refused: 0,
        };
        tally.add(Word(1, late, heard(Kind::Cluster)));
        tally.add(Word(1, early, heard(Kind::Endpoints)));
        tally.add(Word(2, early, heard(Kind::Endpoints)));
        tally.add(Word(3, early, Told::Failed("no".to_owned())));
        assert_eq!((tally.resources, tally.bytes, tally.last), (6, 30, Some(late)));
        assert_eq!(tally.heard_of(&[Kind::Endpoints]), 2);
        assert_eq!(tally.heard_of(&[Kind::Endpoints, Kind::Cluster]), 1);
        assert_eq!(tally.failed(), 1);
    }
}
