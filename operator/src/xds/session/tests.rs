//! Each rule of the protocol, one test: requests and snapshots in, responses out.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::rpc;
use tenbin_model::{
    Affinity, Balancing, Cluster, EndpointSet, Listener, OnDead, OnDrain, Policy, Resource, Route, RouteTable,
    SameSite, SessionCookie, SessionKey, SessionKeys, VirtualHost,
};

use super::*;

const OWN: &str = "shop/hello/http";
/// The name of the session keys.
const KEYS: &str = "shop/hello/session-keys";

fn name(text: &str) -> ResourceName {
    ResourceName::parse("name", text).unwrap()
}

fn cluster(text: &str, seconds: u64) -> Resource {
    Resource::Cluster(Cluster {
        balancing: Balancing {
            policy: Policy::RoundRobin,
            ..Balancing::default()
        },
        connect_timeout: Duration::from_secs(seconds),
        ..Cluster::new(name(text))
    })
}

fn endpoints(text: &str) -> Resource {
    Resource::Endpoints(EndpointSet {
        cluster: name(text),
        endpoints: Vec::new(),
    })
}

fn listener(text: &str) -> Resource {
    Resource::Listener(Listener::new(name(text), ([0, 0, 0, 0], 15080).into(), name(text)))
}

fn routes(text: &str, to: &str) -> Resource {
    Resource::Routes(RouteTable {
        name: name(text),
        hosts: vec![VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route::new("/", name(to))],
        }],
    })
}

/// A cluster with session cookies that `KEYS` seal.
fn sticky(text: &str) -> Resource {
    let cookie = SessionCookie {
        name: "sid".to_owned(),
        path: "/".to_owned(),
        ttl: None,
        same_site: SameSite::Lax,
        secure: false,
        http_only: true,
        on_drain: OnDrain::Keep,
        on_dead: OnDead::Rebalance,
        keys: name(KEYS),
    };
    Resource::Cluster(Cluster {
        balancing: Balancing {
            affinity: Some(Affinity::Cookie(cookie)),
            ..Balancing::default()
        },
        ..Cluster::new(name(text))
    })
}

fn keys(text: &str, secret: u8) -> Resource {
    Resource::Keys(SessionKeys {
        name: name(text),
        keys: vec![SessionKey {
            id: 1,
            secret: [secret; 32],
        }],
    })
}

fn snapshot(resources: Vec<Resource>) -> Arc<AppSnapshot> {
    Arc::new(AppSnapshot::new(1, resources))
}

/// Listener and routes `OWN`, which go to the cluster named.
fn app(to: &str) -> Vec<Resource> {
    vec![listener(OWN), routes(OWN, to), cluster(to, 1), endpoints(to)]
}

fn session(resources: Vec<Resource>) -> Session {
    Session::new(AppKey::new("shop", "hello"), Some(snapshot(resources)))
}

fn ask(kind: Kind, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn drop_names(kind: Kind, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_unsubscribe: names.iter().map(ToString::to_string).collect(),
        ..ask(kind, &[])
    }
}

fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn nack(response: &DeltaDiscoveryResponse, message: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        error_detail: Some(rpc::Status {
            code: 3,
            message: message.to_owned(),
            details: Vec::new(),
        }),
        ..ack(response)
    }
}

/// Kind, names set and names removed of each response.
fn told(responses: &[DeltaDiscoveryResponse]) -> Vec<(Kind, Vec<&str>, Vec<&str>)> {
    let of = |r: &'_ DeltaDiscoveryResponse| Kind::from_type_url(&r.type_url).unwrap();
    let told = responses.iter().map(|r| {
        let set = r.resources.iter().map(|r| r.name.as_str()).collect();
        let removed = r.removed_resources.iter().map(String::as_str).collect();
        (of(r), set, removed)
    });
    told.collect()
}

/// The responses to a request.
fn after(session: &mut Session, request: DeltaDiscoveryRequest) -> Vec<DeltaDiscoveryResponse> {
    session.on_request(request).unwrap().responses
}

/// The only response to a request.
fn one(session: &mut Session, request: DeltaDiscoveryRequest) -> DeltaDiscoveryResponse {
    let mut responses = after(session, request);
    assert_eq!(responses.len(), 1, "{responses:?}");
    responses.remove(0)
}

