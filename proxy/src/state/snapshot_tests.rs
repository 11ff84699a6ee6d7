//! Snapshots as functions of bootstrap and updates.

use super::*;
use tenbin_balance::{Reason, Tried};
use tenbin_model::{
    Balancing, Endpoint, EndpointId, EndpointState, Policy, Route, UpstreamProtocol, UpstreamTls, VirtualHost,
};

use crate::affinity::Bond;
use crate::state::{EndpointTls, Port, Wanted};

fn name(text: &str) -> ResourceName {
    ResourceName::parse("test", text).unwrap()
}

fn id(text: &str) -> EndpointId {
    EndpointId::parse("test", text).unwrap()
}

/// The port of a sidecar whose app is spoken with as `cluster` says.
fn port(cluster: tenbin_model::Cluster, is_tcp: bool) -> Port {
    let (address, app) = ("[::]:15080".parse().unwrap(), "127.0.0.1:8080".parse().unwrap());
    Port::of_app(address, app, cluster, is_tcp)
}

fn sidecar() -> Bootstrap {
    Bootstrap {
        own: Some(id("own")),
        instance: "hello-own".to_owned(),
        ports: vec![port(tenbin_model::Cluster::new(name("ns/hello/http")), false)],
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

fn sidecar_of(cluster: tenbin_model::Cluster, is_tcp: bool) -> Bootstrap {
    Bootstrap {
        ports: vec![port(cluster, is_tcp)],
        ..sidecar()
    }
}

fn own_endpoint(snapshot: &Snapshot) -> Arc<crate::state::Endpoint> {
    let cluster = snapshot.cluster(&name("ns/hello/http")).unwrap();
    Arc::clone(cluster.endpoints().next().unwrap().0)
}

#[test]
fn a_port_of_plain_tcp_is_one_from_the_start() {
    let snapshot = Snapshot::bootstrap(sidecar_of(tenbin_model::Cluster::new(name("ns/hello/http")), true), 1);
    let listener = snapshot.listener_at(0);
    assert_eq!(listener.tcp(), Some(&name("ns/hello/http")));
    assert!(listener.is_tcp() && !listener.is_cleartext_http());
    assert_eq!(
        listener.idle_timeout,
        Duration::from_secs(3600),
        "as long as the operator has it by default"
    );
    assert_eq!(addresses(&snapshot), ["127.0.0.1:8080"]);
}

#[test]
fn an_app_is_spoken_with_in_its_own_way_from_the_start_and_its_connections_outlive_the_first_update() {
    let spoken = tenbin_model::Cluster {
        protocol: UpstreamProtocol::Http2,
        ..tenbin_model::Cluster::new(name("ns/hello/http"))
    };
    let first = Snapshot::bootstrap(sidecar_of(spoken.clone(), false), 1);
    let endpoint = own_endpoint(&first);
    assert_eq!(endpoint.transport.protocol, UpstreamProtocol::Http2);
    assert_eq!(first.waits_for(), None);
    let told = tenbin_model::Cluster {
        connect_timeout: Duration::from_secs(9),
        ..spoken
    };
    let next = advance(&first, set(vec![Resource::Cluster(told)]), 2);
    assert!(Arc::ptr_eq(&endpoint, &own_endpoint(&next)));
}

#[test]
fn an_app_that_cannot_be_verified_yet_is_waited_for_and_is_never_spoken_with_in_cleartext() {
    let verified_by = |ca: String| tenbin_model::Cluster {
        tls: Some(UpstreamTls {
            server_name: "hello.ns.svc".to_owned(),
            ca,
        }),
        ..tenbin_model::Cluster::new(name("ns/hello/http"))
    };
    let tls = |snapshot: &Snapshot| match own_endpoint(snapshot).transport.tls {
        EndpointTls::Off => "off",
        EndpointTls::On { .. } => "on",
        EndpointTls::Unusable(_) => "unusable",
    };
    let first = Snapshot::bootstrap(sidecar_of(verified_by(String::new()), false), 1);
    assert_eq!(
        (first.waits_for(), tls(&first)),
        (Some(&name("ns/hello/http")), "unusable")
    );
    let others = advance(&first, set(vec![endpoints(&[("own", READY)])]), 2);
    assert!(others.waits_for().is_some(), "this does not say how it is verified");
    let ca = rcgen::generate_simple_self_signed(["hello.ns.svc".to_owned()]).unwrap();
    let ca = ca.cert.pem();
    let told = advance(&others, set(vec![Resource::Cluster(verified_by(ca.clone()))]), 3);
    assert_eq!((told.waits_for(), tls(&told)), (None, "on"));
    let gone = Update {
        set: Vec::new(),
        removed: vec![(Kind::Cluster, name("ns/hello/http"))],
    };
    let alone = advance(&told, gone, 4);
    assert_eq!((alone.waits_for(), tls(&alone)), (None, "on"));
    let known = Snapshot::bootstrap(sidecar_of(verified_by(ca), false), 1);
    assert_eq!((known.waits_for(), tls(&known)), (None, "on"));
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
        ports: vec![Port::new(name("edge"), "127.0.0.1:0".parse().unwrap())],
    };
    let first = Snapshot::bootstrap(bootstrap, 1);
    assert_eq!(first.listener_at(0).route("h", "/").unwrap_err(), Failure::NoRoute);
    assert_eq!(first.clusters().count(), 0);
}
