//! Which endpoint a session or a key gets, over changes of the endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, Request};
use tenbin_model::{
    Balancing, Endpoint, EndpointId, EndpointSet, EndpointState, HashKey, HashTable, Kind, Policy, Resource,
    ResourceName, SameSite, SessionCookie, SessionKey, SessionKeys, Update,
};

use super::*;
use crate::state::{Bootstrap, Port, Snapshot};

const APP: &str = "ns/app/http";
const TODAY: Duration = Duration::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn name(text: &str) -> ResourceName {
    ResourceName::parse("test", text).unwrap()
}

/// A proxy of one app, whose endpoints a test changes.
struct World {
    snapshot: Snapshot,
    rng: Rng,
    now: Time,
}

impl World {
    fn new(affinity: tenbin_model::Affinity) -> Self {
        let bootstrap = Bootstrap {
            own: None,
            instance: String::new(),
            ports: vec![Port::new(name(APP), "127.0.0.1:0".parse().unwrap())],
        };
        let mut world = World {
            snapshot: Snapshot::bootstrap(bootstrap, 1),
            rng: Rng::new(1),
            now: Time::default(),
        };
        let cluster = tenbin_model::Cluster {
            balancing: Balancing {
                policy: Policy::RoundRobin,
                affinity: Some(affinity),
                ..Balancing::default()
            },
            ..tenbin_model::Cluster::new(name(APP))
        };
        world.set(Resource::Cluster(cluster));
        world.keys(&[1]);
        world
    }

    /// A proxy whose sessions do this.
    fn of_sessions(on_drain: OnDrain, on_dead: OnDead) -> Self {
        Self::new(tenbin_model::Affinity::Cookie(SessionCookie {
            name: "tenbin".to_owned(),
            path: "/".to_owned(),
            ttl: Some(HOUR),
            same_site: SameSite::Lax,
            secure: false,
            http_only: true,
            on_drain,
            on_dead,
            keys: name("keys"),
        }))
    }

    fn set(&mut self, resource: Resource) {
        let update = Update {
            set: vec![resource],
            removed: Vec::new(),
        };
        self.now = self.now.plus(Duration::from_secs(1));
        self.snapshot = Snapshot::next(&self.snapshot, update, self.now, 7);
    }

    fn keys(&mut self, ids: &[u32]) {
        let keys = ids.iter().map(|&id| SessionKey {
            id,
            secret: [id as u8; 32],
        });
        self.set(Resource::Keys(SessionKeys {
            name: name("keys"),
            keys: keys.collect(),
        }));
    }

    /// Endpoints by identity; `-` in front drains, `0` in front has no weight.
    fn endpoints(&mut self, ids: &[&str]) {
        let endpoint = |(n, id): (usize, &&str)| {
            let address = SocketAddr::from(([10, 0, 0, 1], 8000 + n as u16));
            let id_alone = id.trim_start_matches(['-', '0']);
            Endpoint {
                state: if id.starts_with('-') {
                    EndpointState::Draining
                } else {
                    EndpointState::Ready
                },
                weight: u32::from(!id.starts_with('0')),
                ..Endpoint::new(EndpointId::parse("test", id_alone).unwrap(), address)
            }
        };
        let mut endpoints: Vec<Endpoint> = ids.iter().enumerate().map(endpoint).collect();
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        self.set(Resource::Endpoints(EndpointSet {
            cluster: name(APP),
            endpoints,
        }));
    }

    fn cluster(&self) -> &Arc<Cluster> {
        self.snapshot.cluster(&name(APP)).unwrap()
    }

    /// What a request with `headers` for `uri` brings.
    fn bond(&self, uri: &str, headers: &HeaderMap, age: Duration) -> Bond {
        let mut request = Request::builder().uri(uri).body(()).unwrap();
        *request.headers_mut() = headers.clone();
        let client = || IpAddr::from([192, 0, 2, 1]);
        self.cluster().affinity.bond(&request, client, || TODAY + age)
    }