/// ACKs whatever comes, until nothing does; the responses in order.
fn ack_all(session: &mut Session, mut open: Vec<DeltaDiscoveryResponse>) -> Vec<DeltaDiscoveryResponse> {
    let mut seen = Vec::new();
    while !open.is_empty() {
        let response = open.remove(0);
        open.extend(after(session, ack(&response)));
        seen.push(response);
    }
    seen
}

/// A session whose client, as a stock Envoy does, has asked for and accepted everything.
fn settled(resources: Vec<Resource>, clusters: &[&str]) -> Session {
    let mut session = session(resources);
    for (kind, names) in [
        (Kind::Cluster, &[][..]),
        (Kind::Endpoints, clusters),
        (Kind::Listener, &[]),
        (Kind::Routes, &[OWN]),
    ] {
        let responses = after(&mut session, ask(kind, names));
        ack_all(&mut session, responses);
    }
    assert!(session.sync().synced);
    session
}

#[test]
fn a_name_is_answered_with_its_resource_version_and_a_nonce() {
    let resources = app(OWN);
    let expected = AppSnapshot::new(1, resources.clone());
    let mut session = session(resources);
    let response = one(&mut session, ask(Kind::Cluster, &[OWN]));
    assert_eq!(
        told(std::slice::from_ref(&response)),
        [(Kind::Cluster, vec![OWN], vec![])]
    );
    assert!(!response.nonce.is_empty());
    let entry = expected.get(Kind::Cluster, &name(OWN)).unwrap();
    assert_eq!(response.resources[0].version, *entry.version);
    assert_eq!(response.resources[0].resource.as_ref(), Some(&entry.any));
    assert!(after(&mut session, ack(&response)).is_empty());
}

#[test]
fn an_empty_first_request_means_everything_for_clusters_and_listeners_only() {
    let mut session = session(app(OWN));
    assert_eq!(
        told(&after(&mut session, ask(Kind::Cluster, &[]))),
        [(Kind::Cluster, vec![OWN], vec![])]
    );
    assert_eq!(
        told(&after(&mut session, ask(Kind::Listener, &[]))),
        [(Kind::Listener, vec![OWN], vec![])]
    );
    assert!(after(&mut session, ask(Kind::Endpoints, &[])).is_empty());
    assert!(after(&mut session, ask(Kind::Routes, &[])).is_empty());
}

#[test]
fn an_empty_request_after_names_means_nothing_new() {
    let mut session = session(vec![cluster("a", 1), cluster("b", 1)]);
    let first = one(&mut session, ask(Kind::Cluster, &["a"]));
    assert_eq!(told(std::slice::from_ref(&first)), [(Kind::Cluster, vec!["a"], vec![])]);
    assert!(after(&mut session, ack(&first)).is_empty());
    assert!(after(&mut session, ask(Kind::Cluster, &[])).is_empty());
}

#[test]
fn the_star_means_everything_and_ends_when_taken_back() {
    let mut session = session(vec![endpoints("a"), endpoints("b")]);
    let both = one(&mut session, ask(Kind::Endpoints, &["*", "a"]));
    assert_eq!(
        told(std::slice::from_ref(&both)),
        [(Kind::Endpoints, vec!["a", "b"], vec![])]
    );
    after(&mut session, ack(&both));
    after(&mut session, drop_names(Kind::Endpoints, &["*"]));
    let step = session.on_snapshot(snapshot(vec![endpoints("c")]));
    assert_eq!(told(&step.responses), [(Kind::Endpoints, vec![], vec!["a"])]);
}

#[test]
fn names_added_to_the_legacy_wildcard_leave_it_standing() {
    let mut session = session(vec![cluster("a", 1), cluster("b", 1)]);
    let both = one(&mut session, ask(Kind::Cluster, &[]));
    after(&mut session, ack(&both));
    let absent = one(&mut session, ask(Kind::Cluster, &["z"]));
    after(&mut session, ack(&absent));
    let step = session.on_snapshot(snapshot(vec![cluster("a", 1), cluster("b", 2)]));
    assert_eq!(told(&step.responses), [(Kind::Cluster, vec!["b"], vec![])]);
}

