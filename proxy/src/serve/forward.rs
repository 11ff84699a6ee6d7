//! Sends a request to an endpoint of its cluster, and to others where that is safe and its route wants it: pick, connect, send, judge.
//! Whether it is sent again is decided in `retry`, how long anything may take in `patience`.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;
use tenbin_balance::{Outcome, Time, Tried};
use tenbin_model::UpstreamProtocol;
use tokio::time::sleep;

use super::body::Relay;
use super::error::{Failure, Fault};
use super::exchange::Exchange;
use super::expect::{self, Gate, Said};
use super::forwarding::Told;
use super::grpc;
use super::headers::{self, Seen};
use super::incoming;
use super::parcel::Parcel;
use super::patience::Patience;
use super::queue::Ask;
use super::retry::{Again, Retries};
use super::upload::{Measures, Upload};
use super::worker::WorkerContext;
use crate::affinity::{Affinity, Bond};
use crate::clock::since_1970;
use crate::state::{Picked, Routed};
use crate::upstream::{self, Download, To, Undelivered};

/// A body of more bytes, or of unknown length, may take the client long to send.
const LONG: u64 = 64 << 10;

/// A request on its way: where it goes, and what binds it to an endpoint there.
pub(super) struct Way {
    pub(super) routed: Routed,
    pub(super) bond: Bond,
    /// What its head had when it came.
    pub(super) seen: Seen,
    /// What the endpoint is told of the client beside that.
    pub(super) told: Option<Rc<Told>>,
    /// The header that tells the client which instance answered.
    pub(super) served_by: Option<HeaderName>,
}

/// An endpoint's response, and what is needed to pass it on.
pub(super) struct Answer {
    pub(super) response: Response<Download>,
    /// Whether the client asked for an upgrade.
    pub(super) upgrade: bool,
    /// The request's body, if it is still under way.
    pub(super) upload: Option<Rc<Upload>>,
}

/// Everything about a request that is being forwarded.
struct Forward<'a> {
    exchange: &'a mut Exchange,
    worker: Rc<WorkerContext>,
    way: &'a Way,
    parcel: Parcel,
    patience: Patience,
    retries: Retries<'a>,
    tried: Tried,
    upgrade: bool,
    is_long: bool,
    /// Where an endpoint's wish to have the body is told, if its client waits for that.
    said: Option<Rc<Said>>,
    /// The last response, given up for another try that may bring none.
    last: Option<(Response<Download>, Picked)>,
    /// The one before that.
    unwanted: Option<(Response<Download>, Picked)>,
    failure: Option<Failure>,
}

/// Has an endpoint of the routed cluster answer the request.
///
/// # Errors
/// None did.
pub(super) async fn forward(
    exchange: &mut Exchange,
    way: &Way,
    mut request: Request<incoming::Incoming>,
) -> Result<Answer, Failure> {
    let worker = Rc::clone(&exchange.connection().worker);
    let route = &*way.routed.route;
    if let Affinity::Cookie(sessions) = &way.routed.cluster.affinity {
        sessions.hide(request.headers_mut());
    }
    if way.bond.counts() {
        exchange.bind(way.bond.outcome());
    }
    let is_http2 = way.routed.cluster.transport.protocol == UpstreamProtocol::Http2;
    let informer = exchange.informer();
    let gate = expect::gate(&mut request, way.seen, informer, is_http2);
    let wants_upgrade = headers::to_endpoint(&mut request, way.seen, is_http2);
    if wants_upgrade && is_http2 {
        return Err(Failure::NoUpgrade);
    }
    let most = route.bodies.request_max.unwrap_or(u64::MAX);
    let length = request.body().size_hint();
    if length.lower() > most {
        return Err(Failure::TooLarge);
    }
    let is_long = length.exact().is_none_or(|size| size > LONG);
    let has_timeout = is_http2 && way.seen.grpc_timeout;
    let grpc = has_timeout.then(|| grpc::timeout(request.headers())).flatten();
    let (head, body) = request.into_parts();
    let retries = Retries::new(&route.retry, &head.method);
    let fits = length.exact().is_none_or(|size| size <= u64::from(route.retry.body));
    let measures = Measures {
        most,
        keep: if fits && retries.keeps(is_http2) {
            route.retry.body as usize
        } else {
            0
        },
        idle: route.timeouts.idle,
    };
    let said = gate.as_ref().map(Gate::said);
    let upload = Upload::new(body, measures, exchange.connection(), gate);
    if let Some(upload) = &upload {
        exchange.uploads(Rc::clone(upload));
    }
    let mut forward = Forward {
        patience: Patience::new(
            Rc::clone(&worker),
            exchange.started(),
            route.timeouts,
            grpc,
            upload.clone(),
        ),
        parcel: Parcel::new(head, upload, way.told.clone()),
        retries,
        exchange,
        worker,
        way,
        tried: Tried::default(),
        upgrade: wants_upgrade,
        is_long,
        said,
        last: None,
        unwanted: None,
        failure: None,
    };
    forward.place().await?;
    let delivered = forward.run().await;
    let response = forward.finish(delivered)?;
    Ok(Answer {
        response,
        upgrade: forward.upgrade,
        upload: forward.parcel.settle(),
    })
}

