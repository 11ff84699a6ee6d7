//! Snapshots as functions of bootstrap and updates.

use super::*;
use tenbin_balance::{Reason, Tried};
use tenbin_model::{Balancing, Endpoint, EndpointId, EndpointState, Policy, Route, VirtualHost};

use crate::affinity::Bond;
use crate::state::{Port, Wanted};

fn name(text: &str) -> ResourceName {
    ResourceName::parse("test", text).unwrap()
}

fn id(text: &str) -> EndpointId {
    EndpointId::parse("test", text).unwrap()
}

fn sidecar() -> Bootstrap {
    Bootstrap {
        own: Some(id("own")),
        instance: "hello-own".to_owned(),
        ports: vec![Port {
            name: name("ns/hello/http"),
            address: "[::]:15080".parse().unwrap(),
            app: Some("127.0.0.1:8080".parse().unwrap()),
        }],
    }
}

fn endpoints(ids: &[(&str, EndpointState)]) -> Resource {
    Resource::Endpoints(EndpointSet {
        cluster: name("ns/hello/http"),
        endpoints: ids
            .iter()
            .zip(1u8..)
            .map(|(&(text, state), n)| Endpoint {
                id: id(text),
                address: SocketAddr::from(([10, 0, 0, n], 8080)),
                state,
                instance: format!("hello-{text}"),
                weight: 1,
                zone: String::new(),
            })
            .collect(),
    })
}

fn cluster(policy: Policy) -> Resource {
    Resource::Cluster(tenbin_model::Cluster {
        balancing: Balancing {
            policy,
            ..Balancing::default()
        },
        connect_timeout: Duration::from_millis(70),
        ..tenbin_model::Cluster::new(name("ns/hello/http"))
    })
}

fn set(resources: Vec<Resource>) -> Update {
    Update {
        set: resources,
        removed: Vec::new(),
    }
}

fn addresses(snapshot: &Snapshot) -> Vec<String> {
    let cluster = snapshot.cluster(&name("ns/hello/http")).unwrap();
    cluster.endpoints().map(|(e, _)| e.address.to_string()).collect()
}

fn pick(snapshot: &Snapshot) -> crate::state::Picked {
    let routed = snapshot.listener_at(0).route("any", "/").unwrap();
    let wanted = Wanted {
        now: Time::default(),
        bond: &Bond::None,
        held: false,
        tried: &Tried::default(),
    };
    routed.cluster.pick(&wanted, &mut Rng::new(1)).unwrap()
}

/// The snapshot after `update`; `seed` tells them apart in time, too.
fn advance(prev: &Snapshot, update: Update, seed: u64) -> Snapshot {
    Snapshot::next(prev, update, Time::from_micros(seed * 1_000_000), seed)
}

const READY: EndpointState = EndpointState::Ready;
const DRAINING: EndpointState = EndpointState::Draining;

#[test]
fn a_sidecar_serves_its_app_before_any_update() {
    let snapshot = Snapshot::bootstrap(sidecar(), 1);
    let picked = pick(&snapshot);
    assert_eq!(picked.endpoint.address.to_string(), "127.0.0.1:8080");
    assert_eq!(&*picked.endpoint.instance, "hello-own");
    assert_eq!(snapshot.updates(), 0);
}

#[test]
fn its_own_pod_is_reached_over_loopback() {
    let first = Snapshot::bootstrap(sidecar(), 1);
    let next = advance(&first, set(vec![endpoints(&[("other", READY), ("own", READY)])]), 2);
    assert_eq!(addresses(&next), ["10.0.0.1:8080", "127.0.0.1:8080"]);
    assert_eq!(next.updates(), 1);
}

#[test]
fn its_app_serves_again_when_no_endpoint_is_left() {
    let first = Snapshot::bootstrap(sidecar(), 1);
    let some = advance(
        &first,
        set(vec![cluster(Policy::RoundRobin), endpoints(&[("other", READY)])]),
        2,
    );
    assert_eq!(addresses(&some), ["10.0.0.1:8080"]);
    let none = advance(&some, set(vec![endpoints(&[])]), 3);
    assert_eq!(addresses(&none), ["127.0.0.1:8080"]);
    let gone = Update {
        set: Vec::new(),
        removed: vec![
            (Kind::Endpoints, name("ns/hello/http")),
            (Kind::Cluster, name("ns/hello/http")),
        ],
    };
    assert_eq!(addresses(&advance(&some, gone, 4)), ["127.0.0.1:8080"]);
}