#[test]
fn a_name_let_go_under_the_wildcard_is_told_again() {
    let mut session = session(vec![cluster("a", 1), cluster("b", 1)]);
    let both = one(&mut session, ask(Kind::Cluster, &["*", "a", "gone"]));
    after(&mut session, ack(&both));
    let again = one(&mut session, drop_names(Kind::Cluster, &["a", "gone"]));
    assert_eq!(told(&[again]), [(Kind::Cluster, vec!["a"], vec!["gone"])]);
}

#[test]
fn known_versions_are_not_sent_and_stale_ones_are() {
    let resources = vec![endpoints("a"), endpoints("b"), endpoints("c")];
    let current = AppSnapshot::new(1, resources.clone());
    let version = |of: &str| current.get(Kind::Endpoints, &name(of)).unwrap().version.to_string();
    let mut session = session(resources);
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: HashMap::from([
            ("a".to_owned(), version("a")),
            ("b".to_owned(), "old".to_owned()),
            ("gone".to_owned(), "old".to_owned()),
            ("unasked".to_owned(), "old".to_owned()),
        ]),
        ..ask(Kind::Endpoints, &["a", "b", "c", "gone"])
    };
    let response = one(&mut session, request);
    assert_eq!(told(&[response]), [(Kind::Endpoints, vec!["b", "c"], vec!["gone"])]);
}

#[test]
fn a_reconnect_with_everything_current_is_sent_nothing_and_is_synced() {
    let current = snapshot([app(OWN), vec![keys(OWN, 1)]].concat());
    let mut session = Session::new(AppKey::new("shop", "hello"), Some(Arc::clone(&current)));
    for kind in Kind::ALL {
        let version = current.get(kind, &name(OWN)).unwrap().version.to_string();
        let request = DeltaDiscoveryRequest {
            initial_resource_versions: HashMap::from([(OWN.to_owned(), version)]),
            ..ask(kind, &[OWN])
        };
        assert!(after(&mut session, request).is_empty(), "{kind:?}");
    }
    assert!(session.sync().synced);
}

#[test]
fn asking_again_sends_again() {
    let mut session = session(vec![cluster("a", 1)]);
    let first = one(&mut session, ask(Kind::Cluster, &["a"]));
    after(&mut session, ack(&first));
    let again = one(&mut session, ask(Kind::Cluster, &["a"]));
    assert_eq!(again.resources, first.resources);
    assert_ne!(again.nonce, first.nonce);
}

#[test]
fn a_missing_name_is_answered_at_once_and_sent_when_it_appears() {
    let mut session = session(vec![]);
    let absent = one(&mut session, ask(Kind::Routes, &[OWN]));
    assert_eq!(told(std::slice::from_ref(&absent)), [(Kind::Routes, vec![], vec![OWN])]);
    assert!(after(&mut session, ack(&absent)).is_empty(), "told once");
    let step = session.on_snapshot(snapshot(vec![routes(OWN, "c")]));
    assert_eq!(told(&step.responses), [(Kind::Routes, vec![OWN], vec![])]);
}

#[test]
fn without_a_snapshot_nothing_is_answered_until_there_is_one() {
    let mut session = Session::new(AppKey::new("shop", "hello"), None);
    assert!(after(&mut session, ask(Kind::Cluster, &[OWN])).is_empty());
    assert!(!session.sync().synced);
    let step = session.on_snapshot(snapshot(app(OWN)));
    assert_eq!(told(&step.responses), [(Kind::Cluster, vec![OWN], vec![])]);
}

#[test]
fn one_response_of_a_kind_at_a_time_and_what_changes_meanwhile_comes_as_one() {
    let mut session = session(vec![cluster("a", 1)]);
    let first = one(&mut session, ask(Kind::Cluster, &["a", "b"]));
    for seconds in 2..6 {
        let step = session.on_snapshot(snapshot(vec![cluster("a", seconds), cluster("b", 1)]));
        assert!(step.responses.is_empty());
    }
    let newest = AppSnapshot::new(1, vec![cluster("a", 5)]);
    let next = one(&mut session, ack(&first));
    assert_eq!(
        told(std::slice::from_ref(&next)),
        [(Kind::Cluster, vec!["a", "b"], vec![])]
    );
    assert_eq!(
        next.resources[0].version,
        *newest.get(Kind::Cluster, &name("a")).unwrap().version
    );
}

