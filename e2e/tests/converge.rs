//! The operator's session and the proxy's, joined in memory: whatever a seed does to them (streams dropped in any state,
//! reconnects to a replica that lags, kinds overtaking each other, messages twice, contents that are bad or incomplete, a proxy
//! that starts again from what it saved some time ago or finds that unusable), every update leaves the proxy whole, and at the
//! end both agree without a resource more than needed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use fastrand::Rng;
use tenbin_model::{
    Affinity, Balancing, Cluster, Endpoint, EndpointId, EndpointSet, EndpointState, Kind, Listener, OnDead, OnDrain,
    Policy, Resource, ResourceName, Route, RouteTable, SameSite, SessionCookie, SessionKey, SessionKeys, Update,
    VirtualHost,
};
use tenbin_operator::key::AppKey;
use tenbin_operator::snapshot::AppSnapshot;
use tenbin_operator::xds::session::Session as OperatorSession;
use tenbin_proxy::xds::saved::{Kept, Owner};
use tenbin_proxy::xds::session::Session as ProxySession;

/// More with `TENBIN_SEEDS`.
const SEEDS: u64 = 1000;
const STEPS: usize = 100;
const LISTENERS: usize = 2;
const TABLES: usize = 2;
const CLUSTERS: usize = 3;

fn name(kind: &str, number: usize) -> ResourceName {
    ResourceName::app_port("shop", "hello", &format!("{kind}{number}"))
}

/// What an app is at one moment.
#[derive(Clone, Default)]
struct Content {
    /// The table of each listener that is there.
    listeners: BTreeMap<usize, usize>,
    /// The clusters of each table that is there.
    tables: BTreeMap<usize, Vec<usize>>,
    /// Connect timeout in seconds; 0 is what a proxy refuses.
    clusters: BTreeMap<usize, u64>,
    /// The last octet of the only endpoint; none: the set is empty.
    endpoints: BTreeMap<usize, Option<u8>>,
    /// The clusters with a session cookie.
    sticky: BTreeSet<usize>,
    /// Of a cluster's keys that are there, what they are made of.
    keys: BTreeMap<usize, u8>,
}

impl Content {
    fn random(rng: &mut Rng) -> Self {
        let mut content = Content::default();
        for listener in 0..LISTENERS {
            if rng.u8(..) < 230 {
                content.listeners.insert(listener, rng.usize(..TABLES));
            }
        }
        for table in 0..TABLES {
            let clusters = (0..rng.usize(..3)).map(|_| rng.usize(..CLUSTERS));
            content.tables.insert(table, clusters.collect());
        }
        for cluster in 0..CLUSTERS {
            content.clusters.insert(cluster, rng.u64(1..4));
            if rng.bool() {
                content.sticky.insert(cluster);
                content.keys.insert(cluster, rng.u8(1..9));
            }
            content
                .endpoints
                .insert(cluster, (rng.u8(..) < 220).then(|| rng.u8(1..9)));
        }
        content
    }

    /// Changes a little: as an operator would, or to something no operator should send.
    fn change(&mut self, rng: &mut Rng) {
        let cluster = rng.usize(..CLUSTERS);
        match rng.u8(..15) {
            12 => drop(self.keys.insert(cluster, rng.u8(1..9))),
            13 => drop(self.keys.remove(&cluster)),
            14 => {
                if !self.sticky.remove(&cluster) {
                    self.sticky.insert(cluster);
                }
            }
            0..4 => drop(self.endpoints.insert(cluster, Some(rng.u8(1..9)))),
            4 => drop(self.clusters.insert(cluster, rng.u64(1..4))),
            5 => drop(self.clusters.insert(cluster, 0)),
            6 => drop(self.clusters.remove(&cluster)),
            7 => drop(self.endpoints.remove(&cluster)),
            8 => drop(self.tables.remove(&rng.usize(..TABLES))),
            9 => drop(self.listeners.remove(&rng.usize(..LISTENERS))),
            10 => *self = Content::random(rng),
            _ => drop(
                self.tables
                    .insert(rng.usize(..TABLES), vec![cluster, rng.usize(..CLUSTERS)]),
            ),
        }
    }