/// What is done after a try that brought nothing for the client.
enum Next {
    /// It is told this.
    End(Failure),
    /// It is tried again: at once, if somebody is left who was not tried, or after a while.
    Again { at_once: bool },
}

impl Forward<'_> {
    /// Picks the first endpoint.
    async fn place(&mut self) -> Result<(), Failure> {
        let started = self.exchange.started();
        let ask = self.way.ask(&self.worker, self.upgrade, started);
        let (admission, picked) = ask.first(&self.patience).await?;
        // Where nothing had to be waited for, it is still the moment in which the request began.
        let now = if self.way.routed.cluster.limited {
            self.worker.clock.now()
        } else {
            started
        };
        self.exchange.admit(admission);
        self.exchange.try_on(picked, self.parcel.headers_mut(), now);
        self.patience.begin(now);
        Ok(())
    }

    /// Tries until there is an answer or nothing more may be done.
    async fn run(&mut self) -> Result<Response<Download>, Failure> {
        loop {
            self.retries.begin();
            let outcome = self.deliver().await;
            match self.judge(outcome) {
                Ok(response) => return Ok(response),
                Err(Next::End(failure)) => return Err(failure),
                Err(Next::Again { at_once }) => {
                    if let Some((response, picked)) = self.unwanted.take() {
                        // Boxed, as what is rare.
                        Box::pin(self.drop_response(response)).await;
                        drop(picked);
                    }
                    if let Err(failure) = Box::pin(self.pick_next(at_once)).await {
                        // What went wrong before tells more than that nobody is left.
                        return Err(self.failure.unwrap_or(failure));
                    }
                }
            }
        }
    }

    /// Sends the request to the picked endpoint: over a connection that is there, or a new one if there is none or that turned out to be
    /// dead before it can have mattered.
    async fn deliver(&mut self) -> Result<Response<Download>, Undelivered> {
        let failed = |failure| Undelivered {
            failure,
            unsent: true,
            stale: false,
        };
        let Some(picked) = self.exchange.picked() else {
            return Err(failed(Failure::NoEndpoint));
        };
        if self.is_long {
            picked.open.uploads();
        }
        let to = To {
            pool: &self.worker.pool,
            cluster: &self.way.routed.cluster,
            endpoint: &picked.endpoint,
            clock: self.worker.clock,
        };
        let is_http2 = to.endpoint.transport.protocol == UpstreamProtocol::Http2;
        let keep = self.retries.keeps(is_http2);
        let (informer, said) = (self.exchange.informer(), self.said.as_deref());
        let mut interim = |status, headers: HeaderMap| match (status, said) {
            (StatusCode::CONTINUE, Some(said)) => said.yes(),
            // It is about the connection to the endpoint alone.
            (StatusCode::CONTINUE, None) => {}
            _ => informer.tell(status, headers),
        };
        if let Some(lease) = to.pool.take(to.endpoint, self.patience.tried()) {
            match upstream::send(lease, &mut self.parcel, keep, &self.patience, &mut interim).await {
                Err(why) if why.stale && self.parcel.is_whole() && (why.unsent || self.retries.may_resend()) => {}
                outcome => return outcome,
            }
        }
        // Boxed, as what is rare: every connection is as large as the largest that a request on it may need.
        match self.patience.before(Box::pin(to.open())).await {
            Ok(Ok(lease)) => {
                self.patience.begin(to.clock.now());
                upstream::send(lease, &mut self.parcel, keep, &self.patience, &mut interim).await
            }
            Ok(Err(failure)) => Err(failed(failure)),
            Err(failure) => Err(Undelivered {
                failure,
                unsent: false,
                stale: false,
            }),
        }
    }

    /// When the endpoint had the whole of the request, where that has a body.
    fn sent(&self) -> Option<Time> {
        self.parcel.upload().and_then(Upload::ended)
    }

    /// Judges what a try brought, tells the balancer, and decides what is done about it.
    fn judge(&mut self, outcome: Result<Response<Download>, Undelivered>) -> Result<Response<Download>, Next> {
        let now = self.worker.clock.now();
        match outcome {
            Ok(response) => {
                self.exchange.tried(Ok(response.status()), now);
                self.judge_response(response, now)
            }
            Err(why) => {
                self.exchange.tried(Err(why.failure), now);
                Err(self.judge_failure(why, now))
            }
        }
    }

    fn judge_failure(&mut self, why: Undelivered, now: Time) -> Next {
        let Undelivered { failure, .. } = why;
        if failure.fault() == Fault::Endpoint {
            self.exchange.judge(Outcome::Failure, self.sent(), now);
        }
        let again = self.retries.after(failure);
        if again == Again::No || !self.parcel.is_whole() || !self.patience.lasts() {
            return Next::End(failure);
        }
        if self.exchange.picked().is_some_and(|picked| picked.only) {
            if failure.fault() == Fault::Endpoint && again == Again::Unsent {
                self.exchange.bind(crate::affinity::Outcome::Gone);
                return Next::End(Failure::Session);
            }
            return Next::End(failure);
        }
        if again == Again::Whole && !self.can_afford() {
            return Next::End(failure);
        }
        self.failure = Some(failure);
        self.note_tried();
        Next::Again {
            at_once: again == Again::Unsent,
        }
    }

    fn judge_response(&mut self, mut response: Response<Download>, now: Time) -> Result<Response<Download>, Next> {
        let spoken = self.exchange.picked().map(|picked| picked.endpoint.transport.protocol);
        let seen = Seen::of(response.headers());
        let may_be_grpc = spoken == Some(UpstreamProtocol::Http2) && seen.grpc_status;
        let grpc_status = if may_be_grpc && grpc::is_grpc(response.headers()) {
            grpc::status(response.headers())
        } else {
            None
        };
        let speaks_against = speaks_against(response.status()) || grpc_status.is_some_and(grpc::speaks_against);
        let checked = headers::to_client(&mut response, seen, self.upgrade);
        let is_failure = speaks_against || checked.is_err();
        let outcome = if is_failure { Outcome::Failure } else { Outcome::Success };
        self.exchange.judge(outcome, self.sent(), now);
        let status = match grpc_status {
            Some(grpc::UNAVAILABLE) => StatusCode::SERVICE_UNAVAILABLE,
            _ => response.status(),
        };
        let wanted = match checked {
            Ok(()) => self.retries.after_status(status),
            Err(failure) => self.retries.after(failure) != Again::No,
        };
        let stays = self.exchange.picked().is_none_or(|picked| picked.only);
        if !wanted || stays || !self.parcel.is_whole() || !self.patience.lasts() || !self.can_afford() {
            return checked.map(|()| response).map_err(Next::End);
        }
        self.note_tried();
        self.unwanted = self.last.take();
        match (checked, self.exchange.leave()) {
            (Ok(()), Some(picked)) => self.last = Some((response, picked)),
            (Err(failure), _) => self.failure = Some(failure),
            (Ok(()), None) => {}
        }
        Err(Next::Again { at_once: false })
    }

    /// Whether the cluster has a retry left.
    fn can_afford(&self) -> bool {
        let cluster = &self.way.routed.cluster;
        let percent = self.way.routed.route.retry.budget;
        cluster.budget.take(percent, cluster.picks(), self.worker.clock.now())
    }

    fn note_tried(&mut self) {
        if let Some(picked) = self.exchange.picked() {
            self.tried.push(Arc::clone(picked.open.load()));
        }
    }

    /// Picks the next endpoint: one that was not tried while there is one, then any again. Waits a little before, unless nothing was sent
    /// and somebody else is left.
    async fn pick_next(&mut self, at_once: bool) -> Result<(), Failure> {
        if !at_once {
            self.back_off().await?;
        }
        let ask = self.way.ask(&self.worker, self.upgrade, self.worker.clock.now());
        let picked = match ask.next(&self.tried) {
            Err(Failure::NoEndpoint) => {
                self.tried = Tried::default();
                if at_once {
                    self.back_off().await?;
                }
                let now = self.worker.clock.now();
                self.way.ask(&self.worker, self.upgrade, now).next(&self.tried)?
            }
            picked => picked?,
        };
        let now = self.worker.clock.now();
        self.exchange.try_on(picked, self.parcel.headers_mut(), now);
        self.patience.begin(now);
        Ok(())
    }

    async fn back_off(&self) -> Result<(), Failure> {
        let pause = self.retries.backoff(&mut self.worker.rng.borrow_mut());
        self.patience.before(sleep(pause)).await
    }

    /// What the client gets: where there was no answer in the end, the last real response, if there was any, tells more than we could.
    fn finish(&mut self, delivered: Result<Response<Download>, Failure>) -> Result<Response<Download>, Failure> {
        let mut response = match (delivered, self.last.take()) {
            (Ok(response), _) => response,
            (Err(_), Some((response, picked))) => {
                self.exchange.come_back(picked);
                response
            }
            (Err(failure), None) => return Err(failure),
        };
        self.own(response.status(), response.headers_mut());
        Ok(response)
    }

    /// A response that nobody will get: its connection is kept if all of it is there.
    async fn drop_response(&self, response: Response<Download>) {
        let route = &self.way.routed.route;
        let relay = Relay::new(response.into_body(), None, route, self.worker.clock);
        let lease = match relay {
            Ok(relay) => {
                let mut relay = Some(relay);
                poll_fn(|cx| Poll::Ready(relay.take().and_then(|relay| relay.drain(cx)))).await
            }
            Err(_) => None,
        };
        if let Some(lease) = lease {
            self.worker.pool.put(lease, self.worker.clock, self.worker.clock.now());
        }
    }

    /// Makes the head of an endpoint's response what the client gets.
    fn own(&self, status: StatusCode, headers: &mut HeaderMap) {
        if let (Affinity::Cookie(sessions), Some(picked)) = (&self.way.routed.cluster.affinity, self.exchange.picked())
        {
            let failed = speaks_against(status);
            sessions.own(headers);
            // Nobody's session begins at an endpoint that has just failed.
            if !failed && self.way.bond.wants_cookie(picked.affinity) {
                sessions.issue(headers, picked.endpoint.id.as_str(), since_1970());
            }
        }
        if let (Some(name), Some(picked)) = (&self.way.served_by, self.exchange.picked())
            && let Ok(instance) = HeaderValue::from_str(&picked.endpoint.instance)
        {
            headers.insert(name, instance);
        }
    }
}

impl Way {
    fn ask<'a>(&'a self, worker: &'a Rc<WorkerContext>, held: bool, now: Time) -> Ask<'a> {
        Ask {
            worker,
            cluster: &self.routed.cluster,
            bond: &self.bond,
            held,
            now,
        }
    }
}

/// Whether a status says that the endpoint does not do its work: not what a request may have brought on itself.
fn speaks_against(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}
