//! A worker inside the test's own process, with listeners as the contract has them: for what is to be looked at closely.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tenbin_model::{
    AccessLogFormat, Cluster, Endpoint, EndpointId, EndpointSet, EndpointState, Listener, Resource, ResourceName,
    Route, RouteTable, Update, VirtualHost,
};
use tenbin_proxy::access_log::AccessLog;
use tenbin_proxy::clock::Clock;
use tenbin_proxy::lifecycle::Lifecycle;
use tenbin_proxy::serve::{self, Worker};
use tenbin_proxy::spans::Spans;
use tenbin_proxy::state::{Bootstrap, PortStats, State};

use crate::client::Client;
use crate::harness::eventually;

pub(crate) struct Inside {
    pub(crate) state: Arc<State>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) address: SocketAddr,
    clock: Clock,
}

pub(crate) fn name(text: &str) -> ResourceName {
    ResourceName::parse("name", text).unwrap()
}

/// A listener `web` for HTTP, with one route to the cluster `app` of `endpoints`.
pub(crate) fn plain(endpoints: &[SocketAddr], change: impl FnOnce(&mut Listener)) -> Vec<Resource> {
    let mut listener = Listener::new(name("web"), "127.0.0.1:0".parse().unwrap(), name("web"));
    change(&mut listener);
    let endpoint = |(at, address): (usize, &SocketAddr)| Endpoint {
        id: EndpointId::parse("id", &format!("uid-{at}")).unwrap(),
        address: *address,
        state: EndpointState::Ready,
        instance: format!("app-{at}"),
        weight: 1,
        zone: String::new(),
    };
    vec![
        Resource::Cluster(Cluster::new(name("app"))),
        Resource::Endpoints(EndpointSet {
            cluster: name("app"),
            endpoints: endpoints.iter().enumerate().map(endpoint).collect(),
        }),
        Resource::Listener(listener),
        Resource::Routes(RouteTable {
            name: name("web"),
            hosts: vec![VirtualHost {
                name: "all".to_owned(),
                domains: vec!["*".to_owned()],
                routes: vec![Route::new("/", name("app"))],
            }],
        }),
    ]
}

impl Inside {
    pub(crate) fn start(set: Vec<Resource>) -> Self {
        let update = Update {
            set,
            removed: Vec::new(),
        };
        let clock = Clock::start();
        let state = Arc::new(State::new(Bootstrap::from_update(&update), 1));
        state.apply(update, clock.now(), 2);
        let lifecycle = Lifecycle::new(1000);
        let bound = serve::bind(state.load().listeners()[0].address, 1).unwrap();
        let worker = Worker {
            state: Arc::clone(&state),
            lifecycle: Arc::clone(&lifecycle),
            access_log: AccessLog::new(AccessLogFormat::Off).0,
            spans: Spans::new().0,
            clock,
            seed: 3,
            sockets: bound.sockets,
        };
        drop(serve::spawn(0, worker).unwrap());
        Inside {
            state,
            lifecycle,
            address: bound.address,
            clock,
        }
    }

    /// A worker for `endpoints` whose listener was changed.
    pub(crate) fn with(endpoints: &[SocketAddr], change: impl FnOnce(&mut Listener)) -> Self {
        Self::start(plain(endpoints, change))
    }

    pub(crate) fn apply(&self, set: Vec<Resource>) {
        let update = Update {
            set,
            removed: Vec::new(),
        };
        self.state.apply(update, self.clock.now(), 4);
    }

    pub(crate) fn stats(&self) -> Arc<PortStats> {
        Arc::clone(&self.state.load().listeners()[0].stats)
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Waits until no connection is open.
    pub(crate) async fn await_no_connection(&self) {
        let stats = self.stats();
        eventually("all connections are closed", async || {
            (stats.connections.load(Relaxed) == 0).then_some(())
        })
        .await;
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}