#[test]
fn an_unchanged_resource_is_not_sent_with_a_changed_one() {
    let mut session = settled(app(OWN), &[OWN]);
    let step = session.on_snapshot(snapshot(vec![
        listener(OWN),
        routes(OWN, OWN),
        cluster(OWN, 2),
        endpoints(OWN),
    ]));
    assert_eq!(told(&step.responses), [(Kind::Cluster, vec![OWN], vec![])]);
}

#[test]
fn an_envoy_is_sent_the_endpoints_of_a_changed_cluster_again() {
    let envoy = |mut request: DeltaDiscoveryRequest| {
        request.node = Some(Node {
            user_agent_name: "envoy".to_owned(),
            ..Node::default()
        });
        request
    };
    let changed = vec![listener(OWN), routes(OWN, OWN), cluster(OWN, 2), endpoints(OWN)];
    let mut session = settled(app(OWN), &[OWN]);
    after(&mut session, envoy(ask(Kind::Routes, &[])));
    let step = session.on_snapshot(snapshot(changed.clone()));
    let expected = [(Kind::Cluster, vec![OWN], vec![]), (Kind::Endpoints, vec![OWN], vec![])];
    assert_eq!(
        told(&step.responses),
        expected,
        "it accepts the cluster after the endpoints"
    );

    // The same on a new stream, where it asks for endpoints only after the cluster is on its way.
    let (old, new) = (AppSnapshot::new(1, app(OWN)), AppSnapshot::new(1, changed.clone()));
    let mut session = super::tests::session(changed);
    let holding = |kind: Kind, held: &AppSnapshot| DeltaDiscoveryRequest {
        initial_resource_versions: HashMap::from([(
            OWN.to_owned(),
            held.get(kind, &name(OWN)).unwrap().version.to_string(),
        )]),
        ..ask(kind, &[OWN])
    };
    let cluster = one(&mut session, envoy(holding(Kind::Cluster, &old)));
    let endpoints = one(&mut session, holding(Kind::Endpoints, &new));
    assert_eq!(told(&[cluster, endpoints]), expected);
}

#[test]
fn a_stale_nonce_is_no_answer_but_its_subscriptions_count() {
    let mut session = session(vec![cluster("a", 1), cluster("b", 1)]);
    let first = one(&mut session, ask(Kind::Cluster, &["a"]));
    let mut stale = ask(Kind::Cluster, &["b"]);
    stale.response_nonce = "no such nonce".to_owned();
    let step = session.on_request(stale).unwrap();
    assert_eq!((step.acked, step.nacked), (None, None));
    assert!(step.responses.is_empty(), "the first response is still unanswered");
    let next = one(&mut session, ack(&first));
    assert_eq!(told(&[next]), [(Kind::Cluster, vec!["b"], vec![])]);
}

#[test]
fn an_unsubscribed_name_is_sent_no_more_even_with_a_stale_nonce() {
    let mut session = session(vec![cluster("a", 1)]);
    let first = one(&mut session, ask(Kind::Cluster, &["a"]));
    after(&mut session, ack(&first));
    let mut stale = drop_names(Kind::Cluster, &["a"]);
    stale.response_nonce = first.nonce;
    assert!(after(&mut session, stale).is_empty());
    assert!(
        session
            .on_snapshot(snapshot(vec![cluster("a", 2)]))
            .responses
            .is_empty()
    );
    assert_eq!(
        told(&after(&mut session, ask(Kind::Cluster, &["a"]))),
        [(Kind::Cluster, vec!["a"], vec![])]
    );
}

