//! The IO of the stream: TLS connections in, gRPC on them, one [`Session`] per stream. No rule of the protocol lives here.
//!
//! A stream is driven by who reads it: nothing is computed, queued or taken from the client while its window is full, so that a
//! slow client costs only itself.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures::stream::{self, Stream};
use rustls::server::ResolvesServerCert;
use tenbin_model::Kind;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, Sleep};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::accept::{self, accept};
use super::metrics::{StreamMetrics, reason_of};
use super::session::{Session, Step};
use super::store::Store;
use super::streams::{OpenStream, Streams};
use crate::key::AppKey;
use crate::snapshot::AppSnapshot;

/// The largest request, in bytes: a stock Envoy names its some hundred extensions in its first one.
const MAX_REQUEST: usize = 512 << 10;
/// The most requests per second of one stream; more are left waiting, unread.
const MAX_RATE: u32 = 200;
/// The most streams of one connection.
const MAX_STREAMS: u32 = 4;
/// The most tokens under review at a time.
const MAX_REVIEWS: usize = 64;
/// When a connection is asked to close, for those that keep one without a stream; and when it is closed whatever it does.
const CONNECTION_AGE: Duration = Duration::from_secs(3600);
const CONNECTION_GRACE: Duration = Duration::from_secs(2400);
/// A peer that does not answer a ping for this long is dead.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5));
/// How long open streams have to end when the server stops.
const STOP: Duration = Duration::from_secs(5);

/// Tells which app a client belongs to, by its token alone.
pub trait Authenticate: Send + Sync + 'static {
    /// The app whose resources the bearer of `token` may see.
    ///
    /// # Errors
    /// The status that the client shall see; it must not hold the token.
    fn authenticate(&self, token: Option<&str>) -> impl Future<Output = Result<AppKey, Status>> + Send;

    /// Whether tokens can be judged at all now: if not, no stream is ended for its client to prove anew who it is.
    fn is_able(&self) -> impl Future<Output = bool> + Send;
}

/// What a server needs besides its listener.
pub struct Service<A> {
    /// Tells who is asking.
    pub auth: Arc<A>,
    /// The snapshots to serve.
    pub store: Arc<Store>,
    /// Where open streams are entered.
    pub streams: Arc<Streams>,
    /// What is counted.
    pub metrics: Arc<StreamMetrics>,
    /// Times.
    pub limits: Limits,
    /// Further services on the same port, under the same limits of connections and streams.
    pub others: Routes,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A TLS handshake. Default 5 s.
    pub handshake: Duration,
    /// The review of a token, waiting for its turn included. Default 10 s.
    pub review: Duration,
    /// When a stream is ended for its client to prove anew who it is and to find the replicas there are now: this, plus up to
    /// a fifth of it. Default 25 min: a projected token lives for an hour and is renewed at four fifths of that.
    pub age: Duration,
    /// How much longer a stream lives, again and again, while no client could be authenticated anew. Default 1 min.
    pub more: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            handshake: Duration::from_secs(5),
            review: Duration::from_secs(10),
            age: Duration::from_secs(25 * 60),
            more: Duration::from_secs(60),
        }
    }
}