    fn resources(&self) -> Vec<Resource> {
        let listeners = self.listeners.iter().map(|(listener, table)| {
            Resource::Listener(Listener::new(
                name("l", *listener),
                ([0, 0, 0, 0], 15080).into(),
                name("t", *table),
            ))
        });
        let tables = self.tables.iter().map(|(table, clusters)| {
            let routes = clusters
                .iter()
                .map(|cluster| Route::new(format!("/{cluster}"), name("c", *cluster)));
            Resource::Routes(RouteTable {
                name: name("t", *table),
                hosts: vec![VirtualHost {
                    name: "all".to_owned(),
                    domains: vec!["*".to_owned()],
                    routes: routes.collect(),
                }],
            })
        });
        let clusters = self.clusters.iter().map(|(cluster, seconds)| {
            Resource::Cluster(Cluster {
                balancing: Balancing {
                    policy: Policy::RoundRobin,
                    affinity: self.sticky.contains(cluster).then(|| session_cookie(*cluster)),
                    ..Balancing::default()
                },
                connect_timeout: Duration::from_secs(*seconds),
                ..Cluster::new(name("c", *cluster))
            })
        });
        let endpoints = self.endpoints.iter().map(|(cluster, last)| {
            let endpoint = last.map(|last| Endpoint {
                id: EndpointId::parse("id", &format!("uid-{last}")).unwrap(),
                address: ([10, 0, 0, last], 8080).into(),
                state: EndpointState::Ready,
                instance: format!("hello-{last}"),
                weight: 1,
                zone: String::new(),
            });
            Resource::Endpoints(EndpointSet {
                cluster: name("c", *cluster),
                endpoints: endpoint.into_iter().collect(),
            })
        });
        let keys = self.keys.iter().map(|(cluster, secret)| {
            Resource::Keys(SessionKeys {
                name: name("k", *cluster),
                keys: vec![SessionKey {
                    id: 1,
                    secret: [*secret; 32],
                }],
            })
        });
        let all = listeners.chain(tables).chain(clusters).chain(endpoints);
        all.chain(keys).collect()
    }

    /// What a proxy with all listeners shall have of it: what they lead to.
    fn seen(&self) -> State {
        let tables: BTreeSet<_> = self.listeners.values().map(|table| name("t", *table)).collect();
        let used = self.listeners.values().flat_map(|table| &self.tables[table]);
        let clusters: BTreeSet<_> = used.map(|cluster| name("c", *cluster)).collect();
        let sticky = self
            .sticky
            .iter()
            .map(|cluster| (name("c", *cluster), name("k", *cluster)));
        let keys: BTreeSet<_> = sticky
            .filter(|(cluster, _)| clusters.contains(cluster))
            .map(|(_, keys)| keys)
            .collect();
        let resources = self.resources().into_iter().filter(|resource| match resource.kind() {
            Kind::Secret => keys.contains(resource.name()),
            Kind::Listener => true,
            Kind::Routes => tables.contains(resource.name()),
            Kind::Cluster | Kind::Endpoints => clusters.contains(resource.name()),
        });
        State(resources.map(|r| ((r.kind(), r.name().clone()), r)).collect())
    }
}

/// The cookie of a cluster, sealed by keys of its own.
fn session_cookie(cluster: usize) -> Affinity {
    Affinity::Cookie(SessionCookie {
        name: "sid".to_owned(),
        path: "/".to_owned(),
        ttl: None,
        same_site: SameSite::Lax,
        secure: false,
        http_only: true,
        on_drain: OnDrain::Keep,
        on_dead: OnDead::Rebalance,
        keys: name("k", cluster),
    })
}

/// What the updates so far add up to in the proxy.
#[derive(Debug, Default, PartialEq)]
struct State(BTreeMap<(Kind, ResourceName), Resource>);

impl State {
    fn apply(&mut self, update: Update) {
        for resource in update.set {
            self.0.insert((resource.kind(), resource.name().clone()), resource);
        }
        for gone in update.removed {
            assert!(self.0.remove(&gone).is_some(), "{gone:?} was never there");
        }
    }

