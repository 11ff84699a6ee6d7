//! A proxy with one listener, one route and one cluster, and what it counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tenbin_model::{
    AccessLogFormat, Cluster, Endpoint, EndpointId, EndpointSet, EndpointState, Listener, Resource, ResourceName,
    Route, RouteTable, Update, VirtualHost,
};
use tenbin_proxy::access_log::AccessLog;
use tenbin_proxy::clock::Clock;
use tenbin_proxy::lifecycle::Lifecycle;
use tenbin_proxy::serve::error::Failure;
use tenbin_proxy::serve::{self, Worker};
use tenbin_proxy::spans::Spans;
use tenbin_proxy::state::{Bootstrap, EndpointStats, State};
use tokio::time::{Instant, sleep};

use crate::by_hand::until_none;

/// How long anything that must happen may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy's workers. They end when the test is done with it.
pub(crate) struct World {
    pub(crate) state: Arc<State>,
    lifecycle: Arc<Lifecycle>,
    pub(crate) address: SocketAddr,
}

impl Drop for World {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

fn name() -> ResourceName {
    ResourceName::parse("test", "app").unwrap()
}

/// What a proxy is told, before it is changed for a test.
pub(crate) struct Settings {
    pub(crate) cluster: Cluster,
    pub(crate) route: Route,
    pub(crate) workers: usize,
    /// The last ones are only used where the first ones cannot be.
    pub(crate) reserve: usize,
}

impl World {
    pub(crate) fn before(endpoints: &[SocketAddr]) -> Self {
        Self::of(endpoints, |_| {})
    }

    pub(crate) fn of(endpoints: &[SocketAddr], change: impl FnOnce(&mut Settings)) -> Self {
        let (world, workers) = Self::with_workers(endpoints, change);
        for (index, worker) in workers.into_iter().enumerate() {
            drop(serve::spawn(index, worker).unwrap());
        }
        world
    }

    /// The same on the runtime of the test, whose time is the proxy's then: one whose tasks may be local.
    pub(crate) fn here(endpoints: &[SocketAddr], change: impl FnOnce(&mut Settings)) -> Self {
        let (world, workers) = Self::with_workers(endpoints, change);
        for worker in workers {
            drop(tokio::task::spawn_local(serve::run(worker)));
        }
        world
    }

    fn with_workers(endpoints: &[SocketAddr], change: impl FnOnce(&mut Settings)) -> (Self, Vec<Worker>) {
        let mut settings = Settings {
            cluster: Cluster::new(name()),
            route: Route::new("/", name()),
            workers: 1,
            reserve: 0,
        };
        change(&mut settings);
        let first = endpoints.len() - settings.reserve;
        let weigh = |place| u32::from(place < first);
        let mut set: Vec<Endpoint> = endpoints
            .iter()
            .enumerate()
            .map(|(place, address)| Endpoint {
                id: EndpointId::parse("id", &address.to_string()).unwrap(),
                address: *address,
                state: EndpointState::Ready,
                instance: address.to_string(),
                weight: weigh(place),
                zone: String::new(),
            })
            .collect();
        set.sort_by(|a, b| a.id.cmp(&b.id));
        let update = Update {
            set: vec![
                Resource::Cluster(settings.cluster),
                Resource::Endpoints(EndpointSet {
                    cluster: name(),
                    endpoints: set,
                }),
                Resource::Listener(Listener::new(name(), ([127, 0, 0, 1], 0).into(), name())),
                Resource::Routes(RouteTable {
                    name: name(),
                    hosts: vec![VirtualHost {
                        name: "*".to_owned(),
                        domains: vec!["*".to_owned()],
                        routes: vec![settings.route],
                    }],
                }),
            ],
            removed: Vec::new(),
        };
        let clock = Clock::start();
        let state = Arc::new(State::new(Bootstrap::from_update(&update), 1));
        state.apply(update, clock.now(), 1);
        let lifecycle = Lifecycle::new(1000);
        let bound = serve::bind(([127, 0, 0, 1], 0).into(), settings.workers).unwrap();
        let worker = |(index, socket)| Worker {
            state: Arc::clone(&state),
            lifecycle: Arc::clone(&lifecycle),
            access_log: AccessLog::new(AccessLogFormat::Off).0,
            spans: Spans::new().0,
            clock,
            seed: index as u64,
            sockets: vec![socket],
        };
        let workers = bound.sockets.into_iter().enumerate().map(worker).collect();
        let world = World {
            state,
            lifecycle,
            address: bound.address,
        };
        (world, workers)
    }

