//! The wire form keeps everything, is the same bytes each time, refuses what it can't obey by field and value, and survives
//! any bytes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::cluster::{LbConfig, LbPolicy};
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{HealthStatus, TransportSocket, TypedExtensionConfig};
use envoy_types::pb::envoy::config::listener::v3::Listener as XdsListener;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter,
};
use envoy_types::pb::envoy::extensions::http::original_ip_detection::xff::v3::XffConfig;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type as SecretType;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::protobuf::value::Kind as ValueKind;
use ipnet::IpNet;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use tenbin_model::bounds::MAX_TIMEOUT;
use tenbin_model::xds::{self, decode, encode};
use tenbin_model::{
    AccessLog, AccessLogFormat, Affinity, Balancing, Bodies, Certificate, Cluster, Endpoint, EndpointId, EndpointSet,
    EndpointState, HashKey, HashTable, Kind, Limits, Listener, ListenerTls, OnDead, OnDrain, Policy, Resource,
    ResourceName, Retry, RetryOn, Route, RouteTable, SameSite, SessionCookie, SessionKey, SessionKeys, SlowStart,
    Target, Timeouts, TlsVersion, Tracing, UpstreamProtocol, UpstreamTls, VirtualHost,
};

fn name(text: &str) -> ResourceName {
    ResourceName::parse("name", text).unwrap()
}

fn names() -> impl Strategy<Value = ResourceName> {
    "[a-z0-9]{1,10}/[!-~]{1,20}/[a-z]{1,5}".prop_map(|text| name(&text))
}

fn times() -> impl Strategy<Value = Duration> {
    let most = u64::try_from(MAX_TIMEOUT.as_nanos()).unwrap();
    prop_oneof![
        (1_000_000..=most).prop_map(Duration::from_nanos),
        (1u64..=600).prop_map(Duration::from_secs),
    ]
}

fn addresses() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(|o| IpAddr::V4(Ipv4Addr::from(o))),
        any::<[u8; 16]>().prop_map(|o| IpAddr::V6(Ipv6Addr::from(o))),
    ];
    (ip, 1..=u16::MAX).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn endpoint_sets() -> impl Strategy<Value = Resource> {
    let zones = prop_oneof![Just(""), Just("zone-a"), Just("zone-b")];
    let one = (addresses(), any::<bool>(), "[!-~]{0,30}", 0u32..=1000, zones);
    (names(), btree_map("[!-~]{1,40}", one, 0..20)).prop_map(|(cluster, endpoints)| {
        let endpoints = endpoints.into_iter();
        let endpoints = endpoints.map(|(id, (address, draining, instance, weight, zone))| Endpoint {
            id: EndpointId::parse("id", &id).unwrap(),
            address,
            state: if draining {
                EndpointState::Draining
            } else {
                EndpointState::Ready
            },
            instance,
            // The weight 0 of a draining one is not told.
            weight: if draining { weight.max(1) } else { weight },
            zone: zone.to_owned(),
        });
        Resource::Endpoints(EndpointSet {
            cluster,
            endpoints: endpoints.collect(),
        })
    })
}

/// PEM of random bytes: its armour is all that is read.
fn pem(label: &'static str) -> impl Strategy<Value = String> {
    vec(any::<u8>(), 1..40).prop_map(move |bytes| {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    })
}

