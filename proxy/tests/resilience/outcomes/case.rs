//! One cell of the page: a request, and what goes wrong with it. Time passes where somebody is known to wait for that, and nothing is looked
//! at before it is known that it cannot change any more.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tenbin_model::{RetryOn, Timeouts, UpstreamProtocol};

use super::tables::{Fault, Speaks};
use crate::app::{App, At, By, Way, nobody};
use crate::by_hand::{advance, by_hand, until};
use crate::call::{Ask, Call, Over};
use crate::frames::{Way2, When};
use crate::http2::{tls, trusting};
use crate::world::{PATIENCE, Settings, World};

/// How long one try may take, where that is said.
const PER_TRY: Duration = Duration::from_secs(1);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(2);
/// After so long nothing is kept open for what may come.
const LONG: Duration = Duration::from_secs(3600);
/// The most of a body that is taken before HTTP/2 lets it be sent: a chunk. What is longer stands still there.
const AHEAD: usize = 64 << 10;
/// What of a body comes before it breaks off.
const HALF: &[u8] = b"half";
/// The name of the endpoints' certificates.
const NAME: &str = "app.test";

/// A cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) client: Over,
    pub(super) endpoint: Speaks,
    /// Whether all that can be retried is.
    pub(super) every: bool,
    pub(super) fault: Fault,
    pub(super) method: &'static str,
    pub(super) body: usize,
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) blamed: bool,
}

/// Says of a failure where it was.
struct Named(Case);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("in {:?}", self.0);
        }
    }
}

/// The endpoints, and the proxy before them.
struct Stage {
    world: World,
    good: App,
    /// What goes wrong, where that is an app.
    bad: Option<App>,
    /// Where the first endpoint is.
    address: SocketAddr,
    /// What keeps its address as it is.
    _kept: Vec<Socket>,
}

impl Case {
    /// Plays it through.
    pub(super) fn run(self) -> Cell {
        let _named = Named(self);
        by_hand(Box::pin(self.play()))
    }

    async fn play(self) -> Cell {
        let stage = self.stage().await;
        let held = self.prepare(&stage).await;
        let before = stage.seen();
        let call = self.begin(&stage, self.ask());
        self.go_on(&stage, &call).await;
        until("the client knows", || call.is_over()).await;
        match &held {
            None => stage.world.finishes().await,
            Some(_) => until("the limit is told", || !stage.world.codes().is_empty()).await,
        }
        let outcome = self.outcome(&stage, &call);
        if let Some(held) = held {
            held.leave(By::Close);
        }
        stage.end(outcome, before).await
    }

    async fn stage(self) -> Stage {
        let (config, ca) = tls(b"http/1.1");
        let config = Arc::new(config);
        let good = self.app(Way2::As(Way::Well), &config).await;
        let (mut kept, mut address) = (Vec::new(), None);
        let bad = match self.fault {
            Fault::Refused => {
                let (nowhere, socket) = nobody();
                (address, kept) = (Some(nowhere), vec![socket]);
                None
            }
            Fault::Unreachable => {
                let (full, sockets) = unreachable();
                (address, kept) = (Some(full), sockets);
                None
            }
            Fault::Cleartext(way) => Some(App::new(way).await),
            Fault::Stranger => Some(App::secured(Way::Well, Arc::new(tls(b"http/1.1").0)).await),
            Fault::App(way) => Some(self.app(Way2::As(way), &config).await),
            Fault::Own(way) => Some(way.app().await),
            Fault::ClientGone(_) => Some(self.app(Way2::As(Way::Silent), &config).await),
            Fault::UploadStalls | Fault::UploadBreaks => Some(self.app(Way2::As(Way::Well), &config).await),
            Fault::Exhausted => Some(self.app(Way2::As(Way::Gated), &config).await),
        };
        let address = address.or(bad.as_ref().map(|app| app.address)).unwrap();
        let world = World::here(&[address, good.address], |s| self.settings(s, &ca));
        Stage {
            world,
            good,
            bad,
            address,
            _kept: kept,
        }
    }

    async fn app(self, way: Way2, config: &Arc<ServerConfig>) -> App {
        match (self.endpoint, way) {
            (Speaks::Http1, Way2::As(way)) => App::new(way).await,
            (Speaks::Tls, Way2::As(way)) => App::secured(way, Arc::clone(config)).await,
            (_, way) => way.app().await,
        }
    }

    fn settings(self, settings: &mut Settings, ca: &str) {
        settings.reserve = 1;
        let cluster = &mut settings.cluster;
        cluster.connect_timeout = CONNECT;
        match self.endpoint {
            Speaks::Http1 => {}
            Speaks::Tls => cluster.tls = trusting(ca, NAME),
            Speaks::Http2 => cluster.protocol = UpstreamProtocol::Http2,
        }
        // High ones, so that it is counted what is open.
        (cluster.limits.requests, cluster.limits.connections) = (Some(100), Some(100));
        if self.fault == Fault::Exhausted {
            (cluster.limits.requests, cluster.limits.queue) = (Some(1), 0);
        }
        let route = &mut settings.route;
        // No pause between tries: it would have to be known when one begins.
        route.retry.backoff = Duration::ZERO;
        if self.every {
            route.timeouts.per_try = Some(PER_TRY);
            route.retry.on = [RetryOn::Closed, RetryOn::GatewayError, RetryOn::Timeout].into();
            route.retry.any_method = true;
        }
    }

