//! Each rule of the proxy's side, one test: responses in; updates, answers and subscriptions out.

use std::time::Duration;

use envoy_types::pb::google::protobuf::Any;
use tenbin_model::{
    Affinity, Balancing, Certificate, Cluster, Endpoint, EndpointId, EndpointSet, EndpointState, Listener, ListenerTls,
    OnDead, OnDrain, Policy, Resource, Route, RouteTable, SameSite, SessionCookie, SessionKey, SessionKeys, Target,
    TlsVersion, VirtualHost, xds,
};

use super::*;

pub(crate) const WEB: &str = "shop/hello/web";

pub(crate) fn name(text: &str) -> ResourceName {
    ResourceName::parse("name", text).unwrap()
}

pub(crate) fn listener(routes: &str) -> Resource {
    Resource::Listener(Listener::new(name(WEB), ([0, 0, 0, 0], 15080).into(), name(routes)))
}

pub(crate) fn routes(table: &str, clusters: &[&str]) -> Resource {
    let route = |cluster: &&str| Route::new(format!("/{cluster}"), name(cluster));
    Resource::Routes(RouteTable {
        name: name(table),
        hosts: vec![VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            routes: clusters.iter().map(route).collect(),
        }],
    })
}

pub(crate) fn cluster(text: &str, seconds: u64) -> Resource {
    Resource::Cluster(Cluster {
        balancing: Balancing {
            policy: Policy::Adaptive,
            ..Balancing::default()
        },
        connect_timeout: Duration::from_secs(seconds),
        ..Cluster::new(name(text))
    })
}

/// A cluster with a session cookie sealed by `keys`.
pub(crate) fn sticky(text: &str, keys: &str) -> Resource {
    let cookie = SessionCookie {
        name: SessionCookie::DEFAULT_NAME.to_owned(),
        path: "/".to_owned(),
        ttl: None,
        same_site: SameSite::Lax,
        secure: false,
        http_only: true,
        on_drain: OnDrain::Keep,
        on_dead: OnDead::Rebalance,
        keys: name(keys),
    };
    Resource::Cluster(Cluster {
        balancing: Balancing {
            affinity: Some(Affinity::Cookie(cookie)),
            ..Balancing::default()
        },
        ..Cluster::new(name(text))
    })
}

pub(crate) fn keys(text: &str, secret: u8) -> Resource {
    Resource::Keys(SessionKeys {
        name: name(text),
        keys: vec![SessionKey {
            id: secret.into(),
            secret: [secret; 32],
        }],
    })
}

pub(crate) fn endpoints(cluster: &str, last: u8) -> Resource {
    Resource::Endpoints(EndpointSet {
        cluster: name(cluster),
        endpoints: vec![Endpoint {
            id: EndpointId::parse("id", &format!("uid-{last}")).unwrap(),
            address: ([10, 0, 0, last], 8080).into(),
            state: EndpointState::Ready,
            instance: "i".to_owned(),
            weight: 1,
            zone: String::new(),
        }],
    })
}

pub(crate) fn sent(resource: &Resource, version: &str) -> XdsResource {
    XdsResource {
        name: resource.name().as_str().to_owned(),
        version: version.to_owned(),
        resource: Some(xds::encode(resource)),
        ..XdsResource::default()
    }
}

pub(crate) fn response(kind: Kind, resources: Vec<XdsResource>, removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: kind.type_url().to_owned(),
        nonce: "n".to_owned(),
        resources,
        removed_resources: removed.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn set(resource: &Resource) -> DeltaDiscoveryResponse {
    response(resource.kind(), vec![sent(resource, "v")], &[])
}

fn gone(kind: Kind, name: &str) -> DeltaDiscoveryResponse {
    response(kind, vec![], &[name])
}

/// Kind, subscribed and unsubscribed names of each request.
fn asked(requests: &[DeltaDiscoveryRequest]) -> Vec<(Kind, Vec<&str>, Vec<&str>)> {
    let asked = requests.iter().map(|r| {
        let subscribed = r.resource_names_subscribe.iter().map(String::as_str).collect();
        let dropped = r.resource_names_unsubscribe.iter().map(String::as_str).collect();
        (Kind::from_type_url(&r.type_url).unwrap(), subscribed, dropped)
    });
    asked.collect()
}

type Named<'a> = Vec<(Kind, &'a str)>;