fn certificates() -> impl Strategy<Value = Resource> {
    let keys = prop_oneof![pem("PRIVATE KEY"), pem("RSA PRIVATE KEY"), pem("EC PRIVATE KEY")];
    (names(), vec(pem("CERTIFICATE"), 1..4), keys).prop_map(|(name, chain, key)| {
        let chain = chain.concat();
        Resource::Certificate(Certificate { name, chain, key })
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let limit = || option::of(1u32..=1_000_000);
    let all = (limit(), limit(), limit(), limit(), 0..=Limits::MAX_QUEUE, times());
    let all = all.prop_map(
        |(connections, endpoint_connections, requests, endpoint_requests, queue, queue_timeout)| Limits {
            connections,
            endpoint_connections,
            requests,
            endpoint_requests,
            queue,
            queue_timeout,
        },
    );
    prop_oneof![Just(Limits::default()), all]
}

fn clusters() -> impl Strategy<Value = Resource> {
    let protocol = prop_oneof![Just(UpstreamProtocol::Http1), Just(UpstreamProtocol::Http2)];
    let server = prop_oneof![
        "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}",
        addresses().prop_map(|address| address.ip().to_string())
    ];
    let tls = (server, pem("CERTIFICATE")).prop_map(|(server_name, ca)| UpstreamTls { server_name, ca });
    let all = (names(), balancings(), times(), protocol, option::of(tls), limits());
    all.prop_map(|(name, balancing, connect_timeout, protocol, tls, limits)| {
        Resource::Cluster(Cluster {
            name,
            balancing,
            connect_timeout,
            protocol,
            tls,
            limits,
        })
    })
}

/// Times of `least` to `most` milliseconds.
fn millis(least: u64, most: u64) -> impl Strategy<Value = Duration> {
    (least..=most).prop_map(Duration::from_millis)
}

fn balancings() -> impl Strategy<Value = Balancing> {
    let choices = || option::of(2u32..=100);
    let policy = prop_oneof![
        Just(Policy::Adaptive),
        Just(Policy::RoundRobin),
        Just(Policy::Random),
        choices().prop_map(|choices| Policy::LeastRequest { choices }),
        (millis(100, 600_000), choices()).prop_map(|(decay, choices)| Policy::PeakEwma { decay, choices }),
    ];
    let slow_start = (millis(1000, 3_600_000), 1u8..=100).prop_map(|(window, floor)| SlowStart { window, floor });
    let affinity = prop_oneof![hash_affinities(), cookies().prop_map(Affinity::Cookie)];
    let all = (policy, option::of(affinity), option::of(slow_start), any::<bool>());
    all.prop_map(|(policy, affinity, slow_start, same_zone)| Balancing {
        policy,
        affinity,
        slow_start,
        same_zone,
    })
}

/// Keys as a route tells them, which knows no prefix lengths.
fn route_keys() -> impl Strategy<Value = HashKey> {
    prop_oneof![
        Just(HashKey::SOURCE_IP),
        Just(HashKey::Path),
        "[a-z0-9-]{1,128}".prop_map(HashKey::Header),
        "[a-zA-Z0-9_.%?-]{1,128}".prop_map(HashKey::QueryParam),
        "[a-zA-Z0-9_.]{1,64}".prop_map(HashKey::Cookie),
    ]
}

fn hash_affinities() -> impl Strategy<Value = Affinity> {
    let source = (1u8..=32, 1u8..=128).prop_map(|(v4, v6)| HashKey::SourceIp { v4, v6 });
    let table = prop_oneof![Just(HashTable::Ring), Just(HashTable::Maglev)];
    let all = (prop_oneof![route_keys(), source], table, option::of(101u32..=10_000));
    all.prop_map(|(key, table, bound)| Affinity::Hash { key, table, bound })
}

fn cookies() -> impl Strategy<Value = SessionCookie> {
    let site = prop_oneof![Just(SameSite::Lax), Just(SameSite::Strict), Just(SameSite::None)];
    let ttl = option::of(millis(1000, 400 * 24 * 3_600_000));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let all = (
        "[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,64}",
        "/[ -:<-~]{0,255}",
        ttl,
        site,
        flags,
        names(),
    );
    all.prop_map(|(name, path, ttl, same_site, flags, keys)| SessionCookie {
        name,
        path,
        ttl,
        same_site,
        secure: flags.0,
        http_only: flags.1,
        on_drain: if flags.2 { OnDrain::Move } else { OnDrain::Keep },
        on_dead: if flags.3 { OnDead::Fail } else { OnDead::Rebalance },
        keys,
    })
}

fn key_sets() -> impl Strategy<Value = Resource> {
    let keys = btree_map(any::<u32>(), any::<[u8; 32]>(), 1..=SessionKeys::MAX);
    (names(), keys).prop_map(|(name, keys)| {
        let keys = keys.into_iter().map(|(id, secret)| SessionKey { id, secret });
        Resource::Keys(SessionKeys {
            name,
            keys: keys.rev().collect(),
        })
    })
}

fn listeners() -> impl Strategy<Value = Resource> {
    let hop = (addresses(), any::<u8>()).prop_map(|(address, bits)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address.ip(), bits % (most + 1)).unwrap()
    });
    let hops = vec(hop, 0..4);
    let version = prop_oneof![Just(TlsVersion::Tls12), Just(TlsVersion::Tls13)];
    let tls = (btree_set(names(), 1..4), version).prop_map(|(names, minimum)| ListenerTls {
        certificates: names.into_iter().rev().collect(),
        minimum,
    });
    let sockets = (names(), addresses(), option::of(tls));
    let told = (
        any::<bool>(),
        option::of("x-[a-z0-9-]{1,100}"),
        access_logs(),
        option::of(tracings()),
    );
    let all = (sockets, any::<bool>(), names(), times(), times(), hops, told);
    all.prop_map(
        |((name, address, tls), http, target, header, idle, trusted_hops, told)| {
            let mut listener = Listener::new(name, address, target.clone());
            listener.idle_timeout = idle;
            listener.tls = tls;
            (
                listener.forwarded,
                listener.served_by,
                listener.access_log,
                listener.tracing,
            ) = told;
            if http {
                listener.header_timeout = header;
                listener.trusted_hops = trusted_hops;
            } else {
                listener.target = Target::Tcp(target);
            }
            Resource::Listener(listener)
        },
    )
}