    /// The cookie of a client whose session is at `id`.
    fn session(&self, id: &str) -> HeaderMap {
        let Affinity::Cookie(sessions) = &self.cluster().affinity else {
            panic!("no sessions")
        };
        let mut response = HeaderMap::new();
        sessions.issue(&mut response, id, TODAY);
        let cookie = response[SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, cookie.parse().unwrap())])
    }

    fn pick(&mut self, bond: &Bond, tried: &Tried) -> Result<Picked, Failure> {
        let wanted = Wanted {
            now: self.now,
            bond,
            held: false,
            tried,
        };
        let cluster = Arc::clone(self.cluster());
        cluster.pick(&wanted, &mut self.rng)
    }

    /// Where a client's next request goes, and what became of its affinity.
    fn goes(&mut self, cookie: &HeaderMap) -> (String, Outcome) {
        let bond = self.bond("/", cookie, Duration::ZERO);
        match self.pick(&bond, &Tried::default()) {
            Ok(picked) => {
                picked.open.answered(tenbin_balance::Outcome::Success, None, self.now);
                (picked.endpoint.id.to_string(), picked.affinity)
            }
            Err(failure) => (failure.code().to_owned(), bond.outcome()),
        }
    }
}

fn at(id: &str, outcome: Outcome) -> (String, Outcome) {
    (id.to_owned(), outcome)
}

#[test]
fn a_session_stays_at_its_endpoint_whatever_comes_and_goes() {
    let mut world = World::of_sessions(OnDrain::Keep, OnDead::Rebalance);
    world.endpoints(&["a", "b", "c"]);
    let cookie = world.session("b");
    for set in [
        &["a", "b", "c"][..],
        &["b", "z"],
        &["0b", "a"],
        &["-b", "a"],
        &["a", "b"],
    ] {
        world.endpoints(set);
        for _ in 0..5 {
            assert_eq!(world.goes(&cookie), at("b", Outcome::Hit), "{set:?}");
        }
    }
    let newcomer = HeaderMap::new();
    world.endpoints(&["0b", "a"]);
    for _ in 0..5 {
        assert_eq!(
            world.goes(&newcomer),
            at("a", Outcome::New),
            "no new session at weight 0"
        );
    }
}

#[test]
fn who_has_the_address_of_one_that_went_is_not_it() {
    let mut world = World::of_sessions(OnDrain::Keep, OnDead::Rebalance);
    world.endpoints(&["a", "b"]);
    let address = |world: &World, id: &str| {
        let mut endpoints = world.cluster().endpoints();
        endpoints.find(|(e, _)| e.id.as_str() == id).map(|(e, _)| e.address)
    };
    let cookie = world.session("b");
    let before = address(&world, "b");
    world.endpoints(&["a", "other"]);
    assert_eq!(address(&world, "other"), before);
    let outcomes: Vec<_> = (0..4).map(|_| world.goes(&cookie)).collect();
    assert!(
        outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Gone),
        "{outcomes:?}"
    );
    assert!(
        outcomes.iter().any(|(id, _)| id == "a"),
        "the algorithm decides: {outcomes:?}"
    );
}

#[test]
fn sessions_leave_a_draining_endpoint_where_they_are_told_to() {
    for on_dead in [OnDead::Rebalance, OnDead::Fail] {
        let mut world = World::of_sessions(OnDrain::Move, on_dead);
        world.endpoints(&["a", "b"]);
        let cookie = world.session("b");
        assert_eq!(world.goes(&cookie), at("b", Outcome::Hit));
        world.endpoints(&["a", "-b"]);
        assert_eq!(world.goes(&cookie), at("a", Outcome::Moved), "{on_dead:?}");
        world.endpoints(&["-b"]);
        assert_eq!(
            world.goes(&cookie),
            at("b", Outcome::Hit),
            "it is the only one that serves"
        );
    }
}