/// Kinds and names that an update sets and removes.
fn changes(judged: &Judged) -> (Named<'_>, Named<'_>) {
    let Some(update) = &judged.update else {
        return (vec![], vec![]);
    };
    let set = update.set.iter().map(|r| (r.kind(), r.name().as_str())).collect();
    let removed = update
        .removed
        .iter()
        .map(|(kind, name)| (*kind, name.as_str()))
        .collect();
    (set, removed)
}

fn session() -> Session {
    let mut session = Session::new("node".to_owned(), vec![name(WEB)]);
    session.connect();
    session
}

/// A session that serves by listener and routes `WEB` and by cluster `a`.
fn serving() -> Session {
    let mut session = session();
    session.on_response(set(&listener(WEB)));
    session.on_response(set(&routes(WEB, &["a"])));
    session.on_response(set(&cluster("a", 1)));
    let last = session.on_response(set(&endpoints("a", 1)));
    assert!(last.update.is_some());
    session
}

#[test]
fn a_new_stream_tells_who_asks_and_asks_for_its_listeners() {
    let mut session = Session::new("shop/pod-1".to_owned(), vec![name(WEB)]);
    let requests = session.connect();
    assert_eq!(asked(&requests), [(Kind::Listener, vec![WEB], vec![])]);
    assert_eq!(requests[0].node.as_ref().unwrap().id, "shop/pod-1");
    assert!(requests[0].response_nonce.is_empty());
}

#[test]
fn references_are_followed_and_the_answer_comes_first() {
    let mut session = session();
    let judged = session.on_response(set(&listener("table")));
    assert_eq!(judged.requests[0].response_nonce, "n");
    assert_eq!(judged.requests[0].error_detail, None);
    assert_eq!(asked(&judged.requests[1..]), [(Kind::Routes, vec!["table"], vec![])]);
    assert!(judged.requests[1].response_nonce.is_empty());
    let judged = session.on_response(set(&routes("table", &["a", "b", "a"])));
    assert_eq!(
        asked(&judged.requests[1..]),
        [
            (Kind::Cluster, vec!["a", "b"], vec![]),
            (Kind::Endpoints, vec!["a", "b"], vec![])
        ]
    );
}

#[test]
fn nothing_is_put_in_use_before_it_is_whole() {
    let mut session = session();
    for resource in [
        listener(WEB),
        routes(WEB, &["a", "b"]),
        cluster("a", 1),
        endpoints("a", 1),
        cluster("b", 1),
    ] {
        assert_eq!(session.on_response(set(&resource)).update, None, "{resource:?}");
    }
    let judged = session.on_response(set(&endpoints("b", 2)));
    let (set, removed) = changes(&judged);
    assert_eq!(
        set,
        [
            (Kind::Cluster, "a"),
            (Kind::Cluster, "b"),
            (Kind::Endpoints, "a"),
            (Kind::Endpoints, "b"),
            (Kind::Listener, WEB),
            (Kind::Routes, WEB)
        ]
    );
    assert!(removed.is_empty());
}

#[test]
fn a_cluster_that_has_no_endpoints_to_wait_for_is_whole() {
    let mut session = session();
    session.on_response(set(&listener(WEB)));
    session.on_response(set(&routes(WEB, &["a"])));
    session.on_response(set(&cluster("a", 1)));
    let judged = session.on_response(gone(Kind::Endpoints, "a"));
    assert_eq!(changes(&judged).0.len(), 3);
}