fn access_logs() -> impl Strategy<Value = AccessLog> {
    let format = prop_oneof![
        Just(AccessLogFormat::Off),
        Just(AccessLogFormat::Text),
        Just(AccessLogFormat::Json)
    ];
    (format, 1u32..=1_000_000).prop_map(|(format, one_in)| AccessLog { format, one_in })
}

fn tracings() -> impl Strategy<Value = Tracing> {
    (
        "[a-z]{1,9}(\\.[a-z]{1,9}){0,2}",
        1..=u16::MAX,
        0..=Tracing::ALL,
        "[!-~]{1,253}",
    )
        .prop_map(|(host, port, sampled, service)| Tracing {
            collector: format!("http://{host}:{port}"),
            sampled,
            service,
        })
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    let all = (times(), option::of(times()), times(), times());
    let all = all.prop_map(|(request, per_try, idle, tunnel_idle)| Timeouts {
        request,
        per_try,
        idle,
        tunnel_idle,
    });
    prop_oneof![Just(Timeouts::default()), all]
}

fn retries() -> impl Strategy<Value = Retry> {
    let on = vec![RetryOn::Closed, RetryOn::GatewayError, RetryOn::Timeout];
    let on = prop::sample::subsequence(on, 0..=3).prop_map(|on| on.into_iter().collect());
    let statuses = btree_set(400u16..=599, 0..=Retry::MAX_STATUSES);
    let all = (
        1..=Retry::MAX_TRIES,
        on,
        statuses,
        any::<bool>(),
        0..=Retry::MAX_BODY,
        0u8..=100,
        millis(1, 10_000),
    );
    let all = all.prop_map(|(tries, on, statuses, any_method, body, budget, backoff)| Retry {
        tries,
        on,
        statuses,
        any_method,
        body,
        budget,
        backoff,
    });
    prop_oneof![Just(Retry::default()), all]
}

fn bodies() -> impl Strategy<Value = Bodies> {
    let most = || option::of(1u64..=1 << 40);
    let all = (most(), most(), option::of(1..=Bodies::MAX_BUFFER));
    all.prop_map(|(request_max, response_max, response_buffer)| Bodies {
        request_max,
        response_max,
        response_buffer,
    })
}

fn tables() -> impl Strategy<Value = Resource> {
    let fields = (
        "/[a-z/]{0,20}",
        names(),
        timeouts(),
        retries(),
        bodies(),
        option::of(route_keys()),
    );
    let route = fields.prop_map(|(prefix, cluster, timeouts, retry, bodies, hash_on)| Route {
        prefix,
        cluster,
        timeouts,
        retry,
        bodies,
        hash_on,
    });
    let domains = prop_oneof![Just("*".to_owned()), "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}"];
    // Domains and names are unique in the table: one set, dealt out to hosts of one or two domains.
    let hosts = (btree_set(domains, 0..9), vec(vec(route, 0..4), 9));
    (names(), hosts).prop_map(|(name, (domains, routes))| {
        let domains: Vec<String> = domains.into_iter().collect();
        let hosts = domains
            .chunks(2)
            .zip(routes)
            .enumerate()
            .map(|(i, (domains, routes))| VirtualHost {
                name: format!("host-{i}"),
                domains: domains.to_vec(),
                routes,
            });
        Resource::Routes(RouteTable {
            name,
            hosts: hosts.collect(),
        })
    })
}