#[test]
fn a_rejected_version_is_not_sent_again_until_it_changes_and_its_reason_is_kept() {
    let mut session = session(vec![cluster("a", 1), cluster("b", 1)]);
    let first = one(&mut session, ask(Kind::Cluster, &["a", "b"]));
    let step = session.on_request(nack(&first, "b: lb_policy: not accepted")).unwrap();
    assert_eq!(
        step.nacked,
        Some((Kind::Cluster, "b: lb_policy: not accepted".to_owned()))
    );
    assert!(step.responses.is_empty());
    assert_eq!(
        session.sync().rejected,
        ["cluster b: b: lb_policy: not accepted"],
        "a is not blamed"
    );
    assert!(!session.sync().synced);
    assert!(
        session
            .on_snapshot(snapshot(vec![cluster("a", 1), cluster("b", 1)]))
            .responses
            .is_empty()
    );
    let step = session.on_snapshot(snapshot(vec![cluster("a", 1), cluster("b", 2)]));
    assert_eq!(told(&step.responses), [(Kind::Cluster, vec!["b"], vec![])]);
    assert!(session.sync().rejected.is_empty(), "the next version is not judged yet");
    after(&mut session, ack(&step.responses[0]));
    assert_eq!(
        session.sync(),
        StreamSync {
            generation: 1,
            synced: true,
            rejected: vec![]
        }
    );
}

#[test]
fn a_rejection_that_names_nothing_counts_for_the_whole_response() {
    let mut session = session(vec![cluster("a", 1), cluster("ab", 1)]);
    let first = one(&mut session, ask(Kind::Cluster, &["a", "ab"]));
    session.on_request(nack(&first, "abc is no reason")).unwrap();
    assert_eq!(session.sync().rejected.len(), 2);
}

#[test]
fn a_long_reason_is_shortened() {
    let mut session = session(vec![cluster("a", 1)]);
    let first = one(&mut session, ask(Kind::Cluster, &["a"]));
    let step = session.on_request(nack(&first, &"ä".repeat(10_000))).unwrap();
    assert_eq!(step.nacked.unwrap().1.chars().count(), REASON);
    assert!(session.sync().rejected[0].chars().count() < REASON + 20);
}

#[test]
fn kinds_are_sent_in_the_order_that_makes_before_it_breaks() {
    let mut session = settled(vec![], &[OWN]);
    let step = session.on_snapshot(snapshot(app(OWN)));
    let kinds: Vec<Kind> = told(&step.responses).into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(
        kinds,
        [Kind::Cluster, Kind::Endpoints, Kind::Listener],
        "routes wait for the cluster"
    );
    let seen = ack_all(&mut session, step.responses);
    assert_eq!(told(&seen[3..]), [(Kind::Routes, vec![OWN], vec![])]);
}

#[test]
fn routes_wait_until_the_new_cluster_and_its_endpoints_are_accepted_and_the_old_one_goes_last() {
    let mut session = settled(app("old"), &["old"]);
    let mut step = session.on_snapshot(snapshot(app("new")));
    assert_eq!(told(&step.responses), [(Kind::Cluster, vec!["new"], vec![])]);
    let cluster = step.responses.remove(0);
    assert!(
        after(&mut session, ack(&cluster)).is_empty(),
        "an Envoy is about to ask for its endpoints"
    );
    let endpoints = one(&mut session, ask(Kind::Endpoints, &["new"]));
    assert_eq!(
        told(std::slice::from_ref(&endpoints)),
        [(Kind::Endpoints, vec!["new"], vec![])]
    );
    let routes = one(&mut session, ack(&endpoints));
    assert_eq!(told(std::slice::from_ref(&routes)), [(Kind::Routes, vec![OWN], vec![])]);
    let gone = one(&mut session, ack(&routes));
    assert_eq!(
        told(std::slice::from_ref(&gone)),
        [(Kind::Cluster, vec![], vec!["old"])]
    );
    let gone = one(&mut session, ack(&gone));
    assert_eq!(
        told(std::slice::from_ref(&gone)),
        [(Kind::Endpoints, vec![], vec!["old"])]
    );
    after(&mut session, ack(&gone));
    assert!(session.sync().synced);
}

#[test]
fn a_client_that_names_clusters_itself_gets_routes_first() {
    // A sidecar learns of a cluster from its routes: waiting for the cluster would be waiting for ever.
    let mut session = session(app(OWN));
    let routes = one(&mut session, ask(Kind::Routes, &[OWN]));
    assert_eq!(told(&[routes]), [(Kind::Routes, vec![OWN], vec![])]);
}