impl<A: Authenticate> Service<A> {
    /// Serves on `listener` until `shutdown`, then gives open streams five seconds to end.
    ///
    /// # Errors
    /// TLS can't be set up, or the transport failed as a whole.
    pub async fn serve(
        self,
        listener: TcpListener,
        certificate: Arc<dyn ResolvesServerCert>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let tls = Arc::new(accept::tls_config(certificate)?);
        let (ready, connections) = mpsc::channel(64);
        let accepting = accept(listener, tls, self.limits.handshake, ready, Arc::clone(&self.metrics));
        let ads = Ads {
            auth: self.auth,
            store: self.store,
            streams: self.streams,
            metrics: self.metrics,
            limits: self.limits,
            reviews: Semaphore::new(MAX_REVIEWS),
            shutdown: shutdown.clone(),
        };
        let ads = AggregatedDiscoveryServiceServer::new(ads).max_decoding_message_size(MAX_REQUEST);
        let incoming = ReceiverStream::new(connections).map(Ok::<_, std::io::Error>);
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE.0))
            .http2_keepalive_timeout(Some(KEEPALIVE.1))
            .http2_max_header_list_size(16 << 10)
            .max_concurrent_streams(MAX_STREAMS)
            .max_connection_age(CONNECTION_AGE)
            .max_connection_age_grace(CONNECTION_GRACE)
            .add_routes(self.others.add_service(ads))
            .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
        let accepting = async {
            tokio::select! {
                () = accepting => {}
                () = shutdown.cancelled() => {}
            }
            // The server ends by itself; this side only bounds how long that may take.
            shutdown.cancelled().await;
            tokio::time::sleep(STOP).await;
        };
        tokio::select! {
            served = server => Ok(served?),
            () = accepting => Ok(()),
        }
    }
}

struct Ads<A> {
    auth: Arc<A>,
    store: Arc<Store>,
    streams: Arc<Streams>,
    metrics: Arc<StreamMetrics>,
    limits: Limits,
    reviews: Semaphore,
    shutdown: CancellationToken,
}

impl<A: Authenticate> Ads<A> {
    async fn authenticate(&self, metadata: &MetadataMap, peer: Option<SocketAddr>) -> Result<AppKey, Status> {
        let header = metadata.get("authorization");
        let token = header
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let review = async {
            let _permit = self.reviews.acquire().await;
            self.auth.authenticate(token).await
        };
        let reviewed = tokio::time::timeout(self.limits.review, review).await;
        let late = || Err(Status::unavailable("the token could not be reviewed in time"));
        reviewed.unwrap_or_else(|_| late()).inspect_err(|status| {
            tracing::info!(?peer, code = ?status.code(), reason = status.message(), "stream refused");
            self.metrics.count_refused(reason_of(status.code()));
        })
    }
}

#[tonic::async_trait]
impl<A: Authenticate> AggregatedDiscoveryService for Ads<A> {
    type StreamAggregatedResourcesStream = stream::Pending<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.metrics.count_refused(reason_of(tonic::Code::Unimplemented));
        Err(Status::unimplemented(
            "only incremental ADS is served: DeltaAggregatedResources",
        ))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let peer = request.remote_addr();
        let (metadata, _, inbound) = request.into_parts();
        let app = self.authenticate(&metadata, peer).await?;
        tracing::debug!(%app, ?peer, "stream opened");
        let mut snapshots = self.store.subscribe(&app);
        let snapshot = snapshots.borrow_and_update().clone();
        let open = self.streams.open(app.clone());
        self.metrics.streams.inc();
        let conversation = Conversation {
            inbound,
            session: Session::new(app.clone(), snapshot),
            snapshots,
            queue: VecDeque::new(),
            end: Box::pin(tokio::time::sleep(max_age(self.limits.age, open.id()))),
            pace: (Instant::now(), 0),
            open,
            app,
            auth: Arc::clone(&self.auth),
            more: self.limits.more,
            metrics: Arc::clone(&self.metrics),
            shutdown: self.shutdown.clone(),
        };
        Ok(Response::new(Box::pin(stream::unfold(Some(conversation), next))))
    }
}

/// Spread evenly by the stream's number, so that streams opened together do not end together.
fn max_age(age: Duration, id: u64) -> Duration {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let part = (id.wrapping_mul(GOLDEN) >> 48) as u32;
    age + age / 5 * part / (1 << 16)
}