fn resources() -> impl Strategy<Value = Resource> {
    prop_oneof![
        clusters(),
        endpoint_sets(),
        listeners(),
        tables(),
        key_sets(),
        certificates()
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back_whole(resource in resources()) {
        prop_assert_eq!(decode(resource.kind(), &encode(&resource)), Ok(resource));
    }

    #[test]
    fn the_same_resource_is_the_same_bytes(resource in resources()) {
        let first = encode(&resource);
        for _ in 0..4 {
            prop_assert_eq!(&encode(&resource.clone()), &first);
        }
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in vec(any::<u8>(), 0..300), kind in prop::sample::select(Kind::ALL.to_vec())) {
        let _ = decode(kind, &Any { type_url: kind.type_url().to_owned(), value: bytes });
    }

    #[test]
    fn a_mutated_resource_is_refused_or_whole(
        resource in resources(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut any = encode(&resource);
        for (at, byte) in flips {
            let len = any.value.len();
            any.value[at.index(len)] = byte;
        }
        let short = Any { value: any.value[..cut.index(any.value.len())].to_vec(), ..any.clone() };
        for bytes in [any, short] {
            // What is accepted is within the contract: it encodes to what is accepted again, unchanged.
            if let Ok(read) = decode(resource.kind(), &bytes) {
                prop_assert_eq!(decode(resource.kind(), &encode(&read)), Ok(read));
            }
        }
    }
}

fn listener() -> XdsListener {
    let listener = Listener::new(
        name("shop/hello/http"),
        "0.0.0.0:15080".parse().unwrap(),
        name("shop/hello/http"),
    );
    listener.to_xds()
}

/// Changes the connection manager inside a listener.
fn with_manager(listener: &mut XdsListener, change: impl FnOnce(&mut HttpConnectionManager)) {
    let Some(ConfigType::TypedConfig(any)) = &mut listener.filter_chains[0].filters[0].config_type else {
        panic!("no manager")
    };
    let mut manager = HttpConnectionManager::decode(any.value.as_slice()).unwrap();
    change(&mut manager);
    any.value = manager.encode_to_vec();
}

fn cluster() -> Cluster {
    Cluster {
        balancing: Balancing {
            policy: Policy::Adaptive,
            ..Balancing::default()
        },
        ..Cluster::new(name("shop/hello/http"))
    }
}

fn two_endpoints() -> EndpointSet {
    let endpoint = |id: &str, last: u8| Endpoint {
        id: EndpointId::parse("id", id).unwrap(),
        address: SocketAddr::from(([10, 0, 0, last], 8080)),
        state: EndpointState::Ready,
        instance: format!("hello-{last}"),
        weight: 1,
        zone: String::new(),
    };
    EndpointSet {
        cluster: name("shop/hello/http"),
        endpoints: vec![endpoint("uid-a", 1), endpoint("uid-b", 2)],
    }
}

fn table(prefix: &str, seconds: u64) -> RouteTable {
    RouteTable {
        name: name("shop/hello/http"),
        hosts: vec![VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route {
                timeouts: Timeouts {
                    request: Duration::from_secs(seconds),
                    ..Timeouts::default()
                },
                ..Route::new(prefix, name("shop/hello/http"))
            }],
        }],
    }
}