#[test]
fn a_cluster_with_a_session_cookie_waits_for_its_keys() {
    let mut session = session();
    session.on_response(set(&listener(WEB)));
    session.on_response(set(&routes(WEB, &["a"])));
    session.on_response(set(&endpoints("a", 1)));
    let judged = session.on_response(set(&sticky("a", "k")));
    assert_eq!(judged.update, None);
    assert_eq!(asked(&judged.requests[1..]), [(Kind::Secret, vec!["k"], vec![])]);
    let judged = session.on_response(set(&keys("k", 1)));
    let (set, _) = changes(&judged);
    assert_eq!(set[..2], [(Kind::Secret, "k"), (Kind::Cluster, "a")]);
    assert_eq!(set.len(), 5);
}

#[test]
fn a_cluster_that_has_no_keys_to_wait_for_is_whole() {
    let mut session = serving();
    assert_eq!(
        session.on_response(set(&sticky("a", "k"))).update,
        None,
        "the one without a cookie is in use until the keys are here"
    );
    let judged = session.on_response(gone(Kind::Secret, "k"));
    assert_eq!(changes(&judged), (vec![(Kind::Cluster, "a")], vec![]));
    let judged = session.on_response(set(&keys("k", 1)));
    assert_eq!(changes(&judged), (vec![(Kind::Secret, "k")], vec![]));
}

#[test]
fn keys_stay_while_they_are_named_and_go_with_their_cluster() {
    let mut session = serving();
    session.on_response(set(&sticky("a", "k")));
    session.on_response(set(&keys("k", 1)));
    let judged = session.on_response(set(&keys("k", 2)));
    assert_eq!(
        changes(&judged),
        (vec![(Kind::Secret, "k")], vec![]),
        "they rotate alone"
    );
    assert_eq!(session.on_response(gone(Kind::Secret, "k")).update, None, "still named");
    let judged = session.on_response(set(&cluster("a", 1)));
    assert_eq!(
        changes(&judged),
        (vec![(Kind::Cluster, "a")], vec![(Kind::Secret, "k")])
    );
    assert_eq!(asked(&judged.requests[1..]), [(Kind::Secret, vec![], vec!["k"])]);
}

/// A listener of connections to `cluster`, with TLS by the certificate `secret`.
fn tls_listener(cluster: &str, secret: &str) -> Resource {
    let tls = ListenerTls {
        certificates: vec![name(secret)],
        minimum: TlsVersion::Tls12,
    };
    Resource::Listener(Listener {
        target: Target::Tcp(name(cluster)),
        tls: Some(tls),
        ..Listener::new(name(WEB), ([0, 0, 0, 0], 15080).into(), name(WEB))
    })
}

/// Another one each time.
fn certificate(text: &str) -> Certificate {
    let made = rcgen::generate_simple_self_signed(["app.test".to_owned()]).unwrap();
    Certificate {
        name: name(text),
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    }
}

fn certified(text: &str) -> Resource {
    Resource::Certificate(certificate(text))
}

#[test]
fn a_certificate_that_is_not_its_keys_is_refused_and_the_last_good_one_stays() {
    let mut session = session();
    for resource in [
        tls_listener("a", "cert"),
        cluster("a", 1),
        endpoints("a", 1),
        certified("cert"),
    ] {
        session.on_response(set(&resource));
    }
    let bad = Certificate {
        key: certificate("cert").key,
        ..certificate("cert")
    };
    let secret = bad.key.lines().nth(1).unwrap().to_owned();
    let judged = session.on_response(set(&Resource::Certificate(bad)));
    assert_eq!(judged.update, None);
    let told = judged.requests[0].error_detail.as_ref().unwrap().message.clone();
    assert!(told.contains("cert") && told.contains("key: "), "{told}");
    assert!(!told.contains(&secret), "{told}");
}