/// One stream between its IO and its session.
struct Conversation<A> {
    inbound: Streaming<DeltaDiscoveryRequest>,
    session: Session,
    snapshots: watch::Receiver<Option<Arc<AppSnapshot>>>,
    /// At most one response of each kind.
    queue: VecDeque<DeltaDiscoveryResponse>,
    end: Pin<Box<Sleep>>,
    /// Start of the current second, and how many requests came in it.
    pace: (Instant, u32),
    open: OpenStream,
    app: AppKey,
    auth: Arc<A>,
    more: Duration,
    metrics: Arc<StreamMetrics>,
    shutdown: CancellationToken,
}

type Next<A> = Option<(Result<DeltaDiscoveryResponse, Status>, Option<Conversation<A>>)>;

/// The next response. None ends the stream, in peace; an error ends it with that status.
async fn next<A: Authenticate>(conversation: Option<Conversation<A>>) -> Next<A> {
    let mut this = conversation?;
    loop {
        if let Some(response) = this.queue.pop_front() {
            return Some((Ok(response), Some(this)));
        }
        tokio::select! {
            () = this.shutdown.cancelled() => return None,
            () = &mut this.end => {
                if this.auth.is_able().await {
                    return None;
                }
                this.end.as_mut().reset(Instant::now() + this.more);
            }
            message = this.inbound.message() => match message {
                Ok(Some(request)) => {
                    if let Err(status) = this.on_request(request).await {
                        return Some((Err(status), None));
                    }
                }
                // The client is gone, or has broken gRPC itself: tonic has told it.
                Ok(None) | Err(_) => return None,
            },
            changed = this.snapshots.changed() => {
                if changed.is_err() {
                    return Some((Err(Status::unavailable("stopping")), None));
                }
                this.on_snapshot();
            }
        }
    }
}

impl<A> Conversation<A> {
    async fn on_request(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        self.keep_pace().await;
        let step = self.session.on_request(request).map_err(|violation| {
            tracing::warn!(app = %self.app, %violation, "stream ended");
            self.metrics.count_refused(reason_of(tonic::Code::InvalidArgument));
            Status::invalid_argument(violation.to_string())
        })?;
        self.take(step);
        Ok(())
    }

    fn on_snapshot(&mut self) {
        let snapshot = self.snapshots.borrow_and_update().clone();
        // An app that is gone leaves its streams with what they have.
        if let Some(snapshot) = snapshot {
            let step = self.session.on_snapshot(snapshot);
            self.take(step);
        }
    }

    fn take(&mut self, step: Step) {
        if let Some(kind) = step.acked {
            self.metrics.count_ack(kind);
        }
        if let Some((kind, reason)) = step.nacked {
            tracing::warn!(app = %self.app, kind = kind.as_str(), reason, "a proxy rejected resources");
            self.metrics.count_nack(kind);
        }
        self.metrics.foreign.inc_by(step.foreign);
        for response in step.responses {
            if let Some(kind) = Kind::from_type_url(&response.type_url) {
                self.metrics.count_sent(kind, &response);
            }
            self.queue.push_back(response);
        }
        self.open.set(self.session.sync());
    }

    /// Leaves a client that asks too much waiting until its second is over.
    async fn keep_pace(&mut self) {
        let (start, count) = &mut self.pace;
        if start.elapsed() >= Duration::from_secs(1) {
            (*start, *count) = (Instant::now(), 0);
        }
        *count += 1;
        if *count > MAX_RATE {
            tokio::time::sleep_until(*start + Duration::from_secs(1)).await;
        }
    }
}

impl<A> Drop for Conversation<A> {
    fn drop(&mut self) {
        tracing::debug!(app = %self.app, "stream closed");
        self.metrics.streams.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_opened_together_end_spread_over_a_fifth_of_their_age() {
        let age = Duration::from_secs(1000);
        let mut ages: Vec<Duration> = (0..100).map(|id| max_age(age, id)).collect();
        ages.sort();
        assert!(ages[0] >= age && ages[99] <= age + age / 5);
        let gaps = ages.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max().unwrap() < Duration::from_secs(5), "200 s for 100 streams");
    }
}