#[test]
fn a_cluster_is_refused_by_the_field_that_is_wrong() {
    let refused = |change: fn(&mut envoy_types::pb::envoy::config::cluster::v3::Cluster)| {
        let mut xds = cluster().to_xds();
        change(&mut xds);
        Cluster::from_xds(&xds).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|c| (c.lb_policy, c.metadata) = (LbPolicy::RingHash.into(), None)),
        "lb_policy: \"RING_HASH\" is not accepted, expected ROUND_ROBIN, LEAST_REQUEST or RANDOM, or our own metadata"
    );
    assert!(refused(|c| (c.lb_policy, c.metadata) = (99, None)).starts_with("lb_policy: \"99\""));
    assert!(refused(|c| c.name.clear()).starts_with("name: \"\""));
    assert!(refused(|c| c.cluster_discovery_type = None).starts_with("type: "));
    assert!(
        refused(|c| c.transport_socket = Some(TransportSocket::default()))
            .starts_with("transport_socket.typed_config: ")
    );
    assert!(refused(|c| c.connect_timeout.as_mut().unwrap().seconds = -1).starts_with("connect_timeout: \"-1s 0ns\""));
    assert!(refused(|c| c.connect_timeout.as_mut().unwrap().seconds = i64::MAX).starts_with("connect_timeout: "));
    assert!(refused(|c| c.eds_cluster_config = None).starts_with("eds_cluster_config.eds_config: "));
}

/// A cluster's metadata with this JSON in it.
fn with_balancing(json: &str) -> Result<Balancing, String> {
    let mut xds = cluster().to_xds();
    let ours = xds.metadata.as_mut().unwrap();
    let fields = &mut ours.filter_metadata.get_mut(xds::METADATA).unwrap().fields;
    let value = fields.get_mut("balancing").unwrap();
    value.kind = Some(ValueKind::StringValue(json.to_owned()));
    let read = Cluster::from_xds(&xds).map_err(|error| error.to_string());
    read.map(|cluster| cluster.balancing)
}