#[test]
fn a_listener_of_connections_names_its_cluster_and_its_certificates_and_waits_for_both() {
    let mut session = session();
    let judged = session.on_response(set(&tls_listener("a", "cert")));
    assert_eq!(
        asked(&judged.requests[1..]),
        [
            (Kind::Secret, vec!["cert"], vec![]),
            (Kind::Cluster, vec!["a"], vec![]),
            (Kind::Endpoints, vec!["a"], vec![])
        ]
    );
    assert_eq!(session.on_response(set(&cluster("a", 1))).update, None);
    assert_eq!(
        session.on_response(set(&endpoints("a", 1))).update,
        None,
        "no certificate yet"
    );
    let judged = session.on_response(set(&certified("cert")));
    let all = vec![
        (Kind::Secret, "cert"),
        (Kind::Cluster, "a"),
        (Kind::Endpoints, "a"),
        (Kind::Listener, WEB),
    ];
    assert_eq!(changes(&judged), (all, vec![]));

    let renewed = session.on_response(set(&certified("cert")));
    assert_eq!(changes(&renewed), (vec![(Kind::Secret, "cert")], vec![]), "alone");
    let gone = session.on_response(gone(Kind::Secret, "cert"));
    assert_eq!(gone.update, None, "it stays while it is named");
    let kept = session.kept(1);
    let (_, update) = restored(&kept);
    assert_eq!(update.set.len(), 4, "a restored one has it all");
}

#[test]
fn a_listener_goes_on_with_its_certificate_until_the_next_is_here_or_known_not_to_be() {
    let mut session = session();
    for resource in [
        tls_listener("a", "old"),
        cluster("a", 1),
        endpoints("a", 1),
        certified("old"),
    ] {
        session.on_response(set(&resource));
    }
    let judged = session.on_response(set(&tls_listener("a", "new")));
    assert_eq!(judged.update, None);
    assert_eq!(asked(&judged.requests[1..]), [(Kind::Secret, vec!["new"], vec![])]);
    let judged = session.on_response(gone(Kind::Secret, "new"));
    let (set, removed) = (vec![(Kind::Listener, WEB)], vec![(Kind::Secret, "old")]);
    assert_eq!(changes(&judged), (set, removed));
}

#[test]
fn a_listener_moves_from_connections_to_requests_once_its_routes_are_here() {
    let mut session = serving();
    session.on_response(set(&certified("cert")));
    let judged = session.on_response(set(&tls_listener("a", "cert")));
    assert_eq!(judged.update, None, "the certificate was not asked for before");
    let judged = session.on_response(set(&certified("cert")));
    let (changed, removed) = changes(&judged);
    assert_eq!(changed, [(Kind::Secret, "cert"), (Kind::Listener, WEB)]);
    assert_eq!(removed, [(Kind::Routes, WEB)], "the cluster stays");
    assert_eq!(
        session.on_response(set(&listener(WEB))).update,
        None,
        "its routes were let go"
    );
    let (changed, removed) = {
        let judged = session.on_response(set(&routes(WEB, &["a"])));
        let (changed, removed) = changes(&judged);
        (changed.len(), removed.len())
    };
    assert_eq!(
        (changed, removed),
        (2, 1),
        "listener and routes are there, the certificate is gone"
    );
}

#[test]
fn nothing_that_can_be_printed_shows_a_secret() {
    let mut session = serving();
    session.on_response(set(&sticky("a", "k")));
    let judged = session.on_response(set(&keys("k", 171)));
    let shown = format!("{session:?} {judged:?} {:?}", session.kept(0));
    assert!(shown.contains("SessionKey(171)"), "{shown}");
    assert!(!shown.contains("171, 171") && !shown.contains("\\xab"), "{shown}");
}

#[test]
fn an_endpoint_change_is_an_update_of_the_endpoints_alone() {
    let mut session = serving();
    let judged = session.on_response(set(&endpoints("a", 9)));
    assert_eq!(changes(&judged), (vec![(Kind::Endpoints, "a")], vec![]));
    assert_eq!(judged.requests.len(), 1);
    let same = session.on_response(set(&endpoints("a", 9)));
    assert_eq!(same.update, None, "the same content again is no update");
}