    /// What has to happen before the request: another one, held open where this comes back.
    async fn prepare(self, stage: &Stage) -> Option<Call> {
        let first = Ask {
            method: "GET",
            body: 0,
            sent: 0,
        };
        match self.fault {
            Fault::Exhausted => {
                let held = self.begin(stage, first);
                until("the limit is reached", || stage.seen() == 1).await;
                Some(held)
            }
            _ if self.is_second() => {
                let call = self.begin(stage, first);
                until("there is an idle connection", || call.is_over()).await;
                stage.world.finishes().await;
                if self.fault == Fault::Own(Way2::GoesAway(When::Idle)) {
                    let gone = || stage.bad.as_ref().is_some_and(|app| app.live() == 0);
                    until("it is closed", gone).await;
                }
                None
            }
            _ => None,
        }
    }

    /// Whether the request is the second over its connection.
    fn is_second(self) -> bool {
        matches!(
            self.fault,
            Fault::App(Way::Ends(At::Reuse, _)) | Fault::Own(Way2::GoesAway(When::Reuse | When::Idle))
        )
    }

    fn ask(self) -> Ask {
        let stalls = matches!(self.fault, Fault::UploadStalls | Fault::UploadBreaks);
        Ask {
            method: self.method,
            body: self.body,
            sent: if stalls { self.body / 2 } else { self.body },
        }
    }

    fn begin(self, stage: &Stage, ask: Ask) -> Call {
        Call::begin(self.client, stage.world.address, ask)
    }

    /// What has to happen while the request is open.
    async fn go_on(self, stage: &Stage, call: &Call) {
        let Timeouts { request, idle, .. } = Timeouts::default();
        let Some(bad) = &stage.bad else {
            if self.fault == Fault::Unreachable {
                until("it connects", || stage.world.connections_to(stage.address) == 1).await;
                advance(CONNECT).await;
            }
            return;
        };
        let answer = if self.every { PER_TRY } else { request };
        let stops = || bad.stopped() == 1;
        match self.fault {
            Fault::Cleartext(Way::Mute) => {
                until("it has the first bytes", stops).await;
                advance(CONNECT).await;
            }
            Fault::App(Way::Silent | Way::SlowHead | Way::Deaf) => {
                until("it has the request", stops).await;
                // Its first chunk comes with the head of a request.
                let takes_none = self.fault == Fault::App(Way::Deaf) && self.endpoint == Speaks::Http2;
                advance(if takes_none && self.body > AHEAD { idle } else { answer }).await;
            }
            Fault::App(Way::SlowBody) => {
                until("some of the body is through", || call.has(HALF)).await;
                advance(idle).await;
            }
            Fault::App(Way::Ends(At::Body | At::End, _)) | Fault::Own(Way2::Resets(At::Body, _)) => {
                until("some of the body is through", || call.has(HALF)).await;
                bad.open(1);
            }
            Fault::ClientGone(by) => {
                until("it has the request", stops).await;
                call.leave(by);
            }
            Fault::UploadStalls | Fault::UploadBreaks if self.body > 0 => {
                until("all that is sent is through", || bad.received() == self.ask().sent).await;
                match self.fault {
                    Fault::UploadBreaks => call.leave(By::Close),
                    _ => advance(idle).await,
                }
            }
            _ => {}
        }
    }

    fn outcome(self, stage: &Stage, call: &Call) -> Outcome {
        let code = stage.world.codes().first().copied().unwrap_or_default();
        let what = match call.got() {
            _ if call.has_left() => "–".to_owned(),
            (Some(status), true) => status.to_string(),
            _ => "broken".to_owned(),
        };
        Outcome {
            text: format!("{what} {code}").trim_end().to_owned(),
            blamed: stage.world.is_blamed(stage.address),
        }
    }
}

/// What the client was told, and whether the endpoint was blamed.
struct Outcome {
    text: String,
    blamed: bool,
}

impl Stage {
    /// How often endpoints saw a request.
    fn seen(&self) -> usize {
        self.apps().map(App::seen).sum()
    }

    fn apps(&self) -> impl Iterator<Item = &App> {
        self.bad.iter().chain([&self.good])
    }

    /// Waits until all connections are closed: nobody sees anything more after that.
    async fn end(self, outcome: Outcome, before: usize) -> Cell {
        self.world.finishes().await;
        for app in self.apps() {
            app.open(2);
        }
        advance(LONG).await;
        self.world.closes().await;
        until("endpoints have seen all", || self.apps().all(|app| app.live() == 0)).await;
        Cell {
            text: format!("{}, {}×", outcome.text, self.seen() - before),
            blamed: outcome.blamed,
        }
    }
}

/// An address whose backlog is full: the kernel drops what else wants to connect.
fn unreachable() -> (SocketAddr, Vec<Socket>) {
    let (address, socket) = nobody();
    socket.listen(0).unwrap();
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.connect(&address.into()).unwrap();
    let mut accepts = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(PATIENCE).unwrap();
    assert_eq!(poll(&mut accepts, patience), Ok(1), "it waits to be accepted");
    (address, vec![socket, client])
}