#[test]
fn balancing_is_refused_by_the_field_that_is_wrong() {
    const PATH: &str = "metadata.filter_metadata[tenbin.dev].balancing";
    for (json, told) in [
        ("nonsense", ": \"expected"),
        ("{}", ": \"missing field `algorithm`"),
        (r#"{"algorithm":"best"}"#, ".algorithm: \"best\""),
        (
            r#"{"algorithm":"least_request","choices":1}"#,
            ".choices: \"1\" is not accepted, expected 2 to 100",
        ),
        (r#"{"algorithm":"peak_ewma","decay":"99ms"}"#, ".decay: \"99ms\""),
        (r#"{"algorithm":"peak_ewma","decay":"601s"}"#, ".decay: \"601s\""),
        (
            r#"{"algorithm":"random","slow_start":{"window":"0.5s","floor":5}}"#,
            ".slow_start.window: \"500ms\"",
        ),
        (
            r#"{"algorithm":"random","slow_start":{"window":"5s","floor":0}}"#,
            ".slow_start.floor: \"0\"",
        ),
        (
            r#"{"algorithm":"random","affinity":{"key":"shoe_size"}}"#,
            ".affinity.key: \"shoe_size\"",
        ),
        (
            r#"{"algorithm":"random","affinity":{"key":"header","name":"X-User"}}"#,
            ".affinity.name: \"X-User\"",
        ),
        (
            r#"{"algorithm":"random","affinity":{"key":"source_ip","v4":33}}"#,
            ".affinity.v4: \"33\"",
        ),
        (
            r#"{"algorithm":"random","affinity":{"key":"path","bound":100}}"#,
            ".affinity.bound: \"100\"",
        ),
        (
            r#"{"algorithm":"random","affinity":{"key":"path","table":"round"}}"#,
            ".affinity.table: \"round\"",
        ),
        (
            r#"{"algorithm":"random","affinity":{"key":"cookie","name":"a b"}}"#,
            ".affinity.name: \"a b\"",
        ),
        (
            r#"{"algorithm":"random","affinity":{"key":"cookie","name":"a"}}"#,
            ".affinity.keys: \"\"",
        ),
        (
            r#"{"algorithm":"random","affinity":{"key":"cookie","name":"a","path":"/;"}}"#,
            ".affinity.path: \"/;\"",
        ),
        (
            r#"{"algorithm":"random","affinity":{"key":"cookie","name":"a","ttl":"35000000s"}}"#,
            ".affinity.ttl: ",
        ),
        (
            r#"{"algorithm":"random","affinity":{"key":"cookie","name":"a","on_dead":"cry"}}"#,
            ".affinity.on_dead: \"cry\"",
        ),
    ] {
        let error = with_balancing(json).unwrap_err();
        assert!(error.starts_with(&format!("{PATH}{told}")), "{json}: {error}");
    }
    let newer = r#"{"algorithm":"random","weather":{"rain":true},"affinity":{"key":"path","salt":7}}"#;
    let read = with_balancing(newer).unwrap();
    assert_eq!(read.policy, Policy::Random, "what is not known is passed over");
}

#[test]
fn an_envoy_is_told_the_nearest_that_it_has() {
    let told = |balancing: Balancing| {
        let cluster = Cluster { balancing, ..cluster() };
        cluster.to_xds()
    };
    let slow_start = Some(SlowStart {
        window: Duration::from_secs(30),
        floor: 20,
    });
    let hash = |table, bound| Balancing {
        affinity: Some(Affinity::Hash {
            key: HashKey::Path,
            table,
            bound,
        }),
        slow_start,
        ..Balancing::default()
    };
    let ring = told(hash(HashTable::Ring, Some(150)));
    assert_eq!(ring.lb_policy(), LbPolicy::RingHash);
    assert_eq!(ring.lb_config, None, "an Envoy has no slow start there");
    let bound = ring.common_lb_config.unwrap().consistent_hashing_lb_config.unwrap();
    assert_eq!(bound.hash_balance_factor.unwrap().value, 150);
    assert_eq!(told(hash(HashTable::Maglev, None)).lb_policy(), LbPolicy::Maglev);
    let ewma = told(Balancing {
        policy: Policy::PeakEwma {
            decay: Policy::DEFAULT_DECAY,
            choices: Some(3),
        },
        slow_start,
        ..Balancing::default()
    });
    assert_eq!(ewma.lb_policy(), LbPolicy::LeastRequest);
    let Some(LbConfig::LeastRequestLbConfig(config)) = ewma.lb_config else {
        panic!("{:?}", ewma.lb_config)
    };
    assert_eq!(config.choice_count.unwrap().value, 3);
    let floor = config.slow_start_config.unwrap().min_weight_percent.unwrap().value;
    assert!((floor - 20.0).abs() < f64::EPSILON);
    for policy in [
        Policy::RoundRobin,
        Policy::Random,
        Policy::LeastRequest { choices: None },
    ] {
        let plain = Balancing {
            policy,
            ..Balancing::default()
        };
        assert_eq!(
            told(plain).metadata,
            None,
            "{policy:?} is said in full by the standard field"
        );
    }
}

#[test]
fn keys_are_refused_without_being_shown() {
    let keys = SessionKeys {
        name: name("shop/hello/session-keys"),
        keys: vec![SessionKey {
            id: 1,
            secret: [171; 32],
        }],
    };
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut xds = keys.to_xds();
        let Some(SecretType::GenericSecret(secret)) = &mut xds.r#type else {
            panic!("no secret")
        };
        let Some(Specifier::InlineBytes(bytes)) = &mut secret.secret.as_mut().unwrap().specifier else {
            panic!("no bytes")
        };
        change(bytes);
        let error = SessionKeys::from_xds(&xds).unwrap_err().to_string();
        assert!(!error.contains("171") && !error.contains("\u{ab}"), "{error}");
        error
    };
    const PATH: &str = "generic_secret.secret.inline_bytes: ";
    for error in [
        refused(Vec::clear),
        refused(|bytes| bytes[0] = 2),
        refused(|bytes| bytes.truncate(36)),
        refused(|bytes| bytes.truncate(1)),
        refused(|bytes| bytes.extend_from_within(1..)),
        refused(|bytes| (0..8u8).for_each(|id| bytes.extend([[id; 4].as_slice(), &[0; 32]].concat()))),
    ] {
        assert!(error.starts_with(PATH), "{error}");
    }
    let mut other = keys.to_xds();
    other.r#type = None;
    assert_eq!(SessionKeys::from_xds(&other).unwrap_err().path, "generic_secret");
    assert!(format!("{keys:?}").contains("SessionKey(1)") && !format!("{keys:?}").contains("171"));
}

#[test]
fn endpoints_come_in_a_locality_for_each_zone_with_weights_that_an_envoy_takes() {
    let mut set = two_endpoints();
    let third = Endpoint {
        zone: "b".to_owned(),
        weight: 0,
        ..Endpoint::new(EndpointId::parse("id", "uid-c").unwrap(), ([10, 0, 0, 3], 1).into())
    };
    set.endpoints[0].zone = "b".to_owned();
    set.endpoints[0].weight = 7;
    set.endpoints[1].zone = "a".to_owned();
    set.endpoints.push(third);
    let xds = set.to_xds();
    let told: Vec<_> = xds
        .endpoints
        .iter()
        .map(|locality| {
            let zone = locality.locality.as_ref().unwrap().zone.as_str();
            let weights = locality.lb_endpoints.iter();
            let weights: Vec<_> = weights
                .map(|e| (e.load_balancing_weight.as_ref().map(|w| w.value), e.health_status()))
                .collect();
            (zone, locality.load_balancing_weight.as_ref().unwrap().value, weights)
        })
        .collect();
    let (healthy, degraded) = (HealthStatus::Healthy, HealthStatus::Degraded);
    assert_eq!(
        told,
        [
            ("a", 1, vec![(None, healthy)]),
            ("b", 7, vec![(Some(7), healthy), (None, degraded)])
        ]
    );
    assert_eq!(EndpointSet::from_xds(&xds), Ok(set));

    let refused = |change: fn(&mut envoy_types::pb::envoy::config::endpoint::v3::LocalityLbEndpoints)| {
        let mut xds = xds.clone();
        change(&mut xds.endpoints[1]);
        EndpointSet::from_xds(&xds).unwrap_err().to_string()
    };
    assert!(refused(|l| l.priority = 1).starts_with("endpoints[1].priority: \"1\""));
    assert!(
        refused(|l| l.locality.as_mut().unwrap().zone = "a b".to_owned()).starts_with("endpoints[1].locality.zone: ")
    );
    let heavy = refused(|l| l.lb_endpoints[0].load_balancing_weight.as_mut().unwrap().value = 1001);
    assert!(
        heavy.starts_with("endpoints[1].lb_endpoints[0].load_balancing_weight: \"1001\""),
        "{heavy}"
    );
}

#[test]
fn another_way_to_tell_the_client_is_refused() {
    let refused = |change: fn(&mut HttpConnectionManager)| {
        let mut xds = listener();
        with_manager(&mut xds, change);
        Listener::from_xds(&xds).unwrap_err().to_string()
    };
    let other = refused(|manager| {
        manager.original_ip_detection_extensions = vec![TypedExtensionConfig::default()];
    });
    assert!(
        other.contains("typed_config.original_ip_detection_extensions[0].typed_config: \"\""),
        "{other}"
    );
    let hops = refused(|manager| {
        let config = XffConfig {
            xff_num_trusted_hops: 1,
            ..XffConfig::default()
        };
        let typed_config = Any {
            type_url: "type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig".to_owned(),
            value: config.encode_to_vec(),
        };
        manager.original_ip_detection_extensions = vec![TypedExtensionConfig {
            name: "xff".to_owned(),
            typed_config: Some(typed_config),
        }];
    });
    assert!(hops.contains("xff_trusted_cidrs"), "{hops}");
}

#[test]
fn a_listener_with_a_socket_or_a_filter_we_lack_is_refused() {
    let mut tls = listener();
    tls.filter_chains[0].transport_socket = Some(TransportSocket::default());
    let error = Listener::from_xds(&tls).unwrap_err();
    assert_eq!(error.path, "filter_chains[0].transport_socket.typed_config");

    let mut stranger = listener();
    with_manager(&mut stranger, |manager| {
        let filter = HttpFilter {
            name: "envoy.filters.http.jwt_authn".to_owned(),
            ..HttpFilter::default()
        };
        manager.http_filters.insert(0, filter);
    });
    let error = Listener::from_xds(&stranger).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "filter_chains[0].filters[0].typed_config.http_filters[0].name: \"envoy.filters.http.jwt_authn\""
        ),
        "{error}"
    );
    with_manager(&mut stranger, |manager| manager.http_filters[0].is_optional = true);
    assert!(
        Listener::from_xds(&stranger).is_ok(),
        "a filter that may be left out is"
    );

    let mut port = listener();
    port.address = None;
    assert_eq!(Listener::from_xds(&port).unwrap_err().path, "address.socket_address");

    let mut chains = listener();
    chains.filter_chains.clear();
    assert_eq!(Listener::from_xds(&chains).unwrap_err().path, "filter_chains");
}