#[test]
fn a_dead_endpoint_keeps_its_sessions_or_loses_them() {
    for (on_dead, skipped, tried, gone) in [
        (OnDead::Rebalance, at("a", Outcome::Moved), "a", at("a", Outcome::Gone)),
        (OnDead::Fail, at("b", Outcome::Hit), "US", at("US", Outcome::Gone)),
    ] {
        let mut world = World::of_sessions(OnDrain::Keep, on_dead);
        world.endpoints(&["a", "b"]);
        let cookie = world.session("b");
        let bond = world.bond("/", &cookie, Duration::ZERO);
        let first = world.pick(&bond, &Tried::default()).unwrap();
        assert_eq!(first.only, on_dead == OnDead::Fail);

        let mut after = Tried::default();
        after.push(Arc::clone(first.open.load()));
        let second = world.pick(&bond, &after);
        let second = second.map_or_else(
            |failure| failure.code().to_owned(),
            |picked| picked.endpoint.id.to_string(),
        );
        assert_eq!(second, tried, "a retry");

        first.open.load().skip().failed(world.now);
        assert_eq!(world.goes(&cookie), skipped, "while it is left out");
        world.endpoints(&["a"]);
        assert_eq!(world.goes(&cookie), gone);
    }
}

#[test]
fn every_request_counts_as_open_where_it_went() {
    let mut world = World::of_sessions(OnDrain::Keep, OnDead::Fail);
    world.endpoints(&["a", "b"]);
    let cookie = world.session("b");
    let bond = world.bond("/", &cookie, Duration::ZERO);
    let picked: Vec<Picked> = (0..3).map(|_| world.pick(&bond, &Tried::default()).unwrap()).collect();
    let load = Arc::clone(picked[0].open.load());
    assert_eq!((load.open(), load.picks(), picked[0].reason), (3, 3, Reason::Affinity));
    drop(picked);
    assert_eq!(load.open(), 0);
}

#[test]
fn a_full_endpoint_is_passed_by_but_not_by_its_sessions() {
    let mut world = World::of_sessions(OnDrain::Keep, OnDead::Rebalance);
    let mut cluster = tenbin_model::Cluster::new(name(APP));
    cluster.balancing = world.cluster().balancing.clone();
    cluster.limits.endpoint_requests = Some(2);
    world.set(Resource::Cluster(cluster));
    world.endpoints(&["a", "b", "0c"]);
    let cookie = world.session("b");
    let bond = world.bond("/", &cookie, Duration::ZERO);
    let stranger = world.bond("/", &HeaderMap::new(), Duration::ZERO);
    let held: Vec<Picked> = (0..2).map(|_| world.pick(&bond, &Tried::default()).unwrap()).collect();
    assert!(held.iter().all(|picked| picked.endpoint.id.as_str() == "b"));
    assert_eq!(world.pick(&bond, &Tried::default()).unwrap_err(), Failure::Overflow);
    let others: Vec<Picked> = (0..2)
        .map(|_| world.pick(&stranger, &Tried::default()).unwrap())
        .collect();
    assert!(others.iter().all(|picked| picked.endpoint.id.as_str() == "a"));
    let full = world.pick(&stranger, &Tried::default()).unwrap_err();
    assert_eq!(full, Failure::Overflow, "the reserve is not for a moment's load");
    drop(held);
    assert_eq!(world.goes(&cookie), at("b", Outcome::Hit));
}

#[test]
fn keys_rotate_under_sessions() {
    let mut world = World::of_sessions(OnDrain::Keep, OnDead::Rebalance);
    world.endpoints(&["a", "b"]);
    let old = world.session("b");
    world.keys(&[2, 1]);
    assert_eq!(world.goes(&old), at("b", Outcome::Hit));
    let new = world.session("b");
    world.keys(&[2]);
    assert_eq!(world.goes(&old).1, Outcome::UnknownKey);
    assert_eq!(world.goes(&new), at("b", Outcome::Hit));
    let gone = Update {
        set: Vec::new(),
        removed: vec![(Kind::Secret, name("keys"))],
    };
    world.snapshot = Snapshot::next(&world.snapshot, gone, world.now, 1);
    assert_eq!(world.goes(&new).1, Outcome::UnknownKey);
}