#[test]
fn rejected_routes_keep_the_cluster_that_the_client_still_uses() {
    let mut session = settled(app("old"), &["old"]);
    let mut next = app("new");
    next.push(cluster("old", 1));
    next.push(endpoints("old"));
    let step = session.on_snapshot(snapshot(next));
    let mut open = ack_all(&mut session, step.responses);
    open.clear();
    let endpoints = one(&mut session, ask(Kind::Endpoints, &["new"]));
    let routes = one(&mut session, ack(&endpoints));
    session.on_request(nack(&routes, "no")).unwrap();
    let step = session.on_snapshot(snapshot(app("new")));
    assert!(step.responses.is_empty(), "{:?}", told(&step.responses));
}

#[test]
fn a_rejected_cluster_holds_back_routes_that_would_replace_working_ones() {
    let mut session = settled(app("old"), &["old"]);
    let step = session.on_snapshot(snapshot(app("new")));
    session.on_request(nack(&step.responses[0], "new: no")).unwrap();
    assert!(session.on_snapshot(snapshot(app("new"))).responses.is_empty());
    // A client that has no routes yet is better off with routes of which one fails.
    let mut fresh = super::tests::session(app("new"));
    let cluster = one(&mut fresh, ask(Kind::Cluster, &[]));
    fresh.on_request(nack(&cluster, "new: no")).unwrap();
    assert_eq!(
        told(&after(&mut fresh, ask(Kind::Routes, &[OWN]))),
        [(Kind::Routes, vec![OWN], vec![])]
    );
}

#[test]
fn names_of_other_apps_are_absent_and_counted_once() {
    let mut session = session(app(OWN));
    let names = ["shop/other/http", "bank/hello/http", "shop/hello/none", "plain"];
    let step = session.on_request(ask(Kind::Endpoints, &names)).unwrap();
    assert_eq!(step.foreign, 2);
    let mut absent = names.to_vec();
    absent.sort_unstable();
    assert_eq!(told(&step.responses), [(Kind::Endpoints, vec![], absent)]);
    let again = session.on_request(ask(Kind::Endpoints, &names)).unwrap();
    assert_eq!(again.foreign, 0);
}