#[test]
fn an_endpoint_needs_an_identity_and_a_usable_health() {
    let refused = |change: fn(&mut envoy_types::pb::envoy::config::endpoint::v3::LocalityLbEndpoints)| {
        let mut xds = two_endpoints().to_xds();
        change(&mut xds.endpoints[0]);
        EndpointSet::from_xds(&xds).unwrap_err().to_string()
    };
    assert!(
        refused(|l| l.lb_endpoints[1].metadata = None)
            .starts_with("endpoints[0].lb_endpoints[1].metadata.filter_metadata[tenbin.dev].uid: \"\"")
    );
    assert!(refused(|l| l.lb_endpoints[0].health_status = HealthStatus::Unhealthy.into()).contains("\"UNHEALTHY\""));
    assert!(
        refused(|l| l.lb_endpoints[1].metadata = l.lb_endpoints[0].metadata.clone())
            .starts_with("endpoints: \"uid-a\" is not accepted, expected each identity at most once")
    );
    assert!(refused(|l| l.lb_endpoints = vec![l.lb_endpoints[0].clone(); EndpointSet::MAX + 1]).contains("10001"));
}

#[test]
fn endpoints_are_sorted_whatever_order_they_come_in() {
    let mut xds = two_endpoints().to_xds();
    xds.endpoints[0].lb_endpoints.reverse();
    assert_eq!(EndpointSet::from_xds(&xds), Ok(two_endpoints()));
}