    fn assert_whole(&self) {
        for resource in self.0.values() {
            let needs: Vec<(Kind, ResourceName)> = match resource {
                Resource::Listener(listener) => match &listener.target {
                    tenbin_model::Target::Http(name) => vec![(Kind::Routes, name.clone())],
                    tenbin_model::Target::Tcp(name) => vec![(Kind::Cluster, name.clone())],
                },
                Resource::Routes(table) => {
                    let routes = table.hosts.iter().flat_map(|host| &host.routes);
                    routes.map(|route| (Kind::Cluster, route.cluster.clone())).collect()
                }
                Resource::Keys(_) | Resource::Certificate(_) | Resource::Cluster(_) | Resource::Endpoints(_) => vec![],
            };
            for need in needs {
                assert!(self.0.contains_key(&need), "{} needs {need:?}", resource.name());
            }
        }
    }
}

/// One stream and what is on its way.
struct Stream {
    replica: usize,
    operator: OperatorSession,
    requests: Vec<VecDeque<DeltaDiscoveryRequest>>,
    responses: Vec<VecDeque<DeltaDiscoveryResponse>>,
}

struct World {
    rng: Rng,
    content: Content,
    /// What each replica has compiled so far.
    replicas: [Arc<AppSnapshot>; 2],
    proxy: ProxySession,
    state: State,
    owner: Owner,
    /// What the proxy saved last.
    saved: Option<Vec<u8>>,
    stream: Option<Stream>,
    /// Resources put on a stream.
    sent: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let content = Content::random(&mut rng);
        let snapshot = Arc::new(AppSnapshot::new(1, content.resources()));
        let listeners: Vec<_> = (0..LISTENERS).map(|listener| name("l", listener)).collect();
        World {
            rng,
            content,
            replicas: [Arc::clone(&snapshot), snapshot],
            proxy: ProxySession::new("pod".to_owned(), listeners.clone()),
            state: State::default(),
            owner: Owner {
                pod: EndpointId::parse("pod", "uid-1").unwrap(),
                listeners,
            },
            saved: None,
            stream: None,
            sent: 0,
        }
    }

    fn connect(&mut self, replica: usize) {
        let snapshot = Some(Arc::clone(&self.replicas[replica]));
        let mut stream = Stream {
            replica,
            operator: OperatorSession::new(AppKey::new("shop", "hello"), snapshot),
            requests: vec![VecDeque::new(); Kind::ALL.len()],
            responses: vec![VecDeque::new(); Kind::ALL.len()],
        };
        for request in self.proxy.connect() {
            stream.requests[kind(&request.type_url)].push_back(request);
        }
        self.stream = Some(stream);
    }

    /// The proxy saves what it has in use.
    fn save(&mut self) {
        self.saved = Some(self.proxy.kept(0).encode(&self.owner).unwrap());
    }

    /// What was saved is damaged, somewhere.
    fn corrupt(&mut self) {
        // Damage on damage could undo it.
        let good = |saved: &&mut Vec<u8>| Kept::decode(&self.owner, saved).is_ok();
        if let Some(saved) = self.saved.as_mut().filter(good) {
            let at = self.rng.usize(..saved.len());
            match self.rng.bool() {
                true => saved[at] ^= 1 << self.rng.u8(..8),
                false => saved.truncate(at),
            }
            assert!(Kept::decode(&self.owner, saved).is_err());
        }
    }

    /// The proxy's process ends and starts again, with what was saved if that is any good.
    fn restart(&mut self) {
        self.stream = None;
        self.state = State::default();
        let listeners = self.owner.listeners.clone();
        let saved = self.saved.as_ref().map(|saved| Kept::decode(&self.owner, saved));
        let Some(Ok(kept)) = saved else {
            self.proxy = ProxySession::new("pod".to_owned(), listeners);
            return;
        };
        let (proxy, update) = ProxySession::restored("pod".to_owned(), listeners, &kept);
        self.proxy = proxy;
        self.state.apply(update);
        self.state.assert_whole();
    }

    /// A replica has seen the newest content.
    fn catch_up(&mut self, replica: usize) {
        let snapshot = Arc::new(AppSnapshot::new(1, self.content.resources()));
        self.replicas[replica] = Arc::clone(&snapshot);
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.replica == replica) {
            let step = stream.operator.on_snapshot(snapshot);
            self.sent += put(&mut stream.responses, step.responses);
        }
    }

    /// Carries one message; false if none is on its way.
    fn carry(&mut self, twice: bool) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let ways = 2 * Kind::ALL.len();
        let start = self.rng.usize(..ways);
        for way in (0..ways).map(|i| (start + i) % ways) {
            let (kind, to_operator) = (way / 2, way % 2 == 0);
            if to_operator && let Some(request) = stream.requests[kind].pop_front() {
                if twice {
                    stream.requests[kind].push_front(request.clone());
                }
                let step = stream.operator.on_request(request).unwrap();
                self.sent += put(&mut stream.responses, step.responses);
                return true;
            }
            if !to_operator && let Some(response) = stream.responses[kind].pop_front() {
                if twice {
                    stream.responses[kind].push_front(response.clone());
                }
                let judged = self.proxy.on_response(response);
                if let Some(update) = judged.update {
                    self.state.apply(update);
                    self.state.assert_whole();
                }
                for request in judged.requests {
                    stream.requests[self::kind(&request.type_url)].push_back(request);
                }
                return true;
            }
        }
        false
    }

    fn disturb(&mut self) {
        match self.rng.u8(..106) {
            0..66 => drop(self.carry(false)),
            66..75 => drop(self.carry(true)),
            75..85 => self.content.change(&mut self.rng),
            85..95 => {
                let replica = self.rng.usize(..2);
                self.catch_up(replica);
            }
            95..97 => self.stream = None,
            100..103 => self.save(),
            103 => self.restart(),
            104 => {
                self.corrupt();
                self.restart();
            }
            _ => {
                let replica = self.rng.usize(..2);
                self.connect(replica);
            }
        }
    }

    /// Leaves both in peace until nothing is on its way.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.carry(false) {
                return;
            }
        }
        panic!("still talking");
    }
}