#[test]
fn new_routes_wait_for_their_cluster_and_take_the_old_one_with_them() {
    let mut session = serving();
    let judged = session.on_response(set(&routes(WEB, &["b"])));
    assert_eq!(judged.update, None);
    assert_eq!(
        asked(&judged.requests[1..]),
        [(Kind::Cluster, vec!["b"], vec![]), (Kind::Endpoints, vec!["b"], vec![])],
        "the old one is still in use"
    );
    assert_eq!(session.on_response(set(&cluster("b", 1))).update, None);
    let judged = session.on_response(set(&endpoints("b", 2)));
    assert_eq!(
        changes(&judged),
        (
            vec![(Kind::Cluster, "b"), (Kind::Endpoints, "b"), (Kind::Routes, WEB)],
            vec![(Kind::Cluster, "a"), (Kind::Endpoints, "a")]
        )
    );
    assert_eq!(
        asked(&judged.requests[1..]),
        [(Kind::Cluster, vec![], vec!["a"]), (Kind::Endpoints, vec![], vec!["a"])]
    );
}

#[test]
fn what_is_taken_away_stays_while_it_is_in_use() {
    let mut session = serving();
    for kind in [Kind::Cluster, Kind::Endpoints, Kind::Routes] {
        let name = if kind == Kind::Routes { WEB } else { "a" };
        assert_eq!(session.on_response(gone(kind, name)).update, None, "{kind:?}");
    }
    let judged = session.on_response(gone(Kind::Listener, WEB));
    assert_eq!(
        changes(&judged).1.len(),
        4,
        "nothing names a listener: it goes, and what it named"
    );
    assert_eq!(*session.used(), Resources::default());
}

#[test]
fn a_bad_resource_is_refused_alone_and_its_last_good_version_stays() {
    let mut session = session();
    session.on_response(set(&listener(WEB)));
    session.on_response(set(&routes(WEB, &["a", "b"])));
    session.on_response(response(
        Kind::Cluster,
        vec![sent(&cluster("a", 1), "1"), sent(&cluster("b", 1), "1")],
        &[],
    ));
    session.on_response(response(
        Kind::Endpoints,
        vec![sent(&endpoints("a", 1), "1"), sent(&endpoints("b", 2), "1")],
        &[],
    ));
    let bad = cluster("a", 0);
    let judged = session.on_response(response(
        Kind::Cluster,
        vec![sent(&bad, "2"), sent(&cluster("b", 2), "2")],
        &[],
    ));
    assert_eq!(changes(&judged), (vec![(Kind::Cluster, "b")], vec![]));
    let error = judged.requests[0].error_detail.as_ref().unwrap();
    assert_eq!(error.code, 3);
    assert_eq!(
        error.message,
        "a: connect_timeout: \"0ns\" is not accepted, expected a time of 1ms to 7 days"
    );
    assert_eq!(judged.rejected.len(), 1);
    let versions = |kind: Kind, session: &mut Session| {
        let requests = session.connect();
        let request = requests.into_iter().find(|r| r.type_url == kind.type_url()).unwrap();
        request.initial_resource_versions
    };
    let held = versions(Kind::Cluster, &mut session);
    assert_eq!((held["a"].as_str(), held["b"].as_str()), ("1", "2"));
}

#[test]
fn a_new_stream_asks_for_everything_again_with_the_versions_here_and_clusters_first() {
    let mut session = serving();
    let requests = session.connect();
    assert_eq!(
        asked(&requests),
        [
            (Kind::Cluster, vec!["a"], vec![]),
            (Kind::Endpoints, vec!["a"], vec![]),
            (Kind::Listener, vec![WEB], vec![]),
            (Kind::Routes, vec![WEB], vec![]),
        ]
    );
    for request in &requests {
        let versions: Vec<&str> = request.initial_resource_versions.values().map(String::as_str).collect();
        assert_eq!(versions, ["v"]);
    }
    assert!(requests[0].node.is_some());
    assert!(requests[1].node.is_none());
}