#[test]
fn live_state_survives_every_update_by_identity() {
    let first = Snapshot::bootstrap(sidecar(), 1);
    let before = advance(&first, set(vec![endpoints(&[("a", READY), ("b", READY)])]), 2);
    let picked = pick(&before);
    let stats = Arc::clone(&picked.endpoint.stats);

    // Its place and address change, others come, the policy changes: it is still the same.
    let moved = endpoints(&[("0", READY), ("a", READY), ("b", READY)]);
    let after = advance(&before, set(vec![cluster(Policy::RoundRobin), moved]), 3);
    let same = |snapshot: &Snapshot| {
        let cluster = snapshot.cluster(&name("ns/hello/http")).unwrap();
        cluster
            .endpoints()
            .any(|(e, _)| Arc::ptr_eq(&e.stats, &stats) && e.id == picked.endpoint.id)
    };
    assert!(same(&after));

    // It goes with an open request and comes back: the request still counts.
    let without = advance(&after, set(vec![endpoints(&[("0", READY)])]), 4);
    assert!(!same(&without));
    let back = advance(&without, set(vec![endpoints(&[("a", READY), ("b", READY)])]), 5);
    assert!(same(&back));
    assert_eq!(stats.load.open(), 1);
}

#[test]
fn what_did_not_change_is_the_same_object() {
    let first = Snapshot::bootstrap(sidecar(), 1);
    let before = advance(&first, set(vec![endpoints(&[("a", READY)])]), 2);
    let object = |snapshot: &Snapshot| {
        let cluster = snapshot.cluster(&name("ns/hello/http")).unwrap();
        let (endpoint, member) = cluster.endpoints().next().unwrap();
        (Arc::as_ptr(endpoint), member.role)
    };
    let drained = advance(&before, set(vec![endpoints(&[("a", DRAINING)])]), 3);
    assert_eq!(object(&before).0, object(&drained).0, "its connections live on");
    assert_ne!(object(&before).1, object(&drained).1);
    let other = advance(&before, set(vec![]), 3);
    assert!(Arc::ptr_eq(
        before.cluster(&name("ns/hello/http")).unwrap(),
        other.cluster(&name("ns/hello/http")).unwrap()
    ));
    assert!(Arc::ptr_eq(&before.listener_at(0).stats, &other.listener_at(0).stats));
}

#[test]
fn the_own_zone_is_that_of_the_own_pod() {
    let prefer = Resource::Cluster(tenbin_model::Cluster {
        balancing: Balancing {
            same_zone: true,
            ..Balancing::default()
        },
        ..tenbin_model::Cluster::new(name("ns/hello/http"))
    });
    let Resource::Endpoints(mut zoned) = endpoints(&[("other", READY), ("own", READY)]) else {
        panic!("no endpoints")
    };
    (zoned.endpoints[0].zone, zoned.endpoints[1].zone) = ("a".to_owned(), "b".to_owned());
    let first = Snapshot::bootstrap(sidecar(), 1);
    let next = advance(&first, set(vec![prefer, Resource::Endpoints(zoned)]), 2);
    let zone = |snapshot: &Snapshot| {
        let cluster = snapshot.cluster(&name("ns/hello/http")).unwrap();
        cluster.own_zone().map(str::to_owned)
    };
    assert_eq!(zone(&next).as_deref(), Some("b"));
    let gone = advance(&next, set(vec![endpoints(&[("other", READY)])]), 3);
    assert_eq!(zone(&gone), None, "it is not among them");
}

#[test]
fn only_who_comes_later_is_eased_in() {
    let slow = Resource::Cluster(tenbin_model::Cluster {
        balancing: Balancing {
            policy: Policy::RoundRobin,
            slow_start: Some(tenbin_model::SlowStart {
                window: Duration::from_secs(1000),
                floor: 1,
            }),
            ..Balancing::default()
        },
        ..tenbin_model::Cluster::new(name("ns/hello/http"))
    });
    let picks = |snapshot: &Snapshot, id: &str| {
        let wanted = Wanted {
            now: Time::from_micros(3_000_000),
            bond: &Bond::None,
            held: false,
            tried: &Tried::default(),
        };
        let mut rng = Rng::new(1);
        let cluster = snapshot.cluster(&name("ns/hello/http")).unwrap();
        let ids = (0..40).map(|_| cluster.pick(&wanted, &mut rng).unwrap().endpoint.id.clone());
        ids.filter(|picked| picked.as_str() == id).count()
    };
    // A proxy that was alone with its app hears of the others for the first time.
    let first = Snapshot::bootstrap(sidecar(), 1);
    let two = advance(
        &first,
        set(vec![slow, endpoints(&[("other", READY), ("own", READY)])]),
        2,
    );
    assert_eq!(picks(&two, "other"), 20);
    let three = advance(
        &two,
        set(vec![endpoints(&[("new", READY), ("other", READY), ("own", READY)])]),
        3,
    );
    assert!(picks(&three, "new") <= 4, "it has just come");
}