#[test]
fn a_route_table_is_refused_by_the_field_that_is_wrong() {
    let refused = |table: &RouteTable| RouteTable::from_xds(&table.to_xds()).unwrap_err().to_string();
    assert!(refused(&table("no-slash", 1)).starts_with("virtual_hosts[0].routes[0].match.prefix: \"no-slash\""));
    assert!(refused(&table("/", 0)).starts_with(
        "virtual_hosts[0].routes[0].metadata.filter_metadata[tenbin.dev].route.timeouts.request: \"0ns\" is not accepted"
    ));
    let mut twice = table("/", 1);
    twice.hosts.push(twice.hosts[0].clone());
    assert!(refused(&twice).starts_with("virtual_hosts[1].name: \"all\""));
    twice.hosts[1].name = "other".to_owned();
    assert!(refused(&twice).starts_with("virtual_hosts[1].domains[0]: \"*\""));
    twice.hosts[1].domains.clear();
    assert!(refused(&twice).starts_with("virtual_hosts[1].domains: "));
}

#[test]
fn a_route_without_our_metadata_has_the_defaults() {
    let mut xds = table("/", 5).to_xds();
    xds.virtual_hosts[0].routes[0].metadata = None;
    let read = RouteTable::from_xds(&xds).unwrap();
    assert_eq!(read, table("/", 60));
    assert_eq!(
        read.to_xds().virtual_hosts[0].routes[0].metadata,
        None,
        "and needs none"
    );
}

#[test]
fn bytes_that_are_too_many_or_of_another_type_are_refused() {
    let any = encode(&Resource::Cluster(cluster()));
    assert_eq!(decode(Kind::Listener, &any).unwrap_err().path, "type_url");
    let big = Any {
        value: vec![0; xds::MAX_ENCODED + 1],
        ..any
    };
    assert_eq!(decode(Kind::Cluster, &big).unwrap_err().path, "value");
}

#[test]
fn a_full_endpoint_set_with_the_longest_names_can_be_sent() {
    let endpoints = (0..EndpointSet::MAX).map(|i| Endpoint {
        id: EndpointId::parse("id", &format!("{i:0128}")).unwrap(),
        address: SocketAddr::new(IpAddr::V6(Ipv6Addr::from([0xfd; 16])), u16::MAX),
        state: EndpointState::Draining,
        instance: "i".repeat(253),
        weight: 1,
        zone: String::new(),
    });
    let full = Resource::Endpoints(EndpointSet {
        cluster: name(&"c".repeat(512)),
        endpoints: endpoints.collect(),
    });
    let any = encode(&full);
    assert!(any.value.len() < xds::MAX_ENCODED, "{}", any.value.len());
    assert_eq!(decode(Kind::Endpoints, &any), Ok(full));
}