#[test]
fn what_one_replica_lacked_another_may_have() {
    let mut session = serving();
    session.on_response(set(&routes(WEB, &["b"])));
    session.on_response(gone(Kind::Endpoints, "b"));
    session.connect();
    assert_eq!(
        session.on_response(set(&cluster("b", 1))).update,
        None,
        "its endpoints may be on their way"
    );
    assert!(session.on_response(set(&endpoints("b", 2))).update.is_some());
}

#[test]
fn a_name_twice_in_one_response_is_refused_and_the_others_count() {
    let mut session = serving();
    session.on_response(set(&routes(WEB, &["a", "b"])));
    session.on_response(set(&cluster("b", 1)));
    let both = vec![
        sent(&endpoints("a", 7), "1"),
        sent(&endpoints("b", 2), "1"),
        sent(&endpoints("a", 8), "2"),
    ];
    let judged = session.on_response(response(Kind::Endpoints, both, &[]));
    assert!(
        judged.requests[0]
            .error_detail
            .as_ref()
            .unwrap()
            .message
            .starts_with("a: name: \"a\"")
    );
    let (set, _) = changes(&judged);
    assert!(
        set.contains(&(Kind::Endpoints, "b")) && !set.contains(&(Kind::Endpoints, "a")),
        "{set:?}"
    );
    let judged = session.on_response(response(Kind::Endpoints, vec![sent(&endpoints("a", 7), "1")], &["a"]));
    assert_eq!(judged.rejected.len(), 1, "set and removed at once");
    assert_eq!(judged.update, None);
}

#[test]
fn a_resource_under_another_name_is_refused() {
    let mut session = serving();
    let mut wrong = sent(&endpoints("b", 1), "1");
    wrong.name = "a".to_owned();
    let judged = session.on_response(response(Kind::Endpoints, vec![wrong], &[]));
    assert_eq!(judged.rejected[0].error.path, "name");
    assert_eq!(judged.update, None);
}

#[test]
fn what_was_not_asked_for_is_left_aside() {
    let mut session = serving();
    let mut broken = sent(&cluster("other", 1), "1");
    broken.resource = Some(Any::default());
    let judged = session.on_response(response(Kind::Cluster, vec![broken], &["another"]));
    assert_eq!(judged.update, None);
    assert!(judged.rejected.is_empty());
    assert_eq!(judged.requests.len(), 1, "an ACK");
}

#[test]
fn a_heartbeat_without_a_body_changes_nothing() {
    let mut session = serving();
    let mut heartbeat = sent(&cluster("a", 1), "v");
    heartbeat.resource = None;
    let judged = session.on_response(response(Kind::Cluster, vec![heartbeat], &[]));
    assert_eq!((judged.update, judged.rejected.len()), (None, 0));
}

#[test]
fn a_response_of_a_type_nobody_asked_for_is_refused() {
    let mut unknown = set(&cluster("a", 1));
    unknown.type_url = "type.googleapis.com/x.Y".to_owned();
    let judged = session().on_response(unknown);
    assert_eq!(judged.requests[0].type_url, "type.googleapis.com/x.Y");
    assert!(judged.requests[0].error_detail.is_some());
}