#[test]
fn names_and_their_number_are_bounded() {
    let mut session = session(vec![]);
    let long = "x".repeat(ResourceName::MAX_LEN + 1);
    let bad = session.on_request(ask(Kind::Cluster, &[&long])).unwrap_err();
    assert!(bad.to_string().starts_with("resource_names_subscribe: \"xxx"), "{bad}");
    let names: Vec<String> = (0..=MAX_NAMES).map(|i| format!("n{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(
        session.on_request(ask(Kind::Cluster, &names)),
        Err(Violation::TooMany(MAX_NAMES + 1))
    );
    assert!(session.on_request(ask(Kind::Cluster, &names[..MAX_NAMES])).is_ok());
    assert_eq!(
        session.on_request(ask(Kind::Routes, &names[MAX_NAMES..])),
        Err(Violation::TooMany(MAX_NAMES + 1)),
        "all kinds count together"
    );
}

#[test]
fn a_large_answer_comes_in_parts() {
    // Endpoint sets of some 200 KiB each, by long names of instances.
    let big = |text: &str| {
        let endpoint = |i: usize| tenbin_model::Endpoint {
            id: tenbin_model::EndpointId::parse("id", &format!("uid-{i}")).unwrap(),
            address: ([10, 0, 0, 1], 80).into(),
            state: tenbin_model::EndpointState::Ready,
            instance: "i".repeat(200),
            weight: 1,
            zone: String::new(),
        };
        Resource::Endpoints(EndpointSet {
            cluster: name(text),
            endpoints: (0..800).map(endpoint).collect(),
        })
    };
    let names: Vec<String> = (0..12).map(|i| format!("n{i:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut session = session(names.iter().map(|n| big(n)).collect());
    let responses = after(&mut session, ask(Kind::Endpoints, &names));
    let seen = ack_all(&mut session, responses);
    assert!(seen.len() > 1);
    let all: Vec<&str> = seen
        .iter()
        .flat_map(|r| r.resources.iter().map(|r| r.name.as_str()))
        .collect();
    assert_eq!(all, names, "each once");
    for response in &seen {
        let bytes: usize = response
            .resources
            .iter()
            .map(|r| r.resource.as_ref().unwrap().value.len())
            .sum();
        assert!(bytes <= MAX_RESPONSE, "{bytes}");
    }
}

#[test]
fn routes_wait_for_the_keys_of_their_new_cluster_and_keys_go_last() {
    let mut session = settled(app("old"), &["old"]);
    let absent = after(&mut session, ask(Kind::Secret, &[KEYS]));
    ack_all(&mut session, absent);
    assert!(session.sync().synced);
    let new = vec![
        listener(OWN),
        routes(OWN, "new"),
        sticky("new"),
        endpoints("new"),
        keys(KEYS, 1),
    ];
    let step = session.on_snapshot(snapshot(new));
    assert_eq!(
        told(&step.responses),
        [(Kind::Secret, vec![KEYS], vec![]), (Kind::Cluster, vec!["new"], vec![])]
    );
    after(&mut session, ack(&step.responses[1]));
    let endpoints = one(&mut session, ask(Kind::Endpoints, &["new"]));
    assert!(
        after(&mut session, ack(&endpoints)).is_empty(),
        "the keys are not accepted yet"
    );
    let routes = one(&mut session, ack(&step.responses[0]));
    assert_eq!(told(std::slice::from_ref(&routes)), [(Kind::Routes, vec![OWN], vec![])]);
    ack_all(&mut session, vec![routes]);
    let step = session.on_snapshot(snapshot(app("old")));
    let seen = ack_all(&mut session, step.responses);
    let seen = told(&seen);
    let at = |wanted: (Kind, Vec<&str>, Vec<&str>)| seen.iter().position(|told| *told == wanted);
    let routes = at((Kind::Routes, vec![OWN], vec![]));
    let cluster = at((Kind::Cluster, vec![], vec!["new"]));
    let keys = at((Kind::Secret, vec![], vec![KEYS]));
    assert!(routes.is_some() && routes < cluster && cluster < keys, "{seen:?}");
}

#[test]
fn a_client_that_follows_keys_is_synced_with_the_newest_alone() {
    let with = |secret| {
        vec![
            listener(OWN),
            routes(OWN, OWN),
            sticky(OWN),
            endpoints(OWN),
            keys(KEYS, secret),
        ]
    };
    let mut session = settled(with(1), &[OWN]);
    let responses = after(&mut session, ask(Kind::Secret, &[KEYS]));
    assert!(!session.sync().synced);
    ack_all(&mut session, responses);
    assert!(session.sync().synced);
    let step = session.on_snapshot(snapshot(with(2)));
    assert_eq!(told(&step.responses), [(Kind::Secret, vec![KEYS], vec![])]);
    assert!(!session.sync().synced);
    ack_all(&mut session, step.responses);
    assert!(session.sync().synced);
}

#[test]
fn keys_of_another_app_do_not_exist_here() {
    let mut session = session(vec![keys(KEYS, 1)]);
    let step = session
        .on_request(ask(Kind::Secret, &["shop/other/session-keys"]))
        .unwrap();
    assert_eq!(
        told(&step.responses),
        [(Kind::Secret, vec![], vec!["shop/other/session-keys"])]
    );
    assert_eq!(step.foreign, 1);
}

#[test]
fn a_stream_is_synced_only_with_every_kind_asked_for_and_accepted() {
    let mut session = session(app(OWN));
    let mut open = Vec::new();
    for kind in [Kind::Cluster, Kind::Endpoints, Kind::Listener, Kind::Routes] {
        assert!(!session.sync().synced, "before {kind:?}");
        open.extend(after(&mut session, ask(kind, &[OWN])));
        assert!(!session.sync().synced, "{kind:?} asked for, not accepted");
        open = ack_all(&mut session, open);
        open.clear();
    }
    assert!(session.sync().synced);
    let step = session.on_snapshot(snapshot(vec![
        listener(OWN),
        routes(OWN, OWN),
        cluster(OWN, 9),
        endpoints(OWN),
    ]));
    assert!(!session.sync().synced);
    ack_all(&mut session, step.responses);
    assert!(session.sync().synced);
}

#[test]
fn types_of_resources_that_are_not_ours_are_left_unanswered() {
    let mut session = session(app(OWN));
    let request = DeltaDiscoveryRequest {
        type_url: "type.googleapis.com/envoy.service.runtime.v3.Runtime".to_owned(),
        ..ask(Kind::Cluster, &["a"])
    };
    assert_eq!(session.on_request(request), Ok(Step::default()));
}