fn kind(type_url: &str) -> usize {
    Kind::from_type_url(type_url).unwrap() as usize
}

/// Puts responses on their way; how many resources they hold.
fn put(ways: &mut [VecDeque<DeltaDiscoveryResponse>], responses: Vec<DeltaDiscoveryResponse>) -> usize {
    let resources = responses.iter().map(|response| response.resources.len()).sum();
    for response in responses {
        ways[kind(&response.type_url)].push_back(response);
    }
    resources
}

/// Lives through a seed's disturbances; then both replicas have a good content, and nothing disturbs any more.
fn settled(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.disturb();
    }
    world.content = Content::random(&mut world.rng);
    for replica in 0..2 {
        world.catch_up(replica);
    }
    if world.stream.is_none() {
        world.connect(0);
    }
    world.settle();
    world
}

/// Both are done, and have the same.
fn assert_agreed(world: &World) {
    assert_eq!(world.state, world.content.seen());
    assert!(world.stream.as_ref().unwrap().operator.sync().synced);
}

fn live_through(seed: u64) {
    let mut world = settled(seed);
    assert_agreed(&world);

    let sent = world.sent;
    let other = 1 - world.stream.as_ref().unwrap().replica;
    world.connect(other);
    world.settle();
    assert_agreed(&world);
    assert_eq!(world.sent, sent, "another replica has nothing to send");

    world.save();
    world.restart();
    assert_eq!(world.state, world.content.seen(), "all of it, before there is a stream");
    world.connect(other);
    world.settle();
    assert_agreed(&world);
    assert_eq!(world.sent, sent, "what was saved is not sent again");

    let used = |cluster: &usize| world.state.0.contains_key(&(Kind::Endpoints, name("c", *cluster)));
    if let Some(cluster) = (0..CLUSTERS).find(used) {
        world.content.endpoints.insert(cluster, Some(200));
        world.catch_up(other);
        world.settle();
        assert_agreed(&world);
        assert_eq!(world.sent, sent + 1, "one change sends one resource");
    }
}

#[test]
fn every_seed_ends_in_agreement_and_sends_only_what_changed() {
    let seeds = std::env::var("TENBIN_SEEDS").map_or(SEEDS, |text| text.parse().unwrap());
    for seed in 0..seeds {
        if let Err(panic) = std::panic::catch_unwind(|| live_through(seed)) {
            eprintln!("failed with seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