#[test]
fn the_reason_of_a_rejection_is_bounded() {
    let mut session = session();
    let names: Vec<String> = (0..500).map(|i| format!("cluster-{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    session.on_response(set(&listener(WEB)));
    session.on_response(set(&routes(WEB, &names)));
    let bad = names.iter().map(|name| sent(&cluster(name, 0), "1")).collect();
    let judged = session.on_response(response(Kind::Cluster, bad, &[]));
    assert_eq!(judged.rejected.len(), 500);
    let message = &judged.requests[0].error_detail.as_ref().unwrap().message;
    assert_eq!(message.chars().count(), REASON);
}

#[test]
fn a_listener_that_moves_to_another_table_waits_for_it() {
    let mut session = serving();
    let judged = session.on_response(set(&listener("next")));
    assert_eq!(judged.update, None);
    assert_eq!(asked(&judged.requests[1..]), [(Kind::Routes, vec!["next"], vec![])]);
    let judged = session.on_response(set(&routes("next", &["a"])));
    assert_eq!(
        changes(&judged),
        (
            vec![(Kind::Listener, WEB), (Kind::Routes, "next")],
            vec![(Kind::Routes, WEB)]
        )
    );
}

/// The versions that a new stream begins with.
fn versions(session: &mut Session) -> Vec<(Kind, String, String)> {
    let requests = session.connect();
    let of = |request: DeltaDiscoveryRequest| {
        let kind = Kind::from_type_url(&request.type_url).unwrap();
        let versions = request.initial_resource_versions.into_iter();
        versions.map(move |(name, version)| (kind, name, version))
    };
    let mut versions: Vec<_> = requests.into_iter().flat_map(of).collect();
    versions.sort();
    versions
}

fn restored(kept: &Kept) -> (Session, Update) {
    Session::restored("node".to_owned(), vec![name(WEB)], kept)
}

#[test]
fn a_restored_session_has_what_was_in_use_and_asks_for_nothing_it_has() {
    let mut first = serving();
    let (mut session, update) = restored(&first.kept(0));
    assert_eq!(session.used(), first.used());
    assert_eq!((update.set.len(), update.removed.len()), (4, 0));
    assert_eq!(versions(&mut session), versions(&mut first));
    assert_eq!(versions(&mut session).len(), 4);
    let judged = session.on_response(set(&endpoints("a", 9)));
    assert_eq!(changes(&judged), (vec![(Kind::Endpoints, "a")], vec![]));
    let judged = session.on_response(gone(Kind::Listener, WEB));
    assert_eq!(changes(&judged).1.len(), 4, "what is gone by now goes");
}

#[test]
fn what_only_waits_is_not_kept_and_no_version_of_it() {
    let mut session = serving();
    let next = response(Kind::Routes, vec![sent(&routes(WEB, &["b"]), "next")], &[]);
    assert_eq!(session.on_response(next).update, None);
    session.on_response(response(Kind::Cluster, vec![sent(&cluster("a", 2), "2")], &[]));
    let held = versions(&mut session);
    assert!(
        held.contains(&(Kind::Routes, WEB.to_owned(), "next".to_owned())),
        "{held:?}"
    );
    let (mut restored, update) = restored(&session.kept(0));
    assert!(update.set.contains(&routes(WEB, &["a"])) && update.set.contains(&cluster("a", 2)));
    let of = |kind, name: &str, version: &str| (kind, name.to_owned(), version.to_owned());
    assert_eq!(
        versions(&mut restored),
        [
            of(Kind::Cluster, "a", "2"),
            of(Kind::Endpoints, "a", "v"),
            of(Kind::Listener, WEB, "v"),
            of(Kind::Routes, WEB, "v")
        ]
    );
}

#[test]
fn what_was_taken_away_and_is_in_use_is_kept() {
    let mut session = serving();
    session.on_response(gone(Kind::Cluster, "a"));
    let (mut restored, update) = restored(&session.kept(0));
    assert_eq!(update.set.len(), 4);
    restored.connect();
    assert_eq!(
        restored.on_response(gone(Kind::Cluster, "a")).update,
        None,
        "still named"
    );
}

#[test]
fn a_restored_session_with_nothing_in_use_is_a_new_one() {
    let (mut session, update) = restored(&session().kept(0));
    assert_eq!(update, Update::default());
    assert_eq!(asked(&session.connect()), [(Kind::Listener, vec![WEB], vec![])]);
}
