//! Tells another replica how far the proxies on this one are. A gRPC service on the stream's port; whoever is no operator is
//! refused. Decides nothing about the counts.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, unfold};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Request, Response, Status};

use super::wire::{Follow, Json, PATH, Report, SERVICE, reports};
use crate::key::AppKey;
use crate::world::Shared;
use crate::xds::streams::{Progress, Streams};

/// The least time between two reports to one follower.
const PACE: Duration = Duration::from_millis(200);

/// Tells whether a caller is an operator replica, by its token alone.
pub trait AuthenticatePeer: Send + std::marker::Sync + 'static {
    /// Whether the bearer of `token` is one.
    ///
    /// # Errors
    /// The status that the caller shall see; it must not hold the token.
    fn authenticate_peer(&self, token: Option<&str>) -> impl Future<Output = Result<(), Status>> + Send;
}

/// The service.
pub struct PeerService<A> {
    shared: Arc<Inner<A>>,
}

struct Inner<A> {
    auth: A,
    counts: Counts,
    stop: CancellationToken,
}

/// Where the counts of this replica come from.
#[derive(Clone, Debug)]
pub struct Counts {
    /// The apps there are.
    pub world: Shared,
    /// The streams of this replica.
    pub streams: Arc<Streams>,
    /// Changes whenever a stream's state does.
    pub version: watch::Receiver<u64>,
}

impl Counts {
    fn now(&self) -> BTreeMap<AppKey, Progress> {
        let apps: Vec<AppKey> = self.world.read().tables.apps().collect();
        let counts = apps.into_iter().map(|app| {
            let progress = self.streams.progress_of(&app);
            (app, progress)
        });
        counts
            .filter(|(_, progress)| *progress != Progress::default())
            .collect()
    }
}

impl<A: AuthenticatePeer> PeerService<A> {
    /// Tells `counts` to whom `auth` lets in, until `stop`.
    pub fn new(auth: A, counts: Counts, stop: CancellationToken) -> Self {
        PeerService {
            shared: Arc::new(Inner { auth, counts, stop }),
        }
    }
}

impl<A> Clone for PeerService<A> {
    fn clone(&self) -> Self {
        PeerService {
            shared: self.shared.clone(),
        }
    }
}

impl<A> NamedService for PeerService<A> {
    const NAME: &'static str = SERVICE;
}

impl<A: AuthenticatePeer> tower::Service<http::Request<Body>> for PeerService<A> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let mut grpc = Grpc::new(Json::<Report, Follow>::default());
            Ok(grpc.server_streaming(Method(shared), request).await)
        })
    }
}

struct Method<A>(Arc<Inner<A>>);

impl<A: AuthenticatePeer> ServerStreamingService<Follow> for Method<A> {
    type Response = Report;
    type ResponseStream = BoxStream<'static, Result<Report, Status>>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<Follow>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            let header = request.metadata().get("authorization");
            let token = header
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.strip_prefix("Bearer "));
            shared.auth.authenticate_peer(token).await?;
            Ok(Response::new(follow(shared.counts.clone(), shared.stop.clone())))
        })
    }
}

/// All counts, then what changes, coalesced: a slow follower gets fewer and never more than the newest.
fn follow(mut counts: Counts, stop: CancellationToken) -> BoxStream<'static, Result<Report, Status>> {
    counts.version.mark_changed();
    let state = (counts, BTreeMap::new(), VecDeque::new(), true);
    let reports = unfold(state, |(mut counts, mut told, mut queue, mut reset)| async move {
        loop {
            if let Some(report) = queue.pop_front() {
                return Some((Ok(report), (counts, told, queue, reset)));
            }
            if !reset {
                tokio::time::sleep(PACE).await;
            }
            counts.version.changed().await.ok()?;
            let now = counts.now();
            queue = reports(&told, &now, reset).into();
            (told, reset) = (now, false);
        }
    });
    reports.take_until(stop.cancelled_owned()).boxed()
}