#[test]
fn a_client_is_told_only_what_it_does_not_know() {
    let mut world = World::of_sessions(OnDrain::Keep, OnDead::Rebalance);
    world.endpoints(&["a", "b"]);
    let cookie = world.session("b");
    let half = HOUR / 2 + Duration::from_secs(1);
    for (headers, age, outcome, told) in [
        (&HeaderMap::new(), Duration::ZERO, Outcome::New, true),
        (&cookie, Duration::ZERO, Outcome::Hit, false),
        (&cookie, Duration::ZERO, Outcome::Moved, true),
        (&cookie, half, Outcome::Hit, true),
        (&cookie, HOUR, Outcome::Expired, true),
    ] {
        let bond = world.bond("/", headers, age);
        assert_eq!(bond.wants_cookie(outcome), told, "{outcome:?} after {age:?}");
    }
    let expired = world.bond("/", &cookie, HOUR);
    assert_eq!(
        world.pick(&expired, &Tried::default()).unwrap().affinity,
        Outcome::Expired
    );
}

fn by_header(table: HashTable) -> World {
    World::new(tenbin_model::Affinity::Hash {
        key: HashKey::Header("x-user".to_owned()),
        table,
        bound: None,
    })
}

fn user(n: u32) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-user", format!("user-{n}").parse().unwrap());
    headers
}

#[test]
fn keys_stay_put_and_only_those_of_who_left_move() {
    for table in [HashTable::Ring, HashTable::Maglev] {
        let mut world = by_header(table);
        world.endpoints(&["a", "b", "c", "d"]);
        let places = |world: &mut World| -> BTreeMap<u32, String> {
            (0..400)
                .map(|n| {
                    let (id, outcome) = world.goes(&user(n));
                    assert_eq!(outcome, Outcome::Hit);
                    (n, id)
                })
                .collect()
        };
        let before = places(&mut world);
        assert_eq!(before, places(&mut world), "{table:?}: the same again");
        world.endpoints(&["a", "b", "c"]);
        let moved =
            |after: &BTreeMap<u32, String>| before.iter().filter(|(n, id)| after[n] != **id && *id != "d").count();
        let after = places(&mut world);
        assert!(after.values().all(|id| id != "d"));
        let allowed = if table == HashTable::Ring { 0 } else { 40 };
        assert!(
            moved(&after) <= allowed,
            "{table:?}: {} moved without need",
            moved(&after)
        );
        world.endpoints(&["a", "b", "c", "d"]);
        assert_eq!(before, places(&mut world), "{table:?}: all are back");
    }
}

#[test]
fn without_a_key_the_algorithm_decides() {
    let mut world = by_header(HashTable::Ring);
    world.endpoints(&["a", "b"]);
    let mut picks: Vec<_> = (0..4).map(|_| world.goes(&HeaderMap::new())).collect();
    picks.sort_by(|a, b| a.0.cmp(&b.0));
    let (a, b) = (at("a", Outcome::None), at("b", Outcome::None));
    assert_eq!(picks, [a.clone(), a, b.clone(), b], "in turn");
}

#[test]
fn a_key_whose_endpoint_was_tried_moves_and_comes_back() {
    let mut world = by_header(HashTable::Ring);
    world.endpoints(&["a", "b", "c"]);
    let bond = world.bond("/", &user(1), Duration::ZERO);
    let first = world.pick(&bond, &Tried::default()).unwrap();
    let mut tried = Tried::default();
    tried.push(Arc::clone(first.open.load()));
    let second = world.pick(&bond, &tried).unwrap();
    assert_ne!(first.endpoint.id, second.endpoint.id);
    assert_eq!((second.affinity, second.reason), (Outcome::Moved, Reason::Overflow));
    assert_eq!(world.goes(&user(1)), at(first.endpoint.id.as_str(), Outcome::Hit));
}

#[test]
fn nobody_there_is_no_endpoint() {
    let mut world = World::of_sessions(OnDrain::Keep, OnDead::Rebalance);
    let failure = world
        .pick(&Bond::Session(Brought::Nothing), &Tried::default())
        .unwrap_err();
    assert_eq!(failure, Failure::NoEndpoint);
}