    /// The codes of the requests that failed, each once.
    pub(crate) fn codes(&self) -> Vec<&'static str> {
        let snapshot = self.state.load();
        let counts = &snapshot.listener_at(0).stats.failures;
        let failed = Failure::ALL.iter().zip(counts).filter(|(_, n)| n.load(Relaxed) > 0);
        failed.map(|(failure, _)| failure.code()).collect()
    }

    /// Requests that were sent again.
    pub(crate) fn retries(&self) -> usize {
        self.state.load().listener_at(0).stats.retries.load(Relaxed) as usize
    }

    /// Requests that are open at the endpoint.
    pub(crate) fn open_at(&self, address: SocketAddr) -> u32 {
        self.stats_of(address).load.open()
    }

    /// Connections to the endpoint that are open or being opened.
    pub(crate) fn connections_to(&self, address: SocketAddr) -> u32 {
        self.stats_of(address).open_connections.load(Relaxed)
    }

    /// Whether anything is held against the endpoint.
    pub(crate) fn is_blamed(&self, address: SocketAddr) -> bool {
        let now = Clock::start().now();
        let load = &self.stats_of(address).load;
        load.failures() > 0 || load.skip().explain(now).is_some()
    }

    /// Waits until no request is open any more.
    pub(crate) async fn finishes(&self) {
        until_none(|| self.open().some().then(|| self.open())).await;
    }

    /// Waits until all connections are closed, too.
    pub(crate) async fn closes(&self) {
        self.finishes().await;
        until_none(|| self.held().some().then(|| self.held())).await;
    }

    /// The requests that are open, wherever that is counted.
    fn open(&self) -> Counts {
        let snapshot = self.state.load();
        let cluster = snapshot.cluster(&name()).unwrap();
        let endpoints = cluster.endpoints().map(|(endpoint, _)| endpoint.stats.load.open());
        Counts {
            here: snapshot.listener_at(0).stats.in_flight.load(Relaxed),
            at_endpoints: endpoints.sum(),
            against_limits: cluster.gate.requests(),
            waiting: cluster.gate.waiting(),
        }
    }

    /// The connections that are, with clients and endpoints.
    fn held(&self) -> Counts {
        let snapshot = self.state.load();
        let cluster = snapshot.cluster(&name()).unwrap();
        let endpoints = cluster.endpoints();
        Counts {
            here: self.lifecycle.connections() as u64,
            at_endpoints: endpoints.map(|(e, _)| e.stats.open_connections.load(Relaxed)).sum(),
            against_limits: cluster.gate.connections(),
            waiting: cluster.gate.waiting(),
        }
    }

    fn stats_of(&self, address: SocketAddr) -> Arc<EndpointStats> {
        let snapshot = self.state.load();
        let cluster = snapshot.cluster(&name()).unwrap();
        let (endpoint, _) = cluster.endpoints().find(|(e, _)| e.address == address).unwrap();
        Arc::clone(&endpoint.stats)
    }

    /// Requests that wait for room.
    pub(crate) fn waiting(&self) -> u32 {
        self.state.load().cluster(&name()).unwrap().gate.waiting()
    }
}

/// What is open or held at a time.
#[derive(Clone, Copy, Debug)]
struct Counts {
    here: u64,
    at_endpoints: u32,
    against_limits: u32,
    waiting: u32,
}

impl Counts {
    fn some(self) -> bool {
        self.here > 0 || self.at_endpoints > 0 || self.against_limits > 0 || self.waiting > 0
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