#[test]
fn draining_ones_serve_when_none_is_ready() {
    let first = Snapshot::bootstrap(sidecar(), 1);
    let next = advance(&first, set(vec![endpoints(&[("a", DRAINING), ("b", READY)])]), 2);
    assert_eq!(pick(&next).endpoint.id, id("b"));
    let next = advance(&next, set(vec![endpoints(&[("a", DRAINING)])]), 2);
    assert_eq!(
        (pick(&next).endpoint.id.clone(), pick(&next).reason),
        (id("a"), Reason::Draining)
    );
}

#[test]
fn routes_settings_and_their_absence() {
    let first = Snapshot::bootstrap(sidecar(), 1);
    let update = set(vec![
        cluster(Policy::RoundRobin),
        Resource::Listener(tenbin_model::Listener {
            header_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(2),
            ..tenbin_model::Listener::new(name("ns/hello/http"), "10.9.9.9:1".parse().unwrap(), name("table"))
        }),
        Resource::Routes(RouteTable {
            name: name("table"),
            hosts: vec![VirtualHost {
                name: "all".to_owned(),
                domains: vec!["*".to_owned()],
                routes: ["/x:nowhere", "/:ns/hello/http"]
                    .iter()
                    .filter_map(|text| text.split_once(':'))
                    .map(|(prefix, target)| Route {
                        timeouts: tenbin_model::Timeouts {
                            request: Duration::from_secs(3),
                            ..tenbin_model::Timeouts::default()
                        },
                        ..Route::new(prefix, name(target))
                    })
                    .collect(),
            }],
        }),
    ]);
    let next = advance(&first, update, 2);
    let listener = next.listener_at(0);
    assert_eq!(
        listener.address.to_string(),
        "[::]:15080",
        "a sidecar stays where its Service sends to"
    );
    assert_eq!(
        (listener.header_timeout, listener.idle_timeout),
        (Duration::from_secs(1), Duration::from_secs(2))
    );
    assert_eq!(listener.route("h", "/x/y").unwrap_err(), Failure::NoCluster);
    let routed = listener.route("h", "/").unwrap();
    assert_eq!(routed.route.timeouts.request, Duration::from_secs(3));
    assert_eq!(routed.cluster.connect_timeout, Duration::from_millis(70));

    let gone = Update {
        set: Vec::new(),
        removed: vec![(Kind::Listener, name("ns/hello/http")), (Kind::Routes, name("table"))],
    };
    let bare = advance(&next, gone, 3);
    assert!(
        bare.listener_at(0).route("h", "/x/y").is_ok(),
        "without routes everything goes to its own cluster"
    );
    assert_eq!(
        bare.listener_at(0).header_timeout,
        tenbin_model::Listener::DEFAULT_HEADER_TIMEOUT
    );
}

#[test]
fn without_a_pod_nothing_is_assumed() {
    let bootstrap = Bootstrap {
        own: None,
        instance: String::new(),
        ports: vec![Port {
            name: name("edge"),
            address: "127.0.0.1:0".parse().unwrap(),
            app: None,
        }],
    };
    let first = Snapshot::bootstrap(bootstrap, 1);
    assert_eq!(first.listener_at(0).route("h", "/").unwrap_err(), Failure::NoRoute);
    assert_eq!(first.clusters().count(), 0);
}

#[test]
fn a_listener_has_the_certificates_that_it_names_and_no_others() {
    let certificate = |text: &str| {
        Resource::Certificate(tenbin_model::Certificate {
            name: name(text),
            chain: text.to_owned(),
            key: "secret".to_owned(),
        })
    };
    let web = name("ns/hello/http");
    let listener = tenbin_model::Listener {
        tls: Some(tenbin_model::ListenerTls {
            certificates: vec![name("b"), name("missing"), name("a")],
            minimum: tenbin_model::TlsVersion::Tls12,
        }),
        ..tenbin_model::Listener::new(web.clone(), ([0, 0, 0, 0], 15080).into(), web.clone())
    };
    let all = vec![
        certificate("a"),
        certificate("b"),
        certificate("c"),
        Resource::Listener(listener),
    ];
    let first = Snapshot::bootstrap(sidecar(), 1);
    let named = |snapshot: &Snapshot| -> Vec<String> {
        let certificates = snapshot.certificates(&web);
        certificates.map(|certificate| certificate.chain.clone()).collect()
    };
    assert_eq!(named(&first), [""; 0]);
    let second = Snapshot::next(&first, set(all), Time::default(), 1);
    assert_eq!(named(&second), ["b", "a"]);
    assert!(!format!("{second:?}").contains("secret"));
    let gone = Update {
        set: Vec::new(),
        removed: vec![(Kind::Secret, name("b"))],
    };
    assert_eq!(named(&Snapshot::next(&second, gone, Time::default(), 1)), ["a"]);
}
